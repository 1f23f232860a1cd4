"""Which pages of other origins may call ``/api/shared``: CORS (Fetch standard, section 3.2).

Only there: elsewhere a caller's key or sign-in would be at stake, and whether pages may call is the platform's setting.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from typing import cast

from starlette.requests import Request
from starlette.responses import Response

from shared.api.http import Handler, P, answered
from shared.errors import OriginNotAllowed

ALLOWED_HEADERS = "Authorization, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID, X-Request-Id"
"""What a page may send besides what it may send in any case."""

MAX_AGE_SECONDS = 7_200
"""How long a browser may keep the answer of a preflight; Chromium keeps none for longer."""


def answered_to_pages(origins: Collection[str]) -> Callable[[Handler[P]], Handler[P]]:
    """``answered``, for callers that may be pages of these origins: each answer says whether theirs may read it."""

    def decorate(handler: Handler[P]) -> Handler[P]:
        inner = answered(handler)

        @functools.wraps(handler)  # the worker binds a trigger by the names and annotations of its parameters
        async def wrapped(req: Request, *args: P.args, **kwargs: P.kwargs) -> Response:
            response = await inner(req, *args, **kwargs)
            # Always: a cache must not hand one origin what another was answered.
            response.headers.add_vary_header("Origin")
            origin = req.headers.get("origin")
            # Exactly the caller's, never `*`. Without the header a browser shows the page nothing, whatever it is.
            if origin is not None and origin in origins:
                response.headers["Access-Control-Allow-Origin"] = origin
            return response

        return cast("Handler[P]", wrapped)

    return decorate


def is_preflight(request: Request) -> bool:
    """Whether a browser asks if a page may send what it wants to send."""
    asks = "access-control-request-method" in request.headers
    return request.method == "OPTIONS" and asks and "origin" in request.headers


def answer_preflight(request: Request, methods: Sequence[str], origins: Collection[str]) -> Response:
    """What pages may send to an address that takes these methods. Raises ``OriginNotAllowed``."""
    if request.headers["origin"] not in origins:
        raise OriginNotAllowed
    headers = {
        "Access-Control-Allow-Methods": ", ".join(methods),
        "Access-Control-Allow-Headers": ALLOWED_HEADERS,
        "Access-Control-Max-Age": str(MAX_AGE_SECONDS),
    }
    return Response(status_code=204, headers=headers)
