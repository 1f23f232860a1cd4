"""Many wakes of one run at once, in one process and in two: each thing happens once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from local.stack import FunctionsHost
from tests.acceptance.client import TERMINAL, Api
from tests.acceptance.conftest import Stack, admin, both_drivers, move_clock
from tests.parts.waiting import eventually
from tests.parts.workshop import release

NewStack = Callable[..., Stack]

TWO_TOOLS: list[dict[str, Any]] = [
    {
        "calls": [
            {"name": "work", "arguments": {"label": "a", "seconds": 0.3}},
            {"name": "pay", "arguments": {"label": "b"}},
        ]
    },
    {"text": "Done:", "echo": True},
]


async def wake(host: FunctionsHost, run_id: str, times: int) -> None:
    """So many wakes of a run at once, beside whatever its driver does."""
    async with aiohttp.ClientSession() as session:

        async def one() -> None:
            url = f"{host.url}/admin/functions/advance"
            async with session.post(url, json={"input": run_id}, headers=admin(host)) as answer:
                assert answer.status == 202

        await asyncio.gather(*(one() for _ in range(times)))


MOST_WAKES = 200
"""Of one run in all: a host that is given more than it can do, for as long as it is not done, never is."""


async def pester(hosts: list[FunctionsHost], api: Api, run_id: str, times: int) -> dict[str, Any]:
    """Wake the run at every moment of its life, ``times`` wakes at once; the run as it ends."""
    left = MOST_WAKES

    async def look(run: dict[str, Any]) -> bool:
        nonlocal left
        for host in hosts if left > 0 else ():
            await wake(host, run_id, times)
            left -= times
        return run["status"] in TERMINAL

    async def over() -> dict[str, Any] | None:
        run = await api.run(run_id)
        return run if await look(run) else None

    found: dict[str, Any] = await eventually(over, timeout=120)  # the wakes alone are seconds of work
    return found


async def assert_once(stack: Stack, api: Api, run: dict[str, Any]) -> None:
    """Each tool ran once, each turn was created once, and the end was written once and stays."""
    assert run["status"] == "completed", run
    assert Counter(trace.label for trace in stack.traces(what="start")) == {"a": 1, "b": 1}
    assert [call["starts"] for call in run["tool_calls"]] == [1, 1]
    assert Counter(create.metadata["turn"] for create in await stack.model.creates(run=run["id"])) == {"1": 1, "2": 1}
    assert len(await stack.model.log("create")) == 2
    assert not await stack.model.log("cancel")
    assert await api.run(run["id"]) == run
    assert run["updated_at"] == run["completed_at"]
    following = await api.finished(await api.start("[script:next]", session_id=run["session_id"]))
    assert following["status"] == "completed"
    (create,) = await stack.model.creates(run=following["id"])
    assert create.body is not None
    assert create.body["previous_response_id"] == (await stack.model.responses())[1].id


@pytest.mark.main
@both_drivers
@pytest.mark.parametrize("times", [2, pytest.param(20, marks=pytest.mark.slow)])
async def test_wakes_at_the_same_moment_do_everything_once(own_stack: NewStack, driver: str, times: int) -> None:
    stack = own_stack(driver)
    host = await asyncio.to_thread(stack.host)
    await stack.model.script("two", TWO_TOOLS)
    await stack.model.script("next", [{"text": "And on."}])
    async with Api(host.url) as api:
        run_id = await api.start("[script:two]", agent="workshop")
        await assert_once(stack, api, await pester([host], api, run_id, times))


async def test_two_hosts_with_different_drivers_share_one_store(own_stack: NewStack) -> None:
    stack = own_stack()
    one = await asyncio.to_thread(lambda: stack.host(driver="durable"))
    two = await asyncio.to_thread(lambda: stack.host(driver="timer"))
    await stack.model.script("two", TWO_TOOLS)
    await stack.model.script("next", [{"text": "And on."}])
    async with Api(one.url) as api:
        run_id = await api.start("[script:two]", agent="workshop")
        await assert_once(stack, api, await pester([one, two], api, run_id, 3))


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no way to hold a process here")
async def test_a_holder_that_comes_back_too_late_changes_nothing(own_stack: NewStack) -> None:
    """One host is held in the middle of a tool; the other takes over and ends the run; then the first goes on."""
    stack = own_stack(DORMOUSE_TOOL_RENEWAL_SECONDS="0.3")
    one = await asyncio.to_thread(lambda: stack.host(driver="durable"))
    two = await asyncio.to_thread(lambda: stack.host(driver="timer"))
    ask = {"calls": [{"name": "hold_in_a_thread", "arguments": {"label": "a"}}]}
    await stack.model.script("held", [ask, {"text": "Done:", "echo": True}])
    async with Api(one.url) as first, Api(two.url) as second:
        run_id = await first.start("[script:held]", agent="workshop")
        await eventually(lambda: stack.traces("a", "start"))
        os.kill(one.pid, signal.SIGSTOP)
        try:
            release(stack.tool_log, "a")
            await move_clock(two, 61)
            run = await second.finished(run_id)
        finally:
            os.kill(one.pid, signal.SIGCONT)
        assert (run["status"], run["tool_calls"][0]["starts"]) == ("completed", 2), run
        await wake(one, run_id, 3)
        await eventually(lambda: "lost the lease" in one.log_tail(1_000))
        assert json.dumps(await first.run(run_id)) == json.dumps(run).replace(two.url, one.url)
    before, after = stack.traces("a", "start")
    assert (before.key, before.call_id) == (after.key, after.call_id)
    assert before.pid != after.pid
    assert Counter(create.metadata["turn"] for create in await stack.model.creates(run=run_id)) == {"1": 1, "2": 1}


async def test_a_cancel_during_a_create_leaves_nothing_running(own_stack: NewStack, driver: str) -> None:
    """The provider has the response already; its answer comes when the run is over here."""
    stack = own_stack(driver)
    host = await asyncio.to_thread(stack.host)
    late = {"create": [{"hang": 1.5, "after_accept": True}]}
    work = {"calls": [{"name": "work", "arguments": {"label": "a"}}]}
    await stack.model.script("late", [work, {"text": "Never read.", "think": 1_000, "faults": late}])
    async with Api(host.url) as api:
        run_id = await api.start("[script:late]", agent="workshop")
        await eventually(lambda: stack.model.creates(run=run_id, turn="2"))
        assert (await api.cancel(run_id))["status"] == "cancelled"

        async def stopped() -> bool:
            return [known.status for known in await stack.model.responses()] == ["completed", "cancelled"]

        await eventually(stopped)
        assert (await api.run(run_id))["status"] == "cancelled"


async def test_a_cancel_while_the_model_thinks_stops_it_there(own_stack: NewStack, driver: str) -> None:
    stack = own_stack(driver)
    host = await asyncio.to_thread(stack.host)
    await stack.model.script("long", [{"text": "Never read.", "think": 1_000}])
    async with Api(host.url) as api:
        run_id = await api.start("[script:long]", agent="workshop")
        answers = await asyncio.gather(*(api.cancel(run_id) for _ in range(5)))
        assert {(answer.status, answer["status"]) for answer in answers} == {(200, "cancelled")}

        async def stopped() -> bool:
            return [known.status for known in await stack.model.responses()] == ["cancelled"]

        await eventually(stopped)
        assert (await api.run(run_id))["completed_at"] == answers[0]["completed_at"]
