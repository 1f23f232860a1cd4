"""The port to Table Storage: rows in partitions, changed together under their ETags.

Two things speak it: :mod:`shared.runs.store.azure` (Azure Tables, Azurite) and :mod:`shared.runs.store.memory`
(ships for unit tests). Both pass the same contract tests, and both enforce the limits of the service that
Azurite does not (:func:`~shared.runs.store.limits.check_commit`).

Source of the limits: *Understanding the Table service data model* and *Performing entity group transactions*.
"""

from __future__ import annotations

import operator
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Protocol

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = MappingProxyType(
    {
        "eq": operator.eq,
        "ne": operator.ne,
        "lt": operator.lt,
        "le": operator.le,
        "gt": operator.gt,
        "ge": operator.ge,
    }
)

Value = str | int | float | bool | bytes
"""What a property holds. Times are ISO 8601 strings; whole numbers up to 64 bits come back as ``int``."""

MAX_STRING_UNITS = 32_768
MAX_BINARY_BYTES = 65_536
MAX_ENTITY_BYTES = 1_048_576
MAX_PROPERTIES = 252
MAX_OPERATIONS = 100
MAX_COMMIT_BYTES = 3 * 1_048_576
MAX_KEY_UNITS = 512


class Table(StrEnum):
    """The tables of the app. Each name carries the prefix of the settings at the service."""

    RUNS = "runs"
    DUE = "due"
    INDEX = "index"
    BATCHES = "batches"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row as it was read."""

    partition: str
    key: str
    etag: str
    values: Mapping[str, Value]


Condition = tuple[str, str, Value]
"""A property, an operator (``eq ne lt le gt ge``) and what it is compared with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A piece of what a query finds, perhaps empty. ``place`` is where the next begins; None after the last."""

    rows: Sequence[Row]
    place: str | None


class Kind(StrEnum):
    """What a change does. There is no delete without an ETag, and no blind replace but ``UPSERT``."""

    INSERT = "insert"
    MERGE = "merge"
    REPLACE = "replace"
    UPSERT = "upsert"
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change to one row. ``etag`` is required for merge, replace and delete; others carry none."""

    kind: Kind
    key: str
    values: Mapping[str, Value] = field(default_factory=dict)
    etag: str | None = None


class Conflict(Exception):
    """The row is not as it was read: changed or gone (412, 404), or there already (409). Read again.

    ``key`` is the row that refused, where the service says which; nothing of the commit was written.
    """

    def __init__(self, key: str | None, reason: str) -> None:
        super().__init__(f"{reason}: {key}")
        self.key = key
        self.reason = reason


class StoreUnavailable(Exception):
    """The store did not answer, or refused for its own reasons (5xx, throttled, no connection)."""


class LimitExceeded(ValueError):
    """A change breaks a limit of Table Storage. A defect of ours: values are split before they get here."""


class Tables(Protocol):
    """Rows, by table, partition and key. Every method may raise :class:`StoreUnavailable`."""

    async def get(self, table: Table, partition: str, key: str) -> Row | None:
        """One row by its keys; None when it (or the table) is absent."""
        ...

    async def commit(self, table: Table, partition: str, changes: Sequence[Change]) -> Mapping[str, str]:
        """Apply all changes or none; 1 to 100 of them, each for another key.

        Returns the new ETag by row key (deleted rows are left out). One change is sent as a plain
        operation, several as one entity group transaction. Raises :class:`Conflict` or :class:`LimitExceeded`.
        """
        ...

    def query(
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
        """Rows in key order with ``first <= key < before``, all pages, up to ``limit``.

        ``partition`` None reads every partition. ``where`` maps a property to (operator, value) with the operators
        ``eq ne lt le gt ge``, all of them holding. ``select`` limits the properties that come back. Absent
        properties match no comparison but come back absent; nor does a value of another type match. Whole numbers
        are stored in 32 bits where they fit, else in 64: do not compare a property that has both.
        """
        ...

    async def page(
        self,
        table: Table,
        *,
        partitions: tuple[str, str] | None = None,
        first: str | None = None,
        before: str | None = None,
        any_of: Sequence[Sequence[Condition]] = (),
        select: Sequence[str] | None = None,
        place: str | None = None,
        size: int,
    ) -> Page:
        """The next page of a long query, from ``place`` on, so that it can be gone on with at another time.

        Rows of all partitions, or of those with ``first <= name < before`` in ``partitions``, with
        ``first <= key < before``, for which all conditions of one of the alternatives hold. At most ``size`` rows.
        """
        ...

    async def close(self) -> None:
        """Give back connections. The object is not usable afterwards."""
        ...


def units(text: str) -> int:
    """Length in UTF-16 code units, as the service counts it (an astral character counts two)."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def fits(row: Row, any_of: Sequence[Sequence[Condition]]) -> bool:
    """Whether all conditions of one of the alternatives hold; of another type nothing holds."""
    return not any_of or any(
        all(holds(row.values.get(name), compare, value) for name, compare, value in each) for each in any_of
    )


def holds(value: Value | None, compare: str, wanted: Value) -> bool:
    """Whether the comparison holds, as the service makes it."""
    wanted = plain(wanted)
    if value is None or type(value) is not type(wanted):
        return False
    if isinstance(value, str) and isinstance(wanted, str):
        return bool(_COMPARE[compare](ordinal(value), ordinal(wanted)))
    return bool(_COMPARE[compare](value, wanted))


def ordinal(key: str) -> bytes:
    """Orders keys as the service does, by UTF-16 unit: astral characters come before U+E000 and later."""
    return key.encode("utf-16-be", "surrogatepass")


def plain(value: Value) -> Value:
    """The value as it comes back: a member of a str or int enumeration is stored as what it stands for."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    return value
