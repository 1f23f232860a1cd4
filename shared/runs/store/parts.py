"""Long values: any text over 24,000 UTF-16 units lies in part rows of its run, named by its digest.

In the batches table the partition is the batch, and the number that of the item.

Parts are written before the row that refers to them, create-or-same. One that a crash left behind is deleted with its
run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from shared.agentkit.lenient import well_formed
from shared.runs.model.run import PartRef, Text
from shared.runs.store.tables import Change, Kind, Row, Table, Tables, Value, units

INLINE_UNITS = 24_000

BEGINNING = 500
"""Characters of a long value that stand in its row."""

# A binary property takes 64 KiB, and a row 1 MiB; as base64 these twelve are 960 KB in the request.
_CHUNK_BYTES = 60_000
_CHUNKS_A_ROW = 12


async def store_text(
    tables: Tables, session_id: str, number: int, text: str, *, inline: int = INLINE_UNITS, table: Table = Table.RUNS
) -> Text:
    """The text as a row can hold it; a long one is written to parts first. Lone surrogates become U+FFFD."""
    text = well_formed(text)
    if units(text) <= inline:
        return text
    # Bytes of UTF-8: a string property counts two bytes for each character.
    data = text.encode()
    digest = hashlib.sha256(data).hexdigest()[:32]
    count = 0
    for count, values in enumerate(_rows(data), start=1):
        # The same bytes (the digest is in the key) under a new ETag, so that a removal that has read the old one fails.
        change = Change(kind=Kind.UPSERT, key=f"{_prefix(number, digest)}{count - 1:06}", values=values)
        await tables.commit(table, session_id, [change])
    return PartRef(digest, count, text[:BEGINNING])


async def load_text(tables: Tables, session_id: str, number: int, value: Text, *, table: Table = Table.RUNS) -> str:
    """The text that a row holds or refers to. Raises ``LookupError`` when parts are missing."""
    if isinstance(value, str):
        return value
    prefix = _prefix(number, value.digest)
    pieces: list[bytes] = []
    for part in range(value.count):  # one by one: a page of them would be decoded in one go
        row = await tables.get(table, session_id, f"{prefix}{part:06}")
        if row is None:
            raise LookupError(f"the parts of {session_id}/{prefix} are not whole: {part} of {value.count} rows")
        pieces += _chunks(row)
    data = b"".join(pieces)
    # A damaged value must not pass for the one that was written.
    if hashlib.sha256(data).hexdigest()[:32] != value.digest:
        raise LookupError(f"the parts of {session_id}/{prefix} are not what was written")
    return data.decode()


def _prefix(number: int, digest: str) -> str:
    return f"part:{number:08}:{digest}:"


def _rows(data: bytes) -> Iterator[dict[str, Value]]:
    size = _CHUNK_BYTES * _CHUNKS_A_ROW
    for start in range(0, len(data), size):
        row = data[start : start + size]
        yield {f"b{index:02}": row[at : at + _CHUNK_BYTES] for index, at in enumerate(range(0, len(row), _CHUNK_BYTES))}


def _chunks(row: Row) -> Iterator[bytes]:
    for index in range(_CHUNKS_A_ROW):
        piece = row.values.get(f"b{index:02}")
        if isinstance(piece, bytes):
            yield piece
