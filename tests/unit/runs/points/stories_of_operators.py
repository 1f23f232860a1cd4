"""What an operator does while callers go on: see ``stories``."""

from __future__ import annotations

from collections import Counter
from typing import Any

from shared.errors import IntakePaused
from shared.runs.batches.submit import submit_batch
from shared.runs.commands import operate
from shared.runs.commands.cancel import cancel
from shared.runs.commands.submission import Submission
from shared.runs.model.batch import run_of, session_of
from shared.runs.model.owners import OwnerPlace
from shared.runs.model.phases import RunStatus
from shared.runs.owners.erase import erase
from shared.runs.schedules.change import Timing, create_schedule
from shared.runs.store.controls import Intake
from shared.runs.store.owners import digest_of
from shared.runs.store.slots import Slot
from shared.runs.store.tables import Change, Kind, Table
from tests.unit.runs.batches import asked
from tests.unit.runs.points.stories import DONE, STUCK, outcome_of, signal, start, when
from tests.unit.runs.points.world import Process, World

MINUTE = 60.0


async def an_operator(world: World) -> Any:
    """The intake is paused, the app drained; a run whose driver has lost it is given back, and another is ended."""
    await world.rig.model.script("told", [DONE])
    await world.rig.model.script("stuck", [STUCK])
    first = await start(world, "told")
    await world.ask(lambda process: operate.set_drain(process.ports, draining=True))
    await world.go_on(most=MINUTE)
    held = (await world.rig.run(first)).status is not RunStatus.COMPLETED
    refused = [await _is_refused(world)]
    await world.ask(lambda process: operate.set_drain(process.ports, draining=False))
    await world.ask(lambda process: operate.set_intake(process.ports, Intake(paused=True)))
    refused.append(await _is_refused(world))
    await when(world, first, RunStatus.COMPLETED)
    await world.ask(lambda process: operate.set_intake(process.ports, Intake()))
    second = await start(world, "stuck")
    await _release(world, second)
    await _lose(world, second)
    await _release(world, second)
    await signal(world, second, cancel)
    await world.go_on()
    return held, refused, await outcome_of(world, first), await outcome_of(world, second)


async def _release(world: World, run_id: str) -> None:
    async def request(process: Process) -> None:
        await operate.release(process.ports, run_id)
        await process.driver.wake(run_id)

    await world.ask(request)


async def _lose(world: World, run_id: str) -> None:
    """Lose the run's orchestration and its due row, so that nobody would come back to it."""
    world.hub.wakes.pop(run_id, None)
    world.hub.steps.discard(run_id)
    row = await world.rig.app.ports.due.get(run_id)
    if row is not None:
        change = Change(kind=Kind.DELETE, key=run_id, etag=row.etag)
        await world.rig.tables.commit(Table.DUE, row.partition, [change])


async def _is_refused(world: World) -> bool:
    try:
        await start(world, "told", "another")
    except IntakePaused:
        return True
    return False


async def an_owner_who_is_erased(world: World) -> Any:
    """An owner has runs, one of them active, a batch, a schedule and keys; and once all is erased nothing."""
    await world.rig.model.script("told", [DONE])
    await world.rig.model.script("stuck", [STUCK])
    first = await start(world, "told")
    await when(world, first, RunStatus.COMPLETED)
    runs = [first, await start(world, "stuck")]
    batch = await world.ask(_submit_batch)
    runs += [run_of(batch, index) for index in range(2)]
    await world.ask(_make_schedule)
    # Of a client that repeats its requests by itself, and of a submit that was cut off.
    ports, now = world.rig.app.ports, world.rig.clock.now
    await ports.index.tries.begin("test", "a" * 64, key="k" * 32, count=0, now=now)
    await ports.slots.take("test", Slot(number=90, run_id=f"run_{'0' * 32}_1", fingerprint="f", taken_at=now))
    erased = Counter(await world.ask(_erase_all))
    again = Counter(await world.ask(_erase_all))
    world.purged |= {*runs, batch, *(session_of(batch, index) for index in range(2))}
    await world.go_on()
    left = Counter(await world.ask(_erase_all))
    names = [row.partition for row in world.index_rows() if digest_of("test") in row.partition]
    return erased["failed"], again["failed"], [*left.elements()], names


async def _submit_batch(process: Process) -> str:
    submitted = await submit_batch(process.ports, asked("[script:told]", "[script:told]", key="batch"))
    await process.driver.start_batch(submitted)
    return submitted.batch.id


async def _make_schedule(process: Process) -> None:
    items = ({"type": "message", "role": "user", "content": "[script:told]"},)
    wanted = Submission(owner="test", agent="workshop", items=items, idempotency_key="each day")
    made = await create_schedule(process.ports, wanted, Timing(cron="0 6 * * *"))
    await process.driver.wake(made.id)


async def _erase_all(process: Process) -> dict[str, int]:
    found: Counter[str] = Counter()
    async for step in erase(process.ports, "test", OwnerPlace(), process.driver.wake):
        found.update({each.value: count for each, count in (step.erased + step.remaining).items()})
        found["failed"] += len(step.failures)
    return {name: count for name, count in found.items() if count}


STORIES = (an_operator, an_owner_who_is_erased)
