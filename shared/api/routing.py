"""What no route matches: 404, or 405 with ``Allow``. The host's own 404 is empty, for wrong methods too."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import Response

from shared.api.http import problem
from shared.errors import MethodNotAllowed, NotFound

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

ROUTES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("runs", ("GET", "HEAD", "POST")),
    (r"runs/run_[0-9a-f]{32}_[0-9]{1,8}", ("GET", "HEAD", "DELETE")),
    (r"runs/run_[0-9a-f]{32}_[0-9]{1,8}/cancel", ("POST",)),
    (r"runs/run_[0-9a-f]{32}_[0-9]{1,8}/answers", ("POST",)),
    (r"runs/run_[0-9a-f]{32}_[0-9]{1,8}/deliveries", ("GET", "HEAD", "POST")),
    (r"runs/run_[0-9a-f]{32}_[0-9]{1,8}/events", ("GET", "HEAD")),
    (r"sessions/[0-9a-f]{32}", ("GET", "HEAD", "DELETE")),
    ("batches", ("GET", "HEAD", "POST")),
    (r"batches/batch_[0-9a-f]{32}", ("GET", "HEAD", "DELETE")),
    (r"batches/batch_[0-9a-f]{32}/items", ("GET", "HEAD")),
    (r"batches/batch_[0-9a-f]{32}/cancel", ("POST",)),
    (r"batches/batch_[0-9a-f]{32}/deliveries", ("POST",)),
    ("agents", ("GET", "HEAD")),
    ("openapi.json", ("GET", "HEAD")),
    ("webhooks/openai", ("POST",)),
    ("v1/responses", ("POST",)),
    (r"v1/responses/[A-Za-z0-9_-]{1,128}", ("GET", "HEAD", "DELETE")),
    (r"v1/responses/[A-Za-z0-9_-]{1,128}/cancel", ("POST",)),
    (r"v1/responses/[A-Za-z0-9_-]{1,128}/input_items", ("GET", "HEAD")),
    ("v1/chat/completions", ("POST",)),
    ("v1/models", ("GET", "HEAD")),
    (r"v1/models/[!-.0-~]{1,128}", ("GET", "HEAD")),
    ("health", ("GET", "HEAD")),
    ("health/deep", ("GET", "HEAD")),
)
"""The routes below ``api/`` and their methods; a test holds them against the triggers."""


def not_found(request: Request) -> Response:
    """The problem for an address that no trigger took."""
    methods = other_methods(request, request.path_params.get("rest", ""))
    if methods:
        allow = ", ".join(methods)
        return problem(MethodNotAllowed(f"This address takes {allow}.", headers={"Allow": allow}))
    return problem(NotFound())


def other_methods(request: Request, rest: str) -> tuple[str, ...]:
    """The methods of an address below ``api/`` that was asked for with none of them; none for one that is not ours.

    An address that is only like one of ours, as with two slashes after it, comes here with the right method, too.
    """
    methods = methods_of(rest)
    return () if request.method in methods else methods


def methods_of(rest: str) -> tuple[str, ...]:
    """The methods of an address below ``api/``; none for one that is not ours."""
    found = (each for pattern, each in ROUTES if re.fullmatch(pattern, rest.rstrip("/"), re.ASCII | re.IGNORECASE))
    return next(found, ())
