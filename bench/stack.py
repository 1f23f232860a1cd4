"""The stack that all comparisons of one run share, and the programs that are measured on it."""

from __future__ import annotations

import asyncio
import json
import secrets
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.counting_proxy import CountingProxy, Transaction, counting_proxy
from local import ROOT
from local.model.control import ModelControl
from local.stack import Azurite, ScriptedModel, StackError, machine_environment

CALLS = [
    {"name": "research_space_facts", "arguments": {"topic": "Mars"}},
    {"name": "generate_character_profiles", "arguments": {"story_theme": "Mars"}},
]
MANY_CALLS = 90
SCRIPTS: Mapping[str, list[dict[str, Any]]] = {
    "pending": [{"think": 1e6, "text": "Later."}],
    "long": [{"think": 0.2, "text": "Once upon a time there was a dormouse, and it slept. " * 3_950}],
    "at_once": [{"think": 0, "text": "Once upon a time."}],
    "calls": [{"think": 0, "calls": CALLS * (MANY_CALLS // 2)}, {"think": 0, "text": "Once upon a time."}],
    "tools": [{"think": 0.2, "calls": CALLS}, {"think": 1e6, "text": "Later."}],
}


LONGEST_SECONDS = 1_800.0
"""For one command: a program that hangs must not keep the comparison from failing."""


class ProgramFailed(StackError):
    """A measured program ended, or said what went wrong: then the comparison has failed."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one command took."""

    cpu: float
    """Seconds, of the program's process."""

    transactions: list[Transaction]
    result: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is measured: little for a benchmark that is to be shown to work, more for figures."""

    rounds: int
    units: int
    """Of what is done in one round: wakes, submits, …"""

    sweep: int
    """Runs that one sweep looks at."""

    crowd: int
    """Runs at once."""

    asleep: int
    """Sleeping runs whose memory is measured."""


SWEEPS: Mapping[str, str] = {"DORMOUSE_DRIVER": "timer", "DORMOUSE_SWEEP_SECONDS": "60"}
"""Settings of a program that sweeps. The longest period: what a sweep cannot poll within it, it would hand out."""

FULL = Sizes(rounds=7, units=40, sweep=400, crowd=100, asleep=1_500)
QUICK = Sizes(rounds=2, units=5, sweep=20, crowd=5, asleep=100)


@dataclass
class Program:
    """A program of `bench/programs` that runs, and does one thing after the other."""

    name: str
    process: asyncio.subprocess.Process
    proxy: CountingProxy
    errors: Path
    env: Mapping[str, str]

    async def do(self, what: str, count: int = 0) -> Measured:
        """Have it do that. Raises ``ProgramFailed``."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.proxy.transactions.clear()
        self.process.stdin.write(json.dumps({"do": what, "count": count}).encode() + b"\n")
        await self.process.stdin.drain()
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                answer = json.loads(await self.process.stdout.readline() or b"{}")
        except TimeoutError:
            raise ProgramFailed(f"{self.name} did not {what} within {LONGEST_SECONDS:g} s") from None
        if "cpu" not in answer:
            said = answer.get("error") or self.errors.read_text("utf-8", errors="replace")[-3_000:]
            raise ProgramFailed(f"{self.name} could not {what}: {said}")
        return Measured(answer["cpu"], list(self.proxy.transactions), answer["result"])

    async def end(self) -> None:
        """Let it end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            async with asyncio.timeout(20):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What a comparison is given."""

    python: Path
    """The interpreter of the environment with the app's packages and the peers."""

    sizes: Sizes
    azurite: Azurite
    proxy: CountingProxy
    model: ScriptedModel
    scratch: Path
    kept: dict[str, Any] = field(default_factory=dict)
    """What a comparison has measured that another uses too."""
    counted: dict[str, float] = field(default_factory=dict)
    """What others compute with, by its name in `Counted`."""

    @property
    def storage(self) -> str:
        """The connection string by way of the proxy."""
        port = self.azurite.ports[2]
        return self.azurite.connection_string.replace(f"http://127.0.0.1:{port}", self.proxy.url)

    @asynccontextmanager
    async def program(self, name: str, **settings: str) -> AsyncIterator[Program]:
        """`bench.programs.<name>` with tables and an account of its own, until the block ends."""
        account = f"account-{secrets.token_hex(6)}"
        control = ModelControl(self.model.url, account)
        for script, turns in SCRIPTS.items():
            await control.script(script, turns)
        env = machine_environment() | settings
        env |= {"BENCH_STORAGE": self.storage, "BENCH_MODEL": self.model.base_url, "BENCH_ACCOUNT": account}
        env |= {"BENCH_PREFIX": f"b{secrets.token_hex(6)}", "PYTHONPATH": str(ROOT)}
        errors = self.scratch / f"{name}-{secrets.token_hex(4)}.log"
        with errors.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                str(self.python),
                *("-m", f"bench.programs.{name}"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=env,
                cwd=ROOT,
                limit=2**24,
            )
        program = Program(name, process, self.proxy, errors, env)
        try:
            yield program
        finally:
            await program.end()


@asynccontextmanager
async def stack(python: Path, sizes: Sizes) -> AsyncIterator[Bench]:
    """The emulator, a proxy before its tables, the scripted model."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Azurite(Path(folder) / "azurite") as azurite,
        ScriptedModel(log=Path(folder) / "model.log") as model,
    ):
        async with counting_proxy(f"http://127.0.0.1:{azurite.ports[2]}") as proxy:
            yield Bench(python=python, sizes=sizes, azurite=azurite, proxy=proxy, model=model, scratch=Path(folder))
