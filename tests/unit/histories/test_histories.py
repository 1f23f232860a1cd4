"""Random histories of the whole core, in time of their own; those that found something are kept by name."""

from __future__ import annotations

from collections import Counter

import pytest

from local.stack.parts import Azurite
from tests.histories.defects import BY_NAME
from tests.histories.history import Played, play, play_on
from tests.parts.cases import cases


@pytest.mark.slow
def test_nothing_is_lost_in_some_hundred_histories() -> None:
    assert [str(each) for seed in range(150) for each in play(seed).violations] == []


@cases("seed", range(20))
def test_nothing_is_lost_in_a_few_histories(seed: int) -> None:
    assert play(seed).violations == []


@pytest.mark.slow
def test_nothing_is_lost_in_some_hundred_histories_with_an_operator() -> None:
    assert [str(each) for seed in range(150) for each in play(seed, operated=True).violations] == []


def test_nothing_is_lost_in_a_few_histories_with_an_operator() -> None:
    seen = Counter[str]()
    for seed in range(20):
        played = play(seed, operated=True)
        assert played.violations == []
        seen.update(played.seen)
    wanted = ("command drain", "command end a drain", "command pause", "command release", "refused intake_paused")
    assert [each for each in wanted if not seen[each]] == []


@pytest.mark.slow
def test_nothing_is_lost_in_some_hundred_histories_with_schedules() -> None:
    assert [str(each) for seed in range(150) for each in play(seed, scheduled=True).violations] == []


def test_nothing_is_lost_in_a_few_histories_with_schedules() -> None:
    seen = Counter[str]()
    for seed in range(10):
        played = play(seed, scheduled=True)
        assert played.violations == []
        seen.update(played.seen)
    wanted = ("command create_schedule", "command change_schedule", "command delete_schedule", "schedule that went on")
    assert [each for each in wanted if not seen[each]] == []


@pytest.mark.slow
def test_a_history_is_the_same_over_a_service(azurite: Azurite) -> None:
    for seed in range(5):
        over_service, in_memory = play_on(azurite.connection_string, seed), play(seed)
        assert over_service.violations == []
        assert _events(over_service) == _events(in_memory), f"seed {seed}"
        assert _ends(over_service) <= _ends(in_memory), f"seed {seed}"


def _events(played: Played) -> Counter[str]:
    """What happened; phases and ends aside, which a service shows only of the runs that are there at the end."""
    return Counter({name: count for name, count in played.seen.items() if not name.startswith(("phase ", "end "))})


def _ends(played: Played) -> Counter[str]:
    return Counter({name: count for name, count in played.seen.items() if name.startswith("end ")})


def test_a_seed_is_always_the_same_history() -> None:
    assert play(7).seen == play(7).seen


def test_a_planted_defect_is_found() -> None:
    with BY_NAME["stay-busy"].planted():
        found = [each.rule for seed in range(20) for each in play(seed).violations]
    assert "one_active_run_a_session" in found
