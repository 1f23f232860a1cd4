"""How the use cases tell the driver: a run was started, a wake was brought nearer. After the rows are written."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from shared.drivers.durable import Hub
from shared.drivers.timer import date_by_row
from shared.runs.batches.submission import BatchSubmitted
from shared.runs.run import Next, session_of_due_row
from shared.runs.services import Services, log
from shared.runs.store.watch import Watch
from shared.runs.submission import Submitted


class Signals:
    """The driver of this app, told by whoever changed the rows. No failure here is an error of the call."""

    def __init__(self, services: Services, changed: Callable[[str], None] = lambda _: None) -> None:
        self._services = services
        self._changed = changed
        """Hears the id of each run that was changed in this process, before its driver does."""

    async def started(self, submitted: Submitted, hub: Hub) -> None:
        """A run was submitted (or submitted again): have it looked after. Its watch row covers what fails here."""
        run = submitted.run
        if run.next is Next.NONE:
            return
        try:
            if self._services.settings.driver == "durable":
                # A response that was created just now has nothing to say before its first look is due.
                wait = run.wake_in(self._services.clock()) if run.next is Next.POLL else None
                if await hub.ensure(
                    run.id, wait=wait or 0.0
                ):  # a request with the same key was faster, and its claim has been seen
                    await hub.wake(run.id)
                return
            await self._date(run.id, submitted.watch, run.wake_at)
            if run.next is Next.CREATE:
                await hub.step(run.id)
        except Exception:
            log.exception("run %s: its driver did not start; the sweep will find it", run.id, extra={"run_id": run.id})

    async def batch_started(self, submitted: BatchSubmitted, hub: Hub) -> None:
        """A batch was submitted (or submitted again): have it looked after."""
        batch = submitted.batch
        if batch.done:
            return
        try:
            if self._services.settings.driver == "durable":
                await hub.ensure(batch.id)
                return
            await self._date(batch.id, submitted.watch, batch.wake_at)
            await hub.step(batch.id)
        except Exception:
            log.exception("%s: its driver did not start; the sweep will find it", batch.id)

    async def woken(self, run_id: str, hub: Hub) -> None:
        """A wake was brought nearer, or something is owed: look at the run (or batch, or deleted session) now."""
        self._changed(run_id)
        try:
            if self._services.settings.driver == "durable" and session_of_due_row(run_id) is None:
                await hub.wake(run_id)
            elif await hub.step(run_id):
                await date_by_row(self._services, run_id)  # what it has not seen, the next sweep finds
        except Exception:
            log.exception("run %s: its driver was not reached; the sweep will", run_id, extra={"run_id": run_id})

    async def _date(self, subject: str, watch: Watch | None, due: datetime) -> None:
        """Date the watch row that a submit has announced; by the run's row if it has announced none, or lost it."""
        now = self._services.clock()
        if watch is None or not await self._services.watch.set_due(watch, due, now):
            await date_by_row(self._services, subject)


class Told:
    """The drivers of a batch's runs, reached through this hub."""

    def __init__(self, signals: Signals, hub: Hub) -> None:
        self._signals = signals
        self._hub = hub

    async def started(self, submitted: Submitted) -> None:
        """A run was submitted."""
        await self._signals.started(submitted, self._hub)

    async def woken(self, run_id: str) -> None:
        """A run is to be looked at now."""
        await self._signals.woken(run_id, self._hub)
