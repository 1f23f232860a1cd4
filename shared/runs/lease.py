"""The lease: who holds a run while tools run, or while an agent answers within the call."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from shared.runs.run import Run
from shared.runs.services import RACES, Services, log
from shared.runs.store.runs import Stored
from shared.runs.store.tables import Conflict, StoreUnavailable
from shared.runs.transitions import wake_later

T = TypeVar("T")

FIRST_RENEWAL = 1.0
"""Seconds to the first renewal where it tells something: that the work did not end its process at once."""


class Lease:
    """A run held by one wake: renewed while the work lasts, lost when another owner stands in the row.

    ``beside_others``: whether this process is at work on other tool calls too, which each renewal notes in the row.
    """

    def __init__(
        self, services: Services, stored: Stored[Run], *, beside_others: Callable[[], bool] | None = None
    ) -> None:
        self._services = services
        self._owner = stored.value.lease_owner
        self._writing = asyncio.Lock()
        self._beside_others = beside_others
        self.stored = stored

    @property
    def run(self) -> Run:
        """The run as it was last written or read."""
        return self.stored.value

    async def hold(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the work while renewing. Raises ``Conflict`` when the lease is lost meanwhile; the work is cancelled."""
        task, renewal = asyncio.ensure_future(work), asyncio.ensure_future(self.renew())
        both: list[asyncio.Future[Any]] = [task, renewal]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise Conflict(self.run.id, "the lease was lost")
            return task.result()
        except Conflict:  # the renewal found out, or the work when it wrote its result
            log.warning("run %s: lost the lease", self.run.id, extra={"run_id": self.run.id})
            raise
        finally:
            task.cancel()
            await self.stop(renewal)
            await asyncio.gather(task, return_exceptions=True)

    def expired(self) -> bool:
        """Whether it has run out, so that another may have it."""
        return self.run.lease_until is None or self._services.clock() >= self.run.lease_until

    async def confirm(self) -> None:
        """Make sure that it is still held. One that has run out, as in a process that stood still, is renewed first.

        Raises ``Conflict`` when another has the run, ``StoreUnavailable``.
        """
        if not self.expired():
            return
        async with self._writing:
            if self.expired() and not await self._renew_once():
                raise Conflict(self.run.id, "the lease was lost")

    async def renew(self) -> None:
        """Renew until it is lost, or the run's deadline has passed; returns then."""
        each = self._services.settings.tool_renewal
        gap = each if self._beside_others is None else min(each, FIRST_RENEWAL)
        while True:
            await asyncio.sleep(max(0.0, min(gap, self._left())))
            gap = each
            if self._left() <= 0:
                return
            async with self._writing:
                try:
                    if not await self._renew_once():
                        return
                except StoreUnavailable:
                    continue  # until it runs out; then a takeover shows in the row

    async def stop(self, renewal: asyncio.Future[None]) -> None:
        """End the renewal between two writes, so that the ETag in hand is the row's."""
        async with self._writing:
            renewal.cancel()
        await asyncio.gather(renewal, return_exceptions=True)

    async def reread(self) -> bool:
        """Take the row as it is now; False when it is no longer held by this owner, or has ended."""
        current = await self._services.store.load(self.run.id)
        if current is None or current.value.terminal or current.value.lease_owner != self._owner:
            return False
        self.stored = current
        return True

    def _left(self) -> float:
        """Seconds to the run's deadline."""
        deadline = self.run.deadline_at
        return math.inf if deadline is None else (deadline - self._services.clock()).total_seconds()

    async def _renew_once(self) -> bool:
        for _ in range(RACES):
            after = leased(self.run, self._services.clock(), self._services.settings.tool_lease)
            if self._beside_others is not None:
                after = replace(after, beside_others=self._beside_others())
            try:
                self.stored = (await self._services.save(self.stored, after, midway=True)).run
            except Conflict:
                if not await self.reread():
                    return False
                continue
            return True
        return False


def leased(run: Run, now: datetime, seconds: float) -> Run:
    """The run with its lease (re)newed; its next wake is where that runs out, or at its deadline.

    An open claim is that of an agent that answers within the call: it goes with the lease.
    """
    until = now + timedelta(seconds=seconds)
    after = replace(wake_later(run, now, seconds), lease_until=until, retry_after=0.0)
    return after if run.claimed_until is None else replace(after, claimed_until=until, unknown_at=until)
