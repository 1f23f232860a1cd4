"""Tools: a typed function with a docstring, made callable by a model.

``@tool`` turns the signature into a JSON schema (pydantic does the schema) and the docstring into the description.
A bad call or a raising tool becomes an error output that the model reads; it never fails the run.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import json
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, overload

from shared.agentkit.lenient import parse_json, well_formed
from shared.agentkit.strict import Json, is_strict, strict_schema

if typing.TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

PROBLEMS_SHOWN = 20
PROBLEMS_BUILT = 10_000
"""Problems of one call that the model gets to read; and from how many on none is listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    """Who calls a tool, and why. Handed to a tool that has a parameter of this type.

    ``idempotency_key`` (``<run id>:<turn>:<index>``) is the same however often an interrupted call is run again:
    hand it to whatever the tool changes. ``traceparent`` is the header of W3C Trace Context for what the tool calls,
    None where nothing is traced. ``report`` and ``stopped`` are the app's own; use what is below.
    """

    run_id: str
    session_id: str
    owner: str
    call_id: str
    idempotency_key: str
    start: int
    report: Callable[[Progress], None] = lambda progress: None
    stopped: Callable[[], bool] = lambda: False
    traceparent: str | None = None

    @property
    def cancelled(self) -> bool:
        """Whether to stop: nobody takes the result of this start any more. From any thread.

        The run was cancelled or has ended, the call's time is over, or the process stood still so long that another
        may run the call by now. Once true it stays true. Return or raise whatever you like then.
        """
        return self.stopped()

    def report_progress(self, message: str, fraction: float | None = None) -> None:
        """Say how far the call is; the status call shows the last word. ``fraction`` in 0 to 1. From any thread."""
        text = well_formed(str(message)[:1_000])
        part = None if fraction is None else float(fraction)
        self.report(Progress(message=text, fraction=part if part is None or math.isfinite(part) else None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a tool call last reported. ``fraction`` in 0 to 1, where the tool knows it."""

    message: str
    fraction: float | None = None


class ToolError(Exception):
    """Raise it in a tool to tell the model what went wrong, in words meant for the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function the model may call.

    ``timeout``: seconds, None for the app's default. ``at_most_once``: an interrupted call is not run again; the
    model is told that its outcome is unknown. ``requires_approval``: a person must approve each call first; a text
    says why.
    """

    name: str
    description: str
    function: Callable[..., Any]
    timeout: float | None = None
    at_most_once: bool = False
    requires_approval: bool | str = False

    @property
    def schema(self) -> Json:
        """The parameters as a JSON schema: every property required, no others allowed."""
        return _schema(self.function)

    @property
    def strict(self) -> bool:
        """Whether the provider can be held to the schema. A ``dict`` or ``Any`` parameter is open: it cannot."""
        return is_strict(self.schema)

    def definition(self) -> Json:
        """The tool as the Responses API wants it."""
        return {
            "type": "function",
            "name": self.name,
            "description": self.description,
            "parameters": self.schema,
            "strict": self.strict,
        }

    def keywords(self, arguments: str, context: ToolContext) -> dict[str, Any]:
        """What the function is called with. Raises ``ValueError`` for what is not one JSON object, and for what does
        not fit; a validator of the tool's own may raise anything.
        """
        return _checked(self.function, json_object(arguments), context)

    async def invoke(self, arguments: str, context: ToolContext, executor: Executor) -> str:
        """Run it once and return the output for the model, errors included.

        A sync function runs in ``executor``. Only cancellation from outside escapes, and what ends the process.
        """
        from pydantic import ValidationError

        try:
            keywords = self.keywords(arguments, context)
        except ValidationError as error:
            return error_output("invalid_arguments", "The arguments do not fit the tool.", problems=_problems(error))
        except Exception as error:  # no JSON, JSON nested too deep, or a validator of the tool's own that raised
            return error_output("invalid_arguments", f"The arguments cannot be read: {error}")
        try:
            if inspect.iscoroutinefunction(self.function):
                result = await self.function(**keywords)
            else:
                # A thread starts without the context variables that an async tool sees.
                call = functools.partial(contextvars.copy_context().run, _guarded, self.function, keywords, context)
                result = await asyncio.get_running_loop().run_in_executor(executor, call)
            return result if isinstance(result, str) else _to_json(result)
        except ToolError as error:
            return error_output("tool_error", str(error))
        except asyncio.CancelledError:
            # A tool may cancel its own inner work: that is its error, and no cancellation of the call.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return error_output("tool_error", "CancelledError: the tool was cancelled from within.")
        except (Exception, SystemExit) as error:  # an exit of a tool is not the worker's
            return error_output("tool_error", f"{type(error).__name__}: {error}")


_ERROR_BEGINS = '{"error": {"code": '


def error_output(code: str, message: str, **more: object) -> str:
    """An output that tells the model of an error."""
    return json.dumps({"error": {"code": code, "message": message, **more}}, ensure_ascii=False)


def error_of(output: str) -> tuple[str, str] | None:
    """Code and message of an output that tells of an error; None for any other, as a tool returns it."""
    if not output.startswith(_ERROR_BEGINS):  # most are something else, and may be long
        return None
    try:
        error = parse_json(output)["error"]
        code, message = error["code"], error["message"]
    except (ValueError, KeyError, TypeError):  # a tool may return what only begins like one
        return None
    # Escaped halves of characters become real ones when they are parsed, and those cannot be sent.
    return (well_formed(code), well_formed(message)) if isinstance(code, str) and isinstance(message, str) else None


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...


@overload
def tool(
    *,
    name: str | None = None,
    timeout: float | None = None,
    at_most_once: bool = False,
    requires_approval: bool | str = False,
) -> Callable[[Callable[..., Any]], Tool]: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    timeout: float | None = None,
    at_most_once: bool = False,
    requires_approval: bool | str = False,
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Make a tool of a typed, documented function, sync or async.

    ``timeout`` in seconds. Raises ``TypeError`` for a function without a docstring or with an unannotated or
    variadic parameter (the model could not know what to send), ``ValueError`` for a name that providers refuse.
    """

    def make(function: Callable[..., Any]) -> Tool:
        # One bad name makes the provider refuse every request of the agent.
        if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name or function.__name__) is None:
            raise ValueError(f"a tool's name is 1 to 64 of A-Z a-z 0-9 _ and -, not {name or function.__name__!r}")
        if timeout is not None and timeout <= 0:
            raise ValueError(f"the timeout of the tool {function.__name__} must be more than 0 seconds")
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
            requires_approval=requires_approval,
        )

    return make if function is None else make(function)


def by_name(tools: Iterable[Tool]) -> Mapping[str, Tool]:
    """The tools by name; raises ``ValueError`` when two share one, ``TypeError`` for a type that has no schema."""
    found: dict[str, Tool] = {}
    for each in tools:
        if each.name in found:
            raise ValueError(f"two tools are called {each.name}")
        try:
            _schema(each.function)  # now, not in the middle of a run
        except Exception as error:
            raise TypeError(f"no schema can be made of the parameters of the tool {each.name}: {error}") from error
        found[each.name] = each
    return types.MappingProxyType(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parameters:
    """The parameters of a function. ``fields``: those the model fills, by the name of their field in ``model``.

    ``defaulted`` are those whose null means the default; ``contexts`` take the context.
    """

    model: type[BaseModel]
    fields: Mapping[str, str]
    defaulted: frozenset[str]
    contexts: tuple[str, ...]


@functools.cache
def _parameters(function: Callable[..., Any]) -> _Parameters:
    from pydantic import ConfigDict, Field, create_model

    hints = typing.get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    names: dict[str, str] = {}
    defaulted: set[str] = set()
    contexts: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        hint = hints[parameter.name]
        if hint is ToolContext or ToolContext in typing.get_args(hint):
            contexts.append(parameter.name)
            continue
        # The name is only an alias: as a field's own name `copy` or `_x` would collide with what a model class has.
        field = f"parameter_{len(names)}"
        names[field] = parameter.name
        if parameter.default is parameter.empty:
            fields[field] = (typing.Annotated[hint, Field(alias=parameter.name)], ...)
        else:
            # Strict schemas require every property, so "left out" is spelled null.
            defaulted.add(parameter.name)
            fields[field] = (typing.Annotated[hint | None, Field(alias=parameter.name)], None)
    model = create_model(function.__name__, __config__=ConfigDict(extra="forbid"), **fields)
    return _Parameters(model=model, fields=names, defaulted=frozenset(defaulted), contexts=tuple(contexts))


def json_object(text: str) -> Json:
    """The one JSON object that a model's text is; nothing at all is an empty one.

    Raises ``ValueError`` for anything else, and for a name that is there twice: a person who approved the text may have
    read the other value. ``RecursionError`` for what is nested too deep.
    """
    given = json.loads(text or "{}", object_pairs_hook=_without_repetition)
    if not isinstance(given, dict):
        raise ValueError("they are not a JSON object")
    return given


def _without_repetition(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is there twice in one object")
    return found


def _checked(function: Callable[..., Any], given: Json, context: ToolContext) -> dict[str, Any]:
    parameters = _parameters(function)
    checked = parameters.model.model_validate(given)
    keywords = {name: getattr(checked, field) for field, name in parameters.fields.items()}
    for name in parameters.defaulted:
        if keywords[name] is None:
            del keywords[name]
    return keywords | dict.fromkeys(parameters.contexts, context)


def _problems(error: ValidationError) -> list[Json]:
    """What is wrong with the arguments, for the model: the first of it, or none of far too much."""
    if error.error_count() > PROBLEMS_BUILT:  # pydantic builds all of them or none
        return [{"argument": "", "problem": f"{error.error_count()} things do not fit: send what the schema names"}]
    found = error.errors(include_url=False, include_context=False, include_input=False)[:PROBLEMS_SHOWN]
    return [{"argument": ".".join(str(part) for part in e["loc"]), "problem": e["msg"]} for e in found]


def _guarded(function: Callable[..., Any], keywords: Mapping[str, Any], context: ToolContext) -> Any:
    """Call it in a thread. A future cannot carry ``StopIteration``: whoever waits for it would wait for ever."""
    if context.cancelled:  # it may have waited long for its thread
        raise ToolError("The call was cancelled before it began.")
    try:
        return function(**keywords)
    except StopIteration as error:
        raise RuntimeError("StopIteration") from error


@functools.cache
def _schema(function: Callable[..., Any]) -> Json:
    return strict_schema(_parameters(function).model.model_json_schema())


def _to_json(result: object) -> str:
    from pydantic_core import to_json

    return to_json(result).decode()
