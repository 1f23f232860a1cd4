"""The limits of Table Storage, value by value."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.runs.store.tables import MAX_ENTITY_BYTES, Change, Kind, LimitExceeded, Value, units, valid_key
from tests.parts.cases import cases
from tests.parts.limits import (
    change_bytes,
    check_change,
    check_commit,
    check_values,
    entity_bytes,
    value_bytes,
)


def change(kind: Kind = Kind.INSERT, key: str = "a", etag: str | None = None, **values: Value) -> Change:
    return Change(kind=kind, key=key, values=values, etag=etag)


@pytest.mark.parametrize(("text", "count"), [("", 0), ("a", 1), ("é", 1), ("汉", 1), ("😀", 2), ("\ud800", 1)])
def test_text_is_counted_in_utf16_units(text: str, count: int) -> None:
    assert units(text) == count


@cases(
    ("key", "valid"),
    [
        ("a", True),
        ("00000001:item:000000", True),
        ("it's 50% + é😀", True),
        ("a" * 512, True),
        ("😀" * 256, True),
        ("", False),
        ("a" * 513, False),
        ("😀" * 256 + "a", False),
        *((f"a{refused}b", False) for refused in "/\\#?\t\n\r\x00\x1f\x7f\x9f\ud800"),
    ],
)
def test_keys(key: str, valid: bool) -> None:
    assert valid_key(key) is valid


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (True, 1),
        (0, 4),
        (2**31 - 1, 4),
        (2**31, 8),
        (-(2**31), 4),
        (-(2**31) - 1, 8),
        (0.5, 8),
        (b"", 4),
        (b"abc", 7),
        ("", 4),
        ("abc", 10),
        ("😀", 8),
    ],
)
def test_what_a_value_counts(value: Value, size: int) -> None:
    assert value_bytes(value) == size


def test_what_an_entity_counts() -> None:
    timestamp = 8 + 18 + 8
    assert entity_bytes("p", "row", {}) == 4 + timestamp + 2 * 4
    assert entity_bytes("p", "row", {"name": "abc"}) == 4 + timestamp + 2 * 4 + (8 + 8 + 10)


def test_an_entity_may_fill_a_mebibyte_and_no_byte_more() -> None:
    values: dict[str, Value] = {f"p{n:02}": bytes(65_536) for n in range(15)}
    room = MAX_ENTITY_BYTES - entity_bytes("p", "a", {**values, "rest": b""})
    check_values("p", "a", {**values, "rest": bytes(room)})
    with pytest.raises(LimitExceeded, match="1048577 bytes"):
        check_values("p", "a", {**values, "rest": bytes(room + 1)})


@pytest.mark.parametrize(
    "values",
    [
        {f"p{n}": n for n in range(252)},
        {"text": "a" * 32_768},
        {"text": "😀" * 16_384},
        {"data": bytes(65_536)},
        {"n": 2**63 - 1, "m": -(2**63)},
        {"_under_Score9": 1, "é": 1, "n" * 255: 1},
        {"nan": float("nan")},
    ],
)
def test_values_at_their_limits_are_taken(values: dict[str, Value]) -> None:
    check_change("p", Change(kind=Kind.INSERT, key="a", values=values))


@cases(
    "values",
    [
        {f"p{n}": n for n in range(253)},
        {"text": "a" * 32_769},
        {"text": "😀" * 16_384 + "a"},
        {"text": "half a pair \ud83d"},
        {"data": bytes(65_537)},
        {"n": 2**63},
        {"n": -(2**63) - 1},
        {"none": None},
        {"list": []},
        {"array": bytearray(b"a")},
        {"": 1},
        {"9lives": 1},
        {"a-b": 1},
        {"a b": 1},
        {"a.b": 1},
        {"a@odata.type": "Edm.String"},
        {"n" * 256: 1},
        {"PartitionKey": "x"},
        {"RowKey": "x"},
        {"Timestamp": "x"},
    ],
)
def test_values_over_a_limit_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(LimitExceeded):
        check_change("p", Change(kind=Kind.INSERT, key="a", values=values))


@cases(
    "refused",
    [
        change(key="a/b"),
        change(key=""),
        change(etag="x"),
        change(Kind.UPSERT, etag="x"),
        *(change(kind, etag=etag) for kind in (Kind.MERGE, Kind.REPLACE, Kind.DELETE) for etag in (None, "", "*")),
        change(Kind.DELETE, etag="x", n=1),
    ],
)
def test_changes_that_are_malformed_are_refused(refused: Change) -> None:
    with pytest.raises(LimitExceeded):
        check_change("p", refused)


def test_a_partition_key_is_a_key() -> None:
    with pytest.raises(LimitExceeded, match="partition key"):
        check_change("a/b", change())


def test_a_commit_has_one_to_a_hundred_changes_of_different_rows() -> None:
    check_commit("p", [change(key=str(n)) for n in range(100)])
    for changes in ([], [change(), change()], [change(key=str(n)) for n in range(101)]):
        with pytest.raises(LimitExceeded):
            check_commit("p", changes)


def test_a_commit_is_counted_as_it_is_sent() -> None:
    # Binary grows by a third, and an escaped character takes six bytes of the body for the two that it counts.
    def rows(count: int, values: dict[str, Value]) -> list[Change]:
        return [Change(kind=Kind.INSERT, key=str(n), values=values) for n in range(count)]

    binary = rows(3, {f"p{i}": bytes(65_536) for i in range(15)})
    check_commit("p", binary[:2])
    foreign = rows(2, {f"p{i}": "汉" * 32_768 for i in range(9)})
    check_commit("p", foreign[:1])
    for changes in (binary, foreign):
        with pytest.raises(LimitExceeded, match="commit of about"):
            check_commit("p", changes)


TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from('\n\t"\\'), max_size=300)
VALUES = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.binary(max_size=300) | TEXTS


@settings(max_examples=60, deadline=None)
@given(values=st.dictionaries(st.from_regex("[a-z_]{1,40}", fullmatch=True), VALUES, max_size=20))
def test_what_ships_counts_no_change_lower_than_it_is(values: dict[str, Value]) -> None:
    one = Change(kind=Kind.MERGE, key="run:00000001", etag="x", values=values)
    assert one.size >= change_bytes("0123456789abcdef0123456789abcdef", one)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({f"p{n}": n for n in range(253)}, "properties"),
        ({"text": "a" * 32_769}, "a.text"),
        ({"text": "汉" * 32_769}, "a.text"),
        ({"text": "😀" * 16_384 + "a"}, "a.text"),
        ({"text": "half a pair \ud83d"}, "surrogate"),
        ({"data": bytes(65_537)}, "a.data"),
        ({f"p{n:02}": bytes(65_536) for n in range(16)}, "1048576"),
        ({f"p{n:02}": "汉" * 32_768 for n in range(16)}, "1048576"),
    ],
)
def test_what_ships_makes_no_change_that_a_row_cannot_hold(values: dict[str, Value], match: str) -> None:
    with pytest.raises(LimitExceeded, match=match):
        change(**values)


@pytest.mark.parametrize(
    "values",
    [
        {f"p{n}": n for n in range(252)},
        {"text": "a" * 32_768},
        {"text": "😀" * 16_384},
        {"data": bytes(65_536)},
        {f"p{n:02}": bytes(65_536) for n in range(15)},
        {f"p{n:02}": "汉" * 32_768 for n in range(15)},
    ],
)
def test_what_ships_takes_what_a_row_can_hold(values: dict[str, Value]) -> None:
    assert change(**values).size > 0
