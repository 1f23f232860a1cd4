"""A backup holds every row as it is, and what is restored from one goes on, whatever moment its rows are of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from local.backup import files
from local.backup.copying import back_up, restore
from local.backup.files import NoBackup, NotEmpty
from shared.runs.store.tables import Change, Kind, Table, Tables
from tests.parts.memory import MemoryTables
from tests.parts.receiver import Receiver
from tests.unit.runs.conftest import NewRig
from tests.unit.runs.points.world import World
from tests.unit.runs.released import scenes
from tests.unit.runs.released.scenes import Scene

every_scene = pytest.mark.parametrize("file", scenes.scene_files(), ids=lambda file: file.stem)
NewWorld = Callable[[Path], Awaitable[tuple[World, Scene]]]


def content(tables: MemoryTables) -> dict[tuple[str, str, str], Mapping[str, Any]]:
    """All rows by table, partition and key."""
    return {(table, row.partition, row.key): dict(row.values) for table in Table for row in tables.rows(table)}


@pytest.fixture
async def begun(rigs: NewRig) -> AsyncIterator[NewWorld]:
    """Make a world that has begun with the scene of a file."""
    async with Receiver() as receiver:

        async def make(file: Path) -> tuple[World, Scene]:
            scene = scenes.read(file, receiver.url)
            world = World(
                rigs=rigs, receiver=receiver, settings={**scenes.SETTINGS, "driver": "durable", **scene.settings}
            )
            await scenes.begin_with(world, scene)
            return world, scene

        yield make


@every_scene
async def test_every_row_comes_back_as_it_was(begun: NewWorld, file: Path, tmp_path: Path) -> None:
    world, _ = await begun(file)
    summary = await back_up(world.rig.tables, tmp_path / "kept")
    before, restored = content(world.rig.tables), MemoryTables()
    _, made = await restore(restored, tmp_path / "kept")
    after = content(restored)
    assert {place: after.get(place) for place in before} == before
    assert {table for table, _, _ in after.keys() - before.keys()} <= {"due"}
    assert len(after) == sum(summary.rows.values()) + made


@every_scene
async def test_what_was_under_way_goes_on_though_no_due_row_was_read(
    begun: NewWorld, file: Path, tmp_path: Path
) -> None:
    """The app was at work while the rows were read: what was begun after the due rows were has none."""
    world, scene = await begun(file)
    tables = world.rig.tables
    for table, partition in list(tables._rows):
        if table is Table.DUE:
            del tables._rows[table, partition]
    await back_up(tables, tmp_path / "kept", world.rig.clock)
    tables._rows.clear()
    await restore(tables, tmp_path / "kept", world.rig.clock)
    await world.go_on()
    await world.hold()
    ended = await scenes.ends_of(world, scene)
    assert {each: found for each, found in ended.items() if found not in scene.ends[each]} == {}


async def filled() -> Tables:
    """Tables with a row."""
    tables = MemoryTables()
    await tables.commit(Table.RUNS, "p", [Change(kind=Kind.INSERT, key="session", values={"a": 1})])
    return tables


async def test_neither_folder_nor_tables_are_written_over(tmp_path: Path) -> None:
    tables = await filled()
    await back_up(tables, tmp_path / "kept")
    with pytest.raises(NotEmpty, match="kept is not empty"):
        await back_up(tables, tmp_path / "kept")
    with pytest.raises(NotEmpty, match="has rows"):
        await restore(tables, tmp_path / "kept")
    assert (await restore(tables, tmp_path / "kept", again=True))[0].rows["runs"] == 1


async def test_a_restore_that_was_cut_off_is_done_again(tmp_path: Path) -> None:
    await back_up(await filled(), tmp_path / "kept")
    tables = MemoryTables()
    tables.fail_next(OSError("no power"), operation="commit", applied=True)
    with pytest.raises(OSError, match="no power"):
        await restore(tables, tmp_path / "kept")
    await restore(tables, tmp_path / "kept", again=True)
    assert len(content(tables)) == 1


async def test_what_is_no_whole_backup_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoBackup, match="came to its end"):
        await restore(MemoryTables(), tmp_path)
    await back_up(await filled(), tmp_path / "kept")
    for text in ("{", "[]", '{"a": 1}'):
        (tmp_path / "kept" / files.SUMMARY).write_text(text, "utf-8")
        with pytest.raises(NoBackup, match="none of a backup"):
            await restore(MemoryTables(), tmp_path / "kept")


async def test_groups_keep_to_what_a_transaction_takes(tmp_path: Path) -> None:
    tables = MemoryTables()
    for number in range(250):
        values = {f"t{n}": "x" * 30_000 for n in range(1 if number < 210 else 8)}
        await tables.commit(Table.RUNS, "p", [Change(kind=Kind.INSERT, key=f"item:{number:03}", values=values)])
    await back_up(tables, tmp_path / "kept")
    restored = MemoryTables()
    await restore(restored, tmp_path / "kept")
    assert content(restored) == content(tables)
