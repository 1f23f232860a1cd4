"""Due rows, in memory and on Azurite alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import cast

import pytest

from shared.runs.store import due as stored
from shared.runs.store.due import DueStore
from shared.runs.store.tables import Change, Conflict, Kind, Table, Tables
from tests.contract.store.records import NOW, new_run


@pytest.fixture
def due(tables: Tables) -> DueStore:
    return DueStore(tables)


async def test_a_row_comes_back_as_it_was_put(due: DueStore) -> None:
    run = new_run().id
    put = await due.put(run, NOW, NOW - timedelta(hours=1), listed="owner:x/1")
    assert await due.get(run) == put
    assert await due.get(new_run().id) is None
    assert await due.due(NOW, 10) == [put]


async def test_due_rows_come_oldest_first_and_no_more_than_asked_for(due: DueStore) -> None:
    runs = [new_run().id for _ in range(5)]
    for index, run in enumerate(runs):
        await due.put(run, NOW - timedelta(seconds=index - 1), NOW)
    assert [each.run_id for each in await due.due(NOW, 10)] == runs[:0:-1]
    assert [each.run_id for each in await due.due(NOW, 2)] == runs[:2:-1]


async def test_a_whole_second_is_due_like_any_other(due: DueStore) -> None:
    run, moment = new_run().id, NOW.replace(microsecond=0)
    await due.put(run, moment, moment)
    assert [each.due for each in await due.due(moment, 10)] == [moment]
    assert await due.due(moment - timedelta(microseconds=10), 10) == []


async def test_whoever_wrote_last_is_nearer_to_the_truth(due: DueStore) -> None:
    run = new_run().id
    old = await due.put(run, NOW, NOW)
    new = await due.put(run, NOW + timedelta(hours=1), NOW)
    later = NOW + timedelta(seconds=60)
    assert not await due.set_due(old, NOW, later)
    assert not await due.quarantine(old, "x", NOW)
    assert not await due.remove(old, later)
    assert await due.get(run) == new
    assert await due.set_due(new, NOW, later, overdue_sweeps=2)
    dated = await due.get(run)
    assert dated is not None
    assert (dated.due, dated.overdue_sweeps, dated.announced_at) == (NOW, 2, NOW)
    assert await due.remove(dated, later)
    assert not await due.remove(dated, later)
    assert not await due.set_due(dated, NOW, later)
    assert await due.get(run) is None


async def test_rows_of_a_partition_get_their_dates_together_but_for_those_that_have_changed(due: DueStore) -> None:
    batches = [f"batch_{number:032x}" for number in range(0, 5 * 16, 16)]
    before = NOW - timedelta(seconds=60)
    rows = [await due.put(each, NOW, before) for each in batches]
    assert {row.partition for row in rows} == {"0"}
    await due.announce(batches[1], NOW)
    await due.remove(rows[3], NOW)
    later = NOW + timedelta(hours=1)
    written = await due.set_all([row.dated(later, NOW) for row in rows])
    assert [row.run_id for row in written] == [batches[0], batches[2], batches[4]]
    assert written == [await due.get(row.run_id) for row in written]
    assert {row.due for row in written} == {later}
    assert (announced := await due.get(batches[1])) is not None
    assert announced.due == NOW
    assert await due.get(batches[3]) is None
    assert await due.set_all([row.dated(later, NOW) for row in written[1:]]) != []


async def test_a_row_put_aside_is_passed_over_for_an_hour_or_until_it_is_put_again(due: DueStore) -> None:
    run = new_run().id
    before = NOW - timedelta(seconds=60)
    assert await due.quarantine(await due.put(run, NOW, before), "cannot be read" * 1_000, NOW)
    await due.put(new_run().id, NOW + timedelta(hours=1), NOW)
    assert await due.due(NOW, 10) == []
    assert await due.count() == (2, 1)
    assert run in [each.run_id for each in await due.due(NOW + timedelta(hours=1), 10)]
    await due.put(run, NOW, NOW)
    assert [each.run_id for each in await due.due(NOW, 10)] == [run]


async def test_a_batch_has_a_due_row_like_a_run(due: DueStore) -> None:
    batch = "batch_" + "0123456789abcdef" * 2
    put = await due.put(batch, NOW, NOW, listed="batches:x/1")
    assert await due.get(batch) == put
    assert await due.due(NOW, 10) == [put]
    assert await due.remove(put, NOW + timedelta(seconds=60))


async def test_an_announcement_brings_a_row_nearer_and_never_postpones_it(due: DueStore) -> None:
    run = new_run().id
    first = await due.announce(run, NOW, listed="owner:x/1")
    assert (first.due, first.announced_at) == (NOW + timedelta(seconds=60), NOW)
    assert await due.get(run) == first
    for seconds in (1, 20, 59, 3_600):
        again = await due.announce(run, NOW + timedelta(seconds=seconds))
        assert (again.due, again.announced_at) == (first.due, NOW + timedelta(seconds=seconds))
        assert again.listed == "owner:x/1"
        assert again.etag != first.etag
    late = await due.announce(run, NOW)
    assert late.announced_at == NOW + timedelta(hours=1), "never moved back"
    assert await due.set_due(late, NOW + timedelta(days=7), NOW + timedelta(hours=2), overdue_sweeps=1)
    near = await due.announce(run, NOW + timedelta(hours=3))
    assert (near.due, near.overdue_sweeps) == (NOW + timedelta(hours=3, seconds=60), 1)


async def test_an_announcement_that_loses_every_race_takes_nothing_back(tables: Tables, due: DueStore) -> None:
    run, late = new_run().id, NOW + timedelta(seconds=10)
    await due.put(run, NOW, NOW, listed="owner:x/1")

    async def raced(table: Table, partition: str, changes: Sequence[Change]) -> Mapping[str, str]:
        if changes[0].kind is Kind.REPLACE:  # somebody else announces, at a later time, and dates it sooner
            await due.put(run, NOW + timedelta(seconds=1), late, listed="owner:x/1")
            raise Conflict(run, "changed")
        return await tables.commit(table, partition, changes)

    racing = SimpleNamespace(get=tables.get, commit=raced)
    announced = await DueStore(cast(Tables, racing)).announce(run, NOW)
    assert (announced.due, announced.announced_at) == (NOW + timedelta(seconds=1), late)
    assert announced.listed == "owner:x/1"
    assert await due.get(run) == announced


async def test_for_a_minute_nobody_dates_a_row_past_its_announcement_or_removes_it(due: DueStore) -> None:
    """Who reads the run row before the commit that was announced must not have the sweep come later than that."""
    run, end = new_run().id, NOW + timedelta(seconds=60)
    announced = await due.announce(run, NOW)
    assert await due.set_due(announced, NOW + timedelta(days=7), NOW + timedelta(seconds=59))
    row = await due.get(run)
    assert row is not None
    assert row.due == end
    assert await due.set_due(row, NOW + timedelta(seconds=2), NOW)
    row = await due.get(run)
    assert row is not None
    assert row.due == NOW + timedelta(seconds=2), "sooner is fine"
    assert await due.quarantine(row, "cannot be read", NOW)
    row = await due.get(run)
    assert row is not None
    assert row.due == end
    assert await due.remove(row, NOW + timedelta(seconds=59))
    row = await due.get(run)
    assert row is not None
    assert row.due == end
    assert await due.remove(row, end)
    assert await due.get(run) is None


async def test_an_announcement_is_made_again_before_a_commit_that_took_its_time(due: DueStore) -> None:
    announced = await due.announce(new_run().id, NOW)
    assert await due.keep_announced(announced, NOW + timedelta(seconds=29)) == announced
    again = await due.keep_announced(announced, NOW + timedelta(seconds=30))
    assert again.announced_at == NOW + timedelta(seconds=30)
    assert await due.get(announced.run_id) == again


async def test_a_count_reads_no_more_rows_than_it_may_count(tables: Tables, due: DueStore) -> None:
    for _ in range(5):
        await due.quarantine(await due.put(new_run().id, NOW, NOW), "cannot be read", NOW)
    assert await due.count(3) == (3, 3)
    assert await due.count() == (5, 5)


async def test_beyond_one_page_all_that_is_due_is_found_once(due: DueStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "PAGE", 10)
    batches = [f"batch_{number:032x}" for number in range(70)]
    for at, batch in enumerate(batches):
        await due.put(batch, NOW - timedelta(seconds=at), NOW)
    await due.put(new_run().id, NOW + timedelta(seconds=1), NOW)
    assert [each.run_id for each in await due.due(NOW, 100)] == batches[::-1]
    assert [each.run_id for each in await due.due(NOW, 12)] == batches[:-13:-1]


async def test_a_row_is_handed_out_until_somebody_dates_it(due: DueStore) -> None:
    batches = [f"batch_{number:031x}0" for number in range(6)]
    before, later = NOW - timedelta(hours=1), NOW + timedelta(seconds=60)
    rows = [await due.put(each, NOW, before) for each in batches]
    handed = await due.set_all([row.handed_out("polls-1", later, NOW) for row in rows[:5]])
    assert {row.due for row in handed} == {later}
    await due.set_all([rows[5].handed_out("polls-2", later, NOW)])
    assert await due.due(NOW, 10) == []
    assert await due.handed("polls-1", "0", batches[0], batches[5]) == handed
    assert await due.handed("polls-1", "0", batches[1], batches[2]) == handed[1:3]
    assert await due.handed("polls-1", "1", batches[0], batches[5]) == []
    assert await due.set_due(handed[0], NOW, NOW)
    assert await due.remove(handed[1], NOW)
    assert await due.quarantine(handed[2], "cannot be read", NOW)
    announced = await due.announce(batches[3], NOW)
    assert announced.due == later
    assert await due.handed("polls-1", "0", batches[0], batches[5]) == [announced, handed[4]]


async def test_a_row_that_was_just_announced_is_handed_out_no_longer_than_its_announcement(due: DueStore) -> None:
    announced = await due.announce(new_run().id, NOW)
    now = NOW + timedelta(seconds=50)
    assert announced.handed_out("polls-1", now + timedelta(seconds=60), now).due == NOW + timedelta(seconds=60)
