"""How OpenAI's clients go on with a conversation: by references to what was said, and from any earlier response."""

from __future__ import annotations

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
