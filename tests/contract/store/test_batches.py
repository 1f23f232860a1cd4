"""Batches in their table, in memory and on Azurite alike."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shared.runs.model.batch import (
    Active,
    Batch,
    BatchItem,
    BatchPhase,
    BatchRequest,
    BatchSchedule,
    BatchStatus,
    Cancelling,
    Deleted,
    Ended,
    ItemResult,
    Pace,
    Running,
)
from shared.runs.model.listed import batch_summary
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import PartRef
from shared.runs.store.batches import BYTES_A_TRANSACTION, ITEMS_A_TRANSACTION, BatchStore
from shared.runs.store.index import UNLISTED, IndexStore
from shared.runs.store.tables import Change, Conflict, Table, Tables
from tests.contract.store.records import NOW, changed, new_run
from tests.parts.limits import change_bytes
from tests.parts.memory import MemoryTables


@pytest.fixture
def batches(tables: Tables) -> BatchStore:
    return BatchStore(tables)


def new_batch(**changes: Any) -> Batch:
    """A batch as submit makes it, with these changes."""
    batch = Batch(
        request=BatchRequest(
            id=f"batch_{secrets.token_hex(16)}",
            owner="o",
            fingerprint=secrets.token_hex(16),
            created_at=NOW,
            total=3,
            concurrency=2,
        ),
        schedule=BatchSchedule(wake_at=NOW, progress_at=NOW),
        pace=Pace(window=2),
        updated_at=NOW,
    )
    return changed(batch, **changes)


def results(*indices: int) -> list[ItemResult]:
    return [
        ItemResult(index=i, status=RunStatus.FAILED, ended_at=NOW, error_code="x", error_message="y") for i in indices
    ]


async def test_a_batch_comes_back_as_it_was_written(batches: BatchStore) -> None:
    batch = new_batch(
        agent="a",
        metadata={"k": "ü\U0001f42d"},
        phase=Cancelling(),
        refused=tuple(range(1_000)),
        active=(Active(index=3, since=NOW), Active(index=77, since=NOW + timedelta(seconds=1))),
        cancelled_from=5,
        held=True,
        not_before=NOW,
        retry_after=0.25,
    )
    stored = await batches.create(batch)
    assert await batches.load(batch.id) == stored
    assert stored.value == batch
    assert await batches.load(new_batch().id) is None
    with pytest.raises(Conflict):
        await batches.create(batch)


@pytest.mark.parametrize(
    "phase",
    [
        Running(begun=True),
        Cancelling(),
        Ended(status=BatchStatus.CANCELLED, completed_at=NOW),
        Deleted(status=BatchStatus.COMPLETED, deleted_at=NOW, purged=7, emptied=True),
    ],
    ids=lambda phase: type(phase).__name__,
)
async def test_every_phase_of_a_batch_comes_back_as_it_was_written(batches: BatchStore, phase: BatchPhase) -> None:
    stored = await batches.create(new_batch(phase=phase))
    assert await batches.load(stored.value.id) == stored
    for each in (Running(), phase):
        stored = await batches.save(stored, replace(stored.value, phase=each))
        assert await batches.load(stored.value.id) == stored


async def test_counts_and_results_are_written_together_or_not_at_all(batches: BatchStore) -> None:
    before = await batches.create(new_batch())
    after = await batches.save(before, changed(before.value, failed=2), results(0, 2))
    assert await batches.load(after.value.id) == after
    with pytest.raises(Conflict):
        await batches.save(before, changed(before.value, failed=1), results(1))
    with pytest.raises(Conflict):
        await batches.save(after, changed(after.value, failed=3), results(2))
    assert await batches.load(after.value.id) == after
    found = await batches.results(after.value.id, 0, 3)
    assert found == dict(zip((0, 2), results(0, 2), strict=True))
    assert list(await batches.results(after.value.id, 1, 2)) == []
    assert list(await batches.results(after.value.id, 1, 3)) == [2]


async def test_as_many_results_as_may_be_active_fit_one_transaction(batches: BatchStore) -> None:
    before = await batches.create(new_batch(total=100))
    long = [replace(each, error_message="é" * 1_000) for each in results(*range(64))]
    await batches.save(before, changed(before.value, failed=64), long)
    assert len(await batches.results(before.value.id, 0, 100)) == 64


async def test_items_come_back_in_order_and_may_be_written_again(batches: BatchStore) -> None:
    batch = new_batch()
    items = [BatchItem(index=i, id=f"id {i}" if i % 2 else None, asked=f'{{"n": {i}}}') for i in range(250)]
    items[7] = BatchItem(index=7, error_code="bad", error_message="Say it otherwise.")
    items[8] = BatchItem(index=8, asked="{}", retry_of_index=0)
    await batches.put_items(batch.id, items)
    await batches.put_items(batch.id, items)
    assert await batches.heads(batch.id, 0) == [replace(each, asked="") for each in items]
    assert [each.index for each in await batches.heads(batch.id, 240)] == list(range(240, 250))
    assert [each.index for each in await batches.heads(batch.id, 3, limit=2)] == [3, 4]
    assert await batches.item(batch.id, 5) == items[5]
    assert await batches.item(batch.id, 250) is None


async def test_long_items_share_no_transaction_that_is_too_large(batches: BatchStore) -> None:
    batch = new_batch()
    items = [BatchItem(index=i, asked="é" * 24_000) for i in range(60)]
    await batches.put_items(batch.id, items)
    assert await batches.item(batch.id, 59) == items[59]


async def test_a_long_input_lies_in_parts_of_its_item(batches: BatchStore) -> None:
    batch, text = new_batch(), "\U0001f42dé\n" * 50_000
    kept = await batches.store_text(batch.id, 3, text)
    assert isinstance(kept, PartRef)
    await batches.put_items(batch.id, [BatchItem(index=3, asked=kept)])
    item = await batches.item(batch.id, 3)
    assert item is not None
    assert await batches.load_text(batch.id, 3, item.asked) == text
    with pytest.raises(LookupError):
        await batches.load_text(batch.id, 4, item.asked)


async def test_all_rows_but_the_batch_can_be_removed_unless_one_was_written_anew(batches: BatchStore) -> None:
    stored = await batches.create(new_batch())
    batch_id = stored.value.id
    kept = await batches.store_text(batch_id, 0, "x" * 100_000)
    items = [BatchItem(index=i, asked=kept) for i in range(120)]
    await batches.put_items(batch_id, items)
    stored = await batches.save(stored, stored.value, results(1))
    rows = await batches.rows(batch_id)
    assert len(rows) == 122
    assert len(await batches.rows(batch_id, limit=50)) == 50
    await batches.put_items(batch_id, items[:1])
    assert not await batches.remove_rows(batch_id, rows)
    assert await batches.item(batch_id, 0) == items[0]
    assert await batches.remove_rows(batch_id, await batches.rows(batch_id))
    assert await batches.rows(batch_id) == []
    assert await batches.load(batch_id) == stored
    await batches.remove(stored)
    assert await batches.load(batch_id) is None


async def test_batches_that_were_over_long_ago_are_found(batches: BatchStore) -> None:
    over: BatchPhase = Ended(status=BatchStatus.COMPLETED, completed_at=NOW)
    gone: BatchPhase = Deleted(status=BatchStatus.COMPLETED, deleted_at=NOW)
    old, tomb, active = new_batch(phase=over, over_at=NOW), new_batch(phase=gone), new_batch()
    for each in (old, tomb, active):
        await batches.create(each)
        await batches.put_items(each.id, [BatchItem(index=0)])
    assert await batches.over_since(NOW + timedelta(seconds=1), place=None, size=9) == ([old.id], None)
    assert await batches.over_since(NOW, place=None, size=9) == ([], None)


async def test_an_owner_has_a_list_of_batches_beside_that_of_runs(tables: Tables) -> None:
    index = IndexStore(tables)
    made = [new_batch(created_at=NOW + timedelta(seconds=i)) for i in range(3)]
    for batch in (*made, new_batch(owner="another")):
        hidden = await index.list_hidden(batch)
        assert await index.listing(index.list_row_of(batch)) == hidden
        await index.show(batch, hidden)
    await index.show(new_run(), UNLISTED)
    await index.list_hidden(new_batch())
    page, cursor = await index.batches("o", None, 2)
    assert [(each.id, each.status, each.summary) for each in page] == [
        (each.id, each.status, batch_summary(each)) for each in made[:0:-1]
    ]
    page, cursor = await index.batches("o", cursor, 2)
    assert ([each.id for each in page], cursor) == ([made[0].id], None)
    await index.unlist(index.list_row_of(made[0]))
    assert len((await index.batches("o", None, 9))[0]) == 2
    assert len((await index.runs("o", None, 9, statuses=(), agent=None))[0]) == 1


async def test_a_transaction_of_items_stays_small() -> None:
    tables = MemoryTables()
    sent: list[Sequence[Change]] = []

    async def before(operation: str, _t: Table, _p: str | None, changes: Sequence[Change]) -> None:
        sent.append(changes)

    tables.before = before
    for text in ("x" * 24_000, "x"):
        await BatchStore(tables).put_items(new_batch().id, [BatchItem(index=i, asked=text) for i in range(60)])
    assert {len(changes) for changes in sent} <= set(range(1, ITEMS_A_TRANSACTION + 1))
    assert max(sum(change_bytes("p", each) for each in changes) for changes in sent) <= BYTES_A_TRANSACTION
    assert sum(len(changes) for changes in sent) == 120
