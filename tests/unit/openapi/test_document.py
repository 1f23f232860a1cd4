"""The contract as a document: it is what the code says, whole, and its examples are true."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jsonschema_rs
import pytest

from local import ROOT
from local.openapi import __main__ as command
from local.openapi import document, typescript
from local.openapi.triggers import triggers
from shared import errors
from shared.api import routing
from shared.api.operations import OPERATIONS
from shared.errors import DormouseError
from shared.runs.model.phases import RunStatus
from tests.parts.contract import Contract

DOCUMENT = document.document()
NOBODYS = {"method_not_allowed"}
"""Codes that belong to no operation: what is answered where there is none."""


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    """Every object in the document."""
    if isinstance(node, dict):
        yield node
        for each in node.values():
            yield from nodes(each)
    elif isinstance(node, list):
        for each in node:
            yield from nodes(each)


def resolved(ref: str) -> Any:
    found: Any = DOCUMENT
    for name in ref.removeprefix("#/").split("/"):
        found = found[name]
    return found


def validator(schema: dict[str, Any]) -> Any:
    whole = {**schema, "components": DOCUMENT["components"]}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


def operations_of_the_document() -> list[tuple[str, str, dict[str, Any]]]:
    return [(method, path, made) for path, each in DOCUMENT["paths"].items() for method, made in each.items()]


def test_the_files_are_what_the_code_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--check"]) == 0, capsys.readouterr().err


def test_a_file_that_is_not_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(typescript, "HEAD", "// another\n")
    assert command.main(["--check"]) == 1
    assert capsys.readouterr().err == (
        "clients/js/src/contract.ts is not what the code says; run: python -m local.openapi\n"
    )


def test_the_contract_has_every_route_and_no_other() -> None:
    def pattern(path: str, made: dict[str, Any]) -> str:
        found = re.escape(path.removeprefix("/"))
        for each in made["parameters"]:
            if each.get("in") == "path":
                found = found.replace(re.escape(f"{{{each['name']}}}"), each["schema"]["pattern"].strip("^$"))
        return found

    bound: dict[str, set[str]] = {}
    for method, path, made in operations_of_the_document():
        bound.setdefault(pattern(path, made), set()).update({method.upper()} | ({"HEAD"} if method == "get" else set()))
    assert bound == routing.ROUTES


def test_a_route_without_an_entry_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = OPERATIONS
    one = replace(entries["get_run"], function="get_nothing")
    monkeypatch.setattr(document, "OPERATIONS", {**entries, "get_nothing": one})
    with pytest.raises(ValueError, match=r"operations without a trigger of that name: \['get_nothing'\]"):
        document.document()
    monkeypatch.setattr(document, "OPERATIONS", {name: entries[name] for name in entries if name != "get_run"})
    with pytest.raises(ValueError, match=r"triggers whose handler has no @operation: \['get_run'\]"):
        document.document()


def test_every_error_of_the_app_is_somewhere() -> None:
    every = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, DormouseError)}
    found = {
        code
        for node in nodes(DOCUMENT)
        if "code" in node
        for code in node["code"].get("enum", [])
        if "enum" in node["code"]
    }
    assert every - found == NOBODYS
    assert found - every == set()


def test_every_reference_leads_somewhere_and_every_part_is_used() -> None:
    refs = {node["$ref"] for node in nodes(DOCUMENT) if isinstance(node.get("$ref"), str)}
    assert all(resolved(ref) for ref in refs)
    parts = {
        f"#/components/{kind}/{name}"
        for kind in ("schemas", "responses", "parameters", "headers")
        for name in DOCUMENT["components"][kind]
    }
    assert {part for part in parts if part not in refs} <= {"#/components/headers/Preference-Applied"}


def test_every_schema_is_one() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})


def test_every_example_is_true() -> None:
    seen = 0
    for node in nodes(DOCUMENT):
        if "schema" in node and ("examples" in node or "example" in node):
            given = [each["value"] for each in node.get("examples", {}).values()]
            for value in given + ([node["example"]] if "example" in node else []):
                assert [*validator(node["schema"]).iter_errors(value)] == []
                seen += 1
    assert seen >= 15


@pytest.mark.parametrize(("_method", "path", "made"), operations_of_the_document())
def test_an_operation_says_what_it_does(_method: str, path: str, made: dict[str, Any]) -> None:
    assert re.fullmatch(r"[A-Z].*[a-z?]", made["summary"])
    assert len(re.findall(r"\{(\w+)\}", path)) == sum(each.get("in") == "path" for each in made["parameters"])
    assert made["responses"].keys() & {"200", "202", "204"}
    for answer in made["responses"].values():
        whole = resolved(answer["$ref"]) if "$ref" in answer else answer
        assert whole["description"].endswith((".", "?"))
        assert "X-Request-Id" in whole["headers"]


def test_only_what_is_open_asks_for_nothing() -> None:
    free = {made["operationId"] for _, _, made in operations_of_the_document() if not made["security"]}
    assert free == {name for name, trigger in triggers().items() if trigger.open and not OPERATIONS[name].of_openai}


def test_the_statuses_are_those_of_a_run() -> None:
    assert DOCUMENT["components"]["schemas"]["RunStatus"]["enum"] == [status.value for status in RunStatus]


def test_the_types_have_every_field(monkeypatch: pytest.MonkeyPatch) -> None:
    text = typescript.rendered(DOCUMENT)
    for name, schema in DOCUMENT["components"]["schemas"].items():
        (declared,) = re.findall(rf"^export (?:interface|type) {name}\b.*?^(?:\}}|(?=\n)|$)", text, re.M | re.S)
        for field in schema.get("properties", {}):
            assert re.search(rf"^  {field}\??: ", declared, re.M), (name, field)
    with pytest.raises(ValueError, match="no notation"):
        typescript.typed({"type": "nonsense"})


# --- the JavaScript client ------------------------------------------------------------------------------

SOURCES = {file.name: file.read_text("utf-8") for file in (ROOT / "clients" / "js" / "src").glob("*.js")}
OWN_EVENTS = {"connection", "sync"}
"""What the client tells itself; and what a newer server may send."""
NEWER_EVENTS = {"wake"}


def test_the_client_imports_only_types_that_are_there() -> None:
    wanted = set(re.findall(r'import\("./contract.js"\)\.(\w+)', "".join(SOURCES.values())))
    assert {"Run", "Deliveries"} <= wanted
    assert wanted <= DOCUMENT["components"]["schemas"].keys()


def test_the_client_knows_the_final_statuses_and_every_event() -> None:
    final = re.search(r"const FINAL = new Set\(\[(.*?)\]\)", SOURCES["watch.js"])
    assert final is not None
    assert set(re.findall(r'"(\w+)"', final[1])) == {status.value for status in RunStatus if status.terminal}
    stream = DOCUMENT["paths"]["/api/runs/{run_id}/events"]["get"]["responses"]["200"]["content"]["text/event-stream"]
    events = {each["properties"]["event"]["const"] for each in stream["schema"]["oneOf"]}
    handled = set(re.findall(r'case "(\w+)":', SOURCES["view.js"]))
    assert events <= handled <= events | OWN_EVENTS | NEWER_EVENTS
    declared = re.search(r"@property \{([^}]*)\} event", SOURCES["view.js"])
    assert declared is not None
    assert set(re.findall(r'"(\w+)"', declared[1])) == handled - {"sync"}


# --- the judge that the acceptance tests use ------------------------------------------------------------

RUN = f"http://localhost/api/runs/run_{'0a' * 16}_1"
GOOD = {"X-Request-Id": "r", "ETag": f'"{"a" * 32}"', "content-type": "application/json", "Retry-After": "3"}
BODY = json.dumps(
    DOCUMENT["paths"]["/api/runs"]["post"]["responses"]["202"]["content"]["application/json"]["examples"]["begun"][
        "value"
    ]
)


@pytest.mark.parametrize(
    ("status", "headers", "body", "difference"),
    [
        (200, {}, BODY, None),
        (418, {}, BODY, "does not answer 418"),
        (200, {"ETag": None}, BODY, "no ETag"),
        (200, {"ETag": '"x"'}, BODY, "ETag: "),
        (200, {"Retry-After": "0"}, BODY, "Retry-After: "),
        (200, {"content-type": "text/html"}, BODY, "text/html"),
        (200, {}, BODY.replace('"in_progress"', '"lost"'), "lost"),
        (200, {}, BODY.replace('"wakes"', '"naps"'), "naps"),
        (304, {}, "", None),
        (304, {}, "x", "it has a body"),
        (404, {}, "", None),
        (404, {"content-type": "application/problem+json"}, "{}", "required"),
    ],
)
def test_an_answer_that_is_not_as_the_contract_says_is_found(
    status: int, headers: dict[str, str | None], body: str, difference: str | None
) -> None:
    given = {name: value for name, value in {**GOOD, **headers}.items() if value is not None}
    found = Contract(DOCUMENT).differences("GET", RUN, status, given, body.encode())
    assert (difference is None and found == []) or (difference is not None and difference in " ".join(found)), found
