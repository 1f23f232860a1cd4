"""Events on their way: a ping when none comes, an end in good time, and nothing left open behind."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from shared.api import pacing
from shared.api.pacing import EventStream, TimeIsUp, paced


class Source:
    """Some events, then silence for ever, or an end; and whether it was closed."""

    def __init__(self, *events: str, silent: bool = False, error: Exception | None = None) -> None:
        self.events, self.silent, self.error = events, silent, error
        self.closed = asyncio.Event()

    async def __call__(self) -> AsyncGenerator[str, None]:
        try:
            for event in self.events:
                yield event
            if self.error is not None:
                raise self.error
            if self.silent:
                await asyncio.Event().wait()
        finally:
            self.closed.set()


async def hear(events: AsyncGenerator[str | None, None], heard: list[str | None]) -> None:
    async for event in events:
        heard.append(event)  # noqa: PERF401 - what came before something is raised counts


async def test_events_come_as_they_are_and_end_with_their_source() -> None:
    source = Source(*map(str, range(100)))
    assert [event async for event in paced(source(), seconds=60)] == list(source.events)
    await asyncio.wait_for(source.closed.wait(), 10)


async def test_silence_is_told_and_ends_in_good_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "PING_SECONDS", 0.01)
    source, heard = Source("a", silent=True), list[str | None]()
    with pytest.raises(TimeIsUp):
        await hear(paced(source(), seconds=0.2), heard)
    assert heard[:2] == ["a", None]
    await asyncio.wait_for(source.closed.wait(), 10)


async def test_what_goes_wrong_in_the_making_is_raised_after_what_was_made() -> None:
    source, heard = Source("a", "b", error=LookupError("gone")), list[str | None]()
    with pytest.raises(LookupError, match="gone"):
        await hear(paced(source(), seconds=60), heard)
    assert heard == ["a", "b"]


async def test_a_caller_who_leaves_closes_the_source() -> None:
    source = Source("a", silent=True)
    events = paced(source(), seconds=60)
    assert await anext(events) == "a"
    await events.aclose()
    await asyncio.wait_for(source.closed.wait(), 10)


async def test_a_caller_who_goes_while_a_piece_is_sent_leaves_nothing_open() -> None:
    """Nobody asks the body for more then: left to itself, it would hold what it listens to until it is collected."""
    closed, blocked = asyncio.Event(), asyncio.Event()

    async def events() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b": x\n\n"
        finally:
            closed.set()

    async def body() -> AsyncGenerator[bytes, None]:
        async with contextlib.aclosing(paced(events(), seconds=60)) as chunks:
            async for chunk in chunks:
                yield chunk or b""

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            blocked.set()
            await asyncio.Event().wait()

    async def receive() -> dict[str, str]:
        await blocked.wait()
        return {"type": "http.disconnect"}

    held = body()
    await EventStream(held)({"type": "http"}, receive, send)
    async with asyncio.timeout(5):
        await closed.wait()


async def test_a_body_that_nobody_began_to_read_is_closed_too() -> None:
    async def body() -> AsyncGenerator[bytes, None]:
        yield b""

    async def send(_: Any) -> None:
        raise OSError

    held = body()
    with contextlib.suppress(Exception):
        await EventStream(held)({"type": "http", "asgi": {"spec_version": "2.4"}}, None, send)
    with pytest.raises(StopAsyncIteration):
        await anext(held)
