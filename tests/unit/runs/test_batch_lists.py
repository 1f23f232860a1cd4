"""A list of batches comes from rows of its own, as one of runs: what it shows, and that no crash leaves it wrong."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from shared.api.native.batches import list_batches
from shared.errors import InvalidRequest
from shared.runs.batches.cancel import cancel_batch
from shared.runs.batches.delete import delete_batch
from shared.runs.listing import after_change
from shared.runs.model.batch import Batch, BatchStatus, counts
from shared.runs.model.listed import ListedBatch
from shared.runs.queries.batches import batches_of_owner
from shared.runs.store.rows import decode
from shared.runs.store.tables import Change, Kind, Row, Table
from tests.unit.runs.batches import ended, load, submit
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.crashes import Act, Driver, RunBefore, interrupt_each, interruptions
from tests.unit.runs.test_session_pages import asked

S = "[script:s]"
DONE = {"text": "Done."}
STUCK = {"stuck": True}


async def in_list(rig: Rig, owner: str = "test") -> list[ListedBatch]:
    """All of the list, page by page."""
    found: list[ListedBatch] = []
    cursor: str | None = None
    while True:
        page = await batches_of_owner(rig.app.ports, owner, cursor, 3)
        found += page.batches
        if (cursor := page.cursor) is None:
            return found


async def shown(rig: Rig, batch_id: str) -> BatchStatus | None:
    """The status of the batch in the list; None where that does not have it."""
    return next((batch.status for batch in await in_list(rig) if batch.id == batch_id), None)


def list_rows(rig: Rig) -> list[Row]:
    return [row for row in rig.tables.rows(Table.INDEX) if row.partition.startswith("batches:")]


def batches_of(rig: Rig) -> list[Batch]:
    return [decode(Batch, row.values) for row in rig.tables.rows(Table.BATCHES) if row.key == "batch"]


async def assert_right(rig: Rig) -> None:
    """The list shows each batch as its own row says, but for deleted ones, and nothing else."""
    there = {batch.id: batch.status for batch in batches_of(rig) if not batch.is_deleted}
    assert {batch.id: batch.status for batch in await in_list(rig)} == there


async def test_a_list_follows_each_change_of_status_and_counts_what_has_ended(rig: Rig) -> None:
    await rig.model.script("s", [DONE])
    host = Driver(rig)
    submitted = await submit(rig, S, "", S, concurrency=2)
    batch_id = submitted.batch.id
    assert await shown(rig, batch_id) is BatchStatus.QUEUED
    await host.start_batch(submitted)
    await rig.run_activity(batch_id, host)
    (one,) = await in_list(rig)
    held = one.summary
    assert (one.id, one.status, held.total, held.concurrency) == (batch_id, BatchStatus.IN_PROGRESS, 3, 2)
    assert (held.completed_at, held.elapsed_seconds, held.completed, held.failed) == (None, None, 0, 0)
    await host.pass_time(300)
    (one,) = await in_list(rig)
    held, batch = one.summary, await load(rig, batch_id)
    assert (one.status, held.completed_at) == (BatchStatus.COMPLETED, batch.over_at)
    assert (held.completed, held.failed) == (counts(batch)["completed"], counts(batch)["failed"]) == (2, 1)
    assert held.elapsed_seconds
    await delete_batch(rig.app.ports, batch_id)
    assert await in_list(rig) == [], "at once, not when its rows go"


async def test_one_whose_items_are_all_bad_is_listed_as_ended_from_the_first(rig: Rig) -> None:
    batch = await ended(rig, None)
    (one,) = await in_list(rig)
    assert (one.id, one.status, one.summary.failed) == (batch.id, BatchStatus.COMPLETED, 1)
    assert await in_list(rig, owner="another") == []


async def test_wakes_without_a_change_of_status_leave_the_list_alone(rig: Rig) -> None:
    await rig.model.script("s", [STUCK])
    host = Driver(rig)
    submitted = await submit(rig, S, S, S, S, concurrency=2)
    await rig.run_activity(submitted.batch.id, host)
    seen = Counter[str]()

    async def count(operation: str, table: Table, partition: str | None, *_: object) -> None:
        seen[operation] += table is Table.INDEX and str(partition).startswith("batches:")

    rig.tables.before = count
    for _ in range(3):
        for response in await rig.model.responses():
            await rig.model.finish(response.id)
        rig.clock.move(60)
        await rig.run_activity(submitted.batch.id, host)
    rig.tables.before = None
    assert (await load(rig, submitted.batch.id)).status is BatchStatus.IN_PROGRESS
    assert not +seen


async def test_a_row_that_cannot_be_read_hides_no_other(rig: Rig) -> None:
    damaged, sound = (await submit(rig, S)).batch.id, (await submit(rig, S)).batch.id
    (row,) = [row for row in list_rows(rig) if damaged in row.key]
    for values in (
        {**row.values, "summary": "{"},
        {"status": "odd"},
        {"fingerprint": "x"},
        {**row.values, "schema": 99},
    ):
        change = Change(kind=Kind.OVERWRITE, key=row.key, values=values)
        await rig.tables.commit(Table.INDEX, row.partition, [change])
        assert [batch.id for batch in await in_list(rig)] == [sound]
    await cancel_batch(rig.app.ports, damaged)
    assert await shown(rig, damaged) is BatchStatus.CANCELLED, "mended by the next change"


@pytest.mark.parametrize("cursor", ["~", "~A", "~bm90IGpzb24", "~WzFd", "~" + "A" * 1_201, "1:batch_x:y", "~a/b"])
async def test_a_cursor_that_no_page_gave_out_is_refused(rig: Rig, cursor: str) -> None:
    with pytest.raises(InvalidRequest, match="`cursor` is none of ours"):
        await list_batches(asked("-", f"cursor={cursor}"), rig.app)


# --- crashes and races --------------------------------------------------------------------------------


async def _queued(rig: Rig, host: Driver, key: str) -> Act:
    async def act() -> None:
        await host.start_batch(await submit(rig, S, key=key))

    return act


async def _begun(rig: Rig, host: Driver, key: str, *, wakes: int) -> str:
    submitted = await submit(rig, S, key=key)
    await host.start_batch(submitted)
    for _ in range(wakes):
        await rig.run_activity(submitted.batch.id, host)
    return submitted.batch.id


async def _in_progress(rig: Rig, host: Driver, key: str) -> Act:
    await rig.model.script("s", [STUCK])
    batch_id = await _begun(rig, host, key, wakes=0)
    return lambda: rig.run_activity(batch_id, host)


async def _cancelled(rig: Rig, host: Driver, key: str) -> Act:
    await rig.model.script("s", [STUCK])
    batch_id = await _begun(rig, host, key, wakes=1)

    async def act() -> None:
        await cancel_batch(rig.app.ports, batch_id)
        await rig.driver(host).wake(batch_id)
        await rig.run_activity(batch_id, host)

    return act


async def _completed(rig: Rig, host: Driver, key: str) -> Act:
    await rig.model.script("s", [DONE])
    batch_id = await _begun(rig, host, key, wakes=1)
    rig.clock.move(30)
    for row in rig.tables.rows(Table.RUNS):
        if row.key.startswith("run:"):
            await rig.run_activity(f"run_{row.partition}_1", host)
    return lambda: rig.run_activity(batch_id, host)


async def _deleted(rig: Rig, host: Driver, key: str) -> Act:
    await rig.model.script("s", [STUCK])
    batch_id = await _begun(rig, host, key, wakes=1)

    async def act() -> None:
        await delete_batch(rig.app.ports, batch_id)
        await rig.driver(host).wake(batch_id)

    return act


PREPARED = {
    "queued": _queued,
    "in_progress": _in_progress,
    "cancelled": _cancelled,
    "completed": _completed,
    "deleted": _deleted,
}
"""By what a batch comes to: what comes before, and the act that is interrupted."""


@pytest.mark.slow
@interruptions
@pytest.mark.parametrize("driver", ["durable", "timer"])
@pytest.mark.parametrize("status", PREPARED)
async def test_whatever_interrupts_a_change_of_status_the_list_comes_to_show_it(
    rigs: NewRig, status: str, driver: str, error: BaseException, applied: bool
) -> None:
    rig = await rigs(driver=driver)
    await rig.model.script("s", [STUCK])
    came_to: set[str] = set()

    async def check() -> None:
        await assert_right(rig)
        came_to.update("deleted" if batch.is_deleted else batch.status.value for batch in batches_of(rig))

    at = await interrupt_each(rig, PREPARED[status], check, error=error, applied=applied, seconds=300, tick=60)
    assert at > 4
    assert (status if status != "queued" else "in_progress") in came_to


async def test_requests_with_one_key_side_by_side_leave_one_shown_row(rig: Rig) -> None:
    for at in range(1, 30):
        key = f"key-{at}"
        with RunBefore(rig, at, lambda: submit(rig, S, key=key)) as race:  # noqa: B023
            await submit(rig, S, key=key)
        await assert_right(rig)
        assert len(list_rows(rig)) == at
        if not race.happened:
            break
    assert at > 6
    await asyncio.gather(*(submit(rig, S, key="many") for _ in range(8)))
    await assert_right(rig)


async def test_no_late_write_shows_a_batch_as_it_was_before_its_cancellation(rig: Rig) -> None:
    """At each operation of the wake that begins it, it is cancelled or deleted."""
    await rig.model.script("s", [STUCK])
    host = Driver(rig)
    for end in (cancel_batch, delete_batch):
        for at in range(1, 40):
            batch_id = (await submit(rig, S)).batch.id
            with RunBefore(rig, at, lambda: end(rig.app.ports, batch_id)) as race:  # noqa: B023
                await rig.run_activity(batch_id, host)
            await assert_right(rig)
            if not race.happened:
                break
        assert at > 4


async def test_a_deleted_batch_that_is_listed_late_is_gone_with_its_rows(rig: Rig) -> None:
    host = Driver(rig)
    submitted = await submit(rig, S)
    batch_id, before = submitted.batch.id, submitted.batch
    await cancel_batch(rig.app.ports, batch_id)
    after = await load(rig, batch_id)
    await delete_batch(rig.app.ports, batch_id)
    await after_change(rig.app.ports, before, after, None)  # the cancelling process was frozen until now
    assert await shown(rig, batch_id) is BatchStatus.CANCELLED, "for a moment"
    for _ in range(3):
        await rig.run_activity(batch_id, host)
    assert list_rows(rig) == []
    await after_change(rig.app.ports, before, after, None)
    assert list_rows(rig) == [], "there is no row to be written over"
