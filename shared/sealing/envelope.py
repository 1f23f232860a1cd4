"""Envelopes: each value is encrypted with a data key, and carries that key, wrapped by a key of the operator's.

A data key is made for each scope (a session) by the first process that writes there, and taken over by those that read
it. AES-256-GCM; the header and the place of the value are authenticated with it.

    MAGIC | format 1 | length, reference of the wrapping key | length (2), wrapped data key | nonce (12) | ciphertext
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, Protocol, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.runs.store.sealer import MAGIC, SETTING, Damaged, KeyUnavailable

_FORMAT = 1
_NONCE = 12

KEPT = 2_000
"""Data keys that a process keeps, of those that it reads with and of those that it writes with."""

KEPT_FOR = timedelta(hours=1)
"""How long it keeps them: so long the rows can still be read here after the wrapping key was taken away."""

V = TypeVar("V")


class Wrapper(Protocol):
    """A key of the operator's that wraps data keys. Methods may raise ``KeyUnavailable``."""

    def knows(self, reference: str) -> bool:
        """Whether it is the key of this reference, in whatever version."""
        ...

    async def current(self) -> str:
        """The reference of the version that new data keys are wrapped with: at most 255 ASCII characters."""
        ...

    async def wrap(self, data_key: bytes) -> tuple[str, bytes]:
        """The reference of the key that wrapped it, and the wrapped key."""
        ...

    async def unwrap(self, reference: str, wrapped: bytes) -> bytes:
        """The data key. Raises ``Damaged`` when this key did not wrap that."""
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...


@dataclass(frozen=True, slots=True)
class _DataKey:
    header: bytes
    reference: str
    cipher: AESGCM
    until: datetime


class EnvelopeSealer:
    """Seals with the first of the keys, and opens with whichever wrapped the data key."""

    def __init__(self, wrappers: Sequence[Wrapper], clock: Callable[[], datetime]) -> None:
        self._wrappers = tuple(wrappers)
        self._clock = clock
        self._writing = _Kept[str, _DataKey]()
        self._opened = _Kept[bytes, _DataKey]()

    async def seal(self, data: bytes, *, scope: str, context: bytes) -> bytes:
        """See the port."""
        key = await self._key_to_write(scope)
        nonce = secrets.token_bytes(_NONCE)
        return key.header + nonce + key.cipher.encrypt(nonce, data, key.header + context)

    async def open(self, sealed: bytes, *, scope: str, context: bytes) -> bytes:
        """See the port."""
        reference, wrapped, size = _parsed(sealed)
        header = sealed[:size]
        key = self._opened.get(header)
        if key is None or key.until < self._clock():
            key = self._keep(header, reference, await self._unwrapped(reference, wrapped))
        nonce, encrypted = sealed[size : size + _NONCE], sealed[size + _NONCE :]
        try:
            data = key.cipher.decrypt(nonce, encrypted, header + context)
        except (InvalidTag, ValueError) as error:
            raise Damaged("a sealed value is not what was sealed") from error
        # So that a session keeps one data key, however many processes write to it.
        if self._writing.get(scope) is None:
            self._writing.put(scope, key)
        return data

    async def close(self) -> None:
        """Give back connections."""
        for wrapper in self._wrappers:
            await wrapper.close()

    async def _key_to_write(self, scope: str) -> _DataKey:
        wrapper, now = self._wrappers[0], self._clock()
        key = self._writing.get(scope)
        # After a rotation the next write of a session begins a data key under the new version.
        if key is None or key.until < now or key.reference != await wrapper.current():
            fresh = AESGCM.generate_key(256)
            reference, wrapped = await wrapper.wrap(fresh)
            key = self._keep(_header(reference, wrapped), reference, fresh)
            self._writing.put(scope, key)
        return key

    async def _unwrapped(self, reference: str, wrapped: bytes) -> bytes:
        for wrapper in self._wrappers:
            if wrapper.knows(reference):
                return await wrapper.unwrap(reference, wrapped)
        raise KeyUnavailable(
            f"Rows are sealed with the key {reference}, which {SETTING} does not name: add it behind the newer one."
        )

    def _keep(self, header: bytes, reference: str, data_key: bytes) -> _DataKey:
        try:
            cipher = AESGCM(data_key)
        except ValueError as error:
            raise Damaged("what was unwrapped is no data key") from error
        key = _DataKey(header, reference, cipher, self._clock() + KEPT_FOR)
        self._opened.put(header, key)
        return key


K = TypeVar("K")


class _Kept(Generic[K, V]):
    """The last ``KEPT`` values that were used."""

    def __init__(self) -> None:
        self._values: OrderedDict[K, V] = OrderedDict()

    def get(self, name: K) -> V | None:
        value = self._values.get(name)
        if value is not None:
            self._values.move_to_end(name)
        return value

    def put(self, name: K, value: V) -> None:
        self._values[name] = value
        self._values.move_to_end(name)
        if len(self._values) > KEPT:
            self._values.popitem(last=False)


def _header(reference: str, wrapped: bytes) -> bytes:
    name = reference.encode("ascii")
    return MAGIC + bytes([_FORMAT, len(name)]) + name + len(wrapped).to_bytes(2, "big") + wrapped


def _parsed(sealed: bytes) -> tuple[str, bytes, int]:
    """The reference of the wrapping key, the wrapped data key, and the length of the header."""
    at = len(MAGIC)
    try:
        if sealed[:at] != MAGIC or sealed[at] != _FORMAT:
            raise Damaged("a sealed value has no header that this version reads")
        begin = at + 2
        end = begin + sealed[at + 1]
        reference = sealed[begin:end].decode("ascii")
        size = end + 2 + int.from_bytes(sealed[end : end + 2], "big")
    except (IndexError, UnicodeDecodeError) as error:
        raise Damaged("the header of a sealed value cannot be read") from error
    return reference, sealed[end + 2 : size], size
