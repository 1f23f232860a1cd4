"""A run token as it is answered with."""

from __future__ import annotations

from typing_extensions import TypedDict

from shared.api.native.fields import Time


class RunToken(TypedDict):
    """A run token, which is shown this once."""

    token: str
    """Goes to `/api/shared/…` as `Authorization: Bearer …`."""

    expires_at: Time
    """Until when it holds."""
