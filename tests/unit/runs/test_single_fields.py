"""What the larger tables of decisions leave open: single fields, bounds and words. `dev.py prove --mutants` asks."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from shared.errors import AmbiguousCallId, NotWaiting
from shared.runs.model import facts
from shared.runs.model.calls import Approval, CallState, ToolCall
from shared.runs.model.phases import Claim, Creating, Ended, Lease, Phase, RunningTools, RunStatus
from shared.runs.model.run import PartRef
from shared.runs.rules.agenda import gap_to_next_try
from shared.runs.rules.approvals import approval_id, find_call
from tests.parts.cases import cases
from tests.unit.runs.records import NOW, a_run, at
from tests.unit.runs.test_transitions import PARKED, a_call, after, asked, change, pending, refused

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
    decided = change(a_run(phase=AT_WORK, hands_over=True), SETTLED, at(100), *calls)
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


# --- the agenda ---------------------------------------------------------------------------------------


def test_the_gap_that_callers_read_is_in_milliseconds() -> None:
    run = a_run(phase=pending(look=10.0004))
    assert gap_to_next_try(run, NOW) == 10.0
    assert gap_to_next_try(a_run(phase=pending(look=10.0006)), NOW) == 10.001
