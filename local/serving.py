"""A uvicorn server within this process: what the functions host and the scripted model listen with."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Generator
from typing import Any

import uvicorn


def listen(address: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # asyncio sets TCP_NODELAY only where the protocol is named; without it each answer waits 40 ms for its turn.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def server_config(
    app: Callable[..., Any], *, protocol: type[asyncio.Protocol], keep_alive: int, grace: int, log_level: str
) -> uvicorn.Config:
    """A server that logs no requests.

    ``keep_alive`` is how many seconds an idle connection is kept; longer than any client keeps one, so that none
    writes to a connection that is closing. ``grace`` is how many seconds open requests have when it stops.
    """
    return uvicorn.Config(
        app,
        interface="asgi3",
        loop="asyncio",
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level=log_level,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=keep_alive,
        timeout_graceful_shutdown=grace,
    )


class _Server(uvicorn.Server):
    """Starts and stops at once (uvicorn's own looks ten times a second), and is a guest in a process of others."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = asyncio.Event()
        self.is_stopping = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self.is_stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for each in (*self.servers, *(sockets or ())):
            each.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if requests := self.server_state.tasks:
            _, late = await asyncio.wait(requests, timeout=self.config.timeout_graceful_shutdown)
            for request in late:
                request.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for connection in list(self.server_state.connections):
            if not connection.transport.is_closing():
                connection.transport.abort()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield  # signals belong to whoever runs the process


class RunningServer:
    """An application being served on a listening socket, on the event loop that opens it."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket) -> None:
        self.config = config
        self._listener = listener
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Return once requests are answered. Raises what kept the server from starting."""
        self._task = asyncio.create_task(self._server.serve([self._listener]))
        up = asyncio.create_task(self._server.is_up.wait())
        await asyncio.wait((self._task, up), return_when=asyncio.FIRST_COMPLETED)
        if not up.done():
            up.cancel()
            await self._task

    async def close(self) -> None:
        """Stop accepting, give open requests their time, cut the rest."""
        self._server.should_exit = True
        self._server.is_stopping.set()
        if self._task is not None:
            await self._task
