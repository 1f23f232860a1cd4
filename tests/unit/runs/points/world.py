"""A process that dies at a point, and what outlives it: the rows, the task hub, the provider, whoever calls.

Time jumps to what is due next: an orchestration's timer, or the sweep once a due row's time has come.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from local.points.names import Passed
from local.points.ports import HubWithPoints, with_points
from shared import wiring
from shared.drivers.activity import wake
from shared.drivers.driver import Driver
from shared.drivers.durable import retry_in
from shared.drivers.retention import retain
from shared.drivers.sweep import poll, sweep
from shared.runs.ports import Ports
from shared.runs.store.tables import Row, Table
from shared.wiring import App
from tests.parts.invariants import AT_REST, Rule, Seen, ToolStart, hold, read_rows
from tests.parts.receiver import Receiver
from tests.parts.workshop import LOG_VARIABLE, traces
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.crashes import Killed

T = TypeVar("T")

MOST_STEPS = 600
"""Wakes and sweeps after which a story that is not over never will be."""


class Hub:
    """The task hub, which outlives processes: when each orchestration wakes, and the steps and pieces to be run."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self.wakes: dict[str, float] = {}
        self.steps: set[str] = set()
        self.pieces: list[Mapping[str, str]] = []
        self.is_stuck = False
        """Whether it takes orchestrations, but for single steps, and does nothing with them."""

    async def start_if_absent(self, run: str, *, wait: float = 0.0) -> bool:
        """Start an orchestration."""
        if self.is_stuck:
            return True
        is_new = run not in self.wakes
        self.wakes.setdefault(run, self._seconds() + wait)
        return is_new

    async def wake(self, run: str) -> None:
        """Signal one; start it where there is none."""
        if self.is_stuck:
            return
        self.wakes[run] = self._seconds()

    async def start_step(self, run: str) -> bool:
        """Run one wake."""
        is_new = run not in self.steps
        self.steps.add(run)
        return is_new

    async def start_polls(self, name: str, pieces: Sequence[Mapping[str, str]]) -> None:
        """Poll these."""
        self.pieces += pieces

    async def purge_before(self, _moment: object) -> int:
        """No histories."""
        return 0


@dataclass(kw_only=True)
class Process:
    """One process. Once it is dead nothing of it has an effect any more, and it reads nothing."""

    rig: Rig
    world: World
    dead: bool = False
    app: App = field(init=False)

    def __post_init__(self) -> None:
        app = with_points(self.rig.app, self.rig.tables, self._visit, self._read)
        known = {name: each for name, each in app.ports.agents.items() if name not in self.world.hidden_agents}
        self.app = replace(app, ports=replace(app.ports, agents=known))

    @property
    def ports(self) -> Ports:
        """Its ports."""
        return self.app.ports

    @property
    def driver(self) -> Driver:
        """The driver of a call."""
        hub: Any = HubWithPoints(self.world.hub, self._visit)
        return Driver(self.ports, hub, self.app.watching.read_now)

    async def _visit(self, passed: Passed) -> None:
        self._read()
        try:
            await self.world.pass_point(passed)
        except Killed:
            self.dead = True
            raise

    def _read(self) -> None:
        if self.dead:
            raise Killed


@dataclass(kw_only=True)
class World:
    """All that a story happens in.

    Its process dies at the ``stop_at``-th effect (0: nowhere), or where it first comes by the point of that name.
    """

    rigs: NewRig
    receiver: Receiver
    settings: dict[str, Any]
    stop_at: int | str = 0
    passed: list[Passed] = field(default_factory=list)
    """What the story has come by, in order."""

    stopped: Passed | None = None
    at_point: Callable[[Passed], Awaitable[None]] | None = None
    """Called at each point: what a story has happen there by itself."""

    purged: set[str] = field(default_factory=set)
    """Ids of runs, batches and sessions of which nothing may be left, once the story says so."""

    hidden_agents: set[str] = field(default_factory=set)
    """Names of agents that the next process does not know."""

    hub: Hub = field(init=False)
    _rig: Rig = field(init=False)
    _process: Process | None = None
    _swept: float = 0.0

    @property
    def rig(self) -> Rig:
        """The process as the test looks at it, whose effects pass no point."""
        return self._rig

    async def begin(self) -> None:
        """Make everything new but the clock."""
        self._rig = await self.rigs(**self.settings)
        self._rig.tables._rows.clear()
        self._rig.tables.written = []
        await self._rig.model.reset()
        self.hub = Hub(self._rig.clock.seconds)
        self._swept = self._rig.clock.seconds()

    async def pass_point(self, passed: Passed) -> None:
        """Note the effect that is about to happen. Raises ``Killed`` where the process is to die."""
        self.passed.append(passed)
        if self.stopped is None and self.stop_at in (len(self.passed), passed.point.name):
            self.stopped = passed
            raise Killed
        if self.at_point is not None:
            await self.at_point(passed)

    async def process(self) -> Process:
        """The process that runs now: another after a death."""
        if self._process is None or self._process.dead:
            self._process = Process(rig=await self.rigs(**self.settings), world=self)
        return self._process

    async def die(self) -> None:
        """Let the process die here, as the story wants it. Raises ``Killed``."""
        raise Killed

    def kill(self) -> None:
        """Let the process be dead."""
        if self._process is not None:
            self._process.dead = True

    def index_rows(self) -> list[Row]:
        """The rows of keys, lists and slots."""
        return self._rig.tables.rows(Table.INDEX)

    async def hold(self, rules: Iterable[Rule] = AT_REST) -> None:
        """Raise ``AssertionError`` unless these invariants hold."""
        tables, model = self._rig.tables, self._rig.model
        settings, clock = self._rig.app.settings, self._rig.clock
        traced = traces(Path(os.environ[LOG_VARIABLE]), what="start")
        seen = Seen(
            now=clock.now,
            settings=settings,
            rows=await read_rows(wiring.sealed(tables, settings, clock)),
            # As they were written: of what is sealed only the last state can be read.
            written=() if settings.encryption_key else tables.written or (),
            responses=await model.responses(),
            requests=await model.log(),
            received=self.receiver.received,
            starts=[ToolStart(key=each.key, start=each.start) for each in traced],
            at_most_once=frozenset({"pay"}),
            guarded=frozenset({"send"}),
            purged=frozenset(self.purged),
        )
        hold(seen, rules)

    async def ask(self, what: Callable[[Process], Awaitable[T]]) -> T:
        """A caller's request. Whose connection breaks sends it again."""
        while True:
            try:
                return await what(await self.process())
            except Killed:
                self.kill()

    async def ask_once(self, what: Callable[[Process], Awaitable[object]]) -> bool:
        """A caller's request that is not sent again; whether it was answered."""
        try:
            await what(await self.process())
        except Killed:
            self.kill()
            return False
        return True

    async def retain(self) -> None:
        """The hour's retention; one that dies is there again the next hour."""
        for _ in range(2):
            await self.ask_once(lambda process: retain(process.ports, process.driver))
            self._rig.clock.move(3_600)

    async def go_on(self, until: Callable[[], Awaitable[object]] | None = None, *, most: float = 3e6) -> None:
        """Let the time pass until that holds, or nothing is left to do. ``most`` seconds at most."""
        end = self._rig.clock.seconds() + most
        for _ in range(MOST_STEPS):
            if until is not None and await until():
                return
            at = self._next()
            if at is None or at > end:
                return
            # A millisecond more: the clock counts in microseconds, and would come to stand right before the time.
            self._rig.clock.move(max(0.0, at - self._rig.clock.seconds() + 0.001))
            await self._do_next()
        left = [(row.key, row.values["due"]) for row in self._rig.tables.rows(Table.DUE)]
        raise AssertionError(f"it never ends: {left} {self.hub.wakes}")

    def _next(self) -> float | None:
        """When there is something to do, in epoch seconds; None: nothing is left."""
        if self.hub.steps or self.hub.pieces:
            return self._rig.clock.seconds()
        times = [*self.hub.wakes.values()]
        if (sweep_at := self._sweep_at()) is not None:
            times.append(sweep_at)
        return min(times, default=None)

    def _sweep_at(self) -> float | None:
        due = [float(row.values["due"]) for row in self._rig.tables.rows(Table.DUE)]
        if not due:
            return None
        return max(self._swept + self._rig.app.settings.sweep_every, min(due))

    async def _do_next(self) -> None:
        now = self._rig.clock.seconds()
        if self.hub.steps:
            await self._activity(self.hub.steps.pop(), is_step=True)
        elif self.hub.pieces:
            piece = self.hub.pieces.pop()
            await self.ask_once(lambda process: poll(process.ports, process.driver, piece))
        elif ready := sorted((at, run) for run, at in self.hub.wakes.items() if at <= now):
            await self._activity(ready[0][1], is_step=False)
        else:
            self._swept = now
            await self.ask_once(lambda process: sweep(process.ports, process.driver))

    async def _activity(self, subject: str, *, is_step: bool) -> None:
        """One wake by an orchestration; an activity whose process dies fails, and the orchestration looks again."""
        if not is_step:
            del self.hub.wakes[subject]
        process, again = await self.process(), None
        try:
            again = (await wake(process.ports, subject, process.driver)).wake_in
        except Killed:
            self.kill()
            again = retry_in(1)
        if not is_step and again is not None:
            self.hub.wakes.setdefault(subject, self._rig.clock.seconds() + again)


def names(passed: Iterable[Passed]) -> list[str]:
    """The names of these points, in order."""
    return [each.point.name for each in passed]
