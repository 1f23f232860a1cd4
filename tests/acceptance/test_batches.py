"""Batches over the whole stack: many inputs, one status, and one bad item fails alone."""

from __future__ import annotations

from typing import Any


from tests.acceptance.client import Api, Reply
from tests.acceptance.conftest import Stack, Target, eventually


async def submit(api: Api, items: list[Any], *, key: str | None = None, **fields: Any) -> Reply:
    """``POST /api/batches`` to the workshop."""
    headers = {} if key is None else {"Idempotency-Key": key}
    return await api.call("POST", "/api/batches", json={"agent": "workshop", "items": items, **fields}, headers=headers)


async def over(api: Api, batch_id: str, *, patience: float = 60.0) -> dict[str, Any]:
    """The batch as soon as it is over."""

    async def look() -> dict[str, Any] | None:
        reply = await api.call("GET", f"/api/batches/{batch_id}")
        assert reply.status == 200, reply
        body: dict[str, Any] = reply.body
        return body if body["completed_at"] is not None else None

    found: dict[str, Any] = await eventually(look, patience=patience)
    return found


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
