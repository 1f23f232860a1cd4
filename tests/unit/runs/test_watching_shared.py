"""Many viewers of one run: they share its rows and its stream, and none is in another's way."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared.errors import TooManyViewers
from shared.runs.commands.answer import answer
from shared.runs.commands.cancel import cancel
from shared.runs.model.calls import ToolCall
from shared.runs.model.facts import Approve
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import Run
from shared.runs.store.runs import RunStore, Stored
from shared.runs.store.tables import StoreUnavailable, Table
from shared.runs.watching import response_streams, run_reader
from shared.runs.watching.viewer_limit import ViewerLimit
from shared.runs.watching.views import Delta, End, EventId, Snapshot, State, StatusChanged
from tests.parts.waiting import eventually
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.test_watching import LONG, streams
from tests.unit.runs.viewers import Client, LiveRig, has_id, staged

STUCK: list[dict[str, Any]] = [{"think": 0.1, "text": LONG * 4, "stuck": True}]
PARKED: list[dict[str, Any]] = [
    {"think": 0.0, "text": LONG, "calls": [{"name": "send", "arguments": {"label": "q"}}]},
    {"think": 0.0, "text": "Done."},
]


@pytest.fixture
async def late(rigs: NewRig) -> AsyncIterator[LiveRig]:
    """Here nobody polls for minutes."""
    async with staged(await rigs(poll_first=540.0, poll_max=540.0)) as stage:
        yield stage


async def parked(stage: LiveRig) -> str:
    await stage.rig.model.script("s", PARKED)
    run_id = await stage.start()

    async def waits() -> bool:
        await stage.wake(run_id)
        return (await stage.rig.run(run_id)).status is RunStatus.REQUIRES_ACTION

    await eventually(waits)
    return run_id


async def end(stage: LiveRig, run_id: str) -> None:
    """Let the stuck response end."""
    await stage.rig.model.finish((await stage.rig.model.responses())[0].id)
    await stage.wake(run_id)


class Loads:
    """Counts what is read of the rows of runs."""

    def __init__(self, rig: Rig) -> None:
        self.count = 0
        rig.tables.before = self._before

    async def _before(self, operation: str, table: Table, *_: Any) -> None:
        self.count += table is Table.RUNS and operation in ("get", "query")


def deltas(client: Client) -> list[Delta]:
    return client.of(Delta)


# The stream


async def test_a_hundred_viewers_of_a_run_open_one_stream_and_see_the_same(late: LiveRig) -> None:
    await late.rig.model.script("s", [{"think": 0.3, "text": LONG}])
    run_id = await late.start()
    clients = [Client() for _ in range(100)]
    await asyncio.gather(*(late.watch(run_id, client) for client in clients))
    for client in clients:
        client.check()
        assert [each for each in client.events if has_id(each)] == [each for each in clients[0].events if has_id(each)]
    assert len(await streams(late.rig)) == 1


async def test_who_comes_back_gets_exactly_what_it_lacks_from_what_is_here(late: LiveRig) -> None:
    await late.rig.model.script("s", STUCK)
    run_id = await late.start()
    first = Client()
    watching = asyncio.create_task(late.watch(run_id, first))
    await eventually(lambda: len(deltas(first)) > 30)
    told = deltas(first)
    for number in (0, 1, 17, 29):
        back = Client(text="what it had", last=told[number].event_id)
        await late.watch(
            run_id, back, until=lambda event: isinstance(event, Delta) and event.event_id >= told[30].event_id
        )
        assert deltas(back) == told[number + 1 : 31]
    assert len(await streams(late.rig)) == 1
    await end(late, run_id)
    await watching
    first.check()


async def test_a_viewer_who_does_not_read_holds_up_nobody_and_has_everything_later(
    late: LiveRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response_streams, "MAX_UPDATES_KEPT", 10)
    await late.rig.model.script("s", [{"think": 0.2, "text": LONG * 8}])
    run_id = await late.start()
    slow, fast = Client(), Client()
    watched = late.rig.app.watching.watch(run_id, wake=late.wake)
    async with contextlib.aclosing(watched) as events:
        async for event in events:
            slow.apply(event)
            if isinstance(event, Delta):
                break
        await late.watch(run_id, fast)
        fast.check()
        async for event in events:
            slow.apply(event)
    slow.check()
    assert len(await streams(late.rig)) > 1, "the rest of it is no longer here"
    assert slow.text == LONG * 8


async def test_of_what_was_told_only_so_much_is_kept(late: LiveRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response_streams, "MAX_CHARACTERS_KEPT", 100)
    await late.rig.model.script("s", STUCK)
    run_id = await late.start()
    first = Client()
    watching = asyncio.create_task(late.watch(run_id, first))
    await eventually(lambda: len(first.text) > 250)
    (stream,) = next(iter(late.rig.app.watching._shared.streams._by_response.values()))
    assert stream._characters <= 100 + max(len(delta.text) for delta in deltas(first))
    newcomer = await late.watch(run_id, Client(), until=lambda event: isinstance(event, Delta))
    assert deltas(newcomer) == deltas(first)[:1], "from a stream of its own"
    assert len(await streams(late.rig)) == 2
    watching.cancel()


async def test_a_viewer_on_a_stream_of_its_own_joins_the_others_when_it_has_caught_up(late: LiveRig) -> None:
    await late.rig.model.script("s", STUCK)
    run_id = await late.start()
    gone = await late.watch(
        run_id, Client(), until=lambda event: isinstance(event, Delta) and event.event_id.sequence > 9
    )
    back, newcomer = Client(last=gone.last), Client()
    watching = [asyncio.create_task(late.watch(run_id, back))]
    await eventually(lambda: len(deltas(back)) > 3)
    watching.append(asyncio.create_task(late.watch(run_id, newcomer)))
    await eventually(lambda: deltas(newcomer) and newcomer.last == back.last)

    async def only_one_is_open() -> bool:
        return [how for _, how in await streams(late.rig)].count(None) == 1

    await eventually(only_one_is_open)
    await end(late, run_id)
    await asyncio.gather(*watching)
    newcomer.check()
    assert deltas(newcomer)[-len(deltas(back)) :] == deltas(back)


async def test_the_stream_goes_on_when_the_viewer_who_opened_it_leaves(late: LiveRig) -> None:
    await late.rig.model.script("s", STUCK)
    run_id = await late.start()
    first, second = Client(), Client()
    opening = asyncio.create_task(late.watch(run_id, first))
    await eventually(lambda: deltas(first))
    staying = asyncio.create_task(late.watch(run_id, second))
    await eventually(lambda: deltas(second))
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    await end(late, run_id)
    await staying
    second.check()
    assert len(await streams(late.rig)) == 1


# The rows


async def test_the_viewers_of_a_parked_run_share_its_looks(late: LiveRig) -> None:
    run_id = await parked(late)
    clients = [Client() for _ in range(50)]
    watching = [asyncio.create_task(late.watch(run_id, client)) for client in clients]
    waiting = [
        asyncio.create_task(late.rig.app.watching.until(run_id, 30, lambda seen: seen is None or seen.run.terminal))
        for _ in range(50)
    ]
    await eventually(lambda: all(client.text == LONG for client in clients))
    loads = Loads(late.rig)
    await asyncio.sleep(1)
    assert loads.count < 20, "each for itself would have been some hundreds"
    await cancel(late.rig.app.ports, run_id)
    late.rig.app.watching.read_now(run_id)
    await asyncio.gather(*watching)
    assert [client.ended for client in clients] == [True] * 50
    for seen in await asyncio.gather(*waiting):
        assert seen is not None
        assert seen.run.status is RunStatus.CANCELLED
    assert late.rig.app.watching._shared.readers._by_run == {}, "and nobody looks any more"


async def test_what_is_done_in_this_process_is_seen_at_once(late: LiveRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_reader, "GAP_GROWTH", 3_600.0)
    monkeypatch.setattr(run_reader, "READ_LATEST_PARKED", 3_600.0)
    run_id = await parked(late)
    client = Client()
    watching = asyncio.create_task(late.watch(run_id, client))
    await eventually(lambda: client.text == LONG)
    loads = Loads(late.rig)
    await eventually(lambda: loads.count)  # the last look before a long time
    (call,) = await late.rig.calls(run_id)
    await answer(late.rig.app.ports, run_id, {call.call_id: Approve(approve=True)})

    class Nobody:
        async def wake(self, _: str) -> None: ...

    await late.rig.driver(Nobody()).wake(run_id)
    await eventually(lambda: client.of(StatusChanged))
    watching.cancel()


async def test_who_waits_sees_the_run_as_it_is_and_not_as_others_saw_it(late: LiveRig) -> None:
    run_id = await parked(late)
    client = Client()
    watching = asyncio.create_task(late.watch(run_id, client))
    await eventually(lambda: client.text == LONG)
    await cancel(late.rig.app.ports, run_id)
    seen = await late.rig.app.watching.until(run_id, 0, lambda _: False)
    assert seen is not None
    assert seen.run.status is RunStatus.CANCELLED
    await watching


async def test_who_waits_while_the_store_is_away_is_told_so(late: LiveRig) -> None:
    run_id = await parked(late)

    async def away(*_: Any) -> None:
        raise StoreUnavailable("away")

    late.rig.tables.before = away
    with pytest.raises(StoreUnavailable):
        await late.rig.app.watching.until(run_id, 30, lambda _: False)
    late.rig.tables.before = None
    assert await late.rig.app.watching.until(f"run_{'0' * 32}_1", 30, lambda seen: seen is None) is None


async def test_nobody_waits_for_a_caller_who_is_gone(late: LiveRig) -> None:
    run_id = await parked(late)

    async def gone() -> bool:
        return True

    async with asyncio.timeout(10):
        seen = await late.rig.app.watching.until(run_id, 3_600, lambda _: False, gone=gone)
    assert seen is not None


async def test_a_viewer_of_rows_that_cannot_be_read_is_told_so_and_the_next_one_sees_them_again(late: LiveRig) -> None:
    run_id = await parked(late)
    client = Client()
    watching = asyncio.create_task(late.watch(run_id, client))
    await eventually(lambda: client.text == LONG)

    async def broken(*_: Any) -> None:
        raise ValueError("unreadable")

    late.rig.tables.before = broken
    late.rig.app.watching.read_now(run_id)
    with pytest.raises(ValueError, match="unreadable"):
        await watching
    late.rig.tables.before = None
    again = await late.watch(run_id, Client(), until=lambda event: isinstance(event, Snapshot))
    assert again.of(Snapshot) == [Snapshot(event_id=EventId(1, 1, 0), text="")]


async def test_the_calls_of_turns_that_are_over_are_not_read_again(
    late: LiveRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = [{"think": 0.0, "calls": [{"name": "work", "arguments": {"label": f"{turn}"}}] * 3} for turn in range(1, 6)]
    await late.rig.model.script("s", [*turns, {"think": 0.0, "text": "Done."}])
    read: list[set[int]] = []
    load = RunStore.calls

    async def noted(store: RunStore, run: Run, turn: int | None = None, *, since: int = 1) -> list[Stored[ToolCall]]:
        found = await load(store, run, turn, since=since)
        if turn is None:
            read.append({each.value.turn for each in found})
        return found

    monkeypatch.setattr(RunStore, "calls", noted)
    run_id = await late.start()
    client = Client()
    watching = asyncio.create_task(late.watch(run_id, client))
    for turn in range(2, 7):

        async def is_seen(turn: int = turn) -> bool:
            await late.wake(run_id)
            late.rig.app.watching.read_now(run_id)
            shown = [event.run.turn.number for event in client.of((State, StatusChanged, End))]
            return bool(shown) and max(shown) >= turn

        await eventually(is_seen)
    await watching
    monkeypatch.undo()
    end = client.of(End)[-1]
    stored = await late.rig.app.ports.runs.load(run_id)
    assert stored is not None
    assert list(end.calls) == [each.value for each in await late.rig.app.ports.runs.calls(stored.value)]
    assert [(call.turn, call.index) for call in end.calls] == [(turn, n) for turn in range(1, 6) for n in range(3)]
    assert read
    assert 1 not in read[-1], "the last read was of the last turns alone"


# How many


def test_an_owner_has_so_many_viewers_and_no_more() -> None:
    limit = ViewerLimit(2)
    first = limit.acquire("a")
    limit.acquire("a")
    with pytest.raises(TooManyViewers) as refused:
        limit.acquire("a")
    assert int(refused.value.headers["Retry-After"]) > 0
    with limit.acquire("b"):
        pass
    first.release()
    first.release()
    limit.acquire("a")
    with pytest.raises(TooManyViewers):
        limit.acquire("a")


def test_a_slot_is_released_unless_it_is_kept_and_all_went_well() -> None:
    limit = ViewerLimit(1)
    with contextlib.suppress(LookupError), limit.acquire("a") as slot:
        slot.keep()
        raise LookupError
    with limit.acquire("a") as kept:
        kept.keep()
    with pytest.raises(TooManyViewers):
        limit.acquire("a")
    kept.release()
    limit.acquire("a")


@pytest.mark.slow
async def test_viewers_who_come_go_and_dawdle_as_they_like_all_have_the_text_once(
    late: LiveRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With so little kept that most of them need streams of their own at times, and a provider that breaks off."""
    monkeypatch.setattr(response_streams, "MAX_UPDATES_KEPT", 8)
    monkeypatch.setattr(response_streams, "READ_AHEAD", 4)
    faults = [{"after_events": count} for count in (9, 4, 30, 2, 17, 60)]
    script = [
        {"think": 0.3, "text": LONG, "calls": [{"name": "work", "arguments": {"label": "a"}}]},
        {"think": 0.5, "text": LONG * 6, "faults": {"stream": faults}},
    ]
    await late.rig.model.script("s", script)
    run_id = await late.start()

    async def come_and_go(number: int) -> Client:
        client, chance = Client(), random.Random(number)
        while not client.ended:
            left = chance.randrange(1, 60)
            watched = late.rig.app.watching.watch(run_id, client.last, wake=late.wake)
            async with contextlib.aclosing(watched) as events:
                async for event in events:
                    client.apply(event)
                    left -= has_id(event)
                    if not left:
                        break
                    await asyncio.sleep(chance.choice([0, 0, 0, 0.001, 0.01]))
        return client

    async with asyncio.timeout(60):
        clients = await asyncio.gather(*map(come_and_go, range(20)))
    for client in clients:
        client.check()
        assert client.text == LONG * 6
    shared = late.rig.app.watching._shared
    assert (shared.streams._by_response, shared.readers._by_run) == ({}, {}), "nothing is left behind"
