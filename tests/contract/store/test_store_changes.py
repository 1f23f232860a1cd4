"""What a commit does, in memory and on Azurite alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from enum import StrEnum

import pytest

from shared.runs.store.tables import (
    MAX_BINARY_BYTES,
    MAX_STRING_UNITS,
    Change,
    Conflict,
    Kind,
    LimitExceeded,
    Row,
    Table,
    Tables,
    Value,
)

RUNS = Table.RUNS
STALE = "W/\"datetime'2020-01-01T00%3A00%3A00.0000000Z'\""
UNDER_ETAG = (Kind.MERGE, Kind.REPLACE, Kind.DELETE)


def insert(key: str, **values: Value) -> Change:
    return Change(kind=Kind.INSERT, key=key, values=values)


def under(etag: str, kind: Kind, key: str, **values: Value) -> Change:
    return Change(kind=kind, key=key, values=values, etag=etag)


async def put(tables: Tables, key: str, **values: Value) -> str:
    return (await tables.commit(RUNS, "p", [insert(key, **values)]))[key]


async def read(tables: Tables, key: str) -> Row:
    row = await tables.get(RUNS, "p", key)
    assert row is not None
    return row


async def keys(tables: Tables) -> list[str]:
    return [row.key async for row in tables.query(RUNS, "p")]


async def refusal(tables: Tables, changes: Sequence[Change]) -> str | None:
    with pytest.raises(Conflict) as caught:
        await tables.commit(RUNS, "p", changes)
    return caught.value.key


async def test_a_row_comes_back_as_it_was_inserted(tables: Tables) -> None:
    etag = await put(tables, "a", text="x", count=1)

    row = await read(tables, "a")

    assert (row.partition, row.key, row.etag) == ("p", "a", etag)
    assert dict(row.values) == {"text": "x", "count": 1}


async def test_a_missing_row_and_a_missing_table_are_none(tables: Tables) -> None:
    assert await tables.get(RUNS, "p", "a") is None
    await put(tables, "b")
    assert await tables.get(RUNS, "p", "a") is None
    assert await tables.get(RUNS, "other", "b") is None


@pytest.mark.parametrize("key", ["", "a/b", "a\\b", "a#b", "a?b", "a\tb", "a\x7fb", "a\ud800", "k" * 513])
async def test_a_key_that_no_row_can_have_is_a_missing_row(tables: Tables, key: str) -> None:
    assert await tables.get(RUNS, "p", key) is None
    assert await tables.get(RUNS, key, "a") is None


@pytest.mark.parametrize("key", ["it's", "50%", "%2F", "a+b", "a b", "run:1", "é😀", "a&b=c", ".", "$x", "k" * 512])
async def test_keys_with_unusual_characters_are_just_keys(tables: Tables, key: str) -> None:
    etag = (await tables.commit(RUNS, key, [insert(key, n=1)]))[key]
    etag = (await tables.commit(RUNS, key, [under(etag, Kind.MERGE, key, n=2)]))[key]
    etag = (await tables.commit(RUNS, key, [under(etag, Kind.REPLACE, key, n=3), insert("other")]))[key]

    row = await tables.get(RUNS, key, key)
    found = [row.key async for row in tables.query(RUNS, key, first=key, before=key + "!")]

    assert row is not None
    assert (row.etag, row.values["n"], found) == (etag, 3, [key])


async def test_a_second_insert_is_a_conflict_and_changes_nothing(tables: Tables) -> None:
    etag = await put(tables, "a", n=1)

    assert await refusal(tables, [insert("a", n=2)]) == "a"

    row = await read(tables, "a")
    assert (row.etag, row.values["n"]) == (etag, 1)


async def test_a_merge_leaves_other_properties(tables: Tables) -> None:
    etag = await put(tables, "a", kept="x", changed=1)

    await tables.commit(RUNS, "p", [under(etag, Kind.MERGE, "a", changed=2, added=True)])

    assert dict((await read(tables, "a")).values) == {"kept": "x", "changed": 2, "added": True}


async def test_a_merge_of_nothing_still_changes_the_etag(tables: Tables) -> None:
    etag = await put(tables, "a", kept="x")

    assert (await tables.commit(RUNS, "p", [under(etag, Kind.MERGE, "a")]))["a"] != etag

    assert dict((await read(tables, "a")).values) == {"kept": "x"}


async def test_a_replace_drops_other_properties(tables: Tables) -> None:
    etag = await put(tables, "a", dropped="x", changed=1)

    await tables.commit(RUNS, "p", [under(etag, Kind.REPLACE, "a", changed=2)])

    assert dict((await read(tables, "a")).values) == {"changed": 2}


async def test_an_upsert_inserts_then_replaces(tables: Tables) -> None:
    for values in ({"a": 1, "b": 1}, {"a": 2}):
        etags = await tables.commit(RUNS, "p", [Change(kind=Kind.UPSERT, key="a", values=values)])

        row = await read(tables, "a")
        assert (dict(row.values), row.etag) == (values, etags["a"])


async def test_a_delete_removes_the_row_and_returns_no_etag(tables: Tables) -> None:
    etag = await put(tables, "a")

    assert dict(await tables.commit(RUNS, "p", [under(etag, Kind.DELETE, "a")])) == {}

    assert await tables.get(RUNS, "p", "a") is None


@pytest.mark.parametrize("kind", UNDER_ETAG)
async def test_a_stale_etag_is_a_conflict(tables: Tables, kind: Kind) -> None:
    stale = await put(tables, "a", n=1)
    await tables.commit(RUNS, "p", [under(stale, Kind.MERGE, "a", n=2)])

    assert await refusal(tables, [under(stale, kind, "a")]) == "a"

    assert (await read(tables, "a")).values["n"] == 2


@pytest.mark.parametrize("kind", UNDER_ETAG)
async def test_a_row_that_is_gone_is_a_conflict(tables: Tables, kind: Kind) -> None:
    etag = await put(tables, "a")
    await tables.commit(RUNS, "p", [under(etag, Kind.DELETE, "a")])

    assert await refusal(tables, [under(etag, kind, "a")]) == "a"


@pytest.mark.parametrize("kind", UNDER_ETAG)
async def test_a_table_that_is_missing_is_a_conflict_under_an_etag(tables: Tables, kind: Kind) -> None:
    assert await refusal(tables, [under(STALE, kind, "a")]) == "a"
    assert await refusal(tables, [under(STALE, kind, "b"), insert("c")]) == "b"


@pytest.mark.parametrize("kind", UNDER_ETAG)
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("there", [True, False])
async def test_one_refusal_undoes_a_transaction_and_names_its_row(
    tables: Tables, kind: Kind, place: int, there: bool
) -> None:
    await put(tables, "kept", n=1)
    if there:
        await put(tables, "odd", n=1)
    changes = [insert("one"), Change(kind=Kind.UPSERT, key="kept", values={"n": 2})]
    changes.insert(place, under(STALE, kind, "odd"))

    assert await refusal(tables, changes) == "odd"

    assert await keys(tables) == (["kept", "odd"] if there else ["kept"])
    assert (await read(tables, "kept")).values["n"] == 1


async def test_an_insert_of_what_is_there_undoes_a_transaction(tables: Tables) -> None:
    etag = await put(tables, "there", n=1)

    assert await refusal(tables, [insert("new"), insert("there")]) == "there"
    assert await refusal(tables, [insert("there"), insert("new")]) == "there"

    assert await keys(tables) == ["there"]
    assert (await read(tables, "there")).etag == etag


async def test_a_transaction_of_every_kind_returns_the_etags_that_are_read_later(tables: Tables) -> None:
    etags = await tables.commit(RUNS, "p", [insert(key, n=1, kept=1) for key in ("merged", "replaced", "deleted")])

    written = await tables.commit(
        RUNS,
        "p",
        [
            insert("inserted", n=2),
            Change(kind=Kind.UPSERT, key="upserted", values={"n": 2}),
            under(etags["merged"], Kind.MERGE, "merged", n=2),
            under(etags["replaced"], Kind.REPLACE, "replaced", n=2),
            under(etags["deleted"], Kind.DELETE, "deleted"),
        ],
    )

    rows = [row async for row in tables.query(RUNS, "p")]
    assert {row.key: row.etag for row in rows} == dict(written)
    assert {row.key: dict(row.values) for row in rows} == {
        "inserted": {"n": 2},
        "merged": {"n": 2, "kept": 1},
        "replaced": {"n": 2},
        "upserted": {"n": 2},
    }


async def test_a_hundred_changes_are_one_commit(tables: Tables) -> None:
    etags = await tables.commit(RUNS, "p", [insert(f"{n:03}") for n in range(100)])

    assert await keys(tables) == list(etags) == [f"{n:03}" for n in range(100)]


async def test_every_write_changes_the_etag(tables: Tables) -> None:
    seen = {await put(tables, "a")}
    for n in range(20):
        etag = (await read(tables, "a")).etag
        seen |= set((await tables.commit(RUNS, "p", [under(etag, Kind.REPLACE, "a", n=n)])).values())

    assert len(seen) == 21


@pytest.mark.parametrize("others", [0, 1])
async def test_of_writers_that_race_under_one_etag_exactly_one_wins(tables: Tables, others: int) -> None:
    etag = await put(tables, "a", winner=-1)

    def changes(n: int) -> list[Change]:
        return [under(etag, Kind.MERGE, "a", winner=n), insert(f"by{n}")][: others + 1]

    answers = await asyncio.gather(*(tables.commit(RUNS, "p", changes(n)) for n in range(5)), return_exceptions=True)

    assert [answer.key for answer in answers if isinstance(answer, Conflict)] == ["a"] * 4
    winner = next(n for n, answer in enumerate(answers) if not isinstance(answer, Conflict))
    assert (await read(tables, "a")).values["winner"] == winner
    assert await keys(tables) == (["a", f"by{winner}"] if others else ["a"])


async def test_of_writers_that_race_to_insert_into_a_new_table_exactly_one_wins(tables: Tables) -> None:
    answers = await asyncio.gather(*(put(tables, "a", n=n) for n in range(5)), return_exceptions=True)

    assert sorted(type(answer).__name__ for answer in answers) == ["Conflict"] * 4 + ["str"]


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "plain",
        "quote ' double \" back \\ line \n nul-free \t tab",
        "é 汉 😀",
        " edges ",
        "2026-01-02T03:04:05.678Z",
        "a" * MAX_STRING_UNITS,
        "😀" * (MAX_STRING_UNITS // 2),
        0,
        -1,
        2**31 - 1,
        2**31,
        -(2**31) - 1,
        2**63 - 1,
        -(2**63),
        0.0,
        2.0,
        -1.5,
        1e300,
        5e-324,
        float("inf"),
        True,
        False,
        b"",
        b"\x00\xff",
        bytes(range(256)) * (MAX_BINARY_BYTES // 256),
    ],
    ids=lambda value: f"{type(value).__name__}-{str(value)[:12]!a}",
)
async def test_a_value_comes_back_with_its_type(tables: Tables, value: Value) -> None:
    etag = await put(tables, "a", value=value)
    await tables.commit(RUNS, "p", [under(etag, Kind.MERGE, "a", merged=value), insert("b", value=value)])

    for row in (await read(tables, "a"), await read(tables, "b")):
        assert {(type(found), found) for found in row.values.values()} == {(type(value), value)}


async def test_a_member_of_an_enumeration_is_stored_as_its_value(tables: Tables) -> None:
    await put(tables, "a", colour=Colour.RED)

    assert type((await read(tables, "a")).values["colour"]) is str


@pytest.mark.parametrize(
    "made",
    [
        list,
        lambda: [insert("a"), insert("a")],
        lambda: [insert(f"{n}") for n in range(101)],
        lambda: [insert("good"), insert("bad/key")],
        lambda: [insert("good"), insert("long", text="a" * (MAX_STRING_UNITS + 1))],
        lambda: [insert("good"), insert("big", data=bytes(MAX_BINARY_BYTES + 1))],
        lambda: [insert("good"), Change(kind=Kind.MERGE, key="blind")],
        lambda: [insert("good"), Change(kind=Kind.DELETE, key="blind", etag="*")],
        lambda: [insert(f"{n}", **{f"p{i}": bytes(MAX_BINARY_BYTES) for i in range(15)}) for n in range(3)],
    ],
    ids=["none", "twice", "101", "key", "string", "binary", "blind", "star", "body"],
)
async def test_a_commit_over_a_limit_is_refused_before_anything_is_written(
    tables: Tables, made: Callable[[], Sequence[Change]]
) -> None:
    with pytest.raises(LimitExceeded):
        await tables.commit(RUNS, "p", made())

    assert await keys(tables) == []


async def test_an_entity_just_under_a_mebibyte_is_stored(tables: Tables) -> None:
    values = {f"p{n}": "a" * MAX_STRING_UNITS for n in range(15)}

    await put(tables, "a", **values)

    assert dict((await read(tables, "a")).values) == values


async def test_an_overwrite_replaces_whatever_is_there_and_makes_no_row(tables: Tables) -> None:
    old = await put(tables, "a", x=1, y=2)
    new = (await tables.commit(RUNS, "p", [Change(kind=Kind.OVERWRITE, key="a", values={"x": 3})]))["a"]
    row = await read(tables, "a")
    assert (dict(row.values), row.etag) == ({"x": 3}, new)
    assert await refusal(tables, [under(old, Kind.MERGE, "a", x=4)]) == "a", "its ETag has moved"
    assert await refusal(tables, [Change(kind=Kind.OVERWRITE, key="b", values={"x": 3})]) == "b"
    assert await keys(tables) == ["a"]
