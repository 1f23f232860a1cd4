"""Callbacks of batches over real HTTP: a receiver hears that a batch is over, once it can, and can trust it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from local.stack import FunctionsHost
from tests.acceptance.client import Api, Reply
from tests.acceptance.conftest import Stack, move_clock
from tests.parts.receiver import SECRET, Receiver
from tests.parts.waiting import eventually


@dataclass(frozen=True, kw_only=True)
class Scene:
    """An app that sends callbacks, and who receives them."""

    api: Api
    host: FunctionsHost
    receiver: Receiver

    async def submit(self, *texts: str, **fields: Any) -> Reply:
        """Submit a batch that tells the receiver."""
        given = {"agent": "workshop", "items": [{"input": text} for text in texts], "callback_url": self.receiver.url}
        return await self.api.call("POST", "/api/batches", json={**given, **fields})

    async def shows(self, path: str, status: str, attempts: int) -> dict[str, Any]:
        """The batch, as soon as its callback stands so after so many attempts whose outcome is written."""

        async def stands() -> dict[str, Any] | None:
            body: dict[str, Any] = (await self.api.call("GET", path)).body
            last = body["callback_last"]
            told = last is not None and (last["http_status"] or last["error"])
            return body if told and (body["callback_status"], body["callback_attempts"]) == (status, attempts) else None

        found: dict[str, Any] = await eventually(stands)
        return found


@pytest.fixture
async def scene(own_stack: Callable[..., Stack], driver: str) -> AsyncIterator[Scene]:
    """Under each driver in turn."""
    async with Receiver() as receiver:
        stack = own_stack(driver, DORMOUSE_CALLBACK_SECRET=SECRET, DORMOUSE_CALLBACK_ALLOW="127.0.0.1")
        await stack.model.script("s", [{"text": "A secret."}])
        await stack.model.script("stuck", [{"stuck": True}])
        host = stack.host()
        async with Api(host.url) as api:
            yield Scene(api=api, host=host, receiver=receiver)


@pytest.mark.main
async def test_the_end_of_a_batch_is_told_and_can_be_verified(scene: Scene) -> None:
    made = await scene.submit("[script:s]", "[script:s]", metadata={"job": "night"})
    assert (made.status, made["callback_url"], made["callback_status"]) == (202, scene.receiver.url, None)
    assert (made["callback_attempts"], made["callback_last"]) == (0, None)
    completed = await scene.shows(made["url"], "delivered", 1)
    made = await scene.submit("[script:stuck]")
    await scene.api.call("POST", f"{made['url']}/cancel")
    cancelled = await scene.shows(made["url"], "delivered", 1)
    for got, batch, status in zip(
        scene.receiver.received, (completed, cancelled), ("completed", "cancelled"), strict=True
    ):
        assert got.verify() == {
            "type": f"batch.{status}",
            "timestamp": batch["completed_at"],
            "data": {name: batch[name] for name in ("id", "object", "status", "url", "counts", "metadata")},
        }
        assert got.webhook_id == f"msg_{batch['id']}_{status}"
        last = batch["callback_last"]
        assert (last["http_status"], last["error"], last["next_attempt_at"]) == (204, None, None)


async def test_a_receiver_in_trouble_gets_it_later_and_again_when_asked(scene: Scene) -> None:
    scene.receiver.answers = [(503, {"Retry-After": "3000"}), 410]
    url = (await scene.submit("[script:s]"))["url"]
    batch = await scene.shows(url, "pending", 1)
    assert batch["status"] == "completed"
    assert batch["callback_last"]["http_status"] == 503
    assert batch["callback_last"]["next_attempt_at"] > batch["callback_last"]["sent_at"]
    await move_clock(scene.host, 3_100)
    await scene.shows(url, "disabled", 2)
    again = await scene.api.call("POST", f"{url}/deliveries")
    assert (again.status, again["callback_status"]) == (202, "pending")
    await scene.shows(url, "delivered", 3)
    assert len({(each.webhook_id, each.raw) for each in scene.receiver.received}) == 1
    assert all(each.is_signed() for each in scene.receiver.received)


@pytest.mark.parametrize("driver", ["timer"])
async def test_beside_json_lines_the_address_is_a_parameter(scene: Scene) -> None:
    async def lines(query: str, **headers: str) -> Reply:
        return await scene.api.call(
            "POST",
            f"/api/batches?agent=workshop{query}",
            data=b'{"input": "[script:s]"}\n',
            headers={"content-type": "application/jsonl", **headers},
        )

    key = {"Idempotency-Key": "k"}
    made = await lines(f"&callback_url={scene.receiver.url}", **key)
    assert (made.status, made["callback_url"]) == (202, scene.receiver.url)
    await scene.shows(made["url"], "delivered", 1)
    assert (await lines(f"&callback_url={scene.receiver.url}", **key))["id"] == made["id"]
    assert (await lines("", **key))["code"] == "idempotency_key_reused"
    refused = await lines("&callback_url=https://10.0.0.1/")
    assert (refused.status, refused["code"]) == (400, "invalid_request")
    silent = await lines("")
    again = await scene.api.call("POST", f"{silent['url']}/deliveries")
    assert (again.status, again["code"]) == (409, "no_callback")
    assert len(scene.receiver.received) == 1
