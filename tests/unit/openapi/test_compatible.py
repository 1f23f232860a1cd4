"""From 1.0 on: what a released contract has promised, the one of today still promises."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.openapi import __main__ as command
from local.openapi import document
from local.openapi.compatible import breaks, without_words

Json = dict[str, Any]
RELEASED = sorted(command.RELEASED.glob("*.json"))


@pytest.fixture(scope="module")
def today() -> Json:
    return document.document()


@pytest.mark.parametrize("file", RELEASED, ids=lambda file: file.stem)
def test_nothing_that_was_released_is_taken_back(today: Json, file: Path) -> None:
    found = breaks(json.loads(file.read_text("utf-8")), today)
    assert not found, (
        f"clients of {file.stem} would break (docs/versioning.md): add beside what is there, or leave the change "
        "to a major version:\n" + "\n".join(found)
    )


def test_a_released_contract_is_written_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, today: Json) -> None:
    assert RELEASED
    monkeypatch.setattr(command, "RELEASED", tmp_path)
    assert command.main(["--release", "9.9"]) == 0
    assert json.loads((tmp_path / "9.9.json").read_text("utf-8")) == without_words(json.loads(json.dumps(today)))
    with pytest.raises(FileExistsError):
        command.main(["--release", "9.9"])


# --- a contract in small, and changes of it -----------------------------------------------------------


def problem(*codes: str) -> Json:
    schema = {"$ref": "#/components/schemas/Problem", "properties": {"code": {"enum": list(codes)}}}
    return {"description": "No.", "content": {"application/problem+json": {"schema": schema}}}


def event(kind: str) -> Json:
    data = {"type": "string", "contentSchema": {"$ref": "#/components/schemas/Run"}}
    return {"type": "object", "required": ["event", "data"], "properties": {"event": {"const": kind}, "data": data}}


SMALL: Json = {
    "paths": {
        "/runs": {
            "post": {
                "operationId": "create_run",
                "security": [{"functionKey": []}, {"appService": []}],
                "parameters": [
                    {"$ref": "#/components/parameters/Wait"},
                    {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "pattern": "^a$"}},
                ],
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/RunBody"}}},
                },
                "responses": {
                    "202": {
                        "description": "Begun.",
                        "headers": {"Location": {"required": True, "schema": {"type": "string"}}},
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Run"}}},
                    },
                    "404": {"$ref": "#/components/responses/not_found"},
                },
            },
            "get": {
                "operationId": "watch",
                "security": [],
                "parameters": [],
                "responses": {
                    "200": {
                        "description": "Events.",
                        "content": {
                            "text/event-stream": {
                                "schema": {
                                    "type": "string",
                                    "contentSchema": {
                                        "type": "array",
                                        "items": {"oneOf": [event("run"), event("end")]},
                                    },
                                }
                            }
                        },
                    }
                },
            },
        }
    },
    "components": {
        "parameters": {"Wait": {"name": "wait", "in": "query", "schema": {"type": "integer", "maximum": 30}}},
        "responses": {"not_found": problem("not_found", "gone")},
        "schemas": {
            "Problem": {"type": "object", "required": ["code"], "properties": {"code": {"type": "string"}}},
            "Usage": {"type": "object", "required": ["tokens"], "properties": {"tokens": {"type": "integer"}}},
            "Run": {
                "type": "object",
                "additionalProperties": False,
                "required": ["id", "status", "calls"],
                "properties": {
                    "id": {"type": "string", "pattern": "^run_"},
                    "status": {"type": "string", "enum": ["queued", "completed"]},
                    "model": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                    "calls": {"type": "array", "items": {"$ref": "#/components/schemas/Usage"}},
                    "parent": {"anyOf": [{"$ref": "#/components/schemas/Run"}, {"type": "null"}]},
                },
            },
            "RunBody": {
                "type": "object",
                "additionalProperties": False,
                "required": ["input"],
                "properties": {
                    "input": {"oneOf": [{"type": "string", "minLength": 1}, {"type": "array", "maxItems": 9}]},
                    "driver": {"type": "string", "enum": ["durable", "timer"]},
                    "turns": {"type": "number", "minimum": 1, "maximum": 50},
                    "title": {"anyOf": [{"type": "string", "maxLength": 200}, {"type": "null"}]},
                    "metadata": {"type": "object", "additionalProperties": {"type": "string", "maxLength": 10}},
                },
            },
        },
    },
}

Change = Callable[[Json], object]


def changed(change: Change) -> list[str]:
    new = copy.deepcopy(SMALL)
    change(new)
    return breaks(SMALL, new)


def post(document: Json) -> Json:
    found: Json = document["paths"]["/runs"]["post"]
    return found


def stream(document: Json) -> Json:
    answer = document["paths"]["/runs"]["get"]["responses"]["200"]["content"]["text/event-stream"]["schema"]
    found: Json = answer["contentSchema"]["items"]
    return found


def run(document: Json) -> Json:
    found: Json = document["components"]["schemas"]["Run"]
    return found


def body(document: Json) -> Json:
    found: Json = document["components"]["schemas"]["RunBody"]
    return found


TAKEN: list[tuple[str, Change]] = [
    # operations
    ("POST /runs is gone", lambda d: d["paths"]["/runs"].pop("post")),
    ("POST /runs is gone", lambda d: d["paths"].pop("/runs")),
    ("operationId was create_run", lambda d: post(d).update(operationId="start_run")),
    ("appService lets nobody in", lambda d: post(d)["security"].pop()),
    ("asks who calls now", lambda d: d["paths"]["/runs"]["get"]["security"].append({"functionKey": []})),
    ("does not answer 202", lambda d: post(d)["responses"].pop("202")),
    ("does not answer 404", lambda d: post(d)["responses"].pop("404")),
    ("has no application/json", lambda d: post(d)["responses"]["202"]["content"].pop("application/json")),
    ("header Location", lambda d: post(d)["responses"]["202"]["headers"].pop("Location")),
    ("header Location", lambda d: post(d)["responses"]["202"]["headers"]["Location"].pop("required")),
    # parameters
    ("query parameter wait is gone", lambda d: post(d)["parameters"].pop(0)),
    ("wait is required now", lambda d: d["components"]["parameters"]["Wait"].update(required=True)),
    ("maximum was 30", lambda d: d["components"]["parameters"]["Wait"]["schema"].update(maximum=20)),
    ("pattern was ^a$", lambda d: post(d)["parameters"][1]["schema"].update(pattern="^b$")),
    (
        "parameter who is required now",
        lambda d: post(d)["parameters"].append(
            {"name": "who", "in": "header", "required": True, "schema": {"type": "string"}}
        ),
    ),
    # answers
    (".id is gone", lambda d: run(d)["properties"].pop("id")),
    (".tokens is gone", lambda d: d["components"]["schemas"]["Usage"]["properties"].pop("tokens")),
    (".id is not promised", lambda d: run(d)["required"].remove("id")),
    (".id: string is gone, it is integer", lambda d: run(d)["properties"]["id"].update(type="integer")),
    (".id: pattern was", lambda d: run(d)["properties"]["id"].update(pattern="^r_")),
    (".model: null is gone", lambda d: run(d)["properties"].update(model={"type": "string"})),
    (
        ".id can be null now",
        lambda d: run(d)["properties"].update(id={"anyOf": [run(SMALL)["properties"]["id"], {"type": "null"}]}),
    ),
    (".status: ['queued'] is no value", lambda d: run(d)["properties"]["status"]["enum"].remove("queued")),
    (".status: ['lost'] is a value now", lambda d: run(d)["properties"]["status"]["enum"].append("lost")),
    (".status: its values were", lambda d: run(d)["properties"]["status"].pop("enum")),
    (
        ".tokens: integer is gone, it is number",
        lambda d: d["components"]["schemas"]["Usage"]["properties"].update(tokens={"type": "number"}),
    ),
    ("code: ['gone'] is no value", lambda d: d["components"]["responses"].update(not_found=problem("not_found"))),
    ("event end is gone", lambda d: stream(d)["oneOf"].pop()),
    ("event run is gone", lambda d: stream(d)["oneOf"].pop(0)),
    (".data is not promised", lambda d: stream(d)["oneOf"][0]["required"].remove("data")),
    # requests
    ("takes no application/json", lambda d: post(d)["requestBody"].update(content={"text/plain": {"schema": {}}})),
    (".driver is gone", lambda d: body(d)["properties"].pop("driver")),
    (".driver is required now", lambda d: body(d)["required"].append("driver")),
    (
        ".colour is required now",
        lambda d: (body(d)["properties"].update(colour={"type": "string"}), body(d)["required"].append("colour")),
    ),
    (".driver: ['timer'] is no value", lambda d: body(d)["properties"]["driver"]["enum"].remove("timer")),
    (".turns: number is gone", lambda d: body(d)["properties"]["turns"].update(type="integer")),
    (".turns: minimum was 1", lambda d: body(d)["properties"]["turns"].update(minimum=2)),
    (".turns: maximum was 50", lambda d: body(d)["properties"]["turns"].update(maximum=40)),
    (".input: array is gone", lambda d: body(d)["properties"]["input"]["oneOf"].pop()),
    (".input: minLength was 1", lambda d: body(d)["properties"]["input"]["oneOf"][0].update(minLength=2)),
    (".input: maxItems was 9", lambda d: body(d)["properties"]["input"]["oneOf"][1].update(maxItems=8)),
    (".input: pattern was None", lambda d: body(d)["properties"]["input"]["oneOf"][0].update(pattern="x")),
    (".title: null is gone", lambda d: body(d)["properties"].update(title={"type": "string", "maxLength": 200})),
    (
        ".metadata[]: maxLength was 10",
        lambda d: body(d)["properties"]["metadata"]["additionalProperties"].update(maxLength=5),
    ),
]


@pytest.mark.parametrize(("said", "change"), TAKEN, ids=[said for said, _ in TAKEN])
def test_what_is_taken_away_is_found(said: str, change: Change) -> None:
    found = changed(change)
    assert any(said in each for each in found), found


ADDED: list[tuple[str, Change]] = [
    ("nothing", lambda d: None),
    ("an operation", lambda d: d["paths"]["/runs"].update(delete={"operationId": "d", "responses": {}})),
    ("an address", lambda d: d["paths"].update({"/new": {"get": {"operationId": "n", "responses": {}}}})),
    ("a way to sign in", lambda d: post(d)["security"].append({"apiKey": []})),
    ("an open door", lambda d: post(d).update(security=[])),
    ("an answer", lambda d: post(d)["responses"].update({"429": problem("too_many")})),
    ("an error code", lambda d: d["components"]["responses"].update(not_found=problem("not_found", "gone", "moved"))),
    ("a header", lambda d: post(d)["responses"]["202"]["headers"].update(ETag={"schema": {"type": "string"}})),
    ("a field of an answer", lambda d: run(d)["properties"].update(colour={"type": "string"})),
    ("a promise", lambda d: run(d)["required"].append("model")),
    ("an event", lambda d: stream(d)["oneOf"].append(event("pause"))),
    ("a field of a request", lambda d: body(d)["properties"].update(colour={"type": "string"})),
    ("a value of a request", lambda d: body(d)["properties"]["driver"]["enum"].append("queue")),
    ("any value of a request", lambda d: body(d)["properties"]["driver"].pop("enum")),
    ("wider bounds", lambda d: body(d)["properties"]["turns"].update(minimum=0, maximum=99)),
    ("no bounds", lambda d: (body(d)["properties"]["turns"].pop("minimum"), body(d)["required"].remove("input"))),
    ("another type in a request", lambda d: body(d)["properties"]["input"]["oneOf"].append({"type": "object"})),
    (
        "a parameter",
        lambda d: post(d)["parameters"].append({"name": "new", "in": "query", "schema": {"type": "string"}}),
    ),
    ("words", lambda d: run(d)["properties"]["id"].update(description="An id.")),
    ("any fields in a request", lambda d: body(d).pop("additionalProperties")),
]


@pytest.mark.parametrize(("change"), [change for _, change in ADDED], ids=[name for name, _ in ADDED])
def test_what_is_added_passes(change: Change) -> None:
    assert changed(change) == []


def test_fields_of_the_whole_contract_are_compared(today: Json) -> None:
    """Each field that any schema has is missed, when it goes, by whoever has that schema."""
    components = today["components"]
    for name, schema in components["schemas"].items():
        fields = schema.get("properties", {})
        kept = {field: each for field, each in fields.items() if "const" in each}  # they say which of several it is
        schemas = {**components["schemas"], name: {**schema, "properties": kept}}
        found = breaks(today, {**today, "components": {**components, "schemas": schemas}})
        said = {each.split(" is gone")[0].rpartition(".")[2].partition(":")[0] for each in found}
        missed = fields.keys() - kept.keys() - said
        assert missed == set(), name


def test_words_and_examples_are_not_kept_but_fields_of_such_names_are() -> None:
    schema = {"description": "x", "properties": {"description": {"type": "string", "description": "y"}}, "example": 1}
    assert without_words(schema) == {"properties": {"description": {"type": "string"}}}
