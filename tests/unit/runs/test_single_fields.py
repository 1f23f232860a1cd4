"""What the larger tables of decisions leave open: single fields, bounds and words. `dev.py prove --mutants` asks."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from shared.agentkit import faults
from shared.agentkit.agent import AgentResponse, ApprovalRequest, ContinuationToken, FunctionCall, ResponseStatus, Usage
from shared.agentkit.tools import Tool
from shared.errors import AmbiguousCallId, NotWaiting
from shared.runs.model import facts
from shared.runs.model.calls import Approval, CallState, ToolCall
from shared.runs.model.ids import run_id
from shared.runs.model.journal import Journal
from shared.runs.model.outbox import CallbackState, EntryKind
from shared.runs.model.phases import Claim, Creating, Ended, Lease, Pending, Phase, RunningTools, RunStatus
from shared.runs.model.run import Limits, PartRef
from shared.runs.rules.agenda import gap_to_next_try
from shared.runs.rules.approvals import approval_id, find_call
from shared.runs.rules.callbacks import callback_due
from shared.runs.rules.change import Before, Refused
from shared.runs.rules.decide import decide
from shared.settings import Settings
from tests.parts.cases import cases
from tests.unit.runs.records import NOW, SESSION, a_run, a_session, an_entry, at
from tests.unit.runs.test_transitions import DEFAULTS, PARKED, a_call, after, asked, change, name_of, pending, refused

AT_WORK = RunningTools(lease=Lease(owner="o", until=at(160)))
ENDED = Ended(status=RunStatus.FAILED, completed_at=NOW)

# --- approvals ----------------------------------------------------------------------------------------


@cases("arguments", ["{}", '{"name": "Zoë 🐭"}', "half of a pair: \ud83d"])
def test_the_id_of_an_approval_is_the_same_wherever_the_arguments_lie(arguments: str) -> None:
    data = arguments.encode("utf-8", "surrogatepass")
    long = PartRef(digest=hashlib.sha256(data).hexdigest()[:32], count=1)
    assert approval_id(asked(arguments=long)) == approval_id(asked(arguments=arguments))
    assert len(approval_id(asked(arguments=arguments))) == len("apr_") + 32


def test_who_answers_about_no_call_or_about_two_is_told_which_name_it_was() -> None:
    calls = {approval_id(each): each for each in (asked(), asked(turn=2))}
    with pytest.raises(AmbiguousCallId) as ambiguous:
        find_call(calls, "c")
    with pytest.raises(NotWaiting) as unknown:
        find_call(calls, "x")
    assert (ambiguous.value.details, unknown.value.details) == ({"call_id": "c"}, {"call_id": "x"})


@cases(("phase", "call", "yes", "details"), [
    (ENDED, asked(), True, {"status_of_run": "failed"}),
    (PARKED, a_call(approval=Approval.APPROVED, state=CallState.FINISHED), False, {"call_id": "c"}),
])  # fmt: skip
def test_an_answer_that_is_not_taken_says_what_is_the_case(
    phase: Phase, call: ToolCall, yes: bool, details: dict[str, Any]
) -> None:
    fact = facts.Answered(answers={"c": facts.Approve(approve=yes)})
    error = refused(a_run(phase=phase), fact, at(50), call).error
    assert error is not None
    assert error.details == details


def test_the_model_reads_that_its_call_was_refused() -> None:
    fact = facts.Answered(answers={"c": facts.Approve(approve=False)})
    (call,) = change(a_run(phase=PARKED), fact, at(50), asked()).calls
    assert json.loads(str(call.result))["error"]["code"] == "refused"


# --- tools --------------------------------------------------------------------------------------------


@cases(("phase", "owner"), [
    (Creating(nonce="n"), "o"),  # no claim
    (Creating(nonce="n", claim=Claim(until=at(60), unknown_at=at(60), owner="p")), "o"),  # another's
    (Creating(nonce="n", claim=Claim(until=at(60), unknown_at=at(60))), ""),  # a claim that is no lease
    (AT_WORK, "p"),
    (RunningTools(), "o"),
])  # fmt: skip
def test_only_its_own_lease_is_renewed(phase: Phase, owner: str) -> None:
    assert refused(a_run(phase=phase), facts.LeaseRenewed(owner=owner), at(50)).code == "lost"


SETTLED = facts.ToolsSettled(turn=1, owner="o", outputs="[1]", text="Look these up.", annotations="[2]")


@cases(("states", "handed_over"), [
    ([CallState.FINISHED, CallState.HANDED_OVER], 1),
    ([CallState.WAITING, CallState.HANDED_OVER, CallState.WAITING], 3),
    ([CallState.WAITING], 1),
])  # fmt: skip
def test_a_caller_who_has_calls_to_do_is_given_those_that_wait_too(states: list[CallState], handed_over: int) -> None:
    calls = [a_call(index=index, call_id=f"c{index}", state=state) for index, state in enumerate(states)]
    settled = replace(SETTLED, outputs_of=states.count(CallState.FINISHED))
    decided = change(a_run(phase=AT_WORK, hands_over=True), settled, at(100), *calls)
    assert decided.run.phase == Ended(status=RunStatus.COMPLETED, completed_at=at(100))
    result = decided.run.result
    assert (result.text, result.annotations, result.open_calls) == ("Look these up.", "[2]", handed_over)
    waited = [index for index, state in enumerate(states) if state is CallState.WAITING]
    assert [(call.index, call.state) for call in decided.calls] == [(i, CallState.HANDED_OVER) for i in waited]
    assert decided.items == ("[1]",)


def test_a_run_that_hands_nothing_over_is_parked_while_a_call_waits() -> None:
    calls = [a_call(index=0, state=CallState.HANDED_OVER), asked(index=1)]
    parked = after(a_run(phase=AT_WORK), SETTLED, at(100), *calls)
    assert parked.status is RunStatus.REQUIRES_ACTION


# --- creates ------------------------------------------------------------------------------------------

ATTEMPT = facts.Attempt(turn=1, number=1, nonce="n")
CLAIMED = Creating(nonce="n", claim=Claim(until=at(60), unknown_at=at(90)))
NOT_ACCEPTED = faults.NotAccepted("x", code="c")


def not_built(fault: faults.ProviderFault) -> facts.NotBuilt:
    return facts.NotBuilt(turn=1, attempt=1, fault=fault, jitter=0.0)


def not_created(fault: faults.ProviderFault) -> facts.NotCreated:
    return facts.NotCreated(attempt=ATTEMPT, fault=fault, jitter=0.0)


def created(attempt: facts.Attempt = ATTEMPT) -> facts.ResponseCreated:
    response = AgentResponse(status=ResponseStatus.COMPLETED, provider_status="completed", response_id="resp_1")
    return facts.ResponseCreated(attempt=attempt, answer=facts.Answer(response=response, tools={}), jitter=0.0)


@cases(("errors", "wait"), [(0, 2.0), (4, 32.0), (5, None)])
def test_an_agent_may_fail_six_times_to_build_its_request(errors: int, wait: float | None) -> None:
    run = a_run(phase=Creating(nonce="n", agent_errors=errors), attempt=1)
    then = after(run, not_built(faults.RequestNotBuilt("x", code="c")), at(10))
    if wait is None:
        assert then.result.error_code == "agent_error"
    else:
        assert then.phase == Creating(nonce="n", agent_errors=errors + 1, not_before=at(10 + wait))


@cases(("phase", "fact"), [
    (Creating(nonce="n", denied_since=NOW, agent_errors=2), not_built(NOT_ACCEPTED)),
    (Creating(nonce="n", claim=CLAIMED.claim, denied_since=NOW, agent_errors=2), not_created(NOT_ACCEPTED)),
])  # fmt: skip
def test_another_fault_ends_a_row_of_those_before(phase: Creating, fact: facts.NotBuilt | facts.NotCreated) -> None:
    then = after(a_run(phase=phase, attempt=1), fact, at(10)).phase
    assert isinstance(then, Creating)
    assert (then.denied_since, then.agent_errors, then.not_accepted, then.not_before) == (None, 0, 1, at(12))


@cases("fact", [not_created(NOT_ACCEPTED), facts.ClaimRanOut(attempt=ATTEMPT)])
def test_what_became_of_an_attempt_is_taken_in_once(fact: facts.NotCreated | facts.ClaimRanOut) -> None:
    assert refused(a_run(phase=Creating(nonce="n"), attempt=1), fact, at(100)) == Refused()


def test_an_attempt_without_a_nonce_is_none_that_a_run_waits_for() -> None:
    late = after(a_run(phase=Creating(), attempt=1), created(facts.Attempt(turn=1, number=1, nonce="")), at(10))
    assert late.phase == Creating()
    assert [entry.subject for entry in late.outbox] == ["resp_1"]


def test_a_response_that_the_run_knows_already_is_not_taken_for_that_of_its_next_attempt() -> None:
    assert refused(a_run(phase=CLAIMED, attempt=1, response_ids=("resp_1",)), created(), at(10)) == Refused()


@cases(("most", "wait"), [(1, 60), (2, 60), (3, 30), (7, 10)])
def test_looks_for_a_missing_response_fill_a_minute(most: int, wait: float) -> None:
    fact = facts.NoNews(response_id="resp_1", fault=faults.NoNews("x", code="c"), jitter=0.0, missing=True)
    settings = Settings.model_validate({"poll_grace": 30, "poll_missing": most})
    then = after(a_run(phase=pending(), accepted_at=NOW), fact, at(100), settings=settings).phase
    assert isinstance(then, Pending)
    assert then.next_look == at(100 + wait)


# --- responses ----------------------------------------------------------------------------------------


CALL = FunctionCall(call_id="c", name="pay", arguments="{}")
REQUEST = ApprovalRequest(request_id="a", server="s", name="m", arguments="{}")


def looked(**fields: Any) -> facts.Looked:
    given = {"status": ResponseStatus.COMPLETED, "provider_status": "completed", "response_id": "resp_1", **fields}
    return facts.Looked(
        response_id="resp_1", answer=facts.Answer(response=AgentResponse(**given), tools={}), jitter=0.0
    )


def test_a_status_that_is_no_word_is_unknown_and_each_id_is_kept() -> None:
    run = a_run(phase=pending(), response_ids=("resp_0",))
    ended = after(run, looked(provider_status="<b>odd</b> words"), at(10))
    assert (ended.chain.provider_status, ended.chain.response_ids) == ("unknown", ("resp_0", "resp_1"))


def test_a_response_that_is_over_is_final_though_it_may_be_asked_for_again() -> None:
    token = ContinuationToken(response_id="resp_1")
    assert after(a_run(phase=pending()), looked(continuation_token=token), at(10)).status is RunStatus.COMPLETED


@cases(("fields", "status"), [
    ({"calls": (CALL,)}, RunStatus.IN_PROGRESS),
    ({"approvals": (REQUEST,)}, RunStatus.IN_PROGRESS),
    ({"calls": (CALL,), "status": ResponseStatus.INCOMPLETE}, RunStatus.INCOMPLETE),  # they may be cut off
    ({"approvals": (REQUEST,), "status": ResponseStatus.CANCELLED}, RunStatus.CANCELLED),
])  # fmt: skip
def test_only_a_response_that_is_whole_asks_for_tools(fields: dict[str, Any], status: RunStatus) -> None:
    assert after(a_run(phase=pending()), looked(**fields), at(10)).status is status


MINE = FunctionCall(call_id="d", name="theirs", arguments="{}")
NOTED = (
    {
        "type": "message",
        "content": [
            {"type": "output_text", "text": "t", "annotations": [{"type": "url_citation", "url": "https://a.b"}]}
        ],
    },
)


def test_a_turn_that_asks_for_the_callers_functions_alone_ends_the_run_with_what_was_said() -> None:
    run = a_run(phase=pending(), tool_names=("theirs",))
    decided = change(run, looked(calls=(MINE,), text="Look.", items=NOTED), at(10))
    result = decided.run.result
    assert (decided.run.status, result.text, result.open_calls) == (RunStatus.COMPLETED, "Look.", 1)
    assert "https://a.b" in result.annotations
    assert [call.state for call in decided.calls] == [CallState.HANDED_OVER]


def test_a_turn_that_asks_for_tools_of_both_runs_its_own_first() -> None:
    run = a_run(phase=pending(), tool_names=("theirs",), provider_status="completed", usage=Usage(total_tokens=5))
    response = {"calls": (MINE, CALL), "items": NOTED, "usage": Usage(total_tokens=7)}
    decided = change(run, looked(**response), at(10))
    assert (decided.run.phase, decided.run.updated_at) == (RunningTools(), at(10))
    assert [call.state for call in decided.calls] == [CallState.HANDED_OVER, CallState.OPEN]
    assert decided.run.counters.usage.total_tokens == 12


def test_the_agents_own_tool_comes_before_the_callers_of_the_same_name() -> None:
    tool = Tool(name="theirs", description="", function=lambda: None)
    fact = looked(calls=(MINE,))
    fact = replace(fact, answer=replace(fact.answer, tools={"theirs": tool}))
    (call,) = change(a_run(phase=pending(), tool_names=("theirs",)), fact, at(10)).calls
    assert call.state is CallState.OPEN


@cases(("count", "limit"), [(2, 1), (91, 999)])
def test_a_turn_that_asks_for_too_many_tools_ends_the_run(count: int, limit: int) -> None:
    run = a_run(phase=pending(), limits=Limits(turns=2, tool_calls=limit))
    calls = tuple(replace(CALL, call_id=f"c{index}") for index in range(count))
    decided = change(run, looked(calls=calls), at(10))
    assert (decided.run.result.error_code, decided.calls) == ("tool_call_limit", ())


def test_a_run_that_has_used_all_its_tool_calls_may_create_a_failed_response_again() -> None:
    run = a_run(phase=pending(), limits=Limits(turns=2, tool_calls=3), tool_calls=3)
    again = after(run, looked(status=ResponseStatus.FAILED, error_code="server_error"), at(10))
    assert again.phase == Creating(not_before=at(12))


@cases(("status", "code"), [
    (ResponseStatus.INCOMPLETE, None),
    (ResponseStatus.FAILED, "x"),
    (ResponseStatus.CANCELLED, "cancelled_at_provider"),
])  # fmt: skip
def test_only_a_whole_text_has_a_form_to_keep_to(status: ResponseStatus, code: str | None) -> None:
    fact = looked(status=status, error_code="x", text="no")
    fact = replace(fact, answer=replace(fact.answer, output_error="It is no JSON.", output_form="Report"))
    ended = after(a_run(phase=pending()), fact, at(10))
    assert (ended.status, ended.result.error_code) == (status.value, code)


def test_the_end_of_a_run_keeps_the_marks_on_its_text_and_its_items_as_they_were_said() -> None:
    items = ({"type": "message", "content": "Zoë"}, *NOTED)
    fields = {"status": ResponseStatus.INCOMPLETE, "incomplete_reason": "<b>odd</b> words", "items": items}
    decided = change(a_run(phase=pending()), looked(**fields), at(10))
    assert decided.run.result.incomplete_reason == "unknown"
    assert "https://a.b" in decided.run.result.annotations
    assert "Zoë" in decided.items[0]
    tools = change(a_run(phase=pending()), looked(calls=(CALL,), items=items), at(10))
    assert "Zoë" in tools.items[0]


def test_a_correction_is_a_message_of_the_user_after_what_the_model_said() -> None:
    fact = looked(items=({"type": "message", "content": "Zoë"},))
    fact = replace(fact, answer=replace(fact.answer, output_error="It is no JSON.", output_form="Report"))
    said, correction = change(a_run(phase=pending()), fact, at(10)).items
    assert "Zoë" in said
    (message,) = json.loads(correction)
    assert (message["type"], message["role"]) == ("message", "user")


@cases(("said", "shown"), [("Too long.", "Too long."), (None, "gave no reason")])
def test_a_failed_response_says_why_where_the_provider_does(said: str | None, shown: str) -> None:
    fact = looked(status=ResponseStatus.FAILED, error_code="x", error_message=said)
    assert shown in (after(a_run(phase=pending()), fact, at(10)).result.error_message or "")


# --- endings ------------------------------------------------------------------------------------------


CALLBACK = an_entry("failed", kind=EntryKind.CALLBACK)


@cases(("phase", "fact", "crashes"), [
    (Creating(), facts.Claimed(attempt=ATTEMPT, seconds=60, grace=30), 3),
    (RunningTools(), facts.LeaseTaken(turn=1, owner="p", tools={}), 3),
    (AT_WORK, facts.LeaseRenewed(owner="o"), 3),
    (ENDED, facts.CallbackClaimed(entry=name_of(CALLBACK), tries=0, seconds=60), 3),
    (ENDED, facts.OutboxTried(entry=name_of(CALLBACK), seconds=60), 3),
    (AT_WORK, replace(SETTLED, outputs_of=1), 0),
    (pending(), looked(), 0),
])  # fmt: skip
def test_a_right_that_is_taken_is_no_progress(phase: Phase, fact: facts.Fact, crashes: int) -> None:
    call = a_call(state=CallState.FINISHED) if isinstance(fact, facts.ToolsSettled) else a_call()
    run = a_run(phase=phase, crashes=3, entries=(CALLBACK,))
    assert after(run, fact, at(10), call).schedule.crashes == crashes


def test_who_deletes_a_run_of_a_busy_session_is_told_which_run_is_active() -> None:
    before = Before(run=a_run(phase=ENDED), session=a_session(active_run=2))
    decided = decide(before, facts.Deleted(keep=9), NOW, DEFAULTS)
    assert isinstance(decided, Refused)
    assert (decided.code, decided.error and decided.error.details) == (
        "session_busy",
        {"session_id": SESSION, "active_run": run_id(SESSION, 2)},
    )


@cases("phase", [ENDED, replace(ENDED, deleted_at=NOW)])
def test_a_run_with_nothing_left_to_do_counts_no_crash(phase: Phase) -> None:
    fact = facts.WakeCrashed(seen=0, error="KeyError", jitter=0.0)
    assert refused(a_run(phase=phase), fact, at(10)) == Refused()


@cases(("crashes", "code"), [(8, None), (9, "internal_error")])
def test_the_tenth_crash_in_a_row_ends_a_run(crashes: int, code: str | None) -> None:
    fact = facts.WakeCrashed(seen=crashes, error="KeyError", jitter=0.0)
    then = after(a_run(phase=pending(), crashes=crashes), fact, at(10))
    assert (then.result.error_code, then.schedule.crashes) == (code, 0 if code else crashes + 1)


def test_a_tombstone_tells_nothing_of_what_happened() -> None:
    run = after(a_run(phase=pending()), facts.CancelRequested(), at(5))
    assert run.journal != Journal()
    assert after(run, facts.Deleted(keep=9), at(10)).journal == Journal()


def test_a_run_without_a_deadline_takes_its_rights() -> None:
    fact = facts.Claimed(attempt=ATTEMPT, seconds=60, grace=30)
    assert after(a_run(phase=Creating(), deadline_at=None), fact, NOW).phase == CLAIMED


@cases(("now", "code"), [(599, None), (600, "agent_unknown")])
def test_a_run_waits_ten_minutes_for_a_build_that_knows_its_agent(now: float, code: str | None) -> None:
    run = after(a_run(phase=pending(), agent_unknown_since=NOW), facts.AgentUnknown(), at(now))
    assert run.result.error_code == code
    assert run.schedule.resume_at == (at(now + 30) if code is None else None)


# --- callbacks ----------------------------------------------------------------------------------------


def test_who_asks_for_a_callback_too_early_is_told_how_the_run_stands() -> None:
    error = refused(a_run(phase=pending(), callback_url="https://a.b/c"), facts.CallbackRequested(), at(10)).error
    assert error is not None
    assert error.details == {"status_of_run": "in_progress"}


def test_a_receiver_that_wants_no_more_is_told_of_no_pause_and_of_nothing_before_it() -> None:
    before = an_entry("requires_action_1", kind=EntryKind.CALLBACK)
    run = a_run(phase=AT_WORK, callback_url="https://a.b/c", callback_state=CallbackState.DISABLED, entries=(before,))
    parked = after(run, facts.ToolsSettled(turn=1, owner="o", outputs=None), at(100), asked())
    assert (parked.status, parked.outbox.entries) == (RunStatus.REQUIRES_ACTION, ())


def test_when_a_callback_is_next_due() -> None:
    callback = an_entry("completed", due=7, kind=EntryKind.CALLBACK)
    assert callback_due(a_run(entries=(an_entry(due=3), callback)).outbox) == at(7)
    assert callback_due(a_run(entries=(an_entry(due=3),)).outbox) is None


# --- the agenda ---------------------------------------------------------------------------------------


def test_the_gap_that_callers_read_is_in_milliseconds() -> None:
    run = a_run(phase=pending(look=10.0004))
    assert gap_to_next_try(run, NOW) == 10.0
    assert gap_to_next_try(a_run(phase=pending(look=10.0006)), NOW) == 10.001
