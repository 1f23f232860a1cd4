"""A small HTTP client of the app, as the tests use it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import aiohttp

from tests.parts.contract import contract

TERMINAL = frozenset({"completed", "incomplete", "failed", "cancelled"})
AGAINST = "DORMOUSE_TEST_AGAINST"
TIMEOUT_SECONDS = 900.0 if os.environ.get(AGAINST) else 60.0
"""Seconds; a host that is not ours has schedules, and perhaps a model, of its own."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: status, headers (case-insensitive), and the JSON in the body."""

    status: int
    headers: Mapping[str, str]
    body: Any
    raw: bytes = b""

    def __getitem__(self, name: str) -> Any:
        return self.body[name]


class Api:
    """Calls the app at ``url``. ``key`` is a function key, where the host asks for one."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._headers = {"x-functions-key": key} if key else {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        data: bytes | AsyncIterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request; ``path`` below the base URL, or absolute. The answer must be as the contract says."""
        assert self._session is not None
        url = path if path.startswith("http") else self.url + path
        async with self._session.request(
            method, url, json=json, data=data, headers={**self._headers, **(headers or {})}
        ) as response:
            raw = await response.read()
            kind = response.headers.get("content-type", "")
            body = await response.json(content_type=None) if raw and "json" in kind else raw
            contract().hold(method, url, response.status, response.headers, raw)
            return Reply(response.status, response.headers.copy(), body, raw)

    async def submit(self, text: str, *, key: str | None = None, **fields: Any) -> Reply:
        """``POST /api/runs``."""
        headers = {} if key is None else {"Idempotency-Key": key}
        return await self.call("POST", "/api/runs", json={"input": text, **fields}, headers=headers)

    async def start(self, text: str, **fields: Any) -> str:
        """Submit, and the id of the run; anything but 202 or 200 fails the test."""
        reply = await self.submit(text, **fields)
        assert reply.status in (200, 202), reply
        return str(reply["id"])

    async def run(self, run_id: str) -> dict[str, Any]:
        """``GET /api/runs/{id}``: the run."""
        reply = await self.call("GET", f"/api/runs/{run_id}")
        assert reply.status == 200, reply
        body: dict[str, Any] = reply.body
        return body

    async def cancel(self, run_id: str) -> Reply:
        """``POST /api/runs/{id}/cancel``."""
        return await self.call("POST", f"/api/runs/{run_id}/cancel")

    async def until(
        self, run_id: str, holds: Callable[[dict[str, Any]], bool], *, timeout: float = TIMEOUT_SECONDS
    ) -> dict[str, Any]:
        """The run as soon as ``holds``; fails with the run as it is when that takes too long (seconds)."""
        end = time.monotonic() + timeout
        while True:
            run = await self.run(run_id)
            if holds(run):
                return run
            assert time.monotonic() < end, f"not within {timeout:g} s: {run}"
            await asyncio.sleep(0.05)

    async def finished(self, run_id: str, *, timeout: float = TIMEOUT_SECONDS) -> dict[str, Any]:
        """The run as soon as it is terminal."""
        return await self.until(run_id, lambda run: run["status"] in TERMINAL, timeout=timeout)
