"""Room for callbacks: whom it is for, and when to look again for who found none."""

from __future__ import annotations

import pytest

from shared.outbound.shares import MAX_QUEUES, WAIT_MAX, WAIT_MIN, Shares, TakenShare
from shared.runs.model.callbacks import NoShare


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def taken(shares: Shares, owner: str, host: str) -> TakenShare:
    share = shares.take(owner, host)
    assert isinstance(share, TakenShare)
    return share


def wait(shares: Shares, owner: str, host: str) -> float:
    share = shares.take(owner, host)
    assert isinstance(share, NoShare)
    return share.wait


def test_one_host_has_half_one_owner_all_but_one_and_the_process_all() -> None:
    shares = Shares(4)
    first = taken(shares, "ann", "a")
    taken(shares, "ann", "a")
    assert wait(shares, "bob", "a")
    taken(shares, "ann", "b")
    assert wait(shares, "ann", "c")
    taken(shares, "bob", "b")
    assert wait(shares, "cat", "d")
    first.release()
    taken(shares, "cat", "d")


@pytest.mark.parametrize("most", [1, 2])
def test_few_places_are_for_everybody(most: int) -> None:
    shares = Shares(most)
    taken(shares, "ann", "a")
    if most == 2:
        taken(shares, "bob", "b")
    assert wait(shares, "bob", "b")


def test_a_share_is_free_when_nobody_holds_it_any_more() -> None:
    shares = Shares(1)
    share = taken(shares, "ann", "a")
    share.retain()
    share.release()
    assert wait(shares, "bob", "b")
    share.release()
    taken(shares, "bob", "b")


def test_who_finds_none_looks_again_when_those_before_will_be_done() -> None:
    clock = Clock()
    shares = Shares(2, seconds=clock)  # one for each owner
    share = taken(shares, "ann", "a")
    assert [wait(shares, "ann", "a") for _ in range(5)] == [1.0, 2.0, 3.0, 4.0, 5.0]
    clock.now = 20.0
    share.release()
    share = taken(shares, "ann", "a")
    longer = [wait(shares, "ann", "a") for _ in range(3)]
    assert longer == [5.75, 11.5, 17.25], "attempts last longer than was guessed"
    assert all(WAIT_MIN <= wait(shares, "ann", "a") <= WAIT_MAX for _ in range(100))


def test_what_is_known_of_queues_does_not_grow_for_ever() -> None:
    clock = Clock()
    shares = Shares(1, seconds=clock)
    taken(shares, "ann", "a")
    for number in range(3 * MAX_QUEUES):
        clock.now = 10.0 * number
        shares.take(f"owner{number}", f"host{number}")
        assert len(shares._queues) <= MAX_QUEUES
