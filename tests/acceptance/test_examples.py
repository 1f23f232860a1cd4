"""The examples of the contract are answers of the app: recorded here, and compared with what it answers today.

``DORMOUSE_TEST_RECORD=1 python3 dev.py test --all tests/acceptance/test_examples.py`` writes them anew, after which
``python3 dev.py check --fix`` puts them into the contract. Between two recordings values differ, and fields do not.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local.openapi.examples import FILE
from shared.runs.store.azure import AzureTables
from shared.runs.store.due import DueStore
from tests.acceptance.client import Api, Reply
from tests.acceptance.conftest import CLIENT_KEYS, Stack
from tests.acceptance.test_contract import OPERATOR_KEY, spoil
from tests.parts.receiver import SECRET, Receiver
from tests.parts.waiting import eventually

RECORD = bool(os.environ.get("DORMOUSE_TEST_RECORD"))
SAMPLES = ("novelist", "analyst")
"""Not the third: its `output` is a schema with references, which tools would look for in the contract."""
STORY = {"input": "Write a short story about a dormouse in space.", "metadata": {"case": "2026-117"}}
ADDRESS = "https://example.com/hooks/dormouse"
FIRST_TIME = datetime(2026, 1, 15, 9, tzinfo=UTC)
Examples = dict[str, dict[str, Any]]


class Recorder:
    """The answers that are to be examples."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.examples: Examples = {}

    async def keep(self, function: str, status: int, words: str, method: str, path: str, **request: Any) -> Reply:
        """The answer to this request, which is kept under these words."""
        reply = await self.api.call(method, path, **request)
        assert reply.status == status, (function, reply)
        self.add(function, status, words, reply.body if isinstance(reply.body, dict) else reply.raw.decode())
        return reply

    def add(self, function: str, status: int, words: str, body: Any) -> None:
        """Keep this."""
        self.examples.setdefault(f"{function} {status}", {})[words] = body


async def runs(to: Recorder) -> None:
    """The lives of some runs: one that ends, one that asks, one that is cancelled, one that is watched."""
    key = {"Idempotency-Key": "5f0c2a52-4f0e-4a57-9f0d-9b1f4a3d7c11"}
    begun = await to.keep("create_run", 202, "begun", "POST", "/api/runs", json=STORY, headers=key)
    done = await to.api.finished(begun["id"])
    await to.keep("get_run", 200, "completed", "GET", f"/api/runs/{done['id']}")
    await to.keep("create_run", 200, "completed", "POST", "/api/runs", json=STORY, headers=key)
    await to.keep("get_session", 200, "one run", "GET", f"/api/sessions/{done['session_id']}")
    path = f"/api/runs/{done['id']}"
    await to.keep("get_run_input", 200, "a text", "GET", f"{path}/input")
    await to.keep("get_run_timeline", 200, "with tools", "GET", f"{path}/timeline")
    await to.keep("get_tool_call", 200, "finished", "GET", f"{path}/tool_calls/1.0")

    asking = f"/api/runs/{await to.api.start('The payroll system', agent='compliance')}"
    parked = await to.api.until(asking.rpartition("/")[2], lambda run: run["status"] == "requires_action")
    await to.keep("get_run", 200, "waiting for a person", "GET", asking)
    answers = {call["id"]: {"approve": True} for call in parked["required_action"]["calls"]}
    await to.keep("answer_run", 200, "approved", "POST", f"{asking}/answers", json={"answers": answers})

    other = await to.api.start("Another story.")
    await to.keep("cancel_run", 200, "cancelled", "POST", f"/api/runs/{other}/cancel")
    await to.keep("list_runs", 200, "a page", "GET", "/api/runs?limit=2")

    await to.api.finished(watched := await to.api.start("How is tea doing?", agent="analyst", stream=True))
    await to.keep("watch_run", 200, "a run that has ended", "GET", f"/api/runs/{watched}/events")


async def later(to: Recorder) -> None:
    """A run for later, and a schedule: made, looked at, changed, deleted."""
    far = {**STORY, "start_at": f"{datetime.now(UTC) + timedelta(days=300):%Y-%m-%dT06:00:00Z}"}
    waiting = await to.keep("create_run", 202, "for later", "POST", "/api/runs", json=far)
    await to.api.call("DELETE", f"/api/runs/{waiting['id']}")
    weekly = {"cron": "0 0 6 * * 1", "time_zone": "Europe/Berlin", "missed": "once", "agent": "analyst"}
    asked = {**weekly, "input": "How is tea doing?", "title": "Tea, each Monday"}
    made = await to.keep("create_schedule", 201, "each Monday", "POST", "/api/schedules", json=asked)
    path = f"/api/schedules/{made['id']}"
    await to.keep("get_schedule", 200, "each Monday", "GET", path)
    await to.keep("list_schedules", 200, "a page", "GET", "/api/schedules")
    await to.keep("change_schedule", 200, "paused", "PATCH", path, json={"paused": True})
    await to.api.call("DELETE", path)


async def told(to: Recorder) -> None:
    """Callbacks of a run and of a batch; and what else there is of a batch."""
    items = [{"id": "a", "input": "How is tea doing?"}, {"id": "b", "input": ""}]
    async with Receiver() as receiver:
        run = await to.api.finished(await to.api.start("How is tea?", agent="analyst", callback_url=receiver.url))
        path = f"/api/runs/{run['id']}/deliveries"

        async def delivered() -> bool:
            return bool((await to.api.call("GET", path))["callback_status"] == "delivered")

        await eventually(delivered)
        await to.keep("list_deliveries", 200, "delivered", "GET", path)
        await to.keep("deliver_again", 202, "once more", "POST", path)

        asked = {"agent": "analyst", "items": items, "callback_url": receiver.url, "metadata": {"night": "12"}}
        batch = await to.keep("create_batch", 202, "begun", "POST", "/api/batches", json=asked)
        address = f"/api/batches/{batch['id']}"

        async def over() -> bool:
            return bool((await to.api.call("GET", address))["callback_status"] == "delivered")

        await eventually(over)
        await to.keep("get_batch", 200, "completed", "GET", address)
        await to.keep("get_batch_items", 200, "one of each", "GET", f"{address}/items")
        await to.keep("deliver_batch_again", 202, "once more", "POST", f"{address}/deliveries")
    await to.keep("create_batch", 200, "no item fits", "POST", "/api/batches", json={"items": [{"input": ""}]})
    other = await to.api.call("POST", "/api/batches", json={"items": [{"input": "A story."}]})
    await to.keep("cancel_batch", 200, "being cancelled", "POST", f"/api/batches/{other['id']}/cancel")
    await cancelled(to.api, other["id"])
    retry = {"method": "POST", "path": f"/api/batches/{other['id']}/retry?status=cancelled"}
    key = {"Idempotency-Key": "0d6f7c1e-9a55-4a0e-8d1b-6a3f0c8e2b17"}
    again = await to.keep("retry_batch", 202, "begun", **retry, headers=key)
    await to.api.call("POST", f"/api/batches/{again['id']}/cancel")
    await cancelled(to.api, again["id"])
    await to.keep("retry_batch", 200, "cancelled", **retry, headers=key)
    await to.keep("list_batches", 200, "a page", "GET", "/api/batches?limit=1")


async def cancelled(api: Api, batch: str) -> None:
    """Wait until that batch is."""

    async def over() -> bool:
        return bool((await api.call("GET", f"/api/batches/{batch}"))["status"] == "cancelled")

    await eventually(over)


async def by_run_token(to: Recorder) -> None:
    """What somebody sees who has a token for a run, or for a batch, and nothing else."""
    run = await to.api.start("The payroll system", agent="compliance")
    parked = await to.api.until(run, lambda each: each["status"] == "requires_action")
    rights = {"rights": ["read", "answer", "cancel"]}
    made = await to.keep("create_run_token", 200, "a token", "POST", f"/api/runs/{run}/tokens", json=rights)
    bearer = {"Authorization": f"Bearer {made['token']}"}
    path = f"/api/shared/runs/{run}"
    await to.keep("shared_get_run", 200, "waiting for a person", "GET", path, headers=bearer)
    refusals = {call["id"]: {"approve": False} for call in parked["required_action"]["calls"]}
    asked = {"json": {"answers": refusals}, "headers": bearer}
    await to.keep("shared_answer_run", 200, "refused", "POST", f"{path}/answers", **asked)
    await to.api.finished(run)
    await to.keep("shared_watch_run", 200, "a run that has ended", "GET", f"{path}/events", headers=bearer)
    await to.keep("shared_cancel_run", 200, "ended before", "POST", f"{path}/cancel", headers=bearer)
    batch = (await to.api.call("POST", "/api/batches", json={"items": [{"input": "A story."}]}))["id"]
    address = f"/api/batches/{batch}/tokens"
    made = await to.keep("create_batch_token", 200, "a token", "POST", address, json={"rights": ["read"]})
    bearer = {"Authorization": f"Bearer {made['token']}"}
    await to.keep("shared_get_batch", 200, "begun", "GET", f"/api/shared/batches/{batch}", headers=bearer)
    for function in ("create_run_token 200", "create_batch_token 200"):  # no token, even one of a test, is published
        to.examples[function]["a token"]["token"] = "eyJhbGciOi…"


async def openai_clients(to: Recorder) -> None:
    """What an OpenAI client sees of a run."""
    key = {"Authorization": f"Bearer {CLIENT_KEYS['ada']}"}
    story = {"model": "novelist", "input": "A dormouse in space.", "background": True}
    begun = await to.keep("v1_create_response", 200, "begun", "POST", "/api/v1/responses", json=story, headers=key)
    path = f"/api/v1/responses/{begun['id']}"

    async def ended() -> bool:
        return bool((await to.api.call("GET", path, headers=key))["status"] == "completed")

    await eventually(ended)
    await to.keep("v1_get_response", 200, "completed", "GET", path, headers=key)
    await to.keep("v1_list_input_items", 200, "one message", "GET", f"{path}/input_items", headers=key)
    await to.keep("v1_delete_response", 200, "deleted", "DELETE", path, headers=key)
    other = await to.api.call("POST", "/api/v1/responses", json=story, headers=key)
    path = f"/api/v1/responses/{other['id']}/cancel"
    await to.keep("v1_cancel_response", 200, "cancelled", "POST", path, headers=key)
    chat = {"model": "analyst", "messages": [{"role": "user", "content": "How is tea doing?"}]}
    path = "/api/v1/chat/completions"
    await to.keep("v1_create_completion", 200, "completed", "POST", path, json=chat, headers=key)
    models = await to.api.call("GET", "/api/v1/models", headers=key)
    samples = [each for each in models["data"] if each["id"] in SAMPLES]
    to.add("v1_list_models", 200, "the samples", {**models.body, "data": samples})
    await to.keep("v1_get_model", 200, "the novelist", "GET", "/api/v1/models/novelist", headers=key)


async def about(to: Recorder) -> None:
    """What the app says of itself."""
    agents = await to.api.call("GET", "/api/agents")
    samples = [each for each in agents["data"] if each["name"] in SAMPLES]
    to.add("list_agents", 200, "the samples", {**agents.body, "data": samples})
    await to.keep("get_health", 200, "alive", "GET", "/api/health")
    await to.keep("get_health_deep", 200, "well", "GET", "/api/health/deep")
    contract = await to.api.call("GET", "/api/openapi.json")
    info = {name: contract["info"][name] for name in ("title", "version")}
    shortened = {"openapi": contract["openapi"], "info": info, "paths": {}, "components": {}}
    to.add("get_openapi", 200, "shortened", shortened)


async def operated(to: Recorder, stack: Stack) -> None:
    """What an operator sees: a run that sweeps have found overdue, and one that could not be read."""
    key, runs = {"x-dormouse-operator-key": OPERATOR_KEY}, [await to.api.start("A story.") for _ in range(2)]
    # All else here is of the owner that those with a function key are.
    for_ann = {"Dormouse-On-Behalf-Of": "ann", "Idempotency-Key": "7d0d1e0a-6a9d-4c8e-8b9d-2f4a3d7c1122"}
    assert (await to.api.call("POST", "/api/runs", json=STORY, headers=for_ann)).status == 202
    tables = AzureTables.from_connection_string(stack.azurite.connection_string, stack.prefix)
    due, now = DueStore(tables), datetime.now(UTC)
    overdue, aside = [await due.get(run) for run in runs]
    assert overdue is not None
    assert aside is not None
    assert await due.set_due(overdue, now + timedelta(seconds=30), now, overdue_sweeps=3)
    await spoil(stack, runs[1])
    await due.quarantine(aside, "KeyError in Run.phase", now)  # unless its wake was faster
    await tables.close()
    await to.keep("list_overdue", 200, "a page", "GET", "/api/ops/overdue", headers=key)
    await to.keep("list_quarantined", 200, "a page", "GET", "/api/ops/quarantined", headers=key)
    await to.keep("get_intake", 200, "open", "GET", "/api/ops/intake", headers=key)
    paused = {"paused": True, "reason": "The model provider is down.", "retry_after_seconds": 120}
    await to.keep("set_intake", 200, "paused", "PUT", "/api/ops/intake", json=paused, headers=key)
    await to.keep("set_drain", 200, "begun", "PUT", "/api/ops/drain", json={"draining": True}, headers=key)
    await to.keep("get_drain", 200, "under way", "GET", "/api/ops/drain", headers=key)
    path = f"/api/ops/runs/{runs[0]}"
    await to.keep("operate_run", 200, "released", "POST", f"{path}/release", headers=key)
    await to.keep("operate_run", 200, "ended", "POST", f"{path}/end", headers=key)
    batch = (await to.api.call("GET", "/api/batches?limit=1"))["data"][0]["id"]
    await to.keep("operate_batch", 200, "over", "POST", f"/api/ops/batches/{batch}/wake", headers=key)
    whose = {"owner": "user:ann"}
    await to.keep("export_owner", 200, "the last page", "POST", "/api/ops/export", json=whose, headers=key)
    await to.keep("erase_owner", 200, "done", "POST", "/api/ops/erase", json=whose, headers=key)


def in_quiet(recorded: Any, address: str) -> Examples:
    """The examples with ids, times and addresses that say nothing of the machine they were made on."""
    text = json.dumps(recorded, ensure_ascii=False).replace(address, ADDRESS)
    ids: dict[str, str] = {}

    def other_id(match: re.Match[str]) -> str:
        return ids.setdefault(match[0], hashlib.sha256(f"{len(ids)}".encode()).hexdigest()[: len(match[0])])

    text = re.sub(r"[0-9a-f]{24,64}", other_id, text)
    shape = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{3}Z"
    times = [datetime.fromisoformat(each) for each in re.findall(shape, text)]
    earlier = min(times) - FIRST_TIME

    def other_time(match: re.Match[str]) -> str:
        moved = datetime.fromisoformat(match[0]) - earlier
        return moved.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    examples: Examples = json.loads(re.sub(shape, other_time, text))
    return examples


def differences(was: Any, now: Any, place: str = "") -> Iterator[str]:
    """Where two examples have other fields, or values of another type. What is null, or an empty list, fits all."""
    if was is None or now is None or [] in (was, now):
        return
    if isinstance(was, dict) and isinstance(now, dict):
        # The notes of callers, and schemas, have whatever names they like.
        if was.keys() != now.keys():
            yield f"{place}: {sorted(was.keys() ^ now.keys())}"
        for name in was.keys() & now.keys():
            yield from differences(was[name], now[name], f"{place}/{name}")
    elif isinstance(was, list) and isinstance(now, list):
        yield from differences(was[0], now[0], f"{place}/0")
    elif isinstance(was, str) and isinstance(now, str):
        kinds = [re.findall(r"^event: (\w+)$", each, re.MULTILINE) for each in (was, now)]
        if kinds[0] != kinds[1]:
            yield f"{place}: {kinds}"
    elif isinstance(was, int | float) != isinstance(now, int | float) or isinstance(was, str) != isinstance(now, str):
        yield f"{place}: {was!r} and {now!r}"


async def test_the_examples_are_what_the_app_answers(own_stack: Callable[..., Stack]) -> None:
    stack = own_stack(
        "durable",
        DORMOUSE_PUBLIC_BASE_URL="https://dormouse.azurewebsites.net",
        DORMOUSE_CALLBACK_ALLOW="127.0.0.1",
        DORMOUSE_CALLBACK_SECRET=SECRET,
        DORMOUSE_RUN_TOKEN_SECRET="a-secret-of-the-tests-" * 2,
        DORMOUSE_OPERATOR_KEY=OPERATOR_KEY,
        DORMOUSE_DELEGATION="1",
    )
    async with Api((await asyncio.to_thread(stack.host)).url) as api:
        to = Recorder(api)
        await runs(to)
        await later(to)
        await told(to)
        await by_run_token(to)
        await openai_clients(to)
        await about(to)
        await operated(to, stack)
    unwell = await asyncio.to_thread(lambda: stack.host(OPENAI_BASE_URL="http://127.0.0.1:1/v1"))
    async with Api(unwell.url) as to.api:
        await to.keep("get_health_deep", 503, "unwell", "GET", "/api/health/deep")
    wrong = await asyncio.to_thread(lambda: own_stack("timer").host(DORMOUSE_DRIVER="clock"))
    async with Api(wrong.url) as to.api:
        await to.keep("get_health", 503, "a setting", "GET", "/api/health")
    made = in_quiet(to.examples, receiver_address(to.examples))
    if RECORD:
        FILE.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", "utf-8", newline="\n")
    kept: Examples = json.loads(FILE.read_text("utf-8"))
    assert list(differences(kept, made)) == [], "record them again: see the top of this file"


def receiver_address(examples: Mapping[str, Mapping[str, Any]]) -> str:
    """Where the callbacks of these examples went."""
    return str(examples["get_batch 200"]["completed"]["callback_url"])


@pytest.mark.parametrize(
    ("now", "found"),
    [
        ({"a": 1, "b": ["x"], "c": {"d": None}}, []),
        ({"a": 2.5, "b": [], "c": {"d": "new"}}, []),
        ({"a": 1, "b": ["x"]}, [": ['c']"]),
        ({"a": 1, "b": ["x"], "c": {}}, ["/c: ['d']"]),
        ({"a": "1", "b": ["x"], "c": {"d": 1}}, ["/a: 1 and '1'"]),
        ({"a": 1, "b": [{"x": 1}], "c": {"d": 1}}, ["/b/0: 'x' and {'x': 1}"]),
    ],
)
def test_other_fields_and_types_are_found(now: Any, found: list[str]) -> None:
    assert list(differences({"a": 1, "b": ["x"], "c": {"d": None}}, now)) == found
