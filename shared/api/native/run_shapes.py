"""A run as callers see it, and its tool calls."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from shared.agentkit.agent import Usage as UsageRecord
from shared.agentkit.extras import annotations_from_json
from shared.api.http import time_on_the_wire
from shared.api.native.call_shapes import Progress, ToolCall, call_on_the_wire, progress_of
from shared.api.native.extra_shapes import (
    Annotation,
    HostedCall,
    Reasoning,
    annotation_on_the_wire,
    hosted_call_on_the_wire,
    reasoning_on_the_wire,
)
from shared.api.native.fields import (
    BatchId,
    CallbackStatus,
    Count,
    IncompleteDetails,
    RunError,
    RunId,
    SessionId,
    Time,
    Url,
)
from shared.api.native.token_shapes import RunToken
from shared.runs.model.calls import CallState
from shared.runs.model.calls import ToolCall as CallRecord
from shared.runs.model.phases import RunningTools, RunStatus, Scheduled, WaitingForAnswers
from shared.runs.model.run import Run as RunRecord
from shared.runs.model.run import Text
from shared.runs.model.times import seconds_between
from shared.runs.queries.runs import FullRun
from shared.runs.queries.runs import Question as QuestionRecord
from shared.runs.rules.approvals import approval_id
from shared.runs.rules.callbacks import callback_status
from shared.runs.rules.waiting import WaitingFor, waiting_of

SOONER: dict[type, int] = {Scheduled: 3_600, RunningTools: 5, WaitingForAnswers: 30}
"""The longest `Retry-After`, in seconds, while the next change is not up to the schedule, or far off."""


class Question(TypedDict):
    """A call that waits for a person."""

    id: str
    """What an answer names: this call of this turn, with these arguments."""

    call_id: str
    """The provider's own id of the call, which it may use again."""

    name: str
    """The tool's name."""

    arguments: str
    """The JSON text that the model wrote."""

    reason: str | None
    """Why approval is asked."""


class RequiredAction(TypedDict):
    """What a person must decide before the run goes on."""

    type: Literal["approve"]
    """What is to be decided: whether calls may be made."""

    calls: Annotated[list[Question], Field(min_length=1)]
    """The calls that wait for an answer."""


class Usage(TypedDict):
    """Tokens, as the provider counted them."""

    input_tokens: Count
    """Tokens that the model read, in all turns."""

    output_tokens: Count
    """Tokens that it wrote, its reasoning included."""

    total_tokens: Count
    """Both together."""

    cached_tokens: Count
    """Those of the input that the provider had in its cache."""

    reasoning_tokens: Count
    """Those of the output that were reasoning."""


class RunSummary(TypedDict):
    """A run in a list, as of its last change of status. What changes more often is at its own address."""

    id: RunId
    """The run's id: its session's, and its number in that session."""

    object: Literal["run"]
    """What this is: always `run`."""

    url: Url
    """The run's own address."""

    status: RunStatus
    """The last four are final and never change."""

    title: str
    """The caller's, else the first line of the input. One line."""

    input_preview: str
    """The first 200 characters of the input's text; the whole is at `/input`."""

    agent: str
    """The name of the agent that answers."""

    model: str | None
    """The model that was asked for, else the agent's own; null where that is not known."""

    stream: bool
    """Whether its text can be watched while it is made."""

    session_id: SessionId
    """The conversation that it belongs to."""

    batch_id: BatchId | None
    """The batch that it is an item of; null for a run of its own."""

    error: RunError | None
    """Why it failed; null unless its status is `failed`."""

    incomplete_details: IncompleteDetails | None
    """Why it was cut short; null unless its status is `incomplete`."""

    usage: Usage
    """Tokens of all its turns so far; in a list, up to the last change of status."""

    metadata: dict[str, str]
    """What its caller noted on it at submit."""

    created_at: Time
    """When it was submitted."""

    start_at: Time | None
    """When it was to start, as its submit asked; null when at once."""

    completed_at: Time | None
    """When it ended; null before."""

    elapsed_seconds: Annotated[float, Field(ge=0)] | None
    """From submit to the end, of a run with `start_at` from its start; null before."""


class Run(RunSummary):
    """One request to an agent, from submit to a final status."""

    provider_status: str | None
    """The provider's last status or error code, for people; null before there is one."""

    turn: Count
    """The turn that it is in, or ended in; the first is 1."""

    wakes: Count
    """How often the app was at work for it."""

    active_seconds: Annotated[float, Field(ge=0)]
    """How long the app was at work for it: from the start of each execution to its last write. While the model thinks
    nothing runs, so this is far less than the time that has passed.
    """

    callback_url: str | None
    """Where its end and its questions are reported; null when nowhere."""

    callback_status: CallbackStatus | None
    """What became of the last callback; null while none is due or was sent."""

    updated_at: Time
    """When something last changed that a caller sees."""

    deadline_at: Time | None
    """When it fails unless it has ended; null before it starts, and while it waits for a person, when this time stands
    still.
    """

    answer_by: Time | None
    """Until when a person can answer; null unless it waits for one."""

    waiting_for: Annotated[str, Field(examples=[each.value for each in WaitingFor])]
    """What it waits for: `start` (it was submitted for later), `provider`, `tools`, `person`, `retry` (something that
    passes went wrong) or `nothing`. Take other words too: more may come.
    """

    waiting_text: str
    """The same, in a sentence for people."""

    wake_at: Time | None
    """When the app looks or tries next by itself; null while tools run, while a person is to answer, and at the end."""

    retry_after: float | None
    """Seconds between its last look and its next; null at the end. While tools run or a person is to answer: 5 or 30
    at most, as the header `Retry-After`, because the next change is not up to the schedule; before its start 3600.
    """

    text: str
    """The text of the last turn; empty until there is one."""

    output: Any
    """The result as an object, for agents that promise one."""

    required_action: RequiredAction | None
    """What a person has to decide; null when nothing."""

    tool_calls: list[ToolCall]
    """The calls of the run's tools, in the order in which they were asked for."""

    progress: Progress | None
    """The latest word of any of its tools; null when there is none."""

    annotations: list[Annotation]
    """Citations and other marks on `text`: the first 500. Empty until the run has ended."""

    hosted_calls: list[HostedCall]
    """What the provider's own tools did in the turns that are over: the latest 100 calls."""

    reasoning: list[Reasoning]
    """Summaries of the model's reasoning in the turns that are over, where the agent asks its provider for them."""


class SubmittedRun(Run):
    """A run as the answer to its submit has it."""

    token: NotRequired[RunToken]
    """Only there when it was asked for, and in no other answer."""


def run_on_the_wire(full: FullRun, *, url: str, model: str | None = None) -> Run:
    """A run as callers see it. The continuation token is not in it, nor anything else that is the provider's.

    ``model``: the agent's own, for a run that asked for no other.
    """
    run = full.run
    waiting = waiting_of(run, full.calls)
    return {
        "id": run.id,
        "object": "run",
        "url": url,
        "status": run.status,
        "title": run.request.title,
        "input_preview": run.request.preview,
        "agent": run.request.agent,
        "model": run.request.model or model,
        "stream": run.request.stream,
        "session_id": run.request.session_id,
        "batch_id": run.request.batch_id,
        "text": full.text,
        # Stored as text: it was checked against the agent's schema when the run ended.
        "output": json.loads(full.output) if full.output else None,
        "error": _error(run),
        "incomplete_details": _incomplete_details(run),
        "required_action": _required_action(full),
        "tool_calls": [call_on_the_wire(call, run_url=url, is_over=run.terminal) for call in full.calls],
        "progress": progress_of(full.calls),
        "provider_status": run.chain.provider_status,
        "usage": usage_on_the_wire(run.counters.usage),
        "turn": run.turn.number,
        "wakes": run.counters.wakes,
        "active_seconds": run.counters.active_ms / 1_000,
        "elapsed_seconds": _elapsed(run),
        "metadata": dict(run.request.metadata),
        "callback_url": run.request.callback_url,
        "callback_status": callback_status(run.outbox),
        "created_at": time_on_the_wire(run.request.created_at),
        "updated_at": time_on_the_wire(run.updated_at),
        "start_at": time_on_the_wire(run.request.start_at),
        "completed_at": time_on_the_wire(run.completed_at),
        "deadline_at": time_on_the_wire(run.schedule.deadline_at),
        "answer_by": time_on_the_wire(run.phase.answer_by if isinstance(run.phase, WaitingForAnswers) else None),
        "waiting_for": waiting.word,
        "waiting_text": waiting.sentence,
        "wake_at": time_on_the_wire(waiting.next_try),
        "retry_after": _gap(run),
        "annotations": [annotation_on_the_wire(each) for each in annotations_from_json(full.annotations)],
        "hosted_calls": [hosted_call_on_the_wire(each) for each in run.extras.hosted_calls],
        "reasoning": [reasoning_on_the_wire(each) for each in run.extras.reasoning],
    }


def has_parts(run: RunRecord, calls: Sequence[CallRecord]) -> bool:
    """Whether something of the run as callers see it lies in parts of its own, to be read."""
    return any(not isinstance(value, str) for value in _read_in_full(run, calls))


def _read_in_full(run: RunRecord, calls: Sequence[CallRecord]) -> list[Text]:
    waiting = [call.arguments for call in calls if call.state is CallState.WAITING]
    return [run.result.text, run.result.output, run.result.annotations, *waiting]


def etag_of_run(run: RunRecord, calls: Sequence[CallRecord], *, url: str, model: str | None = None) -> str:
    """The strong ETag of the run as callers see it, from its rows alone: a long value counts by its digest."""
    asked = [QuestionRecord(call=call, arguments="") for call in calls if call.state is CallState.WAITING]
    rest = run_on_the_wire(FullRun(run=run, calls=calls, questions=asked), url=url, model=model)
    # A list, so that a text that reads like a digest is not one.
    long = [value if isinstance(value, str) else [value.digest] for value in _read_in_full(run, calls)]
    return f'"{hashlib.sha256(json.dumps([rest, long]).encode()).hexdigest()[:32]}"'


def _error(run: RunRecord) -> RunError | None:
    if run.result.error_code is None:
        return None
    return {"code": run.result.error_code, "message": run.result.error_message}


def _incomplete_details(run: RunRecord) -> IncompleteDetails | None:
    return None if run.result.incomplete_reason is None else {"reason": run.result.incomplete_reason}


def _required_action(full: FullRun) -> RequiredAction | None:
    # The calls of a run that was cancelled stay as they were, but no answer is taken any more.
    if not full.questions or full.run.terminal:
        return None
    return {"type": "approve", "calls": [_question(each) for each in full.questions]}


def _question(asked: QuestionRecord) -> Question:
    call = asked.call
    return {
        # A provider may use a `call_id` again: an approval must not fit another call.
        "id": approval_id(call),
        "call_id": call.call_id,
        "name": call.name,
        "arguments": asked.arguments,
        "reason": call.why or None,
    }


def usage_on_the_wire(usage: UsageRecord) -> Usage:
    """Tokens as callers see them."""
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "cached_tokens": usage.cached_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
    }


def _elapsed(run: RunRecord) -> float | None:
    return seconds_between(run.schedule.begun_at or run.request.created_at, run.completed_at)


def _gap(run: RunRecord) -> float | None:
    """What `Retry-After` says, but counted from the last look, so that it stays as it is from look to look."""
    if run.terminal:
        return None
    sooner = SOONER.get(type(run.phase))
    return run.schedule.retry_after if sooner is None else float(min(run.schedule.retry_after or sooner, sooner))
