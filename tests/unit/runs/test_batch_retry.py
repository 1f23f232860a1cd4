"""Retry a batch: a new one of the items that did not come to what was wanted, whatever crashes on the way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from shared import errors
from shared.runs.batches import retry as retries
from shared.runs.batches.cancel import cancel_batch
from shared.runs.batches.delete import delete_batch
from shared.runs.batches.retry import retry_batch
from shared.runs.batches.submit import AskedItem, BatchSubmission, BatchSubmitted, submit_batch
from shared.runs.model.batch import Batch, BatchItem, BatchStatus, Deleted, ItemStatus, run_of
from shared.runs.model.run import PartRef
from shared.runs.store.tables import Change, Table
from tests.parts import workshop
from tests.unit.runs.batches import creates, item_statuses, load, one, submit
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.crashes import Driver, FailAt, Killed, RunBefore, interruptions
from tests.unit.runs.test_batches import finished

FAILED = frozenset({ItemStatus.FAILED})
GOOD, BAD = "[script:s]", "[script:bad]"
LONG = "[script:bad] " + "é" * 60_000


@pytest.fixture
async def scripted(rig: Rig) -> Rig:
    await rig.model.script("s", [{"text": "done"}])
    await rig.model.script("bad", [{"status": "failed", "error": {"code": "invalid_prompt", "message": "No."}}])
    return rig


async def ended(rig: Rig, *texts: str, **fields: Any) -> Batch:
    """A batch with an item for each text, which is over."""
    batch_id = (await submit(rig, *texts, **fields)).batch.id
    await finished(rig, batch_id)
    return await load(rig, batch_id)


async def retry(
    rig: Rig, batch_id: str, *, statuses: frozenset[ItemStatus] = FAILED, key: str | None = None, owner: str = "test"
) -> BatchSubmitted:
    return await retry_batch(rig.app.ports, batch_id, owner, statuses, key)


async def asked_of(rig: Rig, batch_id: str, index: int) -> Any:
    """What an item asks for, read back from wherever it lies."""
    item = await rig.app.ports.batches.item(batch_id, index)
    assert item is not None
    return json.loads(await rig.app.ports.batches.load_text(batch_id, index, item.asked))


async def heads(rig: Rig, batch_id: str) -> list[BatchItem]:
    return await rig.app.ports.batches.heads(batch_id, 0)


# --- the way it goes ----------------------------------------------------------------------------------


async def test_the_failed_items_run_again_in_a_new_batch_with_the_same_options(scripted: Rig) -> None:
    items = [
        AskedItem(id=f"i-{n}", asked=one(text, metadata={"job": "night", "n": str(n)}, deadline_seconds=900.0))
        for n, text in enumerate((GOOD, BAD, GOOD, LONG))
    ]
    wanted = BatchSubmission(items=items, defaults=one("", metadata={"job": "night"}), payload="p", concurrency=2)
    before = (await submit_batch(scripted.app.ports, wanted)).batch
    await finished(scripted, before.id)
    before = await load(scripted, before.id)
    new = (await retry(scripted, before.id)).batch
    assert (new.request.total, new.status, new.request.retry_of) == (2, BatchStatus.QUEUED, before.id)
    for name in ("owner", "agent", "model", "metadata", "concurrency", "callback_url"):
        assert getattr(new.request, name) == getattr(before.request, name), name
    assert [(head.index, head.id, head.retry_of_index) for head in await heads(scripted, new.id)] == [
        (0, "i-1", 1),
        (1, "i-3", 3),
    ]
    for index, was in enumerate((1, 3)):
        assert await asked_of(scripted, new.id, index) == await asked_of(scripted, before.id, was)
    await scripted.model.script("bad", [{"text": "now it goes"}])
    await finished(scripted, new.id)
    assert await item_statuses(scripted, new.id) == {"completed": 2}
    assert await creates(scripted, new.id) == [1, 1]
    run = await scripted.run(run_of(new.id, 1))
    assert run.request.metadata == {"job": "night", "n": "3"}
    assert run.request.batch_id == new.id
    assert await load(scripted, before.id) == before, "the old one stays as it is"


async def test_what_fails_again_is_retried_again(scripted: Rig) -> None:
    first = await ended(scripted, GOOD, BAD)
    second = (await retry(scripted, first.id)).batch
    await finished(scripted, second.id)
    third = (await retry(scripted, second.id)).batch
    assert third.request.retry_of == second.id
    (head,) = await heads(scripted, third.id)
    assert (head.id, head.retry_of_index) == ("i-1", 0)


async def test_a_cancelled_batch_goes_on_where_that_is_asked_for(scripted: Rig) -> None:
    batch_id = (await submit(scripted, GOOD, GOOD, BAD)).batch.id
    await cancel_batch(scripted.app.ports, batch_id)
    await finished(scripted, batch_id)
    with pytest.raises(errors.NothingToRetry):
        await retry(scripted, batch_id)
    new = (await retry(scripted, batch_id, statuses=frozenset({ItemStatus.CANCELLED, ItemStatus.FAILED}))).batch
    await finished(scripted, new.id)
    assert await item_statuses(scripted, new.id) == {"completed": 2, "failed": 1}


async def test_items_of_a_batch_that_was_given_up_run_again(scripted: Rig) -> None:
    batch = await ended(scripted, GOOD, BAD, GOOD)
    # As ten wakes that crash leave it: a range, without a result for each.
    progress = replace(batch.progress, completed=0, failed=3, failed_from=0, failed_because="no")
    stored = await scripted.app.ports.batches.load(batch.id)
    assert stored is not None
    await scripted.app.ports.batches.save(stored, replace(batch, progress=progress))
    for row in [row for row in scripted.tables.rows(Table.BATCHES) if row.key.startswith("result:")]:
        await scripted.app.ports.batches.remove_rows(batch.id, [row])
    assert (await retry(scripted, batch.id)).batch.request.total == 3


async def test_items_that_were_wrong_at_submit_are_left_out(scripted: Rig) -> None:
    wanted = BatchSubmission(
        items=[
            AskedItem(id="a", asked=errors.InputTooLarge()),
            AskedItem(id="b", asked=one(BAD)),
            AskedItem(id="c", asked=one(GOOD, agent="nobody")),
        ],
        defaults=one(""),
        payload="p",
    )
    batch_id = (await submit_batch(scripted.app.ports, wanted)).batch.id
    await finished(scripted, batch_id)
    new = (await retry(scripted, batch_id)).batch
    assert [(head.id, head.error_code) for head in await heads(scripted, new.id)] == [("b", None)]
    only_bad = replace(wanted, items=[wanted.items[0]], payload="q")
    batch_id = (await submit_batch(scripted.app.ports, only_bad)).batch.id
    with pytest.raises(errors.NothingToRetry):
        await retry(scripted, batch_id)


async def test_an_item_whose_agent_is_gone_fails_alone_and_keeps_what_it_asked_for(rigs: NewRig) -> None:
    with_bench = await rigs([workshop.build_bench])
    await with_bench.model.script("bad", [{"status": "failed", "error": {"code": "invalid_prompt", "message": "No."}}])
    wanted = BatchSubmission(
        items=[AskedItem(id="a", asked=one(BAD, agent="bench")), AskedItem(id="b", asked=one(BAD))],
        defaults=one(""),
        payload="p",
    )
    batch_id = (await submit_batch(with_bench.app.ports, wanted)).batch.id
    await finished(with_bench, batch_id)
    await with_bench.model.script("bad", [{"text": "now it goes"}])
    without = await rigs()
    new = (await retry(without, batch_id)).batch
    await finished(without, new.id)
    assert await item_statuses(without, new.id) == {"failed": 1, "completed": 1}
    results = await without.app.ports.batches.results(new.id, 0, 2)
    assert results[0].error_code == "unknown_agent"
    last = (await retry(with_bench, new.id)).batch
    await finished(with_bench, last.id)
    assert await item_statuses(with_bench, last.id) == {"completed": 1}


async def test_a_batch_without_an_owner_s_eyes_is_not_there(scripted: Rig) -> None:
    batch = await ended(scripted, BAD)
    for batch_id, owner in ((batch.id, "another"), (f"batch_{'0' * 32}", "test")):
        with pytest.raises(errors.BatchNotFound):
            await retry(scripted, batch_id, owner=owner)
    await delete_batch(scripted.app.ports, batch.id)
    with pytest.raises(errors.BatchNotFound):
        await retry(scripted, batch.id)


async def test_a_batch_that_runs_or_is_being_cancelled_is_not_retried(scripted: Rig) -> None:
    await scripted.model.script("s", [{"stuck": True}])
    submitted = await submit(scripted, GOOD, BAD)
    batch_id, host = submitted.batch.id, Driver(scripted)
    with pytest.raises(errors.BatchNotEnded):
        await retry(scripted, batch_id)
    await host.start_batch(submitted)
    await host.pass_time(60)
    assert await item_statuses(scripted, batch_id) == {"active": 1, "failed": 1}
    await cancel_batch(scripted.app.ports, batch_id)
    with pytest.raises(errors.BatchNotEnded) as caught:
        await retry(scripted, batch_id)
    assert caught.value.details == {"status_of_batch": "cancelling"}


# --- keys, crashes, races -----------------------------------------------------------------------------


async def test_a_key_is_of_one_retry_even_when_the_old_batch_is_gone(scripted: Rig) -> None:
    batch = await ended(scripted, BAD, GOOD)
    first = await retry(scripted, batch.id, key="k")
    assert (await retry(scripted, batch.id, key="k")).batch.id == first.batch.id
    assert (await retry(scripted, batch.id)).batch.id != first.batch.id, "without a key each is its own"
    for wrong in ({"statuses": frozenset({ItemStatus.CANCELLED})}, {"statuses": FAILED | {ItemStatus.INCOMPLETE}}):
        with pytest.raises(errors.IdempotencyKeyReused):
            await retry(scripted, batch.id, key="k", **wrong)
    with pytest.raises(errors.IdempotencyKeyReused):
        await submit(scripted, GOOD, key="k")
    await delete_batch(scripted.app.ports, batch.id)
    assert (await retry(scripted, batch.id, key="k")).batch.id == first.batch.id
    await delete_batch(scripted.app.ports, first.batch.id)
    with pytest.raises(errors.BatchDeleted):
        await retry(scripted, batch.id, key="k")


@interruptions
@pytest.mark.slow
async def test_a_retry_sent_again_after_any_interruption_is_one_batch(
    scripted: Rig, error: BaseException, applied: bool
) -> None:
    rig = scripted
    batch = await ended(rig, LONG, GOOD, BAD)
    for step in range(1, 100):
        key = f"key-{step}"
        before = {row.partition for row in rig.tables.rows(Table.BATCHES)}
        with FailAt(rig, at=step, applied=applied, error=error) as trap:
            try:
                first = await retry(rig, batch.id, key=key)
            except type(error):
                first = None
        again = await retry(rig, batch.id, key=key)
        assert first is None or first.batch.id == again.batch.id
        assert {row.partition for row in rig.tables.rows(Table.BATCHES)} - before == {again.batch.id}
        await finished(rig, again.batch.id)
        assert await item_statuses(rig, again.batch.id) == {"failed": 2}
        assert await creates(rig, again.batch.id) == [1, 1]
        if not trap.sprung:
            break
    else:
        raise AssertionError("it never came to its end")
    assert step > 6


async def test_a_retry_that_crashed_and_is_not_repeated_leaves_nothing(scripted: Rig) -> None:
    batch = await ended(scripted, LONG, BAD)
    host = Driver(scripted)
    for step in (5, 8, 10):
        before = {row.partition for row in scripted.tables.rows(Table.BATCHES)}
        with FailAt(scripted, at=step, applied=True, error=Killed()), pytest.raises(Killed):
            await retry(scripted, batch.id)
        await host.pass_time(75 * 60)
        for begun in {row.partition for row in scripted.tables.rows(Table.BATCHES)} - before:
            assert await scripted.app.ports.batches.load(begun) is not None
    assert scripted.tables.rows(Table.DUE) == []


@pytest.mark.slow
async def test_a_batch_that_is_deleted_at_any_moment_of_a_retry_is_copied_whole_or_not_at_all(scripted: Rig) -> None:
    batch = await ended(scripted, LONG, BAD)
    host = Driver(scripted)

    async def delete() -> None:
        scripted.tables.before = None
        await delete_batch(scripted.app.ports, batch.id)
        while not isinstance(phase := (await load(scripted, batch.id)).phase, Deleted) or not phase.emptied:
            await scripted.run_activity(batch.id, host)

    outcomes = set()
    for step in range(1, 12):
        batch = await ended(scripted, LONG, BAD)
        before = {row.partition for row in scripted.tables.rows(Table.BATCHES)}
        with RunBefore(scripted, step, delete):
            try:
                outcomes.add((await retry(scripted, batch.id)).batch.request.total)
            except errors.BatchNotFound:
                outcomes.add(0)
        await host.pass_time(75 * 60)
        for begun in {row.partition for row in scripted.tables.rows(Table.BATCHES)} - before:
            assert await item_statuses(scripted, begun) == {"failed": 2}, "a whole one, or none"
    assert outcomes == {0, 2}


async def test_a_part_that_is_lost_is_an_error_and_no_silent_gap(scripted: Rig) -> None:
    batch = await ended(scripted, LONG)
    item = await scripted.app.ports.batches.item(batch.id, 0)
    assert item is not None
    assert isinstance(item.asked, PartRef)
    parts = [row for row in scripted.tables.rows(Table.BATCHES) if row.key.startswith("part:")]
    await scripted.app.ports.batches.remove_rows(batch.id, parts)
    with pytest.raises(LookupError):
        await retry(scripted, batch.id)


# --- sizes --------------------------------------------------------------------------------------------


async def test_a_thousand_items_are_copied_some_at_a_time(scripted: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    batch_id = (await submit(scripted, *[f"{GOOD} {n}" for n in range(1_000)])).batch.id
    await cancel_batch(scripted.app.ports, batch_id)
    await finished(scripted, batch_id)
    copying = most = 0
    copied = retries._copied

    async def counted(*args: Any) -> BatchItem:
        nonlocal copying, most
        copying += 1
        most = max(most, copying)
        try:
            return await copied(*args)
        finally:
            copying -= 1

    largest = 0

    async def note(operation: str, table: Table, partition: str | None, changes: Sequence[Change]) -> None:
        nonlocal largest
        largest = max(largest, len(changes))

    monkeypatch.setattr(retries, "_copied", counted)
    scripted.tables.before = note
    new = (await retry(scripted, batch_id, statuses=frozenset({ItemStatus.CANCELLED}))).batch
    scripted.tables.before = None
    assert (new.request.total, new.pending) == (1_000, 1_000)
    assert 1 < most <= retries.READ_AT_ONCE
    assert largest <= 25
    found = await heads(scripted, new.id)
    assert [(head.index, head.id, head.retry_of_index) for head in found] == [(n, f"i-{n}", n) for n in range(1_000)]
