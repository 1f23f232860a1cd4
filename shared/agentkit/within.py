"""A time limit that never throws away a result that is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

LATE_SECONDS = 0.2
"""A limit that is noticed so much later than it was set: the process stood still, not the work."""
CATCH_UP_SECONDS = 2.0
"""Then an answer that came meanwhile lies in the socket, and takes some turns of the event loop to be read."""
STOP_SECONDS = 5.0
"""How long work that was told to stop may take to do so; what does not is left behind."""


async def within(seconds: float, work: Coroutine[Any, Any, T], *, stop: Callable[[], None] | None = None) -> T:
    """What ``work`` returns, or raises. ``TimeoutError`` when it is not done in time; it is stopped then.

    ``stop`` is called right before it is cancelled: a thread that it waits for can be told by nothing else.

    ``asyncio.timeout`` is another matter: it cancels work whose result is there when the process was frozen over it.
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
            await asyncio.wait([task], timeout=STOP_SECONDS)
            _look_at(task)
    raise TimeoutError


def _look_at(task: asyncio.Task[Any]) -> None:
    """What it raised while it stopped is nobody's concern, and no error that nobody has looked at."""
    if task.done() and not task.cancelled():
        task.exception()
