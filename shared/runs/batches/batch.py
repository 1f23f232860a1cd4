"""A batch and its items: what they hold, and what may follow what. Pure: no I/O, no clock."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from shared.runs.run import SCHEMA, CallbackState, Debt, Next, Owed, Run, RunStatus, Text, run_id

MOST_ITEMS = 1_000


class BatchStatus(StrEnum):
    """What a caller is told of a batch. ``completed`` and ``cancelled`` never change."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    CANCELLED = "cancelled"

    @property
    def over(self) -> bool:
        """Whether every item has ended."""
        return self in (BatchStatus.COMPLETED, BatchStatus.CANCELLED)


class ItemStatus(StrEnum):
    """Where an item stands. An ended one has the word of its run."""

    PENDING = "pending"
    ACTIVE = "active"
    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Active:
    """An item that has its turn: its run is there, or is about to be. ``since`` is when its turn came."""

    index: int
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One batch, as its row holds it. All times are aware UTC.

    ``refused`` are the items that were bad when the batch was submitted; every item before ``cursor`` has had its
    turn, and of a cancelled batch those from ``cancelled_from`` on never will, nor those from ``failed_from`` on of one
    whose wakes crashed ten times in a row. The counts and the items' results are
    written in one transaction, so they always agree. ``window`` is how many items may be active just now. Of a
    deleted batch the runs of the items before ``purged`` are gone, and once ``emptied`` all rows but its own.

    ``debts`` holds the callback that it owes, if any. ``callback_attempts`` counts them all; ``callback_at`` is when
    the last one was begun, and how it was taken is next to it: neither a status nor a fault when it was cut off.
    """

    id: str
    owner: str
    submission: str
    created_at: datetime
    updated_at: datetime
    wake_at: datetime
    progress_at: datetime
    total: int
    concurrency: int
    window: int
    agent: str | None = None
    model: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    status: BatchStatus = BatchStatus.QUEUED
    refused: tuple[int, ...] = ()
    cursor: int = 0
    active: tuple[Active, ...] = ()
    cancelled_from: int | None = None
    failed_from: int | None = None
    failed_because: str = ""
    completed: int = 0
    incomplete: int = 0
    failed: int = 0
    cancelled: int = 0
    completed_at: datetime | None = None
    deleted_at: datetime | None = None
    purged: int = 0
    emptied: bool = False

    callback_url: str | None = None
    callback_state: CallbackState | None = None
    callback_attempts: int = 0
    callback_at: datetime | None = None
    callback_http_status: int | None = None
    callback_fault: str | None = None
    debts: tuple[Debt, ...] = ()

    # what the provider, or a limit here, said to new runs
    accepted_at: datetime | None = None
    held: bool = False
    not_before: datetime | None = None
    refusals: int = 0

    crashes: int = 0
    wake_crashes: int = 0
    wakes: int = 0
    retry_after: float = 0.0
    schema: int = SCHEMA

    @property
    def pending(self) -> int:
        """How many items have not had their turn."""
        ended = self.completed + self.incomplete + self.failed + self.cancelled
        return self.total - ended - len(self.active)

    @property
    def done(self) -> bool:
        """Whether nothing is left to wake for."""
        return self.status.over and self.deleted_at is None and not self.debts


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchItem:
    """One item as it was given: never changed. ``asked`` is its submission as JSON; one that was bad has an error."""

    index: int
    id: str | None = None
    asked: Text = ""
    error_code: str | None = None
    error_message: str | None = None
    schema: int = SCHEMA


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How an item ended: written once. ``ran``: there is, or was, a run that holds the text."""

    index: int
    status: RunStatus
    ended_at: datetime
    ran: bool = True
    error_code: str | None = None
    error_message: str | None = None
    schema: int = SCHEMA


_BATCH_ID = re.compile(r"batch_[0-9a-f]{32}", re.ASCII)


def batch_id(name: str) -> str:
    """The id of a batch from its 32 hex digits."""
    return f"batch_{name}"


def is_batch_id(text: str) -> bool:
    """Whether it has the shape of a batch's id."""
    return _BATCH_ID.fullmatch(text) is not None


def session_of(batch: str, index: int) -> str:
    """The session of an item's run. It is derived, so that no crash makes a second one."""
    return hashlib.sha256(f"{batch}:{index}".encode()).hexdigest()[:32]


def run_of(batch: str, index: int) -> str:
    """The id of an item's run: the first of its session."""
    return run_id(session_of(batch, index), 1)


def submission_of(batch: str, index: int) -> str:
    """The submission of an item's run, derived like its session: who submits it again submits the same."""
    return hashlib.sha256(f"{batch}:{index}:submission".encode()).hexdigest()


def result_of(index: int, run: Run) -> Result:
    """How an item ended whose run is terminal."""
    return Result(
        index=index,
        status=run.status,
        ended_at=run.completed_at or run.updated_at,
        error_code=run.error_code,
        error_message=run.error_message,
    )


def counts(batch: Batch) -> dict[str, int]:
    """How many items stand where."""
    return {
        "total": batch.total,
        "pending": batch.pending,
        "active": len(batch.active),
        "completed": batch.completed,
        "incomplete": batch.incomplete,
        "failed": batch.failed,
        "cancelled": batch.cancelled,
    }


def item_status(batch: Batch, index: int, result: Result | None) -> ItemStatus:
    """Where an item stands. The result is to be read after the batch."""
    if result is not None:
        return ItemStatus(result.status.value)
    if index in batch.refused:
        return ItemStatus.FAILED
    if any(each.index == index for each in batch.active):
        return ItemStatus.ACTIVE
    if batch.cancelled_from is not None and index >= batch.cancelled_from:
        return ItemStatus.CANCELLED
    if batch.failed_from is not None and index >= batch.failed_from:
        return ItemStatus.FAILED
    return ItemStatus.PENDING


def close(batch: Batch, now: datetime) -> Batch:
    """The batch as it ends, once nothing of it is pending or active. The one place that decides that it is over.

    So this is where its callback is owed, in the same write.
    """
    if batch.status.over or batch.pending or batch.active:
        return batch
    cancelled = batch.status is BatchStatus.CANCELLING
    ended = replace(
        batch,
        status=BatchStatus.CANCELLED if cancelled else BatchStatus.COMPLETED,
        completed_at=now,
        updated_at=now,
        wake_at=now,
        retry_after=0.0,
    )
    return tell(ended, now)


def tell(batch: Batch, now: datetime) -> Batch:
    """The ended batch with its end to be told, from the first attempt on, if its caller wants to know."""
    if batch.callback_url is None:
        return batch
    debt = Debt(kind=Owed.CALLBACK, subject=batch.status.value, due=now, since=now)
    return with_debts(replace(batch, callback_state=None), (debt,), now)


def with_debts(batch: Batch, debts: tuple[Debt, ...], now: datetime) -> Batch:
    """The ended batch owing these; they are what it wakes for."""
    return replace(batch, debts=debts, wake_at=min((debt.due for debt in debts), default=now))


def settle(batch: Batch, results: Sequence[Result], now: datetime) -> Batch:
    """The batch with these active items ended."""
    if not results:
        return batch
    ended = {result.index for result in results}
    words = [result.status for result in results]
    after = replace(
        batch,
        active=tuple(each for each in batch.active if each.index not in ended),
        completed=batch.completed + words.count(RunStatus.COMPLETED),
        incomplete=batch.incomplete + words.count(RunStatus.INCOMPLETE),
        failed=batch.failed + words.count(RunStatus.FAILED),
        cancelled=batch.cancelled + words.count(RunStatus.CANCELLED),
        progress_at=now,
        updated_at=now,
    )
    return close(after, now)


def room(batch: Batch, now: datetime) -> int:
    """How many more items may have their turn now."""
    if batch.held or (batch.not_before is not None and now < batch.not_before):
        return 0
    return max(0, min(batch.window, batch.concurrency) - len(batch.active))


def take(batch: Batch, count: int, now: datetime) -> tuple[Batch, tuple[Active, ...]]:
    """Give the next ``count`` items their turn: the batch, and which they are. Refused ones are passed over."""
    taken: list[Active] = []
    cursor = batch.cursor
    refused = frozenset(batch.refused)
    while cursor < batch.total and len(taken) < count:
        if cursor not in refused:
            taken.append(Active(cursor, now))
        cursor += 1
    if not taken:
        return batch, ()
    after = replace(
        batch,
        status=BatchStatus.IN_PROGRESS,
        cursor=cursor,
        active=(*batch.active, *taken),
        progress_at=now,
        updated_at=now,
    )
    return after, tuple(taken)


def cancel(batch: Batch, now: datetime) -> Batch:
    """The batch as a caller cancels it: what is pending never begins, what is active is to be stopped."""
    if batch.status.over or batch.status is BatchStatus.CANCELLING:
        return batch
    after = replace(
        batch,
        status=BatchStatus.CANCELLING,
        cancelled=batch.cancelled + batch.pending,
        cancelled_from=batch.cursor,
        cursor=batch.total,
        updated_at=now,
        wake_at=now,
    )
    return close(after, now)


def give_up(batch: Batch, ended: Sequence[Result], said: str, now: datetime) -> Batch:
    """The batch as it ends though it was not done: with these results of what was active, and the rest failed."""
    after = replace(
        batch,
        failed=batch.failed + batch.pending,
        failed_from=batch.cursor,
        failed_because=said,
        cursor=batch.total,
        updated_at=now,
    )
    return close(settle(after, ended, now), now)


def entomb(batch: Batch, now: datetime, *, runs: bool) -> Batch:
    """The batch as a tombstone: cancelled if it was active, and without content. ``runs``: they are deleted too."""
    return replace(
        cancel(batch, now),
        deleted_at=now,
        updated_at=now,
        wake_at=now,
        purged=0 if runs else batch.total,
        metadata={},
        agent=None,
        model=None,
        callback_url=None,
        callback_state=None,
        callback_http_status=None,
        callback_fault=None,
        debts=(),
    )


def refused_at(run: Run) -> datetime | None:
    """When the provider last refused to take a run that is still to be created, for now; None if it did not."""
    if run.next is not Next.CREATE or run.not_before is None or run.unknown_outcomes:
        return None
    if not run.not_accepted and run.denied_since is None and run.provider_status != "failed: rate_limit_exceeded":
        return None
    return run.updated_at if run.retry_after <= 0 else run.wake_at - timedelta(seconds=run.retry_after)


def pace(batch: Batch, runs: Iterable[Run], settled: int) -> Batch:
    """The batch after a look at these runs of it: held back while the provider's last word was a refusal.

    A refusal halves the window, once until the provider takes something again; each item that ends opens it by one.
    """
    seen = list(runs)
    accepted = max((run.accepted_at for run in seen if run.accepted_at is not None), default=None)
    if batch.accepted_at is not None:
        accepted = batch.accepted_at if accepted is None else max(accepted, batch.accepted_at)
    refused = max((at for run in seen if (at := refused_at(run)) is not None), default=None)
    held = refused is not None and (accepted is None or refused > accepted)
    window = batch.window
    if held and not batch.held:
        window = max(1, window // 2)
    elif not held:
        window = min(batch.concurrency, window + settled)
    return replace(batch, accepted_at=accepted, held=held, window=window)
