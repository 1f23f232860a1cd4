"""Idempotency keys: what one stands for, as long as it is known."""

from __future__ import annotations

from datetime import timedelta

from shared.errors import IdempotencyKeyReused
from shared.runs.ports import Ports
from shared.runs.store.index import KeyRecord, key_digest


async def known_key(ports: Ports, owner: str, key: str, payload: str) -> KeyRecord | None:
    """What the owner's key was used for; None when it is free, or its time is over.

    Raises ``IdempotencyKeyReused`` when that was another payload.
    """
    record = await ports.index.key(key_digest(owner, key))
    if record is None:
        return None
    # Looked at here as well: retention removes old keys only now and then.
    if ports.clock() - record.created_at > timedelta(seconds=ports.settings.idempotency_key_lifetime):
        await ports.index.free_key(record)  # under the ETag just read: one that was claimed anew meanwhile stays
        return None
    if record.payload != payload:
        raise IdempotencyKeyReused
    return record


def new_key(ports: Ports, owner: str, key: str, payload: str, session_id: str, number: int = 0) -> KeyRecord:
    """What a free key will stand for once it is claimed: this payload, and the ids that are assigned to it."""
    return KeyRecord(
        digest=key_digest(owner, key),
        payload=payload,
        session_id=session_id,
        number=number,
        created_at=ports.clock(),
    )
