"""What single facts of a run come to, to the second and to the count: tools, looks, creates, endings, the outbox."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from shared.agentkit import faults
from shared.agentkit.agent import (
    AgentResponse,
    ApprovalRequest,
    ContinuationToken,
    FunctionCall,
    ResponseStatus,
    Usage,
)
from shared.agentkit.tools import Tool
from shared.errors import AmbiguousCallId, NotWaiting, SessionBusy
from shared.runs.model import facts
from shared.runs.model.calls import Approval, CallKind, CallState, ToolCall
from shared.runs.model.facts import Answer, Attempt, EntryName
from shared.runs.model.outbox import CallbackState, Entry, EntryKind, Outbox
from shared.runs.model.phases import (
    Claim,
    Creating,
    Ended,
    Lease,
    Pending,
    Phase,
    RunningTools,
    RunStatus,
    WaitingForAnswers,
)
from shared.runs.model.run import Limits, Run, Turn
from shared.runs.model.session import Session
from shared.runs.rules.agenda import early_look, gap_to_next_try
from shared.runs.rules.approvals import approval_id, find_call
from shared.runs.rules.change import Before, Change, Refused
from shared.runs.rules.decide import decide
from shared.runs.rules.ending import AGENT_GAP, AGENT_PATIENCE
from shared.runs.rules.responses import MAX_CALLS_A_TURN, limit_broken_by
from shared.runs.rules.schedule import CALLBACK_WAITS, callback_wait, crowded_wait, gap_after, poll_gap
from shared.settings import Settings
from tests.unit.runs.records import NOW, SESSION, a_run, a_session, an_entry, at
from tests.unit.runs.test_transitions import DEFAULTS, a_call, after, asked, change, done, name_of, pending, refused


def _nothing() -> None: ...


def a_tool(name: str = "pay", **changes: Any) -> Tool:
    return Tool(**{"name": name, "description": "", "function": _nothing, **changes})


PAY = {"pay": a_tool()}
LEASE = Lease(owner="o", until=at(160))
AT_WORK = RunningTools(lease=LEASE)
ATTEMPT = Attempt(turn=1, number=1, nonce="n")
CLAIMED = Creating(nonce="n", claim=Claim(until=at(60), unknown_at=at(90)))


# --- tools --------------------------------------------------------------------------------------------


def taken(phase: RunningTools, *calls: ToolCall, tools: dict[str, Tool] = PAY, now: float = 200) -> Change:
    run = a_run(phase=phase, wakes=4)
    return change(run, facts.LeaseTaken(turn=1, owner="p", tools=tools), at(now), *calls)


@pytest.mark.parametrize("phase", [RunningTools(), AT_WORK, replace(AT_WORK, lease=replace(LEASE, until=at(200)))])
def test_the_lease_and_a_counted_start_are_written_together(phase: RunningTools) -> None:
    finished = a_call(index=1, state=CallState.FINISHED)
    decided = taken(phase, a_call(), finished, a_call(index=2, starts=1, state=CallState.STARTED))
    assert decided.run.phase == RunningTools(lease=Lease(owner="p", until=at(260)))
    assert decided.run.counters.wakes == 5
    assert [(call.index, call.owner, call.state, call.starts, call.started_at) for call in decided.calls] == [
        (0, "p", CallState.STARTED, 1, at(200)),
        (2, "p", CallState.STARTED, 2, at(200)),
    ]


@pytest.mark.parametrize(
    ("call", "beside_others", "interruptions"),
    [
        ({"state": CallState.STARTED, "starts": 1}, True, 1),
        ({"state": CallState.STARTED, "starts": 2, "interruptions": 1}, True, 2),
        ({"state": CallState.STARTED, "starts": 1}, False, 0),
        ({"state": CallState.OPEN}, True, 0),
    ],
)
def test_only_a_call_that_was_interrupted_beside_others_is_not_held_to_be_at_fault(
    call: dict[str, Any], beside_others: bool, interruptions: int
) -> None:
    phase = RunningTools(lease=replace(LEASE, beside_others=beside_others))
    (after_it,) = taken(phase, a_call(**call)).calls
    assert after_it.interruptions == interruptions


@pytest.mark.parametrize(
    ("starts", "interruptions", "finished"),
    [(1, 0, False), (2, 0, True), (3, 0, True), (3, 2, False), (3, 1, True), (8, 7, False), (9, 8, True), (9, 9, True)],
)
def test_how_often_an_interrupted_call_is_started(starts: int, interruptions: int, finished: bool) -> None:
    assert (DEFAULTS.tool_starts, DEFAULTS.tool_starts_most) == (3, 10)
    call = a_call(state=CallState.STARTED, starts=starts, interruptions=interruptions)
    (after_it,) = taken(RunningTools(), call).calls
    if finished:
        assert (after_it.state, after_it.finished_at) == (CallState.FINISHED, at(200))
        assert json.loads(str(after_it.result))["error"]["code"] == "outcome_unknown"
    else:
        assert (after_it.state, after_it.starts) == (CallState.STARTED, starts + 1)


@pytest.mark.parametrize(
    ("call", "tool", "state", "result"),
    [
        ({}, {}, CallState.STARTED, None),
        ({"name": "gone"}, {}, CallState.FINISHED, "unknown_tool"),
        ({}, {"at_most_once": True}, CallState.STARTED, None),
        ({"state": CallState.STARTED, "starts": 1}, {"at_most_once": True}, CallState.FINISHED, "outcome_unknown"),
        ({}, {"requires_approval": True}, CallState.WAITING, None),
        ({}, {"requires_approval": "It pays."}, CallState.WAITING, None),
        ({"approval": Approval.APPROVED}, {"requires_approval": True}, CallState.STARTED, None),
    ],
)
def test_what_a_call_comes_to_is_what_this_build_says_of_its_tool(
    call: dict[str, Any], tool: dict[str, Any], state: CallState, result: str | None
) -> None:
    (after_it,) = taken(RunningTools(), a_call(**call), tools={"pay": a_tool(**tool)}).calls
    assert (after_it.state, after_it.owner) == (state, "p")
    if state is CallState.WAITING:
        why = tool["requires_approval"]
        assert (after_it.approval, after_it.why) == (Approval.PENDING, why if isinstance(why, str) else "")
    assert (json.loads(str(after_it.result))["error"]["code"] if after_it.result else None) == result


@pytest.mark.parametrize(
    ("fact", "before", "kept"), [(None, True, True), (None, False, False), (True, False, True), (False, True, False)]
)
def test_a_renewal_says_whether_the_tools_run_beside_others(fact: bool | None, before: bool, kept: bool) -> None:
    run = a_run(phase=RunningTools(lease=replace(LEASE, beside_others=before)))
    renewed = after(run, facts.LeaseRenewed(owner="o", beside_others=fact), at(100))
    assert renewed.phase == RunningTools(lease=Lease(owner="o", until=at(160), beside_others=kept))


def test_a_claim_that_is_a_lease_is_renewed_with_its_grace() -> None:
    claim = Claim(until=at(60), unknown_at=at(60), owner="o")
    renewed = after(a_run(phase=replace(CLAIMED, claim=claim)), facts.LeaseRenewed(owner="o"), at(50))
    assert renewed.phase == replace(CLAIMED, claim=Claim(until=at(110), unknown_at=at(110), owner="o"))


@pytest.mark.parametrize(
    ("phase", "owner", "now", "states", "outputs", "code"),
    [
        (AT_WORK, "p", 159, [CallState.FINISHED], "[]", ""),
        (AT_WORK, "o", 100, [CallState.FINISHED], None, "settled_since"),
        (AT_WORK, "o", 100, [CallState.FINISHED, CallState.FINISHED], "[]", "settled_since"),
        (AT_WORK, "o", 100, [CallState.HANDED_OVER], "[]", "settled_since"),
        (RunningTools(), "", 100, [CallState.OPEN], "[]", "runnable"),
    ],
)
def test_when_nothing_is_settled(
    phase: Phase, owner: str, now: float, states: list[CallState], outputs: str | None, code: str
) -> None:
    fact = facts.ToolsSettled(turn=1, owner=owner, outputs=outputs, outputs_of=1)
    calls = [a_call(index=index, state=state) for index, state in enumerate(states)]
    assert refused(a_run(phase=phase), fact, at(now), *calls).code == code


@pytest.mark.parametrize(
    ("phase", "owner", "now", "states", "outputs", "then"),
    [
        (AT_WORK, "p", 160, [CallState.FINISHED], "[]", Creating()),  # the lease is over, so anybody may
        (AT_WORK, "o", 100, [CallState.FINISHED, CallState.FINISHED], "[]", Creating()),
        (RunningTools(), "", 100, [CallState.FINISHED], "[]", Creating()),
        (AT_WORK, "o", 100, [CallState.FINISHED, CallState.OPEN, CallState.WAITING], None, RunningTools()),
        (AT_WORK, "o", 100, [CallState.STARTED], None, RunningTools()),
    ],
)
def test_what_follows_when_the_tools_have_run(
    phase: Phase, owner: str, now: float, states: list[CallState], outputs: str | None, then: Phase
) -> None:
    finished = states.count(CallState.FINISHED)
    fact = facts.ToolsSettled(turn=1, owner=owner, outputs=outputs, outputs_of=finished)
    calls = [a_call(index=index, state=state) for index, state in enumerate(states)]
    decided = change(a_run(phase=phase), fact, at(now), *calls)
    assert (decided.run.phase, decided.run.updated_at) == (then, at(now))
    assert decided.items == (() if outputs is None else (outputs,))
    assert decided.run.turn.number == (1 if outputs is None else 2)


def test_parking_counts_as_a_wake() -> None:
    run = a_run(phase=AT_WORK, wakes=4)
    parked = after(run, facts.ToolsSettled(turn=1, owner="o", outputs=None), at(100), asked())
    assert (parked.status, parked.counters.wakes) == (RunStatus.REQUIRES_ACTION, 5)


# --- answers ------------------------------------------------------------------------------------------

PARKED = WaitingForAnswers(answer_by=at(9_000), seconds_left=5.0)


def answer(by: str = "", **given: bool) -> facts.Answered:
    return facts.Answered(answers={name: facts.Approve(approve=yes) for name, yes in given.items()}, by=by)


@pytest.mark.parametrize(
    ("call", "yes", "reason", "state", "result"),
    [
        ({}, True, "", CallState.OPEN, ""),
        ({}, False, "Too dear.", CallState.FINISHED, "Too dear."),
        ({}, False, "", CallState.FINISHED, "A person refused this call."),
        ({"kind": CallKind.MCP}, True, "", CallState.FINISHED, ""),
        ({"kind": CallKind.MCP}, False, "Too dear.", CallState.FINISHED, ""),
    ],
)
def test_what_an_answer_makes_of_its_call(
    call: dict[str, Any], yes: bool, reason: str, state: CallState, result: str
) -> None:
    fact = facts.Answered(answers={"c": facts.Approve(approve=yes, reason=reason)}, by="ann")
    (after_it,) = change(a_run(phase=PARKED), fact, at(50), asked(**call)).calls
    approval = Approval.APPROVED if yes else Approval.REFUSED
    assert (after_it.state, after_it.approval, after_it.reason) == (state, approval, reason)
    assert (after_it.answered_by, after_it.answered_at) == ("ann", at(50))
    assert (after_it.finished_at == at(50)) is (state is CallState.FINISHED)
    assert (json.loads(str(after_it.result))["error"]["message"] if after_it.result else "") == result


@pytest.mark.parametrize(
    ("approval", "yes", "code"),
    [
        (Approval.APPROVED, True, ""),
        (Approval.REFUSED, False, ""),
        (Approval.APPROVED, False, "already_answered"),
        (Approval.REFUSED, True, "already_answered"),
    ],
)
def test_the_same_answer_again_is_fine_and_another_one_is_not(approval: Approval, yes: bool, code: str) -> None:
    call = a_call(approval=approval, state=CallState.FINISHED)
    assert refused(a_run(phase=PARKED), answer(c=yes), at(50), call, asked(index=1, call_id="d")).code == code


def test_nobody_answers_what_an_ended_run_has_asked() -> None:
    ended = Ended(status=RunStatus.FAILED, completed_at=NOW)
    decision = refused(a_run(phase=ended), answer(c=True), at(50), asked())
    assert decision.code == "run_ended"
    assert refused(a_run(phase=ended), answer(c=True), at(50), a_call(approval=Approval.APPROVED)) == Refused()


def test_one_call_may_be_named_twice_and_is_answered_once() -> None:
    call = asked()
    fact = facts.Answered(answers={approval_id(call): facts.Approve(approve=True), "c": facts.Approve(approve=True)})
    decided = change(a_run(phase=PARKED), fact, at(50), call)
    assert [each.approval for each in decided.calls] == [Approval.APPROVED]
    both = facts.Answered(answers={approval_id(call): facts.Approve(approve=True), "c": facts.Approve(approve=False)})
    assert refused(a_run(phase=PARKED), both, at(50), call).code == "already_answered"


@pytest.mark.parametrize("phase", [AT_WORK, RunningTools()])
def test_an_answer_while_the_others_run_leaves_the_phase_and_the_deadline_alone(phase: Phase) -> None:
    decided = change(a_run(phase=phase), answer(c=True), at(50), asked())
    assert (decided.run.phase, decided.run.schedule.deadline_at) == (phase, at(3_600))


def test_which_call_an_answer_means() -> None:
    first, again = asked(), asked(turn=2)
    other, free = asked(index=1, call_id="d"), a_call(index=2, call_id="e")
    calls = {approval_id(each): each for each in (first, again, other, free)}
    assert len(calls) == 4
    assert find_call(calls, approval_id(again)) == again
    assert find_call(calls, "d") == other
    with pytest.raises(AmbiguousCallId, match="2 calls"):
        find_call(calls, "c")
    for name in ("e", "x", approval_id(free)):
        with pytest.raises(NotWaiting):
            find_call(calls, name)


@pytest.mark.parametrize(
    "changes", [{"arguments": "[]"}, {"turn": 2}, {"index": 1}, {"call_id": "d"}, {"name": "x"}, {"number": 2}]
)
def test_the_id_of_an_approval_belongs_to_what_was_seen(changes: dict[str, Any]) -> None:
    assert approval_id(asked(**changes)) != approval_id(asked())


# --- responses ----------------------------------------------------------------------------------------


def a_response(status: ResponseStatus = ResponseStatus.COMPLETED, **fields: Any) -> AgentResponse:
    return AgentResponse(**{"status": status, "provider_status": status.value, "response_id": "resp_1", **fields})


def looked(response: AgentResponse, **fields: Any) -> facts.Looked:
    return facts.Looked(response_id="resp_1", answer=Answer(response=response, tools=PAY, **fields), jitter=0.0)


def still_pending(response_id: str = "resp_1") -> AgentResponse:
    token = ContinuationToken(response_id=response_id)
    return a_response(ResponseStatus.PENDING, continuation_token=token, provider_status="in_progress")


@pytest.mark.parametrize(
    ("accepted", "now", "gap", "settings"),
    [
        (None, 100, 14.932, {}),
        (0, 100, 14.932, {}),
        (99, 100, 1.66, {}),
        (36, 100, 12.069, {}),
        (0, 3_000, 75.63, {}),
        (0, 9_000, 120.0, {}),
        (99, 100, 30.0, {"openai_webhook_secret": "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3"}),
        (0, 100, 50.0, {"openai_webhook_secret": "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3"}),
        (0, 90_000, 300.0, {"openai_webhook_secret": "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3"}),
    ],
)
def test_when_a_pending_response_is_asked_for_next(
    accepted: float | None, now: float, gap: float, settings: dict[str, Any]
) -> None:
    run = a_run(phase=pending(), wakes=4, deadline_at=None, accepted_at=None if accepted is None else at(accepted))
    looks = after(run, looked(still_pending()), at(now), settings=Settings.model_validate(settings))
    assert isinstance(looks.phase, Pending)
    assert (looks.phase.next_look - at(now)).total_seconds() == pytest.approx(gap, abs=0.001)
    assert (looks.phase.nonce, looks.counters.wakes) == ("n", 5)


@pytest.mark.parametrize(("status", "updated"), [("in_progress", NOW), ("queued", at(10))])
def test_a_look_that_brings_nothing_new_is_no_update(status: str, updated: object) -> None:
    run = a_run(phase=pending(), provider_status=status, response_ids=("resp_1",))
    looks = after(run, looked(still_pending()), at(10))
    assert (looks.updated_at, looks.chain.provider_status) == (updated, "in_progress")
    assert looks.chain.response_ids == ("resp_1",)


def test_the_response_of_the_attempt_that_is_waited_for_is_taken() -> None:
    fact = facts.ResponseCreated(attempt=ATTEMPT, answer=Answer(response=still_pending(), tools={}), jitter=0.0)
    created = after(a_run(phase=CLAIMED, attempt=1), fact, at(10))
    assert isinstance(created.phase, Pending)
    assert (created.turn.accepted_at, created.chain.response_ids) == (at(10), ("resp_1",))
    assert created.outbox.entries == ()


@pytest.mark.parametrize(
    ("known", "cancellable", "response_id"),
    [(("resp_1",), True, "resp_1"), ((), False, "resp_1"), ((), True, None)],
)
@pytest.mark.parametrize("attempt", [replace(ATTEMPT, nonce="m"), ATTEMPT])
def test_a_response_that_is_known_or_cannot_be_cancelled_leaves_nothing_to_do(
    known: tuple[str, ...], cancellable: bool, response_id: str | None, attempt: Attempt
) -> None:
    response = replace(still_pending(), response_id=response_id)
    fact = facts.ResponseCreated(
        attempt=attempt, answer=Answer(response=response, tools={}), jitter=0.0, cancellable=cancellable
    )
    phase = pending("resp_0") if attempt == ATTEMPT else CLAIMED
    assert refused(a_run(phase=phase, attempt=1, response_ids=known), fact, at(10)) == Refused()


def test_a_response_that_a_deleted_run_never_heard_of_is_cancelled_and_deleted() -> None:
    fact = facts.ResponseCreated(attempt=ATTEMPT, answer=Answer(response=still_pending(), tools={}), jitter=0.0)
    for deleted_at, kinds in ((NOW, [EntryKind.CANCEL, EntryKind.DELETE]), (None, [EntryKind.CANCEL])):
        ended = Ended(status=RunStatus.CANCELLED, completed_at=NOW, deleted_at=deleted_at)
        late = after(a_run(phase=ended, response_ids=("resp_0",)), fact, at(10))
        assert [entry.kind for entry in late.outbox] == kinds
        assert [entry.due for entry in late.outbox] == [at(10)] * len(kinds)
        assert late.chain.response_ids == ("resp_0", "resp_1")


@pytest.mark.parametrize(
    ("status", "code", "restarts", "again"),
    [
        (ResponseStatus.FAILED, "server_error", 0, True),
        (ResponseStatus.FAILED, "rate_limit_exceeded", 2, True),
        (ResponseStatus.FAILED, "server_error", 3, False),
        (ResponseStatus.FAILED, "invalid_prompt", 0, False),
        (ResponseStatus.FAILED, None, 0, False),
        (ResponseStatus.INCOMPLETE, "server_error", 0, False),
    ],
)
def test_which_failed_responses_are_created_again(
    status: ResponseStatus, code: str | None, restarts: int, again: bool
) -> None:
    run = a_run(phase=pending(), restarts=restarts, usage=Usage(total_tokens=5))
    response = a_response(status, error_code=code, usage=Usage(total_tokens=7))
    then = after(run, looked(response), at(10))
    assert then.counters.usage.total_tokens == 12
    if again:
        assert then.phase == Creating(not_before=at(10 + 2 ** (restarts + 1)))
        assert (then.turn.restarts, then.chain.provider_status) == (restarts + 1, f"failed: {code}")
    else:
        assert then.status == status.value
        failed = status is ResponseStatus.FAILED
        assert then.result.error_code == ((code or "provider_failed") if failed else None)


def test_a_response_that_is_created_again_breaks_no_limit_first() -> None:
    run = a_run(phase=pending(), limits=Limits(turns=20, tool_calls=9, total_tokens=7))
    response = a_response(ResponseStatus.FAILED, error_code="server_error", usage=Usage(total_tokens=7))
    assert after(run, looked(response), at(10)).result.error_code == "token_limit"


@pytest.mark.parametrize(
    ("status", "fields", "code", "reason"),
    [
        (ResponseStatus.COMPLETED, {"text": "t"}, None, None),
        (ResponseStatus.INCOMPLETE, {"text": "t", "incomplete_reason": "max_output_tokens"}, None, "max_output_tokens"),
        (ResponseStatus.INCOMPLETE, {"text": "t"}, None, None),
        (ResponseStatus.COMPLETED, {"incomplete_reason": "max_output_tokens"}, None, None),
        (ResponseStatus.CANCELLED, {}, "cancelled_at_provider", None),
        (ResponseStatus.FAILED, {"error_code": "x"}, "x", None),
        (ResponseStatus.FAILED, {}, "provider_failed", None),
    ],
)
def test_how_a_run_ends_with_its_response(
    status: ResponseStatus, fields: dict[str, Any], code: str | None, reason: str | None
) -> None:
    items = ({"type": "message"},) if "text" in fields else ()
    run = a_run(phase=pending(), last_response_id="resp_0")
    decided = change(run, looked(a_response(status, items=items, **fields), output="{}"), at(10))
    result = decided.run.result
    assert (decided.run.status, result.error_code, result.incomplete_reason) == (status.value, code, reason)
    assert (result.text, result.output) == (fields.get("text", ""), "{}" if status is ResponseStatus.COMPLETED else "")
    assert decided.items == ((json.dumps(items),) if items else ())
    assert decided.run.chain.last_response_id == "resp_1"
    assert (result.error_message is not None) is (code is not None)


def test_a_final_response_without_an_id_leaves_the_chain_where_it_was() -> None:
    run = a_run(phase=pending(), last_response_id="resp_0")
    ended = after(run, looked(a_response(response_id=None, text="t")), at(10))
    assert (ended.chain.last_response_id, ended.chain.response_ids) == ("resp_0", ())


@pytest.mark.parametrize(
    ("number", "tokens", "corrections", "again"),
    [(1, None, 0, True), (2, None, 0, False), (1, None, 1, False), (1, 12, 0, False), (1, 13, 0, True)],
)
def test_text_that_does_not_fit_is_corrected_once_where_there_is_a_turn_for_it(
    number: int, tokens: int | None, corrections: int, again: bool
) -> None:
    run = a_run(
        phase=pending(),
        turn=Turn(number=number),
        limits=Limits(turns=2, tool_calls=9, total_tokens=tokens),
        usage=Usage(total_tokens=5),
        corrections=corrections,
    )
    response = a_response(text="no", items=({"type": "message"},), usage=Usage(total_tokens=7))
    decided = change(run, looked(response, output_error="It is no JSON.", output_form="Report"), at(10))
    if again:
        assert (decided.run.phase, decided.run.turn.number) == (Creating(), number + 1)
        assert (decided.run.counters.corrections, decided.run.chain.last_response_id) == (corrections + 1, "resp_1")
        (message,) = json.loads(decided.items[1])
        assert message["role"] == "user"
        assert "It is no JSON." in message["content"]
    else:
        assert (decided.run.status, decided.run.result.error_code) == (RunStatus.FAILED, "invalid_output")
        said = "Report, twice: It is no JSON." if corrections else "Report: It is no JSON."
        assert said in (decided.run.result.error_message or "")


@pytest.mark.parametrize(
    ("used", "calls", "limits", "code"),
    [
        (0, MAX_CALLS_A_TURN, {"tool_calls": 99}, None),
        (0, MAX_CALLS_A_TURN + 1, {"tool_calls": 99}, "tool_call_limit"),
        (3, 4, {"tool_calls": 7}, None),
        (3, 5, {"tool_calls": 7}, "tool_call_limit"),
        (0, 0, {"tool_calls": 7, "total_tokens": 6}, None),
        (0, 0, {"tool_calls": 7, "total_tokens": 5}, "token_limit"),
    ],
)
def test_which_limit_more_calls_would_break(used: int, calls: int, limits: dict[str, Any], code: str | None) -> None:
    run = a_run(tool_calls=used, usage=Usage(total_tokens=5), limits=Limits(turns=2, **limits))
    broken = limit_broken_by(run, calls)
    assert (None if broken is None else broken[0]) == code
    if code == "tool_call_limit" and calls < MAX_CALLS_A_TURN:
        assert broken is not None
        assert "would need 8" in broken[1]


def test_the_calls_of_a_response_get_their_rows_in_its_order() -> None:
    names = ("pay", "look", "gone")
    response = a_response(
        calls=tuple(FunctionCall(call_id=f"c{i}", name=name, arguments=f"[{i}]") for i, name in enumerate(names)),
        approvals=tuple(
            ApprovalRequest(request_id=i, server=s, name="m", arguments="{}")
            for i, s in (("a", "s"), ("b", ""), ("a", "s"))
        ),
    )
    tools = {"pay": a_tool(requires_approval="It pays."), "look": a_tool("look")}
    fact = facts.Looked(response_id="resp_1", answer=Answer(response=response, tools=tools), jitter=0.0)
    decided = change(a_run(phase=pending(), turn=Turn(number=3), tool_calls=2), fact, at(10))
    assert [(call.index, call.call_id, call.turn, call.state, call.approval) for call in decided.calls] == [
        (0, "c0", 3, CallState.WAITING, Approval.PENDING),
        (1, "c1", 3, CallState.OPEN, Approval.NONE),
        (2, "c2", 3, CallState.OPEN, Approval.NONE),
        (3, "a", 3, CallState.WAITING, Approval.PENDING),
        (4, "b", 3, CallState.WAITING, Approval.PENDING),
        (5, "a", 3, CallState.FINISHED, Approval.NONE),  # the provider knows an answer only by the request's id
    ]
    assert [call.why for call in decided.calls][:1] == ["It pays."]
    assert [call.why for call in decided.calls[3:5]] == ["A tool of the MCP server s.", ""]
    assert decided.calls[5].finished_at == at(10)
    assert [call.kind for call in decided.calls] == [CallKind.FUNCTION] * 3 + [CallKind.MCP] * 3
    assert (decided.run.turn.calls, decided.run.counters.tool_calls, decided.run.updated_at) == (6, 8, at(10))


@pytest.mark.parametrize(("number", "turns", "phase"), [(1, 2, Creating), (2, 2, Ended)])
def test_a_run_has_as_many_turns_as_it_may(number: int, turns: int, phase: type[Phase]) -> None:
    run = a_run(phase=AT_WORK, turn=Turn(number=number), limits=Limits(turns=turns, tool_calls=9))
    call = a_call(turn=number, state=CallState.FINISHED)
    settled = facts.ToolsSettled(turn=number, owner="o", outputs="[]", outputs_of=1)
    assert type(after(run, settled, at(10), call).phase) is phase


# --- no news ------------------------------------------------------------------------------------------


def no_news(missing: bool = True, is_another: bool = False, **fault: Any) -> facts.NoNews:
    problem = faults.NoNews("x", code="http_404", **fault)
    return facts.NoNews(response_id="resp_1", fault=problem, jitter=0.0, missing=missing, is_another=is_another)


@pytest.mark.parametrize(
    ("before", "now", "after_it"),
    [
        ((0, None), 29, (0, None)),  # within the grace that a new response has
        ((0, None), 30, (1, 30)),
        ((1, 30), 60, (2, 30)),
        ((2, 30), 89, (3, 30)),  # often enough, and not long enough
        ((1, 30), 500, (2, 30)),  # long enough, and not often enough
    ],
)
def test_a_response_that_its_provider_does_not_know_is_asked_for_again(
    before: tuple[int, float | None], now: float, after_it: tuple[int, float | None]
) -> None:
    settings = Settings.model_validate({"poll_grace": 30, "poll_missing": 3})

    def since(seconds: float | None) -> Any:
        return None if seconds is None else at(seconds)

    phase = replace(pending(), missing=before[0], missing_since=since(before[1]))
    then = after(a_run(phase=phase, accepted_at=NOW, wakes=4), no_news(), at(now), settings=settings)
    assert isinstance(then.phase, Pending)
    assert (then.phase.missing, then.phase.missing_since) == (after_it[0], since(after_it[1]))
    assert (then.phase.no_news, then.counters.wakes, then.chain.provider_status) == (1, 5, "http_404")
    assert then.phase.next_look == at(now + (30 if after_it[0] else 2)), "no more looks than are needed"


@pytest.mark.parametrize("is_another", [False, True])
def test_a_response_that_stays_unknown_is_lost(is_another: bool) -> None:
    phase = replace(pending(), missing=2, missing_since=at(30))
    run = a_run(phase=phase, accepted_at=NOW, response_ids=("resp_0", "resp_1"))
    ended = after(run, no_news(is_another=is_another), at(90))
    assert (ended.status, ended.result.error_code) == (RunStatus.FAILED, "response_lost")
    assert [entry.subject for entry in ended.outbox] == ([] if is_another else ["resp_1"])
    assert ended.chain.response_ids == (("resp_0",) if is_another else ("resp_0", "resp_1"))


@pytest.mark.parametrize(
    ("no_news_before", "retry_after", "gap"), [(0, None, 2), (1, None, 4), (9, None, 120), (0, 50, 50), (0, 999, 120)]
)
def test_a_look_without_an_answer_is_made_again_ever_later(
    no_news_before: int, retry_after: float | None, gap: float
) -> None:
    phase = replace(pending(), no_news=no_news_before, missing=1, missing_since=at(3))
    fact = no_news(missing=False, retry_after=retry_after)
    then = after(a_run(phase=phase, accepted_at=NOW), fact, at(100))
    assert then.phase == replace(phase, no_news=no_news_before + 1, next_look=at(100 + gap))


# --- creates ------------------------------------------------------------------------------------------


def test_a_claim_says_how_long_it_holds_and_counts_the_attempt() -> None:
    run = a_run(phase=Creating(nonce="m", not_before=at(10), not_accepted=2), attempt=1, wakes=4)
    fact = facts.Claimed(attempt=replace(ATTEMPT, number=2), seconds=60, grace=30, owner="o")
    claimed = after(run, fact, at(10))
    claim = Claim(until=at(70), unknown_at=at(100), owner="o")
    assert claimed.phase == Creating(nonce="n", claim=claim, not_accepted=2)
    assert (claimed.turn.attempt, claimed.counters.wakes) == (2, 5)


@pytest.mark.parametrize(
    ("fault", "phase", "settings", "then"),
    [
        (faults.NotAccepted("x", code="c"), {}, {}, {"not_accepted": 1, "not_before": at(12)}),
        (faults.NotAccepted("x", code="c"), {"not_accepted": 3}, {}, {"not_accepted": 4, "not_before": at(26)}),
        (faults.NotAccepted("x", code="c", retry_after=50), {}, {}, {"not_accepted": 1, "not_before": at(60)}),
        (faults.AccessDenied("x", code="c"), {}, {}, {"denied_since": at(10), "not_before": at(40)}),
        (faults.AccessDenied("x", code="c", retry_after=70), {}, {}, {"denied_since": at(10), "not_before": at(80)}),
        (faults.PreviousResponseMissing("x", code="c"), {}, {}, {"previous_missing": 1, "not_before": at(12)}),
        (
            faults.PreviousResponseMissing("x", code="c"),
            {"previous_missing": 2},
            {},
            {"previous_missing": 3, "not_before": at(18)},
        ),
    ],
)
def test_a_create_that_started_nothing_is_made_again_later(
    fault: faults.ProviderFault, phase: dict[str, Any], settings: dict[str, Any], then: dict[str, Any]
) -> None:
    run = a_run(phase=replace(CLAIMED, agent_errors=2, **phase), attempt=1)
    fact = facts.NotCreated(attempt=ATTEMPT, fault=fault, jitter=0.0)
    decided = after(run, fact, at(10), settings=Settings.model_validate(settings))
    assert decided.phase == Creating(**{**phase, **then})
    assert decided.chain.provider_status == "c"


@pytest.mark.parametrize(
    ("fault", "chain", "replay", "outcome"),
    [
        (faults.PreviousResponseMissing("x", code="c"), "auto", None, "turn"),
        (faults.PreviousResponseMissing("x", code="c"), "chain", None, "failed"),
        (faults.PreviousResponseMissing("x", code="c"), "auto", "turn", "failed"),
        (faults.PreviousResponseMissing("x", code="c"), "auto", "chain", "failed"),
        (faults.ToolOutputsRefused("x", code="c"), "auto", None, "chain"),
        (faults.ToolOutputsRefused("x", code="c"), "chain", None, "failed"),
        (faults.ToolOutputsRefused("x", code="c"), "auto", "turn", "failed"),
        (faults.Refused("x", code="c"), "auto", None, "failed"),
    ],
)
def test_when_a_turn_is_created_from_the_whole_conversation(
    fault: faults.ProviderFault, chain: str, replay: str | None, outcome: str
) -> None:
    run = a_run(phase=replace(CLAIMED, previous_missing=3), attempt=1)
    run = replace(
        run,
        turn=replace(run.turn, replay=replay == "turn"),
        chain=replace(run.chain, replay=replay == "chain"),
    )
    fact = facts.NotCreated(attempt=ATTEMPT, fault=fault, jitter=0.0)
    then = after(run, fact, at(10), settings=Settings.model_validate({"chain": chain}))
    if outcome == "failed":
        assert (then.status, then.result.error_code) == (RunStatus.FAILED, "c")
    else:
        assert (then.turn.replay, then.chain.replay) == (outcome == "turn", outcome == "chain")
        assert then.phase == Creating(previous_missing=3), "at once"


@pytest.mark.parametrize(("outcomes", "wait"), [(0, 0.0), (1, 300.0), (2, 1_200.0), (3, 3_600.0), (4, None)])
def test_an_attempt_of_unknown_outcome_is_counted_and_followed_by_another(outcomes: int, wait: float | None) -> None:
    assert DEFAULTS.create_attempts == 5
    phase = replace(CLAIMED, agent_errors=2, not_accepted=1)
    run = a_run(phase=phase, attempt=1, unknown_outcomes=outcomes)
    assert refused(run, facts.ClaimRanOut(attempt=ATTEMPT), at(89)) == Refused()
    then = after(run, facts.ClaimRanOut(attempt=ATTEMPT), at(90))
    if wait is None:
        assert (then.status, then.result.error_code) == (RunStatus.FAILED, "start_uncertain")
        assert "5 requests" in (then.result.error_message or "")
    else:
        assert then.phase == Creating(nonce="n", not_before=at(90 + wait), not_accepted=1)
        assert then.turn.unknown_outcomes == outcomes + 1


@pytest.mark.parametrize(
    ("within_call", "now", "claim"),
    [
        (False, 10, Claim(until=at(60), unknown_at=at(90))),
        (True, 10, Claim(until=at(10), unknown_at=at(10))),
        (True, 70, Claim(until=at(60), unknown_at=at(70))),
    ],
)
def test_how_long_an_unknown_outcome_is_waited_out(within_call: bool, now: float, claim: Claim) -> None:
    fact = facts.OutcomeUnknown(attempt=ATTEMPT, code="c", within_call=within_call)
    then = after(a_run(phase=CLAIMED, attempt=1), fact, at(now))
    assert (then.phase, then.chain.provider_status) == (replace(CLAIMED, claim=claim), "c")
    assert refused(a_run(phase=replace(CLAIMED, claim=None), attempt=1), fact, at(now)) == Refused()


def test_a_request_that_could_not_be_built_counts_a_wake_and_is_refused_under_a_claim() -> None:
    fact = facts.NotBuilt(turn=1, attempt=1, fault=faults.RequestNotBuilt("x", code="c"), jitter=0.0)
    then = after(a_run(phase=Creating(), attempt=1, wakes=4), fact, at(10))
    assert (then.counters.wakes, then.chain.provider_status) == (5, "c")
    assert refused(a_run(phase=CLAIMED, attempt=1), fact, at(10)) == Refused()


# --- endings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "deadline", "now", "code"),
    [
        (Creating(), 100, 100, "deadline_exceeded"),
        (pending(), 100, 100, "deadline_exceeded"),
        (Creating(), 100, 99, None),
        (Creating(), None, 9_999, None),
        (PARKED, None, 9_000, "answer_timeout"),
        (PARKED, None, 8_999, None),
    ],
)
def test_when_the_time_of_a_run_is_up(phase: Phase, deadline: float | None, now: float, code: str | None) -> None:
    run = a_run(phase=phase, deadline_at=None if deadline is None else at(deadline))
    if code is None:
        assert refused(run, facts.DeadlinePassed(), at(now)) == Refused()
        return
    ended = after(run, facts.DeadlinePassed(), at(now))
    assert (ended.status, ended.result.error_code) == (RunStatus.FAILED, code)
    if code == "deadline_exceeded":
        assert "within 100 seconds" in (ended.result.error_message or "")


def test_a_build_that_does_not_know_the_agent_leaves_the_run_to_one_that_does() -> None:
    patience = AGENT_PATIENCE.total_seconds()
    run = after(a_run(phase=pending(), wakes=4), facts.AgentUnknown(), at(10))
    assert (run.schedule.agent_unknown_since, run.schedule.resume_at) == (at(10), at(10 + AGENT_GAP))
    assert (run.counters.wakes, run.phase) == (5, pending())
    run = after(run, facts.AgentUnknown(), at(9 + patience))
    assert run.schedule.agent_unknown_since == at(10)
    ended = after(run, facts.AgentUnknown(), at(10 + patience))
    assert (ended.status, ended.result.error_code) == (RunStatus.FAILED, "agent_unknown")
    assert refused(ended, facts.AgentUnknown(), at(9_999)) == Refused()


def test_a_crashed_wake_counts_as_a_wake() -> None:
    run = after(a_run(phase=pending(), wakes=4), facts.WakeCrashed(seen=0, error="E", jitter=0.0), at(10))
    assert (run.counters.wakes, run.schedule.crashes, run.schedule.resume_at) == (5, 1, at(12))


@pytest.mark.parametrize(("active", "busy"), [(None, False), (1, False), (2, True)])
def test_a_run_is_not_deleted_while_another_of_its_session_is_active(active: int | None, busy: bool) -> None:
    run = a_run(phase=Ended(status=RunStatus.COMPLETED, completed_at=NOW))
    session: Session = a_session(active_run=active)
    decision = decide(Before(run=run, session=session), facts.Deleted(keep=9), at(10), DEFAULTS)
    assert isinstance(decision, Refused) is busy
    if isinstance(decision, Refused):
        assert isinstance(decision.error, SessionBusy)
        assert decision.error.details == {"session_id": SESSION, "active_run": f"run_{SESSION}_2"}


@pytest.mark.parametrize(("ids", "kinds"), [((), 2), (("resp_1",), 3)])
def test_when_each_thing_that_a_tombstone_has_to_do_is_due(ids: tuple[str, ...], kinds: int) -> None:
    run = a_run(phase=Ended(status=RunStatus.COMPLETED, completed_at=NOW), response_ids=ids)
    tomb = after(run, facts.Deleted(keep=999), at(10))
    assert [entry.due for entry in tomb.outbox] == [at(10)] * (kinds - 1) + [at(1_009)]
    assert {entry.since for entry in tomb.outbox} == {at(10)}
    assert tomb.updated_at == at(10)


KNOWS = [
    (Creating(nonce="n"), facts.Claimed(attempt=replace(ATTEMPT, number=2), seconds=60, grace=30), True),
    (CLAIMED, facts.NotCreated(attempt=ATTEMPT, fault=faults.NotAccepted("x", code="c"), jitter=0.0), False),
    (CLAIMED, facts.OutcomeUnknown(attempt=ATTEMPT, code="c", within_call=False), False),
    (
        CLAIMED,
        facts.ResponseCreated(attempt=ATTEMPT, answer=Answer(response=still_pending(), tools={}), jitter=0.0),
        True,
    ),
    (pending(), looked(still_pending()), True),
    (pending(), no_news(), True),
    (RunningTools(), facts.LeaseTaken(turn=1, owner="p", tools=PAY), True),
    (AT_WORK, facts.LeaseRenewed(owner="o"), False),
    (AT_WORK, facts.ToolsSettled(turn=1, owner="o", outputs=None), True),
    (pending(), facts.AgentUnknown(), False),
    (pending(), facts.WakeCrashed(seen=0, error="E", jitter=0.0), False),
]


@pytest.mark.parametrize(("phase", "fact", "knows"), KNOWS, ids=lambda each: type(each).__name__)
def test_what_only_a_build_with_the_agent_brings_ends_the_wait_for_one(
    phase: Phase, fact: facts.Fact, knows: bool
) -> None:
    run = a_run(phase=phase, attempt=1, agent_unknown_since=at(5))
    assert after(run, fact, at(10), a_call()).schedule.agent_unknown_since == (None if knows else at(5))


# --- what every fact does -----------------------------------------------------------------------------


def test_the_time_that_the_app_was_at_work_adds_up() -> None:
    run = a_run(phase=pending(), active_ms=100)
    decision = decide(Before(run=run, took_ms=25), looked(still_pending()), at(10), DEFAULTS)
    assert isinstance(decision, Change)
    assert decision.run.counters.active_ms == 125
    idle = decide(Before(run=run), looked(still_pending()), at(10), DEFAULTS)
    assert isinstance(idle, Change)
    assert idle.run.counters.active_ms == 100


@pytest.mark.parametrize(
    ("changes", "now", "gap"),
    [
        ({"phase": pending(look=30)}, 10, 20.0),
        ({"phase": pending(look=30)}, 40, 0.0),
        ({"phase": pending(look=30), "resume_at": at(60)}, 10, 50.0),
        ({"phase": pending(look=30), "deadline_at": at(15)}, 10, 5.0),
        ({"phase": pending(look=30), "entries": (an_entry(due=12),)}, 10, 20.0),  # the outbox is no try
        ({"phase": CLAIMED}, 10, 80.0),
        ({"phase": Creating(not_before=at(30))}, 10, 20.0),
        ({"phase": Creating()}, 10, 0.0),
        ({"phase": AT_WORK}, 10, 0.0),
        ({"phase": RunningTools(), "resume_at": at(30)}, 10, 20.0),
        ({"phase": PARKED, "deadline_at": None}, 10, 0.0),
    ],
)
def test_seconds_to_the_next_try(changes: dict[str, Any], now: float, gap: float) -> None:
    assert gap_to_next_try(a_run(**changes), at(now)) == gap


@pytest.mark.parametrize(
    ("changes", "looks"),
    [
        ({"phase": pending(look=99)}, True),
        ({"phase": pending(look=99), "resume_at": at(11)}, False),
        ({"phase": pending(look=99), "resume_at": at(10)}, True),
        ({"phase": Creating()}, False),
        ({"phase": AT_WORK}, False),
    ],
)
def test_when_a_look_may_come_before_its_time(changes: dict[str, Any], looks: bool) -> None:
    action = early_look(a_run(**changes), at(10))
    assert (action is not None) is looks
    if action is not None:
        assert (action.due, action.blocks, action.may_be_early) == (at(10), True, True)


# --- the outbox ---------------------------------------------------------------------------------------

CALLBACK = Entry(kind=EntryKind.CALLBACK, subject="completed", due=at(5), since=NOW, tries=2)
OVER = Ended(status=RunStatus.COMPLETED, completed_at=NOW)
NAME = EntryName(kind=EntryKind.CALLBACK, subject="completed", since=NOW)


def over(**changes: Any) -> Run:
    """A run that has ended and still has to report that."""
    return a_run(**{"phase": OVER, "entries": (CALLBACK,), "callback_url": "https://a.example", **changes})


def test_an_attempt_at_a_callback_is_counted_before_it_is_made() -> None:
    claimed = after(over(deliveries=4), facts.CallbackClaimed(entry=NAME, tries=2, seconds=60), at(5))
    assert claimed.outbox.entries == (replace(CALLBACK, tries=3, due=at(65)),)
    assert claimed.outbox.deliveries == 5


@pytest.mark.parametrize(
    ("entry", "tries", "now"), [(NAME, 1, 9), (NAME, 3, 9), (NAME, 2, 4.9), (replace(NAME, since=at(1)), 2, 9)]
)
def test_an_attempt_that_another_wake_makes_is_refused(entry: EntryName, tries: int, now: float) -> None:
    assert refused(over(), facts.CallbackClaimed(entry=entry, tries=tries, seconds=60), at(now)).code == "claimed"


@pytest.mark.parametrize(("counts", "tries"), [(True, 3), (False, 2)])
def test_what_could_not_be_done_is_tried_later(counts: bool, tries: int) -> None:
    tried = after(over(), facts.OutboxTried(entry=NAME, seconds=30, counts=counts), at(10))
    assert tried.outbox.entries == (replace(CALLBACK, tries=tries, due=at(40)),)


@pytest.mark.parametrize("fact", [facts.OutboxTried(entry=NAME, seconds=9), facts.OutboxDone(entry=NAME)])
def test_the_outcome_of_a_callback_that_is_out_of_date_is_still_logged(fact: facts.OutboxTried) -> None:
    newer = replace(CALLBACK, since=at(1))
    run = over(entries=(newer,))
    assert after(run, fact, at(10)).outbox == run.outbox
    gone = over(entries=(newer,), phase=replace(OVER, deleted_at=NOW))
    assert refused(gone, fact, at(10)) == Refused()
    other = replace(fact, entry=replace(NAME, kind=EntryKind.CANCEL))
    assert refused(run, other, at(10)) == Refused()


@pytest.mark.parametrize(
    ("phase", "usage", "tokens"), [(OVER, 7, 12), (OVER, None, 5), (replace(OVER, deleted_at=NOW), 7, 5)]
)
def test_what_a_cancelled_response_had_used_counts_but_for_a_tombstone(
    phase: Phase, usage: int | None, tokens: int
) -> None:
    run = over(phase=phase, entries=(an_entry(), CALLBACK), usage=Usage(total_tokens=5))
    fact = replace(done(an_entry()), usage=None if usage is None else Usage(total_tokens=usage))
    paid = after(run, fact, at(10))
    assert (paid.counters.usage.total_tokens, paid.outbox.entries) == (tokens, (CALLBACK,))


@pytest.mark.parametrize("state", [None, *CallbackState])
def test_what_became_of_a_callback_is_kept(state: CallbackState | None) -> None:
    run = over(callback_state=CallbackState.GIVEN_UP)
    fact = facts.OutboxDone(entry=NAME, callback_state=state)
    assert after(run, fact, at(10)).outbox == Outbox(entries=(), callback_state=state or CallbackState.GIVEN_UP)


@pytest.mark.parametrize(
    ("gone", "failed", "left", "entry"),
    [
        (("a",), (), ("b", "c"), {"tries": 0, "due": at(10)}),
        (("a",), ("b",), ("c", "b"), {"tries": 0, "due": at(10)}),
        ((), ("a",), ("b", "c", "a"), {"tries": 3, "due": at(40)}),
        (("a", "b", "c"), (), (), None),
        ((), ("a", "b", "c"), ("a", "b", "c"), {"tries": 3, "due": at(40)}),
        (("a", "b", "c"), ("x",), (), None),  # of one that it does not know nothing is left
    ],
)
def test_what_is_left_to_delete_at_the_provider(
    gone: tuple[str, ...], failed: tuple[str, ...], left: tuple[str, ...], entry: dict[str, Any] | None
) -> None:
    delete = replace(an_entry("", kind=EntryKind.DELETE), tries=2)
    run = over(entries=(delete,), response_ids=("a", "b", "c"))
    fact = facts.ResponsesDeleted(entry=name_of(delete), gone=gone, failed=failed, seconds=30)
    then = after(run, fact, at(10))
    assert then.chain.response_ids == left
    assert then.outbox.entries == (() if entry is None else (replace(delete, **entry),))
    assert refused(over(entries=()), fact, at(10)) == Refused()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"callback_url": None}, "no_callback"),
        ({"phase": pending()}, "run_not_ended"),
        ({"phase": PARKED}, "run_not_ended"),
        ({"phase": pending(), "callback_url": None}, "no_callback"),
    ],
)
def test_why_a_callback_cannot_be_sent_again(changes: dict[str, Any], code: str) -> None:
    decision = refused(over(**changes), facts.CallbackRequested(), at(10))
    assert decision.code == code
    assert decision.error is not None
    assert decision.error.code == code


# --- the schedule -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tries", "jitter", "wait"), [(0, 0.0, 5.0), (1, 0.5, 5.25), (len(CALLBACK_WAITS), 0.0, 28_800.0)]
)
def test_how_long_a_receiver_is_left_alone(tries: int, jitter: float, wait: float) -> None:
    assert callback_wait(tries, age=0.0, retry_after=None, jitter=jitter) == pytest.approx(wait)


@pytest.mark.parametrize(("failures", "jitter", "wait"), [(1, 0.0, 4.0), (1, 0.5, 3.0), (2, 0.0, 8.0), (9, 0.0, 30.0)])
def test_who_found_no_place_comes_back_soon_and_not_with_the_others(failures: int, jitter: float, wait: float) -> None:
    assert crowded_wait(failures, jitter=jitter) == pytest.approx(wait)
    crowded = faults.NotAccepted("x", code=faults.NOT_SENT)
    assert gap_after(crowded, failures, most=120, jitter=jitter) == pytest.approx(wait)


@pytest.mark.parametrize(
    ("code", "retry_after", "jitter", "wait"),
    [
        (faults.NOT_SENT, 7.0, 0.0, 7.0),
        (faults.NOT_SENT, 0.0, 0.0, 2.0),
        ("http_429", None, 0.0, 2.0),
        ("http_429", None, 0.5, 2.1),
        ("http_429", 50.0, 0.5, 52.5),
        ("http_429", 500.0, 0.0, 120.0),
        ("http_429", -5.0, 0.0, 2.0),
    ],
)
def test_a_provider_that_asks_for_time_gets_it_within_reason(
    code: str, retry_after: float | None, jitter: float, wait: float
) -> None:
    fault = faults.NotAccepted("x", code=code, retry_after=retry_after)
    assert gap_after(fault, 1, most=120, jitter=jitter) == pytest.approx(wait)


@pytest.mark.parametrize(
    ("age", "jitter", "gap"),
    [(100.0, 0.0, 14.932), (100.0, 0.5, 14.633), (-5.0, 0.0, 2.0), (0.0, 0.9, 2.0), (9e9, 0.5, 117.6)],
)
def test_polls_are_about_as_far_apart_as_the_root_of_the_age(age: float, jitter: float, gap: float) -> None:
    assert poll_gap(age, first=2.0, most=120.0, jitter=jitter) == pytest.approx(gap, abs=0.001)
