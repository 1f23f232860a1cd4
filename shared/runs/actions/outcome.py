"""What a wake leaves behind, for whoever causes the next."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from shared.runs.model.run import Run
from shared.runs.rules.agenda import next_time


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a wake left behind."""

    status: StrEnum | None
    """None: there is no such run (or batch)."""

    wake_in: float | None
    """Seconds to the next wake; None: it is over, and nothing is left to do for it."""

    may_be_early: bool = field(default=False, compare=False)
    """Whether a wake that comes a moment before that does its work all the same, as a look at the provider does."""


def outcome(run: Run, now: datetime) -> Outcome:
    """What the row says."""
    soonest = next_time(run)
    if soonest is None:
        return Outcome(run.status, None)
    # Relative, not a time: the driver's clock may differ from this one.
    return Outcome(run.status, max(0.0, (soonest.due - now).total_seconds()), may_be_early=soonest.may_be_early)
