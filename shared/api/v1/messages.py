"""The messages of a caller, in the shape of the Responses API, as conversation items of ours."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.agentkit.agent import Item
from shared.api.bodies import MessageBody, problems_of
from shared.errors import InputTooLarge, InvalidRequest, UnsupportedParameter

MOST_MESSAGES = 1_000

DEEPEST = 8
"""How far down nulls are looked for: more than any message has levels."""

_IGNORED = frozenset({"id", "status", "phase"})
"""What a message has that was once read from a response."""


class _SaidPart(BaseModel):
    """Text that the agent said before."""

    model_config = ConfigDict(extra="ignore", strict=True)

    type: Literal["output_text", "input_text", "text"]
    text: Annotated[str, Field(min_length=0)]  # a constraint, whichever: without one, halves of a pair are taken


class _AssistantMessage(BaseModel):
    """A message of the agent, from a conversation that the caller keeps."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["message"] = "message"
    role: Literal["assistant"]
    content: Annotated[list[_SaidPart], Field(min_length=1, fail_fast=True)]


def read_input(given: Any, *, param: str = "input") -> tuple[Item, ...]:
    """The input of a create: a text, or messages of the user and, from a history, of the assistant.

    Raises ``InvalidRequest`` or ``UnsupportedParameter``, which name the place.
    """
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if not isinstance(given, list) or not given:
        raise wrong(param, "must be a text or a list of messages, and not empty")
    if len(given) > MOST_MESSAGES:
        raise wrong(param, f"may have {MOST_MESSAGES} messages at most")
    items = tuple(_read_item(item, f"{param}[{index}]") for index, item in enumerate(given))
    if items[-1]["role"] != "user":
        raise wrong(f"{param}[{len(items) - 1}].role", "must be `user`: the last message is what the agent answers")
    return items


def check_size(items: Iterable[Item], most: int) -> None:
    """Raises ``InputTooLarge`` for more than ``most`` bytes of UTF-8, text and addresses together."""
    texts = (item["content"] for item in items)
    size = sum(
        len((text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)).encode()) for text in texts
    )
    if size > most:
        raise InputTooLarge(f"The input may be at most {most} bytes of UTF-8 here. Send less, or a URL to it.")


def wrong(param: str, problem: str) -> InvalidRequest:
    """A parameter that does not fit, named as OpenAI names it."""
    return InvalidRequest(f"`{param}` {problem}.", param=param)


def unsupported(param: str, sentence: str) -> UnsupportedParameter:
    """A parameter that asks for what this app does not do."""
    return UnsupportedParameter(f"`{param}`: {sentence}", param=param)


def refused(error: ValidationError, param: str) -> InvalidRequest:
    """What pydantic found, with its place below ``param``."""
    path, problem = problems_of(error)[0]
    place = param + "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in path)
    return InvalidRequest(f"`{place.lstrip('.')}`: {problem}.", param=place.lstrip("."))


def _read_item(item: Any, param: str) -> Item:
    if not isinstance(item, dict):
        raise wrong(param, "must be a message")
    kind = item.get("type") or "message"
    if kind != "message":
        raise unsupported(f"{param}.type", f"only messages are taken here, no {str(kind)[:80]} items.")
    given = without_nulls({name: value for name, value in item.items() if name not in _IGNORED})
    match given.get("role"):
        case "system" | "developer":
            raise unsupported(f"{param}.role", "the agent has its own instructions; leave this message out.")
        case "assistant":
            return _said(given, param)
    try:
        return MessageBody.model_validate(given).model_dump()
    except ValidationError as error:
        raise refused(error, param) from None


def _said(given: Mapping[str, Any], param: str) -> Item:
    """As plain text: ids and annotations mean nothing to a provider that did not write it."""
    content = given.get("content")
    if isinstance(content, str):
        given = {**given, "content": [{"type": "output_text", "text": content}]}
    try:
        message = _AssistantMessage.model_validate(given)
    except ValidationError as error:
        raise refused(error, param) from None
    return {"type": "message", "role": "assistant", "content": "".join(part.text for part in message.content)}


def without_nulls(value: Any, levels: int = DEEPEST) -> Any:
    """Clients write null for what they leave out."""
    if levels == 0:
        return value
    if isinstance(value, dict):
        return {name: without_nulls(each, levels - 1) for name, each in value.items() if each is not None}
    return [without_nulls(each, levels - 1) for each in value] if isinstance(value, list) else value
