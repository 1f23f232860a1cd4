"""How the driver is told of a run: by orchestration or by date, and never at the caller's cost."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from shared.drivers.durable import Hub
from shared.drivers.signals import Signals
from shared.runs.run import Limits, Next, Run, RunStatus, Session
from shared.runs.services import Services
from shared.runs.store.memory import MemoryTables
from shared.runs.store.runs import RunStore, SessionChange
from shared.runs.store.watch import WatchStore
from shared.runs.submission import Submitted
from shared.settings import Settings

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
RUN = Run(
    session_id="0123456789abcdef" * 2,
    number=1,
    agent="novelist",
    owner="app",
    submission="s",
    created_at=NOW,
    updated_at=NOW,
    deadline_at=NOW + timedelta(days=1),
    wake_at=NOW + timedelta(seconds=7),
    limits=Limits(turns=20, tool_calls=100),
)
POLLING = replace(RUN, next=Next.POLL, status=RunStatus.IN_PROGRESS)
OVER = replace(RUN, next=Next.NONE, status=RunStatus.COMPLETED)


class NotedHub:
    """A hub that notes what it is asked, and fails where it is told to."""

    def __init__(self, broken: bool = False) -> None:
        self.broken = broken
        self.log: list[str] = []

    def __getattr__(self, name: str) -> Any:
        async def asked(run_id: str) -> None:
            assert run_id == RUN.id
            self.log.append(name)
            if self.broken:
                raise RuntimeError("no host")

        return asked


def signals(driver: str) -> tuple[Signals, WatchStore]:
    tables = MemoryTables()
    watch = WatchStore(tables)
    services = SimpleNamespace(settings=Settings(driver=driver), watch=watch, store=RunStore(tables), clock=lambda: NOW)  # type: ignore[arg-type]
    return Signals(cast(Services, services)), watch


@pytest.mark.parametrize(
    ("driver", "run", "asked", "due"),
    [
        ("durable", RUN, ["ensure"], 60),
        ("durable", POLLING, ["ensure"], 60),
        ("durable", OVER, [], 60),
        ("timer", RUN, ["step"], 7),
        ("timer", POLLING, [], 7),
        ("timer", OVER, [], 60),
    ],
)
@pytest.mark.parametrize("broken", [False, True])
async def test_a_run_that_was_submitted_is_looked_after(
    driver: str, run: Run, asked: list[str], due: int, broken: bool
) -> None:
    telling, watch = signals(driver)
    row = await watch.put(run.id, NOW + timedelta(seconds=60), NOW)
    hub = NotedHub(broken)
    await telling.started(Submitted(run=run, watch=row), cast(Hub, hub))
    assert hub.log == asked
    found = await watch.get(run.id)
    assert found is not None
    assert found.due == NOW + timedelta(seconds=due)


@pytest.mark.parametrize(("there", "asked"), [(False, ["ensure"]), (True, ["ensure", "wake"])])
async def test_an_orchestrator_that_was_there_before_the_token_is_told_of_it(there: bool, asked: list[str]) -> None:
    class EarlyHub(NotedHub):
        async def ensure(self, run_id: str) -> bool:
            self.log.append("ensure")
            return there

    telling, watch = signals("durable")
    row = await watch.put(RUN.id, NOW + timedelta(seconds=60), NOW)
    hub = EarlyHub()
    await telling.started(Submitted(run=POLLING, watch=row), cast(Hub, hub))
    assert hub.log == asked


@pytest.mark.parametrize(("driver", "asked"), [("durable", ["wake"]), ("timer", ["step"])])
@pytest.mark.parametrize("broken", [False, True])
async def test_a_wake_that_was_brought_nearer_is_signalled(driver: str, asked: list[str], broken: bool) -> None:
    telling, _ = signals(driver)
    hub = NotedHub(broken)
    await telling.woken(RUN.id, cast(Hub, hub))
    assert hub.log == asked


async def test_a_watch_row_that_another_has_dated_meanwhile_goes_by_the_run() -> None:
    telling, watch = signals("timer")
    services = telling._services
    fresh = Session(session_id=RUN.session_id, agent="novelist", owner="app", created_at=NOW, last_activity=NOW)
    await services.store.create(POLLING, SessionChange(before=None, after=fresh), "[]")
    old = await watch.put(RUN.id, NOW + timedelta(seconds=60), NOW)
    await watch.put(RUN.id, NOW + timedelta(seconds=90), NOW)
    await telling.started(Submitted(run=POLLING, watch=old), cast(Hub, NotedHub()))
    found = await watch.get(RUN.id)
    assert found is not None
    assert found.due == POLLING.wake_at


async def test_a_wake_that_finds_a_step_under_way_is_left_to_the_next_sweep() -> None:
    """The step may be past its last look at the rows, and not over yet."""
    telling, watch = signals("timer")
    services = telling._services
    fresh = Session(session_id=RUN.session_id, agent="novelist", owner="app", created_at=NOW, last_activity=NOW)
    await services.store.create(POLLING, SessionChange(before=None, after=fresh), "[]")
    await watch.put(RUN.id, NOW + timedelta(seconds=60), NOW)

    class BusyHub(NotedHub):
        async def step(self, run_id: str) -> bool:
            return True

    await telling.woken(RUN.id, cast(Hub, BusyHub()))
    found = await watch.get(RUN.id)
    assert found is not None
    assert found.due == POLLING.wake_at
