"""What OpenAI's clients ask for beside the messages: taken, passed on, ignored or refused, each by its name.

Clients send many parameters that nobody has asked them to send. What the agent lets its callers set is passed on to
its provider; anything else is left out and named in a header of the answer. Refused is only what would change the
meaning of the answer if it were left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.agentkit.agent import Agent
from shared.agentkit.caller import problem_of
from shared.api.bodies import MetadataKey, MetadataValue, problems_of
from shared.api.openai.formats import is_own_format
from shared.errors import InputTooLarge, InvalidRequest, UnsupportedParameter

IGNORED_HEADER = "Dormouse-Ignored-Parameters"
"""The header that names what was left out."""

MAX_NAMED = 32
"""Parameters that the header names; more than any client sends."""

NULL_LEVELS = 8
"""How deep nulls are looked for: deeper than any message is nested."""

OF_THE_STREAM = frozenset({"stream_options"})
"""Parameters about the form of the answer, which whoever writes it reads."""

OF_TOOLS = frozenset({"parallel_tool_calls", "tool_choice", "tools"})
"""Parameters about a caller's own functions, which are read with them."""

DEFAULTS: Mapping[str, Sequence[Any]] = {
    "frequency_penalty": [0],
    "function_call": ["auto", "none"],
    "functions": [[]],
    "include": [[]],
    "logit_bias": [{}],
    "logprobs": [False],
    "modalities": [["text"]],
    "n": [1],
    "parallel_tool_calls": [True],
    "presence_penalty": [0],
    "reasoning": [{}],
    "service_tier": ["auto", "default"],
    "store": [True],
    "temperature": [1],
    "top_logprobs": [0],
    "top_p": [1],
    "truncation": ["disabled"],
}
"""Values that ask for nothing: what the provider does anyway. They are not named as ignored."""

REFUSALS: Mapping[str, str] = {
    "audio": "there is no sound here. Leave it out.",
    "conversation": "go on with `previous_response_id` instead.",
    "data_sources": "the agent has its own tools, and finds what it needs by them.",
    "function_call": "the agent has its own tools and decides when to use them.",
    "functions": "the agent has its own tools, which run here.",
    "logprobs": "there are no probabilities of tokens here. Leave it out.",
    "modalities": "the answer is text. Leave it out.",
    "n": "there is one answer to a request.",
    "prompt": "the agent has its own instructions. Say what you want in the input.",
    "tool_choice": "the agent has its own tools and decides when to use them.",
    "tools": "the agent has its own tools, which run here, and takes no functions of its callers.",
    "top_logprobs": "there are no probabilities of tokens here. Leave it out.",
    "web_search_options": "the agent has its own tools and decides when to use them.",
}
"""What would change the meaning of the answer, with any value but its default: why it is refused, and what to do."""

OF_RESPONSES: Mapping[str, str] = {
    "background": "Chat Completions have no such parameter. Ask `/responses`.",
    "instructions": "Chat Completions have no such parameter. Send a `system` message.",
    "previous_response_id": "Chat Completions have no such parameter. Send the conversation as `messages`.",
}
"""Parameters of the Responses API that Chat Completions has not, and that this app would take."""

FORMAT_REFUSAL = (
    "the agent decides on the format of its text. Leave it out, parse the text as it is, or ask an agent whose own "
    "format this is."
)

FORMATS = frozenset({"text.format", "response_format"})
"""The parameters that hold a format."""


class CreateParameters(BaseModel):
    """The parameters that are taken, without the one that holds the messages."""

    model_config = ConfigDict(extra="ignore", strict=True)

    model: str = Field(min_length=1, max_length=128)
    background: bool = False
    stream: bool = False
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] = Field(default_factory=dict)
    previous_response_id: str | None = None
    instructions: Annotated[str, Field(min_length=0)] = ""  # pydantic takes half a surrogate pair without a constraint


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What becomes of the other parameters."""

    passed: Mapping[str, Any] = field(default_factory=dict)
    """What the agent lets its callers set, by the names of ``agentkit.caller``."""

    ignored: tuple[str, ...] = ()
    """What is left out, by the names that the client sent."""

    @property
    def headers(self) -> dict[str, str]:
        """The header that names what was left out; none where nothing was."""
        # A name is the caller's own, and may hold what a header cannot.
        names = [name for name in self.ignored if re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name, re.ASCII)]
        more = len(names) < len(self.ignored) or len(names) > MAX_NAMED
        shown = [*names[:MAX_NAMED], *(["..."] if more else [])]
        return {IGNORED_HEADER: ", ".join(shown)} if shown else {}


def read_parameters(body: Mapping[str, Any], *, messages: str) -> CreateParameters:
    """The parameters that are taken; ``messages`` is the name of the one that holds the messages.

    Raises ``InvalidRequest``.
    """
    if messages not in body:
        raise invalid(messages, "is required")
    if messages == "messages":
        for name, sentence in OF_RESPONSES.items():
            if body.get(name):
                raise unsupported(name, sentence)
    try:
        return CreateParameters.model_validate(body)
    except ValidationError as error:
        raise invalid_by(error, "") from None


def options_of(body: Mapping[str, Any], agent: Agent, *, messages: str) -> Options:
    """What becomes of the other parameters with this agent.

    Raises ``UnsupportedParameter`` for what would change the meaning of the answer, ``InvalidRequest`` for a value
    that the agent would pass on and that is none.
    """
    passed: dict[str, Any] = {}
    ignored: list[str] = []
    of_tools = OF_TOOLS if body.get("tools") else OF_TOOLS - {"parallel_tool_calls"}
    for sent, value in _flat(body, messages):
        if sent in of_tools:
            continue
        name, meant = _canonical(sent, value)
        if name in agent.caller_options:
            if problem := problem_of(name, meant):
                raise invalid(sent, problem)
            # `max_completion_tokens` before the older name of the same, wherever they stand.
            if name not in passed or sent != "max_tokens":
                passed[name] = meant
        elif not (_is_default(sent, meant) or _is_own_format_at(sent, value, agent)):
            if sent in REFUSALS:
                raise unsupported(sent, REFUSALS[sent])
            ignored.append(sent)
    return Options(passed=passed, ignored=tuple(sorted(ignored)))


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


def too_large(most: int) -> InputTooLarge:
    """The error for an input of more than so many bytes."""
    return InputTooLarge(
        f"The input, instructions included, may be at most {most} bytes of UTF-8 here. Send less, or a URL to it."
    )


def _flat(body: Mapping[str, Any], messages: str) -> list[tuple[str, Any]]:
    """The parameters that are not taken themselves; those of ``text`` each by its own name."""
    taken = CreateParameters.model_fields.keys() | OF_THE_STREAM | {messages}
    found: list[tuple[str, Any]] = []
    for name, value in body.items():
        if name in taken:
            continue
        if name == "text" and isinstance(value, Mapping):
            found += [(f"text.{each}", given) for each, given in value.items() if given is not None]
        else:
            found.append((name, value))
    return found


def _canonical(sent: str, value: Any) -> tuple[str, Any]:
    """A parameter by the name that agents know it by, and its value as they do, without nulls."""
    match sent:
        case "max_tokens" | "max_completion_tokens":
            return "max_output_tokens", value
        case "reasoning_effort":
            return "reasoning", {"effort": value}
        case "text.verbosity":
            return "verbosity", value
    return sent, without_nulls(value) if isinstance(value, dict | list) else value


def _is_default(sent: str, value: Any) -> bool:
    # To Python 1 is True. In JSON they are different, while 1.0 and 1 are the same.
    return any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in DEFAULTS.get(sent, ()))


def _is_own_format_at(sent: str, value: Any, agent: Agent) -> bool:
    """Whether it is a format, and the agent's own. Raises ``UnsupportedParameter`` for a foreign one."""
    if sent not in FORMATS:
        return False
    if not is_own_format(without_nulls(value), agent.output):
        raise unsupported(sent, FORMAT_REFUSAL)
    return True
