"""Room for requests: so many at once, and of one owner never all of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class NoRoom(Exception):
    """All places were taken for as long as the caller would wait."""


class Shares:
    """``most`` places in a process. Who names an owner shares three quarters of them with that owner's others.

    First come, first served, but for those whose owner has all that it may have: they are passed by.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._most_of_one = max(1, most * 3 // 4)
        self._taken = 0
        self._by_owner: Counter[str] = Counter()
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def place(self, owner: str = "", *, patience: float) -> AsyncIterator[None]:
        """Hold a place. Raises ``NoRoom`` when there is none within ``patience`` seconds."""
        if self._has_room(owner):
            self._take(owner)
        else:
            await self._wait(owner, patience)
        try:
            yield
        finally:
            self._give_back(owner)

    def _has_room(self, owner: str) -> bool:
        return self._taken < self._most and (not owner or self._by_owner[owner] < self._most_of_one)

    def _take(self, owner: str) -> None:
        self._taken += 1
        self._by_owner[owner] += 1

    async def _wait(self, owner: str, patience: float) -> None:
        """Return with a place taken, by whoever gave it back."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        mine = (owner, turn)
        self._waiting.append(mine)
        try:
            await asyncio.wait([turn], timeout=patience)
        except asyncio.CancelledError:
            if turn.done():
                self._give_back(owner)
            raise
        finally:
            if not turn.done():
                self._waiting.remove(mine)
        if not turn.done():
            raise NoRoom

    def _give_back(self, owner: str) -> None:
        self._taken -= 1
        self._by_owner[owner] -= 1
        if not self._by_owner[owner]:
            del self._by_owner[owner]
        for next_owner, turn in self._waiting:
            if self._has_room(next_owner):
                self._waiting.remove((next_owner, turn))
                self._take(next_owner)
                turn.set_result(None)
                return
