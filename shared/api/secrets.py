"""Which of the app's secrets a caller has."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping


def name_of(given: str, secrets: Mapping[str, str]) -> str | None:
    """The name of the secret that was given, of these by name; None for another one."""
    digest, found = _digest(given), None
    for name, secret in secrets.items():  # to the end: the time it takes must not show which ones there are
        if hmac.compare_digest(digest, _digest(secret)):
            found = name
    return found


def _digest(secret: str) -> bytes:
    # Digests have one length: to compare the secrets themselves would show how long they are.
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
