"""Schedules, in the index table: a partition an owner, a row a schedule. Its due row has the place of it."""

from __future__ import annotations

import hashlib

from shared.runs.model.schedules import RunSchedule
from shared.runs.store.rows import changes, decode, encode
from shared.runs.store.runs import Stored
from shared.runs.store.tables import Change, Kind, Table, Tables


class ScheduleStore:
    """Reads and writes schedules. Every method may raise ``StoreUnavailable``, reads ``RowUnreadable``."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def load(self, owner: str, schedule_id: str) -> Stored[RunSchedule] | None:
        """An owner's schedule; None when there is none of that id."""
        return await self.at(place_of(owner, schedule_id))

    async def at(self, place: str) -> Stored[RunSchedule] | None:
        """The schedule at a place; None when there is none."""
        partition, _, key = place.partition("/")
        row = await self._tables.get(Table.INDEX, partition, key) if key else None
        return None if row is None else Stored(decode(RunSchedule, row.values), row.etag)

    async def create(self, schedule: RunSchedule) -> Stored[RunSchedule]:
        """Write a new one. Raises ``Conflict``."""
        change = Change(kind=Kind.INSERT, key=schedule.id, values=encode(schedule))
        etags = await self._tables.commit(Table.INDEX, _partition(schedule.owner), [change])
        return Stored(schedule, etags[schedule.id])

    async def save(self, before: Stored[RunSchedule], after: RunSchedule) -> Stored[RunSchedule]:
        """Merge what changed, under its ETag. Raises ``Conflict``."""
        merge = Change(kind=Kind.MERGE, key=after.id, values=changes(before.value, after), etag=before.etag)
        etags = await self._tables.commit(Table.INDEX, _partition(after.owner), [merge])
        return Stored(after, etags[after.id])

    async def delete(self, stored: Stored[RunSchedule]) -> None:
        """Remove it, under its ETag. Raises ``Conflict``."""
        change = Change(kind=Kind.DELETE, key=stored.value.id, etag=stored.etag)
        await self._tables.commit(Table.INDEX, _partition(stored.value.owner), [change])

    async def of_owner(self, owner: str, after: str | None, limit: int) -> tuple[list[RunSchedule], str | None]:
        """Up to ``limit`` of an owner's schedules after the cursor, by their ids, and the cursor of the next page."""
        first = None if after is None else f"{after}!"  # the least key that can come after it
        found = self._tables.query(Table.INDEX, _partition(owner), first=first, limit=limit + 1)
        rows = [decode(RunSchedule, row.values) async for row in found]
        return rows[:limit], rows[limit - 1].id if len(rows) > limit else None


def place_of(owner: str, schedule_id: str) -> str:
    """Where a schedule is: partition and key, with a slash between, which neither can hold."""
    return f"{_partition(owner)}/{schedule_id}"


def _partition(owner: str) -> str:
    # Hashed: the name of an owner may be longer than a key can be, or hold what a key refuses.
    return f"schedules:{hashlib.sha256(owner.encode()).hexdigest()}"
