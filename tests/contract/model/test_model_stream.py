"""Streams: the order of events, and resuming them after every one."""

import asyncio
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from local.model.control import LoggedRequest, ModelControl
from tests.parts.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

ANY_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
RICH = {
    "reasoning": "Let me see what there is to see.",
    "text": "A text that is long enough for several deltas.",
    "annotations": [
        {"type": "url_citation", "url": "https://example.com/", "title": "A page", "start_index": 0, "end_index": 6}
    ],
    "refusal": "No.",
    "calls": [{"name": "a", "arguments": {"question": "What is there to be seen?"}}],
}


async def collected(stream: Any) -> list[dict[str, Any]]:
    """Every event, checked against the client's own types."""
    events = []
    async for event in stream:
        told = event.to_dict(mode="json")
        valid = ANY_EVENT.validate_python(told)
        assert valid.type == told["type"]
        assert not valid.model_extra
        events.append(told)
    return events


async def told(stream: Any, events: list[Any]) -> None:
    async for event in stream:
        events.append(event)  # noqa: PERF401


async def streamed(client: AsyncOpenAI, said: str, **more: Any) -> list[dict[str, Any]]:
    stream = await client.responses.create(model="gpt-scripted", input=said, stream=True, **more)
    return await collected(stream)


async def resumed(client: AsyncOpenAI, response_id: str, after: int) -> list[dict[str, Any]]:
    return await collected(await client.responses.retrieve(response_id, stream=True, starting_after=after))


def kinds(events: list[dict[str, Any]]) -> list[str]:
    """The types in order, runs of equal ones once."""
    types = [event["type"].removeprefix("response.") for event in events]
    return [kind for i, kind in enumerate(types) if i == 0 or types[i - 1] != kind]


def text(events: list[dict[str, Any]]) -> str:
    return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")


async def test_a_stream_tells_everything_in_order(client: AsyncOpenAI, control: ModelControl) -> None:
    await control.script("rich", [{"think": 0.1, **RICH}])
    events = await streamed(client, "[script:rich]", background=True, reasoning={"summary": "auto"})
    assert kinds(events) == [
        "created", "queued", "in_progress",
        "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta",
        "reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done",
        "output_item.added", "content_part.added", "output_text.delta", "output_text.annotation.added",
        "output_text.done", "content_part.done", "content_part.added", "refusal.delta", "refusal.done",
        "content_part.done", "output_item.done", "output_item.added", "function_call_arguments.delta",
        "function_call_arguments.done", "output_item.done", "completed",
    ]  # fmt: skip
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert text(events) == RICH["text"]
    polled = await client.responses.retrieve(events[0]["response"]["id"])
    assert polled.to_dict(mode="json") == events[-1]["response"]


async def test_a_foreground_stream_is_never_queued(client: AsyncOpenAI) -> None:
    events = await streamed(client, "Hello.")
    assert kinds(events)[:3] == ["created", "in_progress", "output_item.added"]
    assert events[0]["response"]["status"] == "in_progress"
    assert events[-1]["type"] == "response.completed"


@pytest.mark.parametrize("status", ["failed", "incomplete"])
async def test_a_stream_ends_as_the_response_does(client: AsyncOpenAI, control: ModelControl, status: str) -> None:
    await control.script("end", [{"status": status, "text": "Half a"}])
    events = await streamed(client, "[script:end]", background=True)
    assert events[-1]["type"] == f"response.{status}"
    assert events[-1]["response"]["status"] == status


@pytest.mark.slow
async def test_a_stream_resumes_after_every_event_without_gap_or_repeat(
    client: AsyncOpenAI, control: ModelControl
) -> None:
    await control.script("rich", [RICH])
    events = await streamed(client, "[script:rich]", background=True)
    response_id = events[0]["response"]["id"]
    for after in range(-1, len(events)):
        assert await resumed(client, response_id, after) == events[after + 1 :]


async def test_a_stream_resumes_while_the_model_still_thinks(client: AsyncOpenAI, control: ModelControl) -> None:
    await control.script("slow", [{"think": 0.3, "text": "word " * 40}])
    await control.switches(faults={"stream": [{"after_events": 4, "times": 3}]})
    events = await streamed(client, "[script:slow]", background=True)
    for _ in range(3):
        response_id = events[0]["response"]["id"]
        events += await resumed(client, response_id, events[-1]["sequence_number"])
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert text(events) == "word " * 40
    assert events[-1]["type"] == "response.completed"


async def test_deltas_are_spread_over_the_think_time(client: AsyncOpenAI, control: ModelControl) -> None:
    await control.script("slow", [{"think": 0.5, "text": "word " * 40}])
    stream = await client.responses.create(model="gpt-scripted", input="[script:slow]", stream=True)
    loop = asyncio.get_running_loop()
    arrived = [loop.time() async for event in stream if event.type == "response.output_text.delta"]
    assert arrived[-1] - arrived[0] > 0.1


async def test_a_dropped_stream_is_a_fault_of_the_connection(client: AsyncOpenAI, control: ModelControl) -> None:
    await control.switches(faults={"stream": [{"after_events": 2, "drop": True}]})
    stream = await client.responses.create(model="gpt-scripted", input="Hello.", background=True, stream=True)
    events: list[Any] = []
    with pytest.raises(Exception, match=r"(?i)closed|disconnect|incomplete|peer|connection"):
        await told(stream, events)
    assert [event.sequence_number for event in events] == [0, 1]


async def test_a_cancelled_stream_just_ends(client: AsyncOpenAI, control: ModelControl) -> None:
    await control.script("stuck", [{"stuck": True, "text": "Half of this will be told, no more."}])
    stream = await client.responses.create(model="gpt-scripted", input="[script:stuck]", background=True, stream=True)
    events = []
    async for event in stream:
        events.append(event)
        if event.type == "response.output_text.delta":
            await client.responses.cancel(events[0].response.id)  # type: ignore[union-attr]
    assert events[-1].type != "response.completed"
    last = events[-1].sequence_number
    assert await resumed(client, events[0].response.id, last) == []  # type: ignore[union-attr]


async def test_a_stuck_stream_goes_on_when_finished(client: AsyncOpenAI, control: ModelControl) -> None:
    await control.script("stuck", [{"stuck": True, "text": "Half of this will be told, then the rest."}])
    stream = await client.responses.create(model="gpt-scripted", input="[script:stuck]", background=True, stream=True)
    events = []
    async for event in stream:
        events.append(event.to_dict(mode="json"))
        if event.type == "response.output_text.delta":
            await control.finish(events[0]["response"]["id"])
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1]["type"] == "response.completed"


async def test_a_restarted_stream_says_so_by_a_second_in_progress(client: AsyncOpenAI, control: ModelControl) -> None:
    await control.script("again", [{"text": "From the start.", "stream_restart": True}])
    events = await streamed(client, "[script:again]", background=True)
    restarts = [i for i, event in enumerate(events) if event["type"] == "response.in_progress"]
    assert len(restarts) == 2
    assert text(events[restarts[1] :]) == "From the start."
    assert text(events) != "From the start."


async def test_what_was_not_created_as_a_stream_cannot_be_streamed(client: AsyncOpenAI) -> None:
    created = await client.responses.create(model="gpt-scripted", input="Hello.", background=True)
    with pytest.raises(openai.BadRequestError, match="cannot be streamed"):
        await client.responses.retrieve(created.id, stream=True)


async def test_after_the_wall_nothing_can_be_streamed(client: AsyncOpenAI, control: ModelControl) -> None:
    events = await streamed(client, "Hello.", background=True)
    await control.switches(stream_wall=0)
    with pytest.raises(openai.BadRequestError, match="can no longer be streamed"):
        await client.responses.retrieve(events[0]["response"]["id"], stream=True, starting_after=2)
    assert (await client.responses.retrieve(events[0]["response"]["id"])).status == "completed"


async def test_the_log_tells_how_a_stream_came_to_its_end(client: AsyncOpenAI, control: ModelControl) -> None:
    await control.script("stuck", [{"stuck": True, "text": "Half of this will be told, no more."}])
    told_all = await streamed(client, "Hello.", background=True)
    await control.switches(faults={"stream": [{"after_events": 2}]})
    await streamed(client, "Hello.", background=True)
    stream = await client.responses.create(model="gpt-scripted", input="[script:stuck]", background=True, stream=True)
    await anext(stream)
    assert (await control.log("create"))[-1].closed is None
    await stream.close()

    async def when_closed() -> list[LoggedRequest] | None:
        entries = await control.log("create")
        return entries if entries[-1].closed else None

    entries = await eventually(when_closed, timeout=10)
    assert [entry.closed for entry in entries] == ["ended", "cut", "left"]
    assert [entry.events for entry in entries][:2] == [len(told_all), 2]


async def test_a_stream_may_tell_of_an_error(client: AsyncOpenAI, control: ModelControl) -> None:
    error = {"type": "error", "code": "server_error", "message": "Oh.", "param": None}
    await control.switches(faults={"stream": [{"after_events": 3, "event": error}]})
    events = await streamed(client, "Hello.", background=True)
    assert kinds(events) == ["created", "queued", "in_progress", "error"]
    assert [event["sequence_number"] for event in events] == [0, 1, 2, 3]
