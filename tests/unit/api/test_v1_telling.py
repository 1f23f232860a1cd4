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

from shared.api.v1.names import message_id
from shared.api.v1.output import Said
from shared.api.v1.places import CLOSING, MOST, STEPS, TOLD, Place
from shared.api.v1.telling import Telling
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import Run, Turn
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
RUNS: dict[str, tuple[list[list[ViewEvent]], list[Said]]] = {
    "one turn": ([attempt(1, 1, "a", "bc", "d")], [Said(turn=1, text="abcd")]),
    "three turns": (
        [attempt(1, 1, "one ", "two"), attempt(2, 1), attempt(3, 1, "x", "é")],
        [Said(turn=1, text="one two"), Said(turn=3, text="xé")],
    ),
    "an attempt that failed": (
        [attempt(1, 1, "a", "b"), attempt(1, 2), attempt(1, 3, "c", "d")],
        [Said(turn=1, text="cd")],
    ),
    "a reset": (
        [attempt(1, 1, "a", None, "b", "c"), attempt(2, 1, "d")],
        [Said(turn=1, text="bc"), Said(turn=2, text="d")],
    ),
    "no live text": ([SILENT], [Said(turn=1, text="all at once")]),
    "a correction": (
        [attempt(1, 1, "wrong"), attempt(2, 1, "{", "}")],
        [Said(turn=1, text="wrong", corrected=True), Said(turn=2, text="{}")],
    ),
    "text that the stream lost": (
        [attempt(1, 1, "a"), attempt(2, 1, "b")],
        [Said(turn=1, text="abc"), Said(turn=2, text="bcd")],
    ),
    "text from the rows": (
        [[*attempt(1, 1, "a"), Snapshot(event_id=EventId(1, 1, ALL), text="abc")], attempt(2, 1, "d")],
        [Said(turn=1, text="abc"), Said(turn=2, text="d")],
    ),
    "a refusal": ([attempt(1, 1, "No", ".")], [Said(turn=1, refusal="No.")]),
}
EACH = pytest.mark.parametrize("name", RUNS)


def the_run(said: Sequence[Said], **changes: Any) -> Run:
    return a_run_that_is(RunStatus.COMPLETED, turn=Turn(number=max(each.turn for each in said)), **changes)


def is_start(event: ViewEvent) -> bool:
    return isinstance(event, Snapshot) and event.event_id.sequence == 0


def seen(attempts: list[list[ViewEvent]], said: list[Said], after: EventId | None, at: int) -> Iterator[ViewEvent]:
    """What a viewer sees who comes, after that event, when ``at`` of the run's events have happened."""
    run, text = the_run(said), said[-1].words
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


def told(telling: Telling, views: Iterator[ViewEvent], said: list[Said]) -> Iterator[tuple[int, Event]]:
    """The stream, each event with how many views had come by then."""
    yield from ((0, event) for event in telling.begin())
    for number, view in enumerate(views, 1):
        events: list[Event] = []
        match view:
            case Snapshot() | Delta():
                if telling.lacks(view.event_id.turn):
                    telling.learn([each for each in said if each.turn < view.event_id.turn])
                tell = telling.delta if isinstance(view, Delta) else telling.snapshot
                events = tell(view.event_id, view.text)
            case End():
                telling.learn(said)
                events = telling.end(view.run)
        yield from ((number, event) for event in events)


def test_a_place_is_a_number_that_grows_and_is_read_back() -> None:
    places = [
        Place(0, 0, 0, 1),
        Place(1, 0, 0, 1),
        Place(1, 1, 4, TOLD + 7),
        Place(1, 1, 4, TOLD + 8),
        Place(1, 1, 5),
        Place(1, CLOSING, 0, 2),
        Place(2),
        Place(127, CLOSING, (1 << 18) - 1, STEPS - 1),
    ]
    numbers = [place.number for place in places]
    assert numbers == sorted(set(numbers))
    assert [Place.after(number) for number in numbers] == places
    assert numbers[-1] == MOST == 2**53 - 1
    assert Place(1, 3, 9, TOLD).event_id == EventId(1, 3, 9)
    assert Place(1, 3, 9, 1).event_id == EventId(1, 3, 8)
    assert Place(1, 3, 10**9, TOLD).number < Place(1, 4).number
    for nowhere in (Place(0, 0, 0, 1), Place(1, CLOSING), Place(1), Place(1, 254, 1), Place.after(10**30)):
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

    def check(self, said: list[Said]) -> None:
        run = the_run(said)
        assert self.response is not None
        expected = {message_id(run, each.turn): each.words for each in said if not each.corrected}
        assert {item["id"] for item in self.response["output"]} == set(expected)
        assert {name: text for name, text in self.done.items() if name in expected} == expected


@EACH
def test_a_stream_is_the_messages_word_by_word(name: str) -> None:
    attempts, said = RUNS[name]
    client = Client()
    for _, event in told(Telling(the_run(said), None, None), seen(attempts, said, None, 0), said):
        client.hear(event)
    client.check(said)


@EACH
def test_a_stream_is_one_that_openais_own_helper_takes(name: str) -> None:
    attempts, said = RUNS[name]
    helper: ResponseStreamState[Any] = ResponseStreamState(input_tools=[], text_format=omit)
    for _, event in told(Telling(the_run(said), None, None), seen(attempts, said, None, 0), said):
        helper.handle_event(TYPED.validate_python(event))
    final = helper._completed_response
    assert isinstance(final, Response)
    assert final.output_text == "".join(each.text for each in said if not each.corrected)


@EACH
def test_a_stream_cut_anywhere_goes_on_exactly_there_whenever_it_is_taken_up(name: str) -> None:
    attempts, said = RUNS[name]
    events = sum(len(each) for each in attempts)
    whole = list(told(Telling(the_run(said), None, None), seen(attempts, said, None, 0), said))
    for cut in range(1, len(whole)):
        for at in range(max(whole[cut - 1][0] - 1, 0), events + 1):
            # Who was away while the provider began anew within an attempt, until the turn was over, has a number that
            # cannot tell: such a client gets the rest of the right length, and the right text when the message is done.
            client = Client(exact=name != "a reset")
            for _, event in whole[:cut]:
                client.hear(event)
            telling = Telling(the_run(said), client.last, None)
            for _, event in told(telling, seen(attempts, said, telling.event_id, at), said):
                client.hear(event)
            client.check(said)


def returning(told: str) -> tuple[Client, Telling]:
    """A client that has heard this much of turn 1 and comes back, and its stream."""
    first, client = Telling(a_run(), None, None), Client()
    for event in [*first.begin(), *first.delta(EventId(1, 1, 4), told)]:
        client.hear(event)
    return client, Telling(a_run(), client.last, None)


def test_who_was_told_more_than_the_turn_now_has_begins_anew() -> None:
    """The provider began anew while the client was away, and the turn is over since."""
    client, telling = returning("half a long sent")
    said = [Said(turn=1, text="Shorter."), Said(turn=2, text="Done.")]
    telling.learn(said[:1])
    events = telling.snapshot(EventId(2, 1, 0), "")
    telling.learn(said)
    for event in [*events, *telling.end(the_run(said))]:
        client.hear(event)
    client.check(said)


def test_a_message_of_which_nothing_is_left_is_emptied() -> None:
    """It was cancelled while the client was away: the run has no text."""
    client, telling = returning("half a sent")
    for event in telling.end(a_run_that_is(RunStatus.CANCELLED)):
        client.hear(event)
    assert list(client.texts.values()) == list(client.done.values()) == [""]


def test_words_that_end_otherwise_than_they_were_told_are_told_again() -> None:
    telling, client = Telling(a_run(), None, None), Client()
    said = [Said(turn=1, text="What it is."), Said(turn=2, text="Done.")]
    events = [*telling.begin(), *telling.delta(EventId(1, 1, 4), "What it was")]
    telling.learn(said[:1])
    events += telling.snapshot(EventId(2, 1, 0), "")
    telling.learn(said)
    for event in [*events, *telling.end(the_run(said))]:
        client.hear(event)
    client.check(said)


def test_the_end_says_how_it_ended_and_what_was_cut_short() -> None:
    run = a_run_that_is(RunStatus.CANCELLED)
    telling = Telling(run, None, None)
    telling.begin()
    telling.snapshot(EventId(1, 1, 0), "")
    telling.delta(EventId(1, 1, 4), "half a sent")
    *closing, end = telling.end(run)
    assert [event["type"] for event in closing] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
    ]
    assert (closing[0]["text"], closing[2]["item"]["status"]) == ("half a sent", "incomplete")
    assert (end["type"], end["response"]["status"], end["response"]["output"]) == ("response.failed", "cancelled", [])
    for status, kind in ((RunStatus.INCOMPLETE, "response.incomplete"), (RunStatus.FAILED, "response.failed")):
        assert Telling(run, None, None).end(a_run_that_is(status))[-1]["type"] == kind


@pytest.mark.parametrize("number", [2, 5, MOST, MOST - 1, 2**40])
def test_a_forged_number_misses_only_its_own_events(number: int) -> None:
    attempts, said = RUNS["three turns"]
    telling = Telling(the_run(said), number, None)
    for _, event in told(telling, seen(attempts, said, telling.event_id, 0), said):
        assert event["sequence_number"] > number
