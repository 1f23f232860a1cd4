"""How the host's two ports speak HTTP: the public one, and the durable client's."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from local.serving import RunningServer, server_config

_GRACE = 1
"""Seconds that open requests have when the host stops."""
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
        # The answer is sent and our side ended, while the rest of the body is read and dropped.
        self.half_closed = True
        # Only our side: closing both with unread data makes the kernel send a reset, and the answer is lost.
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
        # Bounded: a caller that sends for ever must not keep its connection.
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
        # uvicorn's own has a body and a type, which the platform's has not.
        response = h11.Response(status_code=400, headers=[("content-length", "0"), ("connection", "close")])
        for part in (response, h11.EndOfMessage()):
            self.transport.write(self.conn.send(part) or b"")
        self.transport.close()


def serving(app: Callable[..., Any], listener: socket.socket) -> RunningServer:
    """The application on a listening socket, as one of the host's two ports."""
    config = server_config(app, protocol=_Protocol, keep_alive=_KEEP_ALIVE, grace=_GRACE, log_level="warning")
    return RunningServer(config, listener)
