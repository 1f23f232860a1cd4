"""Events on their way to a caller who listens: each as it comes, something now and then, and an end in good time."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncGenerator
from typing import TypeVar, cast

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from shared.runs.watching.viewer_limit import ViewerSlot

T = TypeVar("T")

# `X-Accel-Buffering`: nginx, and proxies like it, would collect the events before they send any.
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
MEDIA_TYPE = "text/event-stream"

LONGEST = 225.0
"""Seconds after which no request is held any more: the platform's front end cuts at 230."""

# Proxies close a connection that is silent for some tens of seconds.
PING_SECONDS = 15.0
AHEAD = 16
"""How many events are made ahead of what the caller has taken."""

_makers: set[asyncio.Task[None]] = set()
"""The tasks that make events, or that are closing the source of them."""


class EventStream(StreamingResponse):
    """The answer that a body of Server-Sent Events is. Its viewer's slot is released at its end."""

    def __init__(self, body: AsyncGenerator[bytes, None], slot: ViewerSlot | None = None) -> None:
        super().__init__(body, headers=HEADERS, media_type=MEDIA_TYPE)
        self._slot = slot
        if slot is not None:
            weakref.finalize(self, slot.release)  # the host may never start to send it

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. A caller who hangs up while a piece is being sent leaves the body open: it is closed here."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self._slot is not None:
                self._slot.release()
            await cast("AsyncGenerator[bytes, None]", self.body_iterator).aclose()


class TimeIsUp(Exception):
    """The events go on, and this caller has been served for as long as one connection lasts."""


class _Over:
    """No event comes any more; what went wrong, if it did."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error


async def paced(events: AsyncGenerator[T, None], *, seconds: float) -> AsyncGenerator[T | None, None]:
    """The events as they come; None when none did for a while.

    Raises ``TimeIsUp`` after so many seconds, and what making the events raised.
    """
    # A task of its own makes them: once the caller is gone, the task that sends the body is cancelled at every await,
    # also in its cleaning up, and could not close the source of the events.
    # Bounded: events for a caller who reads slowly must not pile up in memory.
    made: asyncio.Queue[T | _Over] = asyncio.Queue(AHEAD)
    maker = asyncio.create_task(_make(events, made))
    # The event loop holds tasks weakly: without this one may be collected while it works.
    _makers.add(maker)
    maker.add_done_callback(_makers.discard)
    time = asyncio.get_running_loop().time
    until = time() + seconds
    try:
        while (left := until - time()) > 0:
            try:
                async with asyncio.timeout(min(PING_SECONDS, left)):
                    event = await made.get()
            except TimeoutError:
                yield None
                continue
            if isinstance(event, _Over):
                if event.error is not None:
                    raise event.error
                return
            yield event
        raise TimeIsUp
    finally:
        # Not awaited, for the same reason: it closes its events by itself.
        maker.cancel()


async def _make(events: AsyncGenerator[T, None], made: asyncio.Queue[T | _Over]) -> None:
    error: Exception | None = None
    try:
        async with contextlib.aclosing(events):
            async for event in events:
                await made.put(event)
    except Exception as raised:
        error = raised
    await made.put(_Over(error))
