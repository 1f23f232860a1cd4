"""The port to Table Storage: rows in partitions, changed together under their ETags.

Two modules implement it: :mod:`shared.runs.store.azure` (Azure Tables, Azurite) and ``tests.parts.memory``. Both pass
the same contract tests, and enforce the limits of the service that Azurite does not: :class:`Change` those of one row,
:func:`check_commit` those of a transaction.

Source of the limits: *Understanding the Table service data model* and *Performing entity group transactions*.
"""

from __future__ import annotations

import operator
import re
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
MAX_PROPERTIES = 252  # 255 with the keys and the timestamp
MAX_OPERATIONS = 100
MAX_COMMIT_BYTES = 3 * 1_048_576  # the service takes 4 MiB; sizes here are estimates
MAX_KEY_UNITS = 512

# Half surrogates too, which the service does not name: a key is in the address, in UTF-8.
_KEY_REFUSES = re.compile(r"[/\\#?\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_OPERATION_BYTES = 1_400
"""What an operation adds to the body of a transaction besides its values: headers, address and keys."""

_ROW_BYTES = 2_100
"""What a row counts besides its properties: its keys, of 512 UTF-16 units at most, and when it was written."""

_PROPERTY_BYTES = 60
"""What a property adds besides its name and a text: its type and punctuation, and a number."""


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
    """What a change does. There is no delete without an ETag, and no blind write but ``UPSERT`` and ``OVERWRITE``.

    ``OVERWRITE`` replaces a row that is there, whatever it holds. It never makes one: ``Conflict`` where there is none.
    """

    INSERT = "insert"
    MERGE = "merge"
    REPLACE = "replace"
    UPSERT = "upsert"
    OVERWRITE = "overwrite"
    DELETE = "delete"


_UNDER_ETAG = frozenset({Kind.MERGE, Kind.REPLACE, Kind.DELETE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change to one row. ``etag`` is required for merge, replace and delete; others carry none.

    Raises :class:`LimitExceeded` for values that no row can hold.
    """

    kind: Kind
    key: str
    values: Mapping[str, Value] = field(default_factory=dict)
    etag: str | None = None

    size: int = field(init=False, compare=False, repr=False)
    """Bytes that it adds to a request, counted once, from lengths: rather too many than too few.

    The client sends ASCII JSON: a UTF-16 unit beyond ASCII takes six bytes. In a text that has some, each unit is
    counted so; in any other, two bytes a character leave room for quotes and line ends.
    """

    def __post_init__(self) -> None:
        # Here and not at the commit: the error shows who made the change.
        object.__setattr__(self, "size", _size(self.key, self.values))


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
        partition: str | None = None,
        partitions: tuple[str, str] | None = None,
        first: str | None = None,
        before: str | None = None,
        any_of: Sequence[Sequence[Condition]] = (),
        select: Sequence[str] | None = None,
        place: str | None = None,
        size: int,
    ) -> Page:
        """The next page of a long query, from ``place`` on, so that it can be continued at another time.

        Rows of all partitions, of ``partition``, or of those with ``first <= name < before`` in ``partitions``, with
        ``first <= key < before``, for which all conditions of one of the alternatives hold. At most ``size`` rows.
        Raises ``ValueError`` for a place that none of its pages gave out.
        """
        ...

    async def close(self) -> None:
        """Give back connections. The object is not usable afterwards."""
        ...


def valid_key(key: str) -> bool:
    """Whether the service takes this partition or row key. The empty key is legal there, never meant here."""
    return bool(key) and _KEY_REFUSES.search(key) is None and units(key) <= MAX_KEY_UNITS


def check_commit(partition: str, changes: Sequence[Change]) -> None:
    """Raises :class:`LimitExceeded` when these changes cannot be one commit."""
    if not 1 <= len(changes) <= MAX_OPERATIONS:
        raise LimitExceeded(f"a commit has {len(changes)} operations, not 1 to {MAX_OPERATIONS}")
    # The service refuses the whole transaction for it.
    if len({change.key for change in changes}) != len(changes):
        raise LimitExceeded("a commit changes the same row twice")
    for key in (partition, *(change.key for change in changes)):
        if not valid_key(key):
            raise LimitExceeded(
                f"the key {key[:80]!r} is empty, over {MAX_KEY_UNITS} units, or has a refused character"
            )
    for change in changes:
        _check_etag(change)
    size = sum(change.size for change in changes)
    if size > MAX_COMMIT_BYTES:
        raise LimitExceeded(f"a commit of up to {size} bytes is over {MAX_COMMIT_BYTES}")


def units(text: str) -> int:
    """Length in UTF-16 code units, as the service counts it (an astral character counts two)."""
    # ASCII first: nearly all texts are, and then nothing is copied.
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def fits(row: Row, any_of: Sequence[Sequence[Condition]]) -> bool:
    """Whether all conditions of one of the alternatives hold; of another type nothing holds."""
    return not any_of or any(
        all(holds(row.values.get(name), compare, value) for name, compare, value in each) for each in any_of
    )


def holds(value: Value | None, compare: str, wanted: Value) -> bool:
    """Whether the comparison holds, as the service makes it."""
    wanted = plain(wanted)
    # Not `isinstance`: to Python a bool is an int, and to the service it is another type.
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


def _size(key: str, values: Mapping[str, Value]) -> int:
    if len(values) > MAX_PROPERTIES:
        raise LimitExceeded(f"{key} has {len(values)} properties, over {MAX_PROPERTIES}")
    in_row, in_request = _ROW_BYTES, _OPERATION_BYTES
    for name, value in values.items():
        stored, sent = _value_sizes(value)
        if stored > (MAX_BINARY_BYTES if isinstance(value, bytes) else 2 * MAX_STRING_UNITS):
            raise LimitExceeded(f"{key}.{name} has {stored} bytes, more than a property can hold")
        in_row += stored + _PROPERTY_BYTES + 2 * len(name)
        in_request += sent + _PROPERTY_BYTES + 2 * len(name)
    if in_row > MAX_ENTITY_BYTES:
        raise LimitExceeded(f"{key} counts {in_row} bytes, over {MAX_ENTITY_BYTES}")
    return in_request


def _value_sizes(value: Value) -> tuple[int, int]:
    """Bytes of a value in its row, and in a request."""
    if isinstance(value, str):
        if value.isascii():
            return 2 * len(value), 2 * len(value)
        try:
            size = len(value.encode("utf-16-le"))
        except UnicodeEncodeError as error:
            # It has no UTF-8: what comes back would not be what was written.
            raise LimitExceeded("a text has half a surrogate pair") from error
        return size, 3 * size
    if isinstance(value, bytes):
        return len(value), 4 * (len(value) // 3 + 1)  # base64 in the request
    return 0, 0  # what counts for each property is enough for a number


def _check_etag(change: Change) -> None:
    if change.kind not in _UNDER_ETAG:
        if change.etag is not None:
            raise LimitExceeded(f"{change.kind} of {change.key} carries an ETag, which the service would ignore")
    # `*` fits every row, so that a lost race would go unnoticed.
    elif not change.etag or change.etag == "*":
        raise LimitExceeded(f"{change.kind} of {change.key} carries no ETag, so it would be blind")
