"""One wake of a schedule: the occurrence whose time has come is submitted as a run, and the next one is found."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from shared.errors import DormouseError, RunDeleted
from shared.runs.actions.outcome import Outcome
from shared.runs.commands.submission import Submitted
from shared.runs.commands.submit import submit
from shared.runs.concurrency import LostRace
from shared.runs.model.schedules import RunSchedule, run_of_occurrence
from shared.runs.ports import Ports, log
from shared.runs.rules.occurrences import begun, refused, wake_at, what_is_next
from shared.runs.schedules.own import is_retired
from shared.runs.schedules.request import submission_of
from shared.runs.store.runs import Stored
from shared.runs.store.tables import Conflict

RACE_GAP = 1.0
"""Seconds to the next wake where another has changed the schedule meanwhile."""

RETIRED_GAP = 600.0
"""Seconds to the next look at a schedule that stood beside an agent and is gone from there."""


class ScheduleStatus(StrEnum):
    """Where a schedule stands."""

    ACTIVE = "active"
    PAUSED = "paused"


class Starter(Protocol):
    """What starts the driver of a run that was submitted."""

    async def start_run(self, submitted: Submitted) -> None:
        """Start what drives it."""
        ...


async def advance_schedule(ports: Ports, subject: str, driver: Starter) -> Outcome:
    """Submit what is due, once: wherever a process dies, the next wake submits the same run.

    Raises ``StoreUnavailable``.
    """
    row = await ports.due.get(subject)
    stored = None if row is None else await ports.schedules.at(row.listed)
    if stored is None:
        return Outcome(None, None)
    if is_retired(ports, stored.value):  # a version that has it may be there beside this one
        return Outcome(ScheduleStatus.ACTIVE, RETIRED_GAP)
    after = await _advanced(ports, stored, driver)
    if after != stored.value:
        try:
            await ports.schedules.save(stored, after)
        except Conflict:  # its owner has changed it, or another wake was faster: what that has written counts
            return Outcome(ScheduleStatus.ACTIVE, RACE_GAP)
    return outcome_of(ports, after)


def outcome_of(ports: Ports, schedule: RunSchedule) -> Outcome:
    """What the row says."""
    at = wake_at(schedule)
    if at is None:
        return Outcome(ScheduleStatus.PAUSED, None)
    return Outcome(ScheduleStatus.ACTIVE, max(0.0, (at - ports.clock()).total_seconds()))


async def _advanced(ports: Ports, stored: Stored[RunSchedule], driver: Starter) -> RunSchedule:
    """The schedule after what is due was tried."""
    found = what_is_next(stored.value, ports.clock())
    if found.occurrence is None:
        return found.schedule
    given, occurrence = found.schedule, found.occurrence
    try:
        submitted = await submit(ports, submission_of(given, occurrence))
    except LostRace:
        return given
    except RunDeleted:  # it was begun by a wake that died before it said so, and its owner wants no more of it
        return begun(given, occurrence, run_of_occurrence(given.id, occurrence), ports.clock())
    except DormouseError as error:
        log.warning("%s: its run of %s was refused: %s", given.id, occurrence.isoformat(), error.code)
        return refused(given, occurrence, error.code, error.message, ports.clock(), ports.random())
    await driver.start_run(submitted)
    return begun(given, occurrence, submitted.run.id, ports.clock())
