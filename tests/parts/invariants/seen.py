"""What can be seen of the app from outside of it: its rows, what its provider knows, what its receivers got."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol, TypeVar

from local.model.records import KnownResponse, LoggedRequest
from shared.runs.model.batch import Batch, ItemResult
from shared.runs.model.calls import ToolCall
from shared.runs.model.deliveries import Delivery
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import Run
from shared.runs.model.schedules import RunSchedule
from shared.runs.model.session import Session
from shared.runs.store.due import DueRow
from shared.runs.store.rows import decode, moment_of
from shared.runs.store.tables import Row, Table, Tables
from shared.settings import Settings

T = TypeVar("T")
Rows = Mapping[Table, Sequence[Row]]


class Receipt(Protocol):
    """One request that a receiver of callbacks got: ``tests.parts.receiver.Received`` is one."""

    @property
    def webhook_id(self) -> str:
        """By which a receiver knows a repeated delivery."""
        ...

    @property
    def raw(self) -> bytes:
        """The body as it came."""
        ...

    @property
    def body(self) -> dict[str, Any]:
        """The JSON in it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolStart:
    """A tool that began to run, as the tool itself saw it."""

    key: str
    """The call's idempotency key: ``run:turn:index``."""

    start: int
    """Which start of the call it was, from 1."""

    at: datetime | None = None
    """When, by the clock of the app; None where the tool does not know that clock."""


@dataclass(frozen=True, kw_only=True)  # without slots, which would leave no place for what is computed once
class Seen:
    """All that a rule may look at. What a test does not know it leaves out: the rules find less then, never more."""

    now: datetime
    """By the clock of the app."""

    settings: Settings
    """Those of the app: its limits."""

    rows: Rows
    """Every row of the store as it stands: from ``read_rows``."""

    written: Sequence[tuple[Table, Row]] = ()
    """Every row in every state in which a write left it, in order (``MemoryTables.written``), deletions left out."""

    responses: Sequence[KnownResponse] = ()
    """All that the provider ever created, as they stand."""

    requests: Sequence[LoggedRequest] = ()
    """All that the provider was sent."""

    received: Sequence[Receipt] = ()
    """All callbacks that a receiver got, whatever it answered."""

    starts: Sequence[ToolStart] = ()
    """All starts of tools."""

    at_most_once: frozenset[str] = frozenset()
    """Names of tools that are never to be started twice."""

    guarded: frozenset[str] = frozenset()
    """Names of tools that are never to be started before somebody approved."""

    expected: Mapping[str, frozenset[RunStatus]] = field(default_factory=dict)
    """By run id: the statuses one of which the run has once it has ended, whatever happened on the way."""

    purged: frozenset[str] = frozenset()
    """Ids of runs, batches and sessions of which nothing may be left: deleted, and two days have passed since."""

    private: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By run id: words that its caller or its model wrote, and that nobody else wrote."""

    @cached_property
    def runs(self) -> dict[str, Run]:
        """By id."""
        return {run.id: run for run in self._of(Table.RUNS, "run:", Run)}

    @cached_property
    def sessions(self) -> dict[str, Session]:
        """By id."""
        return {session.session_id: session for session in self._of(Table.RUNS, "session", Session)}

    @cached_property
    def calls(self) -> dict[str, ToolCall]:
        """By idempotency key."""
        return {call.idempotency_key: call for call in self._of(Table.RUNS, "tool:", ToolCall)}

    @cached_property
    def deliveries(self) -> list[Delivery]:
        """Of all runs."""
        return list(self._of(Table.RUNS, "delivery:", Delivery))

    @cached_property
    def batches(self) -> dict[str, Batch]:
        """By id."""
        return {batch.id: batch for batch in self._of(Table.BATCHES, "batch", Batch)}

    @cached_property
    def results(self) -> dict[str, list[ItemResult]]:
        """Of the items that ended, by batch."""
        found: dict[str, list[ItemResult]] = {}
        for row in self.rows.get(Table.BATCHES, ()):
            if row.key.startswith("result:"):
                found.setdefault(row.partition, []).append(decode(ItemResult, row.values))
        return found

    @cached_property
    def schedules(self) -> list[RunSchedule]:
        """All that are there."""
        return list(self._of(Table.INDEX, "schedule_", RunSchedule))

    @cached_property
    def due(self) -> dict[str, DueRow]:
        """By run, batch, or the name that a deleted session has there."""
        return {row.key: _due_row(row) for row in self.rows.get(Table.DUE, ())}

    @cached_property
    def versions(self) -> dict[str, list[Run]]:
        """By run id: every state that was written, the oldest first; where only the rows are known, the last one."""
        found: dict[str, list[Run]] = {}
        for table, row in self.written:
            if table is Table.RUNS and row.key.startswith("run:"):
                run = decode(Run, row.values)
                found.setdefault(run.id, []).append(run)
        return {**{run.id: [run] for run in self.runs.values()}, **found}

    @cached_property
    def versions_of_calls(self) -> dict[str, list[ToolCall]]:
        """The same of tool calls, by idempotency key."""
        found: dict[str, list[ToolCall]] = {}
        for table, row in self.written:
            if table is Table.RUNS and row.key.startswith("tool:"):
                call = decode(ToolCall, row.values)
                found.setdefault(call.idempotency_key, []).append(call)
        return {**{key: [call] for key, call in self.calls.items()}, **found}

    @cached_property
    def by_id(self) -> dict[str, KnownResponse]:
        """The provider's responses by their ids."""
        return {response.id: response for response in self.responses}

    def _of(self, table: Table, prefix: str, kind: type[T]) -> Iterable[T]:
        for row in self.rows.get(table, ()):
            if row.key.startswith(prefix):
                yield decode(kind, row.values)


def _due_row(row: Row) -> DueRow:
    return DueRow(
        run_id=row.key,
        due=moment_of(row.values.get("due")),
        announced_at=moment_of(row.values.get("announced_at")),
        etag=row.etag,
        listed=str(row.values.get("listed", "")),
        listed_status=str(row.values.get("listed_status", "")),
        quarantined=str(row.values.get("quarantined", "")),
    )


async def read_rows(tables: Tables) -> Rows:
    """Every row of a store, whichever is behind the port. Raises ``StoreUnavailable``."""
    return {table: [row async for row in tables.query(table, None)] for table in Table}
