"""A proxy before the tables of the emulator that keeps when each request came and was answered."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

from tests.parts.faulty_proxy import FaultyProxy


@dataclass(frozen=True, slots=True)
class Transaction:
    """One request to the store. An entity group transaction is one, as on the bill."""

    method: str
    path: str
    begun: float
    """This and `ended` in seconds of the monotonic clock."""
    ended: float
    received: int
    """Bytes of the answer's body."""


@dataclass
class CountingProxy(FaultyProxy):
    """Passes everything on, and keeps it in `transactions`."""

    latency: float = 0.0
    """Seconds that an answer is held back, so that what is sent side by side can be told from what waits for it."""

    transactions: list[Transaction] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.StreamResponse:
        """One request."""
        begun, body = time.monotonic(), await request.read()
        if self.latency:
            await asyncio.sleep(self.latency)
        answer = await self.pass_on(request, body)
        received = len(answer.body) if isinstance(answer, web.Response) and isinstance(answer.body, bytes) else 0
        self.transactions.append(Transaction(request.method, request.path_qs, begun, time.monotonic(), received))
        return answer


@contextlib.asynccontextmanager
async def counting_proxy(target: str) -> AsyncIterator[CountingProxy]:
    """A proxy that runs, at its `url`."""
    proxy = CountingProxy(target.rstrip("/"), kinds=())
    app = web.Application(client_max_size=2**26)
    app.router.add_route("*", "/{path:.*}", proxy.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1, keepalive_timeout=600)
    await runner.setup()
    # None is used twice: the emulator, when it is busy, closes one as idle whose next request it has not read yet.
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as proxy.session:
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            proxy.url = f"http://{host}:{port}"
            yield proxy
        finally:
            await runner.cleanup()


def in_a_row(transactions: list[Transaction]) -> int:
    """How many of them at least waited for one another: the longest chain in which each begins after the one before."""
    length, ended = 0, 0.0
    for each in sorted(transactions, key=lambda one: one.ended):
        if each.begun >= ended:
            length, ended = length + 1, each.ended
    return length
