"""Tables whose texts are sealed: encrypted right before they are written, opened right after they are read.

Everything above sees plain values, so a row, its changes and its limits are computed as ever. What is sealed is named
in ``FIELDS``; the rest stays readable, for the service filters and sorts by it. A value that was written before
encryption was switched on is a plain one, and is read as it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import itertools
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from shared.runs.store.sealer import MAGIC, Damaged, KeyUnavailable, Sealer, Unopened
from shared.runs.store.tables import Change, Condition, Conflict, Kind, Page, Row, Table, Tables, Value

FIELDS: Mapping[Table, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        Table.RUNS: {
            "run": (
                "request",
                "instructions",
                "tools",
                "outputs",
                "result",
                "text",
                "output",
                "annotations",
                "journal",
                "extras",
            ),
            "tool": ("arguments", "result", "reason", "why", "progress"),
            "item": ("data",),
            "part": tuple(f"b{index:02}" for index in range(12)),
        },
        Table.INDEX: {
            "owner": ("summary",),
            "batches": ("summary",),
            "controls": ("reason",),
            "schedules": ("request", "last_message"),
            "sealing": ("secret",),
        },
        Table.BATCHES: {
            "batch": ("request", "progress"),
            "item": ("id", "asked", "error_message"),
            "result": ("error_message",),
            "part": tuple(f"b{index:02}" for index in range(12)),
        },
    }
)
"""What is sealed, by table and kind of row. A field that holds what a caller, a model or a tool wrote belongs here."""

_SUFFIXES = ("", "_part", "_2", "_3", "_4")
"""A field may be several properties: see ``store.rows``."""

_NAMES = "sealing", "names"
"""The row with the secret that the names of parts are made with."""

_UTF8, _UTF16, _BYTES = b"\0", b"\1", b"\2"
_MOST_UTF8 = 60_000


class SealedTables:
    """The port of the store over another one. Every method may raise ``KeyUnavailable`` too."""

    def __init__(self, tables: Tables, sealer: Sealer) -> None:
        self._tables = tables
        self._sealer = sealer
        self._secret: bytes | None = None

    async def get(self, table: Table, partition: str, key: str) -> Row | None:
        """One row, opened. A part is looked for under its sealed name, then under its plain one."""
        row = None
        if _is_part(table, key):
            row = await self._tables.get(table, partition, await self._part_key(table, partition, key))
        row = row or await self._tables.get(table, partition, key)
        return None if row is None else await self._opened(table, row)

    async def commit(self, table: Table, partition: str, changes: Sequence[Change]) -> Mapping[str, str]:
        """Seal, then apply all changes or none; the ETags by the keys that the changes have."""
        sealed = [await self._sealed(table, partition, change) for change in changes]
        etags = await self._tables.commit(table, partition, sealed)
        asked = {to.key: of.key for of, to in zip(changes, sealed, strict=True)}
        return {asked[key]: etag for key, etag in etags.items()}

    async def query(
        self,
        table: Table,
        partition: str | None,
        *,
        first: str | None = None,
        before: str | None = None,
        where: Mapping[str, tuple[str, Value]] | None = None,
        select: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Row]:
        """Rows in key order, opened: see the port. Nothing that is sealed can be compared."""
        rows = self._tables.query(table, partition, first=first, before=before, where=where, select=select, limit=limit)
        async for row in rows:
            yield await self._opened(table, row)

    async def page(
        self,
        table: Table,
        *,
        partition: str | None = None,
        partitions: tuple[str, str] | None = None,
        first: str | None = None,
        before: str | None = None,
        any_of: Sequence[Sequence[Condition]] = (),
        select: Sequence[str] | None = None,
        place: str | None = None,
        size: int,
    ) -> Page:
        """The next page of a long query, opened: see the port."""
        page = await self._tables.page(
            table,
            partition=partition,
            partitions=partitions,
            first=first,
            before=before,
            any_of=any_of,
            select=select,
            place=place,
            size=size,
        )
        return replace(page, rows=[await self._opened(table, row) for row in page.rows])

    async def close(self) -> None:
        """Give back connections, those of the sealer too."""
        await self._sealer.close()
        await self._tables.close()

    async def _sealed(self, table: Table, partition: str, change: Change) -> Change:
        hidden = _hidden(table, _kind(table, partition, change.key))
        if hidden.isdisjoint(change.values):
            return change
        key = change.key
        if _is_part(table, key):
            key = await self._part_key(table, partition, key)
        values = {
            name: await self._seal(table, partition, key, name, value) if name in hidden else value
            for name, value in change.values.items()
        }
        return Change(kind=change.kind, key=key, values=values, etag=change.etag)

    async def _seal(self, table: Table, partition: str, key: str, name: str, value: Value) -> Value:
        # Empty stays empty: it clears a property, or says that there is no value.
        if not isinstance(value, str | bytes) or not value:
            return value
        context = _context(table, partition, key, name)
        return await self._sealer.seal(_to_bytes(value), scope=_scope(table, partition), context=context)

    async def _opened(self, table: Table, row: Row) -> Row:
        hidden = _hidden(table, _kind(table, row.partition, row.key))
        values = {
            name: await self._open(table, row, name, value)
            for name, value in row.values.items()
            if isinstance(value, bytes) and name in hidden and value.startswith(MAGIC)
        }
        return replace(row, values={**row.values, **values}) if values else row

    async def _open(self, table: Table, row: Row, name: str, sealed: bytes) -> Value:
        scope, context = _scope(table, row.partition), _context(table, row.partition, row.key, name)
        try:
            return _from_bytes(await self._sealer.open(sealed, scope=scope, context=context))
        # Not raised: one bad row must not stop a query of many. Whoever decodes this one is told.
        except Damaged:
            return Unopened(sealed)

    async def _part_key(self, table: Table, partition: str, key: str) -> str:
        """The key of a part without the digest of its value, which anybody could compare with a guess."""
        kind, number, digest, index = key.split(":")
        given = f"{table}/{partition}/{number}/{digest}".encode()
        name = hmac.new(await self._names(), given, hashlib.sha256).hexdigest()[:32]
        return f"{kind}:{number}:{name}:{index}"

    async def _names(self) -> bytes:
        """The app's secret for names, made once; every process has the same."""
        if self._secret is None:
            partition, key = _NAMES
            row = await self.get(Table.INDEX, partition, key)
            if row is None:
                row = await self._new_names()
            secret = row.values.get("secret") if row is not None else None
            if not isinstance(secret, bytes) or isinstance(secret, Unopened):
                raise KeyUnavailable("The secret that names parts (index, sealing, names) cannot be opened.")
            self._secret = secret
        return self._secret

    async def _new_names(self) -> Row | None:
        partition, key = _NAMES
        change = Change(kind=Kind.INSERT, key=key, values={"secret": secrets.token_bytes(32)})
        with contextlib.suppress(Conflict):  # another process was faster
            await self.commit(Table.INDEX, partition, [change])
        return await self.get(Table.INDEX, partition, key)


def _hidden(table: Table, kind: str) -> frozenset[str]:
    return _HIDDEN.get((table, kind), frozenset())


def _properties(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name + suffix for name, suffix in itertools.product(names, _SUFFIXES))


_HIDDEN = {(table, kind): _properties(names) for table, kinds in FIELDS.items() for kind, names in kinds.items()}


def _kind(table: Table, partition: str, key: str) -> str:
    """What a row is: in the index its partition says so, elsewhere its key."""
    return (partition if table is Table.INDEX else key).partition(":")[0]


def _is_part(table: Table, key: str) -> bool:
    return table is not Table.INDEX and key.startswith("part:") and key.count(":") == 3


def _scope(table: Table, partition: str) -> str:
    """The values that may share a data key: those of a session, of a batch, of an owner's list."""
    return f"{table}/{partition}"


def _context(table: Table, partition: str, key: str, name: str) -> bytes:
    return "\0".join((table, partition, key, name)).encode()


def _to_bytes(value: str | bytes) -> bytes:
    """A value as bytes that a property can hold when sealed; the first says how to read them."""
    if isinstance(value, bytes):
        return _BYTES + value
    data = value.encode()
    # A text of 24,000 characters may take 72,000 bytes so; a binary property holds 65,536.
    return _UTF8 + data if len(data) <= _MOST_UTF8 else _UTF16 + value.encode("utf-16-le")


def _from_bytes(data: bytes) -> Value:
    kind, rest = data[:1], data[1:]
    if kind == _BYTES:
        return rest
    return rest.decode() if kind == _UTF8 else rest.decode("utf-16-le")
