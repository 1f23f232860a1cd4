"""An operator who pauses, drains and gives back runs, in any order, while callers go on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from shared.runs.commands import operate
from shared.runs.store.controls import Intake
from tests.histories.clients import Client
from tests.histories.process import Process
from tests.histories.world import World

PAUSES = (0.0, 2.0, 20.0, 300.0, 3_000.0)
"""Seconds between two calls, at most."""


class Operator(Client):
    """One operator. ``callers``: whose runs are given back."""

    def __init__(self, world: World, callers: Sequence[Client]) -> None:
        super().__init__(world)
        self._callers = callers
        self._goes_on = True

    async def go_on(self) -> None:
        """One call after the other, until it is to stop."""
        random = self.world.random
        while self._goes_on:
            await asyncio.sleep(random.choice(PAUSES) * random.random() + 0.1)
            await random.choice([self.drain, self.drain, self.pause, self.release])()

    async def drain(self) -> None:
        """Begin a drain, or end one."""
        draining = self.world.random.random() < 0.5
        await self.call("drain" if draining else "end a drain", lambda process: _drain(process, draining=draining))

    async def pause(self) -> None:
        """Pause the intake, or open it."""
        intake = Intake(paused=self.world.random.random() < 0.5)
        await self.call("pause" if intake.paused else "resume", lambda process: _intake(process, intake))

    async def release(self) -> None:
        """Give a run back to its driver."""
        runs = [run_id for caller in self._callers for run_id in caller.runs]
        if not runs:
            return
        run_id = self.world.random.choice(runs)

        async def do(process: Process) -> None:
            await operate.release(process.ports, run_id)
            await process.driver().wake(run_id)

        await self.call("release", do)

    def stop(self) -> None:
        """Make no further call. The last one may be held up: what it says may come late."""
        self._goes_on = False

    async def let_all_go_on(self) -> None:
        """End whatever was stopped, however often that has to be asked for."""

        async def do(process: Process) -> bool:
            await _drain(process, draining=False)
            await _intake(process, Intake())
            return True

        while not await self.call("let all go on", do):
            pass


async def _drain(process: Process, *, draining: bool) -> None:
    await operate.set_drain(process.ports, draining=draining)


async def _intake(process: Process, intake: Intake) -> None:
    await operate.set_intake(process.ports, intake)
