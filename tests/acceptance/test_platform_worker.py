"""The worker that the platform runs from Python 3.13 on, with this app in it, beside the local host.

The worker is Microsoft's package, in an environment of its own; `launch_on_worker` is the host around it. Skipped where
the machine has no Python that the package takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from local import ROOT
from local.host.routes import parse_template
from local.model.control import ModelControl
from local.openapi.triggers import triggers
from local.stack import Azurite, FunctionsHost, ScriptedModel
from local.stack.child import machine_environment
from local.stack.setup import ensure_environment, find_python
from tests.acceptance.client import Api
from tests.acceptance.conftest import CLIENT_KEYS, Stack, new_stack
from tests.acceptance.eventsource import Watcher
from tests.acceptance.test_contract import NOBODYS, OPERATOR_KEY, TOKEN_SECRET
from tests.contract.host.stage import HOST_JSON, KEYS
from tests.contract.host.test_host_http import DEVIATIONS, EXCHANGES, exchange, spelled_out, unshortened
from tests.parts.waiting import eventually

HERE = Path(__file__).parent / "worker_python"
HOME = ROOT / ".dormouse" / "worker-python"
OLDEST = (3, 13)
"""What the package takes."""
MODULE = "tests.acceptance.launch_on_worker"
ANY_METHOD = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
CHANGES = ("POST", "PUT", "PATCH", "DELETE")


@pytest.fixture(scope="session")
def worker_python() -> Path:
    """The interpreter of an environment with the worker and what the app ships."""
    found = find_python(OLDEST)
    if found is None:
        pytest.skip(f"azure-functions-runtime takes Python {OLDEST[0]}.{OLDEST[1]} or newer: there is none here")
    return ensure_environment("the platform's worker", HERE / "requirements.txt", HOME / "3.13", base=found)


class Pair(NamedTuple):
    """The same app twice: in the local host, and in the platform's worker."""

    local: str
    platform: str
    stack: Stack | None = None


class Answer(NamedTuple):
    """What came back, without what differs from one call to the next."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


@pytest.fixture(scope="module")
def odd_pair(worker_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """The app of odd functions."""
    folder = tmp_path_factory.mktemp("odd")
    env = {"PYTHONPATH": str(ROOT)}
    with contextlib.ExitStack() as stack:
        local = stack.enter_context(FunctionsHost(app_dir=HERE, env=env, log=folder / "local.log"))
        platform = FunctionsHost(app_dir=HERE, env=env, python=worker_python, module=MODULE, log=folder / "worker.log")
        yield Pair(local.url, stack.enter_context(platform).url)


@pytest.fixture(scope="module")
def pair(
    worker_python: Path, azurite: Azurite, model_server: ScriptedModel, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    """This app, twice on one storage, so that both have the same runs to tell of."""
    env = {
        "DORMOUSE_PUBLIC_BASE_URL": "https://app.example.net",
        "DORMOUSE_RUN_TOKEN_SECRET": TOKEN_SECRET,
        "DORMOUSE_OPERATOR_KEY": OPERATOR_KEY,
        "DORMOUSE_ALLOWED_ORIGINS": "https://pages.example.net",
    }
    with contextlib.ExitStack() as stack:
        made = new_stack("durable", azurite, model_server, tmp_path_factory.mktemp("both"), stack, env)
        yield Pair(made.host().url, made.host(python=worker_python, module=MODULE).url, made)


async def answer(url: str, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> Answer:
    """One request, byte for byte; volatile headers are left out."""
    status, found, text = await exchange(url, method, path, headers, body)
    # A stream's parts may be put together on the way.
    if found.get("transfer-encoding") == "chunked":
        text = re.sub(r"(?:^|\r\n)[0-9a-f]+\r\n(?:\r\n)?", "", text)
    left_out = ("date", "server", "x-request-id", "connection")
    whole = text.encode("utf-8", "surrogateescape")
    # Two versions of Python compress the same text to other bytes.
    if found.get("content-encoding") == "gzip" and whole:
        whole = gzip.decompress(whole)
    return Answer(status, tuple(sorted(each for each in found.items() if each[0] not in left_out)), whole)


async def both(pair: Pair, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b"") -> Answer:
    """The answer of the two, which must be one."""
    local, platform = await asyncio.gather(
        answer(pair.local, method, path, headers or {}, body), answer(pair.platform, method, path, headers or {}, body)
    )
    assert masked(local) == masked(platform), (method, path, headers)
    return local


def masked(given: Answer) -> Answer:
    """Without ids, times and their hashes, which each call that makes something makes anew."""
    if given.status not in (200, 202):
        return given

    def mask(text: str) -> str:
        text = re.sub(r"[0-9a-f]{32}", "ID", text)
        text = re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "TIME", text)
        return re.sub(r'("(?:created_at|active_seconds|created)": )[0-9.]+', r"\1N", text)

    body = mask(given.body.decode("utf-8", "surrogateescape"))
    headers = tuple((name, mask(value)) for name, value in given.headers if name != "content-length")
    return Answer(given.status, headers, body.encode("utf-8", "surrogateescape"))


def test_the_worker_finds_every_function_as_the_local_host_does(worker_python: Path) -> None:
    env = {
        **machine_environment(),
        "AzureWebJobsStorage": "UseDevelopmentStorage=true",
        "OPENAI_API_KEY": "none",
        "DORMOUSE_DRIVER": "timer",
        "DORMOUSE_RUN_TOKEN_SECRET": TOKEN_SECRET,
    }
    command = [worker_python, "-m", MODULE, "--index"]
    made = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    found = json.loads(made.stdout)
    assert found["problems"] == []
    assert found["local"].keys() == found["platform"].keys() > triggers().keys()
    kinds = {
        "httpTrigger": "http",
        "timerTrigger": "timer",
        "activityTrigger": "activity",
        "orchestrationTrigger": "orchestrator",
    }
    for name, bindings in found["platform"].items():
        (trigger,) = (each for each in bindings if each["type"] in kinds)
        ours = found["local"][name]
        assert ours["kind"] == kinds[trigger["type"]], name
        assert ours["trigger"] == trigger["name"], name
        others = {
            each["name"]: each["type"] for each in bindings if each not in (trigger,) and each["name"] != "$return"
        }
        assert ours["inputs"] == others, name
        if ours["kind"] == "http":
            assert (ours["route"], ours["level"]) == (trigger["route"], trigger["authLevel"].lower()), name
            assert ours["methods"] == trigger["methods"], name
            assert parse_template(trigger["route"])
        if ours["kind"] == "timer":
            assert ours["schedule"] == trigger["schedule"], name


async def test_each_recorded_request_is_answered_as_it_was_by_the_real_host(
    worker_python: Path, tmp_path: Path
) -> None:
    shutil.copyfile(ROOT / "tests" / "contract" / "host" / "recorded_app.py", tmp_path / "function_app.py")
    (tmp_path / "host.json").write_text(json.dumps({"version": "2.0", **HOST_JSON}))
    keys = ["--function-key", str(KEYS.function), "--master-key", str(KEYS.master)]
    made = FunctionsHost(
        app_dir=tmp_path, python=worker_python, module=MODULE, args=keys, log=tmp_path / "log", env={"PYTHONPATH": "."}
    )
    differing = set()
    with await asyncio.to_thread(made.__enter__) as host:
        for one in EXCHANGES:
            body = b'{"a":1}' if one["bytes"] == 7 else b"x" * one["bytes"]
            path = spelled_out(one["path"])
            status, headers, text = await exchange(host.url, one["method"], path, one["headers"], body)
            wanted, cut = unshortened(one["body"])
            same = status == one["status"] and (text.startswith(wanted) if cut else text == wanted)
            if not same or not headers.items() >= one["reply headers"].items():
                differing.add(f"{one['method']} {one['path']} {one['headers']}")
    assert differing == DEVIATIONS.keys()


RETURNED = (
    *("none", "text", "nothing", "number", "zero", "true", "not-a-number", "dict", "list", "set", "model", "bytes"),
    *("object", "classic", "json", "created", "no-content", "not-modified", "repeated", "what-is-not-there"),
)


async def test_whatever_a_function_returns_both_make_the_same_of_it(odd_pair: Pair) -> None:
    statuses = {}
    for what in RETURNED:
        for way in ("returned", "returned_in_a_thread"):
            statuses[what] = (await both(odd_pair, "GET", f"/{way}/{what}")).status
        await both(odd_pair, "HEAD", f"/returned/{what}")
    assert statuses["none"] == statuses["what-is-not-there"] == 500
    assert statuses["not-modified"] == 304


ODD_PATHS = (
    *(
        "a%20b",
        "a%2Fb",
        "a%252Fb",
        "%C3%BC",
        "a;b",
        "a+b",
        "a/b/c",
        "A%41",
        "a'b",
        "~.-_",
        "a/../b",
        "",
        "%F0%9F%90%AD",
    ),
    *("a?x=1&x=2&y", "a?x=%00%ff&z=a+b%2Bc", "?", "a?q=%27|{}[]", "a?" + "q" * 3000, "a|b"),
)
ODD_HEADERS = (
    {"Cookie": "a=b; c=d"},
    {"X-Empty": ""},
    {"X-Big": "b" * 20_000},
    {"X-Tab": "a\tb"},
    {"Accept-Encoding": "gzip", "Range": "bytes=0-1", "If-None-Match": '"x"'},
    {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "Forwarded": "for=x"},
    {"Connection": "close, X-Foo", "X-Foo": "1", "Keep-Alive": "5", "TE": "trailers", "Upgrade": "websocket"},
    {"Proxy-Authorization": "x", "Authorization": "Bearer x"},
    {"x-ms-client-principal-id": "ann", "x-functions-key": "x"},
)


async def test_a_function_is_given_the_same_request_by_both(odd_pair: Pair) -> None:
    for path in ODD_PATHS:
        await both(odd_pair, "GET", f"/told/{path}")
    for headers in ODD_HEADERS:
        reply = await both(odd_pair, "GET", "/told/x", headers)
        assert reply.status == 200, headers
    for method in ANY_METHOD:
        for body in (b"x", b"x" * 1_000_000):
            await both(odd_pair, method, "/told/x", {"Content-Type": "a/b"}, body)
    assert (await both(odd_pair, "POST", "/answered_early", {}, b"x" * 5_000_000)).status == 403


async def test_streams_come_whole_break_off_and_are_let_go_of_by_both(odd_pair: Pair) -> None:
    assert (await both(odd_pair, "GET", "/streamed/whole")).body == b"onetwo"
    for url in (odd_pair.local, odd_pair.platform):
        async with aiohttp.ClientSession(url) as session:
            async with session.get("/streamed/raises") as broken:
                with pytest.raises(aiohttp.ClientPayloadError):
                    await broken.read()
            async with session.get("/streamed/endless") as endless:
                assert await endless.content.readexactly(6) == b"onetwo"
                assert await endless.content.readexactly(4) == b"more"

            async def ended(session: aiohttp.ClientSession = session) -> Any:
                async with session.get("/how_streams_ended") as reply:
                    return await reply.json()

            assert await eventually(ended) == ["CancelledError"]


@pytest.fixture
async def run(pair: Pair) -> AsyncIterator[dict[str, Any]]:
    """A run that has ended, on the storage of both."""
    assert pair.stack is not None
    await pair.stack.model.script(
        "done", [{"calls": [{"name": "work", "arguments": {"label": "a"}}]}, {"text": "Fine."}]
    )
    async with Api(pair.platform) as api:
        yield await api.finished(await api.start("[script:done]", agent="workshop", stream=True))


async def test_every_route_answers_the_same_in_both(pair: Pair, run: dict[str, Any]) -> None:
    async with Api(pair.platform) as api:
        given = {"items": [{"input": "[script:done]"}], "agent": "workshop"}
        batch = (await api.call("POST", "/api/batches", json=given))["id"]
        await eventually(lambda: ended_batch(api, batch))
        yearly = {"cron": "0 6 1 1 *", "input": "[script:done]", "agent": "workshop"}
        schedule = (await api.call("POST", "/api/schedules", json=yearly))["id"]
        tokens = {
            kind: (await api.call("POST", f"/api/{kind}/{each}/tokens", json={"rights": ["read"]}))["token"]
            for kind, each in (("runs", run["id"]), ("batches", batch))
        }
        by_key = {"Authorization": f"Bearer {CLIENT_KEYS['ada']}"}
        asked = {"model": "bench", "input": "[script:done]"}
        response = await api.call("POST", "/api/v1/responses", json=asked, headers=by_key)
    there = {
        "run_id": run["id"],
        "session_id": run["session_id"],
        "batch_id": batch,
        "schedule_id": schedule,
        "response_id": response["id"],
        "model": "bench",
        "call": "1.0",
        "action": "wake",
    }
    statuses: dict[str, set[int]] = {}
    for name, trigger in triggers().items():
        token = tokens["batches" if "batch" in name else "runs"] if name.startswith("shared_") else CLIENT_KEYS["ada"]
        keys = {"Authorization": f"Bearer {token}", "x-dormouse-operator-key": OPERATOR_KEY}
        for ids in (there, NOBODYS):
            path = re.sub(r"\{(\w+)\}", lambda match, ids=ids: ids[match[1]], trigger.path)  # type: ignore[misc]
            for method in ANY_METHOD:
                # What is there may only be read: a change would show in the answer of the one that comes second.
                if ids is there and method in CHANGES and "{" in trigger.path:
                    continue
                for headers, body in requests(keys)[: 3 if method in trigger.methods else 1]:
                    reply = await both(pair, method, path, headers, body if method in CHANGES else b"")
                    statuses.setdefault(name, set()).add(reply.status)
    assert statuses.keys() == triggers().keys()
    for name, trigger in triggers().items():
        reads = "GET" in trigger.methods
        assert 200 in statuses[name] or not reads, (name, statuses[name])


def requests(keys: dict[str, str]) -> list[tuple[dict[str, str], bytes]]:
    """What each address is sent: nothing, no JSON, JSON that no route takes, too much."""
    as_json = {"Content-Type": "application/json"}
    return [
        (keys, b""),
        ({**keys, **as_json, "Origin": "https://pages.example.net", "Accept-Encoding": "gzip"}, b"{"),
        ({**as_json, "If-None-Match": "*", "Idempotency-Key": "a b"}, b'{"nothing": [1]}'),
    ]


async def ended_batch(api: Api, batch: str) -> bool:
    reply = await api.call("GET", f"/api/batches/{batch}")
    return bool(reply["status"] == "completed")


async def test_a_run_is_told_live_and_a_viewer_who_goes_frees_his_place(
    worker_python: Path, azurite: Azurite, model_server: ScriptedModel, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as stack:
        made = new_stack("timer", azurite, model_server, tmp_path, stack, {"DORMOUSE_MAX_VIEWERS": "1"})
        host = await asyncio.to_thread(lambda: made.host(python=worker_python, module=MODULE))
        model: ModelControl = made.model
        await model.script("live", [{"text": "One word and another. " * 20, "stuck": True}])
        async with Api(host.url) as api:
            run_id = await api.start("[script:live]", agent="workshop", stream=True)
            watcher = await Watcher(host.url, run_id).watch(until=lambda event: event.kind == "delta")
            assert (await api.run(run_id))["status"] == "in_progress", "it was told before the model had ended"

            async def free() -> bool:
                return (await api.call("GET", f"/api/runs/{run_id}?wait=0")).status == 200 and await can_watch(
                    api, run_id
                )

            await eventually(free)
            (response,) = await model.responses()
            await model.finish(response.id)
            await watcher.to_the_end()
            watcher.check()


async def can_watch(api: Api, run_id: str) -> bool:
    async with aiohttp.ClientSession(api.url) as session, session.get(f"/api/runs/{run_id}/events") as stream:
        return stream.status == 200


@pytest.mark.parametrize("driver", ["durable", "timer"])
async def test_the_tests_of_a_running_app_pass_on_it(
    driver: str,
    worker_python: Path,
    azurite: Azurite,
    model_server: ScriptedModel,
    tmp_path: Path,
) -> None:
    with contextlib.ExitStack() as stack:
        made = new_stack(driver, azurite, model_server, tmp_path, stack, {})
        host = await asyncio.to_thread(lambda: made.host(python=worker_python, module=MODULE))
        command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-m", "http_only"]
        process = await asyncio.create_subprocess_exec(
            *command,
            *("tests/acceptance", "--basetemp", str(tmp_path / "inner")),
            cwd=ROOT,
            env={**os.environ, "DORMOUSE_TEST_AGAINST": host.url},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said = (await process.communicate())[0].decode()
    assert process.returncode == 0, said[-8_000:]
    passed = re.search(r"acceptance +(\d+) passed, 0 failed", said)
    assert passed is not None
    assert int(passed[1]) > 80, said[-2_000:]
