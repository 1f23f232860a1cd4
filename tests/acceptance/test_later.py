"""Runs for later, over the whole stack: queued until their time, and begun by whichever host is there then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from tests.acceptance.client import Api
from tests.acceptance.conftest import Stack, both_drivers, move_clock

NewStack = Callable[..., Stack]


@pytest.mark.main
@both_drivers
async def test_a_run_for_later_begins_at_its_time_though_its_host_was_killed(own_stack: NewStack, driver: str) -> None:
    stack = own_stack(driver, DORMOUSE_SWEEP_SECONDS="1", DORMOUSE_MAX_ACTIVE_RUNS="1")
    await stack.model.script("later", [{"text": "On time."}])
    await stack.model.script("stuck", [{"stuck": True}])
    host = await asyncio.to_thread(stack.host)
    start_at = datetime.now(UTC) + timedelta(hours=2)
    later = {"agent": "workshop", "start_at": start_at.isoformat(), "deadline_seconds": 60, "key": "later"}
    async with Api(host.url) as api:
        submitted = await api.submit("[script:later]", **later)
        assert (submitted.status, submitted["status"], submitted["waiting_for"]) == (202, "queued", "start")
        assert datetime.fromisoformat(submitted["wake_at"]) - start_at < timedelta(milliseconds=1)
        assert (submitted["deadline_at"], submitted.headers["Retry-After"]) == (None, "3600")
        # It is none of the active runs, of which one is allowed.
        active = await api.start("[script:stuck]", agent="workshop")
        assert (await api.cancel(active)).status == 200
        (_, listed) = (await api.call("GET", "/api/runs"))["data"]
        assert (listed["id"], listed["status"], listed["start_at"]) == (
            submitted["id"],
            "queued",
            submitted["start_at"],
        )
        refused = await api.submit("x", session_id=submitted["session_id"], start_at=start_at.isoformat())
        assert (refused.status, refused["code"]) == (400, "start_at_in_session")
    await asyncio.to_thread(host.kill)
    host = await asyncio.to_thread(stack.host)
    async with Api(host.url) as api:
        await move_clock(host, 7_100)
        assert (await api.submit("[script:later]", **later))["status"] == "queued"
        assert len(await stack.model.creates()) == 1, "of the other run"
        await move_clock(host, 200)
        run = await api.finished(submitted["id"])
        assert (run["status"], run["text"]) == ("completed", "On time.")
        assert run["elapsed_seconds"] < 300
        timeline = await api.call("GET", f"/api/runs/{run['id']}/timeline")
    assert [entry["kind"] for entry in timeline["data"]][:2] == ["created", "started"]
    assert len(await stack.model.creates()) == 2
