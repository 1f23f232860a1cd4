"""The host as a process of its own."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from local import ROOT
from local.host.command import NOISY_LOGGERS
from local.stack import free_port
from local.stack.child import http_status

APP = """
import azure.functions as func
app = func.FunctionApp(http_auth_level="ANONYMOUS")

@app.route(route="health", methods=["GET"])
async def health(req: func.HttpRequest) -> str:
    return "well"

@app.timer_trigger(arg_name="timer", schedule="*/10 * * * * *")
async def tick(timer: func.TimerRequest) -> None: ...
"""


def launch(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "local.host", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    (tmp_path / "function_app.py").write_text(APP)
    running = launch("--app", str(tmp_path), "--port", "0")
    yield running
    running.kill()
    running.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_what_it_serves_and_stops_when_told(process: subprocess.Popen[str], number: signal.Signals) -> None:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "tick" in line:
            break
    url = re.search(r"health: \[GET\] (\S+)", "".join(lines))
    assert url is not None
    assert "\ttick: timerTrigger\n" in lines
    assert urllib.request.urlopen(url[1], timeout=5).read() == b"well"

    told = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate(timeout=10)

    assert process.returncode == 0, errors
    assert time.monotonic() - told < 2
    begin = r"^\[\d{4}-\d\d-\d\dT[\d:.]+\+00:00\] INFO local.host: "
    assert re.search(rf"{begin}the key of /admin/\S+ .* is \S{{20,}}$", errors, re.MULTILINE)
    assert re.search(rf"{begin}stopping$", errors, re.MULTILINE)


def test_what_it_serves_is_said_before_it_answers(tmp_path: Path) -> None:
    """Whoever waits for the first answer and then speaks is not interrupted."""
    (tmp_path / "function_app.py").write_text(APP)
    port, log = free_port(), tmp_path / "log"
    command = [sys.executable, "-m", "local.host", "--app", str(tmp_path), "--port", str(port)]
    with log.open("wb") as out, subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out) as running:
        try:
            while http_status(port, "/api/health") != 200:
                assert running.poll() is None, log.read_text()
            assert "\ttick: timerTrigger\n" in log.read_text()
        finally:
            running.terminate()


def test_a_launcher_may_pass_its_own_clock(tmp_path: Path) -> None:
    (tmp_path / "function_app.py").write_text(APP)
    script = (
        "import sys; from local.host import MovableClock, main; clock = MovableClock(); clock.advance(86400);"
        "sys.exit(main(['--app', sys.argv[1], '--port', '0'], clock=clock))"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    env = {**os.environ, "LOCAL_HOST_ADMIN_KEY": "the key"}
    running = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout is not None
    try:
        url = next(found[1] for line in running.stdout if (found := re.search(r"(http://[^/]+)/api/health", line)))
        key = {"x-functions-key": "the key"}
        request = urllib.request.Request(f"{url}/admin/clock", data=b'{"advance": 1}', headers=key, method="POST")
        told = json.loads(urllib.request.urlopen(request, timeout=5).read())["now"]
        ahead = datetime.fromisoformat(told) - datetime.now(UTC)
        assert timedelta(hours=23) < ahead < timedelta(hours=25)
    finally:
        running.terminate()
        running.communicate()

    assert running.returncode == 0


def test_an_app_that_does_not_load_is_exit_code_1_and_a_sentence(tmp_path: Path) -> None:
    _, errors = (process := launch("--app", str(tmp_path), "--port", "0")).communicate(timeout=20)

    assert process.returncode == 1
    assert "there is no function_app.py in" in errors


@pytest.mark.parametrize("package", NOISY_LOGGERS)
def test_what_is_silenced_is_what_is_installed(package: str) -> None:
    assert importlib.util.find_spec(package)


def test_help_tells_every_option() -> None:
    text, _ = (process := launch("--help")).communicate(timeout=20)

    assert process.returncode == 0
    for option in (
        "--app",
        "--port",
        "--bind",
        "--rpc-port",
        "--function-key",
        "--master-key",
        "--movable-clock",
        "--cors",
        "--allow-host",
        "LOCAL_HOST_ADMIN_KEY",
    ):
        assert option in text
