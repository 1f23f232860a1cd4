"""Runs, sessions and tool calls as the properties of a row, and back.

None is written as the empty string (a merge cannot clear a property); times are ISO 8601; what has structure is
JSON; a long value is its reference in ``<name>_part``. Any other value that one property cannot hold goes on in
``<name>_2``, ``<name>_3`` and so on.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import typing
from collections.abc import Callable, Hashable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from shared.agentkit.agent import ContinuationToken, Usage
from shared.runs.batches.batch import Active
from shared.runs.run import SCHEMA, Debt, Limits, Owed, PartRef, Text
from shared.runs.store.tables import Value

T = TypeVar("T")

PIECE = 16_000
"""Characters that one property takes of a value: at most two UTF-16 units each, of the 32,768 that it can hold."""


class RowUnreadable(ValueError):
    """A row that this version cannot read."""


class RowTooNew(RowUnreadable):
    """A row of a newer schema: nothing is wrong with it, and the version that wrote it can read it."""


def encode(record: Any) -> dict[str, Value]:
    """The properties of a record (a dataclass of ``runs.run``)."""
    values: dict[str, Value] = {}
    for name, hint in _hints(record.__class__).items():
        value = getattr(record, name)
        if hint == Text:
            values[name] = value if isinstance(value, str) else ""
            values[f"{name}_part"] = f"{value.digest}:{value.count}" if isinstance(value, PartRef) else ""
        else:
            values |= _in_pieces(name, _to_value(hint, value))
    return values


def decode(kind: type[T], values: Mapping[str, Value]) -> T:
    """A record from its properties; a missing one has its default. Raises ``RowUnreadable``."""
    try:
        schema = values.get("schema", SCHEMA)
        if not isinstance(schema, int):
            raise RowUnreadable(f"schema {schema!r} is none")
        if schema > SCHEMA:
            raise RowTooNew(f"schema {schema} is newer than this version's {SCHEMA}")
        given: dict[str, Any] = {}
        for name, hint in _hints(typing.cast(Hashable, kind)).items():
            if hint == Text and values.get(f"{name}_part"):
                digest, count = str(values[f"{name}_part"]).split(":")
                given[name] = PartRef(digest, int(count))
            elif name in values:
                given[name] = _from_value(hint, _whole(name, values))
        return kind(**given)
    except RowUnreadable:
        raise
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise RowUnreadable(f"{type(error).__name__}: {error}") from error


def changes(before: Any, after: Any) -> dict[str, Value]:
    """The properties that differ: what a merge must carry."""
    old, new = encode(before), encode(after)
    emptied: dict[str, Value] = dict.fromkeys(old.keys() - new.keys(), "")
    return {name: value for name, value in new.items() if old.get(name, "") != value} | emptied


def _in_pieces(name: str, value: Value) -> dict[str, Value]:
    if not isinstance(value, str) or len(value) <= PIECE:
        return {name: value}
    starts = range(0, len(value), PIECE)
    return {_piece(name, index): value[at : at + PIECE] for index, at in enumerate(starts, start=1)}


def _whole(name: str, values: Mapping[str, Value]) -> Value:
    value, index = values[name], 2
    while isinstance(value, str) and isinstance(more := values.get(_piece(name, index)), str) and more:
        value, index = value + more, index + 1
    return value


def _piece(name: str, index: int) -> str:
    return name if index == 1 else f"{name}_{index}"


@functools.cache
def _hints(kind: Hashable) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {f.name: hints[f.name] for f in dataclasses.fields(kind)}  # type: ignore[arg-type]


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return moment


def _debts(text: str) -> tuple[Debt, ...]:
    return tuple(
        Debt(
            kind=Owed(each["kind"]),
            subject=each["subject"],
            due=_moment(each["due"]),
            since=_moment(each["since"]),
            tries=each["tries"],
        )
        for each in json.loads(text)
    )


def _active(text: str) -> tuple[Active, ...]:
    return tuple(Active(index, _moment(since)) for index, since in json.loads(text))


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=datetime.isoformat)


_STRUCTURED: dict[Any, tuple[Callable[[Any], str], Callable[[str], Any]]] = {
    dict[str, str]: (_dump, json.loads),
    tuple[str, ...]: (_dump, lambda text: tuple(json.loads(text))),
    tuple[int, ...]: (_dump, lambda text: tuple(json.loads(text))),
    tuple[Active, ...]: (lambda active: _dump([[each.index, each.since] for each in active]), _active),
    Usage: (lambda usage: _dump(dataclasses.asdict(usage)), lambda text: Usage(**json.loads(text))),
    Limits: (lambda limits: _dump(dataclasses.asdict(limits)), lambda text: Limits(**json.loads(text))),
    ContinuationToken: (ContinuationToken.to_json, ContinuationToken.from_json),
    datetime: (datetime.isoformat, _moment),
    tuple[Debt, ...]: (lambda debts: _dump([dataclasses.asdict(debt) for debt in debts]), _debts),
}


@functools.cache
def _bare(hint: Any) -> tuple[Any, bool]:
    """The type without ``| None``, and whether None is allowed."""
    members = typing.get_args(hint)
    if type(None) not in members:
        return hint, False
    (bare,) = (member for member in members if member is not type(None))
    return bare, True


def _to_value(hint: Any, value: Any) -> Value:
    bare, _ = _bare(hint)
    if value is None:
        return ""
    if bare in _STRUCTURED:
        return _STRUCTURED[bare][0](value)
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, int | float if bare is float else bare) and isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"no way to write a {type(value).__name__} as {hint}")  # better than a row that nobody can read


def _from_value(hint: Any, value: Value) -> Any:
    bare, optional = _bare(hint)
    if optional and value == "":
        return None
    if bare in _STRUCTURED:
        return _STRUCTURED[bare][1](str(value))
    if isinstance(bare, type) and issubclass(bare, StrEnum):
        return bare(str(value))
    if bare is float and isinstance(value, int):
        return float(value)
    if not isinstance(value, bare):
        raise RowUnreadable(f"{value!r} where {bare.__name__} was expected")
    return value
