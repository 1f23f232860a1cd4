"""What starts and wakes runs, as one call of the app uses it.

Called after the rows were written. A failure here never fails the call: the sweep finds the due row.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from shared.drivers.due_times import has_no_orchestration, set_due_from_state
from shared.drivers.durable import Hub
from shared.runs.actions.outcome import outcome
from shared.runs.model.phases import Creating, Pending, RunningTools, Scheduled
from shared.runs.ports import Ports, log
from shared.runs.rules.agenda import next_time
from shared.runs.store.due import DueRow

if TYPE_CHECKING:
    from shared.runs.batches.submit import BatchSubmitted
    from shared.runs.commands.submission import Submitted


class Driver:
    """Causes wakes, through the task hub that the call was bound to."""

    def __init__(self, ports: Ports, hub: Hub, changed: Callable[[str], None] = lambda _: None) -> None:
        self._ports = ports
        self._changed = changed
        """Called with the id of each run that this process has changed, so that its viewers see it at once."""

        self.hub = hub

    async def start_run(self, submitted: Submitted) -> None:
        """Start what drives a run that was submitted (or submitted again)."""
        run = submitted.run
        soonest = next_time(run)
        if soonest is None:
            return
        try:
            if isinstance(run.phase, Scheduled):  # for so long no orchestration waits: its due row does
                await self._set_due(run.id, submitted.due, soonest.due)
                return
            if self._ports.settings.driver == "durable":
                # A response that was created just now is not worth a look before its first one is due.
                is_pending = isinstance(run.phase, Pending)
                wait = outcome(run, self._ports.clock()).wake_in if is_pending else None
                if not await self.hub.start_if_absent(run.id, wait=wait or 0.0):
                    # A request with the same key was faster: its orchestrator may sleep until the claim runs out.
                    await self.hub.wake(run.id)
                return
            await self._set_due(run.id, submitted.due, soonest.due)
            if isinstance(run.phase, Creating | RunningTools):
                await self.hub.start_step(run.id)
        except Exception:
            log.exception("run %s: its driver did not start; the sweep will find it", run.id)

    async def start_batch(self, submitted: BatchSubmitted) -> None:
        """Start what drives a batch that was submitted (or submitted again)."""
        batch = submitted.batch
        if batch.is_done:
            return
        try:
            if self._ports.settings.driver == "durable":
                await self.hub.start_if_absent(batch.id)
                return
            await self._set_due(batch.id, submitted.due, batch.schedule.wake_at)
            await self.hub.start_step(batch.id)
        except Exception:
            log.exception("%s: its driver did not start; the sweep will find it", batch.id)

    async def wake(self, subject: str) -> None:
        """Wake a run, a batch, a schedule or a deleted session now: its next wake is nearer, or there is more to do."""
        self._changed(subject)
        try:
            if self._ports.settings.driver == "durable" and not has_no_orchestration(subject):
                await self.hub.wake(subject)
            elif not await self.hub.start_step(subject):
                await set_due_from_state(self._ports, subject)  # for what the running step has not read
        except Exception:
            log.exception("run %s: its driver was not reached; the sweep will find it", subject)

    async def _set_due(self, subject: str, row: DueRow | None, due: datetime) -> None:
        """Set the due time of the row that a submit wrote; from the stored state if that row is gone or has changed."""
        if row is None or not await self._ports.due.set_due(row, due, self._ports.clock()):
            await set_due_from_state(self._ports, subject)
