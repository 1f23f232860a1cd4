"""What a released version has stored, this version reads, writes and finishes. The row format is frozen from 1.0 on.

The scenes in `rows_1_0` were written when that version was released, and nobody writes them again: see `make`. How the
format may change nevertheless is in docs/versioning.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from shared.runs.commands.answer import answer
from shared.runs.model.calls import Approval
from shared.runs.model.facts import Approve
from shared.runs.model.phases import RunStatus, WaitingForAnswers
from shared.runs.model.run import Run
from shared.runs.store.rows import decode, encode
from shared.runs.store.tables import Row, Table
from tests.parts.receiver import Receiver
from tests.unit.runs.conftest import NewRig
from tests.unit.runs.points.stories import signal
from tests.unit.runs.points.world import World
from tests.unit.runs.released import row_format, scenes
from tests.unit.runs.released.scenes import Scene

FILES = scenes.scene_files()
every_scene = pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
every_format = pytest.mark.parametrize("folder", scenes.folders(), ids=lambda folder: folder.name)

FROZEN = (
    "rows like this are in the tables of whoever runs 1.0: keep reading and writing them as they are, "
    "or give the change a new SCHEMA and code that reads both (docs/versioning.md)"
)

NOT_HELD = {
    "BatchSchedule.crashes",
    "Chain.replay",
    "Delivery.fault",
    "HostedCall.error",
    "ItemResult.ran",
    "LastCallback.fault",
    "Lease.beside_others",
    "LineKind.omitted",
    "Missed.once",
    "Pace.held",
    "Pace.not_before",
    "Pace.refusals",
    "Pace.crashes",
    "Progress.failed_from",
    "Progress.failed_because",
    "RunSchedule.last_error",
    "RunSchedule.last_message",
    "RunSchedule.missed",
    "RunSchedule.name",
    "RunSchedule.not_before",
    "RunSchedule.time_zone",
    "RunSchedule.tries",
    "Scheduled.refusals",
    "Session.replay",
    "ToolCall.interruptions",
}
"""What no scene of 1.0 has but as its default, which `classes.txt` holds all the same."""

NewWorld = Callable[[Path], Awaitable[tuple[World, Scene]]]


@pytest.fixture(params=["durable", pytest.param("timer", marks=pytest.mark.slow)])
async def begun(request: pytest.FixtureRequest, rigs: NewRig) -> AsyncIterator[NewWorld]:
    """Make a world that has begun with the scene of a file."""
    async with Receiver() as receiver:

        async def make(file: Path) -> tuple[World, Scene]:
            scene = scenes.read(file, receiver.url)
            settings = {**scenes.SETTINGS, "driver": request.param, **scene.settings}
            world = World(rigs=rigs, receiver=receiver, settings=settings)
            await scenes.begin_with(world, scene)
            return world, scene

        yield make


@every_scene
async def test_whatever_was_begun_comes_to_its_end(begun: NewWorld, file: Path) -> None:
    world, scene = await begun(file)
    await world.go_on()
    await world.hold()
    ended = await scenes.ends_of(world, scene)
    assert ended.keys() == scene.ends.keys()
    assert {each: found for each, found in ended.items() if found not in scene.ends[each]} == {}


@every_scene
async def test_properties_of_a_later_version_are_kept(begun: NewWorld, file: Path) -> None:
    """A later version with the same schema may have added a property. Rows of lists and due rows are made anew."""
    world, scene = await begun(file)
    tables = world.rig.tables
    tables.written = None
    kinds = {Table.RUNS: ("run", "session", "tool"), Table.BATCHES: ("batch", "item", "result")}
    given = [
        (table, row) for table, row in scenes.rows_of(scene) if row_format.kind_of(table, row) in kinds.get(table, ())
    ]
    for table, row in given:
        there = tables._rows[table, row.partition]
        there[row.key] = replace(row, values=MappingProxyType({**row.values, "tomorrow": "kept"}))
    await world.go_on()
    for table, row in given:
        now = {each.key: each for each in tables.rows(table, row.partition)}.get(row.key)
        assert now is None or now.values["tomorrow"] == "kept", (table, row.key)


async def test_a_run_that_waits_for_answers_takes_them(begun: NewWorld) -> None:
    taken = 0
    for file in FILES:
        if "approval" not in file.stem:
            continue
        world, scene = await begun(file)
        for run in [record for _, record in records(scene) if isinstance(record, Run)]:
            if not isinstance(run.phase, WaitingForAnswers):
                continue
            asked = [each.call_id for each in await world.rig.calls(run.id) if each.approval is Approval.PENDING]
            answers: Mapping[str, Approve] = {call_id: Approve(approve=True) for call_id in asked}
            await signal(world, run.id, answer, answers)
            await world.go_on()
            await world.hold()
            assert (await world.rig.run(run.id)).status is RunStatus.COMPLETED
            taken += 1
    assert taken


@every_scene
def test_what_is_read_would_be_written_as_it_is(file: Path) -> None:
    """A merge carries what differs: then nothing of a row is written that nobody has changed."""
    for row, record in records(scenes.read(file)):
        written = encode(record)
        same = {name: row.values.get(name, "") for name in written}
        assert written == same, f"{row.key}: {FROZEN}"
        assert {name for name, value in row.values.items() if value != ""} <= written.keys(), f"{row.key}: {FROZEN}"


def test_rows_that_are_no_records_are_read_and_written_as_they_are() -> None:
    """Due rows, slots of active runs, keys, tries of a request without a key."""
    kinds: set[str] = set()
    for file in FILES:
        for table, row in scenes.rows_of(scenes.read(file)):
            written = row_format.written_again(table, row)
            if written is not None:
                assert written == row.values, f"{row.partition}/{row.key}: {FROZEN}"
                kinds.add("tries" if "tries" in row.partition else row_format.kind_of(table, row))
    assert kinds == {"due", "active", "key", "tries"}


@every_scene
async def test_long_texts_and_encrypted_ones_are_read(begun: NewWorld, file: Path) -> None:
    world, scene = await begun(file)
    for table, row in scenes.rows_of(scene):
        if table is Table.RUNS and row.key.startswith("run:"):
            run = await world.rig.run(f"run_{row.partition}_{int(row.key[4:])}")
            if not run.is_deleted:
                assert await world.rig.items(run.id)
                for text in (run.result.text, run.request.instructions, run.result.output):
                    await world.rig.app.ports.runs.load_text(run, text)


def records(scene: Scene) -> list[tuple[Row, Any]]:
    """The rows that are records, and these."""
    if scene.is_sealed:  # nobody can read these without the key
        return []
    found = [(row, row_format.record_of(table, row)) for table, row in scenes.rows_of(scene)]
    return [(row, record) for row, record in found if record is not None]


@every_format
def test_a_field_that_a_row_does_not_have_is_what_it_was(folder: Path) -> None:
    """A part leaves out what has its default, so that a changed default would change every row."""
    now = row_format.described()
    for name, was in json.loads((folder / "classes.txt").read_text("utf-8")).items():
        assert name in now, f"{name} is gone or has another name: {FROZEN}"
        if isinstance(was, list):
            assert set(was) <= set(now[name]), f"{name} has lost a value: {FROZEN}"
        else:
            assert {field: now[name].get(field, "gone") for field in was} == was, f"{name}: {FROZEN}"
            added = {field: default for field, default in now[name].items() if field not in was}
            assert "required" not in added.values(), f"{name}: older rows have no {added}: give it a default"


@every_format
def test_rows_that_were_released_are_as_they_were(folder: Path) -> None:
    lines = (folder / "SHA256SUMS").read_text("utf-8").splitlines()
    wanted = {name: digest for digest, name in (line.split("  ") for line in lines)}
    there = {file.name: file for file in folder.iterdir() if file.name != "SHA256SUMS"}
    assert wanted.keys() == there.keys(), "rows of a released version are neither added to nor taken away"
    for name, file in there.items():
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        assert digest == wanted[name], (
            f"{folder.name}/{name} was changed. It is what a released version has written: `git checkout` it, and "
            f"change the code so that it finishes these rows; rows of a later version go into a folder of their own "
            f"(python -m tests.unit.runs.released.make)"
        )


def test_the_scenes_hold_nearly_all_that_a_row_can() -> None:
    held = set().union(
        *(row_format.held(scenes.rows_of(scene)) for scene in map(scenes.read, FILES) if not scene.is_sealed)
    )
    classes = json.loads((scenes.HERE / "rows_1_0" / "classes.txt").read_text("utf-8"))
    missing = {f"{name}.{each}" for name, those in classes.items() for each in those if (name, each) not in held}
    assert missing == NOT_HELD
    phases = {each[1] for each in held if each[0] == "Run"}
    assert phases >= {"Scheduled", "Creating", "Pending", "RunningTools", "WaitingForAnswers", "Ended"}
    states = {("Run", "Creating", "claim"), ("Run", "RunningTools", "lease"), ("Run", "Ended", "callback")}
    assert states <= held


def test_a_part_of_a_later_version_is_read_and_its_new_names_are_lost_when_it_is_written() -> None:
    """So what must outlive an older version beside it is a property of its own: see docs/versioning.md."""
    row, run = next((row, each) for file in FILES for row, each in records(scenes.read(file)) if isinstance(each, Run))
    turn = {**json.loads(str(row.values["turn"])), "of_tomorrow": 1}
    assert decode(Run, {**row.values, "turn": json.dumps(turn)}) == run
    assert "of_tomorrow" not in str(encode(run)["turn"])
