"""The process is killed: whatever it held in memory is gone, its orchestrations too. The rows are what is left.

A killed host is started again on the same storage; a clock is moved instead of waiting for what is overdue.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from local.model.control import ModelControl
from local.stack import FunctionsHost
from tests.acceptance.client import TERMINAL, Api
from tests.acceptance.conftest import Stack, both_drivers
from tests.acceptance.launch import AHEAD_VARIABLE
from tests.parts.waiting import eventually
from tests.parts.workshop import release

NewStack = Callable[..., Stack]

SHORT_WAITS = {
    "DORMOUSE_OVERDUE_SECONDS": "0.5",
    "DORMOUSE_TOOL_LEASE_SECONDS": "3",
    "DORMOUSE_TOOL_RENEWAL_SECONDS": "1",
    "DORMOUSE_CREATE_TIMEOUT_SECONDS": "2",
    "DORMOUSE_CREATE_CLAIM_SECONDS": "3",
    "DORMOUSE_CREATE_GRACE_SECONDS": "0.5",
}
"""What a test would otherwise have to wait for."""

MINUTE = 61.0
"""A submitted run is looked at after a minute at the latest; so far a restarted host's clock is moved."""


def calls(*asked: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """A script: these tools, then a text with what they returned."""
    return [{"calls": [{"name": name, "arguments": given} for name, given in asked]}, {"text": "Done:", "echo": True}]


async def outputs(model: ModelControl, run_id: str, turn: int) -> list[str]:
    """What the model was sent as the outputs of its calls."""
    create = (await model.creates(run=run_id, turn=str(turn)))[-1]
    assert create.body is not None
    return [item["output"] for item in create.body["input"] if item["type"] == "function_call_output"]


async def restart(host: FunctionsHost) -> None:
    """Start a killed host again, a minute later: whatever is overdue by then is found at once.

    Its clock is ahead from the start. One moved afterwards would end leases of work that it has begun by then.
    """
    host.env[AHEAD_VARIABLE] = str(MINUTE + float(host.env.get(AHEAD_VARIABLE, "0")))
    await asyncio.to_thread(lambda: host.start().wait_ready())


async def finish_thinking(model: ModelControl) -> None:
    """Let the model's latest response come to its end: it does not need us for that."""
    await model.finish((await model.responses())[-1].id)


@pytest.mark.main
@both_drivers
async def test_a_run_goes_on_after_a_crash_while_the_model_thinks(own_stack: NewStack, driver: str) -> None:
    stack = own_stack(driver, **SHORT_WAITS)
    host = await asyncio.to_thread(stack.host)
    asks, says = calls(("work", {"label": "a"}))
    await stack.model.script("slow", [{**asks, "stuck": True}, says])
    async with Api(host.url) as api:
        run_id = await api.start("[script:slow]", agent="workshop")
        await api.until(run_id, lambda run: run["provider_status"] in ("queued", "in_progress"))
        host.kill()
        await finish_thinking(stack.model)
        await restart(host)
        run = await api.finished(run_id)
    assert run["status"] == "completed", run
    assert "worked on a" in run["text"]
    assert await creates_by_turn(stack.model, run_id) == {"1": 1, "2": 1}
    assert len(stack.traces("a", "start")) == 1


async def test_a_crash_in_the_second_turn_repeats_no_tool_and_no_create(own_stack: NewStack, driver: str) -> None:
    stack = own_stack(driver, **SHORT_WAITS)
    host = await asyncio.to_thread(stack.host)
    asks, says = calls(("work", {"label": "a"}), ("pay", {"label": "b"}))
    await stack.model.script("slow", [asks, {**says, "stuck": True}])
    async with Api(host.url) as api:
        run_id = await api.start("[script:slow]", agent="workshop")
        await api.until(run_id, lambda run: run["turn"] == 2 and run["provider_status"] in ("queued", "in_progress"))
        host.kill()
        await finish_thinking(stack.model)
        await restart(host)
        run = await api.finished(run_id)
    assert run["status"] == "completed", run
    assert await creates_by_turn(stack.model, run_id) == {"1": 1, "2": 1}
    assert Counter(trace.label for trace in stack.traces(what="start")) == {"a": 1, "b": 1}


@pytest.mark.main
@both_drivers
async def test_a_finished_tool_is_never_run_again_after_a_crash(own_stack: NewStack, driver: str) -> None:
    stack = own_stack(driver, **SHORT_WAITS)
    host = await asyncio.to_thread(stack.host)
    await stack.model.script(
        "three",
        calls(
            ("work", {"label": "quick"}),
            ("hold_in_a_thread", {"label": "slow"}),
            ("pay", {"label": "once", "seconds": 600}),
        ),
    )
    async with Api(host.url) as api:
        run_id = await api.start("[script:three]", agent="workshop")
        await api.until(run_id, lambda run: [call["state"] for call in run["tool_calls"]].count("finished") == 1)
        await eventually(lambda: len(stack.traces(what="start")) == 3)
        host.kill()
        release(stack.tool_log, "slow")
        await restart(host)
        run = await api.finished(run_id)
    assert run["status"] == "completed", run
    assert [call["starts"] for call in run["tool_calls"]] == [1, 2, 1]
    assert len(stack.traces("quick", "start")) == 1
    assert len(stack.traces("once", "start")) == 1
    first, second = stack.traces("slow", "start")
    assert (first.call_id, first.key) == (second.call_id, second.key)
    assert (first.start, second.start) == (1, 2)
    assert first.pid != second.pid
    quick, slow, once = await outputs(stack.model, run_id, 2)
    assert (quick, slow) == ("worked on quick", "held slow in a thread")
    assert json.loads(once)["error"]["code"] == "outcome_unknown"
    assert await creates_by_turn(stack.model, run_id) == {"1": 1, "2": 1}


async def test_a_tool_that_kills_the_process_each_time_is_told_as_unknown(own_stack: NewStack) -> None:
    stack = own_stack("durable", **SHORT_WAITS)
    host = await asyncio.to_thread(stack.host)
    await stack.model.script("deadly", calls(("crash", {"label": "boom"})))
    deaths = 0
    async with Api(host.url) as api:
        run_id = await api.start("[script:deadly]", agent="workshop")
        run: dict[str, Any] = {"status": None}
        while run["status"] not in TERMINAL:
            await eventually(lambda: not host.alive or _terminal(api, run_id))
            if not host.alive:
                deaths += 1
                assert deaths < 5, "it is tried again and again"
                host.kill()
                await restart(host)
                continue
            run = await api.run(run_id)
    assert run["status"] == "completed", run
    assert deaths == len(stack.traces("boom", "start")) == 2
    (unknown,) = await outputs(stack.model, run_id, 2)
    assert json.loads(unknown)["error"]["code"] == "outcome_unknown"


async def test_a_crash_inside_a_create_waits_out_the_claim_and_tries_once_more(own_stack: NewStack) -> None:
    """The provider took the request, and its answer never arrived here: at most one extra response."""
    stack = own_stack("durable", **SHORT_WAITS)
    host = await asyncio.to_thread(stack.host)
    fault = {"create": [{"hang": 30, "after_accept": True}]}
    await stack.model.script("hang", [calls(("work", {"label": "a"}))[0], {"text": "Done.", "faults": fault}])
    async with Api(host.url) as api:
        run_id = await api.start("[script:hang]", agent="workshop")
        await eventually(lambda: stack.model.creates(run=run_id, turn="2"))
        host.kill()
        await restart(host)
        run = await api.finished(run_id)
    assert run["status"] == "completed", run
    assert await creates_by_turn(stack.model, run_id) == {"1": 1, "2": 2}
    attempts = [create.metadata["attempt"] for create in await stack.model.creates(run=run_id, turn="2")]
    assert attempts == ["1", "2"]
    assert len(stack.traces("a", "start")) == 1


async def test_the_limits_of_a_run_hold_across_a_crash(own_stack: NewStack) -> None:
    """Three tool calls are allowed; one was made before the crash, and three are asked for after it."""
    stack = own_stack("durable", **SHORT_WAITS)
    host = await asyncio.to_thread(stack.host)
    one = calls(("work", {"label": "a"}))[0]
    three = calls(*(("work", {"label": label}) for label in "bcd"))[0]
    await stack.model.script("greedy", [one, {**three, "stuck": True}])
    async with Api(host.url) as api:
        run_id = await api.start("[script:greedy]", agent="workshop", limits={"tool_calls": 3})
        await api.until(run_id, lambda run: run["turn"] == 2 and run["provider_status"] in ("queued", "in_progress"))
        host.kill()
        await finish_thinking(stack.model)
        await restart(host)
        run = await api.finished(run_id)
    assert (run["status"], run["error"]["code"]) == ("failed", "tool_call_limit")
    assert [trace.label for trace in stack.traces(what="start")] == ["a"]


async def creates_by_turn(model: ModelControl, run_id: str) -> dict[str, int]:
    """How many responses each turn of a run has had at the provider."""
    return dict(Counter(create.metadata["turn"] for create in await model.creates(run=run_id)))


async def _terminal(api: Api, run_id: str) -> bool:
    try:
        return (await api.run(run_id))["status"] in TERMINAL
    except (OSError, aiohttp.ClientError):  # it died before it answered, or while it did
        return False
