"""What an operator types, at two hosts on one storage: pause, drain, and single runs; each host obeys."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

from local import ROOT
from local.stack import FunctionsHost
from tests.acceptance.client import Api
from tests.acceptance.conftest import CLIENT_KEYS, Stack, both_drivers, move_clock
from tests.acceptance.test_crashes import restart
from tests.parts.waiting import eventually
from tests.parts.workshop import release

NewStack = Callable[..., Stack]

KEY = "operator-key-0123456789-of-the-tests"
FUNCTION_KEY = "function-key-of-the-tests"
ADA = {"Authorization": f"Bearer {CLIENT_KEYS['ada']}"}
OBEYED = 5.0
"""Seconds after which every host obeys."""


async def ops(host: FunctionsHost, *arguments: str, key: str = KEY) -> Any:
    """What a command of an operator prints: an object, or a list of them. Its error where it fails."""
    command = [sys.executable, "-m", "dormouse_client", "ops", *arguments, "--url", host.url, "--key", FUNCTION_KEY]
    process = await asyncio.create_subprocess_exec(
        *command,
        env={"PYTHONPATH": str(ROOT / "clients/python/src"), "DORMOUSE_OPERATOR_KEY": key},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    if process.returncode:
        return error.decode()
    if arguments[0] in ("overdue", "quarantined"):
        return [json.loads(line) for line in out.splitlines()]
    return json.loads(out)


async def both(*hosts: FunctionsHost, seconds: float = OBEYED) -> None:
    for host in hosts:
        await move_clock(host, seconds)


@both_drivers
async def test_what_one_host_is_told_all_obey_also_after_a_restart(own_stack: NewStack, driver: str) -> None:
    stack = own_stack(driver, DORMOUSE_OPERATOR_KEY=KEY)
    keyed = ["--function-key", FUNCTION_KEY]
    one, other = await asyncio.gather(
        asyncio.to_thread(stack.host, args=keyed), asyncio.to_thread(stack.host, args=keyed)
    )
    asks = {"think": 0, "calls": [{"name": "hold", "arguments": {"label": "a"}}]}
    await stack.model.script("tools", [asks, {"think": 0, "text": "Fine."}])
    await stack.model.script("soon", [{"think": 0, "text": "Soon."}])
    async with Api(one.url, FUNCTION_KEY) as api, Api(other.url, FUNCTION_KEY) as second:
        run_id = await api.start("[script:tools]", agent="workshop")
        await eventually(lambda: stack.traces("a", "start"))
        known = await api.start("[script:soon]", agent="workshop", key="known")

        assert (await ops(one, "intake", "pause", "--reason", "Back at noon."))["paused"] is True
        await both(other)
        bench = {"model": "bench", "input": "[script:soon]"}
        items = {"agent": "workshop", "items": [{"input": "[script:soon]"}]}
        for path, body in (("/api/runs", {"input": "x"}), ("/api/batches", items), ("/api/v1/responses", bench)):
            reply = await second.call("POST", path, json=body, headers=ADA)
            problem = reply.body.get("error", reply.body)
            assert (reply.status, problem["code"], reply.headers["Retry-After"]) == (503, "intake_paused", "60")
            assert "(Back at noon.)" in problem.get("message", problem.get("detail"))
        again = await second.submit("[script:soon]", agent="workshop", key="known")
        assert (again.status in (200, 202), again["id"]) == (True, known)
        assert (await ops(other, "intake", "resume"))["paused"] is False

        assert (await ops(one, "drain", "on"))["draining"] is True
        other.kill()
        await restart(other)
        await both(one, other)
        assert (await second.submit("x"))["code"] == "intake_paused"
        # The tools that are at work end; the turn that would follow them does not begin.
        for step in range(3):
            release(stack.tool_log, "a", step)
        await api.until(run_id, lambda run: run["turn"] == 2)
        await both(one, other, seconds=40)
        drained = await ops(other, "drain")
        assert (drained["draining"], drained["drained"], drained["at_work"]) == (True, True, 0), drained
        assert len([each for each in await stack.model.creates() if each.metadata["run"] == run_id]) == 1

        assert (await ops(other, "drain", "off"))["draining"] is False
        await both(one, other, seconds=31)
        run = await api.finished(run_id)
        assert (run["status"], run["text"]) == ("completed", "Fine.")
        assert len(stack.traces("a", "start")) == 1


@both_drivers
async def test_a_single_run_is_woken_released_and_ended(own_stack: NewStack, driver: str) -> None:
    seldom = {"DORMOUSE_POLL_FIRST_SECONDS": "300", "DORMOUSE_POLL_MAX_SECONDS": "300"}
    stack = own_stack(driver, DORMOUSE_OPERATOR_KEY=KEY, **seldom)
    host = await asyncio.to_thread(stack.host, args=["--function-key", FUNCTION_KEY])
    await stack.model.script("stuck", [{"stuck": True, "text": "At last."}])
    async with Api(host.url, FUNCTION_KEY) as api:
        for action in ("wake", "release"):
            run_id = await api.start("[script:stuck]", agent="workshop")
            await stack.model.finish((await stack.model.responses())[-1].id)
            assert (await ops(host, action, run_id))["id"] == run_id
            assert (await api.finished(run_id))["text"] == "At last."
        run_id = await api.start("[script:stuck]", agent="workshop")
        assert (await ops(host, "end", run_id))["status"] == "cancelled"
        timeline = (await api.call("GET", f"/api/runs/{run_id}/timeline"))["data"]
        assert "operator" in {line.get("by") for line in timeline}
        assert await ops(host, "overdue") == []
        assert await ops(host, "quarantined") == []
        assert "x-dormouse-operator-key" in await ops(host, "drain", key="x" * 32)
        assert "no such run" in await ops(host, "end", f"run_{'0' * 32}_1")
        reply = await api.call("GET", "/api/ops/drain")
        assert (reply.status, reply["code"]) == (401, "invalid_operator_key")
    async with Api(host.url) as stranger:
        reply = await stranger.call("GET", "/api/ops/drain", headers={"x-dormouse-operator-key": KEY})
        assert (reply.status, reply.raw) == (401, b"")
    printed = host.log_path.read_text("utf-8")
    assert f"audit: an operator called from 127.0.0.1: end {run_id}" in printed
    assert KEY not in printed


async def test_with_app_service_the_operators_key_alone_opens_the_calls(own_stack: NewStack) -> None:
    stack = own_stack("timer", DORMOUSE_AUTH="appservice", WEBSITE_AUTH_ENABLED="True", DORMOUSE_OPERATOR_KEY=KEY)
    signed_in = {"X-MS-CLIENT-PRINCIPAL-ID": "ada", "X-MS-CLIENT-PRINCIPAL-IDP": "aad"}
    async with Api((await asyncio.to_thread(stack.host)).url) as api:
        run_id = (await api.call("POST", "/api/runs", json={"input": "x"}, headers=signed_in))["id"]
        path = f"/api/ops/runs/{run_id}/end"
        assert (await api.call("POST", path, headers=signed_in))["code"] == "invalid_operator_key"
        ended = await api.call("POST", path, headers={"x-dormouse-operator-key": KEY})
        assert (ended.status, ended["status"]) == (200, "cancelled")
        assert (await api.call("GET", f"/api/runs/{run_id}")).status == 401, "it reads nothing of what is somebody's"
