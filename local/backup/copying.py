"""Read all rows into a backup, and write them back, so that whatever was under way goes on.

A backup is read row by row while the app may be at work, so what it holds need not be of one moment. Restoring makes up
for that: whatever must be looked at again, and has no due row, gets one. What was encrypted stays so.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from local.backup import files
from local.backup.files import Summary
from shared.runs.concurrency import side_by_side
from shared.runs.model.ids import due_row_of, run_id
from shared.runs.model.run import SCHEMA
from shared.runs.store.batches import BATCH_KEY
from shared.runs.store.due import DueStore
from shared.runs.store.runs import SESSION_KEY
from shared.runs.store.tables import MAX_COMMIT_BYTES, MAX_OPERATIONS, Change, Kind, Row, Table, Tables

AT_ONCE = 16
"""Transactions under way."""

JUST_ENDED = timedelta(hours=1)
"""What had ended so short before a backup began is looked at, too."""

Clock = Callable[[], datetime]


def now() -> datetime:
    """The time."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class _Group:
    """Rows that are written in one transaction."""

    partition: str
    changes: list[Change] = field(default_factory=list)

    def has_room(self, row: Row, change: Change) -> bool:
        size = sum(each.size for each in self.changes) + change.size
        return row.partition == self.partition and len(self.changes) < MAX_OPERATIONS and size <= MAX_COMMIT_BYTES


async def back_up(tables: Tables, folder: Path, clock: Clock = now) -> Summary:
    """Every row of the tables, into a folder that is new or empty.

    Raises ``NotEmpty``, ``StoreUnavailable``, ``OSError``.
    """
    files.begin(folder)
    begun, counts = clock(), {table.value: 0 for table in Table}
    for table in Table:
        with files.writing(folder, table) as add:
            async for row in tables.query(table, None):
                add(row)
                counts[table.value] += 1
    ended_at = clock().isoformat()
    summary = Summary(begun_at=begun.isoformat(), ended_at=ended_at, schema=SCHEMA, rows=counts)
    files.end(folder, summary)
    return summary


async def restore(tables: Tables, folder: Path, clock: Clock = now, *, again: bool = False) -> tuple[Summary, int]:
    """Write every row back; what the backup is, and how many due rows were made besides its own.

    ``again``: the tables may hold rows, as after a restore that was cut off. Raises ``NoBackup``, ``NotEmpty``,
    ``StoreUnavailable``.
    """
    summary = files.summary_of(folder)
    for table in Table:
        if not again and [row async for row in tables.query(table, None, limit=1)]:
            raise files.NotEmpty(f"the table {table} has rows. Name another --prefix, or write over them with --again")
    for table in Table:
        groups = _groups(files.read(folder, table))
        while some := list(itertools.islice(groups, AT_ONCE)):
            await side_by_side(some, functools.partial(_write, tables, table), at_once=AT_ONCE)
    missing = _missing_due_rows(folder, datetime.fromisoformat(summary.begun_at) - JUST_ENDED)
    at, due = clock(), DueStore(tables)
    await side_by_side(missing, lambda each: due.put(each[0], at, at, listed=each[1]), at_once=AT_ONCE)
    return summary, len(missing)


def _groups(rows: Iterable[Row]) -> Iterator[_Group]:
    group = _Group("")
    for row in rows:
        change = Change(kind=Kind.UPSERT, key=row.key, values=row.values)
        if not group.has_room(row, change):
            if group.changes:
                yield group
            group = _Group(row.partition)
        group.changes.append(change)
    if group.changes:
        yield group


async def _write(tables: Tables, table: Table, group: _Group) -> None:
    await tables.commit(table, group.partition, group.changes)


def _missing_due_rows(folder: Path, since: datetime) -> list[tuple[str, str]]:
    """What somebody must come back to and has no due row, each with its place, where the due row alone says that."""
    have = {row.key for row in files.read(folder, Table.DUE)}
    needed = itertools.chain(
        (_of_session_or_run(row, since) for row in files.read(folder, Table.RUNS)),
        (_of_batch(row, since) for row in files.read(folder, Table.BATCHES)),
    )
    missing = [(name, "") for name in needed if name is not None and name not in have]
    schedules = (row for row in files.read(folder, Table.INDEX) if row.partition.startswith("schedules:"))
    missing += [(row.key, f"{row.partition}/{row.key}") for row in schedules if row.key not in have]
    return missing


def _of_session_or_run(row: Row, since: datetime) -> str | None:
    """What the due row is called that this row needs; None for one that needs none."""
    if row.key == SESSION_KEY:
        return due_row_of(row.partition) if row.values.get("deleted_at") else None
    kind, _, number = row.key.partition(":")
    return run_id(row.partition, int(number)) if kind == "run" and _is_unfinished(row.values, since) else None


def _of_batch(row: Row, since: datetime) -> str | None:
    return row.partition if row.key == BATCH_KEY and _is_unfinished(row.values, since) else None


def _is_unfinished(values: Mapping[str, Any], since: datetime) -> bool:
    # These are readable where texts are encrypted. A tombstone is there until somebody removes it.
    phase = json.loads(str(values.get("phase") or "{}"))
    outbox = json.loads(str(values.get("outbox") or "{}"))
    if phase.get("is") != "Ended" or phase.get("deleted_at") or outbox.get("entries"):
        return True
    # The list may still show what it was, and only a due row leads to that.
    return datetime.fromisoformat(str(values["updated_at"])) >= since
