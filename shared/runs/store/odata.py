"""Filters as Table Storage reads them. Written out: the SDK's own parameters mistake 32 for 31 bits, and stumble on
spaces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shared.runs.store.tables import Condition, Value, plain

_OPERATORS = frozenset({"eq", "ne", "lt", "le", "gt", "ge"})


def filter_of(
    partition: str | None,
    first: str | None,
    before: str | None,
    where: Mapping[str, tuple[str, Value]],
    partitions: tuple[str, str] | None = None,
    any_of: Sequence[Sequence[Condition]] = (),
) -> str:
    """The filter: keys and conditions, all of which must hold, and one of the alternatives in full."""
    keys = (("PartitionKey", "eq", partition), ("RowKey", "ge", first), ("RowKey", "lt", before))
    terms = [_comparison(name, compare, key) for name, compare, key in keys if key is not None]
    terms += [_comparison(name, compare, value) for name, (compare, value) in where.items()]
    if partitions is not None:
        low, high = partitions
        terms += [_comparison("PartitionKey", "ge", low), _comparison("PartitionKey", "lt", high)]
    alternatives = [" and ".join(_comparison(*condition) for condition in each) for each in any_of]
    if alternatives:
        terms.append("(" + " or ".join(f"({each})" for each in alternatives) + ")")
    return " and ".join(terms)


def _comparison(name: str, compare: str, value: Value) -> str:
    if not name.isidentifier() or compare not in _OPERATORS:
        raise ValueError(f"no comparison: {name} {compare}")
    return f"{name} {compare} {_literal(plain(value))}"


def _literal(value: Value) -> str:
    match value:
        # Before `int`, which a bool is as well.
        case bool():
            return "true" if value else "false"
        case int():
            # Without the `L` the literal is one of 32 bits.
            return str(value) if -(2**31) <= value < 2**31 else f"{value}L"
        case float():
            return repr(value)
        case bytes():
            return f"X'{value.hex()}'"
        case str():
            # Doubled quotes: no text can end its literal and add a condition.
            return "'" + value.replace("'", "''") + "'"
