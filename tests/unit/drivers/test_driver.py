"""How the driver is told of a run: by orchestration or by date, and never at the caller's cost."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from shared.agentkit.agent import ContinuationToken
from shared.drivers.driver import Driver
from shared.drivers.durable import Hub
from shared.runs.commands.submission import Submitted
from shared.runs.model.phases import Creating, Ended, Pending, RunStatus
from shared.runs.model.run import Run
from shared.runs.model.session import Session
from shared.runs.ports import Ports
from shared.runs.store.due import DueStore
from shared.runs.store.index import IndexStore
from shared.runs.store.runs import RunStore, SessionChange
from shared.settings import Settings
from tests.parts.memory import MemoryTables
from tests.unit.runs.records import NOW, SESSION, a_run, at

RUN = a_run(deadline_at=NOW + timedelta(days=1), phase=Creating(not_before=at(7)))
PENDING = a_run(
    deadline_at=NOW + timedelta(days=1),
    phase=Pending(token=ContinuationToken(response_id="resp_1"), next_look=at(7)),
)
OVER = a_run(phase=Ended(status=RunStatus.COMPLETED, completed_at=NOW))


class RecordingHub:
    """A hub that notes what it is asked, and fails if it is ``broken``. It has nothing running."""

    def __init__(self, broken: bool = False) -> None:
        self.broken = broken
        self.log: list[str] = []

    def __getattr__(self, name: str) -> Any:
        async def asked(run_id: str, *, wait: float = 0.0) -> bool:
            assert run_id == RUN.id
            self.log.append(f"{name} in {wait:g} s" if wait else name)
            if self.broken:
                raise RuntimeError("no host")
            return True

        return asked


def ports_of(driver: str) -> Ports:
    """What a driver uses of the ports."""
    tables = MemoryTables()
    used = SimpleNamespace(
        settings=Settings(driver=driver),
        due=DueStore(tables),
        runs=RunStore(tables),
        index=IndexStore(tables),
        clock=lambda: NOW,
    )
    return cast(Ports, used)


def driver_by(ports: Ports, hub: RecordingHub) -> Driver:
    """The driver of a call that was given this hub."""
    return Driver(ports, cast(Hub, hub))


async def stored(ports: Ports, run: Run) -> None:
    """Have the run in its rows."""
    fresh = Session(session_id=SESSION, agent="novelist", owner="app", created_at=NOW, last_activity=NOW)
    await ports.runs.create(run, SessionChange(before=None, after=fresh), "[]")


@pytest.mark.parametrize(
    ("driver", "run", "asked", "due"),
    [
        ("durable", RUN, ["start_if_absent"], 60),
        ("durable", PENDING, ["start_if_absent in 7 s"], 60),
        ("durable", OVER, [], 60),
        ("timer", RUN, ["start_step"], 7),
        ("timer", PENDING, [], 7),
        ("timer", OVER, [], 60),
    ],
)
@pytest.mark.parametrize("broken", [False, True])
async def test_a_run_that_was_submitted_is_looked_after(
    driver: str, run: Run, asked: list[str], due: int, broken: bool
) -> None:
    ports = ports_of(driver)
    row = await ports.due.put(run.id, NOW + timedelta(seconds=60), NOW)
    hub = RecordingHub(broken)
    await driver_by(ports, hub).start_run(Submitted(run=run, due=row))
    assert hub.log == asked
    found = await ports.due.get(run.id)
    assert found is not None
    assert found.due == NOW + timedelta(seconds=due)


@pytest.mark.parametrize(("there", "asked"), [(False, ["start_if_absent"]), (True, ["start_if_absent", "wake"])])
async def test_an_orchestrator_that_was_there_before_the_token_is_told_of_it(there: bool, asked: list[str]) -> None:
    class EarlyHub(RecordingHub):
        async def start_if_absent(self, run_id: str, *, wait: float = 0.0) -> bool:
            self.log.append("start_if_absent")
            return not there

    ports = ports_of("durable")
    row = await ports.due.put(RUN.id, NOW + timedelta(seconds=60), NOW)
    hub = EarlyHub()
    await driver_by(ports, hub).start_run(Submitted(run=PENDING, due=row))
    assert hub.log == asked


@pytest.mark.parametrize(("driver", "asked"), [("durable", ["wake"]), ("timer", ["start_step"])])
@pytest.mark.parametrize("broken", [False, True])
async def test_a_wake_that_was_brought_nearer_is_signalled(driver: str, asked: list[str], broken: bool) -> None:
    ports = ports_of(driver)
    hub = RecordingHub(broken)
    await driver_by(ports, hub).wake(RUN.id)
    assert hub.log == asked


async def test_a_due_row_that_another_has_dated_meanwhile_goes_by_the_run() -> None:
    ports = ports_of("timer")
    await stored(ports, PENDING)
    old = await ports.due.put(RUN.id, NOW + timedelta(seconds=60), NOW)
    await ports.due.put(RUN.id, NOW + timedelta(seconds=90), NOW)
    await driver_by(ports, RecordingHub()).start_run(Submitted(run=PENDING, due=old))
    found = await ports.due.get(RUN.id)
    assert found is not None
    assert found.due == at(7)


async def test_a_wake_that_finds_a_step_under_way_is_left_to_the_next_sweep() -> None:
    """The step may be past its last look at the rows, and not over yet."""
    ports = ports_of("timer")
    await stored(ports, PENDING)
    await ports.due.put(RUN.id, NOW + timedelta(seconds=60), NOW)

    class BusyHub(RecordingHub):
        async def start_step(self, run_id: str) -> bool:
            return False

    await driver_by(ports, BusyHub()).wake(RUN.id)
    found = await ports.due.get(RUN.id)
    assert found is not None
    assert found.due == at(7)
