"""Scheduled: what becomes of a run that was submitted for later, once its time has come."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from shared.runs.model.facts import NotStarted, Started
from shared.runs.model.phases import Creating, Scheduled
from shared.runs.rules import schedule
from shared.runs.rules.change import Before, Change, Decision, Refused, later
from shared.settings import Settings

COMMIT_WITHIN = timedelta(minutes=2)
"""How long after it took its slot a submit may still commit its run, and a start that the run has begun."""


def started(before: Before, fact: Started, now: datetime, settings: Settings) -> Decision:
    """The run as a submit would have made it now: its own deadline begins."""
    run, phase = before.run, before.run.phase
    if not isinstance(phase, Scheduled) or now < phase.not_before:
        return Refused("too_early")
    # A process may have been frozen since it took the slot, which may be another run's soon.
    if fact.slot is not None and now - fact.taken_at > COMMIT_WITHIN:
        return Refused("slot_lost")
    return Change(
        run=replace(
            run,
            request=replace(run.request, slot=fact.slot),
            phase=Creating(),
            schedule=replace(run.schedule, deadline_at=later(now, phase.deadline_seconds), begun_at=now),
            counters=replace(run.counters, wakes=run.counters.wakes + 1),
            updated_at=now,
        )
    )


def not_started(before: Before, fact: NotStarted, now: datetime, settings: Settings) -> Decision:
    """It stays queued, and is tried again after a wait that grows."""
    run, phase = before.run, before.run.phase
    if not isinstance(phase, Scheduled) or phase.refusals != fact.refusals:
        return Refused()
    refusals = fact.refusals + 1
    gap = schedule.failure_gap(refusals, jitter=fact.jitter)
    return Change(
        run=replace(
            run,
            phase=replace(phase, not_before=later(now, gap), refusals=refusals),
            counters=replace(run.counters, wakes=run.counters.wakes + 1),
        )
    )
