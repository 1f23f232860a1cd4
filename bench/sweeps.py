#!/usr/bin/env python3
"""How many wakes a second the sweep of `timer` carries: polled by itself, and handed out over instances.

    .venv/bin/python bench/sweeps.py [--runs 20000] [--seconds 60] [--look 0.5] [--cpu 0.008]

The app's own sweep, pieces and rows, in time of their own: no figure depends on the machine. What is around them is of
constant cost: a transaction of the store takes 10 ms, a look at the provider ``--look`` seconds, 16 of these at once in
an instance; a poll takes ``--cpu`` seconds of its instance's one core; what is handed out begins a second later, on
whichever instance has least to do (24 activities each). The runs sleep, evenly spread, so that the rate asked for is
due. The lag of a look is the time since it was due; the rate is carried while the median of the second half is below
twice that of ten a second, which the sweep polls by itself. By these figures a sweep that polls alone carries 30 wakes
a second, which is what the real host was seen to carry.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import statistics
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from shared import wiring  # noqa: E402
from shared.agentkit.agent import (  # noqa: E402
    Agent,
    AgentResponse,
    AgentSession,
    ContinuationToken,
    Item,
    ResponseStatus,
    RunOptions,
    Send,
)
from shared.drivers import sweep as sweeping  # noqa: E402
from shared.drivers.driver import Driver  # noqa: E402
from shared.drivers.durable import Hub  # noqa: E402
from shared.drivers.handing_out import HandedOut  # noqa: E402
from shared.runs.commands.submission import Submission  # noqa: E402
from shared.runs.commands.submit import submit  # noqa: E402
from shared.runs.ports import Ports  # noqa: E402
from shared.runs.store.due import DueRow  # noqa: E402
from shared.runs.store.rows import moment_of, seconds_of  # noqa: E402
from shared.runs.store.tables import Change, Page, Row, Table, Tables, Value  # noqa: E402
from shared.settings import Settings  # noqa: E402
from tests.histories import loop  # noqa: E402
from tests.parts.memory import MemoryTables  # noqa: E402

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
STORE_SECONDS = 0.01
HUB_SECONDS = 1.0
ACTIVITIES = 24
LONGEST_GAP = 540.0
"""Between two looks, as the settings allow. No rate is tried for that long."""

BASE_RATE = 10
RATES = (10, 20, 25, 30, 35, 40, 60, 80, 100, 120, 160, 200, 250, 300, 400, 500, 600)
INSTANCES = (1, 2, 4, 8, 16)


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What is constant, in seconds."""

    look: float
    cpu: float


def now() -> datetime:
    """The time of the loop."""
    return START + timedelta(seconds=asyncio.get_running_loop().time())


class CountedTables:
    """Tables in memory whose operations take the same time each. It is a ``Tables``."""

    def __init__(self, world: World) -> None:
        self._inner, self._world = world.tables, world

    async def _one(self) -> None:
        self._world.transactions += 1
        await asyncio.sleep(STORE_SECONDS)

    async def get(self, table: Table, partition: str, key: str) -> Row | None:
        """See the port."""
        await self._one()
        return await self._inner.get(table, partition, key)

    async def commit(self, table: Table, partition: str, changes: Sequence[Change]) -> Mapping[str, str]:
        """See the port."""
        await self._one()
        etags = await self._inner.commit(table, partition, changes)
        for change in changes if table is Table.DUE else ():
            if not change.values.get("handed_to"):
                due = moment_of(change.values["due"]) - START
                self._world.planned[_response_of(change.key.split("_")[1])] = due.total_seconds()
        return etags

    async def query(self, table: Table, partition: str | None, **options: Any) -> AsyncIterator[Row]:
        """See the port; a page has a thousand rows."""
        rows = [row async for row in self._inner.query(table, partition, **options)]
        for at in range(0, max(len(rows), 1), 1_000):
            await self._one()
            for row in rows[at : at + 1_000]:
                yield row

    async def page(self, table: Table, **options: Any) -> Page:
        """See the port."""
        await self._one()
        return await self._inner.page(table, **options)


class Sleeper:
    """An agent whose responses never end. It is an ``Agent``, as far as a sweep needs one."""

    name, description, model, output = "sleeper", "Sleeps.", None, None
    streams = False
    background = chains = asks_approval = True
    models = caller_options = frozenset[str]()
    caller_instructions, caller_tools = "input", "none"
    tools: Mapping[str, Any] = {}

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    def prepare(self, messages: Sequence[Item], *, session: AgentSession, options: RunOptions) -> Send:
        """A create."""

        async def send() -> AgentResponse:
            return _pending("resp_first")

        return send

    async def run(
        self, messages: Sequence[Item] | None, *, session: AgentSession, options: RunOptions
    ) -> AgentResponse:
        """A look."""
        assert options.continuation_token is not None
        await self._instance.look(options.continuation_token.response_id)
        return _pending(options.continuation_token.response_id)


def _pending(response_id: str) -> AgentResponse:
    token = ContinuationToken(response_id=response_id)
    return AgentResponse(
        status=ResponseStatus.PENDING,
        provider_status="in_progress",
        response_id=response_id,
        continuation_token=token,
    )


class Instance:
    """One process of the app, with a core and a share of the provider."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._core, self._slots = asyncio.Semaphore(1), asyncio.Semaphore(world.settings.provider_concurrency)
        self.activities = asyncio.Semaphore(ACTIVITIES)
        self.at_work = 0
        tables = cast(Tables, CountedTables(world))
        agents = {"sleeper": cast(Agent, Sleeper(self))}
        self.ports: Ports = replace(wiring.build(world.settings, agents, tables, now).ports, random=lambda: 0.0)

    async def look(self, response_id: str) -> None:
        """One poll's share of the core, and its question to the provider."""
        world = self._world
        async with self._core:
            await asyncio.sleep(world.costs.cpu)
        async with self._slots:
            if response_id in world.planned:
                at = asyncio.get_running_loop().time()
                world.looks.append((at, at - world.planned[response_id]))
            await asyncio.sleep(world.costs.look)


class Spreading:
    """The task hub: it gives each piece to the instance that has least to do."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tasks: set[asyncio.Task[None]] = set()

    async def start_polls(self, _name: str, pieces: Sequence[Mapping[str, str]]) -> None:
        """Start an activity for each."""
        self._world.orchestrations += 1
        for piece in pieces:
            task = asyncio.get_running_loop().create_task(self._poll(piece))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _poll(self, piece: Mapping[str, str]) -> None:
        await asyncio.sleep(HUB_SECONDS)
        self._world.activities += 1
        instance = min(self._world.instances, key=lambda each: each.at_work)
        instance.at_work += 1
        async with instance.activities:
            await sweeping.poll(instance.ports, self._world.driver(instance), piece)
        instance.at_work -= 1


class World:
    """So many sleeping runs, the instances that look at them, and what was seen of that."""

    def __init__(self, options: argparse.Namespace, rate: float, instances: int) -> None:
        self.gap = options.runs / rate
        gap = min(self.gap, LONGEST_GAP)
        self.costs = Costs(look=options.look, cpu=options.cpu)
        self.settings = Settings(
            openai_api_key="k",
            app_name="bench",
            driver="timer",
            poll_first=gap,
            poll_max=gap,
            deadline=604_800.0,
            provider_concurrency=options.slots,
        )
        self.tables = MemoryTables(checks_limits=False)
        self.planned: dict[str, float] = {}
        """When each response is to be looked at, by the loop's time."""

        self.looks: list[tuple[float, float]] = []
        """When each look began, and how long it had been due."""

        self.transactions = self.activities = self.orchestrations = 0
        self.instances = [Instance(self) for _ in range(max(instances, 1))]
        self._hub = Spreading(self)

    def driver(self, instance: Instance) -> Driver:
        """The driver of a call in that instance."""
        return Driver(instance.ports, cast(Hub, self._hub))

    async def run(self, runs: int, seconds: float) -> None:
        """Have the runs sleep for so long, and sweep."""
        ports, every = self.instances[0].ports, self.settings.sweep_every
        await self._fill(runs)
        self.transactions = self.activities = self.orchestrations = 0
        seconds_now = asyncio.get_running_loop().time
        end = seconds_now() + seconds
        while (begun := seconds_now()) < end:
            await sweeping.sweep(ports, self.driver(self.instances[0]))
            following = begun - begun % every + every
            await asyncio.sleep(max(0.0, following - seconds_now()))  # one that took too long is followed at once
        await asyncio.sleep(HUB_SECONDS)

    async def _fill(self, runs: int) -> None:
        """One run that was submitted and looked at, so many times."""
        ports = self.instances[0].ports
        message = {"type": "message", "role": "user", "content": "Sleep."}
        submitted = await submit(ports, Submission(items=(message,), agent="sleeper", owner="bench"))
        await asyncio.sleep(2 * self.settings.poll_max + 60)
        await sweeping.sweep(ports, self.driver(self.instances[0]))
        first = submitted.run.request.session_id
        rows = [*self.tables.rows(Table.RUNS, first), *self.tables.rows(Table.DUE)]
        self.tables._rows.clear()
        now_, gap = asyncio.get_running_loop().time(), self.gap
        for number in range(runs):
            due, session = now_ + gap * (number + 0.5) / runs, f"{number:032x}"
            self.planned[_response_of(session)] = due
            for row in rows:
                is_due_row = row.key.startswith("run_")
                partition = session[-1] if is_due_row else session
                values = {name: _renamed(value, first, session) for name, value in row.values.items()}
                if is_due_row:
                    values["due"] = seconds_of(START + timedelta(seconds=due))
                new = Row(partition=partition, key=row.key.replace(first, session), etag=row.etag, values=values)
                table = Table.DUE if is_due_row else Table.RUNS
                self.tables._rows.setdefault((table, partition), {})[new.key] = new


def _response_of(session: str) -> str:
    return f"resp_{session}"


def _renamed(value: Value, first: str, session: str) -> Value:
    if not isinstance(value, str):
        return value
    return value.replace("resp_first", _response_of(session)).replace(first, session)


async def keep(_ports: Ports, _hub: Hub, rows: Sequence[DueRow]) -> HandedOut:
    """Hand out nothing, as before anything could be."""
    return HandedOut(count=0, left=rows)


@dataclass(frozen=True, kw_only=True)
class Carried:
    """What became of a rate."""

    lag: float
    """Median seconds."""

    wakes: int
    transactions: float
    """Of the store, a wake."""

    activities: float
    """A wake."""


def carry(options: argparse.Namespace, rate: float, instances: int) -> Carried:
    """That rate, polled by the sweep itself (no instances) or handed out over so many."""

    async def play() -> World:
        world = World(options, rate, instances)
        await world.run(options.runs, options.seconds)
        return world

    inline = [patch.object(sweeping, "hand_out", keep), patch.object(sweeping, "most_inline", lambda _: 10**9)]
    for each in inline if not instances else ():
        each.start()
    try:
        world = loop.run_virtually(play())
    finally:
        patch.stopall()
    middle = max(at for at, _ in world.looks) - options.seconds / 2
    wakes = len(world.looks)
    return Carried(
        lag=statistics.median(lag for at, lag in world.looks if at > middle),
        wakes=wakes,
        transactions=world.transactions / wakes,
        activities=world.activities / wakes,
    )


def main() -> int:
    """Read the command line, try the rates, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20_000, help="sleeping runs")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each rate is tried")
    parser.add_argument("--look", type=float, default=0.5, help="seconds of a question to the provider")
    parser.add_argument("--cpu", type=float, default=0.008, help="seconds of a core that a poll takes")
    parser.add_argument("--slots", type=int, default=16, help="questions at once, of one instance")
    parser.add_argument("--instances", type=int, nargs="*", default=INSTANCES, help="numbers of instances to try")
    parser.add_argument("--rates", type=float, nargs="*", default=RATES, help="wakes a second to try, rising")
    options = parser.parse_args()
    loop.MOST_CALLBACKS = sys.maxsize
    logging.disable(logging.CRITICAL)
    base = carry(options, BASE_RATE, 0).lag
    print(f"median lag at {BASE_RATE} wakes a second: {base:.2f} s\n")
    print("| polled | carries, a second | median lag there | lag beyond it | transactions a wake | runs an activity |")
    print("|---|---|---|---|---|---|")
    least = 0.0
    for instances in (0, *options.instances):
        best, beyond = None, ""
        for rate in (each for each in options.rates if each >= least):  # more of them carry no less
            tried = carry(options, rate, instances)
            if tried.lag >= 2 * base:
                beyond = f"{tried.lag:.1f} s at {rate:g}"
                break
            best = rate, tried
        name = f"handed out, {instances} instances" if instances else "by the sweep itself"
        if best is None:
            print(f"| {name} | none of these |  | {beyond} |  |  |", flush=True)
            continue
        rate, tried = best
        least = rate
        share = f"{1 / tried.activities:.0f}" if tried.activities else "-"
        print(f"| {name} | {rate:g} | {tried.lag:.2f} s | {beyond} | {tried.transactions:.2f} | {share} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
