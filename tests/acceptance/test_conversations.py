"""Conversations: what was said is known to the next run, by chain or by replay, whatever happened in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from local.model.control import LoggedRequest, ModelControl
from local.stack import FunctionsHost
from tests.acceptance.client import TERMINAL, Api, Reply
from tests.acceptance.conftest import Stack, Target, move_clock
from tests.acceptance.test_crashes import SHORT_WAITS, calls
from tests.parts.waiting import eventually
from tests.parts.workshop import release

NewStack = Callable[..., Stack]


async def session_of(api: Api, session_id: str) -> Reply:
    """``GET /api/sessions/{id}``."""
    return await api.call("GET", f"/api/sessions/{session_id}")


async def said(api: Api, session_id: str) -> list[tuple[str, Any]]:
    """Role and content of every message of the session."""
    reply = await session_of(api, session_id)
    assert reply.status == 200, reply
    return [(message["role"], message["content"]) for message in reply["messages"]]


async def go_on(api: Api, text: str, session: str | None = None, **fields: Any) -> dict[str, Any]:
    """A run of the workshop in the session (or in a new one), to its end."""
    fields = {"session_id": session, **fields} if session else {"agent": "workshop", **fields}
    return await api.finished(await api.start(text, **fields))


async def create_of(model: ModelControl, run_id: str, turn: int = 1) -> dict[str, Any]:
    """The body of the one create that a turn of a run had accepted."""
    (create,) = await model.creates(run=run_id, turn=str(turn))
    assert create.body is not None
    return create.body


def texts(items: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Who said what in these items; calls and their outputs under their own names."""
    found: list[tuple[str, str]] = []
    for item in items:
        content: Any = item.get("content", item.get("output", item.get("name")))
        if isinstance(content, list):
            content = "".join(part["text"] for part in content)
        found.append((item.get("role") or item["type"], content))
    return found


@pytest.mark.main
async def test_a_session_shows_its_runs_and_what_was_said(driver: str, target: Target) -> None:
    await target.model.script("one", [{"text": "Hello."}])
    await target.model.script("two", [{**calls(("work", {"label": "x"}))[0], "text": "Let me see."}, {"text": "Done."}])
    await target.model.script("stuck", [{"stuck": True}])
    api = target.api
    first = await go_on(api, "[script:one]")
    session = first["session_id"]
    second = await go_on(api, "[script:two]", session)
    third = await api.start("[script:stuck]", session_id=session)
    busy = await api.submit("And?", session_id=session)
    assert (busy.status, busy["code"], busy["active_run"]) == (409, "session_busy", third)
    shown = await session_of(api, session)
    assert (shown.status, shown["object"], shown["id"], shown["agent"]) == (200, "session", session, "workshop")
    assert shown["active_run"] == third
    runs = [(third, "in_progress"), (second["id"], "completed"), (first["id"], "completed")]
    assert [(run["id"], run["status"]) for run in shown["runs"]] == runs
    assert [(each["run_id"], each["role"], each["content"]) for each in shown["messages"]] == [
        (first["id"], "user", "[script:one]"),
        (first["id"], "assistant", "Hello."),
        (second["id"], "user", "[script:two]"),
        (second["id"], "assistant", "Let me see."),
        (second["id"], "assistant", "Done."),
        (third, "user", "[script:stuck]"),
    ]
    await api.cancel(third)
    after = await session_of(api, session)
    assert (after["active_run"], after["runs"][0]["status"]) == (None, "cancelled")
    assert (await session_of(api, "0" * 32)).status == 404


TOOL = calls(("work", {"label": "a"}))
TEN: list[tuple[str, str, list[dict[str, Any]]]] = [
    ("completed", "plain", [{"text": "One."}]),
    ("completed", "tools", TOOL),
    ("failed", "fails", [{"status": "failed", "error": {"code": "invalid_prompt", "message": "No."}}]),
    ("completed", "again", TOOL),
    ("cancelled", "held", [calls(("work", {"label": "h", "seconds": 600}), ("work", {"label": "q"}))[0]]),
    ("completed", "plain", [{"text": "One."}]),
    ("failed", "late", [TOOL[0], {"status": "failed", "error": {"code": "invalid_prompt", "message": "No."}}]),
    ("completed", "tools", TOOL),
    ("incomplete", "short", [{"text": "And th", "status": "incomplete"}]),
    ("completed", "again", TOOL),
]


async def test_ten_runs_of_a_session_with_a_crash_between_them(own_stack: NewStack, driver: str) -> None:
    """Each goes on from the last good point, and the provider accepts every one."""
    stack = own_stack(driver, **SHORT_WAITS)
    host = await asyncio.to_thread(stack.host)
    session, good = None, list[str]()
    async with Api(host.url) as api:
        for number, (status, name, turns) in enumerate(TEN):
            await stack.model.script(name, turns)
            text = f"[script:{name}] {number}"
            run_id = await api.start(text, **({"session_id": session} if session else {"agent": "workshop"}))
            session = (await api.run(run_id))["session_id"]
            if status == "cancelled":
                await eventually(lambda: stack.traces("h", "start"))
                await api.until(run_id, lambda run: run["tool_calls"][1]["state"] == "finished")
                await api.cancel(run_id)
            run = await api.finished(run_id)
            assert run["status"] == status, run
            body = await create_of(stack.model, run_id)
            assert body.get("previous_response_id") == await _last_response(stack.model, good)
            if status == "completed":
                good.append(run_id)
            host.kill()
            await asyncio.to_thread(lambda: host.start().wait_ready())
        assert session is not None
        shown = await session_of(api, session)
    assert [run["status"] for run in shown["runs"]] == [status for status, _, _ in reversed(TEN)]
    refused = [entry for entry in await stack.model.log("create") if entry.status != 200]
    assert refused == []
    chain = [known.metadata["run"] for known in await _chain(stack.model, good[-1])]
    assert list(dict.fromkeys(chain)) == good  # what the provider itself holds of the conversation


async def _last_response(model: ModelControl, good: list[str]) -> str | None:
    return (await _chain(model, good[-1]))[-1].id if good else None


async def _chain(model: ModelControl, run_id: str) -> list[Any]:
    """The responses that the last one of a run continues, and it, oldest first."""
    known = {response.id: response for response in await model.responses()}
    last = [response for response in known.values() if response.metadata["run"] == run_id][-1]
    found = [last]
    while found[0].previous_response_id is not None:
        found.insert(0, known[found[0].previous_response_id])
    return found


async def test_many_turns_and_many_runs_are_one_conversation(own_stack: NewStack) -> None:
    """Fifteen turns in one run, then many short runs; all of it is sent anew where chaining is off."""
    stack = own_stack("durable", DORMOUSE_CHAIN="replay")
    await stack.model.switches(think=0.01)
    asks = [{"calls": [{"name": "work", "arguments": {"label": f"l{n}"}}]} for n in range(14)]
    await stack.model.script("long", [*asks, {"text": "Long."}])
    await stack.model.script("short", [{"text": "Short."}])
    async with Api((await asyncio.to_thread(stack.host)).url) as api:
        run = await go_on(api, "[script:long]")
        assert (run["status"], run["turn"], len(run["tool_calls"])) == ("completed", 15, 14), run
        for number in range(9):
            run = await go_on(api, f"[script:short] {number}", run["session_id"])
            assert run["status"] == "completed", run
        body = await create_of(stack.model, run["id"])
        assert len(await said(api, run["session_id"])) == 20
    found = texts(body["input"])
    assert found[1:29:2] == [("function_call", "work")] * 14
    assert found[2:30:2] == [("function_call_output", f"worked on l{n}") for n in range(14)]
    last = [("user", "[script:short] 7"), ("assistant", "Short."), ("user", "[script:short] 8")]
    assert found[-3:] == last


LONG = 'Grüße 🦔 \u2028\t\u0007\r\n"\\ ' * 24_000
"""Longer than one property, than one part row and than a chunk that ends between characters."""


@pytest.mark.parametrize("chain", ["auto", "replay"])
async def test_messages_longer_than_a_property_survive_the_round_trip(own_stack: NewStack, chain: str) -> None:
    stack = own_stack("durable", DORMOUSE_CHAIN=chain)
    text = {"repeat_text": {"text": "Ärger 🦉\n", "times": 30_000}}
    heard = "Ärger 🦉\n" * 30_000
    ask = {"calls": [{"name": "write_much", "arguments": {"label": "ü🦊", "times": 40_000}}]}
    await stack.model.script("long", [ask, text])
    await stack.model.script("next", [{"text": "Well."}])
    async with Api((await asyncio.to_thread(stack.host)).url) as api:
        first = await go_on(api, f"{LONG}[script:long]")
        assert (first["status"], first["text"]) == ("completed", heard)
        second = await go_on(api, f"{LONG}[script:next]", first["session_id"])
        assert second["status"] == "completed", second
        shown = await said(api, first["session_id"])
    told, asked = f"{LONG}[script:long]", f"{LONG}[script:next]"
    assert shown == [("user", told), ("assistant", heard), ("user", asked), ("assistant", "Well.")]
    assert texts((await create_of(stack.model, first["id"]))["input"]) == [("user", told)]
    outputs = texts((await create_of(stack.model, first["id"], 2))["input"])[-1:]
    assert outputs == [("function_call_output", "ü🦊" * 40_000)]
    again = texts((await create_of(stack.model, second["id"]))["input"])
    before = [("user", told), ("function_call", "write_much"), *outputs, ("assistant", heard)]
    assert again == [*(before if chain == "replay" else []), ("user", asked)]


async def test_a_provider_that_refuses_tool_outputs_is_sent_everything(own_stack: NewStack, driver: str) -> None:
    """Azure OpenAI after a background predecessor. One refusal is enough: the session remembers."""
    stack = own_stack(driver)
    host = await asyncio.to_thread(stack.host)
    await stack.model.switches(azure_tool_outputs=True)
    thinks = [{**TOOL[0], "reasoning": "Hm."}, {**TOOL[0], "calls": [{"name": "pay", "arguments": {"label": "p"}}]}]
    await stack.model.script("s", [*thinks, {"text": "Done.", "reasoning": "Hm."}])
    async with Api(host.url) as api:
        first = await go_on(api, "[script:s] one")
        assert (first["status"], first["text"]) == ("completed", "Done."), first
        second = await go_on(api, "[script:s] two", first["session_id"])
        third = await go_on(api, "[script:s] three", first["session_id"])
        assert (second["status"], third["status"]) == ("completed", "completed"), (second, third)
    refused = [entry for entry in await stack.model.log("create") if entry.status != 200]
    assert [(entry.status, entry.metadata["run"], entry.metadata["turn"]) for entry in refused] == [
        (400, first["id"], "2")
    ]
    body = await create_of(stack.model, third["id"])
    assert "previous_response_id" not in body
    assert not any("id" in item or item.get("type") == "reasoning" for item in body["input"])
    one = [
        ("function_call", "work"),
        ("function_call_output", "worked on a"),
        ("function_call", "pay"),
        ("function_call_output", "paid for p"),
        ("assistant", "Done."),
    ]
    said_before = [("user", "[script:s] one"), *one, ("user", "[script:s] two"), *one]
    assert texts(body["input"]) == [*said_before, ("user", "[script:s] three")]
    assert len(stack.traces("p", "start")) == 3


async def test_a_conversation_that_is_never_chained(own_stack: NewStack) -> None:
    """Only completed runs are in it: no trace of one that failed after its tools, none of a cancelled one."""
    stack = own_stack("durable", DORMOUSE_CHAIN="replay")
    bad = {"status": "failed", "error": {"code": "invalid_prompt", "message": "No."}}
    await stack.model.script("s", TOOL)
    await stack.model.script("bad", [TOOL[0], bad])
    await stack.model.script("stuck", [{"stuck": True}])
    async with Api((await asyncio.to_thread(stack.host)).url) as api:
        first = await go_on(api, "[script:s] one")
        session = first["session_id"]
        assert (await go_on(api, "[script:bad] two", session))["status"] == "failed"
        stuck = await api.start("[script:stuck] three", session_id=session)
        assert (await api.cancel(stuck))["status"] == "cancelled"
        fourth = await go_on(api, "[script:s] four", session)
        assert fourth["status"] == "completed", fourth
    assert all("previous_response_id" not in (entry.body or {}) for entry in await stack.model.log("create"))
    body = await create_of(stack.model, fourth["id"], 2)
    spoken = [role for role, _ in texts(body["input"])]
    turn = ["user", "function_call", "function_call_output"]
    assert spoken == [*turn, "assistant", *turn]
    assert "two" not in json.dumps(body["input"])
    assert "three" not in json.dumps(body["input"])


async def test_a_previous_response_that_is_gone_is_no_error(own_stack: NewStack, driver: str) -> None:
    """It is asked for a few times, as it may not have arrived yet; then the turn is rebuilt, and chained to again."""
    stack = own_stack(driver)
    host = await asyncio.to_thread(stack.host)
    await stack.model.script("s", TOOL)
    async with Api(host.url) as api:
        first = await go_on(api, "[script:s] one")
        for known in await stack.model.responses():
            await stack.model.forget(known.id)
        run_id = await api.start("[script:s] two", session_id=first["session_id"])
        second = await hurried(api, host, run_id)
        assert second["status"] == "completed", second
        third = await go_on(api, "[script:s] three", first["session_id"])
        assert third["status"] == "completed", third
    tries = [entry for entry in await stack.model.log("create") if entry.metadata["run"] == run_id]
    chained = [bool(entry.body and entry.body.get("previous_response_id")) for entry in tries]
    assert [(entry.metadata["turn"], entry.status) for entry in tries] == [("1", 400)] * 4 + [("1", 200), ("2", 200)]
    assert chained == [True] * 4 + [False, True]
    assert [role for role, _ in texts(_body(tries[4])["input"])] == [
        "user",
        "function_call",
        "function_call_output",
        "assistant",
        "user",
    ]
    following = await create_of(stack.model, third["id"])
    assert following["previous_response_id"] == tries[-1].response_id


async def test_a_response_that_goes_while_its_tools_run_is_replayed(own_stack: NewStack) -> None:
    stack = own_stack("durable")
    host = await asyncio.to_thread(stack.host)
    ask = {"name": "hold_in_a_thread", "arguments": {"label": "a"}}
    await stack.model.script("s", [{"calls": [ask]}, TOOL[1]])
    async with Api(host.url) as api:
        run_id = await api.start("[script:s]", agent="workshop")
        await eventually(lambda: stack.traces("a", "start"))
        (known,) = await stack.model.responses()
        await stack.model.forget(known.id)
        release(stack.tool_log, "a")
        run = await hurried(api, host, run_id)
    assert run["status"] == "completed", run
    assert "held a in a thread" in run["text"]
    assert len(stack.traces("a", "start")) == 1
    body = await create_of(stack.model, run["id"], 2)
    assert "previous_response_id" not in body
    assert [role for role, _ in texts(body["input"])] == ["user", "function_call", "function_call_output"]


async def test_who_only_chains_is_told_that_the_previous_response_is_gone(own_stack: NewStack) -> None:
    stack = own_stack("durable", DORMOUSE_CHAIN="chain")
    host = await asyncio.to_thread(stack.host)
    await stack.model.script("s", [{"text": "Fine."}])
    async with Api(host.url) as api:
        first = await go_on(api, "[script:s]")
        (known,) = await stack.model.responses()
        await stack.model.forget(known.id)
        second = await hurried(api, host, await api.start("[script:s]", session_id=first["session_id"]))
    assert (second["status"], second["error"]["code"]) == ("failed", "previous_response_not_found")


async def test_an_approved_call_of_the_provider_is_not_replayed_into_a_second_one(own_stack: NewStack) -> None:
    """The approval is in the input of its own turn and of no later one; a refusal may be told again."""
    stack = own_stack("durable", DORMOUSE_CHAIN="replay")
    verdict = {"text": '{"guilty": false, "months": 0}'}
    asks = [{"server_label": "archive", "name": name} for name in ("export", "erase")]
    called = {"type": "mcp_call", "server_label": "archive", "name": "export", "arguments": "{}", "output": "Sent."}
    work = {"calls": [{"name": "work", "arguments": {"label": "w"}}], "hosted": [called]}
    await stack.model.script("mcp", [{"approvals": asks}, work, verdict])
    await stack.model.script("s", [verdict])
    async with Api((await asyncio.to_thread(stack.host)).url) as api:
        run_id = await api.start("[script:mcp]", agent="judge")
        run = await api.until(run_id, lambda run: run["status"] == "requires_action")
        calls = run["required_action"]["calls"]
        asked = [call["call_id"] for call in calls]
        answers = {call["id"]: {"approve": number == 0} for number, call in enumerate(calls)}
        await api.call("POST", f"/api/runs/{run_id}/answers", json={"answers": answers})
        run = await api.finished(run_id)
        assert run["status"] == "completed", run
        later = await api.finished(await api.start("[script:s]", session_id=run["session_id"]))
        assert later["status"] == "completed", later
    turns = [(run_id, 2), (run_id, 3), (later["id"], 1)]
    told = [(await create_of(stack.model, *turn))["input"] for turn in turns]
    found = [[i["approval_request_id"] for i in items if i["type"] == "mcp_approval_response"] for items in told]
    assert found == [asked, asked[1:], asked[1:]]
    assert [sum(i["type"] == "mcp_approval_request" for i in items) for items in told] == [2, 1, 1]


async def hurried(api: Api, host: FunctionsHost, run_id: str) -> dict[str, Any]:
    """The run as it ends, with the clock moved over every backoff: once, so that no create outlives its claim."""
    passed = set[str]()

    async def over() -> dict[str, Any] | None:
        run = await api.run(run_id)
        if run["status"] in TERMINAL:
            return run
        backs_off = run["provider_status"] == "previous_response_not_found" and 0 < run["retry_after"] < 10
        if backs_off and run["wake_at"] not in passed:
            passed.add(run["wake_at"])
            await move_clock(host, 10)
        return None

    found: dict[str, Any] = await eventually(over)
    return found


def _body(entry: LoggedRequest) -> dict[str, Any]:
    assert entry.body is not None
    return entry.body
