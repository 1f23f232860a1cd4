"""The log of a run's callbacks: one row an attempt."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared.runs.model.run import SCHEMA


class DeliveryState(StrEnum):
    """Where one attempt stands."""

    SENDING = "sending"
    """One that stays so was cut off by a crash: nobody knows how it was taken."""

    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One attempt to tell a caller of an event."""

    session_id: str
    number: int

    index: int
    """Counts all attempts of the run, from 0."""

    event: str

    attempt: int
    """Counts those at this event from 1, and begins anew when it is asked for again."""

    sent_at: datetime
    state: DeliveryState = DeliveryState.SENDING
    http_status: int | None = None

    fault: str | None = None
    """A word for why there is no status."""

    seconds: float | None = None
    """How long the receiver took."""

    next_try_at: datetime | None = None
    schema: int = SCHEMA
