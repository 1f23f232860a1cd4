"""Errors as OpenAI's clients know them: ``{"error": {"message", "type", "code", "param"}}``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from azurefunctions.extensions.http.fastapi import Response

from shared.api.answering import answered_as
from shared.errors import DormouseError

NO_RETRY = {"x-should-retry": "false"}
"""Keeps the clients from repeating a request by themselves, as they do after 408, 409, 429 and 5xx."""


def error_object(error: DormouseError) -> Mapping[str, Any]:
    """What is under ``error``. What else is known of it stands beside OpenAI's own four."""
    details = {name: value for name, value in error.details.items() if value is not None}
    problems = details.pop("errors", None) or [{}]
    return {
        "message": error.message,
        "type": _type(error.status),
        "param": problems[0].get("field"),
        "code": error.code,
        **details,
    }


def openai_error(error: DormouseError) -> Any:
    """The response for an error."""
    return Response(
        content=json.dumps({"error": error_object(error)}, ensure_ascii=False).encode("utf-8", "replace"),
        status_code=error.status,
        media_type="application/json",
        headers={"Cache-Control": "no-store", **error.headers},
    )


answered_to_client = answered_as(openai_error)
"""A trigger's handler, whatever becomes of it: what it raises is an error in OpenAI's shape."""


def _type(status: int) -> str:
    if status >= 500:
        return "server_error"
    return "rate_limit_error" if status == 429 else "invalid_request_error"
