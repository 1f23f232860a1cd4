"""The links of the contract: each leads from what an answer holds to an operation that takes it."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.parts.contract import FILE

DOCUMENT: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
OPERATIONS = {
    operation["operationId"]: (method, path, operation)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}


def links() -> list[tuple[str, str, str, dict[str, Any]]]:
    """Each: the operation, the status, the operation it leads to, the link."""
    return [
        (name, status, other, DOCUMENT["components"]["links"][link["$ref"].rsplit("/", 1)[1]])
        for name, (_, _, operation) in OPERATIONS.items()
        for status, answer in operation["responses"].items()
        for other, link in answer.get("links", {}).items()
    ]


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return schema


def test_each_link_fills_all_of_an_address_from_what_the_answer_always_has() -> None:
    found = links()
    assert len(found) > 40
    for name, status, other, link in found:
        assert link["operationId"] == other
        method, _, operation = OPERATIONS[name]
        assert link["parameters"].keys() == set(re.findall(r"\{(\w+)\}", OPERATIONS[other][1])), (name, other)
        (expression,) = link["parameters"].values()
        field = expression.removeprefix("$response.body#/")
        schema = resolved(operation["responses"][status]["content"]["application/json"]["schema"])
        assert field in schema["required"], (name, other)
        assert method != "head"
        assert OPERATIONS[other][2]["security"] == operation["security"], "who may follow it"


def test_what_is_made_leads_to_all_that_can_be_done_with_it() -> None:
    for maker, parameter in (
        ("create_run", "run_id"),
        ("create_batch", "batch_id"),
        ("v1_create_response", "response_id"),
    ):
        below = {
            name
            for name, (method, path, operation) in OPERATIONS.items()
            if re.findall(r"\{(\w+)\}", path) == [parameter]
            and method != "head"
            and operation["security"] == OPERATIONS[maker][2]["security"]
        }
        assert below
        for status, answer in OPERATIONS[maker][2]["responses"].items():
            if status in ("200", "201", "202"):
                assert answer["links"].keys() >= below, (maker, status)
    assert {other for name, _, other, _ in links() if name == "get_run"} == {"get_session", "delete_session"}
