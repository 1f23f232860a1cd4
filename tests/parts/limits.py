"""The limits of Table Storage, counted as the service counts them.

Azurite enforces few of them, so a test against it proves nothing about size: the tables in memory check all of them at
every commit. What ships checks lengths alone (``store.tables``), and never less strictly.
Sources: *Understanding the Table service data model*, *Performing entity group transactions*, and for the size
of an entity the storage team's formula (4 + keys, and per property 8 + name + value, text in UTF-16).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring_ascii as _quoted

from shared.runs.store.tables import (
    MAX_BINARY_BYTES,
    MAX_COMMIT_BYTES,
    MAX_ENTITY_BYTES,
    MAX_KEY_UNITS,
    MAX_OPERATIONS,
    MAX_PROPERTIES,
    MAX_STRING_UNITS,
    Change,
    Kind,
    LimitExceeded,
    Value,
    units,
    valid_key,
)

MAX_NAME_UNITS = 255

_RESERVED = frozenset({"PartitionKey", "RowKey", "Timestamp"})
_UNDER_ETAG = frozenset({Kind.MERGE, Kind.REPLACE, Kind.DELETE})
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_SYSTEM_BYTES = 4 + (8 + 2 * len("Timestamp") + 8)
_PART_BYTES = 800  # the MIME part around one operation: boundary, verb, headers (500 to 700 seen)


def value_bytes(value: Value) -> int:
    """What a value counts towards the 1 MiB of its entity."""
    match value:
        case bool():
            return 1
        case int():
            return 4 if -(2**31) <= value < 2**31 else 8
        case float():
            return 8
        case bytes():
            return 4 + len(value)
        case str():
            return 4 + 2 * units(value)


def entity_bytes(partition: str, key: str, values: Mapping[str, Value]) -> int:
    """The size of an entity as the service counts it, with its ``Timestamp``."""
    properties = sum(8 + 2 * units(name) + value_bytes(value) for name, value in values.items())
    return _SYSTEM_BYTES + 2 * (units(partition) + units(key)) + properties


def change_bytes(partition: str, change: Change) -> int:
    """What a change adds to the body of its request, never less than it really does.

    The SDK sends ASCII JSON, so one UTF-16 unit beyond ASCII takes six bytes, and binary is base64.
    """
    names = sum(2 * len(_quoted(name)) + len('@odata.type": "Edm.Binary", : , ') for name in change.values)
    keys = len(_quoted(partition)) + len(_quoted(change.key)) + 12 * (len(partition) + len(change.key))
    return _PART_BYTES + keys + names + sum(_wire_bytes(value) for value in change.values.values())


def check_change(partition: str, change: Change) -> None:
    """Raises :class:`LimitExceeded` for a change that the service would refuse or garble."""
    _check_key("partition key", partition)
    _check_key("row key", change.key)
    _check_etag(change)
    if change.kind is Kind.DELETE and change.values:
        raise LimitExceeded(f"a delete of {change.key} carries values")
    check_values(partition, change.key, change.values)


def check_values(partition: str, key: str, values: Mapping[str, Value]) -> None:
    """Raises :class:`LimitExceeded` for properties that one entity cannot hold."""
    if len(values) > MAX_PROPERTIES:
        raise LimitExceeded(f"{key} has {len(values)} properties, over {MAX_PROPERTIES}")
    for name, value in values.items():
        if not _is_name(name):
            raise LimitExceeded(f"{key} has a property with the unusable name {name[:80]!r}")
        _check_value(f"{key}.{name}", value)
    size = entity_bytes(partition, key, values)
    if size > MAX_ENTITY_BYTES:
        raise LimitExceeded(f"{key} counts {size} bytes, over {MAX_ENTITY_BYTES}")


def check_commit(partition: str, changes: Sequence[Change]) -> None:
    """Raises :class:`LimitExceeded` when these changes cannot be one commit. Checks each of them as well."""
    if not 1 <= len(changes) <= MAX_OPERATIONS:
        raise LimitExceeded(f"a commit has {len(changes)} operations, not 1 to {MAX_OPERATIONS}")
    if len({change.key for change in changes}) != len(changes):
        raise LimitExceeded("a commit changes the same row twice")
    for change in changes:
        check_change(partition, change)
    size = sum(change_bytes(partition, change) for change in changes)
    if size > MAX_COMMIT_BYTES:
        raise LimitExceeded(f"a commit of about {size} bytes is over {MAX_COMMIT_BYTES}")


def _wire_bytes(value: Value) -> int:
    match value:
        case bytes():
            return 4 * (len(value) // 3 + 1) + 2
        case str():
            return len(_quoted(value))
        case _:
            return 26  # the longest int64 or double


def _check_key(what: str, key: str) -> None:
    if not valid_key(key):
        raise LimitExceeded(f"the {what} {key[:80]!r} is empty, over {MAX_KEY_UNITS} units, or has a refused character")


def _check_etag(change: Change) -> None:
    if change.kind not in _UNDER_ETAG:
        if change.etag is not None:
            raise LimitExceeded(f"{change.kind} of {change.key} carries an ETag, which the service would ignore")
    elif not change.etag or change.etag == "*":
        raise LimitExceeded(f"{change.kind} of {change.key} carries no ETag, so it would be blind")


@functools.lru_cache(1_024)
def _is_name(name: str) -> bool:
    # Property names are C# identifiers; Python's are the same but for characters nobody uses in a name.
    return name.isidentifier() and units(name) <= MAX_NAME_UNITS and name not in _RESERVED


def _check_value(where: str, value: object) -> None:
    match value:
        case bool() | float():
            return
        case int():
            if not -(2**63) <= value < 2**63:
                raise LimitExceeded(f"{where} does not fit in 64 bits")
        case bytes():
            if len(value) > MAX_BINARY_BYTES:
                raise LimitExceeded(f"{where} has {len(value)} bytes, over {MAX_BINARY_BYTES}")
        case str():
            _check_text(where, value)
        case _:
            raise LimitExceeded(f"{where} is a {type(value).__name__}, which no property holds")


def _check_text(where: str, text: str) -> None:
    if units(text) > MAX_STRING_UNITS:
        raise LimitExceeded(f"{where} has {units(text)} UTF-16 units, over {MAX_STRING_UNITS}")
    # Half a pair has no UTF-8: what comes back would not be what was written.
    if not text.isascii() and _SURROGATE.search(text):
        raise LimitExceeded(f"{where} has half a surrogate pair")
