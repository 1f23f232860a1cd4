"""How each run may end: as its plan says, or for a reason that its history gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from shared.runs.model.phases import RunStatus
from shared.runs.model.run import Run
from shared.settings import Settings
from tests.histories.world import Asked, World
from tests.parts.invariants import Seen

AGENT_TRIES = 3
CRASHES = 10

Expected = dict[str, frozenset[RunStatus]]
Private = dict[str, Sequence[str]]


def expected_of(world: World, seen: Seen) -> tuple[Expected, Private]:
    """By run id: the statuses that are right, and the words that are its caller's alone."""
    expected: Expected = {}
    private: Private = {}
    for run_id, versions in seen.versions.items():
        first = versions[0]
        asked = world.asked.get(first.request.metadata.get("n", ""))
        if asked is not None:
            expected[run_id] = _statuses(world, asked, versions)
            private[run_id] = [asked.words]
    return expected, private


def _statuses(world: World, asked: Asked, versions: Sequence[Run]) -> frozenset[RunStatus]:
    first, ended = versions[0], next((run for run in versions if run.terminal), versions[-1])
    found = planned_ends(asked, world.settings)
    # What is to be handed over may be answered before: then nothing is left, and the run goes on.
    if world.happened[f"answered {first.id}"]:
        found |= planned_ends(replace(asked, hands_over=False), world.settings)
    if any(run_is(first, prefix) for prefix in world.cancelled) or first.request.batch_id in world.cancelled_batches:
        found.add(RunStatus.CANCELLED)
    if ended.status is RunStatus.FAILED and _is_to_blame(world, asked, ended):
        found.add(RunStatus.FAILED)
    return frozenset(found)


def run_is(run: Run, prefix: str) -> bool:
    """Whether the run has this id, or one that begins so."""
    return run.id == prefix or (prefix.endswith("_") and run.id.startswith(prefix))


def planned_ends(asked: Asked, settings: Settings) -> set[RunStatus]:
    """How the run may end where nothing goes wrong."""
    course = asked.course
    if len(course) > asked.turns:
        return {RunStatus.FAILED}
    last = RunStatus.COMPLETED if asked.leaves_calls(course[-1]) else RunStatus(course[-1].status)
    # A response that nobody heard of is one of those that fail, too: fewer are left then.
    if any(turn.fails > settings.create_restarts for turn in course):
        return {RunStatus.FAILED, last}
    return {last}


def _is_to_blame(world: World, asked: Asked, run: Run) -> bool:
    """Whether the history gives the reason for which the run says that it failed."""
    happened, seen, settings = world.happened, world.seen, world.settings
    lasted = ((run.completed_at or world.now()) - (run.schedule.begun_at or run.request.created_at)).total_seconds()
    stops = sum(seen[f"fault {each}"] for each in ("freeze", "slow", "outage_before", "outage_after"))
    raised = sum(count for name, count in happened.items() if name.startswith("raised"))
    match run.result.error_code:
        case "deadline_exceeded":
            return lasted >= asked.deadline
        case "answer_timeout":
            return lasted >= settings.answer_seconds
        case "start_uncertain":
            return happened[f"unknown {run.id}"] + seen["process cut"] + stops >= settings.create_attempts
        case "response_lost":
            return happened[f"missing {run.id}"] >= settings.poll_missing
        case "access_denied":
            return happened[f"denied {run.id}"] > 0
        case "agent_error":
            return happened["raised prepare"] >= AGENT_TRIES
        case "internal_error":
            return raised >= CRASHES
        case "agent_unknown":
            return happened["rollout"] > 0
    return False
