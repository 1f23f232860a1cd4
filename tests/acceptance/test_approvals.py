"""Approvals: a run asks, parks for as long as it takes, and does what people said."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from local.model.control import ModelControl
from tests.acceptance.client import Api, Reply
from tests.acceptance.conftest import Stack, Target, move_clock
from tests.acceptance.test_crashes import SHORT_WAITS, restart
from tests.parts.waiting import eventually
from tests.parts.workshop import release

NewStack = Callable[..., Stack]

DAY = 86_400.0

one_driver = pytest.mark.parametrize("driver", ["durable"])


def asking(*asked: tuple[str, Any]) -> dict[str, Any]:
    """A turn that asks for these tools."""
    return {"calls": [{"name": name, "arguments": {"label": label}} for name, label in asked]}


async def script(model: ModelControl, *turns: Mapping[str, Any]) -> str:
    """Set a script of these turns and a last one that says what the tools gave; the input that plays it."""
    name = f"s{secrets.token_hex(4)}"
    await model.script(name, [*turns, {"text": "Done:", "echo": True}])
    return f"[script:{name}]"


async def parked(api: Api, run_id: str) -> dict[str, Any]:
    """The run once it waits for answers."""
    return await api.until(run_id, lambda run: run["status"] == "requires_action")


async def answer(api: Api, run_id: str, answers: Mapping[str, bool | tuple[bool, str]]) -> Reply:
    """Answer these calls: whether to make them, and why."""
    body = {
        call_id: {"approve": said} if isinstance(said, bool) else {"approve": said[0], "reason": said[1]}
        for call_id, said in answers.items()
    }
    return await api.call("POST", f"/api/runs/{run_id}/answers", json={"answers": body})


def asked(run: Mapping[str, Any]) -> list[str]:
    """The ids of the calls that a run asks approval for."""
    return [call["call_id"] for call in (run["required_action"] or {"calls": []})["calls"]]


async def outputs(model: ModelControl, run_id: str, turn: int = 2) -> list[dict[str, Any]]:
    """What the model was sent of its calls, in the one create of that turn."""
    (create,) = await model.creates(run=run_id, turn=str(turn))
    assert create.body is not None
    items: list[dict[str, Any]] = create.body["input"]
    return items


async def requests(model: ModelControl, run_id: str) -> int:
    """How many requests the model has had about a run."""
    return sum(each.metadata.get("run") == run_id for each in await model.log())


@pytest.mark.main
async def test_a_run_asks_waits_for_every_answer_and_tells_the_model(driver: str, target: Target) -> None:
    api = target.api
    text = await script(target.model, asking(("work", "a"), ("send", "b"), ("wire", "c")))
    run_id = await api.start(text, agent="workshop")
    run = await parked(api, run_id)
    headers = (await api.call("GET", f"/api/runs/{run_id}")).headers
    assert (run["retry_after"], headers["Retry-After"]) == (30.0, "30"), "not the days that it may wait, nor nothing"
    work, send, wire = run["tool_calls"]
    assert [call["state"] for call in (work, send, wire)] == ["finished", "waiting", "waiting"]
    assert [call["approval"] for call in (work, send, wire)] == [None, "pending", "pending"]
    assert run["required_action"]["type"] == "approve"
    first, second = run["required_action"]["calls"]
    assert (first["call_id"], first["name"], first["reason"]) == (send["call_id"], "send", "It leaves the house.")
    assert (json.loads(first["arguments"]), second["reason"]) == ({"label": "b"}, None)

    partial = await answer(api, run_id, {send["call_id"]: True})
    assert (partial.status, partial["status"], asked(partial.body)) == (200, "requires_action", [wire["call_id"]])
    again = await answer(api, run_id, {send["call_id"]: True})
    assert (again.status, asked(again.body)) == (200, [wire["call_id"]])
    other = await answer(api, run_id, {send["call_id"]: False, wire["call_id"]: True})
    assert (other.status, other["code"], other["call_id"]) == (409, "already_answered", send["call_id"])
    assert asked(await api.run(run_id)) == [wire["call_id"]]  # all or none

    last = await answer(api, run_id, {wire["call_id"]: (False, "Not before “Monday”.")})
    assert last.status == 200
    run = await api.finished(run_id)
    assert run["status"] == "completed", run
    assert (run["turn"], run["required_action"]) == (2, None)
    assert [(call["starts"], call["approval"]) for call in run["tool_calls"]] == [
        (1, None),
        (1, "approved"),
        (0, "refused"),
    ]
    worked, sent, wired = (item["output"] for item in await outputs(target.model, run_id))
    assert (worked, sent) == ("worked on a", "sent b")
    assert json.loads(wired)["error"] == {"code": "refused", "message": "Not before “Monday”."}
    assert (await answer(api, run_id, {send["call_id"]: True})).status == 200
    assert (await answer(api, run_id, {wire["call_id"]: True}))["code"] == "already_answered"


async def test_an_answer_counts_while_other_tools_still_run(driver: str, target: Target) -> None:
    assert target.stack is not None
    label = secrets.token_hex(4)
    text = await script(target.model, asking(("hold_in_a_thread", label), ("send", "b"), ("send", "c")))
    run_id = await target.api.start(text, agent="workshop")
    run = await target.api.until(run_id, lambda run: asked(run) != [] and run["tool_calls"][0]["state"] == "started")
    assert run["status"] == "in_progress"
    b, c = asked(run)
    early = await answer(target.api, run_id, {b: True, c: (False, "no")})
    assert (early.status, early["status"], early["required_action"]) == (200, "in_progress", None)
    release(target.stack.tool_log, label)
    run = await target.api.finished(run_id)
    assert run["status"] == "completed", run
    assert [call["starts"] for call in run["tool_calls"]] == [1, 1, 0]
    assert len(await target.model.creates(run=run_id, turn="2")) == 1


async def test_answers_that_come_at_the_same_instant_are_all_taken(driver: str, target: Target) -> None:
    assert target.stack is not None
    mark = secrets.token_hex(4)
    text = await script(target.model, asking(*(("send", f"{mark}-{i}") for i in range(8))))
    run_id = await target.api.start(text, agent="workshop")
    *most, last = asked(await parked(target.api, run_id))
    replies = await asyncio.gather(
        *(answer(target.api, run_id, {call_id: index % 2 == 0}) for index, call_id in enumerate(most)),
        *(answer(target.api, run_id, {last: approve}) for approve in (True, False)),
    )
    assert sorted(reply.status for reply in replies) == [200] * 8 + [409]
    assert [reply["code"] for reply in replies if reply.status == 409] == ["already_answered"]
    run = await target.api.finished(run_id)
    assert run["status"] == "completed", run
    assert [call["starts"] for call in run["tool_calls"][:-1]] == [1, 0, 1, 0, 1, 0, 1]
    starts = sum(trace.label.startswith(mark) for trace in target.stack.traces(what="start"))
    assert starts == sum(call["starts"] for call in run["tool_calls"])
    assert len(await target.model.creates(run=run_id, turn="2")) == 1


async def test_a_run_goes_on_at_once_when_it_is_answered_as_it_parks(driver: str, target: Target) -> None:
    text = await script(target.model, asking(("send", "a")))

    async def one() -> dict[str, Any]:
        run_id = await target.api.start(text, agent="workshop")
        run = await target.api.until(run_id, lambda run: asked(run) != [])
        await answer(target.api, run_id, dict.fromkeys(asked(run), True))
        return await target.api.finished(run_id, timeout=25)  # less than the minute after which it is looked at anyway

    runs = await asyncio.gather(*(one() for _ in range(12)))
    assert {run["status"] for run in runs} == {"completed"}
    assert {run["tool_calls"][0]["starts"] for run in runs} == {1}


@one_driver
async def test_each_turn_may_ask(driver: str, target: Target) -> None:
    text = await script(target.model, asking(("send", "a")), asking(("send", "b")))
    run_id = await target.api.start(text, agent="workshop")
    (a,) = asked(await parked(target.api, run_id))
    await answer(target.api, run_id, {a: True})
    run = await target.api.until(run_id, lambda run: run["status"] == "requires_action" and run["turn"] == 2)
    (b,) = asked(run)
    both = await answer(target.api, run_id, {a: True, b: (False, "enough")})
    assert both.status == 200  # that of the turn before is the same again
    run = await target.api.finished(run_id)
    assert (run["status"], run["turn"]) == ("completed", 3)
    assert "sent a" in run["text"]
    assert "enough" in run["text"]


@pytest.mark.main
async def test_a_parked_run_costs_nothing_for_days_and_survives_a_crash(own_stack: NewStack, driver: str) -> None:
    stack = own_stack(driver, **SHORT_WAITS)
    host = await asyncio.to_thread(stack.host)
    text = await script(stack.model, asking(("work", "a"), ("send", "b")))
    async with Api(host.url) as api:
        run_id = await api.start(text, agent="workshop", deadline_seconds=120)
        before = await parked(api, run_id)
        heard = len(await stack.model.log())
        host.kill()
        await restart(host)
        for _ in range(3):
            await move_clock(host, DAY)
            run = await api.run(run_id)
            assert run == before
        assert len(await stack.model.log()) == heard
        assert (await answer(api, run_id, dict.fromkeys(asked(run), True))).status == 200
        run = await api.finished(run_id)
    assert run["status"] == "completed", run
    assert [call["starts"] for call in run["tool_calls"]] == [1, 1]
    assert [trace.label for trace in stack.traces(what="start")] == ["a", "b"]
    assert [response.status for response in await stack.model.responses()] == ["completed", "completed"]


async def test_what_is_left_of_the_deadline_counts_after_the_answer(own_stack: NewStack) -> None:
    stack = own_stack()
    host = await asyncio.to_thread(stack.host)
    name = f"s{secrets.token_hex(4)}"
    await stack.model.script(name, [asking(("send", "a")), {"stuck": True}])
    async with Api(host.url) as api:
        run_id = await api.start(f"[script:{name}]", agent="workshop", deadline_seconds=600)
        run = await parked(api, run_id)
        await move_clock(host, DAY)
        await answer(api, run_id, dict.fromkeys(asked(run), True))
        await api.until(run_id, lambda run: run["turn"] == 2 and run["provider_status"] == "in_progress")
        await move_clock(host, 500)
        assert (await api.run(run_id))["status"] == "in_progress"
        await move_clock(host, 101)
        run = await api.finished(run_id)
    assert (run["status"], run["error"]["code"]) == ("failed", "deadline_exceeded")


async def test_nobody_answers(own_stack: NewStack, driver: str) -> None:
    stack = own_stack(driver, **SHORT_WAITS)
    host = await asyncio.to_thread(stack.host)
    text = await script(stack.model, asking(("send", "a"), ("send", "b")))
    async with Api(host.url) as api:
        run_id = await api.start(text, agent="workshop")
        a, b = asked(await parked(api, run_id))
        assert (await answer(api, run_id, {a: True})).status == 200
        await move_clock(host, 6.9 * DAY)
        assert (await api.run(run_id))["status"] == "requires_action"
        await move_clock(host, 0.2 * DAY)
        run = await api.finished(run_id)
        assert (run["status"], run["error"]["code"]) == ("failed", "answer_timeout")
        assert run["required_action"] is None
        late = await answer(api, run_id, {b: True})
        assert (late.status, late["code"], late["status_of_run"]) == (409, "run_ended", "failed")
        assert (await answer(api, run_id, {a: True})).status == 200
        session = run["session_id"]
        assert (await api.submit(await script(stack.model), session_id=session)).status == 202
    assert stack.traces() == []


async def test_cancelled_while_parked(driver: str, target: Target) -> None:
    text = await script(target.model, asking(("send", "cancelled")))
    run_id = await target.api.start(text, agent="workshop")
    (call_id,) = asked(await parked(target.api, run_id))
    cancelled = await target.api.cancel(run_id)
    assert (cancelled.status, cancelled["status"], cancelled["required_action"]) == (200, "cancelled", None)
    heard = await requests(target.model, run_id)
    late = await answer(target.api, run_id, {call_id: True})
    assert (late.status, late["code"]) == (409, "run_ended")
    following = await target.api.start(await script(target.model), session_id=cancelled["session_id"])
    assert (await target.api.finished(following))["status"] == "completed"
    run = await target.api.run(run_id)
    assert (run["status"], run["tool_calls"][0]["starts"]) == ("cancelled", 0)
    assert await requests(target.model, run_id) == heard


async def test_an_approved_call_that_must_not_be_repeated_is_not(own_stack: NewStack) -> None:
    stack = own_stack(**SHORT_WAITS)
    host = await asyncio.to_thread(stack.host)
    wire = {"calls": [{"name": "wire", "arguments": {"label": "rent", "seconds": 30}}]}
    text = await script(stack.model, wire)
    async with Api(host.url) as api:
        run_id = await api.start(text, agent="workshop")
        run = await parked(api, run_id)
        await answer(api, run_id, dict.fromkeys(asked(run), True))
        await eventually(lambda: stack.traces("rent", "start"))
        host.kill()
        await restart(host)
        run = await api.finished(run_id)
    assert run["status"] == "completed", run
    assert [call["starts"] for call in run["tool_calls"]] == [1]
    (told,) = await outputs(stack.model, run_id)
    assert json.loads(told["output"])["error"]["code"] == "outcome_unknown"
    assert len(stack.traces("rent", "start")) == 1


@pytest.fixture
async def parked_run(target: Target) -> tuple[str, str, str]:
    """A run that waits for an answer: its id, a call that needs none, and the one that does."""
    text = await script(target.model, asking(("work", "a"), ("send", "b")))
    run = await parked(target.api, await target.api.start(text, agent="workshop"))
    return run["id"], run["tool_calls"][0]["call_id"], run["tool_calls"][1]["call_id"]


UNFIT: list[tuple[Any, int, str]] = [
    ({}, 400, "invalid_request"),
    ({"answers": {}}, 400, "invalid_request"),
    ({"answers": [True]}, 400, "invalid_request"),
    ({"answers": {"call": True}}, 400, "invalid_request"),
    ({"answers": {"call": {}}}, 400, "invalid_request"),
    ({"answers": {"call": {"approve": "yes"}}}, 400, "invalid_request"),
    ({"answers": {"call": {"approve": True, "why": "so"}}}, 400, "invalid_request"),
    ({"answers": {"call": {"approve": True, "reason": "x" * 4_001}}}, 400, "invalid_request"),
    ({"answers": {"call": {"approve": True, "reason": 7}}}, 400, "invalid_request"),
    ({"answers": {f"call_{i}": {"approve": True} for i in range(91)}}, 400, "invalid_request"),
    ({"answers": {"c" * 100_000: {"approve": True}}}, 400, "invalid_request"),
    ({"answers": {"\ud800": {"approve": True}}}, 400, "invalid_request"),
    ({"answers": {"no_such_call": {"approve": True}}}, 409, "not_waiting"),
]


@pytest.mark.main
@one_driver
async def test_answers_that_do_not_fit_are_refused_and_none_of_them_taken(
    driver: str, target: Target, parked_run: tuple[str, str, str]
) -> None:
    run_id, unasked, call_id = parked_run
    path = f"/api/runs/{run_id}/answers"
    replies = [await target.api.call("POST", path, json=body) for body, _, _ in UNFIT]
    assert [(reply.status, reply["code"]) for reply in replies] == [(status, code) for _, status, code in UNFIT]
    assert max(len(reply.raw) for reply in replies) < 10_000
    mixed = await answer(target.api, run_id, {call_id: True, unasked: True})
    assert (mixed.status, mixed["code"], mixed["call_id"]) == (409, "not_waiting", unasked)
    no_json = await target.api.call("POST", path, data=b"{", headers={"content-type": "application/json"})
    assert (no_json.status, no_json["code"]) == (400, "invalid_json")
    assert (await target.api.call("POST", path, data=b"{}", headers={"content-type": "text/plain"})).status == 415
    wrong = await target.api.call("GET", path)
    assert (wrong.status, wrong.headers["Allow"]) == (405, "POST")
    assert (await answer(target.api, f"run_{'0' * 32}_1", {call_id: True}))["code"] == "run_not_found"
    assert asked(await target.api.run(run_id)) == [call_id]
    assert (await target.api.cancel(run_id)).status == 200


async def test_a_foreign_run_takes_no_answers(own_stack: NewStack) -> None:
    stack = own_stack("timer", DORMOUSE_AUTH="appservice", WEBSITE_AUTH_ENABLED="True")
    host = await asyncio.to_thread(stack.host)
    ann, bob = ({"x-ms-client-principal-id": name, "x-ms-client-principal-idp": "aad"} for name in ("ann", "bob"))
    text = await script(stack.model, asking(("send", "a")))
    async with Api(host.url) as api:
        body = {"input": text, "agent": "workshop"}
        path = (await api.call("POST", "/api/runs", json=body, headers=ann))["url"]

        async def waiting() -> list[str]:
            return asked((await api.call("GET", path, headers=ann)).body)

        (call_id,) = await eventually(waiting)
        yes = {"answers": {call_id: {"approve": True}}}
        foreign = await api.call("POST", f"{path}/answers", json=yes, headers=bob)
        assert (foreign.status, foreign["code"]) == (404, "run_not_found")
        assert (await api.call("POST", f"{path}/answers", json=yes)).status == 401
        assert await waiting() == [call_id]
        assert (await api.call("POST", f"{path}/answers", json=yes, headers=ann)).status == 200


@pytest.mark.parametrize("replayed", [False, True])
async def test_an_mcp_server_s_call_is_approved_like_ours(own_stack: NewStack, replayed: bool) -> None:
    """``replayed``: the provider refuses tool outputs after a background response, as Azure OpenAI does."""
    stack = own_stack()
    host = await asyncio.to_thread(stack.host)
    await stack.model.switches(azure_tool_outputs=replayed)
    text = await script(
        stack.model,
        {
            **asking(("work", "a"), ("send", "b")),
            "approvals": [
                {"server_label": "archive", "name": "burn", "arguments": {"book": 7}},
                {"server_label": "archive", "name": "read", "arguments": {"book": 8}},
            ],
        },
    )
    async with Api(host.url) as api:
        run_id = await api.start(text, agent="workshop")
        run = await parked(api, run_id)
        send, burn, read = run["required_action"]["calls"]
        assert (burn["name"], json.loads(burn["arguments"])) == ("burn", {"book": 7})
        assert "archive" in burn["reason"]
        said: dict[str, bool | tuple[bool, str]]
        said = {send["call_id"]: True, burn["call_id"]: (False, "No fire here."), read["call_id"]: True}
        assert (await answer(api, run_id, said)).status == 200
        run = await api.finished(run_id)
    assert run["status"] == "completed", run
    assert [call["starts"] for call in run["tool_calls"]] == [1, 1, 0, 0]
    for line in ("work: worked on a", "send: sent b", "burn: refused (No fire here.)", "read: approved"):
        assert line in run["text"]
    answered = [item for item in await outputs(stack.model, run_id) if item["type"] == "mcp_approval_response"]
    assert [(item["approval_request_id"], item["approve"], item.get("reason")) for item in answered] == [
        (burn["call_id"], False, "No fire here."),
        (read["call_id"], True, None),
    ]


@one_driver
async def test_hosted_tools_pass_through(driver: str, target: Target) -> None:
    name = f"s{secrets.token_hex(4)}"
    searched = {"type": "web_search_call", "action": {"type": "search", "query": "dormice"}}
    read = {"type": "mcp_call", "server_label": "archive", "name": "read", "output": "Book 8."}
    verdict = {"text": json.dumps({"guilty": False, "months": 0})}
    await target.model.script(name, [{"hosted": [searched, read], **asking(("work", "a"))}, verdict])
    run = await target.api.finished(await target.api.start(f"[script:{name}]", agent="judge"))
    assert run["status"] == "completed", run
    assert [call["name"] for call in run["tool_calls"]] == ["work"]  # what the provider ran is none of ours
    for create in await target.model.creates(run=run["id"]):
        assert create.body is not None
        assert [tool["type"] for tool in create.body["tools"] if tool["type"] != "function"] == ["web_search", "mcp"]
