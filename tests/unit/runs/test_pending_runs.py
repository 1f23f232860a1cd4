"""What a sweep does not read or write one by one, and that nothing gets lost by it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from shared.agentkit.agent import ContinuationToken
from shared.drivers import dates
from shared.runs import pending
from shared.runs.commands.cancel import cancel
from shared.runs.model.phases import Pending, RunningTools, RunStatus
from shared.runs.pending import PendingRuns
from shared.runs.store.due import DueRow
from shared.runs.store.runs import Stored
from shared.runs.store.tables import Change, StoreUnavailable, Table
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.records import NOW, a_run
from tests.unit.runs.test_sweep import due_by_row, sweep

MANY = 40
PENDING = Pending(token=ContinuationToken(response_id="resp_1"), next_look=NOW)


@pytest.fixture
async def rig(rigs: NewRig) -> Rig:
    """A process under `timer` whose runs stay pending."""
    rig = await rigs(driver="timer")
    await rig.model.script("s", [{"stuck": True}])
    return rig


async def swept(rig: Rig) -> Counter[tuple[str, Table]]:
    """The operations of one sweep, by their kind and table."""
    seen: Counter[tuple[str, Table]] = Counter()

    async def count(operation: str, table: Table, *_: object) -> None:
        seen[operation, table] += 1

    rig.clock.move(130)
    rig.tables.before = count
    await sweep(rig)
    rig.tables.before = None
    return seen


async def kept(rig: Rig) -> str:
    """A run that a sweep has looked at: the next one need not read it."""
    run_id = await rig.start()
    await swept(rig)
    assert await swept(rig) == {("query", Table.DUE): 1, ("commit", Table.RUNS): 1, ("commit", Table.DUE): 1}
    return run_id


async def test_a_look_without_news_takes_one_write_and_a_share_of_another(rig: Rig) -> None:
    for _ in range(MANY):
        await rig.start()
    first, second = await swept(rig), await swept(rig)
    assert (first["get", Table.RUNS], second["get", Table.RUNS]) == (MANY, 0)
    for each in (first, second):
        assert (each["query", Table.DUE], each["commit", Table.RUNS]) == (1, MANY)
        assert each["commit", Table.DUE] <= 16, "one for each partition of the due rows"
    assert second.total() <= 2 * MANY


async def test_all_that_is_due_is_looked_at_and_dated(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dates, "TOGETHER", 3)
    started = [await rig.start() for _ in range(MANY)]
    await swept(rig)
    await swept(rig)
    for run_id in started:
        run, row = await rig.run(run_id), await rig.app.ports.due.get(run_id)
        assert run.counters.wakes == 3, "the submit is one"
        assert row is not None
        assert row.due == await due_by_row(rig, run_id)


async def test_a_run_that_another_process_has_looked_at_since_is_read_again(rigs: NewRig, rig: Rig) -> None:
    run_id, other = await kept(rig), await rigs(driver="timer")
    rig.clock.move(130)
    await other.wake(run_id)
    before = await rig.run(run_id)
    assert await sweep(rig) == {"polled": 1}
    row = await rig.app.ports.due.get(run_id)
    assert (await rig.run(run_id)) == before, "its look was refused, and brought nothing new"
    assert row is not None
    assert row.due == await due_by_row(rig, run_id)
    await swept(rig)
    assert (await rig.run(run_id)).counters.wakes == before.counters.wakes + 1


async def test_a_run_that_was_cancelled_since_is_left_cancelled(rigs: NewRig, rig: Rig) -> None:
    run_id, other = await kept(rig), await rigs(driver="timer")
    await cancel(other.app.ports, run_id)
    assert (await swept(rig))["get", Table.RUNS] >= 1
    run = await rig.finish(run_id)
    assert (run.status, run.is_done) == (RunStatus.CANCELLED, True)
    assert [known.status for known in await rig.model.responses()] == ["cancelled"]


async def test_what_a_look_brings_is_taken_in_without_a_read_before(rig: Rig) -> None:
    await rig.model.script("s", [{"calls": [{"name": "work", "arguments": {"label": "a"}}], "think": 200}])
    run_id = await rig.start()
    await swept(rig)
    rig.clock.move(100)
    assert await sweep(rig) == {"handed_off": 1}
    assert isinstance((await rig.run(run_id)).phase, RunningTools)


async def test_a_deadline_ends_a_run_that_need_not_be_read(rig: Rig) -> None:
    run_id = await rig.start(deadline_seconds=300)
    for _ in range(4):
        await swept(rig)
    run = await rig.run(run_id)
    assert (run.status, run.result.error_code) == (RunStatus.FAILED, "deadline_exceeded")


async def test_dates_that_cannot_be_written_leave_the_rows_due(rig: Rig) -> None:
    run_id = await rig.start()
    rig.clock.move(130)

    async def away(operation: str, table: Table, partition: str | None, changes: Sequence[Change]) -> None:
        if operation == "commit" and table is Table.DUE:
            raise StoreUnavailable("away")

    rig.tables.before = away
    assert await sweep(rig) == {"polled": 1, "not_dated": 1}
    rig.tables.before = None
    assert await sweep(rig) == {"polled": 1}
    row = await rig.app.ports.due.get(run_id)
    assert row is not None
    assert row.due == await due_by_row(rig, run_id)


def a_row(run_id: str, etag: str = "1") -> DueRow:
    return DueRow(run_id=run_id, due=NOW + timedelta(seconds=9), announced_at=NOW, etag=etag)


def test_a_run_is_given_back_once_and_with_the_due_row_that_it_was_kept_with() -> None:
    runs, stored = PendingRuns(), Stored(a_run(phase=PENDING), "e")
    row = a_row(stored.value.id)
    assert runs.take(row) is None
    runs.keep(row, stored)
    assert runs.take(row) == stored
    assert runs.take(row) is None
    runs.keep(row, stored)
    assert runs.take(replace(row, etag="2")) is None, "somebody may have announced a change"
    assert runs.take(row) is None, "and what it was is forgotten"


def test_only_pending_and_small_runs_are_kept() -> None:
    runs, run = PendingRuns(), a_run(phase=PENDING)
    long = replace(run, request=replace(run.request, instructions="x" * (pending.LONGEST + 1)))
    for each in (a_run(), long):
        runs.keep(a_row(each.id), Stored(each, "e"))
        assert runs.take(a_row(each.id)) is None


def test_the_least_recently_kept_run_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending, "MOST", 2)
    runs, run = PendingRuns(), a_run(phase=PENDING)
    three = [replace(run, request=replace(run.request, number=number)) for number in (1, 2, 3)]
    for each in three:
        runs.keep(a_row(each.id), Stored(each, "e"))
    assert [runs.take(a_row(each.id)) is not None for each in three] == [False, True, True]
