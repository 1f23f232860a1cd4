"""Functions of the caller's: a run ends with calls of them, and the next one brings what they gave."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from shared import errors
from shared.runs.commands.answer import answer
from shared.runs.commands.delete import delete_run
from shared.runs.commands.open_calls import check_outputs
from shared.runs.model.callers_tools import CallersTools
from shared.runs.model.calls import CallState
from shared.runs.model.facts import Approve
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import PartRef, Run
from shared.runs.queries.conversation import open_calls_of
from shared.runs.store.tables import Row, Table
from tests.parts import workshop
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.crashes import FailAt, interruptions

LOOK = {"type": "function", "name": "look_up", "parameters": {"type": "object", "properties": {}}}
ASK = {"type": "function", "name": "ask_pilot", "parameters": {"type": "object", "properties": {}}}
BROUGHT = CallersTools(definitions=(LOOK, ASK))
LOOKS = {"name": "look_up", "call_id": "call_look", "arguments": {"word": "x"}}
ASKS = {"name": "ask_pilot", "call_id": "call_ask", "arguments": {}}
WORKS = {"name": "work", "call_id": "call_work", "arguments": {"label": "w"}}
SENDS = {"name": "send", "call_id": "call_send", "arguments": {"label": "p"}}


@pytest.fixture
async def rig(rigs: NewRig) -> Rig:
    return await scripted(await rigs([workshop.build_open]))


async def scripted(rig: Rig) -> Rig:
    await rig.model.script("theirs", [{"calls": [LOOKS, ASKS], "text": "Let me see."}])
    await rig.model.script("both", [{"calls": [LOOKS, WORKS]}])
    await rig.model.script("first", [{"calls": [WORKS]}, {"calls": [LOOKS]}])
    await rig.model.script("plain", [{"text": "Plain."}])
    await rig.model.script("bad", [{"status": "failed", "error": {"code": "invalid_prompt"}}])
    return rig


def output(call: dict[str, Any], text: str = "seen") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call["call_id"], "output": text}


def asked(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": text}


async def begun(rig: Rig, script: str, **more: Any) -> Run:
    run = await rig.run_to_end(f"[script:{script}]", agent="open-workshop", tools=BROUGHT, **more)
    assert (run.status, run.result.open_calls > 0) == (RunStatus.COMPLETED, True)
    return run


async def onward(rig: Rig, before: Run, *items: dict[str, Any], **more: Any) -> Run:
    """The run after that one, to its end."""
    follows = {"session_id": before.request.session_id, "previous": before.request.number, **more}
    return await rig.follow((await rig.submit(items=items, tools=BROUGHT, **follows)).run.id)


async def body(rig: Rig, run: Run) -> dict[str, Any]:
    return [each.body or {} for each in await rig.model.log("create") if each.metadata.get("run") == run.id][-1]


def everything(rig: Rig) -> list[Row]:
    return [row for table in Table for row in rig.tables.rows(table)]


def kinds(request: dict[str, Any]) -> list[str]:
    found = [item.get("call_id") or item["content"] for item in request["input"]]
    return [each if isinstance(each, str) else each[0]["text"] for each in found]


# --- a run ends with calls ----------------------------------------------------------------------------


async def test_a_run_ends_with_the_calls_of_its_callers_functions(rig: Rig) -> None:
    run = await begun(rig, "theirs")
    assert await rig.text(run.id) == "Let me see."
    assert [(call.name, call.arguments) for call in await open_calls_of(rig.app.ports, run)] == [
        ("look_up", '{"word": "x"}'),
        ("ask_pilot", "{}"),
    ]
    assert [call.state for call in await rig.calls(run.id)] == [CallState.HANDED_OVER] * 2
    sent = await body(rig, run)
    assert [each["name"] for each in sent["tools"]][-2:] == ["look_up", "ask_pilot"]
    session = await rig.session(run.id)
    assert (session.open_calls, session.active_run) == (1, None)
    assert not run.outbox.entries


async def test_the_agents_own_tools_run_here_first(rig: Rig) -> None:
    run = await begun(rig, "both")
    assert run.turn.number == 1
    assert [call.state for call in await rig.calls(run.id)] == [CallState.HANDED_OVER, CallState.FINISHED]
    later = await begun(rig, "first")
    assert (later.turn.number, later.result.open_calls) == (2, 1)
    assert [(call.turn, call.state) for call in await rig.calls(later.id)] == [
        (1, CallState.FINISHED),
        (2, CallState.HANDED_OVER),
    ]


async def test_a_name_of_nobodys_is_an_error_that_the_model_reads(rig: Rig) -> None:
    await rig.model.script("s", [{"calls": [{"name": "nobodys", "arguments": {}}]}, {"text": "Well."}])
    run = await rig.run_to_end(agent="open-workshop", tools=BROUGHT)
    assert (run.result.text, run.result.open_calls) == ("Well.", 0)


async def test_a_tool_of_the_agents_is_its_own_also_where_a_caller_has_one_of_that_name(rig: Rig) -> None:
    """A deploy may have added it since the run began."""
    await rig.model.script("s", [{"calls": [WORKS]}, {"text": "Done."}])
    run = await rig.run_to_end(agent="open-workshop", tools=CallersTools(definitions=({**LOOK, "name": "work"},)))
    assert (run.result.text, run.result.open_calls) == ("Done.", 0)


async def test_a_person_is_asked_before_the_caller_gets_the_calls(rig: Rig) -> None:
    await rig.model.script("s", [{"calls": [LOOKS, SENDS]}])
    run_id = await rig.start(agent="open-workshop", tools=BROUGHT)
    parked = await rig.follow(run_id, lambda run: run.status is RunStatus.REQUIRES_ACTION)
    assert parked.result.open_calls == 0
    await answer(rig.app.ports, run_id, {"call_send": Approve(approve=True)})
    run = await rig.follow(run_id)
    assert (run.status, run.result.open_calls) == (RunStatus.COMPLETED, 1)
    after = await onward(rig, run, output(LOOKS), asked("[script:plain]"))
    assert kinds(await body(rig, after)) == ["call_send", "call_look", "[script:plain]"]


# --- the next run -------------------------------------------------------------------------------------


async def test_the_next_run_brings_the_outputs_and_ours_are_sent_with_them(rig: Rig) -> None:
    run = await begun(rig, "both")
    after = await onward(rig, run, output(LOOKS), asked("[script:plain]"))
    assert (after.status, after.result.text) == (RunStatus.COMPLETED, "Plain.")
    assert (after.request.session_id, after.request.number) == (run.request.session_id, 2)
    sent = await body(rig, after)
    assert sent["previous_response_id"] == run.chain.last_response_id
    assert kinds(sent) == ["call_work", "call_look", "[script:plain]"]
    assert (await rig.session(run.id)).open_calls is None


async def test_a_conversation_with_calls_is_replayed_whole(rigs: NewRig) -> None:
    rig = await scripted(await rigs([workshop.build_open], chain="replay"))
    run = await begun(rig, "both")
    after = await onward(rig, run, output(LOOKS), asked("[script:plain]"))
    sent = await body(rig, after)
    # The calls in the model's order, then what ours gave, then what the caller's gave.
    assert kinds(sent) == ["[script:both]", "call_look", "call_work", "call_work", "call_look", "[script:plain]"]
    assert "previous_response_id" not in sent


async def test_a_long_output_of_ours_lies_in_parts_of_the_run_that_sends_it(rig: Rig) -> None:
    much = {"name": "write_much", "call_id": "call_much", "arguments": {"label": "m", "times": 20_000}}
    await rig.model.script("s", [{"calls": [LOOKS, much]}])
    run = await begun(rig, "s")
    after = await onward(rig, run, output(LOOKS), asked("[script:plain]"))
    assert isinstance(after.request.outputs, PartRef)
    assert kinds(await body(rig, after)) == ["call_much", "call_look", "[script:plain]"]
    await delete_run(rig.app.ports, after.id)
    assert not (await rig.run(after.id)).request.outputs


async def test_the_choice_of_a_tool_is_that_of_the_first_turn_alone(rig: Rig) -> None:
    await rig.model.script("s", [{"calls": [WORKS]}, {"text": "Done."}])
    tools = CallersTools(definitions=(LOOK,), choice="required", parallel=False)
    run = await rig.run_to_end(agent="open-workshop", tools=tools)
    sent = [each.body or {} for each in await rig.model.log("create") if each.metadata.get("run") == run.id]
    assert [each.get("tool_choice") for each in sent] == ["required", None]
    assert [each["parallel_tool_calls"] for each in sent] == [False, False]
    assert all(each["tools"][-1] == LOOK for each in sent)


# --- what does not fit --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ([asked("And?")], errors.ToolOutputsMissing),
        ([output(LOOKS)], errors.ToolOutputsMissing),
        ([output(LOOKS), output(ASKS), output(ASKS)], errors.NoSuchToolCall),
        ([output(LOOKS), output(ASKS), output(WORKS)], errors.NoSuchToolCall),
    ],
)
async def test_each_call_has_one_output_and_each_output_its_call(
    rig: Rig, given: list[dict[str, Any]], error: type[Exception]
) -> None:
    run = await begun(rig, "theirs")
    before = everything(rig)
    with pytest.raises(error):
        await onward(rig, run, *given)
    assert everything(rig) == before, "nothing is left of it"
    assert (await onward(rig, run, output(ASKS), output(LOOKS), asked("[script:plain]"))).status == "completed"


def test_calls_and_outputs_of_a_conversation_that_the_caller_keeps() -> None:
    call = {"type": "function_call", "call_id": "call_look", "name": "look_up", "arguments": "{}"}
    check_outputs([asked("a"), call, output(LOOKS), asked("b"), call, output(LOOKS)], [])
    for items, error in (
        ([call], errors.ToolOutputsMissing),
        ([output(LOOKS), call], errors.NoSuchToolCall),
        ([call, output(LOOKS), output(LOOKS)], errors.NoSuchToolCall),
    ):
        with pytest.raises(error):
            check_outputs(items, [])


async def test_a_session_that_waits_for_outputs_takes_no_message_either(rig: Rig) -> None:
    """As a caller of the native API sends one, who cannot know."""
    run = await begun(rig, "theirs")
    with pytest.raises(errors.ToolOutputsMissing):
        await rig.start(session_id=run.request.session_id)


# --- failures, deletions, branches --------------------------------------------------------------------


async def test_a_run_that_failed_over_the_outputs_leaves_the_calls_open(rig: Rig) -> None:
    run = await begun(rig, "theirs")
    failed = await onward(rig, run, output(LOOKS), output(ASKS), asked("[script:bad]"))
    assert failed.status is RunStatus.FAILED
    with pytest.raises(errors.ToolOutputsMissing):
        await onward(rig, failed, asked("[script:plain]"))
    again = await onward(rig, failed, output(LOOKS), output(ASKS), asked("[script:plain]"))
    assert again.result.text == "Plain."
    assert (await body(rig, again))["previous_response_id"] == run.chain.last_response_id


async def test_two_runs_may_go_on_from_the_same_calls_each_in_its_own_branch(rig: Rig) -> None:
    run = await begun(rig, "both")
    one = await onward(rig, run, output(LOOKS, "one"), asked("[script:plain]"))
    two = await onward(rig, run, output(LOOKS, "two"), asked("[script:plain]"))
    assert one.request.session_id == run.request.session_id != two.request.session_id
    sent = await body(rig, two)
    assert sent["previous_response_id"] == run.chain.last_response_id
    assert kinds(sent) == ["call_work", "call_look", "[script:plain]"]
    with pytest.raises(errors.ToolOutputsMissing):
        await onward(rig, run, asked("[script:plain]"))


async def test_a_branch_is_whole_without_the_provider_and_without_its_origin(rigs: NewRig) -> None:
    rig = await scripted(await rigs([workshop.build_open], chain="replay"))
    run = await begun(rig, "both")
    await onward(rig, run, output(LOOKS, "one"), asked("[script:plain]"))
    two = await onward(rig, run, output(LOOKS, "two"), asked("[script:plain]"))
    await delete_run(rig.app.ports, run.id)
    three = await onward(rig, two, asked("[script:plain]"))
    assert kinds(await body(rig, three)) == [
        *["[script:both]", "call_look", "call_work", "call_work", "call_look", "[script:plain]"],
        *["Plain.", "[script:plain]"],
    ]


async def test_a_branch_from_a_run_that_failed_answers_the_calls_before_it(rig: Rig) -> None:
    run = await begun(rig, "theirs")
    failed = await onward(rig, run, output(LOOKS), output(ASKS), asked("[script:bad]"))
    await onward(rig, failed, output(LOOKS), output(ASKS), asked("[script:plain]"))
    branch = await onward(rig, failed, output(LOOKS), output(ASKS), asked("[script:plain]"))
    assert branch.request.branch_of == run.request.session_id
    assert branch.result.text == "Plain."


@pytest.mark.parametrize("gone", ["the calls", "the outputs"])
async def test_half_of_a_pair_that_is_deleted_takes_the_other_half_along(rig: Rig, gone: str) -> None:
    run = await begun(rig, "both")
    after = await onward(rig, run, output(LOOKS), asked("[script:plain]"))
    await delete_run(rig.app.ports, run.id if gone == "the calls" else after.id)
    last = after if gone == "the calls" else run
    third = await onward(rig, last, asked("[script:plain]"))
    assert third.status is RunStatus.COMPLETED
    left = kinds(await body(rig, third))
    assert "call_look" not in left
    assert ("call_work" in left) is (gone == "the outputs")


async def test_without_the_run_that_called_nothing_waits(rig: Rig) -> None:
    first = await rig.run_to_end("[script:plain]", agent="open-workshop")
    run = await onward(rig, first, asked("[script:theirs]"))
    assert run.result.open_calls == 2
    await delete_run(rig.app.ports, run.id)
    assert (await rig.session(first.id)).open_calls is None
    assert (await onward(rig, first, asked("[script:plain]"))).result.text == "Plain."


@interruptions
@pytest.mark.slow
async def test_whatever_interrupts_them_the_calls_are_handed_over_once_and_answered_once(
    rig: Rig, error: BaseException, applied: bool
) -> None:
    """At each operation of the store: of the wakes that end with calls, and of the submit that brings the outputs."""
    for step in range(1, 100):
        label = f"{type(error).__name__}-{applied}-{step}"
        works = {**WORKS, "arguments": {"label": label}}
        await rig.model.script(label, [{"calls": [LOOKS, works]}])
        run_id = await rig.start(f"[script:{label}]", agent="open-workshop", tools=BROUGHT)
        with FailAt(rig, at=step, applied=applied, error=error) as first, contextlib.suppress(type(error)):
            await rig.follow(run_id)
        run = await rig.follow(run_id)
        assert (run.status, run.result.open_calls) == (RunStatus.COMPLETED, 1)
        items = (output(LOOKS), asked("[script:plain]"))
        follows = {"session_id": run.request.session_id, "previous": 1, "idempotency_key": label}
        with FailAt(rig, at=step, applied=applied, error=error) as second, contextlib.suppress(type(error)):
            await rig.submit(items=items, tools=BROUGHT, **follows)
        after = await rig.follow((await rig.submit(items=items, tools=BROUGHT, **follows)).run.id)
        assert (after.request.number, after.result.text) == (2, "Plain.")
        assert kinds(await body(rig, after)) == ["call_work", "call_look", "[script:plain]"]
        assert (await rig.session(run.id)).open_calls is None
        if not (first.sprung or second.sprung):
            break
    assert step > 10
