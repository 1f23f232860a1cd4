"""Room for callbacks: whom it is for, and when to look again for who found none."""

from __future__ import annotations

import pytest

from shared.outbound.shares import LATEST, MOST_QUEUES, SOONEST, Shares, TakenPlace
from shared.runs.model.callbacks import NoShare


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def taken(places: Shares, owner: str, host: str) -> TakenPlace:
    place = places.take(owner, host)
    assert isinstance(place, TakenPlace)
    return place


def wait(places: Shares, owner: str, host: str) -> float:
    place = places.take(owner, host)
    assert isinstance(place, NoShare)
    return place.wait


def test_one_host_has_half_one_owner_all_but_one_and_the_process_all() -> None:
    places = Shares(4)
    first = taken(places, "ann", "a")
    taken(places, "ann", "a")
    assert wait(places, "bob", "a")
    taken(places, "ann", "b")
    assert wait(places, "ann", "c")
    taken(places, "bob", "b")
    assert wait(places, "cat", "d")
    first.give_back()
    taken(places, "cat", "d")


@pytest.mark.parametrize("most", [1, 2])
def test_few_places_are_for_everybody(most: int) -> None:
    places = Shares(most)
    taken(places, "ann", "a")
    if most == 2:
        taken(places, "bob", "b")
    assert wait(places, "bob", "b")


def test_a_place_is_free_when_nobody_holds_it_any_more() -> None:
    places = Shares(1)
    place = taken(places, "ann", "a")
    place.hold()
    place.give_back()
    assert wait(places, "bob", "b")
    place.give_back()
    taken(places, "bob", "b")


def test_who_finds_none_looks_again_when_those_before_will_be_done() -> None:
    clock = Clock()
    places = Shares(2, seconds=clock)  # one for each owner
    place = taken(places, "ann", "a")
    assert [wait(places, "ann", "a") for _ in range(5)] == [1.0, 2.0, 3.0, 4.0, 5.0]
    clock.now = 20.0
    place.give_back()
    place = taken(places, "ann", "a")
    longer = [wait(places, "ann", "a") for _ in range(3)]
    assert longer == [5.75, 11.5, 17.25], "attempts last longer than was guessed"
    assert all(SOONEST <= wait(places, "ann", "a") <= LATEST for _ in range(100))


def test_what_is_known_of_queues_does_not_grow_for_ever() -> None:
    clock = Clock()
    places = Shares(1, seconds=clock)
    taken(places, "ann", "a")
    for number in range(3 * MOST_QUEUES):
        clock.now = 10.0 * number
        places.take(f"owner{number}", f"host{number}")
        assert len(places._queues) <= MOST_QUEUES
