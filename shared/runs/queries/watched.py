"""What an operator reads: what is overdue or put aside, how one of them stands, and what is at work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.runs.concurrency import side_by_side
from shared.runs.model.ids import is_batch_id, is_schedule_id, session_of_due_row
from shared.runs.model.phases import Creating, RunningTools, RunStatus
from shared.runs.model.run import Run
from shared.runs.ports import Ports
from shared.runs.rules.agenda import next_time
from shared.runs.rules.occurrences import wake_at
from shared.runs.store.controls import READ_AGAIN, Drain, Intake
from shared.runs.store.due import DueRow, Place
from shared.runs.store.rows import seconds_of
from shared.runs.store.sealer import KeyUnavailable
from shared.runs.store.tables import Condition
from shared.runs.store.unreadable import RowUnreadable

AT_ONCE = 16
"""Rows that are read side by side."""

MOST_LOOKED_AT = 1_000
"""Runs that are looked at for whether they are at work."""

_READ_AND_DONE = timedelta(seconds=10)
"""What a process may take for the last read of the rows that say so, and for what it then ends without a claim."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A run, a batch, a schedule or the deletion of a session, as an operator sees it."""

    subject: str
    """Its id; of a deletion the name of its due row."""

    row: DueRow | None = None
    """Its due row; None: nobody comes back to it by itself."""

    status: str | None = None
    """Of a run or a batch that can be read."""

    agent: str | None = None

    wake_at: datetime | None = None
    """When its own row wants it to be woken; None: never, or it cannot be read."""

    is_done: bool = False
    """Whether nothing is left to do for it."""

    is_readable: bool = True

    is_there: bool = True
    """Whether there is such a run or batch at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedPage:
    """A page of them."""

    found: Sequence[Watched]

    following: Place | None
    """Where the next page begins: after this; None: this is the last."""

    watched: int
    """How many due rows there are, up to 1,000."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AtWork:
    """What is at work, as the rows tell."""

    drain: Drain

    runs: Sequence[str]
    """Ids of runs with a claim or a lease that has not run out."""

    looked_at: int
    """How many were looked at for that."""

    is_complete: bool
    """Whether these were all."""

    is_drained: bool
    """Whether nothing is at work any more, in any process."""


async def overdue(ports: Ports, after: Place | None, limit: int) -> WatchedPage:
    """What should have been woken long ago, oldest first: sweeps have found it so, or no sweep has come to it."""
    late = seconds_of(ports.clock() - timedelta(seconds=ports.settings.overdue))
    return await _page(
        ports, [[("due", "lt", late)], [("overdue_sweeps", "gt", 0)]], overdue_place(ports), after, limit
    )


async def quarantined(ports: Ports, after: Place | None, limit: int) -> WatchedPage:
    """What was put aside because it could not be read."""
    return await _page(ports, [[("quarantined", "gt", "")]], _place_by_id, after, limit)


def overdue_place(ports: Ports) -> Callable[[DueRow], Place]:
    """How overdue rows are ordered: by since when, as far as their due rows tell."""
    return lambda row: (max(0.0, seconds_of(overdue_since(row, ports.settings.sweep_every))), row.run_id)


def overdue_since(row: DueRow, sweep_every: float) -> datetime:
    """Since when it is overdue by its due row alone: each sweep that finds it so dates it half a sweep ahead."""
    if not row.overdue_sweeps:
        return row.due
    return row.due - timedelta(seconds=(row.overdue_sweeps - 0.5) * sweep_every)


async def watched_one(ports: Ports, subject: str) -> Watched:
    """How a run or a batch stands."""
    return await _read(ports, subject, await ports.due.get(subject))


async def intake_and_drain(ports: Ports) -> tuple[Intake, Drain]:
    """What is stopped, as the rows have it now."""
    return await ports.controls.read_intake(), await ports.controls.read_drain()


async def at_work(ports: Ports) -> AtWork:
    """What is at work now: as many runs as are looked at for it, the longest due first."""
    # Parked runs are not at work, and may be many.
    maybe: list[Sequence[Condition]] = [[("listed_status", "ne", RunStatus.REQUIRES_ACTION.value)]]
    rows = await ports.due.first(maybe, lambda row: (seconds_of(row.due), row.run_id), None, MOST_LOOKED_AT + 1)
    looked_at, now = rows[:MOST_LOOKED_AT], ports.clock()
    working = await side_by_side(looked_at, lambda row: _is_at_work(ports, row.run_id, now), at_once=AT_ONCE)
    runs = [row.run_id for row, works in zip(looked_at, working, strict=True) if works]
    drain, is_complete = await ports.controls.read_drain(), len(rows) <= MOST_LOOKED_AT
    patience = READ_AGAIN + _READ_AND_DONE + timedelta(seconds=ports.settings.poll_timeout)
    has_settled = drain.draining and drain.since is not None and ports.clock() - drain.since >= patience
    return AtWork(
        drain=drain,
        runs=runs,
        looked_at=len(looked_at),
        is_complete=is_complete,
        is_drained=has_settled and is_complete and not runs,
    )


async def _is_at_work(ports: Ports, subject: str, now: datetime) -> bool:
    try:
        stored = await ports.runs.load(subject)
    except (RowUnreadable, KeyUnavailable):  # nor can any process of this version, so that it does nothing for it
        return False
    return stored is not None and _has_right(stored.value, now)


def _has_right(run: Run, now: datetime) -> bool:
    """Whether some process may be sending a request of the run, or running its tools."""
    match run.phase:
        case Creating(claim=claim) if claim is not None:
            return claim.until > now
        case RunningTools(lease=lease) if lease is not None:
            return lease.until > now
    return False


async def _page(
    ports: Ports,
    any_of: Sequence[Sequence[Condition]],
    order: Callable[[DueRow], Place],
    after: Place | None,
    limit: int,
) -> WatchedPage:
    rows = await ports.due.first(any_of, order, after, limit + 1)
    found = await side_by_side(rows[:limit], lambda row: _read(ports, row.run_id, row), at_once=AT_ONCE)
    watched, _ = await ports.due.count()
    following = order(rows[limit - 1]) if len(rows) > limit else None
    return WatchedPage(found=found, following=following, watched=watched)


def _place_by_id(row: DueRow) -> Place:
    return 0.0, row.run_id


async def _read(ports: Ports, subject: str, row: DueRow | None) -> Watched:
    if session_of_due_row(subject) is not None:
        return Watched(subject=subject, row=row)
    try:
        if is_batch_id(subject):
            return await _read_batch(ports, subject, row)
        if is_schedule_id(subject):
            return await _read_schedule(ports, subject, row)
        stored = await ports.runs.load(subject)
    except (RowUnreadable, KeyUnavailable):
        return Watched(subject=subject, row=row, is_readable=False)
    if stored is None:
        return Watched(subject=subject, row=row, is_there=False)
    run, soonest = stored.value, next_time(stored.value)
    return Watched(
        subject=subject,
        row=row,
        status=run.status.value,
        agent=run.request.agent,
        wake_at=None if soonest is None else soonest.due,
        is_done=run.is_done,
    )


async def _read_batch(ports: Ports, batch_id: str, row: DueRow | None) -> Watched:
    stored = await ports.batches.load(batch_id)
    if stored is None:
        return Watched(subject=batch_id, row=row, is_there=False)
    batch = stored.value
    return Watched(
        subject=batch_id,
        row=row,
        status=batch.status.value,
        agent=batch.request.agent,
        wake_at=None if batch.is_done else batch.schedule.wake_at,
        is_done=batch.is_done,
    )


async def _read_schedule(ports: Ports, schedule_id: str, row: DueRow | None) -> Watched:
    # The due row alone says where it is.
    stored = None if row is None else await ports.schedules.at(row.listed)
    if stored is None:
        return Watched(subject=schedule_id, row=row, is_there=False)
    return Watched(subject=schedule_id, row=row, agent=stored.value.agent, wake_at=wake_at(stored.value))
