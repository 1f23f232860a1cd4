"""When to wake next."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.runs.rules.schedule import (
    CALLBACK_WAITS,
    DAY,
    JITTER,
    POLL_GROWTH,
    POLL_JITTER,
    POLL_POWER,
    UNKNOWN_OUTCOME_WAITS,
    asked_wait,
    backoff,
    callback_wait,
    poll_gap,
    unknown_outcome_wait,
)
from shared.settings import Settings
from tests.parts.cases import cases

DEFAULTS = Settings.model_validate({})
ages = st.floats(min_value=0, max_value=30 * 86_400)
lucks = st.floats(min_value=0, max_value=1, exclude_max=True)
gaps = st.floats(min_value=0.01, max_value=3_600)


def default_gap(age: float, luck: float = 0.0) -> float:
    return poll_gap(age, first=DEFAULTS.poll_first, most=DEFAULTS.poll_max, jitter=luck)


@pytest.mark.parametrize(
    ("age", "gap"),
    [(-5, 1.5), (0, 1.5), (0.5, 1.5), (4, 3.2), (16, 6.2), (100, 14.9), (400, 28.9), (3_600, 82.5), (86_400, 120)],
)
def test_the_gap_grows_about_with_the_square_root_of_the_age(age: float, gap: float) -> None:
    assert default_gap(age) == pytest.approx(gap, abs=0.05)


@pytest.mark.parametrize(("length", "polls"), [(2, 2), (10, 4), (60, 11), (600, 34), (3_600, 85), (86_400, 782)])
def test_how_often_a_turn_is_polled(length: float, polls: int) -> None:
    age, count = 0.0, 0
    while age < length:
        age += default_gap(age)
        count += 1
    assert count == polls


@pytest.mark.parametrize(("luck", "gap"), [(0.0, 100.0), (0.5, 98.0), (0.999999, 96.0)])
def test_luck_spreads_a_poll_downwards(luck: float, gap: float) -> None:
    assert poll_gap(86_400, first=1.0, most=100.0, jitter=luck) == pytest.approx(gap, abs=1e-3)


@given(age=ages, first=gaps, most=gaps, luck=lucks)
def test_a_gap_keeps_its_bounds(age: float, first: float, most: float, luck: float) -> None:
    gap = poll_gap(age, first=first, most=most, jitter=luck)
    assert min(first, most) <= gap <= most
    assert gap >= min(max(POLL_GROWTH * age**POLL_POWER, first), most) * (1 - POLL_JITTER)


@given(age=ages, older=ages, luck=lucks)
def test_an_older_turn_is_never_polled_sooner(age: float, older: float, luck: float) -> None:
    assert default_gap(min(age, older), luck) <= default_gap(max(age, older), luck)


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 2), (1, 2), (2, 4), (3, 8), (6, 64), (7, 120), (8, 120), (10_000, 120)]
)
def test_a_backoff_doubles_up_to_its_bound(failures: int, seconds: float) -> None:
    assert backoff(failures, first=2.0, most=120.0, jitter=0.0) == seconds


@given(failures=st.integers(min_value=0, max_value=10**9), first=gaps, most=gaps, luck=lucks)
def test_luck_spreads_a_backoff_upwards(failures: int, first: float, most: float, luck: float) -> None:
    exact = backoff(failures, first=first, most=most, jitter=0.0)
    assert exact <= most
    assert exact <= backoff(failures, first=first, most=most, jitter=luck) <= exact * (1 + JITTER) + 1e-9


@pytest.mark.parametrize(("outcomes", "seconds"), [(1, 0), (2, 300), (3, 1_200), (4, 3_600), (5, 3_600), (99, 3_600)])
def test_creates_of_unknown_outcome_come_further_and_further_apart(outcomes: int, seconds: float) -> None:
    assert unknown_outcome_wait(outcomes) == seconds


def test_every_create_that_the_default_allows_has_a_wait() -> None:
    assert len(UNKNOWN_OUTCOME_WAITS) == DEFAULTS.create_attempts - 1


@cases(
    ("tries", "age", "retry_after", "wait"),
    [
        (1, 0, None, 5),
        (2, 5, None, 30),
        (3, 35, None, 120),
        (10, 49_355, None, 28_800),
        (11, 78_155, None, None),
        (99, 0, None, None),
        (1, DAY - 1, None, 5),
        (1, DAY, None, None),
        (1, 0, 0, 5),
        (1, 0, 4, 5),
        (1, 0, 600, 600),
        (4, 155, 60, 600),
        (1, 0, 7 * DAY, DAY),
        (1, 0, math.inf, DAY),
        (2, DAY, 600, None),
        (11, 0, 600, None),
    ],
)
def test_when_a_callback_is_tried_again(tries: int, age: float, retry_after: float | None, wait: float | None) -> None:
    assert callback_wait(tries, age=age, retry_after=retry_after, jitter=0.0) == wait


def test_the_tries_of_a_callback_are_ever_further_apart() -> None:
    waits = [callback_wait(tries, age=0.0, retry_after=None, jitter=0.0) for tries in range(1, 12)]
    assert waits == [5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 21_600, 28_800, None]
    assert DAY == 86_400


@pytest.mark.parametrize(("asked", "luck", "wait"), [(0, 0.5, 0), (-9, 0, 0), (20, 0, 20), (20, 1, 22), (999, 0, 60)])
def test_who_asks_for_a_wait_gets_it_within_bounds(asked: float, luck: float, wait: float) -> None:
    assert asked_wait(asked, most=60.0, jitter=luck) == pytest.approx(wait)


def test_the_tries_of_a_callback_fill_a_day_whatever_the_luck() -> None:
    assert [*CALLBACK_WAITS] == sorted(CALLBACK_WAITS)
    assert 0.85 * DAY <= sum(CALLBACK_WAITS) <= sum(CALLBACK_WAITS) * (1 + JITTER) <= DAY


@given(tries=st.integers(min_value=1, max_value=len(CALLBACK_WAITS)), luck=lucks)
def test_luck_spreads_the_tries_of_a_callback_upwards(tries: int, luck: float) -> None:
    wait = callback_wait(tries, age=0.0, retry_after=None, jitter=luck)
    assert wait is not None
    assert CALLBACK_WAITS[tries - 1] <= wait <= CALLBACK_WAITS[tries - 1] * (1 + JITTER)
