"""Pages in a real browser, on the machine of a developer who runs the app."""

from __future__ import annotations

import asyncio
import json
import platform
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from local import ROOT
from local.stack import FunctionsHost, NodeTools, find_node, free_port
from local.stack.setup import ensure_packages
from tests.acceptance.client import Api
from tests.acceptance.conftest import Stack, admin
from tests.acceptance.test_approvals import asking, parked, script
from tests.parts.waiting import eventually

SOURCE = Path(__file__).parent / "browser_npm"
HOME = ROOT / ".dormouse" / "browser"
REFUSAL = "This server "

Requests = Sequence[tuple[str, str] | tuple[str, str, Mapping[str, str]]]
Page = Mapping[str, Any]
Seen = Mapping[str, list[dict[str, Any]]]

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64",
    reason="the package has a Chromium for Linux on x86-64",
)


@pytest.fixture
def node() -> NodeTools:
    """Node.js, with a Chromium and its driver beside the script."""
    tools = find_node(Path(sys.prefix))
    packed = HOME / "node_modules" / "@sparticuz" / "chromium" / "bin" / "chromium.br"
    ensure_packages("a headless Chromium", SOURCE, HOME, packed, tools)
    for each in SOURCE.glob("*.mjs"):
        shutil.copyfile(each, HOME / each.name)
    return tools


def unpacked() -> str:
    """Where the browser is, once it was unpacked."""
    version = json.loads((SOURCE / "package.json").read_text())["dependencies"]["@sparticuz/chromium"]
    return str(HOME / f"chromium-{version}")


async def browse(node: NodeTools, pages: Sequence[Page]) -> Seen:
    """What each page could read, by the page's name."""
    given = json.dumps({"unpacked": unpacked(), "pages": pages})
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(node.node, HOME / "browser.mjs", given, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(120):
            printed, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, errors.decode()
    seen: Seen = json.loads(printed)
    return seen


def requests_to_the_host(host: FunctionsHost, run_id: str) -> Requests:
    """What a page would ask of the host, if it knew of a run."""
    own = f"{host.url}/runtime/webhooks/durabletask"
    return [
        ("GET", f"{host.url}/"),
        ("GET", f"{host.url}/api/health"),
        ("GET", f"{host.url}/api/runs"),
        ("GET", f"{host.url}/api/runs/{run_id}/events"),
        ("POST", f"{host.url}/api/runs"),
        ("POST", f"{host.url}/api/runs/{run_id}/cancel"),
        ("DELETE", f"{host.url}/api/runs/{run_id}"),
        ("POST", f"{host.url}/admin/functions/life"),
        ("POST", f"{host.url}/admin/clock"),
        ("GET", f"{own}/instances/"),
        ("POST", f"{own}/orchestrators/life/planted"),
        ("POST", f"{own}/instances/{run_id}/terminate?reason=x"),
        ("DELETE", f"{own}/instances/{run_id}"),
    ]


def requests_to_the_rpc_port(port: int, run_id: str) -> Requests:
    """What a page would ask of the port of durable clients."""
    own = f"http://127.0.0.1:{port}/durabletask"
    return [
        ("GET", f"{own}/instances/"),
        ("POST", f"{own}/orchestrators/life/planted"),
        ("POST", f"{own}/instances/{run_id}/terminate?reason=x"),
    ]


def requests_to_the_model(url: str, account: str) -> Requests:
    """What a page would ask of the scripted model, if it knew the key."""
    return [
        ("GET", f"{url}/control/{account}/log"),
        ("GET", f"{url}/control/{account}/responses"),
        ("POST", f"{url}/control/{account}/reset"),
        ("PUT", f"{url}/control/{account}/scripts/planted"),
        ("POST", f"{url}/v1/responses"),
    ]


def under(name: str, requests: Requests) -> Requests:
    """The same requests to another name for this machine."""
    return [(method, url.replace("//127.0.0.1:", f"//{name}:")) for method, url in requests]


def rebound(requests: Requests) -> Page:
    """A page whose own name has come to lead to the server that it asks."""
    there = under("evil.test", requests)
    origin = "/".join(there[0][1].split("/")[:3])
    return {"name": origin, "address": f"{origin}/attack.html", "requests": there}


async def state(host: FunctionsHost, api: Api, stack: Stack) -> object:
    """All that a request could have changed."""
    path = f"{host.url}/runtime/webhooks/durabletask/instances/"
    instances = (await api.call("GET", path, headers=admin(host))).body
    runs = (await api.call("GET", "/api/runs")).body["data"]
    return (
        sorted((each["instanceId"], each["runtimeStatus"]) for each in instances),
        [(each["id"], each["status"]) for each in runs],
        [(each.operation, each.status) for each in await stack.model.log()],
        [each.id for each in await stack.model.responses()],
    )


@pytest.fixture
async def scene(own_stack: Callable[..., Stack]) -> Any:
    """A host, its stack, its port of durable clients, the port of a page that may call it, and a parked run."""
    stack, rpc, served = own_stack("durable", DORMOUSE_SWEEP_SECONDS="60"), free_port(), free_port()
    host = stack.host(args=["--rpc-port", str(rpc), "--cors", f"http://localhost:{served}"])
    async with Api(host.url) as api:
        run_id = await api.start(await script(stack.model, asking(("send", "a"))), agent="workshop")
        await parked(api, run_id)
        yield stack, host, rpc, served, api, run_id


async def test_a_page_of_another_origin_gets_nothing_and_changes_nothing(node: NodeTools, scene: Any) -> None:
    stack, host, rpc, served, api, run_id = scene
    to_host, to_rpc = requests_to_the_host(host, run_id), requests_to_the_rpc_port(rpc, run_id)
    to_model = requests_to_the_model(stack.model_server.url, stack.account)
    everything = [*to_host, *to_rpc, *to_model]
    other = f"http://127.0.0.1:{served}/"
    pages = [
        {"name": "another port", "address": other, "requests": everything},
        {"name": "another site", "address": other, "requests": under("localhost", everything)},
        *(rebound(each) for each in (to_host, to_rpc, to_model)),
    ]
    before = await state(host, api, stack)

    seen = await browse(node, pages)

    assert seen.pop("another port") == []
    assert seen.pop("another site") == []
    readable = [each for page in seen.values() for each in page]
    assert {each["method"] for each in readable} == {"GET", "POST", "PUT", "DELETE"}, "its own name leads here"
    assert {each["how"].split()[0] for each in readable} == {"fetch", "form"}
    assert [each for each in readable if not each["text"].startswith(REFUSAL)] == []
    assert {each["status"] for each in readable} <= {403, None}
    assert await state(host, api, stack) == before


async def test_a_page_of_an_origin_that_was_named_works(node: NodeTools, scene: Any) -> None:
    """It also shows that the browser does reach the host: from the page above it does not for want of trying."""
    _, host, _, served, api, run_id = scene
    requests = under("localhost", requests_to_the_host(host, run_id))
    page = {"name": "named", "address": f"http://localhost:{served}/", "requests": requests}

    seen = (await browse(node, [page]))["named"]

    statuses = {
        (each["method"], each["address"].removeprefix(host.url.replace("127.0.0.1", "localhost"))): each["status"]
        for each in seen
        if each["how"] == "fetch application/json"
    }
    assert statuses[("GET", "/api/health")] == statuses[("GET", "/api/runs")] == 200
    assert statuses[("POST", f"/api/runs/{run_id}/cancel")] == 200
    assert statuses[("DELETE", f"/api/runs/{run_id}")] in (204, 404)
    assert statuses[("POST", "/admin/functions/life")] == 401, "its key is the developer's"
    assert ("events", f"/api/runs/{run_id}/events") in {
        (each["how"], each["address"].partition(str(host.port))[2]) for each in seen
    }
    assert (await api.call("GET", f"/api/runs/{run_id}")).status == 404


ADA = {"x-ms-client-principal-id": "ada", "x-ms-client-principal-idp": "aad"}


@asynccontextmanager
async def sign_in(port: int, to: str) -> AsyncIterator[None]:
    """A stand-in for the platform's sign-in on this port, before the app at ``to``.

    The one browser that calls it is Ada's, whose cookie comes along from pages of all sites. `/page.html` is the app's.
    """

    async def passed_on(asked: web.Request) -> web.Response:
        if asked.path == "/page.html":
            return web.Response(text="<!doctype html><title>The app</title>", content_type="text/html")
        given = {name: value for name, value in asked.headers.items() if not name.lower().startswith("x-ms-client-")}
        del given["Host"]
        async with session.request(
            asked.method, to + asked.path_qs, headers={**given, **ADA}, data=await asked.read()
        ) as answer:
            kept = {
                name: value for name, value in answer.headers.items() if name.lower().startswith(("content", "acc"))
            }
            kept.pop("Content-Length", None)
            return web.Response(status=answer.status, headers=kept, body=await answer.read())

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", passed_on)
    runner = web.AppRunner(app)
    async with aiohttp.ClientSession() as session:
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
            yield
        finally:
            await runner.cleanup()


async def test_a_page_of_another_origin_changes_nothing_by_the_cookie_of_who_has_signed_in(
    node: NodeTools, own_stack: Callable[..., Stack]
) -> None:
    """Neither one of another site nor one of the same site; the app's own page may."""
    port, served = free_port(), free_port()
    stack = own_stack(
        "durable",
        DORMOUSE_AUTH="appservice",
        WEBSITE_AUTH_ENABLED="True",
        DORMOUSE_PUBLIC_BASE_URL=f"http://127.0.0.1:{port}",
    )
    host = stack.host(args=["--cors", "*"])  # else the local host refuses them by itself
    async with Api(host.url) as api, sign_in(port, host.url):

        async def runs() -> list[tuple[str, str]]:
            found = (await api.call("GET", "/api/runs", headers=ADA)).body["data"]
            return [(each["id"], each["status"]) for each in found]

        text = await script(stack.model, asking(("send", "a")))
        made = await api.call("POST", "/api/runs", json={"input": text, "agent": "workshop"}, headers=ADA)
        run = f"http://127.0.0.1:{port}/api/runs/{made['id']}"
        requests = [("POST", f"http://127.0.0.1:{port}/api/runs"), ("POST", f"{run}/cancel"), ("DELETE", run)]
        await eventually(lambda: _is_parked(api, made["id"]))
        before = await runs()
        other = f"http://127.0.0.1:{served}/"
        pages = [
            {"name": "same site", "address": other, "requests": requests},
            {"name": "another site", "address": other, "requests": under("localhost", requests)},
        ]
        for page, readable in (await browse(node, pages)).items():
            assert {(each["method"], each["status"]) for each in readable} >= {("POST", 403), ("DELETE", 403)}, page
            assert [each for each in readable if '"cross_site"' not in each["text"]] == [], page
        assert await runs() == before

        own = {"name": "own", "address": f"http://127.0.0.1:{port}/page.html", "requests": requests, "served": True}
        readable = (await browse(node, [own]))["own"]
        assert [each for each in readable if "cross_site" in each["text"]] == []
        cancelled = [each for each in readable if each["address"].endswith("/cancel")]
        assert {each["status"] for each in cancelled if each["how"].startswith("fetch")} == {200}
        assert await runs() != before


async def _is_parked(api: Api, run_id: str) -> bool:
    reply = await api.call("GET", f"/api/runs/{run_id}", headers=ADA)
    return bool(reply["status"] == "requires_action")


async def test_a_page_with_a_run_token_uses_its_run_from_an_origin_that_was_named(
    node: NodeTools, own_stack: Callable[..., Stack]
) -> None:
    served, key = free_port(), "the-function-key"
    secret = {"DORMOUSE_RUN_TOKEN_SECRET": "a-secret-of-the-tests-" * 2}
    stack = own_stack("durable", DORMOUSE_ALLOWED_ORIGINS=f"http://localhost:{served}", **secret)
    host = stack.host(args=["--function-key", key])
    async with Api(host.url, key) as api:
        await stack.model.script("told", [{"text": "Once upon a time."}])
        asked = {"rights": ["read", "cancel"]}
        made = await api.submit("[script:told]", agent="workshop", stream=True, token=asked)
        await api.finished(made["id"])
    bearer = {"Authorization": f"Bearer {made['token']['token']}"}
    path = f"{host.url}/api/shared/runs/{made['id']}"
    requests: Requests = [
        ("GET", path, bearer),
        ("GET", f"{path}/events", {**bearer, "Last-Event-ID": ""}),
        ("POST", f"{path}/cancel", {**bearer, "content-type": "application/json", "Idempotency-Key": "k"}),
        ("GET", path, {"Authorization": "Bearer x"}),
        ("GET", f"{host.url}/api/shared/else", bearer),
        ("GET", f"{host.url}/api/runs/{made['id']}", bearer),
        ("GET", f"{host.url}/api/runs/{made['id']}", {"x-functions-key": key}),
        ("GET", path, {**bearer, "X-Another": "x"}),
    ]
    pages = [
        {"name": "named", "address": f"http://localhost:{served}/", "requests": requests},
        {"name": "another", "address": f"http://localhost:{free_port()}/", "requests": requests},
    ]

    seen = await browse(node, pages)

    assert seen["another"] == []
    run, events, cancelled, forged, other = seen["named"]
    assert [each["status"] for each in (run, events, cancelled, forged, other)] == [200, 200, 200, 401, 404]
    assert json.loads(run["text"])["text"] == "Once upon a time."
    assert "event: end" in events["text"]
    assert json.loads(forged["text"])["code"] == "invalid_token"
