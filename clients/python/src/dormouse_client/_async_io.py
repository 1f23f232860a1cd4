"""What is done by an event loop, and only so: to send, to wait, to call back."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2

from dormouse_client._connection import Connection, network_errors, reply_of
from dormouse_client._steps import Pause, Reply, Request, Step


async def carry_out(http: httpx2.AsyncClient, connection: Connection, step: Step) -> Reply:
    """Do one step of a call. Raises ``NetworkError``, ``InvalidArgument``."""
    if isinstance(step, Request):
        with network_errors():
            return reply_of(await http.request(**connection.arguments(step)))
    if isinstance(step, Pause):
        await asyncio.sleep(step.seconds)
    else:
        result = step.callback(*step.values)
        if inspect.isawaitable(result):
            await result
    return Reply()


@asynccontextmanager
async def opened(http: httpx2.AsyncClient, connection: Connection, request: Request) -> AsyncIterator[httpx2.Response]:
    """An answer that is read as it comes. Raises as ``carry_out``, also while it is read."""
    with network_errors():
        async with http.stream(**connection.arguments(request, stream=True)) as response:
            yield response
