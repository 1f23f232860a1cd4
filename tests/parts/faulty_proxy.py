"""An HTTP proxy that fails at a rate, as services do: in front of Azurite's tables, or of the model."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "host"})
LATE_SECONDS = 1.5
CONTINUATION = ("NextPartitionKey", "NextRowKey")


@dataclass
class FaultyProxy:
    """Passes requests on to ``target``; so many of a hundred fail in one of ``kinds``, by a seeded throw of dice."""

    target: str
    kinds: tuple[str, ...]
    seed: int = 0
    rate: float = 0.0
    """Of 1: which share of the requests fails."""

    done: Counter[str] = field(default_factory=Counter)
    """How often each kind was done, and ``passed``."""

    url: str = ""
    session: aiohttp.ClientSession | None = None
    is_empty_next: bool = False
    """Whether the next short page has no row at all, where one before it has said where to go on."""

    _dice: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)

    def throw(self) -> str | None:
        """What happens to the next request; None: nothing."""
        return self._dice.choice(self.kinds) if self._dice.random() < self.rate else None

    async def take(self, request: web.Request) -> web.StreamResponse:
        """One request."""
        kind = self.throw()
        body = await request.read()
        fault = FAULTS.get(kind or "")
        answer = None if fault is None else await fault(self, request, body)
        self.done[kind or "passed" if answer is not None or fault is None else "passed"] += 1
        return answer or await self.pass_on(request, body)

    def address(self, request: web.Request, **more: str) -> URL:
        """Where it goes, byte for byte, with these parameters of the query in place of its own."""
        url = URL(self.target + request.raw_path, encoded=True)
        return url.update_query(more) if more else url

    async def pass_on(self, request: web.Request, body: bytes, **params: str) -> web.StreamResponse:
        """Send it on, and its answer back as it comes."""
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        assert self.session
        async with self.session.request(
            request.method,
            self.address(request, **params),
            headers=headers,
            data=body or None,
            allow_redirects=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),  # some are signed
        ) as got:
            kept = {name: value for name, value in got.headers.items() if name.lower() not in HOP_BY_HOP}
            if "text/event-stream" not in got.headers.get("content-type", ""):
                return web.Response(status=got.status, headers=kept, body=await got.read())
            answer = web.StreamResponse(status=got.status, headers=kept)
            await answer.prepare(request)
            async for chunk in got.content.iter_any():
                await answer.write(chunk)
            return answer


def drop(request: web.Request) -> web.Response:
    """Close the connection in place of an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


async def busy(proxy: FaultyProxy, request: web.Request, body: bytes) -> web.Response:
    """Refused before anything happened."""
    error = '{"odata.error": {"code": "ServerBusy", "message": {"lang": "en-US", "value": "Busy."}}}'
    return web.Response(
        status=503, text=error, headers={"x-ms-error-code": "ServerBusy"}, content_type="application/json"
    )


async def reset(proxy: FaultyProxy, request: web.Request, body: bytes) -> web.Response:
    """No answer, and nothing happened."""
    return drop(request)


async def reset_after(proxy: FaultyProxy, request: web.Request, body: bytes) -> web.Response:
    """It happened, and the answer is lost."""
    await proxy.pass_on(request, body)
    return drop(request)


async def late(proxy: FaultyProxy, request: web.Request, body: bytes) -> web.StreamResponse:
    """The answer comes late."""
    await asyncio.sleep(LATE_SECONDS)
    return await proxy.pass_on(request, body)


async def repeated(proxy: FaultyProxy, request: web.Request, body: bytes) -> web.StreamResponse | None:
    """Something in between sends a write once more: the second answer is 412, 404 or 409 for what succeeded."""
    # Clients do so with PUT and DELETE, which are as good as one when sent twice.
    if request.method not in ("PUT", "DELETE"):
        return None
    await proxy.pass_on(request, body)
    return await proxy.pass_on(request, body)


async def short_page(proxy: FaultyProxy, request: web.Request, body: bytes) -> web.StreamResponse | None:
    """A page with fewer rows than there are, and a place where to go on; or with none at all."""
    if request.method != "GET" or not request.path.endswith("()"):
        return None
    proxy.is_empty_next = not proxy.is_empty_next
    if proxy.is_empty_next and all(name in request.query for name in CONTINUATION):
        place = {f"x-ms-continuation-{name}": request.query[name] for name in CONTINUATION}
        return web.json_response({"value": []}, headers=place)
    return await proxy.pass_on(request, body, **{"$top": "1"})


async def throttled(proxy: FaultyProxy, request: web.Request, body: bytes) -> web.Response:
    """429, as the model's provider says it."""
    error = {"error": {"message": "Slow down.", "type": "requests", "code": "rate_limit_exceeded", "param": None}}
    return web.json_response(error, status=429, headers={"retry-after": "1"})


async def broken(proxy: FaultyProxy, request: web.Request, body: bytes) -> web.Response:
    """502 with a gateway's page."""
    return web.Response(status=502, text="<html><body><h1>Bad gateway</h1></body></html>", content_type="text/html")


Fault = Callable[[FaultyProxy, web.Request, bytes], Any]
FAULTS: dict[str, Fault] = {
    each.__name__: each for each in (busy, reset, reset_after, late, repeated, short_page, throttled, broken)
}
OF_TABLES = ("busy", "reset", "reset_after", "late", "repeated", "short_page")
OF_PROVIDERS = ("throttled", "broken", "reset", "reset_after", "late")


@contextlib.asynccontextmanager
async def faulty_proxy(target: str, kinds: tuple[str, ...], *, seed: int = 0) -> AsyncIterator[FaultyProxy]:
    """The proxy while it listens; it fails nothing until its ``rate`` is set."""
    proxy = FaultyProxy(target.rstrip("/"), kinds, seed)
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", proxy.take)
    async with aiohttp.ClientSession(auto_decompress=False, timeout=aiohttp.ClientTimeout(total=None)) as session:
        proxy.session = session
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield proxy
        finally:
            await runner.cleanup()
