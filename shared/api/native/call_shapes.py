"""A tool call as callers see it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from shared.agentkit.tools import error_of
from shared.api.http import time_on_the_wire
from shared.api.native.fields import Count, Time, Url
from shared.runs.model.calls import Approval, CallState
from shared.runs.model.calls import ToolCall as CallRecord
from shared.runs.model.run import Text
from shared.runs.store.parts import BEGINNING

CANCELLED: Literal["cancelled"] = "cancelled"
"""The state of a call that was not finished when its run ended."""


class Progress(TypedDict):
    """What a tool last said about its progress."""

    call_id: str
    """The provider's id of the call that reports."""

    name: str
    """The tool's name."""

    message: str
    """What the tool says, in its own words."""

    fraction: Annotated[float, Field(ge=0, le=1)] | None
    """How much is done, from 0 to 1; null when the tool does not say."""

    at: Time
    """When the tool said so."""


class CallError(TypedDict):
    """What went wrong with a call, as the model reads it."""

    code: str
    """A stable word for programs."""

    message: str
    """A sentence."""


class ToolCall(TypedDict):
    """One tool call of the run."""

    id: Annotated[str, Field(pattern=r"^[1-9][0-9]*\.[0-9]+$")]
    """Turn and place in the turn: unlike `call_id` it names one call of the run alone."""

    url: Url
    """The call with all of its arguments and its result."""

    call_id: str
    """The provider's own id, which it may use again."""

    name: str
    """The tool."""

    turn: Count
    """The turn that asked for it; the first is 1."""

    state: CallState | Literal["cancelled"]
    """`cancelled` where its run ended before it was finished; `handed_over` where its caller, who brought the function,
    makes the call.
    """

    arguments: str
    """The JSON text that the model wrote: its first 500 characters."""

    result: str | None
    """What the model was given: its first 500 characters; null until the call is finished, and for the provider's own
    tools.
    """

    truncated: bool
    """Whether arguments or result are longer than shown here."""

    error: CallError | None
    """Why there is no other result; null unless the call failed, was refused, or ran too long."""

    starts: Count
    """How often it was started: more than once after an interruption."""

    started_at: Time | None
    """When it was last started."""

    finished_at: Time | None
    """When its result was kept; null before."""

    approval: Literal[Approval.PENDING, Approval.APPROVED, Approval.REFUSED] | None
    """What a person said of it; null where nobody was asked."""

    answer_reason: str | None
    """Why that person approved or refused."""

    answered_by: str | None
    """Who that was: a principal, a user or the label of a run token."""

    answered_at: Time | None
    """When that person answered; null where nobody has."""

    progress: Progress | None
    """The last word of this call; null when its tool reports none."""


def call_on_the_wire(call: CallRecord, *, run_url: str, is_over: bool) -> ToolCall:
    """A tool call as callers see it. ``is_over``: its run has ended."""
    arguments, are_cut = shown(call.arguments)
    result, is_cut = shown(call.result)
    finished = call.state is CallState.FINISHED
    name = f"{call.turn}.{call.index}"
    return {
        "id": name,
        "url": f"{run_url}/tool_calls/{name}",
        "call_id": call.call_id,
        "name": call.name,
        "turn": call.turn,
        "state": state_of(call, is_over=is_over),
        "arguments": arguments,
        "result": result if finished and call.result else None,
        "truncated": are_cut or is_cut,
        "error": _error(call.result),
        "starts": call.starts,
        "started_at": time_on_the_wire(call.started_at),
        "finished_at": time_on_the_wire(call.finished_at),
        "approval": None if call.approval is Approval.NONE else call.approval,
        "answer_reason": call.reason or None,
        "answered_by": call.answered_by or None,
        "answered_at": time_on_the_wire(call.answered_at),
        "progress": progress_of([call]),
    }


def state_of(call: CallRecord, *, is_over: bool) -> CallState | Literal["cancelled"]:
    """Where it stands; ``is_over``: its run has ended, and whatever of it still ran is of no account."""
    return CANCELLED if is_over and not call.state.is_settled else call.state


def shown(value: Text) -> tuple[str, bool]:
    """The beginning of a value, and whether there is more of it."""
    if isinstance(value, str):
        return value[:BEGINNING], len(value) > BEGINNING
    return value.beginning, True


def _error(result: Text) -> CallError | None:
    # An error of ours is always short, so that it lies in the row.
    error = error_of(result) if isinstance(result, str) else None
    return None if error is None else {"code": error[0], "message": error[1]}


def progress_of(calls: Iterable[CallRecord]) -> Progress | None:
    """The latest progress that one of the calls has reported."""
    reported = [(call.progress_at, call) for call in calls if call.progress_at is not None]
    if not reported:
        return None
    at, call = max(reported, key=lambda each: each[0])
    return {
        "call_id": call.call_id,
        "name": call.name,
        "message": call.progress,
        "fraction": call.progress_fraction,
        "at": time_on_the_wire(at),
    }
