"""The port to Table Storage, value by value: what a change counts, what is refused, and what a comparison holds for."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from enum import IntEnum, StrEnum
from typing import Any

import pytest

from shared.runs.model.batch import BatchItem
from shared.runs.store import batches, tables
from shared.runs.store.batches import BatchStore
from shared.runs.store.tables import (
    MAX_COMMIT_BYTES,
    Change,
    Condition,
    Conflict,
    Kind,
    LimitExceeded,
    Row,
    Table,
    Value,
    check_commit,
    fits,
    holds,
    ordinal,
    plain,
)
from tests.parts.cases import cases
from tests.parts.memory import MemoryTables


class Word(StrEnum):
    A = "a"


class Number(IntEnum):
    ONE = 1


def change(key: str = "a", *, kind: Kind = Kind.INSERT, etag: str | None = None, **values: Value) -> Change:
    return Change(kind=kind, key=key, values=values, etag=etag)


# --- sizes --------------------------------------------------------------------------------------------


@cases(
    ("value", "added"),
    [
        (b"ab", 0),
        (b"abc", 4),
        (b"abcde", 4),
        (b"abcdef", 8),
        (bytes(65_536), 4 * 21_845),
        ("a", 2),
        ("a" * 32_768, 65_536),
        ("é", 6),
        ("é" + "a" * 9, 60),
        ("\U0001f42d", 12),
        (7, 0),
        (2**62, 0),
        (0.5, 0),
        (True, 0),
    ],
)
def test_what_a_value_adds_to_a_request(value: Value, added: int) -> None:
    empty: Value = b"" if isinstance(value, bytes) else ""
    least = 4 if isinstance(value, bytes) else 0
    assert change(v=empty).size - change(v=0).size == least
    assert change(v=value).size - change(v=empty).size == added
    if isinstance(value, bytes):
        assert added + least >= len(base64.b64encode(value))


def test_what_a_name_and_an_operation_add_to_a_request() -> None:
    assert change().size == 1_400
    assert change(v=1).size - change().size == 60 + 2
    assert change(v=1, longer=2).size - change(v=1).size == 60 + 12


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({f"p{n}": n for n in range(253)}, "253 properties"),
        ({"text": "a" * 32_769}, r"a\.text has 65538 bytes"),
        ({"text": "é" * 32_769}, r"a\.text has 65538 bytes"),
        ({"data": bytes(65_537)}, r"a\.data has 65537 bytes"),
        ({"text": "half a pair \ud83d"}, "half a surrogate pair"),
        ({f"p{n:02}": bytes(65_536) for n in range(16)}, "a counts [0-9]+ bytes, over 1048576"),
        # Fifteen fill 983,040 bytes, and names and keys nearly three thousand more.
        ({**{f"p{n:02}": bytes(65_536) for n in range(15)}, "rest": bytes(62_600)}, "a counts [0-9]+ bytes"),
    ],
)
def test_values_that_no_row_can_hold_are_refused_where_they_are_made(values: dict[str, Any], said: str) -> None:
    with pytest.raises(LimitExceeded, match=said):
        change(**values)


@pytest.mark.parametrize(
    "values",
    [
        {f"p{n}": n for n in range(252)},
        {"text": "a" * 32_768},
        {"text": "é" * 32_768},
        {"data": bytes(65_536)},
        {**{f"p{n:02}": bytes(65_536) for n in range(15)}, "rest": bytes(62_000)},
    ],
)
def test_values_at_their_limits_are_taken(values: dict[str, Any]) -> None:
    assert change(**values).size > 0


# --- commits ------------------------------------------------------------------------------------------

LONG = {f"p{n:02}": bytes(65_536) for n in range(11)}
"""Nearly a megabyte as base64."""


@cases(
    ("partition", "changes", "said"),
    [
        ("p", [], "0 operations"),
        ("p", [change(f"k{n}") for n in range(101)], "101 operations"),
        ("p", [change("a"), change("b"), change("a")], "the same row twice"),
        ("", [change()], "the key ''"),
        ("a/b", [change()], "the key 'a/b'"),
        ("p", [change("a"), change("b" * 513)], "the key 'bbb"),
        ("p", [change(etag="e")], "which the service would ignore"),
        ("p", [change(kind=Kind.UPSERT, etag="e")], "which the service would ignore"),
        ("p", [change(kind=Kind.OVERWRITE, etag="e")], "which the service would ignore"),
        *(
            ("p", [change(kind=kind, etag=etag)], "so it would be blind")
            for kind in (Kind.MERGE, Kind.REPLACE, Kind.DELETE)
            for etag in (None, "", "*")
        ),
        ("p", [change(f"k{n}", **LONG) for n in range(4)], f"over {MAX_COMMIT_BYTES}"),
    ],
)
def test_changes_that_cannot_be_one_commit_are_refused(partition: str, changes: Sequence[Change], said: str) -> None:
    with pytest.raises(LimitExceeded, match=said):
        check_commit(partition, changes)


@pytest.mark.parametrize(
    "changes",
    [
        [change()],
        [change(f"k{n}") for n in range(100)],
        [change(f"k{n}", **LONG) for n in range(3)],
        [change(kind=Kind.MERGE, etag="e"), change("b", kind=Kind.DELETE, etag="e"), change("c", kind=Kind.UPSERT)],
    ],
)
def test_changes_that_can_be_one_commit(changes: Sequence[Change]) -> None:
    check_commit("p" * 512, changes)


def test_a_commit_may_be_as_large_as_it_may_and_no_byte_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = [change("a", v=1), change("b", v="text")]
    monkeypatch.setattr(tables, "MAX_COMMIT_BYTES", sum(each.size for each in changes))
    check_commit("p", changes)
    monkeypatch.setattr(tables, "MAX_COMMIT_BYTES", sum(each.size for each in changes) - 1)
    with pytest.raises(LimitExceeded):
        check_commit("p", changes)


def test_a_conflict_says_which_row_and_why() -> None:
    assert str(Conflict("a", "changed")) == "changed: a"
    assert (Conflict(None, "gone").key, Conflict(None, "gone").reason) == (None, "gone")


# --- comparisons --------------------------------------------------------------------------------------


@cases(
    ("value", "compare", "wanted", "result"),
    [
        (1, "eq", 1, True),
        (1, "eq", 2, False),
        (1, "ne", 2, True),
        (1, "ne", 1, False),
        (1, "lt", 2, True),
        (2, "lt", 2, False),
        (2, "le", 2, True),
        (3, "le", 2, False),
        (3, "gt", 2, True),
        (2, "gt", 2, False),
        (2, "ge", 2, True),
        (1, "ge", 2, False),
        ("a", "eq", Word.A, True),
        (1, "eq", Number.ONE, True),
        (None, "ne", 1, False),
        ("1", "ne", 1, False),
        (True, "eq", 1, False),
        (1, "eq", True, False),
        (1.0, "eq", 1, False),
        ("\U0001f42d", "lt", "\ue000", True),  # by UTF-16 units
        ("a", "lt", "b", True),
        (b"a", "lt", b"b", True),
    ],
)
def test_when_a_comparison_holds(value: Value | None, compare: str, wanted: Value, result: bool) -> None:
    assert holds(value, compare, wanted) is result


A, B = ("a", "eq", 1), ("b", "gt", 1)


@pytest.mark.parametrize(
    ("any_of", "result"),
    [
        ([], True),
        ([[A]], True),
        ([[B]], False),
        ([[A, B]], False),
        ([[B], [A]], True),
        ([[A], [B]], True),
        ([[("c", "eq", 1)]], False),
    ],
)
def test_a_row_fits_if_all_conditions_of_an_alternative_hold(
    any_of: Sequence[Sequence[Condition]], result: bool
) -> None:
    assert fits(Row(partition="p", key="k", etag="e", values={"a": 1, "b": 1}), any_of) is result


@pytest.mark.parametrize("value", [Word.A, Number.ONE, True, 0, 0.5, b"a"])
def test_a_value_comes_back_plain(value: Value) -> None:
    back = plain(value)
    assert back == value
    assert type(back) in (str, int, bool, float, bytes)


def test_keys_are_in_the_order_of_the_service() -> None:
    assert sorted(["\ue000", "\U0001f42d", "é", "~", "a", "A", ""], key=ordinal) == [
        "",
        "A",
        "a",
        "~",
        "é",
        "\U0001f42d",
        "\ue000",
    ]


# --- the rows of a batch ------------------------------------------------------------------------------


@pytest.mark.parametrize(("less", "groups"), [(0, [2, 2, 1]), (1, [1, 1, 1, 1, 1])])
def test_a_transaction_of_items_holds_so_many_bytes(
    monkeypatch: pytest.MonkeyPatch, less: int, groups: list[int]
) -> None:
    changes = [change(f"k{n}", v="x" * 100) for n in range(5)]
    monkeypatch.setattr(batches, "BYTES_A_TRANSACTION", 2 * changes[0].size - less)
    assert [len(group) for group in batches._transactions(changes)] == groups
    assert [each for group in batches._transactions(changes) for each in group] == changes


@pytest.mark.parametrize(("count", "groups"), [(0, []), (25, [25]), (26, [25, 1]), (60, [25, 25, 10])])
def test_a_transaction_of_items_holds_so_many_rows(count: int, groups: list[int]) -> None:
    assert [len(group) for group in batches._transactions([change(f"k{n}") for n in range(count)])] == groups


def test_what_is_larger_than_a_transaction_of_items_has_one_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = [change("a"), change("b", v="x" * 1_000), change("c"), change("d")]
    monkeypatch.setattr(batches, "BYTES_A_TRANSACTION", 2 * changes[0].size)
    assert [[each.key for each in group] for group in batches._transactions(changes)] == [["a"], ["b"], ["c", "d"]]


@pytest.mark.parametrize(
    ("limit", "found", "queries"), [(None, 5, 3), (2, 2, 1), (3, 3, 1), (4, 4, 2), (5, 5, 2), (6, 5, 3)]
)
async def test_rows_of_a_batch_are_read_up_to_a_limit(limit: int | None, found: int, queries: int) -> None:
    store, seen = MemoryTables(), []
    await BatchStore(store).put_items("b", [BatchItem(index=index) for index in range(3)])
    await BatchStore(store).store_text("b", 0, "x" * 800_000)

    async def note(operation: str, *_: object) -> None:
        seen.append(operation)

    store.before = note
    rows = await BatchStore(store).rows("b", limit=limit)
    assert (len(rows), len(seen)) == (found, queries)
    store.before = None
    assert await BatchStore(store).remove_rows("b", rows) is True
    assert len(store.rows(Table.BATCHES)) == 5 - found
