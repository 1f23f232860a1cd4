"""The facts of a batch: what happened to it."""

from __future__ import annotations

from dataclasses import dataclass

from shared.runs.model.batch import Active, ItemResult
from shared.runs.model.callbacks import Sent
from shared.runs.model.facts import EntryName
from shared.runs.model.outbox import CallbackState
from shared.runs.model.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsLookedAt:
    """A wake has looked at the runs of the active items. The next items are started in the same write."""

    active: tuple[Active, ...]
    """The items that it looked at. Where the row has others by now, another wake was faster: the fact is refused."""

    ended: tuple[ItemResult, ...]
    """How those of them ended that have."""

    # Whole runs, not counts: the window follows from when each of them was accepted or refused.
    runs: tuple[Run, ...]
    """All runs that it read: the pace follows from them."""

    # A crash between a batch's write and its submits leaves active items without runs.
    missing: int
    """How many of the items have no run yet."""

    jitter: float
    """In [0, 1), to spread the wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsSubmitted:
    """The runs of started items were submitted, or could not be."""

    failed: tuple[ItemResult, ...]
    """Items that have no run, for good."""

    runs: tuple[Run, ...]
    """Those that were submitted."""

    waits: bool
    """Whether some have to be submitted later."""

    # From ``Retry-After``; without it the rules choose a wait that grows.
    wait_seconds: float | None
    """How long to wait, where the provider or a limit here asked for that."""

    # One that crashes at every try must not hold up its batch for ever, so these are counted.
    crashed: bool
    """Whether one of these submits raised an unexpected exception."""

    jitter: float
    """In [0, 1), to spread the wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsStopped:
    """A wake of a batch that is being cancelled has stopped what it could."""

    ended: tuple[ItemResult, ...]
    """How those items ended that it could stop."""

    jitter: float
    """In [0, 1), to spread the wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCancelRequested:
    """The caller cancels it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchDeleted:
    """The caller has it deleted."""

    # Runs that are kept are ordinary ones: each has a session of its own, which may be in use.
    runs: bool
    """Whether its runs go as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsPurged:
    """The runs of a tombstone's items before this one are gone."""

    # A position, not a list: after a crash the purge goes on from here.
    until: int
    """The item's place in the batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsPurged:
    """Some rows of a tombstone are gone, or all."""

    emptied: bool
    """Whether all are."""

    # The tombstone outlives the idempotency key: the same submit must not begin a second batch.
    keep: float
    """Seconds from its deletion until its own row goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchWakeCrashed:
    """A wake raised an unexpected exception."""

    seen: int
    """The count of crashes that the wake saw: two that saw the same are one."""

    error: str
    """The exception's class: its text may hold a secret."""

    # Read before the decision, which does no I/O; left out while the batch has tries left.
    ended: tuple[ItemResult, ...]
    """Where this is the last: how the active items ended."""

    jitter: float
    """In [0, 1), to spread the wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCallbackClaimed:
    """A wake takes the right to make the next attempt at the callback. Never decided again after a lost race."""

    entry: EntryName
    """The callback."""

    tries: int
    """Those made before."""

    # Longer than a sender's timeout: else two wakes could send side by side.
    seconds: float
    """How long no other wake makes one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCallbackTried:
    """What became of an attempt, or that there was no room for one."""

    entry: EntryName
    """The callback."""

    sent: Sent | None = None
    """How the receiver answered; None: no attempt was made."""

    # A late outcome must not overwrite the one of a later attempt.
    attempt: int = 0
    """The attempts that were begun when this one was."""

    state: CallbackState | None = None
    """The end of it; None: again in ``seconds``."""

    seconds: float = 0.0
    """Until the next attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCallbackRequested:
    """The caller wants the callback of the batch's end again."""


BatchFact = (
    RunsLookedAt
    | RunsSubmitted
    | RunsStopped
    | BatchCancelRequested
    | BatchDeleted
    | RunsPurged
    | RowsPurged
    | BatchWakeCrashed
    | BatchCallbackClaimed
    | BatchCallbackTried
    | BatchCallbackRequested
)
