"""What a response says of itself to OpenAI's clients, and what else an address of theirs answers."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from tests.acceptance.conftest import CLIENT_KEYS, Target
from tests.acceptance.test_openai_clients import NOBODY, polled
from tests.acceptance.test_openai_requests import script
from tests.parts.strict_reader import StrictReader
from tests.parts.waiting import eventually

CALL = {"name": "work", "arguments": {"label": "a"}}
BEARER = {"Authorization": f"Bearer {CLIENT_KEYS['ada']}"}


@pytest.fixture
def driver() -> str:
    """None of this is the driver's."""
    return "durable"


async def test_a_queued_response_says_so_until_it_begins(target: Target, ada: AsyncOpenAI) -> None:
    text = await script(target, {"text": "At last.", "think": 0.3, "faults": {"create": [{"status": 429, "times": 2}]}})
    reader, statuses = StrictReader(), list[str | None]()
    async for event in await ada.responses.create(model="bench", input=text, stream=True):
        reader.hear(event.to_dict())
        if event.type in ("response.created", "response.queued", "response.in_progress"):
            statuses.append(event.response.status)
        if event.type == "response.queued":
            assert (await ada.responses.retrieve(event.response.id)).status == "queued"
    assert reader.kinds[:3] == ["response.created", "response.queued", "response.in_progress"]
    assert statuses == ["queued", "queued", "in_progress"]
    assert reader.texts == ["At last."]
    assert reader.response is not None
    told = await ada.responses.retrieve(reader.response["id"], stream=True)
    late = [event.type async for event in told]
    assert late[:2] == ["response.created", "response.in_progress"], "to who comes later it is not queued any more"
    rest = await ada.responses.retrieve(reader.response["id"], stream=True, starting_after=1)
    assert [event.type async for event in rest] == late[1:], "after it was said to be queued"


async def test_a_response_shows_the_callers_instructions_where_they_were_taken(
    target: Target, ada: AsyncOpenAI
) -> None:
    text = await script(target, {"text": "Arr."})
    for instructions in ("Be a pirate.", "Be a pirate. " + "é" * 30_000):
        seen = set()
        async for event in await ada.responses.create(
            model="bench", input=text, instructions=instructions, stream=True
        ):
            if (response := getattr(event, "response", None)) is not None:
                seen.add((response.id, response.instructions))
        ((name, shown),) = seen
        assert shown == instructions
        assert (await ada.responses.retrieve(name)).instructions == instructions
    assert (await ada.responses.create(model="bench", input=text)).instructions is None
    as_input = await ada.responses.create(
        model="phone-studio", input=text, instructions="Be a pirate.", metadata={"audience": "nobody"}
    )
    assert as_input.instructions is None, "they were a message of the caller's"


async def test_usage_stands_on_a_response_that_failed_or_was_cancelled_as_far_as_it_is_known(
    target: Target, ada: AsyncOpenAI
) -> None:
    usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    first = {"calls": [CALL], "usage": usage}
    failing = await script(target, first, {"status": "failed", "error": {"code": "invalid_prompt"}})
    failed = await ada.responses.create(model="bench", input=failing)
    assert (failed.status, failed.usage and failed.usage.total_tokens) == ("failed", 15)
    slow = await ada.responses.create(
        model="bench", input=await script(target, first, {"stuck": True}), background=True
    )
    begun = slow.id.replace("resp_", "run_")

    async def in_its_second_turn() -> bool:
        return any(
            each.metadata.get("run") == begun and each.metadata.get("turn") == "2"
            for each in await target.model.log("create")
        )

    await eventually(in_its_second_turn)
    cancelled = await ada.responses.cancel(slow.id)
    assert (cancelled.status, cancelled.usage and cancelled.usage.total_tokens) == ("cancelled", 15)


@pytest.mark.main
async def test_every_agent_is_a_model(target: Target, ada: AsyncOpenAI) -> None:
    models = [model.id async for model in ada.models.list()]
    for name in models:
        assert (await ada.models.retrieve(name)).id == name
    agents = (await target.api.call("GET", "/api/agents")).body["data"]
    assert models == [agent["name"] for agent in agents]


@pytest.mark.parametrize(
    "path",
    ["", "responses/input_tokens", "responses/compact", "responses/compact/", "responses/input_tokens/x", "embeddings",
     "conversations", "files", "realtime", "responses/x/y/z", "responses//", "models/a/b", "chat", "v1/responses",
     "openai", "openai/responses/compact", "openai/v1/responses/input_tokens", "openai/deployments/bench/embeddings"],
)  # fmt: skip
async def test_whatever_else_is_asked_for_is_not_there_in_openais_shape(target: Target, path: str) -> None:
    for method in ("POST", "GET", "PUT"):
        reply = await target.api.call(method, f"/api/v1/{path}", json={"model": "bench"}, headers=BEARER)
        code = reply["error"]["code"]
        assert (reply.status, code) in ((404, "not_found"), (404, "response_not_found")), (method, reply)
        assert (code == "not_found") or method == "GET", "a GET there names a response"
        assert reply["error"].keys() >= {"message", "type", "code", "param"}
    nobody = await target.api.call("POST", f"/api/v1/{path}", json={})
    assert (nobody.status, nobody["error"]["code"]) == (401, "invalid_api_key")


async def test_a_response_that_is_none_may_not_be_counted_or_compacted(target: Target, ada: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as counted:
        await ada.responses.input_tokens.count(model="bench", input="x")
    assert counted.value.code == "not_found"
    reply = await target.api.call("PUT", f"/api/v1/responses/{NOBODY}", json={}, headers=BEARER)
    assert (reply.status, reply["error"]["code"]) == (405, "method_not_allowed"), "that is an address of a response"


def words_of(events: list[Any]) -> str:
    return "".join(getattr(event, "delta", "") for event in events)


async def test_openais_helper_replays_what_is_missing_after_the_end(target: Target, ada: AsyncOpenAI) -> None:
    text = await script(target, {"text": "Let me look.", "calls": [CALL]}, {"text": "A few words here. " * 3})
    stream = await ada.responses.create(model="bench", input=text, stream=True, background=True)
    heard: list[Any] = [event async for event in stream]
    name = heard[0].response.id
    kinds = [event.type for event in heard]
    begun, first_text = kinds.index("response.in_progress"), kinds.index("response.output_text.done")
    for cut in (begun, kinds.index("response.content_part.added"), first_text, len(heard) - 2):
        after = heard[cut].sequence_number
        async with ada.responses.stream(response_id=name, starting_after=after) as helper:
            missing = [event async for event in helper]
            final = await helper.get_final_response()
        assert missing[0].sequence_number > after
        assert words_of(missing) == words_of(heard[cut + 1 :])
        assert missing[-1].type == "response.completed"
        assert final.output_text == "Let me look." + "A few words here. " * 3
    ended = await polled(ada, final)
    assert [item.type for item in ended.output] == ["message", "message"]
