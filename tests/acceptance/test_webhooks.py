"""The provider's webhook: a hint to look now, whoever sends it and however often."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook

from tests.acceptance.client import Api, Reply
from tests.acceptance.conftest import Stack, both_drivers

OwnStack = Callable[..., Stack]

SECRET = "whsec_" + base64.b64encode(b"a secret of the tests").decode()


async def send(
    api: Api, response_id: str, *, kind: str = "response.completed", secret: str = SECRET, **change: Any
) -> Reply:
    """Post the webhook as the provider does; ``change`` replaces headers."""
    event = {"id": f"evt_{secrets.token_hex(4)}", "object": "event", "type": kind, "data": {"id": response_id}}
    body = json.dumps(event)
    now = datetime.now(UTC)
    headers = {
        "webhook-id": event["id"],
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(str(event["id"]), now, body),
        "content-type": "application/json",
    }
    return await api.call("POST", "/api/webhooks/openai", data=body.encode(), headers={**headers, **change})


@pytest.mark.main
@both_drivers
async def test_a_webhook_wakes_the_run_long_before_its_next_poll(own_stack: OwnStack, driver: str) -> None:
    stack = own_stack(driver, OPENAI_WEBHOOK_SECRET=SECRET)
    await stack.model.script("slow", [{"text": "Told.", "stuck": True}])
    host = stack.host()
    async with Api(host.url) as api:
        run_id = await api.start("[script:slow]", agent="workshop")
        assert (await api.run(run_id))["retry_after"] == pytest.approx(30, abs=4)
        (response,) = await stack.model.responses()
        await stack.model.finish(response.id)
        began = time.monotonic()
        assert (await send(api, response.id)).status == 200
        run = await api.finished(run_id, timeout=15)
        assert (run["status"], run["text"]) == ("completed", "Told.")
        assert time.monotonic() - began < 15
        again = await send(api, response.id)
        assert (again.status, (await api.run(run_id))["completed_at"]) == (200, run["completed_at"])


async def test_an_attempt_of_unknown_outcome_is_adopted_and_never_repeated(own_stack: OwnStack) -> None:
    stack = own_stack("durable", OPENAI_WEBHOOK_SECRET=SECRET)
    await stack.model.script("lost", [{"text": "Found.", "faults": {"create": [{"drop": True, "after_accept": True}]}}])
    host = stack.host()
    async with Api(host.url) as api:
        run_id = await api.start("[script:lost]", agent="workshop")
        assert (await api.run(run_id))["status"] == "queued"
        (response,) = await stack.model.responses()
        assert (await send(api, response.id)).status == 200
        run = await api.finished(run_id)
        assert (run["status"], run["text"]) == ("completed", "Found.")
        assert len(await stack.model.creates(run=run_id)) == 1


async def test_strangers_and_forgeries_change_nothing(own_stack: OwnStack) -> None:
    stack = own_stack("durable", OPENAI_WEBHOOK_SECRET=SECRET)
    host = stack.host()
    other = "whsec_" + base64.b64encode(b"another secret").decode()
    async with Api(host.url) as api:
        run_id = await api.start("Hello.", agent="workshop")
        run = await api.finished(run_id)
        (response,) = await stack.model.responses()
        assert (await send(api, "resp_of_somebody_else")).status == 200
        assert (await send(api, response.id, kind="batch.completed")).status == 200
        forged = await send(api, response.id, secret=other)
        assert (forged.status, forged["code"]) == (401, "invalid_signature")
        for change in (
            {"webhook-signature": "v1"},
            {"webhook-signature": "v1,???"},
            {"webhook-timestamp": str(int(time.time()) - 600)},
            {"webhook-id": "evt_other"},
        ):
            assert (await send(api, response.id, **change)).status == 401, change
        assert (await api.run(run_id))["completed_at"] == run["completed_at"]


async def test_a_provider_that_does_not_answer_is_asked_again_by_its_own_webhook(own_stack: OwnStack) -> None:
    stack = own_stack("durable", OPENAI_WEBHOOK_SECRET=SECRET)
    await stack.model.script("slow", [{"text": "Late.", "stuck": True}])
    host = stack.host()
    async with Api(host.url) as api:
        run_id = await api.start("[script:slow]", agent="workshop")
        (response,) = await stack.model.responses()
        await stack.model.finish(response.id)
        await stack.model.switches(faults={"retrieve": [{"status": 500, "times": -1}]})
        refused = await send(api, response.id)
        assert (refused.status, refused["code"]) == (503, "provider_unavailable")
        await stack.model.switches(faults={})
        assert (await send(api, response.id)).status == 200
        assert (await api.finished(run_id))["text"] == "Late."


async def test_without_a_secret_there_is_no_such_address(own_stack: OwnStack) -> None:
    host = own_stack("durable").host()
    async with Api(host.url) as api:
        assert (await send(api, "resp_x")).status == 404
