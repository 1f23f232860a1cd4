"""Writes the scenes of the version at hand, once, when it is released.

python -m tests.unit.runs.released.make 1_0      # writes rows_1_0, and refuses where that is there

The stories of ``tests.unit.runs.points`` are played, and of all moments in them the fewest are kept that hold together
whatever any of them holds.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hashlib
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from local.points.names import Passed
from shared.runs.batches import submit as batches_submit
from shared.runs.commands import new_run
from shared.runs.store.tables import Table
from tests.parts.receiver import Receiver
from tests.unit.runs.conftest import making_rigs
from tests.unit.runs.points import stories, stories_of_batches, stories_of_faults, stories_of_races
from tests.unit.runs.points.world import World
from tests.unit.runs.released import row_format, scenes
from tests.unit.runs.released import stories as more_stories
from tests.unit.runs.released.scenes import Scene

LEFT_OUT = {"an_unreadable_row", "many_at_once", "long_tools"}
"""Rows that are damaged on purpose, dozens of equal runs, and renewals in real time."""

MODULES = (stories, stories_of_batches, stories_of_faults, stories_of_races, more_stories)
STORIES: dict[str, Callable[[World], Awaitable[Any]]] = {
    story.__name__: story for module in MODULES for story in module.STORIES if story.__name__ not in LEFT_OUT
}
LONG = "x" * 24_100
"""Just too long for a row: the stories' own would make files of megabytes."""

KEY = f"local:{base64.b64encode(b'1' * 32).decode()}"
Held = set[tuple[str, ...]]


class Captured(BaseException):
    """Ends a story, once its scene is there."""


@dataclass(kw_only=True)
class Watched(World):
    """A world in which each effect is looked at before it happens."""

    look: Callable[[World], Awaitable[None]]

    async def pass_point(self, passed: Passed) -> None:
        """Look, then go on."""
        await self.look(self)
        await super().pass_point(passed)


async def unseen(_: World) -> None:
    """Do not look."""


@asynccontextmanager
async def stage(own: Mapping[str, Any], look: Callable[[World], Awaitable[None]] = unseen) -> AsyncIterator[World]:
    """A world with ids that are the same each time, and these settings."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as scratch:
        ids = Random(0)
        for module in (new_run, batches_submit):
            patch.setattr(module, "secrets", SimpleNamespace(token_hex=lambda size: ids.randbytes(size).hex()))
        for module in MODULES:
            if hasattr(module, "LONG"):
                patch.setattr(module, "LONG", LONG)
        async with Receiver() as receiver, making_rigs(Path(scratch), patch) as rigs:
            settings = {**scenes.SETTINGS, "driver": "durable", **own}
            world = Watched(rigs=rigs, receiver=receiver, settings=settings, look=look)
            await world.begin()
            yield world


async def moments(story: str) -> list[Held]:
    """What the rows hold before each effect of a story."""
    found: list[Held] = []

    async def look(world: World) -> None:
        tables = world.rig.tables
        found.append(row_format.held((table, row) for table in Table for row in tables.rows(table)))

    async with stage({}, look) as world:
        await STORIES[story](world)
    return found


def fewest(stories: Mapping[str, list[Held]]) -> list[tuple[str, int]]:
    """Moments that hold together whatever any of them holds: always the one next that adds most."""
    left: Held = set().union(*(held for each in stories.values() for held in each))
    chosen: list[tuple[str, int]] = []
    while left:
        story, effect = max(
            ((story, at) for story, each in stories.items() for at in range(len(each))),
            key=lambda place: (len(stories[place[0]][place[1]] & left), -place[1]),
        )
        left -= stories[story][effect]
        chosen.append((story, effect + 1))
    return chosen


async def scene_at(story: str, effect: int, own: Mapping[str, Any]) -> Scene:
    """The scene before the n-th effect of a story."""
    found: list[Scene] = []

    async def look(world: World) -> None:
        if len(world.passed) + 1 == effect:
            found.append(await scenes.capture(world, story, effect, own))
            raise Captured

    async with stage(own, look) as world:
        with contextlib.suppress(Captured):
            await STORIES[story](world)
    return found[0]


async def finished(file: Path, driver: str) -> dict[str, str]:
    """What the runs and batches of a scene come to. Raises ``AssertionError`` where an invariant does not hold."""
    async with stage({**scenes.read(file).settings, "driver": driver}) as world:
        scene = scenes.read(file, world.receiver.url)
        await scenes.begin_with(world, scene)
        await world.go_on()
        await world.hold()
        return await scenes.ends_of(world, scene)


def write(folder: Path) -> None:
    """Write scenes, their digests, and what the classes of the rows are."""
    stories = {story: asyncio.run(moments(story)) for story in STORIES}
    wanted = [(story, effect, {}) for story, effect in fewest(stories)]
    wanted.append(("long_texts", len(stories["long_texts"]) * 2 // 3, {"encryption_key": KEY}))
    folder.mkdir()
    for story, effect, own in wanted:
        scene = asyncio.run(scene_at(story, effect, own))
        file = folder / f"{story}_{effect}{'_encrypted' if own else ''}.json"
        file.write_text(scenes.rendered(scene), "utf-8", newline="\n")
        ended = [asyncio.run(finished(file, driver)) for driver in ("durable", "timer")]
        scene = replace(scene, ends={each: sorted({found[each] for found in ended}) for each in ended[0]})
        file.write_text(scenes.rendered(scene), "utf-8", newline="\n")
    (folder / "classes.txt").write_text(json.dumps(row_format.described(), indent=1) + "\n", "utf-8", newline="\n")
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(folder.iterdir())]
    (folder / "SHA256SUMS").write_text("".join(lines), "utf-8", newline="\n")


def main() -> None:
    """Write the folder that is named."""
    parser = argparse.ArgumentParser(prog="tests.unit.runs.released.make", description=__doc__)
    parser.add_argument("version", help="such as 1_0")
    folder = scenes.HERE / f"rows_{parser.parse_args().version}"
    if folder.exists():
        parser.error(f"{folder.name} is there: rows of a released version are never written again")
    write(folder)


if __name__ == "__main__":
    main()
