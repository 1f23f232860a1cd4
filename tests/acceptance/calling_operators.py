"""What an operator does while hosts are killed: see ``calling``."""

from __future__ import annotations

import contextlib
import secrets
from datetime import UTC, datetime
from typing import Any

from shared.runs.store.due import DueStore
from shared.runs.store.index import IndexStore
from shared.runs.store.slots import Slot, SlotStore
from shared.runs.store.tables import Change, Conflict, Kind, Table
from tests.acceptance.calling import Caller, GoneError

OPERATOR_KEY = "operator-key-0123456789-of-the-tests"


async def an_operator(caller: Caller) -> None:
    """The intake is paused and opened, the app drained; a run is given back to its driver, twice, and then ended."""
    for path, on, off in (
        ("/api/ops/intake", {"paused": True, "retry_after_seconds": 1}, {"paused": False}),
        ("/api/ops/drain", {"draining": True}, {"draining": False}),
    ):
        for body in (on, off):
            await _operated(caller, "PUT", path, json=body)
    run_id = await caller.start("stuck")
    await _operated(caller, "POST", f"/api/ops/runs/{run_id}/release")
    await _lose(caller, run_id)
    await _operated(caller, "POST", f"/api/ops/runs/{run_id}/release")
    ended = await _operated(caller, "POST", f"/api/ops/runs/{run_id}/end")
    assert ended["status"] == "cancelled", ended


async def an_erased_owner(caller: Caller) -> None:
    """All that the app has of a caller is erased: a run under a key, a try of a request, a place that nobody has."""
    owner, absent = f"user:{caller.name}", f"run_{'0' * 32}_1"
    await caller.start("stuck")
    now = datetime.now(UTC)
    with contextlib.suppress(Conflict):
        slot = Slot(number=900, run_id=absent, fingerprint="f", taken_at=now)
        await SlotStore(caller.tables).take(owner, slot)
    await IndexStore(caller.tables).tries.begin(owner, "a" * 64, key=secrets.token_hex(16), count=0, now=now)
    cursor: dict[str, str] = {}
    while True:
        done = await _operated(caller, "POST", "/api/ops/erase", json={"owner": owner, **cursor})
        assert done["failed"] == [], done
        if "next_cursor" not in done:
            return
        cursor = {"cursor": done["next_cursor"]}


async def _operated(caller: Caller, method: str, path: str, **options: Any) -> dict[str, Any]:
    """An operator's call; ``GoneError`` where the host has none any more."""
    reply = await caller.send(method, path, headers={"x-dormouse-operator-key": OPERATOR_KEY}, **options)
    if reply.status == 404:
        raise GoneError
    assert reply.status == 200, reply
    body: dict[str, Any] = reply.body
    return body


async def _lose(caller: Caller, run_id: str) -> None:
    """Lose the due row, as nothing of the app ever does."""
    due = DueStore(caller.tables)
    while (row := await due.get(run_id)) is not None:
        with contextlib.suppress(Conflict):
            change = Change(kind=Kind.DELETE, key=run_id, etag=row.etag)
            await caller.tables.commit(Table.DUE, row.partition, [change])
