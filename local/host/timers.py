"""Timer triggers: each runs on its schedule and never overlaps itself."""

import asyncio
import json
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from local.host.app import Function
from local.host.clock import Clock
from local.host.durable.events import format_time
from local.host.worker import Worker

_log = logging.getLogger("local.host.timers")
_MONITORED = timedelta(minutes=1)


class Timers:
    """Runs the timer functions of an app until closed."""

    def __init__(self, functions: Sequence[Function], worker: Worker, clock: Clock) -> None:
        self._functions = functions
        self._worker = worker
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._asleep: set[str] = set()
        self._stopped = False

    def open(self) -> None:
        begun = self._clock.now()
        for function in self._functions:
            self._tasks.add(asyncio.create_task(self._keep(function, begun), name=function.name))

    def stop(self) -> None:
        """Begin no further run."""
        self._stopped = True
        for task in self._tasks:
            # Only the sleeping: a run that has begun may end within the grace.
            if task.get_name() in self._asleep:
                task.cancel()

    async def close(self, grace: float) -> None:
        """Stop, and wait up to `grace` seconds for runs to end."""
        self.stop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def fire(self, function: Function) -> None:
        """Run a timer function once, now. What it raises is logged, as on the platform."""
        schedule = function.schedule
        assert schedule is not None
        now = self._clock.now()
        following = schedule.after(now)
        status = None
        if schedule.after(following) - following >= _MONITORED:
            # Schedules under a minute have no monitor on the platform.
            status = {"Last": format_time(now), "Next": format_time(following), "LastUpdated": format_time(now)}
        # IsPastDue is always false: nothing remembers what was missed while the host was down.
        information = {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": status, "IsPastDue": False}
        try:
            await self._worker.timer(function, json.dumps(information))
        # The next occurrence comes all the same: a failed run must not end the schedule.
        except TimeoutError:
            _log.exception("timer '%s' ran into functionTimeout", function.name)
        except Exception:
            _log.exception("timer '%s' raised", function.name)

    async def _keep(self, function: Function, begun: datetime) -> None:
        assert function.schedule is not None
        if function.run_on_startup:
            await self.fire(function)
        while not self._stopped:
            # From the beginning of the last run: one that took too long is followed at once.
            due = function.schedule.after(begun)
            self._asleep.add(function.name)
            await self._clock.sleep_until(due)
            self._asleep.discard(function.name)
            begun = self._clock.now()
            await self.fire(function)
