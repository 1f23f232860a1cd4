"""What is next for a run, and when: first what time itself decides, then the outbox, then the phase's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared.runs.model.outbox import Entry
from shared.runs.model.phases import Creating, Pending, RunningTools, Scheduled, WaitingForAnswers
from shared.runs.model.run import Run


class ActionKind(StrEnum):
    """What a wake can do. ``advance(only=…)`` names these."""

    TIME_IS_UP = "time_is_up"
    CLAIM_RAN_OUT = "claim_ran_out"
    OUTBOX = "outbox"
    START = "start"
    CREATE = "create"
    LOOK = "look"
    TOOLS = "tools"


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One thing to do, at its time."""

    kind: ActionKind
    """What to do."""

    due: datetime
    """Not before this time."""

    entry: Entry | None = None
    """Of the outbox."""

    @property
    def blocks(self) -> bool:
        """Whether it asks somebody else, and may take long: a wake does one such thing."""
        return self.kind not in (ActionKind.TIME_IS_UP, ActionKind.CLAIM_RAN_OUT)

    @property
    def may_be_early(self) -> bool:
        """Whether it does its work a moment before its time, too."""
        # Durable timers fire up to a second early; an early look is harmless, an early claim or deadline is not.
        return self.kind is ActionKind.LOOK


def agenda(run: Run) -> tuple[Action, ...]:
    """Everything that can be next, in the order in which it would be done; empty when nothing is left to do."""
    # Time first: no work is begun for a run that is over. The outbox next: it stops what costs money.
    return (*_decided_by_time(run), *_of_the_outbox(run), *_of_the_phase(run))


def next_action(run: Run, now: datetime) -> Action | None:
    """The first that is due."""
    return next((action for action in agenda(run) if action.due <= now), None)


def early_look(run: Run, now: datetime) -> Action | None:
    """The look before its time: whoever wakes a run may know of news. Not while the run is to be left alone."""
    # Many signals must not defeat the wait after a crash.
    resume_at = run.schedule.resume_at
    if not isinstance(run.phase, Pending) or (resume_at is not None and now < resume_at):
        return None
    return Action(kind=ActionKind.LOOK, due=now)


def next_time(run: Run) -> Action | None:
    """The action that is due soonest; None: nobody need come back to the run."""
    return min(agenda(run), key=lambda action: action.due, default=None)


def look_or_try(run: Run) -> datetime | None:
    """When the provider is asked next, or something is tried again; None: nothing like it is to be done."""
    # Of these kinds a phase has one at most.
    kinds = (ActionKind.START, ActionKind.LOOK, ActionKind.CREATE, ActionKind.CLAIM_RAN_OUT, ActionKind.TOOLS)
    return next((action.due for action in agenda(run) if action.kind in kinds), None)


def gap_to_next_try(run: Run, now: datetime) -> float:
    """Seconds to the next look or try, which the run's deadline may cut short; 0 while there is none to wait for."""
    if isinstance(run.phase, RunningTools) and run.phase.lease is not None:
        return 0.0  # whoever runs the tools says when, not the schedule
    soonest = look_or_try(run) or now
    if run.schedule.deadline_at is not None:
        soonest = min(soonest, run.schedule.deadline_at)
    return round(max(0.0, (soonest - now).total_seconds()), 3)


def _decided_by_time(run: Run) -> Iterator[Action]:
    if not run.terminal and run.schedule.deadline_at is not None:
        yield Action(kind=ActionKind.TIME_IS_UP, due=run.schedule.deadline_at)
    match run.phase:
        case WaitingForAnswers(answer_by=answer_by):
            yield Action(kind=ActionKind.TIME_IS_UP, due=answer_by)
        case Creating(claim=claim) if claim is not None:
            yield Action(kind=ActionKind.CLAIM_RAN_OUT, due=claim.unknown_at)


def _of_the_outbox(run: Run) -> Iterator[Action]:
    for entry in run.outbox.ready():
        yield Action(kind=ActionKind.OUTBOX, due=_not_before(run, entry.due), entry=entry)


def _of_the_phase(run: Run) -> Iterator[Action]:
    """What can be done at once is due since the run came to it, so that the sweep sees how late it is."""
    match run.phase:
        case Scheduled(not_before=not_before):
            yield Action(kind=ActionKind.START, due=_not_before(run, not_before))
        case Creating(claim=None, not_before=not_before):
            yield Action(kind=ActionKind.CREATE, due=_not_before(run, not_before or run.updated_at))
        case Pending(next_look=next_look):
            yield Action(kind=ActionKind.LOOK, due=_not_before(run, next_look))
        case RunningTools(lease=lease):
            # Moves with each renewal, so a run at work is never overdue.
            due = run.updated_at if lease is None else lease.until
            yield Action(kind=ActionKind.TOOLS, due=_not_before(run, due))


def _not_before(run: Run, due: datetime) -> datetime:
    resume_at = run.schedule.resume_at
    return due if resume_at is None else max(due, resume_at)
