"""Events as bytes: their form, the pings between them, and the end that comes in good time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.responses import StreamingResponse

from shared.agentkit.extras import Annotation, HostedCall
from shared.api import pacing
from shared.api.http import answered
from shared.api.native.events import sse, stream
from shared.runs.ports import log
from shared.runs.watching.views import (
    AnnotationAdded,
    Delta,
    EventId,
    HostedCallMoved,
    ReasoningDelta,
    Snapshot,
    Stale,
    ToolFinished,
    ToolProgress,
    ToolStarted,
    ViewEvent,
    Woken,
)
from tests.unit.api.conftest import request
from tests.unit.runs.records import SESSION, a_run

RUN = f"run_{SESSION}_1"
Watching = Callable[[], AsyncGenerator[ViewEvent, None]]


def delta(sequence: int, text: str = "x") -> Delta:
    return Delta(event_id=EventId(1, 1, sequence), text=text)


def app_of(watching: Watching, seconds: float = 60.0) -> Any:
    """An app whose runs are watched like this."""
    watched = SimpleNamespace(watch=lambda run_id, after, wake: watching())
    return SimpleNamespace(
        watching=watched, settings=SimpleNamespace(events_seconds=seconds, base_url="https://app.example")
    )


def body_of(watching: Watching, seconds: float = 60.0) -> AsyncGenerator[bytes, None]:
    async def wake(run_id: str) -> None:
        raise AssertionError(run_id)

    return stream(app_of(watching, seconds), RUN, None, wake)


async def chunks(watching: Watching, seconds: float = 60.0) -> list[bytes]:
    """The whole body, in the pieces it is sent in."""
    return [chunk async for chunk in body_of(watching, seconds)]


# The form


@pytest.mark.parametrize(
    "text", ["a\nb\r\nc\rd", "\u2028\u2029\u0085", "\U0001f42d ü ’", "data: x\n\nevent: end", "\0"]
)
def test_whatever_the_text_it_is_one_line_of_json_in_utf8(text: str) -> None:
    name, kind, data, *rest = sse("delta", {"text": text}, "1.1.7").decode().split("\n")
    assert (name, kind, rest) == ("id: 1.1.7", "event: delta", ["", ""])
    assert "\r" not in data
    assert json.loads(data.removeprefix("data: ")) == {"text": text}


def test_half_a_surrogate_pair_goes_over_the_wire_as_it_came() -> None:
    """A provider may cut a text there; a page puts the halves together again."""
    halves = [sse("delta", {"text": half}) for half in ("a\ud83d", "\udc2db")]
    data = [piece.decode().split("\n")[1].removeprefix("data: ") for piece in halves]
    assert json.loads(data[0])["text"] + json.loads(data[1])["text"] == "a\ud83d\udc2db"


async def test_each_kind_of_event_has_its_name_and_only_what_has_a_place_in_the_stream_has_an_id() -> None:
    from shared.runs.model.calls import ToolCall

    call = ToolCall(session_id=SESSION, number=1, turn=2, index=0, call_id="c", name="work", arguments="{}")

    async def watching() -> AsyncGenerator[ViewEvent, None]:
        yield Snapshot(event_id=EventId(1, 1, 0), text="")
        yield delta(5, "Hello")
        yield ToolStarted(call=call)
        yield ToolProgress(call=call)
        yield ToolFinished(call=call)
        yield Stale(event_id=EventId(1, 1, 5))
        yield AnnotationAdded(event_id=EventId(1, 1, 6), annotation=Annotation(type="url_citation", url="u"))
        yield HostedCallMoved(event_id=EventId(1, 1, 7), call=HostedCall(id="ws", type="w", status="completed", turn=1))
        yield ReasoningDelta(event_id=EventId(1, 1, 8), text="Hm.")
        yield Woken(run=a_run(wakes=3), calls=())

    retry, *rest = await chunks(watching)
    assert retry == b"retry: 1000\n\n"
    lines = [chunk.decode().removesuffix("\n\n").split("\n") for chunk in rest]
    assert [line[:-1] for line in lines] == [
        ["id: 1.1.0", "event: snapshot"],
        ["id: 1.1.5", "event: delta"],
        ["event: tool_started"],
        ["event: tool_progress"],
        ["event: tool_finished"],
        ["event: stale"],
        ["id: 1.1.6", "event: annotation"],
        ["id: 1.1.7", "event: hosted_call"],
        ["id: 1.1.8", "event: reasoning"],
        ["event: wake"],
    ]
    assert json.loads(lines[0][-1].removeprefix("data: ")) == {
        "text": "",
        "continuation_token": "1.1.0",
        "annotations": [],
        "hosted_calls": [],
        "reasoning": "",
    }
    assert lines[1][-1] == 'data: {"text": "Hello", "continuation_token": "1.1.5"}'
    assert lines[5][-1] == 'data: {"continuation_token": "1.1.5"}'
    woken = json.loads(lines[9][-1].removeprefix("data: "))
    assert (woken["wakes"], woken["waiting_for"]) == (3, "provider")
    added, moved, thought = (json.loads(line[-1].removeprefix("data: ")) for line in lines[6:9])
    assert (added["annotation"]["url"], added["annotation"]["start_index"]) == ("u", None)
    assert (moved["hosted_call"]["status"], moved["hosted_call"]["error"]) == ("completed", None)
    assert thought == {"text": "Hm.", "continuation_token": "1.1.8"}


# Time


async def test_silence_is_broken_by_pings_and_the_connection_ends_on_purpose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "PING_SECONDS", 0.02)
    let_go = asyncio.Event()

    async def watching() -> AsyncGenerator[ViewEvent, None]:
        try:
            yield delta(1)
            await asyncio.sleep(60)
        finally:
            let_go.set()

    _retry, first, *pings = await chunks(watching, seconds=0.3)
    assert first.startswith(b"id: 1.1.1\n")
    assert set(pings) == {b": ping\n\n"}
    await asyncio.wait_for(let_go.wait(), 5)


async def test_a_watch_that_is_over_ends_the_body() -> None:
    async def watching() -> AsyncGenerator[ViewEvent, None]:
        yield delta(1)

    assert len(await chunks(watching)) == 2


async def test_a_watch_that_fails_ends_the_body_after_what_it_said(caplog: pytest.LogCaptureFixture) -> None:
    """The client comes back, and is told what is wrong if it still is."""

    async def watching() -> AsyncGenerator[ViewEvent, None]:
        yield delta(1)
        raise RuntimeError("what")

    with caplog.at_level(logging.INFO, logger="dormouse"):
        assert len(await chunks(watching)) == 2
    assert "a watch failed" in caplog.text


# Who leaves


async def test_a_body_that_is_cancelled_lets_go_of_the_watch() -> None:
    began, let_go = asyncio.Event(), asyncio.Event()

    async def watching() -> AsyncGenerator[ViewEvent, None]:
        try:
            yield delta(1)
            began.set()
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)  # what lets go has to wait for something, and must be let
            let_go.set()

    reading = asyncio.create_task(chunks(watching))
    await asyncio.wait_for(began.wait(), 5)
    reading.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reading
    await asyncio.wait_for(let_go.wait(), 5)


async def test_a_body_that_nobody_takes_makes_the_watch_wait() -> None:
    made = 0

    async def watching() -> AsyncGenerator[ViewEvent, None]:
        nonlocal made
        for made in range(1, 10_000):
            yield delta(made)

    async with contextlib.aclosing(body_of(watching)) as body:
        for _ in range(2):
            await anext(body)
        for _ in range(100):
            await asyncio.sleep(0)
        assert made < 50


async def test_what_is_logged_while_a_body_is_sent_names_its_request(caplog: pytest.LogCaptureFixture) -> None:
    async def watching() -> AsyncGenerator[ViewEvent, None]:
        log.warning("half of it")
        yield delta(1)

    @answered
    async def handler(req: Any) -> Any:
        return StreamingResponse(body_of(watching))

    response = await handler(request(headers={"X-Request-Id": "req-1"}))
    assert response.headers["x-request-id"] == "req-1"
    with caplog.at_level(logging.INFO, logger="dormouse"):

        async def read() -> list[bytes]:
            return [chunk async for chunk in response.body_iterator]

        assert len(await asyncio.create_task(read())) == 2
    assert "(request req-1)" in caplog.text
