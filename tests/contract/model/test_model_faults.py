"""Faults as the real client meets them, and what the log says of them."""

import asyncio
import signal
import sys
import urllib.request
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from local import ROOT
from local.model import ScriptedModel
from local.model.control import ModelControl

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def start(client: AsyncOpenAI, said: str = "[script:s]", **more: Any) -> Any:
    return await client.responses.create(model="gpt-scripted", input=said, background=True, **more)


async def scripted(control: ModelControl, operation: str, *faults: dict[str, Any]) -> None:
    await control.script("s", [{"text": "Fine.", "faults": {operation: list(faults)}}])


def patience(fault: dict[str, Any]) -> float:
    return 0.5 if "hang" in fault else 10.0


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({}, openai.InternalServerError),
        ({"status": 503, "headers": {"Retry-After": "7"}}, openai.InternalServerError),
        ({"status": 429, "json_error": {"code": "rate_limit_exceeded"}}, openai.RateLimitError),
        ({"status": 401}, openai.AuthenticationError),
        ({"status": 409}, openai.ConflictError),
        ({"drop": True}, openai.APIConnectionError),
        ({"hang": 5.0}, openai.APITimeoutError),
    ],
)
async def test_a_refused_create_makes_no_response(
    client: AsyncOpenAI, control: ModelControl, fault: dict[str, Any], expected: type[Exception]
) -> None:
    await scripted(control, "create", fault)
    with pytest.raises(expected) as caught:
        await start(client, timeout=patience(fault))
    if "headers" in fault:
        assert isinstance(caught.value, openai.APIStatusError)
        assert caught.value.response.headers["retry-after"] == "7"
    assert await control.creates() == []
    await start(client)
    entries = await control.log("create")
    assert [entry.accepted for entry in entries] == [False, True]
    assert entries[0].fault == fault
    assert entries[1].fault is None


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"after_accept": True}, openai.InternalServerError),
        ({"after_accept": True, "drop": True}, openai.APIConnectionError),
        ({"after_accept": True, "hang": 5.0}, openai.APITimeoutError),
    ],
)
async def test_a_perhaps_accepted_create_has_made_its_response(
    client: AsyncOpenAI, control: ModelControl, fault: dict[str, Any], expected: type[Exception]
) -> None:
    await scripted(control, "create", fault)
    with pytest.raises(expected):
        await start(client, metadata={"run": "r1"}, timeout=patience(fault))
    only = (await control.creates(run="r1"))[0]
    assert only.response_id is not None
    assert (await client.responses.retrieve(only.response_id)).output_text == "Fine."


async def test_the_client_s_own_retries_are_seen_as_second_creates(client: AsyncOpenAI, control: ModelControl) -> None:
    await scripted(control, "create", {"after_accept": True, "headers": {"retry-after-ms": "1"}})
    await start(client.with_options(max_retries=1), metadata={"run": "r1"})
    assert len(await control.creates(run="r1")) == 2


async def test_html_with_status_200_comes_as_text(client: AsyncOpenAI, control: ModelControl) -> None:
    await scripted(control, "create", {"html": True})
    assert isinstance(await start(client), str)


async def test_a_body_can_be_cut_short(client: AsyncOpenAI, control: ModelControl) -> None:
    await scripted(control, "retrieve", {"body": '{"id": "resp_'})
    created = await start(client)
    with pytest.raises((ValueError, openai.APIError)):
        await client.responses.retrieve(created.id)
    assert (await client.responses.retrieve(created.id)).output_text == "Fine."


@pytest.mark.parametrize("operation", ["retrieve", "cancel", "delete"])
async def test_faults_come_in_order_and_leave_what_they_skip(
    client: AsyncOpenAI, control: ModelControl, operation: str
) -> None:
    await control.switches(
        cancel_completed=200,
        faults={operation: [{"status": 500, "skip": 1, "times": 2}, {"status": 404}]},
    )
    met = []
    for _ in range(5):
        created = await start(client, "Hello.")
        call = getattr(client.responses.with_raw_response, operation)
        try:
            met.append((await call(created.id)).status_code)
        except openai.APIStatusError as error:
            met.append(error.status_code)
    assert met == [200, 500, 500, 404, 200]


async def test_faults_of_an_attempt_strike_only_that_attempt(client: AsyncOpenAI, control: ModelControl) -> None:
    failing = {"status": "failed", "faults": {"create": [{"status": 500}]}}
    await control.script("s", [{"attempts": [failing, {"text": "Fine.", "faults": {"create": [{"status": 429}]}}]}])
    met = []
    for _ in range(4):
        try:
            met.append((await client.responses.create(model="gpt-scripted", input="[script:s]")).status)
        except openai.APIStatusError as error:
            met.append(str(error.status_code))
    assert met == ["500", "failed", "429", "completed"]


async def test_a_late_answer_is_an_answer(client: AsyncOpenAI, control: ModelControl) -> None:
    await scripted(control, "retrieve", {"hang": 0.05})
    created = await start(client)
    assert (await client.responses.retrieve(created.id)).output_text == "Fine."


async def test_an_account_can_be_down_or_unavailable(client: AsyncOpenAI, control: ModelControl) -> None:
    created = await start(client, "Hello.")
    await control.switches(down=True)
    for call in (start(client), client.responses.retrieve(created.id)):
        with pytest.raises(openai.APIConnectionError):
            await call
    await control.switches(down=False, unavailable=3)
    with pytest.raises(openai.InternalServerError) as caught:
        await client.responses.retrieve(created.id)
    assert caught.value.status_code == 503
    assert caught.value.response.headers["retry-after"] == "3"
    await control.switches(unavailable=False)
    assert (await client.responses.retrieve(created.id)).status == "completed"
    assert [entry.status for entry in await control.log()] == [200, None, None, 503, 200]


async def test_nobody_is_served_without_a_key(model: ScriptedModel) -> None:
    def status() -> int:
        try:
            with urllib.request.urlopen(f"{model.url}/models") as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    assert await asyncio.to_thread(status) == 401


async def test_as_a_process_it_is_ready_soon_and_stops_at_once() -> None:
    loop = asyncio.get_running_loop()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "local.model", "--port", "0", "--think", "30",
        cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    url = (await asyncio.wait_for(process.stdout.readline(), 10)).decode().split()[-1]
    async with AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as client:
        created = await client.responses.create(model="gpt-scripted", input="Hi.", background=True)
        waiting = asyncio.create_task(client.responses.create(model="gpt-scripted", input="Hi."))
        while len(await ModelControl(url, "any").responses()) < 2:
            pass
        assert created.status == "queued"
        process.send_signal(signal.SIGTERM)
        begun = loop.time()
        await asyncio.wait_for(process.wait(), 5)
        assert loop.time() - begun < 2
        with pytest.raises(openai.APIError):
            await waiting
