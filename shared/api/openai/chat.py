"""``/api/v1/chat/completions``: a run as a chat completion, for agents that answer while a request may wait."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict

from starlette.requests import Request
from starlette.responses import Response

from shared.agentkit.agent import FunctionCall, Usage
from shared.api.http import json_response
from shared.api.openai.chat_messages import check_calls, to_items
from shared.api.openai.http import NO_RETRY, error_object, owner_of_key
from shared.api.openai.objects import output_turns, response_id
from shared.api.openai.parameters import IGNORED_HEADER, Options, invalid, read_parameters
from shared.api.openai.requests import read_body, submission_of, with_idempotency_key
from shared.api.openai.schemas import COMPLETION, CREATE_COMPLETION
from shared.api.openai.starting import (
    START_PROBLEMS,
    loop_time,
    one_of_its_tries,
    seconds_left,
    start_run,
    wait_for_end,
)
from shared.api.openai.streaming import PING, TEXT_EVENTS, error_of_stream, response_events, sse
from shared.api.operations import IDEMPOTENCY_KEY, Answer, openai_operation
from shared.api.pacing import EventStream, TimeIsUp, paced
from shared.drivers.driver import Driver
from shared.errors import ApprovalUnsupported, CompletionFailed, NoSuchToolCall, StillRunning, ToolOutputsMissing
from shared.runs.commands.submission import Submission
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import Run
from shared.runs.queries.conversation import OpenCall, TurnText, current, open_calls_of, turn_texts
from shared.wiring import App

FINISH_REASONS = {"max_output_tokens": "length", "content_filter": "content_filter"}
"""``finish_reason`` for the reason why a response is incomplete; ``length`` for any other."""

INSTEAD = "Next time ask with `stream: true`, or create it at `/responses` with `background: true`."
"""How a caller asks who would have to wait too long."""
# A completion has one message, and each turn of a run may have text.
BETWEEN_TURNS = "\n\n"
# OpenAI's clients read a stream until this line.
DONE = b"data: [DONE]\n\n"


class PromptTokensDetails(TypedDict):
    """Tokens of the prompt by kind."""

    cached_tokens: int
    audio_tokens: int


class CompletionTokensDetails(TypedDict):
    """Tokens of the completion by kind."""

    reasoning_tokens: int
    audio_tokens: int
    accepted_prediction_tokens: int
    rejected_prediction_tokens: int


class CompletionUsage(TypedDict):
    """Tokens of all turns together."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails


class CalledFunction(TypedDict):
    """A function of the caller's, and what to call it with."""

    name: str
    arguments: str


class ToolCall(TypedDict):
    """A call that the caller is to make."""

    id: str
    type: Literal["function"]
    function: CalledFunction


class ChunkCall(ToolCall):
    """The same in a chunk, as a whole."""

    index: int


class CompletionMessage(TypedDict):
    """The agent's text, or its refusal, and calls of the caller's functions."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    annotations: list[Any]
    tool_calls: NotRequired[list[ToolCall]]


class Choice(TypedDict):
    """The one answer of a completion."""

    index: int
    message: CompletionMessage
    logprobs: None
    finish_reason: str


class ChatCompletion(TypedDict):
    """A run as a chat completion."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: CompletionUsage
    service_tier: str
    system_fingerprint: None


class ChunkDelta(TypedDict, total=False):
    """What a chunk adds to the message."""

    role: Literal["assistant"]
    content: str
    refusal: str
    tool_calls: list[ChunkCall]


class ChunkChoice(TypedDict):
    """A piece of the one answer. ``finish_reason`` is set in the last."""

    index: int
    delta: ChunkDelta
    logprobs: None
    finish_reason: str | None


class Chunk(TypedDict):
    """A piece of a chat completion. One with ``usage`` comes after the last, without choices."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    system_fingerprint: None
    usage: NotRequired[CompletionUsage]


@openai_operation(
    parameters=(IDEMPOTENCY_KEY,),
    body=CREATE_COMPLETION,
    examples={"a question": {"model": "analyst", "messages": [{"role": "user", "content": "How is tea doing?"}]}},
    answers={
        200: Answer(
            text="The completion.",
            shape=COMPLETION,
            sometimes=("ETag", IGNORED_HEADER),
            or_stream=True,
        )
    },
    problems=(*START_PROBLEMS, ApprovalUnsupported, CompletionFailed, ToolOutputsMissing, NoSuchToolCall),
)
async def create_completion(request: Request, app: App, driver: Driver) -> Response:
    """Create a chat completion.

    For agents that answer within the time that a request may wait. `model` names the agent. With `stream` it is
    `text/event-stream`, in OpenAI's events.
    """
    arrived = loop_time()
    owner = owner_of_key(request, app.settings)
    body = await read_body(request, app)
    submission, options = _read(body, owner, app)
    submission = with_idempotency_key(submission, request)
    async with one_of_its_tries(request, submission, app) as keyed:
        response = await _created(request, keyed, app, driver, arrived, with_usage=_wants_usage(body))
    response.headers.update(options.headers)
    return response


async def _created(
    request: Request, submission: Submission, app: App, driver: Driver, arrived: float, *, with_usage: bool
) -> Response:
    # First: a caller with too many open must not start a run.
    with app.watching.limit.acquire(submission.owner) as slot:
        run = await start_run(submission, app, driver)
        if submission.stream:
            return EventStream(_body(run, app, driver, with_usage=with_usage, arrived=arrived), slot.keep())
        run = await wait_for_end(request, run, app, arrived=arrived, instead=INSTEAD)
    check_has_answer(run)
    return json_response(chat_completion(run, await turn_texts(app.ports, run), await open_calls_of(app.ports, run)))


def chat_completion(run: Run, turns: Sequence[TurnText], calls: Sequence[OpenCall] = ()) -> ChatCompletion:
    """The run as a chat completion. ``calls``: those that it ended with, of the caller's functions."""
    message = _message(run, turns)
    called = [call for call in calls if isinstance(call, FunctionCall)]
    if called:
        message["tool_calls"] = [_tool_call(call.call_id, call.name, call.arguments) for call in called]
        message["content"] = message["content"] or None
    return {
        "id": _completion_id(run),
        "object": "chat.completion",
        "created": int(run.request.created_at.timestamp()),
        "model": run.request.agent,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": _finish_reason(run)}],
        "usage": _usage(run.counters.usage),
        "service_tier": "default",
        "system_fingerprint": None,
    }


def check_has_answer(run: Run) -> None:
    """A completion has no status: a run that failed or was cancelled is an error. Raises ``CompletionFailed``."""
    if run.status in (RunStatus.COMPLETED, RunStatus.INCOMPLETE):
        return
    raise CompletionFailed(
        run.result.error_message or f"The run is {run.status}.",
        reason=run.result.error_code or run.status.value,
        response_id=response_id(run.id),
        # A repeat would be a new run, and a second bill.
        headers=NO_RETRY,
    )


def _wants_usage(body: Mapping[str, Any]) -> bool:
    # OpenAI leaves usage out of a stream unless it is asked for, and clients expect that.
    options = body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _read(body: Mapping[str, Any], owner: str, app: App) -> tuple[Submission, Options]:
    parameters = read_parameters(body, messages="messages")
    messages = body["messages"]
    if not isinstance(messages, list):
        raise invalid("messages", "must be a list of messages, and not empty")
    items, places = to_items(messages)
    read = submission_of(parameters, body, items, owner, app, messages="messages", places=places)
    check_calls(items, places)
    return read


async def _body(run: Run, app: App, driver: Driver, *, with_usage: bool, arrived: float) -> AsyncGenerator[bytes, None]:
    """The body of a stream: the chunks as they come and ``[DONE]``; an error where there can be no answer."""
    try:
        chunks = _chunks(run, app, driver, with_usage=with_usage)
        seconds = seconds_left(app.settings.events_seconds, arrived)
        async with contextlib.aclosing(paced(chunks, seconds=seconds)) as events:
            async for chunk in events:
                yield PING if chunk is None else sse(chunk)
        yield DONE
    except TimeIsUp:
        name = response_id(run.id)
        message = f"This connection ends as planned, and the answer is not done. Retrieve it as the response {name}."
        yield sse({"error": error_object(StillRunning(message, response_id=name))})
    # The status line has been sent: an error can only be an event.
    except Exception as raised:
        yield sse({"error": error_object(error_of_stream(raised, run))})


async def _chunks(run: Run, app: App, driver: Driver, *, with_usage: bool) -> AsyncGenerator[Chunk, None]:
    agent = app.ports.agents.get(run.request.agent)
    # A structured result may be corrected in a further turn, and a chunk cannot be taken back: it is sent at the end.
    live = agent is None or agent.output is None
    # As OpenAI begins: the role comes first, in a chunk of its own.
    yield _chunk(run, {"role": "assistant", "content": ""})
    message, restarted, has_content, called = "", False, False, 0
    async with contextlib.aclosing(response_events(run, None, app, driver)) as events:
        async for event in events:
            if event["type"] == "response.in_progress":
                restarted = bool(message)
            elif live and event["type"] in TEXT_EVENTS:
                if restarted:
                    raise CompletionFailed(
                        # A stream of chunks has no event that takes text back.
                        "The model began its answer anew, and a stream of chunks cannot. Retrieve the response"
                        " instead.",
                        response_id=response_id(run.id),
                    )
                between = BETWEEN_TURNS if message not in ("", event["item_id"]) else ""
                message, words = event["item_id"], between + event["delta"]
                # A refusal that follows other text is content, as in the whole completion.
                has_content |= event["type"] == "response.output_text.delta"
                yield _chunk(run, {"content": words} if has_content else {"refusal": words})
            elif event["type"] == "response.output_item.done" and event["item"]["type"] == "function_call":
                yield _chunk(run, {"tool_calls": [_chunk_call(event["item"], called)]})
                called += 1
    # The stream may have lasted minutes: status and usage are those of now.
    run = await current(app.ports, run)
    check_has_answer(run)
    if not live:
        yield _chunk(run, _whole(_message(run, await turn_texts(app.ports, run))))
    yield _chunk(run, {}, _finish_reason(run))
    if with_usage:
        yield {**_chunk(run, {}), "choices": [], "usage": _usage(run.counters.usage)}


def _chunk(run: Run, delta: ChunkDelta, finish_reason: str | None = None) -> Chunk:
    return {
        "id": _completion_id(run),
        "object": "chat.completion.chunk",
        "created": int(run.request.created_at.timestamp()),
        "model": run.request.agent,
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}],
        "system_fingerprint": None,
    }


def _chunk_call(item: Mapping[str, Any], index: int) -> ChunkCall:
    return {"index": index, **_tool_call(item["call_id"], item["name"], item["arguments"])}


def _tool_call(call_id: str, name: str, arguments: str) -> ToolCall:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _whole(message: CompletionMessage) -> ChunkDelta:
    if message["refusal"] is not None:
        return {"refusal": message["refusal"]}
    return {"content": message["content"]} if message["content"] else {}


def _message(run: Run, turns: Sequence[TurnText]) -> CompletionMessage:
    shown = output_turns(run, turns)
    refused = bool(shown) and all(each.refusal and not each.text for each in shown)
    text = BETWEEN_TURNS.join(each.full_text for each in shown)
    return {
        "role": "assistant",
        "content": None if refused else text,
        "refusal": text if refused else None,
        "annotations": [],
    }


def _finish_reason(run: Run) -> str:
    reason = run.result.incomplete_reason
    if run.result.open_calls:
        return "tool_calls"
    return "stop" if reason is None else FINISH_REASONS.get(reason, "length")


def _usage(usage: Usage) -> CompletionUsage:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _completion_id(run: Run) -> str:
    """``chatcmpl-<session>_<n>``."""
    return f"chatcmpl-{run.id.removeprefix('run_')}"
