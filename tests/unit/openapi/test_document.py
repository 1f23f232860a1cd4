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
from shared.api.operations import RUN_TOKEN
from shared.errors import DormouseError
from shared.runs.model.phases import RunStatus
from tests.parts.cases import cases
from tests.parts.contract import FILE, Contract, events_of

DOCUMENT: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
NOBODYS = {"invalid_operator_key", "method_not_allowed", "origin_not_allowed", "unauthenticated"}
"""Codes that belong to no body of an operation: where there is none, or none is promised."""


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    """Every object in the document, but those in examples, which are no part of it."""
    if isinstance(node, dict):
        yield node
        for name, each in node.items():
            if name not in ("example", "examples"):
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
        bound.setdefault(pattern(path, made), set()).add(method.upper())
    assert bound == routing.ROUTES


def test_a_route_without_an_entry_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = document.described()
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
    assert parts <= refs


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
    assert seen >= 50


def test_an_example_of_a_stream_is_true() -> None:
    contract = Contract(DOCUMENT)
    content = DOCUMENT["paths"]["/api/runs/{run_id}/events"]["get"]["responses"]["200"]["content"]["text/event-stream"]
    (shown,) = content["examples"].values()
    events = re.findall(r"^event: (\w+)\ndata: (.*)\n\n", shown["value"], re.MULTILINE)
    assert [kind for kind, _ in events] == ["state", "snapshot", "end"]
    for kind, data in events:
        assert contract.differences_of_event(kind, json.loads(data)) == []


@cases(("method", "path", "made"), operations_of_the_document())
def test_an_operation_says_what_it_does(method: str, path: str, made: dict[str, Any]) -> None:
    assert re.fullmatch(r"[A-Z].*[a-z?]", made["summary"])
    assert len(re.findall(r"\{(\w+)\}", path)) == sum(each.get("in") == "path" for each in made["parameters"])
    assert made["responses"].keys() & {"200", "201", "202", "204"}
    for answer in made["responses"].values():
        whole = resolved(answer["$ref"]) if "$ref" in answer else answer
        assert whole["description"].endswith((".", "?"))
        assert "X-Request-Id" in whole.get("headers", ()) or whole["description"].startswith(
            "Refused by the platform itself"
        )


def undescribed(node: Any, place: str = "") -> Iterator[str]:
    """Where in the document a property says nothing of itself. Examples are no schemas."""
    if isinstance(node, list):
        for index, each in enumerate(node):
            yield from undescribed(each, f"{place}/{index}")
    elif isinstance(node, dict):
        for name, field in (node.get("properties") or {}).items():
            if not field.get("description", "").endswith((".", "?")):
                yield f"{place}: {name}"
        for name, each in node.items():
            if name not in ("example", "examples"):
                yield from undescribed(each, f"{place}/{name}")


def test_every_property_is_described_under_its_field() -> None:
    assert list(undescribed(DOCUMENT)) == [], "each needs a docstring under its field, which ends in a full stop"


def test_a_property_without_a_description_is_named() -> None:
    schemas = {"A": {"properties": {"b": {"type": "object", "properties": {"c": {}}}, "d": {"description": "What."}}}}
    assert list(undescribed(schemas)) == ["/A: b", "/A/properties/b: c"]


@cases(("method", "path", "made"), operations_of_the_document())
def test_an_operation_is_described_and_has_an_example(method: str, path: str, made: dict[str, Any]) -> None:
    assert made.get("description", "").endswith("."), "the handler's docstring says nothing after its first line"
    assert set(made["tags"]) <= {tag["name"] for tag in DOCUMENT["tags"] if tag["description"]}
    for each in made["parameters"]:
        whole = resolved(each["$ref"]) if "$ref" in each else each
        assert whole.get("description"), f"{whole['name']} has no description"
        assert whole["in"] != "path" or "example" in whole, f"{whole['name']} has no example in IN_PATHS"
    contents = [made["requestBody"]["content"]] if "requestBody" in made else []
    contents += [answer.get("content", {}) for status, answer in made["responses"].items() if status.startswith("2")]
    for media, content in ((media, content) for each in contents for media, content in each.items()):
        # OpenAI's streams are OpenAI's to show.
        if media != "text/event-stream" or not path.startswith("/api/v1/"):
            assert content.get("examples"), f"nothing shows {media}: see tests/acceptance/test_examples.py"
    assert contents or method == "head" or "{" in path


def test_head_is_answered_as_get_is_without_the_bodies() -> None:
    for path, operations in DOCUMENT["paths"].items():
        assert ("head" in operations) == ("get" in operations), path
        if "head" not in operations:
            continue
        get, head = operations["get"], operations["head"]
        missing = get["responses"].keys() - head["responses"].keys()
        # A stream without its body takes nobody's place; a request that waits does.
        held = ("watch_run", "shared_watch_run", "v1_get_response")
        assert missing == ({"429"} if get["operationId"] in held else set())
        assert not any("content" in node for node in nodes(head))
        for status, answer in head["responses"].items():
            whole = resolved(answer["$ref"]) if "$ref" in answer else answer
            full = get["responses"][status]
            assert whole.get("headers") == (resolved(full["$ref"]) if "$ref" in full else full).get("headers")
            assert "content" not in whole


def test_who_is_told_to_come_later_is_told_when() -> None:
    for _, _, made in operations_of_the_document():
        for status in {"429", "503"} & made["responses"].keys():
            answer = made["responses"][status]
            whole = resolved(answer["$ref"]) if "$ref" in answer else answer
            there = whole["headers"].get("Retry-After")
            assert status != "429" or (there and resolved(there["$ref"])["required"]), made["operationId"]


def test_a_field_that_may_be_left_out_has_no_default_for_generators() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert [field for field, each in schema.get("properties", {}).items() if "default" in each] == [], name
    stream = DOCUMENT["components"]["schemas"]["RunBody"]["properties"]["stream"]
    assert stream["description"].endswith("Default: `false`.")


def test_only_what_is_open_asks_for_nothing() -> None:
    free = {
        made["operationId"].removesuffix("_head") for _, _, made in operations_of_the_document() if not made["security"]
    }
    keyed = {name for name, entry in document.described().items() if entry.of_openai or entry.security == RUN_TOKEN}
    assert free == {name for name, trigger in triggers().items() if trigger.open} - keyed


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

SOURCES = {file.name: file.read_text("utf-8") for file in (ROOT / "clients" / "js" / "src").glob("*.*s")}
OWN_EVENTS = {"connection", "sync"}
"""What the client tells itself."""


def test_the_client_imports_only_types_that_are_there() -> None:
    text = "".join(SOURCES.values())
    wanted = set(re.findall(r'import\("./contract.js"\)\.(\w+)', text))
    for names in re.findall(r'import (?:type )?{(.*?)} from "./contract.js"', text):
        wanted |= set(names.replace(" ", "").split(","))
    assert {"Run", "Deliveries", "BatchTokenBody", "ItemStatus"} <= wanted
    assert wanted <= DOCUMENT["components"]["schemas"].keys()


def test_the_client_knows_the_final_statuses_and_every_event() -> None:
    final = re.search(r"const FINAL = new Set\(\[(.*?)\]\)", SOURCES["watch.js"])
    assert final is not None
    assert set(re.findall(r'"(\w+)"', final[1])) == {status.value for status in RunStatus if status.terminal}
    events = set(events_of(DOCUMENT))
    handled = set(re.findall(r'case "(\w+)":', SOURCES["view.js"]))
    assert events <= handled <= events | OWN_EVENTS
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


@cases(
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
        (404, {}, "", "it is application/json"),
        (404, {"X-Request-Id": None}, "", None),
        (404, {"content-type": "application/problem+json"}, "{}", "required"),
    ],
)
def test_an_answer_that_is_not_as_the_contract_says_is_found(
    status: int, headers: dict[str, str | None], body: str, difference: str | None
) -> None:
    given = {name: value for name, value in {**GOOD, **headers}.items() if value is not None}
    found = Contract(DOCUMENT).differences("GET", RUN, status, given, body.encode())
    assert (difference is None and found == []) or (difference is not None and difference in " ".join(found)), found
