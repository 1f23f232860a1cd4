"""What callers do with batches, and what retention does: see ``stories``."""

from __future__ import annotations

import hashlib
from typing import Any
from unittest.mock import patch

from shared import errors
from shared.drivers import retention as retention_driver
from shared.runs.batches.callbacks import redeliver_batch
from shared.runs.batches.cancel import cancel_batch
from shared.runs.batches.delete import delete_batch
from shared.runs.batches.retry import retry_batch
from shared.runs.batches.submit import AskedItem, BatchSubmission, submit_batch
from shared.runs.model.batch import BatchStatus, ItemStatus, run_of
from shared.runs.model.phases import RunStatus
from tests.unit.runs.batches import item_statuses, one
from tests.unit.runs.points.stories import DAY, DONE, LONG, STUCK, outcome_of, signal, start, when
from tests.unit.runs.points.world import Process, World

BAD = {"status": "failed", "error": {"code": "invalid_prompt", "message": "No."}}


def _wanted(*texts: str, **fields: Any) -> BatchSubmission:
    """A request for a batch of these items and one that is wrong."""
    items = [AskedItem(id=f"i-{n}", asked=one(text)) for n, text in enumerate(texts)]
    items.append(AskedItem(id="wrong", asked=errors.InvalidJson("no")))
    payload = hashlib.sha256(repr(texts).encode()).hexdigest()
    return BatchSubmission(items=items, defaults=one(""), payload=payload, idempotency_key="batch", **fields)


async def abandon_batch(world: World, *texts: str) -> None:
    """Submit a batch, and do not send it again when that breaks off."""
    await world.ask_once(lambda process: submit_batch(process.ports, _wanted(*texts)))


async def start_batch(world: World, *texts: str, **fields: Any) -> str:
    """Submit a batch of these items and one that is wrong, as often as it takes; its id."""
    wanted = _wanted(*texts, **fields)

    async def request(process: Process) -> str:
        submitted = await submit_batch(process.ports, wanted)
        await process.driver.start_batch(submitted)
        return submitted.batch.id

    return await world.ask(request)


async def over(world: World, batch_id: str) -> None:
    """Let the time pass until the batch is over."""

    async def is_over() -> bool:
        stored = await world.rig.app.ports.batches.load(batch_id)
        return stored is not None and stored.value.status.terminal

    await world.go_on(is_over)


async def outcome_of_batch(world: World, batch_id: str) -> Any:
    """What became of a batch."""
    stored = await world.rig.app.ports.batches.load(batch_id)
    if stored is None:
        return None
    batch = stored.value
    if batch.is_deleted:
        return "deleted"
    return batch.status.value, await item_statuses(world.rig, batch_id)


async def a_batch(world: World) -> Any:
    """Three items, two at a time, one of them long; a callback at the end, and once more; what failed runs again."""
    world.receiver.answers = [500]
    await world.rig.model.script("good", [DONE])
    await world.rig.model.script("bad", [BAD])
    batch_id = await start_batch(
        world, "[script:good]", "[script:bad] " + LONG, "[script:good]", concurrency=2, callback_url=world.receiver.url
    )
    await over(world, batch_id)
    await world.go_on()
    await signal(world, batch_id, redeliver_batch)
    await world.go_on()

    async def again(process: Process) -> str:
        retried = await retry_batch(process.ports, batch_id, "test", frozenset({ItemStatus.FAILED}), "again")
        await process.driver.start_batch(retried)
        return retried.batch.id

    second = await world.ask(again)
    await world.go_on()
    ids = {each.webhook_id for each in world.receiver.received}
    return len(ids), await outcome_of_batch(world, batch_id), await outcome_of_batch(world, second)


async def a_cancelled_batch(world: World) -> Any:
    """A batch that is cancelled while its first items run."""
    await world.rig.model.script("stuck", [STUCK])
    batch_id = await start_batch(world, *["[script:stuck]"] * 3, concurrency=2)

    async def has_begun() -> bool:
        stored = await world.rig.app.ports.batches.load(batch_id)
        return stored is not None and stored.value.status is BatchStatus.IN_PROGRESS

    await world.go_on(has_begun)
    await signal(world, batch_id, cancel_batch)
    await world.go_on()
    return await outcome_of_batch(world, batch_id)


async def a_deleted_batch(world: World) -> Any:
    """A batch that is deleted while its first items run, until nothing of it is left."""
    await world.rig.model.script("stuck", [STUCK])
    batch_id = await start_batch(world, *["[script:stuck] " + LONG] * 2, concurrency=1)

    async def has_begun() -> bool:
        return await world.rig.app.ports.runs.load(run_of(batch_id, 0)) is not None

    await world.go_on(has_begun)
    await signal(world, batch_id, delete_batch)
    await world.go_on()
    world.purged |= {batch_id, run_of(batch_id, 0), run_of(batch_id, 1)}
    return await outcome_of_batch(world, batch_id), await outcome_of(world, run_of(batch_id, 0))


async def retention(world: World) -> Any:
    """A session, a key and a batch that nobody has used for thirty days."""
    await world.rig.model.script("old", [DONE])
    await world.rig.model.script("good", [DONE])
    run_id = await start(world, "old")
    await when(world, run_id, RunStatus.COMPLETED)
    batch_id = await start_batch(world, "[script:good]")
    await over(world, batch_id)
    await world.go_on()
    world.rig.clock.move(31 * DAY)
    for _ in range(4):
        await world.retain()
        await world.go_on()
    world.purged |= {run_id, batch_id}
    keys = [row for row in world.index_rows() if row.partition.startswith("key:")]
    return await outcome_of(world, run_id), await outcome_of_batch(world, batch_id), len(keys)


async def retention_in_pages(world: World) -> Any:
    """More of it than one page holds, so that it is kept how far it has come."""
    await world.rig.model.script("old", [DONE])
    runs = [await start(world, "old", f"{n}") for n in range(2)]
    await world.go_on()
    world.rig.clock.move(31 * DAY)
    with patch.object(retention_driver, "PAGE", 1):
        for _ in range(4):
            await world.retain()
            await world.go_on()
    world.purged |= {*runs}
    return [await outcome_of(world, run_id) for run_id in runs]


STORIES = (a_batch, a_cancelled_batch, a_deleted_batch, retention, retention_in_pages)
