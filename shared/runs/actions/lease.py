"""The lease: who holds a run while tools run, or while an agent answers within the call."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, TypeVar

from shared.runs.commit import commit
from shared.runs.concurrency import LostRace
from shared.runs.model.facts import LeaseRenewed
from shared.runs.model.phases import Creating, RunningTools
from shared.runs.model.run import Run
from shared.runs.ports import Ports, log
from shared.runs.store.runs import Stored
from shared.runs.store.tables import StoreUnavailable

T = TypeVar("T")

FIRST_RENEWAL = 1.0
"""Seconds to the first renewal where it matters that the work did not end its process at once."""


class Lease:
    """A run held by one wake: renewed while the work lasts, lost when another owner stands in the row.

    ``beside_others``: whether this process is at work on other tool calls too, which each renewal notes in the row.
    """

    def __init__(
        self, ports: Ports, stored: Stored[Run], owner: str, *, beside_others: Callable[[], bool] | None = None
    ) -> None:
        self._ports = ports
        self._owner = owner
        self._writing = asyncio.Lock()
        self._beside_others = beside_others
        self.stored = stored

    @property
    def run(self) -> Run:
        """The run as it was last written or read."""
        return self.stored.value

    def ends(self) -> datetime | None:
        """When it runs out; None when it is not this owner's any more."""
        match self.run.phase:
            case RunningTools(lease=lease) if lease is not None and lease.owner == self._owner:
                return lease.until
            case Creating(claim=claim) if claim is not None and claim.owner == self._owner:
                return claim.until
        return None

    def expired(self) -> bool:
        """Whether it has run out, so that another may have it."""
        end = self.ends()
        return end is None or self._ports.clock() >= end

    async def hold(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the work while renewing. Raises ``LostRace`` when the lease is lost meanwhile; the work is cancelled."""
        task, renewal = asyncio.ensure_future(work), asyncio.ensure_future(self._keep())
        both: list[asyncio.Future[Any]] = [task, renewal]
        # Whichever ends first: work whose lease is lost must stop, since another repeats it.
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise LostRace(f"{self.run.id}: the lease was lost")
            return task.result()
        except LostRace:  # the renewal found out, or the work when it wrote its result
            log.warning("run %s: lost the lease", self.run.id)
            raise
        finally:
            task.cancel()
            await self._stop(renewal)
            await asyncio.gather(task, return_exceptions=True)

    async def confirm(self) -> None:
        """Make sure that it is still held. One that has run out, as in a process that stood still, is renewed first.

        Raises ``LostRace`` when another has the run, ``StoreUnavailable``.
        """
        # Most calls end here, without a write: the clock alone says that the lease holds.
        if not self.expired():
            return
        async with self._writing:
            if self.expired() and not await self._renew():
                raise LostRace(f"{self.run.id}: the lease was lost")

    async def _keep(self) -> None:
        """Renew until it is lost, or the run's deadline has passed; returns then."""
        each = self._ports.settings.tool_renewal
        # Early once: a tool that kills its process at once must not look like one that was interrupted by others.
        gap = each if self._beside_others is None else min(each, FIRST_RENEWAL)
        while True:
            await asyncio.sleep(max(0.0, min(gap, self._left())))
            gap = each
            # The run fails at its deadline whoever holds it, so the work is stopped.
            if self._left() <= 0:
                return
            async with self._writing:
                try:
                    if not await self._renew():
                        return
                except StoreUnavailable:
                    continue  # until it runs out; then a takeover shows in the row

    async def _stop(self, renewal: asyncio.Future[None]) -> None:
        """End the renewal between two writes, so that the ETag in hand is the row's."""
        async with self._writing:
            renewal.cancel()
        await asyncio.gather(renewal, return_exceptions=True)

    async def _renew(self) -> bool:
        """Whether it is still this owner's."""
        beside = None if self._beside_others is None else self._beside_others()
        try:
            committed = await commit(self._ports, self.stored, LeaseRenewed(owner=self._owner, beside_others=beside))
        except LostRace:
            return False
        self.stored = committed.run
        return committed.refused is None

    def _left(self) -> float:
        """Seconds to the run's deadline."""
        deadline = self.run.schedule.deadline_at
        return math.inf if deadline is None else (deadline - self._ports.clock()).total_seconds()
