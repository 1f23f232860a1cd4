"""What a persona fills into the tools it calls: values that fit the parameters' JSON schema."""

from __future__ import annotations

import json
import re
from typing import Any

from local.model.errors import Json
from local.model.script import Call

_DEEPEST = 8


def offered(request: Json) -> dict[str, Json]:
    """The function tools of a create by name; none with `tool_choice: none`."""
    if request.get("tool_choice") == "none":
        return {}
    return {t["name"]: t for t in request.get("tools") or () if t.get("type") == "function"}


def topic_of(message: str) -> str:
    """A user's message in one line, not too long."""
    return " ".join(message.split())[:300]


def call(tool: Json, text: str, **known: Any) -> Call:
    """A call of this tool: parameters in `known` by name, numbers out of the text, and the text for the others."""
    schema = tool.get("parameters") or {}
    definitions = schema.get("$defs") or {}
    given = {
        name: known[name] if name in known else _value(kind, text, definitions, 0)
        for name, kind in (schema.get("properties") or {}).items()
    }
    return Call(name=tool["name"], arguments=json.dumps(given, ensure_ascii=False))


def _value(schema: Json, text: str, definitions: Json, depth: int) -> Any:
    # What the tool's author would have left out is the safest value.
    if "default" in schema:
        return schema["default"]
    if schema.get("enum"):
        return schema["enum"][0]
    # A schema may refer to itself.
    if depth > _DEEPEST:
        return None
    if "$ref" in schema:
        return _value(definitions.get(schema["$ref"].rpartition("/")[2]) or {}, text, definitions, depth + 1)
    if "anyOf" in schema:
        return _value(schema["anyOf"][0], text, definitions, depth + 1)
    kind = schema.get("type", "string")
    # ``["string", "null"]``: the first is the kind that is meant, null only stands for left out.
    if isinstance(kind, list):
        kind = kind[0]
    if kind in ("integer", "number"):
        # A digit in the user's message is probably the number that is meant.
        number = re.search(r"\b[1-9]\b", text)
        return int(number[0]) if number else 2
    if kind == "array":
        return [_value(schema.get("items") or {}, text, definitions, depth + 1)]
    if kind == "object":
        properties = schema.get("properties") or {}
        return {name: _value(each, text, definitions, depth + 1) for name, each in properties.items()}
    simple: dict[str, Any] = {"boolean": True, "null": None}
    return simple.get(kind, text)
