"""A time limit that never throws away a result that is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

LATE_SECONDS = 0.2
"""A timeout that fires so much too late: the process was suspended, not the work slow."""
CATCH_UP_SECONDS = 2.0
"""Then an answer that came meanwhile is in the socket, and takes some turns of the event loop to be read."""
STOP_SECONDS = 5.0
"""How long cancelled work may take to stop; then it is no longer waited for."""


async def within(seconds: float, work: Coroutine[Any, Any, T], *, stop: Callable[[], None] | None = None) -> T:
    """What ``work`` returns, or raises. ``TimeoutError`` when it is not done in time; it is stopped then.

    ``stop`` is called right before it is cancelled: a thread that it waits for cannot be cancelled.

    ``asyncio.timeout`` would cancel work whose result is there, when the process was suspended past the limit.
    """
    loop = asyncio.get_running_loop()
    task, end = loop.create_task(work), loop.time() + seconds
    try:
        await asyncio.wait([task], timeout=seconds)
        if not task.done() and loop.time() - end >= LATE_SECONDS:
            await asyncio.wait([task], timeout=CATCH_UP_SECONDS)
        if task.done() and not task.cancelled():
            return task.result()
    finally:
        if not task.done():
            if stop is not None:
                stop()
            task.cancel()
            # Bounded: work that swallows its cancellation must not hold its caller.
            await asyncio.wait([task], timeout=STOP_SECONDS)
            _discard_error(task)
    raise TimeoutError


def _discard_error(task: asyncio.Task[Any]) -> None:
    # An exception that is never retrieved is logged by asyncio as an error.
    if task.done() and not task.cancelled():
        task.exception()
