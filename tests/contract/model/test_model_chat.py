"""Chat Completions through the real client: the same scripts, turn by turn from the messages, and the refusals."""

import asyncio
import json
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion

from local.model.control import ModelControl
from tests.parts.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

MODEL = "gpt-scripted"


def function(name: str, **properties: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {key: {"type": kind} for key, kind in properties.items()}}
    return {"type": "function", "function": {"name": name, "parameters": schema, "strict": True}}


NOVEL: list[Any] = [
    function("research_space_facts", topic="string"),
    function("generate_character_profiles", story_theme="string", count="integer"),
]


def said(text: str, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": text}


async def ask(client: AsyncOpenAI, *messages: Any, **more: Any) -> ChatCompletion:
    """A completion, its JSON checked against the client's own types."""
    raw = await client.chat.completions.with_raw_response.create(model=MODEL, messages=list(messages), **more)
    completion = ChatCompletion.model_validate_json(raw.text)
    assert not completion.model_extra
    return completion


async def refused(client: AsyncOpenAI, *messages: Any, **more: Any) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as caught:
        await client.chat.completions.create(model=MODEL, messages=list(messages), **more)
    return caught.value


def answered(completion: ChatCompletion, *outputs: str) -> list[Any]:
    """The assistant's message as the client hands it back, and a tool message for each of its calls."""
    message = completion.choices[0].message
    tools = [
        {"role": "tool", "tool_call_id": call.id, "content": output}
        for call, output in zip(message.tool_calls or (), outputs, strict=False)
    ]
    return [message.model_dump(exclude_none=True, exclude={"annotations"}), *tools]


async def test_the_novelist_works_over_chat(client: AsyncOpenAI, control: ModelControl) -> None:
    begun = [said("You are a novelist.", "system"), said("A story about 3 moons.")]
    asked = await ask(client, *begun, tools=NOVEL)
    calls: list[Any] = asked.choices[0].message.tool_calls or []
    assert asked.choices[0].finish_reason == "tool_calls"
    assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == [
        ("research_space_facts", {"topic": "A story about 3 moons."}),
        ("generate_character_profiles", {"story_theme": "A story about 3 moons.", "count": 3}),
    ]
    story = await ask(client, *begun, *answered(asked, "Ice is loud.", "Ada, pilot."), tools=NOVEL)
    assert story.choices[0].finish_reason == "stop"
    for piece in ("3 moons", "Ice is loud.", "Ada, pilot."):
        assert piece in (story.choices[0].message.content or "")
    assert [(e.script, e.turn, e.accepted, e.response_id) for e in await control.log("chat")] == [
        ("novelist", 0, True, asked.id), ("novelist", 1, True, story.id),
    ]  # fmt: skip
    assert await control.creates() == []


async def test_a_script_plays_its_turns_from_the_messages(client: AsyncOpenAI, control: ModelControl) -> None:
    await control.script(
        "tools",
        [
            {"calls": [{"name": "a", "arguments": {"n": 1}}, {"name": "b"}]},
            {"text": "Then", "calls": [{"name": "c", "arguments": "{not json"}]},
            {"text": "Outputs:", "echo": True},
        ],
    )
    messages: list[Any] = [said("[script:tools] Go.")]
    for outputs in (("A", "B"), ("C",)):
        messages += answered(await ask(client, *messages), *outputs)
    assert messages[-2]["content"] == "Then"
    assert messages[-2]["tool_calls"][0]["function"]["arguments"] == "{not json"
    last = await ask(client, *messages)
    assert last.choices[0].message.content == "Outputs:\n[script:tools] Go.\na: A\nb: B\nc: C"
    ended = await ask(client, *messages, said("Well.", "assistant"), said("Thank you."))
    assert "You said: Thank you." in (ended.choices[0].message.content or "")


@pytest.mark.parametrize(
    ("turn", "finish", "content", "refusal"),
    [
        ({"text": "Fine."}, "stop", "Fine.", None),
        ({"refusal": "No."}, "stop", None, "No."),
        ({"reasoning": "Hm.", "text": "Fine."}, "stop", "Fine.", None),
        ({"text": "Half", "status": "incomplete"}, "length", "Half", None),
        ({"status": "incomplete", "incomplete_reason": "content_filter"}, "content_filter", None, None),
    ],
)
async def test_a_completion_ends_as_its_script_says(
    client: AsyncOpenAI, control: ModelControl, turn: dict[str, Any], finish: str, content: str, refusal: str
) -> None:
    await control.script("s", [turn])
    choice = (await ask(client, said("[script:s]"))).choices[0]
    assert (choice.finish_reason, choice.message.content, choice.message.refusal) == (finish, content, refusal)
    assert choice.message.tool_calls is None


async def test_a_failed_turn_is_a_500_and_its_next_attempt_may_do_better(
    client: AsyncOpenAI, control: ModelControl
) -> None:
    failed = {"status": "failed", "error": {"code": "server_error", "message": "It broke."}}
    await control.script("s", [{"attempts": [failed, {"text": "At last."}]}])
    error = await refused(client, said("[script:s]"))
    assert (error.status_code, error.type, error.code) == (500, "server_error", "server_error")
    assert "It broke." in error.message
    assert (await ask(client, said("[script:s]"))).choices[0].message.content == "At last."
    assert [(e.status, e.accepted, e.attempt) for e in await control.log("chat")] == [(500, True, 0), (200, True, 1)]


async def test_the_faults_of_a_create_strike_a_completion(client: AsyncOpenAI, control: ModelControl) -> None:
    faults = [{"status": 429, "headers": {"Retry-After": "3"}}, {"drop": True, "after_accept": True}]
    await control.script("s", [{"text": "Fine.", "faults": {"create": faults}}])
    error = await refused(client, said("[script:s]"))
    assert (error.status_code, error.response.headers["retry-after"]) == (429, "3")
    with pytest.raises(openai.APIConnectionError):
        await ask(client, said("[script:s]"))
    assert (await ask(client, said("[script:s]"))).choices[0].message.content == "Fine."
    assert [entry.accepted for entry in await control.log("chat")] == [False, True, True]


async def test_think_is_the_delay_before_the_answer_and_can_be_cut_short(
    client: AsyncOpenAI, control: ModelControl
) -> None:
    await control.script("s", [{"text": "Fine.", "think": 60}])
    waiting = asyncio.create_task(ask(client, said("[script:s]")))
    known = await eventually(control.responses, timeout=5)
    assert not waiting.done()
    await control.finish(known[0].id)
    assert (await waiting).id == known[0].id


async def test_usage_is_counted_in_the_words_of_chat(client: AsyncOpenAI, control: ModelControl) -> None:
    fixed = {"input_tokens": 7, "output_tokens": 5, "cached_tokens": 3, "reasoning_tokens": 2}
    await control.script("s", [{"text": "Fine.", "usage": fixed}])
    usage: Any = (await ask(client, said("[script:s]"))).usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (7, 5, 12)
    assert usage.prompt_tokens_details.cached_tokens == 3
    assert usage.completion_tokens_details.reasoning_tokens == 2


async def test_a_text_longer_than_the_limit_is_cut(client: AsyncOpenAI, control: ModelControl) -> None:
    await control.script("s", [{"repeat_text": {"text": "word ", "times": 100}}])
    for limit in ("max_tokens", "max_completion_tokens"):
        choice = (await ask(client, said("[script:s]"), **{limit: 5})).choices[0]
        assert (choice.finish_reason, len(choice.message.content or "")) == ("length", 20)


async def test_structured_output_is_what_the_script_says(client: AsyncOpenAI, control: ModelControl) -> None:
    await control.script("s", [{"text": '{"a": 1}'}])
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "A", "strict": True, "schema": {"type": "object"}}}
    parts = {"role": "user", "content": [{"type": "text", "text": "[script:s]"}]}
    told = await ask(client, parts, response_format=wanted, temperature=0.2, tools=NOVEL, tool_choice="none")
    assert told.choices[0].message.content == '{"a": 1}'


def asking(*call_ids: str) -> dict[str, Any]:
    calls = [{"id": i, "type": "function", "function": {"name": "f", "arguments": "{}"}} for i in call_ids]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def told(call_id: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": "x"}


UNANSWERED = (
    "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'."
    " The following tool_call_ids did not have response messages: "
)
ORPHAN = "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."


@pytest.mark.parametrize(
    ("messages", "message", "param"),
    [
        ([said("Go."), asking("a", "b"), told("a")], f"{UNANSWERED}b", "messages.[2].role"),
        ([said("Go."), asking("a", "b"), said("Well?")], f"{UNANSWERED}a, b", "messages.[2].role"),
        ([said("Go."), asking("a"), asking("b"), told("a"), told("b")], f"{UNANSWERED}a", "messages.[2].role"),
        ([said("Go."), told("a")], ORPHAN, "messages.[1].role"),
        ([said("Go."), asking("a"), told("a"), said("Well?"), told("a")], ORPHAN, "messages.[4].role"),
        ([said("Go."), asking("a"), told("b")], "'tool_call_id' of 'b' not found", "messages.[2].tool_call_id"),
        ([said("Go."), asking("a"), told("a"), told("a")], "Duplicate value", "messages.[3].tool_call_id"),
        ([], "empty array", "messages"),
        ([{"content": "Go."}], "'messages[0].role'", "messages[0].role"),
        ([said("Go.", "robot")], "Invalid value: 'robot'", "messages[0].role"),
        ([{"role": "user", "content": None}], "expected a string, got null", "messages.[0].content"),
        ([{"role": "assistant"}], "expected a string, got null", "messages.[0].content"),
        ([{"role": "user", "content": [{"type": "input_text", "text": "Go."}]}], "Invalid value: 'input_text'",
         "messages[0].content[0].type"),
        ([said("Go."), {"role": "assistant", "content": "", "tool_calls": []}], "empty array",
         "messages[1].tool_calls"),
        ([said("Go."), {"role": "assistant", "tool_calls": [{"id": "a", "type": "function"}]}],
         "Missing required parameter", "messages[1].tool_calls[0].function.name"),
        ([said("Go."), {"role": "tool", "content": "x"}], "Missing required parameter", "messages[1].tool_call_id"),
    ],
)  # fmt: skip
async def test_messages_that_cannot_be_are_refused(
    client: AsyncOpenAI, control: ModelControl, messages: list[Any], message: str, param: str
) -> None:
    error = await refused(client, *messages)
    assert (error.status_code, error.type, error.param) == (400, "invalid_request_error", param)
    assert message in error.message
    assert [entry.accepted for entry in await control.log("chat")] == [False]


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"metadata": {"run": "1"}}, "metadata"),
        ({"tools": []}, "tools"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "name": "a"}]}, "tools[0].function"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"parallel_tool_calls": True}, "parallel_tool_calls"),
        ({"response_format": {"type": "json"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema", "name": "A"}}, "response_format.json_schema"),
        ({"extra_body": {"wish": 1}}, None),
        ({"extra_body": {"input": "Go."}}, None),
        ({"extra_body": {"stream": True}}, None),
        ({"extra_body": {"messages": None}}, "messages"),
        ({"extra_body": {"messages": "Go."}}, "messages"),
    ],
)
async def test_parameters_that_cannot_be_are_refused(
    client: AsyncOpenAI, control: ModelControl, more: dict[str, Any], param: str | None
) -> None:
    await control.switches(strict_parameters=True)
    error = await refused(client, said("Go."), **more)
    assert (error.status_code, error.type, error.param) == (400, "invalid_request_error", param)


async def test_metadata_is_taken_with_store_and_tells_runs_apart(client: AsyncOpenAI, control: ModelControl) -> None:
    await control.script("s", [{"attempts": [{"text": "One."}, {"text": "Two."}]}])
    texts = [
        (await ask(client, said("[script:s]"), store=True, metadata={"run": run})).choices[0].message.content
        for run in ("a", "b", "a")
    ]
    assert texts == ["One.", "One.", "Two."]


async def test_unknown_scripts_and_models_are_refused(client: AsyncOpenAI) -> None:
    assert (await refused(client, said("[script:never]"))).code == "script_not_found"
    with pytest.raises(openai.NotFoundError) as caught:
        await client.chat.completions.create(model="no-such-model", messages=[{"role": "user", "content": "Go."}])
    assert caught.value.code == "model_not_found"


async def test_a_completion_is_no_response_of_the_other_api(client: AsyncOpenAI, control: ModelControl) -> None:
    completion = await ask(client, said("Hello."))
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(completion.id)
    with pytest.raises(openai.BadRequestError) as caught:
        await client.responses.create(model=MODEL, input="On.", previous_response_id=completion.id)
    assert caught.value.code == "previous_response_not_found"
    assert [known.id for known in await control.responses()] == [completion.id]
