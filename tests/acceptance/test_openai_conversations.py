"""How OpenAI's clients go on with a conversation: by references to what was said, and from any earlier response."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from tests.acceptance.conftest import CLIENT_KEYS, Target, client_of
from tests.acceptance.test_openai_requests import script, sent


@pytest.fixture
def driver() -> str:
    """None of this is the driver's."""
    return "durable"


async def test_a_client_may_refer_to_what_was_said_in_place_of_sending_it(target: Target, ada: AsyncOpenAI) -> None:
    """As Vercel's AI SDK does from its second turn on: its own words in full, the agent's by reference."""
    text = await script(
        target, {"text": "Let me look. ", "calls": [{"name": "work", "arguments": {"label": "r"}}]}, {"text": "Found."}
    )
    stream = await ada.responses.create(model="bench", input=text, stream=True)
    ids = [str(event.item.id) async for event in stream if event.type == "response.output_item.done"]
    assert len(ids) == 2
    following = await script(target, {"text": "Again."})
    messages: list[Any] = [
        {"role": "user", "content": text},
        *({"type": "item_reference", "id": name} for name in ids),
        {"role": "user", "content": following},
    ]
    second = await ada.responses.create(model="bench", input=messages, store=False)
    assert second.output_text == "Again."
    (body,) = await sent(target, following)
    assert [(item["role"], item["content"]) for item in body["input"]] == [
        ("user", text),
        ("assistant", "Let me look. "),
        ("assistant", "Found."),
        ("user", following),
    ]
    asked = [item async for item in ada.responses.input_items.list(second.id, order="asc")]
    third = await ada.responses.create(
        model="bench",
        input=[{"type": "item_reference", "id": str(asked[0].id)}, {"type": "message", "role": "user", "content": "x"}],
    )
    assert third.status == "completed"
    async with client_of(target.api.url, CLIENT_KEYS["bob"]) as bob:
        with pytest.raises(openai.NotFoundError) as others:
            await bob.responses.create(model="bench", input=messages)
    assert (others.value.code, others.value.param) == ("item_not_found", "input[1].id")
    await ada.responses.delete(second.id)
    with pytest.raises(openai.NotFoundError):
        await ada.responses.create(model="bench", input=[{"type": "item_reference", "id": str(asked[0].id)}])


async def test_any_response_that_has_ended_is_gone_on_from_in_a_branch(target: Target, ada: AsyncOpenAI) -> None:
    """As a chat does whose user edits a question, or wants another answer."""
    one, two = await script(target, {"text": "One."}), await script(target, {"text": "Two."})
    first = await ada.responses.create(model="bench", input=one)
    second = await ada.responses.create(model="bench", input=two, previous_response_id=first.id)
    other = await script(target, {"text": "Another."})
    branch = await ada.responses.create(model="bench", input=other, previous_response_id=first.id)
    assert (branch.output_text, branch.previous_response_id) == ("Another.", first.id)
    assert (await ada.responses.retrieve(branch.id)).previous_response_id == first.id
    (body,) = await sent(target, other)
    assert [each["content"] for each in body["input"]] == [other]
    assert body["previous_response_id"], "the provider knows the rest"
    # Both go on; and a branch of the branch, streamed.
    third = await ada.responses.create(model="bench", input=one, previous_response_id=second.id)
    onward = await ada.responses.create(model="bench", input=two, previous_response_id=branch.id)
    assert (third.previous_response_id, onward.previous_response_id) == (second.id, branch.id)
    stream = await ada.responses.create(model="bench", input=other, previous_response_id=branch.id, stream=True)
    ended = [event async for event in stream][-1]
    assert ended.type == "response.completed"
    assert (ended.response.previous_response_id, ended.response.output_text) == (branch.id, "Another.")
    # The branches outlive what they left.
    for each in (third, second, first):
        await ada.responses.delete(each.id)
    following = await script(target, {"text": "Still here."})
    last = await ada.responses.create(model="bench", input=following, previous_response_id=onward.id)
    assert last.output_text == "Still here."
    with pytest.raises(openai.BadRequestError) as gone:
        await ada.responses.create(model="bench", input="x", previous_response_id=first.id)
    assert gone.value.code == "previous_response_not_found"


async def test_answers_asked_for_at_once_are_branches_and_a_repeat_is_not(target: Target, ada: AsyncOpenAI) -> None:
    text = await script(target, {"text": "One of many.", "think": 0.3})
    first = await ada.responses.create(model="bench", input=text)
    asked: dict[str, Any] = {"model": "bench", "input": text, "previous_response_id": first.id}
    found = await asyncio.gather(*(ada.responses.create(**asked) for _ in range(6)))
    assert {each.output_text for each in found} == {"One of many."}
    assert len({each.id.rpartition("_")[0] for each in found}) == 6, "a conversation each"
    key = {"Idempotency-Key": secrets.token_hex(8)}
    again = [await ada.responses.create(**asked, extra_headers=key) for _ in range(2)]
    assert again[0].id == again[1].id


async def test_a_branch_is_told_everything_where_the_provider_keeps_nothing(target: Target, ada: AsyncOpenAI) -> None:
    one, two = await script(target, {"text": "One."}), await script(target, {"text": "Two."})
    asked: dict[str, Any] = {"model": "phone-studio", "input": one, "metadata": {"audience": "nobody"}}
    first = await ada.responses.create(**asked)
    second = await ada.responses.create(**{**asked, "input": two}, previous_response_id=first.id)
    assert (first.output_text, second.output_text) == ("One.", "Two.")
    other = await script(target, {}, {"text": "Another."})
    branch = await ada.responses.create(**{**asked, "input": other}, previous_response_id=first.id)
    (body,) = await sent(target, other, "chat")
    assert branch.status == "completed"
    assert [message["content"] for message in body["messages"][1:]] == [one, "One.", other]
