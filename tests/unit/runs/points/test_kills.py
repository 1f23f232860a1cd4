"""A host of the whole stack is killed at each named point: in a story, after another kill, or there is a reason."""

from __future__ import annotations

import pytest

from local.points.kills import NOT_KILLED_AT
from local.prove.points import DRIVERS, named_points
from tests.acceptance.killed_points import after_a_kill, killed_at, told_for


@pytest.mark.parametrize("driver", DRIVERS)
def test_each_named_point_has_a_story_in_which_a_host_is_killed_or_a_reason(driver: str) -> None:
    told = {*told_for(driver), *after_a_kill(driver)}
    assert {*killed_at(driver)} - told == set(), "a story of `tests/acceptance/killed_points.py` is to come by these"
    named = {point.name for point in named_points() if driver in point.stories}
    reasons = {name for name, by_driver in NOT_KILLED_AT.items() if driver in by_driver}
    assert reasons <= named, "the page does not name these any more"
