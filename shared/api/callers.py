"""Who calls, and whose runs are theirs.

An owner's name begins with its kind, so that owners of different kinds never meet: ``function`` for all who have a
function key, ``principal:`` for who has signed in, ``key:`` for a key of ``DORMOUSE_API_KEYS``.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from shared.errors import Unauthenticated
from shared.settings import Settings

EVERYBODY = "function"


def owner_of(request: Any, settings: Settings) -> str:
    """The owner that a call acts for.

    With function keys all callers are one owner. With App Service authentication it is the principal, whose header
    is trusted only where the platform says that it sets it. Raises ``Unauthenticated``.
    """
    if settings.auth == "key":
        return EVERYBODY
    if not settings.auth_enabled:
        raise Unauthenticated(
            "DORMOUSE_AUTH is `appservice`, but the platform's authentication is off, so nobody can be trusted. "
            "Turn App Service authentication on, or set DORMOUSE_AUTH to `key`."
        )
    principal = request.headers.get("x-ms-client-principal-id")
    if not principal:
        raise Unauthenticated
    provider = request.headers.get("x-ms-client-principal-idp", "")
    return f"principal:{quote(provider, safe='')}:{principal}"
