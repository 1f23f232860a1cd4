"""The slots of an owner's active runs, in the index table: as many rows as runs may be active, each one run's."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from shared.runs.store.rows import moment_of, seconds_of
from shared.runs.store.tables import Change, Conflict, Kind, Row, Table, Tables, Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A slot that is held. ``fingerprint`` tells which of two requests for one run holds it."""

    number: int
    run_id: str
    fingerprint: str
    taken_at: datetime
    etag: str = ""

    def holds(self, run_id: str, fingerprint: str) -> bool:
        """Whether it is held for this fingerprint of this run."""
        return (self.run_id, self.fingerprint) == (run_id, fingerprint)


class SlotStore:
    """Reads and writes slots. Every method may raise ``StoreUnavailable``."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def held(self, owner: str) -> list[Slot]:
        """The slots of an owner that are held."""
        return [_slot(row) async for row in self._tables.query(Table.INDEX, _partition(owner))]

    async def take(self, owner: str, slot: Slot) -> None:
        """Take a free slot, or hold one of one's own (with an ETag) from now on. Raises ``Conflict``."""
        # Rows and not a counter: after a crash each row still names the run that it is to be checked against.
        kind, etag = (Kind.REPLACE, slot.etag) if slot.etag else (Kind.INSERT, None)
        change = Change(kind=kind, key=_key(slot.number), values=_values(slot), etag=etag)
        await self._tables.commit(Table.INDEX, _partition(owner), [change])

    async def free(self, owner: str, slot: Slot) -> None:
        """Give a slot back as it was read. Raises ``Conflict`` when it was changed since."""
        change = Change(kind=Kind.DELETE, key=_key(slot.number), etag=slot.etag)
        await self._tables.commit(Table.INDEX, _partition(owner), [change])

    async def give_back(self, owner: str, number: int, run_id: str, fingerprint: str) -> None:
        """Give back the slot that this fingerprint of a run holds; one that is another's is left alone."""
        # Read first: the slot may be another run's by now, since a full set is checked and freed.
        row = await self._tables.get(Table.INDEX, _partition(owner), _key(number))
        if row is not None and (slot := _slot(row)).holds(run_id, fingerprint):
            try:
                await self.free(owner, slot)
            except Conflict:  # another call for the same run was faster
                return


def _partition(owner: str) -> str:
    # Hashed: the name of an owner may be longer than a key can be, or hold what a key refuses.
    return f"active:{hashlib.sha256(owner.encode()).hexdigest()}"


def _key(number: int) -> str:
    return f"{number:06}"


def _values(slot: Slot) -> dict[str, Value]:
    return {"run": slot.run_id, "fingerprint": slot.fingerprint, "taken_at": seconds_of(slot.taken_at)}


def _slot(row: Row) -> Slot:
    return Slot(
        number=int(row.key),
        run_id=str(row.values["run"]),
        fingerprint=str(row.values["fingerprint"]),
        taken_at=moment_of(row.values["taken_at"]),
        etag=row.etag,
    )
