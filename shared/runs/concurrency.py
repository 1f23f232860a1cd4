"""Doing the same for many, a bounded number at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")
S = TypeVar("S")


async def side_by_side(given: Iterable[S], do: Callable[[S], Coroutine[Any, Any, T]], *, at_once: int) -> list[T]:
    """What ``do`` makes of each, so many of them at a time, in the order given. Raises what any of them raises."""
    slots = asyncio.Semaphore(at_once)

    async def one(each: S) -> T:
        async with slots:
            return await do(each)

    return await asyncio.gather(*(one(each) for each in given))
