"""Callbacks over real HTTP: a receiver hears how a run ended, once it can, and can trust what it hears."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from local.stack import FunctionsHost
from tests.acceptance.client import Api
from tests.acceptance.conftest import Stack, move_clock
from tests.parts.receiver import SECRET, Receiver
from tests.parts.waiting import eventually

OwnStack = Callable[..., Stack]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """An app that sends callbacks, and who receives them."""

    api: Api
    stack: Stack
    host: FunctionsHost
    receiver: Receiver

    async def start(self, *turns: dict[str, Any], **fields: Any) -> str:
        """Submit a run that plays these turns and tells the receiver; its id."""
        await self.stack.model.script("s", turns)
        return await self.api.start("[script:s]", agent="workshop", callback_url=self.receiver.url, **fields)

    async def received(self, count: int = 1) -> None:
        """Wait until so many requests have come."""
        await eventually(lambda: len(self.receiver.received) >= count)

    async def recorded(self, run_id: str, *statuses: int) -> None:
        """Wait until the log shows the attempts that were answered so, oldest first, and no other."""

        async def shows() -> bool:
            reply = await self.api.call("GET", f"/api/runs/{run_id}/deliveries")
            return [line["http_status"] for line in reversed(reply["data"])] == [*statuses]

        await eventually(shows)

    async def log(self, run_id: str, status: str) -> dict[str, Any]:
        """The log of deliveries, as soon as the callbacks stand so."""

        async def stands() -> dict[str, Any] | None:
            reply = await self.api.call("GET", f"/api/runs/{run_id}/deliveries")
            assert reply.status == 200, reply
            body: dict[str, Any] = reply.body
            return body if body["callback_status"] == status else None

        found: dict[str, Any] = await eventually(stands)
        return found


@pytest.fixture
async def scene(own_stack: OwnStack, driver: str) -> AsyncIterator[Scene]:
    """Under each driver in turn."""
    async with Receiver() as receiver:
        stack = own_stack(driver, DORMOUSE_CALLBACK_SECRET=SECRET, DORMOUSE_CALLBACK_ALLOW="127.0.0.1")
        host = stack.host()
        async with Api(host.url) as api:
            yield Scene(api=api, stack=stack, host=host, receiver=receiver)


@pytest.mark.main
async def test_how_a_run_ended_is_told_and_can_be_verified(scene: Scene) -> None:
    completed = await scene.start({"text": "A secret story."}, metadata={"order": "7"})
    await scene.received(1)
    failed = await scene.start({"status": "failed", "error": {"code": "invalid_prompt", "message": "No."}})
    await scene.received(2)
    cancelled = await scene.start({"stuck": True})
    assert (await scene.api.cancel(cancelled))["callback_status"] == "pending"
    await scene.received(3)
    for got, run_id, status in zip(
        scene.receiver.received, (completed, failed, cancelled), ("completed", "failed", "cancelled"), strict=True
    ):
        event = got.verify()
        run = await scene.api.run(run_id)
        assert event == {
            "type": f"run.{status}",
            "timestamp": run["completed_at"],
            "data": {name: run[name] for name in ("id", "object", "status", "url", "session_id", "metadata")},
        }
        assert got.webhook_id == f"msg_{run_id}_{status}"
        log = await scene.log(run_id, "delivered")
        (line,) = log["data"]
        assert (
            line.items()
            >= {
                "webhook_id": got.webhook_id,
                "type": f"run.{status}",
                "attempt": 1,
                "state": "delivered",
                "http_status": 204,
                "error": None,
                "next_attempt_at": None,
            }.items()
        )
        run = await scene.api.run(run_id)
        assert (run["callback_url"], run["callback_status"]) == (scene.receiver.url, "delivered")
    assert len(scene.receiver.received) == 3


@pytest.mark.main
async def test_a_receiver_in_trouble_gets_it_later_under_the_same_id(scene: Scene) -> None:
    scene.receiver.answers = [500, (503, {"Retry-After": "3000"})]
    run_id = await scene.start({"text": "Fine."})
    await scene.recorded(run_id, 500)
    await move_clock(scene.host, 10)
    await scene.recorded(run_id, 500, 503)
    log = await scene.log(run_id, "pending")
    assert log["next_attempt_at"] == log["data"][0]["next_attempt_at"] > log["data"][0]["sent_at"]
    await move_clock(scene.host, 1_500)  # less than it has asked for
    other = await scene.start({"text": "Fine."})
    await scene.log(other, "delivered")
    assert len(scene.receiver.received) == 3
    scene.receiver.answers = [(307, {"Location": "/elsewhere"})]
    await move_clock(scene.host, 1_600)
    await scene.recorded(run_id, 500, 503, 307)
    await move_clock(scene.host, 300)
    await scene.recorded(run_id, 500, 503, 307, 204)
    log = await scene.log(run_id, "delivered")
    assert [line["attempt"] for line in log["data"]] == [4, 3, 2, 1]
    assert {each.path for each in scene.receiver.received} == {"/hook"}
    assert [each.webhook_id for each in scene.receiver.received].count(f"msg_{run_id}_completed") == 4
    assert all(each.is_signed() for each in scene.receiver.received)


async def test_an_approval_that_waits_is_told_and_so_is_the_end(scene: Scene) -> None:
    run_id = await scene.start({"calls": [{"name": "send", "arguments": {"label": "a"}}]}, {"text": "Sent."})
    await scene.received(1)
    (asked,) = scene.receiver.received
    assert asked.verify()["type"] == "run.requires_action"
    run = await scene.api.run(run_id)
    answers = {call["id"]: {"approve": True} for call in run["required_action"]["calls"]}
    await scene.api.call("POST", f"/api/runs/{run_id}/answers", json={"answers": answers})
    await scene.received(2)
    assert scene.receiver.types() == ["run.requires_action", "run.completed"]


async def test_a_delivery_can_be_asked_for_again(scene: Scene) -> None:
    scene.receiver.answers = [410]
    run_id = await scene.start({"text": "Fine."})
    await scene.log(run_id, "disabled")
    again = await scene.api.call("POST", f"/api/runs/{run_id}/deliveries")
    assert (again.status, again["callback_status"], len(again["data"])) == (202, "pending", 1)
    await scene.received(2)
    log = await scene.log(run_id, "delivered")
    assert [line["http_status"] for line in log["data"]] == [204, 410]
    first, second = scene.receiver.received
    assert (first.webhook_id, first.raw) == (second.webhook_id, second.raw)


async def test_a_deleted_run_tells_nobody_any_more(scene: Scene) -> None:
    scene.receiver.then = 500
    run_id = await scene.start({"text": "Fine."})
    await scene.received(1)
    assert (await scene.api.call("DELETE", f"/api/runs/{run_id}")).status == 204
    for method in ("GET", "POST"):
        assert (await scene.api.call(method, f"/api/runs/{run_id}/deliveries")).status == 404
    scene.receiver.then = 200
    await move_clock(scene.host, 7_200)
    other = await scene.start({"text": "Fine."})
    await scene.log(other, "delivered")
    assert [each.body["data"]["id"] for each in scene.receiver.received] == [run_id, other]


async def test_what_a_submit_may_not_name_is_refused_with_what_to_do(own_stack: OwnStack) -> None:
    host = own_stack("durable", DORMOUSE_CALLBACK_SECRET=SECRET).host()
    async with Api(host.url) as api:
        for url in (
            "http://example.com/hook",
            "https://127.0.0.1/hook",
            "https://169.254.169.254/latest/meta-data",
            "https://[::ffff:10.0.0.1]/",
            "https://example.com:8443/",
            "https://user:secret@example.com/",
            "https://example.com/#top",
            "https://example.com/" + "a" * 2_000,
            "not a url",
        ):
            reply = await api.submit("Hello.", agent="workshop", callback_url=url)
            assert (reply.status, reply["code"]) == (400, "invalid_request"), url
            assert [each["field"] for each in reply["errors"]] == ["callback_url"]
        run_id = await api.start("Hello.", agent="workshop")
        run = await api.finished(run_id)
        assert (run["callback_url"], run["callback_status"]) == (None, None)
        again = await api.call("POST", f"/api/runs/{run_id}/deliveries")
        assert (again.status, again["code"]) == (409, "no_callback")
        log = await api.call("GET", f"/api/runs/{run_id}/deliveries")
        assert (log.status, log["data"]) == (200, [])


async def test_without_a_secret_there_are_no_callbacks(own_stack: OwnStack) -> None:
    host = own_stack("durable").host()
    async with Api(host.url) as api:
        reply = await api.submit("Hello.", agent="workshop", callback_url="https://example.com/hook")
        assert (reply.status, reply["code"]) == (400, "callbacks_disabled")
        assert "DORMOUSE_CALLBACK_SECRET" in reply["detail"]


async def test_an_address_that_is_private_is_not_called_once_the_settings_forbid_it(own_stack: OwnStack) -> None:
    async with Receiver(then=500) as receiver:
        stack = own_stack("durable", DORMOUSE_CALLBACK_SECRET=SECRET)
        await stack.model.script("s", [{"text": "Fine."}])
        host = stack.host(DORMOUSE_CALLBACK_ALLOW="127.0.0.1")
        async with Api(host.url) as api:
            run_id = await api.start("[script:s]", agent="workshop", callback_url=receiver.url)
            await eventually(lambda: receiver.received)
        host.stop()
        host = stack.host()
        await move_clock(host, 400)
        async with Api(host.url) as api:

            async def refused() -> bool:
                lines = (await api.call("GET", f"/api/runs/{run_id}/deliveries"))["data"]
                return bool(lines[0]["error"] == "address_refused" and lines[0]["http_status"] is None)

            await eventually(refused)
        assert len(receiver.received) == 1


async def test_a_foreign_log_is_nobody_s_business(own_stack: OwnStack) -> None:
    async with Receiver() as receiver:
        stack = own_stack(
            "durable",
            DORMOUSE_CALLBACK_SECRET=SECRET,
            DORMOUSE_CALLBACK_ALLOW="127.0.0.1",
            DORMOUSE_AUTH="appservice",
            WEBSITE_AUTH_ENABLED="true",
        )
        host = stack.host()
        ann, bob = ({"x-ms-client-principal-id": name, "x-ms-client-principal-idp": "aad"} for name in ("ann", "bob"))
        async with Api(host.url) as api:
            body = {"input": "Hello.", "agent": "workshop", "callback_url": receiver.url}
            run_id = (await api.call("POST", "/api/runs", json=body, headers=ann))["id"]
            await eventually(lambda: receiver.received)
            path = f"/api/runs/{run_id}/deliveries"
            for method in ("GET", "POST"):
                assert (await api.call(method, path, headers=bob)).status == 404
                assert (await api.call(method, path)).status == 401
            assert (await api.call("GET", path, headers=ann)).status == 200
        assert len(receiver.received) == 1


async def test_a_run_that_goes_on_has_nothing_to_deliver_again(scene: Scene) -> None:
    run_id = await scene.start({"stuck": True})
    again = await scene.api.call("POST", f"/api/runs/{run_id}/deliveries")
    assert (again.status, again["code"]) == (409, "run_not_ended")
    await scene.api.cancel(run_id)


async def test_a_host_that_is_killed_after_sending_sends_again_under_the_same_id(own_stack: OwnStack) -> None:
    """The receiver answers so late that the host is dead by then."""
    async with Receiver() as receiver:
        stack = own_stack("durable", DORMOUSE_CALLBACK_SECRET=SECRET, DORMOUSE_CALLBACK_ALLOW="127.0.0.1")
        await stack.model.script("s", [{"text": "Fine."}])
        host = stack.host()
        receiver.hold.clear()
        async with Api(host.url) as api:
            run_id = await api.start("[script:s]", agent="workshop", callback_url=receiver.url)
            await eventually(lambda: receiver.received)
        host.kill()
        receiver.hold.set()
        later = stack.host()
        await move_clock(later, 400)
        await eventually(lambda: len(receiver.received) == 2)
        async with Api(later.url) as api:
            log = await api.call("GET", f"/api/runs/{run_id}/deliveries")
            assert [line["attempt"] for line in log["data"]] == [2, 1]
        assert {each.webhook_id for each in receiver.received} == {f"msg_{run_id}_completed"}
