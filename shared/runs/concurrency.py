"""Work for many, a bounded number at a time; and how often work is repeated after lost races."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")
S = TypeVar("S")

MAX_RACES = 20
"""How often the same is tried while others are faster: by then something is wrong, and not only busy."""


class LostRace(Exception):
    """The row is gone, or the right that was to be taken is another's."""


class TooManyRaces(LostRace):
    """Others were faster again and again. Nothing is wrong with the rows: who asks again later is served."""


class Races:
    """Counts the races that one piece of work has lost."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._lost = 0

    def lost(self) -> None:
        """One more. Raises ``TooManyRaces``."""
        self._lost += 1
        # Without an end, two that hinder each other would use up the invocation's time.
        if self._lost >= MAX_RACES:
            raise TooManyRaces(f"{self._what}: too many races")


async def both(one: Coroutine[Any, Any, T], other: Coroutine[Any, Any, S]) -> tuple[T, S]:
    """What two writes come to that need not wait for each other. If one fails, the other is seen to its end.

    Raises what the first raises, else what the second does.
    """
    beside = asyncio.create_task(other)
    try:
        first = await one
    except Exception:
        await asyncio.gather(beside, return_exceptions=True)
        raise
    except BaseException:  # cancelled
        beside.cancel()
        raise
    return first, await beside


async def side_by_side(given: Iterable[S], do: Callable[[S], Coroutine[Any, Any, T]], *, at_once: int) -> list[T]:
    """What ``do`` makes of each, so many of them at a time, in the order given. Raises what any of them raises."""
    slots = asyncio.Semaphore(at_once)

    async def one(each: S) -> T:
        async with slots:
            return await do(each)

    return await asyncio.gather(*(one(each) for each in given))
