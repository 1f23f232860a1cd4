"""Batches, their items and results in the `batches` table: one partition a batch.

Items are written before the batch's own row, create-or-same, and never change. A result is written with the batch's
row in one transaction under its ETag, so that counts and results always agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from shared.runs.model.batch import Batch, BatchItem, ItemResult
from shared.runs.model.run import Text
from shared.runs.store import parts
from shared.runs.store.rows import changes, decode, encode
from shared.runs.store.runs import Stored
from shared.runs.store.tables import MAX_OPERATIONS, Change, Conflict, Kind, Row, Table, Tables

BATCH_KEY = "batch"
# The service would take more. But the client writes a transaction's body in one go: some 30 ms for this much.
ITEMS_A_TRANSACTION = 25
BYTES_A_TRANSACTION = 500_000


class BatchStore:
    """Reads and writes batches. Every method may raise ``StoreUnavailable``, reads of records ``RowUnreadable``."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def load(self, batch_id: str) -> Stored[Batch] | None:
        """The batch; None when there is none."""
        row = await self._tables.get(Table.BATCHES, batch_id, BATCH_KEY)
        return None if row is None else Stored(decode(Batch, row.values), row.etag)

    async def create(self, batch: Batch) -> Stored[Batch]:
        """Write a new batch; its items are there already. Raises ``Conflict``."""
        # Last of all: a batch that can be read has all of its items.
        change = Change(kind=Kind.INSERT, key=BATCH_KEY, values=encode(batch))
        etags = await self._tables.commit(Table.BATCHES, batch.id, [change])
        return Stored(batch, etags[BATCH_KEY])

    async def save(self, before: Stored[Batch], after: Batch, results: Sequence[ItemResult] = ()) -> Stored[Batch]:
        """Merge what changed in the batch, with the results of items that ended. Raises ``Conflict``."""
        merge = Change(kind=Kind.MERGE, key=BATCH_KEY, values=changes(before.value, after), etag=before.etag)
        # An item ends once: if its result is there, this fails and the counts stay as they are.
        ended = [Change(kind=Kind.INSERT, key=_result_key(each.index), values=encode(each)) for each in results]
        etags = await self._tables.commit(Table.BATCHES, after.id, [merge, *ended])
        return Stored(after, etags[BATCH_KEY])

    async def put_items(self, batch_id: str, items: Iterable[BatchItem]) -> None:
        """Write the items, or write them again."""
        # The same content under a new ETag, so that a removal that has read the old one fails.
        written = [Change(kind=Kind.UPSERT, key=_item_key(each.index), values=encode(each)) for each in items]
        for group in _transactions(written):
            await self._tables.commit(Table.BATCHES, batch_id, group)

    async def item(self, batch_id: str, index: int) -> BatchItem | None:
        """One item; None when there is none."""
        row = await self._tables.get(Table.BATCHES, batch_id, _item_key(index))
        return None if row is None else decode(BatchItem, row.values)

    async def heads(self, batch_id: str, first: int, *, limit: int | None = None) -> list[BatchItem]:
        """The items from ``first`` on, in order, without what they ask for."""
        found = self._tables.query(
            Table.BATCHES,
            batch_id,
            first=_item_key(first),
            before="item:~",
            # An input may be long, and no list shows it.
            select=["index", "id", "error_code", "error_message", "retry_of_index", "schema"],
            limit=limit,
        )
        return [decode(BatchItem, row.values) async for row in found]

    async def results(self, batch_id: str, first: int, before: int) -> dict[int, ItemResult]:
        """The results of the items from ``first`` to the one before ``before``, as far as they have ended."""
        found = self._tables.query(Table.BATCHES, batch_id, first=_result_key(first), before=_result_key(before))
        results = [decode(ItemResult, row.values) async for row in found]
        return {result.index: result for result in results}

    async def store_text(self, batch_id: str, index: int, text: str) -> Text:
        """The text as an item's row can hold it; a long one is written to parts first."""
        return await parts.store_text(self._tables, batch_id, index, text, table=Table.BATCHES)

    async def load_text(self, batch_id: str, index: int, value: Text) -> str:
        """The text that an item's row holds or refers to. Raises ``LookupError`` when parts are missing."""
        return await parts.load_text(self._tables, batch_id, index, value, table=Table.BATCHES)

    async def rows(self, batch_id: str, *, limit: int | None = None) -> list[Row]:
        """All rows of a batch but its own, without their contents."""
        found: list[Row] = []
        # `~` sorts after every digit.
        for first, before in (("item:", "item:~"), ("part:", "part:~"), ("result:", "result:~")):
            left = None if limit is None else limit - len(found)
            if left == 0:
                break
            # A delete needs only key and ETag, and the contents may be megabytes.
            query = self._tables.query(
                Table.BATCHES, batch_id, first=first, before=before, select=["PartitionKey"], limit=left
            )
            found += [row async for row in query]
        return found

    async def remove_rows(self, batch_id: str, rows: Sequence[Row]) -> bool:
        """Delete these rows, under their ETags; False when one was written anew, and then not all are gone."""
        # Under the ETag: a submit that has just written an item again must not lose it.
        gone = [Change(kind=Kind.DELETE, key=row.key, etag=row.etag) for row in rows]
        try:
            for start in range(0, len(gone), MAX_OPERATIONS):
                await self._tables.commit(Table.BATCHES, batch_id, gone[start : start + MAX_OPERATIONS])
        except Conflict:
            return False
        return True

    async def remove(self, stored: Stored[Batch]) -> None:
        """Delete a batch's own row. Raises ``Conflict``."""
        change = Change(kind=Kind.DELETE, key=BATCH_KEY, etag=stored.etag)
        await self._tables.commit(Table.BATCHES, stored.value.id, [change])

    async def over_since(self, moment: datetime, *, place: str | None, size: int) -> tuple[list[str], str | None]:
        """A page of the ids of batches that were over before ``moment`` and are not deleted, and the next place."""
        # The empty string stands for None, and sorts before every time.
        over = [("over_at", "gt", ""), ("over_at", "lt", moment.isoformat())]
        page = await self._tables.page(
            Table.BATCHES,
            first=BATCH_KEY,
            before=BATCH_KEY + "~",
            any_of=[over],
            select=["PartitionKey"],
            place=place,
            size=size,
        )
        return [row.partition for row in page.rows], page.place


def _transactions(written: Sequence[Change]) -> list[list[Change]]:
    """The changes in groups of one transaction each, none of which takes long to write."""
    groups: list[list[Change]] = []
    size = 0
    for change in written:
        if not groups or len(groups[-1]) == ITEMS_A_TRANSACTION or size + change.size > BYTES_A_TRANSACTION:
            groups.append([])
            size = 0
        groups[-1].append(change)
        size += change.size
    return groups


def _item_key(index: int) -> str:
    return f"item:{index:06}"


def _result_key(index: int) -> str:
    return f"result:{index:06}"
