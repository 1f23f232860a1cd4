"""The headers of answers, and the parameters that several operations share."""

from __future__ import annotations

from typing import Any

from local.openapi.operation import Parameter
from shared.api.conditions import MOST_SECONDS

HEADERS: dict[str, dict[str, Any]] = {
    "Location": {"description": "The run's own address.", "schema": {"type": "string", "format": "uri"}},
    "Operation-Location": {"description": "The same address.", "schema": {"type": "string", "format": "uri"}},
    "Retry-After": {
        "description": "Seconds until it is worth asking again.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "ETag": {
        "description": "Strong; changes with the body. Send it as `If-None-Match`.",
        "schema": {"type": "string", "pattern": '^"[0-9a-f]{32}"$'},
    },
    "Preference-Applied": {
        "description": "The preference that was honoured.",
        "schema": {"type": "string", "pattern": "^wait=[0-9]{1,2}$"},
    },
    "Vary": {"description": "What else the answer depends on.", "schema": {"type": "string"}},
    "X-Request-Id": {
        "description": "The request's id, the caller's or a new one; the app's logs name it.",
        "schema": {"type": "string"},
    },
}

IF_NONE_MATCH = Parameter(
    name="If-None-Match",
    place="header",
    text="An `ETag` that the caller has: 304 without a body when nothing has changed.",
    schema={"type": "string"},
)
REQUEST_ID = Parameter(
    name="X-Request-Id",
    place="header",
    text="An id for this request, up to 128 letters, digits and `. _ : / + = @ -`; another is replaced.",
    schema={"type": "string"},
)
IDEMPOTENCY_KEY = Parameter(
    name="Idempotency-Key",
    place="header",
    text="A fresh one for every request, the same when it is repeated: for 24 hours it gives the same run. Up to 255 "
    "visible characters of ASCII, bare or in double quotes. A comma and a blank only in quotes: two headers look so.",
    schema={"type": "string", "pattern": '^("[ !#-~]{1,255}"|(?!.*, )[!#-~]([ !#-~]{0,253}[!#-~])?)$'},
    example="5f0c2a52-4f0e-4a57-9f0d-9b1f4a3d7c11",
)
PREFER = Parameter(
    name="Prefer",
    place="header",
    text=f"`wait=N` (RFC 7240): answer when the run has ended, or after N seconds, {MOST_SECONDS} at most.",
    schema={"type": "string"},
    example="wait=30",
)
WAIT = Parameter(
    name="wait",
    place="query",
    text="Seconds to wait for a change that a person would want to see; one that `If-None-Match` does not have yet "
    "is answered at once.",
    schema={"type": "integer", "minimum": 0, "maximum": MOST_SECONDS},
    example=30,
)
