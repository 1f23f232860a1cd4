"""Pauses that a provider asks for: whom they hold back, for how long, and how they end."""

from __future__ import annotations

import asyncio

import pytest

from shared.agentkit import faults, pauses
from shared.agentkit.pauses import FIRST_PROBE_SECONDS, Pauses


class World:
    """Pauses by a clock that tests move, with questions that are answered when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.drawn = 0.0
        self.pauses = Pauses(120.0, seconds=lambda: self.now, random=lambda: self.drawn)
        self.asked = 0
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def ask(self, model: str = "m") -> str:
        async with self.pauses.checked(model):
            self.asked += 1
            return await asyncio.shield(self.answer)

    async def held_back(self, model: str = "m") -> float:
        """How much later it is to come again."""
        with pytest.raises(faults.NoNews) as caught:
            await self.ask(model)
        assert (caught.value.code, caught.value.retry_after is not None) == ("rate_limited", True)
        return caught.value.retry_after or 0.0


@pytest.mark.parametrize(("asked", "waits"), [(None, 5.0), (30.0, 30.0), (120.0, 120.0), (900.0, 120.0), (0.0, 0.0)])
async def test_who_meets_a_429_waits_as_long_as_is_asked_within_reason_and_others_for_a_probe(
    asked: float | None, waits: float
) -> None:
    world = World()
    assert world.pauses.begin("m", asked) == waits
    if waits:
        assert await world.held_back() == FIRST_PROBE_SECONDS


async def test_nobody_comes_back_at_the_same_moment() -> None:
    world = World()
    world.pauses.begin("m", 100.0)
    found = []
    for drawn in (0.0, 0.5, 0.9):
        world.drawn = drawn
        found.append(await world.held_back())
    assert found == pytest.approx([2.0, 2.1, 2.18])


async def test_another_model_is_not_held_back() -> None:
    world = World()
    world.pauses.begin("m", 100.0)
    world.answer.set_result("fine")
    assert await world.ask("other") == "fine"


async def test_during_the_pause_one_goes_ahead_and_the_others_wait_for_it() -> None:
    world = World()
    world.pauses.begin("m", 100.0)
    world.now = FIRST_PROBE_SECONDS
    asking = [asyncio.create_task(world.ask()) for _ in range(5)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert world.asked == 1
    world.answer.set_result("fine")
    assert await asyncio.gather(*asking) == ["fine"] * 5
    assert world.asked == 5


@pytest.mark.parametrize(
    ("fault", "over"),
    [
        (faults.NoNews("Slow down.", code="http_429", retry_after=50.0), False),
        (faults.ResponseMissing("Unknown.", code="http_404"), True),
        (faults.NoNews("Broken.", code="http_500"), True),
        (faults.NoNews("No answer in time.", code="provider_timeout"), False),
        (faults.NoNews("Too many questions are under way.", code="not_sent"), False),
    ],
)
async def test_what_a_probe_meets_decides_whether_the_pause_is_over(fault: faults.ProviderFault, over: bool) -> None:
    world = World()
    world.pauses.begin("m", 100.0)
    world.now = 100.0
    world.answer.set_exception(fault)
    with pytest.raises(type(fault)):
        await world.ask()
    assert (world.pauses._pauses == {}) is over


async def test_a_probe_that_meets_another_429_holds_the_others_back_twice_as_long() -> None:
    world = World()
    world.pauses.begin("m", 100.0)
    world.now = FIRST_PROBE_SECONDS
    first = asyncio.create_task(world.ask())
    await asyncio.sleep(0)
    others = [asyncio.create_task(world.held_back()) for _ in range(3)]
    await asyncio.sleep(0)
    world.pauses.begin("m", 50.0)
    world.answer.set_exception(faults.NoNews("Slow down.", code="http_429"))
    with pytest.raises(faults.NoNews):
        await first
    assert await asyncio.gather(*others) == [4.0] * 3
    assert world.asked == 1


async def test_probes_are_never_further_apart_than_the_pause_that_is_asked_for() -> None:
    world = World()
    world.pauses.begin("m", 10.0)
    apart = []
    for _ in range(4):
        apart.append(await world.held_back())
        world.now += apart[-1]
        async with world.pauses.checked("m"):
            world.pauses.begin("m", 10.0)
    assert apart == [2.0, 4.0, 8.0, 10.0]


async def test_who_waits_for_a_probe_that_says_nothing_comes_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pauses, "PROBE_SECONDS", 0.01)
    world = World()
    world.pauses.begin("m", 100.0)
    world.now = 100.0
    probe = asyncio.create_task(world.ask())
    await asyncio.sleep(0)
    assert await world.held_back() == pauses.AGAIN_SECONDS
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    world.answer.set_result("fine")
    assert await world.ask() == "fine", "a probe that was cut off leaves it to the next one"
