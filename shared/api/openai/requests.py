"""What OpenAI's clients may send as a run of ours: its messages, its instructions, and what else it asks for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

from shared.agentkit.agent import Agent, Item
from shared.agentkit.caller import CallerInstructions
from shared.api.bodies import (
    MAX_ADDRESS,
    FilePart,
    ImagePart,
    TextOr,
    TextPart,
    idempotency_key,
    web_address,
)
from shared.api.openai.objects import run_of_response
from shared.api.openai.parameters import (
    CreateParameters,
    Options,
    invalid,
    invalid_by,
    options_of,
    read_parameters,
    too_large,
    unsupported,
    without_nulls,
)
from shared.api.openai.references import with_referred_items
from shared.api.reading import Share, read_json
from shared.errors import (
    ApprovalUnsupported,
    InvalidRequest,
    ModelNotFound,
    PreviousResponseNotFound,
)
from shared.runs.commands.submission import Submission
from shared.wiring import App

MAX_MESSAGES = 1_000

IGNORED_OF_MESSAGES = frozenset({"id", "status", "phase"})
"""Fields of a message that was read from a response and is sent again."""

INSTRUCTING = frozenset({"system", "developer"})
"""The roles whose messages instruct the model, above what the user says."""

REQUEST_ID = "x-ms-client-request-id"


def _image_address(value: str) -> str:
    if not value.startswith("data:"):
        if len(value) > MAX_ADDRESS:
            raise ValueError(f"may have {MAX_ADDRESS} characters at most")
        return web_address(value)
    if re.fullmatch(r"data:image/[a-z0-9.+-]{1,64};base64,[A-Za-z0-9+/]+={0,2}", value, re.ASCII) is None:
        raise ValueError("must be an address, or the image itself as `data:image/<type>;base64,<data>`")
    return value


class _Image(ImagePart):
    """An image by its URL, or itself."""

    image_url: Annotated[str, AfterValidator(_image_address)]


class _UserMessage(BaseModel):
    """A message of the user."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["message"] = "message"
    role: Literal["user"] = "user"
    content: TextOr[Annotated[TextPart | _Image | FilePart, Field(discriminator="type")]]


class _AssistantText(BaseModel):
    """A part of an assistant's message."""

    model_config = ConfigDict(extra="ignore", strict=True)

    type: Literal["output_text", "input_text", "text"]
    text: Annotated[str, Field(min_length=0)]  # pydantic takes half a surrogate pair unless there is a constraint


class _AssistantRefusal(BaseModel):
    """A refusal in an assistant's message."""

    model_config = ConfigDict(extra="ignore", strict=True)

    type: Literal["refusal"]
    refusal: Annotated[str, Field(min_length=0)]

    @property
    def text(self) -> str:
        """What was said."""
        return self.refusal


class _InstructingText(BaseModel):
    """A part of a message that instructs the model: text alone."""

    model_config = ConfigDict(extra="ignore", strict=True)

    type: Literal["input_text", "text"]
    text: Annotated[str, Field(min_length=0)]


class _AssistantMessage(BaseModel):
    """A message of the agent, from a conversation that the caller keeps."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["message"] = "message"
    role: Literal["assistant"]
    content: Annotated[
        list[Annotated[_AssistantText | _AssistantRefusal, Field(discriminator="type")]], Field(fail_fast=True)
    ]


class _InstructingMessage(BaseModel):
    """A message that instructs the model, in place of the user."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["message"] = "message"
    role: Literal["system", "developer"]
    content: Annotated[list[_InstructingText], Field(fail_fast=True)]


async def read_create(request: Request, owner: str, app: App) -> tuple[Submission, Options]:
    """The body of ``POST /api/v1/responses``. Raises the errors that say what to change."""
    body = await read_body(request, app)
    parameters = read_parameters(body, messages="input")
    given = body["input"]
    if isinstance(given, list) and len(given) <= MAX_MESSAGES:
        given = await with_referred_items(given, owner, app)
    submission, options = submission_of(parameters, body, given, owner, app, messages="input")
    if parameters.previous_response_id is not None:
        previous = run_of_response(parameters.previous_response_id)
        if previous is None:
            raise PreviousResponseNotFound(param="previous_response_id")
        # The id holds session and number: no read is needed to go on from it.
        submission = replace(submission, session_id=previous[0], previous=previous[1])
    return with_idempotency_key(submission, request), options


async def read_body(request: Request, app: App) -> dict[str, Any]:
    """The body, without what is null: clients send null for what they leave out."""
    with Share(app.settings) as share:
        body = await read_json(request, app.settings.json_most, share)
    given = {name: value for name, value in body.items() if value is not None}
    # Azure's clients name it in the address, as their service reads it there.
    deployment = request.path_params.get("deployment")
    return given if deployment is None else {**given, "model": deployment}


def submission_of(
    parameters: CreateParameters, body: Mapping[str, Any], given: Any, owner: str, app: App, *, messages: str
) -> tuple[Submission, Options]:
    """The run that is asked for, and what becomes of the parameters that are not the run's own.

    ``given`` are the messages, in the shape of the Responses API, and ``messages`` is the client's name for them.
    Raises ``InputTooLarge``, ``ModelNotFound``, ``ApprovalUnsupported``, ``InvalidRequest``, ``UnsupportedParameter``.
    """
    agent = _agent_named(parameters.model, app)
    options = options_of(body, agent, messages=messages)
    items = read_messages(given, agent.caller_instructions, param=messages)
    instructions = parameters.instructions.strip() and parameters.instructions
    if instructions and agent.caller_instructions == "refuse":
        raise unsupported("instructions", "the agent has its own instructions. Say what you want in the input.")
    if instructions and agent.caller_instructions == "input":
        items, instructions = (_message_of("user", instructions), *items), ""
    check_size(items, app.settings.max_input_bytes - len(instructions.encode()), app.settings.max_input_bytes)
    submission = Submission(
        owner=owner,
        items=items,
        agent=agent.name,
        options=options.passed,
        instructions=instructions,
        metadata=parameters.metadata,
        stream=parameters.stream,
        background=parameters.background,
    )
    return submission, options


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


def read_messages(value: Any, mode: CallerInstructions = "append", *, param: str = "input") -> tuple[Item, ...]:
    """The messages to answer: a text, or messages of the user and, from a history, of the assistant.

    Any of them may be the last. ``mode`` is what becomes of system and developer messages. Raises ``InvalidRequest`` or
    ``UnsupportedParameter``, which name the place.
    """
    if isinstance(value, str):
        value = [{"role": "user", "content": value}]
    if not isinstance(value, list) or not value:
        raise invalid(param, "must be a text or a list of messages, and not empty")
    if len(value) > MAX_MESSAGES:
        raise invalid(param, f"may have {MAX_MESSAGES} messages at most")
    read = [_read_message(message, mode, f"{param}[{index}]") for index, message in enumerate(value)]
    items = tuple(item for item in read if item is not None)
    if not items:
        raise invalid(param, "must have a message with words in it: there is nothing to answer")
    return items


def check_size(items: Iterable[Item], limit: int, shown: int | None = None) -> None:
    """Raises ``InputTooLarge`` for more than ``limit`` bytes of UTF-8, text and addresses together.

    ``shown`` is the limit that the caller reads, where some of it is used up already.
    """
    contents = (item["content"] for item in items)
    size = sum(
        len((each if isinstance(each, str) else json.dumps(each, ensure_ascii=False)).encode()) for each in contents
    )
    if size > limit:
        raise too_large(limit if shown is None else shown)


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


def _agent_named(model: str, app: App) -> Agent:
    agent = app.ports.agents.get(model)
    if agent is None:
        names = ", ".join(app.ports.agents)
        # With the names: this is where a new user's first request fails.
        raise ModelNotFound(f"The model {model[:80]!r} does not exist here; there are: {names}.", param="model")
    if agent.asks_approval:
        raise ApprovalUnsupported(param="model")
    return agent


def _read_message(message: Any, mode: CallerInstructions, param: str) -> Item | None:
    """The message as an item; None for one without a word in it, as histories may have them."""
    if not isinstance(message, dict):
        raise invalid(param, "must be a message")
    # In OpenAI's own API the type of a message may be left out, too.
    kind = message.get("type") or "message"
    if kind != "message":
        raise unsupported(f"{param}.type", f"only messages are taken here, no {str(kind)[:80]} items.")
    fields = without_nulls({name: value for name, value in message.items() if name not in IGNORED_OF_MESSAGES})
    role = fields.get("role")
    if isinstance(role, str) and role in INSTRUCTING:
        return _read_instructing_message(fields, mode, param)
    if role == "assistant":
        return _read_assistant_message(fields, param)
    if message.get("content", "") is None and fields.keys() <= {"type", "role"} and role == "user":
        return None
    try:
        return _UserMessage.model_validate(fields).model_dump()
    except ValidationError as error:
        raise invalid_by(error, param) from None


def _read_instructing_message(fields: Mapping[str, Any], mode: CallerInstructions, param: str) -> Item | None:
    if mode == "refuse":
        # Not ignored: the caller would believe that the agent follows it.
        raise unsupported(f"{param}.role", "the agent has its own instructions; leave this message out.")
    content = fields.get("content", "")
    if isinstance(content, str):
        fields = {**fields, "content": [{"type": "input_text", "text": content}]}
    # Chat Completions let such a message have its author's name, which means nothing here.
    fields = {name: value for name, value in fields.items() if name != "name"}
    try:
        message = _InstructingMessage.model_validate(fields)
    except ValidationError as error:
        raise invalid_by(error, param) from None
    text = "\n".join(part.text for part in message.content)
    if not text.strip():
        return None
    return _message_of("developer" if mode == "append" else "user", text)


def _message_of(role: str, text: str) -> Item:
    return {"type": "message", "role": role, "content": text}


def _read_assistant_message(fields: Mapping[str, Any], param: str) -> Item | None:
    # As plain text: ids and annotations mean nothing to a provider that did not write the message.
    content = fields.get("content", "")
    if isinstance(content, str):
        fields = {**fields, "content": [{"type": "output_text", "text": content}]}
    try:
        message = _AssistantMessage.model_validate(fields)
    except ValidationError as error:
        raise invalid_by(error, param) from None
    text = "".join(part.text for part in message.content)
    # A turn that only called tools, or failed, has a message without words.
    return {"type": "message", "role": "assistant", "content": text} if text else None
