"""What OpenAI's clients may send: parameters that are taken, ignored or refused, and messages as items of ours."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

from shared.agentkit.agent import Item
from shared.api.bodies import MessageBody, MetadataKey, MetadataValue, idempotency_key, problems_of
from shared.api.openai.objects import run_of_response
from shared.api.reading import Share, read_json
from shared.errors import (
    ApprovalUnsupported,
    InputTooLarge,
    InvalidRequest,
    ModelNotFound,
    PreviousResponseNotFound,
    UnsupportedParameter,
)
from shared.runs.commands.submission import Submission
from shared.wiring import App

MAX_MESSAGES = 1_000

NULL_LEVELS = 8
"""How deep nulls are looked for: deeper than any message is nested."""

IGNORED = frozenset(
    {
        "include",
        "parallel_tool_calls",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "stream_options",
        "truncation",
        "user",
    }
)
"""Parameters that change nothing here."""

IGNORED_OF_MESSAGES = frozenset({"id", "status", "phase"})
"""Fields of a message that was read from a response and is sent again."""

DEFAULTS: Mapping[str, Sequence[Any]] = {
    "instructions": [""],
    "modalities": [["text"]],
    "n": [1],
    "reasoning": [{}],
    "response_format": [{"type": "text"}],
    "service_tier": ["auto", "default"],
    "store": [True],
    "temperature": [1],
    "text": [{}, {"format": {"type": "text"}}],
    "tool_choice": ["auto"],
    "tools": [[]],
    "top_logprobs": [0],
    "logprobs": [False],
    "top_p": [1],
    "frequency_penalty": [0],
    "presence_penalty": [0],
}
"""Parameters that are taken with their default value; with any other they ask for what this app does not do."""

REFUSALS: Mapping[str, str] = {
    "instructions": "the agent has its own instructions. Say what you want in the input.",
    "tools": "the agent has its own tools, which run here.",
    "tool_choice": "the agent has its own tools and decides when to use them.",
    "conversation": "go on with `previous_response_id` instead.",
    "prompt": "the agent has its own instructions. Say what you want in the input.",
    "store": "responses are always stored here. Delete the response when you have read it.",
    "text": "the agent decides on the format of its text; it is in the output as it is.",
    "response_format": "the agent decides on the format of its text; it is in the content as it is.",
    "n": "there is one answer to a request.",
}
"""Why a parameter is refused, and what to do instead."""

REFUSAL = "it is the agent's own to decide. Leave it out."
"""The same for any other."""

REQUEST_ID = "x-ms-client-request-id"


class CreateParameters(BaseModel):
    """The parameters that are taken, without the one that holds the messages."""

    model_config = ConfigDict(extra="ignore", strict=True)

    # All others were checked by name before this is built.
    model: str = Field(min_length=1, max_length=128)
    background: bool = False
    stream: bool = False
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] = Field(default_factory=dict)
    previous_response_id: str | None = None


class _AssistantText(BaseModel):
    """A part of an assistant's message."""

    model_config = ConfigDict(extra="ignore", strict=True)

    type: Literal["output_text", "input_text", "text"]
    text: Annotated[str, Field(min_length=0)]  # pydantic takes half a surrogate pair unless there is a constraint


class _AssistantMessage(BaseModel):
    """A message of the agent, from a conversation that the caller keeps."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["message"] = "message"
    role: Literal["assistant"]
    content: Annotated[list[_AssistantText], Field(min_length=1, fail_fast=True)]


async def read_create(request: Request, owner: str, app: App) -> Submission:
    """The body of ``POST /api/v1/responses``. Raises the errors that say what to change."""
    body = await read_body(request, app)
    parameters = read_parameters(body, messages="input")
    submission = submission_of(parameters, read_messages(body.get("input")), owner, app)
    if parameters.previous_response_id is not None:
        previous = run_of_response(parameters.previous_response_id)
        if previous is None:
            raise PreviousResponseNotFound(param="previous_response_id")
        # The id holds session and number: no read is needed to go on from it.
        submission = replace(submission, session_id=previous[0], previous=previous[1])
    return with_idempotency_key(submission, request)


async def read_body(request: Request, app: App) -> dict[str, Any]:
    """The body, without what is null: clients send null for what they leave out."""
    with Share(app.settings) as share:
        body = await read_json(request, app.settings.json_most, share)
    return {name: value for name, value in body.items() if value is not None}


def read_parameters(body: Mapping[str, Any], *, messages: str) -> CreateParameters:
    """The parameters; ``messages`` is the name of the one that holds the messages.

    Raises ``InvalidRequest``; ``UnsupportedParameter`` for one that asks for what is not done here.
    """
    if messages not in body:
        raise invalid(messages, "is required")
    for name, value in body.items():
        if name not in CreateParameters.model_fields and name not in IGNORED and name != messages:
            # Many clients write out every default: refused is only what would change the answer.
            _check_is_default(name, without_nulls(value))
    try:
        return CreateParameters.model_validate(body)
    except ValidationError as error:
        raise invalid_by(error, "") from None


def submission_of(parameters: CreateParameters, items: tuple[Item, ...], owner: str, app: App) -> Submission:
    """The run that is asked for. Raises ``InputTooLarge``, ``ModelNotFound``, ``ApprovalUnsupported``."""
    check_size(items, app.settings.max_input_bytes)
    return Submission(
        owner=owner,
        items=items,
        agent=_agent_named(parameters.model, app),
        metadata=parameters.metadata,
        stream=parameters.stream,
        background=parameters.background,
    )


def with_idempotency_key(submission: Submission, request: Request) -> Submission:
    """The submission with a key that all tries of this request share, where the client sends one.

    That is an ``Idempotency-Key``; else ``x-ms-client-request-id``, which Azure's clients make anew for a request and
    send with every try of it. Others may set that to what they like, so it counts together with the request only.
    """
    key = idempotency_key(request.headers.getlist("idempotency-key"))
    request_id = request.headers.get(REQUEST_ID, "").strip()
    if key is None and request_id:
        key = f"{REQUEST_ID}:{request_id}:{submission.payload}"
    return replace(submission, idempotency_key=key)


def read_messages(value: Any, *, param: str = "input") -> tuple[Item, ...]:
    """The messages to answer: a text, or messages of the user and, from a history, of the assistant.

    Raises ``InvalidRequest`` or ``UnsupportedParameter``, which name the place.
    """
    if isinstance(value, str):
        value = [{"role": "user", "content": value}]
    if not isinstance(value, list) or not value:
        raise invalid(param, "must be a text or a list of messages, and not empty")
    if len(value) > MAX_MESSAGES:
        raise invalid(param, f"may have {MAX_MESSAGES} messages at most")
    items = tuple(_read_message(message, f"{param}[{index}]") for index, message in enumerate(value))
    if items[-1]["role"] != "user":
        raise invalid(f"{param}[{len(items) - 1}].role", "must be `user`: the last message is what the agent answers")
    return items


def check_size(items: Iterable[Item], limit: int) -> None:
    """Raises ``InputTooLarge`` for more than ``limit`` bytes of UTF-8, text and addresses together."""
    contents = (item["content"] for item in items)
    size = sum(
        len((each if isinstance(each, str) else json.dumps(each, ensure_ascii=False)).encode()) for each in contents
    )
    if size > limit:
        raise InputTooLarge(f"The input may be at most {limit} bytes of UTF-8 here. Send less, or a URL to it.")


def number_of_query(request: Request, name: str, most: int) -> int | None:
    """A whole number in the query, if it is there. Raises ``InvalidRequest``."""
    value = request.query_params.get(name)
    if value is None:
        return None
    # The length before `int`, which raises for very long numbers.
    if not (value.isascii() and value.isdigit() and len(value) <= 16 and int(value) <= most):
        raise InvalidRequest(f"`{name}` is a whole number up to {most}.", param=name)
    return int(value)


def flag_of_query(request: Request, name: str) -> bool:
    """Whether it is `true` in the query. Raises ``InvalidRequest`` for another word than `true` and `false`."""
    value = request.query_params.get(name, "false").lower()
    if value not in ("true", "false"):
        raise InvalidRequest(f"`{name}` is `true` or `false`.", param=name)
    return value == "true"


def without_nulls(value: Any, levels: int = NULL_LEVELS) -> Any:
    """The value without what is null in it, at any of the first levels."""
    if levels == 0:
        return value
    if isinstance(value, dict):
        return {name: without_nulls(each, levels - 1) for name, each in value.items() if each is not None}
    return [without_nulls(each, levels - 1) for each in value] if isinstance(value, list) else value


def invalid(param: str, problem: str) -> InvalidRequest:
    """The error for a parameter that does not fit."""
    return InvalidRequest(f"`{param}` {problem}.", param=param)


def invalid_by(error: ValidationError, param: str) -> InvalidRequest:
    """The error for what pydantic found wrong in a parameter; in the body, for an empty name."""
    # OpenAI's errors have room for one parameter.
    path, problem = problems_of(error)[0]
    place = param + "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in path)
    return InvalidRequest(f"`{place.lstrip('.')}`: {problem}.", param=place.lstrip("."))


def unsupported(param: str, sentence: str) -> UnsupportedParameter:
    """The error for a parameter that asks for what this app does not do."""
    return UnsupportedParameter(f"`{param}`: {sentence}", param=param)


def _check_is_default(name: str, value: Any) -> None:
    # To Python 1 is True. In JSON they are different, while 1.0 and 1 are the same.
    if not any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in DEFAULTS.get(name, ())):
        raise unsupported(name[:80], REFUSALS.get(name, REFUSAL))


def _agent_named(model: str, app: App) -> str:
    agent = app.ports.agents.get(model)
    if agent is None:
        names = ", ".join(app.ports.agents)
        # With the names: this is where a new user's first request fails.
        raise ModelNotFound(f"The model {model[:80]!r} does not exist here; there are: {names}.", param="model")
    if agent.asks_approval:
        raise ApprovalUnsupported(param="model")
    return model


def _read_message(message: Any, param: str) -> Item:
    if not isinstance(message, dict):
        raise invalid(param, "must be a message")
    # In OpenAI's own API the type of a message may be left out, too.
    kind = message.get("type") or "message"
    if kind != "message":
        raise unsupported(f"{param}.type", f"only messages are taken here, no {str(kind)[:80]} items.")
    fields = without_nulls({name: value for name, value in message.items() if name not in IGNORED_OF_MESSAGES})
    match fields.get("role"):
        # Not ignored: the caller would believe that the agent follows it.
        case "system" | "developer":
            raise unsupported(f"{param}.role", "the agent has its own instructions; leave this message out.")
        case "assistant":
            return _read_assistant_message(fields, param)
    try:
        return MessageBody.model_validate(fields).model_dump()
    except ValidationError as error:
        raise invalid_by(error, param) from None


def _read_assistant_message(fields: Mapping[str, Any], param: str) -> Item:
    # As plain text: ids and annotations mean nothing to a provider that did not write the message.
    content = fields.get("content")
    if isinstance(content, str):
        fields = {**fields, "content": [{"type": "output_text", "text": content}]}
    try:
        message = _AssistantMessage.model_validate(fields)
    except ValidationError as error:
        raise invalid_by(error, param) from None
    return {"type": "message", "role": "assistant", "content": "".join(part.text for part in message.content)}
