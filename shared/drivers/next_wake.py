"""When a run, a batch or a deleted session is to be woken next, read from its own row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared.runs.actions.outcome import Outcome
from shared.runs.commands.delete import SessionStatus, removal_time
from shared.runs.model.ids import is_batch_id, is_schedule_id, session_of_due_row
from shared.runs.model.listed import ListStatus, list_status
from shared.runs.model.phases import Scheduled
from shared.runs.model.session import Session
from shared.runs.ports import Ports
from shared.runs.rules.agenda import next_time
from shared.runs.rules.occurrences import wake_at as wake_of_schedule
from shared.runs.schedules.advance import ScheduleStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class NextWake:
    """Status and next wake, as stored."""

    status: StrEnum

    wake_at: datetime | None
    """None: nothing is left to do."""

    deadline_at: datetime | None = None

    is_to_start: bool = False
    """Whether it is a run that was submitted for later: it has no orchestration until the sweep starts one."""

    to_list: ListStatus | None = None
    """What the owner's list is to show; None: nothing."""


async def next_wake_of(ports: Ports, subject: str) -> NextWake | None:
    """Status and next wake of what a due row names; None when there is no such run, batch or session."""
    if is_batch_id(subject):
        batch = await ports.batches.load(subject)
        if batch is None:
            return None
        wake_at = None if batch.value.is_done else batch.value.schedule.wake_at
        return NextWake(status=batch.value.status, wake_at=wake_at, to_list=list_status(batch.value))
    if is_schedule_id(subject):
        row = await ports.due.get(subject)
        schedule = None if row is None else await ports.schedules.at(row.listed)
        if schedule is None:
            return None
        at = wake_of_schedule(schedule.value)
        return NextWake(status=ScheduleStatus.PAUSED if at is None else ScheduleStatus.ACTIVE, wake_at=at)
    if (session_id := session_of_due_row(subject)) is not None:
        session = await ports.runs.load_session(session_id)
        return None if session is None else _of_session(ports, session.value)
    run = await ports.runs.load(subject)
    if run is None:
        return None
    # Worked out from the row each time, never stored: a stored time could contradict the row that it is about.
    soonest = next_time(run.value)
    deadline = run.value.schedule.deadline_at
    return NextWake(
        status=run.value.status,
        wake_at=None if soonest is None else soonest.due,
        deadline_at=deadline,
        is_to_start=isinstance(run.value.phase, Scheduled),
        to_list=list_status(run.value),
    )


def _of_session(ports: Ports, session: Session) -> NextWake:
    """A deleted session is due at once while runs of it are left, then when its own row is to be removed."""
    if session.deleted_at is None:
        return NextWake(status=SessionStatus.LIVE, wake_at=None)
    wake_at = removal_time(session, ports.settings) if session.emptied else session.deleted_at
    return NextWake(status=SessionStatus.DELETED, wake_at=wake_at)


async def stored_outcome(ports: Ports, subject: str) -> Outcome:
    """The outcome that a wake would return, from the stored row and without a wake."""
    found = await next_wake_of(ports, subject)
    if found is None:
        return Outcome(None, None)
    left = None if found.wake_at is None else max(0.0, (found.wake_at - ports.clock()).total_seconds())
    return Outcome(found.status, left, to_list=found.to_list)
