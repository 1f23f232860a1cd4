"""The host's time: the system's, or one that a test moves."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What durable timers and timer triggers go by."""

    def now(self) -> datetime:
        """The time, aware, in UTC."""
        ...

    async def sleep_until(self, when: datetime) -> None:
        """Return once `now()` is at or past `when`; at once if it is already."""
        ...


class SystemClock:
    """Real time."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep_until(self, when: datetime) -> None:
        # The loop's clock and the wall clock drift apart, so the wall clock is asked again.
        left = (when - self.now()).total_seconds()
        if left > 0:
            await asyncio.sleep(min(left, 3600))
            await self.sleep_until(when)


class MovableClock:
    """Real time plus an offset that only grows. May be advanced from any thread."""

    def __init__(self) -> None:
        self._offset = timedelta()
        self._sleepers: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def now(self) -> datetime:
        return datetime.now(UTC) + self._offset

    def advance(self, seconds: float) -> datetime:
        """Jump ahead and wake every sleeper whose time has come; returns the new time.

        Raises ValueError when `seconds` is negative or not finite: timers cannot be taken back.
        """
        if not 0 <= seconds < float("inf"):
            raise ValueError(f"a clock is advanced by a number of seconds from 0 on, not {seconds!r}")
        # Only an offset: sockets and timeouts stay on real time, so that moving it cuts no connection.
        self._offset += timedelta(seconds=seconds)
        for loop, moved in tuple(self._sleepers):
            # A test may move the clock from its own thread and loop.
            loop.call_soon_threadsafe(moved.set)
        return self.now()

    async def sleep_until(self, when: datetime) -> None:
        moved = asyncio.Event()
        sleeper = (asyncio.get_running_loop(), moved)
        self._sleepers.add(sleeper)
        try:
            while (left := (when - self.now()).total_seconds()) > 0:
                moved.clear()
                try:
                    async with asyncio.timeout(min(left, 3600)):
                        await moved.wait()
                except TimeoutError:
                    continue
        finally:
            self._sleepers.discard(sleeper)
