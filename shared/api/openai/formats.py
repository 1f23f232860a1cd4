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
            return output is not None and takes_all_of(schema, output.schema)
    return False


def takes_all_of(asked: Any, own: Any) -> bool:
    """Whether a JSON schema takes whatever fits an agent's own, as far as it is written as common generators do.

    Every language's library writes a class in its own way: titles, the order of names, a reference or the thing
    itself, ``anyOf`` with null or a list of types. .NET's lets any text be null, and takes more names than it has.
    Whatever cannot be seen to fit does not.
    """
    # A pair that was begun counts as the same: a schema may refer to itself.
    begun: set[tuple[int, int]] = set()
    left = [(asked, own)]
    kept: list[Any] = []  # an id is unique only while its object lives
    while left:
        of_asked, of_own = left.pop()
        a, b = _followed(of_asked, asked), _followed(of_own, own)
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
        pairs = _parts(_meaning(a), _meaning(b))
        if pairs is None:
            return False
        left += pairs
    return True


def _parts(asked: dict[str, Any], own: dict[str, Any]) -> list[tuple[Any, Any]] | None:
    """The parts of which each must take all of the other's; None when these do not fit, whatever their parts are."""
    if asked.keys() == {"anyOf"} and "anyOf" not in own:
        # What may be null there and is not here.
        options = [each for each in asked["anyOf"] if each != {"type": "null"}] if _is_list(asked["anyOf"]) else []
        return [(options[0], own)] if len(options) == 1 else None
    needed, given = asked.pop("required", []), own.pop("required", [])
    if not _is_list(needed) or any(each not in given for each in needed):
        return None
    if asked.pop("additionalProperties", True) not in (True, own.pop("additionalProperties", True)):
        return None
    if asked.keys() != own.keys():
        return None
    found: list[tuple[Any, Any]] = []
    for name in asked:
        pairs = _pairs(name, asked[name], own[name])
        if pairs is None:
            return None
        found += pairs
    return found


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _pairs(name: str, a: Any, b: Any) -> list[tuple[Any, Any]] | None:
    """What has to be the same for the values of a keyword to be; None when they are not."""
    match name:
        case "properties":
            if not (isinstance(a, Mapping) and isinstance(b, Mapping)) or a.keys() != b.keys():
                return None
            return [(a[each], b[each]) for each in a]
        case "items":
            return [(a, b)]
        case "anyOf":
            if not (_is_list(a) and _is_list(b)) or len(a) != len(b):
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
