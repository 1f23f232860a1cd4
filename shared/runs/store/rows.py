"""Records as the properties of a row, and back: the only encoder.

A part of a run (see ``model.run``) is one property, compact JSON that leaves out what has its default. Of a flat record
(a session, a tool call) each field is one. None is the empty string, for a merge cannot clear a property; times are
ISO 8601; a long value is its reference in ``<name>_part``. Any other value that one property cannot hold continues in
``<name>_2``, ``<name>_3`` and so on.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Callable, Hashable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from shared.runs.model.run import SCHEMA, PartRef, Text
from shared.runs.store.sealer import MAGIC, SETTING, KeyUnavailable, Unopened
from shared.runs.store.tables import Value
from shared.runs.store.unreadable import RowTooNew, RowTooOld, RowUnreadable

T = TypeVar("T")
Encode = Callable[[Any], Any]
Decode = Callable[[Any], Any]

PIECE = 16_000
"""Characters that one property takes of a value: at most two UTF-16 units each, of the 32,768 that it can hold."""

PIECES = 4
"""Properties that a part of a run may take: metadata, an address and what else a caller gives have their limits."""

KIND = "is"
"""Says in a part's JSON which of several classes it is."""


def encode(record: Any) -> dict[str, Value]:
    """The properties of a record."""
    values: dict[str, Value] = {"schema": SCHEMA}
    for column in _columns(typing.cast(Hashable, type(record))):
        values |= column.write(getattr(record, column.name))
    return values


def encode_new(record: Any) -> dict[str, Value]:
    """The same for a row that is not there yet: empty values are left out where a missing one says as much."""
    # Most of what a row has is empty at first, and each property costs time in every read.
    values: dict[str, Value] = {"schema": SCHEMA}
    for column in _columns(typing.cast(Hashable, type(record))):
        found = column.write(getattr(record, column.name))
        values |= {name: value for name, value in found.items() if value != "" or name == column.required}
    return values


def changes(before: Any, after: Any) -> dict[str, Value]:
    """The properties that differ: what a merge must carry. Parts that are the same are not even encoded."""
    values: dict[str, Value] = {}
    for column in _columns(typing.cast(Hashable, type(after))):
        was, is_now = getattr(before, column.name), getattr(after, column.name)
        if was is is_now or was == is_now:
            continue
        old, new = column.write(was), column.write(is_now)
        values |= {name: value for name, value in new.items() if old.get(name, "") != value}
        # A merge cannot clear a property: what is no longer there becomes the empty string.
        values |= dict.fromkeys(old.keys() - new.keys(), "")
    return values


def decode(kind: type[T], values: Mapping[str, Value]) -> T:
    """A record from its properties; a missing one has its default. Raises ``RowUnreadable``."""
    given: dict[str, Any] = {}
    try:
        check_schema(values)
        _check_opened(values)
        for column in _columns(typing.cast(Hashable, kind)):
            if column.is_in(values):
                given[column.name] = column.read(values)
        return kind(**given)
    except RowUnreadable:
        raise
    # One error for whatever is wrong with a row, so that a sweep can quarantine it and go on.
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        # Not its text: that may quote the value, and this one goes to the log.
        raise RowUnreadable(f"{type(error).__name__} in {_where(given, kind)}") from error


def _where(given: Mapping[str, Any], kind: type) -> str:
    """The property that could not be read: the first that is not in ``given``, unless all are."""
    missing = [name for name in (column.name for column in _columns(kind)) if name not in given]
    return f"{kind.__name__}.{missing[0]}" if missing else kind.__name__


def property_names(kind: type) -> list[str]:
    """The properties to select for a record of this kind, long values aside."""
    names = [column.name for column in _columns(kind)]
    return ["schema", *(_piece(name, index) for name in names for index in range(1, PIECES + 1))]


def seconds_of(moment: datetime) -> float:
    """A time as a property that queries compare."""
    return moment.timestamp()


def moment_of(value: Value | None) -> datetime:
    """The time in such a property: long ago where none is."""
    # Long ago and not an error: a due row without a time is looked at at once.
    return datetime.fromtimestamp(value if isinstance(value, int | float) else 0.0, tz=UTC)


def check_schema(values: Mapping[str, Value]) -> None:
    """Raises ``RowUnreadable`` unless the row is of the format that this version writes."""
    schema = values.get("schema", SCHEMA)
    if not isinstance(schema, int):
        raise RowUnreadable(f"schema {schema!r} is none")
    # During a deploy both versions run: the older one must not touch the rows of the newer.
    if schema > SCHEMA:
        raise RowTooNew(f"schema {schema} is newer than this version's {SCHEMA}")
    if schema < SCHEMA:
        raise RowTooOld(
            f"The tables hold rows of schema {schema}, from before the first release, and this version reads {SCHEMA}: "
            "locally begin anew with `python3 dev.py run --fresh`, in Azure with another DORMOUSE_TABLE_PREFIX."
        )


def _check_opened(values: Mapping[str, Value]) -> None:
    """Raises ``RowUnreadable`` for a sealed value that is damaged, ``KeyUnavailable`` for one that nobody opened."""
    for name, value in values.items():
        if not isinstance(value, bytes):
            continue
        if isinstance(value, Unopened):
            raise RowUnreadable(f"{name} is not what was sealed: a changed byte, another place, or another key")
        if value.startswith(MAGIC):
            raise KeyUnavailable(f"Rows are sealed, and {SETTING} is not set.")


@dataclasses.dataclass(frozen=True, slots=True)
class _Column:
    """One field of a record as the properties of its row."""

    name: str
    encode: Encode
    decode: Decode
    texts: tuple[str, ...] = ()
    """Fields of a part that may be long: each has properties of its own."""

    required: str = ""
    """Its name, if it must be in the row even when it is empty."""

    def is_in(self, values: Mapping[str, Value]) -> bool:
        return self.name in values

    def write(self, value: Any) -> dict[str, Value]:
        found = _in_pieces(self.name, self.encode(value))
        for name in self.texts:
            found |= _text_properties(name, getattr(value, name))
        return found

    def read(self, values: Mapping[str, Value]) -> Any:
        value = self.decode(_whole(self.name, values))
        if not self.texts:
            return value
        return dataclasses.replace(value, **{name: _text_of(name, values) for name in self.texts})


@dataclasses.dataclass(frozen=True, slots=True)
class _TextColumn(_Column):
    """A field that may be long, of a flat record."""

    def is_in(self, values: Mapping[str, Value]) -> bool:
        return self.name in values or f"{self.name}_part" in values

    def write(self, value: Any) -> dict[str, Value]:
        return _text_properties(self.name, value)

    def read(self, values: Mapping[str, Value]) -> Any:
        return _text_of(self.name, values)


def _text_properties(name: str, value: Text) -> dict[str, Value]:
    if isinstance(value, str):
        # Both, always: a merge would keep the reference that is left out.
        return {name: value, f"{name}_part": ""}
    return {name: value.beginning, f"{name}_part": f"{value.digest}:{value.count}"}


def _text_of(name: str, values: Mapping[str, Value]) -> Text:
    if reference := values.get(f"{name}_part"):
        digest, count = str(reference).split(":")
        return PartRef(digest, int(count), str(values.get(name, "")))
    return str(values.get(name, ""))


# Cached: annotations are text here, which is evaluated anew each time that it is asked for.
@functools.cache
def _columns(kind: Hashable) -> tuple[_Column, ...]:
    hints = typing.get_type_hints(kind)
    fields = [field for field in dataclasses.fields(typing.cast(Any, kind)) if field.name != "schema"]
    return tuple(_column(field, hints[field.name]) for field in fields)


def _column(field: dataclasses.Field[Any], hint: Any) -> _Column:
    name, required = field.name, "" if field.default in ("", None) else field.name
    if hint == Text:
        return _TextColumn(name, str, str, required=required)
    bare, optional = _bare(hint)
    if _is_part(bare):
        encode_one, decode_one = _part_codec(bare)
    else:
        encode_one, decode_one = _property_codec(bare)
    if optional:
        encode_one, decode_one = _or_empty(encode_one), _from_empty(decode_one)
    texts = _texts(bare) if dataclasses.is_dataclass(bare) else ()
    return _Column(name, encode_one, decode_one, texts, required)


def _part_codec(bare: Any) -> tuple[Encode, Decode]:
    """How a part is one property."""
    to_plain, from_plain = _codec(bare)
    return lambda value: _dump(to_plain(value)), lambda text: from_plain(json.loads(text))


def _texts(kind: Any) -> tuple[str, ...]:
    hints = typing.get_type_hints(kind)
    return tuple(field.name for field in dataclasses.fields(kind) if hints[field.name] == Text)


def _is_part(bare: Any) -> bool:
    """Whether a field of this type is written as JSON."""
    return dataclasses.is_dataclass(bare) or typing.get_origin(bare) is not None


def _property_codec(bare: Any) -> tuple[Encode, Decode]:
    """How a value of a flat record is one property."""
    if bare is datetime:
        return datetime.isoformat, _moment
    if isinstance(bare, type) and issubclass(bare, StrEnum):
        return lambda value: value.value, lambda value: bare(str(value))
    return _plain_codec(bare)


def _plain_codec(bare: Any) -> tuple[Encode, Decode]:
    """A value that is written as it is: its type is checked in both directions."""
    if bare is float:
        # JSON and the service may give back a whole number as an int.
        check = _checked(int | float)
        return check, lambda value: float(check(value))
    if bare not in (str, int, bool):
        raise TypeError(f"there is no way to write a {bare}")
    return _checked(bare), _checked(bare)


def _checked(kind: Any) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not isinstance(value, kind):  # better now than as a row that no version can read
            raise TypeError(f"{type(value).__name__} where {kind} was expected")
        return value

    return check


@functools.cache
def _codec(bare: Any) -> tuple[Encode, Decode]:
    """How a value stands in the JSON of a part."""
    if bare is datetime:
        return datetime.isoformat, _moment
    if isinstance(bare, type) and issubclass(bare, StrEnum):
        return lambda value: value.value, bare
    if dataclasses.is_dataclass(bare):
        return _object_codec(bare)
    origin, members = typing.get_origin(bare), typing.get_args(bare)
    if origin is tuple:
        encode_one, decode_one = _optional_codec(members[0])
        return (
            lambda value: [encode_one(each) for each in value],
            lambda value: tuple(map(decode_one, _list(value))),
        )
    if bare == dict[str, str]:
        return _texts_by_name, _texts_by_name
    if origin is types.UnionType or origin is typing.Union:
        # By the name of the class: to rename one makes the rows that hold it unreadable.
        codecs = {member.__name__: _codec(member) for member in members}
        return (
            lambda value: {KIND: type(value).__name__, **codecs[type(value).__name__][0](value)},
            lambda value: codecs[value[KIND]][1]({name: each for name, each in value.items() if name != KIND}),
        )
    return _plain_codec(bare)


_list, _object, _text = _checked(list), _checked(dict), _checked(str)


def _texts_by_name(value: Any) -> dict[str, str]:
    return {_text(name): _text(each) for name, each in _object(value).items()}


def _optional_codec(hint: Any) -> tuple[Encode, Decode]:
    bare, optional = _bare(hint)
    encode_one, decode_one = _codec(bare)
    if not optional:
        return encode_one, decode_one
    return (
        lambda value: None if value is None else encode_one(value),
        lambda value: None if value is None else decode_one(value),
    )


def _object_codec(kind: Any) -> tuple[Encode, Decode]:
    hints = typing.get_type_hints(kind)
    fields = [
        (field.name, *_optional_codec(hints[field.name]), _default_of(field))
        for field in dataclasses.fields(kind)
        if hints[field.name] != Text  # they have properties of their own
    ]

    def to_plain(value: Any) -> dict[str, Any]:
        found = {}
        for name, encode_one, _, default in fields:
            each = getattr(value, name)
            # So the default of a stored field must never change: old rows would change with it.
            if each != default:
                found[name] = encode_one(each)
        return found

    def from_plain(given: Mapping[str, Any]) -> Any:
        _object(given)
        # Unknown names are ignored: a later version of the same schema may have added a field.
        return kind(**{name: decode_one(given[name]) for name, _, decode_one, _ in fields if name in given})

    return to_plain, from_plain


def _default_of(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _bare(hint: Any) -> tuple[Any, bool]:
    """The type without ``| None``, and whether None is allowed."""
    members = typing.get_args(hint)
    if type(None) not in members or typing.get_origin(hint) not in (types.UnionType, typing.Union):
        return hint, False
    (bare,) = (member for member in members if member is not type(None))
    return bare, True


def _or_empty(encode_one: Encode) -> Encode:
    return lambda value: "" if value is None else encode_one(value)


def _from_empty(decode_one: Decode) -> Decode:
    return lambda value: None if value == "" else decode_one(value)


def _in_pieces(name: str, value: Value) -> dict[str, Value]:
    if not isinstance(value, str) or len(value) <= PIECE:
        return {name: value}
    starts = range(0, len(value), PIECE)
    return {_piece(name, index): value[at : at + PIECE] for index, at in enumerate(starts, start=1)}


def _whole(name: str, values: Mapping[str, Value]) -> Value:
    value, index = values[name], 2
    if isinstance(value, str) and len(value) < PIECE:
        return value
    # An empty piece is the end: a value that became shorter leaves empty ones behind.
    while isinstance(value, str) and isinstance(more := values.get(_piece(name, index)), str) and more:
        value, index = value + more, index + 1
    return value


def _piece(name: str, index: int) -> str:
    return name if index == 1 else f"{name}_{index}"


def _moment(text: Any) -> datetime:
    moment = datetime.fromisoformat(text)
    # A naive time would fail later, when it is compared with an aware one.
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return moment


def _dump(value: Any) -> str:
    # Not escaped: one character would become six, and a property holds 32,768 units.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
