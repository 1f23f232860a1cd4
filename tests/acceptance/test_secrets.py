"""Keys, tokens, signatures, prompts and results: in nothing that the app prints, and in no error of another's call.

One app goes through a run of every kind, with a word planted into each text and a secret into each setting that takes
one. Then everything that it printed, at every level of its own log, is searched, and every answer that was an error.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAIError

from local.stack import FunctionsHost
from tests.acceptance.batches import over
from tests.acceptance.client import Api, Reply
from tests.acceptance.conftest import CLIENT_KEYS, Stack, client_of
from tests.acceptance.launch import DEBUG_VARIABLE
from tests.acceptance.test_webhooks import SECRET as WEBHOOK_SECRET
from tests.acceptance.test_webhooks import send
from tests.parts.receiver import SECRET as CALLBACK_SECRET
from tests.parts.receiver import Receiver

FUNCTION_KEY = "function-key-0123456789-of-these-tests"
TOKEN_SECRET = "token-secret-0123456789-of-these-tests"
OPERATOR_KEY = "operator-key-0123456789-of-these-tests"
MARK = "hedgehog"
"""Every planted text has this word in it."""

CALL: dict[str, Any] = {"arguments": {"label": f"{MARK}-argument"}}
ECHO = f"The prompt '{MARK}-prompt' is not allowed."


@dataclass
class Told:
    """What callers were told, and what must be nowhere."""

    errors: list[str] = field(default_factory=list)
    """Bodies of answers that were errors."""
    hidden: dict[str, str] = field(default_factory=dict)
    """Secrets, by what they are."""

    def found_in(self, text: str) -> list[str]:
        return [name for name, secret in self.hidden.items() if secret in text]


class Listening(Api):
    """A caller that keeps each answer that is an error."""

    told: Told

    async def call(self, method: str, path: str, **more: Any) -> Reply:
        reply = await super().call(method, path, **more)
        if reply.status >= 400:
            self.told.errors.append(
                f"{method} {path.partition('?')[0]}: {reply.status} {reply.raw.decode()} {dict(reply.headers)}"
            )
        return reply


@dataclass(kw_only=True)
class Scene:
    """The app, its owner with a key, and a receiver of callbacks."""

    stack: Stack
    host: FunctionsHost
    api: Listening
    receiver: Receiver
    told: Told

    async def script(self, *turns: dict[str, Any]) -> str:
        name = f"s{secrets.token_hex(4)}"
        await self.stack.model.script(name, list(turns))
        return f"[script:{name}] {MARK}-prompt"

    async def run(self, *turns: dict[str, Any], **fields: Any) -> dict[str, Any]:
        """A run of these turns to its end."""
        given = {"title": f"{MARK}-title", "metadata": {"m": f"{MARK}-metadata"}, "agent": "workshop", **fields}
        run_id = await self.api.start(await self.script(*turns), **given)
        return await self.api.finished(run_id)

    @property
    def printed(self) -> str:
        return "".join(path.read_text("utf-8") for path in self.stack.folder.glob("host-*.log"))


@pytest.fixture
async def scene(own_stack: Callable[..., Stack], driver: str) -> AsyncIterator[Scene]:
    stack = own_stack(driver)
    told = Told()
    async with Receiver() as receiver:
        host = await asyncio.to_thread(
            stack.host,
            args=["--function-key", FUNCTION_KEY],
            DORMOUSE_CALLBACK_SECRET=CALLBACK_SECRET,
            DORMOUSE_CALLBACK_ALLOW="127.0.0.1",
            DORMOUSE_RUN_TOKEN_SECRET=TOKEN_SECRET,
            DORMOUSE_OPERATOR_KEY=OPERATOR_KEY,
            DORMOUSE_DELEGATION="1",
            **{DEBUG_VARIABLE: "1"},
        )
        account_key = stack.azurite.connection_string.partition("AccountKey=")[2].partition(";")[0]
        assert account_key
        told.hidden = {
            "a text": MARK,
            "function key": FUNCTION_KEY,
            "token secret": TOKEN_SECRET,
            "operator's key": OPERATOR_KEY,
            "callback secret": CALLBACK_SECRET.removeprefix("whsec_"),
            "webhook secret": WEBHOOK_SECRET.removeprefix("whsec_"),
            "key of the model": stack.account,
            "key of the storage": account_key,
            **{f"key of {name}": secret for name, secret in CLIENT_KEYS.items()},
        }
        async with Listening(host.url, FUNCTION_KEY) as api:
            api.told = told
            yield Scene(stack=stack, host=host, api=api, receiver=receiver, told=told)


async def test_nothing_that_was_said_or_is_secret_is_printed_or_told_to_others(scene: Scene) -> None:
    await _tools(scene)
    await _provider_faults(scene)
    await _tokens_and_callbacks(scene)
    await _openai_clients(scene)
    await _others_and_bad_requests(scene)
    await _batches(scene)
    await _webhooks(scene)
    printed = scene.printed
    assert " is completed" in printed, "the app's own log was searched"
    assert " is failed" in printed
    lines = [line for line in printed.splitlines() if scene.told.found_in(line)]
    assert lines == []
    assert len(scene.told.errors) > 10
    assert [each for each in scene.told.errors if scene.told.found_in(each)] == []


async def _tools(scene: Scene) -> None:
    """Tools that work, fail, time out, are missing, get bad arguments, or must be approved."""
    asked = ["work", "work_in_a_thread", "stumble", "nap", "hold_nothing"]
    calls = [{"name": name, **CALL} for name in asked]
    calls.append({"name": "work", "arguments": {"label": {"no": f"{MARK}-text"}}})
    calls.append({"name": "write_much", "arguments": {"label": f"{MARK}-result", "times": 3_000}})
    run = await scene.run({"calls": calls}, {"text": f"{MARK}-text"})
    assert run["status"] == "completed", run
    parked = await scene.api.start(await scene.script({"calls": [{"name": "send", **CALL}]}, {"text": MARK}))
    run = await scene.api.until(parked, lambda run: run["status"] in ("requires_action", "failed", "completed"))
    await scene.api.cancel(parked)


async def _provider_faults(scene: Scene) -> None:
    """A provider that repeats the prompt, and the key that it was sent, in whatever it says."""
    echo = f"{ECHO} Incorrect API key provided: {scene.stack.account}."
    await scene.run({"status": "failed", "error": {"code": "invalid_prompt", "message": echo}})
    await scene.run({"status": "failed", "error": {"code": "server_error", "message": echo}}, {"text": MARK})
    for status in (400, 422, 429, 500):
        fault = {"status": status, "json_error": {"code": "bad", "message": echo}}
        for operation in ("create", "retrieve"):
            turn = {"text": f"{MARK}-text", "faults": {operation: [fault]}}
            run_id = await scene.api.start(await scene.script(turn), agent="workshop")
            await scene.api.until(run_id, lambda run: run["wakes"] >= 1 or run["status"] == "failed")
            await scene.api.cancel(run_id)
    html = {"create": [{"status": 502, "html": f"<p>{ECHO}</p>"}]}
    run_id = await scene.api.start(await scene.script({"text": MARK, "faults": html}), agent="workshop")
    await scene.api.cancel(run_id)


async def _tokens_and_callbacks(scene: Scene) -> None:
    """Run tokens good and bad, in the header and in the address; callbacks whose addresses hold a secret."""
    told, api = scene.told, scene.api
    told.hidden["secret in an address"] = "address-secret-0123456789"
    url = f"{scene.receiver.url}?key=address-secret-0123456789"
    scene.receiver.answers = [500, 410]
    run = await scene.run({"text": MARK}, callback_url=url)
    await scene.run({"text": MARK}, callback_url="http://127.0.0.1:9/?key=address-secret-0123456789")
    token = (await api.call("POST", f"/api/runs/{run['id']}/tokens", json={"rights": ["read"]}))["token"]
    told.hidden["run token"] = token
    told.hidden["signature of the token"] = token.rpartition(".")[2]
    async with Listening(scene.host.url) as stranger:
        stranger.told = told
        for given in (token, token[:-3] + "AAA", "garbage"):
            for path in (f"/api/shared/runs/{run['id']}", "/api/shared/runs/run_0_1", f"/api/runs/{run['id']}"):
                await stranger.call("GET", path, headers={"Authorization": f"Bearer {given}"})
            await stranger.call("GET", f"/api/shared/runs/{run['id']}/events?token={given}")
        await stranger.call("GET", f"/api/runs/{run['id']}?code={FUNCTION_KEY}")


async def _webhooks(scene: Scene) -> None:
    """Of a host of its own: where webhooks come, looks are too far apart for the other parts."""
    host = await asyncio.to_thread(scene.stack.host, OPENAI_WEBHOOK_SECRET=WEBHOOK_SECRET, **{DEBUG_VARIABLE: "1"})
    async with Listening(host.url) as provider:
        provider.told = scene.told
        known = await scene.stack.model.responses()
        assert (await send(provider, known[0].id)).status == 200
        assert (await send(provider, "resp_x", secret=CALLBACK_SECRET)).status >= 400


async def _openai_clients(scene: Scene) -> None:
    """Runs, streams and mistakes of OpenAI clients."""
    async with client_of(scene.host.url) as client, client_of(scene.host.url, "wrong-key", max_retries=0) as wrong:
        prompt = await scene.script({"text": f"{MARK}-text"})
        await client.responses.create(model="bench", input=prompt)
        async for _ in await client.responses.create(model="bench", input=prompt, stream=True):
            pass
        await client.chat.completions.create(model="bench", messages=[{"role": "user", "content": prompt}])
        await _refused(scene, client, model="nobody", input=prompt)
        await _refused(scene, client, model="bench", input=prompt, previous_response_id="resp_0_1")
        await _refused(scene, wrong, model="bench", input=prompt)


async def _refused(scene: Scene, client: AsyncOpenAI, **asked: Any) -> None:
    with pytest.raises(OpenAIError) as raised:
        await client.responses.create(**asked)
    scene.told.errors.append(str(raised.value))


async def _others_and_bad_requests(scene: Scene) -> None:
    """Users for whom a caller acts, and requests that are refused: what they held is not repeated."""
    api = scene.api
    run_id = await api.start(await scene.script({"text": MARK}), agent="workshop")
    await api.finished(run_id)
    other = {"Dormouse-On-Behalf-Of": "bea"}
    for method, path in (("GET", ""), ("POST", "/cancel"), ("GET", "/input"), ("GET", "/timeline"), ("DELETE", "")):
        assert (await api.call(method, f"/api/runs/{run_id}{path}", headers=other)).status == 404
    for body in (
        {"input": f"{MARK}-prompt", "agent": "nobody"},
        {"input": f"{MARK}-prompt", "no_such_field": f"{MARK}-value"},
        {"input": [{"role": f"{MARK}-role"}]},
        {"input": f"{MARK}-prompt", "metadata": {"k": [f"{MARK}-metadata"]}},
        {"input": f"{MARK}-prompt", "deadline_seconds": f"{MARK}-seconds"},
        {"input": f"{MARK}-prompt", "session_id": "0" * 32},
        {"input": f"{MARK}-prompt", "callback_url": f"https://10.0.0.1/{MARK}"},
    ):
        assert (await api.call("POST", "/api/runs", json=body)).status >= 400
    await api.call("POST", "/api/runs", data=f'{{"input": "{MARK}-prompt'.encode())


async def _batches(scene: Scene) -> None:
    """Items that work, fail and are bad."""
    failed = await scene.script({"status": "failed", "error": {"code": "invalid_prompt", "message": ECHO}})
    fine = await scene.script({"calls": [{"name": "stumble", **CALL}]}, {"text": f"{MARK}-text"})
    items = [{"input": fine}, {"input": failed}, {"input": f"{MARK}-prompt", "agent": "nobody"}]
    given = {"agent": "workshop", "items": items, "metadata": {"m": MARK}, "callback_url": scene.receiver.url}
    batch = await scene.api.call("POST", "/api/batches", json=given)
    await over(scene.api, batch["id"])
