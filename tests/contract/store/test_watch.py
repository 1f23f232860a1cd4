"""The watch table, in memory and on Azurite alike."""

from __future__ import annotations

from datetime import timedelta

import pytest

from shared.runs.store.tables import Tables
from shared.runs.store.watch import WatchStore
from tests.contract.store.records import NOW, new_run


@pytest.fixture
def watch(tables: Tables) -> WatchStore:
    return WatchStore(tables)


async def test_a_row_comes_back_as_it_was_put(watch: WatchStore) -> None:
    run = new_run().id
    put = await watch.put(run, NOW, NOW - timedelta(hours=1), listed="owner:x/1")
    assert await watch.get(run) == put
    assert await watch.get(new_run().id) is None
    assert await watch.due(NOW, 10) == [put]


async def test_due_rows_come_oldest_first_and_no_more_than_asked_for(watch: WatchStore) -> None:
    runs = [new_run().id for _ in range(5)]
    for index, run in enumerate(runs):
        await watch.put(run, NOW - timedelta(seconds=index - 1), NOW)
    assert [each.run_id for each in await watch.due(NOW, 10)] == runs[:0:-1]
    assert [each.run_id for each in await watch.due(NOW, 2)] == runs[:2:-1]


async def test_a_whole_second_is_due_like_any_other(watch: WatchStore) -> None:
    run, moment = new_run().id, NOW.replace(microsecond=0)
    await watch.put(run, moment, moment)
    assert [each.due for each in await watch.due(moment, 10)] == [moment]
    assert await watch.due(moment - timedelta(microseconds=10), 10) == []


async def test_whoever_wrote_last_is_nearer_to_the_truth(watch: WatchStore) -> None:
    run = new_run().id
    old = await watch.put(run, NOW, NOW)
    new = await watch.put(run, NOW + timedelta(hours=1), NOW)
    assert not await watch.set_due(old, NOW)
    assert not await watch.quarantine(old, "x")
    assert not await watch.remove(old)
    assert await watch.get(run) == new
    assert await watch.set_due(new, NOW, strikes=2)
    dated = await watch.get(run)
    assert dated is not None
    assert (dated.due, dated.strikes, dated.created_at) == (NOW, 2, NOW)
    assert await watch.remove(dated)
    assert not await watch.remove(dated)
    assert not await watch.set_due(dated, NOW)
    assert await watch.get(run) is None


async def test_a_row_put_aside_is_passed_over_until_it_is_put_again(watch: WatchStore) -> None:
    run = new_run().id
    assert await watch.quarantine(await watch.put(run, NOW, NOW), "cannot be read" * 1_000)
    await watch.put(new_run().id, NOW + timedelta(hours=1), NOW)
    assert await watch.due(NOW, 10) == []
    assert await watch.count() == (2, 1)
    await watch.put(run, NOW, NOW)
    assert [each.run_id for each in await watch.due(NOW, 10)] == [run]


async def test_a_batch_is_watched_like_a_run(watch: WatchStore) -> None:
    batch = "batch_" + "0123456789abcdef" * 2
    put = await watch.put(batch, NOW, NOW, listed="batches:x/1")
    assert await watch.get(batch) == put
    assert await watch.due(NOW, 10) == [put]
    assert await watch.remove(put)


async def test_a_count_reads_no_more_rows_than_it_may_count(tables: Tables, watch: WatchStore) -> None:
    for _ in range(5):
        await watch.quarantine(await watch.put(new_run().id, NOW, NOW), "cannot be read")
    assert await watch.count(3) == (3, 3)
    assert await watch.count() == (5, 5)
