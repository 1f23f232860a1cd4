"""Schedules of timer triggers, as tables."""

from datetime import UTC, datetime, timedelta

import pytest

from local.host.schedules import Every, ScheduleError, parse_schedule, parse_timespan, substitute
from tests.parts.cases import cases


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@cases(
    ("schedule", "now", "expected"),
    [
        ("*/10 * * * * *", "2026-01-01T00:00:00", "2026-01-01T00:00:10"),
        ("*/10 * * * * *", "2026-01-01T00:00:09.999", "2026-01-01T00:00:10"),
        ("*/10 * * * * *", "2026-01-01T00:00:10.001", "2026-01-01T00:00:20"),
        ("0 * * * * *", "2026-01-01T23:59:30", "2026-01-02T00:00:00"),
        ("0 */5 * * * *", "2026-01-01T00:58:00", "2026-01-01T01:00:00"),
        ("*/5 * * * *", "2026-01-01T00:01:00", "2026-01-01T00:05:00"),
        ("0 30 3 * * *", "2026-12-31T03:30:00", "2027-01-01T03:30:00"),
        ("0 0 0 1 * *", "2026-01-15T00:00:00", "2026-02-01T00:00:00"),
        ("0 0 0 29 2 *", "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
        ("0 0 12 * * 1-5", "2026-11-20T12:00:00", "2026-11-23T12:00:00"),
        ("0 0 12 * * mon,wed", "2026-11-23T12:00:00", "2026-11-25T12:00:00"),
        ("0 0 12 * * SUN", "2026-11-21T00:00:00", "2026-11-22T12:00:00"),
        ("0 0 0 * jan *", "2026-11-21T00:00:00", "2027-01-01T00:00:00"),
        ("0 5/20 * * * *", "2026-01-01T00:06:00", "2026-01-01T00:25:00"),
        ("0 10-20/5 * * * *", "2026-01-01T00:16:00", "2026-01-01T00:20:00"),
        ("15,45 * * * * *", "2026-01-01T00:00:15", "2026-01-01T00:00:45"),
        # Friday the 13th: day of month and day of week must both match.
        ("0 0 0 13 * 5", "2026-03-14T00:00:00", "2026-11-13T00:00:00"),
        ("00:00:05", "2026-01-01T00:00:00.5", "2026-01-01T00:00:05.5"),
        ("1.00:00:00", "2026-01-01T00:00:00", "2026-01-02T00:00:00"),
    ],
)
def test_next_occurrence(schedule: str, now: str, expected: str) -> None:
    assert parse_schedule(schedule).after(at(now)) == at(expected)


@cases(
    "text",
    [
        "",
        "* * * *",
        "* * * * * * *",
        "60 * * * * *",
        "* * 24 * * *",
        "* * * 0 * *",
        "* * * * 13 *",
        "* * * * * 7",
        "*/0 * * * * *",
        "5-1 * * * * *",
        "-1 * * * * *",
        "a * * * * *",
        "0 0 0 * * mond1",
        "00:00:00",
    ],
)
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(ScheduleError):
        parse_schedule(text)


def test_a_schedule_that_never_comes_is_refused_when_asked() -> None:
    with pytest.raises(ScheduleError, match="no occurrence"):
        parse_schedule("0 0 0 30 2 *").after(at("2026-01-01T00:00:00"))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("00:30:00", 1800), ("1.02:03:04", 93784), ("00:01", 60), ("00:00:00.25", 0.25), ("24:00:00", None), ("x", None)],
)
def test_timespans(text: str, seconds: float | None) -> None:
    assert parse_timespan(text) == (None if seconds is None else timedelta(seconds=seconds))


def test_a_setting_takes_the_place_of_its_name() -> None:
    text = substitute("%EVERY%", {"EVERY": "00:00:07"}.get)

    assert parse_schedule(text) == Every(timedelta(seconds=7))
    with pytest.raises(ScheduleError, match="%OTHER%"):
        substitute("%OTHER%", {}.get)
