"""What goes to the model: images and files by URL, the options of the agent, the model and instructions of the run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.acceptance.client import Reply
from tests.acceptance.conftest import Target
from tests.parts.workshop import CHAT_OPTIONS, RESPONSE_OPTIONS

IMAGE = "https://example.com/p/a%20b.png?sig=%2B%2F%3D&x=ä%F0%9F%A6%94#top"
FILE = "http://files.example:8080/q=1;v=2/report.pdf?sv=2024-11-04&sr=b&sig=a%2Fb+c%3D%3D"
MARK = "  Look:\r\n\t\u00a0 «ä𝄞» [script:s]\n"


@pytest.fixture
def driver() -> str:
    """One of them: none of this is the driver's."""
    return "durable"


async def submit(target: Target, given: Any, **fields: Any) -> Reply:
    """``POST /api/runs`` with any input; to the workshop, unless it goes on with a session."""
    body = {"input": given, **({} if "session_id" in fields else {"agent": "workshop"}), **fields}
    return await target.api.call("POST", "/api/runs", json=body)


async def finished(target: Target, given: Any, **fields: Any) -> dict[str, Any]:
    """The run as it ends."""
    reply = await submit(target, given, **fields)
    assert reply.status == 202, reply
    return await target.api.finished(reply["id"])


async def sent(target: Target, run_id: str, turn: int = 1) -> dict[str, Any]:
    """What the model was sent for a turn."""
    (create,) = await target.model.creates(run=run_id, turn=str(turn))
    assert create.body is not None
    return create.body


async def chatted(target: Target, run_id: str) -> list[dict[str, Any]]:
    """What the model was sent over Chat Completions for a run of the phone studio."""
    bodies = [entry.body for entry in await target.model.log("chat") if entry.accepted]
    return [body for body in bodies if body and run_id in body["messages"][0]["content"]]


PARTS: list[dict[str, Any]] = [
    {"type": "input_text", "text": MARK},
    {"type": "input_image", "image_url": IMAGE, "detail": "high"},
    {"type": "input_image", "image_url": "https://example.com/" + "p" * 8_000},
    {"type": "input_file", "file_url": FILE},
    {"type": "input_text", "text": "and say.\u2028"},
]
MESSAGES: list[dict[str, Any]] = [
    {"role": "user", "content": "First\u0000, this."},
    {"type": "message", "role": "user", "content": PARTS},
]
ARRIVES: list[dict[str, Any]] = [
    {"type": "message", "role": "user", "content": "First\u0000, this."},
    {"type": "message", "role": "user", "content": [*PARTS[:2], {**PARTS[2], "detail": "auto"}, *PARTS[3:]]},
]


@pytest.mark.main
async def test_images_and_files_arrive_at_the_model_and_in_the_session(target: Target) -> None:
    await target.model.script("s", [{"text": "Seen."}])
    run = await finished(target, MESSAGES)
    assert (run["status"], run["text"]) == ("completed", "Seen."), run
    assert (await sent(target, run["id"]))["input"] == ARRIVES
    session = await target.api.call("GET", f"/api/sessions/{run['session_id']}")
    assert [(each["role"], each["content"]) for each in session["messages"]] == [
        *(("user", each["content"]) for each in ARRIVES),
        ("assistant", "Seen."),
    ]


async def test_images_and_files_are_there_when_the_conversation_is_rebuilt(target: Target) -> None:
    await target.model.script("s", [{"text": "Seen."}])
    first = await finished(target, MESSAGES)
    session = first["session_id"]
    second = await finished(target, "[script:s] Forget this.", session_id=session)
    assert (await target.api.call("DELETE", f"/api/runs/{second['id']}")).status == 204
    third = await finished(target, "[script:s] Again.", session_id=session)
    assert third["status"] == "completed", third
    given = (await sent(target, third["id"]))["input"]
    assert given[:2] == ARRIVES
    assert [item["role"] for item in given[2:]] == ["assistant", "user"]
    assert "Forget" not in json.dumps(given)


BAD: dict[str, tuple[Any, str]] = {
    "no messages": ([], "input"),
    "no content": ([{"role": "user"}], "input.0.content"),
    "empty parts": ([{"role": "user", "content": []}], "input.0.content"),
    "not the user": ([{"role": "system", "content": "x"}], "input.0.role"),
    "a tool's output": ([{"type": "function_call_output", "call_id": "c", "output": "x"}], "input.0.type"),
    "unknown part": ([{"role": "user", "content": [{"type": "input_audio"}]}], "input.0.content.0"),
    "data": ([{"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]}],
             "input.0.content.0.image_url"),
    "a local file": ([{"role": "user", "content": [{"type": "input_file", "file_url": "file:///etc/hosts"}]}],
                     "input.0.content.0.file_url"),
    "a space": ([{"role": "user", "content": [{"type": "input_image", "image_url": "https://a.example/b c"}]}],
                "input.0.content.0.image_url"),
    "a file id": ([{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}],
                  "input.0.content.0.file_id"),
    "more than a hundred": ([{"role": "user", "content": "x"}] * 101, "input"),
}  # fmt: skip


@pytest.mark.main
@pytest.mark.http_only
@pytest.mark.parametrize("case", BAD)
async def test_an_input_that_does_not_fit_is_refused_by_name(target: Target, case: str) -> None:
    given, field = BAD[case]
    reply = await submit(target, given, agent="novelist")
    assert (reply.status, reply["code"]) == (400, "invalid_request"), reply
    assert field in [error["field"] for error in reply["errors"]], reply["errors"]


@pytest.mark.main
async def test_long_lists_of_parts_are_measured_as_a_whole(target: Target) -> None:
    part = {"type": "input_text", "text": "é" * 60_000}
    reply = await submit(target, [{"role": "user", "content": [part] * 9}])
    assert (reply.status, reply["code"]) == (413, "input_too_large")


async def test_the_options_of_an_agent_go_into_every_turn_as_they_are(target: Target) -> None:
    await target.model.script("s", [{"calls": [{"name": "work", "arguments": {"label": "o"}}]}, {"text": "Done."}])
    run = await finished(target, "[script:s]", agent="studio", metadata={"audience": "ümläute"})
    assert run["status"] == "completed", run
    for turn in (1, 2):
        body = await sent(target, run["id"], turn)
        assert {name: body[name] for name in RESPONSE_OPTIONS} == RESPONSE_OPTIONS
        assert (body["model"], body["background"], body["store"]) == ("gpt-5", True, True)
        who = f"{run['id']} {run['session_id']} function turn {turn} for ümläute"
        assert body["instructions"] == who
        assert [tool["name"] for tool in body["tools"]] == ["work"]


async def test_the_options_of_a_chat_agent_go_into_every_call_as_they_are(target: Target) -> None:
    await target.model.script("s", [{"calls": [{"name": "work", "arguments": {"label": "o"}}]}, {"text": "Done."}])
    run = await finished(target, "[script:s]", agent="phone-studio", model="gpt-5-nano")
    assert run["status"] == "completed", run
    bodies = await chatted(target, run["id"])
    assert len(bodies) == 2
    for turn, body in enumerate(bodies, start=1):
        assert {name: body[name] for name in CHAT_OPTIONS} == CHAT_OPTIONS
        assert body["model"] == "gpt-5-nano"
        who = f"{run['id']} {run['session_id']} function turn {turn} for nobody"
        assert body["messages"][0] == {"role": "system", "content": who}


async def test_a_run_may_ask_for_a_model_that_its_agent_allows(target: Target) -> None:
    await target.model.script("s", [{"calls": [{"name": "work", "arguments": {"label": "m"}}]}, {"text": "Done."}])
    first = await finished(target, "[script:s]", agent="studio", model="gpt-5-mini")
    assert [(await sent(target, first["id"], turn))["model"] for turn in (1, 2)] == ["gpt-5-mini"] * 2
    second = await finished(target, "[script:s]", session_id=first["session_id"])
    assert (await sent(target, second["id"]))["model"] == "gpt-5", "it holds for one run"
    session = await target.api.call("GET", f"/api/sessions/{first['session_id']}")
    for fields in ({"agent": "studio"}, {"session_id": first["session_id"]}):
        reply = await submit(target, "[script:s]", model="gpt-5-pro", **fields)
        assert (reply.status, reply["code"]) == (400, "model_not_allowed")
        assert "gpt-5-mini, gpt-5-nano" in reply["detail"]
    reply = await submit(target, "[script:s]", model="gpt-5-nano")
    assert (reply.status, reply["code"]) == (400, "model_not_allowed")
    assert (await target.api.call("GET", f"/api/sessions/{first['session_id']}")).body == session.body


async def test_what_chat_completions_takes_is_translated_and_the_rest_is_refused(target: Target) -> None:
    await target.model.script("s", [{"text": "Seen."}])
    run = await finished(target, [{"role": "user", "content": PARTS[:2]}], agent="phone-studio")
    assert run["status"] == "completed", run
    (body,) = await chatted(target, run["id"])
    image = {"type": "image_url", "image_url": {"url": IMAGE, "detail": "high"}}
    assert body["messages"][1] == {"role": "user", "content": [{"type": "text", "text": MARK}, image]}
    run = await finished(target, MESSAGES, agent="phone-studio")
    assert (run["status"], run["error"]["code"]) == ("failed", "unsupported_content")
    assert await chatted(target, run["id"]) == []
