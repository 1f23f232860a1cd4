"""A session is shown in pages, however long it is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.api.callers import EVERYBODY
from shared.api.native import sessions
from shared.errors import InvalidRequest
from shared.runs.commands.delete import delete_run
from shared.runs.model.phases import RunStatus
from shared.runs.queries import sessions as queries
from shared.runs.store.tables import Table
from tests.unit.api.conftest import content, request
from tests.unit.runs.conftest import Rig
from tests.unit.runs.crashes import RunBefore


@pytest.fixture
async def scripted(rig: Rig) -> Rig:
    await rig.model.script("s", [{"text": "Done.", "echo": True}])
    return rig


async def a_session(rig: Rig, texts: list[str]) -> str:
    """A session with a run for each text; its id."""
    session: dict[str, Any] = {}
    for text in texts:
        run = await rig.run_to_end(f"[script:s] {text}", **session, owner=EVERYBODY)
        assert run.status is RunStatus.COMPLETED
        session = {"session_id": run.request.session_id}
    return str(session["session_id"])


def asked(session_id: str, query: str = "") -> Any:
    given = request({}, path={"session_id": session_id})
    given.scope["method"], given.scope["query_string"] = "GET", query.encode()
    return given


async def pages(rig: Rig, session_id: str, query: str = "") -> list[dict[str, Any]]:
    """All pages, as a caller reads them."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while not found or cursor:
        answer = await sessions.get_session(asked(session_id, f"{query}{cursor}"), rig.app)
        found.append(content(answer))
        following = found[-1].get("next_cursor")
        cursor = f"&cursor={following}" if following else ""
        assert len(found) < 20
    return found


def numbers(page: dict[str, Any]) -> list[int]:
    return [int(run["id"].rpartition("_")[2]) for run in page["runs"]]


async def test_a_session_is_shown_newest_first_in_pages(scripted: Rig) -> None:
    session_id = await a_session(scripted, [f"text {i}" for i in range(1, 6)])
    found = await pages(scripted, session_id, "limit=2")
    assert [numbers(page) for page in found] == [[5, 4], [3, 2], [1]]
    said = [[message["content"] for message in page["messages"] if message["role"] == "user"] for page in found]
    assert said == [
        ["[script:s] text 4", "[script:s] text 5"],
        ["[script:s] text 2", "[script:s] text 3"],
        ["[script:s] text 1"],
    ], "in the order in which it was said"
    (whole,) = await pages(scripted, session_id)
    assert numbers(whole) == [5, 4, 3, 2, 1]


async def test_a_page_ends_before_it_is_too_large_but_never_before_its_first_run(
    scripted: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = await a_session(scripted, ["a" * 500, "b" * 5_000, "c" * 500, "d" * 500])
    monkeypatch.setattr(queries, "MAX_BYTES", 3_000)
    found = await pages(scripted, session_id)
    assert [numbers(page) for page in found] == [[4, 3], [2], [1]]


async def test_deleted_runs_take_no_page_and_end_no_list(scripted: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    session_id = await a_session(scripted, [str(i) for i in range(6)])
    for number in (2, 3, 4, 6):
        await delete_run(scripted.app.ports, f"run_{session_id}_{number}")
    monkeypatch.setattr(queries, "LOOKED_AT", 1)
    found = await pages(scripted, session_id, "limit=1")
    assert [numbers(page) for page in found] == [[5], [], [1]], "a page may be short, and have a next one"
    (whole,) = await pages(scripted, session_id)
    assert numbers(whole) == [5, 1]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "cursor=0", "cursor=x", "cursor=123456789", "page=2"])
async def test_what_is_no_page_is_refused(scripted: Rig, query: str) -> None:
    session_id = await a_session(scripted, ["x"])
    with pytest.raises(InvalidRequest):
        await sessions.get_session(asked(session_id, query), scripted.app)


async def test_a_page_is_read_in_ranges_however_many_runs_it_has(scripted: Rig) -> None:
    session_id = await a_session(scripted, [str(i) for i in range(12)])
    seen: list[str] = []

    async def count(operation: str, *_: object) -> None:
        seen.append(operation)

    scripted.tables.before = count
    await sessions.get_session(asked(session_id, "limit=12"), scripted.app)
    scripted.tables.before = None
    assert seen == ["get", "query", "query"], "the session, its runs, what they said"


async def test_long_texts_are_read_back_for_each_run_of_a_page(scripted: Rig) -> None:
    texts = ["a" * 30_000, "b", "é" * 30_000, "c", "d" * 1_000_000]
    session_id = await a_session(scripted, texts)
    (page,) = await pages(scripted, session_id, "limit=100")
    said = [message["content"] for message in page["messages"] if message["role"] == "user"]
    assert said == [f"[script:s] {text}" for text in texts]


async def test_what_a_page_holds_is_known_before_it_is_read(scripted: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    session_id = await a_session(scripted, ["a" * 30_000, "é" * 30_000, "c"])
    held = [(await scripted.run(f"run_{session_id}_{number}")).chain.item_bytes for number in (1, 2, 3)]
    written = [
        len(json.dumps(await scripted.items(f"run_{session_id}_{number}"), ensure_ascii=False).encode())
        for number in (1, 2, 3)
    ]
    assert held == [pytest.approx(each, rel=0.05, abs=100) for each in written]
    monkeypatch.setattr(queries, "MAX_BYTES", 100_000)
    seen: list[str] = []

    async def count(operation: str, table: Table, *_: object) -> None:
        seen.append(operation)

    scripted.tables.before = count
    answer = content(await sessions.get_session(asked(session_id), scripted.app))
    scripted.tables.before = None
    assert numbers(answer) == [3]
    assert seen == ["get", "query", "query"], "nothing of the long ones"


async def test_a_run_that_is_deleted_while_a_page_is_read_is_left_out_or_shown_whole(scripted: Rig) -> None:
    for at in range(1, 30):
        session_id = await a_session(scripted, ["x" * 30_000, "y" * 30_000, "z"])

        async def delete(session_id: str = session_id) -> None:
            await delete_run(scripted.app.ports, f"run_{session_id}_2")
            for _ in range(3):
                await scripted.wake(f"run_{session_id}_2")

        with RunBefore(scripted, at, delete) as race:
            page = content(await sessions.get_session(asked(session_id), scripted.app))
        assert numbers(page) in ([3, 1], [3, 2, 1])
        said = [message["content"] for message in page["messages"] if message["role"] == "user"]
        assert len(said) == len(numbers(page))
        if not race.happened:
            break
    assert at > 3
