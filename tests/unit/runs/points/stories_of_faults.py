"""What goes wrong besides, and what comes together in an unlucky way: see ``stories``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from local.points.names import Passed
from shared.drivers.handing_out import most_inline
from shared.runs.commands.adopt import adopt
from shared.runs.model.phases import RunStatus
from shared.runs.store.tables import Change, Kind, Table
from tests.unit.runs.points.stories import DONE, LONG, STUCK, call, calls, outcome_of, start, when
from tests.unit.runs.points.world import Process, World

LOST = {"create": [{"drop": True, "after_accept": True}]}
"""The response is made, and nobody hears of it."""


def once(name: str, act: Callable[[], Awaitable[object]]) -> Callable[[Passed], Awaitable[None]]:
    """Have this happen right before the point of that name, the first time."""
    happened = False

    async def at_point(passed: Passed) -> None:
        nonlocal happened
        if passed.point.name == name and not happened:
            happened = True
            await act()

    return at_point


async def tell(world: World, response_id: str) -> None:
    """The provider's webhook: sent again until it is taken."""

    async def request(process: Process) -> None:
        if (run_id := await adopt(process.ports, response_id)) is not None:
            await process.driver.wake(run_id)

    await world.ask(request)


async def first_response(world: World) -> str:
    """The id of the first response that the provider has made, once there is one."""
    await world.go_on(world.rig.model.responses)
    return (await world.rig.model.responses())[0].id


# --- the provider -------------------------------------------------------------------------------------


async def unlucky_creates(world: World) -> Any:
    """Creates that are refused for now, that nobody hears of, and looks that bring no news."""
    faults = {"create": [{"status": 429}, {"drop": True, "after_accept": True}], "retrieve": [{"status": 500}]}
    await world.rig.model.script("bad", [{**DONE, "faults": faults}])
    run_id = await start(world, "bad")
    await world.go_on()
    return await outcome_of(world, run_id)


async def a_webhook(world: World) -> Any:
    """A response that nobody heard of, until the provider tells of its end."""
    await world.rig.model.script("lost", [{"attempts": [DONE, STUCK], "faults": LOST}])
    run_id = await start(world, "lost")
    await tell(world, await first_response(world))
    await world.go_on()
    return await outcome_of(world, run_id)


async def told_ends(world: World) -> Any:
    """Responses whose end the provider tells of before anybody looks: one asks for tools, the next one is the last."""
    await world.rig.model.script("told", [calls(call("work", "a")), {"text": LONG}])
    run_id = await start(world, "told")
    for number in (1, 2):

        async def is_made(number: int = number) -> bool:
            return len(await world.rig.model.responses()) >= number

        await world.go_on(is_made)
        world.rig.clock.move(1.5)  # it has ended, and the first look is not due yet
        await tell(world, (await world.rig.model.responses())[number - 1].id)
    await world.go_on()
    return await outcome_of(world, run_id)


async def an_unwanted_response(world: World) -> Any:
    """One that nobody heard of, and of which the provider tells after another was made in its place."""
    await world.rig.model.script("lost", [{"attempts": [STUCK, DONE], "faults": LOST}])
    run_id = await start(world, "lost")
    first = await first_response(world)
    await when(world, run_id, RunStatus.COMPLETED)
    await tell(world, first)
    await world.go_on()
    return (await outcome_of(world, run_id))["status"]


async def a_lost_response(world: World) -> Any:
    """The provider does not know its own response any more."""
    await world.rig.model.script("gone", [{**DONE, "think": 900, "id_gone": 1}])
    run_id = await start(world, "gone")
    await world.go_on()
    return await outcome_of(world, run_id)


async def a_deadline(world: World) -> Any:
    """A run whose time is up before the model has an answer; the provider refuses to cancel that."""
    await world.rig.model.script("slow", [{**STUCK, "faults": {"cancel": [{"status": 400}]}}])
    run_id = await start(world, "slow", deadline_seconds=60)
    await world.go_on()
    return await outcome_of(world, run_id)


async def within_the_call(world: World) -> Any:
    """An agent without background mode, whose claim is a lease."""
    await world.rig.model.script("chat", [{**calls(call("work", "a")), "think": 0}, {**DONE, "think": 0}])
    run_id = await start(world, "chat", agent="phone")
    await world.go_on()
    return await outcome_of(world, run_id)


async def long_tools(world: World) -> Any:
    """A tool that reports progress, while its lease is renewed."""
    await world.rig.model.script("long", [calls(call("tell", "a")), DONE])
    run_id = await start(world, "long", agent="teller")
    await world.go_on()
    return await outcome_of(world, run_id)


# --- our own faults -----------------------------------------------------------------------------------


async def an_unknown_agent(world: World) -> Any:
    """A build that does not know the run's agent, for longer than it is waited for."""
    await world.rig.model.script("slow", [STUCK])
    run_id = await start(world, "slow")
    world.hidden_agents = {"workshop"}
    world.kill()
    await when(world, run_id, RunStatus.FAILED)
    world.hidden_agents = set()
    world.kill()
    await world.go_on()
    return await outcome_of(world, run_id)


async def a_broken_agent(world: World) -> Any:
    """An agent whose own code fails to build the request."""
    run_id = await start(world, "never", agent="broken")
    await world.go_on()
    return await outcome_of(world, run_id)


async def crashing_wakes(world: World) -> Any:
    """Wakes that end with an exception that nobody expected, until the run is given up."""
    await world.rig.model.script("slow", [STUCK])
    run_id = await start(world, "slow")

    async def crash(passed: Passed) -> None:
        if passed.point.effect == "provider.look":
            raise ZeroDivisionError

    world.at_point = crash
    await when(world, run_id, RunStatus.FAILED)
    world.at_point = None
    await world.go_on()
    return await outcome_of(world, run_id)


async def an_unreadable_row(world: World) -> Any:
    """A row that cannot be read for an hour."""
    await world.rig.model.script("s", [DONE])
    run_id = await start(world, "s")
    session_id = run_id.split("_")[1]
    row = await world.rig.tables.get(Table.RUNS, session_id, "run:00000001")
    assert row is not None
    await _overwrite(world, session_id, {**row.values, "phase": '{"is":"Confused"}'})
    await world.go_on(most=1_800)
    world.hub.wakes.clear()
    await world.go_on(most=3_700)
    await _overwrite(world, session_id, row.values)
    await world.go_on()
    return await outcome_of(world, run_id)


async def _overwrite(world: World, session_id: str, values: Any) -> None:
    change = Change(kind=Kind.OVERWRITE, key="run:00000001", values=values)
    world.rig.tables.written, kept = None, world.rig.tables.written  # no write of the app's
    await world.rig.tables.commit(Table.RUNS, session_id, [change])
    world.rig.tables.written = kept


async def a_lost_hub(world: World) -> Any:
    """The task hub loses all that it had, and then does nothing with what it is given."""
    await world.rig.model.script("s", [DONE])
    run_id = await start(world, "s")
    world.hub.wakes.clear()
    world.hub.is_stuck = True
    await world.go_on()
    return await outcome_of(world, run_id)


async def the_list_left_behind(world: World) -> Any:
    """A process that dies right before it would show in the list what a run has come to."""
    await world.rig.model.script("s", [DONE])
    world.at_point = once("wake / Looked / index.show_ended", world.die)
    run_id = await start(world, "s")
    await world.go_on()
    return await outcome_of(world, run_id)


async def many_at_once(world: World) -> Any:
    """More runs than one sweep polls within its period; their looks bring calls, and then an end."""
    await world.rig.model.script("many", [calls(call("work", "a")), DONE])
    runs = [await start(world, "many", f"number {number}") for number in range(most_inline(world.rig.app.settings) + 4)]
    await world.go_on()
    return [await outcome_of(world, each) for each in runs]


STORIES = (
    unlucky_creates,
    a_webhook,
    told_ends,
    an_unwanted_response,
    a_lost_response,
    a_deadline,
    within_the_call,
    long_tools,
    an_unknown_agent,
    a_broken_agent,
    crashing_wakes,
    an_unreadable_row,
    a_lost_hub,
    the_list_left_behind,
    many_at_once,
)
