"""What a run relies on, of the ``ResponsesAgent`` and of an Agent Framework agent behind the adapter alike."""

from __future__ import annotations

from typing import Any

import pytest

from local.model.control import ModelControl
from shared.agentkit import faults
from shared.agentkit.agent import ContinuationToken, ResponseStatus
from tests.contract.framework.conftest import RAN, Harness, context

pytestmark = pytest.mark.asyncio(loop_scope="session")

PIECES = ("Two moons.", "facts about Two moons.", "characters for")


async def test_an_answer_comes_in_the_background(either: Harness, control: ModelControl) -> None:
    await control.script("s", [{"text": "Done.", "reasoning": "Hm.", "usage": {"input_tokens": 7}}])
    response = await either.answer("[script:s]")
    assert (response.status, response.text) == (ResponseStatus.COMPLETED, "Done.")
    assert [item["type"] for item in response.items] == ["reasoning", "message"]
    assert response.usage.input_tokens == 7
    only = (await control.creates(run="r1", turn="1"))[0]
    assert only.response_id == response.response_id
    assert only.body is not None
    sent = {key: only.body.get(key) for key in ("background", "store", "instructions", "model", "previous_response_id")}
    assert sent == {
        "background": True,
        "store": True,
        "instructions": "Write stories.",
        "model": "gpt-scripted",
        "previous_response_id": None,
    }
    assert [each["name"] for each in only.body["tools"]] == list(either.agent.tools)


async def test_a_run_may_ask_for_another_model(either: Harness, control: ModelControl) -> None:
    assert "gpt-5-mini" in either.agent.models
    await either.answer("Hello.", model="gpt-5-mini")
    assert [entry.body and entry.body["model"] for entry in await control.log("create")] == ["gpt-5-mini"]


async def test_calls_are_handed_out_and_run_only_when_the_run_asks(either: Harness, control: ModelControl) -> None:
    asked = await either.answer("Two moons.")
    assert [call.name for call in asked.calls] == ["research_space_facts", "generate_character_profiles"]
    assert asked.response_id is not None
    again = await either.poll(ContinuationToken(response_id=asked.response_id))
    assert again.calls == asked.calls
    assert RAN == []
    assert len(await control.creates()) == 1
    outputs = await either.outputs(asked)
    assert RAN == ["research_space_facts", "generate_character_profiles"]
    story = await either.answer(outputs, previous=asked.response_id)
    assert all(piece in story.text for piece in PIECES)
    second = (await control.creates())[1]
    assert second.body is not None
    assert second.body["previous_response_id"] == asked.response_id
    assert second.body["input"] == outputs
    assert second.body["tools"]


async def test_a_replay_sends_the_items_as_they_are(either: Harness, control: ModelControl) -> None:
    asked = await either.answer("Two moons.")
    calls = [{k: v for k, v in item.items() if k not in ("id", "status")} for item in asked.items]
    outputs = await either.outputs(asked)
    said: list[Any] = [{"role": "user", "content": "Two moons."}]
    for call, output in zip(calls, outputs, strict=True):
        said += [call, output]
    story = await either.answer(said)
    assert all(piece in story.text for piece in PIECES)
    body = (await control.creates())[1].body
    assert body is not None
    assert body["input"] == said


async def test_images_and_files_go_through_untouched(either: Harness, control: ModelControl) -> None:
    said: list[Any] = [
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Look:"},
                {"type": "input_text", "text": "here."},
                {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "high"},
                {"type": "input_file", "file_url": "https://example.com/a.pdf"},
            ],
        }
    ]
    await either.answer(said)
    body = (await control.creates())[0].body
    assert body is not None
    assert body["input"] == said


async def test_a_conversation_goes_on_from_the_response_that_is_named(either: Harness, control: ModelControl) -> None:
    await control.script("good", [{"text": "Good.", "echo": True}])
    first = await either.answer("[script:good] One pear.")
    await control.script("bad", [{"status": "failed", "error": {"code": "bad", "message": "No."}}])
    await either.answer("[script:bad]", previous=first.response_id)
    third = await either.answer("[script:good] Two pears.", previous=first.response_id)
    chained = [entry.body and entry.body.get("previous_response_id") for entry in await control.log("create")]
    assert chained == [None, first.response_id, first.response_id]
    assert third.status is ResponseStatus.COMPLETED


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        (
            {"status": "failed", "error": {"code": "server_error", "message": "It broke."}},
            (ResponseStatus.FAILED, "server_error", "It broke.", None, ""),
        ),
        (
            {"status": "incomplete", "text": "Half a", "incomplete_reason": "content_filter"},
            (ResponseStatus.INCOMPLETE, None, None, "content_filter", "Half a"),
        ),
        ({"status": "cancelled"}, (ResponseStatus.CANCELLED, None, None, None, "")),
        ({"refusal": "I will not."}, (ResponseStatus.COMPLETED, None, None, None, "I will not.")),
    ],
)
async def test_no_ending_is_taken_for_another(
    either: Harness, control: ModelControl, turn: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    await control.script("end", [turn])
    got = await either.answer("[script:end]")
    assert (got.status, got.error_code, got.error_message, got.incomplete_reason, got.text) == expected
    assert got.calls == ()


CREATE_FAULTS: list[tuple[dict[str, Any], type[faults.ProviderFault], str, float | None, int]] = [
    ({"status": 429, "headers": {"retry-after": "7"}}, faults.NotAccepted, "http_429", 7.0, 0),
    ({"status": 409}, faults.NotAccepted, "http_409", None, 0),
    ({"status": 503, "headers": {"retry-after": "3"}}, faults.NotAccepted, "http_503", 3.0, 0),
    ({"status": 400, "json_error": {"code": "bad_model"}}, faults.Refused, "bad_model", None, 0),
    ({"status": 400, "json_error": {"code": "content_filter"}}, faults.Refused, "content_filter", None, 0),
    ({"status": 404}, faults.Refused, "http_404", None, 0),
    ({"status": 401}, faults.AccessDenied, "http_401", None, 0),
    ({"status": 500, "after_accept": True}, faults.PerhapsAccepted, "http_500", None, 1),
    ({"drop": True, "after_accept": True}, faults.PerhapsAccepted, "provider_unreachable", None, 1),
    ({"hang": 30.0, "after_accept": True}, faults.PerhapsAccepted, "provider_unreachable", None, 1),
]


@pytest.mark.parametrize(("fault", "kind", "code", "after", "made"), CREATE_FAULTS)
async def test_a_failed_create_says_what_became_of_it_and_is_never_repeated(
    either: Harness,
    control: ModelControl,
    fault: dict[str, Any],
    kind: type[faults.ProviderFault],
    code: str,
    after: float | None,
    made: int,
) -> None:
    await control.script("s", [{"text": "Fine.", "faults": {"create": [fault]}}])
    with pytest.raises(faults.ProviderFault) as caught:
        await either.create("[script:s]", timeout=2.0 if "hang" in fault else 30.0)
    assert type(caught.value) is kind
    assert caught.value.retry_after == after
    if "hang" not in fault:  # how a timeout is named is the connection's affair
        assert caught.value.code == code
    assert len(await control.log("create")) == 1
    assert len(await control.creates()) == made


@pytest.mark.parametrize("answer", [{"html": True}, {"body": '{"id": "resp_'}, {"body": {}}, {"body": '"what?"'}])
async def test_an_answer_that_is_no_response_leaves_the_create_uncertain(
    either: Harness, control: ModelControl, answer: dict[str, Any]
) -> None:
    await control.script("s", [{"faults": {"create": [{**answer, "after_accept": True}]}}])
    with pytest.raises((faults.PerhapsAccepted, faults.NoNews)):  # of a create both mean an unknown outcome
        await either.create("[script:s]")


@pytest.mark.parametrize(
    ("fault", "kind", "after"),
    [
        ({"status": 429, "headers": {"retry-after": "7"}}, faults.NoNews, 7.0),
        ({"status": 500}, faults.NoNews, None),
        ({"status": 400}, faults.NoNews, None),
        ({"drop": True, "times": -1}, faults.NoNews, None),
        ({"html": True}, faults.NoNews, None),
        ({"status": 404}, faults.ResponseMissing, None),
    ],
)
async def test_a_question_without_an_answer_changes_nothing(
    either: Harness,
    control: ModelControl,
    fault: dict[str, Any],
    kind: type[faults.ProviderFault],
    after: float | None,
) -> None:
    await control.script("s", [{"text": "Fine.", "faults": {"retrieve": [fault]}}])
    created = await either.create("[script:s]")
    with pytest.raises(faults.ProviderFault) as caught:
        await either.poll(created.continuation_token)
    assert (type(caught.value), caught.value.retry_after) == (kind, after)
    if "drop" not in fault:  # aiohttp asks again by itself on a connection that was closed under it
        assert len(await control.log("retrieve")) == 1


async def test_a_predecessor_that_is_gone_is_told_from_a_refusal(either: Harness) -> None:
    with pytest.raises(faults.PreviousResponseMissing):
        await either.create("Hello.", previous="resp_gone")


async def test_tool_outputs_refused_after_a_background_predecessor_are_told(
    either: Harness, control: ModelControl
) -> None:
    await control.switches(azure_tool_outputs=True)
    asked = await either.answer("Two moons.")
    outputs = await either.outputs(asked)
    with pytest.raises(faults.ToolOutputsRefused):
        await either.create(outputs, previous=asked.response_id)
    with pytest.raises(faults.Refused) as caught:
        await either.create(outputs)
    assert type(caught.value) is faults.Refused


async def test_a_response_is_cancelled_and_deleted(either: Harness, control: ModelControl) -> None:
    await control.script("stuck", [{"stuck": True}])
    created = await either.create("[script:stuck]")
    assert created.response_id is not None
    for _ in range(2):
        stopped = await either.agent.cancel(created.response_id, timeout=5.0)
        assert stopped is not None
        assert stopped.status is ResponseStatus.CANCELLED
    assert (await either.poll(created.continuation_token)).status is ResponseStatus.CANCELLED
    for _ in range(2):
        await either.agent.delete(created.response_id, timeout=5.0)
    assert await either.agent.cancel(created.response_id, timeout=5.0) is None
    assert [known.deleted for known in await control.responses()] == [True]
    assert len(await control.creates()) == 1


async def test_a_cancel_that_comes_too_late_finds_the_answer(either: Harness) -> None:
    done = await either.answer("Hello.")
    assert done.response_id is not None
    found = await either.agent.cancel(done.response_id, timeout=5.0)
    assert found is not None
    assert (found.status, found.text) == (ResponseStatus.COMPLETED, done.text)


async def test_the_provider_is_checked_with_the_agent_s_own_credential(either: Harness, control: ModelControl) -> None:
    await either.agent.check(timeout=5.0)
    assert [entry.operation for entry in await control.log()] == ["models"]
    await control.switches(down=True)
    with pytest.raises(faults.NoNews):
        await either.agent.check(timeout=5.0)


async def test_an_approval_and_its_reason_reach_the_provider(either: Harness, control: ModelControl) -> None:
    asked = {"server_label": "crm", "name": "delete", "arguments": {}}
    await control.script("mcp", [{"approvals": [asked]}, {"text": "Heard: ", "echo": True}])
    first = await either.answer("[script:mcp]")
    assert [(each.server, each.name) for each in first.approvals] == [("crm", "delete")]
    verdict = {
        "type": "mcp_approval_response",
        "approval_request_id": first.approvals[0].request_id,
        "approve": False,
        "reason": "Not today.",
    }
    second = await either.answer([verdict], previous=first.response_id)
    assert "Not today." in second.text


async def test_a_bad_call_is_an_output_for_the_model(either: Harness) -> None:
    for arguments in ("", "[]", "{", '{"topic": 3}', '{"topic": {}}'):
        tool = either.agent.tools["research_space_facts"]
        output = await tool.invoke(arguments, context(), either.executor)
        assert '"error"' in output
    assert RAN == []
