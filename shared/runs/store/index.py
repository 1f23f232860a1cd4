"""The index table: idempotency keys, and each owner's runs and batches, newest first."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass, replace
from datetime import datetime

from shared.runs.model.batch import Batch
from shared.runs.model.run import Run
from shared.runs.store.rows import moment_of, seconds_of
from shared.runs.store.tables import Change, Conflict, Kind, Row, Table, Tables, Value

RUNS = "owner"
BATCHES = "batches"
"""What an owner has a list of."""

_KEY_ROW = "key"
_PLACES = "places"
_END_OF_TIME_MS = 10**14  # in the year 5138


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
class ListRow:
    """A run (or a batch) in its owner's list. ``fingerprint`` tells whether the one there is the one listed."""

    cursor: str
    run_id: str
    fingerprint: str


def key_digest(owner: str, key: str) -> str:
    """The name of an owner's key: its scope is the owner."""
    # The length in front: else `a` with `b:c` and `a:b` with `c` would be one key.
    return hashlib.sha256(f"{len(owner)}:{owner}:{key}".encode()).hexdigest()


class IndexStore:
    """Reads and writes index rows. Every method may raise ``StoreUnavailable``."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

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

    async def leave_unanswered(self, owner: str, payload: str, run_id: str, now: datetime) -> None:
        """Note that the caller of this run hung up. The row is deleted when it is taken, or with the old keys."""
        change = Change(kind=Kind.UPSERT, key=f"{payload}:{run_id}", values={"created_at": seconds_of(now)})
        await self._tables.commit(Table.INDEX, _unanswered(owner), [change])

    async def take_unanswered(self, owner: str, payload: str, since: datetime) -> str | None:
        """The id of a run of this owner and payload whose caller hung up since then. No other call gets it, too."""
        # `;` is the character after `:`.
        rows = self._tables.query(Table.INDEX, _unanswered(owner), first=f"{payload}:", before=f"{payload};")
        for row in [row async for row in rows]:
            if moment_of(row.values["created_at"]) < since:  # retention removes it with the old keys
                continue
            # The delete decides: of two retries only one gets the run.
            change = Change(kind=Kind.DELETE, key=row.key, etag=row.etag)
            try:
                await self._tables.commit(Table.INDEX, row.partition, [change])
            except Conflict:
                continue
            return row.key.partition(":")[2]
        return None

    def list_row_of(self, run: Run) -> str:
        """Where its owner's list has the run: partition and key, with a slash between, which neither can hold."""
        request = run.request
        return f"{_owner(request.owner)}/{_list_key(run.id, request.created_at, request.fingerprint)}"

    def list_row_of_batch(self, batch: Batch) -> str:
        """Where its owner's list of batches has it."""
        request = batch.request
        return f"{_owner(request.owner, BATCHES)}/{_list_key(batch.id, request.created_at, request.fingerprint)}"

    async def list_run(self, run: Run) -> None:
        """Put the run into its owner's list, or there again. ``fingerprint`` tells a list whose row it is."""
        partition, _, key = self.list_row_of(run).partition("/")
        # Written blind: a list shows what the run's own row says, and this row only leads to it.
        values = {"agent": run.request.agent, "status": run.status.value, "fingerprint": run.request.fingerprint}
        await self._tables.commit(Table.INDEX, partition, [Change(kind=Kind.UPSERT, key=key, values=values)])

    async def list_batch(self, batch: Batch) -> None:
        """Put the batch into its owner's list, or there again."""
        partition, _, key = self.list_row_of_batch(batch).partition("/")
        change = Change(kind=Kind.UPSERT, key=key, values={"fingerprint": batch.request.fingerprint})
        await self._tables.commit(Table.INDEX, partition, [change])

    async def page(
        self, owner: str, after: str | None, limit: int, *, of: str = RUNS
    ) -> tuple[list[ListRow], str | None]:
        """Up to ``limit`` places of an owner's list after the cursor, newest first, and the cursor of the next page."""
        first = None if after is None else after + "!"  # the least key that can come after it
        rows = self._tables.query(Table.INDEX, _owner(owner, of), first=first, limit=limit)
        places = [_list_row(row) async for row in rows]
        # A full page may be the last one: the next is then empty, which is cheaper than to look ahead.
        return places, places[-1].cursor if len(places) == limit else None

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
        row = await self.listed(place)
        if row is not None:
            await self.remove(row)

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


def _unanswered(owner: str) -> str:
    # Below `key:`, so that the removal of old keys finds these rows, too.
    return f"key:unanswered:{hashlib.sha256(owner.encode()).hexdigest()}"


def _owner(owner: str, of: str = RUNS) -> str:
    # Hashed: the name of an owner may be longer than a key can be, or hold what a key refuses.
    return f"{of}:{hashlib.sha256(owner.encode()).hexdigest()}"


def _list_key(subject_id: str, created_at: datetime, fingerprint: str) -> str:
    # Keys sort ascending, so the time counts down. The fingerprint keeps two requests for one number apart.
    countdown = _END_OF_TIME_MS - int(created_at.timestamp() * 1_000)
    return f"{countdown:014}:{subject_id}:{fingerprint[:16]}"


def _list_row(row: Row) -> ListRow:
    return ListRow(cursor=row.key, run_id=row.key.split(":")[1], fingerprint=str(row.values.get("fingerprint", "")))
