"""What a list shows of a run: kept in the list's own row, so that a page of a list reads no run."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from shared.agentkit.agent import Usage
from shared.runs.model.ids import parse_run_id
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a list shows besides id, status and agent. It is as of the run's last change of status."""

    created_at: datetime
    """When it was submitted."""
    completed_at: datetime | None = None
    """When it ended, if it has."""

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
        """Seconds from submit to the end; None before."""
        ended = self.completed_at
        return None if ended is None else max(0.0, round((ended - self.created_at).total_seconds(), 3))


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


def summary_of(run: Run) -> Summary:
    """What a list is to show of the run as it is now."""
    request, result = run.request, run.result
    return Summary(
        created_at=request.created_at,
        completed_at=run.completed_at,
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
