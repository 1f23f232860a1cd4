"""A host of the whole stack is killed at each named point: in a story, or after another kill."""

from __future__ import annotations

import pytest

from local.prove.points import DRIVERS
from tests.acceptance.killed_points import after_a_kill, points_under, told_for


@pytest.mark.parametrize("driver", DRIVERS)
def test_each_named_point_has_a_story_in_which_a_host_is_killed(driver: str) -> None:
    told = {*told_for(driver), *after_a_kill(driver)}
    assert {*points_under(driver)} - told == set(), "a story of `tests/acceptance/killed_points.py` is to come by these"
