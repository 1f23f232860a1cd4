"""Approvals over the whole stack, as OpenAI's clients know them: one response asks, and the next has the answers."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from tests.acceptance.conftest import CLIENT_KEYS, Target, client_of
from tests.acceptance.test_openai_requests import script, sent

pytestmark = pytest.mark.usefixtures("driver")


def answers(response: Any, *, approve: bool = True, **more: Any) -> list[Any]:
    """An answer to each request of the response."""
    return [
        {"type": "mcp_approval_response", "approval_request_id": item.id, "approve": approve, **more}
        for item in response.output
        if item.type == "mcp_approval_request"
    ]


@pytest.mark.main
async def test_compliance_asks_before_it_files_and_files_once_it_may(target: Target, ada: AsyncOpenAI) -> None:
    assert "compliance" in [model.id async for model in ada.models.list()]
    first = await ada.responses.create(model="compliance", input="Acme's backups")
    (asked,) = first.output
    assert first.status == "completed"
    assert asked.type == "mcp_approval_request"
    assert (asked.name, asked.server_label) == ("file_report", "compliance")
    assert json.loads(asked.arguments)["title"]
    second = await ada.responses.create(model="compliance", input=answers(first), previous_response_id=first.id)
    report = json.loads(second.output_text)
    assert (report["filed"], report["reference"][:3]) == (True, "CR-")
    with pytest.raises(openai.ConflictError) as again:
        await ada.with_options(max_retries=0).responses.create(
            model="compliance", input=answers(first), previous_response_id=first.id
        )
    assert again.value.code == "already_answered"


async def test_a_refusal_is_heard_by_the_model(ada: AsyncOpenAI) -> None:
    async with ada.responses.stream(model="compliance", input="Acme's backups") as events:
        kinds = [event.type async for event in events]
        first = await events.get_final_response()
    assert kinds[-3:] == ["response.output_item.added", "response.output_item.done", "response.completed"]
    no = answers(first, approve=False, reason="Not before the audit.")
    async with ada.responses.stream(model="compliance", input=no, previous_response_id=first.id) as events:
        async for _ in events:
            pass
        second = await events.get_final_response()
    assert json.loads(second.output_text)["filed"] is False


async def test_a_background_response_is_polled_through_both_rounds(target: Target, ada: AsyncOpenAI) -> None:
    text = await script(
        target,
        {"calls": [{"name": "send", "arguments": {"label": "a"}}, {"name": "work", "arguments": {"label": "b"}}]},
        {"text": "Sent."},
    )
    first = await _ended(ada, await ada.responses.create(model="workshop", input=text, background=True))
    assert [item.type for item in first.output] == ["mcp_approval_request"]
    for given, code in (
        ("And?", "tool_outputs_missing"),
        ([{"type": "mcp_approval_response", "approval_request_id": "apr_x", "approve": True}], "no_such_tool_call"),
        (answers(first) * 2, "invalid_request"),
        ([first.output[0].to_dict(), *answers(first)], "unsupported_parameter"),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            await ada.responses.create(model="workshop", input=given, previous_response_id=first.id)  # type: ignore[arg-type]
        assert refused.value.code == code
    async with client_of(target.api.url, CLIENT_KEYS["bob"]) as bob:
        with pytest.raises(openai.BadRequestError) as others:
            await bob.responses.create(model="workshop", input=answers(first), previous_response_id=first.id)
        assert others.value.code == "previous_response_not_found"
    begun = await ada.responses.create(
        model="workshop", input=answers(first), previous_response_id=first.id, background=True
    )
    second = await _ended(ada, begun)
    assert second.output_text == "Sent."
    bodies = [body for body in await sent(target, "function_call_output") if body["previous_response_id"]]
    assert [item["type"] for item in bodies[-1]["input"]] == ["function_call_output"] * 2


async def test_chat_completions_cannot_ask(ada: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await ada.chat.completions.create(model="compliance", messages=[{"role": "user", "content": "x"}])
    assert refused.value.code == "approval_unsupported"


async def _ended(client: AsyncOpenAI, response: Any) -> Any:
    while response.status in ("queued", "in_progress"):
        response = await client.responses.retrieve(response.id)
    return response
