"""The client against the contract of the app: its types, the addresses that it calls, the words that it knows."""

from __future__ import annotations

import json
import re
import typing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from dormouse_client import _arguments, _connection, contract, watching
from local.openapi import python
from shared.runs.model.phases import RunStatus
from tests.parts.cases import cases
from tests.parts.contract import FILE, events_of
from tests.unit.python_client.test_clients import CALLS

DOCUMENT: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]


@cases("name", SCHEMAS)
def test_every_schema_is_a_type_with_the_same_fields(name: str) -> None:
    kind, schema = getattr(contract, name), SCHEMAS[name]
    if "properties" not in schema:
        assert list(typing.get_args(kind)) == schema["enum"]
        return
    hints = typing.get_type_hints(kind)  # every name in it leads somewhere
    assert list(hints) == list(schema["properties"])
    required = set(schema.get("required", ()))
    shown = {field for field, hint in typing.get_type_hints(kind, include_extras=True).items() if not is_optional(hint)}
    assert shown == required


def is_optional(hint: Any) -> bool:
    return typing.get_origin(hint) is typing.NotRequired


@pytest.mark.parametrize(
    ("schema", "notation"),
    [
        ({"$ref": "#/components/schemas/Run"}, "Run"),
        ({"anyOf": [{"type": "string"}, {"type": "string"}, {"type": "null"}]}, "str | None"),
        ({"const": 'a"b'}, 'Literal["a\\"b"]'),
        ({"enum": ["a", 1]}, 'Literal["a", 1]'),
        ({"type": "array", "items": {"type": "integer"}}, "list[int]"),
        ({"type": "object"}, "dict[str, Any]"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "dict[str, float]"),
        ({"type": "object", "patternProperties": {"x": {"type": "boolean"}}}, "dict[str, bool]"),
        ({}, "Any"),
    ],
)
def test_schemas_have_a_notation(schema: dict[str, Any], notation: str) -> None:
    assert python.typed(schema) == notation


def test_what_has_none_stops_it() -> None:
    with pytest.raises(ValueError, match="no notation"):
        python.typed({"type": "nonsense"})
    for field in ("from", "a-b"):
        schemas = {"Odd": {"properties": {field: {"type": "string"}}}}
        with pytest.raises(ValueError, match="cannot be written"):
            python.rendered({"components": {"schemas": schemas}, "info": {"version": "1"}})


def test_whatever_a_description_says_it_stays_one() -> None:
    said = 'It is """quoted""" and ends in a \\ and is ' + "long " * 40 + '\n\nSecond "paragraph"'
    fields = {"a": {"type": "string", "description": said}, "b": {"description": said}}
    schemas = {"Odd": {"properties": fields, "required": ["a"], "description": said}}
    made: dict[str, Any] = {}
    exec(python.rendered({"components": {"schemas": schemas}, "info": {"version": "1"}}), made)
    assert list(made["Odd"].__annotations__) == ["a", "b"]
    assert (
        max(map(len, python.rendered({"components": {"schemas": schemas}, "info": {"version": "1"}}).split("\n")))
        <= 120
    )


@cases(("method", "path"), [(method, path) for _, method, path in CALLS])
def test_every_address_that_is_called_is_one_of_the_app(method: str, path: str) -> None:
    address = urlsplit(path)
    for template, operations in DOCUMENT["paths"].items():
        pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template))
        if re.fullmatch(pattern, address.path) and method.lower() in operations:
            known = {each["name"] for each in operations[method.lower()]["parameters"] if each.get("in") == "query"}
            assert parse_qs(address.query).keys() <= known
            return
    pytest.fail(f"the app has no {method} {address.path}")


def test_everything_that_the_app_has_can_be_called() -> None:
    """But for what is OpenAI's face, the operator's or the contract's own."""
    others = r"/api/(v1|webhooks|health|openapi\.json|shared|ops)"
    called = {(method, urlsplit(path).path) for _, method, path in CALLS}
    for template, operations in DOCUMENT["paths"].items():
        if re.match(others, template):
            continue
        pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template))
        for method in operations.keys() - {"head"}:
            is_called = any(way == method.upper() and re.fullmatch(pattern, path) for way, path in called)
            assert is_called or template.endswith("/events"), f"{method} {template}"  # watched by tests of their own


def test_a_run_token_may_be_used_for_what_the_app_opens_by_one_and_nothing_else() -> None:
    opened = {
        (method.upper(), template.replace("/shared", ""))
        for template, operations in DOCUMENT["paths"].items()
        for method in operations.keys() - {"head"}
        if template.startswith("/api/shared/")
    }
    assert opened
    for template, operations in DOCUMENT["paths"].items():
        for method in operations.keys() - {"head"}:
            is_opened = _connection._OF_A_TOKEN.fullmatch(f"{method.upper()} {template}") is not None
            assert is_opened == ((method.upper(), template) in opened), f"{method} {template}"


def test_the_final_statuses_are_those_of_the_app() -> None:
    finals = {status.value for status in RunStatus if status.terminal}
    assert finals == _arguments._FINAL
    for status in typing.get_args(contract.RunStatus) + typing.get_args(contract.BatchStatus):
        assert _arguments.is_final({"status": status}) == (status in finals)


def test_every_event_of_the_app_is_described() -> None:
    events = {kind: shape.get("$ref", "") for kind, shape in events_of(DOCUMENT).items()}
    described = re.search(r'event: str\n +"""(.*?)"""', Path(watching.__file__).read_text("utf-8"), re.S)
    assert described is not None
    assert set(events) <= set(re.findall(r"`(\w+)`", described[1]))
    runs = {name for name, shape in events.items() if shape.endswith("/Run")}
    calls = {name for name, shape in events.items() if shape.endswith("/ToolCall")}
    assert (runs, calls) == (watching._RUN_EVENTS, watching._CALL_EVENTS)
