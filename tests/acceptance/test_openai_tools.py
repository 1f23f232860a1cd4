"""A caller's own functions over the whole stack, as OpenAI's client brings them: responses, streams, completions."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from tests.acceptance.conftest import CLIENT_KEYS, Target, client_of
from tests.acceptance.test_openai_requests import script, sent

PARAMETERS = {
    "type": "object",
    "properties": {"word": {"type": "string"}},
    "required": ["word"],
    "additionalProperties": False,
}
LOOK_UP: Any = {"type": "function", "name": "look_up", "parameters": PARAMETERS, "strict": True}
CHAT_LOOK_UP: Any = {"type": "function", "function": {"name": "look_up", "parameters": PARAMETERS}}
CALLS = {"calls": [{"name": "look_up", "arguments": {"word": "dormouse"}}]}


@pytest.fixture
def driver() -> str:
    """None of this is the driver's."""
    return "durable"


def output(call: Any, text: str = "asleep") -> Any:
    return {"type": "function_call_output", "call_id": call.call_id, "output": text}


@pytest.mark.main
async def test_a_response_ends_with_calls_and_the_next_one_brings_what_they_gave(
    target: Target, ada: AsyncOpenAI
) -> None:
    text = await script(target, CALLS, {"text": "It sleeps."})
    first = await ada.responses.create(model="assistant", input=text, tools=[LOOK_UP], instructions="Be brief.")
    (call,) = first.output
    assert (first.status, first.output_text) == ("completed", "")
    assert call.type == "function_call"
    assert (call.name, json.loads(call.arguments), call.status) == ("look_up", {"word": "dormouse"}, "completed")
    assert [tool.name for tool in first.tools if tool.type == "function"] == ["look_up"]
    assert (await ada.responses.retrieve(first.id)).output == first.output
    second = await ada.responses.create(
        model="assistant", input=[output(call)], tools=[LOOK_UP], previous_response_id=first.id
    )
    assert (second.output_text, second.previous_response_id) == ("It sleeps.", first.id)
    listed = [item async for item in ada.responses.input_items.list(second.id)]
    assert [(item.type, getattr(item, "output", None)) for item in listed] == [("function_call_output", "asleep")]


async def test_a_conversation_that_the_client_keeps_has_calls_and_outputs_in_it(
    target: Target, ada: AsyncOpenAI
) -> None:
    """In full, or by references to what was answered, as Vercel's AI SDK does."""
    text = await script(target, CALLS)
    first = await ada.responses.create(model="assistant", input=text, tools=[LOOK_UP])
    (call,) = first.output
    assert call.type == "function_call"
    following = await script(target, {"text": "So it is."})
    for said in (call.to_dict(), {"type": "item_reference", "id": call.id}):
        messages: Any = [{"role": "user", "content": text}, said, output(call), {"role": "user", "content": following}]
        again = await ada.responses.create(model="assistant", input=messages, tools=[LOOK_UP])
        assert (again.output_text, again.previous_response_id) == ("So it is.", None)
    for body in await sent(target, following):
        assert [item.get("type", "message") for item in body["input"]] == [
            *("message", "function_call", "function_call_output", "message")
        ]
    async with client_of(target.api.url, CLIENT_KEYS["bob"]) as bob:
        with pytest.raises(openai.NotFoundError):
            await bob.responses.create(model="assistant", input=messages, tools=[LOOK_UP])


async def test_a_stream_ends_with_calls_and_can_be_taken_up_at_each_event(target: Target, ada: AsyncOpenAI) -> None:
    text = await script(target, {"text": "Let me see.", **CALLS})
    async with ada.responses.stream(model="assistant", input=text, tools=[LOOK_UP]) as events:
        heard = [event async for event in events]
        final = await events.get_final_response()
    assert [item.type for item in final.output] == ["message", "function_call"]
    kinds = [event.type for event in heard]
    assert "response.function_call_arguments.delta" in kinds
    for event in heard[:-1]:
        stream = await ada.responses.retrieve(final.id, stream=True, starting_after=event.sequence_number)
        rest = [each async for each in stream]
        assert rest[-1].type == "response.completed"
        assert rest[0].sequence_number > event.sequence_number


@pytest.mark.main
async def test_chat_completions_have_tool_calls_and_take_messages_of_tools(target: Target, ada: AsyncOpenAI) -> None:
    text = await script(target, CALLS)
    asked: Any = {"role": "user", "content": text}
    first = await ada.chat.completions.create(model="assistant", messages=[asked], tools=[CHAT_LOOK_UP])
    choice = first.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    assert choice.message.tool_calls is not None
    (call,) = choice.message.tool_calls
    assert call.type == "function"
    assert json.loads(call.function.arguments) == {"word": "dormouse"}
    following = await script(target, {"text": "It sleeps."})
    result: Any = {"role": "tool", "tool_call_id": call.id, "content": f"asleep {following}"}
    more: Any = {"role": "user", "content": following}
    messages = [asked, choice.message.to_dict(), result, more]
    second = await ada.chat.completions.create(model="assistant", messages=messages, tools=[CHAT_LOOK_UP])
    assert second.choices[0].message.content == "It sleeps."


async def test_a_history_of_a_chat_has_each_call_before_its_message_of_a_tool(target: Target, ada: AsyncOpenAI) -> None:
    user = {"role": "user", "content": await script(target, {"text": "Fine.", "repeat": True})}
    call = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
    calls, result = {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "call_1"}
    histories: list[tuple[list[Any], tuple[str, str] | None]] = [
        ([user, {**calls, "content": None}, {**result, "content": "x"}], None),
        ([user, {**calls, "content": ""}, {**result, "content": None}], None),
        ([user, calls, {**result, "content": [{"type": "text", "text": "x"}]}], None),
        ([user, calls, {**result, "content": "x"}, calls, {**result, "content": "y"}], None),
        ([user, {"role": "assistant", "content": "So.", "tool_calls": None}, user], None),
        ([user, {"role": "assistant", "content": None, "tool_calls": []}, user], None),
        ([{**result, "content": "x"}, calls, user], ("no_such_tool_call", "messages[0].tool_call_id")),
        ([{**user, "content": None}, {**result, "content": "x"}], ("no_such_tool_call", "messages[1].tool_call_id")),
        ([user, calls, user], ("tool_outputs_missing", "messages")),
    ]
    for messages, refusal in histories:
        asked: Any = {"model": "assistant", "messages": messages, "tools": [CHAT_LOOK_UP]}
        if refusal is None:
            completion = await ada.chat.completions.create(**asked)
            assert completion.choices[0].message.content == "Fine.", messages
            continue
        with pytest.raises(openai.BadRequestError) as refused:
            await ada.chat.completions.create(**asked)
        assert (refused.value.code, refused.value.param) == refusal, messages


async def test_outputs_are_taken_in_any_order_and_once_each_and_may_have_parts(
    target: Target, ada: AsyncOpenAI
) -> None:
    two = {"calls": [{"name": "look_up", "arguments": {"word": word}} for word in ("dormouse", "otter")]}
    text = await script(target, two, {"text": "Fine."})
    first = await ada.responses.create(model="assistant", input=text, tools=[LOOK_UP])
    one, other = first.output
    image = {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "auto"}
    parts = {**output(one), "output": [{"type": "input_text", "text": "asleep"}, image]}

    async def go_on(*items: Any) -> Any:
        return await ada.responses.create(
            model="assistant", input=list(items), tools=[LOOK_UP], previous_response_id=first.id
        )

    refusals: list[tuple[list[Any], str, str]] = [
        ([output(one), output(one), output(other)], "no_such_tool_call", "input"),
        ([output(one)], "tool_outputs_missing", "input"),
        ([output(one), {**output(other), "output": {"a": 1}}], "invalid_request", "input[1].output"),
    ]
    for items, code, param in refusals:
        with pytest.raises(openai.BadRequestError) as refused:
            await go_on(*items)
        assert (refused.value.code, refused.value.param) == (code, param), items
    answers = [await go_on(output(other), parts) for _ in range(2)]
    assert [(each.output_text, each.previous_response_id) for each in answers] == [("Fine.", first.id)] * 2
    assert answers[0].id.rpartition("_")[0] == first.id.rpartition("_")[0], "the first goes on with the conversation"
    assert answers[1].id.rpartition("_")[0] != first.id.rpartition("_")[0], "the second begins a branch"
    listed = [item.to_dict() async for item in ada.responses.input_items.list(answers[0].id)]
    assert [item["output"] for item in reversed(listed)] == ["asleep", parts["output"]]


async def test_chunks_have_tool_calls(target: Target, ada: AsyncOpenAI) -> None:
    text = await script(target, {"text": "Let me see.", **CALLS})
    async with ada.chat.completions.stream(
        model="assistant", messages=[{"role": "user", "content": text}], tools=[CHAT_LOOK_UP]
    ) as events:
        async for _ in events:
            pass
        final = await events.get_final_completion()
    message = final.choices[0].message
    assert (message.content, final.choices[0].finish_reason) == ("Let me see.", "tool_calls")
    assert message.tool_calls is not None
    assert [call.function.name for call in message.tool_calls] == ["look_up"]


async def test_what_does_not_fit_is_refused_and_says_what_does(target: Target, ada: AsyncOpenAI) -> None:
    text = await script(target, CALLS)
    first = await ada.responses.create(model="assistant", input=text, tools=[LOOK_UP])
    refusals: list[tuple[dict[str, Any], str, str]] = [
        ({"model": "bench", "tools": [LOOK_UP]}, "unsupported_parameter", "tools"),
        ({"tools": [LOOK_UP, LOOK_UP]}, "invalid_request", "tools[1].name"),
        ({"tools": [{**LOOK_UP, "name": "a b"}]}, "invalid_request", "tools[0].name"),
        ({"tools": [{"type": "web_search"}]}, "unsupported_parameter", "tools[0].type"),
        ({"tools": [{**LOOK_UP, "name": f"f{n}"} for n in range(129)]}, "invalid_request", "tools"),
        ({"tools": [LOOK_UP], "tool_choice": {"type": "function", "name": "x"}}, "invalid_request", "tool_choice"),
        ({"tool_choice": "required"}, "unsupported_parameter", "tool_choice"),
        ({"previous_response_id": first.id}, "tool_outputs_missing", "input"),
        (
            {"input": [{"type": "function_call_output", "call_id": "call_x", "output": "x"}]},
            "no_such_tool_call",
            "input",
        ),
        (
            {"input": [{"type": "function_call", "call_id": "call_x", "name": "look_up", "arguments": "{}"}]},
            "tool_outputs_missing",
            "input",
        ),
    ]
    for fields, code, param in refusals:
        with pytest.raises(openai.BadRequestError) as refused:
            await ada.responses.create(**{"model": "assistant", "input": "x", **fields})
        assert (refused.value.code, refused.value.param) == (code, param), fields


async def test_a_choice_is_what_the_first_turn_must_call(target: Target, ada: AsyncOpenAI) -> None:
    for choice, expected in (("required", "required"), ("none", None), ({"type": "function", "name": "look_up"}, ...)):
        text = await script(target, {"text": "Fine."})
        given: Any = {"tools": [LOOK_UP], "tool_choice": choice, "parallel_tool_calls": False}
        await ada.responses.create(model="assistant", input=text, **given)
        (body,) = await sent(target, text)
        assert body.get("tool_choice") == (choice if expected is ... else expected)
        assert ("tools" in body) is (choice != "none")
