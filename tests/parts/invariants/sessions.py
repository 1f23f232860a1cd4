"""A session: one run at a time, and forward only with runs that completed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from shared.runs.model.phases import RunStatus
from shared.runs.model.run import Run
from shared.runs.model.session import Session
from tests.parts.invariants.seen import Seen


def session_at_its_last_good_point(seen: Seen) -> Iterator[str]:
    """A session continues from the response of its last completed run; after a deletion, from its items alone."""
    for session_id, runs in _runs_by_session(seen).items():
        session = seen.sessions.get(session_id)
        if session is None or session.deleted_at is not None or runs[0].request.branch_of is not None:
            continue
        allowed = _good_points(session, runs)
        if session.response_id not in allowed:
            yield f"{session_id} continues from {session.response_id}, and not from {sorted(map(str, allowed))}"


def _good_points(session: Session, runs: Sequence[Run]) -> set[str | None]:
    completed = [run for run in runs if run.status is RunStatus.COMPLETED]
    last = completed[-1].chain.last_response_id if completed else None
    is_whole = len(runs) == session.next_number - 1 and not any(run.is_deleted for run in runs)
    # A run that was deleted takes what the provider has of it along, whatever completed before or after.
    return {last} if is_whole else {last, None}


def one_active_run_a_session(seen: Seen) -> Iterator[str]:
    """A session names the one run of it that has not ended, and none that has, or is not there."""
    for session_id, runs in _runs_by_session(seen).items():
        session = seen.sessions.get(session_id)
        active = [run.request.number for run in runs if not run.terminal]
        if session is None:
            yield f"{session_id} is gone, and has {len(runs)} runs"
            continue
        named = [] if session.active_run is None else [session.active_run]
        if active != named:
            yield f"{session_id} names {named} as active, and {active} are"
        if max(run.request.number for run in runs) >= session.next_number:
            yield f"{session_id} gives the number {session.next_number} again"
    for session in seen.sessions.values():
        if session.active_run is not None and session.session_id not in _runs_by_session(seen):
            yield f"{session.session_id} names run {session.active_run} as active, and has none"


def _runs_by_session(seen: Seen) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = defaultdict(list)
    for run in sorted(seen.runs.values(), key=lambda each: each.request.number):
        found[run.request.session_id].append(run)
    return found
