"""Schedules over the whole stack: two hosts on one storage, one of which is killed, begin one run each time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from tests.acceptance.client import Api
from tests.acceptance.conftest import Stack, both_drivers, move_clock
from tests.parts.waiting import eventually

NewStack = Callable[..., Stack]


@pytest.mark.main
@both_drivers
async def test_two_hosts_begin_one_run_each_time_though_one_is_killed(own_stack: NewStack, driver: str) -> None:
    stack = own_stack(driver, DORMOUSE_SWEEP_SECONDS="1")
    await stack.model.script("due", [{"text": "Done."}])
    hosts = [await asyncio.to_thread(stack.host) for _ in range(2)]
    first = (datetime.now(UTC) + timedelta(hours=2)).replace(minute=0, second=0, microsecond=0)
    body = {"cron": f"0 0 {first.hour},{(first.hour + 1) % 24} * * *", "input": "[script:due]", "agent": "workshop"}
    async with Api(hosts[0].url) as api, Api(hosts[1].url) as other:
        made = await api.call("POST", "/api/schedules", json=body, headers={"Idempotency-Key": "k"})
        again = await other.call("POST", "/api/schedules", json=body, headers={"Idempotency-Key": "k"})
        assert (made.status, again["id"]) == (201, made["id"])
        assert datetime.fromisoformat(made["next_at"]) == first
        path = f"/api/schedules/{made['id']}"
        until_first = (first - datetime.now(UTC)).total_seconds()
        await asyncio.gather(*(move_clock(host, until_first) for host in hosts))

        async def begun(at: datetime) -> str:
            last = (await other.call("GET", path))["last"]
            is_it = last is not None and datetime.fromisoformat(last["at"]) == at
            return str(last["run_id"] or "") if is_it else ""

        runs = [await eventually(lambda: begun(first), timeout=60)]
        assert (await other.finished(runs[0]))["created_at"] == made["next_at"]
        await asyncio.to_thread(hosts[0].kill)
        await move_clock(hosts[1], 3_600)
        runs.append(await eventually(lambda: begun(first + timedelta(hours=1)), timeout=60))
        await other.finished(runs[1])
        listed = (await other.call("GET", "/api/runs"))["data"]
        assert [each["id"] for each in listed] == runs[::-1]
        assert len(await stack.model.creates()) == 2
        paused = await other.call("PATCH", path, json={"paused": True})
        assert (paused["paused"], paused["next_at"]) == (True, None)
        assert (await other.call("DELETE", path)).status == 204
        assert (await other.call("GET", path)).status == 404
        assert (await other.call("GET", "/api/schedules"))["data"] == []
