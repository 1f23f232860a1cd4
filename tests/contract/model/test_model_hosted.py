"""Hosted tools and the approvals of MCP calls, chained and replayed, and what is refused about them."""

from typing import Any

import openai
import pytest
import pytest_asyncio
from openai import AsyncOpenAI
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from local.model.control import ModelControl

pytestmark = pytest.mark.asyncio(loop_scope="session")

ANY_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
HOSTED: list[Any] = [
    {"type": "web_search"},
    {"type": "code_interpreter", "container": {"type": "auto"}},
    {"type": "mcp", "server_label": "records", "server_url": "https://example.com/mcp", "require_approval": "always"},
]
SAID = "[script:mcp] Go."


async def ask(client: AsyncOpenAI, said: Any, **more: Any) -> Response:
    """A foreground response, its JSON checked against the client's own types."""
    raw = await client.responses.with_raw_response.create(model="gpt-scripted", input=said, tools=HOSTED, **more)
    response = Response.model_validate_json(raw.text)
    for item in response.output:
        assert not item.model_extra
    return response


async def refusal(client: AsyncOpenAI, said: Any, **more: Any) -> str:
    with pytest.raises(openai.BadRequestError) as caught:
        await ask(client, said, **more)
    assert caught.value.param is not None
    return caught.value.message


def requests(response: Response) -> list[Any]:
    return [item for item in response.output if item.type == "mcp_approval_request"]


def verdict(request_id: str, approve: bool, **more: str) -> dict[str, Any]:
    return {"type": "mcp_approval_response", "approval_request_id": request_id, "approve": approve, **more}


@pytest_asyncio.fixture(loop_scope="session")
async def asked(client: AsyncOpenAI, control: ModelControl) -> Response:
    """The response of a first turn that wants two calls approved; the second turn tells what became of them."""
    approvals = [
        {"server_label": "records", "name": "delete", "arguments": {"id": 7}},
        {"server_label": "records", "name": "export"},
    ]
    await control.script("mcp", [{"text": "May I?", "approvals": approvals}, {"text": "So:", "echo": True}])
    return await ask(client, SAID)


async def test_a_turn_can_ask_for_approvals(asked: Response) -> None:
    assert asked.status == "completed"
    assert asked.output_text == "May I?"
    assert all(request.id.startswith("mcpr_") for request in requests(asked))
    assert [(r.server_label, r.name, r.arguments) for r in requests(asked)] == [
        ("records", "delete", '{"id": 7}'), ("records", "export", "{}"),
    ]  # fmt: skip


async def test_the_verdicts_are_heard_by_chain(client: AsyncOpenAI, asked: Response) -> None:
    first, second = requests(asked)
    verdicts = [verdict(first.id, False, reason="Too much."), verdict(second.id, True)]
    told = await ask(client, verdicts, previous_response_id=asked.id)
    assert told.output_text == f"So:\n{SAID}\ndelete: refused (Too much.)\nexport: approved"
    ended = await ask(client, "Thanks.", previous_response_id=told.id)
    assert "You said: Thanks." in ended.output_text


async def test_the_verdicts_are_heard_by_replay(client: AsyncOpenAI, asked: Response, control: ModelControl) -> None:
    said: list[Any] = [{"role": "user", "content": SAID}, {"role": "assistant", "content": "May I?"}]
    for request in requests(asked):
        said += [request.model_dump(exclude_none=True), verdict(request.id, True)]
    told = await ask(client, said)
    assert told.output_text == f"So:\n{SAID}\ndelete: approved\nexport: approved"
    assert [entry.turn for entry in await control.log("create")] == [0, 1]


async def test_every_request_needs_its_verdict(client: AsyncOpenAI, asked: Response) -> None:
    first, second = requests(asked)
    missing = "The following MCP approval requests do not have an approval: "
    chained = {"previous_response_id": asked.id}
    assert missing + second.id in await refusal(client, [verdict(first.id, True)], **chained)
    assert f"{missing}{first.id}, {second.id}" in await refusal(client, "Never mind.", **chained)
    twice = [verdict(first.id, True), verdict(second.id, True), verdict(first.id, True)]
    assert "Duplicate" in await refusal(client, twice, **chained)


async def test_every_verdict_needs_its_request(client: AsyncOpenAI, asked: Response) -> None:
    unknown = "have approval responses but weren't passed as input: "
    verdicts = [verdict(request.id, True) for request in requests(asked)]
    stray = [*verdicts, verdict("mcpr_unheard", True)]
    assert f"{unknown}mcpr_unheard" in await refusal(client, stray, previous_response_id=asked.id)
    alone = [{"role": "user", "content": SAID}, verdicts[0]]
    assert unknown in await refusal(client, alone)


@pytest.mark.parametrize("key", ["approval_request_id", "approve"])
async def test_a_verdict_must_be_complete(client: AsyncOpenAI, asked: Response, key: str) -> None:
    torn = verdict(requests(asked)[0].id, True)
    del torn[key]
    assert key in await refusal(client, [torn], previous_response_id=asked.id)


async def test_a_replayed_request_needs_its_id(client: AsyncOpenAI, asked: Response) -> None:
    request = requests(asked)[0]
    torn = request.model_dump(exclude_none=True, exclude={"id"})
    assert "input[0].id" in await refusal(client, [torn, verdict(request.id, True)])


ITEMS: list[dict[str, Any]] = [
    {"type": "web_search_call", "action": {"type": "search", "query": "moons"}},
    {"type": "code_interpreter_call", "code": "1 + 1"},
    {"type": "file_search_call"},
    {"type": "image_generation_call"},
    {"type": "mcp_list_tools", "server_label": "records"},
    {"type": "mcp_call", "server_label": "records", "name": "count", "output": "7"},
]


async def test_items_of_hosted_tools_come_before_the_text(client: AsyncOpenAI, control: ModelControl) -> None:
    turn = {"reasoning": "Hm.", "hosted": ITEMS, "text": "Found.", "calls": [{"name": "a"}]}
    await control.script("s", [turn, {"text": "Then."}])
    first = await ask(client, "[script:s]")
    kinds = [item["type"] for item in ITEMS]
    assert [item.type for item in first.output] == ["reasoning", *kinds, "message", "function_call"]
    search: Any = first.output[1]
    assert (search.action.query, search.status, search.id[:3]) == ("moons", "completed", "ws_")
    output = {"type": "function_call_output", "call_id": getattr(first.output[-1], "call_id", ""), "output": "A"}
    assert (await ask(client, [output], previous_response_id=first.id)).output_text == "Then."
    replay = [item.model_dump(exclude_none=True) for item in first.output]
    said = [{"role": "user", "content": "[script:s]"}, *replay, output]
    assert (await ask(client, said)).output_text == "Then."


async def test_they_are_streamed_phase_by_phase(client: AsyncOpenAI, control: ModelControl) -> None:
    approvals = [{"server_label": "records", "name": "delete"}]
    await control.script("s", [{"hosted": ITEMS, "approvals": approvals}])
    stream = await client.responses.create(model="gpt-scripted", input="[script:s]", stream=True)
    kinds = []
    async for event in stream:
        valid = ANY_EVENT.validate_python(event.to_dict(mode="json"))
        assert not valid.model_extra
        kinds.append(valid.type.removeprefix("response."))
    for phase in (
        "web_search_call.searching", "code_interpreter_call.interpreting", "file_search_call.completed",
        "image_generation_call.generating", "mcp_list_tools.completed", "mcp_call_arguments.done", "mcp_call.completed",
    ):  # fmt: skip
        assert phase in kinds
    assert kinds.count("output_item.done") == len(ITEMS) + 1


@pytest.mark.parametrize("tool", [{"type": "mcp"}, {"type": "code_interpreter"}, {"type": "file_search"}, {}])
async def test_hosted_tools_must_be_complete(client: AsyncOpenAI, tool: Any) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.responses.create(model="gpt-scripted", input="Go.", tools=[tool])
    assert caught.value.code == "missing_required_parameter"
