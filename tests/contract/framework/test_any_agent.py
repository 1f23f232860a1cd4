"""What the life of a run relies on, whichever kind of agent it is: background or not, chained or not, ours or not."""

from __future__ import annotations

from typing import Any

import pytest

from local.model.control import ModelControl
from shared.agentkit import faults
from shared.agentkit.agent import AgentResponse, Item, ResponseStatus
from shared.runs.actions.conversation import replayed
from tests.contract.framework.conftest import RAN, Harness

pytestmark = pytest.mark.asyncio(loop_scope="session")

QUESTION: Item = {"type": "message", "role": "user", "content": "A story about mice in space."}


async def answer(desk: Harness, items: list[Item], **more: Any) -> AgentResponse:
    """Send a whole conversation, and ask as long as there is a token: an agent without background has none."""
    created = await desk.create(items, background=desk.agent.background, **more)
    assert (created.continuation_token is not None) is desk.agent.background
    return await desk.finish(created)


async def test_an_answer_comes_with_text_items_and_usage(any_agent: Harness, control: ModelControl) -> None:
    await control.script("s", [{"text": "Once upon a time."}])
    done = await answer(any_agent, [{**QUESTION, "content": "[script:s]"}])
    assert (done.status, done.text, done.calls) == (ResponseStatus.COMPLETED, "Once upon a time.", ())
    assert done.usage.total_tokens == done.usage.input_tokens + done.usage.output_tokens > 0
    assert [item["role"] for item in done.items] == ["assistant"]


async def test_tools_are_handed_out_and_their_outputs_taken_in_a_replay(any_agent: Harness) -> None:
    asked = await answer(any_agent, [QUESTION])
    assert {call.name for call in asked.calls} == set(any_agent.agent.tools)
    assert RAN == [], "the agent runs no tool by itself"
    outputs = await any_agent.outputs(asked)
    assert sorted(RAN) == sorted(any_agent.agent.tools)
    told = await answer(any_agent, replayed([QUESTION, *asked.items, *outputs]))
    assert (told.status, told.calls) == (ResponseStatus.COMPLETED, ())
    for output in outputs:
        assert output["output"] in told.text


async def test_a_text_that_was_cut_short_is_incomplete_and_kept(any_agent: Harness, control: ModelControl) -> None:
    await control.script("s", [{"status": "incomplete", "text": "Once", "incomplete_reason": "max_output_tokens"}])
    cut = await answer(any_agent, [{**QUESTION, "content": "[script:s]"}])
    assert (cut.status, cut.text, cut.incomplete_reason) == (ResponseStatus.INCOMPLETE, "Once", "max_output_tokens")


async def test_a_refusal_is_text(any_agent: Harness, control: ModelControl) -> None:
    await control.script("s", [{"refusal": "I would rather not."}])
    refused = await answer(any_agent, [{**QUESTION, "content": "[script:s]"}])
    assert (refused.status, refused.text) == (ResponseStatus.COMPLETED, "I would rather not.")


async def test_another_model_is_asked_for_where_the_run_wants_it(any_agent: Harness, control: ModelControl) -> None:
    await answer(any_agent, [{**QUESTION, "content": "Hello."}], model="gpt-5-mini")
    (entry,) = [entry for entry in await control.log() if entry.operation in ("create", "chat")]
    assert entry.body is not None
    assert entry.body["model"] == "gpt-5-mini"


@pytest.mark.parametrize(
    ("fault", "meaning", "after"),
    [
        ({"status": 429, "headers": {"Retry-After": "7"}}, faults.NotAccepted, 7.0),
        ({"status": 503, "headers": {"Retry-After": "3"}}, faults.NotAccepted, 3.0),
        ({"status": 409}, faults.NotAccepted, None),
        ({"status": 401}, faults.AccessDenied, None),
        ({"status": 403}, faults.AccessDenied, None),
        ({"status": 400, "json_error": {"code": "invalid_prompt", "message": "No."}}, faults.Refused, None),
        ({"status": 404, "json_error": {"code": "model_not_found", "message": "No."}}, faults.Refused, None),
        ({"status": 500}, faults.PerhapsAccepted, None),
        ({"status": 502, "html": True}, faults.PerhapsAccepted, None),
        ({"html": True}, faults.PerhapsAccepted, None),
        ({"drop": True, "times": -1}, faults.PerhapsAccepted, None),
        ({"hang": 30}, faults.PerhapsAccepted, None),
    ],
    ids=str,
)
async def test_what_became_of_a_request_is_told_and_nothing_is_sent_twice(
    any_agent: Harness,
    control: ModelControl,
    fault: dict[str, Any],
    meaning: type[faults.ProviderFault],
    after: float | None,
) -> None:
    await control.switches(faults={"create": [fault]})
    with pytest.raises(meaning) as caught:
        await answer(any_agent, [QUESTION], timeout=1.0)
    assert type(caught.value) is meaning
    assert caught.value.retry_after == after
    sent = [entry for entry in await control.log() if entry.operation in ("create", "chat")]
    assert len(sent) == 1


async def test_whoever_streams_can_be_followed_and_the_others_ignore_the_wish(
    any_agent: Harness, control: ModelControl
) -> None:
    await control.script("s", [{"text": "Once upon a time."}])
    created = await any_agent.create("[script:s]", background=any_agent.agent.background, stream=True)
    done = await any_agent.finish(created)
    assert (done.status, done.text) == (ResponseStatus.COMPLETED, "Once upon a time.")
    (sent,) = [entry for entry in await control.log() if entry.operation in ("create", "chat")]
    assert sent.body is not None
    assert bool(sent.body.get("stream")) is any_agent.agent.streams
    updates = any_agent.agent.follow(str(done.response_id), after=0, timeout=5.0)
    if any_agent.agent.streams:
        said = [update async for update in updates]
        assert ("".join(update.text for update in said), said[-1].response) == (done.text, done)
    else:
        with pytest.raises(faults.NotStreamed):
            await anext(updates)


THEIRS: Item = {
    "type": "function",
    "name": "look_up",
    "description": "Look it up.",
    "parameters": {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]},
    "strict": False,
}


async def test_a_callers_function_is_offered_and_its_call_handed_out(any_agent: Harness, control: ModelControl) -> None:
    await control.script("s", [{"calls": [{"name": "look_up", "arguments": {"word": "Io"}}]}, {"echo": True}])
    question = {**QUESTION, "content": "[script:s]"}
    asked = await answer(any_agent, [question], tools=[THEIRS], tool_choice={"type": "function", "name": "look_up"})
    assert [(call.name, call.arguments) for call in asked.calls] == [("look_up", '{"word": "Io"}')]
    output = {"type": "function_call_output", "call_id": asked.calls[0].call_id, "output": "a moon"}
    told = await answer(any_agent, replayed([question, *asked.items, output]), tools=[THEIRS])
    assert (told.text, told.calls, RAN) == ("[script:s]\nlook_up: a moon", (), [])
    first, second = [entry.body for entry in await control.log() if entry.operation in ("create", "chat")]
    assert first is not None
    assert second is not None
    sent = [each.get("function", each) for each in first["tools"]]
    assert [each["name"] for each in sent] == [*any_agent.agent.tools, "look_up"]
    assert sent[-1]["parameters"] == THEIRS["parameters"]
    assert sent[-1]["strict"] is False
    assert first["tool_choice"].get("function", first["tool_choice"])["name"] == "look_up"
    assert second.get("tool_choice", "auto") == "auto"


@pytest.mark.parametrize("choice", ["none", "required"])
async def test_a_callers_choice_is_sent(any_agent: Harness, control: ModelControl, choice: str) -> None:
    await control.script("s", [{"text": "Well."}])
    await answer(any_agent, [{**QUESTION, "content": "[script:s]"}], tools=[THEIRS], tool_choice=choice)
    (sent,) = [entry.body for entry in await control.log() if entry.operation in ("create", "chat")]
    assert sent is not None
    assert sent["tool_choice"] == choice


async def test_a_callers_function_with_the_name_of_a_tool_is_left_out(
    any_agent: Harness, control: ModelControl
) -> None:
    await control.script("s", [{"text": "Well."}])
    await answer(any_agent, [{**QUESTION, "content": "[script:s]"}], tools=[{**THEIRS, "name": "research_space_facts"}])
    (sent,) = [entry.body for entry in await control.log() if entry.operation in ("create", "chat")]
    assert sent is not None
    assert [each.get("function", each)["name"] for each in sent["tools"]] == [*any_agent.agent.tools]
