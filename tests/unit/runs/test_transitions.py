"""What may follow what in the life of a run: the table of facts, and what some of them come to."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from itertools import product
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.agentkit import faults
from shared.agentkit.agent import AgentResponse, ContinuationToken, FunctionCall, ResponseStatus, Usage
from shared.runs.actions.outcome import outcome
from shared.runs.model import facts
from shared.runs.model.calls import Approval, CallState, ToolCall
from shared.runs.model.facts import (
    Answer,
    Answered,
    Approve,
    Attempt,
    CancelRequested,
    Deleted,
    EntryName,
    Fact,
    Looked,
    OutboxDone,
    OutboxTried,
    ResponseCreated,
    ResponsesDeleted,
    ToolsSettled,
)
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
    Scheduled,
    WaitingForAnswers,
)
from shared.runs.model.run import Limits, Run, Turn
from shared.runs.rules.agenda import gap_to_next_try, next_action, next_time
from shared.runs.rules.change import Before, Change, Refused, end_run
from shared.runs.rules.creating import AGENT_TRIES
from shared.runs.rules.decide import PHASES, TABLE, decide, may_lead_to
from shared.runs.rules.ending import MAX_CRASHES
from shared.settings import Settings
from tests.parts.cases import cases
from tests.unit.runs.records import NOW, SESSION, TERMINAL, a_run, an_entry, at

DEFAULTS = Settings.model_validate({})
HOURS_48 = 48 * 3_600.0
ATTEMPT = Attempt(turn=1, number=1, nonce="n")


def pending(response_id: str = "resp_1", look: float = 7.0) -> Pending:
    return Pending(token=ContinuationToken(response_id=response_id), nonce="n", next_look=at(look))


CREATING = Creating(nonce="n", claim=Claim(until=at(60), unknown_at=at(90)), not_before=at(5))
AT_WORK = RunningTools(lease=Lease(owner="o", until=at(160)))
PARKED = WaitingForAnswers(answer_by=at(70), seconds_left=5.0)
ENDED = Ended(status=RunStatus.CANCELLED, completed_at=NOW)
ACTIVE: list[Phase] = [CREATING, pending(), AT_WORK, PARKED]


def a_call(**changes: Any) -> ToolCall:
    call = ToolCall(session_id=SESSION, number=1, turn=1, index=0, call_id="c", name="pay", arguments="{}")
    return replace(call, **changes)


def asked(**changes: Any) -> ToolCall:
    return a_call(**{"state": CallState.WAITING, "approval": Approval.PENDING, **changes})


def an_answer(response_id: str | None = "resp_1", status: ResponseStatus = ResponseStatus.COMPLETED) -> Answer:
    return Answer(response=AgentResponse(status=status, provider_status="x", response_id=response_id), tools={})


def name_of(entry: Entry) -> EntryName:
    return EntryName(kind=entry.kind, subject=entry.subject, since=entry.since)


def done(entry: Entry) -> OutboxDone:
    return OutboxDone(entry=name_of(entry))


def change(run: Run, fact: Fact, now: datetime, *calls: ToolCall, settings: Settings = DEFAULTS) -> Change:
    """What the fact comes to; it is not refused."""
    decision = decide(Before(run=run, calls=calls), fact, now, settings)
    assert isinstance(decision, Change), decision
    return decision


def after(run: Run, fact: Fact, now: datetime, *calls: ToolCall, settings: Settings = DEFAULTS) -> Run:
    return change(run, fact, now, *calls, settings=settings).run


def refused(run: Run, fact: Fact, now: datetime, *calls: ToolCall) -> Refused:
    decision = decide(Before(run=run, calls=calls), fact, now, DEFAULTS)
    assert isinstance(decision, Refused), decision
    return decision


def wake_in(run: Run, now: datetime) -> float | None:
    return outcome(run, now).wake_in


# --- the table ----------------------------------------------------------------------------------------


def test_every_fact_has_its_rule() -> None:
    assert set(TABLE) == set(get_args(facts.Fact))
    assert set(PHASES) == set(get_args(Phase))


def test_an_ended_run_stays_ended_whatever_happens() -> None:
    for fact in TABLE:
        assert may_lead_to(fact, Ended) in ((), (Ended,))


@pytest.mark.parametrize(
    ("phase", "allowed"),
    [
        (Scheduled, {Scheduled, Creating, Ended}),
        (Creating, {Creating, Pending, RunningTools, Ended}),
        (Pending, {Creating, Pending, RunningTools, Ended}),
        (RunningTools, {Creating, RunningTools, WaitingForAnswers, Ended}),
        (WaitingForAnswers, {RunningTools, WaitingForAnswers, Ended}),
        (Ended, {Ended}),
    ],
)
def test_which_phase_may_follow_which(phase: type[Phase], allowed: set[type[Phase]]) -> None:
    assert {to for fact in TABLE for to in may_lead_to(fact, phase)} == allowed


OF_ONE_PHASE: list[tuple[Fact, type[Phase]]] = [
    (facts.Claimed(attempt=replace(ATTEMPT, number=2), seconds=60, grace=30), Creating),
    (facts.NotBuilt(turn=1, attempt=1, fault=faults.RequestNotBuilt("x", code="x"), jitter=0.0), Creating),
    (facts.NotCreated(attempt=ATTEMPT, fault=faults.NotAccepted("x", code="x"), jitter=0.0), Creating),
    (facts.OutcomeUnknown(attempt=ATTEMPT, code="x", within_call=False), Creating),
    (facts.ClaimRanOut(attempt=ATTEMPT), Creating),
    (Looked(response_id="resp_1", answer=an_answer(), jitter=0.0), Pending),
    (facts.NoNews(response_id="resp_1", fault=faults.NoNews("x", code="x"), jitter=0.0), Pending),
    (facts.LeaseTaken(turn=1, owner="p", tools={}), RunningTools),
    (ToolsSettled(turn=1, owner="o", outputs="[]"), RunningTools),
]


@pytest.mark.parametrize("phase", [*ACTIVE, ENDED], ids=lambda phase: type(phase).__name__)
@pytest.mark.parametrize(("fact", "own"), OF_ONE_PHASE, ids=lambda each: type(each).__name__)
def test_what_belongs_to_one_phase_is_refused_in_any_other(fact: Fact, own: type[Phase], phase: Phase) -> None:
    if not isinstance(phase, own):
        assert refused(a_run(phase=phase, attempt=1), fact, at(200)) == Refused()


LATE: list[tuple[Fact, Phase]] = [
    (facts.NotBuilt(turn=1, attempt=0, fault=faults.RequestNotBuilt("x", code="x"), jitter=0.0), Creating()),
    (facts.NotBuilt(turn=2, attempt=1, fault=faults.RequestNotBuilt("x", code="x"), jitter=0.0), Creating()),
    *(
        (fact, CREATING)
        for other in (replace(ATTEMPT, turn=2), replace(ATTEMPT, number=2), replace(ATTEMPT, nonce="m"))
        for fact in (
            facts.NotCreated(attempt=other, fault=faults.NotAccepted("x", code="x"), jitter=0.0),
            facts.OutcomeUnknown(attempt=other, code="x", within_call=False),
            facts.ClaimRanOut(attempt=other),
        )
    ),
    (Looked(response_id="resp_2", answer=an_answer("resp_2"), jitter=0.0), pending()),
    (facts.NoNews(response_id="resp_2", fault=faults.NoNews("x", code="x"), jitter=0.0), pending()),
    (ToolsSettled(turn=2, owner="o", outputs="[]"), AT_WORK),
    (ToolsSettled(turn=1, owner="another", outputs="[]"), AT_WORK),
]


@cases(("fact", "phase"), LATE)
def test_what_is_about_another_attempt_response_or_turn_changes_nothing(fact: Fact, phase: Phase) -> None:
    assert refused(a_run(phase=phase, attempt=1), fact, at(100)) == Refused()


@cases(
    ("phase", "fact", "now", "code"),
    [
        (CREATING, facts.Claimed(attempt=replace(ATTEMPT, number=2), seconds=60, grace=30), 10, "claimed"),
        (Creating(), facts.Claimed(attempt=ATTEMPT, seconds=60, grace=30), 10, "claimed"),
        (Creating(), facts.Claimed(attempt=replace(ATTEMPT, number=3), seconds=60, grace=30), 10, "claimed"),
        (Creating(), facts.Claimed(attempt=Attempt(turn=2, number=2, nonce="m"), seconds=60, grace=30), 10, "claimed"),
        (
            Creating(not_before=at(11)),
            facts.Claimed(attempt=replace(ATTEMPT, number=2), seconds=60, grace=30),
            10,
            "too_early",
        ),
        (
            Creating(),
            facts.Claimed(attempt=replace(ATTEMPT, number=2), seconds=60, grace=30),
            3_600,
            "deadline_passed",
        ),
        (AT_WORK, facts.LeaseTaken(turn=1, owner="p", tools={}), 159, "taken"),
        (AT_WORK, facts.LeaseTaken(turn=2, owner="p", tools={}), 200, "taken"),
        (AT_WORK, facts.LeaseTaken(turn=1, owner="p", tools={}), 3_600, "deadline_passed"),
        (AT_WORK, facts.LeaseTaken(turn=1, owner="p", tools={}), 160, "settled"),
        (AT_WORK, facts.LeaseRenewed(owner="another"), 10, "lost"),
        (RunningTools(), facts.LeaseRenewed(owner=""), 10, "lost"),
        (CREATING, facts.LeaseRenewed(owner=""), 10, "lost"),
    ],
)
def test_a_right_that_is_another_s_is_refused(phase: Phase, fact: Fact, now: float, code: str) -> None:
    assert refused(a_run(phase=phase, attempt=1), fact, at(now)).code == code


@pytest.mark.parametrize(
    ("fact", "phase", "crashes"),
    [
        (facts.Claimed(attempt=replace(ATTEMPT, number=2), seconds=60, grace=30), Creating(), 3),
        (facts.OutcomeUnknown(attempt=ATTEMPT, code="x", within_call=False), CREATING, 0),
        (facts.NoNews(response_id="resp_1", fault=faults.NoNews("x", code="x"), jitter=0.0), pending(), 0),
        (facts.LeaseRenewed(owner="o"), AT_WORK, 3),
        (facts.WakeCrashed(seen=3, error="E", jitter=0.0), pending(), 4),
        (CancelRequested(), pending(), 0),
    ],
    ids=lambda each: type(each).__name__,
)
def test_what_got_somewhere_ends_a_row_of_crashes(fact: Fact, phase: Phase, crashes: int) -> None:
    run = after(a_run(phase=phase, attempt=1, crashes=3, resume_at=at(50)), fact, at(55))
    assert run.schedule.crashes == crashes
    if not crashes:
        assert run.schedule.resume_at is None


@pytest.mark.parametrize(
    ("fact", "phase", "since"),
    [
        (facts.NotBuilt(turn=1, attempt=1, fault=faults.Refused("x", code="x"), jitter=0.0), Creating(), None),
        (facts.NotBuilt(turn=1, attempt=1, fault=faults.AccessDenied("x", code="x"), jitter=0.0), Creating(), None),
        (facts.NoNews(response_id="resp_1", fault=faults.NoNews("x", code="x"), jitter=0.0), pending(), None),
        (facts.ToolsSettled(turn=1, owner="", outputs=None), RunningTools(), None),
        (facts.WakeCrashed(seen=0, error="E", jitter=0.0), RunningTools(), NOW),
    ],
    ids=lambda each: type(each).__name__,
)
def test_whatever_a_build_that_knows_the_agent_does_ends_the_wait_for_one(
    fact: Fact, phase: Phase, since: datetime | None
) -> None:
    run = a_run(phase=phase, attempt=1, agent_unknown_since=NOW)
    assert after(run, fact, at(5), asked()).schedule.agent_unknown_since == since


@pytest.mark.parametrize("phase", ACTIVE, ids=lambda phase: type(phase).__name__)
def test_crashes_are_backed_off_and_the_tenth_in_a_row_ends_the_run(phase: Phase) -> None:
    run = a_run(phase=phase)
    gaps = []
    for seen in range(MAX_CRASHES - 1):
        run = after(run, facts.WakeCrashed(seen=seen, error="E", jitter=0.0), NOW)
        assert refused(run, facts.WakeCrashed(seen=seen, error="E", jitter=0.0), NOW) == Refused(), (
            "one crash, told twice"
        )
        assert run.schedule.resume_at is not None
        gaps.append((run.schedule.resume_at - NOW).total_seconds())
    assert gaps == [2, 4, 8, 16, 32, 64, 128, 256, 300]
    assert run.phase == phase
    ended = after(run, facts.WakeCrashed(seen=MAX_CRASHES - 1, error="E", jitter=0.0), NOW)
    assert (ended.status, ended.result.error_code) == (RunStatus.FAILED, "internal_error")


def test_what_an_ended_run_still_has_to_do_is_not_given_up_for_crashes() -> None:
    run = a_run(phase=ENDED, entries=(an_entry(),), crashes=25)
    late = after(run, facts.WakeCrashed(seen=25, error="E", jitter=0.0), NOW)
    assert (late.phase, late.outbox, late.schedule.crashes) == (run.phase, run.outbox, 26)
    assert wake_in(late, NOW) == 300


def test_access_that_is_denied_for_long_ends_the_run_sent_or_not() -> None:
    timeout = DEFAULTS.access_patience
    fault = faults.AccessDenied("x", code="x")
    for attempt in (1, 0):
        run, now = a_run(phase=Creating(agent_errors=2), attempt=attempt), 0.0
        for now in (0.0, timeout - 1, timeout):
            fact: Fact = facts.NotBuilt(turn=1, attempt=attempt, fault=fault, jitter=0.0)
            if attempt:
                assert isinstance(run.phase, Creating)
                run = replace(run, phase=replace(run.phase, nonce="n", claim=CREATING.claim))
                fact = facts.NotCreated(attempt=ATTEMPT, fault=fault, jitter=0.0)
            run = after(run, fact, at(now))
            if now < timeout:
                assert run.phase == Creating(denied_since=NOW, not_before=at(now + 30))
        assert (run.status, run.result.error_code) == (RunStatus.FAILED, "access_denied")


def test_an_agent_that_cannot_build_its_request_is_tried_a_few_times() -> None:
    run = a_run(phase=Creating(nonce="n"), attempt=1)
    fact = facts.NotBuilt(turn=1, attempt=1, fault=faults.RequestNotBuilt("x", code="agent_error"), jitter=0.0)
    for count in range(1, AGENT_TRIES):
        run = after(run, fact, NOW)
        assert run.phase == Creating(nonce="n", agent_errors=count, not_before=at(2**count))
    assert after(run, fact, NOW).result.error_code == "agent_error"


# --- endings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", TERMINAL)
@pytest.mark.parametrize("phase", [Creating(), CREATING, AT_WORK, PARKED], ids=lambda phase: type(phase).__name__)
def test_a_run_that_ends_owing_nothing_has_nothing_next(status: RunStatus, phase: Phase) -> None:
    run = a_run(phase=phase, retry_after=5.0)
    ended = end_run(run, at(10), status, code="c", message="m")
    assert (ended.status, next_time(ended), wake_in(ended, at(10))) == (status, None, None)
    assert (ended.result.error_code, ended.result.error_message) == ("c", "m")
    assert ended.phase == Ended(status=status, completed_at=at(10))
    assert ended.completed_at == ended.updated_at == at(10)
    assert (ended.token, ended.outbox.entries) == (None, ())


@pytest.mark.parametrize("phase", ACTIVE, ids=lambda phase: type(phase).__name__)
def test_an_ended_run_waits_for_no_try(phase: Phase) -> None:
    assert after(a_run(phase=phase, retry_after=5.0), CancelRequested(), at(10)).schedule.retry_after == 0.0


@pytest.mark.parametrize(
    ("token", "cancel", "entries", "owed"),
    [
        (None, True, (), []),
        ("resp_1", False, (), []),
        ("resp_1", True, (), ["resp_1"]),
        ("resp_1", True, ("resp_1",), ["resp_1"]),
        ("resp_2", True, ("resp_1",), ["resp_1", "resp_2"]),
        ("resp_2", False, ("resp_1",), ["resp_1"]),
    ],
)
def test_what_a_run_owes_when_it_ends(
    token: str | None, cancel: bool, entries: tuple[str, ...], owed: list[str]
) -> None:
    """It is cancelled, or the provider says that the response is done."""
    run = a_run(
        phase=Creating() if token is None else pending(token), entries=tuple(an_entry(each) for each in entries)
    )
    done_there = Looked(response_id=token or "", answer=an_answer(token), jitter=0.0)
    ended = after(run, CancelRequested() if cancel else done_there, NOW)
    assert ended.status is (RunStatus.CANCELLED if cancel else RunStatus.COMPLETED)
    assert [entry.subject for entry in ended.outbox] == owed
    assert {entry.kind for entry in ended.outbox} <= {EntryKind.CANCEL}
    assert (next_time(ended) is None) is (not owed)


def test_a_run_that_owes_wakes_when_its_first_entry_is_due() -> None:
    run = a_run(entries=(an_entry("resp_1", 300), an_entry("resp_2", 50)))
    ended = end_run(run, at(10), RunStatus.COMPLETED)
    soonest = next_time(ended)
    assert soonest is not None
    assert (soonest.due, wake_in(ended, at(10))) == (at(50), 40.0)


def test_a_long_message_is_cut() -> None:
    ended = end_run(a_run(), NOW, RunStatus.FAILED, code="c", message="m" * 9_000)
    assert len(ended.result.error_message or "") == 4_000


# --- the outbox ---------------------------------------------------------------------------------------


def test_an_entry_is_taken_on_once() -> None:
    outbox = Outbox().adding(an_entry("resp_1"))
    assert outbox.entries == (an_entry("resp_1"),)
    assert outbox.adding(an_entry("resp_1", 99)) == outbox
    assert [entry.subject for entry in outbox.adding(an_entry("resp_2", 99))] == ["resp_1", "resp_2"]
    both = outbox.adding(an_entry("resp_1", 99, EntryKind.DELETE))
    assert [entry.kind for entry in both] == [EntryKind.CANCEL, EntryKind.DELETE], "another thing, of the same response"


@pytest.mark.parametrize("status", TERMINAL)
def test_an_entry_that_is_done_leaves_an_ended_run_with_the_next_one_or_nothing(status: RunStatus) -> None:
    run = end_run(a_run(entries=(an_entry("resp_1"), an_entry("resp_2", 70))), NOW, status)
    one = after(run, done(an_entry("resp_1")), at(5))
    soonest = next_time(one)
    assert soonest is not None
    assert (one.status, soonest.entry, soonest.due) == (status, an_entry("resp_2", 70), at(70))
    none = after(one, done(an_entry("resp_2")), at(80))
    assert (none.status, next_time(none), none.outbox.entries, wake_in(none, at(80))) == (status, None, (), None)


def test_what_is_done_without_being_in_the_outbox_changes_nothing() -> None:
    run = end_run(a_run(entries=(an_entry("resp_1", 70),)), NOW, RunStatus.CANCELLED)
    others = (
        an_entry("resp_9"),
        an_entry("resp_1", kind=EntryKind.DELETE),
        replace(an_entry("resp_1"), since=at(1)),  # what was asked for anew is not done with the old
    )
    for other in others:
        assert refused(run, done(other), at(5)) == Refused()
        assert refused(run, OutboxTried(entry=name_of(other), seconds=9), at(5)) == Refused()


@pytest.mark.parametrize("phase", ACTIVE, ids=lambda phase: type(phase).__name__)
def test_entries_of_a_run_that_goes_on_leave_its_way_alone(phase: Phase) -> None:
    run = a_run(phase=phase, attempt=1)
    run = replace(run, schedule=replace(run.schedule, retry_after=gap_to_next_try(run, NOW)))
    late = ResponseCreated(attempt=replace(ATTEMPT, nonce="m"), answer=an_answer("resp_9"), jitter=0.0)
    owing = after(run, late, NOW)
    known = replace(run.chain, response_ids=("resp_9",))
    assert owing == replace(run, chain=known, outbox=Outbox(entries=(an_entry("resp_9"),)))
    assert after(owing, done(an_entry("resp_9")), NOW) == replace(run, chain=known)


@given(
    status=st.sampled_from(TERMINAL),
    dues=st.lists(st.integers(min_value=-500, max_value=500), max_size=4),
    paid=st.integers(min_value=0, max_value=5),
)
def test_an_ended_run_has_something_next_exactly_while_its_outbox_does(
    status: RunStatus, dues: list[int], paid: int
) -> None:
    entries = tuple(an_entry(f"resp_{index}", due) for index, due in enumerate(dues))
    run = end_run(a_run(entries=entries), NOW, status)
    decision = decide(Before(run=run), done(an_entry(f"resp_{paid}")), NOW, DEFAULTS)
    assert isinstance(decision, Change) is (paid < len(dues))
    run = decision.run if isinstance(decision, Change) else run
    assert run.status is status
    assert len(run.outbox.entries) == len(dues) - (paid < len(dues))
    assert (next_time(run) is None) is (not run.outbox.entries)
    assert (wake_in(run, NOW) is None) is (not run.outbox.entries)
    assert run.is_done is (not run.outbox.entries)


# --- time ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("deadline", "seconds", "wake"),
    [(3_600, 5, 5), (3_600, 3_600, 3_600), (3_600, 9_999, 3_600), (-10, 5, 0), (None, 9_999, 9_999), (3_600, 0, 0)],
)
@pytest.mark.parametrize("phase", [Creating(), pending()], ids=lambda phase: type(phase).__name__)
def test_a_wake_is_never_later_than_the_deadline(
    phase: Phase, deadline: float | None, seconds: float, wake: float
) -> None:
    phase = replace(phase, next_look=at(seconds)) if isinstance(phase, Pending) else Creating(not_before=at(seconds))
    run = a_run(phase=phase, deadline_at=None if deadline is None else at(deadline), entries=(an_entry(),))
    later = after(run, OutboxTried(entry=name_of(an_entry()), seconds=99_999, counts=False), NOW)
    assert (wake_in(later, NOW), later.schedule.retry_after) == (wake, float(wake))
    assert replace(later, outbox=run.outbox, schedule=run.schedule) == run


def test_what_an_ended_run_owes_has_no_deadline() -> None:
    run = a_run(phase=ENDED, entries=(an_entry(),))
    later = after(run, OutboxTried(entry=name_of(an_entry()), seconds=9_999), NOW)
    assert later.outbox.entries == (replace(an_entry(due=9_999), tries=1),)
    assert (wake_in(later, NOW), next_action(later, at(9_998))) == (9_999, None)


# --- parking ------------------------------------------------------------------------------------------


def parked(**changes: Any) -> Run:
    run = a_run(**{"phase": AT_WORK, **changes})
    settings = Settings.model_validate({"answer_seconds": 8_900})
    return after(run, ToolsSettled(turn=1, owner="o", outputs=None), at(100), asked(), settings=settings)


def test_a_parked_run_waits_for_answers_and_nothing_else() -> None:
    run = parked()
    assert run.phase == WaitingForAnswers(answer_by=at(9_000), seconds_left=3_500.0)
    assert (run.status, wake_in(run, at(100)), run.updated_at) == (RunStatus.REQUIRES_ACTION, 8_900, at(100))
    assert (run.token, run.schedule.retry_after, run.schedule.deadline_at) == (None, 0.0, None)


def test_whoever_is_told_of_a_run_hears_of_each_pause_until_it_goes_on() -> None:
    run = parked(callback_url="https://a.example")
    (entry,) = run.outbox
    assert (entry.kind, entry.subject, entry.due) == (EntryKind.CALLBACK, "requires_action_1", at(100))
    resumed = after(run, Answered(answers={"c": Approve(approve=True)}), at(5_000), asked())
    assert resumed.outbox.entries == ()
    assert parked(callback_url="https://a.example", callback_state=CallbackState.DISABLED).outbox.entries == ()


@pytest.mark.parametrize(("deadline", "left"), [(3_600, 3_500.0), (100, 0.0), (50, 0.0), (None, None)])
def test_the_deadline_stands_still_while_parked_and_runs_on_from_there(
    deadline: float | None, left: float | None
) -> None:
    run = parked(deadline_at=None if deadline is None else at(deadline))
    assert run.phase == WaitingForAnswers(answer_by=at(9_000), seconds_left=left)
    assert run.schedule.deadline_at is None
    resumed = after(run, Answered(answers={"c": Approve(approve=True)}), at(5_000), asked())
    assert resumed.schedule.deadline_at == (None if left is None else at(5_000 + left))
    assert (resumed.status, resumed.phase, wake_in(resumed, at(5_000))) == (RunStatus.IN_PROGRESS, RunningTools(), 0.0)
    assert resumed.updated_at == at(5_000)


def test_a_run_goes_on_with_the_last_answer_and_not_before() -> None:
    calls = (asked(), asked(index=1, call_id="d"))
    first = change(parked(), Answered(answers={"c": Approve(approve=True)}), at(200), *calls)
    assert first.run.phase == parked().phase
    assert [(call.index, call.state, call.approval) for call in first.calls] == [(0, CallState.OPEN, Approval.APPROVED)]
    second = change(first.run, Answered(answers={"d": Approve(approve=False)}), at(300), first.calls[0], calls[1])
    assert second.run.phase == RunningTools()
    assert [(each.index, each.approval) for each in second.calls] == [(1, Approval.REFUSED)]


# --- turns --------------------------------------------------------------------------------------------


def test_the_counts_of_a_turn_begin_anew_with_it_and_those_of_the_run_go_on() -> None:
    of_the_run: dict[str, Any] = {"tool_calls": 7, "usage": Usage(total_tokens=9), "items": 5, "corrections": 1}
    of_the_turn = Turn(number=2, attempt=3, unknown_outcomes=2, restarts=1, calls=4, accepted_at=at(1), replay=True)
    run = a_run(phase=AT_WORK, turn=of_the_turn, **of_the_run)
    assert run.replays
    call = a_call(turn=2, state=CallState.FINISHED)
    decided = change(run, ToolsSettled(turn=2, owner="o", outputs="[1]", outputs_of=1), at(10), call)
    fresh = a_run(phase=Creating(), turn=Turn(number=3), updated_at=at(10), journal=decided.run.journal, **of_the_run)
    assert decided == Change(run=fresh, items=("[1]",))
    assert not decided.run.replays, "one turn was replayed, not the run"


def test_a_run_that_has_used_its_turns_begins_no_other() -> None:
    run = a_run(phase=AT_WORK, turn=Turn(number=2, calls=1), limits=Limits(turns=2, tool_calls=9))
    call = a_call(turn=2, state=CallState.FINISHED)
    ended = after(run, ToolsSettled(turn=2, owner="o", outputs="[]", outputs_of=1), at(10), call)
    assert (ended.status, ended.result.error_code, wake_in(ended, at(10))) == (RunStatus.FAILED, "turn_limit", None)


def test_a_response_that_asks_for_tools_leads_to_them() -> None:
    response = AgentResponse(
        status=ResponseStatus.COMPLETED,
        provider_status="completed",
        response_id="resp_1",
        calls=(FunctionCall(call_id="c", name="pay", arguments="{}"),),
    )
    run = a_run(phase=pending())
    decided = change(run, Looked(response_id="resp_1", answer=Answer(response=response, tools={}), jitter=0.0), at(10))
    assert decided.run.phase == RunningTools()
    assert (decided.run.turn.calls, decided.run.counters.tool_calls) == (1, 1)
    assert decided.run.chain.last_response_id == "resp_1"
    assert [(call.call_id, call.state) for call in decided.calls] == [("c", CallState.OPEN)]
    assert len(decided.items) == 1


# --- tombstones ---------------------------------------------------------------------------------------


def test_a_tombstone_holds_no_content_and_owes_all_that_is_left() -> None:
    run = a_run(
        phase=pending("resp_2"),
        metadata={"a": "b"},
        model="m",
        callback_url="https://a.example",
        provider_status="in_progress",
        response_ids=("resp_1", "resp_2"),
    )
    tomb = after(run, Deleted(keep=HOURS_48), NOW)
    assert tomb.phase == Ended(status=RunStatus.CANCELLED, completed_at=NOW, deleted_at=NOW)
    assert (tomb.status, tomb.request.fingerprint, tomb.is_deleted) == (RunStatus.CANCELLED, "s", True)
    assert (tomb.request.metadata, tomb.request.model, tomb.request.callback_url) == ({}, None, None)
    assert (tomb.chain.provider_status, tomb.outbox.callback_state) == (None, None)
    assert [(entry.kind, entry.subject) for entry in tomb.outbox] == [
        (EntryKind.CANCEL, "resp_2"),
        (EntryKind.DELETE, ""),
        (EntryKind.ROWS, ""),
        (EntryKind.REMOVAL, ""),
    ]
    assert tomb.chain.response_ids == ("resp_1", "resp_2"), "each until it is deleted"
    assert wake_in(tomb, NOW) == 0.0
    assert refused(tomb, Deleted(keep=HOURS_48), at(5)) == Refused(), "once"


@pytest.mark.parametrize("status", TERMINAL)
def test_the_tombstone_of_an_ended_run_keeps_how_it_ended_and_no_word_of_it(status: RunStatus) -> None:
    run = end_run(a_run(), NOW, status, code="c", message="m")
    run = replace(run, result=replace(run.result, text="secret", output="{}", incomplete_reason="r"))
    tomb = after(run, Deleted(keep=HOURS_48), at(5))
    assert tomb.phase == Ended(status=status, completed_at=NOW, deleted_at=at(5))
    assert (tomb.result.text, tomb.result.output, tomb.result.error_message) == ("", "", None)
    assert (tomb.result.error_code, tomb.result.incomplete_reason) == ("c", None)
    assert [entry.kind for entry in tomb.outbox] == [EntryKind.ROWS, EntryKind.REMOVAL]


def test_the_tombstone_itself_goes_last_of_all() -> None:
    tomb = after(end_run(a_run(), NOW, RunStatus.COMPLETED), Deleted(keep=HOURS_48), NOW)
    rows = tomb.outbox.entries[0]
    waiting = after(tomb, OutboxTried(entry=name_of(rows), seconds=500_000), NOW)
    assert wake_in(waiting, NOW) == 500_000, "not before the rows are gone"
    alone = after(waiting, done(rows), NOW)
    assert wake_in(alone, NOW) == HOURS_48


def test_one_entry_stands_for_all_responses_until_the_last_is_deleted() -> None:
    run = end_run(a_run(response_ids=("a", "b", "c")), NOW, RunStatus.COMPLETED)
    tomb = after(run, Deleted(keep=HOURS_48), NOW)
    delete = name_of(tomb.outbox.of(EntryKind.DELETE)[0])
    some = after(tomb, ResponsesDeleted(entry=delete, gone=("a", "c"), failed=()), at(1))
    assert some.chain.response_ids == ("b",)
    assert [entry.kind for entry in some.outbox] == [entry.kind for entry in tomb.outbox]
    none = after(some, ResponsesDeleted(entry=delete, gone=("b",), failed=()), at(2))
    assert (none.chain.response_ids, [entry.kind for entry in none.outbox]) == (
        (),
        [EntryKind.ROWS, EntryKind.REMOVAL],
    )


def test_responses_that_could_not_be_deleted_go_behind_the_others() -> None:
    run = end_run(a_run(response_ids=("a", "b", "c")), NOW, RunStatus.COMPLETED)
    tomb = after(run, Deleted(keep=HOURS_48), NOW)
    delete = name_of(tomb.outbox.of(EntryKind.DELETE)[0])
    some = after(tomb, ResponsesDeleted(entry=delete, gone=("b",), failed=("a",)), at(1))
    assert some.chain.response_ids == ("c", "a")


def test_nothing_is_deleted_at_the_provider_before_every_cancel_whatever_the_times() -> None:
    cancel, delete, rows = (
        an_entry("a", due=500),
        an_entry("", kind=EntryKind.DELETE),
        an_entry("", kind=EntryKind.ROWS),
    )
    assert Outbox(entries=(delete, cancel, rows)).ready() == (cancel, rows)
    assert Outbox(entries=(delete, rows)).ready() == (delete, rows)
    waiting = end_run(a_run(entries=(delete, cancel)), NOW, RunStatus.CANCELLED)
    assert wake_in(waiting, NOW) == 500
    assert wake_in(after(waiting, done(cancel), at(500)), at(500)) == 0.0


@pytest.mark.parametrize(("first", "second"), [*product([CancelRequested(), Deleted(keep=HOURS_48)], repeat=2)])
def test_to_end_a_run_twice_changes_its_status_no_more(first: Fact, second: Fact) -> None:
    run = after(a_run(phase=pending()), first, NOW)
    decision = decide(Before(run=run), second, at(9), DEFAULTS)
    later = decision.run if isinstance(decision, Change) else run
    assert (later.status, later.completed_at) == (RunStatus.CANCELLED, NOW)
    assert [each.subject for each in later.outbox.of(EntryKind.CANCEL)] == ["resp_1"]
