"""A run's view events as a Responses stream: whole, and cut at every event and taken up again at any later time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from shared.api.openai.events import MAX_NUMBER, STEPS, TEXT, TURN_DONE, EventWriter, StreamPosition
from shared.api.openai.objects import message_id
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import Run, Turn
from shared.runs.queries.conversation import TurnText
from shared.runs.watching.views import ALL, Delta, End, EventId, Snapshot, ViewEvent
from tests.unit.api.conftest import a_run_that_is
from tests.unit.runs.records import a_run

Event = dict[str, Any]
TYPED: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def attempt(turn: int, number: int, *said: str | None) -> list[ViewEvent]:
    """One attempt as a viewer sees it: a word a piece, None for a reset by the provider."""
    events: list[ViewEvent] = [Snapshot(event_id=EventId(turn, number, 0), text="")]
    for sequence, words in enumerate(said, 1):
        here = EventId(turn, number, sequence * 3)
        events.append(Snapshot(event_id=here, text="") if words is None else Delta(event_id=here, text=words))
    return events


SILENT = attempt(1, 1)
RUNS: dict[str, tuple[list[list[ViewEvent]], list[TurnText]]] = {
    "one turn": ([attempt(1, 1, "a", "bc", "d")], [TurnText(turn=1, text="abcd")]),
    "three turns": (
        [attempt(1, 1, "one ", "two"), attempt(2, 1), attempt(3, 1, "x", "é")],
        [TurnText(turn=1, text="one two"), TurnText(turn=3, text="xé")],
    ),
    "an attempt that failed": (
        [attempt(1, 1, "a", "b"), attempt(1, 2), attempt(1, 3, "c", "d")],
        [TurnText(turn=1, text="cd")],
    ),
    "a reset": (
        [attempt(1, 1, "a", None, "b", "c"), attempt(2, 1, "d")],
        [TurnText(turn=1, text="bc"), TurnText(turn=2, text="d")],
    ),
    "no live text": ([SILENT], [TurnText(turn=1, text="all at once")]),
    "a correction": (
        [attempt(1, 1, "wrong"), attempt(2, 1, "{", "}")],
        [TurnText(turn=1, text="wrong", corrected=True), TurnText(turn=2, text="{}")],
    ),
    "text that the stream lost": (
        [attempt(1, 1, "a"), attempt(2, 1, "b")],
        [TurnText(turn=1, text="abc"), TurnText(turn=2, text="bcd")],
    ),
    "text from the rows": (
        [[*attempt(1, 1, "a"), Snapshot(event_id=EventId(1, 1, ALL), text="abc")], attempt(2, 1, "d")],
        [TurnText(turn=1, text="abc"), TurnText(turn=2, text="d")],
    ),
    "a refusal": ([attempt(1, 1, "No", ".")], [TurnText(turn=1, refusal="No.")]),
}
EACH = pytest.mark.parametrize("name", RUNS)


def the_run(turns: Sequence[TurnText], **changes: Any) -> Run:
    return a_run_that_is(RunStatus.COMPLETED, turn=Turn(number=max(each.turn for each in turns)), **changes)


def seen(attempts: list[list[ViewEvent]], turns: list[TurnText], after: EventId | None, at: int) -> Iterator[ViewEvent]:
    """What a viewer sees who comes, after that event, when ``at`` of the run's events have happened."""
    run, text = the_run(turns), turns[-1].full_text
    events = list(itertools.chain.from_iterable(attempts))
    if at < len(events):
        current = [each for each, own in enumerate(attempts) for _ in own][at]
        rest = attempts[current]
        if after is not None and after.same_attempt(rest[0].event_id):  # type: ignore[union-attr]
            rest = [each for each in rest if each.event_id.sequence > after.sequence]  # type: ignore[union-attr]
        yield from itertools.chain(rest, *attempts[current + 1 :])
    last = attempts[-1][0].event_id  # type: ignore[union-attr]
    yield Snapshot(event_id=last, text=text)
    yield End(run=run, calls=(), text=text)


def written(writer: EventWriter, views: Iterator[ViewEvent], turns: list[TurnText]) -> Iterator[tuple[int, Event]]:
    """The stream, each event with how many views had come by then."""
    yield from ((0, event) for event in writer.start())
    for number, view in enumerate(views, 1):
        events: list[Event] = []
        match view:
            case Snapshot() | Delta():
                if writer.lacks_turns_before(view.event_id.turn):
                    writer.set_stored([each for each in turns if each.turn < view.event_id.turn])
                write = writer.append if isinstance(view, Delta) else writer.replace
                events = write(view.event_id, view.text)
            case End():
                writer.set_stored(turns)
                events = writer.end(view.run)
        yield from ((number, event) for event in events)


def test_a_position_is_a_number_that_grows_and_is_read_back() -> None:
    positions = [
        StreamPosition(0, 0, 0, 1),
        StreamPosition(1, 0, 0, 1),
        StreamPosition(1, 1, 4, TEXT + 7),
        StreamPosition(1, 1, 4, TEXT + 8),
        StreamPosition(1, 1, 5),
        StreamPosition(1, TURN_DONE, 0, 2),
        StreamPosition(2),
        StreamPosition(127, TURN_DONE, (1 << 18) - 1, STEPS - 1),
    ]
    numbers = [position.number for position in positions]
    assert numbers == sorted(set(numbers))
    assert [StreamPosition.from_number(number) for number in numbers] == positions
    assert numbers[-1] == MAX_NUMBER == 2**53 - 1
    assert StreamPosition(1, 3, 9, TEXT).event_id == EventId(1, 3, 9)
    assert StreamPosition(1, 3, 9, 1).event_id == EventId(1, 3, 8)
    assert StreamPosition(1, 3, 10**9, TEXT).number < StreamPosition(1, 4).number
    for nowhere in (
        StreamPosition(0, 0, 0, 1),
        StreamPosition(1, TURN_DONE),
        StreamPosition(1),
        StreamPosition(1, 254, 1),
        StreamPosition.from_number(10**30),
    ):
        assert nowhere.event_id is None


class Client:
    """Keeps the text of each message as a client of OpenAI does."""

    def __init__(self, *, exact: bool = True) -> None:
        self.exact = exact
        self.texts: dict[str, str] = {}
        self.done: dict[str, str] = {}
        self.last = -1
        self.response: Event | None = None

    def hear(self, event: Event) -> None:
        assert event["sequence_number"] > self.last, event
        self.last = event["sequence_number"]
        TYPED.validate_python(event)
        assert self.response is None, "nothing follows the end"
        match event["type"]:
            case "response.in_progress":
                for item in event["response"]["output"]:
                    assert item["id"] in self.texts
                    self.texts[item["id"]] = ""
            case "response.output_item.added":
                assert event["item"]["id"] not in self.texts
                self.texts[event["item"]["id"]] = ""
            case "response.output_text.delta":
                assert event["delta"]
                assert event["item_id"] not in self.done
                self.texts[event["item_id"]] += event["delta"]
            case "response.output_text.done":
                self.done[event["item_id"]] = event["text"]
                assert not self.exact or self.texts[event["item_id"]] == event["text"]
            case "response.completed" | "response.failed" | "response.incomplete":
                self.response = event["response"]

    def check(self, turns: list[TurnText]) -> None:
        run = the_run(turns)
        assert self.response is not None
        expected = {message_id(run, each.turn): each.full_text for each in turns if not each.corrected}
        assert {item["id"] for item in self.response["output"]} == set(expected)
        assert {name: text for name, text in self.done.items() if name in expected} == expected


@EACH
def test_a_stream_is_the_messages_word_by_word(name: str) -> None:
    attempts, turns = RUNS[name]
    client = Client()
    for _, event in written(EventWriter(the_run(turns), None, None), seen(attempts, turns, None, 0), turns):
        client.hear(event)
    client.check(turns)


@EACH
def test_a_stream_is_one_that_openais_own_helper_takes(name: str) -> None:
    attempts, turns = RUNS[name]
    helper: ResponseStreamState[Any] = ResponseStreamState(input_tools=[], text_format=omit)
    for _, event in written(EventWriter(the_run(turns), None, None), seen(attempts, turns, None, 0), turns):
        helper.handle_event(TYPED.validate_python(event))
    final = helper._completed_response
    assert isinstance(final, Response)
    assert final.output_text == "".join(each.text for each in turns if not each.corrected)


@EACH
def test_a_stream_cut_anywhere_goes_on_exactly_there_whenever_it_is_taken_up(name: str) -> None:
    attempts, turns = RUNS[name]
    events = sum(len(each) for each in attempts)
    whole = list(written(EventWriter(the_run(turns), None, None), seen(attempts, turns, None, 0), turns))
    for cut in range(1, len(whole)):
        for at in range(max(whole[cut - 1][0] - 1, 0), events + 1):
            # Who was away while the provider began anew within an attempt, until the turn was over, has a number that
            # cannot tell: such a client gets the rest of the right length, and the right text when the message is done.
            client = Client(exact=name != "a reset")
            for _, event in whole[:cut]:
                client.hear(event)
            writer = EventWriter(the_run(turns), client.last, None)
            for _, event in written(writer, seen(attempts, turns, writer.resume_at, at), turns):
                client.hear(event)
            client.check(turns)


def returning(sent: str) -> tuple[Client, EventWriter]:
    """A client that has heard this much of turn 1 and comes back, and its stream."""
    first, client = EventWriter(a_run(), None, None), Client()
    for event in [*first.start(), *first.append(EventId(1, 1, 4), sent)]:
        client.hear(event)
    return client, EventWriter(a_run(), client.last, None)


def test_who_was_told_more_than_the_turn_now_has_begins_anew() -> None:
    """The provider began anew while the client was away, and the turn is over since."""
    client, writer = returning("half a long sent")
    turns = [TurnText(turn=1, text="Shorter."), TurnText(turn=2, text="Done.")]
    writer.set_stored(turns[:1])
    events = writer.replace(EventId(2, 1, 0), "")
    writer.set_stored(turns)
    for event in [*events, *writer.end(the_run(turns))]:
        client.hear(event)
    client.check(turns)


def test_a_message_of_which_nothing_is_left_is_emptied() -> None:
    """It was cancelled while the client was away: the run has no text."""
    client, writer = returning("half a sent")
    for event in writer.end(a_run_that_is(RunStatus.CANCELLED)):
        client.hear(event)
    assert list(client.texts.values()) == list(client.done.values()) == [""]


def test_words_that_end_otherwise_than_they_were_told_are_told_again() -> None:
    writer, client = EventWriter(a_run(), None, None), Client()
    turns = [TurnText(turn=1, text="What it is."), TurnText(turn=2, text="Done.")]
    events = [*writer.start(), *writer.append(EventId(1, 1, 4), "What it was")]
    writer.set_stored(turns[:1])
    events += writer.replace(EventId(2, 1, 0), "")
    writer.set_stored(turns)
    for event in [*events, *writer.end(the_run(turns))]:
        client.hear(event)
    client.check(turns)


def test_the_end_says_how_it_ended_and_what_was_cut_short() -> None:
    run = a_run_that_is(RunStatus.CANCELLED)
    writer = EventWriter(run, None, None)
    writer.start()
    writer.replace(EventId(1, 1, 0), "")
    writer.append(EventId(1, 1, 4), "half a sent")
    *closing, end = writer.end(run)
    assert [event["type"] for event in closing] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
    ]
    assert (closing[0]["text"], closing[2]["item"]["status"]) == ("half a sent", "incomplete")
    assert (end["type"], end["response"]["status"], end["response"]["output"]) == ("response.failed", "cancelled", [])
    for status, kind in ((RunStatus.INCOMPLETE, "response.incomplete"), (RunStatus.FAILED, "response.failed")):
        assert EventWriter(run, None, None).end(a_run_that_is(status))[-1]["type"] == kind


@pytest.mark.parametrize("number", [2, 5, MAX_NUMBER, MAX_NUMBER - 1, 2**40])
def test_a_forged_number_misses_only_its_own_events(number: int) -> None:
    attempts, turns = RUNS["three turns"]
    writer = EventWriter(the_run(turns), number, None)
    for _, event in written(writer, seen(attempts, turns, writer.resume_at, 0), turns):
        assert event["sequence_number"] > number
