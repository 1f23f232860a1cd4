"""Wakes of a batch that crash: backed off, and the batch comes to an end that its caller can read."""

from __future__ import annotations

from typing import Any

import pytest

from shared.api.native.batch_shapes import item_on_the_wire
from shared.runs.batches import advance as batches_advance
from shared.runs.batches.cancel import cancel_batch
from shared.runs.batches.delete import delete_batch
from shared.runs.model.batch import BatchStatus, ItemStatus, item_status, run_of
from shared.runs.model.phases import RunStatus
from shared.runs.queries.batches import FullItem
from tests.unit.runs.batches import item_statuses, load, submit
from tests.unit.runs.conftest import Rig
from tests.unit.runs.crashes import Driver

LONG = "[script:long]"
DAY = 86_400.0


@pytest.fixture
async def started(rig: Rig) -> tuple[Rig, Driver, str]:
    """A batch of four items, two of which are active and stay so."""
    await rig.model.script("long", [{"stuck": True}])
    host = Driver(rig)
    submitted = await submit(rig, LONG, LONG, LONG, LONG, concurrency=2)
    await host.start_batch(submitted)
    await host.pass_time(60)
    assert len((await load(rig, submitted.batch.id)).progress.active) == 2
    return rig, host, submitted.batch.id


def broken(monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
    async def look(*_: Any) -> Any:
        raise error or ZeroDivisionError

    monkeypatch.setattr(batches_advance, "_seen", look)


async def gaps_until_the_end(rig: Rig, host: Driver, batch_id: str) -> list[float]:
    gaps: list[float] = []
    while len(gaps) < 30:
        outcome = await rig.run_activity(batch_id, host)
        if outcome.wake_in is None:
            return gaps
        gaps.append(outcome.wake_in)
        rig.clock.move(outcome.wake_in)
    raise AssertionError(f"no end: {gaps}")


async def test_crashes_in_a_row_are_backed_off_and_the_tenth_ends_the_batch(
    started: tuple[Rig, Driver, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, host, batch_id = started
    broken(monkeypatch)
    gaps = await gaps_until_the_end(rig, host, batch_id)
    assert len(gaps) == 9
    assert gaps == sorted(gaps)
    assert gaps[-1] > 10 * gaps[0]
    batch = await load(rig, batch_id)
    assert (batch.status, batch.progress.failed, batch.pending) == (BatchStatus.COMPLETED, 4, 0)
    assert batch.progress.active == ()
    assert await item_statuses(rig, batch_id) == {"failed": 4}
    results = await rig.app.ports.batches.results(batch_id, 0, 4)
    for head in await rig.app.ports.batches.heads(batch_id, 0):
        result = results.get(head.index)
        full = FullItem(item=head, status=item_status(batch, head.index, result), result=result)
        shown = item_on_the_wire(batch, full, run_url=None)
        assert shown["status"] == ItemStatus.FAILED.value
        assert shown["error"]["code"] == "internal_error"
        assert "ZeroDivisionError" in shown["error"]["message"]
    await host.pass_time(120)
    for index in (0, 1):
        assert (await rig.run(run_of(batch_id, index))).status is RunStatus.CANCELLED, "nothing of it runs on"


async def test_a_run_that_has_ended_gives_the_result_of_a_batch_that_is_given_up(
    started: tuple[Rig, Driver, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, host, batch_id = started
    broken(monkeypatch)
    for response in await rig.model.responses():
        await rig.model.finish(response.id)
    await rig.follow(run_of(batch_id, 0))
    await gaps_until_the_end(rig, host, batch_id)
    results = await rig.app.ports.batches.results(batch_id, 0, 4)
    assert results[0].status is RunStatus.COMPLETED
    assert results[1].status is RunStatus.FAILED


async def test_a_wake_that_works_ends_a_row_of_crashes(
    started: tuple[Rig, Driver, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, host, batch_id = started
    for _ in range(3):
        with monkeypatch.context() as patch:
            broken(patch)
            for _ in range(9):
                await rig.run_activity(batch_id, host)
        await rig.run_activity(batch_id, host)
        assert (await load(rig, batch_id)).schedule.crashes == 0
    assert not (await load(rig, batch_id)).status.terminal


async def test_a_cancelled_batch_whose_wakes_crash_ends_as_cancelled(
    started: tuple[Rig, Driver, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, host, batch_id = started
    await cancel_batch(rig.app.ports, batch_id)
    broken(monkeypatch)
    await gaps_until_the_end(rig, host, batch_id)
    batch = await load(rig, batch_id)
    assert (batch.status, batch.progress.cancelled, batch.progress.failed) == (BatchStatus.CANCELLED, 2, 2)


async def test_a_deletion_that_crashes_is_tried_again_ever_later(
    started: tuple[Rig, Driver, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, host, batch_id = started
    await cancel_batch(rig.app.ports, batch_id)
    await delete_batch(rig.app.ports, batch_id)
    with monkeypatch.context() as patch:

        async def purge(*_: Any) -> Any:
            raise ZeroDivisionError

        patch.setattr(batches_advance, "purge", purge)
        await rig.run_activity(batch_id, host)
        gaps = []
        for _ in range(12):
            outcome = await rig.run_activity(batch_id, host)
            assert outcome.wake_in is not None
            gaps.append(outcome.wake_in)
            rig.clock.move(outcome.wake_in)
    assert gaps[-1] == max(gaps) >= 300
    await host.pass_time(600)
    rig.clock.move(2 * DAY)
    await host.pass_time(600)
    assert await rig.app.ports.batches.load(batch_id) is None


async def test_a_wake_that_crashes_after_its_write_is_counted_on_what_it_wrote(
    started: tuple[Rig, Driver, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, host, batch_id = started
    with monkeypatch.context() as patch:
        broken(patch)
        for _ in range(9):
            await rig.run_activity(batch_id, host)
    await rig.model.finish((await rig.model.responses())[0].id)
    for index in (0, 1):
        rig.clock.move(60)
        await rig.wake(run_of(batch_id, index))

    async def begin(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(batches_advance, "_begin", begin)
    assert (await rig.run_activity(batch_id, host)).wake_in is None
    batch = await load(rig, batch_id)
    assert (batch.status, batch.progress.completed, batch.progress.failed) == (BatchStatus.COMPLETED, 1, 3)
    assert await item_statuses(rig, batch_id) == {"completed": 1, "failed": 3}


async def test_a_deleted_batch_that_cannot_be_stopped_goes_all_the_same(
    started: tuple[Rig, Driver, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, host, batch_id = started
    await delete_batch(rig.app.ports, batch_id)
    broken(monkeypatch)
    await host.pass_time(7_200)
    rig.clock.move(2 * DAY)
    await host.pass_time(600)
    assert await rig.app.ports.batches.load(batch_id) is None
    for index in (0, 1):
        stored = await rig.app.ports.runs.load(run_of(batch_id, index))
        assert stored is None or stored.value.is_deleted
