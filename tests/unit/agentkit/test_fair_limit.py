"""Room for requests: how many at once, whose, and in which order."""

from __future__ import annotations

import asyncio

import pytest

from shared.agentkit.fair_limit import FairLimit, NoSlot


class Holder:
    """Somebody who takes a place and keeps it until told."""

    def __init__(self, shares: FairLimit, owner: str, *, patience: float = 60.0) -> None:
        self.let_go, self.has = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(self._hold(shares, owner, patience))

    async def _hold(self, shares: FairLimit, owner: str, patience: float) -> None:
        async with shares.slot(owner, wait=patience):
            self.has.set()
            await self.let_go.wait()

    async def gives_back(self) -> None:
        self.let_go.set()
        await self.task


async def holders(shares: FairLimit, owner: str, count: int) -> list[Holder]:
    found = [Holder(shares, owner) for _ in range(count)]
    await asyncio.sleep(0)
    return found


async def test_there_are_so_many_places_and_no_more() -> None:
    shares = FairLimit(2)
    await holders(shares, "", 2)
    with pytest.raises(NoSlot):
        async with shares.slot(wait=0.01):
            raise AssertionError


async def test_one_owner_has_three_quarters_at_most() -> None:
    shares = FairLimit(4)
    ann = await holders(shares, "ann", 4)
    assert [each.has.is_set() for each in ann] == [True, True, True, False]
    (bob,) = await holders(shares, "bob", 1)
    assert bob.has.is_set()


async def test_who_came_first_is_next_but_for_those_whose_owner_has_its_share() -> None:
    shares = FairLimit(4)
    ann = await holders(shares, "ann", 4)
    (bob,) = await holders(shares, "bob", 1)
    waiting = await holders(shares, "bob", 2)
    await bob.gives_back()
    await asyncio.sleep(0)
    assert [each.has.is_set() for each in (ann[3], *waiting)] == [False, True, False]
    await ann[0].gives_back()
    await asyncio.sleep(0)
    assert [each.has.is_set() for each in (ann[3], *waiting)] == [True, True, False]


@pytest.mark.parametrize("turn_has_come", [False, True])
async def test_who_stops_waiting_leaves_the_place_to_others(turn_has_come: bool) -> None:
    shares = FairLimit(1)
    (first,) = await holders(shares, "", 1)
    (second,) = await holders(shares, "", 1)
    if turn_has_come:
        first.let_go.set()
        await first.task  # the place is the second's now, who does not know it yet
    second.task.cancel()
    await asyncio.gather(second.task, return_exceptions=True)
    if not turn_has_come:
        await first.gives_back()
    async with shares.slot(wait=0.0):
        pass
