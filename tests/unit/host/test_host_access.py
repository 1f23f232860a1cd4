"""Whose requests the local servers answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aiohttp
import azure.durable_functions as df
import azure.functions as func
import pytest
from starlette.requests import Request

from local.access import AccessRules, names_of
from local.host import Host, Keys
from local.model import ScriptedModel
from tests.parts.cases import cases

PAGE = "http://localhost:5173"

# --- the decision -------------------------------------------------------------------------------------


def refused(access: AccessRules, **headers: str) -> bool:
    """Whether a request is refused; the headers by their names with underscores."""
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return access.refusal(pairs) is not None


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:7071", "LocalHost:1", "127.0.0.1:7071", "[::1]:7071", "[::1]"]
)
def test_the_names_of_this_machine_are_answered(host: str) -> None:
    assert not refused(AccessRules(), host=host)


@cases(
    "host",
    [
        *("evil.test", "evil.test:7071", "localhost.evil.test", "localhost.", "127.0.0.1.evil.test", "127.0.0.2"),
        *("[::2]:7071", "[::1", "::1", "0.0.0.0:7071", "user@localhost", "localhost@evil.test", "", " localhost"),
    ],
)
def test_any_other_name_is_refused_wherever_it_leads(host: str) -> None:
    assert refused(AccessRules(), host=host)
    assert refused(AccessRules(origins=("*",)), host=host), "pages of all origins must still use a name of this machine"


def test_a_request_without_a_host_is_refused() -> None:
    assert refused(AccessRules())


def test_names_that_were_given_are_answered_too() -> None:
    access = AccessRules(hosts=("Dev.Example", "[fd00::1]"))
    assert not refused(access, host="dev.example:7071")
    assert not refused(access, host="[fd00::1]:7071")
    assert refused(access, host="other.example")


@pytest.mark.parametrize(
    ("address", "names"),
    [("192.0.2.1", ("192.0.2.1",)), ("fd00::1", ("[fd00::1]",)), ("0.0.0.0", ()), ("::", ())],
)
def test_a_server_is_called_by_the_address_that_it_listens_on(address: str, names: tuple[str, ...]) -> None:
    assert names_of(address) == names


REQUESTS: dict[str, tuple[Mapping[str, str], bool, bool]] = {
    "a program": ({}, False, False),
    "its own page": ({"origin": "http://localhost:7071", "sec_fetch_site": "same-origin"}, False, False),
    "its own page, from a browser that says little": ({"origin": "http://localhost:7071"}, False, False),
    "the address bar": ({"sec_fetch_site": "none"}, False, False),
    "a page that was named": ({"origin": PAGE, "sec_fetch_site": "same-site"}, True, False),
    "a page that was named, in capitals": ({"origin": PAGE.upper(), "sec_fetch_site": "same-site"}, True, False),
    "a page under its other name": ({"origin": "http://127.0.0.1:7071"}, True, True),
    "a page over TLS": ({"origin": "https://localhost:7071"}, True, True),
    "a page of another site": ({"origin": "https://evil.test", "sec_fetch_site": "cross-site"}, True, True),
    "an image of another site": ({"sec_fetch_site": "cross-site"}, True, True),
    "an image of another port": ({"sec_fetch_site": "same-site"}, True, True),
    "a file": ({"origin": "null"}, True, True),
    "a word that no browser says yet": ({"sec_fetch_site": "cross-planet"}, True, True),
    "a port that begins like it": ({"origin": f"{PAGE}0"}, True, True),
}


@cases("name", REQUESTS)
def test_pages_of_other_origins_are_refused_unless_theirs_was_named(name: str) -> None:
    headers, by_default, with_cors = REQUESTS[name]
    assert refused(AccessRules(), host="localhost:7071", **headers) == by_default
    assert refused(AccessRules(origins=(PAGE,)), host="localhost:7071", **headers) == with_cors
    assert not refused(AccessRules(origins=("*",)), host="localhost:7071", **headers)


# --- the servers --------------------------------------------------------------------------------------


def waits(context: df.DurableOrchestrationContext) -> object:
    yield context.wait_for_external_event("go")


def make_app(calls: list[str]) -> df.DFApp:
    app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)
    app.orchestration_trigger(context_name="context")(waits)

    @app.activity_trigger(input_name="given")
    def work(given: str) -> None:
        calls.append(given)

    @app.route(route="page", methods=["GET", "POST"])
    async def page(req: Request) -> str:
        calls.append(req.method)
        return "seen"

    return app


@pytest.fixture
def calls() -> list[str]:
    """What the app was asked for."""
    return []


@pytest.fixture
async def host(calls: list[str]) -> AsyncIterator[Host]:
    """A host that is called as its defaults are."""
    async with Host(make_app(calls), port=0) as host:
        yield host


FOREIGN = [
    {"Host": "evil.test"},
    {"Origin": "https://evil.test"},
    {"Origin": PAGE},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]


async def status(method: str, url: str, **options: object) -> tuple[int, str]:
    """What a request gets, with a text/plain body as pages may send it."""
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, data="{}" if method == "POST" else None, **options) as answer,  # type: ignore[arg-type]
    ):
        return answer.status, await answer.text()


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_no_route_of_the_host_answers_pages_of_others(
    host: Host, calls: list[str], headers: dict[str, str]
) -> None:
    binding = json.loads(host._management.binding(host.url, host.rpc_url))
    link = binding["creationUrls"]["createNewInstancePostUri"]
    link = link.replace("{functionName}[/{instanceId}]", "waits/one")
    for method, url in (
        ("GET", f"{host.url}/api/page"),
        ("POST", f"{host.url}/api/page"),
        ("GET", f"{host.url}/"),
        ("POST", f"{host.url}/admin/functions/work"),
        ("POST", link),
        ("POST", f"{binding['rpcBaseUrl']}orchestrators/waits/one"),
        ("GET", f"{binding['rpcBaseUrl']}instances/"),
    ):
        code, text = await status(method, url, headers={"x-functions-key": host.admin_key, **headers})
        assert code == 403, url
        assert text.startswith("This server ")
    assert calls == []
    assert host.hub.query() == []


async def test_the_hosts_own_routes_want_a_key_even_where_functions_want_none(host: Host, calls: list[str]) -> None:
    rpc = host.rpc_url.rpartition("/")[0]
    own = f"{host.url}/runtime/webhooks/durabletask/orchestrators/waits/one"
    for method, url, code in (
        ("POST", f"{host.url}/admin/functions/work", 401),
        ("POST", f"{host.url}/admin/functions/work?code=guessed", 401),
        ("POST", f"{host.url}/ADMIN/functions/work", 401),
        ("POST", f"{host.url}/admin/nothing", 401),
        ("POST", own, 401),
        ("POST", own.replace("runtime", "Runtime"), 401),
        ("POST", f"{rpc}/durabletask/orchestrators/waits/one", 404),
        ("POST", f"{rpc}/runtime/webhooks/durabletask/orchestrators/waits/one", 404),
        ("POST", f"{rpc}/guessed/durabletask/orchestrators/waits/one", 404),
    ):
        assert (await status(method, url))[0] == code, url
    assert "x-functions-key" in (await status("POST", own))[1]
    assert calls == []
    assert host.hub.query() == []
    key = {"x-functions-key": host.admin_key}
    assert (await status("POST", f"{host.url}/admin/functions/work", headers=key))[0] == 202
    assert (await status("POST", own, headers=key))[0] == 202
    client = df.DurableOrchestrationClient(host._management.binding(host.url, host.rpc_url))
    assert (await client.get_status("one")).instance_id == "one"


async def test_keys_differ_from_start_to_start() -> None:
    keys = set()
    for _ in range(2):
        async with Host(make_app([]), port=0) as host:
            keys |= {host.admin_key, host._system_key, host.rpc_url.rpartition("/")[2]}
    assert len(keys) == 6


async def test_the_master_key_opens_the_hosts_own_routes() -> None:
    async with Host(make_app([]), port=0, keys=Keys(function="f", master="m")) as host:
        url = f"{host.url}/admin/functions/work"
        assert [(await status("POST", f"{url}?code={key}"))[0] for key in ("m", "f")] == [202, 401]


async def test_a_page_that_was_named_calls_the_app_and_no_route_of_the_hosts_own(tmp_path: Path) -> None:
    (tmp_path / "function_app.py").write_text(
        "import azure.functions as func\napp = func.FunctionApp(http_auth_level='ANONYMOUS')\n"
        "@app.route(route='page')\nasync def page(req: func.HttpRequest) -> str:\n    return 'seen'\n"
    )
    settings = {"Host": {"CORS": f"https://other.example, {PAGE}", "AllowedHosts": "dev.example"}}
    (tmp_path / "local.settings.json").write_text(json.dumps(settings))
    headers = {"Origin": PAGE, "Sec-Fetch-Site": "same-site"}
    async with Host(tmp_path, port=0) as host:
        assert await status("GET", f"{host.url}/api/page", headers=headers) == (200, "seen")
        assert (await status("GET", f"{host.url}/api/page", headers={**headers, "Host": "dev.example"}))[0] == 200
        assert (await status("GET", f"{host.url}/api/page", headers={**headers, "Host": "evil.test"}))[0] == 403
        assert (await status("POST", f"{host.url}/admin/functions/page", headers=headers))[0] == 401
        _, sentence = await status("GET", f"{host.url}/api/page", headers={"Origin": "https://evil.test"})
        assert "`CORS`" in sentence


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_the_scripted_model_answers_no_page_either(headers: dict[str, str]) -> None:
    async with ScriptedModel() as model:
        asked = [
            ("GET", f"{model.root}/control/account/log"),
            ("POST", f"{model.root}/control/account/reset"),
            ("PUT", f"{model.root}/control/account/switches"),
            ("POST", f"{model.url}/responses"),
            ("GET", f"{model.root}/health"),
            ("GET", f"{model.root}/nothing"),
        ]
        answers = await asyncio.gather(*(status(method, url, headers=headers) for method, url in asked))
        assert {code for code, _ in answers} == {403}
        assert (await status("GET", f"{model.root}/control/account/log"))[0] == 200
