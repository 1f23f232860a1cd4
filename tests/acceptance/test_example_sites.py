"""The servers of the examples, under whoever means them ill."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import httpx2
from yarl import URL

from examples.parts.calls import PassedOn
from tests.acceptance.client import TERMINAL
from tests.acceptance.conftest import Stack
from tests.acceptance.example_sites import KEY, Scene, scene
from tests.parts.waiting import eventually

NewStack = Callable[..., Stack]


class Caller:
    """A program that has signed in to an example by a name, or not."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session

    async def call(self, method: str, path: str, **more: Any) -> tuple[int, Any]:
        """Status and body of the answer; the path goes out letter for letter."""
        address = URL(self._url + path, encoded=True)
        async with self._session.request(method, address, allow_redirects=False, **more) as reply:
            text = await reply.text()
            assert KEY not in text + str(reply.raw_headers)
            return reply.status, json.loads(text) if "json" in reply.content_type else text

    async def code(self, method: str, path: str, **more: Any) -> tuple[int, str]:
        """Status and code of a refusal."""
        status, body = await self.call(method, path, **more)
        return status, body["code"]

    def stream(self, path: str) -> Any:
        """An answer that is still open."""
        return self._session.get(self._url + path)


@asynccontextmanager
async def caller(scene: Scene, name: str | None = None) -> AsyncIterator[Caller]:
    """Somebody; with a name, somebody who has signed in by it."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        made = Caller(scene.site.url, session)
        if name is not None and scene.way == "app_service":
            form = {"name": name, "to": "/"}
            assert (await made.call("POST", "/.auth/login/aad", data=form))[0] == 303
        elif name is not None:
            assert (await made.call("POST", "/sign-in", json={"name": name}))[0] == 204
        yield made


async def lasting(scene: Scene) -> str:
    """An input whose run goes on until it is cancelled."""
    await scene.stack.model.script("lasting", [{"stuck": True}])
    return "[script:lasting]"


async def test_your_server_passes_on_what_people_may_call_as_the_person_who_calls(own_stack: NewStack) -> None:
    its = scene("your_server", own_stack)
    body = {"input": await lasting(its), "agent": "workshop"}
    async with caller(its) as nobody, caller(its, "Ada Lovelace 🐭") as ada, caller(its, "Bob") as bob:
        assert await nobody.code("GET", "/api/runs") == (401, "signed_out")
        status, run = await ada.call("POST", "/api/runs", json=body)
        assert status == 202
        forged = {"Dormouse-On-Behalf-Of": "somebody", "x-functions-key": "wrong", "x-ms-client-principal-id": "x"}
        status, listed = await bob.call("GET", "/api/runs?limit=5", headers=forged)
        assert (status, listed["data"]) == (200, [])
        status, listed = await ada.call("GET", "/api/runs?limit=5", headers=forged)
        assert [each["id"] for each in listed["data"]] == [run["id"]]
        assert await bob.code("GET", f"/api/runs/{run['id']}") == (404, "run_not_found")
        assert await bob.code("POST", f"/api/runs/{run['id']}/cancel") == (404, "run_not_found")

        for path in ("health/deep", "v1/responses", "shared/runs/x", "webhooks/openai", "", "runs/../health/deep"):
            assert await ada.code("GET", f"/api/{path}") == (404, "not_found"), path
        for path in ("runs/%2e%2e/health/deep", "runs%2f..%2fhealth%2fdeep", "runs/x/%2E%2e/%2e./agents", "runs/./x"):
            assert await ada.code("GET", f"/api/{path}") == (404, "not_found"), path
        assert (await ada.call("GET", "/api/runs/%252e%252e/health"))[0] == 404
        assert (await ada.call("GET", "/../examples/parts/people.py"))[0] == 404
        assert (await ada.call("GET", "/page/..%2fyour_server.py"))[0] == 404

        for site in ("cross-site", "same-site", "none"):
            headers = {"Sec-Fetch-Site": site}
            assert await ada.code("POST", f"/api/runs/{run['id']}/cancel", headers=headers) == (403, "cross_site")
            assert await nobody.code("POST", "/sign-in", json={"name": "x"}, headers=headers) == (403, "cross_site")
            assert await ada.code("POST", "/sign-out", headers=headers) == (403, "cross_site")
        assert (await ada.call("GET", "/api/runs", headers={"Host": "evil.test"}))[0] == 400
        for name in ("", "  ", "x" * 65, "a\nb", 7, None):
            assert await nobody.code("POST", "/sign-in", json={"name": name}) == (400, "invalid_name")
        assert await nobody.code("POST", "/sign-in", data=b"[" * 100_000) == (400, "invalid_json")
        assert await nobody.code("POST", "/sign-in", data=b" " * 1_000_001) == (413, "body_too_large")

        assert (await ada.call("POST", f"/api/runs/{run['id']}/cancel"))[1]["status"] == "cancelled"
        assert (await ada.call("DELETE", f"/api/runs/{run['id']}"))[0] == 204
        assert (await ada.call("POST", "/sign-out"))[0] == 204
        assert await ada.code("GET", "/api/runs") == (401, "signed_out")


async def test_a_browser_that_leaves_a_stream_frees_it_at_the_app(own_stack: NewStack) -> None:
    its = scene("your_server", own_stack, DORMOUSE_MAX_VIEWERS="1")
    async with caller(its, "Ada") as ada:
        body = {"input": await lasting(its), "agent": "workshop", "stream": True}
        _, run = await ada.call("POST", "/api/runs", json=body)
        path = f"/api/runs/{run['id']}/events"
        async with ada.stream(path) as first:
            assert first.content_type == "text/event-stream"
            assert await first.content.readuntil(b"\n\n")
            assert (await ada.call("GET", path))[0] == 429, "the one place is taken"

        async def is_free() -> bool:
            async with ada.stream(path) as again:
                return bool(again.status == 200)

        await eventually(is_free)


async def test_a_browser_that_has_left_before_the_answer_leaves_no_connection_open() -> None:
    async def events() -> AsyncIterator[bytes]:
        yield b"x"

    async def is_gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(_: object) -> None:
        await asyncio.Event().wait()  # nobody takes it

    answer = httpx2.Response(200, content=events())
    async with asyncio.timeout(5):
        await PassedOn(answer)({"type": "http", "asgi": {"spec_version": "2.3"}}, is_gone, send)
    assert answer.is_closed


async def test_a_server_whose_key_is_wrong_or_whose_app_is_down_does_not_send_people_to_the_sign_in(
    own_stack: NewStack,
) -> None:
    for way, path in (("your_server", "/api/runs"), ("run_tokens", "/runs")):
        its = scene(way, own_stack, key="another-key")
        async with caller(its, "Ada") as ada:
            assert await ada.code("GET", path) == (502, "key_refused")
            its.host.stop()
            assert await ada.code("GET", path) == (502, "app_unreachable")


async def test_the_server_of_run_tokens_gives_them_to_the_owner_of_the_run_alone(own_stack: NewStack) -> None:
    its = scene("run_tokens", own_stack)
    body = {"input": await lasting(its), "agent": "workshop"}
    async with caller(its) as nobody, caller(its, "Ada") as ada, caller(its, "Bob") as bob:
        assert await nobody.code("POST", "/runs", json=body) == (401, "signed_out")
        status, opened = await ada.call(
            "POST", "/runs", json={**body, "token": {"rights": ["read"], "seconds": 604_800}}
        )
        assert (status, set(opened)) == (200, {"app", "id", "token", "expires_at"})
        path = f"/runs/{opened['id']}/token"
        assert await nobody.code("POST", path) == (401, "signed_out")
        assert await bob.code("POST", path) == (404, "run_not_found")
        assert await ada.code("POST", path, headers={"Sec-Fetch-Site": "same-site"}) == (403, "cross_site")
        assert (await bob.call("GET", "/runs"))[1]["data"] == []
        assert [each["id"] for each in (await ada.call("GET", "/runs"))[1]["data"]] == [opened["id"]]
        for run in ("..", "%2e%2e", "x%2f..%2fy", "x%3fcode=1"):
            assert (await ada.call("POST", f"/runs/{run}/token"))[0] == 404, run
        assert await ada.code("POST", "/runs", json={"agent": "workshop"}) == (400, "invalid_request")
        assert await ada.code("POST", "/runs", data=b"{") == (400, "invalid_json")
        assert (await ada.call("GET", "/api/runs"))[0] == 404, "it passes nothing on"

        _, other = await ada.call("POST", "/runs", json=body)
        _, fresh = await ada.call("POST", path)
        async with aiohttp.ClientSession() as session:

            async def at_the_app(token: str, path: str, method: str = "GET") -> int:
                bearer = {"Authorization": f"Bearer {token}"}
                async with session.request(method, its.host.url + path, headers=bearer) as reply:
                    return reply.status

            run = f"/api/shared/runs/{opened['id']}"
            for token in (opened["token"], fresh["token"]):
                assert await at_the_app(token, run) == 200
                assert await at_the_app(token, f"/api/shared/runs/{other['id']}") == 404
                assert await at_the_app(token, f"/api/runs/{opened['id']}") == 401
            assert await at_the_app(opened["token"], f"{run}/cancel", "POST") == 200


async def test_the_stand_in_for_the_platform_says_who_calls_whatever_a_browser_says(own_stack: NewStack) -> None:
    its = scene("app_service", own_stack)
    body = {"input": await lasting(its), "agent": "workshop"}
    forged = {"X-MS-Client-Principal-Id": "ada", "X-MS-Client-Principal": "e30=", "x-ms-client-principal-idp": "aad"}
    async with caller(its) as nobody, caller(its, "Ada") as ada, caller(its, "Bob") as bob:
        assert (await nobody.call("GET", "/api/runs", headers=forged))[0] == 401
        assert (await nobody.call("GET", "/api/health"))[0] == 200
        status, run = await ada.call("POST", "/api/runs", json=body)
        assert status == 202
        assert (await bob.call("GET", "/api/runs", headers=forged))[1]["data"] == []
        assert await bob.code("GET", f"/api/runs/{run['id']}", headers=forged) == (404, "run_not_found")
        cancel = f"/api/runs/{run['id']}/cancel"
        assert (await ada.call("POST", cancel, headers={"Sec-Fetch-Site": "same-site"}))[0] == 403
        assert (await ada.call("POST", cancel, headers={"Origin": its.site.url}))[1]["status"] in TERMINAL

        for to in ("//evil.test/", "https://evil.test/", "/\\evil.test", "javascript:alert(1)", "/\tx", ""):
            async with aiohttp.ClientSession() as session:
                form = {"name": "Eve", "to": to}
                async with session.post(f"{its.site.url}/.auth/login/aad", data=form, allow_redirects=False) as reply:
                    assert (reply.status, reply.headers["Location"]) == (303, "/"), to
        _, page = await nobody.call("GET", "/.auth/login/aad?post_login_redirect_uri=/%22%3E%3Cscript%3E")
        assert "<script>" not in page
