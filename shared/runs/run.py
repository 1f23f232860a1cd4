"""A run, its session and its tool calls: what they hold. Pure: no I/O, no clock."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from shared.agentkit.agent import ContinuationToken, Usage

SCHEMA = 2
"""Of every row that is written. 2 may owe callbacks, and knows batches; who knows only 1 leaves it alone."""


class RunStatus(StrEnum):
    """What a caller is told. The last four are terminal and never change."""

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


_TERMINAL = frozenset({RunStatus.COMPLETED, RunStatus.INCOMPLETE, RunStatus.FAILED, RunStatus.CANCELLED})


class Next(StrEnum):
    """What the next wake does. ``advance`` switches on this and on nothing else."""

    CREATE = "create"
    POLL = "poll"
    TOOLS = "tools"
    ANSWERS = "answers"
    OWED = "owed"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class PartRef:
    """A long value that lies in part rows: its digest and the number of rows."""

    digest: str
    count: int


Text = str | PartRef
"""A value as a row holds it: itself, or where it lies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a run may use up, over all its wakes. ``total_tokens`` None: no limit."""

    turns: int
    tool_calls: int
    total_tokens: int | None = None


class Owed(StrEnum):
    """What can be owed: at the provider the cancel of a response, or the deletion of all that ``response_ids`` names;
    to the caller a callback; here a deleted run's other rows, then its own."""

    CANCEL = "cancel"
    DELETE = "delete"
    CALLBACK = "callback"
    ROWS = "rows"
    TOMBSTONE = "tombstone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Debt:
    """Something a run still owes. ``subject`` is the response id of a cancel, or a callback's event.

    ``since`` is when it arose; a cancel is given up and logged after a day of trying.
    """

    kind: Owed
    subject: str = ""
    due: datetime
    since: datetime
    tries: int = 0

    def same(self, other: Debt) -> bool:
        """Whether it is the same thing that is owed."""
        return self.kind is other.kind and self.subject == other.subject


class CallbackState(StrEnum):
    """What became of the last callback of a run that owes none. ``disabled``: the receiver wants no more (410)."""

    DELIVERED = "delivered"
    GIVEN_UP = "given_up"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One request to an agent, from submit to a terminal status. All times are aware UTC.

    The fields are the properties of its row; ``shared.runs.store.rows`` writes and reads them.
    """

    session_id: str
    number: int
    agent: str
    owner: str
    submission: str
    created_at: datetime
    updated_at: datetime
    deadline_at: datetime | None
    wake_at: datetime
    limits: Limits
    model: str | None = None
    stream: bool = False
    status: RunStatus = RunStatus.QUEUED
    next: Next = Next.CREATE
    completed_at: datetime | None = None
    deleted_at: datetime | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    slot: int | None = None
    batch_id: str | None = None
    schema: int = SCHEMA

    # what an OpenAI client said, and is told again: the run's number that it went on from, whether it would wait
    follows: int | None = None
    background: bool = True

    # where it stands at the provider
    token: ContinuationToken | None = None
    turn: int = 1
    attempt: int = 0
    nonce: str = ""
    claimed_until: datetime | None = None
    unknown_at: datetime | None = None
    not_before: datetime | None = None
    accepted_at: datetime | None = None
    response_ids: tuple[str, ...] = ()
    previous_response_id: str | None = None
    replay: bool = False
    replay_turn: int = 0
    provider_status: str | None = None

    # what went wrong on the way, and how often
    unknown_outcomes: int = 0
    restarts: int = 0
    not_accepted: int = 0
    previous_missing: int = 0
    no_news: int = 0
    missing: int = 0
    missing_since: datetime | None = None
    agent_errors: int = 0
    denied_since: datetime | None = None
    agent_unknown_since: datetime | None = None
    crashes: int = 0

    # the tools of this turn
    lease_owner: str = ""
    lease_until: datetime | None = None
    beside_others: bool = False
    """Whether the holder, a second or more after it took the lease, was at work on other tool calls too."""
    turn_calls: int = 0
    answer_by: datetime | None = None
    deadline_left: float | None = None

    # what it has used and made
    wakes: int = 0
    tool_calls: int = 0
    usage: Usage = field(default_factory=Usage)
    items: int = 0
    text: Text = ""
    output: Text = ""
    corrections: int = 0
    error_code: str | None = None
    error_message: str | None = None
    incomplete_reason: str | None = None
    retry_after: float = 0.0
    debts: tuple[Debt, ...] = ()

    # whom it tells; ``deliveries`` counts the rows of the log that were ever written
    callback_url: str | None = None
    callback_state: CallbackState | None = None
    deliveries: int = 0

    @property
    def id(self) -> str:
        """``run_<session>_<n>``: it carries its partition, so a point read finds it."""
        return run_id(self.session_id, self.number)

    @property
    def terminal(self) -> bool:
        """Whether its status can no longer change."""
        return self.status.terminal

    @property
    def replays(self) -> bool:
        """Whether the current turn is created from full input, not chained to the last response."""
        return self.replay or self.replay_turn == self.turn

    @property
    def due_at(self) -> datetime:
        """When to look at it: at its next wake, or sooner where an active run owes something before that."""
        if self.terminal:
            return self.wake_at
        return min((self.wake_at, *(debt.due for debt in self.debts)))

    def wake_in(self, now: datetime) -> float | None:
        """Seconds until the next wake; None when it is terminal and owes nothing."""
        if self.next is Next.NONE:
            return None
        return max(0.0, (self.wake_at - now).total_seconds())

    def ready_at(self) -> datetime | None:
        """When what is next can first be done, by open claims, backoffs and leases; None: at any time.

        Never later than the deadline, which ends the run whatever is open.
        """
        match self.next:
            case Next.CREATE if self.unknown_at is not None:
                ready: datetime | None = self.unknown_at
            case Next.CREATE:
                ready = self.not_before
            case Next.TOOLS:
                ready = self.lease_until
            case _:
                ready = None
        return ready if ready is None or self.deadline_at is None else min(ready, self.deadline_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One conversation with one agent. It moves forward only when a run completes.

    ``response_id`` is the last good point at the provider; None with completed runs behind it (one was deleted)
    means that the next run is rebuilt from the items. ``replay`` says that chaining did not work there. Of a deleted
    session the runs up to number ``purged`` are deleted too, and once it is ``emptied`` all of them.
    """

    session_id: str
    agent: str
    owner: str
    created_at: datetime
    last_activity: datetime
    response_id: str | None = None
    replay: bool = False
    active_run: int | None = None
    next_number: int = 1
    deleted_at: datetime | None = None
    purged: int = 0
    emptied: bool = False
    schema: int = SCHEMA


class CallState(StrEnum):
    """Where one tool call stands. ``started`` and not finished, by a holder that is gone, means interrupted."""

    WAITING = "waiting"
    OPEN = "open"
    STARTED = "started"
    FINISHED = "finished"


class CallKind(StrEnum):
    """Who makes the call: we do, or the provider does once it is approved (an MCP server's tool)."""

    FUNCTION = "function"
    MCP = "mcp"


class Approval(StrEnum):
    """What a person said of a call; ``none`` where nobody was asked."""

    NONE = "none"
    PENDING = "pending"
    APPROVED = "approved"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """One line of the ledger. ``owner`` fences: who lost the lease gets 412 when it writes.

    ``interruptions``: how many of its starts ended with a process that most likely something else ended. ``why`` is
    what a person is told who is to approve it, ``reason`` what that person said.
    """

    session_id: str
    number: int
    turn: int
    index: int
    call_id: str
    name: str
    arguments: Text
    kind: CallKind = CallKind.FUNCTION
    state: CallState = CallState.OPEN
    approval: Approval = Approval.NONE
    why: str = ""
    reason: str = ""
    progress: str = ""
    progress_fraction: float | None = None
    progress_at: datetime | None = None
    starts: int = 0
    interruptions: int = 0
    owner: str = ""
    result: Text = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    schema: int = SCHEMA

    @property
    def idempotency_key(self) -> str:
        """The same for every start of this call."""
        return f"{run_id(self.session_id, self.number)}:{self.turn}:{self.index}"


_RUN_ID = re.compile(r"run_([0-9a-f]{32})_([1-9][0-9]{0,7})", re.ASCII)


def run_id(session_id: str, number: int) -> str:
    """The id of the ``number``-th run of a session."""
    return f"run_{session_id}_{number}"


def parse_run_id(text: str) -> tuple[str, int] | None:
    """Session id and number of a run id; None when it is none."""
    match = _RUN_ID.fullmatch(text)
    return (match[1], int(match[2])) if match else None


_SESSION_DUE = re.compile(r"session_([0-9a-f]{32})", re.ASCII)


def due_row_of(session_id: str) -> str:
    """What a deleted session is called in the due rows."""
    return f"session_{session_id}"


def session_of_due_row(name: str) -> str | None:
    """The session whose deletion a due row is about; None when it is about a run, or a batch."""
    match = _SESSION_DUE.fullmatch(name)
    return match[1] if match else None


def is_session_id(text: str) -> bool:
    """Whether it has the shape of a session id of ours."""
    return re.fullmatch(r"[0-9a-f]{32}", text, re.ASCII) is not None
