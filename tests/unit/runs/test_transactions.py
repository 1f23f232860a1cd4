"""What a wake costs at Table Storage: operations, each of which is billed and waited for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from starlette.responses import Response

from shared.api.native.runs import get_run
from shared.runs.store.tables import Table
from tests.unit.api.conftest import request
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.crashes import Driver as Host


async def operations(rig: Rig, act: Callable[[], Coroutine[Any, Any, Any]]) -> dict[str, int]:
    """What it takes, by the kind of operation."""
    seen: Counter[str] = Counter()

    async def count(operation: str, *_: object) -> None:
        seen[operation] += 1

    rig.tables.before = count
    await act()
    rig.tables.before = None
    return dict(seen)


async def test_a_look_without_news_reads_the_run_and_merges_it(rig: Rig) -> None:
    await rig.model.script("s", [{"stuck": True}])
    run_id = await rig.start()
    for _ in range(3):
        rig.clock.move(130)
        assert await operations(rig, lambda: rig.wake(run_id)) == {"get": 1, "commit": 1}


async def test_a_look_that_completes_the_run_is_one_transaction_with_its_session_and_one_for_the_list(rig: Rig) -> None:
    await rig.model.script("s", [{"text": "Once."}])
    run_id = await rig.start()
    rig.clock.move(2)
    assert await operations(rig, lambda: rig.wake(run_id)) == {"get": 2, "commit": 2}


async def test_a_wake_that_parks_a_run_reads_and_writes_its_row_in_the_list_besides(rig: Rig) -> None:
    await rig.model.script("s", [{"calls": [{"name": "send", "arguments": {"label": "a"}}]}])
    run_id = await rig.start()
    rig.clock.move(2)
    await rig.wake(run_id)
    assert await operations(rig, lambda: rig.wake(run_id)) == {"get": 2, "query": 1, "commit": 2}


@pytest.mark.parametrize(("driver", "dated"), [("durable", 0), ("timer", 1)])
async def test_a_submit_reads_nothing_and_is_four_writes(rigs: NewRig, driver: str, dated: int) -> None:
    rig = await rigs(driver=driver)
    await rig.model.script("s", [{"stuck": True}])
    host = Host(rig)

    async def submit() -> None:
        await host.start_run(await rig.submit())

    # The due row; the run; what was created; the list's row.
    assert await operations(rig, submit) == {"commit": 4 + dated}


@pytest.mark.parametrize(("key", "most"), [(None, 3), ("k", 4)])
async def test_how_many_requests_of_a_submit_wait_for_one_another(rig: Rig, key: str | None, most: int) -> None:
    await rig.model.script("s", [{"stuck": True}])
    open_now, chain = 0, 0

    async def begin(*_: object) -> None:
        nonlocal open_now, chain
        chain += not open_now
        open_now += 1
        await asyncio.sleep(0.01)  # so that whatever does not wait for it is begun beside it

    async def end(*_: object) -> None:
        nonlocal open_now
        open_now -= 1

    rig.tables.before, rig.tables.after = begin, end
    await rig.submit(idempotency_key=key)
    rig.tables.before = rig.tables.after = None
    assert chain == most


@pytest.mark.parametrize("driver", ["durable", "timer"])
async def test_the_sweep_looks_into_the_list_once_for_each_status_and_no_more(rigs: NewRig, driver: str) -> None:
    rig = await rigs(driver=driver)
    await rig.model.script("s", [{"text": "Once.", "think": 900}])
    host = Host(rig)
    submitted = await rig.submit()
    await host.start_run(submitted)
    run_id = submitted.run.id
    looks = Counter[str]()

    async def count(operation: str, table: Table, *_: object) -> None:
        looks[operation] += operation == "get" and table is Table.INDEX

    rig.tables.before = count
    await host.pass_time(800)
    # Under `timer` the submit has said what it listed, in the due row that it dated.
    assert looks["get"] == (1 if driver == "durable" else 0)
    await host.pass_time(600)
    rig.tables.before = None
    assert (await rig.run(run_id)).terminal
    assert rig.tables.rows(Table.DUE) == []
    assert looks["get"] == (2 if driver == "durable" else 0)


async def test_a_turn_with_tools_reads_its_calls_once(rig: Rig) -> None:
    work = {"name": "work", "arguments": {"label": "a"}}
    await rig.model.script("s", [{"calls": [work, work]}, {"text": "Once."}])
    run_id = await rig.start()
    rig.clock.move(2)
    await rig.wake(run_id)
    # The lease with both starts, the end of each, and what they came to.
    assert await operations(rig, lambda: rig.wake(run_id)) == {"get": 1, "query": 1, "commit": 4}


async def test_a_caller_who_has_a_long_run_already_costs_one_read_of_its_row(rig: Rig) -> None:
    await rig.model.script("s", [{"text": "é" * 60_000}])
    run = await rig.finish(await rig.start(owner="function"))
    answers: list[Response] = []

    async def ask(**headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        asked = request(headers={"x-functions-key": "k", **named}, path={"run_id": run.id})
        answers.append(await get_run(asked, rig.app))

    assert await operations(rig, ask) == {"get": 2}, "the row, and the part with the text"
    first = answers[0]
    etag = first.headers["etag"]
    assert await operations(rig, lambda: ask(if_none_match=etag)) == {"get": 1}
    assert (answers[1].status_code, answers[1].body, answers[1].headers["etag"]) == (304, b"", etag)
    assert await operations(rig, lambda: ask(if_none_match='"x"')) == {"get": 2}
    assert (answers[2].body, answers[2].headers["etag"]) == (first.body, etag)
