"""Calls that OpenAI's clients approve: the run ends with them, and the next one brings the answers and makes them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from shared import errors
from shared.agentkit.agent import ApprovalRequest
from shared.runs.actions import conversation
from shared.runs.commands.answer import answer
from shared.runs.commands.cancel import cancel
from shared.runs.commands.delete import delete_run
from shared.runs.model.callers_tools import CallersTools
from shared.runs.model.calls import Approval, CallState
from shared.runs.model.facts import Approve
from shared.runs.model.phases import RunningTools, RunStatus
from shared.runs.model.run import Run
from shared.runs.queries.conversation import open_calls_of, turn_texts
from shared.runs.queries.runs import calls_of
from tests.parts import workshop
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.crashes import Driver, FailAt, Killed, RunBefore, interruptions
from tests.unit.runs.test_caller_tools import LOOK, LOOKS, WORKS, asked, body, kinds, output

WIRES = {"name": "wire", "call_id": "call_wire", "arguments": {"label": "w"}}
SENDS = {"name": "send", "call_id": "call_send", "arguments": {"label": "s"}}
TOOLS = CallersTools(definitions=(LOOK,))
YES, NO = Approve(approve=True), Approve(approve=False, reason="Not today.")


@pytest.fixture
async def rig(rigs: NewRig) -> Rig:
    return await scripted(await rigs([workshop.build_open]))


async def scripted(rig: Rig) -> Rig:
    await rig.model.script("two", [{"calls": [WIRES, SENDS]}, {"text": "Done."}])
    await rig.model.script("all", [{"calls": [WORKS, WIRES, LOOKS]}, {"text": "Done."}])
    await rig.model.script("plain", [{"text": "Plain."}])
    await rig.model.script("bad", [{"status": "failed", "error": {"code": "invalid_prompt"}}])
    return rig


async def begun(rig: Rig, script: str, **more: Any) -> Run:
    run = await rig.run_to_end(f"[script:{script}]", agent="open-workshop", tools=TOOLS, hands_over=True, **more)
    assert run.status is RunStatus.COMPLETED
    return run


async def requests_of(rig: Rig, run: Run) -> dict[str, str]:
    """The ids of the approval requests, by the tool."""
    open_calls = await open_calls_of(rig.app.ports, run)
    return {call.name: call.request_id for call in open_calls if isinstance(call, ApprovalRequest)}


async def submitted(rig: Rig, before: Run, answers: Mapping[str, Approve], *items: dict[str, Any], **more: Any) -> Run:
    names = await requests_of(rig, before)
    follows = {"session_id": before.request.session_id, "previous": before.request.number, **more}
    given = {names.get(name, name): answer for name, answer in answers.items()}
    return (await rig.submit(items=items, approvals=given, tools=TOOLS, hands_over=True, **follows)).run


async def answered(rig: Rig, before: Run, answers: Mapping[str, Approve], *items: dict[str, Any], **more: Any) -> Run:
    return await rig.follow((await submitted(rig, before, answers, *items, **more)).id)


def ran(tmp_path: Path, tool: str) -> int:
    """How often the tool was started."""
    return (
        len(workshop.traces(tmp_path / "tools.jsonl", what="start"))
        if not tool
        else sum(trace.tool == tool for trace in workshop.traces(tmp_path / "tools.jsonl", what="start"))
    )


async def test_a_run_ends_with_what_it_asks_and_the_next_one_makes_what_was_approved(rig: Rig, tmp_path: Path) -> None:
    run = await begun(rig, "two")
    assert run.result.open_calls == 2
    assert [(call.state, call.approval) for call in await rig.calls(run.id)] == [
        (CallState.HANDED_OVER, Approval.PENDING)
    ] * 2
    assert ran(tmp_path, "wire") == ran(tmp_path, "send") == 0
    after = await submitted(rig, run, {"wire": YES, "send": NO})
    assert (after.request.number, isinstance(after.phase, RunningTools), after.status) == (2, True, "in_progress")
    after = await rig.follow(after.id)
    assert (after.status, after.result.text, after.turn.number) == (RunStatus.COMPLETED, "Done.", 2)
    assert (ran(tmp_path, "wire"), ran(tmp_path, "send")) == (1, 0)
    sent = await body(rig, after)
    assert sent["previous_response_id"] == run.chain.last_response_id
    assert kinds(sent) == ["call_wire", "call_send"]
    assert "Not today." in sent["input"][1]["output"]
    assert [(each.approval, each.answered_by) for each in await rig.calls(after.id)] == [
        (Approval.APPROVED, "test"),
        (Approval.REFUSED, "test"),
    ]
    read = await calls_of(rig.app.ports, after)
    assert [(call.name, call.approval) for call in read] == [("wire", Approval.APPROVED), ("send", Approval.REFUSED)]
    assert [each.text for each in await turn_texts(rig.app.ports, after)] == ["Done."]
    session = await rig.session(run.id)
    assert (session.open_calls, session.answered_in) == (None, None)


@pytest.mark.parametrize("chain", ["auto", "replay"])
async def test_approvals_outputs_of_the_caller_and_ours_go_together(rigs: NewRig, chain: str, tmp_path: Path) -> None:
    rig = await scripted(await rigs([workshop.build_open], chain=chain))
    run = await begun(rig, "all")
    assert run.result.open_calls == 2
    with pytest.raises(errors.ToolOutputsMissing):
        await submitted(rig, run, {"wire": YES})
    with pytest.raises(errors.ToolOutputsMissing):
        await submitted(rig, run, {}, output(LOOKS))
    after = await answered(rig, run, {"wire": YES}, output(LOOKS), asked("[script:plain]"))
    assert after.result.text == "Plain."
    sent = kinds(await body(rig, after))
    so_far = ["[script:all]", "call_work", "call_wire", "call_look"] if chain == "replay" else []
    # Whatever was called before the messages: Chat Completions take no other order.
    assert sent == [*so_far, "call_work", "call_wire", "call_look", "[script:plain]"]
    assert ran(tmp_path, "work") == ran(tmp_path, "wire") == 1
    onward = await answered(rig, after, {}, asked("[script:plain]"))
    anew = await replayed(rig, onward)
    assert anew[:8] == [*["[script:all]", "call_work", "call_wire", "call_look"], *sent[-4:]]


async def replayed(rig: Rig, run: Run) -> list[str]:
    from dataclasses import replace

    anew = replace(run, chain=replace(run.chain, replay=True))
    agent = rig.app.ports.agents["open-workshop"]
    return kinds({"input": await conversation.messages(rig.app.ports, anew, agent)})


@pytest.mark.slow
@pytest.mark.parametrize("names", [["wire"], ["wire", "send"]], ids=["one of two", "both"])
async def test_a_call_that_is_declined_while_the_others_are_settled_has_its_output(rig: Rig, names: list[str]) -> None:
    """The provider takes the outputs of all calls of a turn, or none."""
    await rig.model.script("three", [{"calls": [WORKS, WIRES, SENDS]}, {"text": "Done."}])

    async def at_tools() -> Run:
        submitted = await rig.submit("[script:three]", agent="open-workshop", tools=TOOLS, hands_over=True)
        return await rig.follow(submitted.run.id, lambda run: isinstance(run.phase, RunningTools))

    run = await at_tools()
    with FailAt(rig, at=None, applied=False, error=Killed()) as operations:
        await rig.wake(run.id)
    declined = 0
    for at in range(1, operations.count + 1):
        run = await at_tools()

        async def decline(run: Run = run) -> None:
            await answer(rig.app.ports, run.id, {f"call_{name}": NO for name in names})

        with contextlib.suppress(errors.RunEnded, errors.AlreadyAnswered, errors.NoSuchToolCall):
            with RunBefore(rig, at, decline):
                await rig.wake(run.id)
            declined += 1
        run = await rig.follow(run.id)
        assert run.status is RunStatus.COMPLETED, (at, run.result)
        if left := list(await requests_of(rig, run)):
            run = await answered(rig, run, dict.fromkeys(left, NO))
        assert (run.status, run.result.text) == (RunStatus.COMPLETED, "Done."), (at, run.result)
        assert set(kinds(await body(rig, run))) == {"call_work", "call_wire", "call_send"}, at
    assert declined > 3


async def test_a_run_may_ask_again_and_again(rig: Rig, tmp_path: Path) -> None:
    again = {**WIRES, "call_id": "call_wire"}  # a provider may use an id again
    await rig.model.script("s", [{"calls": [WIRES]}, {"calls": [again]}, {"text": "Done."}])
    first = await begun(rig, "s")
    second = await answered(rig, first, {"wire": YES})
    assert (second.status, second.result.open_calls) == (RunStatus.COMPLETED, 1)
    assert await requests_of(rig, first) != await requests_of(rig, second)
    third = await answered(rig, second, {"wire": YES})
    assert third.result.text == "Done."
    assert ran(tmp_path, "wire") == 2


async def test_what_does_not_fit_is_refused(rig: Rig) -> None:
    run = await begun(rig, "two")
    for answers, items, error in (
        ({}, [], errors.ToolOutputsMissing),
        ({"wire": YES}, [], errors.ToolOutputsMissing),
        ({"wire": YES, "send": YES, "apr_other": YES}, [], errors.NoSuchToolCall),
        ({}, [asked("And?")], errors.ToolOutputsMissing),
        ({"wire": YES, "send": YES}, [output(WIRES)], errors.NoSuchToolCall),
    ):
        with pytest.raises(error):
            await submitted(rig, run, answers, *items)
    plain = await rig.run_to_end("[script:plain]", agent="open-workshop")
    with pytest.raises(errors.NoSuchToolCall):
        await submitted(rig, plain, {"apr_x": YES}, asked("x"))


async def test_an_approval_is_good_for_one_time(rig: Rig, tmp_path: Path) -> None:
    """Whoever repeats it, and whatever becomes of the run that took it."""
    run = await begun(rig, "two")
    both = {"wire": YES, "send": YES}
    first = await submitted(rig, run, both)
    with pytest.raises(errors.AlreadyAnswered):  # while that one is active
        await submitted(rig, run, both)
    await rig.follow(first.id)
    for answers in (both, {}):
        with pytest.raises(errors.AlreadyAnswered):
            await submitted(rig, run, answers, asked("[script:plain]"))
    assert (ran(tmp_path, "wire"), ran(tmp_path, "send")) == (1, 1)


async def test_a_run_that_failed_after_an_approval_has_used_it_and_what_it_gave_is_not_lost(
    rig: Rig, tmp_path: Path
) -> None:
    run = await begun(rig, "two")
    failed = await answered(rig, run, {"wire": YES, "send": NO}, asked("[script:bad]"))
    assert failed.status is RunStatus.FAILED
    with pytest.raises(errors.AlreadyAnswered):
        await submitted(rig, failed, {(await requests_of(rig, run))["wire"]: YES})
    with pytest.raises(errors.AlreadyAnswered):
        await submitted(rig, run, {"wire": YES, "send": YES})
    after = await answered(rig, failed, {}, asked("[script:plain]"))
    assert after.result.text == "Plain."
    sent = await body(rig, after)
    assert kinds(sent) == ["call_wire", "call_send", "[script:plain]"]
    assert "outcome_unknown" not in json.dumps(sent["input"])
    assert ran(tmp_path, "wire") == 1


@pytest.mark.parametrize("how", ["cancelled", "deleted"])
async def test_an_approved_call_of_unknown_outcome_is_named_as_such(rig: Rig, how: str, tmp_path: Path) -> None:
    run = await begun(rig, "two")
    first = await submitted(rig, run, {"wire": YES, "send": YES})
    await cancel(rig.app.ports, first.id)
    if how == "deleted":
        await delete_run(rig.app.ports, first.id)
    after = await answered(rig, run, {}, asked("[script:plain]"))
    sent = await body(rig, after)
    assert kinds(sent)[-3:] == ["call_wire", "call_send", "[script:plain]"]
    assert json.dumps(sent["input"]).count("outcome_unknown") == 2
    assert ran(tmp_path, "") == 0


async def test_a_run_of_the_native_api_waits_as_ever(rig: Rig) -> None:
    run_id = await rig.start("[script:two]", agent="open-workshop")
    assert (await rig.follow(run_id, lambda run: run.status is RunStatus.REQUIRES_ACTION)).result.open_calls == 0


@interruptions
@pytest.mark.slow
async def test_whatever_interrupts_it_an_approved_call_is_made_once(
    rig: Rig, error: BaseException, applied: bool, tmp_path: Path
) -> None:
    """At each operation of the store, of the submit that brings the answers and of the wakes that make the call."""
    for step in range(1, 100):
        label = f"{type(error).__name__}-{applied}-{step}"
        await rig.model.script(label, [{"calls": [{**WIRES, "arguments": {"label": label}}]}, {"text": "Done."}])
        run = await begun(rig, label)
        key = {"idempotency_key": label}
        host = Driver(rig)
        with FailAt(rig, at=step, applied=applied, error=error) as trap, contextlib.suppress(type(error)):
            await rig.follow((await submitted(rig, run, {"wire": YES}, **key)).id)
        if not isinstance(error, Killed):
            await host.pass_time(60)
        after = await rig.follow((await submitted(rig, run, {"wire": YES}, **key)).id)
        assert (after.status, after.result.text, after.request.number) == (RunStatus.COMPLETED, "Done.", 2)
        assert len(workshop.traces(tmp_path / "tools.jsonl", label=label, what="end")) <= 1
        assert (await rig.session(run.id)).answered_in is None
        if not trap.sprung:
            break
    assert step > 15


async def test_over_chat_completions_each_result_follows_the_message_that_calls(rigs: NewRig) -> None:
    """They take no other order."""
    rig = await rigs([workshop.build_open_chat])
    # The call answers when the model is done, and no time passes by itself.
    await rig.model.script("all", [{"think": 0, "calls": [WORKS, WIRES, LOOKS]}])
    await rig.model.script("plain", [{"think": 0, "text": "Plain."}])
    given: Any = {"agent": "open-phone", "tools": TOOLS, "hands_over": True}
    run = await rig.run_to_end("[script:all]", **given)
    assert run.result.open_calls == 2
    after = await answered(rig, run, {"wire": YES}, output(LOOKS), asked("[script:plain]"))
    assert after.result.text == "Plain."
    after = await answered(rig, after, {}, asked("[script:plain]"))
    sent = (await rig.model.log("chat"))[-1].body or {}
    roles = [(each["role"], each.get("tool_call_id")) for each in sent["messages"]]
    assert roles[1:] == [
        ("user", None),
        ("assistant", None),
        ("tool", "call_work"),
        ("tool", "call_wire"),
        ("tool", "call_look"),
        ("user", None),
        ("assistant", None),
        ("user", None),
    ]
