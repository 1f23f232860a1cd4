"""Idempotency keys: what one stands for, as long as it is known."""

from __future__ import annotations

from datetime import timedelta

from shared.errors import IdempotencyKeyReused
from shared.runs.services import Services
from shared.runs.store.index import KeyRecord, key_digest


async def known_key(services: Services, owner: str, key: str, payload: str) -> KeyRecord | None:
    """What the owner's key was used for; None when it is free, or its time is over.

    Raises ``IdempotencyKeyReused`` when that was another payload.
    """
    record = await services.index.key(key_digest(owner, key))
    if record is None:
        return None
    if services.clock() - record.created_at > timedelta(seconds=services.settings.idempotency_key_lifetime):
        await services.index.free_key(record)
        return None
    if record.payload != payload:
        raise IdempotencyKeyReused
    return record
