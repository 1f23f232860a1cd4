#!/usr/bin/env python3
"""What encryption at rest costs: CPU of a wake and of a submit, with a local key and without one, side by side.

    .venv/bin/python bench/encryption.py [--rounds 3] [--runs 20] [--think 10]

Hosts on one storage, every second one with ``DORMOUSE_ENCRYPTION_KEY``: in turns, so that whatever else the machine
does falls on both. A wake is a poll of a run that thinks; a submit is `POST /api/runs` with 4 KB of input, one after
another. What a vault takes to unwrap a key is not in it: that is once a session and process.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import secrets
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.wakes import cpu_seconds, ended  # noqa: E402
from local.stack import Azurite, FunctionsHost, ScriptedModel  # noqa: E402

SUBMITS = 40
KEY = f"local:{base64.b64encode(secrets.token_bytes(32)).decode()}"


def host_of(azurite: Azurite, model: ScriptedModel, folder: Path, key: str) -> FunctionsHost:
    """A host that polls every half second."""
    return FunctionsHost(
        env={
            "AzureWebJobsStorage": azurite.connection_string,
            "OPENAI_API_KEY": f"account-{secrets.token_hex(6)}",
            "OPENAI_BASE_URL": f"{model.url}/v1",
            "DORMOUSE_TABLE_PREFIX": f"b{secrets.token_hex(6)}",
            "DORMOUSE_POLL_FIRST_SECONDS": "0.5",
            "DORMOUSE_POLL_MAX_SECONDS": "0.5",
            "DORMOUSE_ENCRYPTION_KEY": key,
            "PYTHON_ENABLE_INIT_INDEXING": "1",
        },
        log=folder / "host.log",
    )


async def submit_all(session: aiohttp.ClientSession, url: str) -> float:
    """Median seconds of a submit."""
    taken, body = [], {"input": "Think. " * 600, "agent": "novelist"}
    for _ in range(SUBMITS):
        began = time.perf_counter()
        async with session.post(f"{url}/api/runs", json=body) as response:
            assert response.status in (200, 202), await response.text()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


async def measure(host: FunctionsHost, runs: int) -> dict[str, float]:
    """CPU of a wake and of a submit, and how long a submit takes; in milliseconds."""
    async with aiohttp.ClientSession(headers={"x-functions-key": host.admin_key}) as session:
        await ended(session, host.url)  # everything is imported, every connection open
        before = cpu_seconds(host.pid)
        found: list[dict[str, Any]] = await asyncio.gather(*(ended(session, host.url) for _ in range(runs)))
        used = cpu_seconds(host.pid) - before
        wakes = sum(run["wakes"] for run in found)
        before = cpu_seconds(host.pid)
        latency = await submit_all(session, host.url)
        submits = cpu_seconds(host.pid) - before
    return {
        "CPU of a wake": 1_000 * used / wakes,
        "CPU of a submit, with the wakes meanwhile": 1_000 * submits / SUBMITS,
        "a submit": 1_000 * latency,
    }


async def bench(options: argparse.Namespace) -> None:
    """Each a fresh host a round, the other first in every second one."""
    found: dict[str, dict[str, list[float]]] = {"": {}, KEY: {}}
    with Azurite(Path(tempfile.mkdtemp())) as azurite, ScriptedModel(think=options.think) as model:
        for number in range(options.rounds):
            for key in ("", KEY) if number % 2 == 0 else (KEY, ""):
                with tempfile.TemporaryDirectory() as folder:
                    host = host_of(azurite, model, Path(folder), key)
                    await asyncio.to_thread(lambda started: started.start().wait_ready(), host)
                    try:
                        measured = await measure(host, options.runs)
                    finally:
                        await asyncio.to_thread(host.stop)
                for name, value in measured.items():
                    found[key].setdefault(name, []).append(value)
                print(
                    "sealed" if key else "plain",
                    {name: round(value, 2) for name, value in measured.items()},
                    flush=True,
                )
    print(f"{'median, ms':45} {'plain':>8} {'sealed':>8} {'ratio':>6}")
    for name, values in found[""].items():
        plain, sealed = statistics.median(values), statistics.median(found[KEY][name])
        print(f"{name:45} {plain:8.2f} {sealed:8.2f} {sealed / plain:6.2f}")


def main() -> None:
    """Read the command line, and measure."""
    parser = argparse.ArgumentParser(description="What encryption at rest costs.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--think", type=float, default=10.0, help="seconds that the model thinks")
    asyncio.run(bench(parser.parse_args()))


if __name__ == "__main__":
    main()
