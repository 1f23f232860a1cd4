"""Two small uvicorn servers in the host's own loop: the public port, and the durable client's."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Generator
from typing import Any, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

_GRACE = 1
_KEEP_ALIVE = 130
"""Seconds, as the platform's own server: longer than clients keep one, so that none writes to a closing one."""
DRAIN_BYTES = 128 * 1024 * 1024
DRAIN_SECONDS = 10.0
"""How much more of a body is read that was answered before its end, and for how long."""


class _Transport:
    """A connection that does not close on a caller who is still sending: a reset would take the answer from it."""

    def __init__(
        self, transport: asyncio.Transport, still_sending: Callable[[], bool], drain: Callable[[], None]
    ) -> None:
        self._transport = transport
        self._still_sending = still_sending
        self._drain = drain
        self.half_closed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self.half_closed or self._transport.is_closing()

    def close(self) -> None:
        if self.is_closing() or not self._still_sending():
            self._transport.close()
            return
        self.half_closed = True
        self._transport.write_eof()
        self._transport.resume_reading()
        self._drain()


class _Protocol(H11Protocol):
    """Answers what is no HTTP with an empty 400, as the platform does, and reads on for a while after an early answer.

    Python's clients send a whole body before they look for an answer. What still comes of a body that was refused is
    thrown away, up to a number of bytes and of seconds.
    """

    _drained = 0
    _giving_up: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast(asyncio.Transport, _Transport(transport, self._still_sending, self._drain)))

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_draining()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._still_sending():
            self._drain()

    def data_received(self, data: bytes) -> None:
        if self._giving_up is None:
            super().data_received(data)
            return
        self._drained += len(data)
        if self._drained > DRAIN_BYTES:
            self.transport.abort()
        elif not self.transport.is_closing():
            super().data_received(data)
            if not self._still_sending():
                self._stop_draining()

    def _still_sending(self) -> bool:
        return bool(self.conn.their_state is h11.SEND_BODY)

    def _drain(self) -> None:
        if self._giving_up is None:
            self._giving_up = self.loop.call_later(DRAIN_SECONDS, self.transport.abort)

    def _stop_draining(self) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()
        self._giving_up, self._drained = None, 0

    def send_400_response(self, msg: str) -> None:
        response = h11.Response(status_code=400, headers=[("content-length", "0"), ("connection", "close")])
        for part in (response, h11.EndOfMessage()):
            self.transport.write(self.conn.send(part) or b"")
        self.transport.close()


class _Server(uvicorn.Server):
    """Stops at once: uvicorn's own loop looks ten times a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.told = asyncio.Event()

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self.told.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield  # signals belong to whoever runs the host


def bind(address: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # With the protocol named asyncio sets TCP_NODELAY; without, each reply waits 40 ms for an acknowledgement.
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


class Serving:
    """An ASGI application being served on a bound socket."""

    def __init__(self, app: Callable[..., Any], listener: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            interface="asgi3",
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=_GRACE,
        )
        self._listener = listener
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Return once requests are answered."""
        self._task = asyncio.create_task(self._server.serve([self._listener]))
        while not self._server.started:
            if self._task.done():
                self._task.result()
            await asyncio.sleep(0.005)

    async def close(self) -> None:
        """Stop accepting, give open requests a second, cut the rest."""
        self._server.should_exit = True
        self._server.told.set()
        if self._task is not None:
            await self._task
