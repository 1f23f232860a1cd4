"""What goes wrong besides while hosts are killed: see ``calling``."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

from local.model.control import KnownResponse
from shared.runs.model.ids import parse_run_id
from shared.runs.store.slots import Slot, SlotStore
from shared.runs.store.tables import Change, Conflict, Kind, Table
from tests.acceptance.calling import Caller
from tests.acceptance.client import TERMINAL
from tests.acceptance.killed_scripts import LONG
from tests.acceptance.test_webhooks import send as send_webhook
from tests.parts.waiting import eventually

SLOTS = 4
"""How many active runs each caller may have."""

_LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)

# --- the provider -------------------------------------------------------------------------------------


async def unlucky_creates(caller: Caller) -> None:
    """Creates that are refused for now, that nobody hears of, and looks that bring no news."""
    await caller.over(await caller.start(await caller.own("unlucky")))


async def a_lost_create(caller: Caller) -> None:
    """A response that nobody heard of: another is made."""
    await caller.over(await caller.start(await caller.own("lost")))


async def a_lost_response(caller: Caller) -> None:
    """The provider does not know its own response any more."""
    run = await caller.over(await caller.start(await caller.own("gone")))
    assert (run["status"], run["error"]["code"]) == ("failed", "response_lost"), run


async def a_webhook(caller: Caller) -> None:
    """A response that nobody heard of, until the provider tells of its end: a little too early."""
    run_id = await caller.start(await caller.own("hinted"))
    await _tell(caller, (await _made(caller, run_id, 1))[0])
    await caller.over(run_id)


async def told_of_its_end(caller: Caller) -> None:
    """A run whose response the provider tells of, before anybody looks for it again; it has a long text."""
    run_id = await caller.start("told")
    (response,) = await _made(caller, run_id, 1)
    while (await caller.send("GET", f"/api/runs/{run_id}"))["status"] not in TERMINAL:
        await _tell(caller, response)


async def an_unwanted_response(caller: Caller) -> None:
    """One that nobody heard of, and of which the provider tells after another was made in its place."""
    run_id = await caller.start(await caller.own("unwanted"))
    first = (await _made(caller, run_id, 2))[0]
    await caller.over(run_id)
    await _tell(caller, first)


async def _made(caller: Caller, run_id: str, count: int) -> list[KnownResponse]:
    """The responses of a run, once there are so many."""

    async def made() -> list[KnownResponse]:
        found = [each for each in await caller.model.responses() if each.metadata.get("run") == run_id]
        return found if len(found) >= count else []

    found: list[KnownResponse] = await eventually(made, timeout=120)
    return found


async def _tell(caller: Caller, response: KnownResponse) -> None:
    """The provider's webhook: sent again until it is taken, or the host does not take any."""
    status = 0
    while status not in (200, 404):
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            status = (await send_webhook(caller.api, response.id)).status
        await asyncio.sleep(0.3)


# --- our own faults -----------------------------------------------------------------------------------


async def a_broken_agent(caller: Caller) -> None:
    """An agent whose own code fails to build the request."""
    run = await caller.over(await caller.start("done", agent="broken"))
    assert (run["status"], run["error"]["code"]) == ("failed", "agent_error"), run


async def crashing_wakes(caller: Caller) -> None:
    """Wakes that end with an exception that nobody expected, until the run is given up."""
    run = await caller.over(await caller.start("stuck", agent="faulty"))
    assert (run["status"], run["error"]["code"]) == ("failed", "internal_error"), run


async def an_unknown_agent(caller: Caller) -> None:
    """A run whose agent the next host does not know."""
    # Not for a day: one that comes back to a host that knows its agent would outlast the test.
    await caller.over(await caller.start("stuck", agent="bench", deadline_seconds=3_600))


async def an_unreadable_row(caller: Caller) -> None:
    """A row that cannot be read until it was put aside."""
    run_id = await caller.start("slow")
    phase = await _set_phase(caller, run_id, '{"is":"Confused"}')

    async def is_aside() -> bool:
        due = await caller.tables.get(Table.DUE, run_id.split("_")[1][-1], run_id)
        return due is None or bool(due.values["quarantined"])

    await eventually(is_aside, timeout=120)
    await _set_phase(caller, run_id, phase)


async def _set_phase(caller: Caller, run_id: str, phase: Any) -> Any:
    """Have the run's row say that it is in this phase; what it said before."""
    parsed = parse_run_id(run_id)
    assert parsed is not None
    while True:
        row = await caller.tables.get(Table.RUNS, parsed[0], f"run:{parsed[1]:08}")
        assert row is not None
        change = Change(kind=Kind.MERGE, key=row.key, values={"phase": phase}, etag=row.etag)
        with contextlib.suppress(Conflict):
            await caller.tables.commit(Table.RUNS, parsed[0], [change])
            return row.values["phase"]


# --- what is cut off, and who comes after it ----------------------------------------------------------


async def a_full_house(caller: Caller) -> None:
    """All slots are taken, by runs that are over: what is left where no end has given its slot back."""
    run = await caller.over(await caller.start("done"))
    slots, owner = SlotStore(caller.tables), f"user:{caller.name}"
    for number in range(SLOTS):
        slot = Slot(number=number, run_id=run["id"], fingerprint="lost", taken_at=_LONG_AGO)
        try:
            await slots.take(owner, slot)
        except Conflict:
            continue
    await caller.over(await caller.start("done", "next"))


async def a_run_for_later(caller: Caller) -> None:
    """A run for later, whose time comes while all slots are taken."""
    first = await caller.over(await caller.start("done"))
    # By the host's clock, which is ahead of this one's.
    start_at = datetime.fromisoformat(first["completed_at"]) + timedelta(seconds=150)
    later = await caller.start("done", "later", start_at=start_at.isoformat())
    others = [await caller.start("stuck", f"stuck-{number}") for number in range(SLOTS)]

    def is_put_off(timeline: Any) -> bool:
        return not {each["kind"] for each in timeline["data"]}.isdisjoint(("waiting", "ended"))

    await caller.until(f"/api/runs/{later}/timeline", is_put_off)
    for each in others:
        await caller.send("POST", f"/api/runs/{each}/cancel")
    run = await caller.over(later)
    assert run["status"] == "completed", run


async def a_schedule(caller: Caller) -> None:
    """A schedule with a run each minute, which is paused and deleted."""
    body = {"cron": "* * * * *", "input": "[script:done]", "agent": "workshop"}
    made = await caller.send("POST", "/api/schedules", json=body, headers=caller.keyed("schedule"))
    assert made.status == 201, made
    path = f"/api/schedules/{made['id']}"
    now = await caller.until(path, lambda each: each["last"] is not None and each["last"]["run_id"] is not None)
    await caller.over(now["last"]["run_id"])
    await caller.send("PATCH", path, json={"paused": True})
    await caller.send("DELETE", path)


async def an_abandoned_submit(caller: Caller) -> None:
    """A request that is not sent again when the connection breaks."""
    await caller.once("POST", "/api/runs", json={"input": f"[script:done]{LONG}", "agent": "workshop"})


async def slow_writes(caller: Caller) -> None:
    """A store so slow that what was announced has to be announced again: a submit, and a cancel."""
    run_id = await caller.start("stuck", text=LONG, callback_url=None)
    await caller.send("POST", f"/api/runs/{run_id}/cancel")


async def slow_deletes(caller: Caller) -> None:
    """The same for a session that is deleted."""
    run_id = await caller.start("stuck", callback_url=None)
    await caller.send("DELETE", f"/api/sessions/{run_id.split('_')[1]}")


async def slow_batches(caller: Caller) -> None:
    """The same for a batch."""
    await caller.start_batch([{"input": "[script:done]"}], callback_url=None)


async def many_at_once(caller: Caller) -> None:
    """More runs than one sweep polls within its period."""
    runs = await asyncio.gather(*(caller.start("slow", key=f"slow-{number}", callback_url=None) for number in range(8)))
    for run_id in runs:
        run = await caller.over(run_id)
        assert run["status"] == "completed", run
