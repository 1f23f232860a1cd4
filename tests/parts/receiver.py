"""A receiver of callbacks: records requests, answers as a test sets it, checks signatures as its owner would."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ssl import SSLContext
from typing import Any, Self

from aiohttp import web
from standardwebhooks import Webhook

SECRET = "whsec_YSBzZWNyZXQgb2YgdGhlIGNhbGxiYWNrcw=="
OTHER_SECRET = "whsec_YW5vdGhlciBvbmUgb2YgdGhlIGNhbGxiYWNrcw=="


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        """The JSON in it."""
        body: dict[str, Any] = json.loads(self.raw)
        return body

    @property
    def webhook_id(self) -> str:
        """What a receiver recognises a repeated delivery by."""
        return self.headers["webhook-id"]

    def is_signed(self, secret: str = SECRET) -> bool:
        """Whether one of its signatures is of this secret, whatever the time."""
        at = datetime.fromtimestamp(int(self.headers["webhook-timestamp"]), UTC)
        signature = Webhook(secret).sign(self.webhook_id, at, self.raw.decode())
        return signature in self.headers["webhook-signature"].split()

    def verify(self, secret: str = SECRET) -> Any:
        """What the package of Standard Webhooks makes of it, time included. Raises what it raises."""
        return Webhook(secret).verify(self.raw, dict(self.headers))


@dataclass(kw_only=True)
class Receiver:
    """A server on 127.0.0.1. ``answers`` are given in turn, each a status or with headers; then ``then``.

    While ``hold`` is clear nothing is answered.
    """

    answers: list[int | tuple[int, Mapping[str, str]]] = field(default_factory=list)
    then: int = 204
    tls: SSLContext | None = None
    received: list[Received] = field(default_factory=list)
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/hook"

    def types(self) -> list[str]:
        """The types of the events, in the order in which they came."""
        return [each.body["type"] for each in self.received]

    async def __aenter__(self) -> Self:
        self.hold.set()
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self.tls)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        self.received.append(
            Received(method=request.method, path=request.path_qs, headers=request.headers, raw=await request.read())
        )
        await self.hold.wait()
        answer = self.answers.pop(0) if self.answers else self.then
        status, headers = (answer, {}) if isinstance(answer, int) else answer
        return web.Response(status=status, headers=headers)
