"""Runs and sessions to write in the contract tests."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.runs.run import Limits, Run, Session

NOW = datetime(2026, 3, 1, 12, 0, 0, 123_456, tzinfo=UTC)


def new_run(session_id: str | None = None, **fields: Any) -> Run:
    """A run as submit makes it."""
    given: dict[str, Any] = {
        "session_id": session_id or secrets.token_hex(16),
        "number": 1,
        "agent": "a",
        "owner": "o",
        "submission": secrets.token_hex(16),
        "created_at": NOW,
        "updated_at": NOW,
        "deadline_at": NOW + timedelta(days=1),
        "wake_at": NOW,
        "limits": Limits(turns=2, tool_calls=3),
    }
    return Run(**{**given, **fields})


def session_of(run: Run, **fields: Any) -> Session:
    """The session as the run's submit leaves it."""
    given: dict[str, Any] = {
        "session_id": run.session_id,
        "agent": run.agent,
        "owner": run.owner,
        "created_at": NOW,
        "last_activity": NOW,
        "active_run": run.number,
        "next_number": run.number + 1,
    }
    return Session(**{**given, **fields})
