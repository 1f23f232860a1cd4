"""Whose requests a server on this machine answers: programs, its own pages, and pages of origins that were named.

A page of any site can send requests to a port of this machine, and under a name of its own that leads here (DNS
rebinding) it could read the answers, too. What browsers say in headers that no page can set tells them apart: the name
that was called (`Host`) and where the page is from (`Origin`, `Sec-Fetch-Site`).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import PlainTextResponse

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

_OTHER_NAME = (
    "This server answers to the names of this machine alone: localhost, 127.0.0.1, [::1]. "
    "Start it with `--allow-host NAME` to have it answer to another."
)
_OTHER_ORIGIN = "This server does not answer to pages of other origins."
_log = logging.getLogger("local.access")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRules:
    """Who may call a server, besides programs that use a loopback name."""

    hosts: tuple[str, ...] = ()
    """More names that it may be called by, without a port."""
    origins: tuple[str, ...] = ()
    """Origins whose pages may call it, as `http://localhost:5173`; `*` for all."""
    advice: str = ""
    """Said to pages of other origins: how theirs can be named."""

    def refusal(self, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
        """Why a request with these headers (lower-case names) is refused, as a sentence; None where it is not."""
        given = {name: value.decode("latin-1").lower() for name, value in headers if name in _LOOKED_AT}
        host = given.get(b"host", "")
        if _name_of(host) not in (*LOOPBACK, *(name.lower() for name in self.hosts)):
            return _OTHER_NAME
        origin = given.get(b"origin")
        if "*" in self.origins or origin in {each.lower() for each in self.origins}:
            return None
        foreign = origin not in (None, f"http://{host}")
        if foreign or given.get(b"sec-fetch-site", "none") not in ("none", "same-origin"):
            return f"{_OTHER_ORIGIN} {self.advice}".rstrip()
        return None


_LOOKED_AT = (b"host", b"origin", b"sec-fetch-site")


class AccessGuard:
    """ASGI middleware that answers 403 and a sentence to requests that the rules refuse."""

    def __init__(self, app: Application, access: AccessRules) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sentence = self._access.refusal(scope["headers"]) if scope["type"] == "http" else None
        if sentence is None:
            await self._app(scope, receive, send)
            return
        _log.warning("refused: %s %r. %s", scope["method"], scope["path"], sentence)
        await PlainTextResponse(sentence, 403)(scope, receive, send)


def names_of(address: str) -> tuple[str, ...]:
    """What a server that listens on this address may be called by; nothing for one that stands for all."""
    if address in ("0.0.0.0", "::"):
        return ()
    return (f"[{address}]" if ":" in address else address,)


def _name_of(host: str) -> str:
    """The name in a `Host` header, without the port."""
    return host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
