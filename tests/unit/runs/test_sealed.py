"""Runs and batches whose texts are sealed: they go as ever, and their rows say nothing; without the key they wait."""

from __future__ import annotations

import base64
import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

import pytest

from shared.runs.model.batch import Batch, BatchItem, ItemResult
from shared.runs.model.calls import ToolCall
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import Run
from shared.runs.store.sealed import FIELDS
from shared.runs.store.sealer import KeyUnavailable
from shared.runs.store.tables import MAX_BINARY_BYTES, Change, Kind, Row, Table
from shared.runs.store.unreadable import RowUnreadable
from tests.parts.memory import MemoryTables
from tests.unit.runs.batches import load as load_batch
from tests.unit.runs.batches import submit as submit_batch
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.test_retention import DAY, a_session, retained, sessions
from tests.unit.runs.test_sweep import sweep

MARK = "hedgehog"
KEY, OTHER = (f"local:{base64.b64encode(each * 32).decode()}" for each in (b"1", b"2"))
TURNS: list[dict[str, Any]] = [
    {"calls": [{"name": "write_much", "arguments": {"label": f"{MARK}-é", "times": 4_000}}]},
    {"text": f"{MARK} 🦔 " * 5_000},
]


def rows(tables: MemoryTables) -> list[tuple[Table, Row]]:
    return [(table, row) for table in Table for row in tables.rows(table)]


def plain_texts(tables: MemoryTables) -> list[str]:
    """Properties in which the planted word can be read."""
    found = []
    for table, row in rows(tables):
        for name, value in (("key", row.key), *row.values.items()):
            text = value if isinstance(value, bytes) else str(value).encode()
            if MARK.encode() in text or MARK.encode("utf-16-le") in text:
                found.append(f"{table} {row.key} {name}")
    return found


async def a_whole_run(rig: Rig) -> Run:
    await rig.model.script("s", TURNS)
    asked = {"title": f"{MARK}-title", "metadata": {"m": f"{MARK}-metadata"}}
    run = await rig.follow((await rig.submit(f"[script:s] {MARK}" * 3_000, **asked)).run.id)
    assert run.status is RunStatus.COMPLETED
    return run


async def text_of(rig: Rig, run: Run) -> str:
    return await rig.app.ports.runs.load_text(run, run.result.text)


async def test_a_run_s_rows_say_nothing_of_what_it_was_about(rigs: NewRig) -> None:
    rig = await rigs(encryption_key=KEY)
    run = await a_whole_run(rig)
    assert plain_texts(rig.tables) == []
    assert (await text_of(rig, run)).count(MARK) == 5_000
    listed, _ = await rig.app.ports.index.runs("test", None, 10, statuses=[RunStatus.COMPLETED], agent="workshop")
    assert [each.summary.title for each in listed] == [f"{MARK}-title"]
    # another process, with the same key and a newer one
    second = await rigs(encryption_key=f"{OTHER} {KEY}")
    again = await second.run(run.id)
    assert again == run
    assert await text_of(second, again) == await text_of(rig, run)
    for _, row in rows(rig.tables):
        assert all(len(value) <= MAX_BINARY_BYTES for value in row.values.values() if isinstance(value, bytes))


async def test_the_same_run_without_a_key_can_be_read_by_anybody(rig: Rig) -> None:
    await a_whole_run(rig)
    places = plain_texts(rig.tables)
    for part in ("request", "text", "arguments", "data", "summary", "b00"):
        assert any(part in place for place in places), part


async def test_parts_are_not_named_by_a_hash_that_can_be_guessed(rigs: NewRig) -> None:
    plain, sealed = [], []
    rig = await rigs()
    run = await a_whole_run(rig)
    plain = [row.key.split(":")[2] for row in rig.tables.rows(Table.RUNS) if row.key.startswith("part:")]
    rig = await rigs(encryption_key=KEY)
    second = await a_whole_run(rig)
    session = second.request.session_id
    sealed = [row.key.split(":")[2] for row in rig.tables.rows(Table.RUNS, session) if row.key.startswith("part:")]
    assert len(sealed) == len(plain) > 2
    assert run.request.session_id != session
    assert set(sealed).isdisjoint(plain)


async def test_runs_from_before_stay_readable_and_go_on(rigs: NewRig) -> None:
    before = await rigs()
    run = await a_whole_run(before)
    after = await rigs(encryption_key=KEY)
    assert await after.run(run.id) == run
    assert await text_of(after, run) == await text_of(before, run)
    await after.model.script("t", [{"text": "Fine."}])
    second = await after.follow((await after.submit("[script:t]", session_id=run.request.session_id)).run.id)
    assert second.status is RunStatus.COMPLETED


@pytest.mark.parametrize("key", [None, OTHER])
async def test_without_the_key_nothing_is_lost_or_failed_and_with_it_the_run_goes_on(
    rigs: NewRig, key: str | None
) -> None:
    rig = await rigs(encryption_key=KEY)
    await rig.model.script("s", TURNS)
    run_id = await rig.start(f"[script:s] {MARK}")
    before = rows(rig.tables)
    without = await rigs(encryption_key=key)
    for _ in range(12):
        rig.clock.move(60)
        with pytest.raises(KeyUnavailable):
            await without.wake(run_id)
        with pytest.raises(KeyUnavailable):
            await without.run(run_id)
    assert rows(rig.tables) == before
    assert (await rig.follow(run_id)).status is RunStatus.COMPLETED


async def test_a_retention_without_a_key_expires_the_others_and_with_it_all(rigs: NewRig) -> None:
    rig = await rigs(encryption_key=KEY)
    hidden = await a_session(rig)
    without = await rigs()
    plain = await a_session(without)
    rig.clock.move(31 * DAY)
    assert (await retained(without))["no_key"] == 1
    assert {each.session_id for each in await sessions(without) if each.deleted_at is None} == {hidden}
    await retained(rig)
    assert {each.session_id for each in await sessions(rig) if each.deleted_at is None} == set()
    assert plain != hidden


async def test_a_sweep_without_the_key_goes_on_with_the_others(rigs: NewRig) -> None:
    rig = await rigs(encryption_key=KEY, driver="timer")
    await rig.model.script("s", [{"stuck": True}])
    hidden = await rig.start()
    without = await rigs(driver="timer")
    plain = await without.start()
    rig.clock.move(61)
    assert await sweep(without) == {"no_key": 1, "polled": 1}
    assert await sweep(without) == {}, "neither is due"
    rig.clock.move(61)
    assert (await sweep(without))["no_key"] == 1
    assert (await rig.run(hidden)).status is (await without.run(plain)).status is RunStatus.IN_PROGRESS


async def test_a_changed_byte_is_an_unreadable_row_and_never_a_value(rigs: NewRig) -> None:
    rig = await rigs(encryption_key=KEY)
    run = await a_whole_run(rig)
    (row,) = [each for each in rig.tables.rows(Table.RUNS) if each.key.startswith("run:")]
    result = row.values["result"]
    assert isinstance(result, bytes)
    for damage in (result[:-1] + bytes([result[-1] ^ 1]), row.values["request"]):
        merge = Change(kind=Kind.MERGE, key=row.key, values={"result": damage}, etag=await _etag(rig, row))
        await rig.tables.commit(Table.RUNS, row.partition, [merge])
        with pytest.raises(RowUnreadable, match="result is not what was sealed"):
            await rig.run(run.id)


async def test_a_changed_byte_of_a_part_is_an_error(rigs: NewRig) -> None:
    rig = await rigs(encryption_key=KEY)
    run = await a_whole_run(rig)
    for row in [each for each in rig.tables.rows(Table.RUNS) if each.key.startswith("part:")]:
        piece = row.values["b00"]
        assert isinstance(piece, bytes)
        merge = Change(kind=Kind.MERGE, key=row.key, values={"b00": piece[:-1] + bytes([piece[-1] ^ 1])}, etag=row.etag)
        await rig.tables.commit(Table.RUNS, row.partition, [merge])
    with pytest.raises(LookupError, match="not what was written"):
        await text_of(rig, run)


async def _etag(rig: Rig, row: Row) -> str:
    now = await rig.tables.get(Table.RUNS, row.partition, row.key)
    assert now is not None
    return now.etag


async def test_a_batch_s_rows_say_nothing_either(rigs: NewRig) -> None:
    rig = await rigs(encryption_key=KEY)
    await rig.model.script("s", [{"text": MARK}])
    batch_id = (await submit_batch(rig, f"[script:s] {MARK}")).batch.id
    await rig.run_activity(batch_id)
    assert plain_texts(rig.tables) == []
    assert (await load_batch(rig, batch_id)).request.total == 1


RECORDS: Mapping[type, tuple[Table, str]] = {
    Run: (Table.RUNS, "run"),
    ToolCall: (Table.RUNS, "tool"),
    Batch: (Table.BATCHES, "batch"),
    BatchItem: (Table.BATCHES, "item"),
    ItemResult: (Table.BATCHES, "result"),
}

READABLE = {
    Run: {"schedule", "updated_at", "turn", "phase", "chain", "counters", "outbox", "schema"},
    ToolCall: {
        *("session_id", "number", "turn", "index", "call_id", "name", "kind", "state", "approval", "answered_by"),
        *("answered_at", "progress_fraction", "progress_at", "starts", "interruptions", "owner"),
        *("started_at", "finished_at", "schema"),
    },
    Batch: {"schedule", "pace", "updated_at", "phase", "outbox", "last_callback", "over_at", "schema"},
    BatchItem: {"index", "error_code", "retry_of_index", "schema"},
    ItemResult: {"index", "status", "ended_at", "ran", "error_code", "schema"},
}
"""What stays readable: nothing that a caller, a model or a tool wrote. A new field is decided here."""


@pytest.mark.parametrize("kind", RECORDS)
def test_every_field_is_either_sealed_or_known_to_hold_no_text(kind: type) -> None:
    table, name = RECORDS[kind]
    fields = {each.name for each in dataclasses.fields(typing.cast(Any, kind))}
    assert fields - set(FIELDS[table][name]) - READABLE[kind] == set()
