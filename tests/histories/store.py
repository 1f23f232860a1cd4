"""The store of a history: tables in memory or a service, behind the port, as a process that may end sees them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from shared.runs.model.run import Run
from shared.runs.store.rows import decode
from shared.runs.store.tables import Change, Page, Row, Table, Tables
from tests.histories.loop import run_now
from tests.parts.memory import MemoryTables

if TYPE_CHECKING:
    from tests.histories.process import Process

T = TypeVar("T")


class Backend(Protocol):
    """Tables whose operations are carried out at once, as far as the loop of a history can tell."""

    tables: Tables

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """What an operation of the tables returns, or raises."""
        ...

    def rows(self) -> Mapping[Table, Sequence[Row]]:
        """All rows."""
        ...

    def table(self, table: Table) -> Sequence[Row]:
        """All rows of one table."""
        ...

    def runs(self) -> list[Run]:
        """All runs as they stand."""
        ...


class InMemory:
    """Tables in memory."""

    def __init__(self) -> None:
        # The limits have tests of their own, and take a tenth of the time.
        self.tables = MemoryTables(checks_limits=False)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """They wait for nothing but their turn."""
        return run_now(work)

    def rows(self) -> Mapping[Table, Sequence[Row]]:
        """All rows."""
        return {table: self.tables.rows(table) for table in Table}

    def table(self, table: Table) -> Sequence[Row]:
        """All rows of one table."""
        return self.tables.rows(table)

    def runs(self) -> list[Run]:
        """All runs as they stand."""
        return [decode(Run, row.values) for row in self.tables.rows(Table.RUNS) if row.key.startswith("run:")]


class OnService:
    """Tables of a service, over a loop of their own in a thread: the history's own time stands still meanwhile."""

    def __init__(self, make: Callable[[], Tables]) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.tables = self.do(_made(make))

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for it, in real time."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=60.0)

    def rows(self) -> Mapping[Table, Sequence[Row]]:
        """All rows."""
        return {table: self.table(table) for table in Table}

    def table(self, table: Table) -> Sequence[Row]:
        """All rows of one table."""
        return self.do(_listed(self.tables.query(table, None)))

    def runs(self) -> list[Run]:
        """All runs as they stand."""
        return [decode(Run, row.values) for row in self.rows()[Table.RUNS] if row.key.startswith("run:")]

    def close(self) -> None:
        """Give back the connections, and end the thread."""
        self.do(self.tables.close())
        self._loop.call_soon_threadsafe(self._loop.stop)


async def _made(make: Callable[[], Tables]) -> Tables:
    return make()


async def _listed(rows: AsyncIterator[Row]) -> list[Row]:
    return [row async for row in rows]


class ProcessTables:
    """The tables as one process has them: slow, out of reach, or cut off in the middle. It is a ``Tables``."""

    def __init__(self, process: Process, backend: Backend) -> None:
        self._process, self._backend = process, backend

    async def get(self, table: Table, partition: str, key: str) -> Row | None:
        """See the port."""
        return await self._at(lambda: self._backend.tables.get(table, partition, key))

    async def commit(self, table: Table, partition: str, changes: Sequence[Change]) -> Mapping[str, str]:
        """See the port."""
        return await self._at(lambda: self._backend.tables.commit(table, partition, changes), writes=True)

    async def query(self, table: Table, partition: str | None, **options: Any) -> AsyncIterator[Row]:
        """See the port."""
        for row in await self._at(lambda: _listed(self._backend.tables.query(table, partition, **options))):
            yield row

    async def page(self, table: Table, **options: Any) -> Page:
        """See the port."""
        return await self._at(lambda: self._backend.tables.page(table, **options))

    async def close(self) -> None:
        """Nothing to give back."""

    async def _at(self, make: Callable[[], Coroutine[Any, Any, T]], *, writes: bool = False) -> T:
        # Made only when it is carried out: a coroutine that nobody awaits is a warning.
        return await self._process.store_operation(lambda: self._backend.do(make()), writes=writes)
