"""Runs as the pure tests make them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.runs.run import Debt, Limits, Owed, Run, RunStatus

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SESSION = "0123456789abcdef" * 2
TERMINAL = [RunStatus.COMPLETED, RunStatus.INCOMPLETE, RunStatus.FAILED, RunStatus.CANCELLED]


def at(seconds: float) -> datetime:
    """So many seconds after NOW."""
    return NOW + timedelta(seconds=seconds)


def a_run(**changes: Any) -> Run:
    """A run as submit makes it, with these changes."""
    run = Run(
        session_id=SESSION,
        number=1,
        agent="novelist",
        owner="app",
        submission="s",
        created_at=NOW,
        updated_at=NOW,
        deadline_at=at(3_600),
        wake_at=NOW,
        limits=Limits(turns=20, tool_calls=100),
    )
    return replace(run, **changes)


def a_debt(subject: str = "resp_1", due: float = 0.0, kind: Owed = Owed.CANCEL) -> Debt:
    """Something owed: a cancel, unless said otherwise."""
    return Debt(kind=kind, subject=subject, due=at(due), since=NOW)
