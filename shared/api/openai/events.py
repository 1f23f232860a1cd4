"""The events of a response's stream, and where a viewer stands in it. Pure: view events in, OpenAI's events out.

Each turn that has text is one message, at output index turn - 1. A second ``response.in_progress`` means, as the
provider's own does: the text of the open message begins anew, from what the message has in ``output``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from shared.agentkit.agent import Agent
from shared.api.openai.objects import (
    OutputMessage,
    ResponseObject,
    message_id,
    output_message,
    response_object,
    text_part,
)
from shared.runs.model.phases import RunningTools, RunStatus
from shared.runs.model.run import Run
from shared.runs.queries.conversation import TurnText
from shared.runs.watching.views import EventId

Event = dict[str, Any]
"""One event, with its ``type`` and ``sequence_number`` and what else OpenAI has in an event of this type."""

LAST_EVENTS = {RunStatus.COMPLETED: "response.completed", RunStatus.INCOMPLETE: "response.incomplete"}
"""OpenAI has no event for a cancelled response: it gets ``response.failed``, and its status says what it is."""

ATTEMPTS, SEQUENCES, STEPS = 1 << 8, 1 << 18, 1 << 20
"""How many values each part of a ``sequence_number`` may have; the turn stands before them and has the rest."""

MAX_NUMBER = (1 << 53) - 1
"""The largest whole number that JavaScript holds exactly."""

CREATED, IN_PROGRESS = 0, 1
"""The numbers of the two events that every stream begins with."""

TURN_DONE = ATTEMPTS - 1
"""In place of an attempt: the turn's text is complete. After its message comes, with sequence 1, the run's end."""

NO_ITEM, ITEM_ADDED, PART_ADDED, TEXT = 0, 1, 2, 3
"""Steps of a turn's message: not begun; its item sent; its content part sent; ``TEXT + n``: n characters sent."""


@dataclass(frozen=True, slots=True, order=True)
class StreamPosition:
    """The event after which a viewer stands, as the one number that OpenAI's clients hand back.

    The number holds all of it, so that nothing has to be stored for viewers. It grows, and has gaps.
    """

    turn: int
    """0: before the first."""

    attempt: int = 0

    sequence: int = 0
    """The provider's own, within the attempt."""

    step: int = NO_ITEM

    @classmethod
    def from_number(cls, number: int) -> StreamPosition:
        """The position that a ``sequence_number`` holds."""
        # Any number at all: what a client sends need not be one of ours.
        number, step = divmod(min(number, MAX_NUMBER), STEPS)
        number, sequence = divmod(number, SEQUENCES)
        turn, attempt = divmod(number, ATTEMPTS)
        return cls(turn, attempt, sequence, step)

    @classmethod
    def from_event_id(cls, event_id: EventId) -> StreamPosition:
        """The position of an event of the run's own stream."""
        # A larger attempt would read as `TURN_DONE`.
        return cls(event_id.turn, min(event_id.attempt, TURN_DONE - 1), event_id.sequence)

    def same_attempt(self, other: StreamPosition) -> bool:
        """Whether both are of one attempt."""
        return (self.turn, self.attempt) == (other.turn, other.attempt)

    @property
    def number(self) -> int:
        """The position as a ``sequence_number``. A part that is too large for its place counts as the largest."""
        number = self.turn * ATTEMPTS + self.attempt
        number = number * SEQUENCES + min(self.sequence, SEQUENCES - 1)
        return min(number * STEPS + min(self.step, STEPS - 1), MAX_NUMBER)

    @property
    def characters_sent(self) -> int | None:
        """How many characters of the turn's text were sent; None where that is not known."""
        return max(0, self.step - TEXT) if self.step < STEPS - 1 else None

    @property
    def event_id(self) -> EventId | None:
        """Where the run's own stream continues from here; None: at the start of the current attempt."""
        # A part that was cut to its largest value stands for several events.
        if self.turn == 0 or not 0 < self.attempt < TURN_DONE - 1 or self.sequence == SEQUENCES - 1:
            return None
        # One event of the run may become several here: that event is asked for again, and what was sent is skipped.
        within = self.step in (ITEM_ADDED, PART_ADDED)
        return EventId(self.turn, self.attempt, max(0, self.sequence - within))


class EventWriter:
    """Writes the stream of one viewer, from its beginning or after the number ``after``: what was sent is skipped."""

    def __init__(self, run: Run, after: int | None, agent: Agent | None) -> None:
        position = StreamPosition(0) if after is None else StreamPosition.from_number(after)
        self._run = run
        self._agent = agent
        self._after = -1 if after is None else after
        self._position = position
        self._stored: Mapping[int, TurnText] = {}

        self._last_done = max(position.turn - 1, 0)
        """The last turn whose message, if it has one, was sent whole."""

        self._ending = position.turn if position.attempt == TURN_DONE else 0
        """The turn whose text an earlier connection has sent in full, with some of the events that end its message."""

        self._open = position.turn if self._ending or position.step >= ITEM_ADDED else 0
        """The turn of the open message; 0 without one. The rest is about this message."""

        self._has_part = self._ending > 0 or position.step != ITEM_ADDED
        self._attempt = position.attempt

        self._sent: int | None = position.characters_sent if not self._ending else None
        """How many characters of it were sent; None where that is not known."""

        self._pieces: list[str] | None = [] if self._sent == 0 else None
        """What was sent; None where an earlier connection sent some of it."""

    @property
    def resume_at(self) -> EventId | None:
        """After which event the run's own stream is wanted; None: from the start of the current attempt."""
        return self._position.event_id

    def start(self) -> list[Event]:
        """The two events that every stream begins with."""
        return [
            *self._event("response.created", StreamPosition.from_number(CREATED), response=self._in_progress()),
            *self._event("response.in_progress", StreamPosition.from_number(IN_PROGRESS), response=self._in_progress()),
        ]

    def lacks_turns_before(self, turn: int) -> bool:
        """Whether turns before this one are not sent whole yet: their stored text is wanted first (``set_stored``)."""
        return turn - 1 > self._last_done

    def set_stored(self, turns: Iterable[TurnText]) -> None:
        """What is stored of the turns so far."""
        self._stored = {each.turn: each for each in turns}

    def append(self, event_id: EventId, text: str) -> list[Event]:
        """More text of a turn."""
        events = self._end_turns_before(event_id.turn)
        # An earlier connection has sent all of its text: only the end of the message is left.
        if self._ending == event_id.turn:
            return events
        position = StreamPosition.from_event_id(event_id)
        if self._open != event_id.turn:
            events += self._open_message(position)
        return events + self._send(position, text)

    def replace(self, event_id: EventId, text: str) -> list[Event]:
        """The text of a turn from here on, in place of what was sent of it."""
        events = self._end_turns_before(event_id.turn)
        if self._ending == event_id.turn:
            return events
        position = StreamPosition.from_event_id(event_id)
        if self._open != event_id.turn:
            # Not yet a message: a turn that only calls tools has no text.
            if not text:
                return events
            events += self._open_message(position)
        else:
            continues = self._may_continue(position.attempt, text)
            position = self._not_before(position)
            events += [] if continues else self._restart_message(position)
        self._attempt = position.attempt
        rest = text[self._sent or 0 :]
        return events + (self._send(position, rest) if rest else [])

    def end(self, run: Run) -> list[Event]:
        """The run's end: the messages that are open or not sent yet, and the response as it now is."""
        self._run = run
        events = self._end_turns_before(run.turn.number + 1)
        kind = LAST_EVENTS.get(run.status, "response.failed")
        turns = [self._stored[turn] for turn in sorted(self._stored)]
        response = response_object(run, turns, agent=self._agent)
        return events + self._event(kind, StreamPosition(run.turn.number, TURN_DONE, 1), response=response)

    def _end_turns_before(self, turn: int) -> list[Event]:
        events: list[Event] = []
        for earlier in range(self._last_done + 1, turn):
            stored = self._stored.get(earlier)
            if self._open != earlier and stored is not None and not stored.corrected:
                events += self._open_message(StreamPosition(earlier))
            if self._open == earlier:
                events += self._end_message(earlier, stored)
        self._last_done = max(self._last_done, turn - 1)
        return events

    def _end_message(self, turn: int, stored: TurnText | None) -> list[Event]:
        """The rest of a turn's text, and the end of its message: an incomplete one where nothing is stored of it."""
        final = stored or TurnText(turn=turn, text=self._sent_text or "")
        text = final.full_text
        events: list[Event] = []
        if self._contradicts(text):
            events += self._restart_message(self._not_before(StreamPosition(turn, self._attempt)))
        if self._sent is not None and len(text) > self._sent:
            events += self._send(self._not_before(StreamPosition(turn, self._attempt)), text[self._sent :])
        events += self._add_part(self._not_before(StreamPosition(turn, self._attempt)))
        item = output_message(self._run, final)
        if stored is None:
            # The rows have no text of a turn that was cut off by the end of the run.
            item["status"] = "incomplete"
        part = text_part(text, final.annotations)
        at, index = self._part_of(turn), turn - 1
        events += self._event(
            # Each of the three has a position of its own: a connection may end between any two.
            "response.output_text.done",
            StreamPosition(turn, TURN_DONE, 0, 0),
            **at,
            text=text,
            logprobs=[],
        )
        events += self._event("response.content_part.done", StreamPosition(turn, TURN_DONE, 0, 1), **at, part=part)
        events += self._event(
            "response.output_item.done", StreamPosition(turn, TURN_DONE, 0, 2), output_index=index, item=item
        )
        self._open = self._ending = 0
        return events

    def _open_message(self, position: StreamPosition) -> list[Event]:
        turn = position.turn
        self._open, self._has_part, self._attempt, self._sent, self._pieces = turn, False, position.attempt, 0, []
        item = {**self._empty_message(), "content": []}
        added = self._event(
            "response.output_item.added", replace(position, step=ITEM_ADDED), output_index=turn - 1, item=item
        )
        return added + self._add_part(position)

    def _add_part(self, position: StreamPosition) -> list[Event]:
        """The message's one part, where it has none yet."""
        if self._has_part:
            return []
        self._has_part = True
        at = self._part_of(position.turn)
        return self._event("response.content_part.added", replace(position, step=PART_ADDED), **at, part=text_part(""))

    def _restart_message(self, position: StreamPosition) -> list[Event]:
        self._sent, self._pieces = 0, []
        response = {**self._in_progress(), "output": [self._empty_message()]}
        return self._event("response.in_progress", replace(position, step=TEXT), response=response)

    def _send(self, position: StreamPosition, text: str) -> list[Event]:
        if self._pieces is not None:
            # Kept to see whether the text that replaces it begins with the same.
            self._pieces.append(text)
        self._sent = None if self._sent is None else self._sent + len(text)
        after = replace(position, step=STEPS if self._sent is None else TEXT + self._sent)
        at = self._part_of(position.turn)
        return self._add_part(position) + self._event(
            "response.output_text.delta", after, **at, delta=text, logprobs=[]
        )

    @property
    def _sent_text(self) -> str | None:
        """What was sent of the open message; None where an earlier connection sent some of it."""
        return None if self._pieces is None else "".join(self._pieces)

    def _may_continue(self, attempt: int, text: str) -> bool:
        """Whether this text may begin with what was sent of the open message."""
        if self._sent == 0:
            return True
        if self._sent_text is not None:
            return text.startswith(self._sent_text)
        # An earlier connection sent it: only its length and its attempt are known.
        return self._sent is not None and attempt == self._attempt and self._sent <= len(text)

    def _contradicts(self, text: str) -> bool:
        """Whether this text surely does not begin with what was sent of the open message."""
        if self._sent_text is not None:
            return not text.startswith(self._sent_text)
        return self._sent is not None and self._sent > len(text)

    def _not_before(self, position: StreamPosition) -> StreamPosition:
        """A position after all that was sent: the text of an attempt may be sent a second time, from its start."""
        last = self._position
        if last.same_attempt(position) and position.sequence <= last.sequence:
            return replace(position, sequence=last.sequence + 1)
        return position

    def _part_of(self, turn: int) -> Event:
        """The fields that name the content part of a turn's message."""
        return {"item_id": message_id(self._run, turn), "output_index": turn - 1, "content_index": 0}

    def _empty_message(self) -> OutputMessage:
        """The open message without its text."""
        return {
            "id": message_id(self._run, self._open),
            "type": "message",
            "role": "assistant",
            "status": "in_progress",
            "content": [text_part("")],
        }

    def _in_progress(self) -> ResponseObject:
        # Also for a run that has ended: a viewer who comes late gets the same first events.
        response = response_object(replace(self._run, phase=RunningTools()))
        response["error"] = response["incomplete_details"] = None
        return response

    def _event(self, kind: str, position: StreamPosition, **fields: Any) -> list[Event]:
        """The event, unless it was sent before."""
        # Built and left out: what follows an event depends on what was sent before it.
        if position.number <= self._after:
            return []
        self._position = max(self._position, position)
        return [{"type": kind, "sequence_number": position.number, **fields}]
