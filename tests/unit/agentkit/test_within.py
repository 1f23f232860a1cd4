"""The time limit of a request or a tool: what is in time, also when the process stands still meanwhile."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from shared.agentkit.within import within


async def test_what_is_done_in_time_is_the_result() -> None:
    assert await within(60, asyncio.sleep(0, "done")) == "done"


async def test_what_is_not_done_is_stopped() -> None:
    stopped = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    with pytest.raises(TimeoutError):
        await within(0.01, work())
    assert stopped.is_set()


async def test_its_own_exception_is_raised_as_it_is() -> None:
    async def work() -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError):
        await within(60, work())


async def test_who_is_cancelled_stops_the_work() -> None:
    stopped = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    waiting = asyncio.create_task(within(60, work()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert stopped.is_set()


async def test_a_result_that_came_while_the_process_stood_still_is_not_lost() -> None:
    """It takes some turns of the event loop until the work has it, as an answer over HTTP does."""
    loop = asyncio.get_running_loop()
    came = asyncio.Event()

    async def work() -> str:
        await came.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        return "there"

    waiting = asyncio.create_task(within(0.5, work()))
    await asyncio.sleep(0)
    threading.Thread(target=lambda: (time.sleep(0.1), loop.call_soon_threadsafe(came.set))).start()
    time.sleep(0.8)  # noqa: ASYNC251 - the freeze
    assert await waiting == "there"
