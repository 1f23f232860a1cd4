"""The three processes of the local stack."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from local import ROOT
from local.stack.child import (
    LOGS,
    LOOPBACK,
    Child,
    StackError,
    free_port,
    free_ports,
    http_status,
    machine_environment,
    port_is_free,
)
from local.stack.node import find_azurite

# The account that every Azurite has; published by Microsoft, no secret.
_ACCOUNT = "devstoreaccount1"
_ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

Ports = tuple[int, int, int]
WELL_KNOWN_PORTS: Ports = (10000, 10001, 10002)
_RECORD = "dormouse-azurite.json"
_KEEP_ALIVE = 120
"""Seconds, for every service: longer than clients keep a connection, so that none writes to a closing one."""


def connection_string(ports: Ports) -> str:
    """What `AzureWebJobsStorage` must be for an Azurite on these ports (blob, queue, table)."""
    endpoints = zip(("Blob", "Queue", "Table"), ports, strict=True)
    parts = [f"{kind}Endpoint=http://{LOOPBACK}:{port}/{_ACCOUNT}" for kind, port in endpoints]
    return (
        ";".join(["DefaultEndpointsProtocol=http", f"AccountName={_ACCOUNT}", f"AccountKey={_ACCOUNT_KEY}", *parts])
        + ";"
    )


def choose_ports(data_dir: Path, preferred: Ports | None = None) -> Ports:
    """The ports of the last time, so that the address stays; else the preferred, else any. Free ones only."""
    remembered = _remembered(data_dir)
    for ports in (remembered and remembered[1], preferred):
        if ports and _all_free(ports):
            return ports
    return _three(free_ports(3))


class Azurite(Child):
    """The storage emulator, with its tables, queues and blobs in `data_dir`.

    Its tables are in memory and reach the disk every few seconds and at a clean stop: end it with `stop`.
    `data_dir` remembers the ports and the process, so that a restart finds the same address and two
    Azurites never write the same files. `in_memory`: it keeps nothing else there. Otherwise it writes all of its
    tables each time, and answers nobody meanwhile: with hundreds of megabytes for seconds.
    """

    name = "azurite"
    ready_timeout = 60.0
    stop_timeout = 20.0

    def __init__(
        self,
        data_dir: Path,
        ports: Ports | None = None,
        *,
        node: Path | None = None,
        entry: Path | None = None,
        log: Path | None = None,
        in_memory: bool = False,
    ) -> None:
        if node is None or entry is None:
            install = find_azurite()
            node, entry = node or install.node, entry or install.entry
        self.data_dir = data_dir.resolve()
        self.ports = ports or choose_ports(self.data_dir)
        blob, queue, table = (str(port) for port in self.ports)
        super().__init__(
            [
                *(str(node), str(entry)),
                *(("--inMemoryPersistence",) if in_memory else ("--location", str(self.data_dir))),
                *("--blobHost", LOOPBACK, "--blobPort", blob),
                *("--queueHost", LOOPBACK, "--queuePort", queue),
                *("--tableHost", LOOPBACK, "--tablePort", table),
                *(f"--{kind}KeepAliveTimeout={_KEEP_ALIVE}" for kind in ("blob", "queue", "table")),
                # The SDKs ask for newer API versions than this Azurite knows.
                *("--skipApiVersionCheck", "--disableTelemetry", "--silent"),
            ],
            log=log or LOGS / f"azurite-{table}.log",
        )

    @property
    def connection_string(self) -> str:
        """The full connection string for its own ports."""
        return connection_string(self.ports)

    def start(self) -> Azurite:
        """Start it.

        Raises:
            StackError: another Azurite is using the folder.
        """
        if self.alive:
            return self
        self._check_nobody_uses_the_folder()
        self.data_dir.mkdir(parents=True, exist_ok=True)
        super().start()
        # Written after the start: who finds it must be able to look whether that process is alive.
        record = json.dumps({"pid": self.pid, "ports": self.ports})
        (self.data_dir / _RECORD).write_text(record, "utf-8")
        return self

    def remove_data(self) -> None:
        """Remove what it has kept, and nothing else that may lie in the folder.

        Raises:
            StackError: another Azurite is using the folder.
        """
        self._check_nobody_uses_the_folder()
        # By name: the folder may be one of the developer's own.
        for kept in (*self.data_dir.glob("__azurite_db_*"), self.data_dir / _RECORD):
            kept.unlink(missing_ok=True)
        for folder in ("__blobstorage__", "__queuestorage__"):
            shutil.rmtree(self.data_dir / folder, ignore_errors=True)

    def _check_nobody_uses_the_folder(self) -> None:
        remembered = _remembered(self.data_dir)
        # Both: a process id may have been given to another program since.
        if remembered and _process_exists(remembered[0]) and not any(map(port_is_free, remembered[1])):
            raise StackError(
                f"Azurite (process {remembered[0]}) is already using {self.data_dir}: stop it, "
                "or choose another folder (--data)"
            )

    def is_ready(self) -> bool:
        """All three services answer."""
        # Any answer will do: without a signature it is a refusal, and Azurite is up.
        return all(http_status(port) is not None for port in self.ports)


class ScriptedModel(Child):
    """`python -m local.model`: the provider's Responses API over HTTP, with answers from a script."""

    name = "model"

    def __init__(
        self,
        port: int | None = None,
        think: float | None = None,
        *,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        python: str | Path = sys.executable,
        module: str = "local.model",
        log: Path | None = None,
    ) -> None:
        self.port = port or free_port()
        thinking = [] if think is None else ["--think", f"{think:g}"]
        super().__init__(
            [str(python), "-m", module, "--port", str(self.port), *thinking, *args],
            env={**machine_environment(), **(env or {})},
            log=log or LOGS / f"model-{self.port}.log",
        )

    @property
    def url(self) -> str:
        """`http://127.0.0.1:<port>`."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def base_url(self) -> str:
        """What `OPENAI_BASE_URL` must be."""
        return f"{self.url}/v1"

    def is_ready(self) -> bool:
        """`GET /health` is 200."""
        return http_status(self.port, "/health") == 200


class TraceReceiver(Child):
    """`python -m local.traces`: receives traces by OTLP, and writes them to its log as trees."""

    name = "traces"

    def __init__(self, *, python: str | Path = sys.executable, log: Path | None = None) -> None:
        self.port = free_port()
        command = [str(python), "-m", "local.traces", "--port", str(self.port)]
        super().__init__(command, env=machine_environment(), log=log or LOGS / f"traces-{self.port}.log")

    @property
    def url(self) -> str:
        """What `OTEL_EXPORTER_OTLP_ENDPOINT` must be."""
        return f"http://{LOOPBACK}:{self.port}"

    def is_ready(self) -> bool:
        """It answers."""
        return http_status(self.port, "/") == 200


class FunctionsHost(Child):
    """A functions host with an app: `python -m local.host`, or `func start` when `func` names it.

    `env` holds the app's settings. It wins over `base_env`, which is the machine's environment without
    anything that would configure the app, unless the caller passes another.
    """

    name = "host"
    ready_timeout = 60.0
    stop_timeout = 15.0

    def __init__(
        self,
        port: int | None = None,
        app_dir: Path = ROOT,
        env: Mapping[str, str] | None = None,
        args: Sequence[str] = (),
        *,
        base_env: Mapping[str, str] | None = None,
        python: str | Path = sys.executable,
        module: str = "local.host",
        func: str | Path | None = None,
        log: Path | None = None,
    ) -> None:
        self.port = port or free_port()
        self._is_func = func is not None
        self.admin_key = "" if self._is_func else secrets.token_urlsafe(24)
        """What `/admin/…` wants in the header `x-functions-key`; Core Tools want nothing."""
        if func is not None:
            self.ready_timeout = 180.0  # its first start downloads the extension bundle
            command = [str(func), "start", "--port", str(self.port), *args]
        else:
            command = [str(python), "-m", module, "--app", str(app_dir), "--port", str(self.port), *args]
        super().__init__(
            command,
            env={
                **(machine_environment() if base_env is None else base_env),
                **({} if self._is_func else {"LOCAL_HOST_ADMIN_KEY": self.admin_key}),
                **(env or {}),
            },
            cwd=app_dir if func is not None else ROOT,
            log=log or LOGS / f"host-{self.port}.log",
        )

    @property
    def url(self) -> str:
        """`http://127.0.0.1:<port>`."""
        return f"http://{LOOPBACK}:{self.port}"

    def is_ready(self) -> bool:
        """It answers; Core Tools listen long before the functions are there, so those must show the app."""
        if self._is_func:
            # 503 as well: an app that is misconfigured is up, and its answer names the setting.
            return http_status(self.port, "/api/health") in (200, 503)
        return http_status(self.port) is not None


def _remembered(data_dir: Path) -> tuple[int, Ports] | None:
    """Process and ports of the last Azurite on this folder."""
    try:
        record = json.loads((data_dir / _RECORD).read_text("utf-8"))
        return int(record["pid"]), _three([int(port) for port in record["ports"]])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _three(ports: Sequence[int]) -> Ports:
    blob, queue, table = ports
    return blob, queue, table


def _all_free(ports: Ports) -> bool:
    return all(map(port_is_free, ports))


def _process_exists(pid: int) -> bool:
    if os.name == "nt":  # signal 0 would end the process there; the busy ports have to be proof enough
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
