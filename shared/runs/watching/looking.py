"""The rows of a run that is watched: read by one task for all who watch it in this process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from shared.runs.model.phases import Ended, Pending, RunningTools, WaitingForAnswers
from shared.runs.model.run import Run
from shared.runs.ports import Ports, log
from shared.runs.store.tables import StoreUnavailable
from shared.runs.watching.views import Seen

LOOK_FIRST = 0.1
LOOK_MOST = 1.0
LOOK_GROWTH = 1.5
"""Seconds between two looks at the rows: soon after something happened, then ever more seldom."""

LOOK_ASLEEP = 2.0
LOOK_PARKED = 5.0
"""The most while the model thinks, and while a person does: what happens in this process is told at once."""


class Looks:
    """The runs that are watched in this process."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._of: dict[str, Look] = {}

    @contextlib.asynccontextmanager
    async def open(self, run_id: str, bell: asyncio.Event) -> AsyncIterator[Look]:
        """Watch the rows of that run; ``bell`` is set whenever they have changed."""
        look = self._of.get(run_id)
        if look is None:
            look = self._of[run_id] = Look(self._ports, run_id)
        look.bells.add(bell)
        try:
            yield look
        finally:
            look.bells.discard(bell)
            if not look.bells:
                del self._of[run_id]
                look.stop()

    def look_now(self, run_id: str) -> None:
        """Something has been done to the run: whoever watches it is to see that soon."""
        look = self._of.get(run_id)
        if look is not None:
            look.hurry()


class Look:
    """The rows of one run as they were last read, for any number of viewers."""

    def __init__(self, ports: Ports, run_id: str) -> None:
        self.bells: set[asyncio.Event] = set()
        self._ports = ports
        self._run_id = run_id
        self._seen: Seen | None = None
        self._error: Exception | None = None
        self._begun = 0
        self._done = 0
        self._gap = LOOK_FIRST
        self._asked = asyncio.Event()
        self._looked = asyncio.Event()
        self._task = asyncio.create_task(self._keep_looking())

    @property
    def seen(self) -> Seen | None:
        """The rows as last read: the same object until they change. None: there is no such run (any more).

        Raises what made the last look fail, but for an outage of the store: then they are what they were.
        """
        if self._error is not None:
            raise self._error
        return self._seen

    async def fresh(self, *, patient: bool = True) -> Seen | None:
        """The rows as they are now, by a look that has not begun yet; one look serves all who ask meanwhile.

        Waits while the store is away, or raises ``StoreUnavailable`` if not ``patient``.
        """
        wanted = self._begun + 1
        self._asked.set()
        while self._done < wanted:
            looked = self._looked
            await looked.wait()
            if self._error is not None or (self._done < wanted <= self._begun and not patient):
                break
        if self._done < wanted and self._error is None:
            raise StoreUnavailable(f"the rows of {self._run_id} cannot be read now")
        return self.seen

    def hurry(self) -> None:
        """Look now, and soon again: something is about to change."""
        self._gap = LOOK_FIRST
        self._asked.set()

    def stop(self) -> None:
        """Look no more."""
        self._task.cancel()

    async def _keep_looking(self) -> None:
        while True:
            self._asked.clear()
            self._begun += 1
            changed = await self._look()
            self._looked.set()
            self._looked = asyncio.Event()
            if changed:
                for bell in self.bells:
                    bell.set()
            most = _longest_gap(self._seen)
            gap = self._gap = LOOK_FIRST if changed else min(self._gap, most)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(gap):
                    await self._asked.wait()
                continue
            self._gap = min(gap * LOOK_GROWTH, most)

    async def _look(self) -> bool:
        """Read the rows; whether that brought something new."""
        before, failed = self._seen, self._error
        try:
            seen = await self._read(before)
        except StoreUnavailable as error:
            log.info("run %s: its viewers do not see its rows: %s", self._run_id, error)
            return False
        except Exception as error:
            self._error = error
            return True
        changed = seen != before or failed is not None or self._done == 0
        if changed:
            self._seen, self._error = seen, None
        self._done = self._begun
        return changed

    async def _read(self, before: Seen | None) -> Seen | None:
        stored = await self._ports.runs.load(self._run_id)
        if stored is None or stored.value.is_deleted:
            return None
        run = stored.value
        if before is not None and not _calls_may_differ(before.run, run):
            return Seen(run, before.calls)
        calls = await self._ports.runs.calls(run) if run.counters.tool_calls else []
        return Seen(run, tuple(call.value for call in calls))


def _longest_gap(seen: Seen | None) -> float:
    """How long a change may go unseen: the less is going on, the longer."""
    if seen is None or isinstance(seen.run.phase, Ended | WaitingForAnswers):
        return LOOK_PARKED
    return LOOK_ASLEEP if isinstance(seen.run.phase, Pending) else LOOK_MOST


def _calls_may_differ(before: Run, after: Run) -> bool:
    """Whether a tool may have been called, or may have said something, between two looks."""
    if any(isinstance(run.phase, RunningTools | WaitingForAnswers) for run in (before, after)):
        return True
    return (before.turn.number, before.counters.tool_calls) != (after.turn.number, after.counters.tool_calls)
