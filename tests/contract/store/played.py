"""A table service that plays its lines, whatever it is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from shared.runs.store.azure import AzureTables

ETAG = "W/\"datetime'2026-01-01T00%3A00%3A00.0000000Z'\""

Line = Callable[[web.Request], web.StreamResponse]


@dataclass
class Service:
    """Answers each request with the next line, the last line over and over; keeps what was asked."""

    lines: list[Line] = field(default_factory=list)
    asked: list[web.Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    port: int = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        self.bodies.append(await request.read())
        return (self.lines.pop(0) if len(self.lines) > 1 else self.lines[0])(request)


def says(status: int, body: Any = None, **headers: str) -> Line:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: (
        web.json_response(body, status=status, headers=named) if body else web.Response(status=status, headers=named)
    )


def fails(status: int, code: str) -> Line:
    body = {"odata.error": {"code": code, "message": {"lang": "en-US", "value": f"It says {code}.\nRequestId:1"}}}
    return says(status, body, x_ms_error_code=code)


def hangs_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def page(*keys: str, next_key: str | None = None) -> Line:
    rows = [{"PartitionKey": "p", "RowKey": key, "odata.etag": ETAG} for key in keys]
    ahead = (
        {}
        if next_key is None
        else {"x_ms_continuation_NextPartitionKey": "p", "x_ms_continuation_NextRowKey": next_key}
    )
    return says(200, {"value": rows}, **ahead)


WRITTEN = says(204, ETag=ETAG)


def connect(port: int) -> AzureTables:
    return AzureTables.from_connection_string(
        f"AccountName=acct;AccountKey=a2V5;TableEndpoint=http://127.0.0.1:{port}/acct;", "app"
    )
