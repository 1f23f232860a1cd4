"""Errors as ``application/problem+json`` (RFC 9457), rendered in this one place."""

from __future__ import annotations

import json
from typing import Any

from azurefunctions.extensions.http.fastapi import Response

from shared.errors import DormouseError


def problem(error: DormouseError) -> Any:
    """The response for an error: its code, what happened, and what to do next."""
    body = {
        "type": f"urn:dormouse:{error.code}",
        "title": error.code.replace("_", " "),
        "status": error.status,
        "code": error.code,
        "detail": error.message,
        **{name: value for name, value in error.details.items() if value is not None},
    }
    return Response(
        content=json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"),
        status_code=error.status,
        media_type="application/problem+json",
        headers={"Cache-Control": "no-store", **error.headers},
    )
