"""What the rows hold: of which class each is, which fields that has, and what each is when it is missing."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Any

from shared.runs.model.batch import Batch, BatchItem, ItemResult
from shared.runs.model.calls import ToolCall
from shared.runs.model.deliveries import Delivery
from shared.runs.model.run import Run
from shared.runs.model.schedules import RunSchedule
from shared.runs.model.session import Session
from shared.runs.store import due, index, runs, slots, tries
from shared.runs.store.rows import decode, seconds_of
from shared.runs.store.tables import Row, Table

KINDS: Mapping[tuple[Table, str], type] = {
    (Table.RUNS, "run"): Run,
    (Table.RUNS, "session"): Session,
    (Table.RUNS, "tool"): ToolCall,
    (Table.RUNS, "delivery"): Delivery,
    (Table.RUNS, "item"): runs._ItemRow,
    (Table.BATCHES, "batch"): Batch,
    (Table.BATCHES, "item"): BatchItem,
    (Table.BATCHES, "result"): ItemResult,
    (Table.INDEX, "owner"): index._RunRow,
    (Table.INDEX, "batches"): index._BatchRow,
    (Table.INDEX, "schedules"): RunSchedule,
}
"""The records that rows are decoded as. The other rows (parts, due rows, keys, slots) are read property by property."""


def kind_of(table: Table, row: Row) -> str:
    """What a row is: in the index its partition says so, elsewhere its key."""
    if table is Table.DUE:
        return "due"
    return (row.partition if table is Table.INDEX else row.key).partition(":")[0]


def record_of(table: Table, row: Row) -> Any:
    """What the row is decoded as; None for one that is no record."""
    kind = KINDS.get((table, kind_of(table, row)))
    return None if kind is None else decode(kind, row.values)


def written_again(table: Table, row: Row) -> dict[str, Any] | None:
    """The properties of a row that is no record as they would be written, once read; None for another kind."""
    kind = kind_of(table, row)
    if kind == "due":
        return due._values(due._due_row(row))
    if kind == "active":
        return slots._values(slots._slot(row))
    if row.partition.startswith("key:tries:"):
        found = tries._try(row)
        return {"created_at": seconds_of(found.at), "count": found.count, "lost": found.lost}
    if kind == "key":
        return index._key_values(index._key_record(row.partition.partition(":")[2], row))
    return None


def classes() -> dict[str, type]:
    """Every class and enumeration that a row can hold, by name."""
    found: dict[str, type] = {}
    waiting: list[Any] = list(KINDS.values())
    while waiting:
        hint = waiting.pop()
        if isinstance(hint, type) and hint.__name__ not in found:
            if dataclasses.is_dataclass(hint):
                waiting += typing.get_type_hints(hint).values()
                found[hint.__name__] = hint
            elif issubclass(hint, Enum):
                found[hint.__name__] = hint
        waiting += typing.get_args(hint)
    return dict(sorted(found.items()))


def described() -> dict[str, Any]:
    """Of each class its fields and what each is when a row does not have it; of each enumeration its values."""
    made: dict[str, Any] = {}
    for name, kind in classes().items():
        if issubclass(kind, Enum):
            made[name] = [member.value for member in kind]
        else:
            fields = dataclasses.fields(typing.cast(Any, kind))
            made[name] = {field.name: _default(field) for field in fields if field.name != "schema"}
    return made


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default_factory is not dataclasses.MISSING:
        made = field.default_factory()
        # Its own fields are described where its class is.
        return f"{type(made).__name__}()" if dataclasses.is_dataclass(made) else repr(made)
    return "required" if field.default is dataclasses.MISSING else repr(field.default)


def held(rows: Iterable[tuple[Table, Row]]) -> set[tuple[str, ...]]:
    """What these rows hold, as something to count: fields that are not empty, values of enumerations, states."""
    found: set[tuple[str, ...]] = set()
    for table, row in rows:
        kind = kind_of(table, row)
        found |= {(table.value, kind, name) for name, value in row.values.items() if value not in ("", b"")}
        record = record_of(table, row)
        found |= set(_walk(record))
        if isinstance(record, Run | Batch):
            found.add(state_of(record))
    return found


def state_of(record: Run | Batch) -> tuple[str, ...]:
    """Where a run or batch stands: its phase, what is open in it, and what is left to do elsewhere."""
    phase = record.phase
    is_open = [name for name in ("claim", "lease", "deleted_at") if getattr(phase, name, None) is not None]
    entries = sorted({entry.kind.value for entry in record.outbox.entries})
    return (type(record).__name__, type(phase).__name__, *is_open, *entries)


def _walk(value: Any) -> Iterator[tuple[str, ...]]:
    if isinstance(value, Enum):
        yield type(value).__name__, str(value.value)
    elif isinstance(value, tuple):
        for each in value:
            yield from _walk(each)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            each = getattr(value, field.name)
            if each is not None and repr(each) != _default(field):
                yield type(value).__name__, field.name
            yield from _walk(each)
