"""The core alone, under any order of facts: current ones, late ones, ones twice, ones that nobody could have sent."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

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
from shared.runs.model import facts
from shared.runs.model.calls import CallState, ToolCall
from shared.runs.model.outbox import CallbackState, EntryKind
from shared.runs.model.phases import Creating, Ended, Pending, RunningTools, RunStatus, WaitingForAnswers
from shared.runs.model.run import Limits, Request, Run, Schedule, Session
from shared.runs.rules.agenda import agenda, next_action, next_time
from shared.runs.rules.approvals import approval_id
from shared.runs.rules.change import Before, Change, Refused
from shared.runs.rules.decide import TABLE, decide, may_lead_to
from shared.settings import Settings

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
SETTINGS = Settings(create_attempts=3, max_turns=4)


def _nothing() -> None: ...


TOOLS = {
    "free": Tool(name="free", description="", function=_nothing),
    "guarded": Tool(name="guarded", description="", function=_nothing, requires_approval=True),
    "once": Tool(name="once", description="", function=_nothing, at_most_once=True),
}

CREATE_FAULTS = st.sampled_from(
    [
        faults.NotAccepted("no", code="http_429", retry_after=3.0),
        faults.NotAccepted("no place", code=faults.NOT_SENT),
        faults.AccessDenied("denied", code="http_403"),
        faults.PreviousResponseMissing("gone", code="previous_response_not_found"),
        faults.ToolOutputsRefused("no", code="refused"),
        faults.Refused("bad", code="http_400"),
    ]
)
JITTER = st.sampled_from([0.0, 0.5])


class Core(RuleBasedStateMachine):
    """One run, its rows, and everybody who has something to say about it."""

    attempts = Bundle("attempts")
    responses = Bundle("responses")
    owners = Bundle("owners")

    @initialize(callback=st.booleans(), deadline=st.sampled_from([600, 86_400]), turns=st.integers(1, 3))
    def begin(self, callback: bool, deadline: int, turns: int) -> None:
        self.now = START
        self.numbers = itertools.count(1)
        self.run = Run(
            request=Request(
                session_id="0" * 32,
                number=1,
                agent="a",
                owner="o",
                fingerprint="f",
                created_at=START,
                limits=Limits(turns=turns, tool_calls=12, total_tokens=1_000),
                callback_url="https://x.example" if callback else None,
            ),
            schedule=Schedule(deadline_at=START + timedelta(seconds=deadline)),
            updated_at=START,
        )
        self.calls: dict[tuple[int, int], ToolCall] = {}
        self.adopted: dict[tuple[int, int], str] = {}
        self.failed: set[str] = set()

    # --- what is decided, and held against what must be true ---

    def fact(self, fact: Any) -> Change | Refused:
        run = self.run
        calls = tuple(self.calls.values())
        if not isinstance(fact, facts.Answered):
            calls = tuple(call for call in calls if call.turn == run.turn.number)
        session = Session(
            session_id="0" * 32, agent="a", owner="o", created_at=START, last_activity=START, active_run=1
        )
        decision = decide(Before(run=run, calls=calls, session=session), fact, self.now, SETTINGS)
        if isinstance(decision, Refused):
            return decision
        after = decision.run
        assert type(after.phase) in may_lead_to(type(fact), type(run.phase))
        if run.terminal:
            assert after.status is run.status, "terminal is terminal"
            assert after.is_deleted or not run.is_deleted
        assert after.turn.number in (run.turn.number, run.turn.number + 1)
        assert after.turn.attempt >= run.turn.attempt or after.turn.number > run.turn.number
        for call in decision.calls:
            before = self.calls.get((call.turn, call.index))
            assert before is None or before.state is not CallState.FINISHED, "a finished call is never touched again"
            assert before is None or call.starts >= before.starts
            self.calls[call.turn, call.index] = call
        self._adoption(run, after, fact)
        self.run = after
        return decision

    def _adoption(self, run: Run, after: Run, fact: Any) -> None:
        """At most one response of a turn is adopted at a time, and another only after that one failed."""
        if not isinstance(fact, facts.ResponseCreated) or not isinstance(run.phase, Creating):
            return
        response_id = fact.answer.response.response_id
        assert response_id is not None
        if after.outbox.entries != run.outbox.entries and not after.terminal:
            return  # not wanted: to be cancelled
        turn = run.turn.number
        for (before, _), other in self.adopted.items():
            assert before != turn or other in self.failed, f"{response_id} beside {other}"
        self.adopted[turn, run.turn.attempt] = response_id

    # --- what happens ---

    @rule(seconds=st.sampled_from([0.0, 0.5, 2.0, 30.0, 61.0, 91.0, 400.0, 4_000.0, 700_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    @rule()
    def until_the_next_thing_to_do(self) -> None:
        if (soonest := next_time(self.run)) is not None:
            self.now = max(self.now, soonest.due)

    @rule(target=attempts, ahead=st.integers(0, 2), owner=st.sampled_from(["", "call"]))
    def somebody_claims(self, ahead: int, owner: str) -> facts.Attempt:
        number = self.run.turn.attempt + ahead
        attempt = facts.Attempt(turn=self.run.turn.number, number=number, nonce=f"n{next(self.numbers)}")
        phase, before = self.run.phase, self.run
        decision = self.fact(facts.Claimed(attempt=attempt, seconds=60.0, grace=30.0, owner=owner))
        if isinstance(decision, Change):
            assert isinstance(phase, Creating)
            assert phase.claim is None
            assert before.schedule.deadline_at is None or self.now < before.schedule.deadline_at
        return attempt

    @rule(fault=CREATE_FAULTS, jitter=JITTER, attempt=attempts)
    def nothing_was_created(self, attempt: facts.Attempt, fault: faults.ProviderFault, jitter: float) -> None:
        self.of_an_attempt(attempt, facts.NotCreated(attempt=attempt, fault=fault, jitter=jitter))

    @rule(jitter=JITTER)
    def the_agent_fails(self, jitter: float) -> None:
        turn = self.run.turn
        fault = faults.RequestNotBuilt("KeyError", code="agent_error")
        self.fact(facts.NotBuilt(turn=turn.number, attempt=turn.attempt, fault=fault, jitter=jitter))

    @rule(attempt=attempts, within=st.booleans())
    def nobody_knows(self, attempt: facts.Attempt, within: bool) -> None:
        self.of_an_attempt(attempt, facts.OutcomeUnknown(attempt=attempt, code="http_500", within_call=within))

    @rule(attempt=attempts)
    def a_claim_ran_out(self, attempt: facts.Attempt) -> None:
        self.of_an_attempt(attempt, facts.ClaimRanOut(attempt=attempt))

    def of_an_attempt(self, attempt: facts.Attempt, fact: Any) -> None:
        before, decision = self.run, self.fact(fact)
        current = (before.turn.number, before.turn.attempt) == (attempt.turn, attempt.number)
        if not (current and isinstance(before.phase, Creating) and before.phase.nonce == attempt.nonce):
            assert isinstance(decision, Refused), "a late fact of an earlier attempt changes nothing"

    @rule(target=responses, attempt=attempts, status=st.sampled_from(["pending", "tools", "completed", "failed"]))
    def a_response_was_created(self, attempt: facts.Attempt, status: str) -> str:
        response_id = f"resp_{next(self.numbers)}"
        self.fact(facts.ResponseCreated(attempt=attempt, answer=self.answer(response_id, status), jitter=0.0))
        assert response_id in self.run.chain.response_ids, "a response that was created is never forgotten"
        return response_id

    @rule(response_id=responses, attempt=attempts)
    def it_is_told_again(self, response_id: str, attempt: facts.Attempt) -> None:
        before = self.run
        decision = self.fact(
            facts.ResponseCreated(attempt=attempt, answer=self.answer(response_id, "pending"), jitter=0.0)
        )
        if response_id in before.chain.response_ids:
            assert isinstance(decision, Refused)

    @rule(response_id=responses, status=st.sampled_from(["pending", "tools", "completed", "failed", "cut", "server"]))
    def somebody_looked(self, response_id: str, status: str) -> None:
        before = self.run
        decision = self.fact(facts.Looked(response_id=response_id, answer=self.answer(response_id, status), jitter=0.0))
        current = isinstance(before.phase, Pending) and before.phase.token.response_id == response_id
        assert isinstance(decision, Change) is current, "only news of the response that is waited for counts"
        if current and status == "server" and isinstance(self.run.phase, Creating):
            self.failed.add(response_id)

    @rule(response_id=responses, missing=st.booleans(), another=st.booleans())
    def a_look_told_nothing(self, response_id: str, missing: bool, another: bool) -> None:
        fault = faults.ResponseMissing("gone", code="http_404") if missing else faults.NoNews("?", code="http_500")
        self.fact(
            facts.NoNews(
                response_id=response_id, fault=fault, jitter=0.0, missing=missing, is_another=missing and another
            )
        )

    def answer(self, response_id: str, status: str) -> facts.Answer:
        kind = {"tools": "completed", "server": "failed", "cut": "incomplete"}.get(status, status)
        names = ["free", "guarded", "once", "gone"][: 1 + len(self.adopted) % 4]
        response = AgentResponse(
            status=ResponseStatus(kind),
            provider_status=kind,
            response_id=response_id,
            continuation_token=ContinuationToken(response_id=response_id) if status == "pending" else None,
            text="Fine." if status == "completed" else "",
            items=({"type": "message"},),
            calls=tuple(FunctionCall(call_id=f"c{i}", name=name, arguments="{}") for i, name in enumerate(names))
            if status == "tools"
            else (),
            approvals=(ApprovalRequest(request_id="m", server="s", name="t", arguments="{}"),)
            if status == "tools" and len(names) == 4
            else (),
            usage=Usage(total_tokens=10) if status != "pending" else Usage(),
            error_code={"server": "server_error", "failed": "invalid_prompt"}.get(status),
        )
        return facts.Answer(response=response, tools=TOOLS)

    @rule(target=owners)
    def somebody_takes_the_lease(self) -> str:
        owner, phase = f"w{next(self.numbers)}", self.run.phase
        decision = self.fact(facts.LeaseTaken(turn=self.run.turn.number, owner=owner, tools=TOOLS))
        if isinstance(decision, Change):
            assert isinstance(phase, RunningTools)
            assert phase.lease is None or phase.lease.until <= self.now, "a lease that holds is nobody else's"
        return owner

    @rule(owner=owners, beside=st.sampled_from([None, True, False]))
    def it_is_renewed(self, owner: str, beside: bool | None) -> None:
        before = self.run
        decision = self.fact(facts.LeaseRenewed(owner=owner, beside_others=beside))
        held = isinstance(before.phase, RunningTools) and before.phase.lease is not None
        assert isinstance(decision, Change) is (held and before.phase.lease.owner == owner)  # type: ignore[union-attr]

    @rule(owner=owners)
    def a_tool_ends(self, owner: str) -> None:
        """Its row is written under its own ETag, by whoever is its owner."""
        for key, call in self.calls.items():
            if call.owner == owner and call.state is CallState.STARTED:
                self.calls[key] = _finished(call)
                return

    @rule(owner=owners, told=st.booleans())
    def the_tools_are_settled(self, owner: str, told: bool) -> None:
        turn, before = self.run.turn.number, self.run
        mine = [call for call in self.calls.values() if call.turn == turn]
        done = bool(mine) and all(call.state is CallState.FINISHED for call in mine)
        self.fact(facts.ToolsSettled(turn=turn, owner=owner, outputs="[]" if told and done else None))
        if self.run.turn.number > turn:
            assert isinstance(before.phase, RunningTools)
            assert done, "the next turn has all outputs"

    @rule(data=st.data(), approve=st.booleans())
    def somebody_answers(self, data: st.DataObject, approve: bool) -> None:
        if not self.calls:
            return
        call = data.draw(st.sampled_from(sorted(self.calls.values(), key=lambda each: (each.turn, each.index))))
        answers = {approval_id(call): facts.Approve(approve=approve)}
        before = self.run
        decision = self.fact(facts.Answered(answers=answers))
        if isinstance(decision, Change):
            assert call.state is CallState.WAITING
            assert not before.terminal

    @rule()
    def it_is_cancelled(self) -> None:
        before = self.run
        self.fact(facts.CancelRequested())
        assert self.run.terminal
        if isinstance(before.phase, Pending):
            cancels = {entry.subject for entry in self.run.outbox.of(EntryKind.CANCEL)}
            assert before.phase.token.response_id in cancels

    @rule()
    def it_is_deleted(self) -> None:
        self.fact(facts.Deleted(keep=172_800.0))
        assert self.run.is_deleted
        assert self.run.result.text == ""

    @rule()
    def time_is_up(self) -> None:
        self.fact(facts.DeadlinePassed())

    @rule()
    def the_agent_is_unknown(self) -> None:
        self.fact(facts.AgentUnknown())

    @rule(late=st.booleans())
    def a_wake_crashes(self, late: bool) -> None:
        seen = self.run.schedule.crashes
        self.fact(facts.WakeCrashed(seen=max(0, seen - 1) if late else seen, error="KeyError", jitter=0.0))

    @rule(data=st.data(), how=st.sampled_from(["claimed", "tried", "done", "some", "given up"]))
    def the_outbox_is_worked_on(self, data: st.DataObject, how: str) -> None:
        ready = [entry for entry in self.run.outbox.ready() if entry.due <= self.now]
        if not ready:
            return
        entry = data.draw(st.sampled_from(ready))
        name = facts.EntryName(kind=entry.kind, subject=entry.subject, since=entry.since)
        match how:
            case "claimed" if entry.kind is EntryKind.CALLBACK:
                self.fact(facts.CallbackClaimed(entry=name, tries=entry.tries, seconds=60.0))
            case "tried":
                self.fact(facts.OutboxTried(entry=name, seconds=5.0))
            case "some" if entry.kind is EntryKind.DELETE:
                ids = self.run.chain.response_ids
                self.fact(facts.ResponsesDeleted(entry=name, gone=ids[:1], failed=ids[1:2]))
            case "done" if entry.kind not in (EntryKind.DELETE, EntryKind.REMOVAL):
                usage = Usage(total_tokens=1) if entry.kind is EntryKind.CANCEL else None
                state = CallbackState.DELIVERED if entry.kind is EntryKind.CALLBACK else None
                self.fact(facts.OutboxDone(entry=name, usage=usage, callback_state=state))

    @rule()
    def the_callback_is_asked_for_again(self) -> None:
        self.fact(facts.CallbackRequested())

    # --- what is always true ---

    @invariant()
    def somebody_always_looks(self) -> None:
        todo = agenda(self.run)
        assert bool(todo) is not self.run.is_done
        if isinstance(self.run.phase, Ended):
            assert bool(todo) is bool(self.run.outbox.entries)
        assert (next_action(self.run, self.now) is not None) is any(each.due <= self.now for each in todo)

    @invariant()
    def the_status_follows_from_the_phase(self) -> None:
        run = self.run
        assert run.status.terminal is isinstance(run.phase, Ended)
        assert (run.status is RunStatus.REQUIRES_ACTION) is isinstance(run.phase, WaitingForAnswers)
        assert run.schedule.deadline_at is None or not isinstance(run.phase, WaitingForAnswers)

    @invariant()
    def a_tombstone_goes_last_of_all(self) -> None:
        kinds = {entry.kind for entry in self.run.outbox.entries}
        if EntryKind.REMOVAL in kinds and len(kinds) > 1:
            assert EntryKind.REMOVAL not in {entry.kind for entry in self.run.outbox.ready()}


def _finished(call: ToolCall) -> ToolCall:
    from dataclasses import replace

    return replace(call, state=CallState.FINISHED, result="done")


TestCore = Core.TestCase
TestCore.settings = hypothesis_settings(max_examples=300, stateful_step_count=40, deadline=None)


def test_every_fact_has_its_line_in_the_table() -> None:
    assert set(TABLE) == set(facts.Fact.__args__)  # type: ignore[attr-defined]
