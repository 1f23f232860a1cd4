"""The provider's streams as viewers share them, and what one viewer decides: played updates, no run and no wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from shared.agentkit import faults
from shared.agentkit.agent import AgentUpdate, UpdateKind
from shared.runs.model.calls import CallState, ToolCall
from shared.runs.model.phases import Creating, Ended, Phase, RunningTools, RunStatus, WaitingForAnswers
from shared.runs.model.run import Run, Turn
from shared.runs.ports import Ports
from shared.runs.store.runs import CallChange, Stored
from shared.runs.store.tables import StoreUnavailable
from shared.runs.watching import response_streams, run_reader
from shared.runs.watching import watch as watching
from shared.runs.watching.response_streams import CHARACTERS_BESIDE, Cursor, ResponseStreams
from shared.runs.watching.run_reader import RunReaders, _calls_may_differ, _longest_gap
from shared.runs.watching.views import (
    ALL,
    ClientText,
    End,
    EventId,
    RunRows,
    Snapshot,
    State,
    StatusChanged,
    ToolFinished,
    ToolProgress,
    ToolStarted,
    Woken,
    changes_between,
)
from shared.runs.watching.watch import MAX_WAKES_REMEMBERED, WAKE_RETRY_SECONDS, WakeRequests, Watching
from tests.parts.memory import MemoryTables
from tests.unit.runs.records import NOW, a_run, at, put
from tests.unit.runs.test_transitions import a_call, pending

OVER = Ended(status=RunStatus.COMPLETED, completed_at=NOW)
RESPONSE = "resp_1"


def update(sequence: int, text: str = "x", kind: UpdateKind = UpdateKind.TEXT, **fields: Any) -> AgentUpdate:
    return AgentUpdate(kind=kind, sequence=sequence, text=text, **fields)


def end(sequence: int) -> AgentUpdate:
    return update(sequence, "", UpdateKind.ENDED)


class Followed:
    """An agent whose response is followed connection by connection: each gives its updates, or raises what is there.

    The last one stays open; with ``stay_open`` each.
    """

    streams = True

    def __init__(self, *connections: list[AgentUpdate | Exception], stay_open: bool = False) -> None:
        self.connections = list(connections)
        self.stay_open = stay_open
        self.after: list[int] = []
        self.given = 0
        self.closed = 0

    async def follow(self, response_id: str, *, after: int, timeout: float) -> AsyncGenerator[AgentUpdate, None]:
        assert response_id == RESPONSE
        self.after.append(after)
        connection = self.connections.pop(0) if self.connections else []
        try:
            for each in connection:
                if isinstance(each, Exception):
                    raise each
                if each.sequence > after:
                    self.given += 1
                    yield each
            if self.stay_open or not self.connections:
                await asyncio.Event().wait()  # more would come
        finally:
            self.closed += 1


async def settle() -> None:
    """Let everything go on that can."""
    for _ in range(50):
        await asyncio.sleep(0)


def opened(agent: Followed, streams: ResponseStreams | None = None, after: int = 0) -> tuple[ResponseStreams, Cursor]:
    streams = streams or ResponseStreams(lambda: 0.0)
    return streams, streams.open(cast(Any, agent), RESPONSE, after, asyncio.Event())


def taken(cursor: Cursor) -> list[int]:
    """The numbers of all updates that are here."""
    found: list[int] = []
    while (each := cursor.take()) is not None:
        found.append(each.sequence)
    return found


@pytest.fixture
def backoffs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The failures in a row at each pause; the pauses themselves take no time."""
    failures: list[int] = []

    def backoff(count: int, **_: float) -> float:
        failures.append(count)
        return 0.0

    monkeypatch.setattr(response_streams, "schedule", SimpleNamespace(backoff=backoff))
    return failures


# --- a response's stream ------------------------------------------------------------------------------


async def test_a_viewer_gets_every_update_once_and_then_the_end() -> None:
    agent = Followed([update(1), update(2), end(3)])
    _, cursor = opened(agent)
    assert cursor.take() is None
    await settle()
    assert cursor.available.is_set()
    assert [cursor.take() for _ in range(2)] == [update(1), update(2)]
    assert not cursor.ended
    assert cursor.take() == end(3)
    assert cursor.ended
    assert cursor.take() is None
    await cursor.close()
    assert agent.closed == 1


async def test_so_many_updates_are_read_ahead_of_the_fastest_viewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response_streams, "READ_AHEAD", 3)
    agent = Followed([update(number) for number in range(1, 9)])
    streams, fast = opened(agent)
    _, slow = opened(agent, streams)
    for read in range(5):
        await settle()
        assert agent.given == read + 4, "three are here, and one is in hand"
        assert fast.take() == update(read + 1)
    assert slow.take() == update(1)
    await settle()
    assert agent.given == 8, "the slow one makes nobody wait, nor more be read"
    assert [*taken(slow)] == [2, 3, 4, 5, 6, 7, 8]
    await fast.close()
    await slow.close()


@pytest.mark.parametrize(
    ("connections", "after", "failures", "sequences"),
    [
        ([[update(1)], [update(2), end(3)]], [0, 1], [1], [1, 2, 3]),
        ([[], [], [update(1), end(2)]], [0, 0, 0], [1, 2], [1, 2]),
        ([[], [update(1)], [], [end(2)]], [0, 0, 1, 1], [1, 1, 2], [1, 2]),
        (
            [[faults.NoNews("x", code="c")], [update(1), faults.NoNews("x", code="c")], [end(2)]],
            [0, 0, 1],
            [1, 1],
            [1, 2],
        ),
        (
            [[faults.NoNews("x", code="c")], [faults.ResponseMissing("x", code="c")], [end(1)]],
            [0, 0, 0],
            [1, 2],
            [1],
        ),
    ],
)
async def test_a_connection_that_breaks_is_opened_again_after_the_last_update(
    backoffs: list[int],
    connections: list[list[AgentUpdate | Exception]],
    after: list[int],
    failures: list[int],
    sequences: list[int],
) -> None:
    agent = Followed(*connections)
    _, cursor = opened(agent)
    await settle()
    assert (taken(cursor), agent.after, backoffs) == (sequences, after, failures)
    assert cursor.ended
    await cursor.close()


async def test_a_provider_that_asks_for_time_gets_it(backoffs: list[int]) -> None:
    agent = Followed([faults.NoNews("x", code="c", retry_after=60.0)], [end(1)])
    _, cursor = opened(agent)
    await settle()
    assert (agent.after, backoffs) == ([0], [1])
    await cursor.close()


@pytest.mark.parametrize(
    ("error", "again"), [(faults.NotStreamed("x", code="c"), False), (ZeroDivisionError("x"), True)]
)
async def test_a_stream_that_cannot_go_on_ends_for_its_viewers(
    caplog: pytest.LogCaptureFixture, error: Exception, again: bool
) -> None:
    agent = Followed([update(1), error], [update(1), update(2), end(3)])
    streams, cursor = opened(agent)
    await settle()
    cursor.available.clear()
    assert taken(cursor) == [1]
    assert cursor.ended
    assert ("following it failed" in caplog.text) is again
    # A defect of ours is not the provider's last word: who comes later tries for themselves.
    _, late = opened(agent, streams)
    await settle()
    assert taken(late) == ([1, 2, 3] if again else [1])
    assert late.ended
    assert agent.after == ([0, 0] if again else [0])
    await cursor.close()
    await late.close()
    assert streams._by_response == {}


@pytest.mark.parametrize("first", [update(1), ZeroDivisionError("x"), faults.NotStreamed("x", code="c")])
async def test_who_waits_is_told_of_each_update_and_of_the_end(first: AgentUpdate | Exception) -> None:
    agent = Followed([first])
    _, cursor = opened(agent)
    await settle()
    assert cursor.available.is_set()
    await cursor.close()


async def test_what_was_dropped_is_asked_for_again_by_who_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response_streams, "MAX_UPDATES_KEPT", 2)
    whole = [update(number) for number in range(1, 5)]
    agent = Followed(whole, whole, stay_open=True)
    streams, fast = opened(agent)
    _, slow = opened(agent, streams)
    await settle()
    assert taken(fast) == [1, 2, 3, 4]
    assert agent.after == [0]
    assert slow.take() is None, "it is on a stream of its own now"
    await settle()
    assert taken(slow) == [1, 2, 3, 4]
    assert agent.after == [0, 0]
    # Caught up, it has joined the older one, which has all that is still to come; its own is held until it has ended.
    assert (len(streams._by_response[RESPONSE]), len(streams._stopping)) == (1, 1)
    await settle()
    assert (agent.closed, streams._stopping) == (1, set())
    _, later = opened(agent, streams, after=2)
    await settle()
    assert taken(later) == [3, 4], "what is kept is shared"
    assert agent.after == [0, 0]
    for cursor in (fast, slow, later):
        await cursor.close()
    assert streams._by_response == {}


@pytest.mark.parametrize(
    ("texts", "most", "kept"),
    [(["abc", "def", "g"], 7, 3), (["abc", "def", "g"], 6, 2), (["abc", "def", "g"], 3, 1), (["a", "b", "c"], 0, 0)],
)
async def test_so_much_text_is_kept_for_who_comes_later(
    monkeypatch: pytest.MonkeyPatch, texts: list[str], most: int, kept: int
) -> None:
    monkeypatch.setattr(response_streams, "MAX_CHARACTERS_KEPT", most)
    agent = Followed([update(number, text) for number, text in enumerate(texts, start=1)])
    _, cursor = opened(agent)
    await settle()
    assert len(cursor._stream._kept) == 3, "nothing goes that nobody has read"
    assert len(taken(cursor)) == 3
    assert len(cursor._stream._kept) == kept
    await cursor.close()


def test_what_is_no_text_counts_as_much_as_the_longest_of_it() -> None:
    assert response_streams._size(update(1, "abc")) == 3
    assert response_streams._size(update(1, "abc", annotation=cast(Any, object()))) == 3 + CHARACTERS_BESIDE
    assert response_streams._size(update(1, "", hosted_call=cast(Any, object()))) == CHARACTERS_BESIDE


async def test_the_stream_is_closed_with_its_last_viewer() -> None:
    agent = Followed([update(1)])
    streams, one = opened(agent)
    _, two = opened(agent, streams)
    await settle()
    await one.close()
    assert agent.closed == 0
    await two.close()
    assert (agent.closed, streams._by_response, streams._stopping) == (1, {}, set())


# --- wakes that viewers request -----------------------------------------------------------------------


def test_a_wake_is_requested_once_and_again_ever_later() -> None:
    wakes, gap = WakeRequests(), WAKE_RETRY_SECONDS
    asked = [0.0, gap - 0.1, gap, 3 * gap - 0.1, 3 * gap, 7 * gap - 0.1, 7 * gap]
    assert [wakes.is_due(RESPONSE, now) for now in asked] == [True, False, True, False, True, False, True]
    assert wakes.is_due("resp_2", 0.0), "each response for itself"


def test_only_so_many_wakes_are_remembered_the_latest_of_them() -> None:
    wakes = WakeRequests()
    for number in range(MAX_WAKES_REMEMBERED):
        assert wakes.is_due(f"resp_{number}", 0.0)
    assert not wakes.is_due("resp_0", 0.0), "used again, it is the youngest"
    assert wakes.is_due("another", 0.0)
    assert not wakes.is_due("resp_0", 0.0)
    assert wakes.is_due("resp_1", 0.0), "forgotten"


# --- what one viewer decides --------------------------------------------------------------------------


class Opened:
    """Notes the streams that a viewer opens."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def open(self, agent: Any, response_id: str, after: int, available: asyncio.Event) -> Any:
        self.asked.append((response_id, after))
        return SimpleNamespace(response_id=response_id, ended=False, close=settle)


def a_viewer(after: EventId | None = None, *, streams: bool = True, wake: Any = None) -> tuple[Any, Opened]:
    opened = Opened()
    agents = {"novelist": SimpleNamespace(streams=streams)}
    shared = SimpleNamespace(ports=SimpleNamespace(agents=agents), streams=opened, wakes=WakeRequests())
    viewer = watching._Watch(cast(Any, shared), cast(Any, None), asyncio.Event(), "run_1", after, wake)
    return viewer, opened


def streamed(**changes: Any) -> Run:
    return a_run(**{"phase": pending(), "attempt": 1, "stream": True, **changes})


@pytest.mark.parametrize(
    "run",
    [
        streamed(phase=OVER),
        streamed(attempt=0, phase=Creating()),
        streamed(stream=False),
        streamed(agent="gone"),
    ],
)
async def test_when_there_is_nothing_to_follow(run: Run) -> None:
    viewer, opened = a_viewer()
    assert await viewer._follow_attempt(run) is None
    assert (viewer._shown, opened.asked) == (None, [])
    viewer, opened = a_viewer(streams=False)
    assert await viewer._follow_attempt(streamed()) is None
    assert opened.asked == []


@pytest.mark.parametrize(
    ("after", "shown", "snapshot", "sequence", "whole"),
    [
        (None, EventId(1, 1, 0), True, 0, True),
        (EventId(1, 1, 7), EventId(1, 1, 7), False, 7, False),
        (EventId(1, 1, 0), EventId(1, 1, 0), False, 0, True),
        (EventId(1, 2, 7), EventId(1, 1, 0), True, 0, True),  # of another attempt
        (EventId(2, 1, 7), EventId(1, 1, 0), True, 0, True),
    ],
)
async def test_where_a_viewer_goes_on(
    after: EventId | None, shown: EventId, snapshot: bool, sequence: int, whole: bool
) -> None:
    viewer, opened = a_viewer(after)
    start = await viewer._follow_attempt(streamed())
    assert start == (Snapshot(event_id=shown, text="") if snapshot else None)
    assert (viewer._shown.position, viewer._shown.whole, opened.asked) == (shown, whole, [(RESPONSE, sequence)])
    assert await viewer._follow_attempt(streamed()) is None
    assert len(opened.asked) == 1, "once"


async def test_of_a_response_that_came_whole_from_the_rows_nothing_is_followed() -> None:
    viewer, opened = a_viewer(EventId(1, 1, ALL))
    assert await viewer._follow_attempt(streamed()) is None
    assert opened.asked == []
    viewer, opened = a_viewer(EventId(1, 1, ALL - 1))
    await viewer._follow_attempt(streamed())
    assert opened.asked == [(RESPONSE, ALL - 1)]


def following(viewer: Any, *, ended: bool = False, shown: ClientText | None = None) -> Any:
    viewer._following = SimpleNamespace(response_id=RESPONSE, ended=ended)
    viewer._shown = shown or ClientText(EventId(1, 1, 3))
    return viewer


HERE, ELSEWHERE = EventId(1, 1, 3), EventId(1, 2, 3)
PARKED = WaitingForAnswers(answer_by=at(99), seconds_left=None)


@pytest.mark.parametrize(
    ("phase", "position", "ended", "differs"),
    [
        (pending(), HERE, False, False),
        (pending(), HERE, True, True),  # the stream is ahead
        (RunningTools(), HERE, False, True),  # the rows are
        (RunningTools(), HERE, True, False),
        (PARKED, HERE, False, True),
        (OVER, HERE, False, True),
        (OVER, HERE, True, True),
        (pending(), ELSEWHERE, False, True),
        (pending(), ELSEWHERE, True, True),
    ],
)
async def test_when_time_alone_may_require_an_event(
    phase: Phase, position: EventId, ended: bool, differs: bool
) -> None:
    viewer = following(a_viewer()[0], shown=ClientText(position, ended=ended))
    assert viewer._differs(streamed(phase=phase)) is differs
    viewer._following = None
    assert viewer._differs(streamed(phase=phase)) is False


@pytest.mark.parametrize(
    ("shown", "ended", "quiet", "stalled", "stale"),
    [
        ({}, False, 0.0, False, False),
        ({}, False, 1e9, True, False),
        ({}, True, 0.0, True, True),
        ({"ended": True}, True, 1e9, False, False),
        ({"stale": True}, True, 0.0, True, False),
        ({"position": EventId(1, 1, ALL)}, True, 1e9, False, True),
    ],
)
async def test_when_the_provider_sends_no_more(
    shown: dict[str, Any], ended: bool, quiet: float, stalled: bool, stale: bool
) -> None:
    text = ClientText(**{"position": HERE, **shown})
    viewer = following(a_viewer()[0], ended=ended, shown=text)
    viewer._updated_at = viewer._time() - quiet
    assert viewer._is_stalled(text) is stalled
    told = viewer._report_stale()
    assert (told is not None) is stale
    if told is not None:
        assert (told.event_id, text.stale, viewer._report_stale()) == (text.position, True, None)
    viewer._following = None
    assert (viewer._is_stalled(text), viewer._report_stale()) == (False, None)


@pytest.mark.parametrize(
    ("ended", "run", "woken"),
    [
        (True, streamed(), True),
        (False, streamed(), False),
        (True, streamed(phase=pending("resp_2")), False),
        (True, streamed(phase=RunningTools()), False),
    ],
)
async def test_a_viewer_that_sees_the_end_first_has_the_run_woken(ended: bool, run: Run, woken: bool) -> None:
    asked: list[str] = []

    async def wake(run_id: str) -> None:
        asked.append(run_id)

    viewer = following(a_viewer(wake=wake)[0], shown=ClientText(HERE, ended=ended))
    await viewer._request_wake(run)
    await viewer._request_wake(run)
    assert asked == (["run_1"] if woken else [])
    viewer._wake = None
    await viewer._request_wake(run)


@pytest.mark.parametrize(
    ("phase", "position", "still"),
    [
        (OVER, HERE, True),
        (replace(OVER, status=RunStatus.INCOMPLETE), HERE, True),
        (replace(OVER, status=RunStatus.FAILED), HERE, False),
        (replace(OVER, status=RunStatus.CANCELLED), HERE, False),
        (OVER, ELSEWHERE, False),
    ],
)
async def test_which_text_is_still_streamed_though_its_run_has_ended(
    phase: Phase, position: EventId, still: bool
) -> None:
    viewer = following(a_viewer()[0], shown=ClientText(position))
    assert viewer._is_still_streaming(streamed(phase=phase)) is still
    viewer._behind_since = viewer._time() - 1e9
    assert viewer._is_still_streaming(streamed(phase=phase)) is False, "not for ever"
    viewer = following(a_viewer()[0], ended=True, shown=ClientText(position))
    assert viewer._is_still_streaming(streamed(phase=phase)) is False


@pytest.mark.parametrize(
    ("attempt", "position", "last"),
    [(1, HERE, HERE), (2, HERE, EventId(1, 2, 0)), (0, HERE, HERE), (0, ELSEWHERE, EventId(1, 1, 0))],
)
async def test_the_id_of_the_last_snapshot(attempt: int, position: EventId, last: EventId) -> None:
    viewer = following(a_viewer()[0], shown=ClientText(position))
    assert viewer._last_id(streamed(attempt=attempt, phase=OVER)) == last


WHOLE = [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "whole"}]}]


@pytest.mark.parametrize(
    ("changes", "shown", "ended", "rows", "text"),
    [
        ({}, {}, True, WHOLE, "whole"),
        ({"phase": PARKED}, {}, True, WHOLE, "whole"),
        ({"phase": pending()}, {}, True, WHOLE, None),  # it is not stored yet
        ({"phase": OVER}, {}, True, WHOLE, None),  # the run's own text comes at the end
        ({"attempt": 2}, {}, True, WHOLE, None),
        ({"attempt": 0}, {}, True, WHOLE, None),
        ({}, {}, False, WHOLE, None),  # the provider may send it still
        ({}, {"ended": True}, True, WHOLE, None),
        ({}, {}, True, StoreUnavailable("gone"), None),
        ({}, {}, True, LookupError("deleted"), None),
    ],
)
async def test_when_a_turn_s_text_comes_from_the_rows(
    changes: dict[str, Any], shown: dict[str, Any], ended: bool, rows: Any, text: str | None
) -> None:
    async def last_items(run: Run) -> Any:
        if isinstance(rows, Exception):
            raise rows
        return rows

    viewer, _ = a_viewer()
    viewer._ports = SimpleNamespace(runs=SimpleNamespace(last_items=last_items))
    following(viewer, ended=ended, shown=ClientText(**{"position": HERE, **shown}))
    viewer._following.close = settle
    viewer._updated_at = viewer._time()
    snapshot = await viewer._text_from_rows(streamed(**{"phase": RunningTools(), **changes}))
    if text is None:
        assert snapshot is None
    else:
        assert (snapshot.text, snapshot.event_id, viewer._following) == (text, EventId(1, 1, ALL), None)
    viewer._shown = None
    assert await viewer._text_from_rows(streamed(phase=RunningTools())) is None


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        (None, []),
        ({"phase": replace(OVER, deleted_at=NOW)}, []),
        ({"phase": OVER, "text": "said"}, [State, Snapshot, End]),
        ({"phase": OVER, "text": ""}, [State, Snapshot, End]),
    ],
)
async def test_what_who_comes_after_the_end_is_shown(
    ports: Ports, changes: dict[str, Any] | None, kinds: list[type[Any]]
) -> None:
    run = a_run() if changes is None else (await put(ports, a_run(attempt=1, **changes))).value
    events = [event async for event in Watching(ports).watch(run.id)]
    assert [type(event) for event in events] == kinds
    for event in events[1:]:
        assert isinstance(event, Snapshot | End)
        assert event.text == run.result.text


async def test_who_watches_is_told_of_each_change_and_of_the_end(ports: Ports, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_reader, "READ_SOON", 60.0)  # no read but those that are asked for
    stored = await put(ports, a_run(phase=pending(), attempt=1))
    watched = Watching(ports)
    kinds: list[type[Any]] = []
    async with asyncio.timeout(20):
        async for event in watched.watch(stored.value.id):
            kinds.append(type(event))
            if isinstance(event, State):
                run = replace(stored.value, phase=PARKED)
                stored = (await ports.runs.save(stored, run)).run
                watched.read_now(stored.value.id)
            if isinstance(event, StatusChanged):
                stored = (await ports.runs.save(stored, replace(stored.value, phase=OVER))).run
                watched.read_now(stored.value.id)
    assert kinds == [State, StatusChanged, Snapshot, End]


# --- the rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "events"),
    [
        ({}, {}, []),
        ({"state": CallState.OPEN}, {"state": CallState.STARTED, "starts": 1}, [ToolStarted]),
        ({"starts": 1}, {"starts": 2}, [ToolStarted]),
        ({"starts": 2}, {"starts": 2}, []),
        ({}, {"progress": "half", "progress_at": NOW}, [ToolProgress]),
        ({"progress": "half", "progress_at": NOW}, {"progress": "half", "progress_at": at(1)}, [ToolProgress]),
        ({"progress": "half", "progress_at": NOW}, {"progress": "half", "progress_at": NOW}, []),
        ({"state": CallState.STARTED, "starts": 1}, {"state": CallState.FINISHED, "starts": 1}, [ToolFinished]),
        ({"state": CallState.FINISHED}, {"state": CallState.FINISHED}, []),
        (None, {}, []),
        (None, {"state": CallState.FINISHED, "starts": 1}, [ToolStarted, ToolFinished]),
        (None, {"state": CallState.STARTED, "starts": 1, "progress_at": NOW}, [ToolStarted, ToolProgress]),
    ],
)
def test_what_is_told_of_a_call(before: dict[str, Any] | None, after: dict[str, Any], events: list[type[Any]]) -> None:
    run = a_run(phase=RunningTools())
    calls = () if before is None else (a_call(**before),)
    told = changes_between(RunRows(run, calls), RunRows(run, (a_call(**after),)))
    assert [type(event) for event in told] == events


@pytest.mark.parametrize(
    ("changes", "event"),
    [
        ({}, None),
        ({"phase": RunningTools()}, Woken),  # another next look, in the same status
        ({"phase": PARKED}, StatusChanged),
        ({"turn": Turn(number=2)}, StatusChanged),
        ({"provider_status": "in_progress"}, StatusChanged),
        ({"wakes": 1}, Woken),
        ({"phase": pending(look=9)}, Woken),
        ({"phase": OVER}, None),  # told as the end, after the last of the text
        ({"metadata": {"a": "b"}}, None),
    ],
)
def test_what_is_told_of_a_run(changes: dict[str, Any], event: type[Any] | None) -> None:
    before = RunRows(a_run(phase=pending()), ())
    told = changes_between(before, RunRows(a_run(**{"phase": pending(), **changes}), ()))
    assert [type(each) for each in told] == ([] if event is None else [event])


def test_an_open_question_is_a_change_of_status() -> None:
    run = a_run(phase=RunningTools())
    waiting = a_call(state=CallState.WAITING)
    told = changes_between(RunRows(run, (a_call(),)), RunRows(run, (waiting,)))
    assert [type(each) for each in told] == [StatusChanged]


@pytest.mark.parametrize(
    ("phase", "gap"), [(pending(), 2.0), (Creating(), 1.0), (RunningTools(), 1.0), (PARKED, 5.0), (OVER, 5.0)]
)
def test_how_long_a_change_may_go_unread(phase: Phase, gap: float) -> None:
    assert _longest_gap(RunRows(a_run(phase=phase), ())) == gap
    assert _longest_gap(None) == 5.0


@pytest.mark.parametrize(
    ("before", "after", "differ"),
    [
        ({}, {}, False),
        ({}, {"phase": RunningTools()}, True),
        ({"phase": RunningTools()}, {}, True),
        ({"phase": PARKED}, {}, True),
        ({}, {"turn": Turn(number=2)}, True),
        ({}, {"tool_calls": 1}, True),
        ({}, {"phase": OVER}, False),
    ],
)
def test_when_calls_are_read_again(before: dict[str, Any], after: dict[str, Any], differ: bool) -> None:
    runs = [a_run(**{"phase": pending(), **changes}) for changes in (before, after)]
    assert _calls_may_differ(runs[0], runs[1]) is differ


async def with_call(ports: Ports, call: ToolCall) -> Stored[Run]:
    stored = await put(ports, a_run(phase=RunningTools()))
    after = replace(stored.value, counters=replace(stored.value.counters, tool_calls=1))
    return (await ports.runs.save(stored, after, calls=[CallChange(before=None, after=call)])).run


async def test_viewers_share_the_reads_of_a_run(
    ports: Ports, tables: MemoryTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_reader, "READ_SOON", 60.0)  # no read but those that are asked for
    stored = await with_call(ports, a_call())
    readers, one, two = RunReaders(ports), asyncio.Event(), asyncio.Event()
    seen: list[str] = []

    async def note(operation: str, *_: object) -> None:
        seen.append(operation)

    tables.before = note
    async with readers.open(stored.value.id, one) as first, readers.open(stored.value.id, two) as second:
        assert first is second
        assert await first.refresh() == RunRows(stored.value, (a_call(),))
        assert (one.is_set(), two.is_set()) == (True, True)
        reads = len(seen)
        rows = [await first.refresh(), await second.refresh()]
        assert rows[0] is rows[1] is first.current, "the same object until they change"
        assert len(seen) == reads + 4
        readers.read_now("run_of_nobody")
        await ports.runs.delete_run(stored)
        assert await first.refresh() is None
    assert readers._by_run == {}


async def test_while_the_store_is_away_a_reader_waits_or_says_so(ports: Ports, tables: MemoryTables) -> None:
    stored = await put(ports, a_run(phase=pending()))
    readers = RunReaders(ports)
    async with readers.open(stored.value.id, asyncio.Event()) as reader:
        rows = await reader.refresh()
        tables.fail_next(StoreUnavailable("gone"))
        with pytest.raises(StoreUnavailable):
            await reader.refresh(wait_for_store=False)
        assert reader.current is rows, "an outage ends no stream that shows the text as it comes"
        tables.fail_next(StoreUnavailable("gone"))
        assert await reader.refresh() is rows
        tables.fail_next(ZeroDivisionError())
        with pytest.raises(ZeroDivisionError):
            await reader.refresh()
        assert await reader.refresh() == rows


@pytest.mark.parametrize(
    ("done", "gone", "seconds"),
    [(lambda rows: True, None, 60.0), (lambda rows: False, None, 0.0), (lambda rows: False, True, 60.0)],
)
async def test_who_waits_gets_the_rows_when_they_are_as_wanted_or_its_time_is_up(
    ports: Ports, done: Callable[[RunRows | None], bool], gone: bool | None, seconds: float
) -> None:
    async def is_gone() -> bool:
        return bool(gone)

    stored = await put(ports, a_run(phase=pending()))
    shown = await Watching(ports).until(stored.value.id, seconds, done, gone=None if gone is None else is_gone)
    assert shown == RunRows(stored.value, ())
    assert await Watching(ports).until("run_of_nobody", 0.0, lambda rows: rows is None) is None


async def test_who_waits_is_told_of_a_change(ports: Ports) -> None:
    stored = await put(ports, a_run(phase=pending()))
    watching = Watching(ports)
    waiting = asyncio.create_task(
        watching.until(stored.value.id, 60, lambda rows: rows is not None and rows.run.terminal)
    )
    await settle()
    assert not waiting.done()
    await ports.runs.save(stored, replace(stored.value, phase=OVER))
    watching.read_now(stored.value.id)
    shown = await asyncio.wait_for(waiting, 5)
    assert shown is not None
    assert shown.run.terminal
