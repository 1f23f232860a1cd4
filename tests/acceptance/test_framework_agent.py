"""An unmodified Microsoft Agent Framework agent lives the life of a run: crashes, tools, failures, sessions."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from tests.acceptance.client import Api
from tests.acceptance.conftest import Stack, move_clock
from tests.acceptance.launch import FRAMEWORK_VARIABLE
from tests.acceptance.test_crashes import MINUTE, SHORT_WAITS, creates_by_turn, restart
from tests.parts.waiting import eventually

pytest.importorskip("agent_framework", reason="the extra agent-framework is not installed")

NAME = "framework-novelist"

NewStack = Callable[..., Stack]


async def test_the_novelist_s_run_survives_crashes_and_runs_each_tool_once(own_stack: NewStack, driver: str) -> None:
    """Killed while the model thinks, and again while one tool has finished and the other runs."""
    stack = own_stack(driver, **SHORT_WAITS, DORMOUSE_SAMPLE_TOOL_SECONDS="20", **{FRAMEWORK_VARIABLE: "1"})
    host = await asyncio.to_thread(stack.host)
    await stack.model.switches(think=1.0)
    async with Api(host.url) as api:
        run_id = await api.start("The rings of Saturn.", agent=NAME)
        host.kill()
        await restart(host)
        await api.until(run_id, lambda run: [call["state"] for call in run["tool_calls"]] == ["started", "finished"])
        host.kill()
        host.env["DORMOUSE_SAMPLE_TOOL_SECONDS"] = "1"
        await asyncio.to_thread(lambda: host.start().wait_ready())
        await move_clock(host, 2 * MINUTE)  # the killed host was ahead of time already; a second move ends leases
        run = await api.finished(run_id)
    assert run["status"] == "completed", run
    assert "a day on Venus is longer than its year" in run["text"]
    assert "Ada, who counts everything twice" in run["text"]
    assert await creates_by_turn(stack.model, run_id) == {"1": 1, "2": 1}
    assert [call["starts"] for call in run["tool_calls"]] == [2, 1]
    assert Counter(trace.label for trace in stack.traces(what="end")) == {"facts": 1, "characters": 1}
    assert len({trace.key for trace in stack.traces("facts", "start")}) == 1
    assert run["usage"]["total_tokens"] > 0


async def test_a_failure_is_seen_and_leaves_the_session_where_it_was(own_stack: NewStack) -> None:
    stack = own_stack(DORMOUSE_SAMPLE_TOOL_SECONDS="0.1", **{FRAMEWORK_VARIABLE: "1"})
    host = await asyncio.to_thread(stack.host)
    await stack.model.script("bad", [{"status": "failed", "error": {"code": "invalid_prompt", "message": "No."}}])
    await stack.model.script("half", [{"status": "incomplete", "text": "Once upon"}])
    await stack.model.script("stuck", [{"stuck": True}])
    async with Api(host.url) as api:
        first = await api.finished(await api.start("The moons of Mars.", agent=NAME))
        assert first["status"] == "completed", first
        session = {"session_id": first["session_id"]}
        bad = await api.finished(await api.start("[script:bad]", **session))
        assert (bad["status"], bad["error"]) == ("failed", {"code": "invalid_prompt", "message": "No."})
        half = await api.finished(await api.start("[script:half]", **session))
        assert (half["status"], half["text"]) == ("incomplete", "Once upon")
        stuck = await api.start("[script:stuck]", **session)
        assert (await api.cancel(stuck))["status"] == "cancelled"
        last = await api.finished(await api.start("And its dust.", **session))
        assert last["status"] == "completed", last

        async def all_over() -> bool:
            return not {"queued", "in_progress"} & {each.status for each in await stack.model.responses()}

        await eventually(all_over)  # the cancel reached the provider
    (begin,) = await stack.model.creates(run=last["id"], turn="1")
    good = [each.id for each in await stack.model.responses() if each.metadata["run"] == first["id"]][-1]
    assert begin.body is not None
    assert begin.body["previous_response_id"] == good
    assert [call["starts"] for call in last["tool_calls"]] == [1, 1]
