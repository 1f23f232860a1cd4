"""The hooks of the store in memory; what it shares with Azure Tables is in the contract tests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from shared.runs.store.tables import Change, Conflict, Kind, LimitExceeded, StoreUnavailable, Table
from tests.parts.memory import MemoryTables

RUNS = Table.RUNS
INSERT = Change(kind=Kind.INSERT, key="a", values={"n": 1})


async def test_a_failure_comes_once_and_before_the_write() -> None:
    tables = MemoryTables()
    tables.fail_next(StoreUnavailable("down"))

    with pytest.raises(StoreUnavailable):
        await tables.commit(RUNS, "p", [INSERT])

    assert tables.rows(RUNS) == []
    await tables.commit(RUNS, "p", [INSERT])


async def test_a_failure_after_the_write_loses_only_the_answer() -> None:
    tables = MemoryTables()
    tables.fail_next(StoreUnavailable("lost"), operation="commit", applied=True)

    assert await tables.get(RUNS, "p", "a") is None
    with pytest.raises(StoreUnavailable):
        await tables.commit(RUNS, "p", [INSERT])

    assert [row.key for row in tables.rows(RUNS)] == ["a"]


async def test_failures_queue_up_each_for_its_operation() -> None:
    tables = MemoryTables()
    tables.fail_next(StoreUnavailable("one"), operation="query")
    tables.fail_next(StoreUnavailable("two"), operation="get")

    with pytest.raises(StoreUnavailable, match="two"):
        await tables.get(RUNS, "p", "a")
    with pytest.raises(StoreUnavailable, match="one"):
        _ = [row async for row in tables.query(RUNS, "p")]
    assert [row async for row in tables.query(RUNS, "p")] == []


async def test_a_hook_can_win_a_race_at_the_exact_point() -> None:
    tables = MemoryTables()
    etag = (await tables.commit(RUNS, "p", [INSERT]))["a"]

    async def other(operation: str, table: Table, partition: str | None, changes: Sequence[Change]) -> None:
        assert (operation, table, partition, [change.key for change in changes]) == ("commit", RUNS, "p", ["a"])
        await tables.commit(RUNS, "p", [Change(kind=Kind.MERGE, key="a", values={"n": 2}, etag=etag)])

    tables.before = other
    with pytest.raises(Conflict):
        await tables.commit(RUNS, "p", [Change(kind=Kind.MERGE, key="a", values={"n": 3}, etag=etag)])

    assert tables.rows(RUNS)[0].values["n"] == 2


async def test_a_hook_can_crash_after_the_commit() -> None:
    class Crash(BaseException):
        pass

    async def crash(operation: str, *_: object) -> None:
        raise Crash(operation)

    tables = MemoryTables(after=crash)
    with pytest.raises(Crash):
        await tables.commit(RUNS, "p", [INSERT])

    assert len(tables.rows(RUNS, "p")) == 1


async def test_two_read_then_write_tasks_really_interleave() -> None:
    tables = MemoryTables()
    await tables.commit(RUNS, "p", [INSERT])

    async def bump() -> None:
        row = await tables.get(RUNS, "p", "a")
        assert row is not None
        await tables.commit(RUNS, "p", [Change(kind=Kind.MERGE, key="a", etag=row.etag)])

    answers = await asyncio.gather(bump(), bump(), return_exceptions=True)

    assert sorted(type(answer).__name__ for answer in answers) == ["Conflict", "NoneType"]


async def test_a_row_that_outgrows_its_limits_by_merging_is_refused() -> None:
    tables = MemoryTables()
    values = {f"p{n}": n for n in range(252)}
    etag = (await tables.commit(RUNS, "p", [Change(kind=Kind.INSERT, key="a", values=values)]))["a"]

    with pytest.raises(LimitExceeded):
        await tables.commit(RUNS, "p", [Change(kind=Kind.MERGE, key="a", values={"more": 1}, etag=etag)])

    assert len(tables.rows(RUNS)[0].values) == 252
