"""Whether the format that a client asks for is the one that the agent's text has anyway."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from shared.agentkit.output import OutputFormat

WORDS_FOR_PEOPLE = frozenset({"title", "description", "$schema", "$id", "$comment", "examples", "default", "$defs"})
"""Keywords of a JSON schema that do not change what fits it."""

MAX_PAIRS = 20_000
"""Parts of two schemas that are compared: far more than an output of ours has, and few enough to be quick."""

MAX_REFERENCES = 20


def is_own_format(asked: Any, output: OutputFormat | None) -> bool:
    """Whether a ``text.format``, or a ``response_format`` of Chat Completions, changes nothing for this agent.

    Plain text is what a client asks for that writes its defaults out: it says nothing of what the text holds.
    """
    if not isinstance(asked, Mapping):
        return False
    match asked.get("type"):
        case "text":
            return True
        case "json_object":
            return output is not None  # its text is always one object
        case "json_schema":
            inner = asked.get("json_schema")
            schema = (inner if isinstance(inner, Mapping) else asked).get("schema")
            return output is not None and is_same_schema(schema, output.schema)
    return False


def is_same_schema(one: Any, other: Any) -> bool:
    """Whether two JSON schemas take the same, as far as their notation is that of the common generators.

    Every language's library writes a class in its own way: titles, the order of names, a reference or the thing
    itself, ``anyOf`` with null or a list of types. Whatever cannot be seen to be the same is not.
    """
    # A pair that was begun counts as the same: a schema may refer to itself.
    begun: set[tuple[int, int]] = set()
    left = [(one, other)]
    kept: list[Any] = []  # an id is unique only while its object lives
    while left:
        of_one, of_other = left.pop()
        a, b = _followed(of_one, one), _followed(of_other, other)
        if not (isinstance(a, Mapping) and isinstance(b, Mapping)):
            if a is None or a != b or isinstance(a, bool) != isinstance(b, bool):
                return False
            continue
        kept += (a, b)
        if (id(a), id(b)) in begun:
            continue
        begun.add((id(a), id(b)))
        if len(begun) > MAX_PAIRS:
            return False
        a, b = _meaning(a), _meaning(b)
        if a.keys() != b.keys():
            return False
        for name in a:
            pairs = _pairs(name, a[name], b[name])
            if pairs is None:
                return False
            left += pairs
    return True


def _pairs(name: str, a: Any, b: Any) -> list[tuple[Any, Any]] | None:
    """What has to be the same for the values of a keyword to be; None when they are not."""
    match name:
        case "properties":
            if not (isinstance(a, Mapping) and isinstance(b, Mapping)) or a.keys() != b.keys():
                return None
            return [(a[each], b[each]) for each in a]
        case "items" | "additionalProperties":
            return [(a, b)]
        case "anyOf":
            if not (isinstance(a, list) and isinstance(b, list)) or len(a) != len(b):
                return None
            return list(zip(a, b, strict=True))
    return [] if a == b and isinstance(a, bool) == isinstance(b, bool) else None


def _meaning(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema without words for people, in one notation of what may be null."""
    found = {name: value for name, value in schema.items() if name not in WORDS_FOR_PEOPLE}
    for name in ("required", "enum", "type"):
        if isinstance(found.get(name), list):
            found[name] = sorted(found[name], key=str)
    if "const" in found:
        found["enum"] = [found.pop("const")]
    if "enum" in found and "type" in found and all(isinstance(each, str) for each in found["enum"]):
        del found["type"]  # the values say it
    if found.get("type") == "object" or "properties" in found:
        found.setdefault("additionalProperties", False)  # strict schemas take nothing else
    return _with_null_apart(found)


def _with_null_apart(schema: dict[str, Any]) -> dict[str, Any]:
    """``{"type": ["string", "null"]}`` as ``anyOf`` of two, as Python's generators write it; null is the last."""
    kinds = schema.get("type")
    if isinstance(kinds, list) and len(kinds) == 2 and "null" in kinds:
        other = next((kind for kind in kinds if kind != "null"), "null")
        return {"anyOf": [{**schema, "type": other}, {"type": "null"}]}
    options = schema.get("anyOf")
    if isinstance(options, list) and schema.keys() == {"anyOf"}:
        return {"anyOf": sorted(options, key=lambda each: isinstance(each, Mapping) and each.get("type") == "null")}
    return schema


def _followed(schema: Any, root: Any) -> Any:
    """What a reference within the same document stands for."""
    for _ in range(MAX_REFERENCES):
        if not isinstance(schema, Mapping) or not isinstance(name := schema.get("$ref"), str):
            return schema
        schema = _at(name, root)
    return None


def _at(pointer: str, root: Any) -> Any:
    found = root
    for step in _steps(pointer):
        if not isinstance(found, Mapping) or step not in found:
            return None
        found = found[step]
    return found


def _steps(pointer: str) -> Iterator[str]:
    beginning, *steps = pointer.split("/")
    if beginning == "#":
        yield from steps
    else:
        yield pointer  # elsewhere: nothing is there
