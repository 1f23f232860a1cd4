"""When a schedule's runs are due. Pure: no I/O, no clock.

Cron expressions are read as Debian's cron reads them (``cronsim``), through both changes of the clock: a local time
that is skipped counts as the first one after it, one that comes twice counts once. Where hour or minute is a star, real
time counts: an hourly schedule runs in both of two equal hours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from shared.runs.model.schedules import Missed, RunSchedule
from shared.runs.rules import schedule

PUNCTUAL = timedelta(minutes=10)
"""How late an occurrence may be begun without counting as missed: longer than a deploy, or a sweep that was late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    """What is next for a schedule."""

    schedule: RunSchedule
    """As it is before that."""

    occurrence: datetime | None
    """What is to be begun now; None: nothing is due."""


def check_time_zone(name: str) -> None:
    """Raise ``ValueError``, with what to change, for a zone that is none."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"is no time zone: {name[:64]!r}; give one such as Europe/Berlin") from None


def check_cron(cron: str, moment: datetime) -> None:
    """Raise ``ValueError``, with what to change, for an expression that is none."""
    try:
        next_after(cron, "UTC", moment)
    except CronSimError as error:
        raise ValueError(f"is no cron expression: {str(error).lower()}") from None


def next_after(cron: str, time_zone: str, moment: datetime) -> datetime:
    """The first time after that moment, in UTC. For what was checked: that comes in 40 years at the latest."""
    seconds, fields = _parted(cron)
    local = (moment - timedelta(seconds=seconds)).astimezone(ZoneInfo(time_zone))
    return next(CronSim(fields, local)).astimezone(UTC) + timedelta(seconds=seconds)


def _parted(cron: str) -> tuple[int, str]:
    """The second, and the other five fields. One second only: a sweep comes once a minute, not sixty times."""
    fields = cron.split()
    if len(fields) != 6:
        return 0, " ".join(fields)
    if re.fullmatch(r"[0-5]?[0-9]", fields[0], re.ASCII) is None:
        raise ValueError("the first of six fields is the second, a number from 0 to 59")
    return int(fields[0]), " ".join(fields[1:])


def what_is_next(given: RunSchedule, now: datetime) -> Next:
    """The occurrence that is to be begun, once those are passed over that were missed or refused for too long."""
    at = given.next_at
    if given.paused or at is None or now < (given.not_before or at):
        return Next(schedule=given, occurrence=None)
    if given.tries:
        following = next_after(given.cron, given.time_zone, at)
        if now < following:
            return Next(schedule=given, occurrence=at)
        return what_is_next(_moved_to(given, following), now)
    if now - at > PUNCTUAL and given.missed is Missed.SKIP:
        return what_is_next(_moved_to(given, next_after(given.cron, given.time_zone, now - PUNCTUAL)), now)
    return Next(schedule=given, occurrence=at)


def begun(given: RunSchedule, occurrence: datetime, run: str, now: datetime) -> RunSchedule:
    """The schedule once the occurrence is a run. One that is late stands for all whose time is past."""
    since = now if now - occurrence > PUNCTUAL else occurrence
    done = replace(given, last_at=occurrence, last_run=run, last_error="", last_message="")
    return _moved_to(done, next_after(given.cron, given.time_zone, since))


def refused(
    given: RunSchedule, occurrence: datetime, code: str, message: str, now: datetime, jitter: float
) -> RunSchedule:
    """The schedule once the occurrence was refused: it is tried again until the next one's time comes."""
    tries = given.tries + 1
    return replace(
        given,
        tries=tries,
        not_before=now + timedelta(seconds=schedule.failure_gap(tries, jitter=jitter)),
        last_at=occurrence,
        last_run="",
        last_error=code,
        last_message=message,
    )


def from_now_on(given: RunSchedule, now: datetime) -> RunSchedule:
    """The schedule as it begins, or goes on after a change: no time that is past counts."""
    return _moved_to(given, None if given.paused else next_after(given.cron, given.time_zone, now))


def wake_at(given: RunSchedule) -> datetime | None:
    """When somebody must come back to it; None while it is paused."""
    return None if given.paused else given.not_before or given.next_at


def _moved_to(given: RunSchedule, at: datetime | None) -> RunSchedule:
    return replace(given, next_at=at, not_before=None, tries=0)
