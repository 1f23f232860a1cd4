"""Run tokens: what each opens to whoever has it, and that it opens nothing else, wherever the platform wants a key."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from local.openapi.triggers import triggers
from local.stack import FunctionsHost
from shared.api import routing
from shared.api.run_tokens import Right, Subject, sign
from shared.settings import Settings
from tests.acceptance.batches import over
from tests.acceptance.client import Api, Reply
from tests.acceptance.conftest import Stack, move_clock, new_stack
from tests.acceptance.eventsource import Watcher
from tests.acceptance.test_owners import SIGNED_IN

SECRET, OTHER = "token-secret-of-the-tests-" * 2, "other-secret-of-the-tests-" * 2
PAGE = "https://app.example.com"
FUNCTION_KEY = "the-function-key-of-the-tests"
BY_KEY = {"x-functions-key": FUNCTION_KEY}
BY_SIGN_IN = {"x-ms-client-principal-id": "ann", "x-ms-client-principal-idp": "aad"}
ALL = ["read", "answer", "cancel"]
OPEN_TO_ALL = {"get_health"}


@dataclass(kw_only=True)
class Shop:
    """An app that gives out tokens, its owner, and a stranger who has nothing but what is handed to them."""

    stack: Stack
    host: FunctionsHost
    owner: Api
    stranger: Api

    async def token(self, subject: str, rights: list[str] | None = None, **asked: Any) -> str:
        """A token of the owner's for this run or batch."""
        kind = "batches" if subject.startswith("batch_") else "runs"
        given = rights or (["read"] if kind == "batches" else ALL)
        reply = await self.owner.call("POST", f"/api/{kind}/{subject}/tokens", json={"rights": given, **asked})
        assert reply.status == 200, reply
        assert reply.headers["Cache-Control"] == "no-store"
        assert "ETag" not in reply.headers
        return str(reply["token"])

    async def call(self, token: str | None, method: str, path: str, **more: Any) -> Reply:
        """A call of the stranger's, with nothing but the token."""
        headers = {**({} if token is None else bearer(token)), **more.pop("headers", {})}
        return await self.stranger.call(method, path, headers=headers, **more)

    def log(self) -> str:
        """All that its host has logged."""
        return "".join(path.read_text("utf-8") for path in self.stack.folder.glob("host-*.log"))

    async def script(self, *turns: Mapping[str, Any]) -> str:
        name = f"s{secrets.token_hex(4)}"
        await self.stack.model.script(name, list(turns))
        return f"[script:{name}]"

    async def lasting(self) -> str:
        """A run that goes on until it is cancelled. Before that nothing changes but when it is looked at."""
        run_id = await self.owner.start(await self.script({"stuck": True}), agent="workshop")
        await self.owner.until(run_id, lambda run: run["provider_status"] == "in_progress")
        return run_id

    async def done(self) -> str:
        """A run that has completed."""
        run_id = await self.owner.start(await self.script({"text": "Fine."}), agent="workshop")
        assert (await self.owner.finished(run_id))["status"] == "completed"
        return run_id

    async def schedule(self) -> str:
        """A schedule whose time does not come."""
        given = {"agent": "workshop", "cron": "0 6 1 1 *", "input": "x"}
        return str((await self.owner.call("POST", "/api/schedules", json=given))["id"])

    async def batch(self) -> str:
        given = {"agent": "workshop", "items": [{"input": await self.script({"text": "Fine."})}]}
        return str((await self.owner.call("POST", "/api/batches", json=given))["id"])


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


class Owner(Api):
    """Who has a function key, or has signed in."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        super().__init__(url)
        self._headers = dict(headers)


Open = Callable[..., Awaitable[Shop]]


@pytest.fixture
async def opened() -> AsyncIterator[Callable[[Stack, Mapping[str, str], FunctionsHost], Awaitable[Shop]]]:
    """Make a shop of a host that runs, for the length of the test."""
    async with contextlib.AsyncExitStack() as apis:

        async def of(stack: Stack, owner: Mapping[str, str], host: FunctionsHost) -> Shop:
            mine, strangers = Owner(host.url, owner), Api(host.url)
            for api in (mine, strangers):
                await apis.enter_async_context(api)
            return Shop(stack=stack, host=host, owner=mine, stranger=strangers)

        yield of


@pytest.fixture
async def own_shop(own_stack: Callable[..., Stack], opened: Any) -> Open:
    """Open one of the test's own: ``await own_shop(SETTING="value")``."""

    async def make(*, stack: Stack | None = None, **env: str) -> Shop:
        stack = stack or own_stack("durable")
        return await opened(stack, BY_KEY, await asyncio.to_thread(lambda: host_of(stack, **env)))

    return make


@pytest.fixture(scope="module")
def hosts(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[bool], tuple[Stack, FunctionsHost]]]:
    """One host for each way to sign in, started when first asked for."""
    running: dict[bool, tuple[Stack, FunctionsHost]] = {}
    with contextlib.ExitStack() as stack:

        def get(sign_in: bool) -> tuple[Stack, FunctionsHost]:
            if sign_in not in running:
                azurite, model = (request.getfixturevalue(name) for name in ("azurite", "model_server"))
                folder = tmp_path_factory.mktemp("tokens")
                made = new_stack("durable", azurite, model, folder, stack, SIGNED_IN if sign_in else {})
                running[sign_in] = made, host_of(made)
            return running[sign_in]

        yield get


@pytest.fixture
async def shop(hosts: Any, opened: Any) -> Callable[[Mapping[str, str]], Awaitable[Shop]]:
    """Enter the one whose owner signs in like this: ``await shop(BY_KEY)``."""

    async def enter(owner: Mapping[str, str] = BY_KEY) -> Shop:
        stack, host = await asyncio.to_thread(hosts, owner is BY_SIGN_IN)
        return await opened(stack, owner, host)

    return enter


def host_of(stack: Stack, **env: str) -> FunctionsHost:
    """A host that enforces function keys, however its owners sign in."""
    given = {"DORMOUSE_RUN_TOKEN_SECRET": SECRET, "DORMOUSE_ALLOWED_ORIGINS": PAGE, **env}
    return stack.host(args=["--function-key", FUNCTION_KEY], **given)


both_sign_ins = pytest.mark.parametrize("owner", [BY_KEY, BY_SIGN_IN], ids=["function keys", "App Service"])


def addresses(**values: str) -> list[tuple[str, str, str]]:
    """Every route of the app by the code's own record: function, method and address with these ids in it."""
    found = []
    for name, trigger in triggers().items():
        path = re.sub(r"\{(\w+)\}", lambda match: values[match[1]], trigger.path)
        found += [(name, method, path) for method in trigger.methods]
    return found


@both_sign_ins
async def test_a_token_opens_its_own_run_or_batch_and_nothing_else_anywhere(
    shop: Open, owner: Mapping[str, str]
) -> None:
    app = await shop(owner)
    run, batch = await app.lasting(), await app.batch()
    values = {
        "run_id": run,
        "batch_id": batch,
        "schedule_id": await app.schedule(),
        "session_id": run.split("_")[1],
        "response_id": run.replace("run_", "resp_"),
        "model": "workshop",
        "call": "1.0",
        "action": "end",
    }
    every = addresses(**values)
    assert {name for name, _, _ in every} == triggers().keys()
    assert all(any(re.fullmatch(each, path[1:]) for each in routing.ROUTES) for _, _, path in every)
    tokens = {"run": await app.token(run), "batch": await app.token(batch)}
    yes = {"answers": {"call_1": {"approve": True}}}
    opened = []
    for name, method, path in every:
        body = {"json": yes if name.endswith("answer_run") else {"input": "x"}} if method == "POST" else {}
        for kind, token in tokens.items():
            if name.startswith("shared_") and ("batch" in name) == (kind == "batch"):
                opened.append((name, method, path, token, body))
                continue
            status = (await app.call(token, method, path, **body)).status
            assert status == 200 if name in OPEN_TO_ALL else status in (401, 404), (kind, name, method, status)
    assert (await app.owner.run(run))["status"] == "in_progress", "all that was refused has changed nothing"
    for name, method, path, token, body in sorted(opened, key=lambda each: each[0] == "shared_cancel_run"):
        if (name, method) != ("shared_watch_run", "GET"):  # which does not end; a test of its own
            status = (await app.call(token, method, path, **body)).status
            assert status == (409 if name == "shared_answer_run" else 200), (name, method, status)
    assert {name for name, *_ in opened} == {name for name in triggers() if name.startswith("shared_")}
    assert (await app.owner.run(run))["status"] == "cancelled"


@both_sign_ins
async def test_below_the_shared_address_there_is_nothing_but_these_routes(shop: Open, owner: Mapping[str, str]) -> None:
    app = await shop(owner)
    run, batch = await app.lasting(), await app.batch()
    token, other = await app.token(run), await app.token(batch)
    session = run.split("_")[1]
    for path in (
        "/runs", "/runs/", "/batches", "/health", "/agents", "/openapi.json", f"/sessions/{session}", "/v1/models",
        f"/runs/{run}/tokens", f"/runs/{run}/deliveries", f"/runs/{run}/input", f"/runs/{run}/events/x",
        f"/batches/{batch}/items", f"/batches/{batch}/cancel", f"/batches/{batch}/tokens",
        f"/runs/{run}%2Fdeliveries", f"/runs/{run}x", f"/runs//{run}", f"/shared/runs/{run}",
    ):  # fmt: skip
        for method in ("GET", "POST", "DELETE", "PUT", "PATCH"):
            for each in (token, other, None):
                reply = await app.call(each, method, f"/api/shared{path}", json={} if method != "GET" else None)
                assert reply.status == 404, (method, path, reply)
    assert (await app.call(token, "GET", f"/api/shared/runs/{run}%0A"))["code"] == "run_not_found"
    for method in ("DELETE", "PUT", "PATCH", "POST"):
        reply = await app.call(token, method, f"/api/shared/runs/{run}", json={})
        assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD")
    assert (await app.owner.run(run))["status"] == "in_progress"


def forged(token: str) -> dict[str, str]:
    """What a stranger can make of a token."""

    def packed(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    def signed(head: str, body: str, secret: str) -> str:
        digest = hmac.new(secret.encode(), f"{head}.{body}".encode(), hashlib.sha256).digest()
        return f"{head}.{body}.{packed(digest)}"

    head, body, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    longer = packed(json.dumps({**claims, "exp": claims["exp"] + 1}).encode())
    none = packed(b'{"alg":"none","typ":"JWT"}')
    return {
        "alg none": f"{none}.{body}.",
        "alg none, signed": f"{none}.{body}.{signature}",
        "other secret": signed(head, body, OTHER),
        "changed claims": f"{head}.{longer}.{signature}",
        "other signature": f"{head}.{body}.{signature[::-1]}",
        "no token": "hello",
        "the function key": FUNCTION_KEY,
    }


@pytest.mark.main
@both_sign_ins
async def test_what_is_forged_expired_swapped_or_revoked_is_refused(shop: Open, owner: Mapping[str, str]) -> None:
    app = await shop(owner)
    run, other, batch, second = await app.lasting(), await app.lasting(), await app.batch(), await app.batch()
    asks = [
        ("GET", f"/api/shared/runs/{run}", None),
        ("GET", f"/api/shared/runs/{run}?wait=5", None),
        ("GET", f"/api/shared/runs/{run}/events", None),
        ("POST", f"/api/shared/runs/{run}/answers", {"answers": {"call_1": {"approve": True}}}),
        ("POST", f"/api/shared/runs/{run}/cancel", None),
        ("GET", f"/api/shared/batches/{batch}", None),
    ]
    mine = {"runs": await app.token(run, seconds=60), "batches": await app.token(batch, seconds=60)}
    long = {"runs": await app.token(run, seconds=86_400), "batches": await app.token(batch, seconds=86_400)}
    swapped = {"runs": await app.token(other), "batches": await app.token(second)}
    crossed = {"runs": mine["batches"], "batches": mine["runs"]}

    async def all_are(given: Mapping[str, str | None], status: int, code: str) -> None:
        for method, path, body in asks:
            kind = path.split("/")[3]
            reply = await app.call(given[kind], method, path, json=body)
            wanted = code if code != "not_found" else {"runs": "run_not_found", "batches": "batch_not_found"}[kind]
            assert (reply.status, reply["code"]) == (status, wanted), (path, given[kind], reply)
            assert (status == 401) == ("Bearer" in reply.headers.get("WWW-Authenticate", ""))
            assert "eyJ" not in reply.raw.decode()

    await all_are({"runs": None, "batches": None}, 401, "token_required")
    made = {kind: forged(token) for kind, token in mine.items()}
    for name in made["runs"]:
        await all_are({kind: each[name] for kind, each in made.items()}, 401, "invalid_token")
    await all_are(swapped, 404, "not_found")
    await all_are(crossed, 404, "not_found")
    # As if there had been another run, or another owner, of this very id: nobody else can sign such a token.
    settings, now = Settings(run_token_secret=SECRET), datetime.now(UTC)
    others = {
        kind: sign(settings, Subject(id=each, owner="user:eve", fingerprint="0" * 32), frozenset(Right), 60, None, now)
        for kind, each in (("runs", run), ("batches", batch))
    }
    await all_are({kind: each.text for kind, each in others.items()}, 404, "not_found")
    for method, path, body in asks:
        for name in ("token", "access_token"):
            mark = "&" if "?" in path else "?"
            reply = await app.call(None, method, f"{path}{mark}{name}={long['runs']}", json=body)
            assert (reply.status, reply["code"]) == (400, "token_in_query")
    await move_clock(app.host, 61)
    await all_are(mine, 401, "token_expired")
    assert (await app.owner.run(run))["status"] == "in_progress", "nothing of all this has done anything"
    assert (await app.call(long["runs"], "GET", asks[0][1])).status == 200
    for kind, subject in (("runs", run), ("batches", batch)):
        assert (await app.owner.call("DELETE", f"/api/{kind}/{subject}")).status == 204
    await all_are(long, 404, "not_found")
    assert "eyJ" not in app.log(), "no token is in the log"


@pytest.mark.main
async def test_each_right_opens_its_own_routes_only(shop: Open) -> None:
    app = await shop()
    run = await app.lasting()
    needs = {
        "read": [("GET", f"/api/shared/runs/{run}"), ("HEAD", f"/api/shared/runs/{run}/events")],
        "answer": [("POST", f"/api/shared/runs/{run}/answers")],
        "cancel": [("POST", f"/api/shared/runs/{run}/cancel")],
    }
    for right in ALL:
        token = await app.token(run, [right])
        for needed, asks in needs.items():
            for method, path in asks if needed != right else []:
                reply = await app.call(token, method, path, json={} if method == "POST" else None)
                assert reply.status == 403
                assert method == "HEAD" or (reply["code"] == "token_right_missing" and f"`{needed}`" in reply["detail"])
    batch = await app.batch()
    reply = await app.owner.call("POST", f"/api/batches/{batch}/tokens", json={"rights": ["cancel"]})
    assert (reply.status, reply["code"]) == (400, "invalid_request")


@pytest.mark.main
@both_sign_ins
async def test_who_has_a_token_reads_waits_and_watches_as_the_owner_does(shop: Open, owner: Mapping[str, str]) -> None:
    app = await shop(owner)
    run = await app.owner.start(await app.script({"text": "Once upon a time.", "think": 1.0}), stream=True)
    token = await app.token(run, ["read"])
    path = f"/api/shared/runs/{run}"
    watcher = Watcher(app.host.url, run, under="/api/shared/runs", headers=bearer(token))
    await watcher.one_further("snapshot", "delta")
    assert watcher.last is not None, "it goes on from an event of its own"
    await watcher.to_the_end()
    watcher.check()
    assert watcher.text == "Once upon a time."
    assert watcher.connections >= 2
    reply = await app.call(token, "GET", f"{path}/events", headers={"Last-Event-ID": "end"})
    assert reply.status == 204
    mine, theirs = await app.owner.call("GET", f"/api/runs/{run}"), await app.call(token, "GET", path)
    assert (theirs.raw, theirs.headers["ETag"]) == (mine.raw, mine.headers["ETag"])
    assert (await app.call(token, "GET", path, headers={"If-None-Match": theirs.headers["ETag"]})).status == 304
    head = await app.call(token, "HEAD", path)
    assert (head.status, head.raw, head.headers["ETag"]) == (200, b"", mine.headers["ETag"])
    assert (await app.call(token, "GET", f"{path}?wait=x")).status == 400
    lasting = await app.lasting()
    other = await app.token(lasting)
    known = (await app.call(other, "GET", f"/api/shared/runs/{lasting}")).headers["ETag"]
    held = asyncio.create_task(
        app.call(other, "GET", f"/api/shared/runs/{lasting}?wait=30", headers={"If-None-Match": known})
    )
    await asyncio.sleep(0)
    assert (await app.owner.cancel(lasting))["status"] == "cancelled"
    assert (await held)["status"] == "cancelled"


@both_sign_ins
async def test_who_has_a_token_answers_and_cancels(shop: Open, owner: Mapping[str, str]) -> None:
    app = await shop(owner)
    text = await app.script({"calls": [{"name": "send", "arguments": {"label": "a"}}]}, {"text": "Sent."})
    run = await app.owner.start(text, agent="workshop")
    asked = await app.owner.until(run, lambda seen: seen["status"] == "requires_action")
    (call,) = asked["required_action"]["calls"]
    token = await app.token(run, ["answer"], label="Ann, by mail")
    path, body = f"/api/shared/runs/{run}/answers", {"answers": {call["id"]: {"approve": True}}}
    assert (await app.call(token, "POST", path, json={"answers": {}})).status == 400
    for _ in range(2):
        reply = await app.call(token, "POST", path, json=body)
        assert reply.status == 200, reply
    assert (await app.owner.finished(run))["text"] == "Sent."
    lasting = await app.lasting()
    cancels = await app.token(lasting, ["cancel"])
    for _ in range(2):
        assert (await app.call(cancels, "POST", f"/api/shared/runs/{lasting}/cancel"))["status"] == "cancelled"
    batch = await app.batch()
    reads = await app.token(batch)
    await over(app.owner, batch)
    seen = await app.call(reads, "GET", f"/api/shared/batches/{batch}")
    assert seen["counts"]["completed"] == 1
    again = await app.call(
        reads, "GET", f"/api/shared/batches/{batch}", headers={"If-None-Match": seen.headers["ETag"]}
    )
    assert again.status == 304


@pytest.mark.main
async def test_a_submit_can_ask_for_a_token_which_no_other_answer_holds(shop: Open) -> None:
    app = await shop()
    asked = {"rights": ["read", "cancel"], "seconds": 120, "label": "a page"}
    text = await app.script({"stuck": True})
    made = await app.owner.submit(text, key="k", agent="workshop", token=asked)
    assert made.status == 202
    assert made["token"].keys() == {"token", "expires_at"}
    assert made.headers["Cache-Control"] == "no-store"
    run = made["id"]
    plain = {name: value for name, value in made.body.items() if name != "token"}
    seen = await app.owner.call("GET", f"/api/runs/{run}")
    is_same = seen.headers["ETag"] == made.headers["ETag"]
    assert is_same is (seen.body == plain), "that of the run, so that it is good for the next question"
    assert "token" not in await app.owner.run(run)
    assert (await app.call(made["token"]["token"], "GET", f"/api/shared/runs/{run}"))["status"] == "in_progress"
    # Repeated: the same run, and a fresh token, or another, or none.
    for more in ({"token": asked}, {"token": {"rights": ["answer"]}}, {}):
        again = await app.owner.submit(text, key="k", agent="workshop", **more)
        assert (again["id"], "token" in again.body) == (run, bool(more))
    assert (await app.call(made["token"]["token"], "POST", f"/api/shared/runs/{run}/cancel"))["status"] == "cancelled"
    given = {"agent": "workshop", "items": [{"input": await app.script({"text": "Fine."})}]}
    key = {"Idempotency-Key": "b"}
    batch = await app.owner.call("POST", "/api/batches", json={**given, "token": {"rights": ["read"]}}, headers=key)
    assert batch.status == 202
    shared = await app.call(batch["token"]["token"], "GET", f"/api/shared/batches/{batch['id']}")
    assert (shared["id"], "token" in shared.body) == (batch["id"], False)
    again = await app.owner.call("POST", "/api/batches", json=given, headers=key)
    assert (again["id"], "token" in again.body) == (batch["id"], False)
    for wrong in (
        {}, {"rights": []}, {"rights": ["write"]}, {"rights": ["read"], "seconds": 0}, {"rights": "read"},
        {"rights": ["read"], "seconds": 604_801}, {"rights": ["read"], "seconds": 1.5}, {"rights": ["read"], "x": 1},
        {"rights": ["read"], "label": ""}, {"rights": ["read"], "label": "x" * 65}, {"rights": ["read"], "label": "\n"},
    ):  # fmt: skip
        for reply in (
            await app.owner.submit("x", agent="workshop", token=wrong),
            await app.owner.call("POST", f"/api/runs/{run}/tokens", json=wrong),
            await app.owner.call("POST", "/api/batches", json={**given, "token": wrong}),
            await app.owner.call("POST", f"/api/batches/{batch['id']}/tokens", json=wrong),
        ):
            assert (reply.status, reply["code"]) == (400, "invalid_request"), wrong
    item = {"agent": "workshop", "items": [{"input": "x", "token": {"rights": ["read"]}}]}
    refused = await app.owner.call("POST", "/api/batches", json=item)
    assert refused["counts"]["failed"] == 1, "an item is a run of the batch, and has no answer of its own"
    listed = (await app.owner.call("GET", "/api/runs?agent=workshop"))["data"]
    assert listed[0]["id"] != run
    assert "token" not in listed[0]


async def test_without_a_secret_a_request_for_a_token_starts_nothing(own_shop: Open) -> None:
    app = await own_shop(DORMOUSE_RUN_TOKEN_SECRET="")
    run = await app.done()
    asked = {"rights": ["read"]}
    for reply in (
        await app.owner.submit("x", token=asked),
        await app.owner.call("POST", "/api/batches", json={"items": [{"input": "x"}], "token": asked}),
        await app.owner.call("POST", f"/api/runs/{run}/tokens", json=asked),
    ):
        assert (reply.status, reply["code"]) == (400, "tokens_disabled")
    assert [each["id"] for each in (await app.owner.call("GET", "/api/runs"))["data"]] == [run]
    assert (await app.owner.call("GET", "/api/batches"))["data"] == []
    assert (await app.call("eyJ.eyJ.x", "GET", f"/api/shared/runs/{run}")).status == 401, "the platform wants its key"
    assert (await app.owner.call("GET", f"/api/shared/runs/{run}"))["code"] == "not_found"


async def test_a_secret_is_changed_for_another_without_a_token_lost(own_shop: Open) -> None:
    first = await own_shop()
    run = await first.done()
    old = await first.token(run)
    second = await own_shop(stack=first.stack, DORMOUSE_RUN_TOKEN_SECRET=f"{OTHER} {SECRET}")
    new = await second.token(run)
    third = await own_shop(stack=first.stack, DORMOUSE_RUN_TOKEN_SECRET=OTHER)
    path = f"/api/shared/runs/{run}"
    seen = {
        (name, label): (await app.call(token, "GET", path)).status
        for name, app in (("before", first), ("both", second), ("after", third))
        for label, token in (("old", old), ("new", new))
    }
    assert seen == {
        ("before", "old"): 200, ("before", "new"): 401, ("both", "old"): 200,
        ("both", "new"): 200, ("after", "old"): 401, ("after", "new"): 200,
    }  # fmt: skip


async def test_another_owner_gets_no_token_for_a_run(shop: Open) -> None:
    app = await shop(BY_SIGN_IN)
    run, batch = await app.done(), await app.batch()
    bob = {"x-ms-client-principal-id": "bob", "x-ms-client-principal-idp": "aad"}
    for path, code in ((f"runs/{run}", "run_not_found"), (f"batches/{batch}", "batch_not_found")):
        reply = await app.stranger.call("POST", f"/api/{path}/tokens", json={"rights": ["read"]}, headers=bob)
        assert (reply.status, reply["code"]) == (404, code)
        assert (await app.stranger.call("POST", f"/api/{path}/tokens", json={"rights": ["read"]})).status == 401
        assert (
            await app.call(await app.token(path.split("/")[1]), "POST", f"/api/{path}/tokens", json={})
        ).status == 401


async def test_pages_of_origins_that_are_named_may_call_and_read_and_no_others(shop: Open) -> None:
    app = await shop()
    run = await app.done()
    token = await app.token(run)
    path = f"/api/shared/runs/{run}"
    asks = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization,last-event-id"}
    for address, methods in ((path, "GET, HEAD"), (f"{path}/events", "GET, HEAD"), (f"{path}/cancel", "POST")):
        reply = await app.call(None, "OPTIONS", address, headers={"Origin": PAGE, **asks})
        assert (reply.status, reply.raw) == (204, b"")
        assert reply.headers["Access-Control-Allow-Origin"] == PAGE
        assert reply.headers["Access-Control-Allow-Methods"] == methods
        assert "Last-Event-ID" in reply.headers["Access-Control-Allow-Headers"]
    for address, given, status in (
        (path, token, 200),
        (f"{path}/events", token, 200),
        (path, None, 401),
        (path, "x", 401),
        (f"{path}?token=x", token, 400),
        ("/api/shared/else", token, 404),
    ):
        reply = await app.call(given, "GET", address, headers={"Origin": PAGE})
        assert (reply.status, reply.headers["Access-Control-Allow-Origin"]) == (status, PAGE), address
        assert "Origin" in reply.headers["Vary"]
        assert {"ETag", "Retry-After", "Location"} <= set(
            reply.headers["Access-Control-Expose-Headers"].replace(",", " ").split()
        )
        assert "Access-Control-Allow-Credentials" not in reply.headers
        assert "Access-Control-Allow-Origin" not in (await app.call(given, "GET", address)).headers
    # The local host refuses a page that nobody has named before the app is asked; the platform does not.
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": f"{PAGE}.evil.example"}):
        async with (
            aiohttp.ClientSession(app.host.url) as session,
            session.get(path, headers={**bearer(token), **headers}) as response,
        ):
            assert "Access-Control-Allow-Origin" not in response.headers
            assert "pages of other origins" in await response.text()
    owned = await app.owner.call("GET", f"/api/runs/{run}", headers={"Origin": PAGE})
    assert (owned.status, "Access-Control-Allow-Origin" in owned.headers) == (200, False)
    assert (await app.owner.call("OPTIONS", f"/api/runs/{run}", headers={"Origin": PAGE, **asks})).status == 405


async def test_who_has_a_token_takes_no_streams_away_from_the_owner(own_shop: Open) -> None:
    app = await own_shop(DORMOUSE_MAX_VIEWERS="1")
    run = await app.lasting()
    token = await app.token(run)
    async with (
        aiohttp.ClientSession(app.host.url) as session,
        session.get(f"/api/shared/runs/{run}/events", headers=bearer(token)) as stream,
    ):
        assert stream.status == 200
        await stream.content.readline()
        refused = await app.call(token, "GET", f"/api/shared/runs/{run}?wait=1")
        assert (refused.status, refused["code"]) == (429, "too_many_viewers")
        assert (await app.owner.call("GET", f"/api/runs/{run}?wait=1")).status == 200
