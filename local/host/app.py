"""Loading an app and indexing its functions as the Python worker does."""

import importlib.util
import inspect
import os
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import azure.functions as func
from azure.functions import meta
from starlette.requests import Request

from local.host.routes import RouteError, Template, parse_template
from local.host.schedules import Schedule, ScheduleError, parse_schedule, substitute

Kind = Literal["http", "timer", "activity", "orchestrator"]

_KINDS: Mapping[str, Kind] = {
    "httptrigger": "http",
    "timertrigger": "timer",
    "activitytrigger": "activity",
    "orchestrationtrigger": "orchestrator",
}
_TYPES = {"httptrigger": "httpTrigger", "timertrigger": "timerTrigger", "durableclient": "durableClient"}
_TYPES |= {"activitytrigger": "activityTrigger", "orchestrationtrigger": "orchestrationTrigger"}
# Names that the real host keeps for itself in binding data; a function that uses one is not indexed there.
_TAKEN_ACTIVITY_NAMES = frozenset({"data"})
# No methods in a trigger means all of them.
_METHODS = ("GET", "POST", "DELETE", "HEAD", "PATCH", "PUT", "OPTIONS", "TRACE", "CONNECT")


class LoadError(Exception):
    """The app cannot be loaded, and none of its functions is served."""


class _UnhostableError(Exception):
    """This one function cannot be hosted; the others can."""


@dataclass(frozen=True, slots=True)
class Function:
    """One function of the app, ready to be called."""

    name: str
    kind: Kind
    call: Callable[..., Any]
    trigger_name: str
    """The parameter that gets the trigger."""
    inputs: Mapping[str, str]
    """Other input parameters: name to binding type."""
    wants_context: bool
    is_async: bool
    called: str
    """The name an activity or orchestrator is called by."""
    streams: bool = False
    """Whether the trigger parameter is a starlette Request (the streaming types)."""
    route: Template | None = None
    methods: tuple[str, ...] = ()
    auth_level: str = "anonymous"
    schedule: Schedule | None = None
    schedule_text: str = ""
    run_on_startup: bool = False


@dataclass(frozen=True, slots=True)
class Index:
    """What was found: the functions by name, and a sentence for each that cannot be hosted."""

    functions: tuple[Function, ...]
    problems: tuple[str, ...] = ()

    def of(self, kind: Kind) -> tuple[Function, ...]:
        return tuple(one for one in self.functions if one.kind == kind)


def load_app(app_dir: Path) -> func.FunctionRegister:
    """Import the app's script (`PYTHON_SCRIPT_FILE_NAME`, default function_app.py) and find its one app object.

    The directory must be on `sys.path` already. Raises LoadError; the app's own import errors pass through.
    """
    script = app_dir / os.environ.get("PYTHON_SCRIPT_FILE_NAME", "function_app.py")
    if not script.is_file():
        raise LoadError(f"there is no {script.name} in {app_dir}")
    spec = importlib.util.spec_from_file_location(script.stem, script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Before it runs: dataclasses and pickle look their own module up there.
    sys.modules[script.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[script.stem]
        raise
    apps = [value for value in vars(module).values() if isinstance(value, func.FunctionRegister)]
    # The worker refuses two as well: it could not know whose functions to index.
    if len(apps) != 1:
        raise LoadError(f"{script.name} must have one top-level FunctionApp, and has {len(apps)}")
    return apps[0]


def index_app(register: func.FunctionRegister, *, route_prefix: str, setting: Callable[[str], str | None]) -> Index:
    """Index every function. Raises LoadError as the worker would, and then no function is served."""
    try:
        found = register.get_functions()
    except ValueError as error:
        raise LoadError(str(error)) from error
    functions: list[Function] = []
    problems: list[str] = []
    for one in found:
        try:
            functions.append(_index(one, route_prefix, setting))
        except _UnhostableError as problem:
            problems.append(f"The '{one.get_function_name()}' function is in error: {problem}")
    return Index(tuple(functions), tuple(problems))


def converter(binding: str) -> Any:
    """The worker's own converter of a binding type, or None."""
    untyped: Any = meta
    return untyped.get_binding_registry().get(binding)


def _index(one: Any, route_prefix: str, setting: Callable[[str], str | None]) -> Function:
    name: str = one.get_function_name()
    call: Callable[..., Any] = one.get_user_function()
    trigger = one.get_trigger().get_dict_repr()
    bindings = [binding.get_dict_repr() for binding in one.get_bindings()]
    # ``$return`` is an output without a parameter.
    bound = {binding["name"]: binding["type"] for binding in bindings if binding["name"] != "$return"}
    parameters = _check_parameters(name, call, bound)
    kind = _KINDS.get(trigger["type"].lower())
    if kind is None:
        raise _UnhostableError(f"this local host has no {trigger['type']}")
    foreign = {type_ for type_ in bound.values() if type_.lower() not in _TYPES}
    if foreign:
        raise _UnhostableError(f"this local host has no binding {', '.join(sorted(foreign))}")
    if kind == "activity" and trigger["name"] in _TAKEN_ACTIVITY_NAMES:
        raise _UnhostableError(f"Can't bind parameter '{trigger['name']}'")
    return Function(
        name=name,
        kind=kind,
        call=call,
        trigger_name=trigger["name"],
        inputs={key: _TYPES[type_.lower()] for key, type_ in bound.items() if key != trigger["name"]},
        wants_context="context" in parameters and "context" not in bound,
        # A durable client's decorator wraps the function into a coroutine, so that this sees what is really called.
        is_async=inspect.iscoroutinefunction(call),
        called=trigger.get("activity") or trigger.get("orchestration") or name,
        streams=_is_request(parameters[trigger["name"]]),
        **_http(name, trigger, route_prefix) if kind == "http" else {},
        **_timer(trigger, setting) if kind == "timer" else {},
    )


def _http(name: str, trigger: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    route = trigger.get("route")
    path = "/".join(part for part in (prefix, (name if route is None else route).strip("/")) if part)
    try:
        template = parse_template(path)
    except RouteError as error:
        raise _UnhostableError(str(error)) from error
    methods = tuple(_plain(method).upper() for method in trigger.get("methods") or _METHODS)
    return {
        "route": template,
        "methods": methods,
        "auth_level": _plain(trigger.get("authLevel") or "function").lower(),
    }


def _timer(trigger: Mapping[str, Any], setting: Callable[[str], str | None]) -> dict[str, Any]:
    try:
        text = substitute(trigger["schedule"], setting)
        schedule = parse_schedule(text)
        schedule.after(datetime.now(UTC))  # raises when there is no occurrence at all
    except ScheduleError as error:
        raise _UnhostableError(str(error)) from error
    startup = bool(trigger.get("runOnStartup") or False)
    return {"schedule": schedule, "schedule_text": text, "run_on_startup": startup}


def _check_parameters(name: str, call: Callable[..., Any], bound: Mapping[str, str]) -> dict[str, Any]:
    """The worker's checks of parameters against bindings; returns the annotation of each parameter."""
    parameters = set(inspect.signature(call).parameters)
    names = parameters - ({"context"} - set(bound))
    # One such function keeps the worker from serving any, so this is no problem of the one alone.
    if extra := names - set(bound):
        raise LoadError(f"cannot load the {name} function: without a binding: {', '.join(sorted(extra))}")
    if missing := set(bound) - names:
        raise LoadError(f"cannot load the {name} function: not a parameter: {', '.join(sorted(missing))}")
    try:
        # Under ``from __future__ import annotations`` they are texts, which only this resolves.
        hints = typing.get_type_hints(call)
    except NameError as error:
        raise LoadError(f"cannot load the {name} function: {error}") from error
    annotations = {parameter: hints.get(parameter, inspect.Parameter.empty) for parameter in parameters}
    for parameter, annotation in annotations.items():
        _check_annotation(name, parameter, annotation, bound.get(parameter))
    return annotations


def _check_annotation(name: str, parameter: str, annotation: Any, binding: str | None) -> None:
    if annotation is inspect.Parameter.empty or _is_request(annotation):
        return
    if binding is None:
        if annotation is not func.Context and annotation != "func.Context":
            raise LoadError(f"cannot load the {name} function: context must be azure.functions.Context")
        return
    plain = typing.get_origin(annotation) or annotation
    check = converter(_TYPES.get(binding.lower(), binding))
    # `X | None` is no type: the real worker does not load such a function either.
    if not isinstance(plain, type):
        raise LoadError(f"cannot load the {name} function: {parameter} has the invalid type {annotation!r}")
    if check is not None and not check.check_input_type_annotation(plain):
        raise LoadError(f"cannot load the {name} function: {parameter} cannot be {plain.__name__}")


def _is_request(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Request)


def _plain(value: Any) -> str:
    return str(getattr(value, "value", value))
