"""What may follow what: one table of facts, each with the rule that decides it and the phases it may lead to.

``decide`` is pure. What it comes to is written by ``commit`` and by nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from shared.runs.model import facts
from shared.runs.model.facts import Fact
from shared.runs.model.journal import Journal
from shared.runs.model.phases import Creating, Ended, Pending, Phase, RunningTools, Scheduled, WaitingForAnswers
from shared.runs.model.run import Run
from shared.runs.rules import creating, ending, outbox, responses, starting, tools
from shared.runs.rules.agenda import gap_to_next_try
from shared.runs.rules.change import Before, Decision, Refused
from shared.runs.rules.journal import noted
from shared.settings import Settings

PHASES = (Scheduled, Creating, Pending, RunningTools, WaitingForAnswers, Ended)


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the table."""

    decide: Callable[[Before, Any, datetime, Settings], Decision]
    """Any: each rule takes the one class of facts that it stands beside."""

    leads: dict[type[Phase], tuple[type[Phase], ...]]
    """From the phase that it finds to those that it may leave. In any other phase it is refused."""

    stays: bool = False
    """Whether it may also be taken in every other phase, without leaving it."""

    is_progress: bool = True
    """Whether it resets the count of crashes, as whatever ends the run does: not where a right is only taken."""

    knows_agent: bool = False
    """Whether only a build that knows the run's agent brings it, so that it ends the wait for such a build."""


_BEGUN = (Creating, Pending, RunningTools, WaitingForAnswers)
_ENDS: dict[type[Phase], tuple[type[Phase], ...]] = dict.fromkeys(_BEGUN, (Ended,))
_ENDS_OR_WAITS: dict[type[Phase], tuple[type[Phase], ...]] = {phase: (phase, Ended) for phase in _BEGUN}
_AFTER_A_RESPONSE = (Pending, Creating, RunningTools, Ended)

TABLE: dict[type[Fact], Rule] = {
    facts.Started: Rule(starting.started, {Scheduled: (Creating,)}),
    facts.NotStarted: Rule(starting.not_started, {Scheduled: (Scheduled,)}),
    # Rights reset no crashes: a wake that takes one and then crashes, again and again, must reach the limit.
    facts.Claimed: Rule(creating.claimed, {Creating: (Creating,)}, is_progress=False, knows_agent=True),
    facts.NotBuilt: Rule(creating.not_built, {Creating: (Creating, Ended)}, knows_agent=True),
    facts.NotCreated: Rule(creating.not_created, {Creating: (Creating, Ended)}),
    facts.OutcomeUnknown: Rule(creating.outcome_unknown, {Creating: (Creating,)}),
    facts.ClaimRanOut: Rule(creating.claim_ran_out, {Creating: (Creating, Ended)}),
    facts.ResponseCreated: Rule(
        responses.response_created, {Creating: _AFTER_A_RESPONSE}, stays=True, knows_agent=True
    ),
    facts.Looked: Rule(responses.looked, {Pending: _AFTER_A_RESPONSE}, knows_agent=True),
    facts.NoNews: Rule(responses.no_news, {Pending: (Pending, Ended)}, knows_agent=True),
    facts.LeaseTaken: Rule(tools.lease_taken, {RunningTools: (RunningTools,)}, is_progress=False, knows_agent=True),
    facts.LeaseRenewed: Rule(
        tools.lease_renewed, {RunningTools: (RunningTools,), Creating: (Creating,)}, is_progress=False
    ),
    facts.ToolsSettled: Rule(
        tools.tools_settled, {RunningTools: (RunningTools, WaitingForAnswers, Creating, Ended)}, knows_agent=True
    ),
    facts.Answered: Rule(tools.answered, {WaitingForAnswers: (WaitingForAnswers, RunningTools)}, stays=True),
    facts.CancelRequested: Rule(ending.cancel_requested, {Scheduled: (Ended,), **_ENDS}),
    facts.DeadlinePassed: Rule(ending.deadline_passed, _ENDS),
    facts.AgentUnknown: Rule(ending.agent_unknown, _ENDS_OR_WAITS),
    facts.WakeCrashed: Rule(
        ending.wake_crashed, {Scheduled: (Scheduled, Ended), **_ENDS_OR_WAITS, Ended: (Ended,)}, is_progress=False
    ),
    facts.Deleted: Rule(ending.deleted, {Scheduled: (Ended,), **_ENDS, Ended: (Ended,)}),
    facts.CallbackClaimed: Rule(outbox.callback_claimed, {}, stays=True, is_progress=False),
    # A try that failed is no progress: it must not reset the crashes of the wakes around it.
    facts.OutboxTried: Rule(outbox.outbox_tried, {}, stays=True, is_progress=False),
    facts.OutboxDone: Rule(outbox.outbox_done, {}, stays=True),
    facts.ResponsesDeleted: Rule(outbox.responses_deleted, {}, stays=True),
    facts.CallbackRequested: Rule(outbox.callback_requested, {}, stays=True),
}


def may_lead_to(fact: type[Fact], phase: type[Phase]) -> tuple[type[Phase], ...]:
    """The phases that this fact may leave behind where it finds this one; none where it is always refused."""
    rule = TABLE[fact]
    return rule.leads.get(phase) or ((phase,) if rule.stays else ())


def decide(before: Before, fact: Fact, now: datetime, settings: Settings) -> Decision:
    """What follows from a fact. Raises ``AssertionError`` for what the table does not allow: a fault of a rule."""
    run = before.run
    allowed = may_lead_to(type(fact), type(run.phase))
    if not allowed:
        return Refused()
    deadline = run.schedule.deadline_at
    # The wake looked at its clock earlier; building a request or an outage may have taken long since.
    if isinstance(fact, facts.Claimed | facts.LeaseTaken) and deadline is not None and now >= deadline:
        return Refused("deadline_passed")
    rule = TABLE[type(fact)]
    decision = rule.decide(before, fact, now, settings)
    if isinstance(decision, Refused):
        return decision
    after = decision.run
    # Before anything is written: a wrong transition must stay a crash, and not become a row.
    assert isinstance(after.phase, allowed), f"{type(fact).__name__} led from {run.phase} to {after.phase}"
    if rule.is_progress or (after.terminal and not run.terminal):
        after = _without_waits_of_before(run, after)
    # Stored, since callers get the gap chosen now: an ETag must not change with the clock.
    schedule = replace(after.schedule, retry_after=gap_to_next_try(after, now))
    if rule.knows_agent:
        schedule = replace(schedule, agent_unknown_since=None)
    counters = replace(after.counters, active_ms=after.counters.active_ms + before.took_ms)
    journal = Journal() if after.is_deleted else noted(run, after, fact, now, before.took_ms)
    return replace(decision, run=replace(after, schedule=schedule, counters=counters, journal=journal))


def _without_waits_of_before(before: Run, after: Run) -> Run:
    """The run with no crashes in a row, and left alone no longer than the fact itself has asked for."""
    schedule = after.schedule
    resume_at = None if schedule.resume_at == before.schedule.resume_at else schedule.resume_at
    return replace(after, schedule=replace(schedule, crashes=0, resume_at=resume_at))
