"""What a query finds, in memory and on Azurite alike."""

from __future__ import annotations

import pytest

from local.stack import Azurite
from shared.runs.store.azure import AzureTables
from shared.runs.store.tables import Change, Kind, Table, Tables, Value

RUNS = Table.RUNS


async def fill(tables: Tables, partition: str, rows: dict[str, dict[str, Value]]) -> dict[str, str]:
    """Insert rows, a hundred a commit; returns their ETags."""
    changes = [Change(kind=Kind.INSERT, key=key, values=values) for key, values in rows.items()]
    etags: dict[str, str] = {}
    for start in range(0, len(changes), 100):
        etags |= await tables.commit(RUNS, partition, changes[start : start + 100])
    return etags


async def test_a_missing_table_and_an_empty_partition_have_no_rows(tables: Tables) -> None:
    assert [row async for row in tables.query(RUNS, "p")] == []
    await fill(tables, "other", {"a": {}})
    assert [row async for row in tables.query(RUNS, "p")] == []


@pytest.mark.parametrize(
    ("first", "before", "found"),
    [
        (None, None, ["00000001", "00000001:item:000000", "00000001:item:000001", "00000002", "session"]),
        ("00000001:", "00000001;", ["00000001:item:000000", "00000001:item:000001"]),
        ("00000001", "00000002", ["00000001", "00000001:item:000000", "00000001:item:000001"]),
        ("00000002", None, ["00000002", "session"]),
        (None, "00000001", []),
        ("it's", "'", []),
    ],
)
async def test_a_range_of_keys_comes_in_order(
    tables: Tables, first: str | None, before: str | None, found: list[str]
) -> None:
    names = ["session", "00000002", "00000001:item:000001", "00000001", "00000001:item:000000"]
    await fill(tables, "p", {name: {} for name in names})

    assert [row.key async for row in tables.query(RUNS, "p", first=first, before=before)] == found


async def test_keys_are_ordered_by_utf16_unit(tables: Tables) -> None:
    ordered = ["A", "a", "b", "é", "\ud7ff", "😀", "\ue000", "\uffee"]
    await fill(tables, "p", {key: {} for key in reversed(ordered)})

    assert [row.key async for row in tables.query(RUNS, "p")] == ordered
    assert [row.key async for row in tables.query(RUNS, "p", first="é")] == ordered[3:]


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({"due": ("lt", "2026-01-02")}, ["a"]),
        ({"due": ("le", "2026-01-02")}, ["a", "b"]),
        ({"due": ("ge", "2026-01-02")}, ["b"]),
        ({"due": ("ne", "2026-01-02")}, ["a"]),
        ({"name": ("eq", "it's  here and n eq 1")}, ["a"]),
        ({"n": ("gt", 1)}, ["b"]),
        ({"n": ("eq", 1), "due": ("gt", "")}, ["a"]),
        ({"n": ("eq", "1")}, []),
        ({"n": ("eq", True)}, []),
        ({"ok": ("eq", True)}, ["a"]),
        ({"ok": ("ne", True)}, ["b"]),
        ({"big": ("eq", 2**40)}, ["a"]),
        ({"big": ("gt", 2**40)}, ["b"]),
        ({"real": ("lt", 1.5)}, ["a"]),
        ({"data": ("eq", b"\x01\xff")}, ["a"]),
        ({"absent": ("ne", 1)}, []),
    ],
)
@pytest.mark.parametrize("select", [None, ["n"]])
async def test_rows_are_filtered_by_their_properties(
    tables: Tables, where: dict[str, tuple[str, Value]], found: list[str], select: list[str] | None
) -> None:
    await fill(
        tables,
        "p",
        {
            "a": {
                "due": "2026-01-01",
                "name": "it's  here and n eq 1",
                "n": 1,
                "ok": True,
                "big": 2**40,
                "real": 1.0,
                "data": b"\x01\xff",
            },
            "b": {"due": "2026-01-02", "n": 2, "ok": False, "big": 2**40 + 1, "real": 2.0},
            "c": {"other": 1},
            "d": {"n": 1.0, "ok": "text", "due": 1},
        },
    )

    rows = [row async for row in tables.query(RUNS, "p", where=where, select=select)]

    assert [row.key for row in rows] == found
    assert all(set(row.values) == {"n"} for row in rows if select)


async def test_a_selection_always_brings_keys_and_etags(tables: Tables) -> None:
    etags = await fill(tables, "p", {"a": {"x": 1, "y": 2}, "b": {"y": 3}})

    rows = [row async for row in tables.query(RUNS, "p", select=["x", "never"])]

    assert [(row.partition, row.key, row.etag) for row in rows] == [("p", key, etags[key]) for key in "ab"]
    assert [dict(row.values) for row in rows] == [{"x": 1}, {}]
    bare = [dict(row.values) async for row in tables.query(RUNS, "p", select=[])]
    assert bare == [{}, {}]


async def test_an_etag_of_a_query_is_good_for_a_write(tables: Tables) -> None:
    await fill(tables, "p", {"a": {"x": 1}})

    (row,) = [row async for row in tables.query(RUNS, "p", select=["x"])]

    await tables.commit(RUNS, "p", [Change(kind=Kind.MERGE, key="a", values={"x": 2}, etag=row.etag)])


@pytest.mark.slow
async def test_more_rows_than_a_page_come_in_order_and_up_to_the_limit(tables: Tables) -> None:
    keys = [f"{n:05}" for n in range(1_250)]
    await fill(tables, "p", {key: {"odd": int(key) % 2 == 1} for key in keys})

    assert [row.key async for row in tables.query(RUNS, "p", select=[])] == keys
    assert [row.key async for row in tables.query(RUNS, "p", select=[], limit=1_100)] == keys[:1_100]
    assert [row.key async for row in tables.query(RUNS, "p", first="00500", limit=3)] == keys[500:503]
    odd = [row.key async for row in tables.query(RUNS, "p", where={"odd": ("eq", True)}, limit=600)]
    assert odd == keys[1:1_200:2]
    assert [row async for row in tables.query(RUNS, "p", limit=0)] == []


async def test_without_a_partition_all_partitions_are_read_in_order(tables: Tables) -> None:
    for partition in ("q", "p", "p'"):
        await fill(tables, partition, {"b": {"n": 1}, "a": {"n": 2}})

    found = [(row.partition, row.key) async for row in tables.query(RUNS, None)]
    assert found == [(partition, key) for partition in ("p", "p'", "q") for key in ("a", "b")]
    ones = [row.partition async for row in tables.query(RUNS, None, where={"n": ("eq", 1)}, first="b")]
    assert ones == ["p", "p'", "q"]


async def test_tables_are_apart(tables: Tables) -> None:
    await fill(tables, "p", {"a": {}})

    assert await tables.get(Table.DUE, "p", "a") is None
    assert [row async for row in tables.query(Table.INDEX, "p")] == []


async def test_two_prefixes_are_two_apps(azurite: Azurite, prefix: str) -> None:
    one = AzureTables.from_connection_string(azurite.connection_string, prefix)
    other = AzureTables.from_connection_string(azurite.connection_string, f"{prefix}x")
    await fill(one, "p", {"a": {}})

    assert await other.get(RUNS, "p", "a") is None
    assert [row async for row in other.query(RUNS, None)] == []

    await one.close()
    await other.close()


async def test_a_long_query_is_gone_on_with_where_it_stopped(tables: Tables) -> None:
    for partition in ("a", "k:1", "k:2", "k:3", "m"):
        await fill(tables, partition, {f"{number}": {"age": float(number)} for number in range(4)})
    found: list[tuple[str, str]] = []
    place, pages = None, 0
    while place is not None or not pages:
        page = await tables.page(
            RUNS, partitions=("k:", "k;"), before="3", any_of=[[("age", "lt", 2.0)]], place=place, size=2
        )
        assert len(page.rows) <= 2
        found += [(row.partition, row.key) for row in page.rows]
        place, pages = page.place, pages + 1
        if page.rows:  # a row that goes meanwhile leaves the place where it was
            last = page.rows[-1]
            await tables.commit(RUNS, last.partition, [Change(kind=Kind.DELETE, key=last.key, etag=last.etag)])
    assert found == [(partition, key) for partition in ("k:1", "k:2", "k:3") for key in "01"]


async def test_one_of_several_alternatives_must_hold_in_full(tables: Tables) -> None:
    rows: dict[str, dict[str, Value]] = {
        "idle": {"gone": "", "seen": "2026-01-01"},
        "busy": {"gone": "", "seen": "2026-03-01"},
        "left": {"gone": "2026-01-02", "seen": "2026-03-01", "done": False},
        "done": {"gone": "2026-01-02", "seen": "2026-03-01", "done": True},
        "old": {"seen": "2026-01-01"},
    }
    await fill(tables, "p", rows)
    any_of = [[("gone", "eq", ""), ("seen", "lt", "2026-02-01")], [("gone", "gt", ""), ("done", "eq", False)]]
    page = await tables.page(RUNS, any_of=any_of, select=["seen"], size=10)
    assert {row.key: dict(row.values) for row in page.rows} == {
        "idle": {"seen": "2026-01-01"},
        "left": {"seen": "2026-03-01"},
    }
    assert page.place is None


async def test_a_table_that_is_not_there_has_one_empty_page(tables: Tables) -> None:
    page = await tables.page(RUNS, size=10, first="a")
    assert ([*page.rows], page.place) == ([], None)


async def test_a_page_of_one_partition_is_gone_on_with_and_shows_no_other(tables: Tables) -> None:
    for partition in ("p", "p!", "q"):
        await fill(tables, partition, {f"{number}": {"odd": number % 2 == 1} for number in range(6)})
    odd = [[("odd", "eq", True)]]
    first = await tables.page(RUNS, partition="p", any_of=odd, size=2)
    assert [(row.partition, row.key) for row in first.rows] == [("p", "1"), ("p", "3")]
    second = await tables.page(RUNS, partition="p", any_of=odd, place=first.place, size=2)
    assert [row.key for row in second.rows] == ["5"]
    assert second.place is None
    elsewhere = await tables.page(RUNS, partition="p!", any_of=odd, place=first.place, size=9)
    assert {row.partition for row in elsewhere.rows} <= {"p!"}, "whatever place it is given"
