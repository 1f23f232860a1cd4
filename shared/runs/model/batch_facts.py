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
    """The items that it looked at: another wake that was faster has others."""

    ended: tuple[ItemResult, ...]
    """How those of them ended that have."""

    runs: tuple[Run, ...]
    """All runs that it read: the pace follows from them."""

    missing: int
    """How many of the items have no run yet."""

    jitter: float
    """In [0, 1), to spread the wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsSubmitted:
    """Turns were taken up: runs were submitted, or not."""

    failed: tuple[ItemResult, ...]
    """Items that have no run, for good."""

    runs: tuple[Run, ...]
    """Those that were submitted."""

    waits: bool
    """Whether some have to be submitted later."""

    wait_seconds: float | None
    """What was asked for by whoever sent them away."""

    crashed: bool
    """Whether that was an exception that nobody expected."""

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
    """The caller wants no more of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchDeleted:
    """The caller has it deleted."""

    runs: bool
    """Whether its runs go as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsPurged:
    """The runs of a tombstone's items before this one are gone."""

    until: int
    """The item's place in the batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsPurged:
    """Some rows of a tombstone are gone, or all."""

    emptied: bool
    """Whether all are."""

    keep: float
    """Seconds from its deletion until its own row goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchWakeCrashed:
    """An exception that nobody expected."""

    seen: int
    """The count of crashes that the wake saw: two that saw the same are one."""

    error: str
    """The exception's class: its text may hold a secret."""

    ended: tuple[ItemResult, ...]
    """Where this is the last: how the active items ended."""

    jitter: float
    """In [0, 1), to spread the wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCallbackClaimed:
    """Somebody takes the right to make the next attempt at the callback. Never decided again after a lost race."""

    entry: EntryName
    """The callback."""

    tries: int
    """Those made before."""

    seconds: float
    """How long nobody else makes one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCallbackTried:
    """What became of an attempt, or that there was no room for one."""

    entry: EntryName
    """The callback."""

    sent: Sent | None = None
    """How it was taken; None: there was no room for it."""

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
