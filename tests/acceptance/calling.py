"""What callers do while hosts are killed under them: whoever loses the connection sends the same again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from local.model.control import ModelControl
from tests.acceptance.client import TERMINAL, Api, Reply

STUCK = {"stuck": True}
DONE = {"text": "Done."}
AGAIN_SECONDS = 0.3
"""Between two tries of a request, and two looks at a run."""


@dataclass(frozen=True, kw_only=True)
class Caller:
    """One caller, with a name of its own that its keys carry."""

    api: Api
    name: str
    receiver_url: str

    async def send(self, method: str, path: str, **options: Any) -> Reply:
        """A request, as often as it takes to have an answer that is no outage."""
        while True:
            try:
                reply = await self.api.call(method, path, **options)
            except (aiohttp.ClientError, OSError, TimeoutError):
                reply = None
            if reply is not None and reply.status < 500 and reply.status != 429:
                return reply
            await asyncio.sleep(AGAIN_SECONDS)

    async def start(self, script: str, **fields: Any) -> str:
        """Submit a run under a key; its id."""
        body = {"input": f"[script:{script}]", "agent": "workshop", "callback_url": self.receiver_url, **fields}
        reply = await self.send("POST", "/api/runs", json=body, headers={"Idempotency-Key": f"{self.name}-{script}"})
        assert reply.status in (200, 202), reply
        return str(reply["id"])

    async def until(self, path: str, holds: Callable[[Any], bool]) -> dict[str, Any]:
        """What is at that path, once that holds."""
        while True:
            reply = await self.send("GET", path)
            assert reply.status == 200, reply
            if holds(reply.body):
                body: dict[str, Any] = reply.body
                return body
            await asyncio.sleep(AGAIN_SECONDS)

    async def over(self, run_id: str) -> dict[str, Any]:
        """The run once it has ended."""
        return await self.until(f"/api/runs/{run_id}", lambda run: run["status"] in TERMINAL)


async def write_scripts(model: ModelControl) -> None:
    """The scripts of all stories."""
    asks = {"calls": [{"name": name, "arguments": {"label": "x"}} for name in ("work", "pay")]}
    guarded = {"calls": [{"name": "send", "arguments": {"label": "x"}}]}
    await model.script("tools", [asks, {"text": "é" * 60_000}])
    await model.script("asks", [guarded, DONE])
    await model.script("stuck", [STUCK])
    await model.script("done", [DONE])


async def with_tools(caller: Caller) -> None:
    """Two tools, a long text, a callback."""
    run = await caller.over(await caller.start("tools"))
    assert run["status"] == "completed", run
    assert [call["state"] for call in run["tool_calls"]] == ["finished", "finished"]


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
    """A run that is cancelled while the model thinks, and told of once more."""
    run_id = await caller.start("stuck")
    reply = await caller.send("POST", f"/api/runs/{run_id}/cancel")
    assert (reply.status, reply["status"]) == (200, "cancelled"), reply
    path = f"/api/runs/{run_id}"
    await caller.until(path, lambda run: run["callback_status"] == "delivered")
    reply = await caller.send("POST", f"{path}/deliveries")
    assert reply.status in (200, 202), reply


async def a_deleted_run(caller: Caller) -> None:
    """A run that is deleted while the model thinks."""
    run_id = await caller.start("stuck")
    reply = await caller.send("DELETE", f"/api/runs/{run_id}")
    assert reply.status in (204, 404), reply
    assert (await caller.send("GET", f"/api/runs/{run_id}")).status == 404


async def a_deleted_session(caller: Caller) -> None:
    """A session that is deleted after its run has ended."""
    run = await caller.over(await caller.start("done"))
    path = f"/api/sessions/{run['session_id']}"
    reply = await caller.send("DELETE", path)
    assert reply.status in (204, 404), reply
    assert (await caller.send("GET", path)).status == 404


async def a_batch(caller: Caller) -> None:
    """A batch of three, one of them wrong; a callback at its end."""
    items = [{"input": "[script:done]"}, {"input": "[script:done]"}, {"input": ""}]
    batch_id = await _start_batch(caller, items)
    over = await caller.until(f"/api/batches/{batch_id}", lambda batch: batch["completed_at"] is not None)
    assert (over["counts"]["completed"], over["counts"]["failed"]) == (2, 1), over


async def a_deleted_batch(caller: Caller) -> None:
    """A batch that is cancelled while its runs go on, and then deleted."""
    batch_id = await _start_batch(caller, [{"input": "[script:stuck]"}])
    path = f"/api/batches/{batch_id}"
    reply = await caller.send("POST", f"{path}/cancel")
    assert reply.status in (200, 202), reply
    await caller.until(path, lambda batch: batch["completed_at"] is not None)
    reply = await caller.send("DELETE", path)
    assert reply.status in (204, 404), reply


async def _start_batch(caller: Caller, items: list[Any]) -> str:
    body = {"agent": "workshop", "items": items, "concurrency": 1, "callback_url": caller.receiver_url}
    headers = {"Idempotency-Key": f"{caller.name}-batch"}
    reply = await caller.send("POST", "/api/batches", json=body, headers=headers)
    assert reply.status in (200, 202), reply
    return str(reply["id"])


STORIES: tuple[Callable[[Caller], Awaitable[None]], ...] = (
    with_tools,
    an_approval,
    a_cancel,
    a_deleted_run,
    a_deleted_session,
    a_batch,
    a_deleted_batch,
)
