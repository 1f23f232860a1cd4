"""What a caller is told of a run: one status after the other, and the last for good."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from shared.runs.model.ids import session_of_due_row
from shared.runs.model.phases import Scheduled
from shared.runs.model.run import Run
from tests.parts.invariants.seen import Seen


def terminal_is_terminal(seen: Seen) -> Iterator[str]:
    """A terminal status, and the result that came with it, never change; what is deleted stays deleted."""
    for run_id, versions in seen.versions.items():
        for before, after in itertools.pairwise(versions):
            if before.terminal and after.status is not before.status:
                yield f"{run_id} was {before.status}, then {after.status}"
            if before.is_deleted and not after.is_deleted:
                yield f"{run_id} was deleted, and came back"
            if before.terminal and not after.is_deleted and after.result != before.result:
                yield f"{run_id} has another result than when it ended"
            if before.completed_at is not None and after.completed_at != before.completed_at:
                yield f"{run_id} ended at {before.completed_at}, then at {after.completed_at}"


def later_runs_begin_once_and_in_time(seen: Seen) -> Iterator[str]:
    """A run that was submitted for later begins once, not before its time; until then it is no active run's slot."""
    for run_id, versions in seen.versions.items():
        begun = {run.schedule.begun_at for run in versions if run.schedule.begun_at is not None}
        if len(begun) > 1:
            yield f"{run_id} began {len(begun)} times"
        start_at = versions[0].request.start_at
        if begun and (start_at is None or min(begun) < start_at):
            yield f"{run_id} began at {min(begun)}, and was submitted for {start_at}"
        for run in versions:
            if isinstance(run.phase, Scheduled) and (run.request.slot is not None or run.turn.attempt):
                yield f"{run_id} has not begun, and has the slot {run.request.slot} and {run.turn.attempt} attempts"


def status_as_without_the_fault(seen: Seen) -> Iterator[str]:
    """A run ends as it would have ended without the fault."""
    for run_id, allowed in seen.expected.items():
        run = _last_known(seen, run_id)
        if run is None:
            yield f"{run_id} is nowhere, and was to be {_words(allowed)}"
        elif run.status not in allowed:
            yield f"{run_id} is {run.status} ({run.result.error_code}), and not {_words(allowed)}"


def everything_ends(seen: Seen) -> Iterator[str]:
    """At rest every run and batch has ended, and nothing is left to do for it but the removal of what is deleted."""
    for run in seen.runs.values():
        if not run.terminal:
            yield f"{run.id} is {run.status} for ever"
        elif not run.is_deleted and run.outbox.entries:
            yield f"{run.id} has ended, and its outbox has {[entry.kind.value for entry in run.outbox]}"
    for batch in seen.batches.values():
        if not batch.is_done and not batch.is_deleted:
            yield f"{batch.id} is {batch.status} for ever, with {len(batch.outbox.entries)} entries in its outbox"
    for subject in seen.due:
        run_of_it, session = seen.runs.get(subject), session_of_due_row(subject)
        if run_of_it is not None and run_of_it.is_done:
            yield f"{subject} has a due row, and nothing is left to do for it"
        if session is not None and session in seen.sessions and seen.sessions[session].deleted_at is None:
            yield f"{subject} has a due row, and the session is not deleted"


def _last_known(seen: Seen, run_id: str) -> Run | None:
    versions = seen.versions.get(run_id)
    return versions[-1] if versions else None


def _words(allowed: frozenset[object]) -> str:
    return " or ".join(sorted(map(str, allowed)))
