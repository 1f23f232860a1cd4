"""A limit of requests at once, of which one owner never has all."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class NoSlot(Exception):
    """All slots were in use for as long as the caller would wait."""


class FairLimit:
    """A semaphore of ``most`` slots in a process, of which requests of one owner hold three quarters at most.

    First come, first served, except that a request whose owner is at its limit does not block those behind it.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._most_of_one = max(1, most * 3 // 4)
        self._in_use = 0
        self._by_owner: Counter[str] = Counter()
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def slot(self, owner: str = "", *, wait: float) -> AsyncIterator[None]:
        """Hold a slot. Raises ``NoSlot`` when none is free within ``wait`` seconds."""
        if self._has_free_slot(owner):
            self._take(owner)
        else:
            await self._wait(owner, wait)
        try:
            yield
        finally:
            self._release(owner)

    def _has_free_slot(self, owner: str) -> bool:
        # Looks at responses name no owner: the runs of all share that limit.
        return self._in_use < self._most and (not owner or self._by_owner[owner] < self._most_of_one)

    def _take(self, owner: str) -> None:
        self._in_use += 1
        self._by_owner[owner] += 1

    async def _wait(self, owner: str, seconds: float) -> None:
        """Return with a slot, which whoever released it has taken for this request."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        mine = (owner, turn)
        self._waiting.append(mine)
        try:
            await asyncio.wait([turn], timeout=seconds)
        except asyncio.CancelledError:
            # The slot was passed on in the same turn of the event loop in which this request was cancelled.
            if turn.done():
                self._release(owner)
            raise
        finally:
            if not turn.done():
                self._waiting.remove(mine)
        if not turn.done():
            raise NoSlot

    def _release(self, owner: str) -> None:
        self._in_use -= 1
        self._by_owner[owner] -= 1
        if not self._by_owner[owner]:
            del self._by_owner[owner]
        # Passed on directly, not freed: a newcomer could take it first, and who waits would starve.
        for next_owner, turn in self._waiting:
            if self._has_free_slot(next_owner):
                self._waiting.remove((next_owner, turn))
                self._take(next_owner)
                turn.set_result(None)
                return
