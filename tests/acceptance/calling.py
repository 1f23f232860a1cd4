"""What callers do while hosts are killed under them: whoever loses the connection sends the same again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from local.model.control import ModelControl
from shared.api.callers import ON_BEHALF_OF
from shared.runs.store.tables import Tables
from tests.acceptance.client import TERMINAL, Api, Reply
from tests.acceptance.killed_scripts import SCRIPTS

AGAIN_SECONDS = 0.3
"""Between two tries of a request, and two looks at a run."""

CLIENT_KEY = "ada-secret-0123456789"


class GoneError(Exception):
    """What was asked for is not there any more: it is deleted, or nobody has used it for long."""


@dataclass(frozen=True, kw_only=True)
class Caller:
    """One caller, for a user of its own, and with a name that its keys carry."""

    api: Api
    name: str
    receiver_url: str
    model: ModelControl
    tables: Tables

    @property
    def headers(self) -> dict[str, str]:
        """Of all its requests. A user of its own: so it has its own limit of active runs."""
        return {ON_BEHALF_OF: self.name}

    async def once(self, method: str, path: str, **options: Any) -> Reply | None:
        """A request that is not sent again; None where the connection broke."""
        headers = {**self.headers, **options.pop("headers", {})}
        try:
            return await self.api.call(method, path, headers=headers, **options)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None

    async def send(self, method: str, path: str, **options: Any) -> Reply:
        """A request, as often as it takes to have an answer that is no outage."""
        while True:
            reply = await self.once(method, path, **options)
            if reply is not None and reply.status < 500 and reply.status != 429:
                return reply
            await asyncio.sleep(AGAIN_SECONDS)

    async def submit(self, script: str, key: str = "", text: str = "", **fields: Any) -> Reply:
        """Submit a run under a key, whatever the answer."""
        body = {"input": f"[script:{script}]{text}", "agent": "workshop", **fields}
        return await self.send("POST", "/api/runs", json=body, headers=self.keyed(key or script))

    @property
    def bearer(self) -> dict[str, str]:
        """The header of the key that OpenAI clients have."""
        return {"Authorization": f"Bearer {CLIENT_KEY}"}

    def keyed(self, key: str) -> dict[str, str]:
        """The header of a key of this caller's."""
        return {"Idempotency-Key": f"{self.name}-{key}"}

    async def start(self, script: str, key: str = "", text: str = "", **fields: Any) -> str:
        """Submit a run under a key; its id."""
        reply = await self.submit(script, key, text, **{"callback_url": self.receiver_url, **fields})
        if reply.status in (404, 410):
            raise GoneError
        assert reply.status in (200, 202), reply
        return str(reply["id"])

    async def own(self, script: str) -> str:
        """The name of a script that only this caller plays: what faults it has are counted for each script."""
        name = f"{script}-{self.name}"
        await self.model.script(name, SCRIPTS[script])
        return name

    async def until(self, path: str, holds: Callable[[Any], bool], **options: Any) -> dict[str, Any]:
        """What is at that path, once that holds. Raises ``GoneError``."""
        while True:
            reply = await self.send("GET", path, **options)
            if reply.status == 404:
                raise GoneError
            assert reply.status == 200, reply
            if holds(reply.body):
                body: dict[str, Any] = reply.body
                return body
            await asyncio.sleep(AGAIN_SECONDS)

    async def over(self, run_id: str) -> dict[str, Any]:
        """The run once it has ended."""
        return await self.until(f"/api/runs/{run_id}", lambda run: run["status"] in TERMINAL)

    async def start_batch(self, items: list[Any], key: str = "batch", **fields: Any) -> str:
        """Submit a batch under a key; the path of it."""
        body = {"agent": "workshop", "items": items, "concurrency": 1, "callback_url": self.receiver_url, **fields}
        reply = await self.send("POST", "/api/batches", json=body, headers=self.keyed(key))
        if reply.status in (404, 410):
            raise GoneError
        assert reply.status in (200, 202), reply
        return f"/api/batches/{reply['id']}"

    async def over_batch(self, path: str) -> dict[str, Any]:
        """The batch once it is over."""
        return await self.until(path, lambda batch: batch["completed_at"] is not None)
