"""The headers of answers, and those that every request may have."""

from __future__ import annotations

from typing import Any

from shared.api.callers import ON_BEHALF_OF, USER_ID
from shared.api.openai.parameters import IGNORED_HEADER
from shared.api.operations import Parameter

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
    "Content-Encoding": {
        "description": "How the body is compressed; not there when it is as it is.",
        "schema": {"const": "gzip", "type": "string"},
    },
    IGNORED_HEADER: {
        "description": "The parameters of the request that were left out, by name; not there when none were.",
        "schema": {"type": "string"},
    },
    "X-Request-Id": {
        "description": "The request's id, the caller's or a new one; the app's logs name it.",
        "schema": {"type": "string"},
    },
}

REQUEST_ID = Parameter(
    name="X-Request-Id",
    place="header",
    text="An id for this request, up to 128 letters, digits and `. _ : / + = @ -`; another is replaced.",
    schema={"type": "string"},
)

FOR_A_USER = Parameter(
    name=ON_BEHALF_OF,
    place="header",
    text="The id of the user whom the call is for, with `DORMOUSE_DELEGATION`: the call sees and changes only what is "
    "that user's. 403 while that is off, with a key that may not act for users, and from who has signed in.",
    schema={"type": "string", "pattern": f"^{USER_ID}$"},
    example="user-4711",
)
