"""The sweep: the timer driver's engine, and under `durable` the safety net.

It looks at the watch rows whose time has come. It only polls: whatever needs more is handed to a one-shot
orchestration, so that slow work scales out and never delays the sweep.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from shared.drivers.durable import Hub
from shared.runs.batches import submission as batch_submission
from shared.runs.batches.batch import is_batch_id
from shared.runs.lifecycle import Lifecycle
from shared.runs.run import Next
from shared.runs.services import Outcome, Services, log
from shared.runs.store.rows import RowTooNew, RowUnreadable
from shared.runs.store.watch import Watch
from shared.runs.submission import clear_away

HAND_OFF = timedelta(seconds=60)
ORPHAN_AGE = timedelta(hours=1)
RACES = 5
LEFT_TO_NEWER = timedelta(minutes=10)
"""How long a row of a newer schema is left alone: in the middle of a deployment both versions run."""
MOST_A_SWEEP = 2_000
STEP_SECONDS = 60.0
POLL_ONLY = frozenset({Next.POLL})


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a row says of the next wake of its run, or batch. ``done``: there is none."""

    status: StrEnum
    wake_at: datetime
    done: bool


async def standing(services: Services, subject: str) -> Standing | None:
    """How a run or a batch stands; None when there is none."""
    if is_batch_id(subject):
        batch = await services.batches.load(subject)
        if batch is None:
            return None
        return Standing(status=batch.value.status, wake_at=batch.value.wake_at, done=batch.value.done)
    run = await services.store.load(subject)
    if run is None:
        return None
    return Standing(status=run.value.status, wake_at=run.value.due_at, done=run.value.next is Next.NONE)


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
            return await (self._poll if self._settings.driver == "timer" else self._check)(watch, hub)
        except RowTooNew:
            await self._services.watch.set_due(watch, self._services.clock() + LEFT_TO_NEWER)
            return "too_new"
        except RowUnreadable as error:
            log.error("run %s is put aside: its row cannot be read: %s", watch.run_id, error)
            await self._services.watch.quarantine(watch, str(error))
            return "quarantined"

    async def _poll(self, watch: Watch, hub: Hub) -> str:
        """Under `timer`: poll, and hand over what needs more: a batch always does."""
        if is_batch_id(watch.run_id):
            found = await standing(self._services, watch.run_id)
            outcome = Outcome(found.status if found else None, None if found is None or found.done else 0.0)
        else:
            outcome = await self._lifecycle.advance(watch.run_id, only=POLL_ONLY)
        if outcome.wake_in is not None and outcome.wake_in <= 0:
            await self._services.watch.set_due(watch, self._services.clock() + HAND_OFF)
            if await hub.step(watch.run_id):  # it knows the watch row from before, and may be dating it just now
                await date_by_row(self._services, watch.run_id)
            return "handed_off"
        return await self._date(watch, outcome)

    async def _check(self, watch: Watch, hub: Hub) -> str:
        """Under `durable`: leave a run alone that is in time; signal, step, and at last poll one that is not."""
        found = await standing(self._services, watch.run_id)
        now = self._services.clock()
        if found is None or found.done:
            return await self._date(watch, Outcome(found.status if found else None, None))
        overdue_at = found.wake_at + timedelta(seconds=self._settings.overdue)
        if now < overdue_at:
            await self._services.watch.set_due(watch, overdue_at)
            return "in_time"
        again = now + timedelta(seconds=self._settings.sweep_every / 2)
        await self._services.watch.set_due(watch, again, strikes=watch.strikes + 1)
        log.warning("run %s is overdue since %s", watch.run_id, found.wake_at, extra={"run_id": watch.run_id})
        if watch.strikes == 0:
            await hub.ensure(watch.run_id)
            await hub.wake(watch.run_id)
            return "overdue"
        try:
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
            await self._services.watch.set_due(watch, now + timedelta(seconds=outcome.wake_in))
            return "polled"
        if outcome.status is None and now - watch.created_at < ORPHAN_AGE:
            await self._services.watch.set_due(watch, watch.created_at + ORPHAN_AGE)  # its submit may still commit
            return "absent"
        clear = batch_submission.clear_away if is_batch_id(watch.run_id) else clear_away
        if outcome.status is None and not await clear(self._services, watch):
            return "absent"
        await self._services.watch.remove(watch)
        return "done"


async def date_by_row(services: Services, run_id: str) -> None:
    """Date the watch row by the run's row, read after it, whoever else has dated it."""
    for _ in range(RACES):
        watch = await services.watch.get(run_id)
        found = await standing(services, run_id)
        if watch is None or found is None or await services.watch.set_due(watch, found.wake_at):
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
                if self._services.settings.driver == "timer":
                    watch = await self._services.watch.get(run_id)
                outcome = await self._lifecycle.advance(run_id)
                if watch is None or outcome.wake_in != 0 or time.monotonic() - began >= STEP_SECONDS:
                    break
        except RowTooNew as error:
            log.warning("run %s is left to a newer version: %s", run_id, error, extra={"run_id": run_id})
            if watch is not None:
                await self._services.watch.set_due(watch, self._services.clock() + LEFT_TO_NEWER)
            return Outcome(None, LEFT_TO_NEWER.total_seconds())
        except RowUnreadable as error:
            log.error("run %s is put aside: its row cannot be read: %s", run_id, error, extra={"run_id": run_id})
            watch = watch or await self._services.watch.get(run_id)
            if watch is not None:
                await self._services.watch.quarantine(watch, str(error))
            return Outcome(None, None)
        if watch is not None and outcome.status is not None:
            if outcome.wake_in is None:
                await self._services.watch.remove(watch)
            else:
                due = self._services.clock() + timedelta(seconds=outcome.wake_in)
                if not await self._services.watch.set_due(watch, due):  # a sweep has handed the run over meanwhile
                    await date_by_row(self._services, run_id)
        return outcome
