"""The processes of a load run: storage, model, hosts that are killed in turn, and callers that may ask any of them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from local.model.control import ModelControl
from local.stack import Azurite, FunctionsHost, ScriptedModel
from tests.acceptance.client import Api, Reply
from tests.acceptance.conftest import Stack, new_stack

THINKS = 1.0
"""Seconds that the model takes for a turn."""

AT_ONCE = 32
"""Requests that all callers together have open: what two hosts answer beside the work itself."""

THROTTLED = ("create", "retrieve")
"""What the model refuses while it is busy."""

FIRST_REFUSED = 5
"""Requests of each kind that it refuses at the beginning."""


def say(text: str) -> None:
    """Tell the person at the terminal."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def new_world(driver: str, **env: str) -> Iterator[Stack]:
    """A stack with an Azurite and a model of its own; all of it is gone at the end."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name,
        Azurite(Path(name) / "data", log=Path(name) / "azurite.log") as azurite,
        ScriptedModel(think=THINKS, log=Path(name) / "model.log") as model,
        contextlib.ExitStack() as stack,
    ):
        yield new_stack(driver, azurite, model, Path(name), stack, env)


class AnyHost(Api):
    """Callers of several hosts, as behind a load balancer: one request goes here, the next there.

    Of the requests that change something, a share (``loses``) loses its connection before the answer.
    """

    def __init__(self, urls: Sequence[str], *, loses: float = 0.0, seed: int = 0) -> None:
        super().__init__(urls[0])
        self.lost = 0
        """Connections that were lost before the answer."""

        self._urls = itertools.cycle(urls)
        self._loses = loses
        self._random = random.Random(seed)
        self._open = asyncio.Semaphore(AT_ONCE)

    async def call(self, method: str, path: str, **options: Any) -> Reply:
        """One request to the next host. ``OSError``, ``aiohttp.ClientError``: there was no answer."""
        async with self._open:
            loses = method != "GET" and self._random.random() < self._loses
            seconds = self._random.uniform(0.001, 0.2) if loses else None
            try:
                async with asyncio.timeout(seconds):
                    return await super().call(method, next(self._urls) + path, **options)
            except (aiohttp.ClientError, OSError):
                self.lost += 1
                raise


async def start(host: FunctionsHost) -> None:
    """Start a host unless it runs, and wait until it answers."""
    host.start()
    await asyncio.to_thread(host.wait_ready)


async def kill_in_turn(hosts: Sequence[FunctionsHost], every: float, killed: list[str]) -> None:
    """Each so many seconds kill the next host (``kill -9``) and start it again; without end."""
    for host in itertools.cycle(hosts):
        await asyncio.sleep(every)
        host.kill()
        killed.append(host.url)
        await start(host)


@contextlib.asynccontextmanager
async def meanwhile(*coroutines: Any) -> AsyncIterator[None]:
    """Run these until the block is over, then cancel them. What one of them raised, this raises."""
    tasks = [asyncio.create_task(each) for each in coroutines]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for each in ended:
        if isinstance(each, Exception):
            raise each


async def throttle(model: ModelControl, *, every: float = 10.0, seconds: float = 1.0) -> None:
    """The model's first requests, and then for some seconds of every so many all, are 429 with ``Retry-After``."""
    busy = {"status": 429, "headers": {"retry-after": "1"}, "json_error": {"code": "rate_limit_exceeded"}, "times": -1}
    try:
        # By number: a short load may be over, or its hosts not warm, when a time for it has come.
        await model.switches(faults={operation: [{**busy, "times": FIRST_REFUSED}] for operation in THROTTLED})
        while True:
            await asyncio.sleep(every - seconds)
            await model.switches(faults={operation: [busy] for operation in THROTTLED})
            await asyncio.sleep(seconds)
            await model.switches(faults={})
    finally:
        await asyncio.shield(model.switches(faults={}))
