"""Work for many at a time, repeats after lost races, and the time that the app is at work."""

from __future__ import annotations

import asyncio

import pytest

from shared.runs.concurrency import MAX_RACES, Races, TooManyRaces, side_by_side
from shared.runs.execution import Stopwatch, execution, time_at_work, time_is_written
from shared.runs.ports import Gauge
from tests.unit.runs.conftest import Clock


def test_so_many_races_are_lost_and_no_more() -> None:
    races = Races("run_1")
    for _ in range(MAX_RACES - 1):
        races.lost()
    with pytest.raises(TooManyRaces, match="run_1: too many races"):
        races.lost()


@pytest.mark.parametrize(("at_once", "most"), [(1, 1), (3, 3), (99, 7)])
async def test_no_more_are_at_it_than_may_be_and_the_order_stays(at_once: int, most: int) -> None:
    gauge, seen = Gauge(), []

    async def double(each: int) -> int:
        with gauge:
            seen.append(gauge.count)
            await asyncio.sleep(0)
            return 2 * each

    assert await side_by_side(range(7), double, at_once=at_once) == [0, 2, 4, 6, 8, 10, 12]
    assert (max(seen), gauge.count) == (most, 0)


async def test_what_one_raises_is_raised() -> None:
    async def fail(each: int) -> int:
        if each == 2:
            raise KeyError(each)
        return each

    with pytest.raises(KeyError):
        await side_by_side(range(4), fail, at_once=2)


def test_the_time_at_work_is_counted_from_the_last_write(clock: Clock) -> None:
    assert time_at_work() == 0, "nobody is at work"
    time_is_written()
    with execution(clock):
        clock.move(0.25)
        assert time_at_work() == 250
        with execution(clock):  # part of the work around it
            clock.move(0.1)
            assert time_at_work() == 350
            time_is_written()
        clock.move(0.001)
        assert time_at_work() == 1
    assert time_at_work() == 0


def test_a_clock_that_is_put_back_takes_no_time_away(clock: Clock) -> None:
    watch = Stopwatch(clock)
    clock.move(-5)
    assert watch.read() == 0
    watch.restart()
    clock.move(0.0004)
    assert watch.read() == 0
    clock.move(0.0003)
    assert watch.read() == 1
