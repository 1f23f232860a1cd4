"""A session: one conversation with one agent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from shared.runs.model.run import SCHEMA


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One conversation with one agent. It moves forward only when a run completes."""

    session_id: str
    """32 hex digits: the partition of all its rows."""
    agent: str
    """The agent's name; all its runs have the same."""
    owner: str
    """Who may read it."""
    created_at: datetime
    """When its first run was submitted."""
    last_activity: datetime
    """When a run of it was last submitted, or ended. Retention goes by this."""

    # Moved by completed runs alone: chaining to a failed response would fail every later run.
    response_id: str | None = None
    """The last good point at the provider. None with completed runs behind it (one was deleted): the next run is
    rebuilt from the items."""

    replay: bool = False
    """Whether chaining did not work there."""

    open_calls: int | None = None
    """The run that ended with calls of its caller's functions, whose outputs the next run has to bring; None: there is
    none. Moved with ``response_id``."""

    # One at a time: two runs side by side would chain to the same response.
    active_run: int | None = None
    """The number of the run that is not terminal, if any: one at a time."""

    next_number: int = 1
    """The number of the next run."""
    deleted_at: datetime | None = None
    """When it became a tombstone; None before."""

    purged: int = 0
    """Of a deleted session: the runs up to this number are deleted too."""

    emptied: bool = False
    """Of a deleted session: whether all of them are."""

    schema: int = SCHEMA
    """Version of its row's format."""
