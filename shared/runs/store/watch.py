"""The watch table: what a sweep must look at, and when. One row a run, or a batch, that is not over and done with,
and one a deleted session.

Where these methods say ``run_id``, a batch's id does as well, or the name that a deleted session has here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from shared.runs.batches.batch import is_batch_id
from shared.runs.run import parse_run_id, session_of_due_row
from shared.runs.store.tables import Change, Conflict, Kind, Row, Table, Tables, Value

AHEAD = timedelta(seconds=60)
"""When a sweep looks at what was announced, should nobody else have come to it by then."""

MOST_COUNTED = 1_000
"""Rows that a count counts: as many as one page of a query has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """One watch row. ``strikes``: sweeps that found the run overdue, in a row.

    ``listed``: the place in the owner's list that goes with the row, should the run never come to be.
    """

    run_id: str
    due: datetime
    created_at: datetime
    etag: str
    strikes: int = 0
    listed: str = ""


class WatchStore:
    """Reads and writes watch rows. Every method may raise ``StoreUnavailable``."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def announce(self, run_id: str, now: datetime, *, listed: str = "") -> Watch:
        """For who brings a wake nearer, *before* it commits that: whatever becomes of it, the sweep looks."""
        return await self.put(run_id, now + AHEAD, now, listed=listed)

    async def put(self, run_id: str, due: datetime, now: datetime, *, listed: str = "") -> Watch:
        """Write the row, whatever is there."""
        values: dict[str, Value] = {
            "due": due.timestamp(),
            "created_at": now.timestamp(),
            "strikes": 0,
            "quarantined": "",
            "listed": listed,
        }
        change = Change(kind=Kind.UPSERT, key=run_id, values=values)
        etags = await self._tables.commit(Table.WATCH, _partition(run_id), [change])
        return Watch(run_id=run_id, due=due, created_at=now, etag=etags[run_id], listed=listed)

    async def get(self, run_id: str) -> Watch | None:
        """The row; None when the run is not watched."""
        row = await self._tables.get(Table.WATCH, _partition(run_id), run_id)
        return None if row is None else _watch(row)

    async def set_due(self, watch: Watch, due: datetime, *, strikes: int = 0) -> bool:
        """Date it, under the ETag read *before* the run row; False when somebody was nearer to the truth."""
        values = {"due": due.timestamp(), "strikes": strikes}
        return await self._try(watch, Change(kind=Kind.MERGE, key=watch.run_id, values=values, etag=watch.etag))

    async def quarantine(self, watch: Watch, reason: str) -> bool:
        """Put it aside: its run cannot be read. Sweeps pass it over from now on."""
        values = {"quarantined": reason[:1_000]}
        return await self._try(watch, Change(kind=Kind.MERGE, key=watch.run_id, values=values, etag=watch.etag))

    async def remove(self, watch: Watch) -> bool:
        """Delete it, under its ETag; False when it was changed meanwhile."""
        return await self._try(watch, Change(kind=Kind.DELETE, key=watch.run_id, etag=watch.etag))

    async def due(self, now: datetime, limit: int) -> list[Watch]:
        """The rows whose time has come, oldest first, at most ``limit``; those put aside are left out."""
        rows = self._tables.query(Table.WATCH, None, where={"due": ("le", now.timestamp()), "quarantined": ("eq", "")})
        return sorted([_watch(row) async for row in rows], key=lambda watch: watch.due)[:limit]

    async def count(self, most: int = MOST_COUNTED) -> tuple[int, int]:
        """How many runs are watched, and how many of them are put aside: each up to ``most``, in one page."""
        watched = await self._tables.page(Table.WATCH, select=["due"], size=most)
        aside = await self._tables.page(
            Table.WATCH, any_of=[[("quarantined", "gt", "")]], select=["quarantined"], size=most
        )
        return len(watched.rows), len(aside.rows)

    async def _try(self, watch: Watch, change: Change) -> bool:
        try:
            await self._tables.commit(Table.WATCH, _partition(watch.run_id), [change])
        except Conflict:
            return False
        return True


def _partition(run_id: str) -> str:
    if is_batch_id(run_id) or session_of_due_row(run_id) is not None:
        return run_id[-1]
    parsed = parse_run_id(run_id)
    if parsed is None:
        raise ValueError(f"not a run id: {run_id!r}")
    return parsed[0][-1]


def _watch(row: Row) -> Watch:
    strikes = row.values.get("strikes", 0)
    return Watch(
        run_id=row.key,
        due=_moment(row, "due"),
        created_at=_moment(row, "created_at"),
        etag=row.etag,
        strikes=strikes if isinstance(strikes, int) else 0,
        listed=str(row.values.get("listed", "")),
    )


def _moment(row: Row, name: str) -> datetime:
    value = row.values.get(name)
    return datetime.fromtimestamp(value if isinstance(value, int | float) else 0.0, tz=UTC)
