"""Runs and sessions to write in the contract tests."""

from __future__ import annotations

import secrets
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from shared.runs.model.phases import Ended, RunStatus
from shared.runs.model.run import Limits, Request, Run, Schedule
from shared.runs.model.session import Session

NOW = datetime(2026, 3, 1, 12, 0, 0, 123_456, tzinfo=UTC)
COMPLETED = Ended(status=RunStatus.COMPLETED, completed_at=NOW)
T = TypeVar("T")


def changed(record: T, **changes: Any) -> T:
    """The record with these changes: of its own fields, or of those of the first of its parts that has the name."""
    whole: Any = record
    own = [each.name for each in fields(whole)]
    for name, value in changes.items():
        if name in own:
            whole = replace(whole, **{name: value})
            continue
        part = next(each for each in own if is_dataclass(getattr(whole, each)) and hasattr(getattr(whole, each), name))
        whole = replace(whole, **{part: replace(getattr(whole, part), **{name: value})})
    found: T = whole
    return found


def new_run(session_id: str | None = None, **changes: Any) -> Run:
    """A run as submit makes it, with these changes."""
    run = Run(
        request=Request(
            session_id=session_id or secrets.token_hex(16),
            number=1,
            agent="a",
            owner="o",
            fingerprint=secrets.token_hex(16),
            created_at=NOW,
            limits=Limits(turns=2, tool_calls=3),
        ),
        schedule=Schedule(deadline_at=NOW + timedelta(days=1)),
        updated_at=NOW,
    )
    return changed(run, **changes)


def session_of(run: Run, **fields: Any) -> Session:
    """The session as the run's submit leaves it."""
    given: dict[str, Any] = {
        "session_id": run.request.session_id,
        "agent": run.request.agent,
        "owner": run.request.owner,
        "created_at": NOW,
        "last_activity": NOW,
        "active_run": run.request.number,
        "next_number": run.request.number + 1,
    }
    return Session(**{**given, **fields})
