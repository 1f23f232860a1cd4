"""What both clients have in common: where the app is, what every request carries, and httpx2's errors as ours."""

from __future__ import annotations

import contextlib
import json
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import httpx2

from dormouse_client._arguments import checked_base_url, checked_headers, checked_user
from dormouse_client._steps import Reply, Request, Rules
from dormouse_client.contract import VERSION
from dormouse_client.errors import InvalidArgument, NetworkError, UnexpectedResponse
from dormouse_client.watching import SILENCE_SECONDS

Headers: TypeAlias = "Mapping[str, str] | Callable[[], Mapping[str, str]]"

_OF_A_TOKEN = re.compile(r"GET /api/runs/[^/]+(/events)?|POST /api/runs/[^/]+/(answers|cancel)|GET /api/batches/[^/]+")
"""What a run token may open; what it does open is for its rights to say."""


@dataclass(frozen=True)
class Connection:
    """Where a client calls, and as whom."""

    base_url: str
    own_headers: Headers
    fixed_headers: Mapping[str, str]
    has_token: bool
    timeout: float
    rules: Rules

    @classmethod
    def of(
        cls,
        base_url: str,
        *,
        key: str | None,
        token: str | None,
        on_behalf_of: str | None,
        headers: Headers | None,
        timeout: float,
        retries: int,
    ) -> Connection:
        """What a client was made with, checked. Raises ``InvalidArgument``."""
        if key is not None and token is not None:
            raise InvalidArgument(
                "Give `key`, which opens the app, or `token`, which opens one run or batch; not both."
            )
        if token is not None and on_behalf_of is not None:
            raise InvalidArgument("A run token says by itself what it opens: leave `on_behalf_of` out.")
        if not timeout > 0 or retries < 0:
            raise InvalidArgument("`timeout` is seconds, more than 0; `retries` is 0 or more.")
        fixed = {"User-Agent": f"dormouse-client/{VERSION}"}
        if key is not None:
            fixed["x-functions-key"] = key
        if token is not None:
            fixed["Authorization"] = f"Bearer {token}"
        if on_behalf_of is not None:
            fixed["Dormouse-On-Behalf-Of"] = checked_user(on_behalf_of)
        if headers is not None and not callable(headers):
            checked_headers(headers)
        return cls(
            base_url=checked_base_url(base_url),
            own_headers=headers or {},
            fixed_headers=checked_headers(fixed),
            has_token=token is not None,
            timeout=timeout,
            rules=Rules(retries, time.monotonic, random.random),
        )

    def for_user(self, user: str) -> Connection:
        """The same on behalf of somebody. Raises ``InvalidArgument``."""
        if self.has_token:
            raise InvalidArgument("A run token says by itself what it opens: make the client with a `key`.")
        return replace(self, fixed_headers={**self.fixed_headers, "Dormouse-On-Behalf-Of": checked_user(user)})

    def arguments(self, request: Request, *, stream: bool = False) -> dict[str, Any]:
        """The request as httpx2 takes it. Raises ``InvalidArgument``."""
        own = self.own_headers() if callable(self.own_headers) else self.own_headers
        kind = {} if request.body is None else {"Content-Type": "application/json"}
        read = SILENCE_SECONDS if stream else self.timeout + request.hold
        return {
            "method": request.method,
            "url": self.base_url + self._path(request),
            "params": dict(request.query) or None,
            "headers": {**self.fixed_headers, **checked_headers({**own, **kind, **request.headers})},
            "content": None if request.body is None else json_of(request.body),
            "timeout": httpx2.Timeout(self.timeout, read=read),
        }

    def _path(self, request: Request) -> str:
        """The path, or that of the routes which a run token opens."""
        if not self.has_token:
            return request.path
        if _OF_A_TOKEN.fullmatch(f"{request.method} {request.path}") is None:
            raise InvalidArgument(
                "A run token opens one run or batch, to read, watch, answer or cancel it. Use a `key` for this call."
            )
        return f"/api/shared/{request.path.removeprefix('/api/')}"


def json_of(body: object) -> bytes:
    """The body as it is sent. Raises ``InvalidArgument``."""
    try:
        text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"What is to be sent is no JSON: {error}.") from error
    try:
        return text.encode()
    except UnicodeEncodeError:  # half a character: the app says what is wrong with it
        return json.dumps(body).encode()


def is_stream(response: httpx2.Response) -> bool:
    """Whether this is the stream of a run's events; not so when there is nothing more to tell.

    Raises:
        UnexpectedResponse: something in between gave this answer.
    """
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if response.status_code == 200 and kind != "text/event-stream":
        raise UnexpectedResponse(
            f"The answer is no stream of events but {kind or 'nothing'}: something in between gave it.", status=200
        )
    return response.status_code == 200


def reply_of(response: httpx2.Response) -> Reply:
    """An answer that was read whole."""
    return Reply(response.status_code, {k.lower(): v for k, v in response.headers.items()}, response.content)


@contextlib.contextmanager
def network_errors() -> Iterator[None]:
    """httpx2's errors as ours."""
    try:
        yield
    except httpx2.TimeoutException as error:
        raise NetworkError(f"The server did not answer in time ({type(error).__name__}).") from error
    except (httpx2.TransportError, httpx2.DecodingError) as error:
        said = f": {error}" if str(error) else ""
        raise NetworkError(f"The server could not be reached, or the connection was cut{said}.") from error
    except (httpx2.InvalidURL, UnicodeError) as error:
        raise InvalidArgument(f"`base_url` is no address that can be called: {error}") from error
