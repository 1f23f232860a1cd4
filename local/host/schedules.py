"""Schedules of timer triggers: NCRONTAB with five or six fields, or a TimeSpan. Pure, all in UTC."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

_TIMESPAN = re.compile(r"(?:(\d+)\.)?(\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:\.(\d{1,7}))?)?")
_SETTING = re.compile(r"%([^%]+)%")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_HORIZON = timedelta(days=366 * 9)  # a 29th of February may be eight years away


class ScheduleError(ValueError):
    """The schedule cannot be read."""


@dataclass(frozen=True, slots=True)
class Cron:
    """The values each field allows. Day of month and day of week must both match."""

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]

    def after(self, when: datetime) -> datetime:
        """The first occurrence later than `when`. Raises ScheduleError when there is none (30 February)."""
        # Whole seconds, strictly later: a run that begins at its time must not find that time again.
        start = when.replace(microsecond=0) + timedelta(seconds=1)
        day = start.replace(hour=0, minute=0, second=0)
        while day <= start + _HORIZON:
            # isoweekday: Sunday is 7 there and 0 in NCRONTAB. Both day fields must match, other than in cron.
            if day.month in self.months and day.day in self.days and day.isoweekday() % 7 in self.weekdays:
                earliest = start if start > day else day
                found = self._within(day, earliest)
                if found is not None:
                    return found
            day += timedelta(days=1)
        raise ScheduleError("the schedule has no occurrence")

    def _within(self, day: datetime, earliest: datetime) -> datetime | None:
        for hour in self.hours:
            if hour < earliest.hour:
                continue
            for minute in self.minutes:
                if (hour, minute) < (earliest.hour, earliest.minute):
                    continue
                for second in self.seconds:
                    at = day.replace(hour=hour, minute=minute, second=second)
                    if at >= earliest:
                        return at
        return None


@dataclass(frozen=True, slots=True)
class Every:
    """A constant interval."""

    interval: timedelta

    def after(self, when: datetime) -> datetime:
        return when + self.interval


Schedule = Cron | Every


def parse_timespan(text: str) -> timedelta | None:
    """Read .NET's `[d.]hh:mm[:ss[.fffffff]]`; None when the text is nothing of the kind."""
    match = _TIMESPAN.fullmatch(text.strip())
    if match is None:
        return None
    days, hours, minutes, seconds, fraction = match.groups()
    # As .NET: 24:00:00 would be 24 days there, and is refused here.
    if int(hours) > 23 or int(minutes) > 59 or int(seconds or 0) > 59:
        return None
    return timedelta(
        days=int(days or 0),
        hours=int(hours),
        minutes=int(minutes),
        seconds=int(seconds or 0),
        # .NET counts seven digits of a second, Python six.
        microseconds=int((fraction or "0").ljust(7, "0")) // 10,
    )


def substitute(text: str, setting: Callable[[str], str | None]) -> str:
    """Replace each `%NAME%` by that setting. Raises ScheduleError when one is not set."""

    def value(match: re.Match[str]) -> str:
        found = setting(match[1])
        if found is None:
            raise ScheduleError(f"'%{match[1]}%' does not resolve to a value")
        return found

    return _SETTING.sub(value, text)


def parse_schedule(text: str) -> Schedule:
    """Read a schedule. Raises ScheduleError with the sentence a developer needs."""
    span = parse_timespan(text)
    if span is not None:
        # It would be due again at once, for ever.
        if not span:
            raise ScheduleError("an interval of zero is no schedule")
        return Every(span)
    fields = text.split()
    # NCRONTAB without seconds means second 0.
    if len(fields) == 5:
        fields = ["0", *fields]
    if len(fields) != 6:
        raise ScheduleError(f"'{text}' is neither NCRONTAB with five or six fields nor hh:mm:ss")
    second, minute, hour, day, month, weekday = fields
    return Cron(
        seconds=_values(second, 0, 59),
        minutes=_values(minute, 0, 59),
        hours=_values(hour, 0, 23),
        days=frozenset(_values(day, 1, 31)),
        months=frozenset(_values(month, 1, 12, _MONTHS, 1)),
        weekdays=frozenset(_values(weekday, 0, 6, _DAYS)),
    )


def _values(field: str, low: int, high: int, names: tuple[str, ...] = (), first_name: int = 0) -> tuple[int, ...]:
    def number(text: str) -> int:
        # NCRONTAB takes whole names, too: ``monday`` for ``mon``.
        named = [i for i, name in enumerate(names) if text[:3].lower() == name]
        if named and text.isalpha():
            return named[0] + first_name
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            raise ScheduleError(f"'{field}' is not a field between {low} and {high}")
        return int(text)

    found: set[int] = set()
    for part in field.split(","):
        base, slash, step_text = part.partition("/")
        if slash and (not step_text.isdigit() or int(step_text) < 1):
            raise ScheduleError(f"'{field}' has a step that is not a positive number")
        if base == "*":
            begin, end = low, high
        elif "-" in base:
            left, _, right = base.partition("-")
            begin, end = number(left), number(right)
            if begin > end:
                raise ScheduleError(f"'{field}' has a range that runs backwards")
        else:
            begin = number(base)
            # ``5/15`` begins at 5 and goes on to the end of the range.
            end = high if slash else begin
        found.update(range(begin, end + 1, int(step_text) if slash else 1))
    return tuple(sorted(found))
