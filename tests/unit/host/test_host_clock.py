"""The clock that a test moves."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from local.host import MovableClock, SystemClock

HOUR = timedelta(hours=1)


async def test_advancing_wakes_exactly_the_sleepers_whose_time_has_come() -> None:
    clock = MovableClock()
    start = clock.now()
    sooner = asyncio.create_task(clock.sleep_until(start + HOUR))
    later = asyncio.create_task(clock.sleep_until(start + 3 * HOUR))
    await asyncio.sleep(0)

    assert clock.advance(7200) >= start + 2 * HOUR
    await asyncio.wait_for(sooner, 1)
    assert not later.done()
    clock.advance(3600)
    await asyncio.wait_for(later, 1)


async def test_a_clock_may_be_advanced_from_another_thread() -> None:
    clock = MovableClock()
    sleeper = asyncio.create_task(clock.sleep_until(clock.now() + HOUR))
    await asyncio.sleep(0)

    await asyncio.to_thread(clock.advance, 3601)

    await asyncio.wait_for(sleeper, 1)


@pytest.mark.parametrize("clock", [MovableClock(), SystemClock()])
async def test_real_time_passes_on_both(clock: MovableClock | SystemClock) -> None:
    begun = time.monotonic()
    await clock.sleep_until(clock.now() + timedelta(seconds=0.05))
    await clock.sleep_until(clock.now() - HOUR)

    assert 0.04 < time.monotonic() - begun < 2
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=1)


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_time_never_goes_back(seconds: float) -> None:
    with pytest.raises(ValueError, match="from 0 on"):
        MovableClock().advance(seconds)
