"""The recorded app on our host, with a recorder where the real recorder stood."""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.host import Host, Keys, MovableClock
from local.host.durable.caller import Caller

HERE = Path(__file__).parent
HOST_JSON = {"extensions": {"http": {"routePrefix": ""}, "durableTask": {"hubName": "recordhub2"}}}
KEYS = Keys(function="FKEY-0123456789", master="MASTERKEY-0123456789")


def recorded(name: str) -> Any:
    return json.loads((HERE / name).read_text("utf-8"))


class Recorder:
    """Stands where the real recorder stood: between the task hub and the orchestrators."""

    def __init__(self, inner: Caller, busy: Callable[[], bool]) -> None:
        self._inner = inner
        self._busy = busy
        self.episodes: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self.going_on = asyncio.Event()
        """While it is clear, no activity begins."""
        self.going_on.set()

    async def activity(self, name: str, input_text: str) -> str:
        await self.going_on.wait()
        try:
            return await self._inner.activity(name, input_text)
        finally:
            # One result an episode, however slow this machine is: the real host was never faster.
            while self._busy():  # noqa: ASYNC110
                await asyncio.sleep(0.001)

    async def orchestrator(self, name: str, context: str) -> Mapping[str, Any]:
        given = json.loads(context)
        state = await self._inner.orchestrator(name, context)
        episode = {"input": given}
        if error := state.get("error"):
            episode["raised"] = f"{error}\n\n$OutOfProcData$:{json.dumps(state)}"
        else:
            episode["output"] = state
        self.episodes[given["instanceId"]].append(episode)
        return state


@dataclass
class Stage:
    """Our host with the recorded app, its clock and its recorder."""

    host: Host
    clock: MovableClock
    recorder: Recorder

    async def until(self, done: Callable[[], bool], what: str, *, push: float = 0.0) -> None:
        """Wait for a condition; `push` moves the clock at each look, for what waits for durable timers."""
        deadline = time.monotonic() + 10
        while not done():
            assert time.monotonic() < deadline, f"waited in vain for {what}"
            await asyncio.sleep(0.005)
            if push and not done():
                self.clock.advance(push)
