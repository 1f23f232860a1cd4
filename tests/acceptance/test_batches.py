"""Batches over the whole stack: many inputs, one status, and one bad item fails alone."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.acceptance.client import Api, Reply
from tests.acceptance.conftest import Stack, Target


async def submit(api: Api, items: list[Any], *, key: str | None = None, **fields: Any) -> Reply:
    """``POST /api/batches`` to the workshop."""
    headers = {} if key is None else {"Idempotency-Key": key}
    return await api.call("POST", "/api/batches", json={"agent": "workshop", "items": items, **fields}, headers=headers)


async def over(api: Api, batch_id: str, *, patience: float = 60.0) -> dict[str, Any]:
    """The batch as soon as it is over."""

    async with asyncio.timeout(patience):
        while True:
            reply = await api.call("GET", f"/api/batches/{batch_id}")
            assert reply.status == 200, reply
            body: dict[str, Any] = reply.body
            if body["completed_at"] is not None:
                return body
            await asyncio.sleep(min(1.0, patience / 600))


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


async def test_a_batch_answers_every_item(driver: str, target: Target) -> None:
    await target.model.script("s", [{"text": "You said:", "echo": True}])
    given = [{"id": f"n-{i}", "input": f"[script:s] number {i}"} for i in range(5)]
    reply = await submit(target.api, given, metadata={"job": "night"})
    assert reply.status == 202, reply
    batch_id = reply["id"]
    assert reply.headers["Location"] == reply.headers["Operation-Location"] == reply["url"]
    assert int(reply.headers["Retry-After"]) >= 1
    assert (reply["object"], reply["status"], reply["counts"]) == ("batch", "queued", counts(total=5, pending=5))
    batch = await over(target.api, batch_id)
    assert (batch["status"], batch["counts"]) == ("completed", counts(total=5, completed=5))
    assert (batch["metadata"], batch["agent"], batch["retry_after"]) == ({"job": "night"}, "workshop", None)
    items = await items_of(target.api, batch_id)
    assert [(item["id"], item["index"], item["status"]) for item in items] == [
        (f"n-{i}", i, "completed") for i in range(5)
    ]
    for item in items:
        assert f"number {item['index']}" in item["text"]
        run = await target.api.run(item["run_id"])
        assert (run["url"], run["text"], run["batch_id"]) == (item["run_url"], item["text"], batch_id)
        assert run["metadata"] == {"job": "night"}
        assert len(await target.model.creates(run=item["run_id"])) == 1
    again = await target.api.call("GET", batch["url"])
    assert "Retry-After" not in again.headers
    same = await target.api.call("GET", batch["url"], headers={"If-None-Match": again.headers["ETag"]})
    assert same.status == 304


@pytest.mark.slow
async def test_a_thousand_items_at_a_model_that_throttles_are_complete_and_exact(
    own_stack: Callable[..., Stack], driver: str
) -> None:
    stack = own_stack(driver, DORMOUSE_POLL_MAX_SECONDS="0.5")
    host = await asyncio.to_thread(stack.host)
    await stack.model.script("s", [{"text": "You said:", "echo": True}])
    await stack.model.script("bad", [{"status": "failed", "error": {"code": "invalid_prompt", "message": "No."}}])
    busy = {"status": 429, "headers": {"retry-after": "1"}, "json_error": {"code": "rate_limit_exceeded"}}
    await stack.model.switches(faults={"create": [{**busy, "skip": 60, "times": 6}] * 40})
    given: list[Any] = [{"id": f"n-{i}", "input": f"[script:s] <number {i}>"} for i in range(1_000)]
    for index in range(100, 1_000, 200):
        given[index]["input"] = f"[script:bad] <number {index}>"
        given[index + 1]["agent"] = "nobody"
    async with Api(host.url) as api:
        reply = await submit(api, given, key="thousand")
        assert reply.status == 202, reply
        assert reply["counts"] == counts(total=1_000, pending=995, failed=5)
        batch = await over(api, reply["id"], patience=600)
        assert (batch["status"], batch["counts"]) == ("completed", counts(total=1_000, completed=990, failed=10))
        items = await items_of(api, batch["id"])
        assert (await submit(api, given, key="thousand")).body == batch
    assert [item["id"] for item in items] == [f"n-{i}" for i in range(1_000)]
    for index, item in enumerate(items):
        if index % 200 == 100:
            assert (item["status"], item["error"]["code"]) == ("failed", "invalid_prompt")
        elif index % 200 == 101:
            assert (item["status"], item["error"]["code"], item["run_id"]) == ("failed", "unknown_agent", None)
        else:
            assert item["status"] == "completed"
            assert item["text"].count("<number ") == 1
            assert f"<number {index}>" in item["text"]
    made = Counter(entry.metadata["run"] for entry in await stack.model.creates())
    assert made == {item["run_id"]: 1 for item in items if item["run_id"] is not None}
    assert len(made) == 995
    assert len(await stack.model.log("create")) > 995 + 20, "it throttled"
