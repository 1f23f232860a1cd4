"""Requests that come to nothing, or meet others in an unlucky moment: see ``stories``."""

from __future__ import annotations

from typing import Any

from local.points.names import Passed
from shared.errors import DormouseError
from shared.runs.commands.cancel import cancel
from shared.runs.commands.delete import delete_session
from shared.runs.commands.retries import begin_try, earlier_tries, note_answered, note_lost, take_try
from shared.runs.commands.submission import Submission
from shared.runs.commands.submit import submit
from shared.runs.model.ids import due_row_of
from shared.runs.model.phases import RunStatus
from shared.runs.store.tables import Table
from tests.unit.runs.points.stories import DAY, DONE, LONG, STUCK, outcome_of, signal, start, when
from tests.unit.runs.points.stories_of_batches import abandon_batch, outcome_of_batch, start_batch
from tests.unit.runs.points.stories_of_faults import once
from tests.unit.runs.points.world import Process, World

LATE = 31.0
"""Seconds after which a due row is announced again before the write that it stands for."""


async def an_abandoned_submit(world: World) -> Any:
    """A submit that dies before its run is written, and is not sent again; then another needs its slot."""
    await world.rig.model.script("s", [DONE])
    world.at_point = once("submit / write / runs.create", world.die)
    wanted = Submission(owner="test", agent="workshop", items=({"type": "message", "role": "user", "content": LONG},))
    for _ in range(5):
        await world.ask_once(lambda process: submit(process.ports, wanted))
        world.at_point = once("submit / write / runs.create", world.die)
    await world.go_on()
    world.at_point = None
    run_id = await start(world, "s")
    await world.go_on()
    return await outcome_of(world, run_id)


async def an_abandoned_batch(world: World) -> Any:
    """The same with a batch."""
    await world.rig.model.script("s", [DONE])
    world.at_point = once("submit batch / try / batches.create", world.die)
    await abandon_batch(world, "[script:s]", "[script:s] " + LONG)
    await world.go_on()
    return [row.key for row in world.rig.tables.rows(Table.BATCHES)]


async def a_lost_number(world: World) -> Any:
    """Another request takes the number of the session's next run."""
    await world.rig.model.script("one", [DONE])
    await world.rig.model.script("two", [STUCK])
    first = await start(world, "one")
    await when(world, first, RunStatus.COMPLETED)
    session_id = first.split("_")[1]

    async def other() -> None:
        submitted = await world.rig.submit("[script:one]", session_id=session_id)
        await world.hub.start_if_absent(submitted.run.id)

    world.at_point = once("submit / write / runs.create", other)
    code = None
    try:
        await start(world, "two", session_id=session_id)
    except DormouseError as error:
        code = error.code
    await world.go_on()
    return code, len([row for row in world.rig.tables.rows(Table.RUNS) if row.key.startswith("run:")])


async def a_death_after_a_lost_number(world: World) -> Any:
    """The same, though that one was announced first; and the process dies, and its request is not sent again."""
    await world.rig.model.script("one", [DONE])
    first = await start(world, "one")
    await when(world, first, RunStatus.COMPLETED)
    session_id = first.split("_")[1]
    others: list[str] = []

    async def other() -> None:
        submitted = await world.rig.submit("[script:one]", session_id=session_id)
        await world.hub.start_if_absent(submitted.run.id)
        others.append(submitted.run.id)

    taken, dead = once("submit / announce / due.announce", other), once("submit / write / runs.create", world.die)

    async def at_point(passed: Passed) -> None:
        await taken(passed)
        await dead(passed)

    world.at_point = at_point
    wanted = Submission(
        owner="test", session_id=session_id, items=({"type": "message", "role": "user", "content": "?"},)
    )
    await world.ask_once(lambda process: submit(process.ports, wanted))
    world.at_point = None
    if not others:
        await other()
    await world.go_on()
    return await outcome_of(world, others[0])


async def a_key_twice(world: World) -> Any:
    """Requests with one key: one after the other, side by side, and a day later."""
    await world.rig.model.script("s", [DONE])

    async def other() -> None:
        await world.rig.submit("[script:s] ", idempotency_key="s ")

    world.at_point = once("submit / try / index.claim_key", other)
    first = await start(world, "s")
    again = await start(world, "s")
    await world.go_on()
    world.rig.clock.move(DAY + 60)
    later = await start(world, "s")
    await world.go_on()
    return first == again, first == later, await outcome_of(world, first), await outcome_of(world, later)


async def slow_writes(world: World) -> Any:
    """A store so slow that what was announced has to be announced again: submit, cancel, delete, a batch."""
    await world.rig.model.script("s", [STUCK])
    late = {
        "submit / write / runs.store_text",
        "submit / announce / due.announce",
        "cancel / CancelRequested / due.announce",
        "delete / delete_some / due.announce",
        "submit batch / put_items / batches.put_items",
    }
    raced = False

    async def at_point(passed: Passed) -> None:
        nonlocal raced
        if passed.point.name in late:
            world.rig.clock.move(LATE)
        if passed.point.name == "cancel / CancelRequested / runs.save" and not raced:
            raced = True
            await world.rig.wake(run_id)
            world.rig.clock.move(LATE)

    world.at_point = at_point
    run_id = await start(world, "s", LONG)
    await signal(world, run_id, cancel)
    session_id = run_id.split("_")[1]

    async def delete(process: Process) -> None:
        for each in await delete_session(process.ports, session_id):
            await process.driver.wake(each)

    await world.ask(delete)
    await world.rig.model.script("d", [DONE])
    batch_id = await start_batch(world, "[script:d]")
    await world.go_on()
    return await outcome_of(world, run_id), await outcome_of_batch(world, batch_id)


async def repeated_requests(world: World) -> Any:
    """A request that its client sends again by itself, without a key."""
    await world.rig.model.script("s", [DONE])
    items = ({"type": "message", "role": "user", "content": "[script:s]"},)
    wanted = Submission(owner="test", agent="workshop", items=items)

    async def first(process: Process) -> Any:
        return await begin_try(process.ports, wanted, 0)

    async def second(process: Process) -> Any:
        for each in await earlier_tries(process.ports, wanted, 1):
            if (mine := await take_try(process.ports, wanted, each, 1)) is not None:
                return mine
        return await begin_try(process.ports, wanted, 1)

    lost = await world.ask(first)
    await world.ask(lambda process: note_lost(process.ports, "test", lost))
    mine = await world.ask(second)
    run_id = await start(world, "s")
    await world.ask(lambda process: note_answered(process.ports, "test", mine))
    await world.go_on()
    return await outcome_of(world, run_id)


async def a_forgotten_session(world: World) -> Any:
    """A deleted session whose due row is lost: retention finds it."""
    await world.rig.model.script("s", [DONE])
    run_id = await start(world, "s")
    await when(world, run_id, RunStatus.COMPLETED)
    await world.go_on()
    session_id = run_id.split("_")[1]
    await delete_session(world.rig.app.ports, session_id)
    for partition, rows in list(world.rig.tables._rows.items()):
        if partition[0] is Table.DUE:
            rows.pop(due_row_of(session_id), None)
    await world.go_on()
    world.rig.clock.move(4 * DAY)
    for _ in range(3):
        await world.retain()
        await world.go_on()
    world.purged |= {session_id, run_id}
    return await outcome_of(world, run_id)


STORIES = (
    an_abandoned_submit,
    an_abandoned_batch,
    a_lost_number,
    a_death_after_a_lost_number,
    a_key_twice,
    slow_writes,
    repeated_requests,
    a_forgotten_session,
)
