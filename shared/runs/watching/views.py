"""The events that a viewer of a run gets, and its position among them. Pure: no I/O, no clock.

A client keeps one text: a ``Snapshot`` replaces it, a ``Delta`` is appended. When ``End`` comes it is the run's
``text``, byte for byte. A viewer comes back with the last event id it saw and goes on exactly after it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from shared.agentkit.agent import AgentUpdate, Item, ResponseStatus, UpdateKind, text_of
from shared.agentkit.extras import (
    Annotation,
    HostedCall,
    annotations_from_json,
    annotations_of,
    reasoning_of,
)
from shared.runs.model.calls import CallState, ToolCall
from shared.runs.model.phases import RunningTools, WaitingForAnswers
from shared.runs.model.run import Run
from shared.runs.rules.extras import calls_of_turn
from shared.runs.rules.waiting import next_look_or_try


@dataclass(frozen=True, slots=True, order=True)
class EventId:
    """A viewer's position in a run's stream: ``<turn>.<attempt>.<provider sequence>``.

    It names no response: which one an id is about is always read from the row, so that a forged id reaches nothing.
    """

    turn: int
    attempt: int
    sequence: int

    def __str__(self) -> str:
        return f"{self.turn}.{self.attempt}.{self.sequence}"

    @classmethod
    def parse(cls, text: str) -> EventId | None:
        """The id in its written form; None when it is none."""
        match = _EVENT_ID.fullmatch(text)
        return cls(int(match[1]), int(match[2]), int(match[3])) if match else None

    def same_attempt(self, other: EventId) -> bool:
        """Whether both are of one response."""
        return (self.turn, self.attempt) == (other.turn, other.attempt)


# No event of a provider has such a number: above 2^31 - 1 they are counted here instead.
ALL = 9_999_999_999
"""The sequence of a text that came whole from the rows: after everything that the provider says of the response."""

# A caller sends it: ``int`` would take digits of other scripts, and fails on thousands of them.
_EVENT_ID = re.compile(r"([1-9][0-9]{0,5})\.([1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,9})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The whole run as it is: always the first event of a watch, whatever was seen before."""

    run: Run
    calls: tuple[ToolCall, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusChanged:
    """The run's status, turn, status at the provider or open approvals have changed."""

    run: Run
    calls: tuple[ToolCall, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Woken:
    """The app was at work for the run, or will be at another time than it was to; else nothing has changed."""

    run: Run
    calls: tuple[ToolCall, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The text from here on, in place of what was shown.

    Empty, with sequence 0, at the start of each turn and attempt; empty at a reset by the provider; the whole text of
    a turn, with sequence ``ALL``, where the provider does not send it and the rows have it; and the run's whole text
    before ``End`` wherever the deltas alone have not given it. The rest is what the provider gave beside this text: of
    this turn alone, and in place of what was shown of it.
    """

    event_id: EventId
    text: str
    annotations: tuple[Annotation, ...] = ()
    hosted_calls: tuple[HostedCall, ...] = ()
    reasoning: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """More text, never empty. A ``refusal`` counts as text, as it does in the run's ``text``."""

    event_id: EventId
    text: str
    refusal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotationAdded:
    """A citation, or another mark on the text. Its place is None where the beginning of the text is not known here."""

    event_id: EventId
    annotation: Annotation


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedCallMoved:
    """A tool of the provider's has begun or ended a call: the call as it now is."""

    event_id: EventId
    call: HostedCall


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningDelta:
    """More of the summary of the model's reasoning, never empty. An empty line ends each paragraph."""

    event_id: EventId
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolStarted:
    """A tool call began, or began again after an interruption (``call.starts``)."""

    call: ToolCall


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFinished:
    """A tool call has its result, or its refusal."""

    call: ToolCall


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolProgress:
    """A tool has reported progress (``call.progress``, ``call.progress_fraction``)."""

    call: ToolCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale:
    """The provider can replay no more of this turn: the text stays, and a ``Snapshot`` of all of it follows."""

    event_id: EventId


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The run is terminal: nothing follows. ``text`` is what the client's text is now."""

    run: Run
    calls: tuple[ToolCall, ...]
    text: str


Moved = Snapshot | Delta | AnnotationAdded | HostedCallMoved | ReasoningDelta
"""What comes from the provider's stream, and has a place in it to go on from."""

ViewEvent = State | StatusChanged | Woken | Moved | ToolStarted | ToolFinished | ToolProgress | Stale | End


@dataclass(frozen=True, slots=True)
class RunRows:
    """The rows of a run as they were last read."""

    run: Run
    calls: tuple[ToolCall, ...]


def changes_between(before: RunRows, after: RunRows) -> list[ViewEvent]:
    """The events for what changed between two reads of the rows, without ``End``."""
    known = {(call.turn, call.index): call for call in before.calls}
    events: list[ViewEvent] = []
    for call in after.calls:
        old = known.get((call.turn, call.index))
        # By the count, not the state: an interrupted call starts again from the state that it has.
        if call.starts > (old.starts if old else 0):
            events.append(ToolStarted(call=call))
        # By its time, not its text: a tool may report the same words again.
        if call.progress_at is not None and call.progress_at != (old.progress_at if old else None):
            events.append(ToolProgress(call=call))
        if call.state is CallState.FINISHED and (old is None or old.state is not CallState.FINISHED):
            events.append(ToolFinished(call=call))
    # A terminal status is `End`, which comes after the last of the text.
    if after.run.terminal:
        return events
    if _visible_status(before) != _visible_status(after):
        events.append(StatusChanged(run=after.run, calls=after.calls))
    elif _wakes(before.run) != _wakes(after.run):
        events.append(Woken(run=after.run, calls=after.calls))
    return events


def _visible_status(seen: RunRows) -> object:
    run = seen.run
    waiting = [(call.turn, call.index) for call in seen.calls if call.state is CallState.WAITING]
    return run.status, run.turn.number, run.chain.provider_status, waiting


def _wakes(run: Run) -> object:
    return run.counters.wakes, next_look_or_try(run)


def attempt_of(run: Run) -> EventId | None:
    """The start of the current attempt; None before its turn's first."""
    return EventId(run.turn.number, run.turn.attempt, 0) if run.turn.attempt else None


def has_answered(run: Run) -> bool:
    """Whether the current attempt's output is stored: the run's items end with it."""
    return isinstance(run.phase, RunningTools | WaitingForAnswers)


def response_of(run: Run) -> str | None:
    """The provider's response of the current attempt: the pending one, or the one that asked for the tools at work."""
    # While tools run there is no token any more, but the response that asked for them can still be followed.
    if run.token is not None:
        return run.token.response_id
    return run.chain.last_response_id if has_answered(run) else None


def final_snapshot(run: Run, event_id: EventId, text: str, annotations: str) -> Snapshot:
    """The whole text of an ended run, with what its row has of the last turn. ``annotations``: as JSON."""
    here = run.turn.number
    return Snapshot(
        event_id=event_id,
        text=text,
        annotations=annotations_from_json(annotations),
        hosted_calls=tuple(call for call in run.extras.hosted_calls if call.turn == here),
        reasoning=next((each.text for each in run.extras.reasoning if each.turn == here), ""),
    )


@dataclass(slots=True)
class ClientText:
    """The text that a client has: all of it when ``whole``, else what followed a beginning that we do not know."""

    position: EventId
    whole: bool = True
    stale: bool = False
    ended: bool = False
    _pieces: list[str] = field(default_factory=list)
    _final: str | None = None
    _length: int = 0
    _part: tuple[int, int] | None = None
    _part_start: int | None = None
    """Where in the text its current part begins; None: not known."""

    def apply(self, update: AgentUpdate) -> Moved | None:
        """Apply an update from the provider; returns the event for the client, if any."""
        self.position = EventId(self.position.turn, self.position.attempt, update.sequence)
        match update.kind:
            case UpdateKind.TEXT:
                self._begin_part(update.part)
                self._pieces.append(update.text)
                self._length += len(update.text)
                return Delta(event_id=self.position, text=update.text, refusal=update.refusal)
            case UpdateKind.RESET:
                self.whole, self._pieces, self._length, self._part = True, [], 0, None
                return Snapshot(event_id=self.position, text="")
            case UpdateKind.ENDED:
                self.ended = True
                response = update.response
                # A failed response is created again, or fails the run: its text is no result.
                if response is not None and response.status in (ResponseStatus.COMPLETED, ResponseStatus.INCOMPLETE):
                    self._final = response.text
            case _:
                return self._beside(update)
        return None

    def _beside(self, update: AgentUpdate) -> AnnotationAdded | HostedCallMoved | ReasoningDelta | None:
        if update.annotation is not None:
            self._begin_part(update.part)
            return AnnotationAdded(event_id=self.position, annotation=update.annotation.moved(self._part_start))
        if update.hosted_call is not None:
            return HostedCallMoved(event_id=self.position, call=replace(update.hosted_call, turn=self.position.turn))
        return ReasoningDelta(event_id=self.position, text=update.text) if update.text else None

    def _begin_part(self, part: tuple[int, int] | None) -> None:
        if part != self._part:
            self._part, self._part_start = part, self._length if self.whole else None

    def replace(self, items: Sequence[Item]) -> Snapshot:
        """Put the whole response, from the rows, in place of what the client has of it."""
        text = text_of(items)
        self.position = EventId(self.position.turn, self.position.attempt, ALL)
        self.whole, self.stale, self._pieces = True, False, [text]
        return Snapshot(
            event_id=self.position,
            text=text,
            annotations=annotations_of(items),
            hosted_calls=calls_of_turn(self.position.turn, items),
            reasoning=reasoning_of(items),
        )

    def has_text(self, run: Run, text: str) -> bool:
        """Whether the client surely has the run's text: all of it was sent, or the rest of what it had before."""
        here = attempt_of(run)
        if self.stale or here is None or not self.position.same_attempt(here):
            return False
        sent = "".join(self._pieces)
        # Where the beginning is not known here, only the provider's last event can show that the rest fits.
        return sent == text if self.whole else self._final == text and text.endswith(sent)
