"""What a wake leaves behind, for whoever causes the next."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from shared.runs.model.listed import ListStatus, list_status
from shared.runs.model.run import Run
from shared.runs.rules.agenda import next_time
from shared.runs.store.index import Listing
from shared.runs.store.runs import Stored


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a wake left behind."""

    status: StrEnum | None
    """None: there is no such run (or batch)."""

    wake_in: float | None
    """Seconds to the next wake; None: it is over, and nothing is left to do for it."""

    may_be_early: bool = field(default=False, compare=False)
    """Whether a wake that comes a moment before that does its work all the same, as a look at the provider does."""

    to_list: ListStatus | None = field(default=None, compare=False)
    """What the owner's list is to show; None: nothing, as for whatever is deleted."""

    listing: Listing | None = field(default=None, compare=False)
    """The row there, where the wake has written it."""

    run: Stored[Run] | None = field(default=None, compare=False, repr=False)
    """As the wake has written it, where the next one may begin at once: that need not read it."""


def outcome(run: Run, now: datetime) -> Outcome:
    """What the row says."""
    soonest, to_list = next_time(run), list_status(run)
    if soonest is None:
        return Outcome(run.status, None, to_list=to_list)
    # Relative, not a time: the driver's clock may differ from this one.
    wake_in = max(0.0, (soonest.due - now).total_seconds())
    return Outcome(run.status, wake_in, may_be_early=soonest.may_be_early, to_list=to_list)


def outcome_of(stored: Stored[Run], now: datetime) -> Outcome:
    """The same, with what the call knows of the run's row in the list."""
    return replace(outcome(stored.value, now), listing=stored.listing)
