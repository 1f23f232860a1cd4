"""Batches over the whole stack: many inputs, one status, and one bad item fails alone."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from typing import Any

import pytest

from tests.acceptance.batches import counts, items_of, over, submit
from tests.acceptance.client import Api, Reply
from tests.acceptance.conftest import Stack, Target
from tests.parts.waiting import eventually


@pytest.mark.main
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


async def test_json_lines_are_one_item_a_line(driver: str, target: Target) -> None:
    await target.model.script("s", [{"text": "You said:", "echo": True}])
    lines = [
        json.dumps({"id": "a", "input": "[script:s] first"}),
        "",
        '{"id": "b", "input": ',
        json.dumps({"input": [{"role": "user", "content": "[script:s] third"}], "metadata": {"n": "3"}}),
    ]
    for kind in ("application/jsonl", "application/x-ndjson; charset=utf-8"):
        reply = await target.api.call(
            "POST",
            "/api/batches?agent=workshop&concurrency=2",
            data="\r\n".join(lines).encode(),
            headers={"Content-Type": kind},
        )
        assert reply.status == 202, reply
        assert (reply["agent"], reply["concurrency"]) == ("workshop", 2)
        batch = await over(target.api, reply["id"])
        assert batch["counts"] == counts(total=3, completed=2, failed=1)
        first, broken, third = await items_of(target.api, batch["id"])
        assert "first" in first["text"]
        assert "third" in third["text"]
        assert (broken["id"], broken["error"]["code"], broken["run_id"]) == (None, "invalid_json", None)
        assert "Line 3" in broken["error"]["message"]
        assert (await target.api.run(third["run_id"]))["metadata"] == {"n": "3"}


@pytest.mark.main
async def test_a_bad_item_fails_alone(driver: str, target: Target) -> None:
    await target.model.script("s", [{"text": "fine"}])
    await target.model.script("no", [{"status": "failed", "error": {"code": "invalid_prompt", "message": "No."}}])
    given = [
        {"id": "good", "input": "[script:s]"},
        {"id": "stranger", "input": "[script:s]", "agent": "nobody"},
        {"id": "empty"},
        {"id": "more", "input": "[script:s]", "session_id": "0" * 32},
        "[script:s]",
        {"id": "large", "input": "x" * 1_048_577},
        {"id": 7, "input": "[script:s]"},
        {"id": "refused", "input": "[script:no]"},
        {"id": "last", "input": "[script:s]"},
    ]
    reply = await submit(target.api, given)
    assert (reply.status, reply["counts"]["failed"]) == (202, 6)
    batch = await over(target.api, reply["id"])
    assert batch["counts"] == counts(total=9, completed=2, failed=7)
    items = await items_of(target.api, batch["id"])
    assert [(item["id"], (item["error"] or {}).get("code")) for item in items] == [
        ("good", None),
        ("stranger", "unknown_agent"),
        ("empty", "invalid_request"),
        ("more", "invalid_request"),
        (None, "invalid_request"),
        ("large", "input_too_large"),
        (None, "invalid_request"),
        ("refused", "invalid_prompt"),
        ("last", None),
    ]
    assert "session_id" in items[3]["error"]["message"]
    assert [item["text"] for item in items if item["status"] == "completed"] == ["fine", "fine"]


@pytest.mark.main
async def test_what_is_no_batch_is_refused_whole(target: Target, driver: str) -> None:
    async def refusal(**body: Any) -> tuple[int, str, str]:
        reply = await target.api.call("POST", "/api/batches", json=body)
        return reply.status, reply["code"], reply["detail"]

    item = {"input": "[script:s]"}
    for body, code, said in [
        ({}, "invalid_request", "items"),
        ({"items": []}, "invalid_request", "1 to 1000"),
        ({"items": [item] * 1_001}, "invalid_request", "more than 1000"),
        ({"items": ["a", "b"]}, "invalid_json", "object"),
        ({"items": [item], "agent": "nobody"}, "unknown_agent", "nobody"),
        ({"items": [item], "model": "gpt-x"}, "model_not_allowed", "model"),
        ({"items": [item], "colour": "red"}, "invalid_request", "colour"),
        ({"items": [item], "concurrency": 17}, "invalid_request", "at most 16"),
        ({"items": [item], "limits": {"turns": 99}}, "invalid_request", "limits.turns"),
        ({"items": [item, {**item, "id": "x"}, {**item, "id": "x"}]}, "invalid_request", "1 and 2"),
    ]:
        status, found, detail = await refusal(**body)
        assert (status, found) == (400, code), body
        assert said in detail
    lines = {"Content-Type": "application/jsonl"}
    reply = await target.api.call("POST", "/api/batches?colour=red", data=b"{}", headers=lines)
    assert (reply.status, reply["param"]) == (400, "colour")
    reply = await target.api.call("POST", "/api/batches", data=b"a,b\n1,2\n", headers=lines)
    assert (reply.status, reply["code"]) == (400, "invalid_json")
    reply = await target.api.call("POST", "/api/batches", data=b"a,b", headers={"Content-Type": "text/csv"})
    assert reply.status == 415
    assert "jsonl" in reply["detail"]


async def test_the_same_key_at_once_and_later_is_one_batch(driver: str, target: Target) -> None:
    await target.model.script("s", [{"text": "done"}])
    key, given = secrets.token_hex(8), [{"input": "[script:s]"}, {"input": "[script:s]"}]
    replies = await asyncio.gather(*(submit(target.api, given, key=key) for _ in range(5)))
    (batch_id,) = {reply["id"] for reply in replies}
    batch = await over(target.api, batch_id)
    assert batch["counts"] == counts(total=2, completed=2)
    again = await submit(target.api, given, key=key)
    assert (again.status, again.body) == (200, batch)
    other = await submit(target.api, given[:1], key=key)
    assert (other.status, other["code"]) == (422, "idempotency_key_reused")
    for item in await items_of(target.api, batch_id):
        assert len(await target.model.creates(run=item["run_id"])) == 1


async def test_items_come_in_pages_and_by_status(driver: str, target: Target) -> None:
    await target.model.script("s", [{"text": "done"}])
    given = [{"id": f"n-{i}", "input": "[script:s]", **({"agent": "nobody"} if i % 3 == 0 else {})} for i in range(10)]
    batch_id = (await submit(target.api, given))["id"]
    await over(target.api, batch_id)
    url = f"/api/batches/{batch_id}/items"

    async def pages(query: str) -> list[list[str]]:
        found: list[list[str]] = []
        cursor = ""
        while True:
            reply = await target.api.call("GET", f"{url}?{query}{cursor}")
            found.append([item["id"] for item in reply["data"]])
            if "next_cursor" not in reply.body:
                return found
            cursor = f"&cursor={reply['next_cursor']}"

    ids = [f"n-{i}" for i in range(10)]
    assert await pages("limit=4") == [ids[:4], ids[4:8], ids[8:]]
    assert await pages("limit=5") == [ids[:5], ids[5:]]
    assert await pages("status=failed&limit=3") == [ids[0:7:3], ["n-9"]]
    assert await pages("status=completed,failed") == [ids]
    assert await pages("status=pending") == [[]]
    for query in ("limit=0", "limit=101", "cursor=x", "status=done", "colour=red"):
        reply = await target.api.call("GET", f"{url}?{query}")
        assert (reply.status, reply["code"]) == (400, "invalid_request"), query
    etag = (await target.api.call("GET", url)).headers["ETag"]
    assert (await target.api.call("GET", url, headers={"If-None-Match": etag})).status == 304
    assert (await target.api.call("HEAD", url)).raw == b""


async def test_a_page_of_long_texts_ends_early_and_loses_nothing(driver: str, target: Target) -> None:
    await target.model.script("long", [{"repeat_text": {"text": "0123456789abcde\n", "times": 100_000}}])
    batch_id = (await submit(target.api, [{"input": "[script:long]"}] * 5))["id"]
    await over(target.api, batch_id)
    reply = await target.api.call("GET", f"/api/batches/{batch_id}/items")
    assert len(reply["data"]) == 2
    items = await items_of(target.api, batch_id)
    assert [(item["index"], len(item["text"])) for item in items] == [(i, 1_600_000) for i in range(5)]


@pytest.mark.main
async def test_cancel_ends_what_waits_and_reaches_the_provider(driver: str, target: Target) -> None:
    await target.model.script("slow", [{"text": "late", "think": 600}])
    reply = await submit(target.api, [{"input": "[script:slow]"}] * 5, concurrency=2)
    url = f"/api/batches/{reply['id']}"

    async def begun() -> bool:
        items = await items_of(target.api, reply["id"], "&status=active")
        return [item["run_status"] for item in items] == ["in_progress"] * 2

    await eventually(begun)
    cancelled = await target.api.call("POST", f"{url}/cancel")
    assert cancelled.status == 200
    assert cancelled["counts"] == counts(total=5, active=2, cancelled=3)
    batch = await over(target.api, reply["id"])
    assert (batch["status"], batch["counts"]) == ("cancelled", counts(total=5, cancelled=5))
    assert (await target.api.call("POST", f"{url}/cancel")).body == batch
    items = await items_of(target.api, reply["id"])
    runs = {item["run_id"] for item in items} - {None}
    assert ([item["status"] for item in items], len(runs)) == (["cancelled"] * 5, 2)

    async def stopped() -> bool:
        known = [each for each in await target.model.responses() if each.metadata.get("run") in runs]
        return len(known) == 2 and all(each.status == "cancelled" for each in known)

    await eventually(stopped)


async def test_the_failed_items_of_a_batch_run_again(driver: str, target: Target) -> None:
    bad = secrets.token_hex(6)
    await target.model.script("s", [{"text": "done"}])
    await target.model.script(bad, [{"status": "failed", "error": {"code": "invalid_prompt", "message": "No."}}])
    texts = ("[script:s]", f"[script:{bad}] " + "é" * 60_000, "", f"[script:{bad}]")
    given = [{"id": f"n-{i}", "input": text, "metadata": {"n": str(i)}} for i, text in enumerate(texts)]
    first = await submit(target.api, given, metadata={"job": "night"}, concurrency=2)
    assert (first["retry_of"], first.status) == (None, 202)
    address = f"/api/batches/{first['id']}/retry"
    before = await over(target.api, first["id"])
    assert before["counts"] == counts(total=4, completed=1, failed=3)
    await target.model.script(bad, [{"text": "now it goes"}])
    key = {"Idempotency-Key": secrets.token_hex(8)}
    new, same = await asyncio.gather(*(target.api.call("POST", address, headers=key) for _ in range(2)))
    assert (new.status, same.status, same["id"]) == (202, 202, new["id"])
    assert new.headers["Location"] == new["url"] != before["url"]
    assert (new["retry_of"], new["counts"]["total"], new["concurrency"]) == (first["id"], 2, 2)
    after = await over(target.api, new["id"])
    assert (after["counts"], after["metadata"]) == (counts(total=2, completed=2), {"job": "night"})
    items = await items_of(target.api, new["id"])
    assert [(item["id"], item["index"], item["retry_of_index"], item["text"]) for item in items] == [
        ("n-1", 0, 1, "now it goes"),
        ("n-3", 1, 3, "now it goes"),
    ]
    assert (await target.api.run(items[1]["run_id"]))["metadata"] == {"job": "night", "n": "3"}
    assert await over(target.api, first["id"]) == before
    assert (await target.api.call("POST", address, headers=key)).status == 200, "it is over"
    assert [item["retry_of_index"] for item in await items_of(target.api, first["id"])] == [None] * 4


async def test_what_cannot_be_retried_is_refused(driver: str, target: Target) -> None:
    await target.model.script("s", [{"text": "done", "think": 0.5}])
    batch = await submit(target.api, [{"input": "[script:s]"}])
    address = f"/api/batches/{batch['id']}/retry"
    running = await target.api.call("POST", address)
    assert (running.status, running["code"]) == (409, "batch_not_ended")
    await over(target.api, batch["id"])
    nothing = await target.api.call("POST", address)
    assert (nothing.status, nothing["code"]) == (409, "nothing_to_retry")
    for query in ("?status=completed", "?status=lost", "?limit=3"):
        wrong = await target.api.call("POST", address + query)
        assert (wrong.status, wrong["code"]) == (400, "invalid_request"), query
    wrong = await target.api.call("POST", address, headers={"Idempotency-Key": "a, b"})
    assert (wrong.status, wrong["code"]) == (400, "invalid_idempotency_key")
    gone = await target.api.call("POST", f"/api/batches/batch_{'0' * 32}/retry")
    assert (gone.status, gone["code"]) == (404, "batch_not_found")


async def test_a_deleted_batch_is_gone_with_its_runs(driver: str, target: Target) -> None:
    await target.model.script("s", [{"text": "done"}])
    key = secrets.token_hex(8)
    reply = await submit(target.api, [{"input": "[script:s]"}], key=key)
    await over(target.api, reply["id"])
    (item,) = await items_of(target.api, reply["id"])
    assert (await target.api.call("DELETE", reply["url"])).status == 204
    for method, path in (("GET", ""), ("GET", "/items"), ("POST", "/cancel"), ("POST", "/retry"), ("DELETE", "")):
        gone = await target.api.call(method, reply["url"] + path)
        assert (gone.status, gone["code"]) == (404, "batch_not_found")
    again = await submit(target.api, [{"input": "[script:s]"}], key=key)
    assert (again.status, again["code"]) == (410, "batch_deleted")

    async def run_is_gone() -> bool:
        return (await target.api.call("GET", item["run_url"])).status == 404

    await eventually(run_is_gone)


async def test_batches_are_listed_newest_first_and_are_nobody_elses(own_stack: Callable[..., Stack]) -> None:
    stack = own_stack("durable", DORMOUSE_AUTH="appservice", WEBSITE_AUTH_ENABLED="true")
    host = await asyncio.to_thread(stack.host)
    await stack.model.script("s", [{"text": "done"}])
    async with Api(host.url) as api:

        async def call(who: str, method: str, path: str, **given: Any) -> Reply:
            return await api.call(method, path, headers={"x-ms-client-principal-id": who}, **given)

        made = []
        for _ in range(3):
            body = {"agent": "workshop", "items": [{"input": "[script:s]"}]}
            made.append((await call("ada", "POST", "/api/batches", json=body))["id"])
        page = await call("ada", "GET", "/api/batches?limit=2")
        rest = await call("ada", "GET", f"/api/batches?limit=2&cursor={page['next_cursor']}")
        assert [each["id"] for each in (*page["data"], *rest["data"])] == made[::-1]
        assert "next_cursor" not in rest.body
        assert (await call("bob", "GET", "/api/batches")).body == {"data": []}
        for method, path in (("GET", ""), ("GET", "/items"), ("POST", "/cancel"), ("POST", "/retry"), ("DELETE", "")):
            reply = await call("bob", method, f"/api/batches/{made[0]}{path}")
            assert (reply.status, reply["code"]) == (404, "batch_not_found")
        assert (await api.call("GET", "/api/batches")).status == 401


async def test_a_model_that_throttles_fails_no_item(driver: str, target: Target) -> None:
    fault = {"status": 429, "headers": {"retry-after": "1"}, "json_error": {"code": "rate_limit_exceeded"}}
    await target.model.script("busy", [{"text": "done", "faults": {"create": [{**fault, "skip": 2, "times": 1}]}}])
    batch_id = (await submit(target.api, [{"input": "[script:busy]"}] * 4, concurrency=3))["id"]
    batch = await over(target.api, batch_id)
    assert batch["counts"] == counts(total=4, completed=4)
    for item in await items_of(target.api, batch_id):
        assert len(await target.model.creates(run=item["run_id"])) == 1
