"""Status, list and waiting, as a front end uses them."""

from __future__ import annotations

import asyncio
import secrets
import time

import pytest

from tests.acceptance.conftest import Target


@pytest.mark.main
@pytest.mark.http_only
async def test_a_status_that_the_caller_has_is_304_and_a_new_one_is_not(driver: str, target: Target) -> None:
    run_id = await target.api.start("Write a story about comets.")
    await target.api.finished(run_id)
    first = await target.api.call("GET", f"/api/runs/{run_id}")
    again = await target.api.call("GET", f"/api/runs/{run_id}", headers={"If-None-Match": first.headers["ETag"]})
    other = await target.api.call("GET", f"/api/runs/{run_id}", headers={"If-None-Match": '"another"'})
    assert (again.status, again.raw, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    assert (other.status, other.headers["ETag"]) == (200, first.headers["ETag"])


@pytest.mark.main
@pytest.mark.http_only
async def test_a_long_poll_answers_when_something_changes(driver: str, target: Target) -> None:
    run_id = await target.api.start("Write a story about rings.")
    seen = []
    while not seen or seen[-1][0] != "completed":
        began = time.monotonic()
        run = (await target.api.call("GET", f"/api/runs/{run_id}?wait=30")).body
        now = (run["status"], run["turn"], run["progress"], [call["state"] for call in run["tool_calls"]])
        assert now not in seen or time.monotonic() - began > 28, "an answer without news"
        seen.append(now)


async def test_a_long_poll_is_not_answered_by_a_wake_alone(driver: str, target: Target) -> None:
    name = f"stuck-{secrets.token_hex(4)}"
    await target.model.script(name, [{"stuck": True}])
    run_id = await target.api.start(f"[script:{name}]")
    before = await target.api.until(run_id, lambda run: run["wakes"] >= 2 and run["provider_status"] == "in_progress")
    waiting = asyncio.create_task(target.api.call("GET", f"/api/runs/{run_id}?wait=30"))
    await target.api.until(run_id, lambda run: run["wakes"] > before["wakes"])
    assert not waiting.done()
    await target.api.cancel(run_id)
    assert (await waiting)["status"] == "cancelled"


async def test_a_long_poll_of_who_has_missed_something_is_answered_at_once(driver: str, target: Target) -> None:
    name = f"asks-{secrets.token_hex(4)}"
    await target.model.script(name, [{"calls": [{"name": "send", "arguments": {"label": "a"}}]}, {"text": "Sent."}])
    submitted = await target.api.submit(f"[script:{name}]", agent="workshop")
    run = await target.api.until(submitted["id"], lambda run: run["status"] == "requires_action")
    path = f"/api/runs/{run['id']}"
    async with asyncio.timeout(10):
        late = await target.api.call("GET", f"{path}?wait=30", headers={"If-None-Match": submitted.headers["ETag"]})
    assert (late.status, late["status"]) == (200, "requires_action")
    known = {"If-None-Match": late.headers["ETag"]}
    assert (await target.api.call("GET", f"{path}?wait=1", headers=known)).status == 304
    for address in ("/api/runs?limit=1&agent=workshop", f"/api/sessions/{run['session_id']}"):
        first = await target.api.call("GET", address)
        again = await target.api.call("GET", address, headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status, again.raw) == (304, b""), address


@pytest.mark.main
@pytest.mark.http_only
async def test_a_submit_may_wait_for_the_end(driver: str, target: Target) -> None:
    body = {"input": "Write a story about dust."}
    reply = await target.api.call("POST", "/api/runs", json=body, headers={"Prefer": "respond-async, wait=30"})
    assert reply.headers["Preference-Applied"] == "wait=30"
    assert reply.headers["Vary"] == "Prefer"
    assert reply.status == (200 if reply["status"] == "completed" else 202)
    assert (await target.api.finished(reply["id"]))["status"] == "completed"


@pytest.mark.main
async def test_the_list_is_newest_first_in_pages_and_filtered(driver: str, target: Target) -> None:
    name = f"fails-{secrets.token_hex(4)}"
    await target.model.script(name, [{"status": "failed", "error": {"code": "invalid_prompt", "message": "no"}}])
    wanted = []
    for number in range(5):
        text = f"[script:{name}]" if number % 2 else "Hello."
        run_id = await target.api.start(text, agent="workshop")
        await target.api.finished(run_id)
        wanted.insert(0, run_id)
    listed: list[str] = []
    cursor = ""
    while len(listed) < len(wanted):
        page = await target.api.call("GET", f"/api/runs?limit=2&agent=workshop{cursor}")
        assert page.status == 200
        assert len(page["data"]) <= 2
        listed += [run["id"] for run in page["data"]]
        cursor = f"&cursor={page.body.get('next_cursor')}"
    assert listed[: len(wanted)] == wanted
    failed = await target.api.call("GET", "/api/runs?status=failed&agent=workshop&limit=2")
    assert [run["id"] for run in failed["data"]] == wanted[1::2]
    assert all(run["error"]["code"] == "invalid_prompt" for run in failed["data"])
    assert (await target.api.call("GET", "/api/runs?status=done"))["code"] == "invalid_request"


@pytest.mark.main
@pytest.mark.http_only
async def test_every_answer_names_its_request_and_lets_pages_read_its_headers(driver: str, target: Target) -> None:
    run_id = await target.api.start("Write a story about a name.")
    await target.api.finished(run_id)
    nobody = f"run_{'0' * 32}_1"
    session = f"/api/sessions/{run_id.split('_')[1]}"
    for path in (f"/api/runs/{run_id}", f"/api/runs/{nobody}", session, "/api/agents", "/api/health"):
        replies = [
            await target.api.call(method, path, headers={"X-Request-Id": f"test-{method}"})
            for method in ("GET", "HEAD")
        ]
        get, head = replies
        assert [reply.headers["X-Request-Id"] for reply in replies] == ["test-GET", "test-HEAD"], path
        assert "X-Request-Id" in get.headers["Access-Control-Expose-Headers"]
        assert (head.status, head.raw) == (get.status, b"")
        for name in ("ETag", "Content-Type", "Cache-Control", "Access-Control-Expose-Headers"):
            assert head.headers.get(name) == get.headers.get(name), (path, name)
    refused = await target.api.call("POST", "/api/runs", json={})
    assert (refused.status, bool(refused.headers["X-Request-Id"])) == (400, True)
