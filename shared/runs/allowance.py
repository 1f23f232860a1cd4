"""How many runs an owner may have active at once, kept exactly: a run holds one of so many slots.

A slot is taken before anything else of a submit is written and given back when the run ends. It is a row that only
one can insert, so that racing submits never get more than there are. What a crash left behind is found by reading
the runs again, when no slot seems to be free.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from shared.errors import TooManyActiveRuns
from shared.runs.run import Run, RunStatus
from shared.runs.services import RACES, Services
from shared.runs.store.rows import RowUnreadable
from shared.runs.store.slots import Slot
from shared.runs.store.tables import Conflict, StoreUnavailable

COMMIT_WITHIN = timedelta(minutes=2)
"""How long after it took its slot a submit may still commit its run."""

ABSENT_FOR = timedelta(minutes=5)
"""How long a slot is kept for a run that is not there: its submit may yet commit."""

READS = 16
"""How many runs are read side by side."""

MOST_SECONDS = 60
"""The longest `Retry-After` of a refusal."""


class Allowance:
    """Slots for new runs. Does nothing while ``DORMOUSE_MAX_ACTIVE_RUNS`` is not set."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._most = services.settings.max_active_runs

    async def admit(self, run: Run) -> Run:
        """The run with a slot; with the one that it has already, when an earlier call for it was cut off.

        Raises ``TooManyActiveRuns``, having written nothing.
        """
        if self._most is None:
            return run
        for _ in range(RACES):
            held = await self._services.slots.held(run.owner)
            now = self._services.clock()
            own = next((slot for slot in held if slot.holds(run.id, run.submission)), None)
            if own is None and len(held) >= self._most:
                await self._make_room(run.owner, held, self._most)
                continue
            slot = own or Slot(
                number=self._choose(held, self._most), run_id=run.id, submission=run.submission, taken_at=now
            )
            try:
                await self._services.slots.take(run.owner, replace(slot, taken_at=now))
            except Conflict:
                continue
            return replace(run, slot=slot.number)
        raise Conflict(run.id, "too many races")

    def check_in_time(self, run: Run) -> None:
        """Raise ``StoreUnavailable`` if so much time has passed that the slot may be another's soon."""
        if run.slot is not None and self._services.clock() - run.updated_at > COMMIT_WITHIN:
            raise StoreUnavailable("the submit took too long")

    def _choose(self, held: Sequence[Slot], most: int) -> int:
        """A free slot, by chance, so that racing submits do not all want the same one."""
        free = sorted(set(range(most)) - {slot.number for slot in held})
        return free[int(self._services.luck() * len(free))]

    async def _make_room(self, owner: str, held: Sequence[Slot], most: int) -> None:
        """Free the slots whose runs are over. Raises ``TooManyActiveRuns`` when that gives no room."""
        gate = asyncio.Semaphore(READS)

        async def read(slot: Slot) -> tuple[bool, Run | None]:
            async with gate:
                try:
                    stored = await self._services.store.load(slot.run_id)
                except RowUnreadable:  # whoever wrote it may know better than this version whether it is over
                    return False, None
            run = None if stored is None else stored.value
            return is_over(slot, run, self._services.clock()), run

        seen = await asyncio.gather(*(read(slot) for slot in held))
        over = [slot for slot, (done, _) in zip(held, seen, strict=True) if done]
        if len(held) - len(over) >= most:
            now, active = self._services.clock(), [run for done, run in seen if run is not None and not done]
            raise TooManyActiveRuns(headers={"Retry-After": str(seconds_until_news(active, now))}, limit=most)
        for slot in over:
            with contextlib.suppress(Conflict):  # another call was faster, or the run is being submitted again
                await self._services.slots.free(owner, slot)


def is_over(slot: Slot, run: Run | None, now: datetime) -> bool:
    """Whether a slot holds nothing any more, by the row of its run (None: there is none)."""
    if run is None:
        return now - slot.taken_at > ABSENT_FOR
    return run.terminal or (run.submission, run.slot) != (slot.submission, slot.number)


def seconds_until_news(active: Sequence[Run], now: datetime) -> int:
    """When to try again: at the next wake of a run that does not wait for a person; at most a minute."""
    wakes = [run.wake_at for run in active if run.status is not RunStatus.REQUIRES_ACTION]
    gap = min(((wake - now).total_seconds() for wake in wakes), default=MOST_SECONDS)
    return min(max(1, math.ceil(gap)), MOST_SECONDS)
