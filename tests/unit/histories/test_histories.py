"""Random histories of the whole core, in time of their own; those that found something are kept by name."""

from __future__ import annotations

import pytest

from tests.histories.defects import BY_NAME
from tests.histories.history import play
from tests.parts.cases import cases


@pytest.mark.thorough
def test_nothing_is_lost_in_some_hundred_histories() -> None:
    assert [str(each) for seed in range(150) for each in play(seed).violations] == []


@cases("seed", range(20))
def test_nothing_is_lost_in_a_few_histories(seed: int) -> None:
    assert play(seed).violations == []


def test_a_seed_is_always_the_same_history() -> None:
    assert play(7).seen == play(7).seen


def test_a_planted_defect_is_found() -> None:
    with BY_NAME["stay-busy"].planted():
        found = [each.rule for seed in range(20) for each in play(seed).violations]
    assert "one_active_run_a_session" in found
