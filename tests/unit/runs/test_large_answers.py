"""Lists and pages read some rows at a time, whatever they are asked for, and end before they are too large."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import replace
from typing import Any

import pytest

from shared import wiring
from shared.api.callers import EVERYBODY
from shared.api.native import batches, runs
from shared.runs.batches.submit import submit_batch
from shared.runs.commands.submission import Submission
from shared.runs.queries import batches as queries
from shared.runs.store.runs import READS
from tests.unit.api.conftest import content, request
from tests.unit.runs.batches import asked as asked_batch
from tests.unit.runs.conftest import Rig
from tests.unit.runs.crashes import Driver


def asked(query: str = "", **path: str) -> Any:
    given = request({}, path=path)
    given.scope["method"], given.scope["query_string"] = "GET", query.encode()
    return given


@pytest.fixture
def loading(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many runs are being loaded at once, at each load."""
    seen: list[int] = []
    active = 0
    store, load = rig.app.ports.runs, rig.app.ports.runs.load

    async def counted(run_id: str) -> Any:
        nonlocal active
        active += 1
        seen.append(active)
        try:
            await asyncio.sleep(0)  # all that are side by side have begun
            return await load(run_id)
        finally:
            active -= 1

    monkeypatch.setattr(store, "load", counted)
    return seen


async def test_a_list_loads_no_run(rig: Rig, loading: list[int]) -> None:
    await rig.model.script("s", [{"stuck": True}])
    for number in range(20):
        await rig.submit(f"[script:s] {number}", owner=EVERYBODY)
    loading.clear()
    listed = content(await runs.list_runs(asked("limit=100"), rig.app))
    assert len(listed["data"]) == 20
    assert loading == []


async def test_a_page_of_items_ends_before_it_is_too_large(
    rig: Rig, loading: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.model.script("s", [{"text": "é" * 1_000}])
    wanted = asked_batch(*["[script:s]"] * 12)
    mine = Submission(owner=EVERYBODY, items=(), agent="workshop")
    submitted = await submit_batch(rig.app.ports, replace(wanted, defaults=mine))
    host = Driver(rig)
    await host.start_batch(submitted)
    await host.pass_time(300)
    monkeypatch.setattr(queries, "MAX_BYTES", 5_000)
    loading.clear()
    page = content(await batches.get_batch_items(asked("limit=100", batch_id=submitted.batch.id), rig.app))
    assert len(page["data"]) == 2, "two texts of 2,000 bytes fit, a third does not"
    assert page["next_cursor"] == "000002"
    assert len(loading) <= READS, "no run was read that is not near this page"


def test_what_is_imported_is_not_looked_through_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AzureWebJobsStorage", "UseDevelopmentStorage=true")
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    wiring.app.cache_clear()
    wiring.served.cache_clear()
    gc.unfreeze()
    try:
        wiring.app()
        assert gc.get_freeze_count() > 10_000
    finally:
        gc.unfreeze()
        wiring.app.cache_clear()
        wiring.served.cache_clear()
