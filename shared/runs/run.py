"""A run, its session and its tool calls: what they hold, and what may follow what. Pure: no I/O, no clock."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from shared.agentkit.agent import ContinuationToken, Usage

SCHEMA = 1


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Debt:
    """Something a run still owes: the provider's response ``response_id`` is to be cancelled.

    ``since`` is when it arose; after a day of trying it is given up and logged.
    """

    response_id: str
    due: datetime
    since: datetime
    tries: int = 0


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
    status: RunStatus = RunStatus.QUEUED
    next: Next = Next.CREATE
    completed_at: datetime | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    schema: int = SCHEMA

    # where it stands at the provider
    token: ContinuationToken | None = None
    turn: int = 1
    attempt: int = 0
    nonce: str = ""
    claimed_until: datetime | None = None
    not_before: datetime | None = None
    accepted_at: datetime | None = None
    response_ids: tuple[str, ...] = ()
    previous_response_id: str | None = None
    replay: bool = False
    provider_status: str | None = None

    # what went wrong on the way, and how often
    unknown_outcomes: int = 0
    restarts: int = 0
    not_accepted: int = 0
    previous_missing: int = 0
    no_news: int = 0
    denied_since: datetime | None = None
    agent_unknown_since: datetime | None = None
    crashes: int = 0

    # the tools of this turn
    lease_owner: str = ""
    lease_until: datetime | None = None
    turn_calls: int = 0

    # what it has used and made
    wakes: int = 0
    tool_calls: int = 0
    usage: Usage = field(default_factory=Usage)
    items: int = 0
    text: Text = ""
    error_code: str | None = None
    error_message: str | None = None
    incomplete_reason: str | None = None
    retry_after: float = 0.0
    debts: tuple[Debt, ...] = ()

    @property
    def id(self) -> str:
        """``run_<session>_<n>``: it carries its partition, so a point read finds it."""
        return run_id(self.session_id, self.number)

    @property
    def terminal(self) -> bool:
        """Whether its status can no longer change."""
        return self.status.terminal

    def wake_in(self, now: datetime) -> float | None:
        """Seconds until the next wake; None when it is terminal and owes nothing."""
        if self.next is Next.NONE:
            return None
        return max(0.0, (self.wake_at - now).total_seconds())

    def ready_at(self, grace: timedelta) -> datetime | None:
        """When what is next can first be done, by open claims, backoffs and leases; None: at any time.

        Never later than the deadline, which ends the run whatever is open.
        """
        match self.next:
            case Next.CREATE if self.claimed_until is not None:
                ready: datetime | None = self.claimed_until + grace
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

    ``response_id`` is the last good point at the provider; ``replay`` says that chaining did not work there.
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
    schema: int = SCHEMA


class CallState(StrEnum):
    """Where one tool call stands. ``started`` and not finished, by a holder that is gone, means interrupted."""

    OPEN = "open"
    STARTED = "started"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """One line of the ledger. ``owner`` fences: who lost the lease gets 412 when it writes."""

    session_id: str
    number: int
    turn: int
    index: int
    call_id: str
    name: str
    arguments: Text
    state: CallState = CallState.OPEN
    starts: int = 0
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


def is_session_id(text: str) -> bool:
    """Whether it has the shape of a session id of ours."""
    return re.fullmatch(r"[0-9a-f]{32}", text, re.ASCII) is not None


def finish(
    run: Run,
    now: datetime,
    status: RunStatus,
    *,
    code: str | None = None,
    message: str | None = None,
    cancel_at_provider: bool = False,
) -> Run:
    """The run as it ends. Clears what belongs to the way, and notes what is still owed to the provider."""
    debts = run.debts
    if cancel_at_provider and run.token is not None:
        debts = with_debt(debts, run.token.response_id, now)
    return replace(
        run,
        status=status,
        next=Next.OWED if debts else Next.NONE,
        debts=debts,
        error_code=code,
        error_message=None if message is None else message[:4_000],
        token=None,
        claimed_until=None,
        not_before=None,
        nonce="",
        lease_owner="",
        lease_until=None,
        completed_at=now,
        updated_at=now,
        wake_at=min((debt.due for debt in debts), default=now),
        retry_after=0.0,
    )


def with_debt(debts: tuple[Debt, ...], response_id: str, now: datetime) -> tuple[Debt, ...]:
    """The debts with a cancel of ``response_id`` among them."""
    if any(debt.response_id == response_id for debt in debts):
        return debts
    return (*debts, Debt(response_id=response_id, due=now, since=now))


def without_debt(run: Run, response_id: str, now: datetime) -> Run:
    """The run with that debt paid; a terminal run that owes nothing more has nothing next."""
    debts = tuple(debt for debt in run.debts if debt.response_id != response_id)
    return with_debts(run, debts, now)


def with_debts(run: Run, debts: tuple[Debt, ...], now: datetime) -> Run:
    """The run owing these; what is next for a terminal run follows from them."""
    if not run.terminal:
        return replace(run, debts=debts)
    return replace(
        run,
        debts=debts,
        next=Next.OWED if debts else Next.NONE,
        wake_at=min((debt.due for debt in debts), default=now),
    )


def wake_later(run: Run, now: datetime, seconds: float) -> Run:
    """The run with its next wake ``seconds`` ahead, or at its deadline if that is sooner."""
    wake_at = now + timedelta(seconds=seconds)
    if run.deadline_at is not None and not run.terminal:
        wake_at = min(wake_at, max(run.deadline_at, now))
    return replace(run, wake_at=wake_at, retry_after=round((wake_at - now).total_seconds(), 3))
