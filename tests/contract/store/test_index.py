"""Keys and lists, in memory and on Azurite alike."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from shared.runs.model.phases import Ended, RunStatus
from shared.runs.store.index import UNLISTED, IndexStore, KeyRecord, key_digest
from shared.runs.store.tables import Conflict, Table, Tables
from tests.contract.store.records import NOW, changed, new_run


@pytest.fixture
def index(tables: Tables) -> IndexStore:
    return IndexStore(tables)


def record(**fields: str) -> KeyRecord:
    given = KeyRecord(digest="d", payload="p", session_id="0" * 32, number=3, created_at=NOW)
    return replace(given, **fields)  # type: ignore[arg-type]


async def test_a_key_is_claimed_once_and_comes_back_to_the_microsecond(index: IndexStore) -> None:
    claims = await asyncio.gather(*(index.claim_key(record(payload=str(i))) for i in range(4)))
    (taken,) = (claim for claim in claims if claim is not None)
    assert await index.key("d") == taken
    assert taken.created_at == NOW


async def test_a_freed_key_can_be_claimed_and_an_old_claim_frees_no_new_one(index: IndexStore) -> None:
    old = await index.claim_key(record())
    assert old is not None
    await index.free_key(old)
    assert await index.key("d") is None
    new = await index.claim_key(record(payload="q"))
    await index.free_key(old)
    assert await index.key("d") == new


def test_owner_and_key_do_not_run_into_each_other() -> None:
    digests = {key_digest(owner, key) for owner, key in (("a", "b"), ("ab", ""), ("", "ab"), ("1:a", "b"), ("a:", "b"))}
    assert len(digests) == 5


async def test_an_owners_runs_are_listed_newest_first(index: IndexStore, tables: Tables) -> None:
    runs = [new_run(created_at=NOW + timedelta(milliseconds=i)) for i in range(3)]
    for run in (*runs, new_run(owner="p")):
        await index.list_hidden(run)
        await index.list_hidden(run)
    partition = index.list_row_of(runs[0]).split("/")[0]
    keys = [row.key async for row in tables.query(Table.INDEX, partition)]
    assert [key.split(":")[1] for key in keys] == [run.id for run in reversed(runs)]


async def test_two_submissions_for_one_run_do_not_share_a_place(index: IndexStore) -> None:
    won = new_run()
    lost = changed(won, fingerprint="f" * 32)
    await index.list_hidden(lost)
    await index.list_hidden(won)
    await index.unlist(index.list_row_of(lost))
    await index.unlist(index.list_row_of(lost))
    assert await index.listed(index.list_row_of(lost)) is None
    row = await index.listed(index.list_row_of(won))
    assert row is not None
    await index.list_hidden(won)
    await index.remove(row)
    assert await index.listed(index.list_row_of(won)) is not None
    assert await index.listed("") is None


async def test_only_old_keys_are_forgotten(index: IndexStore) -> None:
    old = await index.claim_key(record())
    young = await index.claim_key(replace(record(), digest="e", created_at=NOW + timedelta(hours=1)))
    await index.show(new_run(created_at=NOW), UNLISTED)
    assert old is not None
    assert await index.keys_older_than(NOW, place=None, size=9) == ([], None), "not what is exactly as old"
    (old,), place = await index.keys_older_than(NOW + timedelta(minutes=59), place=None, size=9)
    assert place is None
    await index.remove(old)
    assert await index.keys_older_than(NOW + timedelta(minutes=59), place=None, size=9) == ([], None)
    assert (await index.key("d"), await index.key("e")) == (None, young)
    assert len(await ids(index)) == 1, "places in lists are not keys"


async def test_a_list_is_read_in_pages_that_neither_skip_nor_repeat(index: IndexStore) -> None:
    runs = [new_run(created_at=NOW + timedelta(milliseconds=i // 2)) for i in range(5)]  # two in one instant
    for run in runs:
        await index.show(run, UNLISTED)
    found = await ids(index, 2)
    assert sorted(found) == sorted(run.id for run in runs)
    assert found[0] == runs[4].id
    assert await index.runs("p", None, 2, statuses=(), agent=None) == ([], None)


async def test_a_run_is_shown_from_its_first_status_to_its_last(index: IndexStore) -> None:
    run, ended = new_run(title="Once"), Ended(status=RunStatus.COMPLETED, completed_at=NOW + timedelta(seconds=2))
    hidden = await index.list_hidden(run)
    assert (hidden.status, await ids(index)) == (None, [])
    assert await index.listing(index.list_row_of(run)) == hidden
    first = await index.show(run, hidden)
    assert await index.listing(index.list_row_of(run)) == first == replace(first, status=RunStatus.QUEUED)
    with pytest.raises(Conflict):
        await index.show(run, hidden)
    with pytest.raises(Conflict):
        await index.show(run, UNLISTED)
    await index.show_ended(changed(run, phase=ended))
    ((listed,), _) = await index.runs("o", None, 5, statuses=(), agent=None)
    assert (listed.id, listed.status, listed.agent) == (run.id, RunStatus.COMPLETED, "a")
    assert (listed.summary.title, listed.summary.elapsed_seconds) == ("Once", 2.0)
    with pytest.raises(Conflict):
        await index.show(run, first)
    await index.hide(run)
    assert await ids(index) == []
    await index.unlist(index.list_row_of(run))
    assert await index.listing(index.list_row_of(run)) == UNLISTED
    with pytest.raises(Conflict):
        await index.show_ended(changed(run, phase=ended))
    await index.hide(run)
    assert await index.listing(index.list_row_of(run)) == UNLISTED


async def ids(index: IndexStore, size: int = 5) -> list[str]:
    """All that the list shows."""
    found: list[str] = []
    cursor: str | None = None
    for _ in range(20):
        runs, cursor = await index.runs("o", cursor, size, statuses=(), agent=None)
        found += [run.id for run in runs]
        if cursor is None:
            return found
    raise AssertionError("no end")


async def test_a_try_is_taken_by_one_repeat_of_its_request(index: IndexStore) -> None:
    tries = index.tries
    made = [
        await tries.begin("o", "p", key=name, count=0, now=NOW + timedelta(seconds=age))
        for name, age in (("old", -120), ("one", -10), ("two", 0))
    ]
    since = NOW - timedelta(minutes=1)
    for owner, request in (("another", "p"), ("o", "q"), ("o", "p2"), ("o", "")):
        assert await tries.of(owner, request, since) == []
    found = await tries.of("o", "p", since)
    assert found == [made[2], made[1]], "newest first, and none from before"
    taken = await asyncio.gather(*(tries.change("o", found[0], count=1, at=NOW, lost=False) for _ in range(4)))
    assert [each is None for each in taken].count(False) == 1
    (mine,) = (each for each in taken if each is not None)
    assert (mine.key, mine.count) == ("two", 1)
    assert (await tries.of("o", "p", since))[0] == mine
    await tries.forget("o", found[0])
    assert mine in await tries.of("o", "p", since), "what was changed meanwhile is left alone"
    await tries.forget("o", mine)
    assert await tries.of("o", "p", since) == [made[1]]
    assert await tries.change("o", mine, count=2, at=NOW, lost=True) is None


async def test_tries_go_with_the_old_keys(index: IndexStore) -> None:
    await index.tries.begin("o", "p", key="k", count=0, now=NOW)
    (old,), _ = await index.keys_older_than(NOW + timedelta(seconds=1), place=None, size=9)
    await index.remove(old)
    assert await index.tries.of("o", "p", NOW - timedelta(days=1)) == []
