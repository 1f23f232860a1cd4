"""What the operator's calls take and answer with."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from typing_extensions import TypedDict

from shared.api.http import time_on_the_wire
from shared.api.native.fields import Count, RunId, Time
from shared.runs.model.ids import is_batch_id, is_schedule_id, session_of_due_row
from shared.runs.queries.watched import AtWork as AtWorkRecord
from shared.runs.queries.watched import Watched as WatchedRecord
from shared.runs.store.controls import RETRY_AFTER_SECONDS
from shared.runs.store.controls import Drain as DrainRecord
from shared.runs.store.controls import Intake as IntakeRecord

MOST_SHOWN = 100
"""Runs at work that are named."""

Reason = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]


class IntakeBody(BaseModel):
    """Whether new runs and batches are taken."""

    model_config = ConfigDict(extra="forbid", strict=True)

    paused: bool
    """True: every new run and batch is 503 `intake_paused`. False: they are taken again."""

    reason: Reason | None = None
    """Why, on one line: callers read it."""

    retry_after_seconds: int = Field(RETRY_AFTER_SECONDS, ge=1, le=3_600)
    """After how many seconds callers are to try again."""


class DrainBody(BaseModel):
    """Whether the app begins anything."""

    model_config = ConfigDict(extra="forbid", strict=True)

    draining: bool
    """True: what is under way ends, and nothing else begins. False: all goes on."""


class Intake(TypedDict):
    """Whether new runs and batches are taken."""

    paused: bool
    """Whether an operator has paused it."""

    reason: str | None
    """Why, as callers read it; null when nothing was said."""

    retry_after_seconds: Count
    """After how many seconds callers are to try again."""

    since: Time | None
    """When this was last changed; null when it never was."""

    draining: bool
    """Whether the app drains: then nothing is taken either."""


class Drain(TypedDict):
    """Whether the app begins anything, and what is still at work."""

    draining: bool
    """Whether an operator wants nothing to begin."""

    since: Time | None
    """When this was last changed; null when it never was."""

    drained: bool
    """Whether nothing is at work any more: some seconds after the last claim or lease, when every instance obeys."""

    at_work: Count
    """How many runs have a claim or a lease that has not run out: a request that starts a response, or tools."""

    runs: list[RunId]
    """These runs, up to 100."""

    looked_at: Count
    """How many were looked at for that, 1,000 at most."""

    complete: bool
    """Whether these were all there are; `drained` is never true otherwise."""


class WatchedRow(TypedDict):
    """Something that somebody must still come back to."""

    id: str
    """The id of the run, batch or schedule; of a deletion `session_` and the id of the session."""

    kind: Literal["run", "batch", "schedule", "deletion"]
    """What it is. A deletion is that of a session."""

    status: str | None
    """Its status; null for a deletion and a schedule, and where it cannot be read or is not there."""

    agent: str | None
    """Its agent; null where that is not known."""

    readable: bool
    """Whether this version can read it, and has the key to do so."""

    wake_at: Time | None
    """When it is to be woken by its own row; null when never, or when that cannot be read."""

    due_at: Time | None
    """When the sweep looks at it; null when it has no due row, so that no sweep ever does."""

    overdue_sweeps: Count
    """How many sweeps in a row have found it overdue."""

    quarantined: str | None
    """Why it was put aside; null when it was not."""


class WatchedList(TypedDict):
    """A page of them."""

    data: list[WatchedRow]
    """The page."""

    next_cursor: NotRequired[str]
    """The `cursor` of the next page; not there on the last."""

    watched: Count
    """How many runs, batches, schedules and deletions somebody must still come back to; counted up to 1,000."""


EXAMPLE_INTAKES = {
    "pause": {"paused": True, "reason": "The model provider is down.", "retry_after_seconds": 120},
    "resume": {"paused": False},
}
EXAMPLE_DRAINS = {"drain": {"draining": True}, "go on": {"draining": False}}


def intake_of(body: IntakeBody) -> IntakeRecord:
    """What is asked for, as it is stored."""
    return IntakeRecord(paused=body.paused, reason=body.reason or "", retry_after=body.retry_after_seconds)


def intake_on_the_wire(intake: IntakeRecord, drain: DrainRecord) -> Intake:
    """Whether new runs are taken, as operators see it."""
    return {
        "paused": intake.paused,
        "reason": intake.reason or None,
        "retry_after_seconds": intake.retry_after,
        "since": time_on_the_wire(intake.since),
        "draining": drain.draining,
    }


def drain_on_the_wire(found: AtWorkRecord) -> Drain:
    """What is at work, as operators see it."""
    return {
        "draining": found.drain.draining,
        "since": time_on_the_wire(found.drain.since),
        "drained": found.is_drained,
        "at_work": len(found.runs),
        "runs": [*found.runs[:MOST_SHOWN]],
        "looked_at": found.looked_at,
        "complete": found.is_complete,
    }


def watched_on_the_wire(found: WatchedRecord) -> WatchedRow:
    """Something that is watched, as operators see it."""
    row = found.row
    return {
        "id": found.subject,
        "kind": _kind_of(found.subject),
        "status": found.status,
        "agent": found.agent,
        "readable": found.is_readable,
        "wake_at": time_on_the_wire(found.wake_at),
        "due_at": None if row is None else time_on_the_wire(row.due),
        "overdue_sweeps": 0 if row is None else row.overdue_sweeps,
        "quarantined": None if row is None else row.quarantined or None,
    }


def _kind_of(subject: str) -> Literal["run", "batch", "schedule", "deletion"]:
    if session_of_due_row(subject) is not None:
        return "deletion"
    if is_schedule_id(subject):
        return "schedule"
    return "batch" if is_batch_id(subject) else "run"
