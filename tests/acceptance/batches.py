"""Batches as the tests send and read them."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.acceptance.client import Api, Reply


async def submit(api: Api, items: list[Any], *, key: str | None = None, **fields: Any) -> Reply:
    """``POST /api/batches`` to the workshop."""
    headers = {} if key is None else {"Idempotency-Key": key}
    return await api.call("POST", "/api/batches", json={"agent": "workshop", "items": items, **fields}, headers=headers)


async def over(api: Api, batch_id: str, *, timeout: float = 60.0) -> dict[str, Any]:
    """The batch as soon as it is over."""

    async with asyncio.timeout(timeout):
        while True:
            reply = await api.call("GET", f"/api/batches/{batch_id}")
            assert reply.status == 200, reply
            body: dict[str, Any] = reply.body
            if body["completed_at"] is not None:
                return body
            await asyncio.sleep(min(1.0, timeout / 600))


async def items_of(api: Api, batch_id: str, query: str = "") -> list[dict[str, Any]]:
    """All items, page by page."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        reply = await api.call("GET", f"/api/batches/{batch_id}/items?limit=100{query}{cursor}")
        assert reply.status == 200, reply
        found += reply["data"]
        if "next_cursor" not in reply.body:
            return found
        cursor = f"&cursor={reply['next_cursor']}"


def counts(**given: int) -> dict[str, int]:
    names = ("total", "pending", "active", "completed", "incomplete", "failed", "cancelled")
    return {**dict.fromkeys(names, 0), **given}
