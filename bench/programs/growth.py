"""The app's own parts where there is much of something: turns of a session, items of a batch, calls of a run."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from bench.programs.dormouse import GAP, Dormouse
from bench.programs.loop import serve
from shared.api.native import batches, run_changes, runs
from shared.drivers.activity import wake
from shared.drivers.driver import Driver
from shared.drivers.durable import Hub

AT_ONCE = "[script:at_once]"
CALLS = "[script:calls]"
MOST_ROUNDS = 1_000


class StartingHub:
    """A durable client that keeps whom it was asked to start or to wake."""

    def __init__(self) -> None:
        self._started: list[str] = []

    async def start_new(self, name: str, instance_id: str, given: object) -> None:
        """Start it later."""
        self._started.append(instance_id)

    async def raise_event(self, instance_id: str, name: str) -> None:
        """Wake it later."""
        self._started.append(instance_id)

    def taken(self) -> list[str]:
        """Since the last time."""
        taken, self._started = self._started, []
        return taken


class Growth(Dormouse):
    """With a session, and a run with many calls."""

    def __init__(self) -> None:
        super().__init__()
        self.hub = StartingHub()
        self.driver = Driver(self.app.ports, Hub(self.hub), self.app.watching.read_now)
        self.session_id: str | None = None

    async def turns(self, count: int) -> None:
        """So many runs in one session, each after the one before."""
        for _ in range(count):
            body = {"input": AT_ONCE, "agent": "novelist"}
            if self.session_id is not None:
                body = {"input": AT_ONCE, "session_id": self.session_id}
            headers = {"Content-Type": "application/json"}
            response = await self.call(run_changes.create_run, self.driver, body=body, headers=headers)
            run: dict[str, Any] = json.loads(bytes(response.body))
            self.session_id = run["session_id"]
            await self._to_its_end(run["id"])

    async def batch(self, count: int) -> None:
        """A batch of so many items, whose model answers at once, from its submit to its end."""
        body = {"agent": "novelist", "items": [{"input": AT_ONCE} for _ in range(count)]}
        headers = {"Content-Type": "application/json"}
        response = await self.call(batches.create_batch, self.driver, body=body, headers=headers)
        batch_id = json.loads(bytes(response.body))["id"]
        await self._to_its_end(batch_id)
        response = await self.call(batches.get_batch, path={"batch_id": batch_id})
        seen = json.loads(bytes(response.body))
        assert seen["status"] == "completed", seen
        assert seen["counts"]["completed"] == count, seen

    async def calls(self, count: int) -> int:
        """Have a run with many calls of tools, all done; the number that its status shows."""
        self.ended = await self.submitted(CALLS)
        await self._to_its_end(self.ended)
        response = await self.call(runs.get_run, path={"run_id": self.ended})
        return len(json.loads(bytes(response.body))["tool_calls"])

    async def _to_its_end(self, subject: str) -> None:
        """Wake it, and what it has started, as the orchestrators would."""
        self.hub.taken()
        left = {subject}
        for _ in range(MOST_ROUNDS):
            for each in sorted(left):
                if (await wake(self.app.ports, each, self.driver)).wake_in is None:
                    left.discard(each)
            left |= set(self.hub.taken()) - {subject}
            if not left:
                return
            self.clock.move(GAP)
        raise AssertionError(f"{left} have not ended")


if __name__ == "__main__":
    asyncio.run(serve(Growth()))
