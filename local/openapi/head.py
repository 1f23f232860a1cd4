"""HEAD, which a trigger takes wherever it takes GET: the same answers, without their bodies."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

Json = dict[str, Any]


def operation(get: Json, shared: Json, never: Container[str]) -> Json:
    """The HEAD of this GET, whose shared answers are in ``shared``; so go those of HEAD. ``never``: codes of problems
    that only GET meets.
    """
    made = {name: get[name] for name in ("tags", "parameters", "security")}
    return {
        "operationId": f"{get['operationId']}_head",
        "summary": f"{get['summary'].removesuffix('?')}: the headers alone",
        "description": "What the same GET would answer, without the body.",
        **made,
        "responses": {
            status: _answer(answer, shared)
            for status, answer in get["responses"].items()
            if not ("$ref" in answer and set(_codes(answer)) <= _all(never, _codes(answer)))
        },
    }


def _answer(answer: Json, shared: Json) -> Json:
    if "$ref" not in answer:
        return {name: value for name, value in answer.items() if name != "content"}
    name = answer["$ref"].rsplit("/", 1)[1]
    shared[f"head.{name}"] = {key: value for key, value in shared[name].items() if key != "content"}
    return {"$ref": f"#/components/responses/head.{name}"}


def _codes(answer: Json) -> list[str]:
    """The codes of a shared answer, which its name is made of."""
    return str(answer["$ref"].rsplit("/", 1)[1]).removeprefix("openai.").split(".")


def _all(never: Container[str], codes: list[str]) -> set[str]:
    return {code for code in codes if code in never}
