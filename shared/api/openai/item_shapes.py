"""The items of a response as OpenAI's clients read them: of its output, and of its input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypedDict


class TextPart(TypedDict):
    """Text of the agent."""

    type: Literal["output_text"]
    text: str
    annotations: list[Mapping[str, Any]]
    logprobs: list[Any]


class RefusalPart(TypedDict):
    """The text of a refusal."""

    type: Literal["refusal"]
    refusal: str


class OutputMessage(TypedDict):
    """The agent's text in one turn: an item of ``output``."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    status: Literal["in_progress", "completed", "incomplete"]
    content: list[TextPart | RefusalPart]


class CallObject(TypedDict):
    """A call of a caller's function: an item of ``output``, and of the input of a caller who keeps the conversation."""

    id: str
    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    status: Literal["in_progress", "completed"]


class ApprovalObject(TypedDict):
    """A call that the caller is asked to approve: an item of ``output``."""

    id: str
    type: Literal["mcp_approval_request"]
    server_label: str
    name: str
    arguments: str


class OutputObject(TypedDict):
    """What a caller's function gave: an item of the input."""

    id: str
    type: Literal["function_call_output"]
    call_id: str
    output: Any
    """A text, or parts as the caller sent them."""
    status: Literal["completed"]


class AnswerObject(TypedDict):
    """An answer about a call that the provider makes: an item of the input."""

    id: str
    type: Literal["mcp_approval_response"]
    approval_request_id: str
    approve: bool


OutputItem = OutputMessage | CallObject | ApprovalObject


class InputMessage(TypedDict):
    """A message of the run's input."""

    id: str
    type: Literal["message"]
    role: str
    status: Literal["completed"]
    content: list[Any]
    """Parts as the caller sent them; a plain text is one part."""


InputItem = InputMessage | CallObject | OutputObject | AnswerObject
