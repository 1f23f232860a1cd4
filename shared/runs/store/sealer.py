"""The port to whoever encrypts what lies in the rows. ``shared.sealing`` has an implementation."""

from __future__ import annotations

from typing import Protocol

from shared.runs.store.tables import StoreUnavailable

MAGIC = b"\xff\xde"
"""How each sealed value begins: as no UTF-8 does, so that it is told from the bytes of a text."""

SETTING = "DORMOUSE_ENCRYPTION_KEY"


class KeyUnavailable(StoreUnavailable):
    """The key that opens or seals the rows is missing, or does not answer.

    An outage like any other of the store: nothing was written, and nothing is lost. Whoever meets it looks again.
    """


class Damaged(Exception):
    """A sealed value is not what was sealed: a changed byte, another place, or another key."""


class Unopened(bytes):
    """A sealed value that cannot be opened: no text, so that no reader takes it for one."""


class Sealer(Protocol):
    """Seals values and opens them. Both methods may raise :class:`KeyUnavailable`.

    ``scope`` says which values may share a data key (those of one session). ``context`` is where the value lies; it
    is not hidden, but a value that is opened in another context is :class:`Damaged`.
    """

    async def seal(self, data: bytes, *, scope: str, context: bytes) -> bytes:
        """The sealed value: begins with ``MAGIC``, and is up to ``MAX_OVERHEAD`` bytes longer than ``data``."""
        ...

    async def open(self, sealed: bytes, *, scope: str, context: bytes) -> bytes:
        """What was sealed. Raises :class:`Damaged`."""
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...


MAX_OVERHEAD = 1_024
"""Bytes that a sealed value may be longer: what the properties of a row leave room for."""
