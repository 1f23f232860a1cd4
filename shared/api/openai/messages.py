"""The messages of an input: what is said, by whom, and the calls of a caller's functions with their outputs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from shared.agentkit.agent import Item
from shared.agentkit.caller import CallerInstructions, CallerTools
from shared.api.bodies import MAX_ADDRESS, FilePart, ImagePart, TextOr, TextPart, web_address
from shared.api.openai.parameters import invalid, invalid_by, unsupported, without_nulls
from shared.runs.model.facts import Approve

MAX_MESSAGES = 1_000

IGNORED_OF_MESSAGES = frozenset({"id", "status", "phase"})
"""Fields of a message that was read from a response and is sent again."""

CALLS = frozenset({"function_call", "function_call_output"})
"""Items about calls of a caller's functions."""

MAX_REASON = 4_000
"""Characters of a person's reason."""

CallId = Annotated[str, Field(min_length=1, max_length=256)]
FunctionName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]

INSTRUCTING = frozenset({"system", "developer"})
"""The roles whose messages instruct the model, above what the user says."""


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


class _Call(BaseModel):
    """A call of a caller's function, from a conversation that the caller keeps."""

    model_config = ConfigDict(extra="ignore", strict=True)

    type: Literal["function_call"]
    call_id: CallId
    name: FunctionName
    arguments: Annotated[str, Field(min_length=0)]


class _ResultText(BaseModel):
    """A part of what a call gave."""

    model_config = ConfigDict(extra="ignore", strict=True)

    type: Literal["input_text"]
    text: Annotated[str, Field(min_length=0)]


class _Output(BaseModel):
    """What a call gave."""

    model_config = ConfigDict(extra="ignore", strict=True)

    type: Literal["function_call_output"]
    call_id: CallId
    # Unlike a message it may say nothing. By type, as `TextOr`, so that an error names what the caller has sent.
    output: Annotated[
        Annotated[str, Field(min_length=0), Tag("as_text")]
        | Annotated[
            list[Annotated[_ResultText | _Image | FilePart, Field(discriminator="type")]],
            Field(max_length=100, fail_fast=True),
            Tag("as_list"),
        ],
        Discriminator(lambda value: "as_list" if isinstance(value, list) else "as_text"),
    ]


class _ApprovalResponse(BaseModel):
    """A person's answer about a call."""

    model_config = ConfigDict(extra="ignore", strict=True)

    type: Literal["mcp_approval_response"]
    approval_request_id: Annotated[str, Field(min_length=1, max_length=128)]
    approve: bool
    reason: Annotated[str, Field(min_length=0, max_length=MAX_REASON)] = ""


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


def split_approvals(value: Sequence[Any], *, param: str) -> tuple[list[Any], list[str], dict[str, Approve]]:
    """An input without its answers to approval requests, the place of each item, and the answers by their request's id.

    Raises ``InvalidRequest``; ``UnsupportedParameter`` for a request: only the response that it is of can be answered.
    """
    said: list[Any] = []
    places: list[str] = []
    answers: dict[str, Approve] = {}
    for index, item in enumerate(value):
        place, kind = f"{param}[{index}]", item.get("type") if isinstance(item, dict) else None
        if kind == "mcp_approval_request":
            raise unsupported(place, "go on with `previous_response_id` from the response that asks for approval.")
        if kind != "mcp_approval_response":
            said.append(item)
            places.append(place)
            continue
        try:
            answer = _ApprovalResponse.model_validate(without_nulls(item))
        except ValidationError as error:
            raise invalid_by(error, place) from None
        if answer.approval_request_id in answers:
            raise invalid(f"{place}.approval_request_id", "is answered for the second time")
        answers[answer.approval_request_id] = Approve(approve=answer.approve, reason=answer.reason)
    return said, places, answers


def read_messages(
    value: Any,
    mode: CallerInstructions = "append",
    *,
    tools: CallerTools = "refuse",
    param: str = "input",
    places: Sequence[str] | None = None,
) -> tuple[Item, ...]:
    """The messages to answer: a text, or messages of the user and, from a history, of the assistant.

    Any of them may be the last. ``mode`` is what becomes of system and developer messages, ``tools`` what becomes of
    calls of the caller's functions and their outputs. Raises ``InvalidRequest`` or ``UnsupportedParameter``, which name
    the place: that in the list ``param``, or the one in ``places``.
    """
    if isinstance(value, str):
        value = [{"role": "user", "content": value}]
    if not isinstance(value, list) or not value:
        raise invalid(param, "must be a text or a list of messages, and not empty")
    if len(value) > MAX_MESSAGES:
        raise invalid(param, f"may have {MAX_MESSAGES} messages at most")
    named = places or [f"{param}[{index}]" for index in range(len(value))]
    read = [_read_item(each, mode, tools, place) for each, place in zip(value, named, strict=True)]
    items = tuple(item for item in read if item is not None)
    if not items:
        raise invalid(param, "must have a message with words in it: there is nothing to answer")
    return items


def _read_item(item: Any, mode: CallerInstructions, tools: CallerTools, param: str) -> Item | None:
    """What was sent as an item; None for a message without a word in it, as histories may have them."""
    if not isinstance(item, dict):
        raise invalid(param, "must be a message")
    # In OpenAI's own API the type of a message may be left out, too.
    kind = item.get("type") or "message"
    if kind == "message":
        return _read_message(item, mode, param)
    if kind not in CALLS:
        raise unsupported(f"{param}.type", f"only messages are taken here, no {str(kind)[:80]} items.")
    if tools == "refuse":
        raise unsupported(param, "this agent takes no functions of its callers; leave calls and their results out.")
    try:
        read = (_Call if kind == "function_call" else _Output).model_validate(without_nulls(item))
    except ValidationError as error:
        raise invalid_by(error, param) from None
    return read.model_dump(exclude_none=True)


def _read_message(message: Mapping[str, Any], mode: CallerInstructions, param: str) -> Item | None:
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
    return message_of("developer" if mode == "append" else "user", text)


def message_of(role: str, text: str) -> Item:
    """A message of that role with a plain text."""
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
