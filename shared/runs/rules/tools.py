"""RunningTools: who may run the turn's calls, what each of them comes to, and what follows when none runs any more."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from shared.agentkit.tools import error_output
from shared.errors import AlreadyAnswered, DormouseError, RunEnded
from shared.runs.model.calls import Approval, CallKind, CallState, ToolCall
from shared.runs.model.facts import Answered, Approve, LeaseRenewed, LeaseTaken, ToolsSettled
from shared.runs.model.outbox import EntryKind
from shared.runs.model.phases import Creating, Lease, RunningTools, WaitingForAnswers
from shared.runs.model.run import Run
from shared.runs.rules.approvals import approval_id, awaiting_approval, find_call
from shared.runs.rules.change import Before, Change, Decision, Refused, end_with_calls, later, with_callback
from shared.runs.rules.responses import next_turn
from shared.settings import Settings


def lease_taken(before: Before, fact: LeaseTaken, now: datetime, settings: Settings) -> Decision:
    """The lease in the run's row, and the new owner and the counted start in the row of every call that is to run.

    Whoever held it before gets 412 from then on, wherever it is.
    """
    run, phase = before.run, before.run.phase
    if not isinstance(phase, RunningTools) or run.turn.number != fact.turn:
        return Refused("taken")
    # A lease that ran out is free though its holder may live: its writes fail on the new owner.
    if phase.lease is not None and now < phase.lease.until:
        return Refused("taken")
    beside_others = phase.lease is not None and phase.lease.beside_others
    runnable = [call for call in before.calls if call.state.runnable]
    if not runnable:
        return Refused("settled")
    calls = tuple(_taken(call, fact, now, settings, beside_others=beside_others) for call in runnable)
    lease = Lease(owner=fact.owner, until=later(now, settings.tool_lease))
    after = replace(
        run,
        phase=RunningTools(lease=lease),
        counters=replace(run.counters, wakes=run.counters.wakes + 1),
    )
    return Change(run=after, calls=calls)


def _taken(call: ToolCall, fact: LeaseTaken, now: datetime, settings: Settings, *, beside_others: bool) -> ToolCall:
    """The call as its new owner takes it: counted as started, finished without a start, or waiting for a person.

    Whether a tool needs approval is what this build says of it: another version may have read the response.
    """
    call = replace(call, owner=fact.owner)
    interrupted = call.state is CallState.STARTED
    if interrupted and beside_others:
        call = replace(call, interruptions=call.interruptions + 1)
    tool = fact.tools.get(call.name)
    # Deploys happen over live runs: the model reads the error and can go on.
    if tool is None:
        return _finished(call, error_output("unknown_tool", f"There is no tool {call.name} here."), now)
    if interrupted and (tool.at_most_once or _is_used_up(call, settings)):
        text = "The call was started and interrupted. It may or may not have taken effect; it is not repeated."
        return _finished(call, error_output("outcome_unknown", text), now)
    if tool.requires_approval and call.approval is Approval.NONE:
        return awaiting_approval(call, tool)
    return replace(call, state=CallState.STARTED, starts=call.starts + 1, started_at=now)


def _finished(call: ToolCall, result: str, now: datetime) -> ToolCall:
    return replace(call, state=CallState.FINISHED, result=result, finished_at=now)


def _is_used_up(call: ToolCall, settings: Settings) -> bool:
    """Whether an interrupted call was started as often as may be.

    A tool that kills its process mostly does so at once, or while nothing else runs: such starts count in full.
    Of the others there may be more, but not without end.
    """
    suspected = call.starts - call.interruptions
    return suspected + 1 >= settings.tool_starts or call.starts + 1 >= settings.tool_starts_most


def lease_renewed(before: Before, fact: LeaseRenewed, now: datetime, settings: Settings) -> Decision:
    """The lease holds for a while from now; so does a claim that is one."""
    run, phase = before.run, before.run.phase
    until = later(now, settings.tool_lease)
    if isinstance(phase, RunningTools) and phase.lease is not None and phase.lease.owner == fact.owner:
        beside = phase.lease.beside_others if fact.beside_others is None else fact.beside_others
        return Change(
            run=replace(run, phase=RunningTools(lease=Lease(owner=fact.owner, until=until, beside_others=beside)))
        )
    if isinstance(phase, Creating) and phase.claim is not None and fact.owner and phase.claim.owner == fact.owner:
        return Change(run=replace(run, phase=replace(phase, claim=replace(phase.claim, until=until, unknown_at=until))))
    return Refused("lost")


def tools_settled(before: Before, fact: ToolsSettled, now: datetime, settings: Settings) -> Decision:
    """What the calls, read after the run, say is next: more of them, a person's answers, the caller, or a next turn."""
    run, phase = before.run, before.run.phase
    if not isinstance(phase, RunningTools) or run.turn.number != fact.turn:
        return Refused()
    if phase.lease is not None and phase.lease.owner != fact.owner and now < phase.lease.until:
        return Refused()
    states = {call.state for call in before.calls}
    if any(state.runnable for state in states):  # approved while the others ran
        # No lease: whoever settles has run nothing, and must take it first.
        if phase.lease is None:
            return Refused("runnable")
        return Change(run=replace(run, phase=RunningTools(), updated_at=now))
    if CallState.WAITING in states and not run.request.hands_over:
        return Change(run=park(run, now, settings))
    finished = sum(call.state is CallState.FINISHED for call in before.calls)
    if fact.outputs is None or fact.outputs_of != finished:
        return Refused("settled_since")  # one that waited was: look again
    asked = [replace(call, state=CallState.HANDED_OVER) for call in before.calls if call.state is CallState.WAITING]
    left = len(asked) + sum(call.state is CallState.HANDED_OVER for call in before.calls)
    if left:
        ended = end_with_calls(run, now, left, text=fact.text, annotations=fact.annotations)
        return Change(run=ended, calls=tuple(asked), items=(fact.outputs,))
    return Change(run=next_turn(run, now), items=(fact.outputs,))


def park(run: Run, now: datetime, settings: Settings) -> Run:
    """The run as it waits for answers: no deadline runs (what is left of it is kept), nothing is pending."""
    deadline = run.schedule.deadline_at
    left = None if deadline is None else max(0.0, (deadline - now).total_seconds())
    parked = replace(
        run,
        phase=WaitingForAnswers(answer_by=now + settings.answer_time, seconds_left=left),
        # People may take days, and the run's own time is for work.
        schedule=replace(run.schedule, deadline_at=None),
        counters=replace(run.counters, wakes=run.counters.wakes + 1),
        updated_at=now,
    )
    return with_callback(parked, now)


def answered(before: Before, fact: Answered, now: datetime, settings: Settings) -> Decision:
    """Each answer in its call's row. The one that leaves no question open lets a parked run go on."""
    run = before.run
    try:
        calls = _answered_calls(run, before.calls, fact, now)
    except DormouseError as error:
        return Refused(error.code, error)
    if not calls:
        return Refused()  # the same again
    run = replace(run, updated_at=now)
    asked = sum(call.state is CallState.WAITING for call in before.calls) - len(calls)
    if isinstance(run.phase, WaitingForAnswers) and not asked:
        left = run.phase.seconds_left
        deadline = None if left is None else now + timedelta(seconds=left)
        # The callback that says that it waits is out of date.
        outbox = run.outbox.without(EntryKind.CALLBACK)
        schedule = replace(run.schedule, deadline_at=deadline)
        run = replace(run, phase=RunningTools(), schedule=schedule, outbox=outbox)
    return Change(run=run, calls=calls)


def _answered_calls(run: Run, rows: tuple[ToolCall, ...], fact: Answered, now: datetime) -> tuple[ToolCall, ...]:
    """The calls that the answers change, each once. Raises the caller's error for answers that do not fit."""
    calls = {approval_id(call): call for call in rows}
    changed: dict[str, ToolCall] = {}
    for name, answer in fact.answers.items():
        call = find_call(calls, name)
        if call.state is CallState.WAITING:
            if run.terminal:
                raise RunEnded(status_of_run=run.status.value)
            key = approval_id(call)
            calls[key] = changed[key] = answered_call(call, answer, fact.by, now)  # for whoever names it the other way
        elif (call.approval is Approval.APPROVED) is not answer.approve:
            raise AlreadyAnswered(f"The call {name!r} was {call.approval.value} already.", call_id=name)
    return tuple(changed.values())


def answered_call(call: ToolCall, answer: Approve, by: str, now: datetime) -> ToolCall:
    """An approved call then counts as needing no approval; a refused one is finished, the reason is its output."""
    approval = Approval.APPROVED if answer.approve else Approval.REFUSED
    call = replace(call, approval=approval, reason=answer.reason, answered_by=by, answered_at=now)
    if call.kind is CallKind.MCP:  # the provider makes the call, once the next turn has brought it the answer
        return replace(call, state=CallState.FINISHED, finished_at=now)
    if answer.approve:
        return replace(call, state=CallState.OPEN)
    return _finished(call, error_output("refused", answer.reason or "A person refused this call."), now)
