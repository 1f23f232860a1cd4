"""An HTTP proxy in front of the app that keeps what passes, and loses the answers that a test names."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

NOT_PASSED_ON = {"host", "connection", "transfer-encoding", "content-length", "accept-encoding", "keep-alive"}
DROPPED = 0
"""In place of a status: the connection is closed without an answer."""


@dataclass(kw_only=True)
class Exchange:
    """A request, and what the app has answered."""

    method: str
    path: str
    headers: Mapping[str, str]
    sent: bytes
    status: int = 0
    answer_headers: Mapping[str, str] = field(default_factory=dict)
    answer: bytes = b""
    lost: bool = False
    """The client did not see the answer."""

    whole: bool = False
    """The answer has come to its end, with the client still there."""


@dataclass
class RecordingProxy:
    """On 127.0.0.1, in front of the app at ``target``."""

    target: str
    lose: dict[str, list[int]] = field(default_factory=dict)
    """By a text in the body of a POST: what the next such requests are answered with instead, a status or ``DROPPED``.

    The app gets each of them, and answers, before its answer is lost.
    """

    url: str = ""
    exchanges: list[Exchange] = field(default_factory=list)
    _session: aiohttp.ClientSession | None = None

    def about(self, text: str) -> list[Exchange]:
        """The exchanges whose request holds this text."""
        return [each for each in self.exchanges if re.search(re.escape(text), each.sent.decode(errors="ignore"))]

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Pass one request on."""
        assert self._session is not None
        headers = {name: value for name, value in request.headers.items() if name.lower() not in NOT_PASSED_ON}
        sent = await request.read()
        exchange = Exchange(method=request.method, path=request.path_qs, headers=headers, sent=sent)
        self.exchanges.append(exchange)
        url = self.target + request.path_qs
        async with self._session.request(request.method, url, data=sent or None, headers=headers) as answer:
            exchange.status, exchange.answer_headers = answer.status, answer.headers.copy()
            instead = self._instead(request.method, sent)
            if instead is not None:
                exchange.answer, exchange.lost = await answer.read(), True
                if instead != DROPPED:
                    return web.json_response({"error": {"message": "lost"}}, status=instead)
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            passed = {name: value for name, value in answer.headers.items() if name.lower() not in NOT_PASSED_ON}
            response = web.StreamResponse(status=answer.status, headers=passed)
            with contextlib.suppress(ConnectionError):  # the client has left
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    exchange.answer += chunk
                    await response.write(chunk)
                exchange.whole = True
                await response.write_eof()
            return response

    def _instead(self, method: str, sent: bytes) -> int | None:
        waiting = (each for text, each in self.lose.items() if each and text.encode() in sent)
        found = next(waiting, None) if method == "POST" else None
        return None if found is None else found.pop(0)


@contextlib.asynccontextmanager
async def recording_proxy(target: str) -> AsyncIterator[RecordingProxy]:
    """A proxy that runs."""
    proxy = RecordingProxy(target.rstrip("/"))
    app = web.Application(client_max_size=2**26)
    app.router.add_route("*", "/{path:.*}", proxy.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as proxy._session:
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            proxy.url = f"http://{host}:{port}"
            yield proxy
        finally:
            await runner.cleanup()
