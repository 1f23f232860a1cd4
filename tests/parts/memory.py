"""Tables in memory: the store of unit tests, with hooks to fail, to race and to crash at exact points."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from shared.runs.store.tables import (
    Change,
    Condition,
    Conflict,
    Kind,
    Page,
    Row,
    Table,
    Value,
    check_commit,
    fits,
    holds,
    ordinal,
    plain,
)
from tests.parts import limits

Hook = Callable[[str, Table, str | None, Sequence[Change]], Awaitable[None]]
"""Called with the operation (``get``, ``commit`` or ``query``), the table, the partition, and the changes.

What it raises, the operation raises. What it does to the tables is not hooked again, so a hook may race with
the operation that it interrupts.
"""

_in_hook: ContextVar[bool] = ContextVar("_in_hook", default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    error: BaseException
    operation: str | None
    applied: bool


@dataclass(slots=True)
class MemoryTables:
    """:class:`~shared.runs.store.tables.Tables` without a service. One event loop, no threads."""

    before: Hook | None = None
    """Runs before an operation looks at anything."""

    after: Hook | None = None
    """Runs once an operation is done: to raise here is to lose the answer of a write that happened."""

    checks_limits: bool = True
    """Whether each commit is held against the limits of the service."""

    written: list[tuple[Table, Row]] | None = None
    """Set it to a list, and every row is noted there in every state in which a write leaves it."""

    _rows: dict[tuple[Table, str], dict[str, Row]] = field(default_factory=dict)
    _failures: deque[_Failure] = field(default_factory=deque)
    _versions: Iterable[int] = field(default_factory=lambda: itertools.count(1))

    def fail_next(self, error: BaseException, *, operation: str | None = None, applied: bool = False) -> None:
        """Let the next operation (of that name) raise ``error``: before it acts, or after it was applied.

        Several calls queue up: each operation takes the first failure that concerns it.
        """
        self._failures.append(_Failure(error=error, operation=operation, applied=applied))

    def rows(self, table: Table, partition: str | None = None) -> list[Row]:
        """Everything in a table, in key order, without hooks: for a test to look at."""
        if partition is not None:
            rows = self._rows.get((table, partition), {})
            return [rows[key] for key in sorted(rows, key=ordinal)]
        partitions = sorted((at for of, at in self._rows if of is table), key=ordinal)
        return [row for each in partitions for row in self.rows(table, each)]

    async def get(self, table: Table, partition: str, key: str) -> Row | None:
        """One row by its keys; None when it (or the table) is absent."""
        lost = await self._enter("get", table, partition, ())
        row = self._rows.get((table, partition), {}).get(key)
        await self._leave(lost, "get", table, partition, ())
        return row

    async def commit(self, table: Table, partition: str, changes: Sequence[Change]) -> Mapping[str, str]:
        """Apply all changes or none: see the port."""
        check_commit(partition, changes)
        if self.checks_limits:
            limits.check_commit(partition, changes)
        lost = await self._enter("commit", table, partition, changes)
        # No await from here to the assignment: that is what makes it atomic.
        rows = dict(self._rows.get((table, partition), {}))
        etags: dict[str, str] = {}
        for change in changes:
            row = self._changed(partition, rows.get(change.key), change)
            if row is None:
                del rows[change.key]
            else:
                rows[change.key] = row
                etags[change.key] = row.etag
        self._rows[(table, partition)] = rows
        if self.written is not None:
            self.written += [(table, rows[key]) for key in etags]
        await self._leave(lost, "commit", table, partition, changes)
        return etags

    async def query(
        self,
        table: Table,
        partition: str | None,
        *,
        first: str | None = None,
        before: str | None = None,
        where: Mapping[str, tuple[str, Value]] | None = None,
        select: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Row]:
        """Rows in key order: see the port. They are those of the moment when the reading began."""
        lost = await self._enter("query", table, partition, ())
        found = [
            row
            for row in self.rows(table, partition)
            if (first is None or ordinal(row.key) >= ordinal(first))
            and (before is None or ordinal(row.key) < ordinal(before))
            and (not where or all(holds(row.values.get(name), *condition) for name, condition in where.items()))
        ]
        await self._leave(lost, "query", table, partition, ())
        for row in found[:limit]:
            yield row if select is None else _selected(row, select)

    async def page(
        self,
        table: Table,
        *,
        partition: str | None = None,
        partitions: tuple[str, str] | None = None,
        first: str | None = None,
        before: str | None = None,
        any_of: Sequence[Sequence[Condition]] = (),
        select: Sequence[str] | None = None,
        place: str | None = None,
        size: int,
    ) -> Page:
        """The next page of a long query: see the port."""
        after = None if place is None else _keys_of(place)
        everything = self.query(table, partition, first=first, before=before)
        found = [
            row
            async for row in everything
            if (after is None or (ordinal(row.partition), ordinal(row.key)) > after)
            and (partitions is None or ordinal(partitions[0]) <= ordinal(row.partition) < ordinal(partitions[1]))
            and fits(row, any_of)
        ]
        rows = [row if select is None else _selected(row, select) for row in found[:size]]
        more = len(found) > size
        return Page(rows=rows, place=json.dumps([rows[-1].partition, rows[-1].key]) if more else None)

    async def close(self) -> None:
        """Nothing to give back."""

    def _changed(self, partition: str, row: Row | None, change: Change) -> Row | None:
        if change.kind is Kind.INSERT and row is not None:
            raise Conflict(change.key, "there already")
        if change.kind is Kind.OVERWRITE and row is None:
            raise Conflict(change.key, "gone")
        if change.etag is not None:
            if row is None:
                raise Conflict(change.key, "gone")
            if row.etag != change.etag:
                raise Conflict(change.key, "changed")
        if change.kind is Kind.DELETE:
            return None
        kept = row.values if row is not None and change.kind is Kind.MERGE else {}
        values = {**kept, **{name: plain(value) for name, value in change.values.items()}}
        if self.checks_limits:
            limits.check_values(partition, change.key, values)
        etag = f'W/"memory-{next(iter(self._versions))}"'
        return Row(partition=partition, key=change.key, etag=etag, values=MappingProxyType(values))

    async def _enter(
        self, operation: str, table: Table, partition: str | None, changes: Sequence[Change]
    ) -> BaseException | None:
        """Let others run, as a real store would; returns the error to raise once the operation is done."""
        if _in_hook.get():
            return None
        await asyncio.sleep(0)
        await _run(self.before, operation, table, partition, changes)
        failure = next((f for f in self._failures if f.operation in (None, operation)), None)
        if failure is None:
            return None
        self._failures.remove(failure)
        if not failure.applied:
            raise failure.error
        return failure.error

    async def _leave(
        self,
        lost: BaseException | None,
        operation: str,
        table: Table,
        partition: str | None,
        changes: Sequence[Change],
    ) -> None:
        if _in_hook.get():
            return
        await _run(self.after, operation, table, partition, changes)
        if lost is not None:
            raise lost


async def _run(
    hook: Hook | None, operation: str, table: Table, partition: str | None, changes: Sequence[Change]
) -> None:
    if hook is None:
        return
    token = _in_hook.set(True)
    try:
        await hook(operation, table, partition, changes)
    finally:
        _in_hook.reset(token)


def _keys_of(place: str) -> tuple[bytes, ...]:
    keys = json.loads(place)
    if not (isinstance(keys, list) and all(isinstance(key, str) for key in keys)):
        raise ValueError("no place of this store")
    return tuple(ordinal(key) for key in keys)


def _selected(row: Row, select: Sequence[str]) -> Row:
    return replace(row, values={name: row.values[name] for name in select if name in row.values})
