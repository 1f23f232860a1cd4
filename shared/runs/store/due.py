"""Due rows: what a sweep must still look at, and when. One for each run or batch that is not finished, and for each
deleted session.

Where these methods say ``run_id``, a batch's id does as well, or the name that a deleted session has here.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from operator import attrgetter

from shared.runs.model.ids import is_batch_id, is_schedule_id, parse_run_id, session_of_due_row
from shared.runs.store.rows import moment_of, seconds_of
from shared.runs.store.tables import Change, Condition, Conflict, Kind, Row, Table, Tables, Value

AHEAD = timedelta(seconds=60)
"""When a sweep looks at what was announced, if no wake has dated it by then."""

ASIDE = timedelta(hours=1)
"""When a sweep looks again at a row whose run could not be read."""

ANNOUNCE_AGAIN = timedelta(seconds=30)
"""The age from which an announcement is made again before the commit that it is for."""

PAGE = 1_000
"""Rows of one page of a query, at most. What is due beyond is read by partition, side by side."""

PARTITIONS = "0123456789abcdef"
Place = tuple[float, str]
"""Where a row stands in an order of rows: a number, and its id."""

RACES = 5
MAX_COUNTED = 1_000
"""Rows that a count counts: as many as one page of a query has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DueRow:
    """One due row. ``overdue_sweeps``: how many sweeps in a row found the run overdue.

    ``announced_at``: when a call last announced that it is about to change the run (or to create it).
    ``listed``: the place in the owner's list that was announced last (of a schedule, where it is); empty where none is
    known. A batch's that is
    hidden there, since its submit was cut off, is removed with the row.
    ``listed_status``: what that place was last seen to show; empty where nobody has looked since an announcement.
    ``quarantined``: why its run could not be read; empty when it can be.
    ``handed_to``: the orchestration that is to poll it, until whoever does that (or another) dates the row; or empty.
    """

    run_id: str
    due: datetime
    announced_at: datetime
    etag: str
    overdue_sweeps: int = 0
    listed: str = ""
    listed_status: str = ""
    quarantined: str = ""
    handed_to: str = ""

    @property
    def partition(self) -> str:
        """Where it is: rows of the same partition can be written together."""
        return _partition(self.run_id)

    def dated(self, due: datetime, now: datetime, *, overdue_sweeps: int = 0) -> DueRow:
        """The row with that date, still to be written.

        Not later than 60 s after an announcement that is younger than that: what it announced may not be committed
        yet, and then the run row says nothing of it.
        """
        # Whoever dates the row has read its run, so it is not quarantined any more.
        not_later = _not_past_announcement(self, due, now)
        return replace(self, due=not_later, overdue_sweeps=overdue_sweeps, quarantined="", handed_to="")

    def handed_out(self, to: str, due: datetime, now: datetime) -> DueRow:
        """The row as it is left to an orchestration, still to be written. Nobody has read its run for that."""
        return replace(self, due=_not_past_announcement(self, due, now), handed_to=to)


class DueStore:
    """Reads and writes due rows. Every method may raise ``StoreUnavailable``."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def announce(
        self, run_id: str, now: datetime, *, listed: str = "", deadline: datetime | None = None, is_new: bool = False
    ) -> DueRow:
        """For a call that brings a wake nearer, *before* it commits: if it crashes, the sweep still looks.

        The row has a new ETag and is due within 60 s, never later than it was: so announcing again and again
        postpones nothing. Due at the ``deadline`` if that is sooner: what is announced may hang for longer.
        ``now`` is the clock's: what was announced later than that stays so. ``is_new``: most likely there is no row.
        """
        due = now + AHEAD if deadline is None else min(now + AHEAD, deadline)
        again = first = DueRow(run_id=run_id, due=due, announced_at=now, etag="", listed=listed)
        for tries in range(RACES):
            # Each round writes a new ETag: whoever read the run before it can no longer date or delete the row.
            row = None if is_new and tries == 0 else await self.get(run_id)
            again = first if row is None else _announced_again(row, due, now, listed)
            try:
                return await self._write(again, Kind.INSERT if row is None else Kind.REPLACE)
            except Conflict:
                continue
        # Blind after so many lost races: a row dated too early costs one look, a missing one costs the run.
        return await self.put(run_id, again.due, again.announced_at, listed=again.listed)

    async def keep_announced(self, row: DueRow, now: datetime) -> DueRow:
        """For a call that has announced, right before its commit: announces again if that was too long ago."""
        # A commit after the 60 s could be missed by a wake that dates or deletes the row meanwhile.
        if now - row.announced_at < ANNOUNCE_AGAIN:
            return row
        return await self.announce(row.run_id, now, listed=row.listed)

    async def put(self, run_id: str, due: datetime, now: datetime, *, listed: str = "") -> DueRow:
        """Write the row, whatever is there."""
        return await self._write(DueRow(run_id=run_id, due=due, announced_at=now, etag="", listed=listed), Kind.UPSERT)

    async def get(self, run_id: str) -> DueRow | None:
        """The row; None when the run has none."""
        row = await self._tables.get(Table.DUE, _partition(run_id), run_id)
        return None if row is None else _due_row(row)

    async def set_due(self, row: DueRow, due: datetime, now: datetime, *, overdue_sweeps: int = 0) -> bool:
        """Date it, under the ETag read *before* the run row; False when the row has changed since."""
        return await self._merge(row.dated(due, now, overdue_sweeps=overdue_sweeps))

    async def set_all(self, dated: Sequence[DueRow]) -> list[DueRow]:
        """Write the dates of several rows of one partition, in one transaction; those that got theirs, as they now are.

        Each under the ETag read *before* its run row: one that has changed since stays as it is.
        """
        try:
            etags = await self._tables.commit(Table.DUE, dated[0].partition, [_merging(row) for row in dated])
        except Conflict:
            if len(dated) == 1:
                return []
        else:
            return [replace(row, etag=etags[row.run_id]) for row in dated]
        # Only one that has changed is named, and there may be more.
        return [written for row in dated for written in await self.set_all([row])]

    async def quarantine(self, row: DueRow, reason: str, now: datetime) -> bool:
        """Put it aside: its run cannot be read. Sweeps pass it over for an hour; another version may read it.

        Not past an announcement either: a version that can read the run may be about to change it.
        """
        due = _not_past_announcement(row, now + ASIDE, now)
        # Cut: an error's text may be longer than a property can be.
        return await self._merge(replace(row, due=due, quarantined=reason[:1_000], handed_to=""))

    async def remove(self, row: DueRow, now: datetime) -> bool:
        """Delete it, under its ETag; False when it was changed meanwhile.

        One that was announced less than 60 s ago is dated to the end of these instead.
        """
        # What was announced may be committed after this look, and then only the due row leads back to it.
        if now < row.announced_at + AHEAD:
            return await self.set_due(row, row.announced_at + AHEAD, now)
        return await self._try(row, Change(kind=Kind.DELETE, key=row.run_id, etag=row.etag))

    async def due(self, now: datetime, limit: int) -> list[DueRow]:
        """The rows whose time has come, oldest first, at most ``limit``."""
        # The service sorts by keys alone: the oldest are known only when all that are due were read.
        is_due = ("due", "le", seconds_of(now))
        page = await self._tables.page(Table.DUE, any_of=[[is_due]], size=PAGE)
        rows = [*page.rows]
        while page.place is not None and len(rows) < PAGE:  # pages may be short, or empty, for reasons of the service
            page = await self._tables.page(Table.DUE, any_of=[[is_due]], place=page.place, size=PAGE)
            rows += page.rows
        found = [_due_row(row) for row in rows]
        if page.place is not None:
            await self._add_due_after(rows[-1], now, limit, found)
        return _oldest(found, limit)

    async def _add_due_after(self, last: Row, now: datetime, limit: int, found: list[DueRow]) -> None:
        """Add the rows after that one, the partitions side by side, or at least the oldest of all, up to ``limit``."""

        async def read(partition: str) -> None:
            first = last.key if partition == last.partition else None
            rows = self._tables.query(Table.DUE, partition, first=first, where={"due": ("le", seconds_of(now))})
            async for row in rows:
                if row.key != last.key:
                    found.append(_due_row(row))
                if len(found) >= 2 * limit:  # no more than so many are held
                    found[:] = _oldest(found, limit)

        await asyncio.gather(*(read(each) for each in PARTITIONS if each >= last.partition))

    async def first(
        self,
        any_of: Sequence[Sequence[Condition]],
        order: Callable[[DueRow], Place],
        after: Place | None,
        limit: int,
    ) -> list[DueRow]:
        """The first ``limit`` rows after that place, by that order, for which one of the alternatives holds."""
        # The service sorts by keys alone: which ones are the first is known when all were read, a page at a time.
        found: list[DueRow] = []
        place: str | None = None
        while True:
            page = await self._tables.page(Table.DUE, any_of=any_of, place=place, size=PAGE)
            rows = [_due_row(row) for row in page.rows]
            found += [row for row in rows if after is None or order(row) > after]
            if (place := page.place) is None:
                return heapq.nsmallest(limit, found, key=order)
            if len(found) > PAGE + limit:  # no more than so many are held
                found = heapq.nsmallest(limit, found, key=order)

    async def handed(self, to: str, partition: str, first: str, last: str) -> list[DueRow]:
        """The rows of a partition, from the first to the last, that were handed out to that orchestration, and since
        then dated by nobody.
        """
        # "0" sorts right after "/", which no key has.
        rows = self._tables.query(Table.DUE, partition, first=first, before=f"{last}0", where={"handed_to": ("eq", to)})
        return [_due_row(row) async for row in rows]

    async def count(self, most: int = MAX_COUNTED) -> tuple[int, int]:
        """How many due rows there are, and how many of them are put aside: each up to ``most``, in one page."""
        # One page each: a health check must not read the whole table.
        rows = await self._tables.page(Table.DUE, select=["due"], size=most)
        aside = await self._tables.page(
            Table.DUE, any_of=[[("quarantined", "gt", "")]], select=["quarantined"], size=most
        )
        return len(rows.rows), len(aside.rows)

    async def _write(self, row: DueRow, kind: Kind) -> DueRow:
        change = Change(kind=kind, key=row.run_id, values=_values(row), etag=row.etag or None)
        etags = await self._tables.commit(Table.DUE, _partition(row.run_id), [change])
        return replace(row, etag=etags[row.run_id])

    async def _merge(self, row: DueRow) -> bool:
        return await self._try(row, _merging(row))

    async def _try(self, row: DueRow, change: Change) -> bool:
        try:
            await self._tables.commit(Table.DUE, _partition(row.run_id), [change])
        except Conflict:
            return False
        return True


def _merging(row: DueRow) -> Change:
    return Change(kind=Kind.MERGE, key=row.run_id, values=_values(row), etag=row.etag)


def _oldest(rows: list[DueRow], limit: int) -> list[DueRow]:
    return heapq.nsmallest(limit, rows, key=attrgetter("due"))


def _announced_again(row: DueRow, due: datetime, now: datetime, listed: str) -> DueRow:
    # The clocks of instances differ, so neither time is ever moved back or put off.
    return replace(
        row,
        due=min(row.due, due),
        announced_at=max(row.announced_at, now),
        listed=listed or row.listed,
        # What is announced may bring the run back to a status that it had before, with another one listed in between.
        listed_status="",
        quarantined="",
    )


def _not_past_announcement(row: DueRow, due: datetime, now: datetime) -> datetime:
    end = row.announced_at + AHEAD
    return min(due, end) if now < end else due


def _partition(run_id: str) -> str:
    # Sixteen partitions, by the last hex digit: one takes 2,000 writes a second.
    if is_batch_id(run_id) or is_schedule_id(run_id) or session_of_due_row(run_id) is not None:
        return run_id[-1]
    parsed = parse_run_id(run_id)
    if parsed is None:
        raise ValueError(f"not a run id: {run_id!r}")
    return parsed[0][-1]


def _values(row: DueRow) -> dict[str, Value]:
    return {
        "due": seconds_of(row.due),
        "announced_at": seconds_of(row.announced_at),
        "overdue_sweeps": row.overdue_sweeps,
        "listed": row.listed,
        "listed_status": row.listed_status,
        "quarantined": row.quarantined,
        "handed_to": row.handed_to,
    }


def _due_row(row: Row) -> DueRow:
    # Defaults for whatever is missing: one bad row must not stop a sweep.
    overdue = row.values.get("overdue_sweeps", 0)
    return DueRow(
        run_id=row.key,
        due=moment_of(row.values.get("due")),
        announced_at=moment_of(row.values.get("announced_at")),
        etag=row.etag,
        overdue_sweeps=overdue if isinstance(overdue, int) else 0,
        listed=str(row.values.get("listed", "")),
        listed_status=str(row.values.get("listed_status", "")),
        quarantined=str(row.values.get("quarantined", "")),
        handed_to=str(row.values.get("handed_to", "")),
    )
