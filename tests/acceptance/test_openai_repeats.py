"""A repeated call is no second run: clients repeat by themselves what failed or got lost, and runs are counted here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI

from tests.acceptance.conftest import Stack, Target, client_of, move_clock
from tests.acceptance.test_openai_clients import polled
from tests.acceptance.test_openai_requests import script, sent
from tests.parts.waiting import eventually


@pytest.fixture
def driver() -> str:
    """None of this is the driver's."""
    return "durable"


class Losing(httpx2.AsyncHTTPTransport):
    """Passes every request on, and loses the first answers: in their place comes an error, or none at all."""

    def __init__(self, *instead: int | None) -> None:
        super().__init__()
        self.instead = list(instead)
        self.tries = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send it, wait for the whole answer, and lose it."""
        answer = await super().handle_async_request(request)
        if request.method != "POST":
            return answer
        self.tries += 1
        if not self.instead:
            return answer
        await answer.aread()
        await answer.aclose()
        status = self.instead.pop(0)
        if status is None:
            raise httpx2.ReadError("the connection was dropped", request=request)
        return httpx2.Response(status, json={"error": {"message": "lost"}}, request=request)


Ask = Callable[[AsyncOpenAI, str], Awaitable[Any]]


def respond(client: AsyncOpenAI, text: str) -> Awaitable[Any]:
    """Ask and wait."""
    return client.responses.create(model="bench", input=text)


def respond_later(client: AsyncOpenAI, text: str) -> Awaitable[Any]:
    """Ask in the background."""
    return client.responses.create(model="bench", input=text, background=True)


def complete(client: AsyncOpenAI, text: str) -> Awaitable[Any]:
    """Ask for a chat completion."""
    return client.chat.completions.create(model="bench", messages=[{"role": "user", "content": text}])


@pytest.mark.parametrize("ask", [respond, respond_later, complete])
async def test_a_create_whose_answer_is_lost_is_one_run_however_often_it_is_repeated(target: Target, ask: Ask) -> None:
    text = await script(target, {"text": "Once."})
    losing = Losing(None, 500, 503, 408)
    async with client_of(target.api.url, max_retries=4, http_client=httpx2.AsyncClient(transport=losing)) as client:
        answer = await ask(client, text)
        assert losing.tries == 5
        again = await ask(client, text)
    assert again.id != answer.id, "asked for anew"
    assert len(await sent(target, text)) == 2


async def test_two_clients_that_ask_the_same_get_a_run_each_whatever_is_lost(target: Target) -> None:
    text = await script(target, {"text": "Each."})
    seen = []
    for losing in (Losing(), Losing(500), Losing(None, None)):
        async with client_of(target.api.url, max_retries=4, http_client=httpx2.AsyncClient(transport=losing)) as one:
            seen.append((await respond(one, text)).id)
    assert len(set(seen)) == 3
    assert len(await sent(target, text)) == 3


async def test_each_answer_is_given_to_one_repeat_and_only_for_some_seconds(own_stack: Callable[..., Stack]) -> None:
    stack = own_stack()
    host = stack.host()
    await stack.model.script("again", [{"think": 0, "text": "Again."}])
    async with client_of(host.url) as ada:

        async def tried(count: int, *, background: bool = False) -> str:
            headers = {"x-stainless-retry-count": str(count)}
            asked: dict[str, Any] = {"model": "bench", "input": "[script:again]", "background": background}
            return (await ada.responses.create(**asked, extra_headers=headers)).id

        for background in (False, True):
            first = await tried(0, background=background)
            assert await tried(1, background=background) == first
            other = await tried(1, background=background)
            assert other != first, "another request, whose first try was lost on its way here"
            assert {await tried(2, background=background) for _ in range(2)} == {first, other}
            later = await tried(0, background=background)
            await move_clock(host, 60)
            assert await tried(1, background=background) != later, "somebody asks the same every minute"


async def test_a_failed_completion_is_not_repeated(target: Target, ada: AsyncOpenAI) -> None:
    text = await script(target, {"think": 0, "status": "failed", "error": {"code": "invalid_prompt"}})
    with pytest.raises(openai.UnprocessableEntityError):
        await complete(ada, text)
    assert len(await sent(target, text)) == 1


async def test_what_takes_too_long_to_wait_for_is_named_and_goes_on(own_stack: Callable[..., Stack]) -> None:
    stack = own_stack(DORMOUSE_API_WAIT_SECONDS="0.3")
    host = stack.host()
    await stack.model.script("long", [{"think": 3, "text": "At last."}])
    async with client_of(host.url) as ada:
        with pytest.raises(openai.UnprocessableEntityError) as late:
            await ada.responses.create(model="bench", input="[script:long]")
        assert (late.value.code, late.value.type) == ("still_running", "server_error")
        assert "`background: true`" in late.value.message
        assert len(await stack.model.log("create")) == 1, "not repeated by the client"
        name = late.value.body["response_id"]  # type: ignore[index]
        assert name in late.value.message
        with pytest.raises(openai.UnprocessableEntityError, match="`stream: true`"):
            await complete(ada, "[script:long] As a completion.")
        assert len(await stack.model.log("create")) == 2
        assert (await polled(ada, await ada.responses.retrieve(name))).output_text == "At last."


async def test_a_request_repeated_by_the_client_after_its_timeout_makes_no_second_run(target: Target) -> None:
    """The client hangs up when its own timeout is over, and sends the same again, twice; the third waits longer."""
    await target.model.script("timeout", [{"think": 9, "text": "At last."}])
    tries = 0

    async def less_patient_at_first(request: httpx2.Request) -> None:
        nonlocal tries
        tries += 1
        request.extensions["timeout"]["read"] = 2.0 if tries < 3 else 60.0

    patient = httpx2.AsyncClient(event_hooks={"request": [less_patient_at_first]})
    async with client_of(target.api.url, timeout=60.0, max_retries=9, http_client=patient) as ada:
        answer = await ada.responses.create(model="bench", input="[script:timeout]")
    assert tries == 3
    assert answer.output_text == "At last."
    assert len([entry for entry in await target.model.log("create") if entry.script == "timeout"]) == 1


async def test_the_tries_of_an_azure_client_are_one_request(target: Target, ada: AsyncOpenAI) -> None:
    await target.model.script("again", [{"think": 0, "text": "Again."}])

    async def sent(request_id: str, text: str = "[script:again]") -> str:
        headers = {"x-ms-client-request-id": request_id}
        return (await ada.responses.create(model="bench", input=text, extra_headers=headers)).id

    first = await sent("6f9619ff-8b86-d011-b42d-00c04fc964ff")
    assert await sent("6f9619ff-8b86-d011-b42d-00c04fc964ff") == first
    assert await sent("6f9619ff-8b86-d011-b42d-00c04fc964fe") != first, "another request"
    other = await sent("6f9619ff-8b86-d011-b42d-00c04fc964ff", "[script:again] Something else.")
    assert other != first, "an id that somebody uses for many requests does no harm"


@pytest.mark.main
async def test_an_idempotency_key_is_honoured(target: Target, ada: AsyncOpenAI) -> None:
    await target.model.script("one", [{"think": 0, "text": "One."}])
    first = await ada.responses.create(model="bench", input="[script:one]")
    asked: dict[str, Any] = {"model": "bench", "input": "[script:one]", "previous_response_id": first.id}
    key = {"Idempotency-Key": f"key-{first.id}"}
    answers = [await ada.responses.create(**asked, extra_headers=key) for _ in range(3)]
    assert len({answer.id for answer in answers}) == 1
    with pytest.raises(openai.UnprocessableEntityError) as reused:
        await ada.responses.create(model="bench", input="other", extra_headers=key)
    assert reused.value.code == "idempotency_key_reused"


async def test_a_create_whose_process_is_killed_is_found_by_its_repeat(own_stack: Callable[..., Stack]) -> None:
    """In the middle of the submit: the run is written, the provider has been asked, and nobody was answered."""
    stack = own_stack()
    host = stack.host()
    await stack.model.script("killed", [{"text": "Once.", "faults": {"create": [{"hang": 20}]}}])

    async def ask(url: str, count: int) -> Any:
        async with client_of(url, max_retries=0) as client:
            headers = {"x-stainless-retry-count": str(count)}
            asked: dict[str, Any] = {"model": "bench", "input": "[script:killed]", "background": True}
            return await client.responses.create(**asked, extra_headers=headers)

    async def is_asked_for() -> bool:
        return bool(await stack.model.log("create"))

    first = asyncio.create_task(ask(host.url, 0))
    await eventually(is_asked_for)
    host.kill()
    with pytest.raises(openai.APIConnectionError):
        await first
    repeated = await ask(stack.host().url, 1)
    (asked,) = await stack.model.log("create")
    assert repeated.id.removeprefix("resp_") == (asked.metadata["run"] or "").removeprefix("run_")
