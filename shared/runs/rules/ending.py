"""What can end a run or make it wait in any phase: its caller, its deadline, an unknown agent, crashes."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from shared.errors import SessionBusy
from shared.runs.model.facts import AgentUnknown, CancelRequested, DeadlinePassed, Deleted, WakeCrashed
from shared.runs.model.ids import run_id
from shared.runs.model.phases import RunStatus, WaitingForAnswers
from shared.runs.rules import schedule
from shared.runs.rules.change import Before, Change, Decision, Refused, end_run, fail, later, to_tombstone
from shared.settings import Settings

# Longer than a deploy, in which instances of the old and the new build both run.
AGENT_PATIENCE = timedelta(minutes=10)
AGENT_GAP = 30.0
MAX_CRASHES = 10


def cancel_requested(before: Before, fact: CancelRequested, now: datetime, settings: Settings) -> Decision:
    """Final here at once; at the provider the outbox sees to it. A run that ended otherwise stays as it is."""
    return Change(run=end_run(before.run, now, RunStatus.CANCELLED))


def deadline_passed(before: Before, fact: DeadlinePassed, now: datetime, settings: Settings) -> Decision:
    """The run's time is up; while it is parked, that of the people who were asked."""
    run, phase, deadline = before.run, before.run.phase, before.run.schedule.deadline_at
    if isinstance(phase, WaitingForAnswers) and now >= phase.answer_by:
        return fail(
            run,
            now,
            "answer_timeout",
            "Nobody answered what the run asked approval for. Submit again when somebody can.",
        )
    if deadline is None or now < deadline:
        return Refused()
    seconds = (deadline - (run.schedule.begun_at or run.request.created_at)).total_seconds()
    return fail(
        run,
        now,
        "deadline_exceeded",
        f"The run was not done within {seconds:g} seconds; the model's last word was {run.chain.provider_status}. "
        "Allow more with `deadline_seconds`.",
    )


def agent_unknown(before: Before, fact: AgentUnknown, now: datetime, settings: Settings) -> Decision:
    """Deploys happen over live runs: another version may know the agent."""
    run = before.run
    # During a deploy old and new builds take turns: only one that never comes ends the run.
    since = run.schedule.agent_unknown_since or now
    if now - since >= AGENT_PATIENCE:
        name = run.request.agent
        return fail(run, now, "agent_unknown", f"This version of the app has no agent {name}. Deploy one that has it.")
    waits = replace(run.schedule, agent_unknown_since=since, resume_at=later(now, AGENT_GAP))
    return Change(run=replace(run, schedule=waits, counters=replace(run.counters, wakes=run.counters.wakes + 1)))


def wake_crashed(before: Before, fact: WakeCrashed, now: datetime, settings: Settings) -> Decision:
    """Counted and backed off; ten in a row end the run. What its outbox still has to do is never given up for it."""
    run = before.run
    # Two wakes that crash side by side on one fault must not count twice towards the end.
    if run.is_done or run.schedule.crashes != fact.seen:
        return Refused()
    crashes = fact.seen + 1
    if crashes >= MAX_CRASHES and not run.terminal:
        return fail(run, now, "internal_error", f"{crashes} wakes in a row failed, the last with {fact.error}.")
    gap = schedule.backoff(crashes, first=2.0, most=300.0, jitter=fact.jitter)
    waits = replace(run.schedule, crashes=crashes, resume_at=later(now, gap))
    return Change(run=replace(run, schedule=waits, counters=replace(run.counters, wakes=run.counters.wakes + 1)))


def deleted(before: Before, fact: Deleted, now: datetime, settings: Settings) -> Decision:
    """A tombstone; an active run is cancelled in the same write. Not while another run of its session is active."""
    run, session = before.run, before.session
    if run.is_deleted:
        return Refused()
    active = None if session is None else session.active_run
    # The next run may be using this one's items at this moment.
    if active not in (None, run.request.number):
        busy = run_id(run.request.session_id, active or 0)
        return Refused("session_busy", SessionBusy(session_id=run.request.session_id, active_run=busy))
    if not run.terminal:
        run = end_run(run, now, RunStatus.CANCELLED)
    return Change(run=to_tombstone(run, now, fact.keep))
