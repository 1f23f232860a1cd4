"""What callers do with runs, from the first request until nothing is left to do. Wherever a process dies on the way, a
story comes to the same end.

A story returns what it came to: whatever of it depends on no id and no time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from shared.errors import ScheduleNotFound, TooManyActiveRuns
from shared.runs.commands.answer import answer
from shared.runs.commands.cancel import cancel
from shared.runs.commands.delete import delete_run, delete_session
from shared.runs.commands.redeliver import redeliver
from shared.runs.commands.submission import Submission
from shared.runs.commands.submit import submit
from shared.runs.model.calls import Approval
from shared.runs.model.facts import Approve
from shared.runs.model.ids import due_row_of, is_batch_id
from shared.runs.model.phases import RunStatus, Scheduled
from shared.runs.model.run import Run
from shared.runs.schedules.change import Timing, change_schedule, create_schedule, delete_schedule
from tests.unit.runs.points.world import Process, World

LONG = "é" * 60_000
DAY = 86_400.0
DONE = {"text": "Done."}
STUCK = {"stuck": True}


def call(name: str, label: str, **more: Any) -> dict[str, Any]:
    """One call of a script."""
    return {"name": name, "arguments": {"label": label, **more}}


def calls(*asked: dict[str, Any]) -> dict[str, Any]:
    """A turn of a script that asks for these."""
    return {"calls": list(asked)}


async def start(world: World, script: str, text: str = "", **fields: Any) -> str:
    """Submit under a key and start the driver, as often as it takes; the run's id."""
    items = ({"type": "message", "role": "user", "content": f"[script:{script}] {text}"},)
    fields = {"agent": None if "session_id" in fields else "workshop", "owner": "test", **fields}
    wanted = Submission(items=items, idempotency_key=f"{script} {text[:20]}", **fields)

    async def request(process: Process) -> str:
        submitted = await submit(process.ports, wanted)
        await process.driver.start_run(submitted)
        return submitted.run.id

    return await world.ask(request)


async def signal(world: World, subject: str, command: Any, *given: Any) -> None:
    """A caller's command about a run or a batch, and the signal after it.

    Not sent again once it is written: then whoever looks at the rows has to find it.
    """

    async def request(process: Process) -> None:
        await command(process.ports, subject, *given)
        await process.driver.wake(subject)

    before = await _etag(world, subject)
    while not await world.ask_once(request) and await _etag(world, subject) == before:
        pass


async def _etag(world: World, subject: str) -> str | None:
    ports = world.rig.app.ports
    stored = await (ports.batches.load(subject) if is_batch_id(subject) else ports.runs.load(subject))
    return None if stored is None else stored.etag


async def outcome_of(world: World, run_id: str) -> dict[str, Any]:
    """What became of a run."""
    stored = await world.rig.app.ports.runs.load(run_id)
    if stored is None:
        return {"status": None}
    run = stored.value
    return {
        "status": run.status.value,
        "error": run.result.error_code,
        "text": "" if run.is_deleted else (await world.rig.text(run_id)),
        "calls": [] if run.is_deleted else [_call(each) for each in await world.rig.calls(run_id)],
        "callback": run.outbox.callback_state,
        "deleted": run.is_deleted,
    }


def _call(made: Any) -> tuple[Any, ...]:
    return made.name, made.state.value, made.approval.value


async def when(world: World, run_id: str, *statuses: RunStatus) -> Run:
    """The run once it has one of these statuses."""

    async def is_there() -> bool:
        return (await world.rig.run(run_id)).status in statuses

    await world.go_on(is_there)
    return await world.rig.run(run_id)


# --- the stories --------------------------------------------------------------------------------------


async def with_tools(world: World) -> Any:
    """Two tools, a callback, and the next run of the session."""
    await world.rig.model.script("tools", [calls(call("work", "a"), call("pay", "b")), {"text": "Said."}])
    await world.rig.model.script("next", [DONE])
    run_id = await start(world, "tools", callback_url=world.receiver.url)
    await when(world, run_id, RunStatus.COMPLETED)
    second = await start(world, "next", session_id=run_id.split("_")[1])
    await world.go_on()
    return await outcome_of(world, run_id), await outcome_of(world, second), {*world.receiver.types()}


async def long_texts(world: World) -> Any:
    """Input, instructions, arguments, results and text that are too long for a row."""
    asks = calls(call("work", LONG), call("write_much", "é", times=40_000))
    await world.rig.model.script("long", [asks, {"text": LONG}])
    run_id = await start(world, "long", LONG, instructions=LONG)
    await world.go_on()
    return await outcome_of(world, run_id)


async def an_approval(world: World) -> Any:
    """A tool that a person has to approve, and one that is refused."""
    await world.rig.model.script("asks", [calls(call("send", "a"), call("send", "b"), call("work", "c")), DONE])
    run_id = await start(world, "asks", callback_url=world.receiver.url)
    await when(world, run_id, RunStatus.REQUIRES_ACTION)
    waiting = [each.call_id for each in await world.rig.calls(run_id) if each.approval is Approval.PENDING]
    await signal(world, run_id, answer, {waiting[0]: Approve(approve=True)})
    answers: Mapping[str, Approve] = {waiting[1]: Approve(approve=False, reason="No.")}
    await signal(world, run_id, answer, answers)
    await world.go_on()
    return await outcome_of(world, run_id)


async def a_cancel(world: World) -> Any:
    """A run that is cancelled while the model thinks; its caller is told so."""
    await world.rig.model.script("stuck", [STUCK])
    run_id = await start(world, "stuck", callback_url=world.receiver.url)
    await signal(world, run_id, cancel)
    await world.go_on()
    return await outcome_of(world, run_id), {*world.receiver.types()}


async def a_deleted_run(world: World) -> Any:
    """A run with long texts that is deleted while the model thinks, until not even its tombstone is left."""
    await world.rig.model.script("gone", [calls(call("work", LONG)), STUCK])
    run_id = await start(world, "gone", LONG)

    async def is_in_turn_two() -> bool:
        run = await world.rig.run(run_id)
        return run.turn.number == 2 and bool(run.chain.response_ids[1:])

    await world.go_on(is_in_turn_two)
    await signal(world, run_id, delete_run)
    await world.go_on()
    return await outcome_of(world, run_id)


async def a_deleted_session(world: World) -> Any:
    """A session of two runs, one of them active, that is deleted until nothing of it is left."""
    await world.rig.model.script("first", [DONE])
    await world.rig.model.script("stuck", [STUCK])
    first = await start(world, "first")
    await when(world, first, RunStatus.COMPLETED)
    session_id = first.split("_")[1]
    second = await start(world, "stuck", session_id=session_id)

    async def request(process: Process) -> None:
        for each in await delete_session(process.ports, session_id):
            await process.driver.wake(each)

    await world.ask(request)
    await world.go_on()
    subject = due_row_of(session_id)
    return [await outcome_of(world, each) for each in (first, second)], subject in world.hub.wakes


async def a_branch(world: World) -> Any:
    """A run that follows one after which its session has moved on."""
    for name in ("one", "two", "other"):
        await world.rig.model.script(name, [{"text": name}])
    first = await start(world, "one")
    await when(world, first, RunStatus.COMPLETED)
    session_id = first.split("_")[1]
    second = await start(world, "two", session_id=session_id)
    await when(world, second, RunStatus.COMPLETED)
    branch = await start(world, "other", session_id=session_id, previous=1)
    await world.go_on()
    return branch.split("_")[1] != session_id, [await outcome_of(world, each) for each in (first, second, branch)]


async def callbacks(world: World) -> Any:
    """A receiver that fails at first, and to which it is delivered once more when it asks for that."""
    world.receiver.answers = [500, 410]
    await world.rig.model.script("told", [DONE])
    run_id = await start(world, "told", callback_url=world.receiver.url)
    await world.go_on()
    await signal(world, run_id, redeliver)
    await world.go_on()
    ids, bodies = {each.webhook_id for each in world.receiver.received}, {each.raw for each in world.receiver.received}
    return len(ids), len(bodies), (await outcome_of(world, run_id))["status"]


async def _start_with_patience(world: World, script: str) -> str:
    """Submit until there is a place: what a submit that died has taken is free after five minutes."""
    while True:
        try:
            return await start(world, script)
        except TooManyActiveRuns:
            world.rig.clock.move(60.0)


async def a_run_for_later(world: World) -> Any:
    """A run for later, whose time comes while its owner has as many active runs as there may be."""
    await world.rig.model.script("later", [DONE])
    await world.rig.model.script("stuck", [STUCK])
    hour = timedelta(hours=1)
    run_id = await start(world, "later", start_at=world.rig.clock.now + hour)
    other = await _start_with_patience(world, "stuck")

    async def is_put_off() -> bool:
        phase = (await world.rig.run(run_id)).phase
        return isinstance(phase, Scheduled) and phase.refusals > 0

    await world.go_on(is_put_off, most=2 * hour.total_seconds())
    await signal(world, other, cancel)
    await world.go_on()
    return [await outcome_of(world, each) for each in (run_id, other)]


async def a_schedule(world: World) -> Any:
    """A schedule with two runs, the first of which is refused at first; it is paused and deleted then."""
    await world.rig.model.script("hourly", [DONE])
    await world.rig.model.script("stuck", [STUCK])
    items = ({"type": "message", "role": "user", "content": "[script:hourly]"},)
    wanted = Submission(items=items, agent="workshop", owner="test", idempotency_key="hourly")
    # From a full hour on: so much time passes, with so many effects, whenever the story is told.
    since_full_hour = world.rig.clock.now - world.rig.clock.now.replace(minute=0, second=0, microsecond=0)
    world.rig.clock.move(3_600 - since_full_hour.total_seconds())
    other = await _start_with_patience(world, "stuck")
    # Not each hour: whoever is left with it, in a scene of a release, has to come to an end.
    cron = f"{world.rig.clock.now:15,20 %H %d %m *}"

    async def make(process: Process) -> str:
        made = await create_schedule(process.ports, wanted, Timing(cron=cron))
        await process.driver.wake(made.id)
        return made.id

    schedule_id = await world.ask(make)
    begun: list[str] = []

    async def has_run() -> bool:
        stored = await world.rig.app.ports.schedules.load("test", schedule_id)
        assert stored is not None
        if stored.value.last_at is not None and not (await world.rig.run(other)).terminal:
            await signal(world, other, cancel)
        run_id = stored.value.last_run
        if run_id and run_id not in begun and (await world.rig.run(run_id)).terminal:
            begun.append(run_id)
        return len(begun) == 2

    await world.go_on(has_run, most=4 * 3_600.0)

    async def pause(process: Process) -> None:
        await change_schedule(process.ports, "test", schedule_id, Timing(paused=True))
        await process.driver.wake(schedule_id)

    async def remove(process: Process) -> None:
        with contextlib.suppress(ScheduleNotFound):  # by the try before, whose answer got lost
            await delete_schedule(process.ports, "test", schedule_id)

    await world.ask(pause)
    await world.ask(remove)
    await world.go_on()
    return [await outcome_of(world, each) for each in (*begun, other)]


STORIES = (
    with_tools,
    long_texts,
    an_approval,
    a_cancel,
    a_deleted_run,
    a_deleted_session,
    a_branch,
    callbacks,
    a_run_for_later,
    a_schedule,
)
