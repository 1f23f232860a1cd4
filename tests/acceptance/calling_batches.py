"""What callers do with batches: see ``calling``."""

from __future__ import annotations

from tests.acceptance.calling import Caller, GoneError
from tests.acceptance.killed_scripts import LONG


async def a_batch(caller: Caller) -> None:
    """A batch of two, one of them wrong; a callback at its end."""
    over = await caller.over_batch(await caller.start_batch([{"input": "[script:done]"}, {"input": ""}]))
    assert (over["counts"]["completed"], over["counts"]["failed"]) == (1, 1), over


async def a_long_batch(caller: Caller) -> None:
    """A batch with an item that is too long for a row."""
    await caller.over_batch(await caller.start_batch([{"input": f"[script:done]{LONG}"}]))


async def a_retried_batch(caller: Caller) -> None:
    """A batch whose only item fails: its callback is sent once more, and it is run again."""
    path = await caller.start_batch([{"input": f"[script:bad]{LONG}"}])
    await caller.over_batch(path)
    reply = await caller.send("POST", f"{path}/deliveries")
    assert reply.status in (200, 202), reply
    reply = await caller.send("POST", f"{path}/retry", headers=caller.keyed("again"))
    assert reply.status in (200, 202), reply
    again = await caller.over_batch(f"/api/batches/{reply['id']}")
    assert again["counts"]["failed"] == 1, again


async def a_cancelled_batch(caller: Caller) -> None:
    """A batch that is cancelled while its runs go on."""
    path = await _begun(caller)
    reply = await caller.send("POST", f"{path}/cancel")
    assert reply.status in (200, 202), reply
    over = await caller.over_batch(path)
    assert over["counts"]["cancelled"] == 2, over


async def a_deleted_batch(caller: Caller) -> None:
    """A batch that is deleted while its runs go on."""
    path = await _begun(caller)
    reply = await caller.send("DELETE", path)
    assert reply.status in (204, 404), reply
    assert (await caller.send("GET", path)).status == 404


async def an_ended_batch(caller: Caller) -> None:
    """A batch that nobody looks at any more once it is over."""
    await caller.over_batch(await caller.start_batch([{"input": "[script:done]"}]))


async def an_abandoned_batch(caller: Caller) -> None:
    """A request for a batch that is not sent again when the connection breaks."""
    body = {"agent": "workshop", "items": [{"input": "[script:done]"}, {"input": f"[script:done]{LONG}"}]}
    await caller.once("POST", "/api/batches", json=body)


async def _begun(caller: Caller) -> str:
    """The path of a batch whose first items run on and on."""
    path = await caller.start_batch([{"input": "[script:stuck]"}] * 2, concurrency=1)
    reply = await caller.send("GET", path)
    if reply.status == 404:
        raise GoneError
    await caller.until(f"{path}/items", lambda page: any(item["status"] == "active" for item in page["data"]))
    return path
