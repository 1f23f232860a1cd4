"""A whole app on the local host, with its own Durable, on a clock that jumps to whatever is next when all is quiet.

Five minutes of waiting pass in as long as the app works. The app, the host and the model go by that clock; what passes
between them and the store is real. Executions are what the host has called: HTTP, timers, activities, orchestrators.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from bench.programs.loop import given, serve
from local.host.app import Function
from local.host.host import Host
from local.host.worker import Worker
from local.model import ScriptedModel
from local.model.control import ModelControl

QUIET_LOOKS = 4
QUIET_SECONDS = 0.003


class JumpingClock:
    """Implements the host's `Clock`. It stands still until `jump`."""

    def __init__(self) -> None:
        self._now = datetime.now(UTC).replace(microsecond=0)
        self._sleepers: dict[asyncio.Event, datetime] = {}

    def now(self) -> datetime:
        """The time."""
        return self._now

    async def sleep_until(self, when: datetime) -> None:
        """Return once a jump has come to that time."""
        woken = asyncio.Event()
        while self._now < when:
            woken.clear()
            self._sleepers[woken] = when
            try:
                await woken.wait()
            finally:
                del self._sleepers[woken]

    def jump(self) -> None:
        """To the time at which the first sleeper wakes."""
        self._now = max(self._now, min(self._sleepers.values(), default=self._now))
        for woken, when in self._sleepers.items():
            if when <= self._now:
                woken.set()


class Calls:
    """What the host has called, and what runs now."""

    def __init__(self, clock: JumpingClock) -> None:
        self.by_name: Counter[str] = Counter()
        self.by_kind: Counter[str] = Counter()
        self.moments: set[int] = set()
        """Seconds of the clock in which something was called: what a plan bills that bills a second at least."""

        self.running = 0
        call = Worker.call

        async def counted(worker: Worker, function: Function, trigger: Any) -> Any:
            self.by_name[function.name] += 1
            self.by_kind[function.kind] += 1
            self.moments.add(int(clock.now().timestamp()))
            self.running += 1
            try:
                return await call(worker, function, trigger)
            finally:
                self.running -= 1

        Worker.call = counted  # type: ignore[method-assign]

    def kept(self) -> tuple[Counter[str], Counter[str], set[int]]:
        """What was counted so far."""
        return self.by_name.copy(), self.by_kind.copy(), self.moments.copy()

    def restore(self, kept: tuple[Counter[str], Counter[str], set[int]]) -> None:
        """As if nothing had been called since."""
        self.by_name, self.by_kind, self.moments = kept


class Simulated:
    """The app that `BENCH_APP` names."""

    def __init__(self) -> None:
        self.clock = JumpingClock()
        self.calls = Calls(self.clock)

    async def runs(self, count: int) -> dict[str, Any]:
        """So many runs, submitted at once, to their ends; what was called meanwhile, and how long that took."""
        # An app's own clock is that of its process; the peers have none but the host's.
        from shared import wiring
        from shared.agentkit.provider import import_client

        wiring.now = self.clock.now
        # A worker that has just started leaves its first creates to wakes: these are runs of one that has been at work.
        import_client()
        stack = given()
        async with ScriptedModel(clock=lambda: self.clock.now().timestamp()) as model:
            os.environ |= {"OPENAI_BASE_URL": model.url, "OPENAI_API_KEY": stack.account}
            os.environ |= {"AzureWebJobsStorage": stack.storage, "DORMOUSE_TABLE_PREFIX": stack.prefix}
            await ModelControl(model.root, stack.account).script("run", json.loads(os.environ["BENCH_SCRIPT"]))
            async with Host(Path(os.environ["BENCH_APP"]), port=0, clock=self.clock) as host:
                begun, waited = time.process_time(), self.clock.now()
                asked = await self._to_their_ends(host, count)
                cpu = time.process_time() - begun
        names, kinds = dict(self.calls.by_name), dict(self.calls.by_kind)
        passed = (self.clock.now() - waited).total_seconds()
        found = {"names": names, "kinds": kinds, "moments": len(self.calls.moments), "cpu": cpu}
        return found | {"asked": asked, "passed": passed}

    async def _to_their_ends(self, host: Host, count: int) -> int:
        """Returns how often a status was asked for, which is among nobody's executions."""
        asked, earliest = 0, self.clock.now() + timedelta(seconds=float(os.environ["BENCH_EARLIEST"]))
        async with aiohttp.ClientSession(host.url) as session:
            ids = await asyncio.gather(*(_submit(session) for _ in range(count)))
            while ids:
                await self._until_quiet(host)
                if self.clock.now() >= earliest:
                    before = self.calls.kept()
                    # The last is asked for until it is over, then the one before: few questions, whatever the number.
                    while ids:
                        asked += 1
                        if not await _is_over(session, ids[-1]):
                            break
                        ids.pop()
                    self.calls.restore(before)
                if ids:
                    self.clock.jump()
        return asked

    async def _until_quiet(self, host: Host) -> None:
        """Until nothing runs, and nothing begins for a while."""
        quiet, seen = 0, -1
        while quiet < QUIET_LOOKS:
            await asyncio.sleep(QUIET_SECONDS)
            busy = self.calls.running or any(each.busy for each in host.hub.query())
            total = self.calls.by_kind.total()
            quiet = 0 if busy or total != seen else quiet + 1
            seen = total


async def _submit(session: aiohttp.ClientSession) -> str:
    async with session.post("/api/runs", json={"input": "[script:run]", "agent": "novelist"}) as response:
        assert response.status in (200, 202), await response.text()
        run_id: str = (await response.json())["id"]
        return run_id


async def _is_over(session: aiohttp.ClientSession, run_id: str) -> bool:
    async with session.get(f"/api/runs/{run_id}") as response:
        status = (await response.json())["status"]
    assert status not in ("failed", "cancelled", "incomplete"), status
    return bool(status == "completed")


if __name__ == "__main__":
    asyncio.run(serve(Simulated()))
