"""The contract is served, and every answer in it that can be provoked is given as it says.

That each answer is as the contract says is what ``Api.call`` holds, here and in every other test; here it is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import aiohttp
import pytest

from local.openapi.document import described
from shared.runs.model.ids import parse_run_id
from shared.runs.store.azure import AzureTables
from shared.runs.store.tables import Change, Conflict, Kind, Table
from tests.acceptance.batches import over
from tests.acceptance.client import Api, Reply
from tests.acceptance.conftest import CLIENT_KEYS, Stack, Target
from tests.acceptance.eventsource import Watcher
from tests.acceptance.test_webhooks import SECRET, send
from tests.parts.contract import FILE, contract
from tests.parts.receiver import SECRET as CALLBACK_SECRET
from tests.parts.receiver import Receiver
from tests.parts.waiting import eventually
from tests.parts.workshop import release

ANN = {"x-ms-client-principal-id": "ann", "x-ms-client-principal-idp": "aad"}
NOBODY = f"/api/runs/run_{'0' * 32}_1"
NO_SESSION = f"/api/sessions/{'0' * 32}"
NOBODYS = {
    "run_id": f"run_{'0' * 32}_1",
    "session_id": "0" * 32,
    "batch_id": f"batch_{'0' * 32}",
    "schedule_id": f"schedule_{'0' * 32}",
    "response_id": f"resp_{'0' * 32}_1",
    "model": "nobody",
    "call": "9.9",
    "action": "wake",
}
JSON = {"content-type": "application/json"}
TOKEN_SECRET = "a-secret-of-the-tests-" * 2
OPERATOR_KEY = "a-key-of-the-operator-" * 2
ELSEWHERE = {("*", 500)}
"""What only a defect brings."""


@pytest.fixture
def driver() -> str:
    """None of this is the driver's."""
    return "timer"


@pytest.mark.main
@pytest.mark.http_only
async def test_the_contract_is_served_as_it_ships(target: Target) -> None:
    tags = set()
    for coding in ("gzip", "identity"):
        accepted = {"Accept-Encoding": coding}
        reply = await target.api.call("GET", "/api/openapi.json", headers=accepted)
        assert (reply.status, reply.raw) == (200, FILE.read_bytes())
        assert reply.headers["content-type"] == "application/json"
        assert reply.headers.get("Content-Encoding", "identity") == coding
        assert "Accept-Encoding" in reply.headers["Vary"]
        tags.add(reply.headers["ETag"])
        known = accepted | {"If-None-Match": reply.headers["ETag"]}
        again = await target.api.call("GET", "/api/openapi.json", headers=known)
        assert (again.status, again.raw, again.headers["ETag"]) == (304, b"", reply.headers["ETag"])
        head = await target.api.call("HEAD", "/api/openapi.json", headers=accepted)
        assert (head.status, head.raw) == (200, b"")
        assert head.headers["Content-Length"] == reply.headers["Content-Length"]
        size = int(reply.headers["Content-Length"])
        assert size == len(reply.raw) if coding == "identity" else size * 5 < len(reply.raw)
    assert len(tags) == 2


class WithHead(Api):
    """A client that follows each GET by the same HEAD."""

    async def call(self, method: str, path: str, **more: Any) -> Reply:
        reply = await super().call(method, path, **more)
        if method == "GET":
            head = await super().call("HEAD", path, **more)
            assert head.raw == b""
        return reply


async def known_at_rest(api: Api, address: str, headers: Mapping[str, str] = MappingProxyType({})) -> None:
    """Once it no longer changes, its ETag gets a 304. Right after a cancel its response is still being stopped."""

    async def unchanged() -> bool:
        reply = await api.call("GET", address, headers=headers)
        known = {**headers, "If-None-Match": reply.headers["ETag"]}
        return (await api.call("GET", address, headers=known)).status == 304

    await eventually(unchanged)


async def good_and_bad_requests(api: Api, stack: Stack) -> None:
    """The life of some runs, and what is refused on the way."""
    await stack.model.script("long", [{"think": 600.0, "text": "done"}])
    await stack.model.script("short", [{"text": "done"}])
    await stack.model.script("ask", [{"calls": [{"name": "send", "arguments": {"label": "a"}}]}, {"text": "sent"}])
    await stack.model.script("bad", [{"status": "failed", "error": {"code": "invalid_prompt", "message": "no"}}])
    await stack.model.script(
        "cut", [{"status": "incomplete", "incomplete_reason": "max_output_tokens", "text": "and th"}]
    )
    done = await api.finished(await api.start("[script:short]", agent="workshop", key="k"))
    path, session = f"/api/runs/{done['id']}", f"/api/sessions/{done['session_id']}"
    assert (await api.call("GET", f"{session}?limit=0")).status == 400
    assert (await api.submit("[script:short]", agent="workshop", key="k")).status == 200
    assert (await api.submit("else", key="k")).status == 422
    for script in ("bad", "cut"):
        assert (await api.finished(await api.start(f"[script:{script}]", agent="workshop")))["status"] != "completed"
    asked = await api.start("[script:ask]", agent="workshop")
    run = await api.until(asked, lambda run: run["required_action"] is not None and run["status"] == "requires_action")
    call_id = run["required_action"]["calls"][0]["id"]
    answers = f"/api/runs/{asked}/answers"
    assert (await api.call("POST", answers, json={"answers": {"call_x": {"approve": True}}})).status == 409
    assert (await api.call("POST", answers, json={"answers": {call_id: {"approve": True}}})).status == 200
    assert (await api.finished(asked))["status"] == "completed"
    assert (await api.call("POST", answers, json={})).status == 400
    assert (await api.call("POST", answers, data=b" " * 1_000_000, headers=JSON)).status == 413
    assert (await api.call("POST", answers, data=b"{}", headers={"content-type": "text/plain"})).status == 415
    assert (await api.call("POST", f"{NOBODY}/answers", json={"answers": {"c": {"approve": True}}})).status == 404

    of_a_run = ("input", "timeline", "tool_calls/1.0")
    details = [f"/api/runs/{asked}/{part}" for part in of_a_run]
    for address in (path, session, "/api/runs", "/api/openapi.json", *details):
        reply = await api.call("GET", address)
        assert (await api.call("GET", address, headers={"If-None-Match": reply.headers["ETag"]})).status == 304
    for address, status in (
        (NOBODY, 404),
        (NO_SESSION, 404),
        *((f"{NOBODY}/{part}", 404) for part in of_a_run),
        (f"{path}?wait=x", 400),
        ("/api/runs?limit=0", 400),
        ("/api/runs?status=completed,failed&limit=1", 200),
        ("/api/agents", 200),
        ("/api/health", 200),
        ("/api/health/deep", 200),
    ):
        assert (await api.call("GET", address)).status == status, address
    post = {"method": "POST", "path": "/api/runs"}
    for more, status in (
        ({"data": b"{", "headers": JSON}, 400),
        ({"json": {"input": "x", "agent": "nobody"}}, 400),
        ({"json": {"input": "x", "session_id": "0" * 32}}, 404),
        ({"json": {"input": "x" * 1_048_577}}, 413),
        ({"data": b"{}", "headers": {"content-type": "text/plain"}}, 415),
    ):
        assert (await api.call(**post, **more)).status == status, more  # type: ignore[arg-type]

    events = f"{path}/events"
    assert {kind for kind, _ in parsed((await api.call("GET", events)).raw)} == {"state", "snapshot", "end"}
    assert (await api.call("GET", events, headers={"Last-Event-ID": "end"})).status == 204
    assert (await api.call("GET", f"{events}?after=x")).status == 400
    assert (await api.call("GET", f"{NOBODY}/events")).status == 404

    active = await api.submit("[script:long]", agent="workshop")
    waited = await api.call(
        **post, json={"input": "[script:short]", "agent": "workshop"}, headers={"Prefer": "wait=20"}
    )
    assert waited.status == 200
    long = {"session_id": active["session_id"]}
    assert (await api.submit("x", **long)).status == 409
    assert (await api.call("GET", f"/api/runs/{active['id']}?wait=1")).status == 200
    assert (await api.call("POST", f"/api/runs/{active['id']}/cancel")).status == 200
    assert (await api.call("POST", f"{NOBODY}/cancel")).status == 404
    second = await api.submit("[script:long]", **long)
    assert (await api.call("DELETE", f"/api/runs/{active['id']}")).status == 409
    assert (await api.call("DELETE", f"/api/runs/{second['id']}")).status == 204
    assert (await api.call("DELETE", NOBODY)).status == 404
    assert (await api.call("DELETE", path)).status == 204
    assert (await api.submit("[script:short]", agent="workshop", key="k")).status == 410
    assert (await api.call("DELETE", session)).status == 204
    assert (await api.call("DELETE", session)).status == 404
    assert (await api.submit("[script:long]", agent="workshop")).status == 202
    assert (await api.submit("[script:long]", agent="workshop")).status == 202
    assert (await api.submit("[script:long]", agent="workshop")).status == 429


def parsed(stream: bytes) -> list[tuple[str, Any]]:
    """The events of a stream: kind and data."""
    blocks = [block.split("\n") for block in stream.decode().split("\n\n")]
    fields = [dict(line.split(": ", 1) for line in lines if line) for lines in blocks]
    return [(each["event"], json.loads(each["data"])) for each in fields if "event" in each]


@pytest.mark.main
async def test_every_event_of_a_watched_run_is_as_the_contract_says(target: Target) -> None:
    """Whatever is to be told waits until the viewer has been told what came before."""
    assert target.stack is not None
    label = secrets.token_hex(4)
    asks = [{"name": name, "arguments": {"label": label}} for name in ("hold_in_a_thread", "send")]
    verdict = '{"guilty": false, "months": 0}'
    await target.model.script(label, [{"calls": asks}, {"text": verdict, "stuck": True}])
    watcher = Watcher(target.api.url, await target.api.start(f"[script:{label}]", agent="judge", stream=True))

    async def let_go_on(log: Path) -> None:
        await eventually(lambda: watcher.events)
        release(log, label)
        await eventually(lambda: any(each.data["status"] == "requires_action" for each in watcher.of("status")))
        (call,) = (await target.api.run(watcher.run_id))["required_action"]["calls"]
        yes = {"answers": {call["id"]: {"approve": True}}}
        await target.api.call("POST", f"/api/runs/{watcher.run_id}/answers", json=yes)
        await eventually(lambda: watcher.of("delta"))
        (held,) = [each.id for each in await target.model.responses() if (each.script, each.turn) == (label, 1)]
        await target.model.finish(held)

    await asyncio.gather(watcher.to_the_end(), let_go_on(target.stack.tool_log))
    assert {event.kind for event in watcher.events} >= {"state", "status", "tool_finished", "delta", "end"}
    for event in watcher.events:
        assert contract().differences_of_event(event.kind, event.data) == [], event


async def webhooks(api: Api, stack: Stack) -> None:
    """The provider's webhook, well and ill."""
    await api.start("Hello.", agent="workshop")
    (response,) = await stack.model.responses()
    assert (await send(api, response.id)).status == 200
    assert (await send(api, response.id, **{"webhook-signature": "v1"})).status == 401
    assert (await send(api, "x" * 70_000)).status == 413
    await stack.model.switches(faults={"retrieve": [{"status": 500, "times": -1}]})
    assert (await send(api, response.id)).status == 503
    await stack.model.switches(faults={})
    forged = await api.call("POST", "/api/webhooks/openai", data=b"{", headers=_signed(b"{"))
    assert (forged.status, forged["code"]) == (400, "invalid_json")


async def callbacks(api: Api, stack: Stack) -> list[str]:
    """The log of a run's deliveries, and one more of them; so for a batch; where to ask for yet another."""
    await stack.model.script("soon", [{"text": "done"}])
    await stack.model.script("never", [{"think": 600.0, "text": "done"}])
    async with Receiver() as receiver:
        told = f"/api/runs/{await api.start('[script:soon]', agent='workshop', callback_url=receiver.url)}/deliveries"
        await eventually(lambda: receiver.received)
        silent = f"/api/runs/{await api.start('[script:never]', agent='workshop')}/deliveries"
        assert (await api.call("POST", silent)).status == 409
        assert (await api.call("POST", told)).status == 202
        await eventually(lambda: len(receiver.received) == 2)
        await known_at_rest(api, told)
        batch = {"agent": "workshop", "items": [{"input": "[script:never]"}], "callback_url": receiver.url}
        path = f"/api/batches/{(await api.call('POST', '/api/batches', json=batch))['id']}"
        assert (await api.call("POST", f"{path}/deliveries")).status == 409
        assert (await api.call("POST", f"{path}/cancel")).status == 200
        await eventually(lambda: len(receiver.received) == 3)
        assert (await api.call("POST", f"{path}/deliveries")).status == 202
        await eventually(lambda: len(receiver.received) == 4)
    for method in ("GET", "POST"):
        assert (await api.call(method, f"{NOBODY}/deliveries")).status == 404
    assert (await api.call("POST", f"/api/batches/{NOBODYS['batch_id']}/deliveries")).status == 404
    return [told, f"{path}/deliveries"]


async def batches(api: Api, stack: Stack) -> None:
    """A batch from its start to its deletion, and what is refused on the way."""
    await stack.model.script("now", [{"think": 0, "text": "done"}])
    given: dict[str, Any] = {"agent": "workshop", "items": [{"input": "[script:now]"}, {"input": 1}]}
    key = {"Idempotency-Key": "batch"}
    made = await api.call("POST", "/api/batches", json=given, headers=key)
    assert made.status == 202
    path = f"/api/batches/{made['id']}"
    assert (
        await api.call("POST", "/api/batches", json={**given, "items": [{"input": "y"}]}, headers=key)
    ).status == 422
    assert (await api.call("POST", "/api/batches", json={"items": [{"input": 1}]})).status == 200
    for more, status in (
        ({"json": {"items": []}}, 400),
        ({"data": b"{", "headers": JSON}, 400),
        ({"data": b" " * 16_777_217, "headers": JSON}, 413),
        ({"data": b"{}", "headers": {"content-type": "text/plain"}}, 415),
    ):
        assert (await api.call("POST", "/api/batches", **more)).status == status, more  # type: ignore[arg-type]

    await over(api, made["id"])
    items = await api.call("GET", f"{path}/items")
    assert [item["status"] for item in items["data"]] == ["completed", "failed"]
    for address in (path, f"{path}/items", "/api/batches"):
        reply = await api.call("GET", address)
        assert reply.status == 200
        assert (await api.call("GET", address, headers={"If-None-Match": reply.headers["ETag"]})).status == 304
    for address in (f"{path}/items?limit=0", "/api/batches?limit=0"):
        assert (await api.call("GET", address)).status == 400
    assert (await api.call("POST", f"{path}/cancel")).status == 200
    assert (await api.call("DELETE", path)).status == 204
    assert (await api.call("POST", "/api/batches", json=given, headers=key)).status == 410
    for method, address in (("GET", path), ("GET", f"{path}/items"), ("POST", f"{path}/cancel"), ("DELETE", path)):
        assert (await api.call(method, address)).status == 404


async def run_tokens(api: Api, stack: Stack) -> None:
    """What whoever has a token is answered."""
    await stack.model.script("asks", [{"calls": [{"name": "send", "arguments": {"label": "a"}}]}, {"text": "sent"}])
    batch = await api.call("POST", "/api/batches", json={"agent": "workshop", "items": [{"input": 1}]})
    run = await api.start("[script:asks]", agent="workshop")
    asked = await api.until(run, lambda seen: seen["status"] == "requires_action")
    yes = {"answers": {asked["required_action"]["calls"][0]["id"]: {"approve": True}}}
    no = {"answers": {"call_x": {"approve": True}}}
    tokens = {}
    for kind, subject, rights in (("runs", run, ["read", "answer", "cancel"]), ("batches", batch["id"], ["read"])):
        address = f"/api/{kind}/{subject}/tokens"
        tokens[kind] = {
            "Authorization": f"Bearer {(await api.call('POST', address, json={'rights': rights}))['token']}"
        }
        nobodys = f"/api/{kind}/{NOBODYS['run_id' if kind == 'runs' else 'batch_id']}/tokens"
        for path, more, status in (
            (nobodys, {"json": {"rights": ["read"]}}, 404),
            (address, {"json": {"rights": ["write"]}}, 400),
            (address, {"data": b" " * 70_000, "headers": JSON}, 413),
            (address, {"data": b"{}", "headers": {"content-type": "text/plain"}}, 415),
        ):
            assert (await api.call("POST", path, **more)).status == status, more  # type: ignore[arg-type]
    token = (await api.call("POST", f"/api/runs/{run}/tokens", json={"rights": ["cancel"]}))["token"]
    only_cancels = {"Authorization": f"Bearer {token}"}
    token = (await api.call("POST", f"/api/runs/{run}/tokens", json={"rights": ["read"]}))["token"]
    only_reads = {"Authorization": f"Bearer {token}"}
    path, events, answers, cancel, shared_batch = (
        f"/api/shared/runs/{run}",
        f"/api/shared/runs/{run}/events",
        f"/api/shared/runs/{run}/answers",
        f"/api/shared/runs/{run}/cancel",
        f"/api/shared/batches/{batch['id']}",
    )
    text = {"content-type": "text/plain"}
    for method, address, headers, more, status in (
        ("GET", path, only_cancels, {}, 403),
        ("GET", events, only_cancels, {}, 403),
        ("POST", answers, only_reads, {"json": yes}, 403),
        ("POST", cancel, only_reads, {}, 403),
        ("POST", answers, tokens["runs"], {"json": {}}, 400),
        ("POST", answers, tokens["runs"], {"json": no}, 409),
        ("POST", answers, tokens["runs"], {"data": b" " * 1_000_000}, 413),
        ("POST", answers, tokens["runs"] | text, {"data": b"{}"}, 415),
        ("POST", answers, tokens["runs"], {"json": yes}, 200),
        ("POST", cancel, tokens["runs"], {}, 200),
        ("GET", events, tokens["runs"] | {"Last-Event-ID": "x"}, {}, 400),
        ("GET", events, tokens["runs"], {}, 200),
        ("GET", events, tokens["runs"] | {"Last-Event-ID": "end"}, {}, 204),
    ):
        given = headers | (JSON if "data" in more and "content-type" not in headers else {})
        reply = await api.call(method, address, headers=given, **more)  # type: ignore[arg-type]
        assert reply.status == status, (method, address, more, reply)
    for address, headers in ((path, tokens["runs"]), (shared_batch, tokens["batches"])):
        await known_at_rest(api, address, headers)
    for address, method in ((path, "GET"), (events, "GET"), (answers, "POST"), (cancel, "POST"), (shared_batch, "GET")):
        assert (await api.call(method, address)).status == 401
        assert (await api.call(method, f"{address}?token=x")).status == 400
    found = await api.call("GET", shared_batch.replace(batch["id"], NOBODYS["batch_id"]), headers=tokens["batches"])
    assert found.status == 404
    assert (await api.call("DELETE", f"/api/runs/{run}")).status == 204
    for address, method in ((path, "GET"), (events, "GET"), (answers, "POST"), (cancel, "POST")):
        assert (await api.call(method, address, headers=tokens["runs"])).status == 404


async def operators(api: Api, stack: Stack) -> None:
    """What an operator sees and does, and what is refused of it."""
    key = {"x-dormouse-operator-key": OPERATOR_KEY}
    await stack.model.script("long", [{"think": 600.0, "text": "done"}])
    run_id = await api.start("[script:long]", agent="workshop")
    batch = await api.call("POST", "/api/batches", json={"agent": "workshop", "items": [{"input": "[script:long]"}]})
    for name in ("overdue", "quarantined"):
        assert (await api.call("GET", f"/api/ops/{name}", headers=key)).status == 200
        assert (await api.call("GET", f"/api/ops/{name}?limit=0", headers=key)).status == 400
        assert (await api.call("GET", f"/api/ops/{name}")).status == 401
    for name, body in (("intake", {"paused": False}), ("drain", {"draining": False})):
        path = f"/api/ops/{name}"
        assert (await api.call("GET", path, headers=key)).status == 200
        assert (await api.call("GET", path)).status == 401
        for more, status in (
            ({"json": body, "headers": key}, 200),
            ({"json": body}, 401),
            ({"json": {}, "headers": key}, 400),
            ({"data": b" " * 70_000, "headers": key | JSON}, 413),
            ({"data": b"{}", "headers": key | {"content-type": "text/plain"}}, 415),
        ):
            assert (await api.call("PUT", path, **more)).status == status, more  # type: ignore[arg-type]
    for name in ("export", "erase"):
        path = f"/api/ops/{name}"
        for more, status in (
            ({"json": {"owner": "user:nobody"}, "headers": key}, 200),
            ({"json": {"owner": "user:nobody"}}, 401),
            ({"json": {"owner": "nobody"}, "headers": key}, 400),
            ({"json": {"owner": "user:nobody", "cursor": "e30"}, "headers": key}, 400),
            ({"data": b" " * 70_000, "headers": key | JSON}, 413),
            ({"data": b"{}", "headers": key | {"content-type": "text/plain"}}, 415),
        ):
            assert (await api.call("POST", path, **more)).status == status, more  # type: ignore[arg-type]
    assert len((await api.call("POST", "/api/ops/export", json={"owner": "function"}, headers=key))["data"]) > 3
    for one, kind in ((run_id, "runs"), (batch["id"], "batches")):
        path, nobodys = f"/api/ops/{kind}/{one}", NOBODYS["run_id" if kind == "runs" else "batch_id"]
        assert (await api.call("POST", f"{path}/wake")).status == 401
        assert (await api.call("POST", f"/api/ops/{kind}/{nobodys}/wake", headers=key)).status == 404
        for action in ("wake", "release"):
            assert (await api.call("POST", f"{path}/{action}", headers=key)).status == 200
        await spoil(stack, one)
        assert (await api.call("POST", f"{path}/end", headers=key)).status == 409


async def spoil(stack: Stack, subject: str) -> None:
    """Write into the row of a run or batch what no version can read."""
    parsed = parse_run_id(subject)
    table, partition = (Table.BATCHES, subject) if parsed is None else (Table.RUNS, parsed[0])
    tables = AzureTables.from_connection_string(stack.azurite.connection_string, stack.prefix)
    try:
        while True:
            row = await tables.get(table, partition, "batch" if parsed is None else f"run:{parsed[1]:08}")
            assert row is not None
            change = Change(kind=Kind.MERGE, key=row.key, values={"phase": '{"is":"Confused"}'}, etag=row.etag)
            with contextlib.suppress(Conflict):
                await tables.commit(table, partition, [change])
                return
    finally:
        await tables.close()


async def schedules(api: Api) -> None:
    """A schedule from its start to its deletion, and what is refused on the way."""
    given = {"cron": "0 6 1 1 *", "input": "x", "agent": "workshop"}
    key = {"Idempotency-Key": "schedule"}
    made = await api.call("POST", "/api/schedules", json=given, headers=key)
    assert made.status == 201
    path = f"/api/schedules/{made['id']}"
    assert (await api.call("POST", "/api/schedules", json={**given, "input": "y"}, headers=key)).status == 422
    nobodys = f"/api/schedules/{NOBODYS['schedule_id']}"
    for method, address, right in (("POST", "/api/schedules", given), ("PATCH", path, {"paused": True})):
        assert (await api.call(method, address, json={**right, "cron": "no"})).status == 400
        for more, status in (
            ({"data": b"{", "headers": JSON}, 400),
            ({"data": b" " * 7_000_000, "headers": JSON}, 413),
            ({"data": b"{}", "headers": {"content-type": "text/plain"}}, 415),
        ):
            assert (await api.call(method, address, **more)).status == status, more  # type: ignore[arg-type]
    assert (await api.call("PATCH", path, json={"paused": True})).status == 200
    for address in ("/api/schedules", path):
        reply = await api.call("GET", address)
        assert (await api.call("GET", address, headers={"If-None-Match": reply.headers["ETag"]})).status == 304
    assert (await api.call("GET", "/api/schedules?limit=0")).status == 400
    for method in ("GET", "PATCH", "DELETE"):
        more = {"json": {"paused": True}} if method == "PATCH" else {}
        assert (await api.call(method, nobodys, **more)).status == 404
    for _ in range(99):
        assert (await api.call("POST", "/api/schedules", json=given)).status == 201
    assert (await api.call("POST", "/api/schedules", json=given)).status == 409
    page = await api.call("GET", "/api/schedules?limit=40")
    rest = await api.call("GET", f"/api/schedules?limit=100&cursor={page['next_cursor']}")
    assert len({each["id"] for each in [*page["data"], *rest["data"]]}) == 100
    assert (await api.call("DELETE", path)).status == 204


async def retried_batches(api: Api, stack: Stack) -> None:
    """The failed items of a batch once more, and what is refused about that."""
    await stack.model.script("bad", [{"think": 0, "status": "failed", "error": {"code": "invalid_prompt"}}])
    key = {"Idempotency-Key": "retry"}
    made = await api.call("POST", "/api/batches", json={"agent": "workshop", "items": [{"input": "[script:bad]"}]})
    address = f"/api/batches/{made['id']}/retry"
    assert (await api.call("POST", address)).status == 409
    await over(api, made["id"])
    assert (await api.call("POST", f"{address}?status=completed")).status == 400
    new = await api.call("POST", address, headers=key)
    assert new.status == 202
    assert (await api.call("POST", f"{address}?status=cancelled", headers=key)).status == 422
    await over(api, new["id"])
    assert (await api.call("POST", address, headers=key)).status == 200
    assert (await api.call("DELETE", f"/api/batches/{new['id']}")).status == 204
    assert (await api.call("POST", address, headers=key)).status == 410
    assert (await api.call("POST", f"/api/batches/{NOBODYS['batch_id']}/retry")).status == 404


async def openai_clients(api: Api, hasty: Api, stack: Stack) -> None:
    """What OpenAI's clients may be told, under a limit of two active runs; ``hasty`` hardly waits for an end."""
    key = {"Authorization": f"Bearer {CLIENT_KEYS['ada']}"}
    await stack.model.script("now", [{"think": 0, "text": "done"}])
    await stack.model.script("long", [{"think": 600.0, "text": "done"}])

    async def call(method: str, path: str, headers: Mapping[str, str] = key, **more: Any) -> Reply:
        return await api.call(method, f"/api/v1{path}", headers=headers, **more)

    def asked(path: str, script: str, **more: Any) -> dict[str, Any]:
        text = f"[script:{script}]"
        given = {"input": text} if path == "/responses" else {"messages": [{"role": "user", "content": text}]}
        return {"model": "bench", **given, **more}

    ids = {}
    for path in ("/responses", "/chat/completions"):
        again = {**key, "Idempotency-Key": f"again{path}"}
        first = await call("POST", path, json=asked(path, "now"), headers=again)
        assert first.status == 200
        ids[path] = first["id"].replace("chatcmpl-", "resp_")
        assert (await call("POST", path, json=asked(path, "now", metadata={"a": "b"}), headers=again)).status == 422
        assert (await call("POST", path, json=asked(path, "now", tools=["x"]))).status == 400
        assert (await call("POST", path, json=asked(path, "now", model="nobody"))).status == 404
        assert (await call("POST", path, json=asked(path, "now"), headers={})).status == 401
        assert (await call("POST", path, json=asked(path, "x" * 1_048_577))).status == 413
        assert (await call("POST", path, data=b"{}", headers={**key, "content-type": "text/plain"})).status == 415
        assert (await call("POST", path, json=asked(path, "now", stream=True))).status == 200
        late = await hasty.call("POST", f"/api/v1{path}", json=asked(path, "long"), headers=key)
        assert late.status == 422
        await call("POST", f"/responses/{late['error']['response_id']}/cancel")
    first, second = ids.values()
    slow = asked("/responses", "long", background=True, previous_response_id=first)
    following = await call("POST", "/responses", json=slow)
    assert following.status == 200
    onto_it = {**slow, "previous_response_id": following["id"]}
    assert (await call("POST", "/responses", json=onto_it)).status == 409
    assert (await call("DELETE", f"/responses/{first}")).status == 409
    assert (await call("POST", "/responses", json=asked("/responses", "long", background=True))).status == 200
    for path in ids:
        assert (await call("POST", path, json=asked(path, "now"))).status == 429
    assert (await call("POST", f"/responses/{following['id']}/cancel")).status == 200
    known = await call("GET", f"/responses/{first}")
    unchanged = await call("GET", f"/responses/{first}", headers={**key, "If-None-Match": known.headers["ETag"]})
    assert unchanged.status == 304
    for path, status in (
        (f"/responses/{first}?stream=true&starting_after=x", 400),
        (f"/responses/{first}?stream=maybe", 400),
        (f"/responses/{first}?starting_after=x", 400),
        (f"/responses/{first}?stream=true", 200),
        (f"/responses/{first}/input_items", 200),
        (f"/responses/{first}/input_items?limit=x", 400),
        ("/models", 200),
        ("/models/bench", 200),
        ("/models/nobody", 404),
    ):
        assert (await call("GET", path)).status == status, path
    for path, response in ids.items():
        assert (await call("DELETE", f"/responses/{response}")).status == 200
        again = {**key, "Idempotency-Key": f"again{path}"}
        assert (await call("POST", path, json=asked(path, "now"), headers=again)).status == 410
    for path in ("/models", "/models/bench"):
        assert (await call("GET", path, headers={})).status == 401
    for method, path in (("GET", ""), ("GET", "/input_items"), ("POST", "/cancel"), ("DELETE", "")):
        assert (await call(method, f"/responses/{second}{path}")).status == 404
        assert (await call(method, f"/responses/{second}{path}", headers={})).status == 401


async def without_end() -> AsyncIterator[bytes]:
    """A body that does not come to its end."""
    yield b"{"
    await asyncio.sleep(60)


async def slow_bodies(api: Api) -> None:
    """What is answered to a body that does not arrive, by a host that waits hardly for one."""
    key = {"Authorization": f"Bearer {CLIENT_KEYS['ada']}"}
    run_id = await api.start("Hello.", agent="workshop")
    batch = await api.call("POST", "/api/batches", json={"items": [{"input": 1}]})
    token = await api.call("POST", f"/api/runs/{run_id}/tokens", json={"rights": ["answer"]})
    operator = {"x-dormouse-operator-key": OPERATOR_KEY}
    for name in ("intake", "drain"):
        reply = await api.call("PUT", f"/api/ops/{name}", data=without_end(), headers=JSON | operator)
        assert reply.status == 408
    yearly = await api.call("POST", "/api/schedules", json={"cron": "0 6 1 1 *", "input": "x"})
    change = f"/api/schedules/{yearly['id']}"
    assert (await api.call("PATCH", change, data=without_end(), headers=JSON)).status == 408
    for name in ("export", "erase"):
        reply = await api.call("POST", f"/api/ops/{name}", data=without_end(), headers=JSON | operator)
        assert reply.status == 408
    for path, headers in (
        (f"/api/runs/{run_id}/tokens", JSON),
        (f"/api/batches/{batch['id']}/tokens", JSON),
        (f"/api/shared/runs/{run_id}/answers", JSON | {"Authorization": f"Bearer {token['token']}"}),
        ("/api/runs", JSON),
        (f"/api/runs/{run_id}/answers", JSON),
        ("/api/batches", JSON),
        ("/api/schedules", JSON),
        ("/api/webhooks/openai", {**JSON, **_signed(b"{}")}),
        ("/api/v1/responses", JSON | key),
        ("/api/v1/chat/completions", JSON | key),
    ):
        assert (await api.call("POST", path, data=without_end(), headers=headers)).status == 408, path


async def viewers(api: Api, stack: Stack) -> None:
    """What one more viewer than an owner may have is answered, where that is one."""
    key = {"Authorization": f"Bearer {CLIENT_KEYS['ada']}"}
    await stack.model.script("long", [{"stuck": True, "text": "Never."}])
    run_id = await api.start("[script:long]", agent="workshop")
    body = {"model": "bench", "input": "[script:long]", "background": True, "stream": True}
    async with aiohttp.ClientSession(api.url) as session:
        async with session.get(f"/api/runs/{run_id}/events"):
            for path in ("/events", "?wait=1"):
                assert (await api.call("GET", f"/api/runs/{run_id}{path}")).status == 429, path
        token = await api.call("POST", f"/api/runs/{run_id}/tokens", json={"rights": ["read"]})
        shared = {"Authorization": f"Bearer {token['token']}"}
        async with session.get(f"/api/shared/runs/{run_id}/events", headers=shared):
            for path in ("/events", "?wait=1"):
                address = f"/api/shared/runs/{run_id}{path}"
                assert (await api.call("GET", address, headers=shared)).status == 429, path
        async with session.post("/api/v1/responses", json=body, headers=key) as stream:
            first = await stream.content.readuntil(b"\n\n")
            assert stream.status == 200, first
            created = json.loads(first.partition(b"data: ")[2])
            path = f"/api/v1/responses/{created['response']['id']}?stream=true"
            assert (await api.call("GET", path, headers=key)).status == 429


async def every_operation(api: Api, headers: Mapping[str, str] | None = None) -> list[tuple[str, int]]:
    """One request to each operation, and what came of it."""
    seen = []
    for path, operations in contract().document["paths"].items():
        for name, value in NOBODYS.items():
            path = path.replace(f"{{{name}}}", value)
        for method, operation in operations.items():
            body: dict[str, Any] = {"json": {"input": "x"}} if method == "post" else {}
            reply = await api.call(method.upper(), path, headers=headers, **body)
            seen.append((operation["operationId"], reply.status))
    return seen


async def test_every_answer_that_the_contract_promises_is_given(own_stack: Callable[..., Stack]) -> None:
    contract().seen.clear()
    stack = own_stack("timer", DORMOUSE_MAX_ACTIVE_RUNS="2")
    async with WithHead((await asyncio.to_thread(stack.host)).url) as api:
        await good_and_bad_requests(api, stack)
    told = own_stack("timer", OPENAI_WEBHOOK_SECRET=SECRET)
    async with WithHead((await asyncio.to_thread(told.host)).url) as api:
        await webhooks(api, told)
    telling = own_stack("timer", DORMOUSE_CALLBACK_ALLOW="127.0.0.1")
    host = await asyncio.to_thread(lambda: telling.host(DORMOUSE_CALLBACK_SECRET=CALLBACK_SECRET))
    async with WithHead(host.url) as api:
        deliveries = await callbacks(api, telling)
    await asyncio.to_thread(host.stop)
    async with WithHead((await asyncio.to_thread(telling.host)).url) as api:  # with no secret to sign with
        for address in deliveries:
            assert (await api.call("POST", address)).status == 400
    served = own_stack("timer", DORMOUSE_MAX_ACTIVE_RUNS="2")
    hasty = await asyncio.to_thread(lambda: served.host(DORMOUSE_API_WAIT_SECONDS="0.1"))
    async with WithHead((await asyncio.to_thread(served.host)).url) as api, WithHead(hasty.url) as other:
        await openai_clients(api, other, served)
    many = own_stack("timer")
    async with WithHead((await asyncio.to_thread(many.host)).url) as api:
        await batches(api, many)
        await retried_batches(api, many)
        await schedules(api)
    shared = own_stack("timer", DORMOUSE_RUN_TOKEN_SECRET=TOKEN_SECRET)
    async with WithHead((await asyncio.to_thread(shared.host)).url) as api:
        await run_tokens(api, shared)
    operated = own_stack("timer", DORMOUSE_OPERATOR_KEY=OPERATOR_KEY)
    async with WithHead((await asyncio.to_thread(operated.host)).url) as api:
        await operators(api, operated)
    keys = {"DORMOUSE_RUN_TOKEN_SECRET": TOKEN_SECRET, "DORMOUSE_OPERATOR_KEY": OPERATOR_KEY}
    hurried = {"DORMOUSE_BODY_SECONDS": "0.2", "DORMOUSE_MAX_VIEWERS": "1", "OPENAI_WEBHOOK_SECRET": SECRET}
    busy = own_stack("timer", **keys, **hurried)
    async with WithHead((await asyncio.to_thread(busy.host)).url) as api:
        await slow_bodies(api)
        await viewers(api, busy)
    locked = await asyncio.to_thread(lambda: served.host(args=["--function-key", "the-key-of-the-platform"]))
    async with WithHead(locked.url) as api:
        for function, status in await every_operation(api):
            assert status == 401 or function.startswith("get_health"), function
    own = own_stack("timer", DORMOUSE_AUTH="appservice", WEBSITE_AUTH_ENABLED="True", DORMOUSE_API_KEYS="")
    async with WithHead((await asyncio.to_thread(own.host)).url) as api:
        for function, status in await every_operation(api):
            assert status in (401, 404) or function.startswith("get_health"), function
    acting = own_stack(
        "timer", DORMOUSE_DELEGATION="1", DORMOUSE_API_KEYS="a+delegate:0123456789abcdef,b:fedcba9876543210"
    )
    async with WithHead((await asyncio.to_thread(acting.host)).url) as api:
        for key, user, refused in (("0123456789abcdef", "a b", 400), ("fedcba9876543210", "ann", 403)):
            headers = {"Authorization": f"Bearer {key}", "Dormouse-On-Behalf-Of": user}
            for function, status in await every_operation(api, headers):
                assert status == refused or not function.startswith("v1_"), function
    off, entries = own_stack("timer"), described()
    async with WithHead((await asyncio.to_thread(off.host)).url) as api:
        for function, status in await every_operation(api, {"Dormouse-On-Behalf-Of": "ann"}):
            whose = entries[function.removesuffix("_head")].acts_for
            assert status == 403 or whose == "nobody" or function.startswith("v1_"), function
    gone = own_stack("timer", DORMOUSE_DEADLINE_SECONDS="x")
    async with WithHead((await asyncio.to_thread(gone.host)).url) as api:
        for function, status in await every_operation(api):
            assert status == 503, function

    promised = {
        (operation["operationId"], int(status))
        for operations in contract().document["paths"].values()
        for operation in operations.values()
        for status in operation["responses"]
        if status.isdecimal()  # a whole class of them is what the platform alone decides
    }
    left = {(function, status) for function, status in promised - contract().seen if ("*", status) not in ELSEWHERE}
    assert left == set()


def _signed(body: bytes) -> dict[str, str]:
    """The headers of the provider's webhook with any body."""
    from datetime import UTC, datetime

    from standardwebhooks import Webhook

    now = datetime.now(UTC)
    return {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(SECRET).sign("evt_1", now, body.decode()),
    }
