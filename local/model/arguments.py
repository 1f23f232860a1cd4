"""Which function tools a persona may call, and what it fills in: values that fit the parameters' JSON schema."""

from __future__ import annotations

import json
import re
from typing import Any

from local.model.errors import Json
from local.model.script import Call

_DEEPEST = 8


# Words of a name, however it is written: ``research_space_facts``, ``ResearchSpaceFacts``, ``get-HTML2``.
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
# What .NET's compiler makes of the name of a function within another: ``_Main_g_ResearchSpaceFacts_0_3``.
_LOCAL_FUNCTION = re.compile(r"_.*_g_(.+)_\d+_\d+")
_VERBS = frozenset(
    {"call", "compute", "do", "fetch", "find", "get", "list", "look", "make", "run", "search", "set", "up"}
)
_SHORTEST_STEM = 4


def offered(request: Json) -> dict[str, Json]:
    """The function tools of a create by name: none with `tool_choice: none`, and the one that it names if it does."""
    if request.get("tool_choice") == "none":
        return {}
    named = named_choice(request)
    functions = [tool for tool in request.get("tools") or () if tool.get("type") == "function"]
    return {tool["name"]: tool for tool in functions if named in (None, tool["name"])}


def named_choice(request: Json) -> str | None:
    """The function that `tool_choice` names; `None` where it names none."""
    choice = request.get("tool_choice")
    return str(choice.get("name")) if isinstance(choice, dict) and choice.get("type") == "function" else None


def words_of(name: str) -> list[str]:
    """The words of a function's name, in lower case, without numbers."""
    local = _LOCAL_FUNCTION.fullmatch(name)
    return [word.lower() for word in _WORD.findall(local[1] if local else name)]


def called_like(name: str, tools: Json) -> str | None:
    """The tool of this name, or of the same words in another language's notation; `None` where there is none."""
    if name in tools:
        return name
    wanted = words_of(name)
    return next((each for each in tools if words_of(each)[: len(wanted)] == wanted), None)


def is_suggested(name: str, message: str) -> bool:
    """Whether a message has the words of a function's name, but for such as `get`; or the name itself."""
    heard = {word.lower() for word in re.findall(r"[^\W\d_]+", message)}
    words = [word for word in words_of(name) if word not in _VERBS]
    named = re.search(rf"(?<!\w){re.escape(name)}(?!\w)", message) is not None
    return named or (bool(words) and all(any(_same(word, each) for each in heard) for word in words))


def _same(word: str, other: str) -> bool:
    short, long = sorted((word, other), key=len)
    return short == long or (len(short) >= _SHORTEST_STEM and long.startswith(short))


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
