"""Callers with a key who act for users: no call for one user reaches anything of another's, on any route."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import aiohttp
import pytest

from local.openapi.document import described
from local.openapi.triggers import Trigger, triggers
from shared.api.callers import CHANGING
from tests.acceptance.client import TERMINAL, Api, Reply
from tests.acceptance.conftest import CLIENT_KEYS, Stack
from tests.acceptance.test_contract import NOBODYS
from tests.parts.receiver import SECRET as CALLBACK_SECRET
from tests.parts.receiver import Receiver
from tests.parts.waiting import eventually

OwnStack = Callable[..., Stack]

FUNCTION_KEY = "secret"
PORTAL = {"Authorization": "Bearer portal-secret-0123456789"}
ADA = {"Authorization": f"Bearer {CLIENT_KEYS['ada']}"}
API_KEYS = f"portal+delegate:portal-secret-0123456789,ada:{CLIENT_KEYS['ada']}"
MARK = "only-ann-may-read-this"

OF_OWNERS = {
    "run_id": "run_not_found",
    "session_id": "session_not_found",
    "batch_id": "batch_not_found",
    "schedule_id": "schedule_not_found",
    "response_id": "response_not_found",
}
"""Parameters of addresses that name what has an owner, and what is said of another's."""

PARTS = {"call": "1.0", "action": "wake"}
"""Parameters that name a part of it, or what is to be done with it."""

BODIES: Mapping[str, Callable[[Mapping[str, str]], object]] = {
    "answer_run": lambda ids: {"answers": {ids["approval"]: {"approve": True}}},
    "create_run_token": lambda ids: {"rights": ["read"]},
    "create_batch_token": lambda ids: {"rights": ["read"]},
    "change_schedule": lambda ids: {"paused": True},
}
"""What is sent to an address of something that is there, from its ids; nothing to the others."""

LISTS = {"list_runs", "list_batches", "list_schedules"}
STARTS = {"create_run", "create_batch", "create_schedule", "v1_create_response", "v1_create_completion"}
OPERATIONS = described()
ROUTES = sorted(triggers().values(), key=lambda each: each.function)


def acts_for(route: Trigger) -> str:
    return OPERATIONS[route.function].acts_for


def of_openai(route: Trigger) -> bool:
    return OPERATIONS[route.function].of_openai


def about(route: Trigger) -> str | None:
    """The parameter of an address that says what has an owner; None for an address that is everybody's."""
    found = [name for name, _ in route.parameters if name in OF_OWNERS]
    return found[0] if found else None


def for_user(user: str | None) -> dict[str, str]:
    return {} if user is None else {"Dormouse-On-Behalf-Of": user}


class Caller:
    """Somebody at the app, by either face: with a function key, and with a key for OpenAI clients."""

    def __init__(self, api: Api, user: str | None, key: Mapping[str, str] = PORTAL) -> None:
        self._api = api
        self._user = for_user(user)
        self._key = key

    async def call(self, method: str, path: str, headers: Mapping[str, str] | None = None, **more: Any) -> Reply:
        key = self._key if path.startswith("/api/v1/") else {}
        return await self._api.call(method, path, headers={**self._user, **key, **(headers or {})}, **more)

    async def at(self, route: Trigger, ids: Mapping[str, str], query: str = "", method: str | None = None) -> Reply:
        """The route with these ids in its address."""
        path = route.path
        for name, _ in route.parameters:
            path = path.replace(f"{{{name}}}", {**PARTS, **ids}[name])
        body = BODIES.get(route.function, lambda _: None)(ids)
        return await self.call(method or route.method.upper(), path + query, json=body)

    async def start(self, script: str, **fields: Any) -> Reply:
        body = {"input": f"[script:{script}] {MARK}", "agent": "workshop", **fields}
        reply = await self.call("POST", "/api/runs", json=body)
        assert reply.status in (200, 202), reply
        return reply

    async def until(self, path: str, *statuses: str) -> Reply:
        async def reached() -> Reply | None:
            reply = await self.call("GET", path)
            assert reply.status == 200, reply
            return reply if reply["status"] in statuses else None

        found: Reply = await eventually(reached)
        return found

    async def ids_of(self, path: str) -> list[str]:
        return [each["id"] for each in (await self.call("GET", path))["data"]]


def code_of(reply: Reply) -> object:
    """The code of a problem, in either shape."""
    if reply.status < 400 or not isinstance(reply.body, dict):
        return None
    return reply.body.get("code") or reply.body.get("error", {}).get("code")


@pytest.fixture
async def scene(own_stack: OwnStack) -> AsyncIterator[Callable[..., Any]]:
    """Make an app with function keys and keys for OpenAI clients: ``await scene(SETTING="value")`` is its API."""
    apis = []

    async def make(*args: str, **env: str) -> tuple[Api, Stack]:
        stack = own_stack("timer", **{"DORMOUSE_API_KEYS": API_KEYS, "DORMOUSE_EVENTS_SECONDS": "0.5", **env})
        await stack.model.script("soon", [{"think": 0, "text": f"{MARK} as well"}])
        await stack.model.script("bad", [{"think": 0, "status": "failed", "error": {"code": "invalid_prompt"}}])
        await stack.model.script("never", [{"think": 600.0, "text": "done"}])
        asks = [{"name": "send", "arguments": {"label": MARK}}]
        await stack.model.script("asks", [{"think": 0, "calls": asks}, {"think": 0, "text": MARK}])
        host = await asyncio.to_thread(stack.host, args=["--function-key", FUNCTION_KEY, *args])
        apis.append(Api(host.url, FUNCTION_KEY))
        return await apis[-1].__aenter__(), stack

    yield make
    for api in apis:
        await api.__aexit__()


async def things_of(ann: Caller, receiver: Receiver) -> dict[str, dict[str, str]]:
    """One of everything, of Ann's: what each route that changes something is to be tried at, `*` for the others."""
    ended = await ann.start("soon", callback_url=receiver.url)
    parked, active = await ann.start("asks"), await ann.start("never", stream=True)
    deleted = await ann.start("soon")
    batches = [
        await ann.call("POST", "/api/batches", json={"agent": "workshop", "items": items, **more})
        for items, more in (
            ([{"input": f"[script:soon] {MARK}"}], {"callback_url": receiver.url}),
            ([{"input": f"[script:never] {MARK}"}], {}),
            ([{"input": f"[script:bad] {MARK}"}], {}),
        )
    ]
    for each in (ended, deleted):
        await ann.until(f"/api/runs/{each['id']}", *TERMINAL)
    asking = await ann.until(f"/api/runs/{parked['id']}", "requires_action")
    for each in (batches[0], batches[2]):
        await ann.until(f"/api/batches/{each['id']}", "completed")
    schedule = await ann.call("POST", "/api/schedules", json={"cron": "0 6 1 1 *", "input": MARK, "agent": "workshop"})
    response = {"model": "bench", "input": f"[script:soon] {MARK}"}
    first = await ann.call("POST", "/api/v1/responses", json=response)
    lasting = {"model": "bench", "input": f"[script:never] {MARK}", "background": True}
    second = await ann.call("POST", "/api/v1/responses", json=lasting)
    assert (first.status, second.status) == (200, 200)
    await eventually(lambda: len(receiver.received) >= 2)
    common = {
        "run_id": parked["id"],
        "session_id": ended["session_id"],
        "batch_id": batches[0]["id"],
        "schedule_id": schedule["id"],
        "response_id": first["id"],
        "approval": asking["required_action"]["calls"][0]["id"],
    }
    return {
        "*": common,
        "cancel_run": {"run_id": active["id"]},
        "delete_run": {"run_id": deleted["id"]},
        "deliver_again": {"run_id": ended["id"]},
        "cancel_batch": {"batch_id": batches[1]["id"]},
        "delete_batch": {"batch_id": batches[1]["id"]},
        "retry_batch": {"batch_id": batches[2]["id"]},
        "v1_cancel_response": {"response_id": second["id"]},
        "v1_delete_response": {"response_id": second["id"]},
    }


def test_every_route_is_tried() -> None:
    """A new one needs to be told here what it is about, or that its answer is the same for all."""
    for route in ROUTES:
        if about(route) is None and acts_for(route) == "user":
            assert route.function in LISTS | STARTS, route.function
        unknown = {name for name, _ in route.parameters} - OF_OWNERS.keys() - PARTS.keys() - {"model"}
        assert unknown == set(), route.function
    assert len([route for route in ROUTES if about(route) is not None]) >= 18


async def test_no_call_for_one_user_reaches_anything_of_another(scene: Callable[..., Any]) -> None:
    async with Receiver() as receiver:
        api, stack = await scene(
            DORMOUSE_DELEGATION="1",
            DORMOUSE_CALLBACK_SECRET=CALLBACK_SECRET,
            DORMOUSE_CALLBACK_ALLOW="127.0.0.1",
            DORMOUSE_RUN_TOKEN_SECRET="a-secret-of-the-tests-" * 2,
            DORMOUSE_OPERATOR_KEY="a-key-of-the-operator-" * 2,
        )
        ann = Caller(api, "ann")
        things = await things_of(ann, receiver)
        strangers = {
            "bob": Caller(api, "bob"),
            "Ann in capitals": Caller(api, "ANN"),
            "a user called like another owner": Caller(api, "function"),
            "nobody's, with a key that may": Caller(api, None),
            "nobody's, with a key that may not": Caller(api, None, ADA),
        }
        ids = {value for each in things.values() for value in each.values()}
        before, asked = await snapshot(ann, things), await provider_was_asked(stack)
        for who, stranger in strangers.items():
            for route in filter(about, ROUTES):
                for given, query in tries(route, things):
                    reply = await stranger.at(route, given, query)
                    refused = {(404, OF_OWNERS[about(route) or ""])}
                    if acts_for(route) == "nobody":  # what opens it is none of these keys
                        refused.add((401, code_of(reply)))
                    assert (reply.status, code_of(reply)) in refused, (who, route.function, query, reply)
                    assert MARK.encode() not in reply.raw
                    if route.method == "get":
                        assert (await stranger.at(route, given, query, "HEAD")).status == reply.status
            for path in ("/api/runs", "/api/batches", "/api/schedules"):
                reply = await stranger.call("GET", f"{path}?limit=100")
                assert (reply.status, reply.body) == (200, {"data": []}), (who, path)
            for path, body in (
                ("/api/runs", {"input": "x", "session_id": things["*"]["session_id"]}),
                (
                    "/api/v1/responses",
                    {"model": "bench", "input": "x", "previous_response_id": things["*"]["response_id"]},
                ),
            ):
                reply = await stranger.call("POST", path, json=body)
                assert (reply.status, code_of(reply)) in (
                    (404, "session_not_found"),
                    (400, "previous_response_not_found"),
                ), (who, path)
        assert await snapshot(ann, things) == before
        assert await provider_was_asked(stack) == asked, "nothing was cancelled or deleted there"
        assert len(receiver.received) == 2, "nothing was delivered again"
        assert {*await ann.ids_of("/api/runs?limit=100"), *await ann.ids_of("/api/batches")} >= {
            each for each in ids if each.startswith(("run_", "batch_"))
        }
        await all_of_it_is_anns(ann, things)


def tries(route: Trigger, things: Mapping[str, dict[str, str]]) -> Iterator[tuple[dict[str, str], str]]:
    """The ids of Ann's to try a route with, and queries: also those that make a request wait, or a stream of it."""
    takes = {each.name for each in OPERATIONS[route.function].parameters}
    for given in [things[name] for name in ("*", route.function) if name in things]:
        yield given, ""
        if "wait" in takes:
            yield given, "?wait=1"
        if "stream" in takes:
            yield given, "?stream=true"


async def snapshot(ann: Caller, things: Mapping[str, Mapping[str, str]]) -> list[object]:
    """How Ann's things stand, without what moves by itself."""
    found: list[object] = []
    paths = {"run_id": "runs", "session_id": "sessions", "batch_id": "batches", "response_id": "v1/responses"}
    paths["schedule_id"] = "schedules"
    for given in things.values():
        for name, value in ((name, given[name]) for name in paths if name in given):
            reply = await ann.call("GET", f"/api/{paths[name]}/{value}")
            assert reply.status == 200, reply
            kept = (
                "id",
                "status",
                "text",
                "required_action",
                "error",
                "runs",
                "messages",
                "counts",
                "output",
                "cron",
                "paused",
            )
            found.append({name: reply.body[name] for name in kept if name in reply.body})
    return found


async def provider_was_asked(stack: Stack) -> int:
    """How often the provider was asked to cancel or to delete."""
    return len(await stack.model.log("cancel")) + len(await stack.model.log("delete"))


async def all_of_it_is_anns(ann: Caller, things: Mapping[str, Mapping[str, str]]) -> None:
    """That the addresses were right: every one of them does for Ann what it is there for."""
    hers = [route for route in ROUTES if about(route) and acts_for(route) == "user"]
    for route in sorted(hers, key=lambda each: (each.method == "delete", each.method != "get")):
        reply = await ann.at(route, {**things["*"], **things.get(route.function, {})})
        assert reply.status < 400, (route.function, reply)
    assert (await ann.until(f"/api/runs/{things['*']['run_id']}", *TERMINAL))["status"] == "completed"


async def test_a_key_of_one_user_is_free_for_another(scene: Callable[..., Any]) -> None:
    api, _ = await scene(DORMOUSE_DELEGATION="1")
    callers = [Caller(api, "ann"), Caller(api, "bob"), Caller(api, None)]
    body = {"input": "[script:soon]", "agent": "workshop"}
    messages = [{"role": "user", "content": "[script:soon]"}]
    for path, sent in (
        ("/api/runs", body),
        ("/api/batches", {"items": [body]}),
        ("/api/schedules", {"cron": "0 6 1 1 *", **body}),
        ("/api/v1/responses", {"model": "bench", "input": "[script:soon]"}),
        ("/api/v1/chat/completions", {"model": "bench", "messages": messages}),
    ):
        # With one key for all, and with payloads that differ: neither another's run nor 422 for it.
        made = []
        of_api_keys = [Caller(api, None, ADA)] if "/v1/" in path else []
        for number, caller in enumerate([*callers, *of_api_keys]):
            key = {"Idempotency-Key": f"k{path}"}
            payload = {**sent, "metadata": {"number": str(number)}} if number % 2 else sent
            reply = await caller.call("POST", path, json=payload, headers=key)
            assert reply.status in (200, 201, 202), (path, reply)
            again = await caller.call("POST", path, json=payload, headers=key)
            assert (again.status in (200, 201, 202), again["id"]) == (True, reply["id"])
            made.append(reply["id"])
        assert len(set(made)) == len(made), path


@pytest.mark.main
async def test_a_user_is_the_same_by_either_face(scene: Callable[..., Any]) -> None:
    """And no run is an API key's only because that key asked for it."""
    api, _ = await scene(DORMOUSE_DELEGATION="1")
    ann, portal = Caller(api, "ann"), Caller(api, None)
    run = await ann.start("soon")
    await ann.until(f"/api/runs/{run['id']}", *TERMINAL)
    as_response = f"/api/v1/responses/{run['id'].replace('run_', 'resp_')}"
    assert (await ann.call("GET", as_response)).status == 200
    assert (await portal.call("GET", as_response)).status == 404
    made = await ann.call("POST", "/api/v1/responses", json={"model": "bench", "input": "[script:soon]"})
    assert {each["id"] for each in (await ann.call("GET", "/api/runs"))["data"]} == {
        run["id"],
        made["id"].replace("resp_", "run_"),
    }


async def test_limits_are_each_users_own(scene: Callable[..., Any]) -> None:
    api, _ = await scene(
        DORMOUSE_DELEGATION="1", DORMOUSE_MAX_ACTIVE_RUNS="1", DORMOUSE_MAX_VIEWERS="1", DORMOUSE_EVENTS_SECONDS="30"
    )
    ann, bob, nobody = Caller(api, "ann"), Caller(api, "bob"), Caller(api, None)
    runs = [(await each.start("never", stream=True))["id"] for each in (ann, bob, nobody)]
    more = {"input": "[script:never]", "agent": "workshop"}
    for each in (ann, bob, nobody):
        assert (await each.call("POST", "/api/runs", json=more))["code"] == "too_many_active_runs"
    # As a response of an API key it counts for the user as well.
    response = {"model": "bench", "input": "[script:never]", "background": True}
    reply = await ann.call("POST", "/api/v1/responses", json=response)
    assert (reply.status, code_of(reply)) == (429, "too_many_active_runs")
    headers = {"x-functions-key": FUNCTION_KEY, **for_user("ann")}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{api.url}/api/runs/{runs[0]}/events") as stream,
    ):
        assert b"event: state" in await stream.content.readuntil(b"data: ")
        assert (await ann.call("GET", f"/api/runs/{runs[0]}?wait=1"))["code"] == "too_many_viewers"
        assert (await bob.call("GET", f"/api/runs/{runs[1]}?wait=1")).status == 200
        assert (await nobody.call("GET", f"/api/runs/{runs[2]}?wait=1")).status == 200


def address(route: Trigger) -> str:
    """The route's address, of something that is not there."""
    path = route.path
    for name, value in {**NOBODYS, **PARTS}.items():
        path = path.replace(f"{{{name}}}", value)
    return path


async def every_route(api: Api, headers: Mapping[str, str]) -> dict[str, tuple[int, object]]:
    """Status and code of one call to each route, with a key that may act for users and these headers."""
    found = {}
    for route in ROUTES:
        key = PORTAL if of_openai(route) else {}
        reply = await api.call(
            route.method.upper(), address(route), headers={**key, **headers}, json={"input": "[script:soon]"}
        )
        found[route.function] = (reply.status, code_of(reply))
    return found


def expected(told: Mapping[str, tuple[int, object]], *acting: str, but: tuple[int, str]) -> None:
    """That every route of these kinds answers so, and no other."""
    assert {name for name, answer in told.items() if answer == but} == {
        route.function for route in ROUTES if acts_for(route) in acting
    }


async def test_while_delegation_is_off_the_header_is_refused_and_never_ignored(scene: Callable[..., Any]) -> None:
    api, _ = await scene()
    for user in ("ann", "", "a b"):
        told = await every_route(api, for_user(user))
        expected(told, "user", "anybody", but=(403, "delegation_disabled"))
    assert (await api.call("GET", "/api/runs"))["data"] == [], "nothing was started"
    reply = await api.call("GET", "/api/runs", headers=for_user("ann"))
    assert "DORMOUSE_DELEGATION" in reply["detail"]
    reply = await api.call("GET", "/api/v1/models", headers={**PORTAL, **for_user("ann")})
    assert "DORMOUSE_DELEGATION" in reply["error"]["message"]


async def test_what_is_no_users_id_is_refused_by_every_route(scene: Callable[..., Any]) -> None:
    api, _ = await scene(DORMOUSE_DELEGATION="1")
    for user in ("", "a b", "a,b", "x" * 129, "key:ada"):
        expected(await every_route(api, for_user(user)), "user", "anybody", but=(400, "invalid_user"))
    twice = [("x-functions-key", FUNCTION_KEY), *(pair for each in ("ann", "bob") for pair in for_user(each).items())]
    async with aiohttp.ClientSession() as session, session.get(f"{api.url}/api/runs", headers=twice) as reply:
        assert (reply.status, (await reply.json(content_type=None))["code"]) == (400, "invalid_user")
    mine = {"Authorization": ADA["Authorization"], **for_user("ann")}
    for route in filter(of_openai, ROUTES):
        reply = await api.call(route.method.upper(), address(route), headers=mine, json={"input": "x"})
        assert (reply.status, code_of(reply)) == (403, "delegation_not_allowed"), route.function


async def test_where_every_call_must_name_its_user_none_goes_without(scene: Callable[..., Any]) -> None:
    api, _ = await scene(DORMOUSE_DELEGATION="required")
    expected(await every_route(api, {}), "user", but=(400, "user_required"))
    told = await every_route(api, for_user("ann"))
    assert not {answer for answer in told.values() if answer[0] in (401, 403)}
    assert "user_required" not in {code for _, code in told.values()}
    assert len(await Caller(api, "ann").ids_of("/api/runs")) == 1, "of all, one has started a run"


async def test_a_browser_that_is_signed_in_does_not_choose_its_user(scene: Callable[..., Any]) -> None:
    signed_in = {"x-ms-client-principal-id": "eve", "x-ms-client-principal-idp": "aad"}
    api, _ = await scene(DORMOUSE_AUTH="appservice", WEBSITE_AUTH_ENABLED="True", DORMOUSE_DELEGATION="required")
    told = await every_route(api, {**signed_in, **for_user("ann")})
    refused = {route.function for route in ROUTES if acts_for(route) != "nobody" and not of_openai(route)}
    assert {name for name, answer in told.items() if answer == (403, "delegation_not_allowed")} == refused
    assert (await api.call("GET", "/api/runs", headers=signed_in))["data"] == [], "the sign-in names the user"
    # An API key is no browser's: what it may it may here, too.
    response = {"model": "bench", "input": "[script:soon]"}
    made = await api.call("POST", "/api/v1/responses", json=response, headers={**PORTAL, **for_user("ann")})
    assert made.status == 200
    as_response = f"/api/v1/responses/{made['id']}"
    assert (await api.call("GET", as_response, headers={**PORTAL, **for_user("eve")})).status == 404


async def test_pages_of_other_origins_change_nothing_by_the_cookie_of_who_has_signed_in(
    scene: Callable[..., Any],
) -> None:
    api, _ = await scene(
        "--cors", "*",  # else the local host refuses them by itself
        DORMOUSE_AUTH="appservice", WEBSITE_AUTH_ENABLED="True", WEBSITE_HOSTNAME="site.example.net",
        DORMOUSE_ALLOWED_ORIGINS="https://pages.example.com",
    )  # fmt: skip
    signed_in = {"x-ms-client-principal-id": "eve", "x-ms-client-principal-idp": "aad"}
    changing = {
        route.function
        for route in ROUTES
        if route.method.upper() in CHANGING and acts_for(route) != "nobody" and not of_openai(route)
    }
    for browser in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "X-Forwarded-Host": "evil.example"},
    ):
        told = await every_route(api, {**signed_in, **browser})
        assert {name for name, answer in told.items() if answer == (403, "cross_site")} == changing, browser
    assert (await api.call("GET", "/api/runs", headers=signed_in))["data"] == [], "nothing was started"
    for browser in (
        {"Origin": api.url, "Sec-Fetch-Site": "same-origin"},
        {"Origin": "https://site.example.net", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "https://pages.example.com", "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "none"},
    ):
        told = await every_route(api, {**signed_in, **browser})
        assert (403, "cross_site") not in told.values(), browser
    assert len((await api.call("GET", "/api/runs", headers=signed_in))["data"]) == 4
