"""The row of a tool call while the call runs: progress and result, written in order under its own ETag."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from shared.agentkit.tools import Progress, ToolContext
from shared.runs.actions.lease import Lease
from shared.runs.concurrency import LostRace
from shared.runs.model.calls import CallState, ToolCall
from shared.runs.model.run import Run
from shared.runs.ports import Ports, log
from shared.runs.rules import schedule
from shared.runs.store.runs import Stored
from shared.runs.store.tables import Conflict, StoreUnavailable
from shared.telemetry.spans import traceparent

PROGRESS_GAP = 1.0
"""Seconds between two writes of progress: a chatty tool costs no more than this."""


MAX_TRIES = 20
"""Of a result's write that lost its race, or whose answer was lost."""


class CallRow:
    """A call that was started under a lease. Who lost the lease gets ``LostRace`` when it writes."""

    def __init__(self, ports: Ports, lease: Lease, stored: Stored[ToolCall]) -> None:
        self._ports = ports
        self._lease = lease
        self._stored = stored
        self._writing = asyncio.Lock()
        # Sync tools report from threads of their own, where no loop is running.
        self._loop = asyncio.get_running_loop()
        self._news: Progress | None = None
        self._writer: asyncio.Task[None] | None = None
        self._over = False
        self._stop_was_seen = False

    @property
    def run(self) -> Run:
        """The run of the call."""
        return self._lease.run

    @property
    def call(self) -> ToolCall:
        """The call as it was last written."""
        return self._stored.value

    @property
    def stored(self) -> Stored[ToolCall]:
        """The same with its ETag."""
        return self._stored

    def context(self) -> ToolContext:
        """What the tool may know of its call."""
        run = self._lease.run
        return ToolContext(
            run_id=run.id,
            session_id=run.request.session_id,
            owner=run.request.owner,
            call_id=self.call.call_id,
            idempotency_key=self.call.idempotency_key,
            start=self.call.starts,
            report=self._report,
            stopped=self._must_stop,
            traceparent=traceparent(),
        )

    async def begin(self) -> None:
        """Look at the lease right before the tool is invoked: it may have run out in a process that stood still.

        Raises ``LostRace`` when another has the run, ``StoreUnavailable``.
        """
        await self._lease.confirm()

    def stop(self) -> None:
        """Let the tool see, in its context, that its result is no longer waited for."""
        self._over = True

    def check_result(self) -> None:
        """Raise ``LostRace`` for the result of a tool that saw that it should stop: it may be half of a result."""
        if self._stop_was_seen:
            raise LostRace(f"{self.call.call_id}: the tool was asked to stop")

    def _must_stop(self) -> bool:
        """From any thread: the clock is looked at here, since the loop may not have come to it yet."""
        if self._is_over():
            self._stop_was_seen = True
        return self._stop_was_seen

    def _is_over(self) -> bool:
        return self._over or self._lease.expired()

    async def finish(self, output: str) -> None:
        """Write the result, through an outage of the store, as long as the lease is ours."""
        await self._lease.confirm()
        async with self._writing:  # between two writes, so that the ETag in hand is the row's
            # Progress that is written after the result would fail on the new ETag, or show a finished call at work.
            if self._writer is not None:
                self._writer.cancel()
            tries, stale = 0, False
            while True:
                try:
                    if stale:
                        await self._reread()
                    if self.call.state is CallState.FINISHED:
                        return
                    stale = False
                    result = await self._ports.runs.store_text(self._lease.run, output)
                    now = self._ports.clock()
                    after = replace(self._with_news(), state=CallState.FINISHED, result=result, finished_at=now)
                    self._stored = await self._ports.runs.save_call(self._stored, after)
                    return
                except StoreUnavailable:
                    tries += 1
                    if self._lease.expired():
                        raise
                    await asyncio.sleep(schedule.backoff(tries, first=0.2, most=5.0, jitter=0.0))
                # A write whose answer was lost looks like a lost race: the row itself tells which it was.
                except Conflict as error:
                    tries += 1
                    if tries > MAX_TRIES:
                        raise LostRace(f"{self.call.call_id}: the call has another owner") from error
                    stale = True

    def _report(self, progress: Progress) -> None:
        """From any thread: remember the progress and have it written soon, unless another may hold the run."""
        # A thread cannot be stopped: it may report long after another has the call.
        if self._is_over():
            return
        self._loop.call_soon_threadsafe(self._remember, progress)

    def _remember(self, progress: Progress) -> None:
        self._news = progress
        if self.call.state is not CallState.FINISHED and (self._writer is None or self._writer.done()):
            self._writer = self._loop.create_task(self._write_news())

    async def _write_news(self) -> None:
        """Write the progress until there is no newer one. What fails here must not fail the call."""
        stale = False
        while self._news is not None and not self._lease.expired():
            try:
                async with self._writing:
                    if stale:
                        await self._reread()
                    if self.call.state is CallState.FINISHED:
                        return
                    news, after = self._news, self._with_news()
                    self._stored = await self._ports.runs.save_call(self._stored, after)
                    stale = False
                    if self._news is news:
                        self._news = None
            except (StoreUnavailable, Conflict, LostRace) as error:
                log.info("run %s: progress was not written: %s", self._lease.run.id, error)
                # Twice refused, the second time after reading: the row is another's.
                if stale and isinstance(error, Conflict | LostRace):
                    return
                stale = True
            await asyncio.sleep(PROGRESS_GAP)

    def _with_news(self) -> ToolCall:
        """The call with its last reported progress, if that is not written yet."""
        if self._news is None:
            return self.call
        return replace(
            self.call,
            progress=self._news.message,
            progress_fraction=self._news.fraction,
            progress_at=self._ports.clock(),
        )

    async def _reread(self) -> None:
        """Take the row as it is now: a write of ours may have arrived though its answer was lost.

        Raises ``LostRace`` when it is another's.
        """
        # The owner in the row is the fence: the same call under another lease is not ours to write.
        for stored in await self._ports.runs.calls(self._lease.run, self.call.turn):
            if stored.value.index == self.call.index and stored.value.owner == self.call.owner:
                self._stored = stored
                return
        raise LostRace(f"{self.call.call_id}: the call has another owner")
