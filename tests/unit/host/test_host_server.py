"""What a caller gets whose body is answered before its end."""

import asyncio
import http.client
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable

import azure.functions as func
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse

from local.host import Host, server

BODY = b"x" * 30_000_000


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """An address that refuses any body after its first bytes."""
    app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)

    @app.route(route="refuses", methods=["POST"])
    async def refuses(req: Request) -> JSONResponse:
        await anext(req.stream())
        return JSONResponse({}, 413)

    async with Host(app, port=0) as host:
        yield f"{host.url}/api/refuses"


def by_urllib(url: str, body: bytes) -> int:
    """Asks for the connection to be closed."""
    try:
        return int(urllib.request.urlopen(urllib.request.Request(url, body, method="POST"), timeout=30).status)
    except urllib.error.HTTPError as error:
        return error.code


def by_http_client(url: str, body: bytes) -> int:
    """Keeps the connection, and uses it again."""
    connection = http.client.HTTPConnection(url.split("/")[2], timeout=30)
    statuses = set()
    for _ in range(2):
        connection.request("POST", "/api/refuses", body)
        answer = connection.getresponse()
        answer.read()
        statuses.add(answer.status)
    connection.close()
    (status,) = statuses
    return status


@pytest.mark.parametrize("send", [by_urllib, by_http_client])
async def test_a_client_that_sends_a_large_body_to_its_end_sees_why_it_was_refused(
    url: str, send: Callable[[str, bytes], int]
) -> None:
    assert await asyncio.to_thread(send, url, BODY) == 413


@pytest.mark.parametrize("connection", ["close", "keep-alive"])
async def test_a_body_without_end_is_cut_after_so_many_bytes(
    url: str, connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "DRAIN_BYTES", 1_000_000)
    _, writer = await begin(url, connection)

    async def send_on() -> None:
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(send_on(), 30)
    writer.close()


@pytest.mark.parametrize("connection", ["close", "keep-alive"])
async def test_a_body_that_never_ends_is_cut_after_some_time(
    url: str, connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "DRAIN_SECONDS", 0.2)
    reader, writer = await begin(url, connection)
    assert (await reader.readline()).startswith(b"HTTP/1.1 413")

    async def send_on() -> None:
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(send_on(), 30)
    writer.close()


async def begin(url: str, connection: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A request with the first bytes of a body that is said to be long."""
    host = url.split("/")[2]
    reader, writer = await asyncio.open_connection(*host.split(":"))
    head = f"POST /api/refuses HTTP/1.1\r\nHost: {host}\r\nConnection: {connection}\r\n"
    writer.write(f"{head}Content-Length: {10**12}\r\n\r\nx".encode())
    return reader, writer
