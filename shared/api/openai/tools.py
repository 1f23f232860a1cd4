"""The functions that a caller brings, in OpenAI's two notations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.agentkit.agent import Agent, Item
from shared.api.openai.messages import FunctionName
from shared.api.openai.parameters import REFUSALS, invalid, invalid_by, unsupported
from shared.runs.model.callers_tools import CallersTools, ToolChoice

MAX_TOOLS = 128
"""Functions that a request may bring, as OpenAI's own may."""

OTHER_KIND = "only functions are taken here, and the agent has its own tools."


class _Function(BaseModel):
    """A function of the caller's."""

    model_config = ConfigDict(extra="ignore", strict=True)

    type: Literal["function"] = "function"
    name: FunctionName
    description: Annotated[str, Field(min_length=0)] | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


def read_tools(body: Mapping[str, Any], agent: Agent) -> CallersTools:
    """The functions that the request brings, and what it says of calling them. ``body``: without nulls.

    Raises ``UnsupportedParameter`` for tools that are no functions and where the agent takes none, ``InvalidRequest``.
    """
    given, choice = body.get("tools", []), body.get("tool_choice", "auto")
    if given and agent.caller_tools == "refuse":
        raise unsupported("tools", REFUSALS["tools"])
    if not isinstance(given, list):
        raise invalid("tools", "must be a list")
    if len(given) > MAX_TOOLS:
        raise invalid("tools", f"may have {MAX_TOOLS} functions at most")
    definitions: dict[str, Item] = {}
    for place, each in enumerate(given):
        definition = _read_function(each, f"tools[{place}]")
        name = definition["name"]
        if name in agent.tools:
            raise invalid(f"tools[{place}].name", f"is {name!r}, which is a tool of the agent's own: rename yours")
        if name in definitions:
            raise invalid(f"tools[{place}].name", f"is {name!r} for the second time")
        definitions[name] = definition
    chosen = _read_choice(choice, definitions)
    if chosen == "none":  # the agent's own tools are its own affair
        return CallersTools()
    parallel = body.get("parallel_tool_calls") if definitions else None
    return CallersTools(
        definitions=tuple(definitions.values()),
        choice=chosen,
        parallel=parallel if isinstance(parallel, bool) else None,
    )


def _read_function(given: Any, param: str) -> Item:
    if not isinstance(given, dict):
        raise invalid(param, "must be a tool")
    if given.get("type") != "function":
        raise unsupported(f"{param}.type", OTHER_KIND)
    # Chat Completions have a function in an object of its own.
    nested = given.get("function")
    # There a schema is strict only where it says so, while the Responses API takes it for strict.
    fields = {name: each for name, each in (nested if isinstance(nested, dict) else given).items() if each is not None}
    if isinstance(nested, dict):
        fields = {"type": "function", "strict": False, **fields}
    try:
        read = _Function.model_validate(fields)
    except ValidationError as error:
        raise invalid_by(error, f"{param}.function" if isinstance(nested, dict) else param) from None
    return read.model_dump(exclude_none=True)


def _read_choice(choice: Any, definitions: Mapping[str, Item]) -> ToolChoice | None:
    if choice == "auto":
        return None
    if not definitions:
        raise unsupported("tool_choice", REFUSALS["tool_choice"])
    if choice in ("none", "required"):
        return str(choice)
    name = _name_of(choice)
    if name is None:
        raise unsupported("tool_choice", "it may be `auto`, `none`, `required`, or one of your functions.")
    if name not in definitions:
        raise invalid("tool_choice", f"names {name[:80]!r}, which is none of `tools`")
    return {"type": "function", "name": name}


def _name_of(choice: Any) -> str | None:
    """The function that is chosen, in either notation."""
    if not isinstance(choice, dict) or choice.get("type") != "function":
        return None
    nested = choice.get("function")
    name = nested.get("name") if isinstance(nested, dict) else choice.get("name")
    return name if isinstance(name, str) else None
