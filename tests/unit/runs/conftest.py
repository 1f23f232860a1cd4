"""The use cases in one process: tables in memory, the real `openai` client, a scripted model, a clock that tests move.

No time passes by itself: a response is pending, a backoff waits and a claim holds until the test moves the clock. The
scripted model uses the same clock. Only a request's own timeout and a tool's work take real time.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from local.model import ScriptedModel
from local.model.control import ModelControl
from shared import agents, wiring
from shared.agentkit.agent import Agent
from shared.agentkit.provider import Provider
from shared.agents import AgentFactory, novelist
from shared.drivers.activity import wake
from shared.drivers.driver import Driver
from shared.drivers.durable import Hub
from shared.runs.actions.advance import advance
from shared.runs.actions.outcome import Outcome, outcome
from shared.runs.commands.submission import Submission, Submitted
from shared.runs.commands.submit import submit
from shared.runs.model.calls import ToolCall
from shared.runs.model.run import Run
from shared.runs.model.session import Session
from shared.runs.ports import Ports
from shared.settings import Settings
from shared.wiring import App
from tests.parts import workshop
from tests.parts.memory import MemoryTables
from tests.parts.receiver import SECRET, Receiver

THINK = 1.0
"""Seconds that a response takes unless its script says otherwise: the first poll, after 2 s, finds it done."""

MAX_WAKES = 500


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        """Epoch seconds, for the scripted model."""
        return self.now.timestamp()

    def move(self, seconds: float) -> datetime:
        """Move it ahead; the new time."""
        self.now += timedelta(seconds=seconds)
        return self.now


@dataclass(frozen=True, kw_only=True)
class Rig:
    """One process of the app, with what a test needs to control it. Several can share tables and clock."""

    app: App
    tables: MemoryTables
    clock: Clock
    model: ModelControl
    server: ScriptedModel
    provider: Provider
    stream: bool = False
    """Whether runs are submitted to be streamed."""

    async def submit(self, text: str = "[script:s]", **fields: Any) -> Submitted:
        """Submit to the workshop (or to ``agent``); ``fields`` are those of ``Submission``."""
        fields = {
            "items": ({"type": "message", "role": "user", "content": text},),
            "agent": None if "session_id" in fields else "workshop",
            "owner": "test",
            "stream": self.stream,
            **fields,
        }
        return await submit(self.app.ports, Submission(**fields))

    async def start(self, text: str = "[script:s]", **fields: Any) -> str:
        """Submit, and the id of the run."""
        return (await self.submit(text, **fields)).run.id

    async def wake(self, run_id: str) -> Outcome:
        """One wake, now."""
        return await advance(self.app.ports, run_id)

    def driver(self, hub: object = None) -> Driver:
        """The driver of a call, by way of this hub."""
        return Driver(self.app.ports, cast(Hub, hub), self.app.watching.read_now)

    async def run_activity(self, subject: str, hub: object = None) -> Outcome:
        """One wake as the activity does it: of a run, a batch, or a deleted session."""
        return await wake(self.app.ports, subject, self.driver(hub))

    async def run(self, run_id: str) -> Run:
        """The run as its row has it."""
        stored = await self.app.ports.runs.load(run_id)
        assert stored is not None, run_id
        return stored.value

    async def session(self, run_id: str) -> Session:
        """The session of a run, as its row has it."""
        stored = await self.app.ports.runs.load_session((await self.run(run_id)).request.session_id)
        assert stored is not None, run_id
        return stored.value

    async def calls(self, run_id: str) -> list[ToolCall]:
        """The run's tool calls, in order."""
        return [each.value for each in await self.app.ports.runs.calls(await self.run(run_id))]

    async def text(self, run_id: str) -> str:
        """The run's text, read back from wherever it lies."""
        run = await self.run(run_id)
        return await self.app.ports.runs.load_text(run, run.result.text)

    async def items(self, run_id: str) -> list[dict[str, Any]]:
        """The run's conversation items."""
        return await self.app.ports.runs.items(await self.run(run_id))

    async def gaps(self, operation: str = "create") -> list[float]:
        """The seconds between the requests of one kind that the provider saw."""
        times = [entry.time for entry in await self.model.log(operation)]
        return [round(after - before, 3) for before, after in itertools.pairwise(times)]

    async def follow(self, run_id: str, until: Callable[[Run], object] = lambda run: run.terminal) -> Run:
        """Wake the run whenever it asks for it, moving the clock, until ``until`` holds or nothing is left to do."""
        for _ in range(MAX_WAKES):
            run = await self.run(run_id)
            gap = outcome(run, self.clock.now).wake_in
            if until(run) or gap is None:
                return run
            self.clock.move(gap)
            await self.wake(run_id)
        raise AssertionError(f"not within {MAX_WAKES} wakes: {await self.run(run_id)}")

    async def finish(self, run_id: str) -> Run:
        """Wake it until it is terminal and its outbox is empty; the run as it then is."""
        await self.follow(run_id, lambda _: False)
        return await self.run(run_id)

    async def run_to_end(self, text: str = "[script:s]", **fields: Any) -> Run:
        """Submit and wake until the run is terminal."""
        return await self.follow(await self.start(text, **fields))


class HeldCreate:
    """Holds back the provider's answer to a create until ``released`` is set: a call that takes long."""

    def __init__(self, rig: Rig) -> None:
        self.answered, self.released = asyncio.Event(), asyncio.Event()
        send = rig.provider.send

        async def held(path: str, body: Mapping[str, Any], **options: Any) -> dict[str, Any]:
            answer = await send(path, body, **options)
            self.answered.set()
            await self.released.wait()
            return answer

        rig.provider.send = held  # type: ignore[method-assign]


NewRig = Callable[..., Awaitable[Rig]]


@pytest.fixture
async def rigs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[NewRig]:
    """Make a rig: ``await rigs(create_timeout=0.3)``, with fields of ``Settings`` as keywords: see ``making_rigs``."""
    async with making_rigs(tmp_path, monkeypatch) as make:
        yield make


@asynccontextmanager
async def making_rigs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[NewRig]:
    """Rigs over the same tables, clock and model.

    A second call makes a second process over the same tables, clock and model. ``factories`` are agents besides
    the novelist and the workshop. Random numbers are 0: schedules have no jitter.
    """
    monkeypatch.setenv(workshop.LOG_VARIABLE, str(tmp_path / "tools.jsonl"))
    monkeypatch.setattr(wiring, "random", SimpleNamespace(random=lambda: 0.0))
    tables, clock = MemoryTables(), Clock()
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(ScriptedModel(think=THINK, clock=clock.seconds))

        async def make(factories: Sequence[AgentFactory] = (), **settings: Any) -> Rig:
            used: list[Provider] = []

            def build(given: Settings, provider: Provider) -> Agent:
                used.append(provider)
                return workshop.build(given, provider)

            monkeypatch.setattr(agents, "AGENTS", [novelist.build, build, *factories])
            given: Mapping[str, Any] = {
                "openai_api_key": "account",
                "openai_base_url": server.url,
                "app_name": "unit",
                "tool_delay": 0.0,
                **settings,
            }
            chosen = Settings(**given)
            over = wiring.sealed(tables, chosen, clock)
            app = wiring.build(chosen, wiring.build_agents(chosen, clock), over, clock)
            stack.push_async_callback(used[0].close)
            stack.callback(app.ports.threads.shutdown, wait=False)
            model = ModelControl(server.root, given["openai_api_key"])
            return Rig(app=app, tables=tables, clock=clock, model=model, server=server, provider=used[0])

        yield make


@pytest.fixture
async def rig(rigs: NewRig) -> Rig:
    """One process with the default settings."""
    return await rigs()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """An HTTP server that receives callbacks."""
    async with Receiver() as running:
        yield running


@pytest.fixture
async def sending(rigs: NewRig) -> Rig:
    """A process that sends callbacks."""
    return await rigs(callback_secret=SECRET, callback_allow="127.0.0.1", public_base_url="https://app.example")


@pytest.fixture
def tables() -> MemoryTables:
    """Empty tables, for what needs no process around them."""
    return MemoryTables()


@pytest.fixture
def clock() -> Clock:
    """A clock that stands at the time of the records."""
    return Clock()


@pytest.fixture
def ports(tables: MemoryTables, clock: Clock) -> Ports:
    """The stores over these tables, and no agents."""
    ports = wiring.build(Settings(openai_api_key="k", app_name="unit"), {}, tables, clock).ports
    return replace(ports, random=lambda: 0.0)
