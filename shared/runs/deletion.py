"""Delete: of a run, of a session, and what retention does to sessions nobody has used for long.

A deleted run is a tombstone that owes what is left to do; its driver, or the sweep, pays it. Nothing is lost
half-way: whatever a crash interrupts, the rows say how to go on.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from shared.errors import SessionBusy
from shared.runs.run import Run, RunStatus, Session, run_id
from shared.runs.services import RACES, Services, log
from shared.runs.store.runs import SessionChange
from shared.runs.store.tables import Conflict
from shared.runs.transitions import entomb, finish

TOMBSTONE_KEPT = timedelta(hours=48)


class Deletion:
    """The use cases *delete a run* and *delete a session*. The caller signals the drivers of the runs returned."""

    def __init__(self, services: Services) -> None:
        self._services = services
        # A tombstone answers replays of its key: it outlives that.
        self._kept = max(TOMBSTONE_KEPT, timedelta(seconds=services.settings.idempotency_key_lifetime))

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

    async def delete_session(
        self, session_id: str, *, idle: timedelta | None = None, most: int | None = None
    ) -> list[str]:
        """Make a tombstone of the session, then of each of its runs; their ids.

        Safe to repeat: it finishes what a crash left. The session's row goes last, when its runs are gone. With
        ``idle`` only a session that nobody has used for so long goes. With ``most`` only the newest so many runs are
        looked at, and retention does the others.
        """
        session = await self._entomb_session(session_id, idle)
        if session is None:
            return []
        ids = []
        first = 1 if most is None else max(1, session.next_number - most)
        for number in range(first, session.next_number):
            wanted = run_id(session_id, number)
            if await self._entomb_run_of(wanted):
                ids.append(wanted)
        return ids

    async def expire(self, session: Session, idle: timedelta) -> list[str]:
        """What retention does to one session: delete one nobody used for ``idle``, finish one that is a tombstone.

        Returns the ids of the runs whose drivers are to be signalled.
        """
        now = self._services.clock()
        if session.deleted_at is None:
            if not _is_idle(session, now, idle):
                return []
            log.info("session %s expires", session.session_id)
            return await self.delete_session(session.session_id, idle=idle)
        left = await self.delete_session(session.session_id)
        if not left and now - session.deleted_at >= self._kept:
            await self._remove_session(session.session_id)
        return left

    async def _entomb_session(self, session_id: str, idle: timedelta | None) -> Session | None:
        """One transaction under the session's ETag: it is gone for every caller, and its active run is cancelled.

        None when there is no session, or somebody uses it that was to be idle.
        """
        for _ in range(RACES):
            session = await self._services.store.load_session(session_id)
            if session is None or session.value.deleted_at is not None:
                return None if session is None else session.value
            now = self._services.clock()
            if idle is not None and not _is_idle(session.value, now, idle):
                return None
            gone = replace(session.value, deleted_at=now, active_run=None, response_id=None, last_activity=now)
            change = SessionChange(before=session, after=gone)
            try:
                active = session.value.active_run
                stored = await self._services.store.load(run_id(session_id, active)) if active is not None else None
                if stored is None or stored.value.terminal:
                    await self._services.store.save_session(change)
                else:
                    await self._services.watch.announce(stored.value.id, now)
                    await self._services.save(stored, self._entombed(stored.value, now), session=change)
            except Conflict:
                continue
            return gone
        raise Conflict(session_id, "too many races")

    async def _entomb_run_of(self, wanted: str) -> bool:
        """Whether the run still has a row: a tombstone by now, with its watch row."""
        for _ in range(RACES):
            stored = await self._services.store.load(wanted)
            if stored is None:
                return False
            now = self._services.clock()
            await self._services.watch.announce(wanted, now)
            if stored.value.deleted_at is not None:
                return True
            try:
                await self._services.save(stored, self._entombed(stored.value, now))
            except Conflict:
                continue
            return True
        raise Conflict(wanted, "too many races")

    async def _remove_session(self, session_id: str) -> None:
        session = await self._services.store.load_session(session_id)
        if session is not None:
            await self._services.store.delete_session_row(session)

    def _entombed(self, run: Run, now: datetime) -> Run:
        if not run.terminal:
            run = finish(run, now, RunStatus.CANCELLED, cancel_at_provider=True)
        return entomb(run, now, self._kept)


def _is_idle(session: Session, now: datetime, idle: timedelta) -> bool:
    return session.active_run is None and now - session.last_activity >= idle
