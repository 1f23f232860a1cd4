"""The life of a batch across wakes: settle what has ended, give the next items their turn, sleep.

An item's turn is committed before its run is submitted, with ids derived from the batch. So a wake that finds no run
where one should be submits it (again), and no crash makes a second run or a second create.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from shared.errors import DormouseError, RunDeleted
from shared.runs import schedule
from shared.runs.batches.batch import (
    Active,
    Batch,
    BatchStatus,
    Result,
    cancel,
    give_up,
    pace,
    result_of,
    room,
    run_of,
    settle,
    take,
)
from shared.runs.batches.callbacks import BatchCallbacks
from shared.runs.batches.deletion import BatchDeletion
from shared.runs.batches.submission import MOST_SAID, submission
from shared.runs.concurrency import side_by_side
from shared.runs.deletion import Drivers
from shared.runs.lifecycle import MAX_CRASHES, Lifecycle
from shared.runs.run import Next, PartRef, Run, RunStatus
from shared.runs.services import RACES, Outcome, Services, log
from shared.runs.store.rows import RowTooNew, RowUnreadable
from shared.runs.store.runs import Stored
from shared.runs.store.tables import Conflict, StoreUnavailable
from shared.runs.submission import Submissions

AT_ONCE = 16
"""Rows read, or runs submitted, side by side in one wake."""

LONG_AT_ONCE = 3
"""Of these, in a process, those whose input is long: it takes several times its size until the run is submitted."""

LONGEST_GAP = 30.0
"""Seconds between two looks at a batch in which nothing ends."""


@dataclass(frozen=True, slots=True)
class _Later:
    """The item's run could not be submitted now. ``seconds`` to wait, where somebody said so."""

    seconds: float | None = None
    crashed: bool = False


class BatchWork:
    """Moves batches. Any number of callers, at any time, in any process, are safe."""

    def __init__(
        self,
        services: Services,
        submissions: Submissions,
        lifecycle: Lifecycle,
        deletion: BatchDeletion,
        callbacks: BatchCallbacks,
    ) -> None:
        self._services = services
        self._submissions = submissions
        self._lifecycle = lifecycle
        self._deletion = deletion
        self._callbacks = callbacks
        self._long = asyncio.Semaphore(LONG_AT_ONCE)

    async def advance(self, batch_id: str, drivers: Drivers) -> Outcome:
        """One wake. ``wake_in`` is None only when the batch is over and owes nothing, or absent.

        An exception that nobody expected is counted and backed off. Raises ``StoreUnavailable``, and ``RowUnreadable``
        for the batch's own row.
        """
        stored = await self._services.batches.load(batch_id)
        if stored is None:
            return Outcome(None, None)
        try:
            return await self._advance(stored, drivers)
        except Conflict:
            return await self._as_it_stands(batch_id)
        except (StoreUnavailable, RowTooNew):
            raise
        except Exception as error:
            log.exception("%s: a wake crashed", batch_id)
            return await self._count_crash(batch_id, error, drivers)

    async def _advance(self, stored: Stored[Batch], drivers: Drivers) -> Outcome:
        if stored.value.done:
            return self.outcome(stored.value)
        if stored.value.deleted_at is not None and stored.value.status.over:
            left = await self._deletion.purge(stored, drivers)
            return Outcome(None, None) if left is None else self.outcome(left)
        if stored.value.status.over:
            return self.outcome((await self._callbacks.pay(stored)).value)
        return self.outcome((await self._wake(stored, drivers)).value)

    async def _as_it_stands(self, batch_id: str) -> Outcome:
        stored = await self._services.batches.load(batch_id)
        return Outcome(None, None) if stored is None else self.outcome(stored.value)

    async def _count_crash(self, batch_id: str, error: Exception, drivers: Drivers) -> Outcome:
        """Back off; ten crashes in a row end the batch: what of it has not ended has failed."""
        for _ in range(RACES):
            stored = await self._services.batches.load(batch_id)
            if stored is None or stored.value.done:
                return await self._as_it_stands(batch_id)
            batch, now = stored.value, self._services.clock()
            crashes = batch.wake_crashes + 1
            gap = schedule.backoff(crashes, first=2.0, most=300.0, luck=self._services.luck())
            after = replace(batch, wake_crashes=crashes, wakes=batch.wakes + 1)
            after = replace(after, wake_at=now + timedelta(seconds=gap), retry_after=round(gap, 3))
            ended: list[Result] = []
            if crashes >= MAX_CRASHES and not batch.status.over:
                said = f"{crashes} wakes of the batch failed in a row, the last with {type(error).__name__}."
                ended = [await self._last_of(batch, turn, said, drivers) for turn in batch.active]
                after = give_up(after, ended, said, now)
            try:
                return self.outcome((await self._services.batches.save(stored, after, ended)).value)
            except Conflict:
                continue
        return await self._as_it_stands(batch_id)

    async def _last_of(self, batch: Batch, turn: Active, said: str, drivers: Drivers) -> Result:
        """The result of an item of a batch that is given up: its run's, if that has ended; else it is stopped."""
        try:
            run = await self._lifecycle.cancel(run_of(batch.id, turn.index))
            if run is not None and run.next is not Next.NONE:
                await drivers.woken(run.id)
            if run is not None and run.status is not RunStatus.CANCELLED:
                return result_of(turn.index, run)
        except Exception:
            log.exception("%s: the run of item %d could not be stopped", batch.id, turn.index)
        return self._failure(turn, "internal_error", said)

    async def cancel(self, batch_id: str) -> Batch | None:
        """End what is pending, and have what is active stopped; idempotent. None when there is none.

        The caller signals the driver afterwards.
        """
        for _ in range(RACES):
            stored = await self._services.batches.load(batch_id)
            if stored is None or stored.value.status.over:
                return None if stored is None else stored.value
            now = self._services.clock()
            after = cancel(stored.value, now)
            if after == stored.value:
                return after
            await self._services.watch.announce(batch_id, now)
            try:
                return (await self._services.batches.save(stored, after)).value
            except Conflict:
                continue
        raise Conflict(batch_id, "too many races")

    def outcome(self, batch: Batch) -> Outcome:
        """What the row says of the next wake."""
        if batch.done:
            return Outcome(batch.status, None)
        gap = max(0.0, (batch.wake_at - self._services.clock()).total_seconds())
        return Outcome(batch.status, gap, may_be_early=not batch.status.over)

    async def _wake(self, stored: Stored[Batch], drivers: Drivers) -> Stored[Batch]:
        batch = stored.value
        if batch.status is BatchStatus.CANCELLING:
            return await self._stop(stored, drivers)
        looked = await side_by_side(batch.active, lambda turn: self._look(batch, turn), at_once=AT_ONCE)
        runs = [each for each in looked if isinstance(each, Run)]
        ended = [each for each in map(self._ended, batch.active, looked) if each is not None]
        now = self._services.clock()
        after = pace(settle(batch, ended, now), runs, len(ended))
        after, taken = take(after, room(after, now), now)
        missing = [turn for turn, seen in zip(batch.active, looked, strict=True) if seen is None]
        if batch.not_before is not None and now < batch.not_before:
            missing = []
        todo = (*missing, *taken)
        crashes = batch.wake_crashes if todo else 0  # with something to do the wake is not over yet
        after = self._dated(replace(after, wakes=batch.wakes + 1, wake_crashes=crashes))
        stored = await self._services.batches.save(stored, after, ended)
        self._say(batch, stored.value)
        return await self._begin(stored, todo, drivers) if todo else stored

    async def _begin(self, stored: Stored[Batch], turns: Sequence[Active], drivers: Drivers) -> Stored[Batch]:
        """Submit the runs of these items. What went wrong is written down; what went well, their rows say."""
        batch = stored.value
        begun = await side_by_side(turns, lambda turn: self._submit(batch, turn, drivers), at_once=AT_ONCE)
        now = self._services.clock()
        failed = [each for each in begun if isinstance(each, Result)]
        later = [each for each in begun if isinstance(each, _Later)]
        after = pace(settle(batch, failed, now), [each for each in begun if isinstance(each, Run)], 0)
        if later:
            gaps = [each.seconds for each in later if each.seconds is not None]
            gap = max(gaps, default=self._services.backoff(batch.refusals + 1))
            after = replace(after, refusals=batch.refusals + 1, not_before=now + timedelta(seconds=gap))
        else:
            after = replace(after, refusals=0, not_before=None)
        crashed = any(each.crashed for each in later)
        after = replace(after, crashes=batch.crashes + 1 if crashed else 0, wake_crashes=0)
        if after == batch:
            return stored
        return await self._services.batches.save(stored, self._dated(after), failed)

    async def _submit(
        self, batch: Batch, turn: Active, drivers: Drivers, *, cancelled: bool = False
    ) -> Run | Result | _Later:
        """The run of an item, or why there is none: for good, or for now."""
        try:
            item = await self._services.batches.item(batch.id, turn.index)
            if item is None:
                raise LookupError(f"{batch.id} has no item {turn.index}")
            async with self._long if isinstance(item.asked, PartRef) else contextlib.nullcontext():
                asked = await self._services.batches.read(batch.id, turn.index, item.asked)
                submitted = await self._submissions.submit(submission(batch, turn, asked, cancelled=cancelled))
            await drivers.started(submitted)
            return submitted.run
        except RunDeleted as error:
            return self._failure(turn, error.code, error.message, status=RunStatus.CANCELLED)
        except DormouseError as error:
            if error.status == 429 or error.status >= 500:
                return _Later(_seconds(error.headers.get("Retry-After")))
            return self._failure(turn, error.code, error.message)
        except (Conflict, StoreUnavailable, RowTooNew) as error:
            log.warning("%s: item %d waits: %s", batch.id, turn.index, error)
            return _Later()
        except Exception as error:
            log.exception("%s: item %d could not be submitted", batch.id, turn.index)
            if batch.crashes + 1 < MAX_CRASHES:
                return _Later(crashed=True)
            said = f"Its run could not be started {MAX_CRASHES} times in a row, the last time: {type(error).__name__}."
            return self._failure(turn, "internal_error", said)

    async def _stop(self, stored: Stored[Batch], drivers: Drivers) -> Stored[Batch]:
        """Cancel what is active. An item whose run is not there yet gets one that is cancelled from the first.

        So whoever is submitting it just now finds that run, and creates nothing at the provider.
        """
        batch = stored.value

        async def stop(turn: Active) -> Result | None:
            seen = await self._look(batch, turn)
            if seen is None:
                made = await self._submit(batch, turn, drivers, cancelled=True)
                if isinstance(made, _Later):
                    return None
                if isinstance(made, Result):
                    return replace(made, status=RunStatus.CANCELLED)
                seen = made
            if isinstance(seen, Run) and not seen.terminal:
                seen = await self._lifecycle.cancel(seen.id) or seen
                if seen.next is not Next.NONE:
                    await drivers.woken(seen.id)
            return self._ended(turn, seen)

        stopped = await side_by_side(batch.active, stop, at_once=AT_ONCE)
        ended = [each for each in stopped if each is not None]
        after = replace(settle(batch, ended, self._services.clock()), wakes=batch.wakes + 1, wake_crashes=0)
        after = self._dated(after)
        stored = await self._services.batches.save(stored, after, ended)
        self._say(batch, stored.value)
        return stored

    async def _look(self, batch: Batch, turn: Active) -> Run | RowUnreadable | None:
        """The run of an active item: as it stands, unreadable, or not there yet."""
        try:
            found = await self._services.store.load(run_of(batch.id, turn.index))
        except RowUnreadable as error:
            return error
        return None if found is None else found.value

    def _dated(self, batch: Batch) -> Batch:
        """The batch with its next wake: soon after something has moved, ever later while nothing does."""
        if batch.status.over:
            return batch
        now = self._services.clock()
        quiet = (now - batch.progress_at).total_seconds()
        settings = self._services.settings
        most = max(settings.poll_first, min(settings.poll_max, LONGEST_GAP))
        gap = schedule.poll_gap(quiet, first=settings.poll_first, most=most, luck=self._services.luck())
        if not batch.active and batch.not_before is not None:
            gap = max(gap, (batch.not_before - now).total_seconds())
        return replace(batch, wake_at=now + timedelta(seconds=gap), retry_after=round(gap, 3))

    def _ended(self, turn: Active, seen: Run | RowUnreadable | None) -> Result | None:
        """The result of an item whose run has ended, or cannot be read; None while it is active."""
        if isinstance(seen, Run):
            return result_of(turn.index, seen) if seen.terminal else None
        if seen is None or isinstance(seen, RowTooNew):
            return None
        return self._failure(turn, "internal_error", "The row of its run cannot be read. The app's logs say why.")

    def _failure(self, turn: Active, code: str, message: str, *, status: RunStatus = RunStatus.FAILED) -> Result:
        return Result(
            index=turn.index,
            status=status,
            ended_at=self._services.clock(),
            ran=False,
            error_code=code,
            error_message=message[:MOST_SAID],
        )

    def _say(self, before: Batch, after: Batch) -> None:
        if before.status is not after.status:
            log.info("%s is %s", after.id, after.status)


def _seconds(header: str | None) -> float | None:
    """A `Retry-After` of ours, in seconds."""
    return float(header) if header is not None and header.isdecimal() else None
