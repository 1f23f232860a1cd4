"""What a session's runs said, in range scans: their heads, and their items, without a read for each run."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass

from shared.agentkit.agent import Item
from shared.runs.concurrency import side_by_side
from shared.runs.model.run import PartRef, RunHead, Text
from shared.runs.store import parts
from shared.runs.store.rows import decode, property_names
from shared.runs.store.tables import Table, Tables

PARTS_AT_ONCE = 8
"""Rows of long values, up to 720 KB each, that are read side by side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _ItemRow:
    data: Text


class HistoryStore:
    """Reads ranges of a session's rows. Every method may raise ``StoreUnavailable``, ``RowUnreadable``."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def heads(self, session_id: str, first: int, last: int) -> list[RunHead]:
        """The runs of these numbers that have a row, tombstones too, in order."""
        # Without texts and results: a hundred of them would be megabytes.
        rows = self._tables.query(
            Table.RUNS, session_id, first=f"run:{first:08}", before=f"run:{last + 1:08}", select=property_names(RunHead)
        )
        return [decode(RunHead, row.values) async for row in rows]

    async def items(self, session_id: str, numbers: Collection[int]) -> AsyncIterator[tuple[int, list[Item]]]:
        """What was appended to the runs of these numbers, in order, each with its run's number: one range.

        Raises ``LookupError`` when parts are missing.
        """
        first, before = f"item:{min(numbers):08}", f"item:{max(numbers) + 1:08}"
        rows = self._tables.query(Table.RUNS, session_id, first=first, before=before)
        waiting: list[tuple[int, Text]] = []
        parts_waiting = 0
        async for row in rows:
            number = int(row.key.split(":")[1])
            if number not in numbers:  # a deleted run's, whose parts may be gone already
                continue
            data = decode(_ItemRow, row.values).data
            waiting.append((number, data))
            parts_waiting += data.count if isinstance(data, PartRef) else 0
            # Each is handed on as soon as it can be: what is held is what is read side by side, and no more.
            if parts_waiting == 0 or parts_waiting >= PARTS_AT_ONCE:
                for each in await self._read(session_id, waiting):
                    yield each
                waiting, parts_waiting = [], 0
        for each in await self._read(session_id, waiting):
            yield each

    async def _read(self, session_id: str, rows: list[tuple[int, Text]]) -> list[tuple[int, list[Item]]]:
        texts = await side_by_side(
            rows, lambda row: parts.load_text(self._tables, session_id, *row), at_once=PARTS_AT_ONCE
        )
        return [(number, json.loads(text)) for (number, _), text in zip(rows, texts, strict=True)]
