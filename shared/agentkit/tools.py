"""Tools: a typed function with a docstring, made callable by a model.

``@tool`` turns the signature into a strict JSON schema (pydantic does the schema) and the docstring into the
description. A bad call or a raising tool becomes an error output that the model reads; it never fails the run.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import json
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, overload

if typing.TYPE_CHECKING:
    from pydantic import BaseModel

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    """Who calls a tool, and why. Handed to a tool that has a parameter of this type.

    ``idempotency_key`` (``<run id>:<turn>:<index>``) is the same however often an interrupted call is run again:
    hand it to whatever the tool changes.
    """

    run_id: str
    session_id: str
    owner: str
    call_id: str
    idempotency_key: str
    start: int


class ToolError(Exception):
    """Raise it in a tool to tell the model what went wrong, in words meant for the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function the model may call.

    ``timeout``: seconds, None for the app's default. ``at_most_once``: an interrupted call is not run again; the
    model is told that its outcome is unknown.
    """

    name: str
    description: str
    function: Callable[..., Any]
    timeout: float | None = None
    at_most_once: bool = False

    @property
    def schema(self) -> Json:
        """The parameters as a strict JSON schema."""
        return _schema(self.function)

    def definition(self) -> Json:
        """The tool as the Responses API wants it."""
        return {
            "type": "function",
            "name": self.name,
            "description": self.description,
            "parameters": self.schema,
            "strict": True,
        }

    async def invoke(self, arguments: str, context: ToolContext, executor: Executor) -> str:
        """Run it once and return the output for the model, errors included.

        A sync function runs in ``executor``. Only cancellation and exceptions that are not ``Exception`` escape.
        """
        from pydantic import ValidationError

        try:
            keywords = _arguments(self.function, arguments, context)
        except ValidationError as error:
            problems = [
                {"argument": ".".join(str(part) for part in e["loc"]), "problem": e["msg"]} for e in error.errors()
            ]
            return error_output("invalid_arguments", "The arguments do not fit the tool.", problems=problems)
        except ValueError as error:
            return error_output("invalid_arguments", f"The arguments are not a JSON object: {error}")
        try:
            if inspect.iscoroutinefunction(self.function):
                result = await self.function(**keywords)
            else:
                call = functools.partial(contextvars.copy_context().run, self.function, **keywords)
                result = await asyncio.get_running_loop().run_in_executor(executor, call)
            return result if isinstance(result, str) else _to_json(result)
        except ToolError as error:
            return error_output("tool_error", str(error))
        except Exception as error:
            return error_output("tool_error", f"{type(error).__name__}: {error}")


def error_output(code: str, message: str, **more: object) -> str:
    """An output that tells the model of an error."""
    return json.dumps({"error": {"code": code, "message": message, **more}}, ensure_ascii=False)


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...


@overload
def tool(
    *, name: str | None = None, timeout: float | None = None, at_most_once: bool = False
) -> Callable[[Callable[..., Any]], Tool]: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    timeout: float | None = None,
    at_most_once: bool = False,
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Make a tool of a typed, documented function, sync or async.

    ``timeout`` in seconds. Raises ``TypeError`` for a function without a docstring or with an unannotated or
    variadic parameter: the model could not know what to send.
    """

    def make(function: Callable[..., Any]) -> Tool:
        description = inspect.getdoc(function)
        if not description:
            raise TypeError(f"the tool {function.__name__} needs a docstring: it is what the model reads")
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
                raise TypeError(f"the tool {function.__name__} cannot take *{parameter.name}")
            if parameter.annotation is parameter.empty:
                raise TypeError(f"the parameter {parameter.name} of the tool {function.__name__} needs a type")
        return Tool(
            name=name or function.__name__,
            description=description,
            function=function,
            timeout=timeout,
            at_most_once=at_most_once,
        )

    return make if function is None else make(function)


def by_name(tools: Iterable[Tool]) -> Mapping[str, Tool]:
    """The tools by name; raises ``ValueError`` when two share one."""
    found: dict[str, Tool] = {}
    for each in tools:
        if each.name in found:
            raise ValueError(f"two tools are called {each.name}")
        found[each.name] = each
    return types.MappingProxyType(found)


@functools.cache
def _model(function: Callable[..., Any]) -> tuple[type[BaseModel], frozenset[str], tuple[str, ...]]:
    """The arguments as a pydantic model, the parameters whose null means the default, those that take the context."""
    from pydantic import ConfigDict, create_model

    hints = typing.get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    defaulted: set[str] = set()
    contexts: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        hint = hints[parameter.name]
        if hint is ToolContext:
            contexts.append(parameter.name)
        elif parameter.default is parameter.empty:
            fields[parameter.name] = (hint, ...)
        else:
            # Strict schemas require every property, so "left out" is spelled null.
            defaulted.add(parameter.name)
            fields[parameter.name] = (hint | None, None)
    model = create_model(function.__name__, __config__=ConfigDict(extra="forbid"), **fields)
    return model, frozenset(defaulted), tuple(contexts)


def _arguments(function: Callable[..., Any], arguments: str, context: ToolContext) -> dict[str, Any]:
    model, defaulted, contexts = _model(function)
    given = json.loads(arguments or "{}")
    if not isinstance(given, dict):
        raise ValueError("not an object")
    checked = model.model_validate(given)
    keywords = {name: getattr(checked, name) for name in type(checked).model_fields}
    for name in defaulted:
        if keywords[name] is None:
            del keywords[name]
    return keywords | dict.fromkeys(contexts, context)


@functools.cache
def _schema(function: Callable[..., Any]) -> Json:
    return _strict(_model(function)[0].model_json_schema())


def _strict(schema: Json) -> Json:
    """The subset that strict function calling takes: every property required, nothing else allowed."""

    def clean(node: Any) -> Any:
        if isinstance(node, list):
            return [clean(each) for each in node]
        if not isinstance(node, dict):
            return node
        kept = {
            key: {name: clean(each) for name, each in value.items()} if key in ("properties", "$defs") else clean(value)
            for key, value in node.items()
            if key not in ("title", "default")
        }
        if kept.get("type") == "object":
            kept.setdefault("properties", {})
            kept["required"] = list(kept["properties"])
            kept["additionalProperties"] = False
        return kept

    cleaned: Json = clean(schema)
    return cleaned


def _to_json(result: object) -> str:
    from pydantic_core import to_json

    return to_json(result).decode()
