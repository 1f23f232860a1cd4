"""Hosts of the app as processes, and what each piece of work takes of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from bench.counting_proxy import CountingProxy
from local import ROOT
from local.model.control import ModelControl
from local.stack import Azurite, FunctionsHost, ScriptedModel
from tests.parts.workshop import LOG_VARIABLE

TERMINAL = frozenset({"completed", "incomplete", "failed", "cancelled"})
CLIENT_KEY = "bench-secret-0123456789"
LONGEST_SECONDS = 1_500.0
"""For one request, or one run to its end."""


@dataclass(slots=True)
class Line:
    """One line of the table: a piece of work, and what it took."""

    what: str

    seconds: float = 0.0

    cpu: float | None = None
    """Processor seconds of the hosts' processes; None where nothing of that was measured."""

    peak: float | None = None
    """Megabytes of memory that a host's process held at most meanwhile; of several hosts the most."""

    transactions: int | None = None
    """Of the tables. An entity group transaction is one."""

    found: str = ""
    """What was there, in words."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process of this machine, by what /proc says of it (Linux)."""

    pid: int

    def cpu(self) -> float:
        """Processor seconds so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text("ascii").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def forget_peak(self) -> None:
        """Let the peak begin at what it holds now."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5", "ascii")

    def peak(self) -> float:
        """Megabytes that it has held at most since then."""
        status = Path(f"/proc/{self.pid}/status").read_text("ascii")
        return int(status.split("VmHWM:")[1].split()[0]) / 1024


@dataclass(frozen=True, kw_only=True)
class App:
    """Hosts of one app, with tables and an account of its own."""

    hosts: list[FunctionsHost]
    http: aiohttp.ClientSession
    model: ModelControl
    proxy: CountingProxy
    tool_log: Path
    lines: list[Line] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Of the first host."""
        return self.hosts[0].url

    async def call(self, method: str, path: str, *, status: tuple[int, ...] = (200, 202), **more: Any) -> Any:
        """One request to the first host; the JSON of the answer, None of an empty one."""
        async with self.http.request(method, self.url + path, **more) as answer:
            body = await answer.read()
            assert answer.status in status, (method, path, answer.status, body[:500])
            return json.loads(body) if body else None

    async def submit(self, **body: Any) -> Any:
        """A new run of the workshop."""
        return await self.call("POST", "/api/runs", json={"agent": "workshop", **body})

    async def ended(self, run_id: str, *, quietly: bool = False) -> Any:
        """The run once it has ended. ``quietly``: it is the last, and only the list is asked meanwhile."""
        async with asyncio.timeout(LONGEST_SECONDS):
            while True:
                await asyncio.sleep(0.5 if quietly else 0)
                if quietly and (await self.call("GET", "/api/runs?limit=1"))["data"][0]["status"] not in TERMINAL:
                    continue
                run = await self.call("GET", f"/api/runs/{run_id}?wait=25")
                if run["status"] in TERMINAL:
                    return run

    async def pages(self, path: str) -> list[Any]:
        """The ``data`` of all pages of a list."""
        found, cursor = [], ""
        while True:
            page = await self.call("GET", f"{path}limit=100{cursor}")
            found += page["data"]
            if "next_cursor" not in page:
                return found
            cursor = f"&cursor={page['next_cursor']}"

    @contextlib.asynccontextmanager
    async def measured(self, what: str) -> AsyncIterator[Line]:
        """A line more: what the block takes."""
        line, processes = Line(what), [Process(host.pid) for host in self.hosts]
        for process in processes:
            process.forget_peak()
        self.proxy.transactions.clear()
        used, begun = sum(process.cpu() for process in processes), time.monotonic()
        yield line
        line.seconds = time.monotonic() - begun
        line.cpu = sum(process.cpu() for process in processes) - used
        line.peak = max(process.peak() for process in processes)
        line.transactions = len(self.proxy.transactions)
        self.lines.append(line)


@dataclass(frozen=True, kw_only=True)
class World:
    """The emulator, a proxy before its tables, the scripted model."""

    azurite: Azurite
    model: ScriptedModel
    proxy: CountingProxy
    folder: Path

    @contextlib.asynccontextmanager
    async def app(self, env: Mapping[str, str], *, hosts: int = 1) -> AsyncIterator[App]:
        """So many hosts of an app with these settings on one storage, until the block ends."""
        account, name = f"account-{secrets.token_hex(6)}", secrets.token_hex(6)
        tool_log = self.folder / f"tools-{name}.jsonl"
        port = self.azurite.ports[2]
        settings = {
            "AzureWebJobsStorage": self.azurite.connection_string.replace(f"http://127.0.0.1:{port}", self.proxy.url),
            "OPENAI_API_KEY": account,
            "OPENAI_BASE_URL": f"{self.model.url}/v1",
            "DORMOUSE_TABLE_PREFIX": f"b{name}",
            "DORMOUSE_API_KEYS": f"bench:{CLIENT_KEY}",
            "PYTHON_ENABLE_INIT_INDEXING": "1",
            LOG_VARIABLE: str(tool_log),
            **env,
        }
        unlimited = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=LONGEST_SECONDS)
        with contextlib.ExitStack() as stack:
            started = []
            for number in range(hosts):
                log = self.folder / f"host-{name}-{number}.log"
                host = FunctionsHost(app_dir=ROOT, module="tests.acceptance.launch", env=settings, log=log)
                stack.callback(host.stop)
                host.start()
                await asyncio.to_thread(host.wait_ready)
                started.append(host)
            async with aiohttp.ClientSession(
                connector=unlimited, timeout=timeout, read_bufsize=2**20, max_line_size=2**16
            ) as http:
                control = ModelControl(self.model.url, account)
                yield App(hosts=started, http=http, model=control, proxy=self.proxy, tool_log=tool_log)


async def events_of(answer: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, str, Any]]:
    """The id, the name and the data of each Server-Sent Event; a line may have any length."""
    fields, pieces = {"id": "", "event": "", "data": ""}, list[bytes]()
    async for piece in answer.content.iter_any():
        # Only the new piece is searched: a line may have megabytes.
        pieces.append(piece)
        if b"\n" not in piece:
            continue
        *lines, rest = b"".join(pieces).split(b"\n")
        pieces = [rest]
        for line in lines:
            if line:
                name, _, value = line.decode().partition(": ")
                fields[name] = value
            elif fields["event"]:
                yield fields["id"], fields["event"], json.loads(fields["data"])
                fields["event"] = fields["data"] = ""
