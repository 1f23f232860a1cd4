"""Batches: what follows from a fact, and how many items may be active."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from shared.errors import BatchNotEnded, DormouseError, NoCallback
from shared.runs.model import batch_facts as facts
from shared.runs.model.batch import (
    Active,
    Batch,
    BatchPhase,
    BatchStatus,
    Cancelling,
    Deleted,
    Ended,
    ItemResult,
    LastCallback,
    Running,
)
from shared.runs.model.batch_facts import BatchFact
from shared.runs.model.outbox import Entry, EntryKind, Outbox
from shared.runs.model.phases import Creating, RunStatus
from shared.runs.model.run import Run
from shared.runs.rules import schedule
from shared.runs.rules.change import Refused, later
from shared.runs.rules.ending import MAX_CRASHES
from shared.settings import Settings

LONGEST_GAP = 30.0
"""Seconds between two looks at a batch in which nothing ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchChange:
    """All that must be written together."""

    batch: Batch
    """As it is after the fact."""

    results: tuple[ItemResult, ...] = ()
    """The rows of the items that ended with it."""

    started: tuple[Active, ...] = ()
    """The items that are started."""


BatchDecision = BatchChange | Refused


def runs_looked_at(batch: Batch, fact: facts.RunsLookedAt, now: datetime, settings: Settings) -> BatchDecision:
    """What has ended is recorded, and the next items are started, as many as there is room for."""
    # Another wake has started or ended items since: counting these again would count them twice.
    if batch.progress.active != fact.active:
        return Refused()
    after = with_pace(with_results(batch, fact.ended, now), fact.runs, len(fact.ended))
    after, started = _start_items(after, _room(after, now), now)
    waits = batch.pace.not_before is not None and now < batch.pace.not_before
    # A batch that waits for a limit has nothing to do now, so its wake counts as one that went well.
    has_more = bool(started) or (fact.missing > 0 and not waits)
    crashes = batch.schedule.crashes if has_more else 0  # with something to do the wake is not over yet
    timed = replace(after.schedule, wakes=after.schedule.wakes + 1, crashes=crashes)
    after = _with_next_wake(replace(after, schedule=timed), now, settings, fact.jitter)
    return BatchChange(batch=after, results=fact.ended, started=started)


def runs_submitted(batch: Batch, fact: facts.RunsSubmitted, now: datetime, settings: Settings) -> BatchDecision:
    """Failures are recorded here; the runs that were submitted have rows of their own."""
    # Another wake may have recorded some of these already: no item may be counted twice.
    ended = tuple(each for each in fact.failed if any(each.index == item.index for item in batch.progress.active))
    after = with_pace(with_results(batch, ended, now), fact.runs, 0)
    pace = replace(after.pace, refusals=0, not_before=None)
    if fact.waits:
        refusals = batch.pace.refusals + 1
        seconds = schedule.failure_gap(refusals, jitter=fact.jitter) if fact.wait_seconds is None else fact.wait_seconds
        pace = replace(after.pace, refusals=refusals, not_before=later(now, seconds))
    # Counted apart from crashed wakes, which this write resets: else a submit that always crashes would never end.
    pace = replace(pace, crashes=batch.pace.crashes + 1 if fact.crashed else 0)
    after = replace(after, pace=pace, schedule=replace(after.schedule, crashes=0))
    # Nothing new: a write would only make other wakes lose their race.
    if after == batch:
        return Refused()
    return BatchChange(batch=_with_next_wake(after, now, settings, fact.jitter), results=ended)


def runs_stopped(batch: Batch, fact: facts.RunsStopped, now: datetime, settings: Settings) -> BatchDecision:
    """The items that could be stopped have ended; the others are looked at again."""
    ended = tuple(each for each in fact.ended if any(each.index == item.index for item in batch.progress.active))
    after = with_results(batch, ended, now)
    timed = replace(after.schedule, wakes=after.schedule.wakes + 1, crashes=0)
    return BatchChange(batch=_with_next_wake(replace(after, schedule=timed), now, settings, fact.jitter), results=ended)


def cancel_requested(
    batch: Batch, fact: facts.BatchCancelRequested, now: datetime, settings: Settings
) -> BatchDecision:
    """What is pending never begins, what is active is to be stopped."""
    return BatchChange(batch=cancelled(batch, now))


def deleted(batch: Batch, fact: facts.BatchDeleted, now: datetime, settings: Settings) -> BatchDecision:
    """A tombstone without content; an active batch is cancelled in the same write, and stopped before its runs go."""
    stopped = batch if isinstance(batch.phase, Ended) else cancelled(batch, now)
    # Runs that stay are as good as gone: the purge then begins at the rows.
    purged = 0 if fact.runs else batch.request.total
    request = replace(batch.request, metadata={}, agent=None, model=None, callback_url=None)
    return BatchChange(
        batch=replace(
            stopped,
            request=request,
            phase=Deleted(status=stopped.status, deleted_at=now, purged=purged),
            schedule=replace(stopped.schedule, wake_at=now),
            # No callback any more: the address in it would lead to a batch that is gone.
            outbox=Outbox(),
            last_callback=LastCallback(),
            over_at=None,
            updated_at=now,
        )
    )


def runs_purged(batch: Batch, fact: facts.RunsPurged, now: datetime, settings: Settings) -> BatchDecision:
    """The next of a tombstone's runs, at once."""
    assert isinstance(batch.phase, Deleted)
    phase = replace(batch.phase, purged=max(batch.phase.purged, fact.until))
    return BatchChange(batch=replace(batch, phase=phase, schedule=replace(batch.schedule, wake_at=now)))


def rows_purged(batch: Batch, fact: facts.RowsPurged, now: datetime, settings: Settings) -> BatchDecision:
    """More of its rows at once; once all are gone, its own row after a while."""
    assert isinstance(batch.phase, Deleted)
    wake_at = later(batch.phase.deleted_at, fact.keep) if fact.emptied else now
    phase = replace(batch.phase, emptied=fact.emptied)
    return BatchChange(batch=replace(batch, phase=phase, schedule=replace(batch.schedule, wake_at=wake_at)))


def wake_crashed(batch: Batch, fact: facts.BatchWakeCrashed, now: datetime, settings: Settings) -> BatchDecision:
    """Counted and backed off; ten in a row end the batch: what of it has not ended has failed."""
    if batch.is_done or batch.schedule.crashes != fact.seen:
        return Refused()
    crashes = fact.seen + 1
    gap = schedule.backoff(crashes, first=2.0, most=300.0, jitter=fact.jitter)
    timed = replace(
        batch.schedule,
        crashes=crashes,
        wakes=batch.schedule.wakes + 1,
        wake_at=later(now, gap),
        retry_after=round(gap, 3),
    )
    after = replace(batch, schedule=timed)
    ended = tuple(each for each in fact.ended if any(each.index == item.index for item in batch.progress.active))
    # An ended batch has only its callback or its rows left to do, and these are never given up.
    if crashes < MAX_CRASHES or batch.status.terminal:
        return BatchChange(batch=after)
    reason = f"{crashes} wakes of the batch failed in a row, the last with {fact.error}."
    # A range instead of a row for each item: a thousand rows do not fit one transaction of 100 operations.
    progress = replace(
        after.progress,
        failed=after.progress.failed + after.pending,
        failed_from=after.progress.cursor,
        failed_because=reason,
        cursor=after.request.total,
    )
    return BatchChange(
        batch=end_if_done(with_results(replace(after, progress=progress), ended, now), now), results=ended
    )


def callback_claimed(
    batch: Batch, fact: facts.BatchCallbackClaimed, now: datetime, settings: Settings
) -> BatchDecision:
    """The attempt is counted before it is made."""
    entry = batch.outbox.named(fact.entry.kind, fact.entry.subject, fact.entry.since)
    if entry is None or entry.tries != fact.tries or now < entry.due:
        return Refused("claimed")
    # Due again after the claim: a crash in mid-attempt then leaves nothing to be released.
    outbox = batch.outbox.replacing(entry, replace(entry, tries=entry.tries + 1, due=later(now, fact.seconds)))
    outbox = replace(outbox, deliveries=outbox.deliveries + 1)
    return BatchChange(batch=_with_outbox_wake(replace(batch, outbox=outbox, last_callback=LastCallback(at=now)), now))


def callback_tried(batch: Batch, fact: facts.BatchCallbackTried, now: datetime, settings: Settings) -> BatchDecision:
    """Record the receiver's answer; the callback is then over, or due again later."""
    entry, outbox = batch.outbox.named(fact.entry.kind, fact.entry.subject, fact.entry.since), batch.outbox
    if entry is not None and fact.state is not None:
        outbox = replace(outbox.dropping(entry), callback_state=fact.state)
    elif entry is not None:
        outbox = outbox.replacing(entry, replace(entry, due=later(now, fact.seconds)))
    last = batch.last_callback
    if fact.sent is not None and outbox.deliveries == fact.attempt:  # it is still the last
        last = replace(last, http_status=fact.sent.status, fault=fact.sent.fault)
    return BatchChange(batch=_with_outbox_wake(replace(batch, outbox=outbox, last_callback=last), now))


def callback_requested(
    batch: Batch, fact: facts.BatchCallbackRequested, now: datetime, settings: Settings
) -> BatchDecision:
    """The callback of the batch's end anew, from the first attempt on, whatever became of it before."""
    error: DormouseError | None = None
    if batch.request.callback_url is None:
        error = NoCallback()
    elif not isinstance(batch.phase, Ended):
        error = BatchNotEnded(status_of_batch=batch.status.value)
    return BatchChange(batch=_with_callback(batch, now)) if error is None else Refused(error.code, error)


# --- the steps that they share -----------------------------------------------------------------------


def with_results(batch: Batch, results: Sequence[ItemResult], now: datetime) -> Batch:
    """The batch with these active items ended."""
    if not results:
        return batch
    ended = {result.index for result in results}
    statuses = [result.status for result in results]
    progress = batch.progress
    after = replace(
        progress,
        active=tuple(each for each in progress.active if each.index not in ended),
        completed=progress.completed + statuses.count(RunStatus.COMPLETED),
        incomplete=progress.incomplete + statuses.count(RunStatus.INCOMPLETE),
        failed=progress.failed + statuses.count(RunStatus.FAILED),
        cancelled=progress.cancelled + statuses.count(RunStatus.CANCELLED),
    )
    timed = replace(batch.schedule, progress_at=now)
    return end_if_done(replace(batch, progress=after, schedule=timed, updated_at=now), now)


def cancelled(batch: Batch, now: datetime) -> Batch:
    """The batch as a caller cancels it."""
    progress = replace(
        batch.progress,
        cancelled=batch.progress.cancelled + batch.pending,
        cancelled_from=batch.progress.cursor,
        cursor=batch.request.total,
    )
    # Deleted while it is being cancelled: its pending items are counted already.
    if isinstance(batch.phase, Cancelling):
        progress = batch.progress
    timed = replace(batch.schedule, wake_at=now)
    return end_if_done(replace(batch, phase=Cancelling(), progress=progress, schedule=timed, updated_at=now), now)


def end_if_done(batch: Batch, now: datetime) -> Batch:
    """The batch as it ends, once nothing of it is pending or active: the one place that decides that it is over.

    So the callback is put into the outbox here, in the same write.
    """
    if batch.status.terminal or batch.pending or batch.progress.active:
        return batch
    if isinstance(batch.phase, Deleted):
        # No callback for a tombstone: it may now delete the runs that it has stopped.
        timed = replace(batch.schedule, wake_at=now, retry_after=0.0)
        return replace(batch, phase=replace(batch.phase, status=BatchStatus.CANCELLED), schedule=timed)
    status = BatchStatus.CANCELLED if isinstance(batch.phase, Cancelling) else BatchStatus.COMPLETED
    timed = replace(batch.schedule, wake_at=now, retry_after=0.0)
    ended = replace(batch, phase=Ended(status=status, completed_at=now), schedule=timed, over_at=now, updated_at=now)
    return _with_callback(ended, now)


def _with_callback(batch: Batch, now: datetime) -> Batch:
    """The ended batch with its callback in the outbox, if there is an address for one."""
    if batch.request.callback_url is None:
        return batch
    entry = Entry(kind=EntryKind.CALLBACK, subject=batch.status.value, due=now, since=now)
    return _with_outbox_wake(replace(batch, outbox=replace(batch.outbox, entries=(entry,), callback_state=None)), now)


def _with_outbox_wake(batch: Batch, now: datetime) -> Batch:
    """The ended batch with its next wake where its outbox needs it."""
    due = next((entry.due for entry in batch.outbox), now)  # there is one at most
    return replace(batch, schedule=replace(batch.schedule, wake_at=due))


def _room(batch: Batch, now: datetime) -> int:
    """How many more items may be started now."""
    pace = batch.pace
    if pace.held or (pace.not_before is not None and now < pace.not_before) or not isinstance(batch.phase, Running):
        return 0
    return max(0, min(pace.window, batch.request.concurrency) - len(batch.progress.active))


def _start_items(batch: Batch, count: int, now: datetime) -> tuple[Batch, tuple[Active, ...]]:
    """Start the next ``count`` items. Refused ones are passed over."""
    started: list[Active] = []
    cursor, refused = batch.progress.cursor, frozenset(batch.request.refused)
    while cursor < batch.request.total and len(started) < count:
        if cursor not in refused:
            started.append(Active(index=cursor, since=now))
        cursor += 1
    if not started:
        return batch, ()
    progress = replace(batch.progress, cursor=cursor, active=(*batch.progress.active, *started))
    timed = replace(batch.schedule, progress_at=now)
    after = replace(batch, phase=Running(begun=True), progress=progress, schedule=timed, updated_at=now)
    return after, tuple(started)


def with_pace(batch: Batch, runs: Iterable[Run], ended: int) -> Batch:
    """The batch after a look at these runs of it: held back while the provider's latest answer is a refusal.

    A refusal halves the window, once until the provider takes something again; each item that ends opens it by one.
    """
    seen, pace = list(runs), batch.pace
    # Compared by their times: the runs are read side by side, in no order that means anything.
    accepted = max((at for run in seen if (at := run.turn.accepted_at) is not None), default=None)
    if pace.accepted_at is not None:
        accepted = pace.accepted_at if accepted is None else max(accepted, pace.accepted_at)
    refused = max((at for run in seen if (at := last_refused(run)) is not None), default=None)
    held = refused is not None and (accepted is None or refused > accepted)
    window = pace.window
    # Halved once: a hundred runs that are refused together are one refusal, not a hundred.
    if held and not pace.held:
        window = max(1, window // 2)
    # Opened by one at a time and halved at once, as TCP does, so that it settles below what the provider takes.
    elif not held:
        window = min(batch.request.concurrency, window + ended)
    return replace(batch, pace=replace(pace, accepted_at=accepted, held=held, window=window))


def last_refused(run: Run) -> datetime | None:
    """When the provider last refused to take a run that is still to be created, for now; None if it did not."""
    phase = run.phase
    # An unknown outcome is no refusal: slowing the batch would not help.
    if not isinstance(phase, Creating) or phase.not_before is None or run.turn.unknown_outcomes:
        return None
    # The provider accepts a background create first: its rate limit comes later, as a failed response.
    was_limited = run.chain.provider_status == "failed: rate_limit_exceeded"
    if not phase.not_accepted and phase.denied_since is None and not was_limited:
        return None
    # The row has no time of the refusal itself: it is the end of the wait, less the wait.
    gap = run.schedule.retry_after
    return run.updated_at if gap <= 0 else phase.not_before - timedelta(seconds=gap)


def _with_next_wake(batch: Batch, now: datetime, settings: Settings, jitter: float) -> Batch:
    """The batch with its next wake: soon after something has moved, ever later while nothing does."""
    if batch.status.terminal:
        return batch
    quiet = (now - batch.schedule.progress_at).total_seconds()
    most = max(settings.poll_first, min(settings.poll_max, LONGEST_GAP))
    gap = schedule.poll_gap(quiet, first=settings.poll_first, most=most, jitter=jitter)
    # With no run to look at, a wake before then would find nothing to do.
    if not batch.progress.active and batch.pace.not_before is not None:
        gap = max(gap, (batch.pace.not_before - now).total_seconds())
    timed = replace(batch.schedule, wake_at=later(now, gap), retry_after=round(gap, 3))
    return replace(batch, schedule=timed)


# --- the table ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BatchRule:
    """One line of the table."""

    decide: Callable[[Batch, Any, datetime, Settings], BatchDecision]
    """Any: each rule takes the one class of facts that it stands beside."""

    leads: dict[type[BatchPhase], tuple[type[BatchPhase], ...]]
    """From the phase that it finds to those that it may leave. In any other phase it is refused."""


_STILL_ENDED: dict[type[BatchPhase], tuple[type[BatchPhase], ...]] = {Ended: (Ended,)}

BATCH_TABLE: dict[type[BatchFact], BatchRule] = {
    facts.RunsLookedAt: BatchRule(runs_looked_at, {Running: (Running, Ended)}),
    facts.RunsSubmitted: BatchRule(runs_submitted, {Running: (Running, Ended), Cancelling: (Cancelling, Ended)}),
    facts.RunsStopped: BatchRule(runs_stopped, {Cancelling: (Cancelling, Ended), Deleted: (Deleted,)}),
    facts.BatchCancelRequested: BatchRule(cancel_requested, {Running: (Cancelling, Ended)}),
    facts.BatchDeleted: BatchRule(deleted, {Running: (Deleted,), Cancelling: (Deleted,), Ended: (Deleted,)}),
    facts.RunsPurged: BatchRule(runs_purged, {Deleted: (Deleted,)}),
    facts.RowsPurged: BatchRule(rows_purged, {Deleted: (Deleted,)}),
    facts.BatchWakeCrashed: BatchRule(
        wake_crashed,
        {Running: (Running, Ended), Cancelling: (Cancelling, Ended), Ended: (Ended,), Deleted: (Deleted,)},
    ),
    facts.BatchCallbackClaimed: BatchRule(callback_claimed, _STILL_ENDED),
    facts.BatchCallbackTried: BatchRule(callback_tried, _STILL_ENDED),
    facts.BatchCallbackRequested: BatchRule(
        callback_requested, {Running: (Running,), Cancelling: (Cancelling,), Ended: (Ended,)}
    ),
}


def decide_batch(batch: Batch, fact: BatchFact, now: datetime, settings: Settings) -> BatchDecision:
    """What follows from a fact. Raises ``AssertionError`` for what the table does not allow: a fault of a rule."""
    rule = BATCH_TABLE[type(fact)]
    allowed = rule.leads.get(type(batch.phase), ())
    if not allowed:
        return Refused()
    decision = rule.decide(batch, fact, now, settings)
    if isinstance(decision, BatchChange):
        assert isinstance(decision.batch.phase, allowed), f"{type(fact).__name__} led to {decision.batch.phase}"
    return decision
