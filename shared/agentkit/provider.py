"""The connection to one provider: the `openai` client, its faults sorted, its calls limited.

OpenAI, Azure OpenAI (``https://<resource>.openai.azure.com/openai/v1/``) and any compatible server are one client
with another base URL and credential. `openai` is imported by the first call that needs it, or beside a submit that
does not wait for it: status, list and webhook paths do without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import random
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shared.agentkit import faults, sse
from shared.agentkit.fair_limit import FairLimit, NoSlot
from shared.agentkit.lenient import parse_json
from shared.agentkit.pauses import Pauses
from shared.agentkit.provider_errors import is_unreadable, of_a_create, of_a_query, sentence_of
from shared.agentkit.within import within

if TYPE_CHECKING:
    import ssl

    from openai import AsyncOpenAI, DefaultAioHttpClient

_imported = threading.Event()


def is_imported() -> bool:
    """Whether a first call need not wait for the import of the client."""
    return _imported.is_set()


def import_client() -> tuple[type[AsyncOpenAI], type[DefaultAioHttpClient]]:
    """Import what a call needs: some 0.3 s of processor time. Any thread may."""
    from openai import AsyncOpenAI, DefaultAioHttpClient

    _imported.set()
    return AsyncOpenAI, DefaultAioHttpClient


Credential = str | Callable[[], Awaitable[str]]
"""An API key, or an async function that gives a fresh bearer token."""

KEEP_ALIVE_SECONDS = 90.0
CONNECT_SECONDS = 10.0
"""Limit for connecting, within a call's timeout: when it is exceeded nothing was sent, so that a retry is safe."""
SLOT_WAIT_SECONDS = 1.0
"""How long a request waits for a slot. It waits inside an activity, which is billed: better to retry later."""
SILENCE_SECONDS = 240.0
"""How long a followed stream may be silent: a model may think for minutes between two words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderConfig:
    """Where and as whom. ``base_url`` None is OpenAI's own.

    ``concurrency`` limits the queries of this process, and separately the requests that start work in the background;
    ``blocking`` limits calls that answer when the work is done, which may take minutes. ``retry_after_most``: seconds.
    """

    credential: Credential
    base_url: str | None = None
    concurrency: int = 16
    blocking: int = 8
    retry_after_most: float = 120.0


@functools.cache
def _tls() -> ssl.SSLContext:
    """The one TLS context: to read the machine's certificates takes longer than all else that a client needs."""
    import httpx2

    return httpx2.create_ssl_context()


class Provider:
    """One client per process, used by every agent of that provider. ``traceparent`` is the header of that name.

    Queries, creates and blocking calls are limited separately, so that none keeps another from being sent.
    A 429 on a query holds back all queries about that model: see ``pauses``.
    """

    def __init__(
        self,
        config: ProviderConfig,
        *,
        seconds: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = random.random,
        traceparent: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._config = config
        self._traceparent = traceparent
        self._client: AsyncOpenAI | None = None
        self._queries = FairLimit(config.concurrency)
        self._creates = FairLimit(config.concurrency)
        self._blocking = FairLimit(config.blocking)
        self._pauses = Pauses(config.retry_after_most, seconds=seconds, random=random)

    def client(self) -> AsyncOpenAI:
        """The one client; made at the first call. Its own retries are off: they would repeat a create."""
        if self._client is None:
            client, http_client = import_client()
            from httpx2 import Limits

            gc.freeze()  # what was just imported stays for good: a collection need not look through it
            # At INFO it logs a line a request, which is a line a wake and names the response.
            logging.getLogger("httpx2").setLevel(logging.WARNING)
            # Its default keep-alive of 5 s is shorter than the gaps between our calls.
            limits = Limits(max_connections=1_000, keepalive_expiry=KEEP_ALIVE_SECONDS)
            self._client = client(
                api_key=self._config.credential,
                base_url=self._config.base_url,
                max_retries=0,
                http_client=http_client(limits=limits, verify=_tls()),
            )
        return self._client

    @contextlib.asynccontextmanager
    async def create_slot(self, owner: str = "", *, blocking: bool = False) -> AsyncGenerator[None, None]:
        """A slot for a request that starts work for this owner. Raises ``NotAccepted`` when none is free."""
        limit = self._blocking if blocking else self._creates
        try:
            async with limit.slot(owner, wait=SLOT_WAIT_SECONDS):
                yield
        except NoSlot as error:
            raise faults.NotAccepted("Too many requests are under way.", code=faults.NOT_SENT) from error

    async def send(
        self, path: str, body: Mapping[str, Any], *, timeout: float, owner: str = "", blocking: bool = False
    ) -> dict[str, Any]:
        """POST something that starts work. Raises a fault of a create (``agentkit.faults``).

        ``timeout`` in seconds bounds everything but the wait for a slot (``SLOT_WAIT_SECONDS``): the wait for a token,
        and the whole answer. With ``stream`` in the body that is the response in the stream's first event.
        ``blocking``: the answer comes when the work is done.
        """
        # What a timeout means depends on it: before the request is sent a retry is safe.
        sent = False

        async def start() -> Any:
            nonlocal sent
            await self._authenticate()
            sent = True
            begin = self._begin if body.get("stream") else self._post
            return await begin(path, dict(body), timeout)

        try:
            self.client()  # its first import takes a second, which is not the provider's
            async with self.create_slot(owner, blocking=blocking):
                answer = await within(timeout, start())
        except faults.ProviderFault:
            raise
        except _NoToken as error:
            raise faults.AccessDenied(str(error), code="no_credential") from error
        except TimeoutError as error:
            if not sent:
                raise faults.NotAccepted("No token in time.", code="no_token") from error
            raise faults.PerhapsAccepted("No answer in time.", code="provider_timeout") from error
        except Exception as error:
            raise self._with_capped_retry_after(of_a_create(error)) from error
        # Gateways answer 200 with a page of HTML; the request behind it may have been accepted.
        if not isinstance(answer, dict):
            raise faults.PerhapsAccepted(
                "The provider answered with something that is no response.", code="no_response"
            )
        return answer

    async def query(self, path: str, *, timeout: float, model: str = "") -> dict[str, Any]:
        """GET, held back by a pause of that model. Safe to repeat. Raises ``NoNews`` or ``ResponseMissing``.

        ``timeout`` in seconds bounds everything but the wait for a slot, as in ``send``.
        """
        async with self._pauses.checked(model):
            try:
                return await self._json_answer("GET", path, timeout)
            except faults.NoNews as fault:
                raise self._begin_pause(model, fault) from fault.__cause__

    async def command(self, path: str, *, timeout: float, method: str) -> dict[str, Any]:
        """A cancel or a delete: safe to repeat, not held back by pauses. Raises as ``query`` does."""
        return await self._json_answer(method, path, timeout)

    async def follow(
        self, path: str, query: Mapping[str, Any], *, timeout: float, model: str = ""
    ) -> AsyncGenerator[dict[str, Any], None]:
        """GET a stream of events, each as it comes. Ends when the stream does; raises as ``query`` does.

        ``timeout`` in seconds bounds the opening. Only that takes a slot: a viewer of minutes must not hold one.
        """
        response: Any = None
        try:
            async with self._pauses.checked(model):
                try:
                    response = await self._limited(
                        timeout,
                        lambda: self._open("GET", path, timeout, query=query, silence=SILENCE_SECONDS),
                        opens=True,
                    )
                except faults.NoNews as fault:
                    raise self._begin_pause(model, fault) from fault.__cause__
            if not _is_stream(response):
                raise faults.NoNews("The provider answered with something that is no stream.", code="no_stream")
            async with contextlib.aclosing(sse.events(response.aiter_bytes())) as events:
                async for event in events:
                    yield event
        except faults.ProviderFault:
            raise
        except TimeoutError as error:
            raise faults.NoNews("No answer in time.", code="provider_timeout") from error
        except Exception as error:
            raise _broken_stream(error) from error
        finally:
            if response is not None:
                await response.aclose()

    async def _json_answer(self, method: str, path: str, timeout: float) -> dict[str, Any]:
        answer = await self._limited(timeout, lambda: self._request(method, path, timeout))
        if not isinstance(answer, dict):
            raise faults.NoNews("The provider answered with something that is no response.", code="no_response")
        return answer

    async def _limited(self, timeout: float, request: Callable[[], Awaitable[Any]], *, opens: bool = False) -> Any:
        """The answer to a query or command, within the limit of queries; with ``opens`` only until its body begins.

        Raises ``NoNews`` or ``ResponseMissing``.
        """

        async def begin() -> Any:
            await self._authenticate()
            return await request()

        try:
            self.client()
            async with self._queries.slot(wait=SLOT_WAIT_SECONDS):
                if not opens:
                    return await within(timeout, begin())
                async with asyncio.timeout(timeout):  # not `within`: its task would delay the first events
                    return await begin()
        except NoSlot as error:
            raise faults.NoNews("Too many questions are under way.", code=faults.NOT_SENT) from error
        except _NoToken as error:
            raise faults.NoNews(str(error), code="no_credential") from error
        except TimeoutError as error:
            raise faults.NoNews("No answer in time.", code="provider_timeout") from error
        except Exception as error:
            raise self._with_capped_retry_after(of_a_query(error)) from error

    def _with_capped_retry_after(self, error: Exception) -> Exception:
        """The error, its Retry-After cut to the most that is honoured."""
        if isinstance(error, faults.ProviderFault) and error.retry_after is not None:
            error.retry_after = min(error.retry_after, self._config.retry_after_most)
        return error

    def _begin_pause(self, model: str, fault: faults.NoNews) -> faults.NoNews:
        """The fault of a query; a 429 begins a pause, and gets the time that this query has to wait."""
        if fault.code != "http_429":
            return fault
        wait = self._pauses.begin(model, fault.retry_after)
        return faults.NoNews(fault.message, code=fault.code, retry_after=wait)

    async def _begin(self, path: str, body: dict[str, Any], timeout: float) -> Any:
        """Start a response that streams, and close the stream after its first event: it goes on in the background."""
        response = await self._open("POST", path, timeout, body=body, silence=timeout)
        try:
            if not _is_stream(response):  # a server that does not stream has answered in full
                return parse_json(await response.aread())
            async with contextlib.aclosing(sse.events(response.aiter_bytes())) as events:
                async for event in events:
                    if event.get("type") == "error" or isinstance(event.get("error"), dict):
                        raise faults.of_error_event(event)
                    if isinstance(event.get("response"), dict):
                        return event["response"]
            return None
        except (faults.ProviderFault, TimeoutError):
            raise
        except Exception as error:  # the request was accepted, then the connection failed
            raise faults.PerhapsAccepted(sentence_of(error), code="unreadable_answer") from error
        finally:
            await response.aclose()

    async def _post(self, path: str, body: dict[str, Any], timeout: float) -> Any:
        return await self._request("POST", path, timeout, body)

    async def _open(
        self,
        method: str,
        path: str,
        timeout: float,
        *,
        silence: float,
        body: dict[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
    ) -> Any:
        """A response whose body is still to come; the caller closes it."""
        from httpx2 import Response
        from openai import AsyncStream, Timeout

        client = self.client()
        # Before the whole timeout: only a connect timeout proves that nothing was sent.
        connect = min(CONNECT_SECONDS, timeout / 2)
        limits = Timeout(timeout, read=silence, connect=connect, pool=connect)
        headers = {"Accept": "text/event-stream", **self._trace()}
        options: Any = {"timeout": limits, "max_retries": 0, "headers": headers}
        kind: Any = AsyncStream[object]
        if method == "GET":
            options["params"] = dict(query or {})
            return await client.get(path, cast_to=Response, options=options, stream=True, stream_cls=kind)
        return await client.post(path, body=body, cast_to=Response, options=options, stream=True, stream_cls=kind)

    async def _authenticate(self) -> None:
        """Have a token before anything is sent, so that its failure is never taken for a create's."""
        # The client asks for a token inside the request, where a failure looks like one of unknown outcome.
        if callable(self._config.credential):
            try:
                await self._config.credential()
            except Exception as error:
                raise _NoToken(f"No token for the provider: {error}"[:1_000]) from error

    async def _request(self, method: str, path: str, timeout: float, body: dict[str, Any] | None = None) -> Any:
        from httpx2 import Response
        from openai import Timeout

        client = self.client()
        connect = min(CONNECT_SECONDS, timeout / 2)
        limits = Timeout(timeout, connect=connect, pool=connect)
        options: Any = {"timeout": limits, "max_retries": 0, "headers": self._trace()}
        match method:
            case "GET":
                # Untyped: the client's models take ten times the CPU, and a poll reads little of them.
                response = await client.get(path, cast_to=Response, options=options)
            case "DELETE":
                response = await client.delete(path, cast_to=Response, options=options)
            case _:
                response = await client.post(path, body=body, cast_to=Response, options=options)
        return parse_json(response.content)  # the client's own parser gives up on what is deep, or not quite UTF-8

    def _trace(self) -> dict[str, str]:
        """For gateways between us and the provider that trace, too."""
        value = self._traceparent()
        return {} if value is None else {"traceparent": value}

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()


class _NoToken(Exception):
    """The credential gave no token."""


def _is_stream(response: Any) -> bool:
    kind = str(response.headers.get("content-type", ""))
    return kind.partition(";")[0].strip().lower() == "text/event-stream"


def _broken_stream(error: Exception) -> Exception:
    """``NoNews`` for a connection lost in the middle of a stream; any other error as it is."""
    import httpx2

    broke = isinstance(error, httpx2.HTTPError) or is_unreadable(error)
    return faults.NoNews(sentence_of(error), code="stream_broke") if broke else error
