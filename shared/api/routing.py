"""What no route matches: 404, or 405 with ``Allow``. The host's own 404 is empty, for wrong methods too."""

from __future__ import annotations

import re
from typing import Any

from shared.api.problems import problem
from shared.errors import MethodNotAllowed, NotFound

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

ROUTES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("runs", ("GET", "HEAD", "POST")),
    (r"runs/run_[0-9a-f]{32}_[0-9]{1,8}", ("GET", "HEAD", "DELETE")),
    (r"runs/run_[0-9a-f]{32}_[0-9]{1,8}/cancel", ("POST",)),
    (r"runs/run_[0-9a-f]{32}_[0-9]{1,8}/answers", ("POST",)),
    (r"sessions/[0-9a-f]{32}", ("GET", "HEAD", "DELETE")),
    ("batches", ("GET", "HEAD", "POST")),
    (r"batches/batch_[0-9a-f]{32}", ("GET", "HEAD", "DELETE")),
    (r"batches/batch_[0-9a-f]{32}/items", ("GET", "HEAD")),
    (r"batches/batch_[0-9a-f]{32}/cancel", ("POST",)),
    ("agents", ("GET", "HEAD")),
    ("webhooks/openai", ("POST",)),
    ("health", ("GET", "HEAD")),
    ("health/deep", ("GET", "HEAD")),
)
"""The routes below ``api/`` and their methods; a test holds them against the triggers."""


def not_found(request: Any) -> Any:
    """The problem for an address that no trigger took."""
    rest = request.path_params.get("rest", "").rstrip("/")
    for pattern, methods in ROUTES:
        if re.fullmatch(pattern, rest, re.ASCII | re.IGNORECASE):
            allow = ", ".join(methods)
            return problem(MethodNotAllowed(f"This address takes {allow}.", headers={"Allow": allow}))
    return problem(NotFound())
