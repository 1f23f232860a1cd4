"""A secret leaked: each is changed as docs/operations.md says, the old one then opens nothing, and no run is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai
import pytest

from tests.acceptance.client import Api
from tests.acceptance.conftest import CLIENT_KEYS, client_of
from tests.acceptance.launch import AHEAD_VARIABLE
from tests.acceptance.nights import FUNCTION_KEY, KEY, NewStack, Night, a_stack, night, started
from tests.acceptance.test_crashes import MINUTE
from tests.acceptance.test_webhooks import SECRET as WEBHOOK_SECRET
from tests.acceptance.test_webhooks import send
from tests.parts.receiver import OTHER_SECRET, SECRET, Receiver
from tests.parts.waiting import eventually

TOKEN_SECRET = "secret-of-run-tokens-in-this-test"


async def made(person: Night) -> str:
    """The new secret, which only the shell knows."""
    return await person.command('printf %s "$NEW"')


async def test_a_function_key_is_changed(own_stack: NewStack, tmp_path: Path) -> None:
    stack = a_stack(own_stack)
    host = await started(stack)
    async with night("A function key", stack, host, tmp_path) as person:
        async with Api(host.url, FUNCTION_KEY) as old:
            run_id = await old.start("Hello.", agent="workshop")
            host.env[AHEAD_VARIABLE] = str(
                MINUTE
            )  # the local hub is gone with a restart, which a key does not take there
            await person.types()
            assert (await old.call("GET", f"/api/runs/{run_id}")).status == 401
        async with Api(host.url, await made(person)) as new:
            assert (await new.finished(run_id))["status"] == "completed"
        assert '"draining": false' in await person.command("python -m dormouse_client ops drain")


async def test_the_operators_key_is_changed_and_what_was_stopped_stays_so(own_stack: NewStack, tmp_path: Path) -> None:
    stack = a_stack(own_stack)
    host = await started(stack)
    async with Api(host.url, FUNCTION_KEY) as api, night("The operator's key", stack, host, tmp_path) as person:
        await person.command("python -m dormouse_client ops intake pause")
        *_, intake = await person.types()
        assert '"paused": true' in intake
        old = await api.call("GET", "/api/ops/intake", headers={"x-dormouse-operator-key": KEY})
        assert (old.status, old["code"]) == (401, "invalid_operator_key")


async def test_the_secret_of_run_tokens_is_changed(own_stack: NewStack, tmp_path: Path) -> None:
    stack = a_stack(own_stack, DORMOUSE_RUN_TOKEN_SECRET=TOKEN_SECRET)
    host = await started(stack)
    heading = "The secret of run tokens"
    async with (
        Api(host.url, FUNCTION_KEY) as api,
        Api(host.url) as holder,
        night(heading, stack, host, tmp_path, run_token_secret=TOKEN_SECRET) as person,
    ):
        run_id = await api.start("Hello.", agent="workshop")

        async def token() -> str:
            return str((await api.call("POST", f"/api/runs/{run_id}/tokens", json={"rights": ["read"]}))["token"])

        async def statuses(*tokens: str) -> list[int]:
            path = f"/api/shared/runs/{run_id}"
            return [(await holder.call("GET", path, headers={"Authorization": f"Bearer {t}"})).status for t in tokens]

        old = await token()
        await person.types()
        new = await token()
        assert await statuses(old, new) == [200, 200]
        await person.types()
        assert await statuses(old, new) == [401, 200]


async def test_the_secret_of_callbacks_is_changed(own_stack: NewStack, tmp_path: Path) -> None:
    async with Receiver() as receiver:
        stack = a_stack(own_stack, DORMOUSE_CALLBACK_SECRET=SECRET, DORMOUSE_CALLBACK_ALLOW="127.0.0.1")
        host = await started(stack)
        heading = "The secret of callbacks"
        async with (
            Api(host.url, FUNCTION_KEY) as api,
            night(heading, stack, host, tmp_path, callback_secret=SECRET) as person,
        ):

            async def signed_by(*secrets: str) -> list[bool]:
                count = len(receiver.received)
                await api.start("Hello.", agent="workshop", callback_url=receiver.url)
                await eventually(lambda: len(receiver.received) > count)
                return [receiver.received[-1].is_signed(secret) for secret in secrets]

            await person.types()
            new = await made(person)
            assert await signed_by(SECRET, new, OTHER_SECRET) == [True, True, False]
            await person.types()
            assert await signed_by(SECRET, new, OTHER_SECRET) == [False, True, False]


async def test_the_secret_of_the_providers_webhook_is_changed(own_stack: NewStack, tmp_path: Path) -> None:
    stack = a_stack(own_stack, OPENAI_WEBHOOK_SECRET=WEBHOOK_SECRET)
    host = await started(stack)
    heading = "The secret of the provider's webhook"
    await stack.model.script("slow", [{"text": "Told.", "stuck": True}])
    async with (
        Api(host.url, FUNCTION_KEY) as api,
        night(heading, stack, host, tmp_path, new_webhook_secret=OTHER_SECRET) as person,
    ):
        run_id = await api.start("[script:slow]", agent="workshop")
        (response,) = await stack.model.responses()
        await person.types()
        await stack.model.finish(response.id)
        assert (await send(api, response.id, secret=WEBHOOK_SECRET)).status == 401
        assert (await send(api, response.id, secret=OTHER_SECRET)).status == 200
        assert (await api.finished(run_id, timeout=15))["text"] == "Told."


async def test_a_key_of_the_provider_that_it_no_longer_takes_is_changed(own_stack: NewStack, tmp_path: Path) -> None:
    stack = a_stack(own_stack)
    host = await started(stack)
    denied: dict[str, Any] = {"create": [{"status": 401, "json_error": {"code": "invalid_api_key"}, "times": -1}]}
    await stack.model.switches(faults=denied)
    heading, new = "A key of the provider", f"{stack.account}-new"
    async with (
        Api(host.url, FUNCTION_KEY) as api,
        night(heading, stack, host, tmp_path, new_provider_key=new) as person,
    ):
        run_id = await api.start("Hello.", agent="workshop")
        assert (await api.run(run_id))["provider_status"] == "invalid_api_key"
        host.env[AHEAD_VARIABLE] = str(MINUTE)
        await person.types()
        run = await api.finished(run_id)
        assert (run["status"], "You said: Hello." in run["text"]) == ("completed", True)


async def test_the_key_of_an_openai_client_is_changed(own_stack: NewStack, tmp_path: Path) -> None:
    stack = a_stack(own_stack)
    host = await started(stack)
    new = "another-secret-0123456789"
    pairs = {"all name:secret pairs": f"ada:{new},bob:{CLIENT_KEYS['bob']}"}
    async with night("The key of an OpenAI client", stack, host, tmp_path, **pairs) as person:
        async with client_of(host.url) as before:
            made = await before.responses.create(model="workshop", input="Hello.", background=True)
            await person.types()
            with pytest.raises(openai.AuthenticationError):
                await before.responses.retrieve(made.id)
        async with client_of(host.url, new) as after:
            assert (await after.responses.retrieve(made.id)).id == made.id
