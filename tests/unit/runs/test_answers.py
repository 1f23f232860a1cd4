"""Approvals: what a run asks, who may answer when, and what becomes of the answer."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from shared.agentkit.tools import Tool
from shared.errors import AlreadyAnswered, AmbiguousCallId, NotWaiting, RunEnded
from shared.runs.actions.advance import _count_crash
from shared.runs.commands.answer import answer
from shared.runs.commands.cancel import cancel
from shared.runs.commands.delete import delete_run
from shared.runs.model.calls import Approval, CallState, ToolCall
from shared.runs.model.facts import Approve
from shared.runs.model.outbox import Entry, EntryKind, Outbox
from shared.runs.model.phases import Ended, RunningTools, RunStatus, WaitingForAnswers
from shared.runs.model.run import PartRef, Run
from shared.runs.rules.approvals import approval_id
from shared.runs.store.tables import StoreUnavailable
from tests.parts import workshop
from tests.parts.waiting import eventually
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.crashes import FailAt, Killed, RunBefore
from tests.unit.runs.test_tools import QUICK, Bench, agent_with, due, outputs

DAY = 86_400.0
YES = Approve(approve=True)
NO = Approve(approve=False, reason="Not on a Sunday.")


def ask(*names: str) -> list[dict[str, Any]]:
    """A script that asks for these tools, labelled a, b, …, and then says what came back."""
    wanted = [{"name": name, "arguments": {"label": chr(ord("a") + i)}} for i, name in enumerate(names)]
    return [{"calls": wanted}, {"echo": True}]


async def parked(rig: Rig, *names: str, **fields: Any) -> tuple[str, list[str]]:
    """A run that waits for answers, and the ids of the calls that it asks about."""
    await rig.model.script("s", ask(*names))
    run_id = await rig.start(**fields)
    run = await rig.follow(run_id, lambda run: isinstance(run.phase, WaitingForAnswers))
    assert run.status is RunStatus.REQUIRES_ACTION
    return run_id, await waiting(rig, run_id)


async def waiting(rig: Rig, run_id: str) -> list[str]:
    return [call.call_id for call in await rig.calls(run_id) if call.state is CallState.WAITING]


def answer_by(run: Run) -> datetime:
    """When the run fails unless it was answered."""
    assert isinstance(run.phase, WaitingForAnswers)
    return run.phase.answer_by


def seconds_left(run: Run) -> float | None:
    """What is left of the deadline of a run that is parked."""
    assert isinstance(run.phase, WaitingForAnswers)
    return run.phase.seconds_left


async def never_stuck(rig: Rig, run_id: str) -> None:
    """A run that is parked has a call to be answered; one that has none goes on."""
    assert (isinstance((await rig.run(run_id)).phase, WaitingForAnswers)) <= bool(await waiting(rig, run_id))


async def done(rig: Rig, run_id: str) -> Run:
    run = await rig.follow(run_id)
    assert run.status is RunStatus.COMPLETED, run.result.error_message
    return run


async def test_calls_that_need_no_approval_run_first_and_the_model_hears_every_answer(rig: Rig) -> None:
    run_id, (b, c) = await parked(rig, "work", "send", "wire")
    states = [(call.name, call.state, call.approval) for call in await rig.calls(run_id)]
    assert states == [
        ("work", CallState.FINISHED, Approval.NONE),
        ("send", CallState.WAITING, Approval.PENDING),
        ("wire", CallState.WAITING, Approval.PENDING),
    ]
    assert [call.why for call in await rig.calls(run_id)] == ["", "It leaves the house.", ""]
    requests = len(await rig.model.log())
    assert 0 < (await rig.wake(run_id)).wake_in <= 7 * DAY  # type: ignore[operator]
    rig.clock.move(3 * DAY)
    await rig.wake(run_id)
    assert len(await rig.model.log()) == requests, "nothing is asked of the provider while a person thinks"
    run = await answer(rig.app.ports, run_id, {b: YES, c: NO})
    assert run is not None
    assert (type(run.phase), run.status) == (RunningTools, RunStatus.IN_PROGRESS)
    await done(rig, run_id)
    worked, sent, refused = await outputs(rig)
    assert (worked, sent) == ("worked on a", "sent b")
    assert (refused["error"]["code"], refused["error"]["message"]) == ("refused", "Not on a Sunday.")


async def test_a_refusal_without_a_reason_says_that_a_person_refused(rig: Rig) -> None:
    run_id, (call,) = await parked(rig, "send")
    await answer(rig.app.ports, run_id, {call: Approve(approve=False)})
    await done(rig, run_id)
    (refused,) = await outputs(rig)
    assert refused["error"]["message"] == "A person refused this call."
    (line,) = await rig.calls(run_id)
    assert (line.starts, line.approval) == (0, Approval.REFUSED)


async def test_some_answers_wait_for_the_rest(rig: Rig) -> None:
    run_id, (a, b) = await parked(rig, "send", "send")
    before = await rig.run(run_id)
    rig.clock.move(60)
    run = await answer(rig.app.ports, run_id, {b: YES})
    assert run is not None
    assert (type(run.phase), run.status, run.schedule.deadline_at) == (
        WaitingForAnswers,
        RunStatus.REQUIRES_ACTION,
        None,
    )
    assert (answer_by(run), due(run)) == (answer_by(before), due(before)), "no more time for the rest"
    await rig.wake(run_id)
    assert await waiting(rig, run_id) == [a]
    assert all(call.starts == 0 for call in await rig.calls(run_id))
    await answer(rig.app.ports, run_id, {a: YES})
    await done(rig, run_id)
    assert await outputs(rig) == ["sent a", "sent b"]


async def test_all_answers_of_a_request_are_taken_or_none(rig: Rig) -> None:
    run_id, (a, b) = await parked(rig, "send", "send")
    with pytest.raises(NotWaiting):
        await answer(rig.app.ports, run_id, {a: YES, "call_unknown": YES})
    assert await waiting(rig, run_id) == [a, b]
    await answer(rig.app.ports, run_id, {a: YES})
    with pytest.raises(AlreadyAnswered):
        await answer(rig.app.ports, run_id, {a: NO, b: YES})
    assert await waiting(rig, run_id) == [b]


async def test_the_same_answer_again_is_fine_and_another_is_not(rig: Rig) -> None:
    run_id, (a, b) = await parked(rig, "send", "send")
    for _ in range(2):
        await answer(rig.app.ports, run_id, {a: YES})
        await answer(rig.app.ports, run_id, {b: NO})
    for wrong in ({a: NO}, {b: YES}):
        with pytest.raises(AlreadyAnswered):
            await answer(rig.app.ports, run_id, wrong)
    run = await done(rig, run_id)
    assert await answer(rig.app.ports, run_id, {a: YES, b: NO}) == run, "also when it is over"
    with pytest.raises(AlreadyAnswered):
        await answer(rig.app.ports, run_id, {a: NO})
    assert len(await rig.model.creates()) == 2


async def test_a_call_that_nobody_is_asked_about_takes_no_answer(rig: Rig) -> None:
    run_id, _ = await parked(rig, "work", "send")
    work, _send = await rig.calls(run_id)
    for unknown in (work.call_id, "call_unknown", ""):
        with pytest.raises(NotWaiting):
            await answer(rig.app.ports, run_id, {unknown: YES})


async def test_a_run_that_is_not_there_takes_no_answer(rig: Rig) -> None:
    assert await answer(rig.app.ports, f"run_{'0' * 32}_1", {"c": YES}) is None
    run_id, (call,) = await parked(rig, "send")
    await delete_run(rig.app.ports, run_id)
    assert await answer(rig.app.ports, run_id, {call: YES}) is None


async def test_a_run_that_ended_takes_no_new_answer(rig: Rig) -> None:
    run_id, (call,) = await parked(rig, "send")
    await cancel(rig.app.ports, run_id)
    with pytest.raises(RunEnded):
        await answer(rig.app.ports, run_id, {call: YES})
    run = await rig.run(run_id)
    assert (run.status, run.is_done, type(run.phase)) == (RunStatus.CANCELLED, True, Ended)
    assert (await rig.session(run_id)).active_run is None


async def test_an_answer_in_the_midst_of_the_turn_s_other_calls_moves_nothing_but_its_call(rigs: NewRig) -> None:
    bench = Bench()
    rig = await rigs([bench.factory_with(workshop.send)], **QUICK)
    await rig.model.script("s", ask("wait", "send"))
    run_id = await rig.start(agent="bench")
    await rig.follow(run_id, lambda run: isinstance(run.phase, RunningTools))
    work = asyncio.create_task(rig.wake(run_id))
    await eventually(lambda: bench.starts)
    before = await rig.run(run_id)
    assert before.status is RunStatus.IN_PROGRESS
    run = await answer(rig.app.ports, run_id, dict.fromkeys(await waiting(rig, run_id), YES))
    assert run is not None
    assert (type(run.phase), run.schedule.deadline_at) == (RunningTools, before.schedule.deadline_at)
    bench.released.set()
    outcome = await work
    assert (outcome.status, outcome.wake_in) == (RunStatus.IN_PROGRESS, 0.0), "it never parks"
    await done(rig, run_id)
    assert await outputs(rig) == ["a done by start 1", "sent b"]
    assert len(bench.starts) == 1


# --- versions ---------------------------------------------------------------------------------------------

free_send = replace(workshop.send, requires_approval=False)


@pytest.mark.parametrize("old", [(), (free_send,)], ids=["unknown to the old version", "free in the old version"])
@pytest.mark.parametrize("beside", [(), ("hurry",)], ids=["alone", "beside another"])
async def test_approval_is_asked_by_the_version_that_would_run_the_tool(
    rigs: NewRig, old: tuple[Tool, ...], beside: tuple[str, ...]
) -> None:
    reads = await rigs([Bench().factory_with(*old)])
    runs = await rigs([Bench().factory_with(workshop.send)])
    await reads.model.script("s", ask("send", *beside))
    run_id = await reads.start(agent="bench")
    await reads.follow(run_id, lambda run: isinstance(run.phase, RunningTools))
    assert await waiting(reads, run_id) == []
    run = await runs.follow(run_id, lambda run: isinstance(run.phase, WaitingForAnswers) or run.terminal)
    assert (type(run.phase), run.status) == (WaitingForAnswers, RunStatus.REQUIRES_ACTION)
    send, *others = await runs.calls(run_id)
    assert (send.state, send.approval, send.starts) == (CallState.WAITING, Approval.PENDING, 0)
    assert send.why == "It leaves the house."
    assert [call.starts for call in others] == [1] * len(beside)
    await answer(runs.app.ports, run_id, {send.call_id: YES})
    await done(runs, run_id)
    assert (await outputs(runs))[0] == "sent a"


async def test_a_call_that_was_interrupted_before_its_tool_was_guarded_asks_before_it_runs_again(
    rigs: NewRig,
) -> None:
    bench = Bench()
    old = await rigs([bench.factory()], **QUICK)
    guarded = [replace(each, requires_approval=True) if each.name == "wait" else each for each in Bench().tools]
    new = await rigs([agent_with(*guarded)], **QUICK)
    await old.model.script("s", ask("wait"))
    run_id = await old.start(agent="bench")
    await old.follow(run_id, lambda run: isinstance(run.phase, RunningTools))
    dead = asyncio.create_task(old.wake(run_id))
    await eventually(lambda: bench.starts)
    dead.cancel()
    await asyncio.wait([dead])
    old.clock.move(61)
    await new.follow(run_id, lambda run: isinstance(run.phase, WaitingForAnswers) or run.terminal)
    (call,) = await new.calls(run_id)
    assert (call.state, call.approval, call.starts) == (CallState.WAITING, Approval.PENDING, 1)


async def test_an_approval_holds_in_another_version(rigs: NewRig) -> None:
    old = await rigs([Bench().factory_with(workshop.send)])
    new = await rigs([Bench().factory_with(replace(workshop.send, requires_approval="It costs money."))])
    await old.model.script("s", ask("send"))
    run_id = await old.start(agent="bench")
    await old.follow(run_id, lambda run: isinstance(run.phase, WaitingForAnswers))
    await answer(old.app.ports, run_id, dict.fromkeys(await waiting(old, run_id), YES))
    await done(new, run_id)
    assert await outputs(new) == ["sent a"]


# --- races --------------------------------------------------------------------------------------------


async def operations(rig: Rig, act: Callable[[], Any]) -> int:
    """How many operations of the store that takes."""
    with FailAt(rig, at=None, applied=False, error=Killed()) as counter:
        await act()
    return counter.count


async def test_two_answers_at_the_same_instant_are_both_heard(rig: Rig) -> None:
    run_id, (a, b) = await parked(rig, "send", "send")
    most = await operations(rig, lambda: answer(rig.app.ports, run_id, {a: YES}))
    for at in range(1, most + 1):
        run_id, (a, b) = await parked(rig, "send", "send")
        with RunBefore(rig, at, lambda: answer(rig.app.ports, run_id, {b: NO})) as race:  # noqa: B023
            await answer(rig.app.ports, run_id, {a: YES})
        assert race.happened
        run = await rig.run(run_id)
        assert (type(run.phase), run.status) == (RunningTools, RunStatus.IN_PROGRESS), at
        first, second = await rig.calls(run_id)
        assert (first.approval, second.approval) == (Approval.APPROVED, Approval.REFUSED)
        await done(rig, run_id)
    run_id, asked = await parked(rig, *["send"] * 10)
    await asyncio.gather(*(answer(rig.app.ports, run_id, {each: YES}) for each in asked))
    await done(rig, run_id)


async def test_of_two_different_answers_to_one_call_one_is_taken(rig: Rig) -> None:
    run_id, (a,) = await parked(rig, "send")
    most = await operations(rig, lambda: answer(rig.app.ports, run_id, {a: YES}))
    for at in range(1, most):  # the last one shows in the list what is taken already
        run_id, (a,) = await parked(rig, "send")
        with (
            RunBefore(rig, at, lambda: answer(rig.app.ports, run_id, {a: NO})) as race,  # noqa: B023
            pytest.raises(AlreadyAnswered),
        ):
            await answer(rig.app.ports, run_id, {a: YES})
        assert race.happened
        (line,) = await rig.calls(run_id)
        assert (line.approval, type((await rig.run(run_id)).phase)) == (Approval.REFUSED, RunningTools)


@pytest.mark.slow
@pytest.mark.parametrize("names", [("send",), ("work", "send")], ids=["alone", "beside another"])
@pytest.mark.parametrize("word", [YES, NO], ids=["approved", "refused"])
async def test_an_answer_that_races_with_the_parking_is_never_lost(
    rig: Rig, names: tuple[str, ...], word: Approve
) -> None:
    await rig.model.script("s", ask(*names))

    async def at_tools() -> str:
        run_id = await rig.start()
        await rig.follow(run_id, lambda run: isinstance(run.phase, RunningTools))
        return run_id

    run_id = await at_tools()
    most = await operations(rig, lambda: rig.wake(run_id))
    for at in range(1, most + 1):
        run_id = await at_tools()
        deadline = (await rig.run(run_id)).schedule.deadline_at
        asked = await waiting(rig, run_id)

        async def other(run_id: str = run_id, asked: list[str] = asked) -> None:
            await answer(rig.app.ports, run_id, dict.fromkeys(asked, word))

        with RunBefore(rig, at, other) as race:
            await rig.wake(run_id)
        assert race.happened
        await never_stuck(rig, run_id)
        run = await rig.run(run_id)
        assert (isinstance(run.phase, WaitingForAnswers), run.schedule.deadline_at) == (False, deadline), at
        began = rig.clock.now
        await done(rig, run_id)
        assert (rig.clock.now - began).total_seconds() < 10, "nobody waited for a lease to run out"


async def test_an_answer_to_a_run_that_parks_meanwhile_resumes_it(rig: Rig) -> None:
    await rig.model.script("s", ask("send"))
    for at in range(1, 5):
        run_id = await rig.start()
        await rig.follow(run_id, lambda run: isinstance(run.phase, RunningTools))
        asked = await waiting(rig, run_id)
        with RunBefore(rig, at, lambda: rig.wake(run_id)) as race:  # noqa: B023
            await answer(rig.app.ports, run_id, dict.fromkeys(asked, YES))
        assert race.happened
        await never_stuck(rig, run_id)
        await done(rig, run_id)


@pytest.mark.slow
@pytest.mark.parametrize("applied", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("error", [Killed(), StoreUnavailable("gone")], ids=["crash", "outage"])
async def test_an_answer_that_is_interrupted_can_be_sent_again(rig: Rig, error: BaseException, applied: bool) -> None:
    run_id, (a,) = await parked(rig, "send")
    most = await operations(rig, lambda: answer(rig.app.ports, run_id, {a: YES}))
    for at in range(1, most + 1):
        run_id, (a,) = await parked(rig, "send")
        watch = await rig.app.ports.due.get(run_id)
        assert watch is not None
        await rig.app.ports.due.set_due(watch, rig.clock.now, rig.clock.now)  # far in the past by now
        # Before the run's row and after it the list's is read and written: that it cannot be concerns no caller.
        concerns_caller = isinstance(error, Killed) or at not in (most - 2, most)
        with (
            FailAt(rig, at=at, applied=applied, error=error) as trap,
            pytest.raises(type(error)) if concerns_caller else contextlib.nullcontext(),
        ):
            await answer(rig.app.ports, run_id, {a: YES})
        assert trap.sprung
        if isinstance((await rig.run(run_id)).phase, RunningTools):  # taken: the sweep would see to it within a minute
            dated = await rig.app.ports.due.get(run_id)
            assert dated is not None
            assert 0 <= (dated.due - rig.clock.now).total_seconds() <= 60
        await answer(rig.app.ports, run_id, {a: YES})
        await done(rig, run_id)


# --- time ---------------------------------------------------------------------------------------------


async def test_a_run_that_nobody_answers_fails(rig: Rig) -> None:
    run_id, _ = await parked(rig, "send")
    began = rig.clock.now
    run = await rig.follow(run_id)
    assert (run.status, run.result.error_code) == (RunStatus.FAILED, "answer_timeout")
    assert (rig.clock.now - began).total_seconds() == 7 * DAY
    assert (await rig.wake(run_id)).wake_in is None
    session = await rig.session(run_id)
    assert (session.active_run, session.response_id) == (None, None)
    assert all(call.starts == 0 for call in await rig.calls(run_id))


async def test_the_deadline_does_not_run_while_a_person_thinks(rigs: NewRig) -> None:
    rig = await rigs()
    run_id, (call,) = await parked(rig, "send", deadline_seconds=100.0)
    passed = rig.clock.now - (await rig.run(run_id)).request.created_at
    left = 100.0 - passed.total_seconds()
    assert seconds_left(await rig.run(run_id)) == left
    rig.clock.move(5 * DAY)
    await rig.wake(run_id)
    run = await answer(rig.app.ports, run_id, {call: YES})
    assert run is not None
    assert run.schedule.deadline_at is not None
    assert (run.schedule.deadline_at - rig.clock.now).total_seconds() == left
    await rig.model.switches(unavailable=60)  # from here on it takes too long
    run = await rig.follow(run_id)
    assert (run.status, run.result.error_code, run.completed_at) == (
        RunStatus.FAILED,
        "deadline_exceeded",
        rig.clock.now,
    )


async def test_a_wake_of_a_parked_run_that_crashed_does_not_make_it_spin(rig: Rig) -> None:
    run_id, _ = await parked(rig, "send")
    before = await rig.run(run_id)
    await _count_crash(rig.app.ports, run_id, before.schedule.crashes, ZeroDivisionError())
    after = await rig.run(run_id)
    assert (after.schedule.crashes, due(after)) == (1, answer_by(before))
    rig.clock.move(DAY)
    assert (await rig.wake(run_id)).wake_in > DAY  # type: ignore[operator]


# --- which calls --------------------------------------------------------------------------------------


async def test_an_approved_call_that_runs_at_most_once_is_not_repeated(rigs: NewRig) -> None:
    first = await rigs(tool_renewal=0.01)
    await first.model.script("s", [{"calls": [{"name": "wire", "arguments": {"label": "a", "seconds": 60}}]}, {}])
    run_id = await first.start()
    await first.follow(run_id, lambda run: isinstance(run.phase, WaitingForAnswers))
    await answer(first.app.ports, run_id, dict.fromkeys(await waiting(first, run_id), YES))
    dead = asyncio.create_task(first.wake(run_id))

    async def started() -> bool:
        return (await first.calls(run_id))[0].state is CallState.STARTED

    await eventually(started)
    dead.cancel()
    await asyncio.wait([dead])
    first.clock.move(61)
    await done(first, run_id)
    (unknown,) = await outputs(first)
    assert unknown["error"]["code"] == "outcome_unknown"
    (line,) = await first.calls(run_id)
    assert (line.starts, line.approval) == (1, Approval.APPROVED)


MCP = [
    {"server_label": "archive", "name": "export", "arguments": {"id": 7}},
    {"server_label": "archive", "name": "delete"},
]


@pytest.mark.parametrize("chain", ["chain", "replay"])
async def test_a_call_of_the_provider_s_own_is_approved_like_ours(rigs: NewRig, chain: str) -> None:
    rig = await rigs([workshop.build_judge], chain=chain)
    verdict = {"text": '{"guilty": false, "months": 0}'}
    work = {"name": "work", "arguments": {"label": "a"}}
    await rig.model.script("s", [{"text": "May I?", "calls": [work], "approvals": MCP}, verdict])
    run_id = await rig.start(agent="judge")
    await rig.follow(run_id, lambda run: isinstance(run.phase, WaitingForAnswers))
    assert [(call.kind.value, call.name, call.arguments, call.why) for call in await rig.calls(run_id)][1:] == [
        ("mcp", "export", '{"id": 7}', "A tool of the MCP server archive."),
        ("mcp", "delete", "{}", "A tool of the MCP server archive."),
    ]
    export, delete = await waiting(rig, run_id)
    await answer(rig.app.ports, run_id, {export: YES, delete: NO})
    assert await waiting(rig, run_id) == []
    await done(rig, run_id)
    _, second = [entry.body or {} for entry in await rig.model.log("create")]
    assert ("previous_response_id" in second) is (chain == "chain")
    outputs_sent = [item for item in second["input"] if item["type"].endswith(("_output", "_response"))]
    assert outputs_sent == [
        {"type": "function_call_output", "call_id": outputs_sent[0]["call_id"], "output": "worked on a"},
        {"type": "mcp_approval_response", "approval_request_id": export, "approve": True},
        {
            "type": "mcp_approval_response",
            "approval_request_id": delete,
            "approve": False,
            "reason": "Not on a Sunday.",
        },
    ]
    if chain == "replay":
        requests = [item["id"] for item in second["input"] if item["type"] == "mcp_approval_request"]
        assert requests == [export, delete]


async def approval_ids(rig: Rig, run_id: str) -> list[str]:
    """What an answer names, of each call that waits."""
    return [approval_id(call) for call in await rig.calls(run_id) if call.state is CallState.WAITING]


async def reusing_an_id(rig: Rig, name: str = "send") -> str:
    """A run whose model gives the call of each turn the same id, parked in its first."""
    turns = [{"calls": [{"name": name, "arguments": {"label": label}, "call_id": "call_1"}]} for label in ("a", "b")]
    await rig.model.script("s", [*turns, {"echo": True}])
    run_id = await rig.start()
    await rig.follow(run_id, lambda run: isinstance(run.phase, WaitingForAnswers))
    return run_id


async def test_two_calls_of_one_id_in_one_turn_are_two_questions(rig: Rig) -> None:
    asked = [{"name": "send", "arguments": {"label": label}, "call_id": "same"} for label in ("a", "b")]
    await rig.model.script("s", [{"calls": asked}, {"echo": True}])
    run_id = await rig.start()
    await rig.follow(run_id, lambda run: isinstance(run.phase, WaitingForAnswers))
    with pytest.raises(AmbiguousCallId):
        await answer(rig.app.ports, run_id, {"same": YES})
    first, second = await approval_ids(rig, run_id)
    await answer(rig.app.ports, run_id, {first: NO, second: YES})
    await rig.follow(run_id, lambda run: run.terminal or isinstance(run.phase, WaitingForAnswers))
    a, b = await rig.calls(run_id)
    assert [(each.approval, each.starts) for each in (a, b)] == [(Approval.REFUSED, 0), (Approval.APPROVED, 1)]
    assert b.result == "sent b"


@pytest.mark.parametrize("by_id", [True, False], ids=["by its approval id", "by its call id"])
async def test_an_answer_that_is_repeated_approves_no_later_call_of_that_id(rig: Rig, by_id: bool) -> None:
    run_id = await reusing_an_id(rig)
    (first,) = await approval_ids(rig, run_id)
    name = first if by_id else "call_1"
    await answer(rig.app.ports, run_id, {name: YES})
    await rig.follow(run_id, lambda run: isinstance(run.phase, WaitingForAnswers))
    (second,) = await approval_ids(rig, run_id)
    assert first != second
    if by_id:
        await answer(rig.app.ports, run_id, {name: YES})  # the same again is fine, and says nothing of the second
    else:
        with pytest.raises(AmbiguousCallId, match="required_action"):
            await answer(rig.app.ports, run_id, {name: YES})
    assert await approval_ids(rig, run_id) == [second]
    with pytest.raises(AlreadyAnswered):
        await answer(rig.app.ports, run_id, {first: NO})
    await answer(rig.app.ports, run_id, {second: NO})
    await done(rig, run_id)
    assert [(call.approval, call.starts) for call in await rig.calls(run_id)] == [
        (Approval.APPROVED, 1),
        (Approval.REFUSED, 0),
    ]


async def test_a_call_that_is_named_in_both_ways_has_one_answer(rig: Rig) -> None:
    run_id, (call,) = await parked(rig, "send")
    (name,) = await approval_ids(rig, run_id)
    with pytest.raises(AlreadyAnswered):
        await answer(rig.app.ports, run_id, {name: YES, call: NO})
    assert await waiting(rig, run_id) == [call]
    await answer(rig.app.ports, run_id, {name: YES, call: YES})
    await done(rig, run_id)
    assert await outputs(rig) == ["sent a"]


async def test_an_approval_id_is_of_one_call_and_its_arguments_wherever_they_lie() -> None:
    call = ToolCall(session_id="0" * 32, number=1, turn=1, index=0, call_id="c", name="send", arguments='{"amount":1}')
    others = [
        replace(call, turn=2),
        replace(call, index=1),
        replace(call, number=2),
        replace(call, session_id="f" * 32),
        replace(call, call_id="d"),
        replace(call, name="wire"),
        replace(call, arguments='{"amount":2}'),
    ]
    assert len({approval_id(each) for each in [call, *others]}) == 8
    digest = hashlib.sha256(b'{"amount":1}').hexdigest()[:32]
    answered = replace(call, state=CallState.FINISHED, approval=Approval.APPROVED, starts=1)
    assert {approval_id(replace(call, arguments=PartRef(digest, 1))), approval_id(answered)} == {approval_id(call)}


async def test_many_long_refusals_are_taken_in_one_transaction(rig: Rig) -> None:
    reason = "\u4e2d" * 4_000
    run_id, asked = await parked(rig, *["send"] * 80)
    await answer(rig.app.ports, run_id, {call_id: Approve(approve=False, reason=reason) for call_id in asked})
    await done(rig, run_id)
    assert [reason in str(each) for each in await outputs(rig)] == [True] * 80


async def test_the_outbox_of_a_parked_run_is_worked_through_while_nobody_answers(rig: Rig) -> None:
    run_id, _ = await parked(rig, "send")
    stored = await rig.app.ports.runs.load(run_id)
    assert stored is not None
    now = rig.clock.now
    entry = Entry(kind=EntryKind.CANCEL, subject="resp_of_a_lost_race", due=now, since=now)
    await rig.app.ports.runs.save(stored, replace(stored.value, outbox=Outbox(entries=(entry,))))
    await rig.model.switches(faults={"cancel": [{"status": 500}]})
    run = await rig.follow(run_id, lambda run: not run.outbox.entries)
    assert (type(run.phase), run.outbox.entries) == (WaitingForAnswers, ())
    assert rig.clock.now - now < timedelta(minutes=1)
    assert (await rig.wake(run_id)).wake_in == pytest.approx((due(run) - rig.clock.now).total_seconds())
