"""A batch and its items: what they hold, part by part, as for runs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from shared.runs.model.ids import run_id
from shared.runs.model.outbox import Outbox
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import SCHEMA, Text

MAX_ITEMS = 1_000


class BatchStatus(StrEnum):
    """A batch's status, as callers see it. ``completed`` and ``cancelled`` never change."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRequest:
    """Who asked for what. Set by submit and never changed, but emptied when the batch is deleted."""

    id: str
    """``batch_`` and 32 hex digits."""
    owner: str
    """Who may read it."""

    fingerprint: str
    """Tells this request from any other: the hash of its key, or a random nonce without one."""

    created_at: datetime
    """When it was submitted."""

    total: int
    """How many items."""

    concurrency: int
    """How many of them may be active at once, at most."""

    agent: str | None = None
    """For items that name none."""
    model: str | None = None
    """For items that name none; None: the agent's own."""
    metadata: dict[str, str] = field(default_factory=dict)
    """The caller's own words, given back as they are."""

    # Found at submit, but no reason to refuse the batch: one bad item fails alone.
    refused: tuple[int, ...] = ()
    """Items that were bad when the batch was submitted."""

    callback_url: str | None = None
    """Where its end is reported; None: nowhere."""

    retry_of: str | None = None
    """The batch whose items it runs again; None: its items are new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Items are started."""

    begun: bool = False
    """Whether any was started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelling:
    """What was pending never begins, and what is active is being stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Every item has ended; only the outbox is left."""

    status: BatchStatus
    """``completed`` or ``cancelled``."""
    completed_at: datetime
    """When the last item ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """A tombstone: what is active is stopped, its runs go, then its rows, at last its own."""

    status: BatchStatus
    """``cancelling`` until all that was active is stopped."""

    deleted_at: datetime
    """When it was deleted."""

    purged: int = 0
    """The runs of the items before this one are gone."""

    emptied: bool = False
    """Whether all rows but its own are gone."""


BatchPhase = Running | Cancelling | Ended | Deleted


@dataclass(frozen=True, slots=True, kw_only=True)
class Active:
    """An item that is started: its run is there, or is about to be."""

    index: int
    """The item's place in the batch, from 0."""

    since: datetime
    """When it was started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far it is. The counts and the items' results are written in one transaction, so they always agree."""

    cursor: int = 0
    """Every item before this one was started."""

    active: tuple[Active, ...] = ()
    """Items that were started and have not ended."""
    completed: int = 0
    """Items whose runs completed; ..."""
    incomplete: int = 0
    """... whose runs are incomplete; ..."""
    failed: int = 0
    """... that failed, with or without a run; ..."""
    cancelled: int = 0
    """... that were cancelled, started or not."""

    cancelled_from: int | None = None
    """Of a cancelled batch: the items from here on were never started."""

    # A range, as for a cancelled batch: rows for a thousand items do not fit one transaction.
    failed_from: int | None = None
    """The same of one whose wakes crashed ten times in a row."""

    failed_because: str = ""
    """What the last crash was, for people."""

    @property
    def ended(self) -> int:
        """How many items have."""
        return self.completed + self.incomplete + self.failed + self.cancelled


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What the provider, or a limit here, said to new runs."""

    window: int
    """How many items may be active just now: halved by a refusal, opened by one with each item that ends."""

    accepted_at: datetime | None = None
    """When the provider last took a run of the batch."""

    held: bool = False
    """Whether its last word was a refusal."""

    not_before: datetime | None = None
    """No item is started before; None: at once. Set by submits that have to wait, cleared by those that went well."""

    refusals: int = 0
    """Wakes in a row in which submits had to wait."""

    crashes: int = 0
    """Of these, how many in a row for an exception that nobody expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSchedule:
    """When it is looked at next."""

    wake_at: datetime
    """When it is woken next."""

    progress_at: datetime
    """When something last moved: looks go by the time since then."""

    crashes: int = 0
    """Wakes in a row that ended with an exception that nobody expected."""

    wakes: int = 0
    """Wakes that did something."""
    retry_after: float = 0.0
    """Seconds from the last change to ``wake_at``, as it was then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastCallback:
    """The last attempt at a callback."""

    at: datetime | None = None
    """When it was begun; None: there was none."""

    http_status: int | None = None
    """Neither a status nor a fault: it was cut off."""

    fault: str | None = None
    """Why there is no status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One batch. All times are aware UTC."""

    request: BatchRequest
    """Who asked for what. Never changes."""
    schedule: BatchSchedule
    """When it is looked at."""
    pace: Pace
    """How fast its items may be started."""
    updated_at: datetime
    """When something last changed that a caller sees."""
    phase: BatchPhase = field(default_factory=Running)
    """Where it stands; the status follows from it."""
    progress: Progress = field(default_factory=Progress)
    """How far it is."""
    outbox: Outbox = field(default_factory=Outbox)
    """The callback that is still to be made."""
    last_callback: LastCallback = field(default_factory=LastCallback)
    """How that went so far."""

    over_at: datetime | None = None
    """When it ended, for retention to query by; None before, and of a tombstone."""

    @property
    def id(self) -> str:
        """``batch_`` and 32 hex digits."""
        return self.request.id

    @property
    def status(self) -> BatchStatus:
        """The status that callers see: it follows from the phase."""
        match self.phase:
            case Running(begun=begun):
                return BatchStatus.IN_PROGRESS if begun else BatchStatus.QUEUED
            case Cancelling():
                return BatchStatus.CANCELLING
            case Ended(status=status) | Deleted(status=status):
                return status
        raise AssertionError(self.phase)

    @property
    def is_deleted(self) -> bool:
        """Whether it is a tombstone."""
        return isinstance(self.phase, Deleted)

    @property
    def pending(self) -> int:
        """How many items were not started."""
        # Computed, not stored: a count of its own could disagree with the others.
        return self.request.total - self.progress.ended - len(self.progress.active)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to wake for."""
        return isinstance(self.phase, Ended) and not self.outbox.entries


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchItem:
    """One item as it was given: never changed."""

    index: int
    """Its place in the batch, from 0."""
    id: str | None = None
    """The caller's own name for it, if any."""

    asked: Text = ""
    """Its submission, as JSON; one that was bad has an error instead."""

    error_code: str | None = None
    """What was wrong with it, for programs."""
    error_message: str | None = None
    """The same, for people."""

    retry_of_index: int | None = None
    """Its place in the batch whose items are run again; None: it is new."""

    schema: int = SCHEMA
    """Version of its row's format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemResult:
    """How an item ended: written once."""

    index: int
    """The item's place in the batch, from 0."""
    status: RunStatus
    """A terminal one."""
    ended_at: datetime
    """When it ended."""

    ran: bool = True
    """Whether there is, or was, a run that holds the text."""

    error_code: str | None = None
    """Why it failed, for programs."""
    error_message: str | None = None
    """The same, for people."""
    schema: int = SCHEMA
    """Version of its row's format."""


def session_of(batch: str, index: int) -> str:
    """The session of an item's run. It is derived, so that no crash makes a second one."""
    # Hashed, for an id that has the form of every other session's.
    return hashlib.sha256(f"{batch}:{index}".encode()).hexdigest()[:32]


def run_of(batch: str, index: int) -> str:
    """The id of an item's run: the first of its session."""
    return run_id(session_of(batch, index), 1)


def fingerprint_of(batch: str, index: int) -> str:
    """The fingerprint of an item's run, derived like its session: who submits it again submits the same."""
    return hashlib.sha256(f"{batch}:{index}:submission".encode()).hexdigest()


def counts(batch: Batch) -> dict[str, int]:
    """How many items stand where."""
    progress = batch.progress
    return {
        "total": batch.request.total,
        "pending": batch.pending,
        "active": len(progress.active),
        "completed": progress.completed,
        "incomplete": progress.incomplete,
        "failed": progress.failed,
        "cancelled": progress.cancelled,
    }


def item_status(batch: Batch, index: int, result: ItemResult | None) -> ItemStatus:
    """Where an item stands. The result is to be read after the batch."""
    progress = batch.progress
    # Read after the batch, so that no result is missing for an item that the batch counts as ended.
    if result is not None:
        return ItemStatus(result.status.value)
    if index in batch.request.refused:
        return ItemStatus.FAILED
    if any(each.index == index for each in progress.active):
        return ItemStatus.ACTIVE
    if progress.cancelled_from is not None and index >= progress.cancelled_from:
        return ItemStatus.CANCELLED
    if progress.failed_from is not None and index >= progress.failed_from:
        return ItemStatus.FAILED
    return ItemStatus.PENDING
