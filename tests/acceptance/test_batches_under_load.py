"""Batches of many items, at a model that throttles, and in a process that dies again and again."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

from local.model.control import ModelControl
from local.stack import FunctionsHost
from tests.acceptance.batches import counts, items_of, over, submit
from tests.acceptance.client import Api
from tests.acceptance.conftest import Stack, move_clock
from tests.acceptance.test_crashes import MINUTE, SHORT_WAITS, restart
from tests.parts.waiting import eventually


@contextlib.asynccontextmanager
async def throttling(model: ModelControl) -> AsyncIterator[None]:
    """Meanwhile the model takes nothing new for one second in ten, and says so."""
    busy = {"status": 429, "headers": {"retry-after": "1"}, "json_error": {"code": "rate_limit_exceeded"}, "times": -1}

    async def go_on() -> None:
        while True:
            await asyncio.sleep(9)
            await model.switches(faults={"create": [busy]})
            await asyncio.sleep(1)
            await model.switches(faults={})

    task = asyncio.create_task(go_on())
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await model.switches(faults={})


async def test_a_thousand_items_at_a_model_that_throttles_are_complete_and_exact(
    own_stack: Callable[..., Stack], driver: str
) -> None:
    stack = own_stack(driver, DORMOUSE_POLL_MAX_SECONDS="0.5")
    host = await asyncio.to_thread(stack.host)
    await stack.model.script("s", [{"text": "You said:", "echo": True}])
    await stack.model.script("bad", [{"status": "failed", "error": {"code": "invalid_prompt", "message": "No."}}])
    given: list[Any] = [{"id": f"n-{i}", "input": f"[script:s] <number {i}>"} for i in range(1_000)]
    for index in range(100, 1_000, 200):
        given[index]["input"] = f"[script:bad] <number {index}>"
        given[index + 1]["agent"] = "nobody"
    async with Api(host.url) as api:
        reply = await submit(api, given, key="thousand")
        assert reply.status == 202, reply
        assert reply["counts"] == counts(total=1_000, pending=995, failed=5)
        async with throttling(stack.model):
            batch = await over(api, reply["id"], timeout=600)
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
    assert len(await stack.model.log("create")) > 995, "it throttled"


async def test_a_host_that_dies_in_the_midst_of_a_batch_repeats_nothing(
    own_stack: Callable[..., Stack], driver: str
) -> None:
    stack = own_stack(driver, **SHORT_WAITS)
    host = await asyncio.to_thread(stack.host)
    await stack.model.script("s", [{"text": "done", "think": 0.5}])
    async with Api(host.url) as api:
        reply = await submit(api, [{"id": f"n-{i}", "input": "[script:s]"} for i in range(60)], concurrency=4)
        assert reply.status == 202, reply
        for deaths, ended in enumerate((8, 24, 40)):

            async def so_many(ended: int = ended) -> bool:
                found = await api.call("GET", reply["url"].replace(host.url, ""))
                return bool(found["counts"]["completed"] >= ended)

            await eventually(so_many, timeout=60)
            host.kill()
            await restart(host)
            await move_clock(host, deaths * MINUTE)  # a new host's clock knows nothing of the moves before it
        batch = await moved_until_over(api, host, reply["id"])
        items = await items_of(api, batch["id"])
    assert (batch["status"], batch["counts"]) == ("completed", counts(total=60, completed=60))
    assert [(item["id"], item["text"]) for item in items] == [(f"n-{i}", "done") for i in range(60)]
    made = Counter(entry.metadata["run"] for entry in await stack.model.creates())
    assert made.keys() == {item["run_id"] for item in items}
    in_doubt = [run for run, creates in made.items() if creates > 1]
    assert len(in_doubt) <= 3 * 4, "only what was being created when the process died"
    assert max(made.values()) <= 2


async def moved_until_over(api: Api, host: FunctionsHost, batch_id: str) -> dict[str, Any]:
    """Move the clock whenever it is not over for a while, as the minutes would."""
    for _ in range(10):
        try:
            return await over(api, batch_id, timeout=15)
        except TimeoutError:
            await move_clock(host, MINUTE)
    return await over(api, batch_id, timeout=15)
