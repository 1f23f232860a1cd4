"""When a run does what is next: what it may do at once is not late by the run's age, and a look may be early."""

from __future__ import annotations

from typing import Any

import pytest

from shared.drivers.sweep import sweep
from shared.runs.actions.outcome import Outcome
from shared.runs.commands.adopt import adopt
from shared.runs.model.phases import Creating, Phase, RunningTools, RunStatus
from shared.runs.model.run import Run
from shared.runs.rules.agenda import next_time
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.crashes import Driver
from tests.unit.runs.records import a_run, at

WORK = {"name": "work", "arguments": {"label": "x"}}


@pytest.mark.parametrize("phase", [Creating(), RunningTools()], ids=["create", "tools"])
def test_what_can_be_done_at_once_is_due_since_the_last_change(phase: Phase) -> None:
    soonest = next_time(a_run(phase=phase, updated_at=at(600)))
    assert soonest is not None
    assert soonest.due == at(600)


@pytest.mark.parametrize("phase", [RunningTools, Creating], ids=["tools", "create"])
async def test_a_long_run_between_two_steps_is_overdue_only_after_a_while(rigs: NewRig, phase: type[Phase]) -> None:
    rig = await rigs(driver="durable", overdue=120.0)
    turn: dict[str, Any] = {"think": 600.0, "calls": [WORK]}
    await rig.model.script("s", [turn, {"text": "done"}])

    def is_there(run: Run) -> bool:
        return isinstance(run.phase, phase) and bool(run.chain.response_ids)

    run_id = await rig.start()
    await rig.follow(run_id, is_there)
    host, ends = Driver(rig), []
    for _ in range(3):
        ends.append(dict(await sweep(rig.app.ports, rig.driver(host))))
        rig.clock.move(119.0)
    assert ends == [{"in_time": 1}, {}, {"overdue": 1}]


async def test_whoever_is_told_of_a_response_finds_it_out_at_once_and_not_at_the_next_look(rigs: NewRig) -> None:
    rig = await rigs(poll_first=30.0)
    await rig.model.script("s", [{"think": 5.0, "text": "done"}])
    run_id = await rig.start()
    rig.clock.move(6.0)
    (known,) = (await rig.run(run_id)).chain.response_ids
    assert await adopt(rig.app.ports, known) == run_id
    assert await rig.run_activity(run_id) == Outcome(RunStatus.COMPLETED, None)
    assert await rig.text(run_id) == "done"


async def test_a_wake_before_its_time_looks_once(rig: Rig) -> None:
    await rig.model.script("s", [{"think": 600.0, "text": "done"}])
    run_id = await rig.start()
    for looks in (1, 2):
        assert (await rig.wake(run_id)).wake_in == 1.5
        assert len(await rig.model.log("retrieve")) == looks
