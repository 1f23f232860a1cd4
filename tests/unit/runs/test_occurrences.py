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
    from_now_on,
    next_after,
    refused,
    wake_at,
    what_is_next,
)

BERLIN = "Europe/Berlin"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+00:00")


def a_schedule(**changes: object) -> RunSchedule:
    now = utc("2026-11-30T00:00:00")
    made = RunSchedule(
        id=f"schedule_{'a' * 32}", owner="o", agent="a", request="{}", cron="0 6 * * *", created_at=now, updated_at=now
    )
    return from_now_on(replace(made, **changes), now)  # type: ignore[arg-type]


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
        assert following is not None
        seen.append(following)
        at = following
    gaps = {after - before for before, after in itertools.pairwise(seen)}
    assert all(timedelta(hours=22) < gap < timedelta(hours=26) for gap in gaps)


@pytest.mark.parametrize(
    ("cron", "zone"),
    [
        ("", "UTC"),
        ("* * * *", "UTC"),
        ("0 0 6 * * 1 2026", "UTC"),
        ("61 * * * *", "UTC"),
        ("*/5 * * * * *", "UTC"),
        ("0,30 * * * * *", "UTC"),
        ("\u0661 0 6 * * *", "UTC"),
        ("0 6 30 2 *", "UTC"),
        ("0 6 * * *", "Europe/Atlantis"),
        ("0 6 * * *", "../../etc/passwd"),
        ("0 6 * * *", ""),
    ],
)
def test_what_is_no_time_is_refused(cron: str, zone: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_cron(cron, zone)


def test_an_occurrence_is_begun_at_its_time_and_the_next_one_follows() -> None:
    given, at = a_schedule(), utc("2026-11-30T06:00:00")
    assert what_is_next(given, at - timedelta(seconds=1)).occurrence is None
    assert what_is_next(given, at).occurrence == at
    after = begun(given, at, run_of_occurrence(given.id, at), at)
    assert (after.next_at, after.last_at, wake_at(after)) == (at + timedelta(days=1), at, at + timedelta(days=1))


def test_while_it_is_paused_nothing_is_due() -> None:
    given = a_schedule(paused=True)
    assert wake_at(given) is None
    assert what_is_next(given, utc("2027-01-01T00:00:00")).occurrence is None


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
    now, tries = at, 0
    while (found := what_is_next(given, now)).occurrence == at:
        given = refused(found.schedule, at, "too_many_active_runs", "…", now, 0.0)
        assert given.not_before is not None
        now, tries = given.not_before, tries + 1
        assert what_is_next(given, now - timedelta(seconds=1)).occurrence is None
    assert tries > 20
    assert at + timedelta(hours=1) <= now < at + timedelta(hours=1) + PUNCTUAL
    assert (found.occurrence, found.schedule.tries) == (at + timedelta(hours=1), 0)
    assert (found.schedule.last_at, found.schedule.last_error) == (at, "too_many_active_runs")
