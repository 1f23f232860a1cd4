"""The HTTP front on a running host."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import azure.functions as func
import pytest
from azurefunctions.extensions.base import ModuleTrackerMeta
from multidict import CIMultiDict
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from local.host import Host, Keys, LoadError, MovableClock
from local.host.http import FASTAPI_EXTENSION
from tests.parts.waiting import eventually


def anonymous() -> func.FunctionApp:
    return func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


async def test_the_first_chunk_arrives_before_the_last_is_made() -> None:
    app = anonymous()
    seen = asyncio.Event()

    @app.route(route="stream")
    async def stream(req: Request) -> StreamingResponse:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"first"
            await seen.wait()
            yield b"last"

        return StreamingResponse(chunks(), media_type="text/event-stream")

    async with (
        Host(app, port=0) as host,
        aiohttp.ClientSession(host.url) as session,
        session.get("/api/stream") as response,
    ):
        assert await response.content.readany() == b"first"
        seen.set()
        assert await response.content.read() == b"last"


async def test_a_caller_that_goes_away_cancels_the_stream() -> None:
    app = anonymous()
    cancelled = asyncio.Event()

    @app.route(route="stream")
    async def stream(req: Request) -> StreamingResponse:
        async def chunks() -> AsyncIterator[bytes]:
            try:
                yield b"first"
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.set()
                raise

        return StreamingResponse(chunks())

    async with Host(app, port=0) as host:
        async with aiohttp.ClientSession(host.url) as session:
            response = await session.get("/api/stream")
            assert await response.content.readany() == b"first"
            response.close()
        await asyncio.wait_for(cancelled.wait(), 5)


async def test_an_open_stream_does_not_keep_the_host_from_stopping() -> None:
    app = anonymous()
    cancelled = asyncio.Event()

    @app.route(route="stream")
    async def stream(req: Request) -> StreamingResponse:
        async def chunks() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"beat"
                    await asyncio.sleep(0.01)
            finally:
                cancelled.set()

        return StreamingResponse(chunks())

    async with Host(app, port=0) as host:
        session = aiohttp.ClientSession(host.url)
        response = await session.get("/api/stream")
        assert await response.content.readany()
        begun = time.monotonic()

    assert time.monotonic() - begun < 3
    assert cancelled.is_set()
    await session.close()


async def test_an_error_in_mid_stream_breaks_the_connection() -> None:
    app = anonymous()

    @app.route(route="stream")
    async def stream(req: Request) -> StreamingResponse:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"first"
            raise RuntimeError("boom")

        return StreamingResponse(chunks())

    async with Host(app, port=0) as host, aiohttp.ClientSession(host.url) as session:
        response = await session.get("/api/stream")
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_every_answer_of_a_function_has_the_headers_of_host_json_where_it_has_none_of_its_own() -> None:
    app = anonymous()

    @app.route(route="plain")
    async def plain(req: Request) -> str:
        return "x"

    @app.route(route="own")
    async def own(req: Request) -> JSONResponse:
        return JSONResponse({}, headers={"x-a": "own"})

    @app.route(route="stream")
    async def stream(req: Request) -> StreamingResponse:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"x"

        return StreamingResponse(chunks())

    @app.route(route="raises")
    async def raises(req: Request) -> str:
        raise RuntimeError

    settings = {"extensions": {"http": {"customHeaders": {"X-A": "b"}}}}
    async with Host(app, port=0, host_json=settings) as host, aiohttp.ClientSession(host.url) as session:
        for name, value in {"plain": "b", "own": "own", "stream": "b", "raises": "b"}.items():
            async with session.get(f"/api/{name}") as response:
                assert response.headers.getall("x-a") == [value]


async def test_what_a_handler_returns_becomes_a_response(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModuleTrackerMeta, "_module", FASTAPI_EXTENSION)
    app = anonymous()
    returned: dict[str, Any] = {
        "none": None,
        "text": "hello",
        "bytes": b"hello",
        "dict": {"a": 1},
        "classic": func.HttpResponse("made", status_code=201, headers={"x-mine": "1"}),
    }

    @app.route(route="give/{what}")
    async def give(req: Request) -> Any:
        return returned[req.path_params["what"]]

    @app.route(route="classic/{what}")
    async def give_classic(req: func.HttpRequest) -> Any:
        return returned[req.route_params["what"]]

    async with Host(app, port=0) as host, aiohttp.ClientSession(host.url) as session:

        async def get(what: str) -> tuple[int, str, str]:
            async with session.get(f"/api/{what}") as response:
                return response.status, response.headers.get("content-type", ""), await response.text()

        assert await get("classic/none") == (204, "", "")
        assert await get("classic/text") == (200, "text/plain; charset=utf-8", "hello")
        assert await get("classic/classic") == (201, "text/plain; charset=utf-8", "made")
        # With the streaming types the worker's own web server answers: JSON, and nothing of None.
        for text in ("text", "bytes"):
            assert await get(f"give/{text}") == (200, "application/json", '"hello"')
        assert await get("give/dict") == (200, "application/json", '{"a":1}')
        for nothing in ("give/none", "give/other", "classic/other"):
            assert await get(nothing) == (500, "text/plain; charset=utf-8", "Internal Server Error")
        monkeypatch.setattr(ModuleTrackerMeta, "_module", "shared.api.extension")  # it takes responses alone
        assert (await get("give/dict"))[0] == 500


async def test_what_belongs_to_the_callers_connection_does_not_reach_the_app() -> None:
    app = anonymous()

    @app.route(route="told")
    async def told(req: Request, context: func.Context) -> JSONResponse:
        trace, retry = context.trace_context, context.retry_context
        assert (trace.trace_parent, trace.attributes, retry.retry_count) == ("", {}, 0)
        return JSONResponse(sorted(req.headers))

    given = {"Keep-Alive": "5", "TE": "trailers", "Proxy-Authorization": "x", "Upgrade": "x", "X-A": "1"}
    async with (
        Host(app, port=0) as host,
        aiohttp.ClientSession(host.url) as session,
        session.get("/api/told", headers={"Connection": "keep-alive", **given}) as response,
    ):
        seen = set(await response.json())
    assert seen >= {"host", "x-a", "x-forwarded-host"}
    assert not seen & {"connection", "keep-alive", "te", "proxy-authorization", "upgrade"}


async def test_the_classic_types_work_in_a_thread() -> None:
    app = anonymous()

    @app.route(route="old/{id}", methods=["POST"])
    def old(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
        told = f"{req.method} {req.route_params['id']} {req.params['q']} {req.get_json()} {context.function_name}"
        return func.HttpResponse(told, headers={"x-seen": req.headers["x-given"]})

    async with (
        Host(app, port=0) as host,
        aiohttp.ClientSession(host.url) as session,
        session.post("/api/old/7?q=a", json=[1], headers={"X-Given": "y"}) as response,
    ):
        assert await response.text() == "POST 7 a [1] old"
        assert response.headers["x-seen"] == "y"


async def test_a_handler_sees_the_workers_host_and_the_public_one_beside_it() -> None:
    app = anonymous()

    @app.route(route="told")
    async def told(req: Request) -> JSONResponse:
        return JSONResponse({"url": str(req.url), "headers": dict(req.headers)})

    headers = {"Host": "public.example", "X-Forwarded-Host": "forged", "x-ms-client-principal": "kept"}
    async with (
        Host(app, port=0, hosts=["public.example"]) as host,
        aiohttp.ClientSession(host.url) as session,
        session.get("/api/told", headers=headers) as response,
    ):
        seen = await response.json()

        assert seen["url"] == f"http://{urlsplit(host.rpc_url).netloc}/api/told"
    assert seen["headers"]["x-forwarded-host"] == "public.example"
    assert seen["headers"]["x-forwarded-proto"] == "http"
    assert seen["headers"]["x-ms-client-principal"] == "kept"


async def test_a_header_that_is_sent_twice_arrives_once() -> None:
    app = anonymous()

    @app.route(route="told")
    async def told(req: Request) -> JSONResponse:
        return JSONResponse([req.headers.getlist(name) for name in ("x-a", "cookie", "x-b")])

    headers = [("X-A", "1"), ("X-B", "3"), ("X-A", "2"), ("Cookie", "a=1"), ("Cookie", "b=2")]
    async with (
        Host(app, port=0) as host,
        aiohttp.ClientSession(host.url) as session,
        session.get("/api/told", headers=CIMultiDict(headers)) as response,
    ):
        assert await response.json() == [["1, 2"], ["a=1; b=2"], ["3"]]


@pytest.mark.parametrize(
    ("keys", "level", "given", "status"),
    [
        (Keys(), "FUNCTION", {}, 204),
        (Keys(), "ADMIN", {}, 204),
        (Keys(function="f"), "FUNCTION", {}, 401),
        (Keys(function="f"), "FUNCTION", {"code": "f"}, 204),
        (Keys(function="f"), "ANONYMOUS", {}, 204),
        (Keys(function="f"), "ADMIN", {"code": "f"}, 401),
        (Keys(master="m"), "FUNCTION", {"code": "m"}, 204),
        (Keys(master="m"), "ADMIN", {"code": "m"}, 204),
        (Keys(master="m"), "FUNCTION", {"code": "é"}, 401),
    ],
)
async def test_keys(keys: Keys, level: str, given: dict[str, str], status: int) -> None:
    app = func.FunctionApp(http_auth_level=func.AuthLevel[level])

    @app.route(route="nothing")
    async def nothing(req: Request) -> Response:
        return Response(status_code=204)

    async with (
        Host(app, port=0, keys=keys) as host,
        aiohttp.ClientSession(host.url) as session,
        session.get("/api/nothing", params=given) as response,
    ):
        assert (response.status, await response.read()) == (status, b"")


async def test_a_newline_inside_a_path_parameter_is_404_and_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    app = anonymous()

    @app.route(route="open/{what}")
    async def open_(req: Request) -> str:
        return "seen"

    async with Host(app, port=0) as host:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(host.url.rsplit(":", 1)[1]))
        writer.write(b"GET /api/open/a%0Ab HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        reply = await asyncio.wait_for(reader.read(), 5)
        writer.close()

    assert reply.startswith(b"HTTP/1.1 404")
    assert "a newline in a path parameter of 'open_'" in caplog.text


async def test_a_function_is_fired_by_hand() -> None:
    app = anonymous()
    calls: list[str] = []

    @app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *")
    async def yearly(timer: func.TimerRequest) -> None:
        calls.append("yearly")

    @app.activity_trigger(input_name="given")
    def work(given: str) -> None:
        calls.append(given)

    @app.route(route="page")
    async def page(req: Request) -> None:
        return None

    async with (
        Host(app, port=0) as host,
        aiohttp.ClientSession(host.url, headers={"x-functions-key": host.admin_key}) as session,
    ):

        async def fire(name: str, body: Any) -> int:
            async with session.post(f"/admin/functions/{name}", json=body) as response:
                return response.status

        assert await fire("yearly", {}) == 202
        assert await fire("WORK", {"input": '"now"'}) == 202
        assert await fire("page", {}) == 404
        assert await fire("other", {}) == 404
        await eventually(lambda: sorted(calls) == ["now", "yearly"])


async def test_the_clock_moves_over_http_only_when_it_can() -> None:
    key = {"x-functions-key": "the key"}
    async with (
        Host(anonymous(), port=0, clock=MovableClock(), admin_key="the key") as host,
        aiohttp.ClientSession(host.url, headers=key) as session,
    ):
        async with session.post("/admin/clock", json={"advance": 60}) as response:
            assert response.status == 200
            assert list(await response.json()) == ["now"]
        async with session.post("/admin/clock", json={"advance": -1}) as response:
            assert response.status == 400
    async with (
        Host(anonymous(), port=0, admin_key="the key") as host,
        aiohttp.ClientSession(host.url, headers=key) as session,
        session.post("/admin/clock", json={"advance": 60}) as response,
    ):
        assert response.status == 404


async def test_cors_is_answered_for_the_origins_given_and_only_then() -> None:
    app = anonymous()

    @app.route(route="page")
    async def page(req: Request) -> str:
        return "seen"

    preflight = {"Origin": "https://a.example", "Access-Control-Request-Method": "GET"}
    async with (
        Host(app, port=0, cors=["https://a.example"]) as host,
        aiohttp.ClientSession(host.url) as session,
        session.options("/api/page", headers=preflight) as response,
    ):
        assert response.headers["access-control-allow-origin"] == "https://a.example"
    async with (
        Host(anonymous(), port=0) as host,
        aiohttp.ClientSession(host.url) as session,
        session.options("/", headers=preflight) as response,
    ):
        assert response.status == 403
        assert "access-control-allow-origin" not in response.headers


# --- loading ---


def write(app_dir: Path, text: str) -> Path:
    (app_dir / "function_app.py").write_text(f"import azure.functions as func\n{text}")
    return app_dir


BROKEN = {
    "two apps": "a = func.FunctionApp()\nb = func.FunctionApp()",
    "no app": "a = 1",
    "a parameter without a binding": (
        "app = func.FunctionApp()\n@app.route(route='x')\ndef x(req: func.HttpRequest, more: str): ..."
    ),
    "a binding without a parameter": "app = func.FunctionApp()\n@app.route(route='x')\ndef x(): ...",
    "an annotation that is no type": (
        "app = func.FunctionApp()\n@app.route(route='x')\ndef x(req: func.HttpRequest | None): ..."
    ),
    "a wrong type": "app = func.FunctionApp()\n@app.route(route='x')\ndef x(req: int): ...",
    "a wrong context": (
        "app = func.FunctionApp()\n@app.route(route='x')\ndef x(req: func.HttpRequest, context: int): ..."
    ),
    "a name twice": (
        "app = func.FunctionApp()\n@app.route(route='x')\ndef x(req: func.HttpRequest): ...\n"
        "@app.route(route='y')\n@app.function_name('x')\ndef y(req: func.HttpRequest): ..."
    ),
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN.keys())
async def test_an_app_that_the_worker_would_refuse_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(LoadError):
        async with Host(write(tmp_path, text), port=0):
            pass


async def test_a_function_that_cannot_be_hosted_is_named_and_the_others_run(tmp_path: Path) -> None:
    app_dir = write(
        tmp_path,
        "app = func.FunctionApp(http_auth_level='ANONYMOUS')\n"
        "@app.route(route='x')\nasync def x(req: func.HttpRequest) -> str: return 'x'\n"
        "@app.timer_trigger(arg_name='t', schedule='%NOT_SET_ANYWHERE%')\ndef y(t: func.TimerRequest): ...\n"
        "@app.queue_trigger(arg_name='m', queue_name='q', connection='c')\ndef z(m: func.QueueMessage): ...\n"
        "@app.activity_trigger(input_name='data')\ndef w(data: str): ...\n",
    )
    async with Host(app_dir, port=0) as host:
        assert [one.name for one in host.index.functions] == ["x"]
        assert ["'y'" in problem or "'z'" in problem or "'w'" in problem for problem in host.index.problems] == [
            True
        ] * 3


async def test_local_settings_go_where_nothing_is_set_and_are_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOST_TEST_SET", "outer")
    monkeypatch.delenv("HOST_TEST_UNSET", raising=False)
    app_dir = write(
        tmp_path,
        "import os, pathlib\napp = func.FunctionApp(http_auth_level='ANONYMOUS')\n"
        "@app.route(route='x')\nasync def x(req: func.HttpRequest) -> str:\n"
        "    return f\"{os.environ['HOST_TEST_SET']} {os.environ['HOST_TEST_UNSET']} {pathlib.Path.cwd().name}\"\n",
    )
    values = '{"HOST_TEST_SET": "inner", "HOST_TEST_UNSET": "inner"}'
    (tmp_path / "local.settings.json").write_text(f'{{"Values": {values}, "Host": {{"CORS": "*"}}}}')
    async with (
        Host(app_dir, port=0) as host,
        aiohttp.ClientSession(host.url) as session,
        session.get("/api/x", headers={"Origin": "https://a.example"}) as response,
    ):
        assert await response.text() == f"outer inner {tmp_path.name}"
        assert response.headers["access-control-allow-origin"] == "*"

    import os

    assert "HOST_TEST_UNSET" not in os.environ
    assert os.getcwd() != str(tmp_path)


async def test_a_port_that_is_taken_is_an_error_and_leaves_nothing_behind() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            async with Host(anonymous(), port=taken.getsockname()[1]):
                pass


# --- the root ---


async def root(app: func.FunctionApp, method: str = "GET") -> tuple[int, str]:
    async with (
        Host(app, port=0) as host,
        aiohttp.ClientSession(host.url) as session,
        session.request(method, "/", allow_redirects=False) as response,
    ):
        return response.status, await response.text()


async def test_at_the_root_there_is_a_welcome_unless_a_setting_says_no(monkeypatch: pytest.MonkeyPatch) -> None:
    status, text = await root(anonymous())
    assert (status, "up and running" in text) == (200, True)
    for value, expected in (("true", 204), ("True", 204), ("1", 200), ("", 200)):
        monkeypatch.setenv("AzureWebJobsDisableHomepage", value)
        assert (await root(anonymous()))[0] == expected, value


@pytest.mark.parametrize("value", ["", "true"])
async def test_a_function_that_takes_the_root_has_it(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the real host: what comes in place of a function is for requests that none has taken."""
    monkeypatch.setenv("AzureWebJobsDisableHomepage", value)
    app = anonymous()

    @app.route(route="{nothing:maxlength(0)?}", methods=["GET"])
    async def home(req: Request) -> Response:
        return Response("mine")

    no_prefix = {"extensions": {"http": {"routePrefix": ""}}}
    async with Host(app, port=0, host_json=no_prefix) as host, aiohttp.ClientSession(host.url) as session:
        async with session.get("/") as response:
            assert await response.text() == "mine"
        async with session.get("/else") as response:
            assert response.status == 404
