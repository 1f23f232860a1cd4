"""What a released version has stored of somebody is exported whole, and erased until nothing names them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shared.api.native.owner_shapes import exported_on_the_wire
from shared.runs.model.batch import Batch, BatchItem
from shared.runs.model.calls import ToolCall
from shared.runs.model.owners import OwnerPlace
from shared.runs.model.run import PartRef, Run
from shared.runs.owners.erase import erase
from shared.runs.queries.owners import all_of_owner
from shared.runs.store.tables import Row, Table
from tests.unit.runs.points.world import World
from tests.unit.runs.released import scenes
from tests.unit.runs.released.scenes import Scene
from tests.unit.runs.released.test_released_rows import NewWorld, begun, every_scene, records

__all__ = ["begun"]

OWNER = "test"
"""Whose the rows are."""

DAY = 86_400.0
TEXTS = {
    Run: (
        *("request.title", "request.preview", "request.instructions", "request.tools", "request.outputs"),
        *("request.callback_url", "result.text", "result.error_message"),
    ),
    ToolCall: ("arguments", "result", "progress", "why", "reason", "answered_by"),
    BatchItem: ("id", "error_message"),
    Batch: ("request.callback_url",),
}
"""Where in the records there are texts that somebody wrote."""


async def exported(world: World) -> list[dict[str, Any]]:
    """Each piece of the export, which is begun anew after each."""
    app, found, place = world.rig.app, [], OwnerPlace()
    while True:
        steps = all_of_owner(app.ports, OWNER, place)
        step = await anext(steps, None)
        if step is None:
            return found
        if step.found is not None:
            found.append(exported_on_the_wire(app, step.found))
        place = OwnerPlace.from_cursor(step.after.to_cursor())


async def erased(world: World) -> dict[str, Any]:
    """What the pages of an erasure add up to."""
    total: Counter[str] = Counter()
    failures = []
    process = await world.process()
    place = OwnerPlace()
    while True:
        # One page at a time, as from a host that is killed after each.
        step = await anext(erase(process.ports, OWNER, place, process.driver.wake))
        total.update({each.value: count for each, count in (step.erased + step.remaining).items()})
        failures += step.failures
        if step.is_last:
            return {**total, "failed": failures}
        place = OwnerPlace.from_cursor(step.after.to_cursor())


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from strings(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from strings(each)


def written(scene: Scene) -> Iterator[str]:
    """The texts that stand in the rows themselves."""
    gone = {row.partition for row, each in records(scene) if getattr(each, "deleted_at", None) is not None}
    for row, record in records(scene):
        if row.partition in gone or getattr(record, "is_deleted", False):
            continue
        for path in TEXTS.get(type(record), ()):
            value = record
            for name in path.split("."):
                value = getattr(value, name)
            if isinstance(value, PartRef):
                yield value.beginning
            elif value:
                yield value
        if isinstance(record, Run | Batch):
            yield from record.request.metadata.values()
        if isinstance(record, Run):
            for each in (*record.extras.reasoning, *record.extras.hosted_calls):
                yield from strings(dataclasses.asdict(each))
        data = getattr(record, "data", None)
        if isinstance(data, str):
            yield from (text for item in json.loads(data) for text in strings(item))


def owned(world: World, table: Table) -> list[Row]:
    """The rows of a table that name the owner, by name or by digest."""
    names = (OWNER, hashlib.sha256(OWNER.encode()).hexdigest())
    return [
        row
        for row in world.rig.tables.rows(table)
        if any(names[1] in str(each) for each in (row.partition, row.key, *row.values.values()))
        or row.values.get("owner") == OWNER
        or f'"owner":"{OWNER}"' in str(row.values.get("request", "")).replace(" ", "")
    ]


@every_scene
async def test_every_text_in_the_rows_is_exported(begun: NewWorld, file: Path) -> None:
    world, scene = await begun(file)
    found = await exported(world)
    there = set(strings(found)) | {json.dumps(each) for each in strings(found)}
    whole = "\n".join(there)
    missing = [text for text in written(scene) if text not in there and text not in whole]
    assert missing == []
    shown = Counter(each["kind"] for each in found)
    live = [row for table, row in scenes.rows_of(scene) if table is Table.RUNS and row.key == "session"]
    assert shown["session"] + shown["being_deleted"] >= len(live), "each session is there, or named"
    assert shown["unreadable"] == 0
    assert len({json.dumps(each) for each in found}) == len(found), "nothing comes twice"


@every_scene
async def test_nothing_names_the_owner_once_it_is_erased(begun: NewWorld, file: Path) -> None:
    world, _ = await begun(file)
    assert owned(world, Table.RUNS) or owned(world, Table.INDEX) or owned(world, Table.BATCHES)
    known = {response for each in await exported(world) for response in each.get("provider_responses", ())}
    done = await erased(world)
    assert done["failed"] == []
    assert [each["kind"] for each in await exported(world) if each["kind"] != "being_deleted"] == []
    again = await erased(world)
    assert not any(again.get(each) for each in ("sessions", "runs", "batches", "keys"))
    await world.go_on()
    world.rig.clock.move(2 * DAY)
    await world.retain()
    await world.go_on()
    assert {table: owned(world, table) for table in Table} == {table: [] for table in Table}
    assert {key: count for key, count in (await erased(world)).items() if count} == {}
    asked = {each.response_id for each in await world.rig.model.log("delete")}
    assert known <= asked, "the provider's copies that the app has ever known of"
