"""A run's view events as the events of a Responses stream. Pure: events in, events out.

Each turn that has words is one message, at output index turn - 1. A second ``response.in_progress`` means, as the
provider's own does: the text of the message that is open begins anew, from what it says in ``output``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from shared.agentkit.agent import Agent
from shared.api.v1.names import message_id
from shared.api.v1.objects import response_object
from shared.api.v1.output import Said, message, text_part
from shared.api.v1.places import ADDED, CLOSING, CREATED, IN_PROGRESS, OPENED, STEPS, TOLD, Place
from shared.runs.model.phases import RunningTools, RunStatus
from shared.runs.model.run import Run
from shared.runs.watching.views import EventId

Event = dict[str, Any]

ENDS = {RunStatus.COMPLETED: "response.completed", RunStatus.INCOMPLETE: "response.incomplete"}
"""There is no event for a cancelled response: it is told as failed, and its status says what it is."""


class Telling:
    """One viewer's stream, from its beginning or from after ``after``; what was told before is passed over."""

    def __init__(self, run: Run, after: int | None, agent: Agent | None) -> None:
        self._run = run
        self._agent = agent
        self._after = -1 if after is None else after
        self._place = Place(0) if after is None else Place.after(after)
        self._said: Mapping[int, Said] = {}
        place = self._place
        self._closed = max(place.turn - 1, 0)
        self._closing = place.turn if place.attempt == CLOSING else 0
        self._open = place.turn if self._closing or place.step >= ADDED else 0
        self._has_part = self._closing > 0 or place.step != ADDED
        self._attempt = place.attempt
        self._told: int | None = place.told if not self._closing else None
        self._pieces: list[str] | None = [] if self._told == 0 else None

    @property
    def _text(self) -> str | None:
        """The open message's words; None where another connection told of them."""
        return None if self._pieces is None else "".join(self._pieces)

    @property
    def event_id(self) -> EventId | None:
        """From where the run's own stream is wanted."""
        return self._place.event_id

    @property
    def number(self) -> int:
        """The last event's number."""
        return max(self._place.number, self._after)

    def begin(self) -> list[Event]:
        """What every stream begins with."""
        return [
            *self._event("response.created", Place.after(CREATED), response=self._in_progress()),
            *self._event("response.in_progress", Place.after(IN_PROGRESS), response=self._in_progress()),
        ]

    def lacks(self, turn: int) -> bool:
        """Whether turns before this one are still to be completed, from what is stored of them."""
        return turn - 1 > self._closed

    def learn(self, said: Iterable[Said]) -> None:
        """What is stored of the turns so far."""
        self._said = {each.turn: each for each in said}

    def delta(self, event_id: EventId, text: str) -> list[Event]:
        """More text of a turn."""
        events = self._reach(event_id.turn)
        if self._closing == event_id.turn:
            return events
        here = Place.of(event_id)
        if self._open != event_id.turn:
            events += self._begin_message(here)
        return events + self._tell(here, text)

    def snapshot(self, event_id: EventId, text: str) -> list[Event]:
        """The text of a turn from here on, in place of what was told of it."""
        events = self._reach(event_id.turn)
        if self._closing == event_id.turn:
            return events
        here = Place.of(event_id)
        if self._open != event_id.turn:
            if not text:
                return events
            events += self._begin_message(here)
        else:
            begun = self._is_begun(here.attempt, text)
            here = self._not_before(here)
            events += [] if begun else self._begin_anew(here)
        self._attempt = here.attempt
        rest = text[self._told or 0 :]
        return events + (self._tell(here, rest) if rest else [])

    def end(self, run: Run) -> list[Event]:
        """The run's end: the messages that are still open or untold, and the response as it now is."""
        self._run = run
        events = self._reach(run.turn.number + 1)
        kind = ENDS.get(run.status, "response.failed")
        said = [self._said[turn] for turn in sorted(self._said)]
        place = Place(run.turn.number, CLOSING, 1)
        return events + self._event(kind, place, response=response_object(run, said, agent=self._agent))

    def _reach(self, turn: int) -> list[Event]:
        """Everything of the turns before this one."""
        events: list[Event] = []
        for earlier in range(self._closed + 1, turn):
            said = self._said.get(earlier)
            if self._open != earlier and said is not None and not said.corrected:
                events += self._begin_message(Place(earlier))
            if self._open == earlier:
                events += self._close(earlier, said)
        self._closed = max(self._closed, turn - 1)
        return events

    def _close(self, turn: int, said: Said | None) -> list[Event]:
        """The rest of a turn's message, and its end. One that nothing is stored of was cut short."""
        cut = said is None
        said = said or Said(turn=turn, text=self._text or "")
        events: list[Event] = []
        if self._is_surely_void(said.words):
            events += self._begin_anew(self._not_before(Place(turn, self._attempt)))
        if self._told is not None and len(said.words) > self._told:
            events += self._tell(self._not_before(Place(turn, self._attempt)), said.words[self._told :])
        events += self._begin_part(self._not_before(Place(turn, self._attempt)))
        item = message(self._run, said)
        if cut:
            item["status"] = "incomplete"
        words = text_part(said.words, said.annotations)
        at = {"item_id": item["id"], "output_index": turn - 1, "content_index": 0}
        events += self._event(
            "response.output_text.done", Place(turn, CLOSING, 0, 0), **at, text=said.words, logprobs=[]
        )
        events += self._event("response.content_part.done", Place(turn, CLOSING, 0, 1), **at, part=words)
        events += self._event("response.output_item.done", Place(turn, CLOSING, 0, 2), output_index=turn - 1, item=item)
        self._open = self._closing = 0
        return events

    def _begin_message(self, here: Place) -> list[Event]:
        self._open, self._has_part, self._attempt, self._told, self._pieces = here.turn, False, here.attempt, 0, []
        item = {**self._message_so_far(), "content": []}
        added = self._event(
            "response.output_item.added", replace(here, step=ADDED), output_index=here.turn - 1, item=item
        )
        return added + self._begin_part(here)

    def _begin_part(self, here: Place) -> list[Event]:
        """The message's one part, where it has none yet."""
        if self._has_part:
            return []
        self._has_part = True
        at = {"item_id": message_id(self._run, here.turn), "output_index": here.turn - 1, "content_index": 0}
        return self._event("response.content_part.added", replace(here, step=OPENED), **at, part=text_part(""))

    def _is_begun(self, attempt: int, text: str) -> bool:
        """Whether what was told of the open message is how this text begins."""
        if self._told == 0:
            return True
        if self._text is not None:
            return text.startswith(self._text)
        # Told over another connection: its length is known, and that it was this attempt's.
        return self._told is not None and attempt == self._attempt and self._told <= len(text)

    def _is_surely_void(self, words: str) -> bool:
        """Whether what was told of the open message cannot be how these words begin."""
        if self._text is not None:
            return not words.startswith(self._text)
        return self._told is not None and self._told > len(words)

    def _begin_anew(self, here: Place) -> list[Event]:
        self._told, self._pieces = 0, []
        response = {**self._in_progress(), "output": [self._message_so_far()]}
        return self._event("response.in_progress", replace(here, step=TOLD), response=response)

    def _tell(self, here: Place, text: str) -> list[Event]:
        if self._pieces is not None:
            self._pieces.append(text)
        self._told = None if self._told is None else self._told + len(text)
        step = STEPS if self._told is None else TOLD + self._told
        return self._begin_part(here) + self._event(
            "response.output_text.delta",
            replace(here, step=step),
            item_id=message_id(self._run, here.turn),
            output_index=here.turn - 1,
            content_index=0,
            delta=text,
            logprobs=[],
        )

    def _message_so_far(self) -> Event:
        """The open message without its words."""
        return {
            "id": message_id(self._run, self._open),
            "type": "message",
            "role": "assistant",
            "status": "in_progress",
            "content": [text_part("")],
        }

    def _not_before(self, here: Place) -> Place:
        """A place whose events come after those that were told: an attempt's text may be told again from its start."""
        last = self._place
        if last.same_attempt(here) and here.sequence <= last.sequence:
            return replace(here, sequence=last.sequence + 1)
        return here

    def _in_progress(self) -> Event:
        body = response_object(replace(self._run, phase=RunningTools()))
        return {**body, "error": None, "incomplete_details": None}

    def _event(self, kind: str, place: Place, **fields: Any) -> list[Event]:
        """The event, unless it was told before."""
        if place.number <= self._after:
            return []
        self._place = max(self._place, place)
        return [{"type": kind, "sequence_number": place.number, **fields}]
