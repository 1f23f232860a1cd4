"""The index table: idempotency keys, and each owner's runs and batches, newest first."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import logging
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from shared.runs.model.batch import Batch, BatchStatus
from shared.runs.model.listed import (
    BatchSummary,
    ListedBatch,
    ListedRun,
    ListStatus,
    Summary,
    batch_summary,
    run_summary,
)
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import Run
from shared.runs.store.rows import decode, encode, moment_of, seconds_of
from shared.runs.store.tables import Change, Condition, Conflict, Kind, Row, Table, Tables, Value
from shared.runs.store.tries import Tries, countdown
from shared.runs.store.unreadable import RowUnreadable

log = logging.getLogger("dormouse")

T = TypeVar("T")

RUNS = "owner"
BATCHES = "batches"
"""What an owner has a list of."""

_KEY_ROW = "key"
_PLACES = "places"

RACES = 5

PAGES_READ = 3
"""Pages of the service that one page of a list takes at most. It may send short or empty ones while it filters."""

_SCAN = "~"
"""Begins a cursor that is the service's own place, where a filter has found nothing yet. Keys begin with a digit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """What an ``Idempotency-Key`` of an owner stands for: a payload, and the ids allotted to it."""

    digest: str
    payload: str
    session_id: str
    number: int
    created_at: datetime
    etag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The row of a run or batch in its owner's list, as a call last wrote or read it."""

    etag: str

    status: ListStatus | None
    """What it showed; None: nothing, for it is hidden."""


UNLISTED = Listing(etag="", status=None)
"""There is no row yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _RunRow:
    """That row of a run. Status and agent are properties of their own, so that the service can filter by them."""

    status: RunStatus | None
    agent: str
    summary: Summary | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _BatchRow:
    """That row of a batch."""

    status: BatchStatus | None
    summary: BatchSummary | None


_HIDDEN_RUN = _RunRow(status=None, agent="", summary=None)
_HIDDEN_BATCH = _BatchRow(status=None, summary=None)


def key_digest(owner: str, key: str) -> str:
    """The name of an owner's key: its scope is the owner."""
    # The length in front: else `a` with `b:c` and `a:b` with `c` would be one key.
    return hashlib.sha256(f"{len(owner)}:{owner}:{key}".encode()).hexdigest()


class IndexStore:
    """Reads and writes index rows. Every method may raise ``StoreUnavailable``."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.tries = Tries(tables)

    async def key(self, digest: str) -> KeyRecord | None:
        """What the key stands for; None when it is free."""
        row = await self._tables.get(Table.INDEX, f"key:{digest}", _KEY_ROW)
        return None if row is None else _key_record(digest, row)

    async def claim_key(self, record: KeyRecord) -> KeyRecord | None:
        """Take a free key; None when another request has it."""
        # An insert: of two requests with one key only one can claim it.
        change = Change(kind=Kind.INSERT, key=_KEY_ROW, values=_key_values(record))
        try:
            etags = await self._tables.commit(Table.INDEX, f"key:{record.digest}", [change])
        except Conflict:
            return None
        return replace(record, etag=etags[_KEY_ROW])

    async def free_key(self, record: KeyRecord) -> None:
        """Give a key back, under its ETag; one that was changed meanwhile is left alone."""
        change = Change(kind=Kind.DELETE, key=_KEY_ROW, etag=record.etag)
        try:
            await self._tables.commit(Table.INDEX, f"key:{record.digest}", [change])
        except Conflict:
            return

    def list_row_of(self, one: Run | Batch) -> str:
        """Where its owner's list has it: partition and key, with a slash between, which neither can hold."""
        request, of = one.request, RUNS if isinstance(one, Run) else BATCHES
        return f"{_owner(request.owner, of)}/{_list_key(one.id, request.created_at, request.fingerprint)}"

    async def list_hidden(self, one: Run | Batch) -> Listing:
        """Put a batch into its owner's list before it is there; no list shows it until ``show``."""
        # Blind: the new ETag protects it from whoever removes the leftovers of an earlier try.
        return await self._write(one, Kind.UPSERT, hidden=True)

    async def listing(self, place: str) -> Listing:
        """How the row at a place stands."""
        row = await self.listed(place)
        if row is None:
            return UNLISTED
        word = str(row.values.get("status", ""))
        kind = BatchStatus if place.startswith(f"{BATCHES}:") else RunStatus
        known = row.values.get("summary") and word in set(kind)
        return Listing(etag=row.etag, status=kind(word) if known else None)

    async def show(self, one: Run | Batch, before: Listing) -> Listing:
        """Show it as it is, in the row as it was before it was read.

        Raises ``Conflict`` when another has written the row since.
        """
        # Under the ETag: a process that was frozen must not show an earlier status again.
        if before == UNLISTED:
            return await self._write(one, Kind.INSERT)
        return await self._write(one, Kind.REPLACE, before.etag)

    async def show_ended(self, one: Run | Batch) -> Listing:
        """Show one that has ended, whatever its row holds. Raises ``Conflict`` when there is no row."""
        # No other write is newer: the status is final, and all earlier ones are written under an ETag.
        return await self._write(one, Kind.OVERWRITE)

    async def hide(self, one: Run | Batch) -> None:
        """Show a deleted one no more; its row is removed with its others."""
        with contextlib.suppress(Conflict):  # it is removed already
            await self._write(one, Kind.OVERWRITE, hidden=True)

    async def runs(
        self, owner: str, after: str | None, limit: int, *, statuses: Collection[RunStatus], agent: str | None
    ) -> tuple[list[ListedRun], str | None]:
        """Up to ``limit`` of an owner's runs after the cursor, newest first, and the cursor of the next page.

        Of these statuses (none: of any) and this agent (None: of any). There may be fewer, or none, and a next page.
        Raises ``ValueError`` for a cursor that is none.
        """
        wanted: list[list[Condition]] = [[("status", "eq", each.value)] for each in sorted(statuses)]
        wanted = wanted or [[("status", "gt", "")]]  # the empty status is a hidden row's
        if agent is not None:
            wanted = [[*each, ("agent", "eq", agent)] for each in wanted]
        rows, cursor = await self._page(_owner(owner), after, limit, wanted)
        return [run for row in rows if (run := _listed_run(row)) is not None], cursor

    async def batches(self, owner: str, after: str | None, limit: int) -> tuple[list[ListedBatch], str | None]:
        """The same of an owner's batches."""
        rows, cursor = await self._page(_owner(owner, BATCHES), after, limit, [[("status", "gt", "")]])
        return [batch for row in rows if (batch := _listed_batch(row)) is not None], cursor

    async def _page(
        self, partition: str, after: str | None, limit: int, wanted: list[list[Condition]]
    ) -> tuple[list[Row], str | None]:
        """Up to ``limit`` rows of a list after the cursor that fit, and the cursor of the next page."""
        first = place = None
        if after is not None and after.startswith(_SCAN):
            place = _place_of(after)
        elif after is not None:
            first = after + "!"  # the least key that can come after it
        found: list[Row] = []
        for _ in range(PAGES_READ):
            page = await self._tables.page(
                Table.INDEX,
                partition=partition,
                first=first,
                any_of=wanted,
                place=place,
                size=limit - len(found),
            )
            found += page.rows
            place = page.place
            if place is None or len(found) >= limit:
                break
        if place is None:
            return found, None
        return found, found[-1].key if found else _cursor_of(place)

    async def listed(self, place: str) -> Row | None:
        """The row at a place in a list; None when there is none."""
        partition, _, key = place.partition("/")
        return await self._tables.get(Table.INDEX, partition, key) if key else None

    async def remove(self, row: Row) -> None:
        """Take a row out of a list, unless it was written anew."""
        with contextlib.suppress(Conflict):
            await self._tables.commit(
                Table.INDEX, row.partition, [Change(kind=Kind.DELETE, key=row.key, etag=row.etag)]
            )

    async def unlist(self, place: str) -> None:
        """Take what is at a place out of the list; nothing there is fine."""
        for _ in range(RACES):
            row = await self.listed(place)
            if row is None:
                return
            # A late write of the run's last status must not keep it in the list.
            change = Change(kind=Kind.DELETE, key=row.key, etag=row.etag)
            with contextlib.suppress(Conflict):
                await self._tables.commit(Table.INDEX, row.partition, [change])
                return

    async def keys_older_than(self, moment: datetime, *, place: str | None, size: int) -> tuple[list[Row], str | None]:
        """A page of the idempotency keys taken before ``moment``, to be removed, and the place of the next."""
        page = await self._tables.page(
            Table.INDEX,
            partitions=("key:", "key;"),
            any_of=[[("created_at", "lt", seconds_of(moment))]],
            select=["created_at"],
            place=place,
            size=size,
        )
        return list(page.rows), page.place

    async def saved_cursor(self, name: str) -> str | None:
        """Where the long task of this name continues; None: at the beginning."""
        row = await self._tables.get(Table.INDEX, _PLACES, name)
        return (str(row.values.get("place", "")) or None) if row is not None else None

    async def save_cursor(self, name: str, place: str | None) -> None:
        """Keep where it continues."""
        change = Change(kind=Kind.UPSERT, key=name, values={"place": place or ""})
        await self._tables.commit(Table.INDEX, _PLACES, [change])

    async def _write(self, one: Run | Batch, kind: Kind, etag: str | None = None, *, hidden: bool = False) -> Listing:
        row: _RunRow | _BatchRow
        if isinstance(one, Run):
            row = _HIDDEN_RUN if hidden else _run_row(one)
        else:
            row = _HIDDEN_BATCH if hidden else _BatchRow(status=one.status, summary=batch_summary(one))
        partition, _, key = self.list_row_of(one).partition("/")
        change = Change(kind=kind, key=key, values=encode(row), etag=etag)
        etags = await self._tables.commit(Table.INDEX, partition, [change])
        return Listing(etag=etags[key], status=row.status)


def _key_values(record: KeyRecord) -> dict[str, Value]:
    return {
        "payload": record.payload,
        "session_id": record.session_id,
        "number": record.number,
        "created_at": seconds_of(record.created_at),
    }


def _key_record(digest: str, row: Row) -> KeyRecord:
    return KeyRecord(
        digest=digest,
        payload=str(row.values["payload"]),
        session_id=str(row.values["session_id"]),
        number=int(row.values["number"]),
        created_at=moment_of(row.values["created_at"]),
        etag=row.etag,
    )


def _owner(owner: str, of: str = RUNS) -> str:
    # Hashed: the name of an owner may be longer than a key can be, or hold what a key refuses.
    return f"{of}:{hashlib.sha256(owner.encode()).hexdigest()}"


def _list_key(subject_id: str, created_at: datetime, fingerprint: str) -> str:
    # The fingerprint keeps two requests for one number apart.
    return f"{countdown(created_at)}:{subject_id}:{fingerprint[:16]}"


def _run_row(run: Run) -> _RunRow:
    return _RunRow(status=run.status, agent=run.request.agent, summary=run_summary(run))


def _listed_run(row: Row) -> ListedRun | None:
    read = _decoded(_RunRow, row)
    if read is None or read.status is None or read.summary is None:
        return None
    return ListedRun(id=row.key.split(":")[1], status=read.status, agent=read.agent, summary=read.summary)


def _listed_batch(row: Row) -> ListedBatch | None:
    read = _decoded(_BatchRow, row)
    if read is None or read.status is None or read.summary is None:
        return None
    return ListedBatch(id=row.key.split(":")[1], status=read.status, summary=read.summary)


def _decoded(kind: type[T], row: Row) -> T | None:
    try:
        return decode(kind, row.values)
    except RowUnreadable as error:  # one bad row must not hide the whole list; the next change of status mends it
        log.error("the list's row %s cannot be read: %s", row.key, error)
        return None


def _cursor_of(place: str) -> str:
    return _SCAN + base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def _place_of(cursor: str) -> str:
    text = cursor.removeprefix(_SCAN)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError("no cursor of ours") from error
