"""An agent over Chat Completions: no background mode, so a wake makes the call, under a lease that it renews."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from local.model.control import LoggedRequest, ModelControl
from tests.acceptance.client import TERMINAL, Api
from tests.acceptance.conftest import Stack, Target, move_clock
from tests.acceptance.test_crashes import SHORT_WAITS, calls, restart
from tests.parts.waiting import eventually

NewStack = Callable[..., Stack]


async def script(model: ModelControl, *turns: dict[str, Any]) -> str:
    """A script of these turns under a fresh name; the text that plays it."""
    name = f"s{secrets.token_hex(6)}"
    await model.script(name, turns)
    return f"[script:{name}]"


async def chats(model: ModelControl, text: str) -> list[LoggedRequest]:
    """The chat completions that were asked for in a conversation which this text is part of."""
    return [each for each in await model.log("chat") if each.body and text in _contents(each)]


def _contents(entry: LoggedRequest) -> list[Any]:
    return [message.get("content") for message in _messages(entry)]


def _messages(entry: LoggedRequest) -> list[dict[str, Any]]:
    assert entry.body is not None
    messages: list[dict[str, Any]] = entry.body["messages"]
    return messages


@pytest.mark.main
async def test_a_run_with_tools_finishes_inside_wakes(driver: str, target: Target) -> None:
    """Submit does not wait for the model; each turn is one call, and nothing is ever polled."""
    text = await script(target.model, *calls(("work", {"label": "c"}), ("stumble", {"label": "d"})))
    reply = await target.api.submit(text, agent="phone")
    assert (reply.status, reply["status"], reply["provider_status"]) == (202, "queued", None), reply
    run = await target.api.finished(reply["id"])
    assert (run["status"], run["turn"], run["provider_status"]) == ("completed", 2, "stop"), run
    assert "worked on c" in run["text"]
    assert [(call["state"], call["starts"]) for call in run["tool_calls"]] == [("finished", 1)] * 2
    assert run["usage"]["total_tokens"] > 0
    first, second = await chats(target.model, text)
    assert [message["role"] for message in _messages(first)] == ["system", "user"]
    assert [message["role"] for message in _messages(second)] == ["system", "user", "assistant", "tool", "tool"]
    mine = {first.response_id, second.response_id}
    assert None not in mine
    assert [entry for entry in await target.model.log("retrieve") if entry.response_id in mine] == []
    assert [entry for entry in await target.model.log("retrieve") if "chatcmpl" in entry.path] == []


async def test_submit_does_not_wait_for_a_slow_model(driver: str, target: Target) -> None:
    text = await script(target.model, {"text": "At last.", "think": 1.5})
    reply = await target.api.submit(text, agent="phone")
    assert (reply.status, reply["status"]) == (202, "queued")
    again = await target.api.submit(text, agent="phone", key=secrets.token_hex(8))
    assert (again.status, again["status"]) == (202, "queued")
    for run_id in (reply["id"], again["id"]):
        assert (await target.api.finished(run_id))["text"] == "At last."
    assert len(await chats(target.model, text)) == 2


async def test_a_conversation_goes_on(driver: str, target: Target) -> None:
    """The whole of it is sent each time; what a failed or cancelled run said is not in it."""
    api, model = target.api, target.model
    text = await script(model, *calls(("work", {"label": "e"})))
    first = await api.finished(await api.start(text, agent="phone"))
    session = first["session_id"]
    filtered = await script(model, {"text": "Half", "status": "incomplete"})
    assert (await api.finished(await api.start(filtered, session_id=session)))["status"] == "incomplete"
    slow = await script(model, {"text": "Never.", "think": 600})
    stopped = await api.start(slow, session_id=session)
    await eventually(lambda: chats(model, slow))
    busy = await api.submit("And?", session_id=session)
    assert (busy.status, busy["active_run"]) == (409, stopped)
    assert (await api.cancel(stopped))["status"] == "cancelled"
    last = await script(model, {"text": "Well."})
    run = await api.finished(await api.start(last, session_id=session))
    assert (run["status"], run["text"]) == ("completed", "Well.")
    (entry,) = await chats(model, last)
    roles = ["system", "user", "assistant", "tool", "assistant", "user"]
    assert [message["role"] for message in _messages(entry)] == roles
    assert _contents(entry)[3:] == ["worked on e", first["text"], last]
    shown = await api.call("GET", f"/api/sessions/{session}")
    assert [each["status"] for each in shown["runs"]] == ["completed", "cancelled", "incomplete", "completed"]
    assert (await api.call("DELETE", f"/api/sessions/{session}")).status == 204


async def test_what_the_provider_refuses_or_cuts_short_is_told(driver: str, target: Target) -> None:
    api, model = target.api, target.model
    refused = {"create": [{"status": 400, "json_error": {"code": "content_policy", "message": "No."}}]}
    fails = await api.finished(await api.start(await script(model, {"faults": refused}), agent="phone"))
    assert (fails["status"], fails["error"]) == ("failed", {"code": "content_policy", "message": "No."})
    short = await script(model, {"text": "Half a", "status": "incomplete"})
    run = await api.finished(await api.start(short, agent="phone"))
    assert (run["status"], run["text"]) == ("incomplete", "Half a")
    assert run["incomplete_details"] == {"reason": "max_output_tokens"}
    busy = {"create": [{"status": 429, "headers": {"retry-after": "0"}}, {"status": 500}]}
    text = await script(model, {"text": "Fine.", "faults": busy})
    run = await api.finished(await api.start(text, agent="phone"))
    assert (run["status"], run["text"]) == ("completed", "Fine."), run
    assert len(await chats(model, text)) == 3


async def test_a_slow_call_holds_its_lease(own_stack: NewStack, driver: str) -> None:
    """It takes longer than the lease, and longer than a claim and its grace; nobody makes it twice."""
    stack = own_stack(driver, **SHORT_WAITS)
    host = await asyncio.to_thread(stack.host)
    text = await script(stack.model, {"text": "Slow.", "think": 7})
    async with Api(host.url) as api:
        run = await api.finished(await api.start(text, agent="phone"))
    assert (run["status"], run["text"]) == ("completed", "Slow."), run
    assert len(await chats(stack.model, text)) == 1


async def test_a_crash_in_the_call_repeats_the_call_and_no_tool(own_stack: NewStack, driver: str) -> None:
    stack = own_stack(driver, **SHORT_WAITS)
    host = await asyncio.to_thread(stack.host)
    ask, answer = calls(("pay", {"label": "p"}))
    text = await script(stack.model, ask, {**answer, "attempts": [{"think": 600}, {"think": 0.1}]})
    async with Api(host.url) as api:
        run_id = await api.start(text, agent="phone")
        await eventually(lambda: _asked(stack.model, text, 2))
        host.kill()
        await restart(host)
        run = await api.finished(run_id)
    assert run["status"] == "completed", run
    assert "paid for p" in run["text"]
    assert len(stack.traces("p", "start")) == 1
    assert len(await chats(stack.model, text)) == 3


async def test_a_call_that_never_ends_well_is_not_made_for_ever(own_stack: NewStack, driver: str) -> None:
    """Two crashes in the call are two calls of unknown outcome; that is as many as are allowed here."""
    stack = own_stack(driver, **SHORT_WAITS, DORMOUSE_CREATE_ATTEMPTS="2")
    host = await asyncio.to_thread(stack.host)
    text = await script(stack.model, {"text": "Never.", "think": 600})
    async with Api(host.url) as api:
        run_id = await api.start(text, agent="phone")
        for made in (1, 2):
            await eventually(partial(_asked, stack.model, text, made))
            host.kill()
            await restart(host)
        run = await api.finished(run_id)
    assert (run["status"], run["error"]["code"]) == ("failed", "start_uncertain"), run
    assert len(await chats(stack.model, text)) == 2


async def test_a_call_is_cut_off_by_the_deadline_and_by_a_cancel(own_stack: NewStack, driver: str) -> None:
    """Both end the run at once; the answer that comes late changes nothing."""
    stack = own_stack(driver, **SHORT_WAITS)
    host = await asyncio.to_thread(stack.host)
    text = await script(stack.model, {"text": "Late.", "stuck": True})
    async with Api(host.url) as api:
        late = await api.start(text, agent="phone", deadline_seconds=600)
        stopped = await api.start(text, agent="phone")
        await eventually(lambda: _asked(stack.model, text, 2))
        assert (await api.cancel(stopped))["status"] == "cancelled"
        await move_clock(host, 601)
        run = await api.finished(late)
        assert (run["status"], run["error"]["code"]) == ("failed", "deadline_exceeded"), run
        for known in await stack.model.responses():
            await stack.model.finish(known.id)
        await eventually(lambda: _answered(stack.model, text))
        assert (await api.run(late))["text"] == (await api.run(stopped))["text"] == ""
        assert {(await api.run(each))["status"] for each in (late, stopped)} < TERMINAL


async def _asked(model: ModelControl, text: str, times: int) -> bool:
    return len(await chats(model, text)) >= times


async def _answered(model: ModelControl, text: str) -> bool:
    known = {entry.response_id for entry in await chats(model, text)}
    return all(each.status == "completed" for each in await model.responses() if each.id in known)
