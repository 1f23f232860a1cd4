"""What a restart of the worker interrupted is told once."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

import pytest

from shared.runs.interruptions import GATHERED_FOR, Interruptions
from shared.runs.model.phases import RunStatus
from tests.parts.waiting import eventually
from tests.unit.runs.conftest import NewRig
from tests.unit.runs.records import NOW
from tests.unit.runs.test_tools import QUICK, Bench, at_tools, cut_off, wake_as


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines about interruptions."""
    return [each.getMessage() for each in caplog.records if "interrupted work" in each.getMessage()]


def test_many_interruptions_are_one_line(caplog: pytest.LogCaptureFixture) -> None:
    noticed = Interruptions()
    for number in range(112):
        noticed.add(NOW, f"run_{number % 100}", tools=1, requests=number % 2)
        noticed.report(NOW)
    assert told(caplog) == []
    noticed.report(NOW + GATHERED_FOR)
    noticed.report(NOW + 2 * GATHERED_FOR)
    (line,) = told(caplog)
    assert "112 tool calls, 56 requests to the model, of 100 runs" in line
    assert [each.levelno for each in caplog.records] == [logging.WARNING]


def test_the_next_restart_is_a_line_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    noticed = Interruptions()
    for begin, run_id in ((NOW, "run_1"), (NOW + timedelta(hours=1), "run_3")):
        noticed.add(begin, run_id, tools=2)
        noticed.add(begin, "run_2")
        noticed.report(begin + GATHERED_FOR)
    assert [line.partition("2 tool calls, 0 requests to the model, of 1 runs")[1] != "" for line in told(caplog)] == [
        True
    ] * 2


def test_what_was_interrupted_is_told_once_half_a_minute_after_the_first_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    noticed = Interruptions()
    noticed.report(NOW)
    noticed.add(NOW, "run_1")
    noticed.report(NOW + timedelta(hours=1))
    assert told(caplog) == [], "nothing was interrupted"
    noticed.add(NOW, "run_1", requests=1)
    noticed.add(NOW + timedelta(seconds=20), "run_1", tools=1)
    noticed.report(NOW + GATHERED_FOR - timedelta(seconds=1))
    assert told(caplog) == []
    noticed.report(NOW + GATHERED_FOR)
    (line,) = told(caplog)
    assert "1 tool calls, 1 requests to the model, of 1 runs" in line


async def test_a_new_process_tells_what_the_old_one_was_cut_off_from(
    rigs: NewRig, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = Bench(), Bench()
    one, two = await rigs([first.factory()], **QUICK), await rigs([second.factory()], **QUICK)
    ids = [await at_tools(one, ("wait", {"label": "a"}), ("hurry", {"label": "b"})) for _ in range(2)]
    dead = [wake_as("one", one, run_id) for run_id in ids]

    async def half_done() -> bool:
        return [call.finished_at is None for run_id in ids for call in await two.calls(run_id)] == [True, False] * 2

    await eventually(half_done)
    one.tables.before = cut_off("one")
    for wake in dead:
        wake.cancel()
    await asyncio.wait(dead)
    two.clock.move(61)
    second.released.set()
    for run_id in ids:
        await two.wake(run_id)
    two.clock.move(GATHERED_FOR.total_seconds())
    assert [(await two.follow(run_id)).status for run_id in ids] == [RunStatus.COMPLETED] * 2
    (line,) = told(caplog)
    assert "2 tool calls, 0 requests to the model, of 2 runs" in line
