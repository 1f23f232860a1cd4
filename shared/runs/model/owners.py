"""How far an export or an erasure of an owner has come."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import astuple, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerPlace:
    """Where it goes on. A caller has it as a cursor, and may have made it up: it names no row by itself."""

    stage: str = ""
    """Which kind of rows; empty: the first."""

    page: str | None = None
    """The page of these, as the store names it; None: the first."""

    subject: str = ""
    """The session or batch of that page before which all is done."""

    number: int = 0
    """The run of that session, or the item of that batch, before which all is done."""

    piece: tuple[int, int, int] = (0, 0, 0)
    """The pieces of that run up to this one are done: their kind, and where they are in it."""

    def to_cursor(self) -> str:
        """As a caller has it."""
        return base64.urlsafe_b64encode(json.dumps(astuple(self)).encode()).decode().rstrip("=")

    @classmethod
    def from_cursor(cls, cursor: str) -> OwnerPlace:
        """The place that a caller names. Raises ``ValueError``."""
        try:
            text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            stage, page, subject, number, (kind, first, second) = json.loads(text)
        except (binascii.Error, UnicodeDecodeError, RecursionError, TypeError) as error:
            raise ValueError("no cursor of ours") from error
        numbers = (number, kind, first, second)
        if not (isinstance(stage, str) and isinstance(subject, str) and isinstance(page, str | None)):
            raise ValueError("no cursor of ours")
        if not all(type(each) is int and 0 <= each < 10**9 for each in numbers):
            raise ValueError("no cursor of ours")
        return cls(stage=stage, page=page, subject=subject, number=number, piece=(kind, first, second))
