"""Callbacks: Standard Webhooks (https://www.standardwebhooks.com), verified before they are believed.

Done with the standard library alone: the package of that name brings an HTTP client of its own along.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dormouse_client.errors import CallbackRefused, InvalidArgument

TOLERANCE_SECONDS = 300.0


@dataclass(frozen=True)
class Callback:
    """A callback that is verified. It says that something happened, not what: read the run at `data["url"]`."""

    id: str
    """The same for every attempt to deliver it: take a message once."""

    type: str
    """`run.completed`, `run.incomplete`, `run.failed`, `run.cancelled`, `run.requires_action`, `batch.completed`,
    `batch.cancelled`; more may come."""

    timestamp: str
    """When it happened: RFC 3339, in UTC."""

    data: dict[str, Any]
    """`id`, `object`, `status`, `url`, `metadata`, and more of the run or the batch."""


def verify_callback(
    headers: Mapping[str, str] | Iterable[tuple[str, str]],
    body: bytes | str,
    secret: str | Sequence[str],
    *,
    tolerance: float = TOLERANCE_SECONDS,
    now: float | None = None,
) -> Callback:
    """The callback, if it comes from an app with this secret.

    Args:
        headers: The request's, in whatever case; a mapping or pairs.
        body: The bytes as they came. What a framework has parsed and written again is signed no more.
        secret: `whsec_…`, the app's `DORMOUSE_CALLBACK_SECRET`; several, with blanks between or as a list, while one
            is changed for another.
        tolerance: How old a callback may be, in seconds, and how far the clocks may be apart.
        now: Seconds since 1970; the time of this machine unless it is given.

    Raises:
        CallbackRefused: It is not signed with any of them, or is too old. Answer with 401.
        InvalidArgument: A secret is none.
    """
    keys = [_key(each) for each in (secret.split() if isinstance(secret, str) else secret)]
    if not keys:
        raise InvalidArgument("`secret` is empty: give the app's DORMOUSE_CALLBACK_SECRET (`whsec_…`).")
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    found = {name.lower(): value for name, value in pairs}
    message_id, sent, signatures = (found.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
    if not (message_id and sent and signatures):
        raise CallbackRefused(
            "This is no callback: it needs the headers webhook-id, webhook-timestamp and webhook-signature.",
            code="missing_header",
        )
    if not (sent.isascii() and sent.isdecimal() and len(sent) < 15):
        raise CallbackRefused("The callback's webhook-timestamp is not a number of seconds.", code="stale_timestamp")
    if abs((time.time() if now is None else now) - int(sent)) > tolerance:
        raise CallbackRefused(
            "The callback is too old, or the clocks of both machines are too far apart.", code="stale_timestamp"
        )
    raw = body.encode() if isinstance(body, str) else bytes(body)
    signed = f"{message_id}.{sent}.".encode() + raw
    expected = [hmac.new(key, signed, hashlib.sha256).digest() for key in keys]
    given = [_decoded(each) for each in signatures.split()]
    if not any(hmac.compare_digest(each, one) for each in given for one in expected):
        raise CallbackRefused("The callback's signature is not of this secret, or its body was changed on the way.")
    return _read(message_id, raw)


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix("whsec_") + "==", validate=False)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise InvalidArgument("`secret` is `whsec_` and base64: the app's DORMOUSE_CALLBACK_SECRET, unchanged.")
    return key


def _decoded(signature: str) -> bytes:
    """The bytes of a signature of the one version that there is; of anything else nothing, which fits no secret."""
    version, _, text = signature.partition(",")
    try:
        return base64.b64decode(text) if version == "v1" else b""
    except (binascii.Error, ValueError):
        return b""


def _read(message_id: str, raw: bytes) -> Callback:
    try:
        body = json.loads(raw)
        return Callback(message_id, str(body["type"]), str(body["timestamp"]), dict(body["data"]))
    except (ValueError, KeyError, TypeError):
        raise CallbackRefused("The body is signed, and no callback of Dormouse.", code="unexpected_body") from None
