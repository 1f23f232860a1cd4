"""The provider's `response.*` webhook (Standard Webhooks): verified, then taken as a hint to look now.

The body holds only a response id. What it means is read from the provider and from our rows, so that duplicates,
strangers and the wrong order are harmless.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from shared.agentkit.faults import ProviderFault
from shared.api.operations import Answer, Parameter, operation
from shared.api.reading import Share, read_bytes
from shared.drivers.driver import Driver
from shared.errors import (
    BodyTimeout,
    InputTooLarge,
    InvalidJson,
    InvalidSignature,
    NotFound,
    ProviderUnavailable,
)
from shared.runs.commands.adopt import adopt
from shared.runs.ports import log
from shared.settings import Settings
from shared.wiring import App

MAX_BYTES = 65_536
BODY_SECONDS = 5.0
"""How long the body of a webhook may take: its sender wants an answer within ten seconds, and we have to look first."""

TOLERANCE = 300.0
"""Seconds by which a webhook's timestamp may be off (Standard Webhooks, and its library)."""

_SIGNATURE = re.compile(r"v1,[A-Za-z0-9+/]{43}=", re.ASCII)
_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)
_RESPONSE_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.:=+~-]{0,511}", re.ASCII)
"""What can stand in the address of a response, and leads nowhere else."""

KINDS = frozenset({"response.completed", "response.failed", "response.cancelled", "response.incomplete"})


@operation(
    tag="webhooks",
    parameters=tuple(
        Parameter(name=name, place="header", text=text, schema={"type": "string"})
        for name, text in (
            ("webhook-id", "The message's id."),
            ("webhook-timestamp", "When it was sent, in seconds since 1970."),
            ("webhook-signature", "`v1,` and the signature of id, timestamp and body."),
        )
    ),
    body={
        "type": "object",
        "properties": {
            "type": {"type": "string", "description": "What happened. Events of other kinds are of no concern here."},
            "data": {
                "type": "object",
                "description": "What it happened to.",
                "properties": {"id": {"type": "string", "description": "The response's id at the provider."}},
            },
        },
    },
    examples={"done": {"type": "response.completed", "data": {"id": "resp_0123"}}},
    answers={200: Answer(text="Taken, or of no concern.")},
    problems=(NotFound, InvalidSignature, InvalidJson, BodyTimeout, InputTooLarge, ProviderUnavailable),
    acts_for="nobody",
)
async def receive_webhook(request: Request, app: App, driver: Driver) -> Response:
    """The model provider says that a response is done.

    Standard Webhooks: signed on the raw body. 404 while `OPENAI_WEBHOOK_SECRET` is not set.
    """
    secret = app.settings.openai_webhook_secret
    if secret is None:
        raise NotFound("This app takes no webhooks: OPENAI_WEBHOOK_SECRET is not set.")
    _check_headers(request.headers, time.time())  # before the body is waited for: anybody can call this address
    event = _verified(await _body_of(request, app.settings), dict(request.headers), secret)
    data = event.get("data")
    response_id = data.get("id") if isinstance(data, dict) else None
    # Any other event is answered with 200 as well: the sender repeats what is refused.
    if str(event.get("type")) in KINDS and isinstance(response_id, str) and _RESPONSE_ID.fullmatch(response_id):
        try:
            run_id = await adopt(app.ports, response_id)
        except ProviderFault as fault:
            log.warning("webhook: response %s could not be read: %s", response_id, fault.for_log)
            raise ProviderUnavailable(headers={"Retry-After": "5"}) from fault  # 503: its sender sends it again
        if run_id is not None:
            await driver.wake(run_id)
    return Response(status_code=200)


def _check_headers(headers: Mapping[str, str], now: float) -> None:
    """What the headers alone say: signed at all, just now, and not too long."""
    timestamp = headers.get("webhook-timestamp", "")
    if not headers.get("webhook-id") or _TIMESTAMP.fullmatch(timestamp) is None:
        raise InvalidSignature
    if abs(now - int(timestamp)) > TOLERANCE + 1:  # the library is exact about it
        raise InvalidSignature
    if not any(_SIGNATURE.fullmatch(each) for each in headers.get("webhook-signature", "").split(" ")):
        raise InvalidSignature
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length[:20]) > MAX_BYTES:
        raise InputTooLarge(f"A webhook may have at most {MAX_BYTES} bytes.")


async def _body_of(request: Request, settings: Settings) -> bytes:
    with Share(settings) as share:
        return bytes(await read_bytes(request, MAX_BYTES, share, seconds=BODY_SECONDS))


def _verified(body: bytes, headers: dict[str, str], secret: str) -> dict[str, Any]:
    """The event, if it was signed with our secret within the last five minutes."""
    # Imported late: few apps take webhooks, and all pay for a cold start.
    from standardwebhooks import Webhook, WebhookVerificationError

    try:
        Webhook(secret).verify(body, headers, json_parse=False)
    except (WebhookVerificationError, ValueError) as error:  # ValueError: a header that is no signature at all
        raise InvalidSignature from error
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidJson from None
    if not isinstance(event, dict):
        raise InvalidJson
    return event
