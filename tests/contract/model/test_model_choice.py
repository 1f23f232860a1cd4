"""Functions that a caller brings: which of them the model calls, and what `tool_choice` makes of it."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.responses import Response

from local.model.control import ModelControl
from tests.contract.model.test_model_personas import ANALYST, COMPLIANCE, REPORT, ask, function

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOVELIST: Any = [
    function("research_space_facts", topic="string"),
    function("generate_character_profiles", story_theme="string", count="integer"),
]
NOVELIST_OF_DOTNET: Any = [
    function("_Main_g_ResearchSpaceFacts_0_3", topic="string"),
    function("_Main_g_GenerateCharacterProfiles_0_4"),
]
WEATHER: Any = [function("get_weather", city="string"), function("get_local_time", city="string")]


def called(response: Response) -> list[str]:
    return [item.name for item in response.output if item.type == "function_call"]


def outputs(response: Response) -> list[Any]:
    calls = [item for item in response.output if item.type == "function_call"]
    return [
        {"type": "function_call_output", "call_id": call.call_id, "output": f"<{index}>"}
        for index, call in enumerate(calls)
    ]


async def streamed(client: AsyncOpenAI, said: Any, **more: Any) -> Response:
    """The response as its last event has it; each of its calls was told before."""
    told: list[str] = []
    async for event in await client.responses.create(model="gpt-scripted", input=said, stream=True, **more):
        if event.type == "response.output_item.done" and event.item.type == "function_call":
            told.append(event.item.name)
        if event.type == "response.completed":
            assert told == called(event.response)
            return event.response
    raise AssertionError("it does not end")


@pytest.mark.parametrize("send", [ask, streamed])
@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("tools", [NOVELIST, NOVELIST_OF_DOTNET])
async def test_whoever_brings_the_novelist_s_functions_gets_a_story(
    client: AsyncOpenAI, send: Any, background: bool, tools: Any
) -> None:
    more: dict[str, Any] = {"tools": tools, "background": background, "instructions": "You write space novels."}

    async def ended(said: Any, **chained: Any) -> Response:
        response: Response = await send(client, said, **more, **chained)
        return await client.responses.retrieve(response.id) if background else response

    asked = await ended("Write a very long novel about otters in space.")
    assert called(asked) == [tool["name"] for tool in tools]
    story = await ended(outputs(asked), previous_response_id=asked.id)
    assert story.output_text.startswith("A story: Write a very long novel about otters in space.")
    assert "<0>" in story.output_text
    assert "<1>" in story.output_text


@pytest.mark.parametrize("send", [ask, streamed])
async def test_without_parallel_calls_there_is_one_at_a_time(client: AsyncOpenAI, send: Any) -> None:
    for tools, said in ((NOVELIST_OF_DOTNET, "Otters."), (WEATHER, "Weather and local time in Paris?")):
        more: dict[str, Any] = {"tools": tools, "parallel_tool_calls": False}
        first = await send(client, said, **more)
        second = await send(client, outputs(first), previous_response_id=first.id, **more)
        last = await send(client, outputs(second), previous_response_id=second.id, **more)
        assert called(first) + called(second) == [tool["name"] for tool in tools]
        assert called(last) == []
        assert "<0>" in last.output_text


async def test_the_functions_that_a_message_suggests_are_called_once(
    client: AsyncOpenAI, control: ModelControl
) -> None:
    first = await ask(client, "What is the weather in Paris?", tools=WEATHER)
    assert called(first) == ["get_weather"]
    second = await ask(client, outputs(first), previous_response_id=first.id, tools=WEATHER)
    assert (called(second), "get_weather gave: <0>" in second.output_text) == ([], True)
    assert called(await ask(client, "Thank you.", previous_response_id=second.id, tools=WEATHER)) == []
    again = await ask(client, "And the weather in Rome?", previous_response_id=second.id, tools=WEATHER)
    assert called(again) == ["get_weather"]
    assert {(entry.script, entry.turn) for entry in await control.log("create")} == {("assistant", 0), ("assistant", 1)}


PERSONAS: list[Any] = [
    ("Two moons.", {"tools": NOVELIST}, 2),
    ("Check access.", {"tools": COMPLIANCE, "text": REPORT}, 1),
    ("How is MSFT doing?", {"tools": ANALYST}, 1),
    ("The weather?", {"tools": WEATHER}, 1),
    ("Hello.", {"tools": WEATHER}, 0),
]


@pytest.mark.parametrize(("said", "more", "freely"), PERSONAS)
async def test_each_persona_does_what_the_choice_says(client: AsyncOpenAI, said: str, more: Any, freely: int) -> None:
    names = [tool["name"] for tool in more["tools"] if tool["type"] == "function"]
    assert len(called(await ask(client, said, **more))) == freely
    assert len(called(await ask(client, said, **more, tool_choice="auto"))) == freely
    assert called(await ask(client, said, **more, tool_choice="none")) == []
    assert len(called(await ask(client, said, **more, tool_choice="required"))) == max(freely, 1)
    named = {"type": "function", "name": names[-1]}
    first = await ask(client, said, **more, tool_choice=named)
    assert called(first) == [names[-1]]
    # Until there is an output, and then no more: who asks so without end gets an end.
    assert called(await ask(client, outputs(first), previous_response_id=first.id, **more, tool_choice=named)) == []


async def test_a_required_call_is_made_until_there_is_an_output(client: AsyncOpenAI) -> None:
    more: dict[str, Any] = {"tools": WEATHER, "tool_choice": "required"}
    first = await streamed(client, "Hello.", **more)
    assert called(first) == ["get_weather"]
    assert json.loads(next(item.arguments for item in first.output if item.type == "function_call")) == {
        "city": "Hello."
    }
    second = await ask(client, outputs(first), previous_response_id=first.id, **more)
    assert (called(second), "get_weather gave: <0>" in second.output_text) == ([], True)
    assert called(await ask(client, "Hello.", previous_response_id=second.id, **more)) == ["get_weather"]


async def test_any_call_is_what_was_required(client: AsyncOpenAI) -> None:
    more: dict[str, Any] = {"tools": [*WEATHER, *NOVELIST], "tool_choice": "required"}
    first = await ask(client, "Otters.", **more)
    assert called(first) == [tool["name"] for tool in NOVELIST]
    story = await ask(client, outputs(first), previous_response_id=first.id, **more)
    assert (called(story), "A story: Otters." in story.output_text) == ([], True)


async def test_a_script_goes_its_own_way_whatever_the_choice(client: AsyncOpenAI, control: ModelControl) -> None:
    await control.script("s", [{"calls": [{"name": "get_local_time"}]}])
    for choice in ("none", "required", {"type": "function", "name": "get_weather"}):
        assert called(await ask(client, "[script:s]", tools=WEATHER, tool_choice=choice)) == ["get_local_time"]


async def test_chat_completions_have_the_same_choices(client: AsyncOpenAI) -> None:
    tools: Any = [{"type": "function", "function": {"name": t["name"], "parameters": t["parameters"]}} for t in WEATHER]
    named = {"type": "function", "function": {"name": "get_local_time"}}
    expected: list[tuple[Any, list[str]]] = [
        ("none", []), ("auto", []), ("required", ["get_weather"]), (named, ["get_local_time"]),
    ]  # fmt: skip
    for choice, names in expected:
        messages: Any = [{"role": "user", "content": "Hello."}]
        answer = await client.chat.completions.create(
            model="gpt-scripted", messages=messages, tools=tools, tool_choice=choice
        )
        found: list[Any] = answer.choices[0].message.tool_calls or []
        assert [call.function.name for call in found] == names
    with pytest.raises(openai.BadRequestError, match="not found in 'tools'"):
        await client.chat.completions.create(
            model="gpt-scripted",
            messages=messages,
            tools=tools,
            tool_choice={"type": "function", "function": {"name": "x"}},
        )


@pytest.mark.parametrize(
    ("choice", "tools", "says"),
    [
        ("required", [], "Tool choice 'required' must be specified with 'tools' parameter."),
        ({"type": "function", "name": "x"}, WEATHER, "Tool choice 'function' not found in 'tools' parameter."),
        ({"type": "function", "name": "x"}, [], "Tool choice 'function' not found in 'tools' parameter."),
        ({"type": "function"}, [{"type": "web_search"}], "Tool choice 'function' not found in 'tools' parameter."),
        ("get_weather", WEATHER, "Invalid value: 'get_weather'."),
        (3, WEATHER, "Invalid type for 'tool_choice'"),
    ],
)
async def test_a_choice_of_what_is_not_there_is_refused(
    client: AsyncOpenAI, choice: Any, tools: Any, says: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await ask(client, "Hello.", tools=tools, tool_choice=choice)
    assert caught.value.param == "tool_choice"
    assert says in caught.value.message


async def test_a_choice_that_requires_no_function_is_taken(client: AsyncOpenAI) -> None:
    for choice in ("none", "auto"):
        assert (await ask(client, "Hello.", tool_choice=choice)).status == "completed"
    hosted: Any = {"tools": [{"type": "web_search_preview"}]}
    for choice in ("required", {"type": "web_search_preview"}):
        assert (await ask(client, "Hello.", tool_choice=choice, **hosted)).status == "completed"
