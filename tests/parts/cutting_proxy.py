"""A TCP proxy that cuts connections, as networks do: in the middle of an event, or all of them for a while."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class CuttingProxy:
    """On 127.0.0.1, in front of an app."""

    target: str
    cut_at: int | None = None
    """At which event with an id, counted from 1, a stream of events is cut, in the middle of it."""

    url: str = ""
    streams: int = 0
    """How many were asked for."""

    refused: int = 0
    """How many connections came while it was down."""

    down: bool = False
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _connections: set[asyncio.StreamWriter] = field(default_factory=set)

    def go_down(self) -> None:
        """Drop every connection, and each that comes from now on."""
        self.down = True
        for writer in self._connections:
            writer.transport.abort()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a client."""
        if self.down:
            self.refused += 1
            writer.transport.abort()
            return
        address = urlsplit(self.target)
        app_reader, app_writer = await asyncio.open_connection(address.hostname, address.port)
        both = {writer, app_writer}
        self._connections |= both
        try:
            with contextlib.suppress(OSError):
                await self._pass_on(reader, writer, app_reader, app_writer)
        finally:
            self._connections -= both
            for each in both:
                each.transport.abort()

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        app_reader: asyncio.StreamReader,
        app_writer: asyncio.StreamWriter,
    ) -> None:
        cuts, seen = False, b""

        async def requests() -> None:
            nonlocal cuts, seen
            while chunk := await reader.read(65_536):
                if chunk.startswith(b"GET ") and b"/events HTTP/1.1" in chunk.split(b"\r\n", 1)[0]:
                    self.streams += 1
                    cuts, seen = self.cut_at is not None, b""
                app_writer.write(chunk)
                await app_writer.drain()

        asking = asyncio.create_task(requests())
        try:
            while chunk := await app_reader.read(65_536):
                passed = len(seen)
                seen += chunk if cuts else b""
                end = _in_the_middle_of(seen, self.cut_at or 0) if cuts else None
                writer.write(chunk if end is None else chunk[: max(0, end - passed)])
                await writer.drain()
                if end is not None:
                    return
        finally:
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await asking


def _in_the_middle_of(stream: bytes, number: int) -> int | None:
    """Where that event is half over, once all of it is there."""
    begun = [match.start() for match in re.finditer(rb"(?m)^id: ", stream)]
    if len(begun) < number:
        return None
    end = stream.find(b"\n\n", begun[number - 1])
    return None if end < 0 else (begun[number - 1] + end) // 2


@contextlib.asynccontextmanager
async def cutting_proxy(target: str, *, cut_at: int | None = None) -> AsyncIterator[CuttingProxy]:
    """The proxy while it listens."""
    proxy = CuttingProxy(target, cut_at)

    def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(proxy.take(reader, writer))
        proxy.tasks.add(task)
        task.add_done_callback(proxy.tasks.discard)

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        proxy.go_down()
        server.close()
        await server.wait_closed()
        await asyncio.gather(*proxy.tasks, return_exceptions=True)
