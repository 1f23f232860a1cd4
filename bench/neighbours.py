#!/usr/bin/env python3
"""What a healthy run takes beside somebody else's trouble, against what it takes alone.

    .venv/bin/python bench/neighbours.py [--app DIR ...] [--driver timer] [--rounds 1] [--timeout 120] [SCENARIO ...]

Each scenario is a function: it makes trouble as one owner on a fresh host and returns what ends it. Then runs of
another owner are measured, of two turns with a tool between them, under the default schedule. `--app` names checkouts
of the app (an older one made with `git worktree add`): all are measured in turns, so that whatever else the machine
does falls on all of them. A run that is not done within the timeout counts as that long.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench import options as given  # noqa: E402
from local.model.control import ModelControl  # noqa: E402
from local.stack import Azurite, FunctionsHost, ScriptedModel  # noqa: E402

TERMINAL = frozenset({"completed", "incomplete", "failed", "cancelled"})
RUNS = 5
"""Healthy runs a scenario, a second apart."""
DEAF = 60
HANGING = 40
CALLBACK_SECRET = "whsec_YSBzZWNyZXQgb2YgdGhlIGNhbGxiYWNrcw=="
DEAF_HOSTS = [f"127.0.0.{n}" for n in range(2, DEAF + 2)]
WORK = {"name": "work", "arguments": {"label": "a", "seconds": 0.2}}
SCRIPTS: dict[str, list[dict[str, Any]]] = {
    "healthy": [{"calls": [WORK]}, {"text": '{"guilty": false, "months": 0}'}],
    "quick": [{"text": "Fine."}],
    "hangs": [{"text": "Late.", "faults": {"create": [{"hang": 100.0, "times": -1}]}}],
    "slow_down": [
        {"text": "Fine.", "faults": {"retrieve": [{"status": 429, "headers": {"Retry-After": "900"}, "times": 1}]}}
    ],
}


@dataclass(frozen=True, kw_only=True)
class Running:
    """A host of the app, as people who sign in call it."""

    url: str
    session: aiohttp.ClientSession
    deaf_port: int

    async def call(self, owner: str, method: str, path: str, **more: Any) -> dict[str, Any]:
        """One request of this owner; the JSON of the answer."""
        headers = {"x-ms-client-principal-id": owner, "x-ms-client-principal-idp": "aad"}
        async with self.session.request(method, self.url + path, headers=headers, **more) as response:
            body: dict[str, Any] = await response.json(content_type=None)
            assert response.status in (200, 202), (response.status, body)
            return body

    async def submit(self, owner: str, script: str, **fields: Any) -> str:
        """Submit; the id of the run."""
        body = {"input": f"[script:{script}]", "agent": "workshop", **fields}
        return str((await self.call(owner, "POST", "/api/runs", json=body))["id"])

    async def seconds(self, run_id: str, owner: str, timeout: float, began: float) -> float:
        """Seconds from ``began`` until the run has ended well, or the timeout."""
        while time.monotonic() - began < timeout:
            run = await self.call(owner, "GET", f"/api/runs/{run_id}?wait=5")
            if run["status"] in TERMINAL:
                assert run["status"] == "completed", run
                return time.monotonic() - began
        return timeout


Scenario = Callable[[Running], AbstractAsyncContextManager[dict[str, Any]]]
"""Makes the trouble, and ends it; gives the fields with which the healthy runs are submitted."""


@asynccontextmanager
async def alone(app: Running) -> AsyncIterator[dict[str, Any]]:
    """Nobody else."""
    yield {}


@asynccontextmanager
async def deaf_receivers(app: Running) -> AsyncIterator[dict[str, Any]]:
    """Runs whose callbacks go to sixty addresses that take the connection and never answer."""
    for host in DEAF_HOSTS:
        await app.submit("ann", "quick", callback_url=f"http://{host}:{app.deaf_port}/")
    await asyncio.sleep(6)  # until they have ended and their callbacks are due
    yield {}


@asynccontextmanager
async def burst_of_hanging_creates(app: Running) -> AsyncIterator[dict[str, Any]]:
    """Forty submits at once, whose creates the provider does not answer: the work of the submits is measured too."""
    tasks = [asyncio.create_task(app.submit("ann", "hangs")) for _ in range(HANGING)]
    yield {}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def hanging_creates(app: Running) -> AsyncIterator[dict[str, Any]]:
    """The same when the submits are over and hang: only that is measured."""
    async with burst_of_hanging_creates(app) as fields:
        await asyncio.sleep(10)
        yield fields


@asynccontextmanager
async def retry_after(app: Running) -> AsyncIterator[dict[str, Any]]:
    """One poll that gets a Retry-After of a quarter of an hour; the healthy runs are of the same model."""
    await app.submit("ann", "slow_down")
    await asyncio.sleep(4)
    yield {}


@asynccontextmanager
async def retry_after_of_another_model(app: Running) -> AsyncIterator[dict[str, Any]]:
    """The same, and the healthy runs are of another model."""
    async with retry_after(app):
        yield {"agent": "judge", "model": "gpt-5-nano"}


# A scenario more is a function more: many viewers of one parked run, for example.
SCENARIOS: dict[str, Scenario] = {
    each.__name__: each
    for each in (
        alone,
        deaf_receivers,
        burst_of_hanging_creates,
        hanging_creates,
        retry_after_of_another_model,
        retry_after,
    )
}


@asynccontextmanager
async def deaf_server() -> AsyncIterator[int]:
    """Takes connections on every address of this machine, and says nothing; its port."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while await reader.read(65_536):
                continue
        writer.close()

    server = await asyncio.start_server(silent, "0.0.0.0", 0, backlog=1_000)
    async with server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def running(app: Path, azurite: Azurite, model: ScriptedModel, driver: str) -> AsyncIterator[Running]:
    """The app of that folder on its own host, with tables and an account of its own."""
    account = f"account-{secrets.token_hex(6)}"
    control = ModelControl(model.url, account)
    for name, turns in SCRIPTS.items():
        await control.script(name, turns)
    with tempfile.TemporaryDirectory() as folder:
        host = FunctionsHost(
            app_dir=app,
            module="tests.acceptance.launch",
            env={
                "AzureWebJobsStorage": azurite.connection_string,
                "OPENAI_API_KEY": account,
                "OPENAI_BASE_URL": f"{model.url}/v1",
                "DORMOUSE_TABLE_PREFIX": f"b{secrets.token_hex(6)}",
                "DORMOUSE_DRIVER": driver,
                "DORMOUSE_AUTH": "appservice",
                "WEBSITE_AUTH_ENABLED": "True",
                "DORMOUSE_CALLBACK_SECRET": CALLBACK_SECRET,
                "DORMOUSE_CALLBACK_ALLOW": ",".join(DEAF_HOSTS),
                "PYTHON_ENABLE_INIT_INDEXING": "1",
                "WORKSHOP_LOG": f"{folder}/tools.jsonl",
            },
            log=Path(folder) / "host.log",
        )
        host.cwd = app
        await asyncio.to_thread(lambda: host.start().wait_ready())
        try:
            async with deaf_server() as port, aiohttp.ClientSession() as session:
                yield Running(url=host.url, session=session, deaf_port=port)
        finally:
            await asyncio.to_thread(host.stop)


async def measure(app: Running, scenario: Scenario, timeout: float) -> list[float]:
    """What the healthy runs take."""
    async with scenario(app) as fields:

        async def one(number: int) -> float:
            await asyncio.sleep(number)
            began = time.monotonic()
            run_id = await app.submit("bob", "healthy", **fields)
            return await app.seconds(run_id, "bob", timeout, began)

        return await asyncio.gather(*(one(number) for number in range(RUNS)))


async def bench(arguments: argparse.Namespace) -> None:
    """Every scenario of every app once a round."""
    apps = given.apps(arguments)
    found: dict[tuple[str, Path], list[float]] = {}
    with Azurite(Path(tempfile.mkdtemp())) as azurite, ScriptedModel(think=1.0) as model:
        for _ in range(arguments.rounds):
            for name in ("alone", *(each for each in arguments.scenarios or SCENARIOS if each != "alone")):
                for app in apps:
                    async with running(app, azurite, model, arguments.driver) as host:
                        taken = await measure(host, SCENARIOS[name], arguments.timeout)
                    found.setdefault((name, app), []).extend(taken)
                    print(name, app, [round(each, 1) for each in taken], flush=True)
    print(f"\nMedian and longest of the healthy runs in seconds ({arguments.driver}), and the median against alone:")
    for (name, app), taken in found.items():
        median, base = statistics.median(taken), statistics.median(found["alone", app])
        print(f"{name:32} {median:7.1f} {max(taken):7.1f} {median / base:7.2f}  {app}")


def main() -> None:
    """Read the command line, and measure."""
    command = given.parser("What a healthy run takes beside somebody else's trouble.", rounds=1)
    command.add_argument(
        "scenarios", nargs="*", metavar="SCENARIO", help=f"any of {', '.join(SCENARIOS)}; default: all"
    )
    command.add_argument("--timeout", type=float, default=120.0, help="seconds after which a run counts as that long")
    asyncio.run(bench(command.parse_args()))


if __name__ == "__main__":
    main()
