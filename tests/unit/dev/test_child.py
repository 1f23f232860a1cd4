"""Starting, waiting for, stopping and killing processes, with stand-ins."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from local import ROOT
from local.stack import (
    FunctionsHost,
    ScriptedModel,
    StackError,
    child,
    free_port,
    free_ports,
    machine_environment,
    port_is_free,
)

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="signals and process groups")


def host(stand_ins: dict[str, str], tmp_path: Path, *args: str, module: str = "stand_in") -> FunctionsHost:
    return FunctionsHost(env=stand_ins, args=args, module=module, log=tmp_path / "host.log")


def is_gone(pid: int) -> bool:
    """Whether a process has ended; a zombie that init has not fetched yet counts as ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except ProcessLookupError:  # fetched while it was being read
        return True
    except FileNotFoundError:  # or before; or there is no /proc here, and it runs
        return Path("/proc/self/stat").exists()


def wait_until_gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while not is_gone(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_a_part_is_ready_when_it_answers_and_its_port_is_free_after_the_stop(
    stand_ins: dict[str, str], tmp_path: Path
) -> None:
    with host(stand_ins, tmp_path) as part:
        assert part.alive
        assert not port_is_free(part.port)
    assert not part.alive
    assert port_is_free(part.port)


@posix_only
def test_a_stop_lets_the_process_end_in_order(stand_ins: dict[str, str], tmp_path: Path) -> None:
    part = host(stand_ins, tmp_path).start().wait_ready()
    assert part.stop() == 0
    assert "ended in order" in part.log_tail()


@posix_only
def test_a_process_that_ignores_the_stop_is_killed(stand_ins: dict[str, str], tmp_path: Path) -> None:
    part = host(stand_ins, tmp_path, "--deaf").start().wait_ready()
    assert part.stop(timeout=0.2) == -9


@posix_only
def test_a_part_stops_however_often_a_look_at_it_was_interrupted(stand_ins: dict[str, str], tmp_path: Path) -> None:
    class Interrupted(BaseException):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    def look() -> None:  # a call of its own: at the jump back of a loop, Python 3.13 raised past the `try` around it
        while part.alive:
            pass

    part = host(stand_ins, tmp_path).start().wait_ready()
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for number in range(300):
            try:
                signal.setitimer(signal.ITIMER_REAL, 2e-5 * (1 + number % 10))
                look()
            except Interrupted:
                continue
    finally:
        signal.signal(signal.SIGALRM, before)
    stop = threading.Thread(target=part.stop, daemon=True)
    stop.start()
    stop.join(20)
    assert not stop.is_alive()


@posix_only
@pytest.mark.parametrize("end", ["kill", "stop"])
def test_nothing_that_a_part_has_started_outlives_it(stand_ins: dict[str, str], tmp_path: Path, end: str) -> None:
    part = host(stand_ins, tmp_path, "--with-child").start().wait_ready()
    grandchild = int(part.log_path.read_text().split("grandchild ")[1].split()[0])
    getattr(part, end)()
    assert wait_until_gone(grandchild)


def test_a_killed_part_starts_again_on_its_port_with_the_same_log(stand_ins: dict[str, str], tmp_path: Path) -> None:
    part = host(stand_ins, tmp_path).start().wait_ready()
    first, url = part.pid, part.url
    part.kill()
    assert not part.alive
    with part:
        assert (part.url, part.pid != first) == (url, True)
    assert part.log_path.read_text().count("think") == 2


def test_a_part_that_ends_while_starting_says_so_with_its_last_words(stand_ins: dict[str, str], tmp_path: Path) -> None:
    part = host(stand_ins, tmp_path, module="broken")
    with pytest.raises(StackError, match=r"host stopped with exit code 1 while starting[\s\S]*no such setting: X"):
        part.start().wait_ready()


def test_a_part_that_never_answers_is_reported_and_stopped(stand_ins: dict[str, str], tmp_path: Path) -> None:
    part = host(stand_ins, tmp_path, module="silent")
    part.ready_timeout = 0.3
    with pytest.raises(StackError, match=r"did not answer within 0\.3 s"), part:
        pass
    assert not part.alive


def test_a_command_that_does_not_exist_is_an_error_for_people(tmp_path: Path) -> None:
    part = FunctionsHost(python=tmp_path / "no-python", log=tmp_path / "host.log")
    with pytest.raises(StackError, match="host cannot be started"):
        part.start()


def test_the_model_is_ready_when_its_health_is(stand_ins: dict[str, str], tmp_path: Path) -> None:
    log = tmp_path / "model.log"
    with ScriptedModel(think=0.5, env=stand_ins, module="stand_in", log=log) as model:
        assert model.base_url == f"http://127.0.0.1:{model.port}/v1"
    assert "think 0.5" in log.read_text()


def test_core_tools_are_ready_only_when_the_app_answers(stand_ins: dict[str, str], tmp_path: Path) -> None:
    part = FunctionsHost(func=tmp_path / "func")
    assert part.command == [str(tmp_path / "func"), "start", "--port", str(part.port)]
    with ScriptedModel(part.port, env=stand_ins, module="stand_in", log=tmp_path / "log"):
        assert not part.is_ready()  # the stand-in has no /api/health


def test_an_apps_settings_come_from_the_caller_alone(
    stand_ins: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "the developer's own")
    monkeypatch.setenv("DORMOUSE_DRIVER", "timer")
    part = FunctionsHost(env={**stand_ins, "DORMOUSE_DRIVER": "durable"}, module="stand_in", log=tmp_path / "log")
    assert "OPENAI_API_KEY" not in part.env
    with part:
        pass
    assert "setting durable" in part.log_tail()


def test_the_machines_environment_keeps_what_is_not_the_apps() -> None:
    environ = {"PATH": "p", "AzureWebJobsStorage": "s", "AZURE_OPENAI_ENDPOINT": "e", "OTEL_X": "o", "HOME": "h"}
    assert machine_environment(environ) == {"PATH": "p", "HOME": "h"}


def test_two_processes_are_not_given_the_same_free_port(monkeypatch: pytest.MonkeyPatch) -> None:
    few = range(21_000, 21_060)
    monkeypatch.setattr(child, "PORTS", few)
    code = (
        "import sys; from local.stack import child\n"
        f"child.PORTS = range({few.start}, {few.stop})\n"
        "print(*child.free_ports(10), flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        theirs = {int(port) for port in other.stdout.readline().split()}
        ours = set(free_ports(10))
        other.communicate("")
    assert len(theirs) == len(ours) == 10
    assert theirs & ours == set()


def test_free_ports_are_different_and_free() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    with socket.create_server(("127.0.0.1", free_port())) as server:
        assert not port_is_free(server.getsockname()[1])
