"""The events of a response's stream. Pure: view events in, OpenAI's events out.

Each turn that has text is one message, at the index that it has in the output of the ended response. A second
``response.in_progress`` means, as the provider's own does: the open message begins anew, from what the event has of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from shared.agentkit.agent import Agent
from shared.api.openai.item_shapes import OutputMessage
from shared.api.openai.objects import (
    NOTHING,
    ResponseObject,
    call_object,
    message_id,
    output_message,
    refusal_part,
    response_object,
    text_part,
    turns_with_message,
)
from shared.api.openai.positions import (
    CALL_ADDED,
    CALL_ARGUMENTS,
    CALL_ARGUMENTS_DONE,
    CALL_DONE,
    CALLS,
    CREATED,
    DONE,
    END,
    ERROR,
    EVENTS_A_CALL,
    FIRST_PART_DONE,
    IN_PROGRESS,
    ITEM_ADDED,
    ITEM_DONE,
    LAST_PART_DONE,
    PART_ADDED,
    QUEUED,
    REFUSAL_DONE,
    REFUSAL_SENT,
    RESTARTED,
    SECOND_ADDED,
    TEXT_DONE,
    WHOLE,
    StreamPosition,
    attempt_of_slot,
    characters_of,
    code_of,
    code_of_whole,
    slot_of,
)
from shared.api.openai.words import OpenWords
from shared.runs.model.phases import RunningTools, RunStatus
from shared.runs.model.run import Run
from shared.runs.queries.conversation import OfCaller, OpenCall, TurnText
from shared.runs.watching.views import EventId

Event = dict[str, Any]
"""One event, with its ``type`` and ``sequence_number`` and what else OpenAI has in an event of this type."""

LAST_EVENTS = {RunStatus.COMPLETED: "response.completed", RunStatus.INCOMPLETE: "response.incomplete"}
"""OpenAI has no event for a cancelled response: it gets ``response.failed``, and its status says what it is."""


class EventWriter:
    """Writes the stream of one viewer, from its beginning or after the number ``after``: what was sent is skipped.

    It is given the current attempt from its beginning, also for a viewer who comes back: what that one has of it is
    known then.
    """

    def __init__(self, run: Run, after: int | None, agent: Agent | None, *, callers: OfCaller = NOTHING) -> None:
        position = StreamPosition(0) if after is None else StreamPosition.from_number(after)
        closed = position.slot == DONE and position.step >= ITEM_DONE
        self._run = run
        self._agent = agent
        self._callers = callers
        self._after = -1 if after is None else after
        self._position = position

        self._live = agent is not None and agent.output is None
        """Whether text is sent while it is written. A structured result may be corrected in a further turn, and what
        is said before it is no part of the output: that is known at the end."""

        self._messages: dict[int, TurnText] = {}
        """The turns so far that have a message in the output."""

        self._known = 0
        """The last turn whose rows are known, with all before it."""

        self._over = position.turn if closed else max(position.turn - 1, 0)
        """The last turn that is over for the client: its message, if it has one, was sent whole."""

        self._has_item = position.turn > 0 and not closed
        """Whether a message is open. The rest is about this message, and about the current beginning of its words."""

        self._has_part = self._has_item and (position.slot == DONE or position.step >= PART_ADDED)
        self._words = OpenWords(characters_of(position.code))
        self._attempt = (0, 0)
        self._reset = 0
        self._is_queued = run.status is RunStatus.QUEUED
        """Whether the client was told so, and nothing else since."""

        self._slot: int | None = None
        """Where the words that come are sent; None: they are not sent before their turn is over."""

    def start(self) -> list[Event]:
        """The two events that every stream begins with."""
        kind, step = ("queued", QUEUED) if self._is_queued else ("in_progress", IN_PROGRESS)
        response = self._queued() if self._is_queued else self._in_progress()
        return [
            *self._sent_unless_had("response.created", StreamPosition(0, step=CREATED), response=response),
            *self._sent_unless_had(f"response.{kind}", StreamPosition(0, step=step), response=response),
        ]

    def leave_queue(self, run: Run) -> list[Event]:
        """What is sent when a queued run goes on: here it is as it is now."""
        if not self._is_queued or run.status is RunStatus.QUEUED:
            return []
        self._is_queued = False
        position = StreamPosition(0, step=IN_PROGRESS)
        return self._sent_unless_had("response.in_progress", position, response=self._in_progress())

    def needs_turns_before(self, turn: int) -> bool:
        """Whether the stored texts of the turns before this one are wanted first (``set_stored``)."""
        return self._live and self._over < turn and self._known < turn - 1

    def set_stored(self, run: Run, turns: Iterable[TurnText], *, through: int) -> None:
        """The run as it is now, and the texts that are stored, of all turns through that one."""
        self._run = run
        self._messages = {each.turn: each for each in turns if not each.corrected}
        self._known = through

    def begin(self, event_id: EventId) -> list[Event]:
        """The text of a turn begins, or begins anew."""
        turn = event_id.turn
        if not self._live or turn <= self._over:
            return []
        events = self._end_turns_before(turn)
        again = self._attempt == (turn, event_id.attempt)
        self._attempt = (turn, event_id.attempt)
        self._reset = self._reset + 1 if again else 0
        slot, last = slot_of(turn, event_id.attempt, self._reset), self._position
        if slot is not None and last.turn == turn and slot <= last.slot:
            # Words that an earlier connection has sent: those of its last beginning go on where that ended.
            self._slot = slot if slot == last.slot else None
        else:
            self._slot = slot
            self._words = self._words.begun_anew()
        return events

    def append(self, event_id: EventId, text: str, *, refusal: bool = False) -> list[Event]:
        """More text of a turn."""
        turn = event_id.turn
        events = [] if self._attempt == (turn, event_id.attempt) else self.begin(event_id)
        # A refusal is sent when the turn is over, as the message's last part: words may come after it.
        if self._slot is None or turn <= self._over or refusal:
            return events
        here = StreamPosition(turn, self._slot)
        if self._words.hear(text):
            events += self._restart(here)
        if new := self._words.take():
            events += self._open(here, refusal=False)
            step = PART_ADDED + code_of(self._words.length)
            events += self._delta(replace(here, step=step), new, refusal=False)
        return events

    def tell_stored(self, turn: int) -> list[Event]:
        """The text of a turn that has ended, as it is stored: what the client has not."""
        if not self._live or turn <= self._over:
            return []
        events = self._end_turns_before(turn)
        stored = self._messages.get(turn)
        return events if stored is None else events + self._tell(stored)

    def end(self, run: Run, turns: list[TurnText], calls: Sequence[OpenCall] = ()) -> list[Event]:
        """The run's end, with its stored texts: what is not sent yet of messages and calls, and the response."""
        self._run = run
        self._messages = {each.turn: each for each in turns_with_message(run, turns)}
        here = run.turn.number
        events = self._end_turns_before(here + 1)
        if self._has_item:  # begun by an attempt that failed: the run has ended with calls, and without a word
            events += self._take_back(here)
        for number, call in enumerate(calls):
            events += self._call(call, number)
        kind = LAST_EVENTS.get(run.status, "response.failed")
        if kind == "response.failed":
            # Some clients pass over ``response.failed``, and show an error for this event alone.
            fields = {"code": run.result.error_code or run.status.value, "param": None}
            message = run.result.error_message or f"The response is {run.status}."
            events += self._event("error", StreamPosition(here, DONE, ERROR), message=message, **fields)
        response = response_object(run, turns, calls, agent=self._agent, callers=self._callers)
        return events + self._event(kind, StreamPosition(here, DONE, END), response=response)

    def _call(self, call: OpenCall, number: int) -> list[Event]:
        """The events of a call for the caller: what it says is known as a whole."""
        whole = call_object(self._run, call, len(self._messages) + number)
        at: Event = {"output_index": len(self._messages) + number}
        named = {"item_id": whole["id"], **at}
        step = CALLS + EVENTS_A_CALL * number
        if whole["type"] == "mcp_approval_request":
            events = self._of_call(step + CALL_ADDED, "response.output_item.added", **at, item=whole)
            return events + self._of_call(step + CALL_DONE, "response.output_item.done", **at, item=whole)
        begun = {**whole, "arguments": "", "status": "in_progress"}
        events = self._of_call(step + CALL_ADDED, "response.output_item.added", **at, item=begun)
        arguments = {"delta": call.arguments}
        events += self._of_call(step + CALL_ARGUMENTS, "response.function_call_arguments.delta", **named, **arguments)
        done = {"name": call.name, "arguments": call.arguments}
        events += self._of_call(step + CALL_ARGUMENTS_DONE, "response.function_call_arguments.done", **named, **done)
        return events + self._of_call(step + CALL_DONE, "response.output_item.done", **at, item=whole)

    def _of_call(self, step: int, kind: str, **fields: Any) -> list[Event]:
        return self._event(kind, StreamPosition(self._run.turn.number, DONE, step), **fields)

    def _take_back(self, turn: int) -> list[Event]:
        """What begins the response anew, without the message that is open."""
        self._has_item = self._has_part = False
        return self._event("response.in_progress", StreamPosition(turn, DONE, TEXT_DONE), response=self._in_progress())

    def _end_turns_before(self, turn: int) -> list[Event]:
        events: list[Event] = []
        for earlier in range(self._over + 1, turn):
            # A turn without words may leave a message open, of an attempt that failed: the next words are sent in it.
            if (message := self._messages.get(earlier)) is not None:
                events += self._tell(message) + self._close(message)
        self._over = max(self._over, turn - 1)
        return events

    def _tell(self, turn: TurnText) -> list[Event]:
        """The words of a turn's first part that the client has not, as they are stored."""
        here, last = turn.turn, self._position
        if last.turn == here and last.slot == DONE:
            return []
        refusal = bool(turn.refusal) and not turn.text
        words = turn.refusal if refusal else turn.text
        sent = self._sent_of(turn, words, refusal=refusal)
        slot = last.slot if last.turn == here and self._has_item and sent is not None else WHOLE
        at = StreamPosition(here, slot)
        events = self._restart(at) if sent is None else []
        events += self._open(at, refusal=refusal, with_part=bool(self._item_of(turn)["content"]))
        if rest := words[sent or 0 :]:
            events += self._delta(replace(at, step=PART_ADDED + code_of_whole(len(words))), rest, refusal=refusal)
        self._words, self._slot = OpenWords.whole(words), None
        return events

    def _sent_of(self, turn: TurnText, words: str, *, refusal: bool) -> int | None:
        """How many of these characters the client has; None where it has others."""
        last, has = self._position, self._words.client_has
        if not self._has_item:
            return 0
        if not words and self._has_part and not self._item_of(turn)["content"]:
            return None
        if last.turn == turn.turn and last.slot == WHOLE:
            return min(characters_of(last.code), len(words))
        if refusal and self._has_part:
            # That part is one of text: only text is sent while it is written.
            return None
        if has is not None:
            return len(has) if words.startswith(has) else None
        # An earlier connection sent it: only its length and its attempt are known, and the attempt that counts only of
        # the last turn.
        is_last = turn.turn == self._run.turn.number
        is_other = is_last and attempt_of_slot(last.slot) not in (None, self._run.turn.attempt)
        if last.turn != turn.turn or is_other or last.code > code_of_whole(len(words)):
            return None
        return min(characters_of(last.code), len(words))

    def _close(self, turn: TurnText) -> list[Event]:
        """The end of a turn's message. Each event has a position of its own: a connection may end between any two."""
        item = self._item_of(turn)
        events: list[Event] = []
        for index, part in enumerate(item["content"]):
            at = self._part_at(self._index_of(turn.turn), index)
            if part["type"] == "output_text":
                done = {"text": part["text"], "logprobs": []}
                events += self._ended(turn, TEXT_DONE, "response.output_text.done", **at, **done)
                events += self._ended(turn, FIRST_PART_DONE, "response.content_part.done", **at, part=part)
                continue
            if index:
                empty = refusal_part("")
                events += self._ended(turn, SECOND_ADDED, "response.content_part.added", **at, part=empty)
                events += self._ended(turn, REFUSAL_SENT, "response.refusal.delta", **at, delta=part["refusal"])
            events += self._ended(turn, REFUSAL_DONE, "response.refusal.done", **at, refusal=part["refusal"])
            events += self._ended(turn, LAST_PART_DONE, "response.content_part.done", **at, part=part)
        index = self._index_of(turn.turn)
        events += self._ended(turn, ITEM_DONE, "response.output_item.done", output_index=index, item=item)
        self._has_item = self._has_part = False
        self._words = OpenWords()
        return events

    def _restart(self, at: StreamPosition) -> list[Event]:
        self._has_part = False
        response = {**self._in_progress(), "output": [self._empty_message(at.turn)]}
        return self._event("response.in_progress", replace(at, step=RESTARTED), response=response)

    def _open(self, at: StreamPosition, *, refusal: bool, with_part: bool = True) -> list[Event]:
        """The message's item and its first part, where it has none yet."""
        events: list[Event] = []
        index = self._index_of(at.turn)
        if not self._has_item:
            fields = {"output_index": index, "item": self._empty_message(at.turn)}
            events += self._event("response.output_item.added", replace(at, step=ITEM_ADDED), **fields)
        if with_part and not self._has_part:
            part = refusal_part("") if refusal else text_part("")
            here = replace(at, step=PART_ADDED)
            events += self._event("response.content_part.added", here, **self._part_at(index), part=part)
        self._has_item, self._has_part = True, self._has_part or with_part
        return events

    def _delta(self, at: StreamPosition, text: str, *, refusal: bool) -> list[Event]:
        here = self._part_at(self._index_of(at.turn))
        if refusal:
            return self._event("response.refusal.delta", at, **here, delta=text)
        return self._event("response.output_text.delta", at, **here, delta=text, logprobs=[])

    def _ended(self, turn: TurnText, step: int, kind: str, **fields: Any) -> list[Event]:
        return self._event(kind, StreamPosition(turn.turn, DONE, step), **fields)

    def _index_of(self, turn: int) -> int:
        """The index of a turn's message in the output."""
        return sum(each < turn for each in self._messages)

    def _item_of(self, turn: TurnText) -> OutputMessage:
        return output_message(self._run, turn, self._index_of(turn.turn))

    def _part_at(self, index: int, part: int = 0) -> Event:
        """The fields that name a content part."""
        return {"item_id": message_id(self._run, index), "output_index": index, "content_index": part}

    def _empty_message(self, turn: int) -> OutputMessage:
        """The message without its text."""
        return {
            "id": message_id(self._run, self._index_of(turn)),
            "type": "message",
            "role": "assistant",
            "status": "in_progress",
            "content": [],
        }

    def _queued(self) -> ResponseObject:
        return response_object(self._run, callers=self._callers)

    def _in_progress(self) -> ResponseObject:
        # Also for a run that has ended: a viewer who comes late gets the same first events.
        response = response_object(replace(self._run, phase=RunningTools()), callers=self._callers)
        response["error"] = response["incomplete_details"] = None
        return response

    def _event(self, kind: str, position: StreamPosition, **fields: Any) -> list[Event]:
        """The event, unless it was sent before; whatever it is, it ends the time in the queue."""
        begun = self.leave_queue(replace(self._run, phase=RunningTools()))
        return begun + self._sent_unless_had(kind, position, **fields)

    def _sent_unless_had(self, kind: str, position: StreamPosition, **fields: Any) -> list[Event]:
        # Built and left out: what follows an event depends on what was sent before it.
        number = position.number
        if number <= self._after:
            return []
        self._position = position
        return [{"type": kind, "sequence_number": number, **fields}]
