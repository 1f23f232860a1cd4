"""The document put together: paths from the triggers, words from the operations, schemas from their shapes."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from local import ROOT
from local.openapi import examples, head
from local.openapi.headers import FOR_A_USER, HEADERS, REQUEST_ID
from local.openapi.links import add_links
from local.openapi.schemas import REF, schemas_of
from local.openapi.triggers import Trigger, triggers
from shared import api, errors
from shared.api.callers import CHANGING
from shared.api.http import Problem
from shared.api.openai.http import OpenAIError
from shared.api.operations import IN_PATHS, OPERATIONS, RUN_TOKEN, TAGS, Answer, Operation, Parameter
from shared.errors import DormouseError

Json = dict[str, Any]

ALWAYS = (errors.DormouseError, errors.Misconfigured, errors.StorageUnavailable, errors.EncryptionKeyUnavailable)
WITH_A_BODY = (
    errors.InvalidJson,
    errors.InvalidRequest,
    errors.InputTooLarge,
    errors.UnsupportedMediaType,
    errors.BodyTimeout,
    errors.TooManyBodies,
)
ABOUT = """Long AI-agent runs, with nothing running while the model thinks.

Errors are `application/problem+json` with a stable `code`. An unknown address is 404 `not_found`; a known one with
another method is 405 `method_not_allowed`, with `Allow`. Every answer of the app has `X-Request-Id`. What the platform
refuses by itself, such as a call without its function key (401), has no body."""
CONTACT = {"name": "Whoever runs this app"}

SECURITY: Json = {
    "functionKey": {
        "type": "apiKey",
        "in": "header",
        "name": "x-functions-key",
        "description": "With `DORMOUSE_AUTH=key`, the default. Never in a browser. Without it the platform "
        "itself answers 401, without a body.",
    },
    "appService": {
        "type": "http",
        "scheme": "bearer",
        "description": "With `DORMOUSE_AUTH=appservice`: App Service authentication; a signed-in browser's cookie too.",
    },
    "apiKey": {
        "type": "http",
        "scheme": "bearer",
        "description": "For OpenAI clients: a secret of `DORMOUSE_API_KEYS`. The header `api-key` will do as well.",
    },
    "operatorKey": {
        "type": "apiKey",
        "in": "header",
        "name": "x-dormouse-operator-key",
        "description": "For whoever runs the app: the value of `DORMOUSE_OPERATOR_KEY`.",
    },
    "runToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A run token, for one run or batch: from `POST /api/runs/{run_id}/tokens`, or from the submit. "
        "What is in it is for this app alone. Never in an address.",
    },
}


def described() -> Mapping[str, Operation]:
    """What the handlers of all routes say of themselves, by function name."""
    for module in pkgutil.walk_packages(api.__path__, "shared.api."):  # each says it when it is imported
        importlib.import_module(module.name)
    return OPERATIONS


def document() -> Json:
    """The whole contract. Raises ``ValueError`` when a route has no entry, or an entry no route."""
    bound, entries = triggers(), described()
    if bound.keys() != entries.keys():
        raise ValueError(
            f"triggers whose handler has no @operation: {sorted(bound.keys() - entries.keys())}; "
            f"operations without a trigger of that name: {sorted(entries.keys() - bound.keys())}"
        )
    paths: dict[str, Json] = {}
    shared: Json = {}
    for name in sorted(bound, key=lambda name: (bound[name].path, name)):
        operations = paths.setdefault(bound[name].path, {})
        operations[bound[name].method] = made = _operation(bound[name], entries[name], shared)
        if "HEAD" in bound[name].methods:
            operations["head"] = head.operation(made, shared, [kind.code for kind in entries[name].never_to_head])
    links = add_links(paths, bound, entries)
    always = {name for entry in entries.values() for answer in entry.answers.values() for name in answer.headers}
    always |= {"Retry-After", REQUEST_ID.name}
    headers = {name: {"required": True, **header} for name, header in HEADERS.items() if name in always}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Dormouse",
            "version": tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"],
            "description": ABOUT,
            "contact": CONTACT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag, "description": TAGS[tag]} for tag in sorted({entry.tag for entry in entries.values()})],
        "paths": paths,
        "components": {
            "schemas": schemas(entries.values()),
            "responses": dict(sorted(shared.items())),
            "parameters": {each.name: _parameter(each) for each in (FOR_A_USER, REQUEST_ID)},
            "headers": headers,
            "links": links,
            "securitySchemes": SECURITY,
        },
    }


def rendered(made: Json) -> str:
    """The document as the file has it."""
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def schemas(entries: Iterable[Operation]) -> Json:
    """The schemas of all bodies and answers, by name."""
    shapes: dict[type, None] = {Problem: None, OpenAIError: None}
    for entry in entries:
        whole = [entry.body, *(answer.shape for answer in entry.answers.values())]
        shapes |= {shape: None for shape in whole if isinstance(shape, type)}
        shapes |= {shape: None for answer in entry.answers.values() for shape in answer.events.values()}
    return schemas_of(shapes)


def problems_of(trigger: Trigger, entry: Operation) -> list[type[DormouseError]]:
    """Every problem that an operation can answer with."""
    if entry.bare:
        return list(entry.problems)
    if entry.of_openai:
        wrong = (*WITH_A_BODY, errors.UnsupportedParameter) if entry.body is not None else ()
        caller = (errors.InvalidApiKey, *_about_users(entry), errors.NotFound)
        return list(dict.fromkeys((*entry.problems, *wrong, *caller, *ALWAYS)))
    body = WITH_A_BODY if isinstance(entry.body, type) else ()
    signed_in = (errors.Unauthenticated,) if "appService" in entry.security and not trigger.open else ()
    unknown = (errors.NotFound,) if trigger.parameters else ()  # an id of another shape is no address at all
    from_a_page = (errors.CrossSite,) if signed_in and trigger.method.upper() in CHANGING else ()
    caller = (*signed_in, *_about_users(entry), *from_a_page)
    return list(dict.fromkeys((*entry.problems, *unknown, *body, *caller, *ALWAYS)))


def _about_users(entry: Operation) -> tuple[type[DormouseError], ...]:
    """What may be wrong with the header that names a user."""
    if entry.acts_for == "nobody":
        return ()
    needed = (errors.UserRequired,) if entry.acts_for == "user" else ()
    return (*needed, errors.InvalidUser, errors.DelegationDisabled, errors.DelegationNotAllowed)


def _operation(trigger: Trigger, entry: Operation, shared: Json) -> Json:
    """An operation; the problems that it can answer with go into ``shared``, by their codes."""
    parameters = [
        Parameter(name=name, place="path", text=text, example=example, schema={"type": "string", "pattern": pattern})
        for name, pattern in trigger.parameters
        for text, example in [IN_PATHS.get(name, ("", None))]
    ]
    made: Json = {"operationId": entry.function, "tags": [entry.tag], "summary": entry.summary}
    if entry.text:
        made["description"] = entry.text
    made["parameters"] = [_parameter(each) for each in (*parameters, *entry.parameters)]
    common = (REQUEST_ID,) if entry.acts_for == "nobody" else (FOR_A_USER, REQUEST_ID)
    made["parameters"] += [{"$ref": f"#/components/parameters/{each.name}"} for each in common]
    if entry.body is not None:
        made["requestBody"] = {"required": True, "content": _content(entry.body, entry.examples)}
    answers = {
        status: _answer(answer, examples.ANSWERS.get(f"{entry.function} {status}", {}))
        for status, answer in entry.answers.items()
    }
    for status, problems in _by_status(problems_of(trigger, entry)).items():
        problem = _problem(problems, of_openai=entry.of_openai)
        if status in answers:  # a problem, or what the entry says of this status
            answers[status]["content"] |= problem["content"]
            answers[status]["description"] += " Or: " + problem["description"]
        else:
            name = ".".join([*(["openai"] if entry.of_openai else []), *(kind.code for kind in problems)])
            shared[name] = problem
            answers[status] = {"$ref": f"#/components/responses/{name}"}
    made["responses"] = {str(status): answers[status] for status in sorted(answers)}
    # Whatever only the platform refuses: it does so before this app is asked, and in its own words.
    if entry.bare:
        made["responses"]["4XX"] = {"description": "Refused by the platform itself, such as headers that are too long."}
    elif 401 not in answers:
        made["responses"]["401"] = {"description": "Refused by the platform itself: there is no key that fits."}
    is_checked_by_app = entry.of_openai or entry.security == RUN_TOKEN
    made["security"] = [] if trigger.open and not is_checked_by_app else [_together(each) for each in _security(entry)]
    return made


def _security(entry: Operation) -> tuple[str, ...]:
    return ("apiKey",) if entry.of_openai else entry.security


def _together(names: str) -> Json:
    return {name: [] for name in names.split()}


def _parameter(parameter: Parameter) -> Json:
    made: Json = {"name": parameter.name, "in": parameter.place}
    if parameter.place == "path":
        made["required"] = True
    if parameter.text:
        made["description"] = parameter.text
    made["schema"] = dict(parameter.schema)
    if parameter.example is not None:
        made["example"] = parameter.example
    return made


def _content(shape: type | Mapping[str, Any], shown: Mapping[str, Any]) -> Json:
    schema = _ref(shape) if isinstance(shape, type) else dict(shape)
    return {"application/json": {"schema": schema} | _examples(shown)}


def _examples(shown: Mapping[str, Any]) -> Json:
    return {"examples": {name: {"value": value} for name, value in shown.items()}} if shown else {}


def _ref(shape: type) -> Json:
    return {"$ref": REF.format(model=shape.__name__)}


def _stream(events: Mapping[str, type], data: Mapping[str, Any] | None) -> Json:
    """The schema of Server-Sent Events: a text, and what it holds, as the list of events that the text is read as.

    Generators that know nothing of event streams make a text of it, and nothing that fails.
    """
    media: Json = {"type": "string", "contentMediaType": "text/event-stream"}
    if data is not None:
        event = {"type": "object", "required": ["data"], "properties": {"data": _event_data(data)}}
        return media | {"contentSchema": {"type": "array", "items": event}}
    kinds = [_event(kind, shape) for kind, shape in events.items()]
    return media | ({"contentSchema": {"type": "array", "items": {"oneOf": kinds}}} if kinds else {})


def _event(kind: str, shape: type) -> Json:
    """One Server-Sent Event by its fields, as OpenAPI 3.2 has them in ``itemSchema``; 3.1 has no word for it."""
    return {
        "type": "object",
        "required": ["event", "data"],
        "properties": {
            "id": {"type": "string", "description": "Where to go on: `Last-Event-ID`. Not there where none is needed."},
            "event": {"const": kind, "description": "The kind of the event. Others may come: pass over them."},
            "data": _event_data(_ref(shape)),
        },
    }


def _event_data(schema: Mapping[str, Any]) -> Json:
    return {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": dict(schema),
        "description": "One line of JSON.",
    }


def _answer(answer: Answer, shown: Mapping[str, Any]) -> Json:
    made: Json = {"description": answer.text, "headers": _headers(answer.headers, answer.sometimes)}
    texts = {name: value for name, value in shown.items() if isinstance(value, str)}
    if answer.shape is not None:
        values = {name: value for name, value in shown.items() if name not in texts}
        made["content"] = _content(answer.shape, values)
    if answer.events or answer.or_stream:
        made.setdefault("content", {})["text/event-stream"] = {
            "schema": _stream(answer.events, answer.stream_data)
        } | _examples(texts)
    return made


def _problem(problems: list[type[DormouseError]], *, of_openai: bool) -> Json:
    codes = [kind.code for kind in problems]
    text = " · ".join(f"`{kind.code}`: {inspect.cleandoc(kind.__doc__ or '')}" for kind in problems)
    status = problems[0].status
    always, sometimes = (("Retry-After",) if status == each else () for each in (429, 503))
    if problems in ([errors.Unauthenticated], [errors.InvalidOperatorKey]):
        # No body is promised: clients that are made of the contract would fail at an empty one, which is usual here.
        text += " That is a problem as any other; the platform's own 401 has no body."
        return {"description": text, "headers": _headers((), ())}
    media = "application/json" if of_openai else "application/problem+json"
    code = {"enum": codes, "description": "One of these here."}
    schema: Json = {"properties": {"code": code}}
    if of_openai:
        schema = {"properties": {"error": schema | {"description": "What went wrong."}}}
    schema |= _ref(OpenAIError if of_openai else Problem)
    return {"description": text, "headers": _headers(always, sometimes), "content": {media: {"schema": schema}}}


def _headers(always: Iterable[str], sometimes: Iterable[str]) -> Json:
    there = {name: {"$ref": f"#/components/headers/{name}"} for name in (*always, "X-Request-Id")}
    return there | {name: HEADERS[name] for name in sometimes}


def _by_status(problems: Iterable[type[DormouseError]]) -> Mapping[int, list[type[DormouseError]]]:
    found: dict[int, list[type[DormouseError]]] = {}
    for kind in problems:
        found.setdefault(kind.status, []).append(kind)
    return found
