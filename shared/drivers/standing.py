"""How whatever has a due row stands, by its own row: a run, a batch, a deleted session."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared.runs.actions.outcome import Outcome
from shared.runs.commands.delete import SessionStatus, removal_of
from shared.runs.model.batch import is_batch_id
from shared.runs.model.ids import session_of_due_row
from shared.runs.model.run import Session
from shared.runs.ports import Ports
from shared.runs.rules.agenda import next_time


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a row says of the next wake."""

    status: StrEnum

    wake_at: datetime | None
    """None: there is none."""

    deadline_at: datetime | None = None


async def standing_of(ports: Ports, subject: str) -> Standing | None:
    """How it stands; None when there is no such row."""
    if is_batch_id(subject):
        batch = await ports.batches.load(subject)
        if batch is None:
            return None
        wake_at = None if batch.value.is_done else batch.value.schedule.wake_at
        return Standing(status=batch.value.status, wake_at=wake_at)
    if (session_id := session_of_due_row(subject)) is not None:
        session = await ports.runs.load_session(session_id)
        return None if session is None else _of_a_deletion(ports, session.value)
    run = await ports.runs.load(subject)
    if run is None:
        return None
    soonest = next_time(run.value)
    deadline = run.value.schedule.deadline_at
    return Standing(status=run.value.status, wake_at=None if soonest is None else soonest.due, deadline_at=deadline)


def _of_a_deletion(ports: Ports, session: Session) -> Standing:
    """A session is looked after once it is deleted: at once while runs of it are left, then when its own row goes."""
    if session.deleted_at is None:
        return Standing(status=SessionStatus.LIVE, wake_at=None)
    wake_at = removal_of(session, ports.settings) if session.emptied else session.deleted_at
    return Standing(status=SessionStatus.DELETED, wake_at=wake_at)


async def outcome_by_row(ports: Ports, subject: str) -> Outcome:
    """What the row says of the next wake, without one."""
    found = await standing_of(ports, subject)
    if found is None or found.wake_at is None:
        return Outcome(found.status if found else None, None)
    return Outcome(found.status, max(0.0, (found.wake_at - ports.clock()).total_seconds()))
