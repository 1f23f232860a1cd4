"""Waiting for what a host does."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

Until = Callable[..., Awaitable[None]]


@pytest.fixture
def until() -> Until:
    """`await until(condition)`: returns as soon as it holds, fails when it does not within `seconds`."""

    async def wait(condition: Callable[[], object], seconds: float = 15.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come to hold"
            await asyncio.sleep(0.002)

    return wait
