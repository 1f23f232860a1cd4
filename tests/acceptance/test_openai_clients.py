"""OpenAI's Python client, unmodified, against `/api/v1`: it takes our runs for responses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.responses import Response

from tests.acceptance.client import Api
from tests.acceptance.conftest import CLIENT_KEYS, Stack, Target, client_of
from tests.parts.waiting import eventually

NOBODY = f"resp_{'0' * 32}_1"


@pytest.fixture
def driver() -> str:
    """None of this is the driver's."""
    return "durable"


async def polled(client: AsyncOpenAI, response: Response) -> Response:
    """The poll loop of the background guide, quicker."""
    seen = response

    async def ended() -> bool:
        nonlocal seen
        if seen.status in ("queued", "in_progress"):
            seen = await client.responses.retrieve(seen.id)
        return seen.status not in ("queued", "in_progress")

    await eventually(ended)
    return seen


async def submits(target: Target) -> int:
    """How many runs the model was asked for; those of other tests may still go on with their turns."""
    return len({entry.metadata.get("run") for entry in await target.model.log("create")})


@pytest.mark.main
async def test_a_background_response_is_polled_to_its_end(target: Target, ada: AsyncOpenAI) -> None:
    await target.model.script(
        "bg",
        [
            {"think": 0.3, "text": "Let me see. ", "calls": [{"name": "work", "arguments": {"label": "bg"}}]},
            {"think": 0.2, "text": "All done."},
        ],
    )
    response = await ada.responses.create(
        model="bench", input="[script:bg]", background=True, metadata={"k": "v"}, store=True, user="u"
    )
    assert response.status in ("queued", "in_progress")
    assert (response.output, response.usage, response.error) == ([], None, None)
    ended = await polled(ada, response)
    assert (ended.id, ended.status, ended.model, ended.metadata) == (
        response.id,
        "completed",
        "bench",
        {"k": "v"},
    )
    assert ended.output_text == "Let me see. All done."
    assert [item.type for item in ended.output] == ["message", "message"]
    assert len({item.id for item in ended.output}) == 2
    assert ended.usage is not None
    assert ended.usage.total_tokens == ended.usage.input_tokens + ended.usage.output_tokens > 0
    assert Response.model_validate(ended.to_dict()) == ended, "complete, to the letter of its types"


@pytest.mark.main
async def test_without_background_the_answer_is_the_ended_response(target: Target, ada: AsyncOpenAI) -> None:
    await target.model.script("wait", [{"think": 0.5, "text": "Here."}])
    response = await ada.responses.create(model="bench", input=[{"role": "user", "content": "[script:wait]"}])
    assert (response.status, response.output_text) == ("completed", "Here.")


@pytest.mark.main
async def test_a_response_of_the_callers_own_is_gone_on_from_with_its_agent(target: Target, ada: AsyncOpenAI) -> None:
    await target.model.script("one", [{"think": 0, "text": "One."}])
    await target.model.script("two", [{"think": 0, "text": "Two: ", "echo": True}])
    first = await ada.responses.create(model="bench", input="[script:one]")
    second = await ada.responses.create(model="bench", input="[script:two]", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    for unknown in (NOBODY, "resp_of_somebody_else", first.id.replace("_1", "_9")):
        with pytest.raises(openai.BadRequestError) as missing:
            await ada.responses.create(model="bench", input="x", previous_response_id=unknown)
        assert missing.value.code == "previous_response_not_found"
        assert missing.value.param == "previous_response_id"
    with pytest.raises(openai.ConflictError) as other:
        await ada.responses.create(model="novelist", input="x", previous_response_id=second.id)
    assert other.value.code == "agent_mismatch"


async def test_a_response_that_failed_is_no_part_of_the_conversation(target: Target, ada: AsyncOpenAI) -> None:
    await target.model.script("one", [{"think": 0, "text": "One."}])
    await target.model.script("bad", [{"think": 0, "status": "failed", "error": {"code": "invalid_prompt"}}])
    first = await ada.responses.create(model="bench", input="[script:one]")
    failed = await ada.responses.create(model="bench", input="[script:bad]", previous_response_id=first.id)
    assert (failed.status, failed.error and failed.error.code) == ("failed", "invalid_prompt")
    again = await ada.responses.create(model="bench", input="[script:one]", previous_response_id=first.id)
    assert (again.status, again.output_text) == ("completed", "One.")
    await ada.responses.delete(failed.id)
    assert again.previous_response_id == first.id, "what it went on from, not what lay between"
    assert (await ada.responses.retrieve(again.id)).previous_response_id == first.id
    assert (first.background, first.previous_response_id) == (False, None)
    third = await ada.responses.create(
        model="bench", input="[script:one]", previous_response_id=again.id, background=True
    )
    assert (third.background, third.previous_response_id) == (True, again.id)


async def test_a_response_that_is_running_is_gone_on_from_by_none(target: Target, ada: AsyncOpenAI) -> None:
    await target.model.script("slow", [{"think": 60, "text": "Slow."}])
    slow = await ada.responses.create(model="bench", input="[script:slow]", background=True)
    with pytest.raises(openai.ConflictError) as busy:
        await ada.with_options(max_retries=0).responses.create(model="bench", input="x", previous_response_id=slow.id)
    assert busy.value.code == "session_busy"
    assert slow.id in str(busy.value.body)
    await ada.responses.cancel(slow.id)


@pytest.mark.main
async def test_cancel_and_delete(target: Target, ada: AsyncOpenAI) -> None:
    await target.model.script("slow", [{"think": 60, "text": "Slow."}])
    response = await ada.responses.create(model="bench", input="[script:slow]", background=True)
    for _ in range(2):
        assert (await ada.responses.cancel(response.id)).status == "cancelled"
    assert (await ada.responses.retrieve(response.id)).status == "cancelled"
    await ada.responses.delete(response.id)
    for call in (ada.responses.retrieve, ada.responses.cancel, ada.responses.delete, ada.responses.input_items.list):
        with pytest.raises(openai.NotFoundError) as gone:
            await call(response.id)
        assert gone.value.code == "response_not_found"


async def test_delete_answers_as_openai_does(target: Target) -> None:
    bearer = {"Authorization": f"Bearer {CLIENT_KEYS['ada']}"}
    asked = {"model": "bench", "input": "x", "background": True}
    made = await target.api.call("POST", "/api/v1/responses", json=asked, headers=bearer)
    reply = await target.api.call("DELETE", f"/api/v1/responses/{made['id']}", headers=bearer)
    assert (reply.status, reply.body) == (200, {"id": made["id"], "object": "response.deleted", "deleted": True})


@pytest.mark.main
async def test_input_items_are_what_was_asked(target: Target, ada: AsyncOpenAI) -> None:
    response = await ada.responses.create(
        model="bench",
        background=True,
        input=[
            {"role": "user", "content": "Hello."},
            {"role": "assistant", "content": [{"type": "output_text", "text": "Hi."}]},  # type: ignore[list-item, misc]
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "What is this?"},
                    {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "auto"},
                ],
            },
        ],
    )
    items = [item async for item in ada.responses.input_items.list(response.id, order="asc")]
    assert [(item.role, item.content[0].text) for item in items] == [  # type: ignore[union-attr]
        ("user", "Hello."),
        ("assistant", "Hi."),
        ("user", "What is this?"),
    ]
    page = await ada.responses.input_items.list(response.id, limit=2)
    assert [page.has_more, len(page.data)] == [True, 2]
    assert [item.id async for item in page] == [item.id for item in reversed(items)]
    assert len((await ada.responses.input_items.list(response.id, limit=1)).data) == 1
    assert len((await ada.responses.input_items.list(response.id, limit=100)).data) == 3
    for limit in (0, -1, 101):
        with pytest.raises(openai.BadRequestError) as refused:
            await ada.responses.input_items.list(response.id, limit=limit)
        assert (refused.value.type, refused.value.param) == ("invalid_request_error", "limit")


@pytest.mark.main
async def test_models_are_the_agents(ada: AsyncOpenAI) -> None:
    models = [model async for model in ada.models.list()]
    assert {"novelist", "analyst", "bench"} <= {model.id for model in models}
    assert (await ada.models.retrieve("novelist")).object == "model"
    with pytest.raises(openai.NotFoundError) as missing:
        await ada.models.retrieve("gpt-5")
    assert missing.value.code == "model_not_found"


@pytest.mark.main
async def test_chat_completions(target: Target, ada: AsyncOpenAI) -> None:
    await target.model.script("chat", [{"think": 0.2, "text": "Well: ", "echo": True}])
    completion = await ada.chat.completions.create(
        model="bench",
        messages=[
            {"role": "user", "content": "Hello."},
            {"role": "assistant", "content": "Hi."},
            {"role": "user", "content": [{"type": "text", "text": "[script:chat] now"}]},
        ],
    )
    (choice,) = completion.choices
    assert (choice.finish_reason, choice.message.role) == ("stop", "assistant")
    assert (choice.message.content or "").startswith("Well: ")
    assert completion.usage is not None
    assert completion.usage.total_tokens > 0
    await target.model.script("bad", [{"think": 0, "status": "failed", "error": {"code": "invalid_prompt"}}])
    before = await submits(target)
    with pytest.raises(openai.UnprocessableEntityError) as failed:
        await ada.chat.completions.create(model="bench", messages=[{"role": "user", "content": "[script:bad]"}])
    assert failed.value.code == "completion_failed"
    assert failed.value.type == "server_error"
    assert await submits(target) == before + 1, "not repeated by the client"


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "tools": ({"tools": [{"type": "web_search"}]}, "unsupported_parameter", "tools"),
    "tool choice": ({"tool_choice": "required"}, "unsupported_parameter", "tool_choice"),
    "format": ({"text": {"format": {"type": "json_object"}}}, "unsupported_parameter", "text.format"),
    "much metadata": ({"metadata": {str(i): "" for i in range(17)}}, "invalid_request", "metadata"),
    "empty input": ({"input": []}, "invalid_request", "input"),
    "no words": ({"input": [{"role": "assistant", "content": ""}]}, "invalid_request", "input"),
    "tool output": (
        {"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]},
        "unsupported_parameter",
        "input[0]",
    ),
    "image data": (
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:text/html;base64,AA"}]}]},
        "invalid_request",
        "input[0].content[0].image_url",
    ),
}


@pytest.mark.main
@pytest.mark.parametrize("name", REFUSED)
async def test_what_would_be_passed_over_is_refused_by_name(target: Target, ada: AsyncOpenAI, name: str) -> None:
    given, code, param = REFUSED[name]
    before = await submits(target)
    with pytest.raises(openai.BadRequestError) as refused:
        await ada.responses.create(**{"model": "bench", "input": "x", "background": True, **given})
    assert (refused.value.code, refused.value.param, refused.value.type) == (code, param, "invalid_request_error")
    assert await submits(target) == before


@pytest.mark.main
async def test_an_agent_that_is_not_there_is_no_model(ada: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        await ada.responses.create(model="gpt-5", input="x")
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")


@pytest.mark.main
async def test_each_key_is_an_owner(target: Target, ada: AsyncOpenAI) -> None:
    response = await ada.responses.create(model="bench", input="x", background=True)
    async with client_of(target.api.url, CLIENT_KEYS["bob"]) as bob:
        with pytest.raises(openai.NotFoundError):
            await bob.responses.retrieve(response.id)
        with pytest.raises(openai.BadRequestError) as other:
            await bob.responses.create(model="bench", input="x", previous_response_id=response.id)
        assert other.value.code == "previous_response_not_found"
    run = await target.api.call("GET", f"/api/runs/{response.id.replace('resp_', 'run_')}")
    assert run.status == 404


@pytest.mark.main
async def test_a_wrong_key_opens_nothing(target: Target) -> None:
    for key in ("x", "ada-secret-0123456789 ", "ada", "ada:ada-secret-0123456789"):
        wrong = key if key.strip() != CLIENT_KEYS["ada"] else CLIENT_KEYS["ada"] + "x"
        async with client_of(target.api.url, wrong) as nobody:
            with pytest.raises(openai.AuthenticationError) as refused:
                await nobody.models.list()
            assert refused.value.code == "invalid_api_key"
    for path in ("/api/v1/responses", "/api/v1/models", "/api/v1/nothing", f"/api/v1/responses/{NOBODY}"):
        for method in ("GET", "POST", "DELETE"):
            reply = await target.api.call(method, path, json={"model": "bench", "input": "x"})
            assert (reply.status, reply["error"]["code"]) == (401, "invalid_api_key"), (method, path)


async def test_the_key_may_come_as_azures_clients_send_it(target: Target) -> None:
    reply = await target.api.call("GET", "/api/v1/models?api-version=1", headers={"api-key": CLIENT_KEYS["bob"]})
    assert reply.status == 200


@pytest.mark.main
@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/nothing", 404, "not_found"),
        ("GET", "/api/v1/responses", 405, "method_not_allowed"),
        ("PUT", f"/api/v1/responses/{NOBODY}", 405, "method_not_allowed"),
        ("GET", f"/api/v1/responses/{NOBODY}", 404, "response_not_found"),
        ("GET", "/api/v1/responses/resp_x", 404, "response_not_found"),
        ("POST", "/api/v1/responses", 400, "invalid_json"),
    ],
)
async def test_errors_have_openais_shape(target: Target, method: str, path: str, status: int, code: str) -> None:
    bearer = {"Authorization": f"Bearer {CLIENT_KEYS['ada']}", "Content-Type": "application/json"}
    reply = await target.api.call(method, path, data=b"", headers=bearer)
    assert (reply.status, reply["error"]["code"]) == (status, code)
    assert reply["error"].keys() >= {"message", "type", "code", "param"}
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["X-Request-Id"]


async def test_without_keys_there_is_no_such_api(own_stack: Callable[..., Stack]) -> None:
    host = own_stack().host(DORMOUSE_API_KEYS="")
    async with Api(host.url) as api, client_of(host.url) as ada:
        with pytest.raises(openai.NotFoundError, match="Set DORMOUSE_API_KEYS"):
            await ada.responses.create(model="bench", input="x")
        for path in ("/api/v1/models", "/api/v1/x", f"/api/v1/responses/{NOBODY}"):
            assert (await api.call("GET", path)).status == 404
