"""A response that nobody wants is not left running: what a cancel, a lost race and a crash leave to be paid."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from shared.runs import debts
from shared.runs.debts import GIVEN_UP_AFTER
from shared.runs.run import Next, RunStatus
from shared.runs.store.tables import Change, StoreUnavailable, Table
from tests.parts.waiting import eventually
from tests.unit.runs.conftest import NewRig, Rig


async def live(rig: Rig) -> list[str]:
    """The responses that still run at the provider."""
    return [each.id for each in await rig.model.responses() if each.status in ("queued", "in_progress")]


class CancelAt:
    """A hook: cancels the run once, right before the commit that would store a token."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.hits = 0

    async def __call__(self, operation: str, table: Table, partition: str | None, changes: Sequence[Change]) -> None:
        if operation != "commit" or table is not Table.RUNS or self.hits:
            return
        if any(change.values.get("token") for change in changes):
            self.hits += 1
            assert partition is not None
            await self.rig.app.lifecycle.cancel(f"run_{partition}_1")


async def test_a_cancel_between_a_create_and_its_token_leaves_nothing_running(rig: Rig) -> None:
    await rig.model.script("s", [{"text": "Never read.", "think": 1_000}])
    rig.tables.before = hook = CancelAt(rig)
    run_id = await rig.start()
    assert hook.hits == 1
    assert await live(rig) == []
    run = await rig.finish(run_id)
    assert (run.status, run.next, run.debts) == (RunStatus.CANCELLED, Next.NONE, ())
    assert [each.cancelled for each in await rig.model.responses()] == [True]


async def test_the_debt_of_a_lost_race_outlives_a_provider_that_is_away(rig: Rig) -> None:
    fault = {"cancel": [{"status": 500, "times": 3}]}
    await rig.model.script("s", [{"text": "Never read.", "think": 1_000, "faults": fault}])
    rig.tables.before = CancelAt(rig)
    run_id = await rig.start()
    run = await rig.run(run_id)
    assert (run.status, run.next) == (RunStatus.CANCELLED, Next.OWED)
    assert len(await live(rig)) == 1
    assert await rig.app.services.watch.get(run_id) is not None
    run = await rig.finish(run_id)
    assert (run.status, run.next) == (RunStatus.CANCELLED, Next.NONE)
    assert await live(rig) == []


async def test_a_crash_right_after_the_debt_was_written_leaves_it_to_the_next_wake(rig: Rig) -> None:
    await rig.model.script("s", [{"text": "Never read.", "think": 1_000}])
    cancel = CancelAt(rig)

    async def hook(operation: str, table: Table, partition: str | None, changes: Sequence[Change]) -> None:
        await cancel(operation, table, partition, changes)

    async def die(operation: str, table: Table, partition: str | None, changes: Sequence[Change]) -> None:
        if operation == "commit" and any(change.values.get("debts", "[]") != "[]" for change in changes):
            raise asyncio.CancelledError

    rig.tables.before, rig.tables.after = hook, die
    with pytest.raises(asyncio.CancelledError):
        await rig.start()
    rig.tables.before = rig.tables.after = None
    (row,) = rig.tables.rows(Table.WATCH)
    assert len(await live(rig)) == 1
    assert (await rig.finish(row.key)).next is Next.NONE
    assert await live(rig) == []


async def test_the_watch_row_of_a_debt_is_written_first(rig: Rig) -> None:
    await rig.model.script("s", [{"text": "Never read.", "think": 1_000}])
    cancel = CancelAt(rig)
    order: list[str] = []

    async def hook(operation: str, table: Table, partition: str | None, changes: Sequence[Change]) -> None:
        await cancel(operation, table, partition, changes)
        if cancel.hits and operation == "commit":
            owes = any(change.values.get("debts", "[]") != "[]" for change in changes)
            if owes or table is Table.WATCH:
                order.append("debt" if owes else "watch")

    rig.tables.before = hook
    await rig.start()
    assert order == ["watch", "debt"]


async def test_a_cancel_while_the_model_thinks_is_paid_at_the_next_wake(rig: Rig) -> None:
    await rig.model.script("s", [{"text": "Never read.", "think": 1_000}])
    run_id = await rig.start()
    cancelled = await rig.app.lifecycle.cancel(run_id)
    assert cancelled is not None
    assert (cancelled.status, cancelled.next) == (RunStatus.CANCELLED, Next.OWED)
    assert (await rig.wake(run_id)).wake_in is None
    assert await live(rig) == []


@pytest.mark.parametrize("answer", [200, 400, 409])
async def test_a_response_that_was_completed_all_the_same_adds_its_usage_and_no_status(rig: Rig, answer: int) -> None:
    await rig.model.switches(cancel_completed=answer)
    await rig.model.script("s", [{"text": "Too late.", "think": 1_000}])
    run_id = await rig.start()
    (response,) = await rig.model.responses()
    await rig.app.lifecycle.cancel(run_id)
    await rig.model.finish(response.id)
    run = await rig.finish(run_id)
    assert (run.status, run.text) == (RunStatus.CANCELLED, "")
    assert run.usage.total_tokens > 0


async def test_a_response_that_is_gone_is_no_debt(rig: Rig) -> None:
    await rig.model.script("s", [{"text": "Never read.", "think": 1_000}])
    run_id = await rig.start()
    await rig.app.lifecycle.cancel(run_id)
    await rig.model.forget((await rig.model.responses())[0].id)
    assert (await rig.wake(run_id)).wake_in is None


async def test_a_debt_that_cannot_be_paid_is_given_up_after_a_day(rig: Rig) -> None:
    await rig.model.script("s", [{"text": "Never read.", "think": 200_000}])
    run_id = await rig.start()
    await rig.app.lifecycle.cancel(run_id)
    await rig.model.switches(faults={"cancel": [{"status": 500, "times": -1}]})
    began = rig.clock.now
    run = await rig.finish(run_id)
    assert (run.status, run.debts) == (RunStatus.CANCELLED, ())
    passed = rig.clock.now - began
    assert GIVEN_UP_AFTER <= passed < GIVEN_UP_AFTER + timedelta(hours=1)
    assert len(await rig.model.log("cancel")) < 150


async def test_a_failed_run_cancels_what_still_runs(rig: Rig) -> None:
    await rig.model.script("s", [{"text": "Never read.", "think": 1_000}])
    run_id = await rig.start(deadline_seconds=10.0)
    run = await rig.finish(run_id)
    assert (run.status, run.error_code) == (RunStatus.FAILED, "deadline_exceeded")
    assert await live(rig) == []


async def test_a_lost_answer_of_the_store_is_no_lost_race(rig: Rig) -> None:
    """The token was written, its answer was lost: the response stays the run's own."""
    await rig.model.script("s", [{"text": "Fine.", "think": 5}])
    lost: list[str] = []

    async def lose(operation: str, table: Table, partition: str | None, changes: Sequence[Change]) -> None:
        if operation == "commit" and not lost and any(change.values.get("token") for change in changes):
            lost.append(operation)
            raise StoreUnavailable("answer lost")

    rig.tables.after = lose
    run = await rig.story()
    assert lost
    assert run.status is RunStatus.COMPLETED
    assert len(await rig.model.creates()) == 1
    assert not await rig.model.log("cancel")


async def test_a_response_that_the_row_may_name_is_not_cancelled_unread(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token was written, its answer was lost, and then the row cannot be read for a long time."""
    monkeypatch.setattr(debts, "RACES", 3)
    await rig.model.script("s", [{"text": "Fine.", "think": 5}])
    writes = 0

    async def lose(operation: str, table: Table, partition: str | None, changes: Sequence[Change]) -> None:
        nonlocal writes
        if operation == "commit" and any(change.values.get("token") for change in changes):
            writes += 1
            raise StoreUnavailable("answer lost")

    async def away(operation: str, table: Table, partition: str | None, changes: Sequence[Change]) -> None:
        nonlocal writes
        if operation == "commit" and any(change.values.get("token") for change in changes):
            writes += writes == 1
        elif writes == 2:
            raise StoreUnavailable("away")

    rig.tables.after, rig.tables.before = lose, away
    run_id = await rig.start()
    rig.tables.after = rig.tables.before = None
    assert writes == 2
    assert not await rig.model.log("cancel")
    run = await rig.follow(run_id)
    assert (run.status, len(await rig.model.creates())) == (RunStatus.COMPLETED, 1)


async def test_twenty_wakes_of_a_cancelled_run_pay_its_debt(rigs: NewRig) -> None:
    rig = await rigs()
    await rig.model.script("s", [{"text": "Never read.", "think": 1_000}])
    run_id = await rig.start()
    await rig.app.lifecycle.cancel(run_id)
    await asyncio.gather(*(rig.wake(run_id) for _ in range(20)))
    await eventually(lambda: _paid(rig, run_id))
    run = await rig.run(run_id)
    assert (run.status, run.debts) == (RunStatus.CANCELLED, ())
    assert await live(rig) == []


async def _paid(rig: Rig, run_id: str) -> bool:
    return (await rig.wake(run_id)).wake_in is None
