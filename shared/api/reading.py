"""Bodies as they arrive: each within its bounds of size and time, and all of a process together within theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Self

from starlette.requests import ClientDisconnect, Request

from shared.api import json_scan
from shared.errors import BodyTimeout, InputTooLarge, InvalidJson, InvalidRequest, TooManyBodies, UnsupportedMediaType
from shared.settings import Settings

SMALL = 65_536
"""Bytes of each body that are not counted: a short request is never refused because of other people's long ones."""

MAX_FIELDS = 100
MAX_ELEMENTS = 1_000
"""Of one object, and of one list, in any request: what a field may really have is less, and is checked with it."""

RETRY_AFTER = "2"

_held: list[Share] = []
"""The shares of this process."""


class Share:
    """What a request holds of the memory for bodies, until the end of the ``with`` block."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.bytes = 0

    def __enter__(self) -> Self:
        _held.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _held.remove(self)

    def grow(self, size: int) -> None:
        """Hold so many bytes. Raises ``TooManyBodies`` when all shares together would be too much."""
        others = sum(each.bytes for each in _held if each is not self)
        if size > SMALL and others + size > self.settings.bodies_most:
            raise TooManyBodies(headers={"Retry-After": RETRY_AFTER})
        self.bytes = max(size - SMALL, 0)


async def read_bytes(request: Request, most: int, share: Share, *, seconds: float | None = None) -> bytearray:
    """The body, which may have at most ``most`` bytes. It counts towards the share as it arrives.

    So a body that does not come holds nothing; one that does not end is given up after ``seconds`` (a setting).
    """
    raw = bytearray()
    seconds = share.settings.body_seconds if seconds is None else seconds
    try:
        # For the whole body: a limit for each chunk would let a slow sender go on for hours.
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                raw += chunk
                # Counted as it arrives: a chunked body has no `Content-Length`, and a header may lie.
                if len(raw) > most:
                    raise InputTooLarge(f"The body may have at most {most} bytes here. Send less, or a URL to it.")
                share.grow(len(raw))
    except ClientDisconnect:  # the caller is gone: only the log shows it
        raise InvalidRequest("The body ended before all of it was there. Send the request again.") from None
    except TimeoutError:
        raise BodyTimeout(f"The body was not all there within {seconds:g} seconds. Send the request again.") from None
    return raw


async def read_json(request: Request, most: int, share: Share) -> dict[str, Any]:
    """The body as a JSON object of at most ``most`` bytes, and of as many values as can be parsed in one go."""
    check_type(request)
    raw = await read_bytes(request, most, share)
    await json_scan.check_size(raw)
    body = parsed(raw)
    check_widths(body)
    return body


def check_type(request: Request) -> None:
    """Raises ``UnsupportedMediaType`` for a body that does not call itself JSON."""
    # A foreign page may send forms and plain text with the user's sign-in, but JSON only after a preflight.
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise UnsupportedMediaType


def parsed(raw: json_scan.Bytes) -> dict[str, Any]:
    """The object in this JSON, whose size is known. Raises ``InvalidJson``."""
    try:
        body = json_scan.loads(raw)
    except ValueError as error:
        raise InvalidJson(
            f"The body is not JSON in UTF-8: {error}. Send an object with `Content-Type: application/json`."
        ) from None
    if not isinstance(body, dict):
        raise InvalidJson
    return body


def check_widths(body: Mapping[str, Any]) -> None:
    """Raises ``InvalidRequest`` for an object or a list in it that has more members than any of a request may have.

    Before it is validated: pydantic finds all that is wrong, and builds an error for each.
    """
    left: list[tuple[str, Any]] = [("", body)]
    while left:
        place, value = left.pop()
        most, what = (MAX_FIELDS, "fields") if isinstance(value, dict) else (MAX_ELEMENTS, "elements")
        if len(value) > most:
            field = place[1:] or "body"
            raise InvalidRequest(
                f"`{field}` has {len(value)} {what}, and may have {most} at most.",
                errors=[{"field": field, "problem": f"has more than {most} {what}"}],
            )
        members = value.items() if isinstance(value, dict) else enumerate(value)
        # Cut at each level: a long name would be copied for every member below it.
        left += [(f"{place}.{name}"[:80], each) for name, each in members if isinstance(each, dict | list)]
