"""The scripted model through the real client: create, poll, cancel, delete, and the control of them."""

import time
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.responses import Response

from local.model import ScriptedModel
from local.model.control import ControlError, ModelControl
from tests.parts.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

EXTRA = {"store"}  # sent by OpenAI too, and missing from the client's types


async def retrieved(client: AsyncOpenAI, response_id: str) -> Response:
    """The response now, its JSON checked against the client's own types."""
    raw = await client.responses.with_raw_response.retrieve(response_id)
    return checked(raw.text)


def checked(text: str) -> Response:
    response = Response.model_validate_json(text)
    assert set(response.model_extra or ()) <= EXTRA
    for item in response.output:
        assert not item.model_extra
    return response


async def until(client: AsyncOpenAI, response_id: str, *statuses: str) -> Response:
    async def reached() -> Response | None:
        response = await retrieved(client, response_id)
        return response if response.status in statuses else None

    found: Response = await eventually(reached, timeout=5)
    return found


async def start(client: AsyncOpenAI, said: str = "Hello.", **more: Any) -> Response:
    raw = await client.responses.with_raw_response.create(
        model="gpt-scripted", input=said, background=True, store=True, **more
    )
    return checked(raw.text)


async def test_a_background_response_is_queued_then_in_progress_then_completed(client: AsyncOpenAI) -> None:
    now = 1_000.0
    async with ScriptedModel(think=10.0, clock=lambda: now) as model:
        client = client.with_options(base_url=model.url)
        created = await start(client)
        assert (created.status, created.output, created.created_at) == ("queued", [], 1_000)
        assert (await retrieved(client, created.id)).status == "queued"
        now += 1
        working = await retrieved(client, created.id)
        assert (working.status, working.output, working.usage) == ("in_progress", [], None)
        now += 9
        done = await retrieved(client, created.id)
    assert (done.status, done.completed_at) == ("completed", 1_010)
    assert "You said: Hello." in done.output_text
    assert done.usage is not None
    assert done.usage.total_tokens == done.usage.input_tokens + done.usage.output_tokens


async def test_the_answer_tells_what_was_heard(client: AsyncOpenAI) -> None:
    first = await until(client, (await start(client, "One apple.")).id, "completed")
    second = await start(client, "Two pears.", previous_response_id=first.id)
    text = (await until(client, second.id, "completed")).output_text
    assert "You said: Two pears." in text
    assert "1 earlier user message." in text


async def test_the_foreground_waits_for_the_end(client: AsyncOpenAI, control: ModelControl) -> None:
    await control.script("short", [{"think": 0.1, "text": "Done."}])
    begun = time.monotonic()
    response = await client.responses.create(model="gpt-scripted", input="[script:short]")
    assert response.status == "completed"
    assert time.monotonic() - begun >= 0.1


async def test_what_was_asked_is_echoed_in_the_response(client: AsyncOpenAI) -> None:
    tool = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}
    created = await start(
        client,
        instructions="Be brief.",
        metadata={"run": "r1"},
        tools=[tool],
        temperature=0.2,
        max_output_tokens=500,
        reasoning={"effort": "low"},
        text={"format": {"type": "json_schema", "name": "answer", "schema": {"type": "object"}}},
    )
    response = await until(client, created.id, "completed")
    assert response.instructions == "Be brief."
    assert response.metadata == {"run": "r1"}
    assert response.temperature == 0.2
    assert response.max_output_tokens == 500
    assert response.tools[0].type == "function"
    assert response.text is not None
    assert response.text.format is not None
    assert response.text.format.type == "json_schema"


@pytest.mark.parametrize(
    ("turn", "status"),
    [
        ({"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "Slow down."}}, "failed"),
        ({"status": "incomplete", "text": "Half a"}, "incomplete"),
        ({"status": "cancelled"}, "cancelled"),
    ],
)
async def test_a_response_ends_as_its_script_says(
    client: AsyncOpenAI, control: ModelControl, turn: dict[str, Any], status: str
) -> None:
    await control.script("end", [turn])
    response = await until(client, (await start(client, "[script:end]")).id, status)
    if status == "failed":
        assert response.error is not None
        assert (response.error.code, response.error.message) == ("rate_limit_exceeded", "Slow down.")
    if status == "incomplete":
        assert response.incomplete_details is not None
        assert response.incomplete_details.reason == "max_output_tokens"
        assert response.output_text == "Half a"


async def test_a_refusal_and_reasoning_are_items_of_their_own(client: AsyncOpenAI, control: ModelControl) -> None:
    await control.script("no", [{"reasoning": "Better not.", "refusal": "I will not."}])
    response = await until(client, (await start(client, "[script:no]")).id, "completed")
    assert [item.type for item in response.output] == ["reasoning", "message"]


async def test_summaries_of_reasoning_come_only_to_who_asks(client: AsyncOpenAI, control: ModelControl) -> None:
    await control.script("s", [{"reasoning": "First.\n\nThen.", "text": "So."}])
    for asked, summaries in (({"effort": "low"}, []), ({"summary": "auto"}, ["First.", "Then."])):
        created = await start(client, "[script:s]", reasoning=asked)
        item: Any = (await until(client, created.id, "completed")).output[0]
        assert [part.text for part in item.summary] == summaries


async def test_a_text_longer_than_max_output_tokens_is_cut(client: AsyncOpenAI) -> None:
    created = await start(client, "word " * 100, max_output_tokens=16)
    response = await until(client, created.id, "incomplete")
    assert len(response.output_text) == 64


async def test_a_very_long_text_arrives_whole(client: AsyncOpenAI, control: ModelControl) -> None:
    await control.script("long", [{"repeat_text": {"text": "0123456789", "times": 200_000}}])
    response = await until(client, (await start(client, "[script:long]")).id, "completed")
    assert len(response.output_text) == 2_000_000


async def test_cancel_ends_it_and_is_fine_twice(client: AsyncOpenAI, control: ModelControl) -> None:
    await control.script("stuck", [{"stuck": True}])
    created = await start(client, "[script:stuck]")
    for _ in range(2):
        raw = await client.responses.with_raw_response.cancel(created.id)
        assert checked(raw.text).status == "cancelled"
    assert (await retrieved(client, created.id)).status == "cancelled"
    assert [known.cancelled for known in await control.responses()] == [True]


@pytest.mark.parametrize(("answer", "error"), [(200, None), (400, 400), (409, 409)])
async def test_cancelling_a_completed_one_answers_as_switched(
    client: AsyncOpenAI, control: ModelControl, answer: int, error: int | None
) -> None:
    await control.switches(cancel_completed=answer)
    created = await until(client, (await start(client)).id, "completed")
    if error is None:
        assert (await client.responses.cancel(created.id)).status == "completed"
        return
    with pytest.raises(openai.APIStatusError, match="Cannot cancel a completed response") as caught:
        await client.responses.cancel(created.id)
    assert caught.value.status_code == error


async def test_a_cancel_can_be_refused_by_script(client: AsyncOpenAI, control: ModelControl) -> None:
    await control.script("firm", [{"stuck": True, "on_cancel": 409}])
    created = await start(client, "[script:firm]")
    with pytest.raises(openai.ConflictError):
        await client.responses.cancel(created.id)
    assert (await until(client, created.id, "in_progress")).status == "in_progress"


async def test_a_cancelled_response_can_complete_later_all_the_same(client: AsyncOpenAI, control: ModelControl) -> None:
    await control.script("late", [{"stuck": True, "text": "Late.", "late_completed": 0.1}])
    created = await start(client, "[script:late]")
    assert (await client.responses.cancel(created.id)).status == "cancelled"
    response = await until(client, created.id, "completed")
    assert (response.output_text, response.completed_at is not None) == ("Late.", True)


async def test_only_background_responses_can_be_cancelled(client: AsyncOpenAI) -> None:
    response = await client.responses.create(model="gpt-scripted", input="Hello.")
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
        await client.responses.cancel(response.id)


async def test_a_deleted_response_is_gone(client: AsyncOpenAI, account: str) -> None:
    created = await start(client)
    answer = await client.delete(f"/responses/{created.id}", cast_to=object)
    assert answer == {"id": created.id, "object": "response", "deleted": True}
    for call in (client.responses.retrieve, client.responses.cancel, client.responses.delete):
        with pytest.raises(openai.NotFoundError, match=f"Response with id '{created.id}' not found"):
            await call(created.id)
    with pytest.raises(openai.BadRequestError) as caught:
        await start(client, previous_response_id=created.id)
    assert caught.value.code == "previous_response_not_found"


async def test_an_unstored_response_is_not_found(client: AsyncOpenAI) -> None:
    response = await client.responses.create(model="gpt-scripted", input="Hello.", store=False)
    assert response.output_text
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(response.id)


async def test_an_id_can_vanish(client: AsyncOpenAI, control: ModelControl) -> None:
    await control.script("vanish", [{"id_gone": True}])
    created = await start(client, "[script:vanish]")
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(created.id)


async def test_input_items_come_newest_first_and_in_pages(client: AsyncOpenAI) -> None:
    response = await client.responses.create(
        model="gpt-scripted",
        input=[{"role": "user", "content": f"Message {i}."} for i in range(5)],
    )
    items = [item async for item in client.responses.input_items.list(response.id, limit=2)]
    assert [item.content[0].text for item in items if item.type == "message"] == [  # type: ignore[union-attr]
        f"Message {i}." for i in (4, 3, 2, 1, 0)
    ]


async def test_accounts_do_not_see_each_other(client: AsyncOpenAI, model: ScriptedModel) -> None:
    created = await start(client)
    async with AsyncOpenAI(base_url=model.url, api_key="other-account", max_retries=0) as other:
        with pytest.raises(openai.NotFoundError):
            await other.responses.retrieve(created.id)


async def test_the_azure_flavour_shares_the_account(client: AsyncOpenAI, model: ScriptedModel, account: str) -> None:
    created = await start(client)
    headers = {"api-key": account, "Authorization": openai.Omit()}
    async with AsyncOpenAI(base_url=f"{model.root}/openai/v1/", api_key="unused") as azure:
        response = await azure.responses.retrieve(created.id, extra_headers=headers)  # type: ignore[arg-type]
    assert response.id == created.id


async def test_the_model_list_is_not_empty(client: AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()]


async def test_a_stuck_response_is_finished_by_hand(client: AsyncOpenAI, control: ModelControl) -> None:
    await control.script("stuck", [{"stuck": True, "text": "At last."}])
    created = await start(client, "[script:stuck]")
    await control.finish(created.id)
    response = await retrieved(client, created.id)
    assert (response.status, response.output_text) == ("completed", "At last.")


@pytest.mark.parametrize("status", ["completed", "failed", "incomplete", "cancelled"])
async def test_a_status_can_be_forced(client: AsyncOpenAI, control: ModelControl, status: str) -> None:
    await control.script("stuck", [{"stuck": True, "text": "Text."}])
    created = await start(client, "[script:stuck]")
    await control.force(created.id, status)
    response = await retrieved(client, created.id)
    assert response.status == status
    assert (response.error is not None) == (status == "failed")
    await control.forget(created.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(created.id)


async def test_the_log_counts_creates_by_metadata(client: AsyncOpenAI, control: ModelControl) -> None:
    first = await start(client, metadata={"run": "r1", "turn": "0"})
    await start(client, metadata={"run": "r1", "turn": "1"})
    await client.responses.retrieve(first.id)
    assert len(await control.creates(run="r1")) == 2
    only = (await control.creates(run="r1", turn="0"))[0]
    assert (only.response_id, only.status, only.script, only.turn) == (first.id, 200, "assistant", 0)
    assert only.body is not None
    assert only.body["input"] == "Hello."
    assert [entry.operation for entry in await control.log()] == ["create", "create", "retrieve"]
    await control.reset()
    assert (await control.log(), await control.responses()) == ([], [])


async def test_a_script_that_cannot_be_read_is_refused_by_name(control: ModelControl) -> None:
    with pytest.raises(ControlError, match="turn 0 has an unknown key 'txt'"):
        await control.script("typo", [{"txt": "…"}])
    with pytest.raises(ControlError, match="'dwon'"):
        await control.switches(dwon=True)


async def test_a_script_that_was_not_set_is_refused(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="no script named 'unheard'"):
        await start(client, "[script:unheard]")
