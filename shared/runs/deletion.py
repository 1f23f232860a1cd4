"""Delete: of a run, of a session, and what retention does to sessions nobody has used for long.

A deleted run is a tombstone that owes what is left to do; its driver, or the sweep, pays it. Nothing is lost
half-way: whatever a crash interrupts, the rows say how to go on.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from shared.errors import SessionBusy
from shared.runs.concurrency import side_by_side
from shared.runs.run import Run, RunStatus, Session, due_row_of, run_id, session_of_due_row
from shared.runs.services import RACES, Outcome, Services, log
from shared.runs.store.rows import RowTooNew, RowUnreadable
from shared.runs.store.runs import READS, TOGETHER, SessionChange, Stored
from shared.runs.store.tables import Conflict, StoreUnavailable
from shared.runs.submission import Submitted
from shared.runs.transitions import entomb, finish
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


class Drivers(Protocol):
    """Whoever drives runs, told after their rows were written."""

    async def started(self, submitted: Submitted) -> None:
        """A run was submitted."""
        ...

    async def woken(self, run_id: str) -> None:
        """A run (or a deleted session) is to be looked at now."""
        ...


class Deletion:
    """The use cases *delete a run* and *delete a session*. The caller signals the drivers of the runs returned."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._kept = tombstone_kept(services.settings)

    async def delete_run(self, wanted: str) -> bool:
        """Make a tombstone of the run; an active one is cancelled in the same write. False when there is none.

        The session forgets the provider's last response, so that its next run is rebuilt from the items that
        remain. Raises ``SessionBusy`` while another run of the session is active.
        """
        for _ in range(RACES):
            stored = await self._services.store.load(wanted)
            if stored is None or stored.value.deleted_at is not None:
                return stored is not None
            run, now = stored.value, self._services.clock()
            session = await self._services.store.load_session(run.session_id)
            active = session.value.active_run if session is not None else None
            if active not in (None, run.number):
                raise SessionBusy(session_id=run.session_id, active_run=run_id(run.session_id, active or 0))
            await self._services.watch.announce(wanted, now)
            change = None
            if session is not None:
                forgets = replace(session.value, active_run=None, response_id=None, last_activity=now)
                change = SessionChange(before=session, after=forgets)
            try:
                await self._services.save(stored, self._entombed(run, now), session=change)
            except Conflict:
                continue
            return True
        raise Conflict(wanted, "too many races")

    async def delete_session(self, session_id: str, *, idle: timedelta | None = None) -> list[str]:
        """Make a tombstone of the session and, in the same transaction, of its first runs and the active one.

        Returns whose drivers are to be signalled: the runs, and the session itself while runs of it are left, which
        its wakes delete. Asked again it does the next piece of that. With ``idle`` only a session that nobody has
        used for so long goes.
        """
        for _ in range(RACES):
            session = await self._services.store.load_session(session_id)
            if session is None or session.value.emptied:
                return []
            now = self._services.clock()
            if idle is not None and session.value.deleted_at is None and not _is_idle(session.value, now, idle):
                return []
            try:
                return await self._delete_piece(session, now)
            except Conflict:
                continue
        raise Conflict(session_id, "too many races")

    async def _delete_piece(self, session: Stored[Session], now: datetime) -> list[str]:
        """The next runs of the session become tombstones, with it. Due rows go first. Raises ``Conflict``."""
        services, session_id = self._services, session.value.session_id
        runs = await self._next_runs(session.value)
        due = await services.watch.announce(due_row_of(session_id), now)
        await side_by_side(runs, lambda each: services.watch.announce(each.value.id, now), at_once=READS)
        after = _further(session.value, now)
        gone = [(stored, self._entombed(stored.value, now)) for stored in runs]
        await services.store.save_session(SessionChange(before=session, after=after), gone)
        for stored, run in gone:
            if not stored.value.terminal:
                await services.give_slot_back(run)
        ids = [stored.value.id for stored in runs]
        if not after.emptied:
            return [*ids, due.run_id]
        with contextlib.suppress(StoreUnavailable):  # then a sweep dates it
            await services.watch.set_due(due, removal_of(after, services.settings), services.clock())
        return ids

    async def expire(self, session: Session, idle: timedelta) -> list[str]:
        """What retention does to a session: delete one that nobody has used for ``idle``; have one that is deleted
        and has no due row (whoever deleted it was cut off) finished. Returns whose drivers are to be signalled.
        """
        if session.deleted_at is None:
            return await self.delete_session(session.session_id, idle=idle)
        subject = due_row_of(session.session_id)
        if await self._services.watch.get(subject) is not None:
            return []
        await self._services.watch.announce(subject, self._services.clock())
        return [subject]

    async def advance(self, subject: str, drivers: Drivers) -> Outcome:
        """One wake of a deleted session: the next piece of its runs, and at last its own row, after theirs.

        Raises ``StoreUnavailable``.
        """
        session_id = session_of_due_row(subject) or ""
        for each in await self._delete_more(session_id):
            if each != subject:
                await drivers.woken(each)
        session = await self._services.store.load_session(session_id)
        if session is None:
            return Outcome(None, None)
        if session.value.deleted_at is None:
            return Outcome(SessionStatus.LIVE, None)
        left = (removal_of(session.value, self._services.settings) - self._services.clock()).total_seconds()
        if left > 0 or not session.value.emptied:
            return Outcome(SessionStatus.DELETED, left if session.value.emptied else 0.0)
        if await self._services.store.has_runs(session_id):
            return Outcome(SessionStatus.DELETED, RUNS_LEFT_GAP)
        with contextlib.suppress(Conflict):  # another wake was faster
            await self._services.store.delete_session_row(session)
        return Outcome(None, None)

    async def _delete_more(self, session_id: str) -> list[str]:
        session = await self._services.store.load_session(session_id)
        if session is None or session.value.deleted_at is None:
            return []
        return await self.delete_session(session_id)

    async def _next_runs(self, session: Session) -> list[Stored[Run]]:
        """The session's next runs that are no tombstones yet; at the beginning its active one is among them."""
        numbers = {*range(session.purged + 1, _until(session) + 1)}
        if session.active_run is not None:
            numbers.add(session.active_run)
        ids = [run_id(session.session_id, number) for number in sorted(numbers)]
        found = await side_by_side(ids, self._readable, at_once=READS)
        return [stored for stored in found if stored is not None and stored.value.deleted_at is None]

    async def _readable(self, wanted: str) -> Stored[Run] | None:
        """The run; None as well for one whose row is damaged, which must not keep the others."""
        try:
            return await self._services.store.load(wanted)
        except RowTooNew:
            raise
        except RowUnreadable as error:
            log.error("run %s stays where it is: its row cannot be read: %s", wanted, error)
            return None

    def _entombed(self, run: Run, now: datetime) -> Run:
        if not run.terminal:
            run = finish(run, now, RunStatus.CANCELLED, cancel_at_provider=True)
        return entomb(run, now, self._kept)


def _is_idle(session: Session, now: datetime, idle: timedelta) -> bool:
    return session.active_run is None and now - session.last_activity >= idle


def _until(session: Session) -> int:
    """The number of the last run of the session's next piece."""
    return min(session.purged + TOGETHER, session.next_number - 1)


def _further(session: Session, now: datetime) -> Session:
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


def removal_of(session: Session, settings: Settings) -> datetime:
    """When a deleted session's own row goes: after those of its runs."""
    return (session.deleted_at or session.last_activity) + tombstone_kept(settings) + AFTER_ITS_RUNS
