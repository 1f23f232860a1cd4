"""What lists and sessions cost, counted in transactions: in memory, and at Azurite over the wire."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from shared.runs.model.batch import BatchPhase, BatchStatus, Ended, Running
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import Run
from shared.runs.ports import Ports
from shared.runs.queries.sessions import runs_of_session
from shared.runs.store.azure import AzureTables
from shared.runs.store.history import HistoryStore
from shared.runs.store.index import UNLISTED, IndexStore
from shared.runs.store.runs import RunStore, SessionChange, Stored
from shared.runs.store.sealed import SealedTables
from shared.runs.store.tables import Page, Table, Tables, fits
from tests.contract.store.records import COMPLETED, NOW, changed, new_run, session_of
from tests.contract.store.test_batches import new_batch
from tests.parts.memory import MemoryTables

ANY = frozenset[RunStatus]()
Costs = Callable[[Awaitable[Any]], Awaitable[tuple[Any, int]]]


@pytest.fixture
async def costs(tables: Tables) -> Costs:
    """What an awaitable comes to, and how many requests it took."""
    seen = 0

    async def count(*_: Any, **__: Any) -> None:
        nonlocal seen
        seen += 1

    within = tables._tables if isinstance(tables, SealedTables) else tables
    if isinstance(within, MemoryTables):
        within.before = count
    elif isinstance(within, AzureTables):
        service: Any = within._account()
        send = service._client._client._pipeline._transport.send  # each request, whatever method it belongs to

        async def sent(*args: Any, **options: Any) -> Any:
            await count()
            return await send(*args, **options)

        service._client._client._pipeline._transport.send = sent

    async def measured(work: Awaitable[Any]) -> tuple[Any, int]:
        nonlocal seen
        seen = 0
        return await work, seen

    return measured


async def put(index: IndexStore, runs: list[Run]) -> None:
    for start in range(0, len(runs), 50):
        await asyncio.gather(*(index.show(run, UNLISTED) for run in runs[start : start + 50]))


def some(count: int, **changes: Any) -> list[Run]:
    return [new_run(created_at=NOW + timedelta(seconds=number), **changes) for number in range(count)]


@pytest.mark.slow
async def test_a_page_of_a_list_is_one_request_whatever_the_filter(tables: Tables, costs: Costs) -> None:
    index = IndexStore(tables)
    runs = some(970, phase=COMPLETED) + some(30)
    await put(index, runs)
    (page, cursor), requests = await costs(index.runs("o", None, 20, statuses=ANY, agent=None))
    assert (len(page), requests) == (20, 1)
    (page, _), requests = await costs(index.runs("o", cursor, 20, statuses=ANY, agent="a"))
    assert (len(page), requests) == (20, 1)
    (page, _), requests = await costs(index.runs("o", None, 20, statuses={RunStatus.QUEUED}, agent="a"))
    assert ({run.status for run in page}, len(page), requests) == ({RunStatus.QUEUED}, 20, 1)
    failed = frozenset({RunStatus.FAILED, RunStatus.CANCELLED})
    (page, cursor), requests = await costs(index.runs("o", None, 20, statuses=failed, agent=None))
    assert (page, cursor) == ([], None)
    assert requests <= 3, "nothing among a thousand"
    (page, cursor), requests = await costs(index.runs("o", None, 20, statuses=ANY, agent="it's nobody"))
    assert (page, cursor, requests <= 3) == ([], None, True)


@pytest.mark.parametrize("phase", [Running(begun=True), Ended(status=BatchStatus.COMPLETED, completed_at=NOW)])
async def test_a_page_of_batches_is_one_request_whatever_their_state(
    tables: Tables, costs: Costs, phase: BatchPhase
) -> None:
    index = IndexStore(tables)
    made = [new_batch(created_at=NOW + timedelta(seconds=number), phase=phase) for number in range(50)]
    for batch in made:
        await index.show(batch, UNLISTED)
    # Submits that were cut off left hidden rows in between.
    for number in range(40):
        await index.list_hidden(new_batch(created_at=NOW + timedelta(seconds=number + 0.5)))
    found, cursor = [], None
    while len(found) < 50:
        (page, cursor), requests = await costs(index.batches("o", cursor, 20))
        assert requests <= 3
        assert len(page) == min(20, 50 - len(found))
        found += [batch.id for batch in page]
    assert found == [batch.id for batch in reversed(made)]


class Sparse:
    """A service that looks at ten rows a page, so that pages are short or empty and have a place all the same."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tables, name)

    async def page(self, table: Table, *, any_of: Any = (), size: int, **options: Any) -> Page:
        page = await self._tables.page(table, size=min(size, 10), **options)
        return Page(rows=[row for row in page.rows if fits(row, any_of)], place=page.place)


async def test_a_filter_that_finds_nothing_for_long_is_gone_on_with_from_page_to_page() -> None:
    tables = MemoryTables()
    index = IndexStore(cast(Tables, Sparse(tables)))
    runs = some(200, phase=COMPLETED)
    runs[3] = changed(runs[3], phase=new_run().phase)
    runs[150] = changed(runs[150], phase=new_run().phase)
    await put(index, runs)
    found, cursors, cursor = [], [], None
    while True:
        page, cursor = await index.runs("o", cursor, 20, statuses={RunStatus.QUEUED}, agent=None)
        found += [run.id for run in page]
        if cursor is None:
            break
        assert len(cursors) < 20
        cursors.append(cursor)
    assert found == [runs[150].id, runs[3].id], "none skipped, none twice"
    assert {each.startswith("~") for each in cursors} == {True, False}


@pytest.mark.parametrize("cursor", ["~", "~x", "~bm90IGpzb24", "~e30", "~W10", "~WzFd", "~eyJQYXJ0aXRpb25LZXkiOjF9"])
async def test_a_made_up_place_shows_nothing_of_others_and_breaks_nothing(tables: Tables, cursor: str) -> None:
    index = IndexStore(tables)
    await put(index, some(3))
    await put(index, some(3, owner="other"))
    with contextlib.suppress(ValueError):
        page, _ = await index.runs("o", cursor, 20, statuses=ANY, agent=None)
        assert len(page) <= 3


async def a_session(tables: Tables, count: int) -> Any:
    """A session of so many runs, each with a question and an answer; its row."""
    store = RunStore(tables)
    session: Stored[Any] | None = None
    session_id = new_run().request.session_id
    for number in range(1, count + 1):
        run = new_run(session_id, number=number)
        given = f'[{{"role":"user","content":"{number}?"}}]'
        after = session_of(run) if session is None else replace(session.value, next_number=number + 1)
        stored = await store.create(run, SessionChange(before=session, after=after), given)
        answer = f'[{{"type":"message","role":"assistant","content":[{{"type":"output_text","text":"{number}!"}}]}}]'
        await store.save(stored, changed(stored.value, phase=COMPLETED), items=[answer])
        session = await store.load_session(session_id)
    assert session is not None
    return session.value


@pytest.mark.slow
async def test_a_page_of_a_session_of_two_hundred_runs_is_read_in_ranges(tables: Tables, costs: Costs) -> None:
    session = await a_session(tables, 200)
    ports = cast(Ports, _Reading(tables))
    page, requests = await costs(runs_of_session(ports, session, None, 100))
    assert [each.run.number for each in page.runs] == [*range(200, 100, -1)]
    assert [message.content for message in page.runs[0].messages] == ["200?", "200!"]
    assert page.following == 100
    assert requests + 1 <= 4, "one more for the session itself"
    page, requests = await costs(runs_of_session(ports, session, page.following, 100))
    assert [each.run.number for each in page.runs] == [*range(100, 0, -1)]
    assert page.following < 1
    assert requests + 1 <= 4


class _Reading:
    def __init__(self, tables: Tables) -> None:
        self.history = HistoryStore(tables)
        self.runs = RunStore(tables)
