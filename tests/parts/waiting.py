"""Waiting for what must happen, however long that takes on a busy machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


async def eventually(holds: Callable[[], Any], *, timeout: float = 30.0) -> Any:
    """The first true value of ``holds`` (sync or async). ``TimeoutError``: there was none in so many real seconds."""
    async with asyncio.timeout(timeout):
        while True:
            value = holds()
            if asyncio.iscoroutine(value):
                value = await value
            if value:
                return value
            await asyncio.sleep(0.01)
