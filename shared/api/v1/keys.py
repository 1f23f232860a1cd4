"""Who calls: the keys of ``DORMOUSE_API_KEYS``, which the platform does not check and we do."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from shared.errors import InvalidApiKey, NotFound
from shared.settings import Settings


def owner_of(request: Any, settings: Settings) -> str:
    """``key:<name>`` for the secret in ``Authorization: Bearer …`` or in ``api-key``, where Azure's clients put it.

    Raises ``NotFound`` while no keys are set, ``InvalidApiKey`` without a right one.
    """
    secrets = settings.secrets_of_clients
    if not secrets:
        raise NotFound("This app takes no OpenAI clients. Set DORMOUSE_API_KEYS (`name:secret`), or use `/api/runs`.")
    given = _digest(_given(request))
    found = ""
    for name, secret in secrets.items():  # all of them: how long it takes tells nothing
        if hmac.compare_digest(given, _digest(secret)):
            found = name
    if not found:
        raise InvalidApiKey
    return f"key:{found}"


def _given(request: Any) -> str:
    scheme, _, token = request.headers.get("authorization", "").strip().partition(" ")
    given: str = token if scheme.lower() == "bearer" else request.headers.get("api-key", "")
    return given.strip()


def _digest(secret: str) -> bytes:
    """Of one length, whatever was given."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
