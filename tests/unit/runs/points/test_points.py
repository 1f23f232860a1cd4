"""Every point between two effects has a name; and wherever a process dies, the story comes to the same end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from local.points.sites import effect_sites
from local.prove.points import named_points
from shared.runs.batches import submit as batches_submit
from shared.runs.commands import new_run
from tests.parts.receiver import SECRET, Receiver
from tests.unit.runs.conftest import NewRig
from tests.unit.runs.points import (
    stories,
    stories_of_batches,
    stories_of_faults,
    stories_of_operators,
    stories_of_races,
)
from tests.unit.runs.points.agents import FACTORIES
from tests.unit.runs.points.outcomes import Recorder
from tests.unit.runs.points.world import World, names

Story = Callable[[World], Awaitable[Any]]
Stage = Callable[..., Awaitable[World]]

MODULES = (stories, stories_of_batches, stories_of_faults, stories_of_operators, stories_of_races)
STORIES: dict[str, Story] = {story.__name__: story for module in MODULES for story in module.STORIES}
DRIVERS = ("durable", "timer")

NOT_REACHED = {
    "agentkit/provided.py:ProvidedAgent.check:provider.look": "asked by the deep check, for no run",
    "drivers/due_times.py:remove_due:due.set_due": "only where five races for a list's row are lost one after another",
    "runs/listing.py:unlist_deleted:index.unlist": "only where a run is deleted while its first response is created",
    "runs/commit.py:commit:due.keep_announced": "only where the process stood still over its write",
    "runs/batches/commit.py:commit_batch:due.keep_announced": "the same, of a batch",
    "runs/schedules/own.py:_ensure:due.announce": "only where an agent has a schedule of its own: `test_schedules.py`",
    "runs/schedules/own.py:_ensure:schedules.create": "the same",
    "runs/schedules/own.py:_ensure:schedules.save": "the same",
    "runs/commands/branching.py:begin_branch:due.keep_announced": "only while a very long conversation is copied",
}
"""Where the source has an effect that no story comes to, and why."""

SETTINGS: dict[str, Any] = {
    "callback_secret": SECRET,
    "callback_allow": "127.0.0.1",
    "public_base_url": "https://app.example",
    "max_active_runs": 5,
    "factories": FACTORIES,
}

SETTINGS_OF: dict[str, dict[str, Any]] = {
    # A lease is renewed in real time, so that how often it is differs.
    "long_tools": {"tool_renewal": 0.04},
    "a_run_for_later": {"max_active_runs": 1},
    "a_schedule": {"max_active_runs": 1},
    "many_at_once": {"sweep_concurrency": 1, "sweep_seconds": 1, "max_active_runs": 20},
    "an_operator": {"operator_key": "o" * 32},
}
"""Settings of a story's own."""


@pytest.fixture
async def stage(rigs: NewRig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    """Make the world of a story that dies at its n-th effect: everything in it is new but the clock and the ids.

    Rows of one partition are written together, so that by other ids a story would come by another number of effects.
    """
    async with Receiver() as receiver:

        async def make(driver: str, story: str, stop_at: int | str = 0) -> World:
            ids = Random(0)
            for module in (new_run, batches_submit):
                own = SimpleNamespace(token_hex=lambda size: ids.randbytes(size).hex())
                monkeypatch.setattr(module, "secrets", own)
            receiver.received.clear()
            receiver.answers = []
            (tmp_path / "tools.jsonl").unlink(missing_ok=True)
            settings = {**SETTINGS, **SETTINGS_OF.get(story, {}), "driver": driver}
            world = World(rigs=rigs, receiver=receiver, settings=settings, stop_at=stop_at)
            await world.begin()
            return world

        yield make


@dataclass(frozen=True, slots=True)
class Told:
    """A story told without a death: what it came by, and what it came to."""

    story: str
    world: World
    came_to: Any

    @property
    def names(self) -> list[str]:
        """The points that it came by, in order."""
        return names(self.world.passed)


async def tell(stage: Stage, story: str, driver: str) -> Told:
    """Tell it undisturbed."""
    world = await stage(driver, story)
    came_to = await STORIES[story](world)
    await world.hold()
    return Told(story, world, came_to)


async def test_every_effect_has_a_named_point(stage: Stage) -> None:
    """An effect that no story comes to, or whose name the page does not have, fails; so does a name without effect."""
    sites: set[str] = set()
    for driver in DRIVERS:
        told = [await tell(stage, story, driver) for story in STORIES]
        sites |= {passed.site for each in told for passed in each.world.passed}
        named = {point.name for point in named_points() if driver in point.stories}
        found = {name for each in told for name in each.names}
        assert named == found, "`python3 dev.py prove --points --record` writes the page's table anew"
    assert effect_sites() - sites == NOT_REACHED.keys()
    assert sites <= effect_sites()


@pytest.mark.parametrize(
    "driver", [DRIVERS[0], *(pytest.param(other, marks=pytest.mark.slow) for other in DRIVERS[1:])]
)
async def test_a_death_at_each_named_point_changes_nothing(stage: Stage, driver: str) -> None:
    """Once at each point: the first time that the shortest story with it comes by."""
    shortest: dict[str, Told] = {}
    for told in [await tell(stage, story, driver) for story in STORIES]:
        for name in told.names:
            if name not in shortest or len(told.names) < len(shortest[name].names):
                shortest[name] = told
    recorder = Recorder(driver)
    for name, told in shortest.items():
        died = await _die(stage, told.story, driver, name, told.came_to)
        recorder.note(told.story, told.world, died)
    recorder.write()


@pytest.mark.own_command
@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("story", STORIES)
async def test_a_death_at_every_effect_changes_nothing(stage: Stage, story: str, driver: str) -> None:
    """Each time that the story comes by any point. What came of it goes to `dev.py prove`, if that has asked."""
    told = await tell(stage, story, driver)
    recorder = Recorder(driver)
    for at in range(1, len(told.names) + 1):
        recorder.note(story, told.world, await _die(stage, story, driver, at, told.came_to))
    recorder.write()


async def _die(stage: Stage, story: str, driver: str, at: int | str, expected: Any) -> World:
    world = await stage(driver, story, at)
    try:
        came_to = await STORIES[story](world)
        await world.hold()
    except Exception as error:
        error.add_note(f"{story} under {driver}, to die at {at}, died at {world.stopped}")
        raise
    assert came_to == expected, f"{story} under {driver}, to die at {at}, died at {world.stopped}"
    assert world.stopped is not None or story == "long_tools"
    return world
