"""The main job with its texts encrypted: it goes as ever, the storage says nothing of it, and a key can be changed."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable

from tests.acceptance.batches import over
from tests.acceptance.batches import submit as submit_batch
from tests.acceptance.client import Api
from tests.acceptance.conftest import Stack
from tests.acceptance.test_purge import MARK, TURNS, everything

OLD, NEW = (f"local:{base64.b64encode(each * 32).decode()}" for each in (b"o", b"n"))


async def test_a_story_is_written_and_read_again_after_a_change_of_keys(
    own_stack: Callable[..., Stack], driver: str
) -> None:
    stack = own_stack(driver)
    host = await asyncio.to_thread(stack.host, DORMOUSE_ENCRYPTION_KEY=OLD)
    await stack.model.script("s", TURNS)
    async with Api(host.url) as api:
        story = await api.finished(await api.start("Write a story about the moons of Jupiter."))
        assert "Olympus Mons is 22 km high" in story["text"]
        asked = {"agent": "workshop", "title": f"{MARK}-title", "metadata": {"m": f"{MARK}-metadata"}}
        run = await api.finished(await api.start(f"[script:s] {MARK}-prompt " * 2_000, **asked))
        assert (run["status"], run["text"].count(MARK)) == ("completed", 4_000)
        batch = await submit_batch(api, [{"input": f"[script:s] {MARK}", "id": f"{MARK}-item"}], metadata={"m": MARK})
        await over(api, batch["id"])
        found = await everything(stack.azurite, stack.prefix)
        assert run["id"] in found
        assert [line for line in found.splitlines() if MARK in line or "Olympus Mons" in line] == []
    host.kill()
    changed = await asyncio.to_thread(stack.host, DORMOUSE_ENCRYPTION_KEY=f"{NEW} {OLD}")
    async with Api(changed.url) as api:
        assert (await api.run(run["id"]))["text"] == run["text"]
        again = await api.start(f"[script:s] {MARK}", session_id=run["session_id"])
        assert (await api.finished(again))["status"] == "completed"
        listed = (await api.call("GET", "/api/runs?limit=50"))["data"]
        assert f"{MARK}-title" in {each["title"] for each in listed}
    changed.kill()
    without = await asyncio.to_thread(stack.host)
    async with Api(without.url) as api:
        reply = await api.call("GET", f"/api/runs/{run['id']}")
        assert (reply.status, reply["code"]) == (503, "encryption_key_unavailable")
        assert reply.headers["Retry-After"] == "5"
