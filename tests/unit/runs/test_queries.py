"""What is read for a caller, over tables alone: whose it is, which page it is on, and what was deleted meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shared.errors import BatchNotFound, RunNotFound, SessionNotFound
from shared.runs.model.batch import (
    Active,
    Batch,
    BatchItem,
    BatchStatus,
    Deleted,
    ItemResult,
    ItemStatus,
    Running,
    fingerprint_of,
    run_of,
    session_of,
)
from shared.runs.model.calls import Approval, CallState, ToolCall
from shared.runs.model.phases import Ended, RunningTools, RunStatus
from shared.runs.model.run import Counters, Limits, PartRef, Result, Run
from shared.runs.ports import Ports
from shared.runs.queries import batches as batch_queries
from shared.runs.queries.batches import batch_of_owner, batches_of_owner, items_of_batch
from shared.runs.queries.runs import calls_of, in_full, is_gone, run_of_owner, whole_call
from shared.runs.queries.sessions import session_of_owner
from shared.runs.store.runs import TOGETHER, CallChange
from shared.runs.store.tables import Change, Table
from tests.parts.memory import MemoryTables
from tests.unit.runs.records import NOW, SESSION, a_run, a_session, at, put
from tests.unit.runs.test_batch import ID, a_batch

COMPLETED = Ended(status=RunStatus.COMPLETED, completed_at=NOW)
TOMB = Ended(status=RunStatus.COMPLETED, completed_at=NOW, deleted_at=NOW)
GONE = PartRef("0" * 32, 1, "its beginning")
"""A long value whose parts are not there, as those of a deleted run are not."""


def counted(ports: Ports, tables: MemoryTables) -> list[str]:
    """The reads from now on."""
    seen: list[str] = []

    async def note(operation: str, _t: Table, _p: str | None, _c: Sequence[Change]) -> None:
        seen.append(operation)

    tables.before = note
    return seen


# --- whose it is --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "or_deleted", "found"),
    [
        ({}, False, True),
        ({}, True, True),
        ({"owner": "another"}, False, False),
        ({"owner": "another"}, True, False),
        ({"deleted_at": NOW}, False, False),
        ({"deleted_at": NOW}, True, True),
        ({"owner": "another", "deleted_at": NOW}, True, False),
    ],
)
async def test_who_may_see_a_session(ports: Ports, changes: dict[str, Any], or_deleted: bool, found: bool) -> None:
    session = a_session(**changes)
    await put(ports, a_run(phase=COMPLETED), session)
    if found:
        assert await session_of_owner(ports, SESSION, "app", or_deleted=or_deleted) == session
    else:
        with pytest.raises(SessionNotFound):
            await session_of_owner(ports, SESSION, "app", or_deleted=or_deleted)
    with pytest.raises(SessionNotFound):
        await session_of_owner(ports, "f" * 32, "app", or_deleted=or_deleted)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, True),
        ({"owner": "another"}, False),
        ({"phase": Deleted(status=BatchStatus.COMPLETED, deleted_at=NOW)}, False),
    ],
)
async def test_who_may_see_a_batch(ports: Ports, changes: dict[str, Any], found: bool) -> None:
    batch = a_batch(**changes)
    await ports.batches.create(batch)
    if found:
        assert await batch_of_owner(ports, ID, "app") == batch
    else:
        with pytest.raises(BatchNotFound):
            await batch_of_owner(ports, ID, "app")
    with pytest.raises(BatchNotFound):
        await batch_of_owner(ports, "batch_" + "f" * 32, "app")


@pytest.mark.parametrize(
    ("changes", "session_changes", "found"),
    [
        ({}, {}, True),
        ({"owner": "another"}, {}, False),
        ({"phase": TOMB}, {}, False),
        # The first of a session's runs are deleted with it, so that the session is not read for them; ...
        ({"number": TOGETHER, "phase": COMPLETED}, {"deleted_at": NOW}, True),
        # ... the others only after it.
        ({"number": TOGETHER + 1, "phase": COMPLETED}, {"deleted_at": NOW}, False),
        ({"number": TOGETHER + 1, "phase": COMPLETED}, {}, True),
        ({"number": TOGETHER + 1}, {"deleted_at": NOW}, True),
    ],
)
async def test_who_may_see_a_run(
    ports: Ports, changes: dict[str, Any], session_changes: dict[str, Any], found: bool
) -> None:
    run = (await put(ports, a_run(**changes), a_session(**session_changes))).value
    if found:
        assert await run_of_owner(ports, run.id, "app") == run
    else:
        with pytest.raises(RunNotFound):
            await run_of_owner(ports, run.id, "app")
    with pytest.raises(RunNotFound):
        await run_of_owner(ports, "run_" + "f" * 32 + "_1", "app")


# --- batches ------------------------------------------------------------------------------------------


async def test_a_list_shows_the_batches_that_are_there(ports: Ports) -> None:
    def named(digit: str, **changes: Any) -> Batch:
        return a_batch(id="batch_" + digit * 32, created_at=NOW + timedelta(seconds=int(digit)), **changes)

    shown, hidden, deleted, older = named("4"), named("3"), named("2"), named("1")
    for batch in (shown, hidden, deleted, older, named("5", owner="another")):
        listing = await ports.index.list_hidden(batch)
        if batch is not hidden:
            await ports.index.show(batch, listing)
    await ports.index.unlist(ports.index.list_row_of(deleted))
    page = await batches_of_owner(ports, "app", None, 9)
    assert ([each.id for each in page.batches], page.cursor) == ([shown.id, older.id], None)
    first = await batches_of_owner(ports, "app", None, 1)
    assert [each.id for each in first.batches] == [shown.id]
    second = await batches_of_owner(ports, "app", first.cursor, 1)
    assert [each.id for each in second.batches] == [older.id]


def a_result(index: int, status: RunStatus = RunStatus.COMPLETED, **changes: Any) -> ItemResult:
    return replace(ItemResult(index=index, status=status, ended_at=NOW), **changes)


async def written(ports: Ports, batch: Batch, *results: ItemResult, refused: tuple[int, ...] = ()) -> Batch:
    """The batch with its items and these results."""
    items = [
        BatchItem(index=index, id=f"i-{index}", error_code="bad" if index in refused else None, asked="{}")
        for index in range(batch.request.total)
    ]
    await ports.batches.put_items(batch.id, items)
    stored = await ports.batches.create(batch)
    await ports.batches.save(stored, batch, results)
    return batch


async def run_of_item(ports: Ports, index: int, text: str = "", **changes: Any) -> None:
    given = {"text": text, "phase": COMPLETED, **changes}
    await put(ports, a_run(session_id=session_of(ID, index), fingerprint=fingerprint_of(ID, index), **given))


@pytest.mark.parametrize(
    ("first", "limit", "statuses", "indices", "following"),
    [
        (0, 2, (), [0, 1], 2),
        (2, 2, (), [2, 3], 4),
        (3, 2, (), [3, 4], None),
        (4, 2, (), [4], None),
        (5, 2, (), [], None),
        (0, 5, (), [0, 1, 2, 3, 4], None),
        (0, 4, (), [0, 1, 2, 3], 4),
        (0, 9, (ItemStatus.COMPLETED,), [0, 4], None),
        (0, 1, (ItemStatus.COMPLETED,), [0], 4),
        (1, 1, (ItemStatus.COMPLETED,), [4], None),
        (0, 9, (ItemStatus.FAILED, ItemStatus.PENDING), [1, 3], None),
        (0, 9, (ItemStatus.ACTIVE,), [2], None),
        (0, 9, (ItemStatus.CANCELLED,), [], None),
    ],
)
async def test_the_items_of_a_batch_come_in_pages(
    ports: Ports, first: int, limit: int, statuses: tuple[ItemStatus, ...], indices: list[int], following: int | None
) -> None:
    batch = a_batch(total=5, cursor=5, refused=(1,), active=(Active(index=2, since=NOW),), phase=Running(begun=True))
    await written(ports, batch, a_result(0), a_result(4), refused=(1,))
    page = await items_of_batch(ports, batch, first, limit, frozenset(statuses))
    assert [each.item.index for each in page.items] == indices
    assert page.following == following
    words = [
        ItemStatus.COMPLETED,
        ItemStatus.FAILED,
        ItemStatus.ACTIVE,
        ItemStatus.PENDING,
        ItemStatus.COMPLETED,
    ]
    assert [each.status for each in page.items] == [words[index] for index in indices]
    assert [each.result is not None for each in page.items] == [index in (0, 4) for index in indices]


async def test_a_page_of_items_holds_so_many_bytes_but_never_less_than_one_item(
    ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = await written(ports, a_batch(total=4, cursor=4), *(a_result(index) for index in range(4)))
    for index, (text, output) in enumerate([("a" * 60, ""), ("é" * 25, "b" * 50), ("c" * 40, ""), ("d" * 60, "")]):
        await run_of_item(ports, index, text, output=output)
    monkeypatch.setattr(batch_queries, "MAX_BYTES", 100)
    pages, first = [], 0
    while True:
        page = await items_of_batch(ports, batch, first, 4, frozenset())
        pages.append([(each.item.index, len(each.text), len(each.output)) for each in page.items])
        if page.following is None:
            break
        first = page.following
    assert pages == [[(0, 60, 0)], [(1, 25, 50)], [(2, 40, 0), (3, 60, 0)]]


async def test_an_item_is_shown_with_its_run_where_it_has_one(ports: Ports, tables: MemoryTables) -> None:
    active = (Active(index=4, since=NOW), Active(index=5, since=NOW))
    batch = a_batch(total=8, cursor=6, active=active, refused=(0,), phase=Running(begun=True))
    results = [a_result(1), a_result(2, RunStatus.FAILED, ran=False), a_result(3)]
    await written(ports, batch, *results, refused=(0,))
    for index in (0, 1, 2, 4, 6):  # of the bad, the never submitted and the pending item nobody looks for a run
        await run_of_item(ports, index, f"text {index}")
    await run_of_item(ports, 3, "deleted", phase=TOMB)
    reads = counted(ports, tables)
    page = await items_of_batch(ports, batch, 0, 9, frozenset())
    assert [each.item.index for each in page.items if each.run is not None] == [1, 4]
    assert [each.text for each in page.items] == ["", "text 1", "", "", "text 4", "", "", ""]
    assert reads == ["query", "query", "get", "get", "get", "get"]


@pytest.mark.parametrize("deleted", [True, False])
async def test_an_item_whose_run_is_deleted_just_then_is_shown_without_its_text(
    ports: Ports, tables: MemoryTables, deleted: bool
) -> None:
    batch = await written(ports, a_batch(total=1, cursor=1), a_result(0))
    await run_of_item(ports, 0, result=Result(text=GONE))
    stored = await ports.runs.load(run_of(ID, 0))
    assert stored is not None

    async def delete(operation: str, _t: Table, partition: str | None, _c: Sequence[Change]) -> None:
        if operation == "get" and partition == session_of(ID, 0) and reads.count("get") == 1:
            await ports.runs.save(stored, replace(stored.value, phase=TOMB))
        reads.append(operation)

    reads: list[str] = []
    tables.before = delete if deleted else None
    if not deleted:
        with pytest.raises(LookupError):  # parts that are missing of a run that is there are a defect
            await items_of_batch(ports, batch, 0, 1, frozenset())
        return
    (shown,) = (await items_of_batch(ports, batch, 0, 1, frozenset())).items
    assert (shown.text, shown.output) == ("", "")


# --- runs ---------------------------------------------------------------------------------------------


def a_call(index: int, **changes: Any) -> ToolCall:
    call = ToolCall(
        session_id=SESSION, number=1, turn=1, index=index, call_id=f"c{index}", name="pay", arguments=f"[{index}]"
    )
    return replace(call, **changes)


async def with_calls(ports: Ports, *calls: ToolCall) -> Run:
    """A run that is at work on these calls."""
    stored = await put(ports, a_run(phase=RunningTools(), limits=Limits(turns=9, tool_calls=9)))
    after = replace(stored.value, counters=Counters(tool_calls=len(calls)))
    await ports.runs.save(stored, after, calls=[CallChange(before=None, after=each) for each in calls])
    return (await run_of_owner(ports, stored.value.id, "app")) if calls else stored.value


async def test_the_calls_of_a_run_without_any_are_not_read(ports: Ports, tables: MemoryTables) -> None:
    run = await with_calls(ports)
    reads = counted(ports, tables)
    assert (await calls_of(ports, run), reads) == ([], [])
    tables.before = None
    calls = [a_call(0), a_call(1)]
    busy = replace(run, request=replace(run.request, number=2))
    stored = await put(ports, busy, a_session(next_number=3))
    moved = [replace(call, number=2) for call in calls]
    after = replace(stored.value, counters=Counters(tool_calls=2))
    await ports.runs.save(stored, after, calls=[CallChange(before=None, after=each) for each in moved])
    assert await calls_of(ports, after) == moved


async def test_a_run_is_shown_with_the_questions_that_are_open(ports: Ports) -> None:
    asked = {"state": CallState.WAITING, "approval": Approval.PENDING}
    calls = [a_call(0), a_call(1, **asked), a_call(2, state=CallState.FINISHED), a_call(3, **asked)]
    full = await in_full(ports, await with_calls(ports, *calls), calls)
    assert [(each.call.index, each.arguments) for each in full.questions] == [(1, "[1]"), (3, "[3]")]
    assert full.calls == calls


@pytest.mark.parametrize("part", ["text", "output", "annotations"])
async def test_a_run_that_is_deleted_while_it_is_read_is_not_there(ports: Ports, part: str) -> None:
    stored = await put(ports, a_run(phase=COMPLETED, result=Result(**{part: GONE})))
    with pytest.raises(LookupError):  # of a run that is there it is a defect
        await in_full(ports, stored.value, [])
    assert not await is_gone(ports, stored.value.id)
    await ports.runs.save(stored, replace(stored.value, phase=TOMB))
    with pytest.raises(RunNotFound):
        await in_full(ports, stored.value, [])
    assert await is_gone(ports, stored.value.id)
    assert await is_gone(ports, "run_" + "f" * 32 + "_1")


@pytest.mark.parametrize(("turn", "index", "arguments"), [(1, 0, "[0]"), (1, 1, "[1]"), (2, 0, "[2]")])
async def test_one_call_is_read_by_its_turn_and_its_place_there(
    ports: Ports, turn: int, index: int, arguments: str
) -> None:
    calls = [a_call(0, result="r0"), a_call(1, result="r1"), replace(a_call(0), turn=2, arguments="[2]", result="r2")]
    run = await with_calls(ports, *calls)
    found = await whole_call(ports, run, turn, index)
    assert found is not None
    assert (found.arguments, found.result) == (arguments, f"r{arguments[1]}")
    assert found.call in calls
    for absent in ((1, 2), (2, 1), (3, 0)):
        assert await whole_call(ports, run, *absent) is None


async def test_a_call_of_a_run_that_is_deleted_while_it_is_read_is_not_there(ports: Ports) -> None:
    run = await with_calls(ports, a_call(0, result=GONE))
    with pytest.raises(LookupError):
        await whole_call(ports, run, 1, 0)
    stored = await ports.runs.load(run.id)
    assert stored is not None
    await ports.runs.save(stored, replace(stored.value, phase=replace(TOMB, completed_at=at(1))))
    with pytest.raises(RunNotFound):
        await whole_call(ports, run, 1, 0)
