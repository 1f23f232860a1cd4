"""Delete a run, or a session with all its runs; and what retention does to sessions nobody has used for long.

A deleted run is a tombstone: a row without content, whose outbox says what is left to do. So whatever a crash
interrupts, the rows say how to go on. The tombstone stays for two days: it answers its key, and late writes find it.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from shared.runs.actions.outcome import Outcome
from shared.runs.commit import commit, give_slot_back
from shared.runs.concurrency import Races, side_by_side
from shared.runs.model.facts import Deleted
from shared.runs.model.ids import due_row_of, run_id, session_of_due_row
from shared.runs.model.run import Run
from shared.runs.model.session import Session
from shared.runs.ports import Ports, log
from shared.runs.rules.change import Before, Change
from shared.runs.rules.decide import decide
from shared.runs.store.due import DueRow
from shared.runs.store.runs import READS, TOGETHER, SessionChange, Stored
from shared.runs.store.tables import Conflict, StoreUnavailable
from shared.runs.store.unreadable import RowTooNew, RowUnreadable
from shared.settings import Settings

TOMBSTONE_KEPT = timedelta(hours=48)
AFTER_ITS_RUNS = timedelta(minutes=10)
"""How much later a deleted session's own row goes than those of its runs."""
RUNS_LEFT_GAP = 3_600.0
"""Seconds until the next look at a session whose runs should be gone and are not: a provider keeps their copies."""


class SessionStatus(StrEnum):
    """Whether a session is deleted, for its wakes."""

    LIVE = "live"
    DELETED = "deleted"


class Wake(Protocol):
    """Has a run (or a deleted session) looked at now, after its rows were written."""

    async def __call__(self, run_id: str, /) -> None: ...


async def delete_run(ports: Ports, wanted: str) -> bool:
    """Make a tombstone of the run; an active one is cancelled in the same write. False when there is none.

    The session forgets the provider's last response, so that its next run is rebuilt from the items that remain.
    Raises ``SessionBusy`` while another run of the session is active; ``LostRace``, ``StoreUnavailable``.
    """
    stored = await ports.runs.load(wanted)
    if stored is None:
        return False
    deleted = await commit(ports, stored, Deleted(keep=tombstone_kept(ports.settings).total_seconds()))
    if deleted.refused is not None and deleted.refused.error is not None:
        raise deleted.refused.error
    return True


async def delete_session(ports: Ports, session_id: str, *, idle: timedelta | None = None) -> list[str]:
    """Make a tombstone of the session and, in the same transaction, of its first runs and the active one.

    Returns who is to be woken: the runs, and the session itself while runs of it are left, which its wakes delete.
    Asked again it does the next piece of that. With ``idle`` only a session that nobody has used for so long goes.
    """
    races = Races(session_id)
    while True:
        # Read anew each time: a run that begins or ends meanwhile changes the session's row, and with it what must go.
        session = await ports.runs.load_session(session_id)
        if session is None or session.value.emptied:
            return []
        now = ports.clock()
        # Retention read the session in a page some time ago: it may have been used since.
        if idle is not None and session.value.deleted_at is None and not _is_idle(session.value, now, idle):
            return []
        try:
            return await _delete_some(ports, session, now)
        except Conflict:
            races.lost()


async def _delete_some(ports: Ports, session: Stored[Session], now: datetime) -> list[str]:
    """Make tombstones of the session and its next runs, in one transaction. Raises ``Conflict``."""

    async def keep_announced(row: DueRow) -> DueRow:
        return await ports.due.keep_announced(row, ports.clock())

    # A piece of them: a transaction takes a hundred operations and 4 MiB, and a session may have thousands of runs.
    session_id = session.value.session_id
    runs = await _next_runs(ports, session.value)
    due = await ports.due.announce(due_row_of(session_id), now)
    announced = await side_by_side(runs, lambda each: ports.due.announce(each.value.id, now), at_once=READS)
    after = _with_more_deleted(session.value, now)
    fact = Deleted(keep=tombstone_kept(ports.settings).total_seconds())
    decided = [(stored, decide(Before(run=stored.value), fact, now, ports.settings)) for stored in runs]
    gone = [(stored, decision.run) for stored, decision in decided if isinstance(decision, Change)]
    # A sweep that comes to an announcement whose minute is over, and finds nothing changed yet, removes the due row:
    # nobody would come back to the tombstones. So what was announced too long ago is announced again before the write.
    rows = await side_by_side([due, *announced], keep_announced, at_once=READS)
    await ports.runs.save_session(SessionChange(before=session, after=after), gone)
    # This process may have stood still over its write, and they are gone since.
    await side_by_side(rows, keep_announced, at_once=READS)
    with contextlib.suppress(StoreUnavailable):  # their rows in the list are removed by their wakes
        await side_by_side(gone, lambda each: ports.index.hide(each[1]), at_once=READS)
    for stored, run in gone:  # ``commit`` does this for a run that it ends, but these were written with their session
        if not stored.value.terminal:
            await give_slot_back(ports, run)
    ids = [stored.value.id for stored in runs]
    # Emptied, it has nothing left to do before its row goes: the sweep that comes to the announcement dates that.
    return ids if after.emptied else [*ids, due.run_id]


async def expire(ports: Ports, session: Session, idle: timedelta) -> list[str]:
    """What retention does to a session: delete one that nobody has used for ``idle``; have one that is deleted and has
    no due row (whoever deleted it was cut off) finished. Returns who is to be woken.
    """
    if session.deleted_at is None:
        return await delete_session(ports, session.session_id, idle=idle)
    subject = due_row_of(session.session_id)
    if await ports.due.get(subject) is not None:  # its wakes go on by themselves
        return []
    await ports.due.announce(subject, ports.clock())
    return [subject]


async def advance_session(ports: Ports, subject: str, wake: Wake) -> Outcome:
    """One wake of a deleted session: the next piece of its runs, and at last its own row, after theirs.

    Raises ``StoreUnavailable``.
    """
    session_id = session_of_due_row(subject) or ""
    for each in await _delete_more(ports, session_id):
        if each != subject:
            await wake(each)
    session = await ports.runs.load_session(session_id)
    if session is None:
        return Outcome(None, None)
    if session.value.deleted_at is None:
        return Outcome(SessionStatus.LIVE, None)
    left = (removal_time(session.value, ports.settings) - ports.clock()).total_seconds()
    if left > 0 or not session.value.emptied:
        return Outcome(SessionStatus.DELETED, left if session.value.emptied else 0.0)
    # The session's row goes last: by it alone a call learns that a run beyond the first piece is deleted.
    if await ports.runs.has_runs(session_id):
        return Outcome(SessionStatus.DELETED, RUNS_LEFT_GAP)
    with contextlib.suppress(Conflict):  # another wake was faster
        await ports.runs.delete_session_row(session)
    return Outcome(None, None)


async def _delete_more(ports: Ports, session_id: str) -> list[str]:
    session = await ports.runs.load_session(session_id)
    if session is None or session.value.deleted_at is None:
        return []
    return await delete_session(ports, session_id)


async def _next_runs(ports: Ports, session: Session) -> list[Stored[Run]]:
    """The session's next runs that are no tombstones yet; at the beginning its active one is among them."""
    numbers = {*range(session.purged + 1, _until(session) + 1)}
    # It must not run on until its turn has come, which in a long session takes many wakes.
    if session.active_run is not None:
        numbers.add(session.active_run)
    ids = [run_id(session.session_id, number) for number in sorted(numbers)]
    found = await side_by_side(ids, lambda each: _readable(ports, each), at_once=READS)
    return [stored for stored in found if stored is not None and not stored.value.is_deleted]


async def _readable(ports: Ports, wanted: str) -> Stored[Run] | None:
    """The run; None as well for one whose row is damaged, which must not keep the others."""
    try:
        return await ports.runs.load(wanted)
    except RowTooNew:  # a newer version can delete it; passed over, it would stay for good
        raise
    except RowUnreadable as error:
        log.error("run %s stays where it is: its row cannot be read: %s", wanted, error)
        return None


def _is_idle(session: Session, now: datetime, idle: timedelta) -> bool:
    return session.active_run is None and now - session.last_activity >= idle


def _until(session: Session) -> int:
    """The number of the last run of the session's next piece."""
    return min(session.purged + TOGETHER, session.next_number - 1)


def _with_more_deleted(session: Session, now: datetime) -> Session:
    """The session as a tombstone, with the next piece of its runs deleted."""
    until = _until(session)
    return replace(
        session,
        deleted_at=session.deleted_at or now,
        active_run=None,
        response_id=None,
        last_activity=now,
        purged=until,
        emptied=until == session.next_number - 1,
    )


def tombstone_kept(settings: Settings) -> timedelta:
    """How long a tombstone stays: it answers replays of its key, so it outlives that."""
    return max(TOMBSTONE_KEPT, timedelta(seconds=settings.idempotency_key_lifetime))


def removal_time(session: Session, settings: Settings) -> datetime:
    """When a deleted session's own row goes: after those of its runs."""
    return (session.deleted_at or session.last_activity) + tombstone_kept(settings) + AFTER_ITS_RUNS
