"""What follows from a response: it is pending, asks for tools, is to be created again, or is final."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from datetime import datetime, timedelta

from shared.agentkit.agent import AgentResponse, ResponseStatus, Usage
from shared.agentkit.extras import annotations_of, annotations_to_json
from shared.agentkit.redaction import for_callers, plain_code
from shared.runs.model.calls import Approval, CallKind, CallState, ToolCall
from shared.runs.model.facts import Answer, Looked, NoNews, ResponseCreated
from shared.runs.model.outbox import Entry, EntryKind
from shared.runs.model.phases import Creating, Pending, RunningTools, RunStatus
from shared.runs.model.run import Result, Run
from shared.runs.rules import schedule
from shared.runs.rules.approvals import awaiting_approval
from shared.runs.rules.change import (
    Before,
    Change,
    Decision,
    Refused,
    cancel_of,
    end_run,
    end_with_calls,
    fail,
    later,
)
from shared.runs.rules.creating import phase_awaiting
from shared.runs.rules.extras import with_extras
from shared.settings import Settings

TRANSIENT_CODES = frozenset({"server_error", "rate_limit_exceeded"})
MAX_CALLS_A_TURN = 90
LOST = "response_lost"
MISSING_SPAN = timedelta(seconds=60)
"""How long a response must be unknown to its provider, at least, before it counts as lost."""


def response_created(before: Before, fact: ResponseCreated, now: datetime, settings: Settings) -> Decision:
    """The attempt's response, if the run waits for it; any other is to be cancelled, unless the run knows it."""
    run, response_id = before.run, fact.answer.response.response_id
    phase = phase_awaiting(run, fact.attempt)
    if phase is not None and not (response_id is not None and response_id in run.chain.response_ids):
        run = replace(run, turn=replace(run.turn, accepted_at=now))
        return apply_response(run, fact.answer, now, settings, jitter=fact.jitter, nonce=phase.nonce)
    if response_id is None or not fact.cancellable or response_id in run.chain.response_ids:
        return Refused()
    # It costs money as long as it runs, so its cancel goes into the outbox in any phase.
    added = [cancel_of(response_id, now)]
    if run.is_deleted:
        added.append(Entry(kind=EntryKind.DELETE, due=now, since=now))
    # Kept until it is deleted: a cancelled response still holds what the caller sent.
    chain = replace(run.chain, response_ids=(*run.chain.response_ids, response_id))
    return Change(run=replace(run, chain=chain, outbox=run.outbox.adding(*added)))


def looked(before: Before, fact: Looked, now: datetime, settings: Settings) -> Decision:
    """News of the response that the run waits for."""
    run, phase = before.run, before.run.phase
    if not isinstance(phase, Pending) or phase.token.response_id != fact.response_id:
        return Refused()
    run = replace(run, counters=replace(run.counters, wakes=run.counters.wakes + 1))
    return apply_response(run, fact.answer, now, settings, jitter=fact.jitter, nonce=phase.nonce)


def no_news(before: Before, fact: NoNews, now: datetime, settings: Settings) -> Decision:
    """The token is kept and asked with later; but a response that is missing again and again is lost."""
    run, phase = before.run, before.run.phase
    if not isinstance(phase, Pending) or phase.token.response_id != fact.response_id:
        return Refused()
    least = 0.0
    # A response that was only just created may not be found yet.
    if fact.missing and now >= later(accepted_at(run), settings.poll_grace):
        # Other faults in between do not reset it: they say nothing of the response.
        phase = replace(phase, missing=phase.missing + 1, missing_since=phase.missing_since or now)
        since = phase.missing_since or now
        if phase.missing >= settings.poll_missing and now >= since + MISSING_SPAN:
            return _response_lost(run, fact, now)
        least = MISSING_SPAN.total_seconds() / max(1, settings.poll_missing - 1)
    failures = phase.no_news + 1
    gap = schedule.gap_after(fact.fault, failures, most=settings.retry_after_most, jitter=fact.jitter)
    return Change(
        run=replace(
            run,
            phase=replace(phase, no_news=failures, next_look=later(now, max(gap, least))),
            chain=replace(run.chain, provider_status=fact.fault.code),
            counters=replace(run.counters, wakes=run.counters.wakes + 1),
        )
    )


def _response_lost(run: Run, fact: NoNews, now: datetime) -> Change:
    """It may run on all the same, so it is cancelled, unless it is the response of another run or app."""
    message = f"The provider no longer knows the response: {fact.fault.for_callers}"
    if fact.is_another:
        known = tuple(each for each in run.chain.response_ids if each != fact.response_id)
        run = replace(run, phase=Creating(), chain=replace(run.chain, response_ids=known))
    return fail(run, now, LOST, message)


def apply_response(run: Run, answer: Answer, now: datetime, settings: Settings, *, jitter: float, nonce: str) -> Change:
    """Take in what the response says. ``nonce``: of its attempt."""
    response = answer.response
    # Whatever a provider sends must fit a row, and be safe to show.
    status = plain_code(response.provider_status, otherwise="unknown")
    known = run.chain.response_ids
    if response.response_id is not None and response.response_id not in known:
        known = (*known, response.response_id)
    run = replace(
        run,
        chain=replace(run.chain, response_ids=known, provider_status=status),
        updated_at=now if run.chain.provider_status != status else run.updated_at,
    )
    # A status that we do not know counts as pending: the deadline bounds it.
    if response.status is ResponseStatus.PENDING and response.continuation_token is not None:
        gap = _look_gap((now - accepted_at(run)).total_seconds(), settings, jitter)
        phase = Pending(token=response.continuation_token, nonce=nonce, next_look=later(now, gap))
        return Change(run=replace(run, phase=phase))
    # From here on nothing is pending at the provider any more.
    run = replace(run, phase=Creating())
    if response.status is ResponseStatus.COMPLETED and (response.calls or response.approvals):
        return _tools_asked(run, answer, now)
    # Quota and rate errors of a background job come only now: the create itself was accepted.
    transient = response.status is ResponseStatus.FAILED and response.error_code in TRANSIENT_CODES
    if transient and run.turn.restarts < settings.create_restarts:
        return _recreated(run, response, now, jitter)
    return _final(run, answer, now)


def accepted_at(run: Run) -> datetime:
    """When the provider took the turn's current response."""
    return run.turn.accepted_at or run.request.created_at


def _look_gap(age: float, settings: Settings, jitter: float) -> float:
    gap = schedule.poll_gap if settings.openai_webhook_secret is None else schedule.sparse_gap
    return gap(age, first=settings.poll_first, most=settings.poll_max, jitter=jitter)


def _tools_asked(run: Run, answer: Answer, now: datetime) -> Change:
    """The calls get their rows in the write that begins RunningTools: they are never fetched again."""
    response = answer.response
    run = with_extras(_adding_usage(run, response.usage), response.items)
    asked = len(response.calls) + len(response.approvals)
    refused = limit_broken_by(run, asked)
    if refused is not None:
        return fail(run, now, *refused)
    calls = calls_of(run, answer, now)
    after = replace(
        run,
        phase=RunningTools(),
        turn=replace(run.turn, calls=asked),
        chain=replace(run.chain, last_response_id=response.response_id),
        counters=replace(run.counters, tool_calls=run.counters.tool_calls + asked),
        updated_at=now,
    )
    if all(call.state is CallState.HANDED_OVER for call in calls):  # there is nothing to do here
        after = end_with_calls(after, now, len(calls), text=response.text, annotations=_notes(response))
    return Change(run=after, calls=calls, items=(json.dumps(response.items, ensure_ascii=False),))


def _recreated(run: Run, response: AgentResponse, now: datetime, jitter: float) -> Change:
    """The provider failed it with a code that passes: created again after a while, a bounded number of times a turn."""
    run = _adding_usage(run, response.usage)
    refused = limit_broken_by(run, 0)
    if refused is not None:
        return fail(run, now, *refused)
    restarts = run.turn.restarts + 1
    gap = schedule.failure_gap(restarts, jitter=jitter)
    return Change(
        run=replace(
            run,
            phase=Creating(not_before=later(now, gap)),
            turn=replace(run.turn, restarts=restarts),
            chain=replace(run.chain, provider_status=f"failed: {response.error_code}"),
        )
    )


def _final(run: Run, answer: Answer, now: datetime) -> Change:
    response = answer.response
    run = with_extras(_adding_usage(run, response.usage), response.items)
    # A refusal to answer is text of a completed response, not a failure.
    status = RunStatus(response.status.value)
    code = message = None
    if status is RunStatus.COMPLETED and answer.output_error is not None:
        if run.counters.corrections == 0 and _has_another_turn(run):
            return _corrected(run, answer, now)
        status, code = RunStatus.FAILED, "invalid_output"
        again = ", twice" if run.counters.corrections else ""
        message = f"The agent's text is not a {answer.output_form}{again}: {answer.output_error}"
    elif status is RunStatus.FAILED:
        code = plain_code(response.error_code, otherwise="provider_failed")
        message = for_callers(response.error_message or "The provider failed the response and gave no reason.")
    elif status is RunStatus.CANCELLED:
        code, message = "cancelled_at_provider", "The response was cancelled at the provider, not by this app."
    reason = None
    if status is RunStatus.INCOMPLETE and response.incomplete_reason is not None:
        reason = plain_code(response.incomplete_reason, otherwise="unknown")
    output = answer.output if status is RunStatus.COMPLETED else ""
    result = Result(text=response.text, output=output, incomplete_reason=reason, annotations=_notes(response))
    last = response.response_id or run.chain.last_response_id
    run = replace(run, chain=replace(run.chain, last_response_id=last))
    ended = end_run(run, now, status, code=code, message=message, result=result)
    return Change(run=ended, items=(json.dumps(response.items, ensure_ascii=False),) if response.items else ())


def _notes(response: AgentResponse) -> str:
    return annotations_to_json(annotations_of(response.items))


def _corrected(run: Run, answer: Answer, now: datetime) -> Change:
    """One more turn for text that does not fit, in which the model reads what is wrong with it."""
    correction = (
        f"Your answer does not fit the required format: {answer.output_error}. "
        "Answer again, with the corrected JSON alone."
    )
    chain = replace(run.chain, last_response_id=answer.response.response_id)
    counters = replace(run.counters, corrections=run.counters.corrections + 1)
    return Change(
        run=next_turn(replace(run, chain=chain, counters=counters), now),
        items=(
            json.dumps(answer.response.items, ensure_ascii=False),
            json.dumps([{"type": "message", "role": "user", "content": correction}]),
        ),
    )


def next_turn(run: Run, now: datetime) -> Run:
    """The run as its next turn is to be created; one that has used its turns fails instead."""
    if run.turn.number + 1 > run.request.limits.turns:
        turns = run.request.limits.turns
        return fail(run, now, "turn_limit", f"The run has used its {turns} turns. Allow more with `limits.turns`.").run
    # A new value: no count of the turn before can be left over.
    return replace(run, turn=replace(type(run.turn)(), number=run.turn.number + 1), phase=Creating(), updated_at=now)


def _adding_usage(run: Run, usage: Usage) -> Run:
    return replace(run, counters=replace(run.counters, usage=run.counters.usage + usage))


def _has_another_turn(run: Run) -> bool:
    tokens = run.request.limits.total_tokens
    return run.turn.number < run.request.limits.turns and (tokens is None or run.counters.usage.total_tokens < tokens)


def limit_broken_by(run: Run, calls: int) -> tuple[str, str] | None:
    """The limit that ``calls`` more tool calls would break: code and sentence."""
    limits = run.request.limits
    # Their rows and the run's must fit one transaction of 100 operations.
    if calls > MAX_CALLS_A_TURN:
        return "tool_call_limit", f"The model asked for {calls} tools in one turn; at most {MAX_CALLS_A_TURN} are run."
    if run.counters.tool_calls + calls > limits.tool_calls:
        return (
            "tool_call_limit",
            f"The run may call {limits.tool_calls} tools and would need {run.counters.tool_calls + calls}. "
            "Allow more with `limits.tool_calls`.",
        )
    used = run.counters.usage.total_tokens
    if limits.total_tokens is not None and used >= limits.total_tokens:
        return "token_limit", f"The run has used {used} of {limits.total_tokens} tokens and is not done."
    return None


def calls_of(run: Run, answer: Answer, now: datetime) -> tuple[ToolCall, ...]:
    """The rows of a turn that asks for something: our tools, then what the provider wants approved.

    A request of the provider's that shares its id with one before it is not asked about, and refused: the provider
    knows an answer only by the request's id.
    """
    row = functools.partial(
        ToolCall, session_id=run.request.session_id, number=run.request.number, turn=run.turn.number
    )
    rows: list[ToolCall] = []
    for call in answer.response.calls:
        tool = answer.tools.get(call.name)
        made = row(index=len(rows), call_id=call.call_id, name=call.name, arguments=str(call.arguments))
        # The agent's own tools come first: a deploy may have added one of the same name.
        if tool is None and call.name in run.request.tool_names:
            made = replace(made, state=CallState.HANDED_OVER)
        rows.append(awaiting_approval(made, tool) if tool is not None and tool.requires_approval else made)
    asked: set[str] = set()
    for request in answer.response.approvals:
        made = row(
            index=len(rows),
            call_id=request.request_id,
            name=request.name,
            arguments=str(request.arguments),
            kind=CallKind.MCP,
            state=CallState.WAITING,
            approval=Approval.PENDING,
            why=f"A tool of the MCP server {request.server}." if request.server else "",
        )
        if request.request_id in asked:
            made = replace(made, state=CallState.FINISHED, approval=Approval.NONE, finished_at=now)
        asked.add(request.request_id)
        rows.append(made)
    return tuple(rows)
