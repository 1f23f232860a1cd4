"""The phases of a run: each holds what is true only in it, so that no field is meaningless at times."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared.agentkit.agent import ContinuationToken


class RunStatus(StrEnum):
    """A run's status, as callers see it. The last four are terminal and never change."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    REQUIRES_ACTION = "requires_action"
    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether nothing can follow."""
        return self in _TERMINAL


# Outside of the class: an enum would make a member of it.
_TERMINAL = frozenset({RunStatus.COMPLETED, RunStatus.INCOMPLETE, RunStatus.FAILED, RunStatus.CANCELLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """Submitted for later: nothing runs, no deadline, and it is none of its owner's active runs yet."""

    not_before: datetime
    """When it starts; put off by ``NotStarted``."""

    # Kept as a duration, as while a run is parked: it begins when the run does.
    deadline_seconds: float
    """Seconds from its start to its own deadline."""

    refusals: int = 0
    """Tries to start it in a row that found as many active runs of its owner as there may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to make one attempt at creating the turn's response; recorded before the request is sent."""

    # The clock is looked at again before sending: a process may have been frozen since it claimed.
    until: datetime
    """No request is sent that could take longer than this."""

    # A webhook of a slow create may still arrive during the grace, and spares a second response.
    unknown_at: datetime
    """When the attempt counts as one of unknown outcome, unless something was heard of it: claim plus grace."""

    owner: str = ""
    """Random, where the call answers within itself: then the claim is a lease, renewed while the call runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Creating:
    """A response of the turn is to be created. The counts are of tries in a row that surely started nothing."""

    # Kept after the claim ran out: a late webhook may still bring the response of that attempt.
    nonce: str = ""
    """Of the attempt that may still be adopted: the last one, until the next begins or it surely started nothing."""

    claim: Claim | None = None
    """The open claim, if any. Set by ``Claimed``; cleared when its outcome is known, or when it has run out."""

    not_before: datetime | None = None
    """The earliest next try; None: at once. Set by what went wrong, cleared by ``Claimed``."""

    not_accepted: int = 0
    """No connection, 409, 429, 503 with ``Retry-After``."""

    previous_missing: int = 0
    """The response to continue from was not known to the provider."""

    agent_errors: int = 0
    """The agent's own code could not build the request."""

    denied_since: datetime | None = None
    """Since when the provider denies access (401, 403)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """The model thinks. The counts are of looks in a row."""

    token: ContinuationToken
    """Where the run stands at the provider. It never leaves our rows."""

    nonce: str = ""
    """Of the attempt that was adopted: a look takes in nothing that was made for another."""

    next_look: datetime
    """When to ask next how it stands. Set by each look."""

    no_news: int = 0
    """Looks without an answer: transport faults, 429, 5xx, bodies that are no response."""

    # One 404 proves nothing: just after its creation or its end a response may not be found.
    missing: int = 0
    """Looks that found no such response, after the grace period. Other faults in between do not reset it."""

    missing_since: datetime | None = None
    """When the first of those was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to run a turn's tools."""

    owner: str
    """Random; stands in every call's row that it may write, too."""

    until: datetime
    """When another may take it over. Moved by renewals."""

    # A process that ends takes all its calls with it: only a call that ran alone is surely to blame.
    beside_others: bool = False
    """Whether the holder, a second or more after it took the lease, was at work on other tool calls too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningTools:
    """The turn's calls are in their rows, and those that need no answer run."""

    lease: Lease | None = None
    """Who runs them now; None: nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingForAnswers:
    """Parked: nothing runs, nothing is billed, and the run's own deadline stands still."""

    answer_by: datetime
    """When the run fails unless every question was answered."""

    # Kept as a duration: people may take days to answer, and the deadline is for work.
    seconds_left: float | None
    """What is left of the run's own deadline once it goes on; None: it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Only the outbox is left."""

    status: RunStatus
    """One of the four terminal ones; it never changes."""

    completed_at: datetime
    """When it ended."""

    # The row stays for a while: a response created late must find that its run is deleted.
    deleted_at: datetime | None = None
    """When it became a tombstone: no content, only status, fingerprint and outbox."""


Phase = Scheduled | Creating | Pending | RunningTools | WaitingForAnswers | Ended
