"""What a contract takes away from the clients of an earlier one. Additions are none of it.

An answer keeps its statuses, its fields and their types; a request that was right stays right. No library that is
maintained does this for OpenAPI 3.1: oasdiff does, and is neither on PyPI nor on npm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Json = dict[str, Any]

GROWING = frozenset({"code"})
"""Fields of answers that may have new values: a client treats an error code that it does not know by its status."""

_METHODS = frozenset({"get", "put", "post", "delete", "head", "patch", "options"})
_AT_LEAST = ("minLength", "minimum", "minItems", "exclusiveMinimum", "minProperties")
_AT_MOST = ("maxLength", "maximum", "maxItems", "exclusiveMaximum", "maxProperties")
_WHOLE = ("pattern", "format", "const", "contentMediaType")
_EXAMPLES = ("description", "summary", "example", "examples", "title")


def breaks(old: Json, new: Json) -> list[str]:
    """What `new` takes from the clients of `old`, a sentence each; none where they can stay as they are."""
    return list(dict.fromkeys(_Comparison(old, new).operations()))


def without_words(part: Any, *, names: bool = False) -> Any:
    """A contract without descriptions and examples. `names`: the keys are names of fields, not words of a schema."""
    if isinstance(part, list):
        return [without_words(each) for each in part]
    if not isinstance(part, dict):
        return part
    kept = {name: each for name, each in part.items() if names or name not in _EXAMPLES}
    return {name: without_words(each, names=not names and name == "properties") for name, each in kept.items()}


class _Comparison:
    def __init__(self, old: Json, new: Json) -> None:
        self._old, self._new = old, new
        self._seen: dict[tuple[int, int, bool], tuple[Json, Json]] = {}

    def operations(self) -> Iterator[str]:
        for path, there in self._old["paths"].items():
            now = self._new["paths"].get(path, {})
            for method in sorted(_METHODS & there.keys()):
                name = f"{method.upper()} {path}"
                if method in now:
                    yield from self._operation(name, there[method], now[method])
                else:
                    yield f"{name} is gone"

    def _operation(self, name: str, old: Json, new: Json) -> Iterator[str]:
        if old["operationId"] != new["operationId"]:
            yield f"{name}: operationId was {old['operationId']}, generated clients call it so"
        for way in old.get("security", []):
            if way not in new.get("security", []) and new.get("security"):
                yield f"{name}: {' and '.join(way)} lets nobody in any more"
        if not old.get("security") and new.get("security"):
            yield f"{name} asks who calls now"
        yield from self._parameters(name, old, new)
        asked, asks = (each.get("requestBody", {}).get("content", {}) for each in (old, new))
        for media, content in asked.items():
            if media not in asks:
                yield f"{name} takes no {media} any more"
            else:
                yield from self._schemas(f"{name} request", content["schema"], asks[media]["schema"], is_answer=False)
        if new.get("requestBody", {}).get("required") and not old.get("requestBody", {}).get("required"):
            yield f"{name}: a body is required now"
        for status, answer in old["responses"].items():
            if status not in new["responses"]:
                yield f"{name} does not answer {status} any more"
            else:
                now = _resolved(self._new, new["responses"][status])
                yield from self._answer(f"{name} {status}", _resolved(self._old, answer), now)

    def _parameters(self, name: str, old: Json, new: Json) -> Iterator[str]:
        before, now = (
            {(each["in"], each["name"]): each for each in (_resolved(of, one) for one in found.get("parameters", []))}
            for of, found in ((self._old, old), (self._new, new))
        )
        for key, parameter in before.items():
            if key not in now:
                yield f"{name}: {key[0]} parameter {key[1]} is gone"
            else:
                schemas = parameter["schema"], now[key]["schema"]
                yield from self._schemas(f"{name} parameter {key[1]}", *schemas, is_answer=False)
        for key, parameter in now.items():
            if parameter.get("required") and not before.get(key, {}).get("required"):
                yield f"{name}: {key[0]} parameter {key[1]} is required now"

    def _answer(self, name: str, old: Json, new: Json) -> Iterator[str]:
        for header, there in old.get("headers", {}).items():
            now = new.get("headers", {}).get(header)
            is_promised = _resolved(self._old, there).get("required")
            if now is None or (is_promised and not _resolved(self._new, now).get("required")):
                yield f"{name}: header {header} is not promised any more"
        for media, content in old.get("content", {}).items():
            if media not in new.get("content", {}):
                yield f"{name} has no {media} any more"
            else:
                yield from self._schemas(name, content["schema"], new["content"][media]["schema"], is_answer=True)

    def _schemas(self, where: str, old: Json, new: Json, *, is_answer: bool) -> Iterator[str]:
        old, new = _resolved(self._old, old), _resolved(self._new, new)
        before, now = _alternatives(self._old, old), _alternatives(self._new, new)
        for kind, schema in before.items():
            if kind in now:
                yield from self._one(where, schema, now[kind], is_answer=is_answer)
            elif kind == "integer" and "number" in now and not is_answer:
                yield from self._one(where, {**schema, "type": "number"}, now["number"], is_answer=False)
            else:
                yield f"{where}: {kind} is gone, it {'is' if is_answer else 'takes'} {' or '.join(now)}"
        added = [kind for kind in now if kind not in before and not kind.startswith("event ")]
        if is_answer and added and not before.keys() - now.keys():
            yield f"{where} can be {' or '.join(added)} now"

    def _one(self, where: str, old: Json, new: Json, *, is_answer: bool) -> Iterator[str]:
        # Schemas refer to each other in circles. Kept too: the id of what is gone may be another's.
        if (pair := (id(old), id(new), is_answer)) in self._seen:
            return
        self._seen[pair] = old, new
        yield from _values(where, old, new, is_answer=is_answer)
        for word in _WHOLE:
            if new.get(word) != old.get(word) and (is_answer or word in new):
                yield f"{where}: {word} was {old.get(word)}, is {new.get(word)}"
        if not is_answer:
            yield from _bounds(where, old, new)
        for word in ("items", "contentSchema", "additionalProperties", "propertyNames"):
            there, now = old.get(word), new.get(word)
            if isinstance(there, dict) and isinstance(now, dict):
                yield from self._schemas(f"{where}[]", there, now, is_answer=is_answer)
            elif there != now and (is_answer or now not in (None, True)):
                yield f"{where}: {word} was {there}, is {now}"
        yield from self._fields(where, old, new, is_answer=is_answer)

    def _fields(self, where: str, old: Json, new: Json, *, is_answer: bool) -> Iterator[str]:
        fields, now = old.get("properties", {}), new.get("properties", {})
        for name, schema in fields.items():
            if name not in now:
                yield f"{where}.{name} is gone"
            else:
                yield from self._schemas(f"{where}.{name}", schema, now[name], is_answer=is_answer)
        was, is_now = set(old.get("required", ())), set(new.get("required", ()))
        for name in sorted((was - is_now) & now.keys() if is_answer else is_now - was):
            yield f"{where}.{name} is {'not promised any more' if is_answer else 'required now'}"


def _values(where: str, old: Json, new: Json, *, is_answer: bool) -> Iterator[str]:
    there, now = old.get("enum"), new.get("enum")
    if is_answer and (there is None) != (now is None):
        yield f"{where}: its values were {there or 'any'}, are {now or 'any'}"
    elif now is not None and (there is None or set(there) - set(now)):
        yield f"{where}: {sorted(map(str, set(there or ['any']) - set(now)))} is no value any more"
    if is_answer and there and now and where.rpartition(".")[2] not in GROWING and set(now) - set(there):
        yield f"{where}: {sorted(map(str, set(now) - set(there)))} is a value now, which no client knows"


def _bounds(where: str, old: Json, new: Json) -> Iterator[str]:
    for word in _AT_LEAST:
        if word in new and (word not in old or new[word] > old[word]):
            yield f"{where}: {word} was {old.get(word)}, is {new[word]}"
    for word in _AT_MOST:
        if word in new and (word not in old or new[word] < old[word]):
            yield f"{where}: {word} was {old.get(word)}, is {new[word]}"


def _resolved(document: Mapping[str, Any], part: Json) -> Json:
    """What a reference names, with what stands beside the reference laid over it."""
    if "$ref" not in part:
        return part
    found: Any = document
    for name in part["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    beside = {name: each for name, each in part.items() if name != "$ref"}
    whole: Json = _resolved(document, found)
    return _laid_over(whole, beside) if beside else whole


def _laid_over(base: Any, over: Any) -> Any:  # a schema, or a word of one
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return {**base, **{name: _laid_over(base.get(name), each) for name, each in over.items()}}


def _alternatives(document: Json, schema: Json) -> dict[str, Json]:
    """What a value may be, by a name of each kind: the event, the `type` field, the JSON type."""
    found: dict[str, Json] = {}
    for each in schema.get("anyOf") or schema.get("oneOf") or [schema]:
        one = _resolved(document, each)
        fields = one.get("properties", {})
        consts = [f"{name} {fields[name]['const']}" for name in ("event", "type") if "const" in fields.get(name, {})]
        kinds = one["type"] if isinstance(one.get("type"), list) else [one.get("type", "anything")]
        for kind in consts[:1] or kinds:
            name = kind if kind not in found else f"{kind} {len(found)}"
            found[name] = one
    return found
