"""A host that stops at named points, so that whoever kills it knows where it is.

A file lists the points, one a line. The first that comes by one of them stays there for good: its request, activity or
tool goes no further, while all others go on. So one host can stop at many points, each with a run of its own; and then
it is killed. What is held is written to a file beside the list. A second list has points that are slow to be come by.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from local.points.names import Passed
from local.points.ports import HubWithPoints, Visit, with_points
from shared import wiring
from shared.agentkit.agent import Agent
from shared.drivers.driver import Driver
from shared.drivers.durable import Hub
from shared.runs.store.tables import Tables
from shared.settings import Settings
from shared.telemetry.spans import Telemetry
from shared.wiring import App

LATE_SECONDS = 31.0
"""By how much whoever comes by a slow point is late: what was announced before has to be announced again."""

OTHERS_SECONDS = 0.3
"""Real seconds for others to come first meanwhile."""


@dataclass(frozen=True, slots=True)
class Holds:
    """The files by which a host and its killer know of each other."""

    wanted: Path
    """The points to stop at, one a line, as they are when the host starts. It need not be there."""

    @property
    def held(self) -> Path:
        """The points at which something is held, as they were reached."""
        return self.wanted.with_suffix(".held")

    @property
    def slow(self) -> Path:
        """The points that whoever comes by is late at, one a line, as they are when the host starts."""
        return self.wanted.with_suffix(".slow")


class Holder:
    """Holds the first that comes by each wanted point. ``advance`` moves the clock by so many seconds."""

    def __init__(self, holds: Holds, advance: Callable[[float], object]) -> None:
        self._holds = holds
        self._advance = advance
        self._wanted = set(_lines(holds.wanted))
        self._slow = set(_lines(holds.slow))

    async def visit(self, passed: Passed) -> None:
        """Where the point is wanted, do not return; where it is slow, let time pass first."""
        name = passed.point.name
        if name in self._slow:
            self._advance(LATE_SECONDS)
            await asyncio.sleep(OTHERS_SECONDS)
        if name in self._wanted:
            self._wanted.remove(name)
            _append(self._holds.held, name)
            await asyncio.get_running_loop().create_future()


@dataclass(frozen=True, kw_only=True)
class AppWithPoints(App):
    """An app whose task hub passes points too."""

    visit: Visit

    def driver(self, client: object) -> Driver:
        """The driver, over the Durable client that the trigger received."""
        hub: Any = HubWithPoints(Hub(client), self.visit)
        return Driver(self.ports, hub, self.watching.read_now)


def hold_at(holds: Holds, advance: Callable[[float], object]) -> None:
    """Let the app that this process will make hold at these points."""
    build, visit = wiring.build, Holder(holds, advance).visit

    def build_with_points(
        given: Settings,
        served: Mapping[str, Agent],
        tables: Tables,
        clock: Callable[[], datetime],
        telemetry: Telemetry | None = None,
    ) -> App:
        plain = with_points(build(given, served, tables, clock, telemetry), tables, visit, build=build)
        return AppWithPoints(settings=plain.settings, ports=plain.ports, visit=visit)

    wiring.build = build_with_points


def _lines(file: Path) -> list[str]:
    return file.read_text("utf-8").splitlines() if file.exists() else []


def _append(file: Path, line: str) -> None:
    with file.open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")
