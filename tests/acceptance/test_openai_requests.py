"""What OpenAI's clients ask for beside their messages, over the whole stack: defaults, options, instructions."""

from __future__ import annotations

import secrets
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from shared.agentkit.caller import INTRODUCTION
from tests.acceptance.conftest import CLIENT_KEYS, Target
from tests.acceptance.test_openai_clients import polled

IGNORED = "Dormouse-Ignored-Parameters"


@pytest.fixture
def driver() -> str:
    """None of this is the driver's."""
    return "durable"


async def script(target: Target, *turns: dict[str, Any]) -> str:
    """A script under a fresh name; the text that plays it."""
    name = f"s{secrets.token_hex(6)}"
    await target.model.script(name, turns)
    return f"[script:{name}]"


async def sent(target: Target, text: str, operation: str = "create") -> list[dict[str, Any]]:
    """The bodies of the requests to the provider that hold this text."""
    return [each.body for each in await target.model.log(operation) if each.body and text in str(each.body)]


DEFAULTS: dict[str, Any] = {
    "temperature": 0.7,
    "top_p": 0.9,
    "max_output_tokens": 4_000,
    "reasoning": {"effort": "low"},
    "user": "u",
    "safety_identifier": "s",
    "prompt_cache_key": "k",
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "include": ["reasoning.encrypted_content"],
    "service_tier": "flex",
    "store": False,
    "text": {"verbosity": "low"},
    "extra_body": {"colour": "red"},
}


async def test_defaults_that_a_client_sends_unasked_are_left_out_and_named(target: Target, ada: AsyncOpenAI) -> None:
    text = await script(target, {"text": "Fine."})
    raw = await ada.responses.with_raw_response.create(model="bench", input=text, **DEFAULTS)
    assert raw.parse().output_text == "Fine."
    named = raw.headers[IGNORED].split(", ")
    assert named == sorted(named)
    assert set(named) == DEFAULTS.keys() - {"extra_body", "parallel_tool_calls", "text", "tool_choice"} | {
        "colour",
        "text.verbosity",
    }
    (body,) = await sent(target, text)
    assert not body.keys() & (DEFAULTS.keys() - {"store", "parallel_tool_calls"})
    assert body["store"] is True


async def test_a_stream_and_a_background_response_name_them_too(target: Target, ada: AsyncOpenAI) -> None:
    text = await script(target, {"text": "Fine."})
    async with ada.responses.with_streaming_response.create(
        model="bench", input=text, stream=True, temperature=0
    ) as raw:
        assert raw.headers[IGNORED] == "temperature"
    background = await ada.responses.with_raw_response.create(
        model="bench", input=text, background=True, extra_body={"seed": 1}
    )
    assert background.headers[IGNORED] == "seed"
    plain = await ada.responses.with_raw_response.create(model="bench", input=text, background=True)
    assert IGNORED not in plain.headers


@pytest.mark.main
async def test_chat_completions_take_the_defaults_of_their_clients(target: Target, ada: AsyncOpenAI) -> None:
    text = await script(target, {"text": "Fine."})
    asked: dict[str, Any] = {
        "messages": [{"role": "user", "content": text}],
        "max_tokens": 5,
        "seed": 1,
        "stop": ["END"],
        "logit_bias": {},
        "n": 1,
        "stream_options": {"include_usage": True},
        "response_format": {"type": "text"},
    }
    async with ada.chat.completions.with_streaming_response.create(model="bench", stream=True, **asked) as raw:
        assert raw.headers[IGNORED] == "max_tokens, seed, stop"
    del asked["stream_options"]
    whole = await ada.chat.completions.with_raw_response.create(model="bench", **asked)
    assert whole.headers[IGNORED] == "max_tokens, seed, stop"
    assert whole.parse().choices[0].message.content == "Fine."
    with pytest.raises(openai.BadRequestError) as several:
        await ada.chat.completions.create(model="bench", **{**asked, "n": 2})
    assert several.value.param == "n"


async def test_what_an_agent_lets_its_callers_set_reaches_the_provider_in_every_turn(
    target: Target, ada: AsyncOpenAI
) -> None:
    text = await script(target, {"calls": [{"name": "work", "arguments": {"label": "o"}}]}, {"text": "Fine."})
    raw = await ada.responses.with_raw_response.create(
        model="studio",
        input=text,
        temperature=0.2,
        max_output_tokens=99,
        reasoning={"effort": "low"},
        text={"verbosity": "medium"},
        top_p=0.5,
        metadata={"audience": "nobody"},
    )
    assert raw.parse().output_text == "Fine."
    assert raw.headers[IGNORED] == "top_p"
    first, *_ = await sent(target, text)
    turns = [each for each in await target.model.log("create") if each.metadata.get("run") == first["metadata"]["run"]]
    assert len(turns) == 2
    for each in turns:
        assert each.body is not None
        assert (each.body["temperature"], each.body["max_output_tokens"]) == (0.2, 99)
        assert each.body["reasoning"] == {"effort": "low", "summary": "auto"}, "what the agent wants besides stays"
        assert each.body["text"] == {"verbosity": "medium"}
        assert "top_p" not in each.body
    with pytest.raises(openai.BadRequestError) as wrong:
        await ada.responses.create(model="studio", input=text, temperature=3)
    assert (wrong.value.code, wrong.value.param) == ("invalid_request", "temperature")


async def test_an_agent_over_chat_completions_passes_on_what_only_those_have(target: Target, ada: AsyncOpenAI) -> None:
    text = await script(target, {"text": "Fine."})
    raw = await ada.chat.completions.with_raw_response.create(
        model="phone-studio",
        messages=[{"role": "user", "content": text}],
        max_tokens=9,
        seed=4711,
        stop=["END", "STOP"],
        reasoning_effort="low",
        presence_penalty=1,
        metadata={"audience": "nobody"},
    )
    assert raw.parse().choices[0].message.content == "Fine."
    assert raw.headers[IGNORED] == "presence_penalty"
    (body,) = await sent(target, text, "chat")
    assert (body["seed"], body["stop"], body["reasoning_effort"]) == (4711, ["END", "STOP"], "low")
    assert [body[name] for name in ("max_tokens", "max_completion_tokens") if name in body] == [9]
    assert "presence_penalty" not in body


async def test_the_callers_instructions_follow_the_agents_own_in_every_turn_of_the_run_alone(
    target: Target, ada: AsyncOpenAI
) -> None:
    text = await script(target, {"calls": [{"name": "work", "arguments": {"label": "i"}}]}, {"text": "Arr."})
    role = f"Be pirate {secrets.token_hex(6)}. "  # nobody else's at this model, which other tests use as well
    long = role + "x" * 30_000
    first = await ada.responses.create(model="bench", input=text, instructions=long)
    assert first.output_text == "Arr."
    following = await script(target, {"text": "Plain."})
    second = await ada.responses.create(model="bench", input=following, previous_response_id=first.id)
    assert second.output_text == "Plain."
    mine = await sent(target, role)
    assert len(mine) == 2, "both turns of the first run"
    for body in mine:
        assert body["instructions"].startswith(f"Do what the script says.\n\n{INTRODUCTION}\n")
        assert long in body["instructions"]
    (later,) = await sent(target, following)
    assert later["instructions"] == "Do what the script says.", "they are not carried over"
    items = [item async for item in ada.responses.input_items.list(first.id)]
    assert [item.role for item in items] == ["user"]  # type: ignore[union-attr]


async def test_system_and_developer_messages_keep_their_place_and_are_named_as_the_callers(
    target: Target, ada: AsyncOpenAI
) -> None:
    text = await script(target, {"text": "Arr."})
    messages: list[Any] = [
        {"role": "system", "content": "Be a pirate."},
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Hi."},
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": text},
    ]
    response = await ada.responses.create(model="bench", input=messages)
    completion = await ada.chat.completions.create(model="bench", messages=messages)
    assert (response.output_text, completion.choices[0].message.content) == ("Arr.", "Arr.")
    bodies = await sent(target, text)
    assert len(bodies) == 2
    for body in bodies:
        assert body["instructions"] == "Do what the script says."
        assert [item["role"] for item in body["input"]] == ["developer", "user", "assistant", "developer", "user"]
        assert body["input"][0]["content"].startswith(INTRODUCTION)
        assert "\nBe brief.\n" in body["input"][3]["content"]
    items = [item async for item in ada.responses.input_items.list(response.id, order="asc")]
    assert [(item.role, item.content[0].text) for item in items[:1]] == [("developer", "Be a pirate.")]  # type: ignore[union-attr]


async def test_an_agent_may_read_them_as_a_message_of_the_caller(target: Target, ada: AsyncOpenAI) -> None:
    text = await script(target, {"text": "Hm."})
    response = await ada.responses.create(
        model="phone-studio", input=text, instructions="Be a pirate.", metadata={"audience": "nobody"}
    )
    assert response.output_text == "Hm."
    (body,) = await sent(target, text, "chat")
    assert [message["role"] for message in body["messages"]] == ["system", "user", "user"]
    assert "pirate" not in body["messages"][0]["content"]
    assert body["messages"][1]["content"] == "Be a pirate."


@pytest.mark.main
async def test_a_history_is_taken_as_clients_keep_it(target: Target, ada: AsyncOpenAI) -> None:
    """A message without words, an image of the caller's own, and the agent's as the last."""
    # With the agent's message behind it, what is asked for is the script's second turn.
    begun, text = await script(target, {}, {"text": "Nice."}), await script(target, {"text": "Nice."})
    image = "data:image/png;base64," + "iVBORw0K" * 2_000
    response = await ada.responses.create(
        model="bench",
        input=[
            {"role": "assistant", "content": []},  # type: ignore[list-item, misc]
            {"role": "user", "content": [{"type": "input_image", "image_url": image, "detail": "low"}]},
            {"role": "user", "content": begun},
            {"role": "assistant", "content": "I see"},
        ],
    )
    messages: list[Any] = [
        {"role": "assistant", "content": None, "refusal": "No."},
        {"role": "assistant", "content": None},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": image}}]},
        {"role": "user", "content": text},
        {"role": "system", "content": "Be brief."},
    ]
    completion = await ada.chat.completions.create(model="bench", messages=messages)
    assert (response.output_text, completion.choices[0].message.content) == ("Nice.", "Nice.")
    (first,), (second,) = [[body["input"] for body in await sent(target, each)] for each in (begun, text)]
    assert [item["role"] for item in first] == ["user", "user", "assistant"]
    assert first[0]["content"] == [{"type": "input_image", "image_url": image, "detail": "low"}]
    assert [item["role"] for item in second] == ["assistant", "user", "user", "developer"]
    items = [item async for item in ada.responses.input_items.list(response.id, order="asc")]
    assert items[0].content[0].image_url == image  # type: ignore[union-attr]


async def test_instructions_count_in_the_size_of_the_input(ada: AsyncOpenAI) -> None:
    half = "x" * 600_000
    with pytest.raises(openai.APIStatusError) as large:
        await ada.responses.create(model="bench", input=half, instructions=half)
    assert (large.value.status_code, large.value.code) == (413, "input_too_large")  # type: ignore[attr-defined]
    assert "instructions included" in str(large.value)


async def test_a_key_stands_for_a_request_with_its_instructions_and_options(target: Target, ada: AsyncOpenAI) -> None:
    text = await script(target, {"text": "Fine."})
    asked: dict[str, Any] = {"model": "studio", "input": text, "metadata": {"audience": "nobody"}}
    key = {"Idempotency-Key": secrets.token_hex(8)}
    first = await ada.responses.create(**asked, instructions="Be brief.", temperature=1, extra_headers=key)
    again = await ada.responses.create(**asked, instructions="Be brief.", temperature=1, top_p=0.3, extra_headers=key)
    assert again.id == first.id, "what is left out is no part of what is asked for"
    for more in ({"instructions": "Be long.", "temperature": 1}, {"instructions": "Be brief.", "temperature": 0}):
        with pytest.raises(openai.UnprocessableEntityError):
            await ada.responses.create(**asked, **more, extra_headers=key)


async def test_azures_clients_work_with_the_address_of_this_face_as_their_endpoint(target: Target) -> None:
    text = await script(target, {"text": "Fine."})
    made: dict[str, Any] = {"azure_endpoint": f"{target.api.url}/api/v1", "api_version": "2025-04-01-preview"}
    async with openai.AsyncAzureOpenAI(api_key=CLIENT_KEYS["ada"], **made) as client:
        response = await polled(client, await client.responses.create(model="bench", input=text, background=True))
        assert response.output_text == "Fine."
        assert [item.role async for item in client.responses.input_items.list(response.id)] == ["user"]  # type: ignore[union-attr]
        streamed = await client.responses.create(model="bench", input=text, stream=True)
        assert [event.type async for event in streamed][-1] == "response.completed"
        completion = await client.chat.completions.create(model="bench", messages=[{"role": "user", "content": text}])
        assert completion.choices[0].message.content == "Fine."
        assert "bench" in [model.id async for model in client.models.list()]
        assert (await client.responses.cancel(response.id)).status == "completed"
        await client.responses.delete(response.id)
        with pytest.raises(openai.NotFoundError) as gone:
            await client.responses.retrieve(response.id)
        assert gone.value.code == "response_not_found"
        with pytest.raises(openai.NotFoundError) as nowhere:
            await client.embeddings.create(model="bench", input="x")
        assert nowhere.value.code == "not_found"
    async with openai.AsyncAzureOpenAI(api_key=CLIENT_KEYS["ada"], azure_deployment="bench", **made) as one:
        assert (await one.responses.create(model="bench", input=text)).output_text == "Fine."
        said = await one.chat.completions.create(model="another", messages=[{"role": "user", "content": text}])
        assert (said.choices[0].message.content, said.model) == ("Fine.", "bench"), "the address names the agent"
    async with openai.AsyncAzureOpenAI(api_key="nobody", **made) as nobody:
        with pytest.raises(openai.AuthenticationError):
            await nobody.responses.create(model="bench", input=text)
    base = f"{target.api.url}/api/v1/openai/v1/"
    async with AsyncOpenAI(base_url=base, api_key=CLIENT_KEYS["ada"]) as client:
        assert (await client.responses.create(model="bench", input=text)).output_text == "Fine."
