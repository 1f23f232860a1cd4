"""When a schedule's runs are due, through both changes of the clock, outages and refusals."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from shared.runs.model.schedules import Missed, RunSchedule, run_of_occurrence
from shared.runs.rules.occurrences import (
    PUNCTUAL,
    begun,
    check_cron,
    check_time_zone,
    from_now_on,
    next_after,
    refused,
    wake_at,
    what_is_next,
)

BERLIN = "Europe/Berlin"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+00:00")


NOW = utc("2026-11-30T00:00:00")


def a_schedule(**changes: object) -> RunSchedule:
    made = RunSchedule(
        id=f"schedule_{'a' * 32}", owner="o", agent="a", request="{}", cron="0 6 * * *", created_at=NOW, updated_at=NOW
    )
    return from_now_on(replace(made, **changes), NOW)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cron", "zone", "after", "found"),
    [
        ("0 0 6 * * 1", "UTC", "2026-11-29T12:00:00", ["2026-11-30T06:00:00", "2026-12-07T06:00:00"]),
        ("0 6 * * 1", BERLIN, "2026-11-29T12:00:00", ["2026-11-30T05:00:00", "2026-12-07T05:00:00"]),
        ("30 0 6 * * *", "UTC", "2026-11-30T06:00:10", ["2026-11-30T06:00:30", "2026-12-01T06:00:30"]),
        ("30 0 6 * * *", "UTC", "2026-11-30T06:00:30", ["2026-12-01T06:00:30"]),
        # Skipped: 02:30 on 2026-03-29 is not there, and 03:00 is the first minute after it.
        ("30 2 * * *", BERLIN, "2026-03-28T12:00:00", ["2026-03-29T01:00:00", "2026-03-30T00:30:00"]),
        # Doubled: 02:30 on 2026-10-25 comes twice, and counts once.
        ("30 2 * * *", BERLIN, "2026-10-24T12:00:00", ["2026-10-25T00:30:00", "2026-10-26T01:30:00"]),
        ("0 6 29 2 *", "UTC", "2026-01-01T00:00:00", ["2028-02-29T06:00:00"]),
    ],
)
def test_local_times_are_found_in_order(cron: str, zone: str, after: str, found: list[str]) -> None:
    at = utc(after)
    for each in found:
        following = next_after(cron, zone, at)
        assert following == utc(each)
        at = following


@pytest.mark.parametrize(
    "zone", [BERLIN, "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kolkata"]
)
def test_a_daily_time_comes_once_each_day_of_the_year(zone: str) -> None:
    at, seen = utc("2026-01-01T00:00:00"), []
    for _ in range(365):
        following = next_after("15 2 * * *", zone, at)
        seen.append(following)
        at = following
    gaps = {after - before for before, after in itertools.pairwise(seen)}
    assert all(timedelta(hours=22) < gap < timedelta(hours=26) for gap in gaps)


@pytest.mark.parametrize(
    "cron", ["", "* * * *", "0 0 6 * * 1 2026", "61 * * * *", "0 6 30 2 *", "0 6 31 4 *", "0 6 * * 1#6", "0 x * * *"]
)
def test_what_is_no_expression_is_refused(cron: str) -> None:
    with pytest.raises(ValueError, match=r"^is no cron expression: "):
        check_cron(cron, NOW)


@pytest.mark.parametrize("second", ["*/5", "0,30", "*", "60", "\u0661"])
def test_the_second_is_one_number(second: str) -> None:
    with pytest.raises(ValueError, match="the second, a number from 0 to 59"):
        check_cron(f"{second} 0 6 * * *", NOW)


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "../../etc/passwd", "", "Europe", "a" * 300, "x\0"])
def test_what_is_no_zone_is_refused(zone: str) -> None:
    with pytest.raises(ValueError, match=r"^is no time zone: .*Europe/Berlin"):
        check_time_zone(zone)


def test_an_occurrence_is_begun_at_its_time_and_the_next_one_follows() -> None:
    given, at = a_schedule(), utc("2026-11-30T06:00:00")
    assert what_is_next(given, at - timedelta(seconds=1)).occurrence is None
    assert what_is_next(given, at).occurrence == at
    after = begun(given, at, run_of_occurrence(given.id, at), at)
    assert (after.next_at, after.last_at, wake_at(after)) == (at + timedelta(days=1), at, at + timedelta(days=1))


def test_while_it_is_paused_nothing_is_due() -> None:
    given = a_schedule(paused=True)
    assert (given.next_at, wake_at(given)) == (None, None)
    assert what_is_next(replace(given, paused=False), utc("2027-01-01T00:00:00")).occurrence is None
    assert what_is_next(given, utc("2027-01-01T00:00:00")).occurrence is None
    # Also one whose row has a time: what an older version has written counts no more than what is paused.
    paused = replace(a_schedule(), paused=True)
    assert wake_at(paused) is None
    assert what_is_next(paused, utc("2026-11-30T06:00:00")).occurrence is None


def test_a_run_that_was_begun_is_told_in_place_of_an_error() -> None:
    given, at = a_schedule(), utc("2026-11-30T06:00:00")
    after = refused(given, at, "unknown_agent", "No such agent.", at, 0.0)
    assert (after.last_at, after.last_run, after.last_error, after.last_message, after.tries) == (
        at,
        "",
        "unknown_agent",
        "No such agent.",
        1,
    )
    assert after.not_before is not None
    assert after.next_at == at
    assert wake_at(after) == after.not_before > at
    ended = begun(after, at, "run_1", at)
    assert (ended.last_at, ended.last_run, ended.last_error, ended.last_message) == (at, "run_1", "", "")
    assert (ended.tries, ended.not_before) == (0, None)
    later = refused(ended, at + timedelta(days=1), "unknown_agent", "No such agent.", at + timedelta(days=1), 0.0)
    assert later.last_run == ""


@pytest.mark.parametrize(("late", "is_missed"), [(PUNCTUAL, False), (PUNCTUAL + timedelta(milliseconds=1), True)])
def test_ten_minutes_late_is_not_missed_yet(late: timedelta, is_missed: bool) -> None:
    at = utc("2026-11-30T06:00:00")
    found = what_is_next(a_schedule(cron="*/2 * * * *", next_at=at), at)
    given = replace(found.schedule, next_at=at)
    assert (what_is_next(given, at + late).occurrence == at) is not is_missed
    # What stands for one alone is followed by the next one of those that are late, too.
    following = at + (timedelta(minutes=12) if is_missed else timedelta(minutes=2))
    assert begun(given, at, "run", at + late).next_at == following


@pytest.mark.parametrize(
    ("missed", "now", "occurrence", "following"),
    [
        (Missed.SKIP, "2026-12-03T05:00:00", None, "2026-12-03T06:00:00"),
        (Missed.ONCE, "2026-12-03T05:00:00", "2026-11-30T06:00:00", "2026-12-03T06:00:00"),
        (Missed.SKIP, "2026-12-03T06:05:00", "2026-12-03T06:00:00", "2026-12-04T06:00:00"),
        (Missed.ONCE, "2026-12-03T06:05:00", "2026-11-30T06:00:00", "2026-12-04T06:00:00"),
        (Missed.SKIP, "2026-11-30T06:11:00", None, "2026-12-01T06:00:00"),
    ],
)
def test_after_an_outage_all_that_were_missed_are_one_run_or_none(
    missed: Missed, now: str, occurrence: str | None, following: str
) -> None:
    found = what_is_next(a_schedule(missed=missed), utc(now))
    assert found.occurrence == (None if occurrence is None else utc(occurrence))
    after = found.schedule
    if found.occurrence is not None:
        after = begun(after, found.occurrence, "run", utc(now))
    assert after.next_at == utc(following)


def test_what_is_refused_is_tried_until_the_next_ones_time() -> None:
    given, at = a_schedule(cron="0 * * * *"), utc("2026-11-30T01:00:00")
    now, tries, gap = at, 0, timedelta()
    while (found := what_is_next(given, now)).occurrence == at:
        given = refused(found.schedule, at, "too_many_active_runs", "…", now, 0.0)
        assert given.not_before is not None
        assert given.tries == tries + 1
        gap, now, tries = given.not_before - now, given.not_before, tries + 1
        assert what_is_next(given, now - timedelta(seconds=1)).occurrence is None
    assert tries > 15
    assert gap == timedelta(minutes=2), "at most"
    next_one = at + timedelta(hours=1)
    assert what_is_next(replace(given, not_before=next_one), next_one).occurrence == next_one
    assert at + timedelta(hours=1) <= now < at + timedelta(hours=1) + PUNCTUAL
    assert (found.occurrence, found.schedule.tries) == (at + timedelta(hours=1), 0)
    assert (found.schedule.last_at, found.schedule.last_error) == (at, "too_many_active_runs")
