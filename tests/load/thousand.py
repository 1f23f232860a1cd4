"""Many runs at once, on two hosts that are killed in turn, at a model that throttles: nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from local.stack import FunctionsHost
from shared.runs.model.phases import RunStatus
from shared.runs.rules.callbacks import webhook_id
from shared.runs.store.azure import AzureTables
from tests.acceptance.conftest import Stack, move_clock
from tests.acceptance.outside import seen_outside
from tests.load.stories import LoadCaller, Story, Told, mixed, write_scripts
from tests.load.world import THINKS, AnyHost, kill_in_turn, meanwhile, new_world, say, start, throttle
from tests.parts.invariants import AT_REST, Seen, check
from tests.parts.receiver import SECRET, Receiver

MINUTE = 61.0
"""After an announcement of a minute nothing is left that would still be looked at."""

UNDISTURBED = 0.9
"""When this share of the stories is over, hosts are killed no more, and time flies: what was killed twice while it
created a response waits five minutes before the next attempt."""

FLIGHT = 5.0
"""Seconds by which the clock is then moved each second: well within a lease and a claim."""

REST_LOOKS = 60
"""How often all rows are read, some seconds of the app's time apart, until nothing is left to do."""

SHOWN = 20
"""Violations that are printed."""

SETTINGS = {
    "DORMOUSE_SWEEP_SECONDS": "5",
    "DORMOUSE_OVERDUE_SECONDS": "5",
    "DORMOUSE_POLL_MAX_SECONDS": "5",
    "DORMOUSE_TOOL_LEASE_SECONDS": "30",
    "DORMOUSE_TOOL_RENEWAL_SECONDS": "5",
    "DORMOUSE_CREATE_TIMEOUT_SECONDS": "10",
    "DORMOUSE_CREATE_CLAIM_SECONDS": "30",
    "DORMOUSE_CREATE_GRACE_SECONDS": "2",
    "DORMOUSE_CALLBACK_SECRET": SECRET,
    "DORMOUSE_CALLBACK_ALLOW": "127.0.0.1",
    # One address for both hosts, as behind a load balancer: a callback's body names it.
    "DORMOUSE_PUBLIC_BASE_URL": "https://dormouse.example",
}
"""Claims and leases that are over soon after their host was killed."""


@dataclass(kw_only=True)
class Load:
    """One load: the stack, its two hosts, its callers, and what became of them."""

    stack: Stack
    receiver: Receiver
    hosts: Sequence[FunctionsHost]
    api: AnyHost
    told: Told
    tables: AzureTables
    ahead: float = 0.0
    flown_at: float = math.inf
    """Since when the clock is moved; epoch seconds."""

    killed: list[str] = field(default_factory=list)
    started: dict[str, str] = field(default_factory=dict)
    over: int = 0
    failed: list[str] = field(default_factory=list)

    async def tell_all(self, stories: Sequence[Story]) -> None:
        """Tell all stories side by side; what a story raises is noted."""
        async with asyncio.TaskGroup() as group:
            for number, story in enumerate(stories):
                caller = LoadCaller(
                    api=self.api,
                    name=f"caller-{number}",
                    receiver_url=self.receiver.url,
                    model=self.stack.model,
                    tables=self.tables,
                    told=self.told,
                    started=self.started,
                )
                group.create_task(self._tell(story, caller))

    async def _tell(self, story: Story, caller: LoadCaller) -> None:
        try:
            await story(caller)
        except Exception as error:
            self.failed.append(f"{story.__name__}: {type(error).__name__}: {error}"[:1_000])
        self.over += 1

    async def report(self, stories: int, every: float = 10.0) -> None:
        """Say how far it is; without end."""
        while True:
            await asyncio.sleep(every)
            say(
                f"  {self.over} of {stories} stories over, {len(self.started)} runs started, "
                f"{len(self.killed)} kills, {len(self.failed)} failed"
            )

    async def disturb(self, stories: int, kill_every: float) -> None:
        """Kill hosts in turn until most stories are over; then let time fly. Without end."""
        async with meanwhile(kill_in_turn(self.hosts, kill_every, self.killed)):
            while self.over < UNDISTURBED * stories:  # noqa: ASYNC110 - it looks at what many tasks count
                await asyncio.sleep(0.5)
        for host in self.hosts:
            await start(host)
        self.flown_at = time.time()
        while True:
            await asyncio.sleep(1)
            await self._move(FLIGHT)

    async def rest(self) -> Seen:
        """Wait until nothing is left to do; what is seen then."""
        for host in self.hosts:  # the stories may be over while one is being started
            await start(host)
        await self._move(MINUTE)
        for _ in range(REST_LOOKS):
            seen = await self.seen()
            if not check(seen, AT_REST):
                break
            await asyncio.sleep(2)  # to read all rows is work for those who should come to rest
            await self._move(FLIGHT)
        return seen

    async def _move(self, seconds: float) -> None:
        self.ahead += seconds
        for host in self.hosts:
            await move_clock(host, seconds)

    def violations(self, seen: Seen) -> list[str]:
        """What is not well, in words."""
        return [*self.failed, *map(str, check(seen, AT_REST)), *self._untold(seen)]

    def _untold(self, seen: Seen) -> list[str]:
        """Runs that ended, whose caller was never told so."""
        received = {each.webhook_id for each in self.receiver.received}
        return [
            f"{run.id} is {run.status}, and no callback told so"
            for run in seen.runs.values()
            if run.request.callback_url
            and not run.is_deleted
            and run.terminal
            and webhook_id(run.id, run.status.value) not in received
        ]

    async def seen(self) -> Seen:
        """All that can be seen of the app from outside."""
        return await seen_outside(self.stack, self.tables, self.receiver, ahead=self.ahead)


async def play(
    driver: str, runs: int, *, kill_every: float = 20.0, loses: float = 0.1, seed: int = 1
) -> dict[str, Any]:
    """Play at least so many runs; what came of it, with ``violations`` in words (none: all is well)."""
    with new_world(driver, **SETTINGS) as stack:
        await write_scripts(stack.model)
        hosts = [await asyncio.to_thread(stack.host) for _ in range(2)]
        receiver = Receiver(answers=[500 if number % 10 == 9 else 204 for number in range(4 * runs)])
        async with receiver, AnyHost([host.url for host in hosts], loses=loses, seed=seed) as api:
            tables = AzureTables.from_connection_string(stack.azurite.connection_string, stack.prefix)
            try:
                told = Told(receiver=receiver)
                load = Load(stack=stack, receiver=receiver, hosts=hosts, api=api, told=told, tables=tables)
                return await _played(load, mixed(runs, seed), kill_every)
            finally:
                await tables.close()


async def _played(load: Load, stories: Sequence[Story], kill_every: float) -> dict[str, Any]:
    began = time.monotonic()
    async with meanwhile(load.told.listen(), load.report(len(stories))):
        async with meanwhile(throttle(load.stack.model), load.disturb(len(stories), kill_every)):
            await load.tell_all(stories)
        seconds = time.monotonic() - began
        seen = await load.rest()
    violations = load.violations(seen)
    return {
        "driver": load.stack.driver,
        "runs": len(seen.runs),
        "stories": len(stories),
        "seconds": round(seconds, 1),
        "kills": len(load.killed),
        "connections_lost": load.api.lost,
        "throttled": sum(each.status == 429 for each in seen.requests),
        "by_status": dict(sorted(Counter(run.status.value for run in seen.runs.values()).items())),
        "tools_started": len(seen.starts),
        "callbacks": len(load.receiver.received),
        "lag_seconds": lag(seen, load.flown_at),
        "violations": violations[:SHOWN],
        "violations_found": len(violations),
    }


def lag(seen: Seen, before: float) -> dict[str, float]:
    """Seconds from the end of the model's last response to the end of its run, for runs completed by then."""
    ends = {each.metadata["run"]: each.created_at + THINKS for each in seen.responses if "run" in each.metadata}
    found = [
        run.completed_at.timestamp() - ends[run.id]
        for run in seen.runs.values()
        if run.completed_at is not None and run.status is RunStatus.COMPLETED and run.id in ends
        if run.completed_at.timestamp() < before
    ]
    if len(found) < 2:
        return {}
    return {"median": round(statistics.median(found), 2), "p95": round(statistics.quantiles(found, n=20)[-1], 2)}
