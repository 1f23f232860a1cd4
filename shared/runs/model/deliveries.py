"""The log of a run's callbacks: one row an attempt."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared.runs.model.run import SCHEMA


class DeliveryState(StrEnum):
    """Where one attempt stands."""

    # Written before the attempt: a crash in mid-attempt must leave a trace.
    SENDING = "sending"
    """One that stays so was cut off by a crash: nobody knows how it was taken."""

    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One attempt to tell a caller of an event."""

    session_id: str
    """The session of its run."""

    number: int
    """The number of its run."""

    # Part of the row's key, so that rows sort by time and the oldest is found without a query.
    index: int
    """Counts all attempts of the run, from 0."""

    event: str
    """What the receiver is told of, such as ``completed``."""

    attempt: int
    """Counts those at this event from 1, and begins anew when it is asked for again."""

    sent_at: datetime
    """When the attempt was begun."""

    state: DeliveryState = DeliveryState.SENDING
    """Where it stands."""

    http_status: int | None = None
    """What the receiver answered; None: nothing."""

    fault: str | None = None
    """A word for why there is no status."""

    seconds: float | None = None
    """How long the receiver took."""

    next_try_at: datetime | None = None
    """When the next attempt is due; None: there is none."""

    schema: int = SCHEMA
    """Version of its row's format."""
