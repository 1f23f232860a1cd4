"""`dev.py run` as a process, in a copy of the checkout whose model and host are stand-ins."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local import ROOT
from local.stack import free_port, machine_environment, port_is_free
from tests.unit.dev.conftest import SERVER

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")

# The setup is left out (it has tests of its own), and a storage account is named, so that Azurite is too.
START = "import dev, sys; from pathlib import Path; from local.dev import running; "
START += "running.ensure_venv = lambda venv: Path(sys.executable); "
START += "sys.exit(dev.main(sys.argv[1:]))"


class Session:
    """A running `dev.py run` and what it has said so far."""

    def __init__(self, checkout: Path, **env: str) -> None:
        self.port = free_port()
        self.said = ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, "run", "--host", "local", "--port", str(self.port)],
            cwd=checkout,
            env={**machine_environment(), "PYTHONPATH": str(checkout), "AzureWebJobsStorage": "another=account", **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def read_until(self, text: str) -> None:
        """Read on until a line has the text, or everything has been said."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.said += line
            if text in line:
                return

    def end(self) -> int:
        """Read the rest and return the exit code."""
        self.read_until("\0")
        return self.process.wait(30)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "dev.py", tmp_path)
    for folder in ("dev", "stack", "packaging", "points", "prove"):
        shutil.copytree(ROOT / "local" / folder, tmp_path / "local" / folder)
    shutil.copy(ROOT / "local" / "__init__.py", tmp_path / "local")
    for name in ("model.py", "host.py"):
        (tmp_path / "local" / name).write_text(SERVER, "utf-8")
    return tmp_path


@pytest.fixture
def sessions(checkout: Path) -> Iterator[Callable[..., Session]]:
    started: list[Session] = []

    def start(**env: str) -> Session:
        started.append(Session(checkout, **env))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.communicate()


@pytest.fixture
def session(sessions: Callable[..., Session]) -> Session:
    return sessions()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything_in_order(session: Session, checkout: Path, number: int) -> None:
    session.read_until("Dormouse is up")
    assert not port_is_free(session.port)
    session.process.send_signal(number)
    assert session.end() == 0
    assert port_is_free(session.port)
    for log in ("host.log", "model.log"):
        assert "ended in order" in (checkout / ".dormouse" / "logs" / log).read_text()


def test_what_the_host_says_at_its_start_is_in_the_log_and_on_the_screen_only_where_it_is_needed(
    sessions: Callable[..., Session], checkout: Path
) -> None:
    for env in ({}, {"UNWELL": "1"}):
        session = sessions(**env)
        session.read_until("Ctrl-C stops everything")
        session.process.send_signal(signal.SIGINT)
        assert session.end() == 0
        assert ("[host] think" in session.said) == bool(env)
        assert "think" in (checkout / ".dormouse" / "logs" / "host.log").read_text()


@pytest.mark.parametrize("unwell", [True, False])
def test_an_app_that_can_serve_nothing_is_told_below_the_greeting(
    sessions: Callable[..., Session], unwell: bool
) -> None:
    session = sessions(**{"UNWELL": "1"} if unwell else {})
    session.read_until("Ctrl-C stops everything")
    session.process.send_signal(signal.SIGINT)
    assert session.end() == 0
    assert ("it can serve no run" in session.said) == unwell


def test_the_death_of_one_part_is_told_and_ends_the_rest(session: Session, checkout: Path) -> None:
    session.read_until("Dormouse is up")
    log = (checkout / ".dormouse" / "logs" / "host.log").read_text()
    os.kill(int(log.partition("pid ")[2].split()[0]), signal.SIGKILL)
    assert session.end() == 1
    assert "host stopped with exit code -9, so everything is stopped" in session.said


def test_a_part_that_does_not_come_up_ends_the_rest(checkout: Path) -> None:
    (checkout / "local" / "host.py").write_text("raise SystemExit('no such table')", "utf-8")
    session = Session(checkout)
    assert session.end() == 1
    assert "host stopped with exit code 1 while starting" in session.said
    assert "no such table" in session.said
    assert "ended in order" in (checkout / ".dormouse" / "logs" / "model.log").read_text()
