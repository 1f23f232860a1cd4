"""A world for one history: a store, a provider, a task hub, a receiver, and processes of the app that come and go."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from shared.runs.model.run import Run
from shared.settings import Settings
from tests.histories.provider import Model, PlannedTurn
from tests.histories.rates import CALM, Rates
from tests.parts.invariants import ToolStart

if TYPE_CHECKING:
    from tests.histories.hub import TaskHub
    from tests.histories.process import Process
    from tests.histories.store import Backend

T = TypeVar("T")

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
CALLERS = "fetch"
"""A function that callers bring."""

LATENCY = 0.05
"""Seconds that an operation takes at most, unless it is slow: in which order those of two processes come is random."""


class Killed(BaseException):
    """The process is dead: nothing of it goes on."""


@dataclass(frozen=True, slots=True)
class Received:
    """A callback that the receiver got."""

    webhook_id: str
    raw: bytes
    body: dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Asked:
    """A run as its caller knows it."""

    plan: tuple[PlannedTurn, ...]
    words: str
    deadline: float
    turns: int = 20
    """The most that it may have."""

    hands_over: bool = False
    """Whether it ends with what its caller is to approve."""

    resumes: bool = False
    """Whether it brings answers about calls, which take the place of its first turn."""

    @property
    def course(self) -> tuple[PlannedTurn, ...]:
        """The turns that it has where nothing goes wrong: up to the first that leaves something to its caller."""
        turns = self.plan[min(1, len(self.plan) - 1) :] if self.resumes else self.plan
        for count, turn in enumerate(turns, start=1):
            if self.leaves_calls(turn):
                return turns[:count]
        return turns

    def leaves_calls(self, turn: PlannedTurn) -> bool:
        """Whether the run ends with calls of this turn."""
        names = {name for name, _ in turn.calls}
        return CALLERS in names or (self.hands_over and "send" in names)


@dataclass(slots=True, kw_only=True)
class World:
    """What outlives every process. All that is random comes from one generator: a seed is a history."""

    random: Random
    settings: Settings
    backend: Backend
    rates: Rates = CALM
    model: Model = field(default_factory=Model)
    received: list[Received] = field(default_factory=list)
    starts: list[ToolStart] = field(default_factory=list)
    asked: dict[str, Asked] = field(default_factory=dict)
    """By the number in its metadata."""

    cancelled: set[str] = field(default_factory=set)
    """Ids, or their beginnings, of runs that somebody wanted cancelled or deleted."""

    cancelled_batches: set[str] = field(default_factory=set)
    """Batches that somebody wanted cancelled or deleted."""

    processes: list[Process] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    """What happened in this history, by name: for the coverage."""

    happened: Counter[str] = field(default_factory=Counter)
    """What went wrong, by name and run: what a run's end may be blamed on."""

    at_writes: Callable[[], None] = lambda: None
    """Called now and then between two writes."""

    stood_still_until: float = 0.0
    """Until when a due row may be missing, since a process stood still between its announcement and its write."""

    hub: TaskHub = field(init=False)

    def now(self) -> datetime:
        """The time, by every clock."""
        return START + timedelta(seconds=self.seconds())

    def seconds(self) -> float:
        """Since the beginning."""
        return asyncio.get_running_loop().time()

    def happens(self, name: str) -> bool:
        """Whether what has this name among the rates happens now."""
        if self.random.random() >= getattr(self.rates, name):
            return False
        self.seen[f"fault {name}"] += 1
        return True

    def blame(self, name: str, run_id: str) -> None:
        """Something happened to a run that its end may be blamed on."""
        self.happened[f"{name} {run_id}"] += 1

    def some_process(self) -> Process:
        """One that is alive."""
        return self.random.choice([each for each in self.processes if each.alive])

    async def alive_process(self) -> Process:
        """One that is alive, once there is one."""
        while not any(each.alive for each in self.processes):  # noqa: ASYNC110 - a second of the history is no time at all
            await asyncio.sleep(1.0)
        return self.some_process()

    async def in_some_process(self, do: Callable[[Process], Coroutine[Any, Any, T]]) -> T:
        """Do it in a process that is alive. Raises ``ConnectionError`` when that ends meanwhile, or ``do`` raises."""
        process = await self.alive_process()
        return await process.carry_out(do(process))

    def rows(self) -> Mapping[Any, Any]:
        """Every row of the store."""
        return self.backend.rows()

    def runs(self) -> list[Run]:
        """All runs as they stand."""
        return self.backend.runs()
