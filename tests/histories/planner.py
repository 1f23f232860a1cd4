"""Somebody who makes, changes, pauses and removes schedules, in any order, while callers go on."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from datetime import timedelta

from shared.runs.commands.submission import Submission
from shared.runs.model.schedules import Missed
from shared.runs.schedules.change import Timing, change_schedule, create_schedule, delete_schedule
from tests.histories.clients import OWNER, Client
from tests.histories.process import Process
from tests.histories.provider import PlannedTurn, to_text
from tests.histories.world import World
from tests.parts.invariants import Seen, Violation

PAUSES = (0.0, 2.0, 100.0, 1_000.0)
"""Seconds between two calls, at most."""

EVERY = {"* * * * *": timedelta(minutes=1), "*/7 * * * *": timedelta(minutes=7), "*/30 * * * *": timedelta(minutes=30)}
"""What schedules are made with, and the longest that passes between two of its times."""

CAUGHT_UP = timedelta(minutes=15)
"""After so long without faults no time is left behind: neither tries that were put off, nor a due row of long ago."""


class Planner(Client):
    """One owner of schedules."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.schedules: list[str] = []
        self._goes_on = True

    async def go_on(self) -> None:
        """One call after the other, until it is to stop."""
        random = self.world.random
        while self._goes_on:
            await random.choice([self.make, self.change, self.change, self.change, self.remove])()
            await asyncio.sleep(random.choice(PAUSES) * random.random() + 0.1)

    def stop(self) -> None:
        """Make no further call. The last one may be held up: what it says may come late."""
        self._goes_on = False

    async def make(self) -> None:
        """A schedule with short runs."""
        wanted = Submission(
            owner=OWNER,
            agent="talker",
            items=({"type": "message", "role": "user", "content": to_text((PlannedTurn(think=1.0),), "again")},),
            idempotency_key=secrets.token_hex(8),
        )
        timing = self._timing()

        async def do(process: Process) -> str:
            made = await create_schedule(process.ports, wanted, timing)
            await process.driver().wake(made.id)
            return made.id

        made = await self.call("create_schedule", do)
        if made is not None:
            self.schedules.append(made)

    async def change(self) -> None:
        """Another time, a pause, or the end of one."""
        if not self.schedules:
            return
        schedule_id, timing = self.world.random.choice(self.schedules), self._timing()

        async def do(process: Process) -> None:
            await change_schedule(process.ports, OWNER, schedule_id, timing)
            await process.driver().wake(schedule_id)

        await self.call("change_schedule", do)

    async def remove(self) -> None:
        """No further run begins."""
        if self.schedules:
            schedule_id = self.world.random.choice(self.schedules)
            await self.call("delete_schedule", lambda process: delete_schedule(process.ports, OWNER, schedule_id))

    async def remove_all(self) -> None:
        """Whatever is there, also what was made by a call that got no answer."""

        async def do(process: Process) -> None:
            there, _ = await process.ports.schedules.of_owner(OWNER, None, 100)
            for each in there:
                await delete_schedule(process.ports, OWNER, each.id)

        await self.call("remove all", do, tries=100)

    def left_behind(self, seen: Seen) -> Iterator[Violation]:
        """Active ones whose next time is past, though all has gone well since."""
        for one in seen.schedules:
            self.world.seen["schedule that went on"] += one.next_at is not None
            if one.next_at is not None and one.next_at < seen.now - EVERY[one.cron] - CAUGHT_UP:
                yield Violation("schedules_go_on", f"{one.id} stands at {one.next_at}, with {one.tries} tries")

    def _timing(self) -> Timing:
        random = self.world.random
        return Timing(cron=random.choice(list(EVERY)), missed=random.choice(list(Missed)), paused=random.random() < 0.3)
