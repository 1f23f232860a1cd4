"""A schedule: a request that becomes a run again and again, at times that a cron expression names."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared.runs.model.ids import run_id
from shared.runs.model.run import SCHEMA


class Missed(StrEnum):
    """What becomes of times that nobody was there for."""

    SKIP = "skip"
    """Nothing: the next run is the one whose time comes next."""

    ONCE = "once"
    """One run stands for all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSchedule:
    """A schedule as its row has it. All times are aware UTC."""

    id: str
    """``schedule_`` and 32 hex digits."""
    owner: str
    """Whose runs they are, and who may read and change it."""
    agent: str
    """The agent's name."""

    request: str
    """What each run asks for, as the JSON of a body of ``POST /api/runs``."""

    cron: str
    """Five fields, or six with the second in front."""
    time_zone: str = "UTC"
    """Of the IANA database: the fields are local times there."""
    missed: Missed = Missed.SKIP
    """What becomes of times that nobody was there for."""
    paused: bool = False
    """Whether nothing is begun, and no time that passes meanwhile counts as missed."""

    created_at: datetime
    """When it was made."""
    updated_at: datetime
    """When its owner last changed it."""

    name: str = ""
    """Of an agent's own schedule: its name beside the agent; empty for one that a caller made."""

    next_at: datetime | None = None
    """The occurrence that is next, or is being begun; None while it is paused."""

    not_before: datetime | None = None
    """The earliest next try to begin that; None: at its time. Set by a try that was refused."""

    tries: int = 0
    """Tries to begin that which were refused. The next occurrence ends them."""

    last_at: datetime | None = None
    """The occurrence that was tried last."""
    last_run: str = ""
    """The id of the run that it became; empty if it became none."""
    last_error: str = ""
    """The code of the error with which it was refused last; empty if it was not."""
    last_message: str = ""
    """The same, for people."""

    payload: str = ""
    """A digest of what was asked for, of one that was made under a key: the same key must come with the same."""

    schema: int = SCHEMA
    """Version of its row's format."""


# Derived, as a batch's are: no key of a day's life stands between a crash and a second run.
def session_of_occurrence(schedule_id: str, occurrence: datetime) -> str:
    """The session of an occurrence's run."""
    return _digest(schedule_id, occurrence)[:32]


def run_of_occurrence(schedule_id: str, occurrence: datetime) -> str:
    """The id of an occurrence's run: the first of its session."""
    return run_id(session_of_occurrence(schedule_id, occurrence), 1)


def fingerprint_of_occurrence(schedule_id: str, occurrence: datetime) -> str:
    """The fingerprint of an occurrence's run: who submits it again submits the same."""
    return hashlib.sha256(f"{_digest(schedule_id, occurrence)}:submission".encode()).hexdigest()


def _digest(schedule_id: str, occurrence: datetime) -> str:
    return hashlib.sha256(f"{schedule_id}:{occurrence.isoformat()}".encode()).hexdigest()
