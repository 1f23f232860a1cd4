"""A run's view events as a Responses stream: whole, and cut at every event and taken up again at any later time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response

from shared.agentkit.agent import Agent, FunctionCall
from shared.api.openai.events import EventWriter
from shared.api.openai.positions import ATTEMPTS, LIVE_TURNS, LONGEST, MAX_CALLS, MAX_NUMBER, RESETS
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import Run, Turn
from shared.runs.queries.conversation import TurnText
from shared.runs.watching.views import ALL, Delta, End, EventId, Snapshot, ViewEvent
from tests.parts.strict_reader import Event, StrictReader, typed
from tests.unit.api.conftest import a_run_that_is

PLAIN = cast("Agent", SimpleNamespace(output=None))
STRUCTURED = cast("Agent", SimpleNamespace(output=SimpleNamespace(response_format=lambda: {"type": "json_object"})))
NEW = "a new start by the provider"
Attempt = list[Snapshot | Delta]


@dataclass(frozen=True)
class Refused:
    """Words of a refusal."""

    text: str


def attempt(turn: int, number: int, *said: str | Refused) -> Attempt:
    """One attempt as a viewer sees it, a piece each."""
    events: Attempt = [Snapshot(event_id=EventId(turn, number, 0), text="")]
    for sequence, words in enumerate(said, 1):
        here = EventId(turn, number, sequence * 3)
        if words == NEW:
            events.append(Snapshot(event_id=here, text=""))
        elif isinstance(words, Refused):
            events.append(Delta(event_id=here, text=words.text, refusal=True))
        else:
            events.append(Delta(event_id=here, text=words))
    return events


@dataclass(frozen=True)
class Shape:
    """A shape of run: its attempts, the texts that are stored in the end, and how it ends."""

    attempts: list[Attempt]
    turns: list[TurnText] = field(default_factory=list)
    status: RunStatus = RunStatus.COMPLETED
    structured: bool = False
    calls: tuple[FunctionCall, ...] = ()
    """Of the caller's functions, with which it ends."""

    takes_back: bool = False
    """Whether a message that was begun is none of the response's: clients that only append are told to begin anew."""

    last_turn: int = 0
    exact_when_late: bool = True
    """Whether a client that was away while words became void, and comes back when the turn is over, is told so."""

    def run(self) -> Run:
        """The run when it has ended."""
        last = self.attempts[-1][0].event_id
        changes: dict[str, Any] = {} if self.status is not RunStatus.FAILED else {"error_code": "tool_failed"}
        if self.structured and self.status is RunStatus.COMPLETED:
            changes["output"] = "{}"
        if self.calls:
            changes["open_calls"] = len(self.calls)
        turn = Turn(number=self.last_turn or last.turn, attempt=last.attempt)
        return a_run_that_is(self.status, turn=turn, **changes)

    def before_the_end(self) -> Run:
        """The run while it goes on."""
        return a_run_that_is(RunStatus.IN_PROGRESS, turn=self.run().turn)

    def texts(self) -> list[str]:
        """What the messages of the output say."""
        kept = [each for each in self.turns if not each.corrected]
        if self.structured:
            kept = kept[-1:]
        last = self.run().turn.number
        return [each.full_text for each in kept] + ([] if self.calls or (kept and kept[-1].turn == last) else [""])

    def views(self, at: int = 0) -> Iterator[ViewEvent]:
        """What a viewer sees who comes when ``at`` of the run's events have happened: the current attempt and on."""
        events = list(itertools.chain.from_iterable(self.attempts))
        run = self.run()
        if at < len(events):
            current = [each for each, own in enumerate(self.attempts) for _ in own][at]
            yield from itertools.chain.from_iterable(self.attempts[current:])
        if run.status is RunStatus.COMPLETED and self.turns:
            yield Snapshot(event_id=self.attempts[-1][0].event_id, text=self.turns[-1].full_text)
        yield End(run=run, calls=(), text="")

    def streamed(self, writer: EventWriter, at: int = 0) -> Iterator[tuple[int, Event]]:
        """The stream, each event with how many views had come by then."""
        yield from ((0, event) for event in writer.start())
        for number, view in enumerate(self.views(at), 1):
            yield from ((number, event) for event in self._events(writer, view))

    def _events(self, writer: EventWriter, view: ViewEvent) -> list[Event]:
        """As ``streaming`` hands them on."""
        match view:
            case End():
                return writer.end(view.run, self.turns, self.calls)
            case Snapshot() if view.text and view.event_id.sequence != ALL:
                return []
            case Snapshot() if view.text:
                here = view.event_id.turn
                writer.set_stored(self.before_the_end(), self._stored(here), through=here)
                return writer.tell_stored(here)
            case Snapshot() | Delta():
                here = view.event_id.turn
                if writer.needs_turns_before(here):
                    writer.set_stored(self.before_the_end(), self._stored(here - 1), through=here - 1)
                if isinstance(view, Snapshot):
                    return writer.begin(view.event_id)
                return writer.append(view.event_id, view.text, refusal=view.refusal)
        raise AssertionError(view)

    def _stored(self, through: int) -> list[TurnText]:
        return [each for each in self.turns if each.turn <= through]

    def writer(self, after: int | None = None) -> EventWriter:
        """The stream of a viewer."""
        return EventWriter(self.run(), after, STRUCTURED if self.structured else PLAIN)


def whole(text: str, turn: int = 1, number: int = 1) -> Snapshot:
    """The text of a turn as the rows have it."""
    return Snapshot(event_id=EventId(turn, number, ALL), text=text)


def text(turn: int, words: str, refusal: str = "", *, corrected: bool = False) -> TurnText:
    """A turn's stored text."""
    return TurnText(turn=turn, text=words, refusal=refusal, corrected=corrected)


CITED = TurnText(
    turn=1, text="abcd", annotations=({"type": "file_citation", "file_id": "f", "filename": "f", "index": 10**12},)
)
CALLS = (
    FunctionCall(call_id="call_1", name="look_up", arguments='{"word": "é"}'),
    FunctionCall(call_id="call_2", name="ask_pilot", arguments=""),
)
SHAPES: dict[str, Shape] = {
    "one turn": Shape([attempt(1, 1, "a", "bc", "d")], [CITED]),
    "tools first": Shape([attempt(1, 1), attempt(2, 1), attempt(3, 1, "x", "é")], [text(3, "xé")]),
    "words in several turns": Shape(
        [attempt(1, 1, "one ", "two"), attempt(2, 1), attempt(3, 1, "x", "é"), attempt(4, 1), attempt(5, 1, "z")],
        [text(1, "one two"), text(3, "xé"), text(5, "z")],
    ),
    "an attempt that failed": Shape([attempt(1, 1, "a", "b"), attempt(1, 2), attempt(1, 3, "c", "d")], [text(1, "cd")]),
    "an attempt that begins as the failed one": Shape(
        [attempt(1, 1, "ab", "cd"), attempt(1, 2, "a", "bc", "de", "f")], [text(1, "abcdef")]
    ),
    "an attempt that begins nearly as the failed one": Shape(
        [attempt(1, 1, "ab", "cd"), attempt(1, 2, "a", "bc", "x", "y")], [text(1, "abcxy")]
    ),
    "an attempt that says less than the failed one": Shape(
        [attempt(1, 1, "ab", "cd"), attempt(1, 2, "a", "b")], [text(1, "ab")]
    ),
    "words of a failed attempt alone, then tools": Shape(
        [attempt(1, 1, "a", "b"), attempt(1, 2), attempt(2, 1, "c"), attempt(2, 2, "d", "e"), attempt(3, 1, "f")],
        [text(2, "de"), text(3, "f")],
        exact_when_late=False,
    ),
    "words of a failed attempt, and the same in a later turn": Shape(
        [attempt(1, 1, "a", "b"), attempt(1, 2), attempt(2, 1), attempt(3, 1, "a", "bc", "d")], [text(3, "abcd")]
    ),
    "words of a failed attempt, and then none": Shape([attempt(1, 1, "a", "b"), attempt(1, 2)]),
    "a new start": Shape(
        [attempt(1, 1, "a", NEW, "b", "c"), attempt(2, 1, "d")], [text(1, "bc"), text(2, "d")], exact_when_late=False
    ),
    "a new start with the same words": Shape([attempt(1, 1, "a", "bc", NEW, "ab", "c", "d")], [text(1, "abcd")]),
    "more new starts than are sent": Shape(
        [attempt(1, 1, *itertools.chain.from_iterable((f"{n}", NEW) for n in range(RESETS + 3)), "x", "y")],
        [text(1, "xy")],
        exact_when_late=False,
    ),
    "more attempts than are sent": Shape(
        [attempt(1, n, f"{n}", "b") for n in (1, ATTEMPTS, ATTEMPTS + 1, ATTEMPTS + 2)],
        [text(1, f"{ATTEMPTS + 2}b")],
    ),
    "more turns than are sent word by word": Shape(
        [attempt(n, 1, f"{n}", "b") for n in (LIVE_TURNS, LIVE_TURNS + 1, LIVE_TURNS + 2)],
        [text(n, f"{n}b") for n in (LIVE_TURNS, LIVE_TURNS + 1, LIVE_TURNS + 2)],
    ),
    "no live text": Shape([attempt(1, 1)], [text(1, "all at once")]),
    "nothing said": Shape([attempt(1, 1)]),
    "nothing said in the last turn": Shape([attempt(1, 1, "a"), attempt(2, 1)], [text(1, "a")]),
    "text that the stream lost": Shape([attempt(1, 1, "a"), attempt(2, 1, "b")], [text(1, "abc"), text(2, "bcd")]),
    "text that ends otherwise than it was sent": Shape(
        [attempt(1, 1, "What it was"), attempt(2, 1, "Done.")],
        [text(1, "What it is."), text(2, "Done.")],
        exact_when_late=False,
    ),
    "text from the rows": Shape(
        [[*attempt(1, 1, "a"), whole("abc")], attempt(2, 1, "d")], [text(1, "abc"), text(2, "d")]
    ),
    "text from the rows that ends its turn incomplete": Shape(
        [[*attempt(1, 1, "a"), whole("abc")]], [text(1, "abc")], RunStatus.INCOMPLETE
    ),
    "a refusal": Shape([attempt(1, 1, Refused("No"), Refused("."))], [text(1, "", "No.")]),
    "a refusal in a later turn": Shape(
        [attempt(1, 1, "Well."), attempt(2, 1, Refused("No"), Refused("."))], [text(1, "Well."), text(2, "", "No.")]
    ),
    "a refusal after words": Shape(
        [attempt(1, 1, "I ", "see. ", Refused("No"), Refused("."))], [text(1, "I see. ", "No.")]
    ),
    "words after a refusal": Shape(
        [attempt(1, 1, Refused("No."), "I see.")], [text(1, "I see.", "No.")], exact_when_late=False
    ),
    "a refusal from the rows": Shape(
        [[*attempt(1, 1), whole("No.")], attempt(2, 1, "d")], [text(1, "", "No."), text(2, "d")]
    ),
    "a refusal by the second attempt": Shape(
        [attempt(1, 1, "N"), attempt(1, 2, Refused("N"), Refused("o."))], [text(1, "", "No.")]
    ),
    "halves of surrogate pairs": Shape(
        [attempt(1, 1, "a\ud83d", "\ude00b", "\ud83d", "\ude00", "\ude00", "c\ud83d")], [text(1, "a😀b😀�c�")]
    ),
    "a correction": Shape(
        [attempt(1, 1, "wrong"), attempt(2, 1, "{", "}")],
        [text(1, "wrong", corrected=True), text(2, "{}")],
        structured=True,
    ),
    "words before a structured result": Shape(
        [attempt(1, 1, "Let me see."), attempt(2, 1, "{", "}")],
        [text(1, "Let me see."), text(2, "{}")],
        structured=True,
    ),
    "calls of the caller's functions": Shape([attempt(1, 1)], calls=CALLS),
    "words, and then such calls": Shape(
        [attempt(1, 1, "one ", "two"), attempt(2, 1), attempt(3, 1, "x", "é")],
        [text(1, "one two"), text(3, "xé")],
        calls=CALLS,
    ),
    "words in an earlier turn, and then such calls": Shape(
        [attempt(1, 1, "one ", "two"), attempt(2, 1)], [text(1, "one two")], calls=CALLS
    ),
    "words of a failed attempt, and then such calls": Shape(
        [attempt(1, 1, "a"), attempt(2, 1, "b"), attempt(2, 2)], [text(1, "a")], calls=CALLS, takes_back=True
    ),
    "such calls in place of a structured result": Shape(
        [attempt(1, 1, "Let me see.")], [text(1, "Let me see.")], structured=True, calls=CALLS
    ),
    "such calls after more turns than are sent word by word": Shape(
        [attempt(LIVE_TURNS + 2, 1, "x")], [text(LIVE_TURNS + 2, "x")], calls=CALLS
    ),
    "failed without words": Shape([attempt(1, 1)], status=RunStatus.FAILED),
    "failed in mid-sentence": Shape([attempt(1, 1, "half a", " sent")], status=RunStatus.FAILED),
    "failed in mid-sentence after words": Shape(
        [attempt(1, 1, "a"), attempt(2, 1, "half a", " sent")], [text(1, "a")], RunStatus.FAILED
    ),
    "failed while tools ran": Shape([attempt(1, 1, "a", "b")], [text(1, "ab")], RunStatus.FAILED),
    "cancelled in mid-sentence": Shape([attempt(1, 1, "half a", " sent")], status=RunStatus.CANCELLED),
    "cut in mid-sentence": Shape([attempt(1, 1, "half a", " sent")], [text(1, "half a sent")], RunStatus.INCOMPLETE),
    "cut before the first word": Shape([attempt(1, 1, "a"), attempt(2, 1)], [text(1, "a")], RunStatus.INCOMPLETE),
}
EACH = pytest.mark.parametrize("name", SHAPES)


@EACH
def test_a_stream_agrees_with_the_response_that_it_ends_with(name: str) -> None:
    shape, client = SHAPES[name], StrictReader()
    for _, event in shape.streamed(shape.writer()):
        client.hear(event)
    assert (client.texts, client.calls) == (shape.texts(), [each.call_id for each in shape.calls])
    assert client.response is not None
    assert client.response["status"] == shape.status


@EACH
def test_a_stream_is_one_that_openais_own_helper_takes(name: str) -> None:
    shape = SHAPES[name]
    if shape.takes_back:
        return
    helper: ResponseStreamState[Any] = ResponseStreamState(input_tools=[], text_format=omit)
    events = [typed(event) for _, event in shape.streamed(shape.writer())]
    kinds = [event.type for event in events]
    for event in events:
        helper.handle_event(event)
    final = helper._completed_response
    if shape.status is RunStatus.COMPLETED:
        assert isinstance(final, Response)
        called = ["function_call"] * len(shape.calls)
        assert [item.type for item in final.output] == ["message"] * len(shape.texts()) + called
    assert kinds[-1] == {"completed": "response.completed", "incomplete": "response.incomplete"}.get(
        shape.status.value, "response.failed"
    )


@pytest.mark.slow
@EACH
def test_a_stream_cut_anywhere_goes_on_exactly_there_whenever_it_is_taken_up(name: str) -> None:
    shape = SHAPES[name]
    events = sum(len(each) for each in shape.attempts)
    streamed = list(shape.streamed(shape.writer()))
    for cut in range(1, len(streamed)):
        for at in range(max(streamed[cut - 1][0] - 1, 0), events + 1):
            client = StrictReader(exact=shape.exact_when_late)
            for _, event in streamed[:cut]:
                client.hear(event)
            for _, event in shape.streamed(shape.writer(client.last), at):
                client.hear(event)
            assert (client.texts, len(client.calls)) == (shape.texts(), len(shape.calls))


@EACH
def test_an_event_has_the_same_number_for_each_viewer_of_its_attempt(name: str) -> None:
    """Cut anywhere, the rest of a run with one attempt is sent as to who was not cut, event by event."""
    shape = SHAPES[name]
    streamed = [event for _, event in shape.streamed(shape.writer())]
    again = [event for _, event in shape.streamed(shape.writer())]
    assert streamed == again
    for cut in range(1, len(streamed)) if len(shape.attempts) == 1 else ():
        rest = [event for _, event in shape.streamed(shape.writer(streamed[cut - 1]["sequence_number"]))]
        assert rest == streamed[cut:]


@pytest.mark.slow
def test_numbers_of_every_kind_may_be_sent_and_none_breaks_anything() -> None:
    for name, shape in SHAPES.items():
        numbers = {event["sequence_number"] for _, event in shape.streamed(shape.writer())}
        for number in {*(n + d for n in numbers for d in (-1, 0, 1)), 5, 2**20, 2**30, MAX_NUMBER - 1, MAX_NUMBER}:
            if number < 0:
                continue
            last = number
            for _, event in shape.streamed(shape.writer(number)):
                assert event["sequence_number"] > last, (name, number, event)
                last = event["sequence_number"]
                typed(event)


def test_an_ended_run_is_told_to_who_comes_late() -> None:
    for shape in SHAPES.values():
        client = StrictReader()
        for _, event in shape.streamed(shape.writer(), at=10**6):
            client.hear(event)
        assert client.texts == shape.texts()
        assert client.kinds.count("response.in_progress") == 1


def test_a_run_that_failed_says_so_in_every_way_that_a_client_looks_for() -> None:
    for name in ("failed without words", "failed in mid-sentence after words", "failed while tools ran"):
        shape, client = SHAPES[name], StrictReader()
        for _, event in shape.streamed(shape.writer()):
            client.hear(event)
        assert client.response is not None
        assert client.error is not None
        error = client.response["error"]
        assert error == {"code": "tool_failed", "message": error["message"], "type": "server_error", "param": None}
        assert client.error["code"] == error["code"]
        assert "error" not in client.error, "OpenAI's Python client would raise before the response is there"
        assert client.kinds[-2:] == ["error", "response.failed"]
        last = client.output[-1]
        wordless = name != "failed while tools ran"
        assert (last["status"], last["content"] == []) == ("incomplete" if wordless else "completed", wordless)


def test_a_new_beginning_with_the_same_words_is_not_told() -> None:
    """Many clients can only append, and would have the words twice."""
    for name in ("an attempt that begins as the failed one", "a new start with the same words"):
        shape, appended = SHAPES[name], ""
        for _, event in shape.streamed(shape.writer()):
            appended += event.get("delta", "")
        assert appended == shape.turns[0].text


def test_a_queued_run_is_said_to_be_until_it_goes_on_or_ends() -> None:
    queued, ended = a_run_that_is(RunStatus.QUEUED), SHAPES["one turn"].run()
    going = a_run_that_is(RunStatus.IN_PROGRESS)
    writer, client = EventWriter(queued, None, PLAIN), StrictReader()
    for event in [*writer.start(), *writer.leave_queue(queued)]:
        client.hear(event)
    assert client.kinds == ["response.created", "response.queued"]
    for event in [*writer.leave_queue(going), *writer.leave_queue(going), *writer.end(ended, [CITED])]:
        client.hear(event)
    assert client.kinds[2:4] == ["response.in_progress", "response.output_item.added"]
    assert (client.kinds.count("response.in_progress"), client.texts) == (1, ["abcd"])
    again = EventWriter(going, client.last, PLAIN)
    assert [*again.start(), *again.end(ended, [CITED])] == []
    # Nobody saw it begin: the end comes in the same order all the same.
    cancelled = a_run_that_is(RunStatus.CANCELLED)
    writer = EventWriter(queued, None, PLAIN)
    kinds = [event["type"] for event in [*writer.start(), *writer.end(cancelled, [])]]
    assert kinds[:3] == ["response.created", "response.queued", "response.in_progress"]
    assert kinds[-1] == "response.failed"
    came_back = EventWriter(queued, 1, PLAIN)
    assert came_back.start() == []
    assert [event["type"] for event in came_back.leave_queue(going)] == ["response.in_progress"]


def test_a_structured_result_is_told_when_it_is_certain() -> None:
    shape = SHAPES["a correction"]
    assert [event["delta"] for _, event in shape.streamed(shape.writer()) if "delta" in event] == ["{}"]


@pytest.mark.slow
@pytest.mark.parametrize("length", [40_001, 10_000_019, LONGEST + 77])
def test_a_long_text_is_told_and_taken_up_exactly(length: int) -> None:
    words = ("".join(chr(97 + n % 26) for n in range(9_973)) * (length // 9_973 + 1))[:length]
    pieces = [words[at : at + length // 97 + 1] for at in range(0, length, length // 97 + 1)]
    shape = Shape([attempt(1, 1, *pieces), attempt(2, 1, "End.")], [text(1, words), text(2, "End.")])
    streamed = [event for _, event in shape.streamed(shape.writer())]
    assert "".join(event["delta"] for event in streamed if event.get("output_index") == 0 and "delta" in event) == words
    assert max(event["sequence_number"] for event in streamed) < 2**31
    for cut in (4, 5, 40, 95, 99, 100, len(streamed) - 9):
        heard = "".join(event.get("delta", "") for event in streamed[:cut])
        for at in (0, 50, 97, 98, 10**6):
            rest = shape.streamed(shape.writer(streamed[cut - 1]["sequence_number"]), at)
            again = "".join(event.get("delta", "") for _, event in rest)
            assert heard + again == words + "End.", (cut, at)


def test_who_was_told_more_than_the_turn_now_has_begins_anew() -> None:
    """The provider began anew while the client was away, and the turn is over since."""
    before = Shape([attempt(1, 1, "half a long sent")], status=RunStatus.IN_PROGRESS)
    client, writer = StrictReader(), before.writer()
    for event in [
        *writer.start(),
        *writer.begin(EventId(1, 1, 0)),
        *writer.append(EventId(1, 1, 4), "half a long sent"),
    ]:
        client.hear(event)
    after = Shape([attempt(1, 1), attempt(2, 1, "Done.")], [text(1, "Shorter."), text(2, "Done.")])
    for _, event in after.streamed(after.writer(client.last), at=1):
        client.hear(event)
    assert client.texts == ["Shorter.", "Done."]


@pytest.mark.parametrize("turn", [1, LIVE_TURNS + 2])
def test_as_many_calls_as_a_turn_may_have_are_sent_and_resumed_one_by_one(turn: int) -> None:
    calls = tuple(replace(CALLS[0], call_id=f"call_{index}") for index in range(MAX_CALLS))
    shape, client = Shape([attempt(turn, 1)], calls=calls), StrictReader()
    streamed = [event for _, event in shape.streamed(shape.writer())]
    for event in streamed:
        client.hear(event)
    assert client.calls == [each.call_id for each in calls]
    for cut in (3, len(streamed) // 2, len(streamed) - 1):
        after = streamed[cut - 1]["sequence_number"]
        assert [event for _, event in shape.streamed(shape.writer(after))] == streamed[cut:]
