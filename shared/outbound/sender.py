"""Signs and sends callbacks: Standard Webhooks to addresses that callers chose.

The address that is checked is the one that is connected to: the name is resolved once, by the connection itself,
what is not public is left out, and the socket checks again. No proxy, no redirect, no cookie, and no byte of the
answer's body is read. Names are resolved in threads of their own: getaddrinfo cannot be cancelled, and one that hangs
keeps its share until it returns, so that slow names delay nobody but their owner.
"""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ssl import SSLContext

import aiohttp
from aiohttp import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from shared.outbound.addresses import Rules, is_public, parse
from shared.outbound.shares import Shares, TakenShare
from shared.runs.model.callbacks import NoShare, Sent, Share

TIMEOUT = 5.0
"""Seconds for all of it: resolve, connect, send, and the head of the answer."""


_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


class AddressRefused(OSError):
    """The name has no address that may be called."""


class CallbackSender:
    """The port ``Sender`` over HTTP. ``secrets`` all sign, so that one can be changed for another.

    ``resolver`` and ``tls`` take the share of the system's, for tests.
    """

    def __init__(
        self,
        secrets: Sequence[str],
        rules: Rules,
        clock: Callable[[], datetime],
        *,
        timeout: float = TIMEOUT,
        shares: int = 4,
        resolver: AbstractResolver | None = None,
        tls: SSLContext | bool = True,
    ) -> None:
        self._secrets = secrets
        self._rules = rules
        self._clock = clock
        self._timeout = timeout
        self._resolver = resolver
        self._tls = tls
        self._shares = Shares(shares)
        self._threads = ThreadPoolExecutor(shares, thread_name_prefix="name")  # as many as shares: no look-up waits

    def problem(self, url: str) -> str | None:
        """See the port."""
        return self._rules.problem(url)

    def reserve(self, url: str, owner: str) -> TakenShare | NoShare:
        """See the port. An address that cannot be read takes a share too: its attempt fails at once."""
        target = parse(url)
        return self._shares.take(owner, "" if target is None else target.host)

    async def send(self, url: str, webhook_id: str, body: str, share: Share | None = None) -> Sent:
        """See the port. The faults: ``address_refused``, ``name_not_resolved``, ``no_connection``, ``tls_failed``,
        ``timeout``, ``no_answer`` (or one that is no HTTP)."""
        began = time.monotonic()
        if self._rules.problem(url) is not None:
            return Sent(fault="address_refused")
        status, after = None, None
        try:
            status, after = await self._post(url, webhook_id, body, share)
            fault = None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            fault = _fault(error)
        return Sent(status=status, fault=fault, retry_after=after, seconds=time.monotonic() - began)

    async def _post(self, url: str, webhook_id: str, body: str, share: Share | None) -> tuple[int, float | None]:
        target = parse(url)
        exempt = target is not None and self._rules.exempts(target)
        connector = aiohttp.TCPConnector(
            resolver=_PublicOnly(self._resolver or _SystemResolver(self._threads, share), exempt),
            socket_factory=_any_socket if exempt else _public_socket,
            use_dns_cache=False,
            force_close=True,
            ssl=self._tls,
        )
        async with (
            aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=self._timeout),
                # Nothing of the body is read, and so nothing can be a decompression bomb.
                auto_decompress=False,
                # A proxy of the environment would resolve the name itself, past our check.
                trust_env=False,
            ) as session,
            session.post(
                URL(url, encoded=True),  # as the caller wrote it
                data=body.encode(),
                headers=self._headers(webhook_id, body),
                allow_redirects=False,
            ) as response,
        ):
            response.close()  # its body is never read: it may be endless, and nothing in it matters
            return response.status, _retry_after(response.headers.get("Retry-After"), self._clock())

    def _headers(self, webhook_id: str, body: str) -> dict[str, str]:
        from standardwebhooks import Webhook

        now = self._clock().astimezone(UTC)
        return {
            "Content-Type": "application/json",
            "User-Agent": "Dormouse",
            "webhook-id": webhook_id,
            "webhook-timestamp": str(math.floor(now.timestamp())),
            "webhook-signature": " ".join(Webhook(secret).sign(webhook_id, now, body) for secret in self._secrets),
        }


class _SystemResolver(AbstractResolver):
    """The system's name service, called in these threads. The share is kept until it has returned, if ever."""

    def __init__(self, threads: Executor, share: Share | None) -> None:
        self._threads = threads
        self._share = share if isinstance(share, TakenShare) else None

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        asked = self._threads.submit(_resolve, host, port, family)
        if (share := self._share) is not None:
            share.retain()
            asked.add_done_callback(lambda _: share.release())
        return await asyncio.wrap_future(asked)

    async def close(self) -> None:
        """Nothing is open."""


def _resolve(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    """In a thread. Raises ``socket.gaierror``."""
    flags = socket.AI_ADDRCONFIG
    return [
        ResolveResult(hostname=host, host=str(address[0]), port=port, family=kind, proto=protocol, flags=_NUMERIC)
        for kind, _, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, family=family, flags=flags
        )
    ]


class _PublicOnly(AbstractResolver):
    """Resolves, and leaves out what is not public."""

    def __init__(self, inner: AbstractResolver, exempt: bool) -> None:
        self._inner = inner
        self._exempt = exempt

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        # A name may have public and private addresses: only the public ones are tried.
        fit = [each for each in found if self._exempt or is_public(each["host"])]
        if not fit:
            raise AddressRefused(f"{host} has no public address")
        return fit

    async def close(self) -> None:
        await self._inner.close()


def _any_socket(address: AddrInfoType) -> socket.socket:
    family, kind, protocol, *_ = address
    return socket.socket(family, kind, protocol)


def _public_socket(address: AddrInfoType) -> socket.socket:
    """A socket for exactly this address, if it is public: the last check before the connection."""
    host = str(address[4][0])
    if not is_public(host):
        raise AddressRefused(f"{host} is not public")
    return _any_socket(address)


def _fault(error: Exception) -> str:
    """The code of what went wrong."""
    if isinstance(error, AddressRefused) or isinstance(error.__cause__, AddressRefused):
        return "address_refused"
    match error:
        case TimeoutError():
            return "timeout"
        case aiohttp.ClientConnectorDNSError():
            return "name_not_resolved"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return "tls_failed"
        case aiohttp.ClientConnectorError():
            return "no_connection"
    return "no_answer"


def _retry_after(given: str | None, now: datetime) -> float | None:
    """Seconds, from a number of them or an HTTP date (RFC 9110, section 10.2.3); None for anything else."""
    if given is None:
        return None
    try:
        seconds = float(given) if given.strip().isdecimal() else (parsedate_to_datetime(given) - now).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return None
    return max(seconds, 0.0)
