"""What an operator does while callers go on: see ``stories``."""

from __future__ import annotations

from typing import Any

from shared.errors import IntakePaused
from shared.runs.commands import operate
from shared.runs.commands.cancel import cancel
from shared.runs.model.phases import RunStatus
from shared.runs.store.controls import Intake
from shared.runs.store.tables import Change, Kind, Table
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


STORIES = (an_operator,)
