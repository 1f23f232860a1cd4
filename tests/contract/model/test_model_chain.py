"""Tool round trips by chain and by replay, and what the provider refuses about them."""

import json
from typing import Any

import openai
import pytest
import pytest_asyncio
from openai import AsyncOpenAI
from openai.types.responses import Response

from local.model.control import ModelControl

pytestmark = pytest.mark.asyncio(loop_scope="session")

MODEL = "gpt-scripted"


def function(name: str, **properties: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {key: {"type": kind} for key, kind in properties.items()}}
    return {"type": "function", "name": name, "parameters": schema}


TOOLS: Any = [
    function("research_space_facts", topic="string"),
    function("generate_character_profiles", story_type="string", count="integer"),
]


def calls(response: Response) -> list[Any]:
    return [item for item in response.output if item.type == "function_call"]


def outputs(response: Response, *texts: str) -> list[Any]:
    return [
        {"type": "function_call_output", "call_id": call.call_id, "output": text}
        for call, text in zip(calls(response), texts, strict=True)
    ]


def replayed(response: Response, *texts: str) -> list[Any]:
    """Each call, then its output, without the provider's ids."""
    items: list[Any] = []
    for call, output in zip(calls(response), outputs(response, *texts), strict=True):
        item = {"type": "function_call", "call_id": call.call_id, "name": call.name}
        items += [{**item, "arguments": call.arguments}, output]
    return items


async def ask(client: AsyncOpenAI, said: Any, **more: Any) -> Response:
    """A foreground response, its JSON checked against the client's own types."""
    raw = await client.responses.with_raw_response.create(model=MODEL, input=said, **more)
    return Response.model_validate_json(raw.text)


async def refused(client: AsyncOpenAI, said: Any, **more: Any) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as caught:
        await client.responses.create(model=MODEL, input=said, **more)
    return caught.value


async def test_the_novelist_asks_for_both_tools_and_writes_from_both_by_chain(client: AsyncOpenAI) -> None:
    asked = await ask(client, "A story about 3 moons.", tools=TOOLS)
    assert [call.name for call in calls(asked)] == ["research_space_facts", "generate_character_profiles"]
    assert json.loads(calls(asked)[0].arguments) == {"topic": "A story about 3 moons."}
    assert json.loads(calls(asked)[1].arguments)["count"] == 3
    story = await ask(client, outputs(asked, "Ice is loud.", "Ada, pilot."), tools=TOOLS, previous_response_id=asked.id)
    for piece in ("3 moons", "Ice is loud.", "Ada, pilot."):
        assert piece in story.output_text
    again = await ask(client, "Another one.", tools=TOOLS, previous_response_id=story.id)
    assert len(calls(again)) == 2


async def test_a_replay_of_the_full_input_gets_the_same_story(client: AsyncOpenAI) -> None:
    asked = await ask(client, "Two suns.", tools=TOOLS)
    said = [{"role": "user", "content": "Two suns."}, *replayed(asked, "It is hot.", "Bo, cook.")]
    story = await ask(client, said, tools=TOOLS)
    assert "It is hot." in story.output_text
    assert "Bo, cook." in story.output_text


async def test_without_parallel_calls_the_novelist_asks_for_one_at_a_time(client: AsyncOpenAI) -> None:
    first = await ask(client, "One sun.", tools=TOOLS, parallel_tool_calls=False)
    second = await ask(
        client,
        outputs(first, "Hot."),
        tools=TOOLS,
        parallel_tool_calls=False,
        previous_response_id=first.id,
    )
    assert [call.name for call in calls(first) + calls(second)] == [tool["name"] for tool in TOOLS]


@pytest_asyncio.fixture(loop_scope="session")
async def scripted(control: ModelControl) -> str:
    """A script of two tool turns and a text."""
    await control.script(
        "tools",
        [
            {"calls": [{"name": "a", "arguments": {"n": 1}}, {"name": "b"}]},
            {"text": "Then", "calls": [{"name": "c", "arguments": "{not json"}]},
            {"text": "Outputs:", "echo": True},
        ],
    )
    return "[script:tools] Go."


async def test_a_script_plays_its_turns_by_chain(client: AsyncOpenAI, scripted: str) -> None:
    first = await ask(client, scripted)
    assert [(c.name, c.arguments) for c in calls(first)] == [("a", '{"n": 1}'), ("b", "{}")]
    second = await ask(client, outputs(first, "A", "B"), previous_response_id=first.id)
    assert (second.output_text, calls(second)[0].arguments) == ("Then", "{not json")
    third = await ask(client, outputs(second, "C"), previous_response_id=second.id)
    assert third.output_text == "Outputs:\n[script:tools] Go.\na: A\nb: B\nc: C"


async def test_a_script_plays_the_same_turns_by_replay(client: AsyncOpenAI, scripted: str) -> None:
    said: list[Any] = [{"role": "user", "content": scripted}]
    first = await ask(client, said)
    said += replayed(first, "A", "B")
    second = await ask(client, said)
    said += [{"role": "assistant", "content": second.output_text}, *replayed(second, "C")]
    assert calls(second)[0].name == "c"
    assert (await ask(client, said)).output_text.startswith("Outputs:")


async def test_a_chain_can_change_to_a_replay_at_any_turn(client: AsyncOpenAI, scripted: str) -> None:
    first = await ask(client, scripted)
    second = await ask(client, outputs(first, "A", "B"), previous_response_id=first.id)
    said = [{"role": "user", "content": scripted}, *replayed(first, "A", "B"), *replayed(second, "C")]
    assert (await ask(client, said)).output_text.startswith("Outputs:")


async def test_a_new_user_message_ends_the_script(client: AsyncOpenAI, scripted: str) -> None:
    first = await ask(client, scripted)
    said = [*outputs(first, "A", "B"), {"role": "user", "content": "Stop."}]
    assert "You said: Stop." in (await ask(client, said, previous_response_id=first.id)).output_text


async def test_a_failed_response_created_again_plays_the_next_attempt(
    client: AsyncOpenAI, control: ModelControl
) -> None:
    turn = {"attempts": [{"status": "failed"}, {"status": "failed"}, {"text": "At last."}]}
    await control.script("flaky", [{"calls": [{"name": "a"}]}, turn])
    first = await ask(client, "[script:flaky]")
    chained = {"said": outputs(first, "A"), "previous_response_id": first.id}
    assert (await ask(client, **chained)).status == "failed"
    replay = [{"role": "user", "content": "[script:flaky]"}, *replayed(first, "A")]
    assert (await ask(client, replay)).status == "failed"
    for _ in range(2):
        assert (await ask(client, **chained)).output_text == "At last."
    assert [(e.turn, e.attempt) for e in await control.log("create")] == [
        (0, 0), (1, 0), (1, 1), (1, 2), (1, 3),
    ]  # fmt: skip


async def test_equal_runs_count_their_attempts_apart(client: AsyncOpenAI, control: ModelControl) -> None:
    await control.script("flaky", [{"attempts": [{"status": "failed"}, {"text": "Fine."}]}])
    for run in ("one", "two"):
        statuses = [
            (await ask(client, "[script:flaky]", metadata={"run_id": run, "attempt": nonce})).status
            for nonce in ("x", "y")
        ]
        assert statuses == ["failed", "completed"]


async def test_the_last_turn_can_repeat_for_ever(client: AsyncOpenAI, control: ModelControl) -> None:
    await control.script("loop", [{"calls": [{"name": "a"}], "repeat": True}])
    response = await ask(client, "[script:loop]")
    for _ in range(4):
        response = await ask(client, outputs(response, "A"), previous_response_id=response.id)
        assert calls(response)
    assert (await control.log())[-1].turn == 4


async def test_a_call_without_output_is_refused(client: AsyncOpenAI, scripted: str) -> None:
    first = await ask(client, scripted)
    a, b = calls(first)
    error = await refused(client, outputs(first, "A", "B")[:1], previous_response_id=first.id)
    assert (error.status_code, error.param) == (400, "input")
    assert f"No tool output found for function call {b.call_id}." in error.message
    error = await refused(client, "Never mind.", previous_response_id=first.id)
    assert f"No tool output found for function call {a.call_id}." in error.message


@pytest.mark.parametrize("more", [{}, {"background": True}, {"stream": True}])
async def test_a_call_without_output_in_the_input_is_refused(client: AsyncOpenAI, scripted: str, more: Any) -> None:
    first = await ask(client, scripted)
    a, b = calls(first)
    said = [{"role": "user", "content": scripted}, *replayed(first, "A", "B")]
    error = await refused(client, said[:-1], **more)
    assert (error.status_code, error.param) == (400, "input")
    assert f"No tool output found for function call {b.call_id}." in error.message
    error = await refused(client, [*said[:2], *said[3:]], **more)
    assert f"No tool output found for function call {a.call_id}." in error.message
    error = await refused(client, [{"role": "user", "content": "On."}], previous_response_id=first.id, **more)
    assert f"No tool output found for function call {a.call_id}." in error.message


async def test_an_output_without_call_is_refused(client: AsyncOpenAI, scripted: str) -> None:
    first = await ask(client, scripted)
    message = f"No tool call found for function call output with call_id {calls(first)[0].call_id}."
    assert message in (await refused(client, outputs(first, "A", "B"))).message
    call, output = replayed(first, "A", "B")[:2]
    assert message in (await refused(client, [output, call])).message
    other = await ask(client, "Hello.")
    assert message in (await refused(client, [output], previous_response_id=other.id)).message


async def test_a_second_output_for_a_call_is_refused(client: AsyncOpenAI, scripted: str) -> None:
    first = await ask(client, scripted)
    twice = [*outputs(first, "A", "B"), *outputs(first, "A", "B")[:1]]
    assert "Duplicate" in (await refused(client, twice, previous_response_id=first.id)).message


async def test_azure_refuses_outputs_after_a_background_response_and_takes_the_replay(
    client: AsyncOpenAI, control: ModelControl, scripted: str
) -> None:
    await control.switches(azure_tool_outputs=True)
    first = await ask(client, scripted, background=True)
    first = await client.responses.retrieve(first.id)
    error = await refused(client, outputs(first, "A", "B"), previous_response_id=first.id)
    assert "No tool call found for function call output with call_id" in error.message
    said = [{"role": "user", "content": scripted}, *replayed(first, "A", "B")]
    assert calls(await ask(client, said))[0].name == "c"
    foreground = await ask(client, scripted)
    assert await ask(client, outputs(foreground, "A", "B"), previous_response_id=foreground.id)


async def test_only_a_known_and_completed_response_can_be_continued(client: AsyncOpenAI, control: ModelControl) -> None:
    error = await refused(client, "On.", previous_response_id="resp_unheard")
    assert (error.status_code, error.code) == (400, "previous_response_not_found")
    assert error.param == "previous_response_id"
    await control.script("stuck", [{"stuck": True}])
    stuck = await ask(client, "[script:stuck]", background=True)
    assert (await refused(client, "On.", previous_response_id=stuck.id)).param == "previous_response_id"
    failed = await ask(client, "Hello.", background=True)
    await control.force(failed.id, "failed")
    assert "'failed'" in (await refused(client, "On.", previous_response_id=failed.id)).message


async def test_a_deleted_response_cannot_be_continued_and_is_still_shown(
    client: AsyncOpenAI, control: ModelControl
) -> None:
    first = await ask(client, "Hello.")
    second = await ask(client, "On.", previous_response_id=first.id)
    await client.responses.delete(first.id)
    error = await refused(client, "On.", previous_response_id=first.id)
    assert (error.status_code, error.code) == (400, "previous_response_not_found")
    assert [(known.id, known.deleted) for known in await control.responses()] == [(first.id, True), (second.id, False)]
    assert "2 earlier" in (await ask(client, "And on.", previous_response_id=second.id)).output_text


async def test_replayed_items_with_ids_must_be_known(client: AsyncOpenAI, control: ModelControl) -> None:
    item = {"type": "message", "id": "msg_1", "role": "assistant", "content": "Hi.", "status": "completed"}
    error = await refused(client, [item, {"role": "user", "content": "On."}])
    assert (error.status_code, "Item with id 'msg_1' not found." in error.message) == (404, True)
    await control.script("think", [{"reasoning": "Hm.", "calls": [{"name": "a"}]}])
    first = await ask(client, "[script:think]")
    reasoning, call = (item.model_dump(exclude_none=True) for item in first.output)
    output = outputs(first, "A")
    assert await ask(client, [reasoning, call, *output])
    assert "without its required 'reasoning' item" in (await refused(client, [call, *output])).message
    references = [{"type": "item_reference", "id": reasoning["id"]}, {"type": "item_reference", "id": call["id"]}]
    assert await ask(client, [*references, *output])
    error = await refused(client, [{"role": "user", "content": "Go."}, reasoning])
    assert "of type 'reasoning' was provided without its required following item" in error.message
    error = await refused(client, [call, *output], previous_response_id=first.id)
    assert f"Duplicate item found with id {call['id']}" in error.message


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"model": "no-such-model", "input": "x"}, 404, "model_not_found"),
        ({"input": "x"}, 400, "missing_required_parameter"),
        ({"model": MODEL}, 400, "missing_required_parameter"),
        ({"model": MODEL, "input": 3}, 400, "invalid_type"),
        ({"model": MODEL, "input": ["x"]}, 400, "invalid_type"),
        ({"model": MODEL, "input": [{"role": "user", "content": 3}]}, 400, "invalid_type"),
        ({"model": MODEL, "input": [{"role": "user", "content": "x", "id": 3}]}, 400, "invalid_type"),
        ({"model": MODEL, "input": [{"type": "function_call_output", "call_id": 1, "output": "x"}]}, 400,
         "invalid_type"),
        ({"model": MODEL, "input": [{"role": "user"}]}, 400, "missing_required_parameter"),
        ({"model": MODEL, "input": "x", "background": True, "store": False}, 400, None),
        ({"model": MODEL, "input": "x", "metadata": dict.fromkeys("abcdefghijklmnopq", "")}, 400,
         "object_above_max_properties"),
        ({"model": MODEL, "input": "x", "metadata": {"k" * 65: ""}}, 400, "string_above_max_length"),
        ({"model": MODEL, "input": "x", "metadata": {"k": "v" * 513}}, 400, "string_above_max_length"),
        ({"model": MODEL, "input": "x", "metadata": {"k": 1}}, 400, "invalid_type"),
        ({"model": MODEL, "input": "x", "tools": [{"type": "function", "function": {"name": "a"}}]}, 400,
         "missing_required_parameter"),
        ({"model": MODEL, "input": "x", "wish": 1}, 400, "unknown_parameter"),
    ],
)  # fmt: skip
async def test_a_malformed_create_is_refused_in_the_api_s_shape(
    client: AsyncOpenAI, control: ModelControl, body: dict[str, Any], status: int, code: str | None
) -> None:
    await control.switches(strict_parameters=True)
    with pytest.raises(openai.APIStatusError) as caught:
        await client.post("/responses", body=body, cast_to=object)
    assert (caught.value.status_code, caught.value.code) == (status, code)
    assert caught.value.type == "invalid_request_error"
    assert await control.creates() == []


async def test_unknown_parameters_are_taken_by_default(client: AsyncOpenAI) -> None:
    assert (await ask(client, "Hello.", extra_body={"wish": 1})).status == "completed"
