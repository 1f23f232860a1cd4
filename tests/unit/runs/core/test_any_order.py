"""The core alone, under any order of facts: current ones, late ones, ones twice, ones that nobody could have sent."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shared.agentkit import faults
from shared.agentkit.agent import Usage
from shared.agentkit.tools import Tool
from shared.runs.model import facts
from shared.runs.model.calls import CallState, ToolCall
from shared.runs.model.outbox import CallbackState, EntryKind
from shared.runs.model.phases import Creating, Ended, Pending, RunningTools, Scheduled, WaitingForAnswers
from shared.runs.model.run import Run
from shared.runs.model.session import Session
from shared.runs.rules.agenda import next_time
from shared.runs.rules.approvals import approval_id
from shared.runs.rules.change import Before, Change, Refused
from shared.runs.rules.decide import TABLE, decide
from shared.settings import Settings
from tests.unit.runs.core.invariants import cancels, check_always, check_change
from tests.unit.runs.core.material import (
    CREATE_FAULTS,
    CREATED,
    JITTER,
    LOOKED,
    PICK,
    SELDOM,
    START,
    STEPS,
    STRICTER,
    TOOLS,
    answer,
    new_run,
)

SETTINGS = Settings(create_attempts=3, max_turns=4, create_restarts=1, tool_starts=3, tool_starts_most=4)


class Core(RuleBasedStateMachine):
    """One run, its rows, and everybody who has something to say about it."""

    @initialize(
        callback=st.booleans(),
        deadline=st.sampled_from([600, 86_400]),
        turns=st.integers(1, 3),
        tokens=st.sampled_from([10, 20, 1_000]),
        later=SELDOM,
        steps=STEPS,
    )
    def begin(
        self, callback: bool, deadline: int, turns: int, tokens: int, later: bool, steps: list[tuple[str, str, bool]]
    ) -> None:
        self.now = START
        self.numbers = itertools.count(1)
        self.run = new_run(callback=callback, deadline=deadline, turns=turns, tokens=tokens, later=later)
        self.calls: dict[tuple[int, int], ToolCall] = {}
        self.adopted: dict[tuple[int, int], str] = {}
        self.failed: set[str] = set()
        self.settled: set[str] = set()
        """Nonces of attempts that something was heard of: no response of theirs is adopted any more."""
        self.alive: set[str] = set()
        """Responses that may be at work at the provider."""
        self.attempts: list[facts.Attempt] = []
        self.responses: list[str] = []
        self.owners: list[str] = []
        for step in steps:
            self.what_is_expected_happens(*step)

    # --- what is decided, and held against what must be true ---

    def fact(self, fact: Any, *, busy: bool = False) -> Change | Refused:
        run = self.run
        calls = tuple(self.calls.values())
        if not isinstance(fact, facts.Answered):
            calls = tuple(call for call in calls if call.turn == run.turn.number)
        session = Session(
            session_id="0" * 32,
            agent="a",
            owner="o",
            created_at=START,
            last_activity=START,
            active_run=2 if busy else 1,
        )
        decision = decide(Before(run=run, calls=calls, session=session), fact, self.now, SETTINGS)
        if isinstance(decision, Refused):
            return decision
        check_change(run, self.calls, fact, decision, self.now)
        self.calls.update({(call.turn, call.index): call for call in decision.calls})
        self._adoption(run, decision.run, fact)
        self.run = decision.run
        return decision

    def _adoption(self, run: Run, after: Run, fact: Any) -> None:
        """At most one response of a turn is adopted at a time, and another only after that one failed."""
        response_id = fact.answer.response.response_id if isinstance(fact, facts.ResponseCreated) else None
        if response_id is None or response_id in cancels(after):
            return  # one that is not wanted is to be cancelled
        attempt, turn = fact.attempt, run.turn
        assert isinstance(run.phase, Creating)
        assert (attempt.turn, attempt.number, attempt.nonce) == (turn.number, turn.attempt, run.phase.nonce)
        assert attempt.nonce not in self.settled, "an attempt has one outcome"
        for (before, _), other in self.adopted.items():
            assert before != turn.number or other in self.failed, f"{response_id} beside {other}"
        self.adopted[turn.number, turn.attempt] = response_id
        self.settled.add(attempt.nonce)
        if isinstance(after.phase, Creating) and after.turn.restarts > turn.restarts:
            self.failed.add(response_id)

    # --- what is expected: a run gets far only if most of its steps are such ---

    @rule(created=CREATED, looked=LOOKED, yes=st.booleans(), late=st.sampled_from([*[0.0] * 15, 90_000.0]))
    def what_is_expected_happens(self, created: str, looked: str, yes: bool, late: float = 0.0) -> None:
        self.now += timedelta(seconds=late)
        if not isinstance(self.run.phase, WaitingForAnswers | Ended):
            self.until_the_next_thing_to_do()
        match self.run.phase:
            case Scheduled():
                if yes:
                    self.it_finds_no_place(0)
                self.until_the_next_thing_to_do()
                self.it_starts(1, 0.0)
            case Creating(claim=None):
                self.somebody_claims(1, "")
            case Creating():
                self.it_is_told_again(0, 0)
                self.a_response_was_created(0, created)
            case Pending(token=token):
                pick = self.responses[::-1].index(token.response_id)
                self.somebody_looked(pick + 1, looked)
                self.somebody_looked(pick, looked)
            case RunningTools():
                if looked == "pending":
                    self.rounds_are_interrupted(3, STRICTER if created == "tools" else TOOLS, yes)
                    self.until_the_next_thing_to_do()
                self.a_round_of_tools(TOOLS, 5 if yes else 1, True)
            case WaitingForAnswers():
                self.answered(next(call for call in self.calls.values() if call.state is CallState.WAITING), yes)

    @rule(tools=st.sampled_from([TOOLS, STRICTER]), ended=st.integers(0, 5), settled=st.booleans())
    def a_round_of_tools(self, tools: dict[str, Tool], ended: int, settled: bool) -> None:
        self.somebody_takes_the_lease(tools)
        self.it_is_renewed(1, None)
        self.the_tools_are_settled(1, True)
        for _ in range(ended):
            self.a_tool_ends(0)
        if settled:
            self.the_tools_are_settled(0, True)

    @rule(rounds=st.integers(1, 3), tools=st.sampled_from([TOOLS, STRICTER]), beside=st.booleans())
    def rounds_are_interrupted(self, rounds: int, tools: dict[str, Tool], beside: bool) -> None:
        for _ in range(rounds):
            if isinstance(self.run.phase, RunningTools):
                self.until_the_next_thing_to_do()
                self.somebody_takes_the_lease(tools)
                self.it_is_renewed(0, beside)

    @rule(another=st.booleans(), looks=st.integers(1, 4))
    def the_provider_does_not_know_it(self, another: bool, looks: int) -> None:
        for _ in range(looks):
            if (token := self.run.token) is not None:
                self.now += timedelta(seconds=61)
                self.a_look_told_nothing(self.responses[::-1].index(token.response_id), True, another)

    @rule(seconds=st.sampled_from([0.0, 0.5, 2.0, 30.0, 61.0, 91.0, 400.0, 4_000.0, 700_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    @rule()
    def until_the_next_thing_to_do(self) -> None:
        if (soonest := next_time(self.run)) is not None:
            self.now = max(self.now, soonest.due)

    @rule(slot=st.sampled_from([None, 1]), late=st.sampled_from([0.0, 0.0, 130.0]))
    def it_starts(self, slot: int | None, late: float) -> None:
        before, taken_at = self.run, self.now - timedelta(seconds=late)
        decision = self.fact(facts.Started(slot=slot, taken_at=taken_at))
        in_time = isinstance(before.phase, Scheduled) and self.now >= before.phase.not_before
        assert isinstance(decision, Change) is (in_time and (slot is None or not late)), "once, in time, in its place"

    @rule(late=st.integers(0, 1))
    def it_finds_no_place(self, late: int) -> None:
        before = self.run.phase
        refusals = before.refusals if isinstance(before, Scheduled) else 0
        decision = self.fact(facts.NotStarted(refusals=refusals - late, jitter=0.0))
        assert isinstance(decision, Change) is (isinstance(before, Scheduled) and not late), "one refusal counts once"

    @rule(ahead=st.sampled_from([1, 0, 2]), owner=st.sampled_from(["", "call"]))
    def somebody_claims(self, ahead: int, owner: str) -> None:
        number = self.run.turn.attempt + ahead
        attempt = facts.Attempt(turn=self.run.turn.number, number=number, nonce=f"n{next(self.numbers)}")
        self.fact(facts.Claimed(attempt=attempt, seconds=60.0, grace=30.0, owner=owner))
        self.attempts.append(attempt)

    def attempt(self, pick: int) -> facts.Attempt:
        """One that somebody made, or tried to; the latest may be the current one."""
        none = facts.Attempt(turn=1, number=1, nonce="none")
        return self.attempts[-1 - pick % len(self.attempts)] if self.attempts else none

    def response(self, pick: int) -> str:
        return self.responses[-1 - pick % len(self.responses)] if self.responses else "resp_none"

    def owner(self, pick: int) -> str:
        return self.owners[-1 - pick % len(self.owners)] if self.owners else "none"

    @rule(pick=PICK, fault=CREATE_FAULTS, jitter=JITTER)
    def nothing_was_created(self, pick: int, fault: faults.ProviderFault, jitter: float) -> None:
        attempt = self.attempt(pick)
        decision = self.of_an_attempt(attempt, facts.NotCreated(attempt=attempt, fault=fault, jitter=jitter))
        if isinstance(decision, Change):
            self.settled.add(attempt.nonce)
            self.a_response_was_created(pick, "pending")
            self.somebody_claims(1, "")

    @rule(jitter=JITTER)
    def the_agent_fails(self, jitter: float) -> None:
        turn = self.run.turn
        fault = faults.RequestNotBuilt("KeyError", code="agent_error")
        self.fact(facts.NotBuilt(turn=turn.number, attempt=turn.attempt, fault=fault, jitter=jitter))

    @rule(pick=PICK, within=st.booleans())
    def nobody_knows(self, pick: int, within: bool) -> None:
        attempt = self.attempt(pick)
        self.of_an_attempt(attempt, facts.OutcomeUnknown(attempt=attempt, code="http_500", within_call=within))

    @rule(pick=PICK)
    def a_claim_ran_out(self, pick: int) -> None:
        attempt = self.attempt(pick)
        self.of_an_attempt(attempt, facts.ClaimRanOut(attempt=attempt))

    def of_an_attempt(self, attempt: facts.Attempt, fact: Any) -> Change | Refused:
        before, decision = self.run, self.fact(fact)
        current = (before.turn.number, before.turn.attempt) == (attempt.turn, attempt.number)
        if not (current and isinstance(before.phase, Creating) and before.phase.nonce == attempt.nonce):
            assert isinstance(decision, Refused), "a late fact of an earlier attempt changes nothing"
        return decision

    @rule(pick=PICK, status=CREATED)
    def a_response_was_created(self, pick: int, status: str) -> None:
        response_id = f"resp_{next(self.numbers)}"
        self.responses.append(response_id)
        self.fact(
            facts.ResponseCreated(
                attempt=self.attempt(pick), answer=answer(response_id, status, 1 + len(self.responses) % 5), jitter=0.0
            )
        )
        if status == "pending":
            self.alive.add(response_id)
        assert response_id in self.run.chain.response_ids, "a response that was created is never forgotten"

    @rule(of=PICK, pick=PICK)
    def it_is_told_again(self, of: int, pick: int) -> None:
        if not self.responses:
            return
        before, response_id = self.run, self.response(of)
        decision = self.fact(
            facts.ResponseCreated(attempt=self.attempt(pick), answer=answer(response_id, "pending", 0), jitter=0.0)
        )
        if response_id in before.chain.response_ids:
            assert isinstance(decision, Refused)
        else:
            self.alive.add(response_id)

    @rule(of=PICK, status=LOOKED)
    def somebody_looked(self, of: int, status: str) -> None:
        before, response_id = self.run, self.response(of)
        decision = self.fact(
            facts.Looked(
                response_id=response_id, answer=answer(response_id, status, 1 + len(self.responses) % 5), jitter=0.0
            )
        )
        current = isinstance(before.phase, Pending) and before.phase.token.response_id == response_id
        assert isinstance(decision, Change) is current, "only news of the response that is waited for counts"
        if current and status != "pending":
            self.alive.discard(response_id)
        if current and status == "server" and isinstance(self.run.phase, Creating):
            assert self.run.turn.restarts == before.turn.restarts + 1
            self.failed.add(response_id)

    @rule(of=PICK, missing=st.booleans(), another=st.booleans())
    def a_look_told_nothing(self, of: int, missing: bool, another: bool) -> None:
        response_id = self.response(of)
        fault = faults.ResponseMissing("gone", code="http_404") if missing else faults.NoNews("?", code="http_500")
        another = missing and another
        fact = facts.NoNews(response_id=response_id, fault=fault, jitter=0.0, missing=missing, is_another=another)
        if isinstance(self.fact(fact), Change) and another and self.run.terminal:
            self.alive.discard(response_id)  # that id is somebody else's now

    @rule(tools=st.sampled_from([TOOLS, STRICTER]))
    def somebody_takes_the_lease(self, tools: dict[str, Tool]) -> None:
        owner = f"w{next(self.numbers)}"
        self.owners.append(owner)
        self.fact(facts.LeaseTaken(turn=self.run.turn.number, owner=owner, tools=tools))

    @rule(pick=PICK, beside=st.sampled_from([None, True, False]))
    def it_is_renewed(self, pick: int, beside: bool | None) -> None:
        before, owner = self.run, self.owner(pick)
        decision = self.fact(facts.LeaseRenewed(owner=owner, beside_others=beside))
        held = isinstance(before.phase, RunningTools) and before.phase.lease is not None
        assert isinstance(decision, Change) is (held and before.phase.lease.owner == owner)  # type: ignore[union-attr]

    @rule(pick=PICK)
    def a_tool_ends(self, pick: int) -> None:
        """Its row is written under its own ETag, by whoever is its owner."""
        owner = self.owner(pick)
        for key, call in self.calls.items():
            if call.owner == owner and call.state is CallState.STARTED:
                self.calls[key] = replace(call, state=CallState.FINISHED, result="done")
                return

    @rule(pick=PICK, told=st.booleans())
    def the_tools_are_settled(self, pick: int, told: bool) -> None:
        turn, owner = self.run.turn.number, self.owner(pick)
        mine = [call for call in self.calls.values() if call.turn == turn]
        done = bool(mine) and all(call.state is CallState.FINISHED for call in mine)
        fact = facts.ToolsSettled(turn=turn, owner=owner, outputs=None)
        if told and done:
            fact = replace(fact, outputs="[]", outputs_of=len(mine))
        decision = self.fact(fact)
        states = {call.state for call in mine}
        if decision == Refused("runnable"):
            assert any(state.runnable for state in states), "only what can run is run"
        if decision == Refused("settled_since"):
            assert states == {CallState.FINISHED}, "questions park a run"
            assert fact.outputs is None

    @rule(data=st.data(), approve=st.booleans())
    def somebody_answers(self, data: st.DataObject, approve: bool) -> None:
        if not self.calls:
            return
        call = data.draw(st.sampled_from(sorted(self.calls.values(), key=lambda each: (each.turn, each.index))))
        self.answered(call, approve)

    def answered(self, call: ToolCall, approve: bool) -> None:
        before = self.run
        decision = self.fact(facts.Answered(answers={approval_id(call): facts.Approve(approve=approve)}))
        if isinstance(decision, Change):
            assert call.state is CallState.WAITING
            assert not before.terminal

    @rule(surely=SELDOM)
    def it_is_cancelled(self, surely: bool) -> None:
        if surely:
            self.fact(facts.CancelRequested())
            assert self.run.terminal

    @rule(surely=SELDOM, busy=st.booleans())
    def it_is_deleted(self, surely: bool, busy: bool) -> None:
        if not surely:
            return
        decision = self.fact(facts.Deleted(keep=172_800.0), busy=busy)
        assert self.run.is_deleted or busy
        for entry in (each for each in self.run.outbox.ready() if each.kind is EntryKind.DELETE):
            name, ids = facts.EntryName(kind=entry.kind, subject="", since=entry.since), self.run.chain.response_ids
            self.fact(facts.ResponsesDeleted(entry=name, gone=ids[1:2], failed=ids[:1], seconds=5.0))
        assert not busy or isinstance(decision, Refused), "not while another run of its session is active"

    @rule()
    def time_is_up(self) -> None:
        self.fact(facts.DeadlinePassed())

    @rule()
    def the_agent_is_unknown(self) -> None:
        self.fact(facts.AgentUnknown())

    @rule(times=st.sampled_from([1, 2, 10]), late=st.booleans())
    def wakes_crash(self, times: int, late: bool) -> None:
        for _ in range(times):
            seen = self.run.schedule.crashes
            self.fact(facts.WakeCrashed(seen=max(0, seen - 1) if late else seen, error="KeyError", jitter=0.0))

    @rule(data=st.data(), how=st.sampled_from(["claimed", "tried", "done", "some"]), late=st.booleans())
    def the_outbox_is_worked_on(self, data: st.DataObject, how: str, late: bool) -> None:
        """``late``: by a wake that read the row before the entry was asked for anew, or claimed."""
        if not (ready := self.run.outbox.ready()):
            return
        entry, before = data.draw(st.sampled_from(ready)), self.run.outbox.entries
        since = entry.since - timedelta(seconds=late)
        name = facts.EntryName(kind=entry.kind, subject=entry.subject, since=since)
        match how:
            case "claimed" if entry.kind is EntryKind.CALLBACK:
                current = replace(name, since=entry.since)
                decision = self.fact(facts.CallbackClaimed(entry=current, tries=entry.tries - late, seconds=60.0))
                assert isinstance(decision, Change) is (not late and entry.due <= self.now), "one wake makes an attempt"
            case "tried":
                self.fact(facts.OutboxTried(entry=name, seconds=5.0))
            case "some" if entry.kind is EntryKind.DELETE:
                ids = self.run.chain.response_ids
                self.fact(facts.ResponsesDeleted(entry=name, gone=ids[:1], failed=ids[1:2]))
            case "done" if entry.kind not in (EntryKind.DELETE, EntryKind.REMOVAL):
                usage = Usage(total_tokens=1) if entry.kind is EntryKind.CANCEL else None
                state = CallbackState.DELIVERED if entry.kind is EntryKind.CALLBACK else None
                self.fact(facts.OutboxDone(entry=name, usage=usage, callback_state=state))
                if not late and entry.kind is EntryKind.CANCEL:
                    self.alive.discard(entry.subject)
        assert not late or self.run.outbox.entries == before, "a late word on an entry changes nothing"

    @rule()
    def the_callback_is_asked_for_again(self) -> None:
        self.fact(facts.CallbackRequested())

    # --- what is always true ---

    @invariant()
    def it_keeps_the_rules(self) -> None:
        check_always(self.run, self.calls, self.now, SETTINGS)

    @invariant()
    def nothing_runs_at_the_provider_unseen(self) -> None:
        """What may run there, and cost money, is waited for or is to be cancelled; and never both."""
        token = self.run.token
        waited_for = set() if token is None else {token.response_id}
        assert self.alive <= waited_for | cancels(self.run)
        assert not waited_for & cancels(self.run)


TestCore = Core.TestCase
TestCore.settings = hypothesis_settings(max_examples=500, stateful_step_count=30, deadline=None)


def test_every_fact_has_its_line_in_the_table() -> None:
    assert set(TABLE) == set(facts.Fact.__args__)  # type: ignore[attr-defined]
