"""What other pages than docs/http.md and docs/operations.md tell people to type, typed as it stands there."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from local import ROOT
from local.stack import free_port, machine_environment
from tests.acceptance.client import Api
from tests.acceptance.conftest import Stack
from tests.unit.docs.pages import Found, blocks, typed_in

NewStack = Callable[..., Stack]

HERE = "http://localhost:7071"
KEY = "function-key-of-the-tests"

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


def printed(page: str, begins: str) -> str:
    """The one command of a page that begins so."""
    found: list[Found] = [
        each
        for block in blocks("console", "bash", "sh")
        if block.page == ROOT / page
        for each in typed_in(block)
        if each.text.startswith(begins)
    ]
    assert len(found) >= 1, f"{page} has no command that begins with {begins}"
    return re.sub(r"\s+#.*", "", found[0].text)


@asynccontextmanager
async def typed(command: str, folder: Path, **env: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A shell that carries the command out, with `python` and `python3` those of the tests."""
    (programs := folder / "programs").mkdir(exist_ok=True)
    for name in ("python", "python3"):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        (programs / name).chmod(0o755)
    known = machine_environment()
    shell = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        command,
        cwd=folder,
        env=known | {"PATH": f"{programs}:{known['PATH']}", "PYTHONUNBUFFERED": "1"} | env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield shell
    finally:
        if shell.returncode is None:
            shell.kill()
            await shell.wait()


async def said(command: str, folder: Path, **env: str) -> str:
    """What a command prints. One that fails fails the test."""
    async with typed(command, folder, **env) as shell:
        text = (await shell.communicate())[0].decode()
    assert shell.returncode == 0, f"{command}: {shell.returncode}: {text}"
    return text


async def test_the_command_line_of_the_python_client(own_stack: NewStack, tmp_path: Path) -> None:
    stack = own_stack(DORMOUSE_SAMPLE_TOOL_SECONDS="0.1")
    host = await asyncio.to_thread(lambda: stack.host(args=("--function-key", KEY)))
    page = "clients/python/README.md"
    exports = printed(page, "export ").replace("https://<app>.azurewebsites.net", host.url)
    exports = exports.replace("<function key>", KEY)
    (tmp_path / "stories.csv").write_text("input\nMars.\nVenus.\n")
    client = {"PYTHONPATH": str(ROOT / "clients/python/src")}

    async def does(begins: str, **instead: str) -> str:
        text = printed(page, f"python -m dormouse_client {begins}")
        for words, value in instead.items():
            text = re.sub(words, value, text)
        return await said(f"{exports}\n{text}", tmp_path, **client)

    assert "The crew had read" in await does("submit")
    async with Api(host.url, KEY) as api:
        (run,) = (await api.call("GET", "/api/runs"))["data"]
    assert json.loads(await does("get", **{r"run_[0-9a-f]+…_1": run["id"]}))["id"] == run["id"]
    await does("batch")
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["completed", "completed"]


async def test_how_far_a_deployment_goes(tmp_path: Path) -> None:
    (tmp_path / "dev.py").symlink_to(ROOT / "dev.py")
    text = await said(printed("docs/scale.md", "python3 dev.py simulate"), tmp_path)
    assert "The first wall is met at" in text


@pytest.mark.parametrize(
    ("page", "begins", "until"),
    [
        ("README.md", "python3 dev.py run", "is completed"),
        ("docs/observability.md", "python3 dev.py run --traces", "invoke_agent novelist"),
    ],
)
async def test_the_app_runs_here_and_stops_in_order(page: str, begins: str, until: str, tmp_path: Path) -> None:
    """At a port and in a folder of its own: others may be at work here."""
    port = free_port()
    own = f" --venv {sys.prefix} --port {port} --data {tmp_path / 'data'} --host local"
    command = f"cd {ROOT} && exec {printed(page, begins)}{own}"
    submit = printed("README.md", "curl -s -X POST").replace(HERE, f"http://localhost:{port}")
    async with typed(command, tmp_path, DORMOUSE_SAMPLE_TOOL_SECONDS="0.1") as app, asyncio.timeout(180):
        await _read_until(app, "Ctrl-C stops everything")
        assert json.loads(await said(submit, tmp_path))["status"] in ("queued", "in_progress")
        await _read_until(app, until)
        app.send_signal(signal.SIGINT)
        await app.communicate()
    assert app.returncode == 0


async def test_a_package_is_made_and_its_client_installs(tmp_path: Path) -> None:
    out = tmp_path / "kept"
    (tmp_path / "dev.py").symlink_to(ROOT / "dev.py")
    command = printed("docs/versioning.md", "python3 dev.py package").replace(".dormouse/kept", str(out))
    await said(f"{command} --venv {sys.prefix}", tmp_path)
    assert {each.suffix for each in out.iterdir()} >= {".zip", ".whl", ".tgz", ".json"}
    install = printed("clients/python/README.md", "pip install").replace(".dormouse", str(out))
    await said(
        f"python -m venv own && . own/bin/activate && {install} && python -m dormouse_client --version", tmp_path
    )


async def _read_until(app: asyncio.subprocess.Process, words: str) -> None:
    assert app.stdout is not None
    async for line in app.stdout:
        if words.encode() in line:
            return
    raise AssertionError(f"it ended before it said {words!r}")
