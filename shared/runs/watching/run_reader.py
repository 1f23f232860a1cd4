"""The rows of a run that is watched: read by one task for all who watch it in this process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from shared.runs.model.phases import Ended, Pending, RunningTools, Scheduled, WaitingForAnswers
from shared.runs.model.run import Run
from shared.runs.ports import Ports, log
from shared.runs.store.tables import StoreUnavailable
from shared.runs.watching.views import RunRows

READ_SOON = 0.1
READ_LATEST = 1.0
GAP_GROWTH = 1.5
"""Seconds between two reads of the rows: soon after a change, then less and less often."""

READ_LATEST_PENDING = 2.0
READ_LATEST_PARKED = 5.0
"""The longest gap while the model thinks, and while a person has to answer. Changes made in this process are read at
once, so that only those of other processes wait for it."""


class RunReaders:
    """The runs that are watched in this process."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._by_run: dict[str, RunReader] = {}

    @contextlib.asynccontextmanager
    async def open(self, run_id: str, changed: asyncio.Event) -> AsyncIterator[RunReader]:
        """Keep reading the rows of that run; ``changed`` is set whenever they are others."""
        # Shared: Table Storage bills each read, and viewers would cost many times what the wakes do.
        reader = self._by_run.get(run_id)
        if reader is None:
            reader = self._by_run[run_id] = RunReader(self._ports, run_id)
        reader.listeners.add(changed)
        try:
            yield reader
        finally:
            reader.listeners.discard(changed)
            if not reader.listeners:
                del self._by_run[run_id]
                reader.stop()

    def read_now(self, run_id: str) -> None:
        """Read the run's rows now, if somebody watches it: this process has just changed them."""
        reader = self._by_run.get(run_id)
        if reader is not None:
            reader.read_soon()


class RunReader:
    """The rows of one run as they were last read, for any number of viewers."""

    def __init__(self, ports: Ports, run_id: str) -> None:
        self.listeners: set[asyncio.Event] = set()
        self._ports = ports
        self._run_id = run_id
        self._current: RunRows | None = None
        self._error: Exception | None = None
        self._begun = 0
        self._done = 0
        self._gap = READ_SOON
        self._asked = asyncio.Event()
        self._read_once = asyncio.Event()
        self._task = asyncio.create_task(self._keep_reading())

    @property
    def current(self) -> RunRows | None:
        """The rows as last read: the same object until they change. None: there is no such run (any more).

        Raises what made the last read fail, but for an outage of the store: then the rows of the read before stay.
        """
        if self._error is not None:
            raise self._error
        return self._current

    async def refresh(self, *, wait_for_store: bool = True) -> RunRows | None:
        """The rows as they are now, by a read that has not begun yet; one read serves all who ask meanwhile.

        While the store is unavailable it waits, or raises ``StoreUnavailable`` if not ``wait_for_store``.
        """
        # Not the read that is under way: it may have begun before the change that the caller wants to see.
        wanted = self._begun + 1
        self._asked.set()
        while self._done < wanted:
            read_once = self._read_once
            await read_once.wait()
            if self._error is not None or (self._done < wanted <= self._begun and not wait_for_store):
                break
        if self._done < wanted and self._error is None:
            raise StoreUnavailable(f"the rows of {self._run_id} cannot be read now")
        return self.current

    def read_soon(self) -> None:
        """Read now, and again shortly: something is about to change."""
        self._gap = READ_SOON
        self._asked.set()

    def stop(self) -> None:
        """Stop reading."""
        self._task.cancel()

    async def _keep_reading(self) -> None:
        while True:
            # Cleared before the read: who asks while it is under way gets another one.
            self._asked.clear()
            self._begun += 1
            changed = await self._refresh()
            # A fresh event each time: whoever waits for a later read must not be woken by this one again.
            self._read_once.set()
            self._read_once = asyncio.Event()
            if changed:
                for listener in self.listeners:
                    listener.set()
            longest = _longest_gap(self._current)
            # One change is often followed by another: a turn that ends, then its tools.
            gap = self._gap = READ_SOON if changed else min(self._gap, longest)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(gap):
                    await self._asked.wait()
                continue
            self._gap = min(gap * GAP_GROWTH, longest)

    async def _refresh(self) -> bool:
        """Read the rows; whether that brought something new."""
        before, failed = self._current, self._error
        try:
            seen = await self._read(before)
        except StoreUnavailable as error:
            # No change: an outage must not end a stream that still shows the text as it comes.
            log.info("run %s: its rows cannot be read for its viewers: %s", self._run_id, error)
            return False
        except Exception as error:
            self._error = error
            return True
        # The first read counts as a change even when it finds nothing: viewers wait for it.
        changed = seen != before or failed is not None or self._done == 0
        if changed:
            self._current, self._error = seen, None
        self._done = self._begun
        return changed

    async def _read(self, before: RunRows | None) -> RunRows | None:
        stored = await self._ports.runs.load(self._run_id)
        # A tombstone is kept for late responses only: for a viewer the run is gone.
        if stored is None or stored.value.is_deleted:
            return None
        run = stored.value
        # The calls are a second query: spared while the model thinks, since they cannot change then.
        if before is not None and not _calls_may_differ(before.run, run):
            return RunRows(run, before.calls)
        if not run.may_have_calls:
            return RunRows(run, ())
        # Of the turns before the one that was seen last, the calls are settled: a run may have thousands of these.
        since = 1 if before is None else before.run.turn.number
        kept = () if before is None else tuple(call for call in before.calls if call.turn < since)
        return RunRows(run, kept + tuple(call.value for call in await self._ports.runs.calls(run, since=since)))


def _longest_gap(rows: RunRows | None) -> float:
    """Seconds that a change may go unread: the less is going on, the longer."""
    # An ended run changes only by its callback and its deletion, one for later by a cancel or its start.
    if rows is None or isinstance(rows.run.phase, Ended | WaitingForAnswers | Scheduled):
        return READ_LATEST_PARKED
    return READ_LATEST_PENDING if isinstance(rows.run.phase, Pending) else READ_LATEST


def _calls_may_differ(before: Run, after: Run) -> bool:
    """Whether a tool may have been called, or may have reported progress, between two reads."""
    if any(isinstance(run.phase, RunningTools | WaitingForAnswers) for run in (before, after)):
        return True
    return (before.turn.number, before.counters.tool_calls) != (after.turn.number, after.counters.tool_calls)
