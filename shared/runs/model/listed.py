"""What a list shows of a run or a batch: kept in the list's own row, so that a page of a list reads nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from shared.agentkit.agent import Usage
from shared.runs.model.batch import Batch, BatchStatus, Progress
from shared.runs.model.ids import parse_run_id
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import Run
from shared.runs.model.times import seconds_between


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a list shows besides id, status and agent. It is as of the run's last change of status."""

    created_at: datetime
    """When it was submitted."""
    completed_at: datetime | None = None
    """When it ended, if it has."""
    start_at: datetime | None = None
    """When its caller wants it to start; None: at once."""
    begun_at: datetime | None = None
    """When it started, if it was submitted for later."""

    title: str = ""
    """One line."""
    preview: str = ""
    """The beginning of the input's text."""
    model: str | None = None
    """The model that was asked for; None: the agent's own."""
    stream: bool = False
    """Whether it can be followed while it is made."""
    batch_id: str | None = None
    """The batch that it is an item of, if any."""
    metadata: dict[str, str] = field(default_factory=dict)
    """The caller's own words."""

    error_code: str | None = None
    """Why it failed, for programs."""
    error_message: str | None = None
    """The same, for people."""
    incomplete_reason: str | None = None
    """Why the provider stopped early."""
    usage: Usage = field(default_factory=Usage)
    """Tokens, as the provider had counted them by then."""

    @property
    def elapsed_seconds(self) -> float | None:
        """Seconds from submit (of a run for later: from its start) to the end; None before."""
        return seconds_between(self.begun_at or self.created_at, self.completed_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedRun:
    """A run as its owner's list has it."""

    id: str
    """``run_<session>_<n>``."""
    status: RunStatus
    """As a caller sees it."""
    agent: str
    """The agent's name."""
    summary: Summary
    """All else."""

    @property
    def session_id(self) -> str:
        """The session that it belongs to."""
        parsed = parse_run_id(self.id)
        if parsed is None:
            raise ValueError(f"not a run id: {self.id!r}")
        return parsed[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSummary:
    """What a list shows of a batch besides id and status. It is as of the batch's last change of status."""

    created_at: datetime
    """When it was submitted."""
    completed_at: datetime | None = None
    """When its last item ended, if all have."""

    total: int
    """How many items."""
    # Until then they change with each wake, and this row would have to be written as often.
    completed: int = 0
    """Items that ended with a result, once all have ended; before 0, as ..."""
    incomplete: int = 0
    """... those that were cut short, ..."""
    failed: int = 0
    """... those that failed, ..."""
    cancelled: int = 0
    """... and those that were cancelled."""

    agent: str | None = None
    """For items that name none."""
    model: str | None = None
    """The same."""
    concurrency: int = 1
    """How many items may be active at once."""
    metadata: dict[str, str] = field(default_factory=dict)
    """The caller's own words."""
    retry_of: str | None = None
    """The batch whose items it runs again, if any."""

    @property
    def elapsed_seconds(self) -> float | None:
        """Seconds from submit to the end; None before."""
        return seconds_between(self.created_at, self.completed_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedBatch:
    """A batch as its owner's list has it."""

    id: str
    """``batch_`` and 32 hex digits."""
    status: BatchStatus
    """As a caller sees it."""
    summary: BatchSummary
    """All else."""


ListStatus = RunStatus | BatchStatus
"""What a row of a list shows: a run's status or a batch's."""


def list_status(one: Run | Batch) -> ListStatus | None:
    """What its owner's list is to show of it; None: nothing."""
    return None if one.is_deleted else one.status


def summary_of(one: Run | Batch) -> Summary | BatchSummary:
    """What a list is to show of it as it is now."""
    return run_summary(one) if isinstance(one, Run) else batch_summary(one)


def batch_summary(batch: Batch) -> BatchSummary:
    """What a list is to show of the batch as it is now."""
    request, ended = batch.request, batch.progress if batch.status.terminal else Progress()
    return BatchSummary(
        created_at=request.created_at,
        completed_at=batch.over_at,
        total=request.total,
        completed=ended.completed,
        incomplete=ended.incomplete,
        failed=ended.failed,
        cancelled=ended.cancelled,
        agent=request.agent,
        model=request.model,
        concurrency=request.concurrency,
        metadata=request.metadata,
        retry_of=request.retry_of,
    )


def run_summary(run: Run) -> Summary:
    """What a list is to show of the run as it is now."""
    request, result = run.request, run.result
    return Summary(
        created_at=request.created_at,
        completed_at=run.completed_at,
        start_at=request.start_at,
        begun_at=run.schedule.begun_at,
        title=request.title,
        preview=request.preview,
        model=request.model,
        stream=request.stream,
        batch_id=request.batch_id,
        metadata=request.metadata,
        error_code=result.error_code,
        error_message=result.error_message,
        incomplete_reason=result.incomplete_reason,
        usage=run.counters.usage,
    )
