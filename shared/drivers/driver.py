"""The driver of this app as one call reaches it: told after the rows were written. No failure here fails the call."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from shared.drivers.dating import date_by_row
from shared.drivers.durable import Hub
from shared.runs.actions.outcome import outcome
from shared.runs.batches.submit import BatchSubmitted
from shared.runs.commands.submission import Submitted
from shared.runs.model.ids import session_of_due_row
from shared.runs.model.phases import Creating, Pending
from shared.runs.ports import Ports, log
from shared.runs.rules.agenda import next_time
from shared.runs.store.due import DueRow


class Driver:
    """Causes wakes, through the task hub that the call was given."""

    def __init__(self, ports: Ports, hub: Hub, changed: Callable[[str], None] = lambda _: None) -> None:
        self._ports = ports
        self._changed = changed
        """Hears the id of each run that was changed in this process, before its driver does."""

        self.hub = hub

    async def started(self, submitted: Submitted) -> None:
        """A run was submitted (or submitted again): have it looked after. Its due row covers what fails here."""
        run = submitted.run
        soonest = next_time(run)
        if soonest is None:
            return
        try:
            if self._ports.settings.driver == "durable":
                # A response that was created just now has nothing to say before its first look is due.
                looks = isinstance(run.phase, Pending)
                wait = outcome(run, self._ports.clock()).wake_in if looks else None
                if await self.hub.ensure(run.id, wait=wait or 0.0):
                    # A request with the same key was faster, and its claim has been seen.
                    await self.hub.wake(run.id)
                return
            await self._date(run.id, submitted.due, soonest.due)
            if isinstance(run.phase, Creating):
                await self.hub.step(run.id)
        except Exception:
            log.exception("run %s: its driver did not start; the sweep will find it", run.id, extra={"run_id": run.id})

    async def batch_started(self, submitted: BatchSubmitted) -> None:
        """A batch was submitted (or submitted again): have it looked after."""
        batch = submitted.batch
        if batch.is_done:
            return
        try:
            if self._ports.settings.driver == "durable":
                await self.hub.ensure(batch.id)
                return
            await self._date(batch.id, submitted.due, batch.schedule.wake_at)
            await self.hub.step(batch.id)
        except Exception:
            log.exception("%s: its driver did not start; the sweep will find it", batch.id)

    async def woken(self, subject: str) -> None:
        """A wake was brought nearer, or there is more to do: look at the run (or batch, or deleted session) now."""
        self._changed(subject)
        try:
            if self._ports.settings.driver == "durable" and session_of_due_row(subject) is None:
                await self.hub.wake(subject)
            elif await self.hub.step(subject):
                await date_by_row(self._ports, subject)  # what it has not seen, the next sweep finds
        except Exception:
            log.exception("run %s: its driver was not reached; the sweep will", subject, extra={"run_id": subject})

    async def _date(self, subject: str, row: DueRow | None, due: datetime) -> None:
        """Date the row that a submit has announced; by what it is about if it has announced none, or lost it."""
        if row is None or not await self._ports.due.set_due(row, due, self._ports.clock()):
            await date_by_row(self._ports, subject)
