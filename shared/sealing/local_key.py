"""A key that is in the settings: for development, and for clouds without a Key Vault."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from shared.runs.store.sealer import Damaged


class LocalKey:
    """Wraps data keys by AES key wrap (RFC 3394) with 32 bytes."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        # Tells keys from one another, and says nothing of them.
        self._reference = f"local/{hashlib.sha256(b'dormouse encryption key' + key).hexdigest()[:16]}"

    def knows(self, reference: str) -> bool:
        """Whether it is this key's."""
        return reference == self._reference

    async def current(self) -> str:
        """It has one version."""
        return self._reference

    async def wrap(self, data_key: bytes) -> tuple[str, bytes]:
        """40 bytes for a data key of 32."""
        return self._reference, aes_key_wrap(self._key, data_key)

    async def unwrap(self, reference: str, wrapped: bytes) -> bytes:
        """The data key; raises ``Damaged``."""
        try:
            return aes_key_unwrap(self._key, wrapped)
        except (InvalidUnwrap, ValueError) as error:
            raise Damaged(f"the key {reference} did not wrap this data key") from error

    async def close(self) -> None:
        """It holds nothing."""
