"""What a sweep hands out, and that nothing is lost or looked at twice by it, whatever becomes of a piece."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta

import pytest

from shared.drivers import handing_out
from shared.drivers import sweep as sweeping
from shared.drivers.handing_out import PIECE, most_inline
from shared.runs.commands.adopt import adopt
from shared.runs.commands.cancel import cancel
from shared.runs.commands.delete import delete_run
from shared.runs.model.phases import Pending, RunningTools, RunStatus
from shared.runs.store.due import DueRow
from shared.runs.store.tables import Change, StoreUnavailable, Table
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.test_sweep import CONFUSED, RecordingHub, break_row, due_by_row

INLINE = 2
"""Rows that a sweep of these tests polls by itself."""

MANY = INLINE + 6


class PiecesHub(RecordingHub):
    """A hub that keeps the pieces which it is to have polled."""

    def __init__(self, *, away: bool = False) -> None:
        super().__init__(away=away)
        self.pieces: list[Mapping[str, str]] = []

    async def start_polls(self, name: str, pieces: Sequence[Mapping[str, str]]) -> None:
        """Keep them."""
        await self._note("polls", name)
        self.pieces += pieces


async def sweep(rig: Rig, hub: RecordingHub) -> dict[str, int]:
    """One sweep: how many rows ended how."""
    return dict(await sweeping.sweep(rig.app.ports, rig.driver(hub)))


async def poll(rig: Rig, hub: PiecesHub) -> Counter[str]:
    """Poll all pieces that are there, side by side: how many rows ended how."""
    pieces, hub.pieces = hub.pieces, []
    ended = await asyncio.gather(*(sweeping.poll(rig.app.ports, rig.driver(hub), piece) for piece in pieces))
    return sum(ended, Counter())


async def row_of(rig: Rig, run_id: str) -> DueRow:
    """The due row, which is there."""
    row = await rig.app.ports.due.get(run_id)
    assert row is not None
    return row


async def put_many(rig: Rig, count: int) -> None:
    """Due rows of one partition, whose runs are absent."""
    for number in range(count):
        await rig.app.ports.due.put(f"run_{number:031x}a_1", rig.clock.now, rig.clock.now)


@pytest.fixture
async def rig(rigs: NewRig) -> Rig:
    """A process under `timer` whose sweep polls two runs by itself; they stay pending."""
    rig = await rigs(driver="timer", sweep_concurrency=1, sweep_seconds=1)
    assert most_inline(rig.app.settings) == INLINE
    await rig.model.script("s", [{"stuck": True}])
    return rig


async def due_runs(rig: Rig, count: int = MANY, **fields: float) -> list[str]:
    """So many runs that are due now."""
    started = [await rig.start(**fields) for _ in range(count)]
    rig.clock.move(61)
    return started


async def wakes(rig: Rig, run_ids: Sequence[str]) -> set[int]:
    """How often these have been woken, the submit included."""
    return {(await rig.run(each)).counters.wakes for each in run_ids}


@pytest.mark.parametrize(("count", "ended"), [(INLINE, "polled"), (INLINE + 1, "handed_out")])
async def test_a_sweep_hands_out_only_what_it_cannot_poll_within_its_period(rig: Rig, count: int, ended: str) -> None:
    await due_runs(rig, count)
    hub = PiecesHub()
    assert await sweep(rig, hub) == {ended: count}
    assert bool(hub.pieces) is (ended == "handed_out")


async def test_under_durable_nothing_is_handed_out(rigs: NewRig) -> None:
    rig = await rigs(driver="durable", sweep_concurrency=1, sweep_seconds=1, overdue=300.0)
    await rig.model.script("s", [{"stuck": True}])
    await due_runs(rig)
    assert await sweep(rig, PiecesHub()) == {"in_time": MANY}


async def test_what_is_handed_out_is_polled_once_and_dated_by_its_run(rig: Rig) -> None:
    started, hub = await due_runs(rig), PiecesHub()
    assert await sweep(rig, hub) == {"handed_out": MANY}
    assert await sweep(rig, hub) == {}
    assert await wakes(rig, started) == {1}
    assert await poll(rig, hub) == {"polled": MANY}
    assert await wakes(rig, started) == {2}
    for run_id in started:
        row = await row_of(rig, run_id)
        assert (row.due, row.handed_to) == (await due_by_row(rig, run_id), "")


async def test_pieces_have_up_to_fifty_rows_of_one_partition_and_no_row_is_in_two(rig: Rig) -> None:
    await put_many(rig, 2 * PIECE + 1)
    runs, hub = await due_runs(rig), PiecesHub()
    assert await sweep(rig, hub) == {"handed_out": 2 * PIECE + 1 + MANY}
    due = rig.app.ports.due
    rows = [await due.handed(each["handed_to"], each["partition"], each["first"], each["last"]) for each in hub.pieces]
    of_one = [len(piece) for piece in rows if len(piece) > MANY]
    assert len(of_one) == 3, "the fewest that it takes"
    assert max(of_one) - min(of_one) <= 2, "as long as each other"
    assert all(
        {row.partition for row in piece} == {each["partition"]} for piece, each in zip(rows, hub.pieces, strict=True)
    )
    ids = [row.run_id for piece in rows for row in piece]
    assert len({*ids}) == len(ids) == 2 * PIECE + 1 + MANY
    assert {*runs} < {*ids}
    assert len({each["handed_to"] for each in hub.pieces}) == 1


async def test_an_orchestration_has_so_many_pieces_at_most_and_the_oldest_rows_go_first(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handing_out, "PIECE", 2)
    monkeypatch.setattr(handing_out, "PIECES", 2)
    hub = PiecesHub()
    for number in range(MANY):
        due = rig.clock.now - timedelta(seconds=number)
        await rig.app.ports.due.put(f"run_{number:031x}a_1", due, due)
    assert await sweep(rig, hub) == {"handed_out": MANY}
    assert [len({each["handed_to"] for each in hub.pieces[at : at + 2]}) for at in (0, 2)] == [1, 1]
    assert hub.pieces[0]["handed_to"] != hub.pieces[2]["handed_to"]
    assert [each["first"][:-3][-1] for each in hub.pieces] == ["4", "6", "0", "2"]


async def test_it_costs_a_write_and_a_read_a_piece_and_nothing_where_all_is_polled_by_the_sweep(rig: Rig) -> None:
    seen: Counter[tuple[str, Table]] = Counter()

    async def count(operation: str, table: Table, *_: object) -> None:
        seen[operation, table] += 1

    hub = PiecesHub()
    rig.tables.before = count
    await sweep(rig, hub)
    assert seen == {("query", Table.DUE): 1}, "nothing is due"
    rig.tables.before = None
    few = await due_runs(rig, INLINE)
    seen.clear()
    rig.tables.before = count
    await sweep(rig, hub)
    partitions = len({run_id.split("_")[1][-1] for run_id in few})
    assert seen.pop(("commit", Table.DUE)) == partitions
    assert seen.pop(("get", Table.INDEX)) == INLINE, "whether the list shows them, which is looked at once"
    assert seen == {("query", Table.DUE): 1, ("get", Table.RUNS): INLINE, ("commit", Table.RUNS): INLINE}
    rig.tables.before = None
    rig.clock.move(130)
    await due_runs(rig)
    seen.clear()
    rig.tables.before = count
    await sweep(rig, hub)
    pieces = len(hub.pieces)
    assert seen == {("query", Table.DUE): 1, ("commit", Table.DUE): pieces}
    seen.clear()
    await poll(rig, hub)
    assert seen[("query", Table.DUE)] == seen[("commit", Table.DUE)] == pieces
    assert seen[("commit", Table.RUNS)] == INLINE + MANY


async def test_a_piece_that_fails_costs_its_own_runs_one_period(rig: Rig) -> None:
    started, hub = await due_runs(rig), PiecesHub()
    await sweep(rig, hub)
    lost = hub.pieces.pop()
    theirs = await rig.app.ports.due.handed(lost["handed_to"], lost["partition"], lost["first"], lost["last"])
    await poll(rig, hub)
    assert await wakes(rig, [each for each in started if each not in {row.run_id for row in theirs}]) == {2}
    rig.clock.move(59)
    assert {row.run_id for row in await rig.app.ports.due.due(rig.clock.now, 99)}.isdisjoint(
        row.run_id for row in theirs
    )
    rig.clock.move(1)
    await sweep(rig, hub)
    await poll(rig, hub)
    assert await wakes(rig, [row.run_id for row in theirs]) == {2}
    hub.pieces = [lost]
    assert await poll(rig, hub) == {}, "it is not its own any more"


async def test_a_piece_that_cannot_read_its_rows_fails(rig: Rig) -> None:
    await due_runs(rig)
    hub = PiecesHub()
    await sweep(rig, hub)
    rig.tables.fail_next(StoreUnavailable("away"), operation="query")
    with pytest.raises(StoreUnavailable):
        await sweeping.poll(rig.app.ports, rig.driver(hub), hub.pieces[0])


async def test_two_sweeps_at_once_hand_out_each_row_once(rigs: NewRig, rig: Rig) -> None:
    started, hub = await due_runs(rig), PiecesHub()
    other = await rigs(driver="timer", sweep_concurrency=1, sweep_seconds=1)
    also: list[dict[str, int]] = []

    async def meanwhile(operation: str, table: Table, *_: object) -> None:
        if operation == "query" and not also:
            also.append({})
            also[0] = await sweep(other, hub)

    rig.tables.after = meanwhile
    first = await sweep(rig, hub)
    rig.tables.after = None
    assert also == [{"handed_out": MANY}]
    assert first == {}
    assert await poll(rig, hub) == {"polled": MANY}
    assert await wakes(rig, started) == {2}


async def test_where_no_orchestration_can_be_started_the_sweep_polls_by_itself(rig: Rig) -> None:
    started = await due_runs(rig)
    hub = PiecesHub(away=True)
    assert await sweep(rig, hub) == {"polled": MANY}
    assert await wakes(rig, started) == {2}
    assert [what for what, _ in hub.asked] == ["polls"], "it is asked once a sweep"


async def test_a_sweep_that_dies_before_the_start_costs_a_minute(rig: Rig) -> None:
    started = await due_runs(rig)

    class Dead(PiecesHub):
        async def start_polls(self, name: str, pieces: Sequence[Mapping[str, str]]) -> None:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await sweep(rig, Dead())
    hub = PiecesHub()
    assert await sweep(rig, hub) == {}
    rig.clock.move(60)
    assert await sweep(rig, hub) == {"handed_out": MANY}
    await poll(rig, hub)
    assert await wakes(rig, started) == {2}


async def test_a_start_whose_answer_is_lost_has_nothing_polled_twice(rig: Rig) -> None:
    started = await due_runs(rig)

    class Unheard(PiecesHub):
        async def start_polls(self, name: str, pieces: Sequence[Mapping[str, str]]) -> None:
            await super().start_polls(name, pieces)
            raise TimeoutError

    hub = Unheard()
    assert await sweep(rig, hub) == {"polled": MANY}
    assert await poll(rig, hub) == {}
    assert await wakes(rig, started) == {2}


async def test_what_cannot_be_dated_is_still_due(rig: Rig) -> None:
    started = await due_runs(rig)
    partition = started[0].split("_")[1][-1]
    theirs = [each for each in started if each.split("_")[1][-1] == partition]

    async def away(operation: str, table: Table, of: str | None, changes: Sequence[Change]) -> None:
        if operation == "commit" and of == partition:
            raise StoreUnavailable("away")

    hub = PiecesHub()
    rig.tables.before = away
    assert (await sweep(rig, hub)).get("handed_out", 0) == MANY - len(theirs)
    rig.tables.before = None
    assert {row.run_id for row in await rig.app.ports.due.due(rig.clock.now, 99)} == {*theirs}


Meanwhile = Callable[[Rig, str], Awaitable[object]]


async def finish(rig: Rig, run_id: str) -> None:
    """The run ends by another's doing, and its due row goes."""
    await cancel(rig.app.ports, run_id)
    rig.clock.move(120)
    await rig.finish(run_id)
    await rig.app.ports.due.remove(await row_of(rig, run_id), rig.clock.now)


@pytest.mark.parametrize(
    ("act", "ended"),
    [
        (lambda rig, run_id: cancel(rig.app.ports, run_id), "handed_off"),
        (lambda rig, run_id: delete_run(rig.app.ports, run_id), "handed_off"),
        (finish, None),
        (lambda rig, run_id: rig.run_activity(run_id), None),
    ],
    ids=["cancelled", "deleted", "ended", "woken"],
)
async def test_what_becomes_of_a_run_meanwhile_is_kept(rig: Rig, act: Meanwhile, ended: str | None) -> None:
    started, hub = await due_runs(rig), PiecesHub()
    await sweep(rig, hub)
    await act(rig, started[0])
    before = await rig.run(started[0])
    found = await poll(rig, hub)
    assert found["polled"] == MANY - 1
    assert found.total() == MANY - (ended is None)
    if ended is not None:
        assert found[ended] == 1
        assert ("step", started[0]) in hub.asked
    assert await rig.run(started[0]) == before


async def test_a_webhook_that_comes_meanwhile_is_not_undone(rig: Rig) -> None:
    await rig.model.script("s", [{"text": "Fine.", "think": 100}])
    started, hub = await due_runs(rig), PiecesHub()
    await sweep(rig, hub)
    rig.clock.move(50)
    told = await rig.run(started[0])
    assert isinstance(told.phase, Pending)
    assert await adopt(rig.app.ports, told.phase.token.response_id) == told.id
    ended = await rig.run(started[0])
    assert ended.status is RunStatus.COMPLETED
    assert (await poll(rig, hub)).total() == MANY
    assert await rig.run(started[0]) == ended
    assert {(await rig.run(each)).status for each in started} == {RunStatus.COMPLETED}


async def test_a_run_that_needs_more_than_a_poll_gets_its_step(rig: Rig) -> None:
    await rig.model.script("s", [{"calls": [{"name": "work", "arguments": {"label": "a"}}]}])
    started, hub = await due_runs(rig), PiecesHub()
    await sweep(rig, hub)
    assert await poll(rig, hub) == {"handed_off": MANY}
    assert {run_id for what, run_id in hub.asked if what == "step"} == {*started}
    assert all([isinstance((await rig.run(each)).phase, RunningTools) for each in started])


async def test_a_row_that_cannot_be_read_stops_nobody_in_its_piece(rig: Rig) -> None:
    started, hub = await due_runs(rig), PiecesHub()
    await break_row(rig, started[0], **CONFUSED)
    await sweep(rig, hub)
    assert await poll(rig, hub) == {"quarantined": 1, "polled": MANY - 1}
    assert (await row_of(rig, started[0])).handed_to == ""


async def test_a_sweep_hands_out_what_it_had_no_time_for(rig: Rig) -> None:
    started, hub = await due_runs(rig, INLINE), PiecesHub()

    async def slow(operation: str, table: Table, *_: object) -> None:
        if operation == "commit" and table is Table.RUNS:
            rig.tables.before = None
            await asyncio.sleep(1.1)

    rig.tables.before = slow
    assert await sweep(rig, hub) == {"polled": 1, "handed_out": INLINE - 1}
    assert await poll(rig, hub) == {"polled": INLINE - 1}
    assert await wakes(rig, started) == {2}


async def test_a_piece_that_takes_too_long_ends_by_itself(rigs: NewRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "AHEAD", timedelta(seconds=0.3))
    rig = await rigs(driver="timer", sweep_concurrency=1, sweep_seconds=1, poll_timeout=20.0)
    await rig.model.script("s", [{"stuck": True, "faults": {"retrieve": [{"hang": 30}]}}])
    started, hub = await due_runs(rig), PiecesHub()
    await sweep(rig, hub)
    assert await poll(rig, hub) == {"cut_off": 1, "polled": MANY - 1}
    assert await wakes(rig, started) == {1, 2}
    rig.clock.move(61)
    await sweep(rig, hub)
    assert await poll(rig, hub) == {"polled": MANY}


async def test_pieces_of_one_process_share_its_polls(rigs: NewRig) -> None:
    rig = await rigs(driver="timer", sweep_concurrency=1, sweep_seconds=1, provider_concurrency=1)
    await rig.model.script("s", [{"stuck": True}])
    await due_runs(rig, 20)
    hub, at_work, most = PiecesHub(), 0, 0

    async def begin(operation: str, table: Table, *_: object) -> None:
        nonlocal at_work, most
        at_work += (operation, table) == ("get", Table.RUNS)
        most = max(most, at_work)

    async def end(operation: str, table: Table, *_: object) -> None:
        nonlocal at_work
        at_work -= (operation, table) == ("commit", Table.RUNS)

    await sweep(rig, hub)
    rig.tables.before, rig.tables.after = begin, end
    assert await poll(rig, hub) == {"polled": 20}
    assert (most, at_work) == (2, 0)
