"""A scene: every row of a store at a moment between two effects of a story, and what lies beside it.

That is the provider's responses, what tools have done and what receivers got. The process that wrote them is gone, and
so is its task hub: whoever begins with a scene finds everything by its due rows.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from shared.runs.model.phases import RunStatus
from shared.runs.store.tables import Row, Table, Value
from tests.parts import workshop
from tests.parts.receiver import SECRET, Received
from tests.parts.workshop import LOG_VARIABLE
from tests.unit.runs.points.agents import FACTORIES
from tests.unit.runs.points.world import World

HERE = Path(__file__).parent
BYTES = "base64"
"""What bytes are in a scene's JSON: an object of this one key."""

SETTINGS: Mapping[str, Any] = MappingProxyType(
    {
        "callback_secret": SECRET,
        "callback_allow": "127.0.0.1",
        "public_base_url": "https://app.example",
        "max_active_runs": 20,
        "factories": (*FACTORIES, workshop.build_judge, workshop.build_open, workshop.build_studio),
    }
)
"""Those of the app that wrote a scene, besides the scene's own."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What the JSON of a scene holds."""

    story: str
    """The story that it is of, before its n-th effect: see ``tests.unit.runs.points``."""
    effect: int
    now: str
    """The time by the clock of the app."""
    settings: dict[str, Any]
    """Settings of its own."""
    receiver: str
    """The address of the callbacks' receiver, wherever it stands in the rows."""
    rows: list[dict[str, Any]]
    model: dict[str, Any]
    """The provider's state."""
    starts: list[str]
    """Lines of the tools' log."""
    received: list[dict[str, Any]]
    """Callbacks of an end that had come."""
    ends: dict[str, list[str]] = field(default_factory=dict)
    """By id, what each run and batch comes to if nobody intervenes, under either driver: statuses with error codes.

    They differ where a run and the cancel of its batch are due at one time.
    """

    @property
    def is_sealed(self) -> bool:
        """Whether its texts are encrypted."""
        return "encryption_key" in self.settings


def folders() -> list[Path]:
    """The scenes of each released format, oldest first."""
    return sorted(HERE.glob("rows_*"))


def scene_files() -> list[Path]:
    """All scenes."""
    return [file for folder in folders() for file in sorted(folder.glob("*.json"))]


def read(file: Path, receiver: str | None = None) -> Scene:
    """The scene in a file; callbacks go to ``receiver`` if one is named."""
    text = file.read_text("utf-8")
    return Scene(**json.loads(text if receiver is None else text.replace(json.loads(text)["receiver"], receiver)))


def rendered(scene: Scene) -> str:
    """A scene as its file has it."""
    return json.dumps(asdict(scene), indent=1, ensure_ascii=False) + "\n"


def rows_of(scene: Scene) -> list[tuple[Table, Row]]:
    """Its rows as a store gives them."""
    return [
        (
            Table(row["table"]),
            Row(
                partition=row["partition"],
                key=row["key"],
                etag=f'W/"released-{index}"',
                values=MappingProxyType({name: _value(value) for name, value in row["values"].items()}),
            ),
        )
        for index, row in enumerate(scene.rows)
    ]


async def capture(world: World, story: str, effect: int, own: Mapping[str, Any]) -> Scene:
    """The scene that stands in this world right now."""
    rows = [
        {"table": table.value, "partition": row.partition, "key": row.key, "values": _plain(row.values)}
        for table in Table
        for row in world.rig.tables.rows(table)
    ]
    return Scene(
        story=story,
        effect=effect,
        now=world.rig.clock.now.isoformat(),
        settings=dict(own),
        receiver=world.receiver.url,
        rows=rows,
        model=_ending(await world.rig.model.state()),
        starts=_tools_log(),
        received=[_receipt(each) for each in world.receiver.received if _tells_an_end(each)],
    )


async def begin_with(world: World, scene: Scene) -> None:
    """Begin in a world with what the scene has, under another process and an empty task hub."""
    await world.begin()
    tables = world.rig.tables
    for table, row in rows_of(scene):
        tables._rows.setdefault((table, row.partition), {})[row.key] = row
    tables.written = rows_of(scene)
    world.rig.clock.now = datetime.fromisoformat(scene.now)
    await world.rig.model.restore(scene.model)
    _write_tools_log(scene.starts)
    world.receiver.answers = []
    world.receiver.received[:] = [Received(**{**each, "raw": each["raw"].encode()}) for each in scene.received]


async def ends_of(world: World, scene: Scene) -> dict[str, str]:
    """What the runs and batches of a scene have come to."""
    ports, found = world.rig.app.ports, {}
    for table, row in rows_of(scene):
        if table is Table.RUNS and row.key.startswith("run:"):
            run_id = f"run_{row.partition}_{int(row.key[4:])}"
            run = await ports.runs.load(run_id)
            found[run_id] = "gone" if run is None else f"{run.value.status} {run.value.result.error_code or ''}".strip()
        if table is Table.BATCHES and row.key == "batch":
            batch = await ports.batches.load(row.partition)
            found[row.partition] = "gone" if batch is None else batch.value.status.value
    return found


def _tools_log() -> list[str]:
    log = Path(os.environ[LOG_VARIABLE])
    return log.read_text("utf-8").splitlines() if log.exists() else []


def _write_tools_log(lines: list[str]) -> None:
    Path(os.environ[LOG_VARIABLE]).write_text("".join(line + "\n" for line in lines), "utf-8")


def _ending(model: dict[str, Any]) -> dict[str, Any]:
    # What never ends would be looked at until the deadline, hundreds of times.
    turns = {name: [{**turn, "stuck": False} for turn in script] for name, script in model["scripts"].items()}
    return {**model, "scripts": turns}


def _tells_an_end(received: Received) -> bool:
    # The rows do not show a pause that is over: nobody could say whether what was told of it was true.
    return received.body["data"]["status"] != RunStatus.REQUIRES_ACTION


def _receipt(received: Received) -> dict[str, Any]:
    headers = {"webhook-id": received.webhook_id}
    return {"method": received.method, "path": received.path, "headers": headers, "raw": received.raw.decode()}


def _plain(values: Mapping[str, Value]) -> dict[str, Any]:
    return {
        name: {BYTES: base64.b64encode(value).decode()} if isinstance(value, bytes) else value
        for name, value in values.items()
    }


def _value(value: Any) -> Value:
    if isinstance(value, dict):
        return base64.b64decode(value[BYTES])
    plain: Value = value
    return plain
