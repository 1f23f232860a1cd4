"""A run as a response of the OpenAI API, with every field that OpenAI's typed clients want. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypedDict

from shared.agentkit.agent import Agent, ApprovalRequest, Item, Usage
from shared.api.openai.item_shapes import (
    ApprovalObject,
    CallObject,
    InputItem,
    OutputItem,
    OutputMessage,
    RefusalPart,
    TextPart,
)
from shared.api.openai.positions import MAX_NUMBER
from shared.runs.model.ids import parse_run_id, run_id
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import Run
from shared.runs.queries.conversation import OfCaller, OpenCall, TurnText

NOTHING = OfCaller()
OF_FUNCTIONS: Mapping[str, Any] = {"description": None, "parameters": None, "strict": None}
"""What OpenAI's typed clients want of a function, though its caller left it out."""


class ResponseError(TypedDict):
    """Why a run failed."""

    code: str
    message: str
    type: Literal["server_error"]
    param: None


class IncompleteDetails(TypedDict):
    """Why a response is incomplete."""

    reason: str


class InputTokensDetails(TypedDict):
    """Tokens of the input by kind."""

    cached_tokens: int
    cache_write_tokens: int


class OutputTokensDetails(TypedDict):
    """Tokens of the output by kind."""

    reasoning_tokens: int


class ResponseUsage(TypedDict):
    """Tokens of all turns together."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class ResponseObject(TypedDict):
    """A response. What an agent decides for itself, and what this app has not, stands as the provider's default."""

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: str
    background: bool
    model: str
    output: list[OutputItem]
    error: ResponseError | None
    incomplete_details: IncompleteDetails | None
    usage: ResponseUsage | None
    metadata: dict[str, str]
    previous_response_id: str | None
    instructions: str | None
    max_output_tokens: None
    max_tool_calls: None
    parallel_tool_calls: bool
    reasoning: Mapping[str, Any]
    service_tier: str
    store: bool
    temperature: float
    text: Mapping[str, Any]
    tool_choice: Any
    tools: list[Any]
    top_logprobs: int
    top_p: float
    truncation: str
    user: None


def response_object(
    run: Run,
    turns: Sequence[TurnText] = (),
    calls: Sequence[OpenCall] = (),
    *,
    agent: Agent | None = None,
    callers: OfCaller = NOTHING,
) -> ResponseObject:
    """The run as a response. ``output`` is empty until the run has ended, as the provider's own is.

    ``calls`` are those that it ended with for its caller, and ``callers`` is what the caller brought.
    """
    ended = run.terminal
    form = None if agent is None or agent.output is None else agent.output.response_format()
    request, follows = run.request, run.request.follows
    reason = run.result.incomplete_reason
    return {
        "id": response_id(run.id),
        "object": "response",
        # Whole seconds: .NET's client reads every number as an integer of 32 bits.
        "created_at": int(run.request.created_at.timestamp()),
        "completed_at": _completed_at(run),
        # OpenAI has no such status, and its clients cannot answer what a person is asked.
        "status": "in_progress" if run.status is RunStatus.REQUIRES_ACTION else run.status.value,
        "background": run.request.background,
        "model": run.request.agent,
        "output": output_items(run, turns, calls) if ended else [],
        "error": _error(run),
        "incomplete_details": None if reason is None else {"reason": reason},
        "usage": _usage(run.counters.usage) if ended else None,
        "metadata": run.request.metadata,
        "previous_response_id": None
        if follows is None
        else response_id(run_id(request.branch_of or request.session_id, follows)),
        "instructions": callers.instructions or None,
        # From here on the provider's defaults: typed clients want the fields, and the agent decides on them.
        "max_output_tokens": None,
        "max_tool_calls": None,
        "parallel_tool_calls": callers.tools.parallel is not False,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": True,
        "temperature": 1.0,
        "text": {"format": form or {"type": "text"}},
        "tool_choice": callers.tools.choice or "auto",
        "tools": [{**OF_FUNCTIONS, **each} for each in callers.tools.definitions],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "user": None,
    }


def output_turns(run: Run, turns: Iterable[TurnText]) -> list[TurnText]:
    """The turns whose text is the run's output: none that was corrected, and of a structured result the last alone."""
    kept = [each for each in turns if not each.corrected]
    # A client parses a structured result as one JSON document.
    return kept[-1:] if run.result.output else kept


def turns_with_message(run: Run, turns: Iterable[TurnText]) -> list[TurnText]:
    """The turns of an ended run that are the messages of its output, in order: its last turn always has one.

    So a run that failed has a message that is incomplete, and without words where there are none: some clients show an
    error on a message alone, and a message that a stream had begun is in the response, too. One that ended with calls
    needs no words.
    """
    kept = output_turns(run, turns)
    here = run.turn.number
    if run.result.open_calls:
        return kept
    return kept if kept and kept[-1].turn == here else [*kept, TurnText(turn=here)]


def output_items(run: Run, turns: Iterable[TurnText], calls: Iterable[OpenCall]) -> list[OutputItem]:
    """The output of an ended run."""
    messages = [output_message(run, each, index) for index, each in enumerate(turns_with_message(run, turns))]
    return [*messages, *(call_object(run, call, index) for index, call in enumerate(calls, start=len(messages)))]


def call_object(run: Run, call: OpenCall, index: int) -> CallObject | ApprovalObject:
    """A call for the caller as the output item of that index."""
    if isinstance(call, ApprovalRequest):
        return {
            # The one that an answer names: it stands for the very arguments that are shown.
            "id": call.request_id,
            "type": "mcp_approval_request",
            "server_label": call.server,
            "name": call.name,
            "arguments": call.arguments,
        }
    return {
        "id": f"fc_{run.id.removeprefix('run_')}_{index + 1}",
        "type": "function_call",
        "call_id": call.call_id,
        "name": call.name,
        "arguments": call.arguments,
        "status": "completed",
    }


def output_message(run: Run, turn: TurnText, index: int) -> OutputMessage:
    """A turn's text as the output item of that index."""
    last = run.terminal and turn.turn == run.turn.number
    words = bool(turn.full_text)
    cut = last and (run.status is RunStatus.INCOMPLETE or (run.status is not RunStatus.COMPLETED and not words))
    content: list[TextPart | RefusalPart] = []
    # An answer is never without a part: clients look into the first one.
    if turn.text or not (turn.refusal or cut):
        content.append(text_part(turn.text, turn.annotations))
    if turn.refusal:
        content.append(refusal_part(turn.refusal))
    return {
        "id": message_id(run, index),
        "type": "message",
        "role": "assistant",
        "status": "incomplete" if cut else "completed",
        "content": content,
    }


def text_part(text: str, annotations: Iterable[Mapping[str, Any]] = ()) -> TextPart:
    """Text as a content part."""
    notes: list[Mapping[str, Any]] = [
        {name: readable_number(value) if isinstance(value, int) else value for name, value in each.items()}
        for each in annotations
    ]
    return {"type": "output_text", "text": text, "annotations": notes, "logprobs": []}


def refusal_part(text: str) -> RefusalPart:
    """A refusal as a content part."""
    return {"type": "refusal", "refusal": text}


def input_items(run: Run, items: Iterable[Item]) -> list[InputItem]:
    """The run's input as the items of a list."""
    return [_input_item(item, f"{run.id.removeprefix('run_')}_in{index}") for index, item in enumerate(items)]


def _input_item(item: Item, name: str) -> InputItem:
    match item.get("type"):
        case "function_call":
            return {
                "id": f"fc_{name}",
                "type": "function_call",
                "call_id": item["call_id"],
                "name": item["name"],
                "arguments": item["arguments"],
                "status": "completed",
            }
        case "function_call_output":
            return {
                "id": f"fco_{name}",
                "type": "function_call_output",
                "call_id": item["call_id"],
                "output": item["output"],
                "status": "completed",
            }
        case "mcp_approval_response":
            return {
                "id": f"mcpa_{name}",
                "type": "mcp_approval_response",
                "approval_request_id": item["approval_request_id"],
                "approve": item["approve"],
            }
    return {
        "id": f"msg_{name}",
        "type": "message",
        "role": item["role"],
        "status": "completed",
        "content": _input_parts(item["role"], item["content"]),
    }


def response_id(run: str) -> str:
    """``resp_<session>_<n>`` for ``run_<session>_<n>``."""
    return f"resp_{run.removeprefix('run_')}"


def run_of_response(response: str) -> tuple[str, int] | None:
    """Session and number of the run behind a response's id; None for an id that is none of ours."""
    return parse_run_id(f"run_{response.removeprefix('resp_')}") if response.startswith("resp_") else None


def run_id_of(response: str) -> str | None:
    """The id of the run behind a response's id; None for an id that is none of ours."""
    found = run_of_response(response)
    return None if found is None else run_id(*found)


def message_id(run: Run, index: int) -> str:
    """The id of the message at that index of the output, the same in a stream and in the response."""
    return f"msg_{run.id.removeprefix('run_')}_{index + 1}"


def _completed_at(run: Run) -> int | None:
    # OpenAI has this time for completed responses alone.
    completed = run.completed_at if run.status is RunStatus.COMPLETED else None
    return None if completed is None else int(completed.timestamp())


def _error(run: Run) -> ResponseError | None:
    code = run.result.error_code
    # Both are texts in OpenAI's types, never null.
    if code is None:
        return None
    return {"code": code, "message": run.result.error_message or "", "type": "server_error", "param": None}


def _usage(usage: Usage) -> ResponseUsage:
    return {
        "input_tokens": readable_number(usage.input_tokens),
        "input_tokens_details": {"cached_tokens": readable_number(usage.cached_tokens), "cache_write_tokens": 0},
        "output_tokens": readable_number(usage.output_tokens),
        "output_tokens_details": {"reasoning_tokens": readable_number(usage.reasoning_tokens)},
        "total_tokens": readable_number(usage.total_tokens),
    }


def readable_number(number: int) -> int:
    """The number, or the largest that all of OpenAI's clients can read."""
    return max(-MAX_NUMBER, min(number, MAX_NUMBER))


def _input_parts(role: str, content: Any) -> list[Any]:
    if not isinstance(content, str):
        return list(content)
    return [text_part(content)] if role == "assistant" else [{"type": "input_text", "text": content}]
