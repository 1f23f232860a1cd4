"""Following a response while it is made: at every server, and at one that does anything at all with its bytes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from local.model import ScriptedModel
from local.model.control import ModelControl
from shared.agentkit import faults
from shared.agentkit.agent import (
    Agent,
    AgentResponse,
    AgentSession,
    AgentUpdate,
    ResponseStatus,
    RunOptions,
    UpdateKind,
)
from shared.agentkit.chat import ChatAgent
from shared.agentkit.provider import Provider, ProviderConfig
from shared.agentkit.responses import ResponsesAgent
from tests.contract.agents.test_agents_provider import Play, answer, read_request, serving
from tests.parts.waiting import eventually

SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nConnection: close\r\n\r\n"
TEXT = "A text that is long enough for several deltas, with a \u2028 line in it that is none."
AT_WORK = {"type": "response.created", "sequence_number": 0, "response": {"id": "resp_1", "status": "queued"}}


async def created(agent: Agent, said: str, **options: Any) -> AgentResponse:
    """Create a response that is to be followed."""
    items = [{"type": "message", "role": "user", "content": said}]
    given = RunOptions(**{"timeout": 10, "stream": True, "metadata": {"run": "r"}, **options})
    return await agent.run(items, session=AgentSession(session_id="s"), options=given)


async def followed(agent: Agent, response_id: str | None, after: int = 0) -> list[AgentUpdate]:
    """All updates after that number."""
    assert response_id is not None
    return [update async for update in agent.follow(response_id, after=after, timeout=10)]


async def told(updates: AsyncIterator[AgentUpdate], seen: list[AgentUpdate]) -> None:
    async for update in updates:
        seen.append(update)  # noqa: PERF401


async def closed(control: ModelControl, operation: str) -> str:
    """How the latest stream of that operation came to its end, once it has."""

    async def ended() -> str | None:
        return (await control.log(operation))[-1].closed

    return str(await eventually(ended, timeout=10))


def text(updates: list[AgentUpdate]) -> str:
    return "".join(update.text for update in updates if update.kind is UpdateKind.TEXT)


def event(kind: str, **more: Any) -> bytes:
    return b"data: " + json.dumps({"type": kind, **more}).encode() + b"\n\n"


def playing(*pieces: bytes) -> Play:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()

    return play


def an_agent(provider: Provider) -> ResponsesAgent:
    return ResponsesAgent(name="tester", description="Tests.", instructions="Do.", model="gpt-5", provider=provider)


# At every server


async def test_a_streamed_create_answers_at_once_with_a_token_and_the_response_goes_on(agent: Agent) -> None:
    response = await created(agent, "[script:say]")
    assert response.status is ResponseStatus.PENDING
    assert response.continuation_token is not None
    updates = await followed(agent, response.response_id)
    assert text(updates) == "Hello there."
    assert updates[-1].kind is UpdateKind.ENDED
    assert updates[-1].response is not None
    assert (updates[-1].response.status, updates[-1].response.text) == (ResponseStatus.COMPLETED, "Hello there.")
    options = RunOptions(timeout=10, continuation_token=response.continuation_token)
    polled = await agent.run(None, session=AgentSession(session_id="s"), options=options)
    assert (polled.status, polled.text) == (ResponseStatus.COMPLETED, "Hello there.")


async def test_following_goes_on_after_every_number(agent: Agent) -> None:
    response = await created(agent, "[script:say]")
    updates = await followed(agent, response.response_id)
    for update in updates:
        rest = await followed(agent, response.response_id, update.sequence)
        assert [(each.kind, each.sequence, each.text) for each in rest] == [
            (each.kind, each.sequence, each.text) for each in updates if each.sequence > update.sequence
        ]


async def test_what_was_not_created_to_be_streamed_cannot_be_followed(agent: Agent) -> None:
    response = await created(agent, "[script:say]", stream=False)
    with pytest.raises(faults.NotStreamed):
        await followed(agent, response.response_id)


# At the scripted model, which can be told what to do


@pytest.fixture
async def model() -> Any:
    async with ScriptedModel(think=0.0) as server:
        yield server


@pytest.fixture
async def provider(model: ScriptedModel) -> Any:
    provider = Provider(ProviderConfig(credential="key", base_url=model.url, concurrency=2))
    yield provider
    await provider.close()


@pytest.fixture
def control(model: ScriptedModel) -> ModelControl:
    return ModelControl(model.root, "key")


async def test_refusals_are_text_and_separators_in_it_are_no_ends_of_lines(
    provider: Provider, control: ModelControl
) -> None:
    await control.script("s", [{"text": TEXT, "refusal": "No."}])
    updates = await followed(an_agent(provider), (await created(an_agent(provider), "[script:s]")).response_id)
    assert text(updates) == TEXT + "No."
    assert updates[-1].response is not None
    assert updates[-1].response.text == TEXT + "No."


async def test_a_new_start_in_the_midst_is_a_reset_and_the_first_start_is_none(
    provider: Provider, control: ModelControl
) -> None:
    await control.script("s", [{"text": TEXT, "stream_restart": True}])
    agent = an_agent(provider)
    response = await created(agent, "[script:s]")
    updates = await followed(agent, response.response_id)
    (reset,) = [n for n, update in enumerate(updates) if update.kind is UpdateKind.RESET]
    assert text(updates[:reset]) == TEXT[: len(text(updates[:reset]))] != ""
    assert text(updates[reset:]) == TEXT
    again = await followed(agent, response.response_id, updates[reset - 1].sequence)
    assert again[0].kind is UpdateKind.RESET


@pytest.mark.parametrize("status", ["failed", "incomplete"])
async def test_an_end_is_told_as_a_poll_would_tell_it(provider: Provider, control: ModelControl, status: str) -> None:
    await control.script("s", [{"status": status, "text": "Half a"}])
    updates = await followed(an_agent(provider), (await created(an_agent(provider), "[script:s]")).response_id)
    assert updates[-1].kind is UpdateKind.ENDED
    assert updates[-1].response is not None
    assert updates[-1].response.status == status


async def test_past_the_wall_a_response_is_no_longer_streamed(provider: Provider, control: ModelControl) -> None:
    response = await created(an_agent(provider), "Hello.")
    await control.switches(stream_wall=0)
    with pytest.raises(faults.NotStreamed, match="can no longer be streamed"):
        await followed(an_agent(provider), response.response_id)


async def test_a_response_that_is_not_there_is_missing(provider: Provider) -> None:
    with pytest.raises(faults.ResponseMissing):
        await followed(an_agent(provider), "resp_0")


async def test_a_cut_is_no_news_and_a_clean_end_without_the_response_s_is_just_the_end(
    provider: Provider, control: ModelControl
) -> None:
    await control.script("s", [{"text": TEXT}])
    response = await created(an_agent(provider), "[script:s]")
    await control.switches(faults={"stream": [{"after_events": 6, "drop": True}, {"after_events": 2}]})
    seen: list[AgentUpdate] = []
    with pytest.raises(faults.NoNews):
        await told(an_agent(provider).follow(str(response.response_id), after=0, timeout=10), seen)
    assert text(seen) != ""
    seen += await followed(an_agent(provider), response.response_id, seen[-1].sequence)
    assert text(seen) != TEXT
    assert seen[-1].kind is UpdateKind.TEXT
    seen += await followed(an_agent(provider), response.response_id, seen[-1].sequence)
    assert text(seen) == TEXT


async def test_an_error_inside_a_followed_stream_is_no_news(provider: Provider, control: ModelControl) -> None:
    response = await created(an_agent(provider), "Hello.")
    error = {"type": "error", "code": "server_error", "message": "Oh.", "param": None}
    await control.switches(faults={"stream": [{"after_events": 3, "event": error}]})
    with pytest.raises(faults.NoNews, match="Oh"):
        await followed(an_agent(provider), response.response_id)


async def test_who_leaves_lets_go_of_the_provider_s_stream_at_once(provider: Provider, control: ModelControl) -> None:
    await control.script("s", [{"text": TEXT, "stuck": True}])
    response = await created(an_agent(provider), "[script:s]")
    async with contextlib.aclosing(
        an_agent(provider).follow(str(response.response_id), after=0, timeout=10)
    ) as updates:
        async for _ in updates:
            break
        assert (await control.log("retrieve"))[-1].closed is None
    assert await closed(control, "retrieve") == "left"


async def test_a_streamed_create_lets_go_of_its_stream_at_the_first_word(
    provider: Provider, control: ModelControl
) -> None:
    await control.script("s", [{"text": TEXT, "stuck": True}])
    await created(an_agent(provider), "[script:s]")
    assert await closed(control, "create") == "left"
    assert (await control.responses())[0].status == "in_progress"


async def test_followers_are_in_nobody_s_way(provider: Provider, control: ModelControl) -> None:
    """Two calls at once are allowed; three streams are open, and a create and a poll still go through."""
    await control.script("s", [{"text": TEXT, "stuck": True}])
    agent = an_agent(provider)
    response = await created(agent, "[script:s]")
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            updates = agent.follow(str(response.response_id), after=0, timeout=10)
            await stack.enter_async_context(contextlib.aclosing(updates))
            await anext(updates)
        other = await created(agent, "Hello.", timeout=5)
        options = RunOptions(timeout=5, continuation_token=other.continuation_token)
        await agent.run(None, session=AgentSession(session_id="s"), options=options)


async def test_an_agent_without_live_text_ignores_the_wish_and_cannot_be_followed(
    provider: Provider, control: ModelControl
) -> None:
    agent = ChatAgent(name="phone", description="Tests.", instructions="Do.", model="gpt-5", provider=provider)
    assert not agent.streams
    assert (await created(agent, "Hello.", background=False)).status is ResponseStatus.COMPLETED
    (sent,) = await control.log("chat")
    assert sent.body is not None
    assert "stream" not in sent.body
    with pytest.raises(faults.NotStreamed):
        await followed(agent, "chatcmpl_1")


# At a server that does anything at all


def error(**told: Any) -> bytes:
    return event("error", sequence_number=0, **told)


@pytest.mark.parametrize(
    ("told", "meaning"),
    [
        ({"code": "rate_limit_exceeded", "message": "Slow."}, faults.NotAccepted),
        ({"code": "previous_response_not_found", "message": "Gone."}, faults.PreviousResponseMissing),
        ({"code": None, "param": "previous_response_id", "message": "Gone."}, faults.PreviousResponseMissing),
        ({"code": None, "message": "No tool call found for call_1."}, faults.ToolOutputsRefused),
        ({"code": "model_not_found", "message": "No."}, faults.Refused),
        ({"error": {"type": "invalid_request_error", "code": "x", "message": "No."}}, faults.Refused),
        ({"error": {"type": "authentication_error", "code": None, "message": "Who?"}}, faults.AccessDenied),
        ({"code": "server_error", "message": "Oh."}, faults.PerhapsAccepted),
        ({"code": None, "message": None}, faults.PerhapsAccepted),
    ],
    ids=str,
)
async def test_a_stream_that_begins_with_an_error_is_sorted_as_its_status_would_be(
    told: dict[str, Any], meaning: type[faults.ProviderFault]
) -> None:
    async with serving(playing(SSE, error(**told))) as provider:
        items = [{"type": "message", "role": "user", "content": "Hello."}]
        session = AgentSession(session_id="s", previous_response_id="resp_0")
        with pytest.raises(meaning) as caught:
            await an_agent(provider).run(items, session=session, options=RunOptions(timeout=5, stream=True))
    assert type(caught.value) is meaning


@pytest.mark.parametrize(
    "pieces",
    [
        [SSE],
        [SSE, b": hello\n\n"],
        [SSE, b"data: {\n\ndata: [1]\n\ndata: [DONE]\n\n"],
        [SSE, event("response.of_tomorrow", sequence_number=0)],
        [SSE, event("response.created", response={"status": "queued"})],
        [SSE, event("response.created", response={"id": "resp_1"})],
        [SSE, b"data: " + json.dumps(AT_WORK).encode()],  # cut off before the event was complete
        [b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nda"],
        [b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<h1>No</h1>"],
        [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"],
    ],
    ids=lambda pieces: repr(pieces[-1][-30:]),
)
async def test_a_stream_that_never_names_its_response_leaves_the_create_in_doubt(pieces: list[bytes]) -> None:
    async with serving(playing(*pieces)) as provider:
        with pytest.raises((faults.PerhapsAccepted, faults.NoNews)):  # the run takes both for doubt
            await created(an_agent(provider), "Hello.", timeout=5)


async def test_a_stream_that_says_nothing_in_time_leaves_the_create_in_doubt() -> None:
    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(SSE)
        await reader.read()

    async with serving(hold) as provider:
        with pytest.raises(faults.PerhapsAccepted):
            await created(an_agent(provider), "Hello.", timeout=2)


async def test_a_server_that_does_not_stream_has_answered_in_full() -> None:
    async with serving(playing(answer({"id": "resp_1", "status": "queued"}))) as provider:
        assert (await created(an_agent(provider), "Hello.")).response_id == "resp_1"


async def test_the_first_word_may_come_in_any_pieces_and_be_any_of_the_response_s() -> None:
    word = event("response.in_progress", sequence_number=2, response={"id": "resp_1", "status": "in_progress"})
    bytes_of = [b": ping\r\n\r\n", *(bytes([byte]) for byte in word)]
    async with serving(playing(SSE, *bytes_of)) as provider:
        response = await created(an_agent(provider), "Hello.")
    assert (response.response_id, response.provider_status) == ("resp_1", "in_progress")


async def test_what_is_told_again_although_it_was_seen_is_passed_over() -> None:
    """A server that does not know `starting_after` begins at the beginning."""
    deltas = [event("response.output_text.delta", sequence_number=n, delta=f"{n} ") for n in range(3, 8)]
    async with serving(playing(SSE, event("response.in_progress", sequence_number=2), *deltas)) as provider:
        assert text(await followed(an_agent(provider), "resp_1", after=5)) == "6 7 "


async def test_no_number_comes_twice_whatever_the_server_repeats() -> None:
    """In one connection, and with `starting_after` obeyed: viewers add what they are told to what they have."""
    numbers = [6, 7, 7, 6, 8, 5, 8, 9]
    deltas = [event("response.output_text.delta", sequence_number=n, delta=f"{n} ") for n in numbers]
    async with serving(playing(SSE, *deltas)) as provider:
        updates = await followed(an_agent(provider), "resp_1", after=5)
    assert [update.sequence for update in updates] == [6, 7, 8, 9]
    assert text(updates) == "6 7 8 9 "


@pytest.mark.parametrize("number", [True, 10**12, "7", None, 7.5])
async def test_what_is_no_number_of_an_event_counts_as_none(number: object) -> None:
    delta = event("response.output_text.delta", sequence_number=number, delta="a")
    async with serving(playing(SSE, delta)) as provider:
        assert [update.sequence for update in await followed(an_agent(provider), "resp_1", after=5)] == [6]


async def test_events_that_nobody_knows_and_those_without_a_number_do_no_harm() -> None:
    pieces = [
        event("response.of_tomorrow", sequence_number=3, response={"id": "resp_1"}),
        event("response.output_text.delta", delta="a"),
        event("response.output_text.delta", delta=None),
        event("response.refusal.delta", delta="b"),
        event("keepalive"),
    ]
    async with serving(playing(SSE, *pieces)) as provider:
        updates = await followed(an_agent(provider), "resp_1")
    assert [(update.text, update.sequence) for update in updates] == [("a", 4), ("b", 6)]
