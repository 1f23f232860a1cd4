#!/usr/bin/env python3
"""CPU that a wake takes: of polls that find nothing new, and of whole runs from submit to end.

    .venv/bin/python bench/wakes.py [--app DIR ...] [--driver timer] [--rounds 3] [--runs 20] [--think 15]

Runs are submitted at once, polled every half second while the scripted model thinks, and end. What the host's process
has used meanwhile is divided by the wakes that the runs name. `--app` names checkouts of the app (an older one made
with `git worktree add`): all are measured in turns, so that whatever else the machine does falls on all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import aiohttp

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench import options as given  # noqa: E402
from local.stack import Azurite, FunctionsHost, ScriptedModel  # noqa: E402

TERMINAL = frozenset({"completed", "incomplete", "failed", "cancelled"})


def cpu_seconds(group: int) -> float:
    """What all processes of a group have used so far."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it ended
            continue
        if int(fields[2]) == group:
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


async def ended(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    """A run from its submit to its end, looked at a few times only: looks are no wakes."""
    async with session.post(f"{url}/api/runs", json={"input": "Think.", "agent": "novelist"}) as response:
        run: dict[str, Any] = await response.json()
    while run["status"] not in TERMINAL:
        await asyncio.sleep(2)
        async with session.get(f"{url}/api/runs/{run['id']}") as response:
            run = await response.json()
    return run


async def measure(app: Path, azurite: Azurite, model: ScriptedModel, options: argparse.Namespace) -> tuple[float, int]:
    """CPU seconds and wakes of the runs, on a fresh host."""
    with tempfile.TemporaryDirectory() as folder:
        host = FunctionsHost(
            app_dir=app,
            env={
                "AzureWebJobsStorage": azurite.connection_string,
                "OPENAI_API_KEY": f"account-{secrets.token_hex(6)}",
                "OPENAI_BASE_URL": f"{model.url}/v1",
                "DORMOUSE_TABLE_PREFIX": f"b{secrets.token_hex(6)}",
                "DORMOUSE_DRIVER": options.driver,
                "DORMOUSE_POLL_FIRST_SECONDS": "0.5",
                "DORMOUSE_POLL_MAX_SECONDS": "0.5",
                "PYTHON_ENABLE_INIT_INDEXING": "1",
            },
            log=Path(folder) / "host.log",
        )
        host.cwd = app
        await asyncio.to_thread(lambda: host.start().wait_ready())
        try:
            async with aiohttp.ClientSession(headers={"x-functions-key": host.admin_key}) as session:
                await ended(session, host.url)  # everything is imported, every connection open
                before = cpu_seconds(host.pid)
                runs = await asyncio.gather(*(ended(session, host.url) for _ in range(options.runs)))
                used = cpu_seconds(host.pid) - before
        finally:
            await asyncio.to_thread(host.stop)
    wrong = [run for run in runs if run["status"] != "completed"]
    assert not wrong, wrong[0]
    return used, sum(run["wakes"] for run in runs)


async def bench(options: argparse.Namespace) -> None:
    """Every app once a round."""
    apps = given.apps(options)
    found: dict[Path, list[float]] = {app: [] for app in apps}
    with Azurite(Path(tempfile.mkdtemp())) as azurite, ScriptedModel(think=options.think) as model:
        for _ in range(options.rounds):
            for app in apps:
                used, wakes = await measure(app, azurite, model, options)
                found[app].append(1_000 * used / wakes)
                print(f"{app}: {used:.1f} s for {wakes} wakes", flush=True)
    first = statistics.median(found[apps[0]])
    print(f"\nMedian of CPU a wake in ms ({options.driver}), and against the first:")
    for app, taken in found.items():
        median = statistics.median(taken)
        print(f"{median:7.2f} {median / first:6.2f}  {app}")


def main() -> None:
    """Read the command line, and measure."""
    command = given.parser("CPU that a wake takes.", rounds=3)
    command.add_argument("--runs", type=int, default=20)
    command.add_argument("--think", type=float, default=15.0, help="seconds that the model thinks")
    asyncio.run(bench(command.parse_args()))


if __name__ == "__main__":
    main()
