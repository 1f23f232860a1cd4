"""One trace of a run's whole life, read as it was exported: though its host was killed, and another went on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from local.traces.receiver import Receiver
from local.traces.spans import INSTANCE, Exported, by_trace, tree
from tests.acceptance.client import Api
from tests.acceptance.conftest import Stack
from tests.acceptance.test_crashes import SHORT_WAITS, restart
from tests.parts.waiting import eventually

NewStack = Callable[..., Stack]

CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def of_run(receiver: Receiver, run_id: str) -> list[Exported]:
    return by_trace(receiver.spans).get(run_id[4:36], [])


@pytest.mark.main
async def test_a_novelist_s_run_over_a_kill_is_one_tree(own_stack: NewStack, driver: str) -> None:
    with Receiver() as receiver:
        exported = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_METRIC_EXPORT_INTERVAL": "500"}
        stack = own_stack(driver, **SHORT_WAITS, DORMOUSE_SAMPLE_TOOL_SECONDS="30", **exported)
        host = await asyncio.to_thread(stack.host)
        await stack.model.switches(think=0.5)
        async with Api(host.url) as api:
            asked = {"input": "Rings.", "agent": "novelist"}
            reply = await api.call("POST", "/api/runs", json=asked, headers={"traceparent": CALLER})
            run_id = str(reply["id"])
            await api.until(run_id, lambda run: "started" in [call["state"] for call in run["tool_calls"]])
            # What a process has not exported when it is killed is lost: that is a second at most.
            await eventually(lambda: any(span.name.startswith("chat") for span in of_run(receiver, run_id)))
            host.kill()
            host.env["DORMOUSE_SAMPLE_TOOL_SECONDS"] = "0.1"
            await restart(host)
            assert (await api.finished(run_id))["status"] == "completed"
        await eventually(lambda: any(not span.parent_id for span in of_run(receiver, run_id)))
        spans = of_run(receiver, run_id)
        await eventually(lambda: "dormouse.runs.ended" in {point.name for point in receiver.points})
        points = {point.name: point for point in receiver.points}
        await eventually(lambda: f"run {run_id} is completed" in [line.text for line in receiver.lines])
    (root,) = [span for span in spans if not span.parent_id]
    assert root.name == "invoke_agent novelist"
    assert len({span.span_id for span in spans}) == len(spans)
    assert len({span.resource[INSTANCE] for span in spans}) == 2, "before the kill, and after it"
    names = [span.name for span in spans]
    assert sorted(name for name in names if name.startswith(("chat", "submit", "execute_tool"))) == [
        "chat gpt-5.4-mini",
        "chat gpt-5.4-mini",
        "execute_tool generate_character_profiles",
        "execute_tool research_space_facts",
        "submit",
    ]
    (submit,) = [span for span in spans if span.name == "submit"]
    assert submit.links == (tuple(CALLER.split("-")[1:3]),)
    branches = list(tree(spans))
    assert len(branches) == len(spans)
    assert [each for each in branches if not each.startswith((" ", "├", "└", "│"))] == branches[:1], "\n".join(branches)
    # Its first start of the tools was cut off with its host, which exported nothing of it any more.
    assert {span.attributes["dormouse.tool.start"] for span in spans if span.name.startswith("execute_tool")} == {2}
    ended, seconds = points["dormouse.runs.ended"], points["dormouse.run.duration"]
    assert ended.attributes == {"gen_ai.agent.name": "novelist", "dormouse.status": "completed"}
    assert (ended.sum, seconds.count, seconds.sum) == (1, 1, pytest.approx((root.end - root.start) / 1e9, abs=0.001))
    assert points["dormouse.storage.requests"].sum > 0
    lines = [line for line in receiver.lines if line.attributes.get("dormouse.run.id") == run_id]
    assert {line.trace_id for line in lines} == {root.trace_id}


async def test_what_cannot_be_sent_keeps_no_run_from_its_end(own_stack: NewStack) -> None:
    stack = own_stack(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", OTEL_EXPORTER_OTLP_TIMEOUT="1")
    host = await asyncio.to_thread(stack.host)
    async with Api(host.url) as api:
        run = await api.finished(await api.start("Rings.", agent="novelist"))
    assert run["status"] == "completed"
