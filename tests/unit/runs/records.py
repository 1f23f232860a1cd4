"""Runs and sessions as tests make them, and how they are written."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.runs.model.outbox import Entry, EntryKind
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import Limits, Request, Run, Schedule
from shared.runs.model.session import Session
from shared.runs.ports import Ports
from shared.runs.store.runs import SessionChange, Stored

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SESSION = "0123456789abcdef" * 2
TERMINAL = [RunStatus.COMPLETED, RunStatus.INCOMPLETE, RunStatus.FAILED, RunStatus.CANCELLED]


def at(seconds: float) -> datetime:
    """So many seconds after NOW."""
    return NOW + timedelta(seconds=seconds)


def a_run(**changes: Any) -> Run:
    """A run as submit makes it, with these changes: of its own fields, or of a part's, whichever has the name."""
    run = Run(
        request=Request(
            session_id=SESSION,
            number=1,
            agent="novelist",
            owner="app",
            fingerprint="s",
            created_at=NOW,
            limits=Limits(turns=20, tool_calls=100),
        ),
        schedule=Schedule(deadline_at=at(3_600)),
        updated_at=NOW,
    )
    own = {each.name for each in fields(run)}
    for name, value in changes.items():
        if name in own:
            run = replace(run, **{name: value})
            continue
        parts = ("request", "schedule", "turn", "chain", "counters", "result", "outbox")
        part = next(each for each in parts if name in {one.name for one in fields(getattr(run, each))})
        run = replace(run, **{part: replace(getattr(run, part), **{name: value})})
    return run


def an_entry(subject: str = "resp_1", due: float = 0.0, kind: EntryKind = EntryKind.CANCEL) -> Entry:
    """Something to do: a cancel, unless said otherwise."""
    return Entry(kind=kind, subject=subject, due=at(due), since=NOW)


def a_session(**changes: Any) -> Session:
    """The session of that run, as the run's end leaves it, with these changes."""
    session = Session(
        session_id=SESSION, agent="novelist", owner="app", created_at=NOW, last_activity=NOW, active_run=None
    )
    return replace(session, **{"next_number": 2, **changes})


async def put(ports: Ports, run: Run, session: Session | None = None, given: str = "[]") -> Stored[Run]:
    """Write this run, with its input and its session."""
    session_id, number = run.request.session_id, run.request.number
    there = await ports.runs.load_session(session_id)
    after = session or a_session(session_id=session_id, next_number=number + 1)
    return await ports.runs.create(run, SessionChange(before=there, after=after), given)
