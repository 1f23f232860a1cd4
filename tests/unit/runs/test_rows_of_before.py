"""Tables that an app from before the first release has filled: what is told, and that nothing of it is touched.

The rows are real: that app wrote them for a run that completed, one that is active, and a batch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import pytest

from shared import wiring
from shared.api.http import answered
from shared.api.native import batches, health, run_changes, sessions
from shared.drivers.retention import retain
from shared.drivers.sweep import sweep
from shared.runs.model.ids import parse_run_id
from shared.runs.model.run import SCHEMA, Run
from shared.runs.store.rows import decode
from shared.runs.store.tables import Change, Kind, StoreUnavailable, Table
from shared.runs.store.unreadable import RowTooOld, RowUnreadable
from tests.parts.memory import MemoryTables
from tests.unit.api.conftest import content, request
from tests.unit.runs.conftest import Rig

BEFORE = json.loads(Path(__file__).with_name("rows_of_schema_2.json").read_text("utf-8"))
SESSION, _ = parse_run_id(BEFORE["done"]) or ("", 0)
ADVICE = ("python3 dev.py run --fresh", "DORMOUSE_TABLE_PREFIX")


@pytest.fixture
async def old(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """A process over such tables, which has opened its storage."""
    for row in BEFORE["rows"]:
        insert = Change(kind=Kind.INSERT, key=row["key"], values=row["values"])
        await rig.tables.commit(Table(row["table"]), row["partition"], [insert])
    monkeypatch.setattr(wiring, "served", lambda: rig.app.ports.agents)
    monkeypatch.setattr(wiring, "opened", lambda: rig.app)
    return rig


def rows(tables: MemoryTables) -> list[tuple[str, Mapping[str, Any]]]:
    return [(row.key, row.values) for table in (Table.RUNS, Table.BATCHES) for row in tables.rows(table)]


async def health_of(rig: Rig) -> tuple[int, dict[str, Any]]:
    response = await health.get_health()
    return response.status_code, content(response)


async def test_health_says_what_they_are_and_what_to_do(old: Rig) -> None:
    status, body = await health_of(old)

    assert (status, body["status"]) == (503, "misconfigured")
    assert all(each in body["detail"] for each in (*ADVICE, "schema 2", f"reads {SCHEMA}"))
    deep = await health.get_health_deep(old.app)
    storage = content(deep)["checks"]["storage"]
    assert (deep.status_code, storage) == (503, {"status": "unwell", "detail": body["detail"]})


async def test_health_opens_no_storage_to_find_out(old: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "opened", lambda: None)
    assert await health_of(old) == (200, {"status": "ok"})


@pytest.mark.parametrize("is_used", [False, True])
async def test_health_reads_one_row_until_it_is_one_of_today(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, is_used: bool
) -> None:
    monkeypatch.setattr(wiring, "served", lambda: rig.app.ports.agents)
    monkeypatch.setattr(wiring, "opened", lambda: rig.app)
    if is_used:
        await rig.start()
    reads: list[str] = []

    async def count(operation: str, *_: object) -> None:
        reads.append(operation)

    rig.tables.fail_next(StoreUnavailable("down"))
    rig.tables.before = count
    for _ in range(3):
        assert await health_of(rig) == (200, {"status": "ok"})
    assert len(reads) == 2


async def test_a_row_of_a_newer_version_is_no_matter_of_health(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "served", lambda: rig.app.ports.agents)
    monkeypatch.setattr(wiring, "opened", lambda: rig.app)
    newer = Change(kind=Kind.INSERT, key="session", values={"schema": SCHEMA + 1})
    await rig.tables.commit(Table.RUNS, "0" * 32, [newer])
    assert await health_of(rig) == (200, {"status": "ok"})
    assert content(await health.get_health_deep(rig.app))["checks"]["storage"]["status"] == "ok"


async def test_a_call_that_meets_such_a_row_is_told_the_same(old: Rig) -> None:
    app, driver = old.app, old.driver()
    going_on = request({"input": "x", "session_id": SESSION})
    answers = [
        await answered(sessions.get_session)(request(path={"session_id": SESSION}), app),
        await answered(sessions.delete_session)(request(path={"session_id": SESSION}), app, driver),
        await answered(run_changes.create_run)(going_on, app, driver),
        await answered(batches.get_batch)(request(path={"batch_id": BEFORE["batch"]}), app),
    ]
    for response in answers:
        body = content(response)
        assert (response.status_code, body["code"]) == (503, "misconfigured")
        assert all(each in body["detail"] for each in ADVICE)


async def test_nothing_of_them_is_changed_or_deleted(old: Rig) -> None:
    before = rows(old.tables)

    await sweep(old.app.ports, old.driver())
    old.clock.move(400 * 86_400)
    hub = SimpleNamespace(purge_before=AsyncMock(return_value=0))
    await retain(old.app.ports, old.driver(hub))
    for each in (BEFORE["done"], BEFORE["active"], BEFORE["batch"]):
        await old.wake(each)

    assert rows(old.tables) == before


async def test_new_runs_live_beside_them(old: Rig) -> None:
    await old.model.script("s", [{"text": "Once."}])
    assert (await old.run_to_end()).status == "completed"


def test_such_rows_are_told_from_damaged_ones() -> None:
    for row in BEFORE["rows"]:
        if row["key"] == "00000001":
            with pytest.raises(RowTooOld):
                decode(Run, row["values"])
    with pytest.raises(RowUnreadable) as caught:
        decode(Run, {"schema": "2"})
    assert not isinstance(caught.value, RowTooOld)
