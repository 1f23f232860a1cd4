"""What callers do with runs and sessions: see ``calling``."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.acceptance.calling import Caller, GoneError
from tests.acceptance.killed_scripts import LONG


async def with_tools(caller: Caller) -> None:
    """Two tools, one of which outlasts a renewal of the lease; a long text, a callback."""
    run = await caller.over(await caller.start("tools"))
    assert run["status"] == "completed", run
    assert [call["state"] for call in run["tool_calls"]] == ["finished", "finished"]


async def long_texts(caller: Caller) -> None:
    """Input, arguments and results that are too long for a row."""
    run = await caller.over(await caller.start("long", text=LONG))
    assert run["status"] == "completed", run


async def with_progress(caller: Caller) -> None:
    """A tool that reports progress."""
    run = await caller.over(await caller.start("tell", agent="teller"))
    assert run["status"] == "completed", run


async def within_the_call(caller: Caller) -> None:
    """An agent without background mode, whose claim is a lease."""
    run = await caller.over(await caller.start("phone", agent="phone"))
    # An attempt that died in the call counts, and these are bounded.
    assert run["status"] == "completed", run


async def an_approval(caller: Caller) -> None:
    """A tool that a person approves; then the session goes on."""
    run_id = await caller.start("asks")
    waiting = await caller.until(f"/api/runs/{run_id}", lambda run: run["status"] == "requires_action")
    asked = [call["call_id"] for call in waiting["required_action"]["calls"]]
    reply = await caller.send(
        "POST", f"/api/runs/{run_id}/answers", json={"answers": {each: {"approve": True} for each in asked}}
    )
    assert reply.status == 200, reply
    run = await caller.over(run_id)
    assert run["status"] == "completed", run
    second = await caller.over(await caller.start("done", session_id=run["session_id"], agent=None))
    assert second["status"] == "completed", second


async def a_cancel(caller: Caller) -> None:
    """A run that is cancelled while the model thinks, and whose callback is sent once more."""
    run_id = await caller.start("stuck")
    path = f"/api/runs/{run_id}"
    reply = await caller.send("POST", f"{path}/cancel")
    assert (reply.status, reply["status"]) == (200, "cancelled"), reply
    await caller.until(path, lambda run: run["callback_status"] == "delivered")
    reply = await caller.send("POST", f"{path}/deliveries")
    assert reply.status in (200, 202), reply


async def a_cancel_within_tools(caller: Caller) -> None:
    """A run that is cancelled while its tools are at work, for whom a single step is under way."""
    run_id = await caller.start("works")
    await caller.until(f"/api/runs/{run_id}", lambda run: bool(run["tool_calls"]))
    reply = await caller.send("POST", f"/api/runs/{run_id}/cancel")
    assert reply.status == 200, reply


async def a_deadline(caller: Caller) -> None:
    """A run whose time is up before the model has an answer; the provider refuses at first to cancel that."""
    run = await caller.over(await caller.start(await caller.own("hard"), deadline_seconds=30))
    assert (run["status"], run["error"]["code"]) == ("failed", "deadline_exceeded"), run


async def a_deleted_run(caller: Caller) -> None:
    """A run that is deleted while the model thinks."""
    run_id = await caller.start("stuck")
    reply = await caller.send("DELETE", f"/api/runs/{run_id}")
    assert reply.status in (204, 404), reply
    assert (await caller.send("GET", f"/api/runs/{run_id}")).status == 404


async def a_deleted_session(caller: Caller) -> None:
    """A session of two runs that is deleted while the second is active."""
    run = await caller.over(await caller.start("done"))
    await caller.start("stuck", session_id=run["session_id"], agent=None)
    path = f"/api/sessions/{run['session_id']}"
    reply = await caller.send("DELETE", path)
    assert reply.status in (204, 404), reply
    assert (await caller.send("GET", path)).status == 404


async def a_branch(caller: Caller) -> None:
    """A response that follows one after which its conversation has moved on."""
    first = await _respond(caller, "first", None)
    await _respond(caller, "second", first)
    branch = await _respond(caller, "branch", first)
    assert branch != first


async def _respond(caller: Caller, key: str, previous: str | None) -> str:
    asked = {"model": "bench", "input": f"[script:done] {key}", "previous_response_id": previous, "background": True}
    reply = await caller.send("POST", "/api/v1/responses", json=asked, headers={**caller.bearer, **caller.keyed(key)})
    assert reply.status == 200, reply
    path = f"/api/v1/responses/{reply['id']}"
    await caller.until(path, lambda response: response["status"] == "completed", headers=caller.bearer)
    return str(reply["id"])


async def repeated_requests(caller: Caller) -> None:
    """A client of OpenAI's that hangs up and sends the same again, counting its tries and without a key."""
    asked = {"model": "bench", "input": f"[script:slow] {caller.name}"}
    given_up = asyncio.create_task(_try(caller, 0, asked))
    await asyncio.sleep(0.7)
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    count = 1
    while (reply := await _try(caller, count, asked)) is None or reply.status >= 500:
        count += 1
        await asyncio.sleep(0.3)
    # 422: it is not done within the time that a request may wait.
    assert reply.status in (200, 422), reply


async def _try(caller: Caller, count: int, asked: dict[str, Any]) -> Any:
    headers = {**caller.bearer, "x-stainless-retry-count": str(count)}
    return await caller.once("POST", "/api/v1/responses", json=asked, headers=headers)


async def a_key_twice(caller: Caller) -> None:
    """Several requests with one key, side by side: one run."""
    replies = await asyncio.gather(*(caller.submit("done") for _ in range(5)))
    if any(reply.status == 410 for reply in replies):
        raise GoneError
    assert len({reply["id"] for reply in replies}) == 1, replies
    await caller.over(replies[0]["id"])


async def a_lost_number(caller: Caller) -> None:
    """Several requests for the next run of a session, side by side: one has it."""
    run = await caller.over(await caller.start("done"))
    fields = {"session_id": run["session_id"], "agent": None}
    replies = await asyncio.gather(*(caller.submit("stuck", f"next-{n}", **fields) for n in range(4)))
    begun = [reply for reply in replies if reply.status in (200, 202)]
    assert {reply.status for reply in replies} <= {200, 202, 409}, replies
    for reply in begun:
        await caller.send("POST", f"/api/runs/{reply['id']}/cancel")
