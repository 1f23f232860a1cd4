"""Whose runs are whose, with App Service authentication, and how many of them may be active."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.acceptance.client import TERMINAL, Api, Reply
from tests.acceptance.conftest import Stack

SIGNED_IN = {"DORMOUSE_AUTH": "appservice", "WEBSITE_AUTH_ENABLED": "True"}


class Caller:
    """One person at the app."""

    def __init__(self, api: Api, name: str) -> None:
        self._api = api
        self._headers = {"x-ms-client-principal-id": name, "x-ms-client-principal-idp": "aad"}

    async def call(self, method: str, path: str, headers: dict[str, str] | None = None, **more: Any) -> Reply:
        return await self._api.call(method, path, headers={**self._headers, **(headers or {})}, **more)

    async def submit(self, text: str = "A story, please.", key: str | None = None, **fields: Any) -> Reply:
        headers = {} if key is None else {"Idempotency-Key": key}
        return await self.call("POST", "/api/runs", json={"input": text, **fields}, headers=headers)

    async def finished(self, run_id: str) -> dict[str, Any]:
        async with asyncio.timeout(60):
            while (reply := await self.call("GET", f"/api/runs/{run_id}?wait=10"))["status"] not in TERMINAL:
                continue
        body: dict[str, Any] = reply.body
        return body


@pytest.fixture
async def app(own_stack: Callable[..., Stack]) -> AsyncIterator[Callable[..., Any]]:
    """Make an app that people sign in to: ``await app(SETTING="value")`` is its API."""
    apis = []

    async def make(**env: str) -> Api:
        host = await asyncio.to_thread(own_stack("timer", **SIGNED_IN, **env).host)
        apis.append(Api(host.url))
        return await apis[-1].__aenter__()

    yield make
    for api in apis:
        await api.__aexit__()


@pytest.mark.main
async def test_another_owners_runs_and_sessions_are_as_if_they_were_not_there(app: Callable[..., Any]) -> None:
    api = await app()
    ann, bob = Caller(api, "ann"), Caller(api, "bob")
    made = await ann.submit(key="k")
    run, session = made["id"], made["session_id"]
    await ann.finished(run)
    yes = {"answers": {"call_1": {"approve": True}}}
    for method, path, body, code in (
        ("GET", f"/api/runs/{run}", None, "run_not_found"),
        ("GET", f"/api/runs/{run}?wait=5", None, "run_not_found"),
        ("POST", f"/api/runs/{run}/cancel", None, "run_not_found"),
        ("POST", f"/api/runs/{run}/answers", yes, "run_not_found"),
        ("DELETE", f"/api/runs/{run}", None, "run_not_found"),
        ("GET", f"/api/sessions/{session}", None, "session_not_found"),
        ("DELETE", f"/api/sessions/{session}", None, "session_not_found"),
        ("POST", "/api/runs", {"input": "x", "session_id": session}, "session_not_found"),
    ):
        reply = await bob.call(method, path, json=body)
        assert (reply.status, reply["code"]) == (404, code), (method, path)
        nobody = await api.call(method, path, json=body)
        assert (nobody.status, nobody["code"]) == (401, "unauthenticated"), (method, path)
    assert (await api.call("GET", "/api/runs")).status == 401
    theirs = await bob.submit(key="k")
    assert theirs["id"] != run
    assert [each["id"] for each in (await ann.call("GET", "/api/runs"))["data"]] == [run]
    assert [each["id"] for each in (await bob.call("GET", "/api/runs"))["data"]] == [theirs["id"]]
    assert (await ann.submit(key="k"))["id"] == run
    assert (await ann.call("GET", f"/api/sessions/{session}"))["runs"][0]["id"] == run
    assert (await ann.call("DELETE", f"/api/runs/{run}")).status == 204
    assert (await ann.call("DELETE", f"/api/sessions/{session}")).status == 204
    assert (await ann.call("GET", "/api/runs"))["data"] == []


async def test_a_name_is_one_providers_and_another_provider_may_have_it_too(app: Callable[..., Any]) -> None:
    api = await app()
    run = (await Caller(api, "ann").submit())["url"]
    for forged in (
        {"x-ms-client-principal-id": "ann", "x-ms-client-principal-idp": "github"},
        {"x-ms-client-principal-id": "aad:ann"},
        {"x-ms-client-principal-name": "ann", "x-ms-client-principal-id": "eve", "x-ms-client-principal-idp": "aad"},
    ):
        assert (await api.call("GET", run, headers=forged)).status == 404


async def test_an_owner_has_only_so_many_active_runs(own_stack: Callable[..., Stack]) -> None:
    stack = own_stack("timer", **SIGNED_IN, DORMOUSE_MAX_ACTIVE_RUNS="2")
    host = await asyncio.to_thread(stack.host)
    await stack.model.script("long", [{"think": 600.0, "text": "done"}])
    await stack.model.script("short", [{"text": "done"}])
    async with Api(host.url) as api:
        ann, bob = Caller(api, "ann"), Caller(api, "bob")
        replies = await asyncio.gather(
            *(ann.submit("[script:long]", key=f"k{number}", agent="workshop") for number in range(8))
        )
        taken = [number for number, reply in enumerate(replies) if reply.status == 202]
        assert len(taken) == 2
        for reply in (reply for reply in replies if reply.status != 202):
            assert (reply.status, reply["code"], reply["limit"]) == (429, "too_many_active_runs", 2)
            assert 1 <= int(reply.headers["Retry-After"]) <= 60
        first = replies[taken[0]]
        assert (await ann.submit("[script:long]", key=f"k{taken[0]}", agent="workshop"))["id"] == first["id"]
        assert (await bob.submit("[script:long]", agent="workshop")).status == 202
        assert (await ann.call("POST", f"/api/runs/{first['id']}/cancel"))["status"] == "cancelled"
        again = await ann.submit("[script:short]", agent="workshop")
        assert again.status == 202
        await ann.finished(again["id"])
        assert (await ann.submit("[script:long]", session_id=again["session_id"])).status == 202
        assert (await ann.submit("[script:long]", session_id=again["session_id"]))["code"] == "session_busy"
        assert (await ann.submit("[script:long]", agent="workshop"))["code"] == "too_many_active_runs"
        assert len((await ann.call("GET", "/api/runs"))["data"]) == 4
