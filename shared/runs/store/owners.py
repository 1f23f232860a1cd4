"""Which rows are an owner's: read from all tables, in pages, for whoever exports or erases them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from shared.runs.model.session import Session
from shared.runs.store.index import BATCHES
from shared.runs.store.rows import decode
from shared.runs.store.runs import SESSION_KEY
from shared.runs.store.tables import Row, Table, Tables
from shared.runs.store.unreadable import RowUnreadable


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundSession:
    """A session of the owner's."""

    session_id: str

    session: Session | None
    """None: its row cannot be read."""


class OwnerStore:
    """Reads them. Every method may raise ``StoreUnavailable``, and ``ValueError`` for a place that none gave out."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def sessions(self, owner: str, place: str | None, size: int) -> tuple[Sequence[FoundSession], str | None]:
        """A page of the owner's sessions, deleted ones too, in the order of their ids, and the place of the next.

        It may be short, or empty, and have a next one.
        """
        # Not by the list: a session whose runs were deleted one by one is in none.
        page = await self._tables.page(
            Table.RUNS,
            first=SESSION_KEY,
            before=SESSION_KEY + "~",
            any_of=[[("owner", "eq", owner)]],
            place=place,
            size=size,
        )
        return [FoundSession(session_id=row.partition, session=_session(row)) for row in page.rows], page.place

    async def batches(self, owner: str, place: str | None, size: int) -> tuple[Sequence[str], str | None]:
        """The same of the ids of the owner's batches, newest first: each has a row in the list, if a hidden one."""
        # Without what may be encrypted: a key that is gone must not hide them.
        page = await self._tables.page(
            Table.INDEX, partition=f"{BATCHES}:{digest_of(owner)}", select=["status"], place=place, size=size
        )
        return [row.key.split(":")[1] for row in page.rows], page.place

    async def schedules(self, owner: str, place: str | None, size: int) -> tuple[Sequence[str], str | None]:
        """The same of the ids of the owner's schedules."""
        page = await self._tables.page(
            Table.INDEX, partition=f"schedules:{digest_of(owner)}", select=["owner"], place=place, size=size
        )
        return [row.key for row in page.rows], page.place

    async def tries(self, owner: str, place: str | None, size: int) -> tuple[Sequence[Row], str | None]:
        """The same of what is kept of the requests of OpenAI clients."""
        return await self._rows(f"key:tries:{digest_of(owner)}", place, size)

    async def places(self, owner: str, place: str | None, size: int) -> tuple[Sequence[Row], str | None]:
        """The same of the places in the limit of active runs that are taken."""
        return await self._rows(f"active:{digest_of(owner)}", place, size)

    async def _rows(self, partition: str, place: str | None, size: int) -> tuple[Sequence[Row], str | None]:
        page = await self._tables.page(Table.INDEX, partition=partition, place=place, size=size)
        return page.rows, page.place


def digest_of(owner: str) -> str:
    """What an owner is called where a key cannot hold the name."""
    return hashlib.sha256(owner.encode()).hexdigest()


def _session(row: Row) -> Session | None:
    try:
        return decode(Session, row.values)
    except RowUnreadable:
        return None
