"""The connection to one provider: the `openai` client, its faults sorted, its calls kept within bounds.

OpenAI, Azure OpenAI (``https://<resource>.openai.azure.com/openai/v1/``) and any compatible server are one client
with another base URL and credential. `openai` is imported when the first call is made, never before: status, list
and webhook paths do without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shared.agentkit import faults, sse
from shared.agentkit.lenient import parse_json, word

if TYPE_CHECKING:
    from openai import AsyncOpenAI

Credential = str | Callable[[], Awaitable[str]]
"""An API key, or an async function that gives a fresh bearer token."""

KEEP_ALIVE_SECONDS = 90.0
CONNECT_SECONDS = 10.0
"""Most of a call's time that may go into connecting: past it nothing was sent, and that must be known."""
MAX_RETRY_AFTER = 3_600.0
PAUSE_SECONDS = 5.0
"""The pause after a 429 that names none."""
SILENCE_SECONDS = 240.0
"""How long a followed stream may say nothing: a model may think for minutes between two words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderConfig:
    """Where and as whom. ``base_url`` None is OpenAI's own; ``concurrency`` bounds the calls of this process."""

    credential: Credential
    base_url: str | None = None
    concurrency: int = 16


class Provider:
    """One client per process, used by every agent of that provider.

    A 429 on a question closes the door for all questions of this process until ``Retry-After`` is over.
    """

    def __init__(self, config: ProviderConfig, *, seconds: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._seconds = seconds
        self._client: AsyncOpenAI | None = None
        self._slots = asyncio.Semaphore(config.concurrency)
        self._closed_until = 0.0

    def client(self) -> AsyncOpenAI:
        """The one client; made at the first call. Its own retries are off: they would repeat a create."""
        if self._client is None:
            from httpx2 import Limits
            from openai import AsyncOpenAI, DefaultAioHttpClient

            gc.freeze()  # as at the start of the app: what was just imported is not looked through again
            # At INFO it logs a line a request, which is a line a wake and names the response.
            logging.getLogger("httpx2").setLevel(logging.WARNING)
            # Its default keep-alive of 5 s is shorter than the gaps between our calls.
            limits = Limits(max_connections=1_000, keepalive_expiry=KEEP_ALIVE_SECONDS)
            self._client = AsyncOpenAI(
                api_key=self._config.credential,
                base_url=self._config.base_url,
                max_retries=0,
                http_client=DefaultAioHttpClient(limits=limits),
            )
        return self._client

    async def send(self, path: str, body: Mapping[str, Any], *, timeout: float) -> dict[str, Any]:
        """POST something that starts work. Raises the faults that tell what became of it.

        ``timeout`` in seconds bounds everything: the wait for a slot, for a token, and the whole answer. With
        ``stream`` in the body the answer is the response as the stream's first word has it.
        """
        sent = False
        try:
            self.client()  # its first import takes a second, which is not the provider's
            async with asyncio.timeout(timeout), self._slots:
                await self._authenticate()
                sent = True
                begin = self._begin if body.get("stream") else self._post
                answer = await begin(path, dict(body), timeout)
        except faults.ProviderFault:
            raise
        except _NoToken as error:
            raise faults.AccessDenied(str(error), code="no_credential") from error
        except TimeoutError as error:
            if not sent:
                raise faults.NotAccepted("Too many calls at once, or no token in time.", code="not_sent") from error
            raise faults.PerhapsAccepted("No answer in time.", code="provider_timeout") from error
        except Exception as error:
            raise fate_of_a_create(error) from error
        if not isinstance(answer, dict):
            raise faults.PerhapsAccepted(
                "The provider answered with something that is no response.", code="no_response"
            )
        return answer

    async def ask(self, path: str, *, timeout: float, method: str = "GET") -> dict[str, Any]:
        """A question (or a cancel or delete), safe to repeat. Raises ``NoNews`` or ``ResponseMissing``.

        ``timeout`` in seconds bounds everything, as in ``send``.
        """
        self._respect_pause()
        try:
            self.client()
            async with asyncio.timeout(timeout), self._slots:
                await self._authenticate()
                answer = await self._request(method, path, timeout)
        except _NoToken as error:
            raise faults.NoNews(str(error), code="no_credential") from error
        except TimeoutError as error:
            raise faults.NoNews("No answer in time.", code="provider_timeout") from error
        except Exception as error:
            raise self._no_news(error) from error
        if not isinstance(answer, dict):
            raise faults.NoNews("The provider answered with something that is no response.", code="no_response")
        return answer

    async def follow(
        self, path: str, query: Mapping[str, Any], *, timeout: float
    ) -> AsyncGenerator[dict[str, Any], None]:
        """GET a stream of events, each as it comes. Ends when the stream does; raises as ``ask`` does.

        ``timeout`` in seconds bounds the opening. Only that takes a slot: who watches for minutes is in nobody's way.
        """
        self._respect_pause()
        response: Any = None
        try:
            self.client()
            async with asyncio.timeout(timeout), self._slots:
                await self._authenticate()
                response = await self._open("GET", path, timeout, query=query, silence=SILENCE_SECONDS)
            if not _is_stream(response):
                raise faults.NoNews("The provider answered with something that is no stream.", code="no_stream")
            async with contextlib.aclosing(sse.events(response.aiter_bytes())) as events:
                async for event in events:
                    yield event
        except faults.ProviderFault:
            raise
        except _NoToken as error:
            raise faults.NoNews(str(error), code="no_credential") from error
        except TimeoutError as error:
            raise faults.NoNews("No answer in time.", code="provider_timeout") from error
        except Exception as error:
            raise _stream_broke(error) if response is not None else self._no_news(error) from error
        finally:
            if response is not None:
                await response.aclose()

    def _respect_pause(self) -> None:
        """Raise ``NoNews`` while the provider wants to be left alone."""
        wait = min(self._closed_until - self._seconds(), MAX_RETRY_AFTER)
        if wait > 0:
            raise faults.NoNews("The provider asked for a pause.", code="rate_limited", retry_after=wait)

    async def _begin(self, path: str, body: dict[str, Any], timeout: float) -> Any:
        """Start a response that streams, and let go of the stream at its first word: it goes on in the background."""
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
        except Exception as error:  # it was taken, and then something went wrong with the connection
            raise faults.PerhapsAccepted(_sentence(error), code="unreadable_answer") from error
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
        connect = min(CONNECT_SECONDS, timeout / 2)
        limits = Timeout(timeout, read=silence, connect=connect, pool=connect)
        options: Any = {"timeout": limits, "max_retries": 0, "headers": {"Accept": "text/event-stream"}}
        kind: Any = AsyncStream[object]
        if method == "GET":
            options["params"] = dict(query or {})
            return await client.get(path, cast_to=Response, options=options, stream=True, stream_cls=kind)
        return await client.post(path, body=body, cast_to=Response, options=options, stream=True, stream_cls=kind)

    async def _authenticate(self) -> None:
        """Have a token before anything is sent, so that its failure is never taken for a create's."""
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
        options: Any = {"timeout": Timeout(timeout, connect=connect, pool=connect), "max_retries": 0}
        match method:
            case "GET":
                response = await client.get(path, cast_to=Response, options=options)
            case "DELETE":
                response = await client.delete(path, cast_to=Response, options=options)
            case _:
                response = await client.post(path, body=body, cast_to=Response, options=options)
        return parse_json(response.content)  # the client's own parser gives up on what is deep, or not quite UTF-8

    def _no_news(self, error: Exception) -> Exception:
        """What a failed question means. A 429 closes the door for the others."""
        import openai

        match error:
            case openai.NotFoundError():
                return faults.ResponseMissing(_sentence(error), code=_code(error))
            case openai.APIStatusError():
                after = _retry_after(error)
                if error.status_code == 429:
                    self._closed_until = self._seconds() + (PAUSE_SECONDS if after is None else after)
                return faults.NoNews(_sentence(error), code=f"http_{error.status_code}", retry_after=after)
            case openai.APIConnectionError():
                return faults.NoNews(_sentence(error), code="provider_unreachable")
            case openai.OpenAIError():
                return faults.NoNews(_sentence(error), code="provider_error")
        return faults.NoNews(_sentence(error), code="unreadable_answer") if _unreadable(error) else error

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()


class _NoToken(Exception):
    """The credential gave no token."""


def fate_of_a_create(error: Exception) -> Exception:
    """What a failed create means; an exception that is not of the provider's making stays what it is."""
    import openai

    match error:
        case openai.APIStatusError():
            return _refusal(error)
        case openai.APIConnectionError():
            kind = faults.NotAccepted if _never_left(error) else faults.PerhapsAccepted
            return kind(_sentence(error), code="provider_unreachable")
        case openai.APIError():
            return faults.PerhapsAccepted(_sentence(error), code="unreadable_answer")
        case openai.OpenAIError():
            return faults.AccessDenied(_sentence(error), code="no_credential")
    return faults.PerhapsAccepted(_sentence(error), code="unreadable_answer") if _unreadable(error) else error


def _is_stream(response: Any) -> bool:
    kind = str(response.headers.get("content-type", ""))
    return kind.partition(";")[0].strip().lower() == "text/event-stream"


def _stream_broke(error: Exception) -> Exception:
    """A connection lost in the midst of a stream, in whatever words; anything that is not of its making as it is."""
    import httpx2

    broke = isinstance(error, httpx2.HTTPError) or _unreadable(error)
    return faults.NoNews(_sentence(error), code="stream_broke") if broke else error


def _unreadable(error: Exception) -> bool:
    """Whether it is an answer that is no JSON or no HTTP: these the client lets through as they are."""
    import aiohttp

    return isinstance(error, ValueError | OSError | aiohttp.ClientError)


def _refusal(error: Any) -> faults.ProviderFault:
    status, code, after = error.status_code, _code(error), _retry_after(error)
    text = _sentence(error)
    if status in (401, 403):
        return faults.AccessDenied(text, code=code)
    if status in (409, 429) or (status == 503 and after is not None):
        return faults.NotAccepted(text, code=code, retry_after=after)
    if status == 408 or status >= 500:
        return faults.PerhapsAccepted(text, code=code, retry_after=after)
    if code == "previous_response_not_found" or getattr(error, "param", None) == "previous_response_id":
        return faults.PreviousResponseMissing(text, code=code)
    if "No tool call found" in text:
        return faults.ToolOutputsRefused(text, code=code)
    return faults.Refused(text, code=code)


def _never_left(error: BaseException) -> bool:
    """Whether no connection was made, so that the request cannot have arrived.

    The client reports a connection that was *lost* as a connect timeout too; the cause tells them apart.
    """
    import socket

    import aiohttp
    import httpcore2
    import httpx2

    surely = (
        aiohttp.ClientConnectorError,
        aiohttp.ConnectionTimeoutError,
        httpcore2.ConnectError,
        httpcore2.ConnectTimeout,
        ConnectionRefusedError,
        socket.gaierror,
        httpx2.UnsupportedProtocol,
    )
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, surely):
            return True
        cause = cause.__cause__
    return False


def _code(error: Any) -> str:
    return word(getattr(error, "code", None)) or f"http_{error.status_code}"


def _sentence(error: Any) -> str:
    body = getattr(error, "body", None)
    if isinstance(body, dict) and isinstance(body.get("message"), str):
        return str(body["message"])[:1_000]
    return str(error)[:1_000] or type(error).__name__


def _retry_after(error: Any) -> float | None:
    given = error.response.headers.get("retry-after")
    if given is None:
        return None
    try:
        seconds = float(given)
    except ValueError:
        return _seconds_until(given, error.response.headers.get("date"))
    return None if math.isnan(seconds) else min(max(seconds, 0.0), MAX_RETRY_AFTER)


def _seconds_until(moment: str, now: str | None) -> float | None:
    """Retry-After as an HTTP date, against the server's own Date (RFC 9110, section 10.2.3)."""
    from email.utils import parsedate_to_datetime

    try:
        if now is None:
            return None
        gap = (parsedate_to_datetime(moment) - parsedate_to_datetime(now)).total_seconds()
    except (ValueError, TypeError):  # no date, or one without a zone
        return None
    return min(max(gap, 0.0), MAX_RETRY_AFTER)
