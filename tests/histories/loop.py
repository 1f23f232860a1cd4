"""An event loop whose time passes only when nothing else is left to do: the same seed gives the same history."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


MOST_CALLBACKS = 400_000
"""After so many a history goes on for ever, without time passing or with it."""


class NothingLeft(RuntimeError):
    """Everybody waits for somebody else."""


class NoEnd(RuntimeError):
    """It goes on for ever."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs callbacks in order and jumps to the next timer. No sockets, no threads, no real time."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._done = 0

    def time(self) -> float:
        """Seconds since the loop was made, in its own time."""
        return self._now

    def _run_once(self) -> None:
        scheduled: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        ready = self._ready  # type: ignore[attr-defined]
        while scheduled and scheduled[0].cancelled():
            heapq.heappop(scheduled)._scheduled = False  # type: ignore[attr-defined]
        if not ready:
            if not scheduled:
                raise NothingLeft
            self._now = max(self._now, scheduled[0].when())
        while scheduled and scheduled[0].when() <= self._now:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False  # type: ignore[attr-defined]
            ready.append(handle)
        self._done += len(ready)
        if self._done > MOST_CALLBACKS:
            self._done = 0
            raise NoEnd(f"after {self._now:g} seconds")
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers leave the heap when their time comes."""

    def _process_events(self, event_list: Any) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody sleeps in a selector."""


def run_virtually(work: Coroutine[Any, Any, T]) -> T:
    """What the coroutine returns, in a loop of its own. Tasks that are left over are cancelled."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(work)
    finally:
        _cancel_the_rest(loop)
        loop.close()


def _cancel_the_rest(loop: VirtualLoop) -> None:
    for _ in range(5):  # what is cancelled may start or wait for more
        left = asyncio.all_tasks(loop)
        if not left:
            return
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.wait(left, timeout=60.0))


def run_now(work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that waits for nothing but its turn, such as an operation of the tables in memory."""
    try:
        while True:
            work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
