"""What must hold of the core: of each change of a run, and of a run as it stands, whatever happened before."""

from __future__ import annotations

from datetime import datetime, timedelta

from shared.runs.model import facts
from shared.runs.model.calls import Approval, CallState, ToolCall
from shared.runs.model.facts import Fact
from shared.runs.model.journal import LineKind
from shared.runs.model.outbox import CallbackState, EntryKind
from shared.runs.model.phases import Creating, Ended, Pending, RunningTools, RunStatus, Scheduled, WaitingForAnswers
from shared.runs.model.run import Run, Turn
from shared.runs.rules.agenda import ActionKind, agenda, next_action
from shared.runs.rules.change import Change
from shared.runs.rules.decide import may_lead_to
from shared.runs.rules.ending import MAX_CRASHES
from shared.runs.rules.journal import milliseconds
from shared.settings import Settings

Calls = dict[tuple[int, int], ToolCall]

NO_PROGRESS = (
    facts.Claimed,
    facts.LeaseTaken,
    facts.LeaseRenewed,
    facts.CallbackClaimed,
    facts.OutboxTried,
    facts.WakeCrashed,
)
BY_TIME = (ActionKind.TIME_IS_UP, ActionKind.CLAIM_RAN_OUT)


def check_change(before: Run, calls: Calls, fact: Fact, change: Change, now: datetime) -> None:
    """Hold one change of a run, and of its calls as they were, against the rules."""
    after = change.run
    assert type(after.phase) in may_lead_to(type(fact), type(before.phase))
    if before.terminal:
        assert after.status is before.status, "terminal is terminal"
        assert after.is_deleted or not before.is_deleted
    elif after.terminal:
        _check_end(before, after, fact)
    if not isinstance(fact, NO_PROGRESS):
        assert not after.schedule.crashes, "progress ends a row of crashes"
    _check_journal(before, after, now)
    _check_turn(before.turn, after.turn)
    _check_responses(before, after, fact)
    for call in change.calls:
        _check_call(calls.get((call.turn, call.index)), call, fact)
    _check_right(before, after, fact, now)
    _check_tools(before, after, calls, fact, now)


def _check_journal(before: Run, after: Run, now: datetime) -> None:
    lines = after.journal.lines
    if after.is_deleted:
        assert not lines, "nothing is left of it"
        return
    assert sum(line.wakes for line in lines) == after.counters.wakes, "no wake is left out"
    assert lines[:1] == before.journal.lines[:1], "the beginning stays"
    if after.terminal and not before.terminal:
        assert lines[-1].kind is LineKind.ENDED
    if lines != before.journal.lines:
        assert max(line.last or line.at for line in lines[-2:]) == milliseconds(now), "and so does the end"


def _check_end(before: Run, after: Run, fact: Fact) -> None:
    is_final = isinstance(fact, facts.Looked) or (isinstance(fact, facts.NoNews) and fact.is_another)
    if isinstance(before.phase, Pending) and not is_final:
        assert before.phase.token.response_id in cancels(after), "what is pending is cancelled"
    wants = before.request.callback_url is not None and before.outbox.callback_state is not CallbackState.DISABLED
    assert bool(after.outbox.of(EntryKind.CALLBACK)) is (wants and not after.is_deleted)


def _check_turn(before: Turn, after: Turn) -> None:
    if after.number != before.number:
        assert after == Turn(number=before.number + 1), "nothing of a turn outlives it"
    assert after.number > before.number or after.attempt >= before.attempt


def _check_responses(before: Run, after: Run, fact: Fact) -> None:
    gone = set(fact.gone) if isinstance(fact, facts.ResponsesDeleted) else set()
    if isinstance(fact, facts.NoNews) and fact.is_another:
        gone.add(fact.response_id)
    assert set(before.chain.response_ids) - gone <= set(after.chain.response_ids), "no response is forgotten"
    limit = before.request.limits.total_tokens
    if isinstance(fact, facts.Looked) and isinstance(after.phase, Creating | RunningTools) and limit is not None:
        assert after.counters.usage.total_tokens < limit, "no tokens, no further work"


def _check_call(before: ToolCall | None, after: ToolCall, fact: Fact) -> None:
    if before is None:
        return
    assert before.state is not CallState.FINISHED, "a finished call is never touched again"
    if isinstance(fact, facts.LeaseTaken):
        assert before.state.runnable
        assert after.owner == fact.owner, "a takeover fences every call that it takes"
        if after.state is CallState.STARTED:
            assert after.starts == before.starts + 1
            assert not fact.tools[after.name].requires_approval or after.approval is Approval.APPROVED
            assert not fact.tools[after.name].at_most_once or after.starts == 1


def _check_right(before: Run, after: Run, fact: Fact, now: datetime) -> None:
    """Rights are taken in time, by one at a time; what time decides is decided when it has passed."""
    phase, deadline = before.phase, before.schedule.deadline_at
    match fact:
        case facts.Started():
            assert isinstance(phase, Scheduled)
            assert phase.not_before <= now, "not before its time"
            assert after.schedule.begun_at == now
            assert after.schedule.deadline_at == now + timedelta(seconds=phase.deadline_seconds)
        case facts.NotStarted():
            assert isinstance(after.phase, Scheduled)
            assert after.phase.not_before > now
        case facts.Claimed():
            assert isinstance(phase, Creating)
            assert phase.claim is None
            assert phase.not_before is None or phase.not_before <= now
            assert (fact.attempt.turn, fact.attempt.number) == (before.turn.number, before.turn.attempt + 1)
        case facts.LeaseTaken():
            assert isinstance(phase, RunningTools)
            assert phase.lease is None or phase.lease.until <= now, "a lease that holds is nobody else's"
        case facts.ClaimRanOut():
            assert isinstance(phase, Creating)
            assert phase.claim is not None
            assert phase.claim.unknown_at <= now
            assert after.terminal or after.turn.unknown_outcomes == before.turn.unknown_outcomes + 1
        case facts.OutcomeUnknown(within_call=True):
            assert isinstance(after.phase, Creating)
            assert after.phase.claim is not None
            assert after.phase.claim.unknown_at <= now, "nothing goes on without the call"
        case facts.DeadlinePassed():
            due = phase.answer_by if isinstance(phase, WaitingForAnswers) else deadline
            assert due is not None
            assert due <= now
        case facts.WakeCrashed():
            assert fact.seen == before.schedule.crashes, "one crash is counted once"
        case facts.AgentUnknown() if before.schedule.agent_unknown_since is not None:
            assert after.schedule.agent_unknown_since == before.schedule.agent_unknown_since
        case facts.CallbackRequested():
            assert before.terminal
    if isinstance(fact, facts.Claimed | facts.LeaseTaken):
        assert deadline is None or now < deadline, "no right is taken after the deadline"


def _check_tools(before: Run, after: Run, calls: Calls, fact: Fact, now: datetime) -> None:
    phase = before.phase
    states = {call.state for call in calls.values() if call.turn == before.turn.number}
    if isinstance(fact, facts.ToolsSettled):
        assert isinstance(phase, RunningTools)
        assert phase.lease is None or phase.lease.owner == fact.owner or phase.lease.until <= now
        if after.turn.number > before.turn.number:
            assert states == {CallState.FINISHED}, "the next turn has all outputs"
        if isinstance(after.phase, WaitingForAnswers):
            assert CallState.WAITING in states
            assert not any(state.runnable for state in states), "nobody waits while something can run"
    if isinstance(phase, WaitingForAnswers) and isinstance(after.phase, RunningTools):
        left = phase.seconds_left
        assert after.schedule.deadline_at == (None if left is None else now + timedelta(seconds=left))


def check_always(run: Run, calls: Calls, now: datetime, settings: Settings) -> None:
    """Hold a run and its calls as they stand against the rules."""
    _check_status(run, settings)
    _check_agenda(run, now)
    _check_outbox(run)
    waiting = [call for call in calls.values() if call.state is CallState.WAITING and call.turn == run.turn.number]
    if isinstance(run.phase, WaitingForAnswers):
        assert waiting, "a run is parked only while somebody is asked"
    for call in calls.values():
        assert call.starts < settings.tool_starts_most
        assert call.starts - call.interruptions < settings.tool_starts, "suspected of ending its process: not again"


def _check_status(run: Run, settings: Settings) -> None:
    assert run.status.terminal is isinstance(run.phase, Ended)
    assert (run.status is RunStatus.REQUIRES_ACTION) is isinstance(run.phase, WaitingForAnswers)
    assert run.schedule.deadline_at is None or not isinstance(run.phase, WaitingForAnswers | Scheduled)
    assert not (isinstance(run.phase, Scheduled) and (run.request.slot or run.turn.attempt)), "nothing has begun"
    assert run.terminal or run.schedule.crashes < MAX_CRASHES
    assert run.turn.number <= run.request.limits.turns
    assert run.turn.restarts <= settings.create_restarts
    assert run.turn.unknown_outcomes < settings.create_attempts
    assert run.counters.tool_calls <= run.request.limits.tool_calls
    if run.is_deleted:
        assert (run.request.callback_url, run.request.metadata, run.result.text) == (None, {}, "")


def _check_agenda(run: Run, now: datetime) -> None:
    todo, phase = agenda(run), run.phase
    assert bool(todo) is not run.is_done, "somebody comes back exactly while something is left"
    assert (next_action(run, now) is not None) is any(each.due <= now for each in todo)
    rank = [0 if each.kind in BY_TIME else 1 if each.kind is ActionKind.OUTBOX else 2 for each in todo]
    assert rank == sorted(rank), "time first, then the outbox, then the phase's own"
    resume_at = run.schedule.resume_at
    assert all(resume_at is None or each.due >= resume_at for each in todo if each.kind not in BY_TIME)
    due = {each.kind: each.due for each in todo if each.kind is not ActionKind.OUTBOX}
    if run.schedule.deadline_at is not None and not run.terminal:
        assert due.pop(ActionKind.TIME_IS_UP) == run.schedule.deadline_at
    match phase:
        case Scheduled(not_before=not_before):
            assert set(due) == {ActionKind.START}
            assert due[ActionKind.START] >= not_before
        case Creating(claim=claim) if claim is not None:
            assert due == {ActionKind.CLAIM_RAN_OUT: claim.unknown_at}
        case Creating(not_before=not_before):
            assert set(due) == {ActionKind.CREATE}
            assert not_before is None or due[ActionKind.CREATE] >= not_before
        case Pending(next_look=next_look):
            assert set(due) == {ActionKind.LOOK}
            assert due[ActionKind.LOOK] >= next_look
        case RunningTools(lease=lease):
            assert set(due) == {ActionKind.TOOLS}
            assert lease is None or due[ActionKind.TOOLS] >= lease.until
        case WaitingForAnswers(answer_by=answer_by):
            assert due == {ActionKind.TIME_IS_UP: answer_by}
        case Ended():
            assert not due


def _check_outbox(run: Run) -> None:
    entries = run.outbox.entries
    assert len({(each.kind, each.subject) for each in entries}) == len(entries), "one entry for one thing to do"
    kinds, ready = {each.kind for each in entries}, {each.kind for each in run.outbox.ready()}
    assert EntryKind.CANCEL not in kinds or EntryKind.DELETE not in ready, "cancel before delete"
    assert kinds == {EntryKind.REMOVAL} or EntryKind.REMOVAL not in ready, "the run's own row goes last of all"
    if run.is_deleted and run.chain.response_ids:
        assert EntryKind.DELETE in kinds, "nothing of a deleted run stays at the provider"


def cancels(run: Run) -> set[str]:
    """The responses that are to be cancelled."""
    return {entry.subject for entry in run.outbox.of(EntryKind.CANCEL)}
