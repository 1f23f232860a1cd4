#!/usr/bin/env python3
"""What viewers cost: many of one parked run, and many of one run whose text is being written.

    .venv/bin/python bench/viewers.py [--app DIR] [--parked 400] [--streaming 100] [--seconds 30]

Starts the local stack. The host and the app are one process, whose processor time is read from /proc (Linux); viewers
are in this one. `--app` is another checkout of the app, to compare with. The aim: at most a tenth of a core for 400
viewers of a parked run, and one connection to the provider for 100 viewers of a streamed one.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from local.model.control import ModelControl  # noqa: E402
from local.stack import Azurite, FunctionsHost, ScriptedModel  # noqa: E402

ACCOUNT = "bench"
WORDS = "Once upon a time there was a dormouse, and it slept through most of what follows. "
SETTLED = 10.0
"""Seconds after the last viewer has come, in which the looks of the run become rare."""

Watching = Callable[[aiohttp.ClientSession, str], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table."""

    what: str
    value: str
    aim: str = ""


@dataclass(frozen=True, slots=True)
class Bench:
    """A running stack, and what is to be measured with it."""

    host: FunctionsHost
    model: ModelControl
    session: aiohttp.ClientSession
    seconds: float

    async def submit(self, **body: Any) -> str:
        """The path of a new run."""
        async with self.session.post(f"{self.host.url}/api/runs", json=body) as answer:
            return f"/api/runs/{(await answer.json())['id']}"

    async def run(self, path: str) -> dict[str, Any]:
        """The run as it stands."""
        async with self.session.get(self.host.url + path) as answer:
            found: dict[str, Any] = await answer.json()
            return found

    async def until(self, path: str, status: str) -> None:
        """Wait for a status."""
        async with asyncio.timeout(120):
            while (await self.run(path))["status"] != status:  # noqa: ASYNC110 - the run is elsewhere
                await asyncio.sleep(0.5)

    def processor_seconds(self) -> float:
        """What the process of host and app has used so far."""
        fields = Path(f"/proc/{self.host.pid}/stat").read_text("ascii").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def share(self) -> float:
        """The share of one core that the process uses for some time."""
        used, began = self.processor_seconds(), time.monotonic()
        await asyncio.sleep(self.seconds)
        return (self.processor_seconds() - used) / (time.monotonic() - began)

    @contextlib.asynccontextmanager
    async def viewers(self, count: int, watching: Watching, path: str) -> AsyncIterator[list[asyncio.Task[None]]]:
        """So many who watch until the block ends."""
        tasks = [asyncio.create_task(watching(self.session, self.host.url + path)) for _ in range(count)]
        try:
            yield tasks
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def stream_events(session: aiohttp.ClientSession, url: str) -> None:
    """Listen to the events to the run's end, as a page does; come back when a connection ends."""
    last = ""
    while last != "end":
        async with session.get(f"{url}/events", params={"after": last} if last else {}) as answer:
            if answer.status != 200:
                await asyncio.sleep(5)
            async for line in answer.content:
                if line.startswith(b"id: "):
                    last = line[4:].strip().decode()


async def wait_for_changes(session: aiohttp.ClientSession, url: str) -> None:
    """Ask with ``?wait=30``, again and again, not all at the same moment."""
    await asyncio.sleep(random.uniform(0, SETTLED))
    while True:
        async with session.get(url, params={"wait": "30"}) as answer:
            await answer.read()
        if answer.status != 200:
            await asyncio.sleep(5)


async def parked(bench: Bench, count: int) -> list[Figure]:
    """The share of a core for viewers of one run that waits for a person."""
    path = await bench.submit(input="The payroll system", agent="compliance")
    await bench.until(path, "requires_action")
    await asyncio.sleep(SETTLED)
    figures = [Figure("a parked run without viewers", f"{await bench.share():.1%} of a core")]
    for watching, name in ((stream_events, "event streams"), (wait_for_changes, "waiting requests")):
        async with bench.viewers(count, watching, path) as tasks:
            await asyncio.sleep(SETTLED)
            share = await bench.share()
            assert not any(task.done() for task in tasks), "a viewer has left"
        figures.append(Figure(f"{count} {name} of one parked run", f"{share:.1%} of a core", "10 %"))
        await asyncio.sleep(SETTLED)
    return figures


async def streaming(bench: Bench, count: int) -> list[Figure]:
    """The connections to the provider for viewers of one run whose text is being written."""
    await bench.model.script("s", [{"think": 20, "text": WORDS * 20}])
    path = await bench.submit(input="[script:s]", stream=True)
    used, began = bench.processor_seconds(), time.monotonic()
    async with bench.viewers(count, stream_events, path) as tasks, asyncio.timeout(300):
        await asyncio.gather(*tasks)
    seconds = time.monotonic() - began
    opened = [entry for entry in await bench.model.log("retrieve") if "starting_after" in entry.query]
    share = (bench.processor_seconds() - used) / seconds
    return [
        Figure(f"{count} viewers of one streamed run: connections to the provider", str(len(opened)), "1"),
        Figure(f"{count} viewers of one streamed run, to its end after {seconds:.0f} s", f"{share:.1%} of a core"),
    ]


async def measure(host: FunctionsHost, model: ModelControl, options: argparse.Namespace) -> list[Figure]:
    """All figures."""
    unlimited = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=unlimited, timeout=aiohttp.ClientTimeout(total=None)) as session:
        bench = Bench(host, model, session, options.seconds)
        return [*await streaming(bench, options.streaming), *await parked(bench, options.parked)]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--app", type=Path, default=ROOT, help="another checkout of the app")
    parser.add_argument("--parked", type=int, default=400, help="viewers of the parked run")
    parser.add_argument("--streaming", type=int, default=100, help="viewers of the streamed run")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long each share is measured")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        azurite = Azurite(Path(folder) / "azurite", log=Path(folder) / "azurite.log")
        model = ScriptedModel(log=Path(folder) / "model.log")
        for child in (azurite, model):
            stack.callback(child.stop)
            child.start().wait_ready()
        host = FunctionsHost(
            app_dir=options.app.resolve(),
            env={
                "AzureWebJobsStorage": azurite.connection_string,
                "OPENAI_API_KEY": ACCOUNT,
                "OPENAI_BASE_URL": model.base_url,
                "DORMOUSE_MAX_VIEWERS": "2000",
                "PYTHON_ENABLE_INIT_INDEXING": "1",
            },
            log=Path(folder) / "host.log",
        )
        host.cwd = options.app.resolve()  # its own host, too
        stack.callback(host.stop)
        host.start().wait_ready()
        figures = asyncio.run(measure(host, ModelControl(model.url, ACCOUNT), options))
    for figure in figures:
        print(f"{figure.what:70} {figure.value:>20} {figure.aim and f'(aim: {figure.aim})'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
