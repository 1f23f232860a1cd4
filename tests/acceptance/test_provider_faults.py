"""A provider that is down, slow, wrong or in doubt: the run waits, goes on, or ends with a code. Over the whole stack.

The tables of all faults are in `tests/unit/runs`; here are one or two of each kind, with processes and real time.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from local.model.control import ModelControl
from local.prove.counts import count
from local.prove.tested import PROVIDER
from local.stack import ScriptedModel
from tests.acceptance.client import Api
from tests.acceptance.conftest import Stack, Target, move_clock
from tests.parts.waiting import eventually

OwnStack = Callable[..., Stack]

CLAIM_AND_GRACE = 90
"""Seconds for which nobody else may create, from the moment a create is begun."""
OVERDUE = 121
"""Seconds until the sweep helps: an orchestrator that reckons its wait from a moved clock would wait it out."""


ASKED: list[ModelControl] = []
"""The model of a test, once for each script that it was given."""


@pytest.fixture(autouse=True)
async def counted(own_stack: OwnStack) -> AsyncIterator[None]:
    """Count the requests to a test's models, and the faults among them, for `dev.py prove`."""
    began = time.time()
    ASKED.clear()
    yield
    for model in ASKED[:1]:  # a test has one
        requests = [each for each in await model.log() if each.time >= began]
        kinds = Counter(kind_of(each.fault) for each in requests if each.fault)
        count(PROVIDER, {"requests": len(requests), **kinds})


def kind_of(fault: dict[str, Any]) -> str:
    """A fault in a word: its status, or the first thing that is said of it."""
    return str(fault.get("status") or next(iter(fault)))


async def set_script(target: Target, name: str, turns: Sequence[dict[str, Any]]) -> None:
    """Set a script, and remember the model for the count."""
    ASKED.append(target.model)
    await target.model.script(name, turns)


async def start(target: Target, *turns: dict[str, Any], **fields: Any) -> str:
    """Submit a run that plays these turns; its id."""
    name = f"s{secrets.token_hex(6)}"
    await set_script(target, name, turns)
    return await target.api.start(f"[script:{name}]", agent="workshop", **fields)


async def finished(target: Target, run_ids: list[str]) -> list[dict[str, Any]]:
    """All of them, once they are terminal."""
    return await asyncio.gather(*(target.api.finished(run_id) for run_id in run_ids))


async def test_a_provider_that_comes_back_after_half_an_hour_completes_the_run(
    own_stack: OwnStack, driver: str, tmp_path: Path
) -> None:
    stack = own_stack(driver)
    provider = ScriptedModel(think=0.0, log=tmp_path / "provider.log")
    host = stack.host(OPENAI_BASE_URL=provider.base_url)
    async with Api(host.url) as api:
        reply = await api.submit("Hello.", agent="workshop")
        assert (reply.status, reply["status"]) == (202, "queued"), reply
        await move_clock(host, 1_800)
        run = await api.until(reply["id"], lambda run: run["wakes"] >= 2)
        assert (run["status"], run["provider_status"]) == ("queued", "provider_unreachable")
        try:
            await asyncio.to_thread(lambda: provider.start().wait_ready())
            await move_clock(host, 10)  # past the backoff, and never past the claim of a create under way
            run = await api.finished(reply["id"])
            creates = await ModelControl(provider.url, stack.account).log("create")
        finally:
            await asyncio.to_thread(provider.stop)
    assert run["status"] == "completed", run["error"]
    assert "You said: Hello." in run["text"]
    assert len(creates) == 1


@pytest.mark.main
async def test_creates_that_are_not_accepted_are_retried_when_the_provider_says(driver: str, target: Target) -> None:
    faults = [
        {"status": 429, "headers": {"Retry-After": "3"}},
        {"status": 503, "headers": {"Retry-After": "3"}},
        {"status": 409},
        {"status": 403},
    ]
    *runs, denied = [await start(target, {"text": "Fine.", "faults": {"create": [fault]}}) for fault in faults]
    for run, least in zip(await finished(target, runs), (3.0, 3.0, 2.0), strict=True):
        assert (run["status"], run["text"]) == ("completed", "Fine.")
        first, second = [each for each in await target.model.log("create") if each.metadata.get("run") == run["id"]]
        assert second.time - first.time >= least
        assert [first.accepted, second.accepted] == [False, True]
    run = await target.api.run(denied)
    assert (run["status"], run["provider_status"]) == ("queued", "http_403")
    await target.api.cancel(denied)


async def test_a_create_in_doubt_is_repeated_only_after_claim_and_grace(own_stack: OwnStack, driver: str) -> None:
    stack = own_stack(
        driver,
        DORMOUSE_CREATE_TIMEOUT_SECONDS="3",
        DORMOUSE_CREATE_CLAIM_SECONDS="6",
        DORMOUSE_CREATE_GRACE_SECONDS="1",
    )
    faults: list[dict[str, Any]] = [
        {"status": 500},
        {"status": 502, "html": True},
        {"html": True},
        {"drop": True},
        {"hang": 30},
    ]
    host = stack.host()
    async with Api(host.url) as api:
        target = Target(api=api, stack=stack, host=host)
        runs = await asyncio.gather(
            *(start(target, {"text": "Fine.", "faults": {"create": [{**f, "after_accept": True}]}}) for f in faults)
        )
        for run in await finished(target, list(runs)):
            assert (run["status"], run["text"]) == ("completed", "Fine.")
            first, second = await target.model.creates(run=run["id"])
            assert second.time - first.time >= 4
            assert (first.metadata["attempt"], second.metadata["attempt"]) == ("1", "2")


async def test_the_fifth_create_in_doubt_ends_the_run(own_stack: OwnStack) -> None:
    """Each claim passes once its request has been dropped, and then the wait before the next one."""
    stack = own_stack("durable")
    host = stack.host()
    async with Api(host.url) as api:
        target = Target(api=api, stack=stack, host=host)
        run_id = await start(target, {"text": "Never.", "faults": {"create": [{"drop": True, "times": -1}]}})
        for number, wait in enumerate((0, 300, 1_200, 3_600, None), start=1):
            await eventually(partial(dropped, target.model, number))
            await move_clock(host, CLAIM_AND_GRACE + OVERDUE)
            if wait:
                await api.until(run_id, partial(waits, wait))
                await move_clock(host, wait + OVERDUE)
        run = await api.finished(run_id)
    assert (run["status"], run["error"]["code"]) == ("failed", "start_uncertain")
    assert len(await target.model.log("create")) == 5


async def dropped(model: ModelControl, number: int) -> bool:
    """Whether so many creates have been asked for, and were dropped."""
    return len([each for each in await model.log("create") if each.answered_at is not None]) == number


def waits(seconds: float, run: dict[str, Any]) -> bool:
    """Whether the run's next wake was set so far ahead."""
    return bool(run["retry_after"] == seconds)


@pytest.mark.main
@pytest.mark.parametrize("status", [400, 404, 413, 422])
async def test_a_create_that_is_refused_fails_the_run_within_the_call(driver: str, target: Target, status: int) -> None:
    name = f"s{secrets.token_hex(6)}"
    error = {"code": "model_not_found", "message": "There is no such model."}
    await set_script(target, name, [{"faults": {"create": [{"status": status, "json_error": error}]}}])
    reply = await target.api.submit(f"[script:{name}]", agent="workshop")
    assert (reply.status, reply["status"]) == (200, "failed")
    assert reply["error"] == error
    assert reply["wake_at"] is None


async def test_polls_without_news_lose_nothing(driver: str, target: Target) -> None:
    faults: list[dict[str, Any]] = [
        {"status": 429, "headers": {"Retry-After": "1"}},
        {"status": 500},
        {"html": True},
        {"status": 404},
        {"status": 401},
        {"status": 400},
        {"drop": True, "times": 2},
        {"body": '{"id": '},
    ]
    runs = await asyncio.gather(
        *(start(target, {"text": "Fine.", "think": 0.0, "faults": {"retrieve": [fault]}}) for fault in faults)
    )
    for run in await finished(target, list(runs)):
        assert (run["status"], run["text"]) == ("completed", "Fine.")
        assert len(await target.model.creates(run=run["id"])) == 1


async def test_the_deadline_ends_a_run_that_never_answers_and_stops_its_response(driver: str, target: Target) -> None:
    faults = {"retrieve": [{"status": 500, "times": -1}]}
    runs = [
        await start(target, {"stuck": True}, deadline_seconds=3),
        await start(target, {"stuck": True, "faults": faults}, deadline_seconds=3),
    ]
    for run in await finished(target, runs):
        assert (run["status"], run["error"]["code"]) == ("failed", "deadline_exceeded")

    async def stopped() -> bool:
        known = [each for each in await target.model.responses() if each.metadata.get("run") in runs]
        return [each.status for each in known] == ["cancelled"] * 2

    await eventually(stopped)


async def test_a_response_that_is_gone_is_lost_after_a_while(own_stack: OwnStack, driver: str) -> None:
    stack = own_stack(driver)
    host = stack.host()
    async with Api(host.url) as api:
        target = Target(api=api, stack=stack, host=host)
        run_id = await start(target, {"stuck": True, "id_gone": 0.0})
        run = await api.until(run_id, lambda run: run["provider_status"] == "http_404" or run["error"])
        assert run["status"] == "in_progress", "it may not have arrived everywhere yet"
        for seconds in (61, 31, 31):  # past the time in which a 404 is no news; then three looks, half a minute apart
            wakes = run["wakes"]
            assert run["status"] == "in_progress"
            await move_clock(host, seconds)
            run = await api.until(run_id, lambda run, seen=wakes: run["wakes"] > seen or run["error"])
        run = await api.finished(run_id)
    assert (run["status"], run["error"]["code"]) == ("failed", "response_lost")


async def test_a_failure_of_the_provider_s_own_is_restarted(driver: str, target: Target) -> None:
    failing = {"status": "failed", "error": {"code": "server_error", "message": "Try again."}}
    run_id = await start(target, {"attempts": [failing, {"text": "Fine."}]})
    run = await target.api.finished(run_id)
    assert (run["status"], run["text"]) == ("completed", "Fine.")
    creates = await target.model.creates(run=run_id)
    assert [each.metadata["attempt"] for each in creates] == ["1", "2"]
    assert all(later.time - earlier.time >= 2 for earlier, later in itertools.pairwise(creates))
