"""Tries of requests whose clients repeat them by themselves: rows of the index table, among the idempotency keys."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass, replace
from datetime import datetime

from shared.runs.store.rows import moment_of, seconds_of
from shared.runs.store.tables import Change, Conflict, Kind, Row, Table, Tables, Value

TRIES_READ = 200
"""Tries of one request that are looked through for the one that is repeated."""

_END_OF_TIME_MS = 10**14  # in the year 5138


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """The latest try of a request whose client repeats it by itself, and names no key that all its tries share."""

    row: str
    """Its row's key."""

    key: str
    """The key that the app has given the request, for its tries to share."""

    count: int
    """How many tries the client had made before this one."""

    at: datetime
    """When it came."""

    lost: bool
    """Whether it is known that the client got no answer, or an error that it answers with another try."""

    etag: str


class Tries:
    """Reads and writes them. Every method may raise ``StoreUnavailable``."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def begin(self, owner: str, request: str, *, key: str, count: int, now: datetime) -> Try:
        """Note a try of a request that has no key of its own. The row goes with the old keys."""
        # Newest first: equal requests may be many, and a look for the latest must not read all of them.
        row = f"{request}:{countdown(now)}:{key}"
        values: dict[str, Value] = {"created_at": seconds_of(now), "count": count, "lost": False}
        etags = await self._tables.commit(
            Table.INDEX, _partition(owner), [Change(kind=Kind.INSERT, key=row, values=values)]
        )
        return Try(row=row, key=key, count=count, at=now, lost=False, etag=etags[row])

    async def of(self, owner: str, request: str, since: datetime) -> list[Try]:
        """The tries of a request that were first made since then, newest first; no more than some hundred."""
        first, before = f"{request}:", f"{request}:{countdown(since)};"
        rows = self._tables.query(Table.INDEX, _partition(owner), first=first, before=before, limit=TRIES_READ)
        return [_try(row) async for row in rows]

    async def change(self, owner: str, found: Try, *, count: int, at: datetime, lost: bool) -> Try | None:
        """The try as it now is; None when another call has changed it since it was read."""
        values: dict[str, Value] = {"created_at": seconds_of(at), "count": count, "lost": lost}
        change = Change(kind=Kind.MERGE, key=found.row, values=values, etag=found.etag)
        try:
            etags = await self._tables.commit(Table.INDEX, _partition(owner), [change])
        except Conflict:
            return None
        return replace(found, count=count, at=at, lost=lost, etag=etags[found.row])

    async def forget(self, owner: str, found: Try) -> None:
        """Remove a try that its client does not repeat; one that was changed meanwhile is left alone."""
        with contextlib.suppress(Conflict):
            change = Change(kind=Kind.DELETE, key=found.row, etag=found.etag)
            await self._tables.commit(Table.INDEX, _partition(owner), [change])


def countdown(moment: datetime) -> str:
    """The beginning of a key that stands before those of earlier times: keys sort ascending, so it counts down."""
    return f"{_END_OF_TIME_MS - int(moment.timestamp() * 1_000):014}"


def _partition(owner: str) -> str:
    # Below `key:`, so that the removal of old keys finds these rows, too.
    return f"key:tries:{hashlib.sha256(owner.encode()).hexdigest()}"


def _try(row: Row) -> Try:
    return Try(
        row=row.key,
        key=row.key.rpartition(":")[2],
        count=int(row.values["count"]),
        at=moment_of(row.values["created_at"]),
        lost=bool(row.values["lost"]),
        etag=row.etag,
    )
