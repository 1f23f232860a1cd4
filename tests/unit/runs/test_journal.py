"""The journal: what a run tells of itself, whatever happened, in 8 KB."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shared.agentkit import faults
from shared.runs.commands.answer import answer
from shared.runs.commands.cancel import cancel
from shared.runs.commands.delete import delete_run
from shared.runs.model import facts
from shared.runs.model.facts import Approve
from shared.runs.model.journal import Journal, Line, LineKind
from shared.runs.model.phases import Pending, RunningTools, RunStatus, WaitingForAnswers
from shared.runs.model.run import Run
from shared.runs.rules.approvals import approval_id
from shared.runs.rules.journal import KEPT_FIRST, MAX_BYTES, milliseconds, noted
from shared.runs.store.rows import decode, encode
from shared.runs.store.tables import Kind, Table
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.records import NOW, a_run, at

APPROVAL: list[dict[str, Any]] = [{"calls": [{"name": "send", "arguments": {"label": "a"}}]}, {"text": "Sent."}]
TOOL: list[dict[str, Any]] = [{"calls": [{"name": "work", "arguments": {"label": "a"}}]}, {"text": "Done."}]


def told(run: Run) -> list[tuple[str, int, str]]:
    """Kind, turn and code of each line."""
    return [(line.kind.value, line.turn, line.code) for line in run.journal.lines]


def wakes_of(run: Run) -> int:
    return sum(line.wakes for line in run.journal.lines)


async def test_a_run_tells_its_turns_its_looks_and_its_end(rig: Rig) -> None:
    await rig.model.script("s", [{**TOOL[0], "think": 60}, {**TOOL[1], "think": 1}])
    run = await rig.run_to_end()
    assert told(run) == [
        ("created", 0, ""),
        ("turn_started", 1, ""),
        ("looked", 1, ""),
        ("turn_ended", 1, "tool_calls"),
        ("tools", 1, ""),
        ("turn_started", 2, ""),
        ("turn_ended", 2, "completed"),
        ("ended", 0, "completed"),
    ]
    looked = run.journal.lines[2]
    assert looked.count == looked.wakes > 3
    assert looked.last is not None
    assert looked.last - looked.at > 30_000
    assert wakes_of(run) == run.counters.wakes
    assert run.journal.lines[0].at == milliseconds(run.request.created_at)
    assert run.journal.lines[-1].at == milliseconds(run.completed_at or NOW)


async def test_who_answered_and_who_cancelled_is_told(rig: Rig) -> None:
    await rig.model.script("s", APPROVAL)
    run_id = await rig.start()
    await rig.follow(run_id, lambda run: isinstance(run.phase, WaitingForAnswers))
    (call,) = await rig.calls(run_id)
    await answer(rig.app.ports, run_id, {approval_id(call): Approve(approve=False, reason="No.")}, by="user:ann")
    (call,) = await rig.calls(run_id)
    assert (call.answered_by, call.answered_at, call.reason) == ("user:ann", rig.clock.now, "No.")
    await cancel(rig.app.ports, run_id, by="user:bob")
    run = await rig.run(run_id)
    assert told(run)[-4:] == [("tools", 1, ""), ("parked", 1, ""), ("answered", 1, ""), ("ended", 1, "cancelled")]
    assert [line.by for line in run.journal.lines[-2:]] == ["user:ann", "user:bob"]


async def test_why_something_was_tried_again_is_told(rig: Rig) -> None:
    busy = {"status": 429, "times": 2}
    away = {"status": 500, "times": 2}
    turn = {"text": "Fine.", "faults": {"create": [busy], "retrieve": [away]}}
    await rig.model.script("s", [turn])
    run = await rig.run_to_end()
    assert run.status is RunStatus.COMPLETED
    kinds = [kind for kind, _, _ in told(run)]
    assert kinds == ["created", "retry", "turn_started", "no_answer", "turn_ended", "ended"]
    retry, no_answer = run.journal.lines[1], run.journal.lines[3]
    assert (retry.count, no_answer.count) == (2, 2)
    assert retry.code
    assert wakes_of(run) == run.counters.wakes


async def test_the_time_at_work_is_counted_to_the_last_write_and_not_while_the_model_thinks(rig: Rig) -> None:
    await rig.model.script("s", [{"text": "Fine.", "think": 600}])

    async def slow(_operation: str, table: Table, _partition: str | None, _changes: Any) -> None:
        if table is Table.RUNS:
            rig.clock.move(0.05)  # each operation takes so long

    rig.tables.before = slow
    run = await rig.run_to_end()
    rig.tables.before = None
    elapsed = ((run.completed_at or NOW) - run.request.created_at).total_seconds()
    assert elapsed >= 600
    assert 50 * run.counters.wakes <= run.counters.active_ms <= 400 * run.counters.wakes
    assert sum(line.ms for line in run.journal.lines) == pytest.approx(run.counters.active_ms, abs=200)


async def test_a_wake_writes_its_line_with_the_run_and_in_no_operation_more(rig: Rig) -> None:
    await rig.model.script("s", [{"stuck": True}])
    run_id = await rig.start()
    operations: list[tuple[str, tuple[Kind, ...]]] = []

    async def count(operation: str, _table: Table, _partition: str | None, changes: Any) -> None:
        operations.append((operation, tuple(change.kind for change in changes or ())))

    rig.tables.before = count
    rig.clock.move(10)
    await rig.wake(run_id)
    rig.tables.before = None
    assert operations == [("get", ()), ("commit", (Kind.MERGE,))]


async def test_nothing_of_it_is_left_of_a_deleted_run(rigs: NewRig) -> None:
    rig = await rigs()
    await rig.model.script("s", [{"text": "Fine."}])
    run = await rig.run_to_end(title="Secret plans")
    assert run.request.title == "Secret plans"
    await delete_run(rig.app.ports, run.id)
    tomb = await rig.run(run.id)
    assert (tomb.journal, tomb.request.title, tomb.request.preview) == (Journal(), "", "")


# --- any number of facts ------------------------------------------------------------------------------


def a_long_history(turns: int, code: str) -> Run:
    """Each turn with tools, looks of two kinds, and a word of the provider's."""
    run = replace(a_run(), journal=Journal(lines=(Line(at=milliseconds(NOW), kind=LineKind.CREATED),)))
    fault = faults.NoNews("", code=code)
    for turn in range(1, turns + 1):
        now = at(turn * 60.0)
        before = replace(run, turn=replace(run.turn, number=turn), phase=RunningTools())
        for number in range(3):
            after = replace(before, counters=replace(before.counters, wakes=before.counters.wakes + 1))
            fact: facts.Fact = (
                facts.NoNews(response_id="r", fault=fault, jitter=0.0)
                if number % 2
                else facts.LeaseTaken(turn=turn, owner="o", tools={})
            )
            journal = noted(before, after, fact, now + timedelta(seconds=number), 7)
            before = replace(after, journal=journal)
        run = before
    return run


@pytest.mark.slow
@pytest.mark.parametrize("code", ["x", "rate_limit_exceeded", "é" * 300, "\U0001f600" * 200, '"\\' * 200])
@pytest.mark.parametrize("turns", [1, 20, 50, 1_000])
def test_it_has_room_for_any_number_of_lines_and_loses_neither_end_nor_count(turns: int, code: str) -> None:
    run = a_long_history(turns, code)
    lines = run.journal.lines
    stored = encode(run)
    assert len(str(stored["journal"]).encode()) <= MAX_BYTES
    assert decode(Run, stored) == run
    assert wakes_of(run) == run.counters.wakes == 3 * turns
    assert sum(line.ms for line in lines) == 7 * 3 * turns
    assert lines[0].kind is LineKind.CREATED
    assert lines[-1].at == milliseconds(at(turns * 60.0 + 2))
    omitted = [line for line in lines if line.kind is LineKind.OMITTED]
    assert len(omitted) <= 1
    assert bool(omitted) is (turns >= 50) or 1 < turns < 50
    if omitted:
        assert lines.index(omitted[0]) == KEPT_FIRST
        assert len(lines) > 2 * KEPT_FIRST, "as many as there is room for"
    assert [line.at for line in lines] == sorted(line.at for line in lines)


def test_looks_are_one_line_until_something_else_happens() -> None:
    run = a_run(phase=Pending(token=None, next_look=NOW))  # type: ignore[arg-type]
    for number in range(5):
        after = replace(run, counters=replace(run.counters, wakes=number + 1))
        fact = facts.NoNews(response_id="r", fault=faults.NoNews("", code="a" if number < 3 else "b"), jitter=0.0)
        run = replace(after, journal=noted(run, after, fact, at(number), 2))
    assert [(line.count, line.ms, line.code) for line in run.journal.lines] == [(3, 6, "a"), (2, 4, "b")]
