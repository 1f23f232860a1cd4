"""Forget what is kept of an owner's requests: their keys, their tries, their places in the limit of active runs."""

from __future__ import annotations

from shared.runs.ports import Ports
from shared.runs.store.sealer import KeyUnavailable
from shared.runs.store.tables import Row
from shared.runs.store.unreadable import RowUnreadable


async def forget_key(ports: Ports, fingerprint: str) -> bool:
    """Forget the ``Idempotency-Key`` of a request that was erased; False where it had none, or its time is over."""
    record = await ports.index.key(fingerprint)
    if record is None:
        return False
    await ports.index.free_key(record)
    return True


async def forget_try(ports: Ports, row: Row) -> bool:
    """Forget a try of a request."""
    await ports.index.remove(row)
    return True


async def forget_place(ports: Ports, row: Row) -> bool:
    """Give a place back, unless its run is active."""
    try:
        stored = await ports.runs.load(str(row.values.get("run", "")))
    except (RowUnreadable, KeyUnavailable):  # it stays, and so does its place
        return False
    if stored is not None and not stored.value.terminal:  # submitted since: the second pass ends it
        return False
    await ports.index.remove(row)
    return True
