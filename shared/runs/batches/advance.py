"""One wake of a batch: settle what has ended, start the next items, sleep.

An item is recorded as started before its run is submitted, and the run's ids are derived from the batch. So a wake that
finds no run where one should be submits it (again), and no crash makes a second run or a second create.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from shared.errors import DormouseError, RunDeleted
from shared.runs.actions.outcome import Outcome
from shared.runs.batches.callbacks import call_back
from shared.runs.batches.commit import commit_batch
from shared.runs.batches.delete import purge
from shared.runs.batches.submit import MAX_SAID, submission
from shared.runs.commands.cancel import cancel
from shared.runs.commands.submission import Submitted
from shared.runs.commands.submit import submit
from shared.runs.concurrency import LostRace, side_by_side
from shared.runs.model.batch import (
    Active,
    Batch,
    Cancelling,
    Deleted,
    Ended,
    ItemResult,
    run_of,
)
from shared.runs.model.batch_facts import BatchWakeCrashed, RunsLookedAt, RunsStopped, RunsSubmitted
from shared.runs.model.listed import list_status
from shared.runs.model.phases import Ended as RunEnded
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import PartRef, Run
from shared.runs.ports import Ports, log
from shared.runs.rules.ending import MAX_CRASHES
from shared.runs.store.runs import Stored
from shared.runs.store.tables import StoreUnavailable
from shared.runs.store.unreadable import RowTooNew, RowUnreadable
from shared.runs.traces import of_batch

AT_ONCE = 16
"""Rows read, or runs submitted, side by side in one wake."""


class Signals(Protocol):
    """Whoever drives runs; called after their rows were written."""

    async def start_run(self, submitted: Submitted) -> None:
        """A run was submitted."""
        ...

    async def wake(self, run_id: str) -> None:
        """A run (or a deleted session) is to be looked at now."""
        ...


@dataclass(frozen=True, slots=True)
class _Later:
    """The item's run could not be submitted now."""

    seconds: float | None = None
    """To wait, where somebody said so."""

    crashed: bool = False


async def advance_batch(ports: Ports, batch_id: str, signals: Signals) -> Outcome:
    """One wake. Any number of callers, at any time, in any process, are safe.

    An exception that nobody expected is counted and backed off. Raises ``StoreUnavailable``, and ``RowUnreadable`` for
    the batch's own row.
    """
    stored = await ports.batches.load(batch_id)
    if stored is None:
        return Outcome(None, None)
    with ports.telemetry.span("wake", batch_id, of_batch(stored.value)):
        try:
            after = await _go_on(ports, stored, signals)
            return Outcome(None, None) if after is None else batch_outcome(ports, after)
        except LostRace:
            return await _outcome_from_row(ports, batch_id)
        except (StoreUnavailable, RowTooNew):
            raise
        except Exception as error:
            log.exception("%s: a wake crashed", batch_id)
            return await _count_crash(ports, batch_id, error, signals)


def batch_outcome(ports: Ports, stored: Stored[Batch]) -> Outcome:
    """What the row says of the next wake."""
    batch, listing, to_list = stored.value, stored.listing, list_status(stored.value)
    if batch.is_done:
        return Outcome(batch.status, None, to_list=to_list, listing=listing)
    gap = max(0.0, (batch.schedule.wake_at - ports.clock()).total_seconds())
    # A host's timer may be a second early: a look does its work then, but a callback's attempt would find nothing due.
    return Outcome(batch.status, gap, may_be_early=not batch.status.terminal, to_list=to_list, listing=listing)


async def _go_on(ports: Ports, stored: Stored[Batch], signals: Signals) -> Stored[Batch] | None:
    match stored.value.phase:
        # Stopped before anything goes: a run that was purged while it was being submitted would come to life again.
        case Deleted(status=status) as phase if status.terminal:
            return await purge(ports, stored, phase, signals.wake)
        case Ended():
            return await call_back(ports, stored)
        case Cancelling() | Deleted():
            return await _stop(ports, stored, signals)
    return await _look(ports, stored, signals)


async def _outcome_from_row(ports: Ports, batch_id: str) -> Outcome:
    stored = await ports.batches.load(batch_id)
    return Outcome(None, None) if stored is None else batch_outcome(ports, stored)


async def _count_crash(ports: Ports, batch_id: str, error: Exception, signals: Signals) -> Outcome:
    """Ten crashes in a row end the batch: what of it has not ended has failed."""
    stored = await ports.batches.load(batch_id)  # the wake may have written before it crashed
    if stored is None:
        return Outcome(None, None)
    batch, seen = stored.value, stored.value.schedule.crashes
    ended: tuple[ItemResult, ...] = ()
    name = type(error).__name__
    if seen + 1 >= MAX_CRASHES and not batch.status.terminal:
        # Its runs are stopped before it is written down: nothing would come back to one that is left running.
        said = f"{seen + 1} wakes of the batch failed in a row, the last with {name}."
        ended = tuple(
            [await _last_of(ports, batch, active_item, said, signals) for active_item in batch.progress.active]
        )
    fact = BatchWakeCrashed(seen=seen, error=name, ended=ended, jitter=ports.random())
    try:
        return batch_outcome(ports, (await commit_batch(ports, stored, fact)).batch)
    except LostRace:
        return await _outcome_from_row(ports, batch.id)


async def _last_of(ports: Ports, batch: Batch, active_item: Active, said: str, signals: Signals) -> ItemResult:
    """The result of an item of a batch that is given up: its run's, if that has ended; else it is stopped."""
    try:
        run = await cancel(ports, run_of(batch.id, active_item.index))
        if run is not None and not run.is_done:
            await signals.wake(run.id)
        # One that had ended before keeps what it came to, though the batch is given up.
        if run is not None and run.status is not RunStatus.CANCELLED:
            return _result_of(active_item.index, run)
    except Exception:  # nothing may keep the batch from its end; the run has its own deadline
        log.exception("%s: the run of item %d could not be stopped", batch.id, active_item.index)
    return _failure(ports, active_item, "internal_error", said)


async def _look(ports: Ports, stored: Stored[Batch], signals: Signals) -> Stored[Batch]:
    """How the runs of the active items stand, and which are started next."""
    active = stored.value.progress.active
    looked = await side_by_side(active, lambda active_item: _seen(ports, stored.value, active_item), at_once=AT_ONCE)
    ended = [
        each
        for active_item, seen in zip(active, looked, strict=True)
        if (each := _ended(ports, active_item, seen)) is not None
    ]
    missing = [active_item for active_item, seen in zip(active, looked, strict=True) if seen is None]
    fact = RunsLookedAt(
        active=active,
        ended=tuple(ended),
        runs=tuple(each for each in looked if isinstance(each, Run)),
        missing=len(missing),
        jitter=ports.random(),
    )
    committed = await commit_batch(ports, stored, fact)
    if committed.refused is not None:  # another wake has moved the batch on, and does what is to be done
        return committed.batch
    not_before = stored.value.pace.not_before
    if not_before is not None and ports.clock() < not_before:
        missing = []  # they are missing because a provider or a limit asked to wait
    if not missing and not committed.started:
        return committed.batch
    return await _begin(ports, committed.batch, missing, committed.started, signals)


async def _begin(
    ports: Ports, stored: Stored[Batch], missing: Sequence[Active], started: Sequence[Active], signals: Signals
) -> Stored[Batch]:
    """Submit the runs of items. ``started``: those that this wake has started, so that hardly another has tried."""
    begun = await side_by_side(
        (*missing, *started),
        lambda active_item: _submitted(ports, stored.value, active_item, signals, is_first=active_item in started),
        at_once=AT_ONCE,
    )
    waiting = [each for each in begun if isinstance(each, _Later)]
    fact = RunsSubmitted(
        failed=tuple(each for each in begun if isinstance(each, ItemResult)),
        runs=tuple(each for each in begun if isinstance(each, Run)),
        waits=bool(waiting),
        wait_seconds=max((each.seconds for each in waiting if each.seconds is not None), default=None),
        crashed=any(each.crashed for each in waiting),
        jitter=ports.random(),
    )
    return (await commit_batch(ports, stored, fact)).batch


async def _submitted(
    ports: Ports,
    batch: Batch,
    active_item: Active,
    signals: Signals,
    *,
    is_first: bool = False,
    cancelled: bool = False,
) -> Run | ItemResult | _Later:
    """The run of an item, or why there is none: for good, or for now."""
    try:
        item = await ports.batches.item(batch.id, active_item.index)
        if item is None:
            raise LookupError(f"{batch.id} has no item {active_item.index}")
        # A long input is held several times over while it is written, and the process has little memory.
        async with ports.long_inputs if isinstance(item.asked, PartRef) else contextlib.nullcontext():
            asked = await ports.batches.load_text(batch.id, active_item.index, item.asked)
            wanted = submission(batch, active_item, asked, is_first=is_first, cancelled=cancelled)
            submitted = await submit(ports, wanted)
        await signals.start_run(submitted)
        return submitted.run
    except RunDeleted as error:  # by somebody who read the run's id in the batch
        return _failure(ports, active_item, error.code, error.message, status=RunStatus.CANCELLED)
    except DormouseError as error:
        # Whatever else is refused would be refused again: the item fails alone.
        if error.status == 429 or error.status >= 500:
            return _Later(_seconds(error.headers.get("Retry-After")))
        return _failure(ports, active_item, error.code, error.message)
    except (LostRace, StoreUnavailable, RowTooNew) as error:
        log.warning("%s: item %d waits: %s", batch.id, active_item.index, error)
        return _Later()
    except Exception as error:
        log.exception("%s: item %d could not be submitted", batch.id, active_item.index)
        # The item is not known to be at fault, but after so many tries in a row it must not hold the batch for ever.
        if batch.pace.crashes + 1 < MAX_CRASHES:
            return _Later(crashed=True)
        said = f"Its run could not be started {MAX_CRASHES} times in a row, the last time: {type(error).__name__}."
        return _failure(ports, active_item, "internal_error", said)


async def _stop(ports: Ports, stored: Stored[Batch], signals: Signals) -> Stored[Batch]:
    """Cancel what is active. An item whose run is not there yet gets one that is cancelled from the first.

    So whoever is submitting it just now finds that run, and creates nothing at the provider.
    """
    batch = stored.value
    active = batch.progress.active
    stopped = await side_by_side(
        active, lambda active_item: _stopped(ports, batch, active_item, signals), at_once=AT_ONCE
    )
    fact = RunsStopped(ended=tuple(each for each in stopped if each is not None), jitter=ports.random())
    return (await commit_batch(ports, stored, fact)).batch


async def _stopped(ports: Ports, batch: Batch, active_item: Active, signals: Signals) -> ItemResult | None:
    seen = await _seen(ports, batch, active_item)
    if seen is None:
        made = await _submitted(ports, batch, active_item, signals, cancelled=True)
        if isinstance(made, _Later):
            return None
        if isinstance(made, ItemResult):  # it failed to be submitted, but nobody wants it any more
            return replace(made, status=RunStatus.CANCELLED)
        seen = made
    if isinstance(seen, Run) and not seen.terminal:
        seen = await cancel(ports, seen.id) or seen
        if not seen.is_done:
            await signals.wake(seen.id)
    return _ended(ports, active_item, seen)


async def _seen(ports: Ports, batch: Batch, active_item: Active) -> Run | RowUnreadable | None:
    """The run of an active item: as it stands, unreadable, or not there yet."""
    try:
        found = await ports.runs.load(run_of(batch.id, active_item.index))
    except RowUnreadable as error:
        return error
    return None if found is None else found.value


def _ended(ports: Ports, active_item: Active, seen: Run | RowUnreadable | None) -> ItemResult | None:
    """The result of an item whose run has ended, or cannot be read; None while it is active."""
    if isinstance(seen, Run):
        return _result_of(active_item.index, seen) if seen.terminal else None
    if seen is None or isinstance(seen, RowTooNew):  # in a deploy an older version meets newer rows: it leaves them
        return None
    return _failure(ports, active_item, "internal_error", "The row of its run cannot be read. The app's logs say why.")


def _result_of(index: int, run: Run) -> ItemResult:
    """How an item ended whose run is terminal."""
    return ItemResult(
        index=index,
        status=run.status,
        ended_at=run.phase.completed_at if isinstance(run.phase, RunEnded) else run.updated_at,
        error_code=run.result.error_code,
        error_message=run.result.error_message,
    )


def _failure(
    ports: Ports, active_item: Active, code: str, message: str, *, status: RunStatus = RunStatus.FAILED
) -> ItemResult:
    return ItemResult(
        index=active_item.index,
        status=status,
        ended_at=ports.clock(),
        ran=False,
        error_code=code,
        error_message=message[:MAX_SAID],
    )


def _seconds(header: str | None) -> float | None:
    """A `Retry-After` of ours, in seconds."""
    return float(header) if header is not None and header.isdecimal() else None
