"""What a run says of itself: what it was asked, what it waits for, what its tools did, and what happened when."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest

from tests.acceptance.client import Api
from tests.acceptance.conftest import Target
from tests.acceptance.test_approvals import answer, asking, parked, script

NOBODY = f"run_{'0' * 32}_1"
KINDS_ONCE = ["created", "turn_started", "turn_ended", "ended"]


async def timeline(api: Api, run_id: str) -> dict[str, Any]:
    reply = await api.call("GET", f"/api/runs/{run_id}/timeline")
    assert reply.status == 200
    body: dict[str, Any] = reply.body
    return body


async def events(url: str, run_id: str) -> AsyncIterator[tuple[str, Any]]:
    """The events of a run, to its end."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/api/runs/{run_id}/events") as response:
        kind = ""
        async for line in response.content:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                yield kind, json.loads(value)


@pytest.mark.main
async def test_a_run_says_what_it_was_asked(driver: str, target: Target) -> None:
    api = target.api
    text = "  \nWrite about mice.\nAnd " + "dormice " * 100
    plain = await api.submit(text)
    assert (plain["title"], plain["input_preview"]) == ("Write about mice.", text[:200])
    assert (plain["stream"], plain["deadline_at"] is None, plain["answer_by"]) == (False, False, None)
    titled = await api.submit("Hello", title="Mice, part 2", stream=True, metadata={"a": "b"})
    assert (titled["title"], titled["input_preview"], titled["stream"]) == ("Mice, part 2", "Hello", True)
    assert titled["model"]
    listed = (await api.call("GET", "/api/runs?limit=2"))["data"]
    assert [each["title"] for each in listed] == ["Mice, part 2", "Write about mice."]
    parts = [
        {"role": "user", "content": [{"type": "input_text", "text": "What is "}, {"type": "input_text", "text": "it?"}]}
    ]
    whole = await api.submit(parts)  # type: ignore[arg-type]
    assert whole["title"] == "What is  it?"
    given = await api.call("GET", f"/api/runs/{whole['id']}/input")
    assert given["input"][0]["content"][1]["text"] == "it?"
    assert (await api.call("GET", f"/api/runs/{plain['id']}/input"))["input"] == [{"role": "user", "content": text}]


@pytest.mark.main
async def test_an_input_of_any_length_is_given_back_whole(driver: str, target: Target) -> None:
    text = "\U0001f42d" * 60_000
    run_id = await target.api.start(text)
    reply = await target.api.call("GET", f"/api/runs/{run_id}/input")
    assert reply["input"][0]["content"] == text
    again = await target.api.call("GET", f"/api/runs/{run_id}/input", headers={"If-None-Match": reply.headers["ETag"]})
    assert again.status == 304


@pytest.mark.main
@pytest.mark.parametrize("title", ["", "x" * 201, "two\nlines", 7, None])
async def test_a_title_is_one_line_of_200_characters(driver: str, target: Target, title: Any) -> None:
    reply = await target.api.call("POST", "/api/runs", json={"input": "x", "title": title})
    assert reply.status == (202 if title is None else 400)


async def test_the_same_key_with_another_title_is_another_request(driver: str, target: Target) -> None:
    first = await target.api.submit("x", key="titled", title="a")
    assert (await target.api.submit("x", key="titled", title="a"))["id"] == first["id"]
    assert (await target.api.submit("x", key="titled", title="b")).status == 422


async def test_what_a_run_waits_for_is_said_in_a_word_and_a_sentence(driver: str, target: Target) -> None:
    api = target.api
    text = await script(target.model, {"think": 1.5, **asking(("send", "a"))})
    run_id = await api.start(text, agent="workshop")
    thinking = await api.until(run_id, lambda run: run["status"] == "in_progress")
    assert thinking["waiting_for"] == "provider"
    assert thinking["waiting_text"].startswith("The model is thinking. Next look in ")
    assert thinking["wake_at"] is not None
    waiting = await parked(api, run_id)
    assert (waiting["waiting_for"], waiting["waiting_text"]) == ("person", "Waiting for somebody to approve send.")
    assert (waiting["wake_at"], waiting["deadline_at"]) == (None, None), "nothing will happen by itself"
    assert waiting["answer_by"] > waiting["updated_at"]
    (asked,) = waiting["required_action"]["calls"]
    await answer(api, run_id, {asked["call_id"]: True})
    ended = await api.finished(run_id)
    assert (ended["waiting_for"], ended["waiting_text"]) == ("nothing", "The run is completed.")
    assert (ended["answer_by"], ended["wake_at"]) == (None, None)


@pytest.mark.main
async def test_tool_calls_show_what_they_were_given_what_they_gave_and_who_said_so(driver: str, target: Target) -> None:
    api = target.api
    much = {"name": "write_much", "arguments": {"label": "much", "times": 30_000}}
    turn = asking(("work", "a"), ("send", "b"), ("nothing_of_the_kind", "c"))
    text = await script(target.model, {"calls": [*turn["calls"], much]})
    run_id = await api.start(text, agent="workshop")
    run = await parked(api, run_id)
    await answer(api, run_id, {run["required_action"]["calls"][0]["call_id"]: (False, "Not today.")})
    run = await api.finished(run_id)
    work, send, unknown, long = run["tool_calls"]
    assert [call["id"] for call in run["tool_calls"]] == ["1.0", "1.1", "1.2", "1.3"]
    assert json.loads(work["arguments"]) == {"label": "a"}
    assert (work["error"], work["answered_by"], work["truncated"]) == (None, None, False)
    assert work["result"]
    assert (send["approval"], send["answer_reason"]) == ("refused", "Not today.")
    assert send["error"] == {"code": "refused", "message": "Not today."}
    assert send["answered_by"]
    assert run["created_at"] < send["answered_at"] <= run["completed_at"]
    assert unknown["error"]["code"] == "unknown_tool"
    assert (long["truncated"], len(long["result"])) == (True, 500)
    whole = await api.call("GET", f"/api/runs/{run_id}/tool_calls/1.3")
    assert len(whole["whole_result"]) > 100_000
    assert whole["whole_result"].startswith(long["result"])
    assert {name: whole[name] for name in long} == long
    assert whole["url"].endswith(f"/api/runs/{run_id}/tool_calls/1.3")
    for name, code in (("1.4", "tool_call_not_found"), ("2.0", "tool_call_not_found"), ("x", "not_found")):
        missing = await api.call("GET", f"/api/runs/{run_id}/tool_calls/{name}")
        assert (missing.status, missing["code"]) == (404, code)
    assert (await api.call("GET", f"/api/runs/{NOBODY}/tool_calls/1.0"))["code"] == "run_not_found"


async def test_arguments_that_somebody_approves_are_never_cut(driver: str, target: Target) -> None:
    label = "é" * 40_000
    run_id = await target.api.start(await script(target.model, asking(("send", label))), agent="workshop")
    run = await parked(target.api, run_id)
    assert json.loads(run["required_action"]["calls"][0]["arguments"])["label"] == label
    (call,) = run["tool_calls"]
    assert (len(call["arguments"]), call["truncated"]) == (500, True)


@pytest.mark.main
async def test_the_timeline_tells_every_wake_and_two_numbers_tell_what_was_at_work(driver: str, target: Target) -> None:
    api = target.api
    text = await script(target.model, {"think": 2, **asking(("work", "a"))})
    run_id = await api.start(text, agent="workshop")
    run = await api.finished(run_id)
    told = await timeline(api, run_id)
    kinds = [entry["kind"] for entry in told["data"]]
    assert kinds[0] == "created"
    assert kinds[-1] == "ended"
    assert {"turn_started", "turn_ended", "tools", "tool", "looked"} <= set(kinds)
    assert sum(entry["wakes"] for entry in told["data"]) == told["wakes"] == run["wakes"]
    assert [entry["at"] for entry in told["data"]] == sorted(entry["at"] for entry in told["data"])
    (tool,) = [entry for entry in told["data"] if entry["kind"] == "tool"]
    assert (tool["tool"], tool["turn"], tool["code"]) == ("work", 1, "finished")
    assert told["active_seconds"] == run["active_seconds"]
    assert 0 < run["active_seconds"] < run["elapsed_seconds"]
    assert run["elapsed_seconds"] >= 2


async def test_after_a_cancel_no_tool_says_that_it_runs(driver: str, target: Target) -> None:
    api = target.api
    text = await script(target.model, asking(("hold", "a"), ("send", "b")))
    run_id = await api.start(text, agent="workshop")
    await api.until(run_id, lambda run: any(call["state"] == "started" for call in run["tool_calls"]))
    cancelled = await api.cancel(run_id)
    assert [call["state"] for call in cancelled["tool_calls"]] == ["cancelled", "cancelled"]
    entries = (await timeline(api, run_id))["data"]
    ended = entries[-1]
    assert (ended["kind"], ended["code"], bool(ended["by"])) == ("ended", "cancelled", True)
    assert not [entry for entry in entries if entry["kind"] == "tool" and entry["code"] == "started"]


async def test_a_stream_tells_when_the_next_look_is(driver: str, target: Target) -> None:
    # Long enough for a look before the end on a machine that is busy.
    text = await script(target.model, {"think": 8, "text": "Fine."})
    run_id = await target.api.start(text, agent="workshop")
    seen = [(kind, data) async for kind, data in events(target.api.url, run_id)]
    wakes = [data for kind, data in seen if kind == "wake"]
    assert wakes
    assert {each["waiting_for"] for each in wakes} == {"provider"}
    assert [each["wakes"] for each in wakes] == sorted(each["wakes"] for each in wakes)
    assert all(each["wake_at"] for each in wakes)
    state: Mapping[str, Any] = next(data for kind, data in seen if kind == "state")
    assert state["title"] == text
    assert seen[-1][0] == "end"


async def test_what_another_owner_asked_is_found_by_nobody(driver: str, target: Target) -> None:
    for part in ("input", "timeline", "tool_calls/1.0"):
        reply = await target.api.call("GET", f"/api/runs/{NOBODY}/{part}")
        assert (reply.status, reply["code"]) == (404, "run_not_found")
    run_id = await target.api.start("x")
    await target.api.call("DELETE", f"/api/runs/{run_id}")
    results = await asyncio.gather(
        *(target.api.call("GET", f"/api/runs/{run_id}/{part}") for part in ("input", "timeline", "tool_calls/1.0"))
    )
    assert [reply.status for reply in results] == [404, 404, 404]
