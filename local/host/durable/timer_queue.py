"""The durable timers that have not fired yet."""

import asyncio
import heapq
import itertools
from collections.abc import Callable
from datetime import datetime
from typing import Any

from local.host.clock import Clock


class TimerQueue:
    """One waiting task for all durable timers: a run that is often woken leaves thousands of cancelled ones."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due: list[tuple[datetime, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._earlier = asyncio.Event()

    def schedule(self, when: datetime, callback: Callable[[], None]) -> None:
        # The number decides between equal times: callbacks cannot be compared.
        heapq.heappush(self._due, (when, next(self._order), callback))
        if self._due[0][0] == when:
            self._earlier.set()

    async def run(self) -> None:
        while True:
            # Cleared before the queue is read: a timer that is added meanwhile must not be missed.
            self._earlier.clear()
            while self._due and self._due[0][0] <= self._clock.now():
                heapq.heappop(self._due)[2]()
            waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(self._earlier.wait())]
            if self._due:
                waits.append(asyncio.ensure_future(self._clock.sleep_until(self._due[0][0])))
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
