"""The sweep: the timer driver's engine, and under `durable` the safety net.

It looks at the watch rows whose time has come. It only polls: whatever needs more is handed to a one-shot
orchestration, so that slow work scales out and never delays the sweep.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from shared.drivers.durable import Hub
from shared.runs.batches import submission as batch_submission
from shared.runs.batches.batch import is_batch_id
from shared.runs.deletion import SessionStatus, removal_of
from shared.runs.lifecycle import Lifecycle
from shared.runs.run import Next, Session, parse_run_id, session_of_due_row
from shared.runs.services import Outcome, Services, log
from shared.runs.store.rows import RowTooNew, RowUnreadable
from shared.runs.store.watch import Watch
from shared.runs.submission import clear_away
from shared.settings import Settings

HAND_OFF = timedelta(seconds=60)
ORPHAN_AGE = timedelta(hours=1)
RACES = 5
LEFT_TO_NEWER = timedelta(minutes=10)
"""How long a row of a newer schema is left alone: in the middle of a deployment both versions run."""
MOST_A_SWEEP = 2_000
STEP_SECONDS = 60.0
EARLY_SECONDS = 1.0
POLL_ONLY = frozenset({Next.POLL})


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a row says of the next wake of its run, or batch. ``done``: there is none."""

    status: StrEnum
    wake_at: datetime
    done: bool
    deadline_at: datetime | None = None


async def standing(services: Services, subject: str) -> Standing | None:
    """How a run or a batch stands; None when there is none."""
    if is_batch_id(subject):
        batch = await services.batches.load(subject)
        if batch is None:
            return None
        return Standing(status=batch.value.status, wake_at=batch.value.wake_at, done=batch.value.done)
    if (session_id := session_of_due_row(subject)) is not None:
        session = await services.store.load_session(session_id)
        return None if session is None else _standing_of_deletion(services, session.value)
    run = await services.store.load(subject)
    if run is None:
        return None
    return Standing(
        status=run.value.status,
        wake_at=run.value.due_at,
        done=run.value.next is Next.NONE,
        deadline_at=run.value.deadline_at,
    )


def _standing_of_deletion(services: Services, session: Session) -> Standing:
    """A session is looked after once it is deleted: at once while runs of it are left, then when its own row goes."""
    if session.deleted_at is None:
        return Standing(status=SessionStatus.LIVE, wake_at=session.last_activity, done=True)
    wake_at = removal_of(session, services.settings) if session.emptied else session.deleted_at
    return Standing(status=SessionStatus.DELETED, wake_at=wake_at, done=False)


def _by_date(settings: Settings, subject: str) -> bool:
    """Whether its due row alone drives it: everything under `timer`, deleted sessions always."""
    return settings.driver == "timer" or session_of_due_row(subject) is not None


class BatchMoves(Protocol):
    """The wakes of batches, whose runs are started and signalled through the hub."""

    async def advance(self, batch_id: str, hub: Hub) -> Outcome:
        """One wake."""
        ...


class Sweep:
    """Looks at due runs (and batches), once, within its own time limit."""

    def __init__(self, services: Services, lifecycle: Lifecycle, batches: BatchMoves) -> None:
        self._services = services
        self._settings = services.settings
        self._lifecycle = lifecycle
        self._batches = batches

    async def run(self, hub: Hub) -> Counter[str]:
        """One sweep. Returns how many runs met which fate: ``polled``, ``handed_off``, ``overdue``, …"""
        self._services.interruptions.report(self._services.clock())
        fates: Counter[str] = Counter()
        slots = asyncio.Semaphore(self._settings.sweep_concurrency)

        async def handle(watch: Watch) -> None:
            async with slots:
                fates[await self._one(watch, hub)] += 1

        try:
            async with asyncio.timeout(self._settings.sweep_limit):
                due = await self._services.watch.due(self._services.clock(), MOST_A_SWEEP)
                await asyncio.gather(*(handle(watch) for watch in due))
        except TimeoutError:
            log.warning("the sweep ran into its limit of %g s", self._settings.sweep_limit)
            fates["cut_off"] += 1
        if fates:
            log.info("sweep: %s", dict(fates))
        return fates

    async def _one(self, watch: Watch, hub: Hub) -> str:
        """Handle one row; whatever goes wrong with it stays with it."""
        try:
            return await self._handle(watch, hub)
        except Exception:
            log.exception("run %s: the sweep could not handle it", watch.run_id, extra={"run_id": watch.run_id})
            return "failed"

    async def _handle(self, watch: Watch, hub: Hub) -> str:
        try:
            return await (self._poll if _by_date(self._settings, watch.run_id) else self._check)(watch, hub)
        except RowTooNew:
            await date_ahead(self._services, watch, LEFT_TO_NEWER)
            return "too_new"
        except RowUnreadable as error:
            log.error("run %s is put aside: its row cannot be read: %s", watch.run_id, error)
            await self._services.watch.quarantine(watch, str(error), self._services.clock())
            return "quarantined"

    async def _poll(self, watch: Watch, hub: Hub) -> str:
        """Under `timer`: poll, and hand over what needs more: a batch, or a deleted session, always does."""
        if parse_run_id(watch.run_id) is None:
            outcome = await self._by_row(watch.run_id)
        else:
            outcome = await self._lifecycle.advance(watch.run_id, only=POLL_ONLY)
        if outcome.wake_in is not None and outcome.wake_in <= 0:
            await date_ahead(self._services, watch, await self._gap_after_hand_off(watch.run_id))
            if await hub.step(watch.run_id):  # it knows the watch row from before, and may be dating it just now
                await date_by_row(self._services, watch.run_id)
            return "handed_off"
        return await self._date(watch, outcome)

    async def _gap_after_hand_off(self, run_id: str) -> timedelta:
        """How long the step has before the next look; until the run's deadline if that is sooner: a step may hang."""
        found = await standing(self._services, run_id)
        left = HAND_OFF
        if found is not None and found.deadline_at is not None:
            left = found.deadline_at - self._services.clock()
        return min(left, HAND_OFF) if left > timedelta(0) else HAND_OFF

    async def _by_row(self, subject: str) -> Outcome:
        """What the row says of the next wake."""
        found = await standing(self._services, subject)
        if found is None or found.done:
            return Outcome(found.status if found else None, None)
        return Outcome(found.status, max(0.0, (found.wake_at - self._services.clock()).total_seconds()))

    async def _check(self, watch: Watch, hub: Hub) -> str:
        """Under `durable`: leave a run alone that is in time.

        For one that is not, its orchestrator is ensured and signalled each time; from the second time on a step is
        started too, since an orchestrator may be there and stand still. Where the host takes neither, it is polled
        here.
        """
        found = await standing(self._services, watch.run_id)
        now = self._services.clock()
        if found is None or found.done:
            return await self._date(watch, Outcome(found.status if found else None, None))
        overdue_at = found.wake_at + timedelta(seconds=self._settings.overdue)
        if now < overdue_at:
            await self._services.watch.set_due(watch, overdue_at, now)
            return "in_time"
        again = now + timedelta(seconds=self._settings.sweep_every / 2)
        await self._services.watch.set_due(watch, again, now, overdue_sweeps=watch.overdue_sweeps + 1)
        log.warning("run %s is overdue since %s", watch.run_id, found.wake_at, extra={"run_id": watch.run_id})
        try:
            await hub.ensure(watch.run_id)
            await hub.wake(watch.run_id)
            if watch.overdue_sweeps == 0:
                return "overdue"
            await hub.step(watch.run_id)
        except Exception:
            log.exception("run %s: no orchestration to be had", watch.run_id, extra={"run_id": watch.run_id})
            if is_batch_id(watch.run_id):
                await self._batches.advance(watch.run_id, hub)
            else:
                await self._lifecycle.advance(watch.run_id, only=POLL_ONLY)
        return "stepped"

    async def _date(self, watch: Watch, outcome: Outcome) -> str:
        """Date the row to the run's next wake; remove it when there is nothing left to look at."""
        now = self._services.clock()
        if outcome.wake_in is not None:
            await self._services.watch.set_due(watch, now + timedelta(seconds=outcome.wake_in), now)
            return "polled"
        if outcome.status is None and now - watch.announced_at < ORPHAN_AGE:
            await self._services.watch.set_due(
                watch, watch.announced_at + ORPHAN_AGE, now
            )  # its submit may still commit
            return "absent"
        clear = batch_submission.clear_away if is_batch_id(watch.run_id) else clear_away
        if outcome.status is None and not await clear(self._services, watch):
            return "absent"
        await self._services.watch.remove(watch, now)
        return "done"


async def date_ahead(services: Services, watch: Watch, gap: timedelta) -> bool:
    """Date the watch row from now; False when somebody else has dated it meanwhile."""
    now = services.clock()
    return await services.watch.set_due(watch, now + gap, now)


async def date_by_row(services: Services, run_id: str) -> None:
    """Date the watch row by the run's row, read after it, whoever else has dated it."""
    for _ in range(RACES):
        watch = await services.watch.get(run_id)
        found = await standing(services, run_id)
        if watch is None or found is None or watch.due == found.wake_at:
            return
        if await services.watch.set_due(watch, found.wake_at, services.clock()):
            return


class Moves(Protocol):
    """What a wake is one of: the life of a run, or of a batch."""

    async def advance(self, subject: str, /) -> Outcome:
        """One wake."""
        ...


class Wakes:
    """The activity: one wake of a run (or a batch), wherever it was asked for."""

    def __init__(self, services: Services, lifecycle: Moves) -> None:
        self._services = services
        self._lifecycle = lifecycle

    async def advance(self, run_id: str) -> Outcome:
        """Advance the run; under `timer` as long as there is something to do at once, then date its watch row.

        A row that cannot be read is put aside. Raises ``StoreUnavailable``.
        """
        watch = None
        began = time.monotonic()
        try:
            while True:
                if _by_date(self._services.settings, run_id):
                    watch = await self._services.watch.get(run_id)
                outcome = await self._lifecycle.advance(run_id)
                if watch is None or outcome.wake_in != 0 or time.monotonic() - began >= STEP_SECONDS:
                    break
        except RowTooNew as error:
            log.warning("run %s is left to a newer version: %s", run_id, error, extra={"run_id": run_id})
            if watch is not None:
                await date_ahead(self._services, watch, LEFT_TO_NEWER)
            return Outcome(None, LEFT_TO_NEWER.total_seconds())
        except RowUnreadable as error:
            log.error("run %s is put aside: its row cannot be read: %s", run_id, error, extra={"run_id": run_id})
            watch = watch or await self._services.watch.get(run_id)
            if watch is not None:
                await self._services.watch.quarantine(watch, str(error), self._services.clock())
            return Outcome(None, None)
        if watch is not None and outcome.status is not None:
            if outcome.wake_in is None:
                await self._services.watch.remove(watch, self._services.clock())
            else:
                gap = timedelta(seconds=outcome.wake_in)
                if not await date_ahead(self._services, watch, gap):  # a sweep has handed the run over meanwhile
                    await date_by_row(self._services, run_id)
        return outcome if self._services.settings.driver == "timer" else not_too_early(outcome)


def not_too_early(outcome: Outcome) -> Outcome:
    """The outcome for Durable's timers, which are cut to whole seconds and so fire up to a second before their time."""
    if not outcome.wake_in or outcome.may_be_early:
        return outcome
    return replace(outcome, wake_in=outcome.wake_in + EARLY_SECONDS)
