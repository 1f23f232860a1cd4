"""Is it alive, is it well, what is here, and who may ask."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from local.stack import free_port
from local.stack.parts import connection_string
from tests.acceptance.client import Api, Reply
from tests.acceptance.conftest import Stack, Target, admin
from tests.parts.waiting import eventually

ADA = {"X-MS-CLIENT-PRINCIPAL-ID": "ada", "X-MS-CLIENT-PRINCIPAL-IDP": "aad"}
BOB = {"X-MS-CLIENT-PRINCIPAL-ID": "bob", "X-MS-CLIENT-PRINCIPAL-IDP": "aad"}


@pytest.mark.main
@pytest.mark.http_only
async def test_a_live_app_says_so(driver: str, target: Target) -> None:
    health = await target.api.call("GET", "/api/health")
    assert (health.status, health.body, health.headers["cache-control"]) == (200, {"status": "ok"}, "no-store")
    head = await target.api.call("HEAD", "/api/health")
    assert (head.status, head.raw) == (200, b"")


@pytest.mark.http_only
async def test_the_agents_are_listed_with_their_tools(driver: str, target: Target) -> None:
    reply = await target.api.call("GET", "/api/agents")
    assert reply.status == 200
    novelist = reply["data"][0]
    assert (novelist["name"], novelist["object"], novelist["default"]) == ("novelist", "agent", True)
    assert [tool["name"] for tool in novelist["tools"]] == ["research_space_facts", "generate_character_profiles"]
    assert not any(agent["default"] for agent in reply["data"][1:])


@pytest.mark.main
@pytest.mark.http_only
async def test_an_app_that_is_well_says_what_it_tried(driver: str, target: Target) -> None:
    deep = await target.api.call("GET", "/api/health/deep")
    assert deep.status == 200, deep
    assert deep["status"] == "ok"
    assert deep["checks"]["storage"]["status"] == deep["checks"]["provider"]["status"] == "ok"


async def test_a_provider_that_is_down_is_named(own_stack: Callable[..., Stack]) -> None:
    stack = own_stack()
    async with Api(stack.host(DORMOUSE_COLOUR="red").url) as api:
        warned = await api.call("GET", "/api/health/deep")
        assert warned.status == 200
        assert warned["checks"]["settings"] == {"status": "warning", "unknown": ["DORMOUSE_COLOUR"]}
        await stack.model.switches(down=True)
        deep = await api.call("GET", "/api/health/deep")
        assert (deep.status, deep["status"], deep["checks"]["provider"]["status"]) == (503, "unwell", "unwell")
        assert deep["checks"]["provider"]["detail"]
        assert deep["checks"]["storage"]["status"] == "ok"
        assert (await api.call("GET", "/api/health")).status == 200
        await stack.model.switches(down=False)
        assert (await api.call("GET", "/api/health/deep")).status == 200


@pytest.mark.main
async def test_a_storage_that_is_down_is_named_and_every_call_says_try_again(own_stack: Callable[..., Stack]) -> None:
    port = free_port()
    nowhere = connection_string((port, port, port))
    async with Api(own_stack("timer").host(AzureWebJobsStorage=nowhere).url) as api:
        assert (await api.call("GET", "/api/health")).status == 200
        deep = await api.call("GET", "/api/health/deep")
        assert (deep.status, deep["checks"]["storage"]["status"]) == (503, "unwell")
        assert deep["checks"]["provider"]["status"] == "ok"
        run = f"run_{'0' * 32}_1"
        for reply in (
            await api.submit("x"),
            await api.submit("x", key="k"),
            await api.call("GET", f"/api/runs/{run}"),
            await api.cancel(run),
        ):
            assert (reply.status, reply["code"]) == (503, "storage_unavailable")
            assert int(reply.headers["Retry-After"]) > 0
            assert b"127.0.0.1" not in reply.raw


@pytest.mark.main
async def test_a_malformed_setting_lets_the_host_start_and_is_named_by_health(own_stack: Callable[..., Stack]) -> None:
    stack = own_stack()
    host = stack.host(driver="x")
    async with Api(host.url) as api:
        health = await api.call("GET", "/api/health")
        assert (health.status, health["status"]) == (503, "misconfigured")
        assert "DORMOUSE_DRIVER" in health["detail"]
        run = f"run_{'0' * 32}_1"
        replies = await asyncio.gather(
            api.submit("x"),
            api.call("GET", f"/api/runs/{run}"),
            api.cancel(run),
            api.call("GET", "/api/agents"),
            api.call("GET", "/api/health/deep"),
        )
        assert {(reply.status, reply["code"]) for reply in replies} == {(503, "misconfigured")}
        assert (await api.call("POST", "/admin/functions/sweep", json={}, headers=admin(host))).status == 202
        await eventually(lambda: "Misconfigured" in host.log_path.read_text())
        assert (await api.call("GET", "/api/health")).status == 503


async def test_with_keys_only_liveness_is_open(own_stack: Callable[..., Stack]) -> None:
    host = own_stack("timer").host(args=["--function-key", "secret"])
    run = f"run_{'0' * 32}_1"

    async def statuses(api: Api) -> list[int]:
        replies: list[Reply] = [
            await api.submit("x"),
            await api.call("GET", f"/api/runs/{run}"),
            await api.cancel(run),
            await api.call("GET", "/api/agents"),
            await api.call("GET", "/api/health/deep"),
            await api.call("GET", "/api/nothing"),
            await api.call("GET", "/api/health"),
        ]
        return [reply.status for reply in replies]

    async with Api(host.url) as nobody, Api(host.url, "wrong") as wrong, Api(host.url, "secret") as known:
        assert await statuses(nobody) == [401] * 6 + [200]
        assert await statuses(wrong) == [401] * 6 + [200]
        assert await statuses(known) == [202, 404, 404, 200, 200, 404, 200]


async def test_with_app_service_a_run_is_its_owners(own_stack: Callable[..., Stack]) -> None:
    stack = own_stack("timer", DORMOUSE_AUTH="appservice", WEBSITE_AUTH_ENABLED="True")
    await stack.model.script("stuck", [{"stuck": True}])
    async with Api(stack.host(args=["--function-key", "secret"]).url) as api:
        body = {"input": "[script:stuck] A story, please."}
        made = await api.call("POST", "/api/runs", json=body, headers=ADA | {"Idempotency-Key": "k"})
        assert made.status == 202
        run, session = f"/api/runs/{made['id']}", made["session_id"]
        for method, path in (("POST", "/api/runs"), ("GET", run), ("POST", f"{run}/cancel"), ("GET", "/api/agents")):
            reply = await api.call(method, path, json=body if method == "POST" else None)
            assert (reply.status, reply["code"]) == (401, "unauthenticated")
        assert (await api.call("GET", run, headers=ADA)).status == 200
        for method, path in (("GET", run), ("POST", f"{run}/cancel")):
            reply = await api.call(method, path, headers=BOB)
            assert (reply.status, reply["code"]) == (404, "run_not_found")
        reply = await api.call("POST", "/api/runs", json=body | {"session_id": session}, headers=BOB)
        assert (reply.status, reply["code"]) == (404, "session_not_found")
        theirs = await api.call("POST", "/api/runs", json=body, headers=BOB | {"Idempotency-Key": "k"})
        assert theirs.status == 202
        assert theirs["id"] != made["id"]
        assert (await api.call("GET", "/api/health")).status == 200
        assert (await api.call("GET", "/api/health/deep", headers=ADA)).status == 401
        assert (await api.call("POST", f"{run}/cancel", headers=ADA))["status"] == "cancelled"


async def test_a_principal_is_not_believed_where_nobody_checks_it(own_stack: Callable[..., Stack]) -> None:
    async with Api(own_stack(DORMOUSE_AUTH="appservice").host().url) as api:
        reply = await api.call("POST", "/api/runs", json={"input": "x"}, headers=ADA)
        assert (reply.status, reply["code"]) == (401, "unauthenticated")
        assert "DORMOUSE_AUTH" in reply["detail"]
