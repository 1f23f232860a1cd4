"""One child process: start, wait until it answers, stop, kill."""

from __future__ import annotations

import collections
import contextlib
import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from local import ROOT

LOGS = ROOT / ".dormouse" / "logs"
LOOPBACK = "127.0.0.1"

# A developer's own keys and settings must not decide what a test sees.
_APP_PREFIXES = (
    *("DORMOUSE_", "OPENAI_", "OTEL_", "APPLICATIONINSIGHTS_"),
    *("AZURE_", "AZUREWEBJOBS", "AZUREFUNCTIONS", "WEBSITE_"),
)


# Windows has no SIGTERM that could be handled: CTRL_BREAK is what a group can be sent there.
_STOP_SIGNAL: int = getattr(signal, "CTRL_BREAK_EVENT", signal.SIGTERM)


class StackError(RuntimeError):
    """A part of the local stack could not be found, started or reached; the text is for the person."""


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback address now."""
    with socket.socket() as probe:
        if os.name != "nt":  # there the option means "steal the port"
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


PORTS = range(20_000, 32_000)
"""Where free ports are looked for: below those that systems give to outgoing connections and to servers on port 0."""

_MAX_RESERVED = 100
_reserved: collections.deque[socket.socket] = collections.deque()
"""The UDP ports of the same numbers, held so that no other process is given one before its server listens."""


def free_ports(count: int) -> tuple[int, ...]:
    """Different ports without a server, which other processes that call this are not given meanwhile.

    Raises ``StackError`` when there are not so many.
    """
    found: list[int] = []
    # At random: test processes that start together would else all try the same ports.
    for port in random.sample(PORTS, len(PORTS)):
        if port_is_free(port) and _reserve(port):
            found.append(port)
            if len(found) == count:
                return tuple(found)
    raise StackError(f"there are no {count} free ports from {PORTS.start} to {PORTS.stop - 1}")


def _reserve(port: int) -> bool:
    """Keep the port from other processes, as long as this one lives or until it has reserved many more."""
    # UDP: it keeps other processes away without being in the way of the TCP server to come.
    held = socket.socket(type=socket.SOCK_DGRAM)
    try:
        held.bind((LOOPBACK, port))
    except OSError:
        held.close()
        return False
    _reserved.append(held)
    if len(_reserved) > _MAX_RESERVED:
        _reserved.popleft().close()
    return True


def free_port() -> int:
    """A port without a server."""
    return free_ports(1)[0]


def machine_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment (default: this process's) without what would configure the app or its model."""
    source = os.environ if environ is None else environ
    return {name: value for name, value in source.items() if not name.upper().startswith(_APP_PREFIXES)}


def http_status(port: int, path: str = "/", timeout: float = 2.0) -> int | None:
    """The status of `GET path` on the loopback address; None when nothing there speaks HTTP.

    `http.client` rather than `urllib`, which would send it to a proxy that the environment names.
    """
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=timeout)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _wait(process: subprocess.Popen[bytes], ended: threading.Event) -> None:
    process.wait()
    ended.set()


class Child:
    """A process in a group of its own, so that Ctrl-C in a terminal reaches only whoever started it.

    The same object can be started again after `stop` or `kill`, on the same port, appending to the same log.
    """

    name = "child"
    ready_timeout = 30.0
    stop_timeout = 10.0

    def __init__(
        self,
        command: list[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
        log: Path | None = None,
    ) -> None:
        self.command = command
        self.env = dict(machine_environment() if env is None else env)
        self.cwd = cwd
        self.log_path = log or LOGS / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = threading.Event()
        self._started_before = False

    @property
    def pid(self) -> int:
        """The process id of the running, or the last, process."""
        return self._running().pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and not self._ended.is_set()

    @property
    def exit_code(self) -> int | None:
        """The exit code of the last process; None while it runs or before the first start."""
        return None if self._process is None else self._process.returncode

    def start(self) -> Self:
        """Start the process; returns at once, before it is ready. Nothing happens when it runs already."""
        if self.alive:
            return self
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # A restart appends: the log of a crash must be there afterwards.
            with self.log_path.open("ab" if self._started_before else "wb") as log:
                self._process = self._popen(log.fileno())
        except OSError as error:
            raise StackError(f"{self.name} cannot be started: {error}") from error
        self._started_before = True
        # A thread waits, so that nobody else asks: an interrupt that cuts `Popen.poll` short in the main thread can
        # leave its lock taken, and every later `wait` would hang.
        self._ended = threading.Event()
        threading.Thread(target=_wait, args=(self._process, self._ended), daemon=True).start()
        return self

    def is_ready(self) -> bool:
        """One quick look whether the process answers; each part defines what that means."""
        return True

    def wait_ready(self, timeout: float | None = None) -> Self:
        """Return when the process answers.

        Raises:
            StackError: it stopped, or did not answer within `timeout` seconds; with its last log lines.
        """
        limit = self.ready_timeout if timeout is None else timeout
        deadline = time.monotonic() + limit
        while True:
            if not self.alive:
                raise StackError(self._with_log(f"{self.name} stopped with exit code {self.exit_code} while starting"))
            # Alive, still: another process on that port may have answered.
            if self.is_ready() and self.alive:
                return self
            if time.monotonic() >= deadline:
                raise StackError(self._with_log(f"{self.name} did not answer within {limit:g} s"))
            # Polled: the processes have no common way to report that they are ready.
            time.sleep(0.05)

    def stop(self, timeout: float | None = None) -> int | None:
        """Ask the process to end and wait; kill what is left of its group. Returns its exit code."""
        process = self._process
        if process is None:
            return None
        if self.alive:
            with contextlib.suppress(OSError):
                os.kill(process.pid, _STOP_SIGNAL)
            self._ended.wait(self.stop_timeout if timeout is None else timeout)
        self._kill_group(process.pid)
        self._ended.wait()
        return process.returncode

    def kill(self) -> None:
        """End the whole process group at once, as a crash would, and wait until it is gone."""
        if self._process is not None:
            self._kill_group(self._process.pid)
            self._ended.wait()

    def log_tail(self, lines: int = 15) -> str:
        """The last lines of the log, for a message."""
        try:
            text = self.log_path.read_text("utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def __enter__(self) -> Self:
        try:
            return self.start().wait_ready()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _popen(self, log: int) -> subprocess.Popen[bytes]:
        # Unbuffered: a process that is killed would take the last lines of its log with it.
        env = {**self.env, "PYTHONUNBUFFERED": "1"}
        group = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)  # Windows' way; elsewhere a session does it
        return subprocess.Popen(
            self.command,
            cwd=self.cwd,
            env=env,
            # No terminal: a child that asks for something would wait for ever.
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            creationflags=group,
        )

    def _kill_group(self, pid: int) -> None:
        if sys.platform == "win32":
            if self.alive:
                subprocess.run(["taskkill", "/T", "/F", "/PID", str(pid)], capture_output=True, check=False)
        else:
            # The group outlives its leader as long as one member runs, so this is right after a clean end too.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise StackError(f"{self.name} has not been started")
        return self._process

    def _with_log(self, sentence: str) -> str:
        tail = self.log_tail() or "(nothing was logged)"
        indented = "\n".join(f"    {line}" for line in tail.splitlines())
        return f"{sentence}. The last lines of {self.log_path}:\n{indented}"
