"""A host under a constant, modest load for a long time: memory, handles, threads and latency stay as they are.

The process is the app and the local host in one. The local host keeps finished orchestrations in memory, where Azure
keeps them in storage; they are purged at each sample, so that what grows is the app's.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import os
import statistics
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from local.stack import FunctionsHost
from tests.acceptance.client import TERMINAL
from tests.acceptance.conftest import admin
from tests.load.stories import write_scripts
from tests.load.world import meanwhile, new_world, say

SUBMIT_PAUSE, LOOK_PAUSE = 0.5, 0.2
"""Seconds between an answer and the next request: on a slow machine there are fewer, and never more at once."""

VIEWERS = 3
"""Event streams that are open at any time."""

SAMPLE_SECONDS = 10.0
RECENT = 50
SHOWN = 20
WORK, ROUNDS = bytes(1_000_000), 40
"""What to hash, and how often, to know how fast the machine is at the moment: longer than a core is lent at once."""

WORDS = "Once upon a time there was a dormouse, and it slept through most of what follows. "

RSS_GROWTH_MB, RSS_GROWTH_SHARE = 8.0, 0.05
"""The larger of the two: what an allocator that is asked for the same again and again may take, not keep taking."""

HANDLES_GROWTH = 5
"""A connection more or less of each viewer and each pool, at the moment of a sample."""

THREADS_GROWTH = 4
"""A pool makes a thread when it first needs so many at once, and that may be late."""

LATENCY_RATIO, LATENCY_MS = 1.5, 30.0
"""Latency has grown when it has by both, and by the share also as a multiple of the machine's own time then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What was seen of the process at one moment, and of its answers since the moment before."""

    rss_mb: float
    handles: int
    threads: int
    submit_ms: float
    status_ms: float
    machine_ms: float
    """How long a fixed piece of work takes in another process: what else is on the machine slows both down."""


@dataclass(kw_only=True)
class Soak:
    """One soak."""

    host: FunctionsHost
    http: aiohttp.ClientSession
    recent: deque[str] = field(default_factory=lambda: deque(maxlen=RECENT))
    seconds: dict[str, list[float]] = field(default_factory=lambda: {"submit": [], "status": [], "machine": []})
    samples: list[Sample] = field(default_factory=list)
    did: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    async def submit(self, script: str, **fields: Any) -> str:
        """Start a run, and note how long the answer took; its id."""
        began = time.monotonic()
        body = {"input": f"[script:{script}]", "agent": "workshop", **fields}
        async with self.http.post("/api/runs", json=body) as answer:
            run = await answer.json()
            assert answer.status in (200, 202), run
        self.seconds["submit"].append(time.monotonic() - began)
        self.recent.append(run["id"])
        self.did["runs"] += 1
        return str(run["id"])

    async def look(self, run_id: str) -> dict[str, Any]:
        """A run as it stands; how long the answer took is noted."""
        began = time.monotonic()
        async with self.http.get(f"/api/runs/{run_id}") as answer:
            run: dict[str, Any] = await answer.json()
            assert answer.status == 200, run
        self.seconds["status"].append(time.monotonic() - began)
        self.did["looks"] += 1
        return run

    async def submits(self) -> None:
        """Runs one after the other, plain ones and ones with two tools by turns; without end."""
        for script in itertools.cycle(("done", "tools")):
            with self._noted():
                await self.submit(script)
            await asyncio.sleep(SUBMIT_PAUSE)

    async def looks(self) -> None:
        """Status calls one after the other; without end."""
        for number in itertools.count():
            if self.recent:
                with self._noted():
                    await self.look(self.recent[number % len(self.recent)])
            await asyncio.sleep(LOOK_PAUSE)

    async def view(self) -> None:
        """Start a run that streams, and watch it to its end; then the next, without end."""
        while True:
            before = len(self.wrong)
            with self._noted():
                run_id, last = await self.submit("story", stream=True), b""
                async with self.http.get(f"/api/runs/{run_id}/events") as answer:
                    assert answer.status == 200, answer.status
                    async for line in answer.content:
                        last = line if line.startswith(b"event: ") else last
                assert last.strip() == b"event: end", last
                assert (await self.look(run_id))["status"] == "completed"
                self.did["streams"] += 1
            if len(self.wrong) > before:
                await asyncio.sleep(1)  # what goes wrong at once would go wrong without end

    async def measure(self) -> None:
        """Do the fixed piece of work once a second; without end."""
        while True:
            began = time.monotonic()
            await asyncio.to_thread(_work)
            self.seconds["machine"].append(time.monotonic() - began)
            await asyncio.sleep(1)

    @contextlib.contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except (AssertionError, OSError, TimeoutError, aiohttp.ClientError) as error:
            self.wrong.append(f"{type(error).__name__}: {error}"[:500])

    async def sample(self) -> None:
        """Take a sample every so many seconds; without end."""
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            await self._purge()
            took = {name: statistics.median(found) * 1_000 for name, found in self.seconds.items() if found}
            for found in self.seconds.values():
                found.clear()
            of_process = _status_of(self.host.pid)
            self.samples.append(
                Sample(
                    rss_mb=of_process["VmRSS"] / 1_024,
                    handles=_handles_of(self.host.pid),
                    threads=of_process["Threads"],
                    submit_ms=took.get("submit", float("inf")),
                    status_ms=took.get("status", float("inf")),
                    machine_ms=took["machine"],
                )
            )
            say(f"  {len(self.samples) * SAMPLE_SECONDS:.0f} s: {self.samples[-1]}, {dict(self.did)}")

    async def _purge(self) -> None:
        path = "/runtime/webhooks/durabletask/instances?runtimeStatus=Completed"
        async with self.http.delete(path, headers=admin(self.host)) as answer:
            assert answer.status in (200, 404), await answer.text()

    async def ended(self) -> None:
        """Note the last runs that do not end."""
        end = time.monotonic() + 60
        for run_id in self.recent:
            while (await self.look(run_id))["status"] not in TERMINAL:
                if time.monotonic() > end:
                    self.wrong.append(f"{run_id} has not ended")
                    break
                await asyncio.sleep(0.5)


def _work() -> None:
    for _ in range(ROUNDS):
        hashlib.sha256(WORK).hexdigest()


def _handles_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _status_of(pid: int) -> dict[str, int]:
    """The numbers in ``/proc/PID/status``; sizes are in KiB."""
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines())
    return {line[0].rstrip(":"): int(line[1]) for line in lines if len(line) > 1 and line[1].isdigit()}


async def soak(driver: str, minutes: float) -> dict[str, Any]:
    """Soak so long; the figures, with ``violations`` in words (none: it is flat)."""
    with new_world(driver, DORMOUSE_SWEEP_SECONDS="5", DORMOUSE_OVERDUE_SECONDS="10") as stack:
        await write_scripts(stack.model)
        await stack.model.script("story", [{"text": WORDS * 10, "think": 5}])
        host = await asyncio.to_thread(stack.host)
        async with aiohttp.ClientSession(host.url, timeout=aiohttp.ClientTimeout(total=60)) as http:
            its = Soak(host=host, http=http)
            viewers = [its.view() for _ in range(VIEWERS)]
            async with meanwhile(its.submits(), its.looks(), its.measure(), its.sample(), *viewers):
                await asyncio.sleep(minutes * 60)
            await its.ended()
    return {"driver": driver, "minutes": minutes, **dict(its.did), **judged(its.samples, its.wrong)}


def judged(samples: Sequence[Sample], wrong: Sequence[str]) -> dict[str, Any]:
    """The figures of the second and the last quarter, and what has grown between them.

    In the first quarter caches, pools and the allocator fill.
    """
    quarter = len(samples) // 4
    if not quarter:
        return {"violations": [*wrong, "too short: there are not four samples"]}
    figures: dict[str, dict[str, float]] = {}
    for name in Sample.__slots__:
        values = [getattr(each, name) for each in samples]
        second, last = statistics.median(values[quarter : 2 * quarter]), statistics.median(values[-quarter:])
        figures[name] = {"second_quarter": round(second, 1), "last_quarter": round(last, 1)}
    slower = figures["machine_ms"]["last_quarter"] / figures["machine_ms"]["second_quarter"]
    grown = [
        f"{name} grew from {each['second_quarter']} to {each['last_quarter']}"
        for name, each in figures.items()
        if _has_grown(name, each["second_quarter"], each["last_quarter"], max(slower, 1.0))
    ]
    return {**figures, "samples": len(samples), "violations": [*wrong[:SHOWN], *grown]}


def _has_grown(name: str, before: float, after: float, slower: float) -> bool:
    match name:
        case "rss_mb":
            return after - before > max(RSS_GROWTH_MB, RSS_GROWTH_SHARE * before)
        case "handles":
            return after - before > HANDLES_GROWTH
        case "threads":
            return after - before > THREADS_GROWTH
        case "submit_ms" | "status_ms":
            return after > before * LATENCY_RATIO * slower and after - before > LATENCY_MS
    return False
