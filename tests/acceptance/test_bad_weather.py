"""Storage and provider that fail at a rate: everything ends as it would have, and nothing happens twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from local.prove.counts import count
from local.prove.tested import RATES, weather_at
from local.stack import FunctionsHost
from shared.runs.rules.schedule import UNKNOWN_OUTCOME_WAITS
from tests.acceptance.batches import items_of
from tests.acceptance.client import TERMINAL, Api, Reply
from tests.acceptance.conftest import Stack, admin, move_clock
from tests.parts.faulty_proxy import OF_PROVIDERS, OF_TABLES, FaultyProxy, faulty_proxy
from tests.parts.receiver import SECRET, Receiver
from tests.parts.waiting import eventually

NewStack = Callable[..., Stack]

SCRIPTS: dict[str, list[dict[str, Any]]] = {
    "tools": [
        {"calls": [{"name": "work", "arguments": {"label": "{}"}}, {"name": "pay", "arguments": {"label": "{}"}}]},
        {"text": "Done:", "echo": True},
    ],
    "asks": [{"calls": [{"name": "send", "arguments": {"label": "{}"}}]}, {"text": "Sent."}],
    "talk": [{"text": "You said:", "echo": True}],
}
RUNS = 6
"""Of each kind."""
ITEMS = 12

CLOCK_STEP, CLOCK_EACH = 10, 0.5
PATIENCE = sum(UNKNOWN_OUTCOME_WAITS) / CLOCK_STEP * CLOCK_EACH + 240
"""Seconds until all have ended: one unlucky turn may need every create that it has."""


@dataclass(frozen=True, kw_only=True)
class Weather:
    """An app whose storage and provider stand behind proxies that fail at a rate."""

    stack: Stack
    host: FunctionsHost
    api: Api
    storage: FaultyProxy
    provider: FaultyProxy
    awaited: dict[str, Any] = field(default_factory=dict)
    """What has not ended yet, by its id, as it was last seen."""

    def turn(self, rate: float) -> None:
        """From now on this share of all requests fails."""
        self.storage.rate = self.provider.rate = rate

    async def ask(self, call: Callable[[], Awaitable[Reply]]) -> Reply:
        """The answer, asked for again while the app says that it cannot for now."""
        while (reply := await call()).status in (409, 429, 500, 502, 503, 504):
            assert reply.body["code"] in ("storage_unavailable", "too_busy", "in_progress", "key_in_use"), reply
            await asyncio.sleep(0.2)
        return reply

    async def submit(self, script: str, key: str, **fields: Any) -> str:
        """The id of a run, which the same key does not make twice."""
        reply = await self.ask(lambda: self.api.submit(f"[script:{script}] {key}", key=key, agent="workshop", **fields))
        assert reply.status in (200, 202), reply
        return str(reply["id"])

    async def run(self, run_id: str) -> dict[str, Any]:
        """The run as it stands."""
        reply = await self.ask(lambda: self.api.call("GET", f"/api/runs/{run_id}"))
        assert reply.status == 200, reply
        run: dict[str, Any] = reply.body
        return run

    async def finished(self, run_id: str) -> dict[str, Any]:
        """The run once it has ended; whatever it asks a person is approved."""
        while (run := await self.run(run_id))["status"] not in TERMINAL:
            self.awaited[run_id] = run
            if run["required_action"]:
                answers = {call["id"]: {"approve": True} for call in run["required_action"]["calls"]}
                path = f"/api/runs/{run_id}/answers"
                reply = await self.ask(lambda: self.api.call("POST", path, json={"answers": answers}))  # noqa: B023
                assert reply.status == 200, reply
            await asyncio.sleep(0.2)
        self.awaited.pop(run_id, None)
        return run

    async def conversation(self, key: str) -> list[dict[str, Any]]:
        """Two runs of one session."""
        first = await self.finished(await self.submit("talk", f"{key}-one"))
        second = await self.submit("talk", f"{key}-two", session_id=first["session_id"])
        return [first, await self.finished(second)]

    async def watched(self) -> int:
        """How many rows somebody still has to come back to."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.host.url}/api/health/deep", headers=admin(self.host)) as answer,
        ):
            body = await answer.json()
        return int(body["checks"]["storage"].get("watched", -1))


@contextlib.asynccontextmanager
async def time_flies(host: FunctionsHost) -> AsyncIterator[None]:
    """Ten seconds of the app's clock go by in each half second: waits of minutes are over within a test's patience."""

    async def go_on() -> None:
        while True:
            await asyncio.sleep(CLOCK_EACH)
            await move_clock(host, CLOCK_STEP)

    task = asyncio.create_task(go_on())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def weather(new_stack: NewStack, driver: str, seed: int, **env: str) -> AsyncIterator[Weather]:
    """The app, at first with nothing that fails."""
    stack = new_stack(driver, **env)
    storage = re.search(r"TableEndpoint=(http://[^/]+)", stack.azurite.connection_string)
    assert storage
    async with (
        faulty_proxy(storage[1], OF_TABLES, seed=seed) as tables,
        faulty_proxy(stack.model_server.url, OF_PROVIDERS, seed=seed + 1) as provider,
    ):
        host = await asyncio.to_thread(
            stack.host,
            AzureWebJobsStorage=stack.azurite.connection_string.replace(storage[1], tables.url),
            OPENAI_BASE_URL=f"{provider.url}/v1",
        )
        for name, turns in SCRIPTS.items():
            await stack.model.script(name, turns)
        async with Api(host.url) as api:
            yield Weather(stack=stack, host=host, api=api, storage=tables, provider=provider)


async def all_of_it(its: Weather, receiver: Receiver) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """Runs of each kind and a batch, side by side; the runs by kind, and the batch."""
    kinds: dict[str, list[Awaitable[Any]]] = {kind: [] for kind in (*SCRIPTS, "conversations")}
    for number in range(RUNS):
        for kind in SCRIPTS:

            async def one(kind: str = kind, key: str = f"{kind}-{number}") -> Any:
                return await its.finished(await its.submit(kind, key, callback_url=receiver.url))

            kinds[kind].append(one())
        kinds["conversations"].append(its.conversation(f"talk-about-{number}"))
    items = [{"id": f"n-{n}", "input": f"[script:talk] number {n}"} for n in range(ITEMS)]

    async def batch() -> dict[str, Any]:
        body = {"items": items, "agent": "workshop"}
        headers = {"Idempotency-Key": "batch"}
        made = await its.ask(lambda: its.api.call("POST", "/api/batches", json=body, headers=headers))
        assert made.status == 202, made
        while True:
            reply = await its.ask(lambda: its.api.call("GET", f"/api/batches/{made['id']}"))
            its.awaited[made["id"]] = reply.body
            if reply["status"] in ("completed", "cancelled"):
                found: dict[str, Any] = its.awaited.pop(made["id"])
                return found
            await asyncio.sleep(0.3)

    async with asyncio.TaskGroup() as group:
        tasks = {kind: [group.create_task(each) for each in waiting] for kind, waiting in kinds.items()}
        ended = group.create_task(batch())
    return {kind: [task.result() for task in each] for kind, each in tasks.items()}, ended.result()


@pytest.mark.parametrize("rate", RATES)
async def test_at_this_rate_nothing_is_lost_and_nothing_happens_twice(
    own_stack: NewStack, driver: str, rate: float
) -> None:
    async with (
        Receiver(answers=[500, 204, 503, 204]) as receiver,
        weather(
            own_stack,
            driver,
            seed=int(rate * 100),
            DORMOUSE_CALLBACK_SECRET=SECRET,
            DORMOUSE_CALLBACK_ALLOW="127.0.0.1",
        ) as its,
        time_flies(its.host),
    ):
        its.turn(rate)
        try:
            async with asyncio.timeout(PATIENCE):
                runs, batch = await all_of_it(its, receiver)
        except TimeoutError:
            pytest.fail(f"not ended: {json.dumps(list(its.awaited.values()))}")
        its.turn(0.0)
        # A submit that lost its key's claim leaves a due row without a run, which the sweep removes after an hour.
        await move_clock(its.host, 3_600)
        await eventually(lambda: _nothing_is_watched(its), timeout=120)
        for kind in ("busy", "late", "reset", "reset_after"):  # the others need a request that fits
            assert its.storage.done[kind] > 0, its.storage.done
        single = [run for kind in SCRIPTS for run in runs[kind]]
        talks = [run for pair in runs["conversations"] for run in pair]
        for run in (*single, *talks):
            assert run["status"] == "completed", (run, its.storage.done, its.provider.done)
        _hold_tools(its, runs)
        for first, second in runs["conversations"]:
            assert "-one" in first["text"]
            assert "-two" in second["text"]
        assert batch["counts"]["completed"] == ITEMS, batch
        texts = [item["text"] for item in await items_of(its.api, batch["id"])]
        assert [f"number {n}" in text for n, text in enumerate(texts)] == [True] * ITEMS
        _hold_callbacks(receiver, [run["id"] for run in single])
        await _hold_responses(
            its, len(single) + sum(kind in ("tools", "asks") for kind in SCRIPTS) * RUNS + len(talks) + ITEMS
        )
        done = its.storage.done + its.provider.done
        passed = done.pop("passed")
        count(weather_at(rate), {"runs": len(single) + len(talks) + ITEMS, "requests": passed + done.total(), **done})


async def _nothing_is_watched(its: Weather) -> bool:
    return await its.watched() == 0


def _hold_tools(its: Weather, runs: dict[str, list[Any]]) -> None:
    """No finished call ran again, what must not run twice did not, and each ran."""
    starts = Counter((trace.run_id, trace.tool) for trace in its.stack.traces(what="start"))
    for run in (*runs["tools"], *runs["asks"]):
        for call in run["tool_calls"]:
            assert call["state"] == "finished", call
            began = starts[run["id"], call["name"]]
            # A start is written down first: one whose answer was lost counts, and the tool never began.
            at_least = 0 if call["name"] == "pay" and call["error"] else 1
            assert at_least <= began <= call["starts"], (call, began)
            if call["name"] == "pay":
                assert began <= 1, call


def _hold_callbacks(receiver: Receiver, expected: list[str]) -> None:
    """Each run's end was reported, with one body under one id, however often."""
    ends: dict[str, set[tuple[str, bytes]]] = {}
    for each in receiver.received:
        if each.body["type"] == "run.completed":
            ends.setdefault(each.body["data"]["id"], set()).add((each.webhook_id, each.raw))
    assert set(ends) == set(expected)
    assert {len(bodies) for bodies in ends.values()} == {1}


async def _hold_responses(its: Weather, turns: int) -> None:
    """Of each turn one response counted; what was made besides was cancelled or had ended."""
    made = await its.stack.model.responses()
    by_turn = Counter((each.metadata.get("run"), each.metadata.get("turn")) for each in made)
    assert len(by_turn) == turns
    assert all(number <= 5 for number in by_turn.values()), by_turn
    assert [each for each in made if each.status in ("queued", "in_progress") and not each.cancelled] == []
