"""Creating: what becomes of a try to have the turn's response made."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from shared.agentkit import faults
from shared.runs.model.facts import Attempt, Claimed, ClaimRanOut, NotBuilt, NotCreated, OutcomeUnknown
from shared.runs.model.phases import Claim, Creating
from shared.runs.model.run import Run
from shared.runs.rules import schedule
from shared.runs.rules.change import Before, Change, Decision, Refused, fail, later
from shared.settings import Settings

PREVIOUS_MISSING_RETRIES = 3
ACCESS_GAP = 30.0
AGENT_TRIES = 6
"""Tries to build a request that the agent's own code fails: in about a minute a deploy may mend it."""


def phase_awaiting(run: Run, attempt: Attempt) -> Creating | None:
    """The phase, if the attempt is the one whose outcome the run waits for, or has given up waiting for."""
    phase, turn = run.phase, run.turn
    # An empty nonce is that of no attempt, and must not match a phase that waits for none.
    if not isinstance(phase, Creating) or not attempt.nonce:
        return None
    mine = (turn.number, turn.attempt, phase.nonce) == (attempt.turn, attempt.number, attempt.nonce)
    return phase if mine else None


def claimed(before: Before, fact: Claimed, now: datetime, settings: Settings) -> Decision:
    """An attempt, under a right that is recorded before anything is sent."""
    run, phase = before.run, before.run.phase
    if not isinstance(phase, Creating) or phase.claim is not None:
        return Refused("claimed")
    # The request was built for this number: another wake may have made the attempt meanwhile.
    if (fact.attempt.turn, fact.attempt.number) != (run.turn.number, run.turn.attempt + 1):
        return Refused("claimed")
    if phase.not_before is not None and now < phase.not_before:
        return Refused("too_early")
    until = later(now, fact.seconds)
    claim = Claim(until=until, unknown_at=later(until, fact.grace), owner=fact.owner)
    return Change(
        run=replace(
            run,
            turn=replace(run.turn, attempt=fact.attempt.number),
            phase=replace(phase, nonce=fact.attempt.nonce, claim=claim, not_before=None),
            counters=replace(run.counters, wakes=run.counters.wakes + 1),
        )
    )


def not_built(before: Before, fact: NotBuilt, now: datetime, settings: Settings) -> Decision:
    """The agent's own code failed, and surely nothing was sent: again a few times, then the run says so."""
    run, phase = before.run, before.run.phase
    if not isinstance(phase, Creating) or phase.claim is not None:
        return Refused()
    if (run.turn.number, run.turn.attempt) != (fact.turn, fact.attempt):
        return Refused()
    if not isinstance(fact.fault, faults.RequestNotBuilt):
        free = replace(phase, denied_since=None, agent_errors=0)
        return _retry_or_fail(run, free, fact.fault, now, settings, fact.jitter, denied_since=phase.denied_since)
    errors = phase.agent_errors + 1
    if errors >= AGENT_TRIES:
        return fail(
            run,
            now,
            "agent_error",
            f"The agent {run.request.agent} failed {errors} times to build its request to the model "
            f"({fact.fault.message}); nothing was sent. The app's log says where. Mend the agent, then submit again.",
        )
    gap = schedule.failure_gap(errors, jitter=fact.jitter)
    # The nonce stays: a webhook may still bring the response of an earlier attempt.
    after = replace(phase, agent_errors=errors, not_before=later(now, gap))
    return Change(run=_with_provider_status(replace(run, phase=after), fact.fault.code, wakes=1))


def not_created(before: Before, fact: NotCreated, now: datetime, settings: Settings) -> Decision:
    """Surely nothing was started: the claim is released; then wait, replay or fail."""
    run = before.run
    phase = phase_awaiting(run, fact.attempt)
    if phase is None or phase.claim is None:
        return Refused()
    # Without a nonce a late webhook of this attempt is an orphan: the next attempt may already be sent.
    free = replace(phase, nonce="", claim=None, denied_since=None, agent_errors=0)
    return _retry_or_fail(run, free, fact.fault, now, settings, fact.jitter, denied_since=phase.denied_since)


def _retry_or_fail(
    run: Run,
    free: Creating,
    fault: faults.ProviderFault,
    now: datetime,
    settings: Settings,
    jitter: float,
    *,
    denied_since: datetime | None = None,
) -> Change:
    """What follows from a create that surely started nothing, with no claim open any more."""
    gap, turn, chain = 0.0, run.turn, run.chain
    match fault:
        case faults.NotAccepted():
            free = replace(free, not_accepted=free.not_accepted + 1)
            gap = schedule.gap_after(fault, free.not_accepted, most=settings.retry_after_most, jitter=jitter)
        # Role assignments take minutes to arrive after a deploy, so a 403 is not final at once.
        case faults.AccessDenied():
            since = denied_since or now
            if now - since >= timedelta(seconds=settings.access_patience):
                return fail(run, now, "access_denied", fault.for_callers)
            free = replace(free, denied_since=since)
            asked = schedule.asked_wait(fault.retry_after or 0.0, most=settings.retry_after_most, jitter=jitter)
            gap = max(ACCESS_GAP, asked)
        # A response just completed may not be found yet: a replay costs more than a short wait.
        case faults.PreviousResponseMissing() if free.previous_missing < PREVIOUS_MISSING_RETRIES:
            free = replace(free, previous_missing=free.previous_missing + 1)
            gap = schedule.failure_gap(free.previous_missing, jitter=jitter)
        # This turn alone: one response was lost, which says nothing of chaining.
        case faults.PreviousResponseMissing() if may_replay(run, settings):
            turn = replace(turn, replay=True)
        # For the whole run: Azure OpenAI refuses tool outputs after every background response.
        case faults.ToolOutputsRefused() if may_replay(run, settings):
            chain = replace(chain, replay=True)
        case _:
            return fail(run, now, fault.code, fault.for_callers)
    free = replace(free, not_before=later(now, gap) if gap else None)
    return Change(run=_with_provider_status(replace(run, phase=free, turn=turn, chain=chain), fault.code))


def outcome_unknown(before: Before, fact: OutcomeUnknown, now: datetime, settings: Settings) -> Decision:
    """The claim and its grace are waited out; where the answer was to come within the call, nothing is."""
    phase = phase_awaiting(before.run, fact.attempt)
    if phase is None or phase.claim is None:
        return Refused()
    claim = phase.claim
    if fact.within_call:
        claim = Claim(until=min(claim.until, now), unknown_at=now)
    return Change(run=_with_provider_status(replace(before.run, phase=replace(phase, claim=claim)), fact.code))


def claim_ran_out(before: Before, fact: ClaimRanOut, now: datetime, settings: Settings) -> Decision:
    """An attempt of unknown outcome: counted, and repeated after a wait that grows; the last one ends the run."""
    run = before.run
    phase = phase_awaiting(run, fact.attempt)
    if phase is None or phase.claim is None or now < phase.claim.unknown_at:
        return Refused()
    outcomes = run.turn.unknown_outcomes + 1
    if outcomes >= settings.create_attempts:
        return fail(
            run,
            now,
            "start_uncertain",
            f"{outcomes} requests to the model had no known outcome; the last word was {run.chain.provider_status}. "
            "They may have run and been billed. Submit again when the provider is well.",
        )
    # Each may be running and billed: the longer the wait, the better the chance that its webhook comes first.
    wait = schedule.unknown_outcome_wait(outcomes)
    # The nonce stays: until the next attempt begins, the provider's webhook may still bring this one.
    after = replace(phase, claim=None, not_before=later(now, wait), agent_errors=0)
    return Change(run=replace(run, turn=replace(run.turn, unknown_outcomes=outcomes), phase=after))


def may_replay(run: Run, settings: Settings) -> bool:
    """Whether the turn may be created anew from full input."""
    return not run.replays and settings.chain != "chain"


def _with_provider_status(run: Run, status: str, *, wakes: int = 0) -> Run:
    """The run with the provider's latest status or error code."""
    return replace(
        run,
        chain=replace(run.chain, provider_status=status),
        counters=replace(run.counters, wakes=run.counters.wakes + wakes),
    )
