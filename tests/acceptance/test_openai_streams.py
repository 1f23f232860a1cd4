"""OpenAI's Python client, unmodified, streaming from `/api/v1`: whole, cut, and taken up again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from tests.acceptance.conftest import Stack, Target, client_of
from tests.parts.strict_reader import Event, StrictReader

WORDS = "Once upon a time there was a dormouse, and it slept. " * 4
THREE_TURNS: list[dict[str, Any]] = [
    {"think": 0.6, "text": "Let me look.", "calls": [{"name": "work", "arguments": {"label": "one"}}]},
    {"think": 0.2, "calls": [{"name": "work", "arguments": {"label": "two"}}]},
    {"think": 0.8, "text": WORDS},
]
ENDS = ("response.completed", "response.incomplete", "response.failed")


@pytest.fixture
def driver() -> str:
    """None of this is the driver's."""
    return "durable"


class Reader:
    """Keeps what a client of OpenAI keeps: the text of each message, and the number of the last event."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.last = -1
        self.kinds: list[str] = []
        self.response: Any = None

    def hear(self, event: Any) -> bool:
        """Take an event in; whether it was the last."""
        assert event.sequence_number > self.last, event
        self.last = event.sequence_number
        self.kinds.append(event.type)
        if event.type == "response.in_progress":
            for item in event.response.output:
                self.texts[item.id] = ""
        elif event.type == "response.output_text.delta":
            self.texts[event.item_id] = self.texts.get(event.item_id, "") + event.delta
        elif event.type == "response.output_text.done":
            assert self.texts[event.item_id] == event.text
        elif event.type in ENDS:
            self.response = event.response
        return event.type in ENDS

    def check(self, text: str) -> None:
        """Every word was sent once, and the response has the same."""
        assert self.response.output_text == text
        assert {item.id: item.content[0].text for item in self.response.output} == self.texts


@pytest.mark.main
async def test_a_stream_tells_the_run_from_created_to_completed(target: Target, ada: AsyncOpenAI) -> None:
    await target.model.script("three", THREE_TURNS)
    reader = Reader()
    async for event in await ada.responses.create(model="bench", input="[script:three]", stream=True):
        reader.hear(event)
    reader.check("Let me look." + WORDS)
    assert reader.kinds[:2] == ["response.created", "response.in_progress"]
    assert reader.kinds[2:5] == [
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
    ]
    assert reader.kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    stored = await ada.responses.retrieve(reader.response.id)
    assert stored == reader.response, "the same, however it is read"


async def test_openais_own_helper_takes_a_stream(target: Target, ada: AsyncOpenAI) -> None:
    await target.model.script("three", THREE_TURNS)
    async with ada.responses.stream(model="bench", input="[script:three]", background=True) as stream:
        deltas = [event.delta async for event in stream if event.type == "response.output_text.delta"]
        final = await stream.get_final_response()
    assert (final.status, final.output_text) == ("completed", "".join(deltas))
    async with ada.responses.stream(response_id=final.id, starting_after=0) as again:
        assert (await again.get_final_response()).output_text == final.output_text


@pytest.mark.main
async def test_a_stream_that_is_cut_again_and_again_loses_and_repeats_nothing(target: Target, ada: AsyncOpenAI) -> None:
    """As in the background guide: break off after an event, come back with its number; here after every third."""
    await target.model.script("three", THREE_TURNS)
    reader, over, cuts = Reader(), False, 0
    stream = await ada.responses.create(model="bench", input="[script:three]", background=True, stream=True)
    name = ""
    while not over:
        heard = 0
        async for event in stream:
            name = name or event.response.id  # type: ignore[union-attr]
            over, heard = reader.hear(event), heard + 1
            if over or heard == 3:
                break
        await stream.close()
        cuts += 1
        if not over:
            stream = await ada.responses.retrieve(name, stream=True, starting_after=reader.last)
    reader.check("Let me look." + WORDS)
    assert cuts > 3


async def test_an_ended_response_is_sent_from_any_event_on(target: Target, ada: AsyncOpenAI) -> None:
    await target.model.script("short", [{"think": 0.2, "text": "A few words here."}])
    heard = [
        event
        async for event in await ada.responses.create(
            model="bench", input="[script:short]", background=True, stream=True
        )
    ]
    name = heard[0].response.id  # type: ignore[union-attr]
    for cut in range(1, len(heard)):
        reader = Reader()
        for event in heard[:cut]:
            reader.hear(event)
        async for event in await ada.responses.retrieve(name, stream=True, starting_after=reader.last):
            reader.hear(event)
        reader.check("A few words here.")
    after_the_end = await ada.responses.retrieve(name, stream=True, starting_after=heard[-1].sequence_number)
    assert [event async for event in after_the_end] == []


async def test_the_words_of_a_provider_that_begins_anew_are_not_sent_twice(target: Target, ada: AsyncOpenAI) -> None:
    """Many clients can only append: words that the provider sends again are passed over, and it goes on behind them."""
    await target.model.script("anew", [{"think": 1, "text": WORDS, "stream_restart": True}])
    reader, deltas = StrictReader(), list[str]()
    async for event in await ada.responses.create(model="bench", input="[script:anew]", stream=True):
        reader.hear(event.to_dict())
        if event.type == "response.output_text.delta":
            deltas.append(event.delta)
    assert "".join(deltas) == WORDS
    assert len(deltas) > 3, "sent while it was written"


SHAPES: dict[str, tuple[list[dict[str, Any]], str, list[str]]] = {
    "tools first": ([THREE_TURNS[1], {"think": 0.4, "text": "Here it is."}], "completed", ["Here it is."]),
    "words in several turns": (THREE_TURNS, "completed", ["Let me look.", WORDS]),
    "a refusal": (
        [THREE_TURNS[1], {"think": 0.4, "refusal": "I would rather not."}],
        "completed",
        ["I would rather not."],
    ),
    "cut": ([{"think": 0.4, "text": "Half a", "status": "incomplete"}], "incomplete", ["Half a"]),
    "failed without words": (
        [{"think": 0.2, "status": "failed", "error": {"code": "invalid_prompt", "message": "No."}}],
        "failed",
        [""],
    ),
    "failed in mid-sentence": (
        [THREE_TURNS[0], {"think": 0.4, "text": "Half a", "status": "failed", "error": {"code": "invalid_prompt"}}],
        "failed",
        ["Let me look.", ""],
    ),
}


@pytest.mark.parametrize("name", SHAPES)
async def test_events_and_response_agree_for_every_shape_of_run(target: Target, ada: AsyncOpenAI, name: str) -> None:
    """For two viewers at once, for OpenAI's own helper, and for one who takes it up after any of its events."""
    turns, status, texts = SHAPES[name]
    await target.model.script("shape", turns)

    async def read(reader: StrictReader, events: Any) -> Any:
        response = None
        async for event in events:
            reader.hear(event.to_dict())
            response = getattr(event, "response", response)
        return response

    async with ada.responses.stream(model="bench", input="[script:shape]", background=True) as helper:
        first = await anext(aiter(helper))
        assert first.type == "response.created"
        viewers = [StrictReader(), StrictReader()]
        streams = [await ada.responses.retrieve(first.response.id, stream=True) for _ in viewers]
        ended, _ = await asyncio.gather(*(read(*each) for each in zip(viewers, streams, strict=True)))
        kinds = [event.type async for event in helper]
    assert kinds[-1] == f"response.{status}"
    stored = await ada.responses.retrieve(first.response.id)
    assert stored == ended
    for viewer in viewers:
        assert viewer.response is not None
        assert (viewer.response["status"], viewer.texts) == (status, texts)
        assert (viewer.error is not None) is (status == "failed")
    if status == "failed":
        assert stored.output[-1].type == "message"
        assert (stored.output[-1].status, stored.output[-1].content) == ("incomplete", [])
        assert stored.error is not None
        assert stored.error.to_dict().keys() == {"code", "message", "type", "param"}
    told = [event async for event in await ada.responses.retrieve(first.response.id, stream=True)]
    for cut in range(len(told)):
        reader = StrictReader()
        for event in told[: cut + 1]:
            reader.hear(event.to_dict())
        await read(reader, await ada.responses.retrieve(first.response.id, stream=True, starting_after=reader.last))
        assert reader.texts == texts


async def test_a_restarted_turn_is_sent_to_two_viewers_of_whom_one_is_cut_at_every_event(
    target: Target, ada: AsyncOpenAI
) -> None:
    failing = {"think": 0.4, "status": "failed"}
    attempts = [{**failing, "text": "It begins like this."}, failing, {"think": 1, "text": "It begins otherwise."}]
    await target.model.script("again", [THREE_TURNS[0], {"attempts": attempts}])
    whole, cut, restarts = StrictReader(), StrictReader(exact=False), list[tuple[str | None, bool]]()
    made = await ada.responses.create(model="bench", input="[script:again]", background=True, stream=True)
    created = await anext(aiter(made))
    cut.hear(created.to_dict())
    await made.close()
    assert created.type == "response.created"

    async def undisturbed() -> None:
        for event in [event async for event in rest_of(created.response.id)]:
            whole.hear(event)

    async def rest_of(name: str) -> AsyncIterator[Event]:
        """As one reads it who takes it up again when it says so."""
        last = -1
        try:
            async for event in await ada.responses.retrieve(name, stream=True):
                last = event.sequence_number
                yield event.to_dict()
        except openai.APIError as anew:
            restarts.append((anew.code, f"starting_after={last}`" in anew.message))
            async for event in await ada.responses.retrieve(name, stream=True, starting_after=last):
                yield event.to_dict()

    async def cut_at_every_event() -> None:
        while cut.response is None:
            async with await ada.responses.retrieve(created.response.id, stream=True, starting_after=cut.last) as rest:
                cut.hear((await anext(aiter(rest))).to_dict())

    await asyncio.gather(undisturbed(), cut_at_every_event())
    assert whole.texts == cut.texts == ["Let me look.", "It begins otherwise."]
    assert whole.kinds.count("response.in_progress") == 2, "once at the start, once where the other words began"
    assert restarts == [("text_restarted", True)], "and whoever had the first words was asked to drop them"


async def test_who_can_only_append_never_has_two_beginnings(target: Target, ada: AsyncOpenAI) -> None:
    """The words of an attempt that failed cannot be taken back from most clients: the stream ends, and says why."""
    failing = {"think": 0.6, "status": "failed", "text": "It begins like this."}
    await target.model.script("other", [{"attempts": [failing, {"think": 0.6, "text": "It begins otherwise."}]}])
    stream = await ada.responses.create(model="bench", input="[script:other]", stream=True)
    created = await anext(aiter(stream))
    assert created.type == "response.created"
    name = created.response.id
    with pytest.raises(openai.APIError) as anew:
        assert [event async for event in stream] == []
    assert (anew.value.code, name in anew.value.message) == ("text_restarted", True)
    again = [event async for event in await ada.responses.retrieve(name, stream=True)]
    assert "".join(getattr(event, "delta", "") for event in again) == "It begins otherwise."
    assert again[-1].type == "response.completed"


async def test_a_response_without_live_text_is_sent_at_its_end(target: Target, ada: AsyncOpenAI) -> None:
    await target.model.script("later", [{"think": 0.2, "text": "All at once."}])
    for made in (
        await ada.responses.create(model="phone-studio", input="[script:later]", stream=True),
        await ada.responses.retrieve(
            (await ada.responses.create(model="bench", input="[script:later]", background=True)).id, stream=True
        ),
    ):
        reader = Reader()
        async for event in made:
            reader.hear(event)
        reader.check("All at once.")


async def test_a_cancelled_response_ends_its_stream(target: Target, ada: AsyncOpenAI) -> None:
    await target.model.script("slow", [{"think": 60, "text": WORDS}])
    reader = Reader()
    async for event in await ada.responses.create(model="bench", input="[script:slow]", background=True, stream=True):
        reader.hear(event)
        if event.type == "response.created":
            await ada.responses.cancel(event.response.id)
    assert (reader.kinds[-1], reader.response.status) == ("response.failed", "cancelled")


async def test_the_planned_end_of_a_connection_is_no_end_of_the_stream(own_stack: Callable[..., Stack]) -> None:
    stack = own_stack(DORMOUSE_EVENTS_SECONDS="1")
    await stack.model.script("three", [*THREE_TURNS[:2], {"think": 2, "text": WORDS}])
    reader, ends = Reader(), list[tuple[openai.APIError, int]]()
    async with client_of(stack.host().url) as ada:
        stream = await ada.responses.create(model="bench", input="[script:three]", stream=True)
        name = ""
        while reader.response is None:
            try:
                async for event in stream:
                    name = name or event.response.id  # type: ignore[union-attr]
                    reader.hear(event)
            except openai.APIError as ended:
                ends.append((ended, reader.last))
            stream = await ada.responses.retrieve(name, stream=True, starting_after=reader.last)
    reader.check("Let me look." + WORDS)
    assert ends
    for ended, last in ends:
        assert ended.code == "stream_ended"
        assert name in ended.message
        assert f"starting_after={last}`" in ended.message


@pytest.mark.main
async def test_chat_completions_come_in_chunks(target: Target, ada: AsyncOpenAI) -> None:
    await target.model.script("three", THREE_TURNS)
    chunks = [
        chunk
        async for chunk in await ada.chat.completions.create(
            model="bench",
            messages=[{"role": "user", "content": "[script:three]"}],
            stream=True,
            stream_options={"include_usage": True},
        )
    ]
    *words, usage = chunks
    assert "".join(chunk.choices[0].delta.content or "" for chunk in words) == "Let me look.\n\n" + WORDS
    assert [chunk.choices[0].finish_reason for chunk in words if chunk.choices[0].finish_reason] == ["stop"]
    assert usage.usage is not None
    assert (usage.choices, usage.usage.total_tokens > 0) == ([], True)
    async with ada.chat.completions.stream(
        model="bench", messages=[{"role": "user", "content": "[script:three]"}]
    ) as helper:
        final = await helper.get_final_completion()
    assert final.choices[0].message.content == "Let me look.\n\n" + WORDS


async def test_a_refusal_is_one_in_chunks_too(target: Target, ada: AsyncOpenAI) -> None:
    await target.model.script("no", [{"think": 0.2, "refusal": "I would rather not."}])
    asked: dict[str, Any] = {"model": "bench", "messages": [{"role": "user", "content": "[script:no]"}]}
    chunks = [chunk async for chunk in await ada.chat.completions.create(**asked, stream=True)]
    told = "".join(chunk.choices[0].delta.refusal or "" for chunk in chunks)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == ""
    whole = await ada.chat.completions.create(**asked)
    assert (whole.choices[0].message.content, whole.choices[0].message.refusal) == (None, told)


async def test_a_completion_that_fails_on_the_way_raises(target: Target, ada: AsyncOpenAI) -> None:
    await target.model.script(
        "bad", [{"think": 0.2, "text": "Well", "status": "failed", "error": {"code": "invalid_prompt"}}]
    )
    with pytest.raises(openai.APIError) as failed:
        async for _ in await ada.chat.completions.create(
            model="bench", messages=[{"role": "user", "content": "[script:bad]"}], stream=True
        ):
            pass
    assert failed.value.code == "completion_failed"


async def test_a_number_that_is_none_is_refused(ada: AsyncOpenAI) -> None:
    response = await ada.responses.create(model="bench", input="x", background=True)
    with pytest.raises(openai.BadRequestError) as refused:
        await ada.responses.retrieve(response.id, stream=True, extra_query={"starting_after": "x"})
    assert (refused.value.code, refused.value.param) == ("invalid_request", "starting_after")
