"""A response that nobody wants is not left running: what a cancel, a lost race and a crash leave in the outbox."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from shared.runs.actions.outbox import CANCEL_PATIENCE
from shared.runs.commands.cancel import cancel
from shared.runs.model.phases import RunStatus
from shared.runs.store.tables import Change, StoreUnavailable, Table
from tests.parts.waiting import eventually
from tests.unit.runs.conftest import NewRig, Rig


async def live(rig: Rig) -> list[str]:
    """The responses that still run at the provider."""
    return [each.id for each in await rig.model.responses() if each.status in ("queued", "in_progress")]


def names_a_response(changes: Sequence[Change]) -> bool:
    """Whether a run is written as one whose response is pending."""
    return any('"Pending"' in str(change.values.get("phase")) for change in changes)


def owes(changes: Sequence[Change]) -> bool:
    """Whether a run is written with something in its outbox."""
    return any("entries" in str(change.values.get("outbox")) for change in changes)


class CancelAt:
    """A hook: cancels the run once, right before the commit that would store a token."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.hits = 0

    async def __call__(self, operation: str, table: Table, partition: str | None, changes: Sequence[Change]) -> None:
        if operation != "commit" or table is not Table.RUNS or self.hits:
            return
        if names_a_response(changes):
            self.hits += 1
            assert partition is not None
            await cancel(self.rig.app.ports, f"run_{partition}_1")


async def test_a_cancel_between_a_create_and_its_token_leaves_nothing_running(rig: Rig) -> None:
    await rig.model.script("s", [{"text": "Never read.", "think": 1_000}])
    rig.tables.before = hook = CancelAt(rig)
    run_id = await rig.start()
    assert hook.hits == 1
    assert await live(rig) == []
    run = await rig.finish(run_id)
    assert (run.status, run.is_done, run.outbox.entries) == (RunStatus.CANCELLED, True, ())
    assert [each.cancelled for each in await rig.model.responses()] == [True]


async def test_the_entry_of_a_lost_race_outlives_a_provider_that_is_away(rig: Rig) -> None:
    fault = {"cancel": [{"status": 500, "times": 3}]}
    await rig.model.script("s", [{"text": "Never read.", "think": 1_000, "faults": fault}])
    rig.tables.before = CancelAt(rig)
    run_id = await rig.start()
    run = await rig.run(run_id)
    assert (run.status, run.is_done) == (RunStatus.CANCELLED, False)
    assert len(await live(rig)) == 1
    assert await rig.app.ports.due.get(run_id) is not None
    run = await rig.finish(run_id)
    assert (run.status, run.is_done) == (RunStatus.CANCELLED, True)
    assert await live(rig) == []


async def test_a_crash_right_after_the_entry_was_written_leaves_it_to_the_next_wake(rig: Rig) -> None:
    await rig.model.script("s", [{"text": "Never read.", "think": 1_000}])
    cancel = CancelAt(rig)

    async def hook(operation: str, table: Table, partition: str | None, changes: Sequence[Change]) -> None:
        await cancel(operation, table, partition, changes)

    async def die(operation: str, table: Table, partition: str | None, changes: Sequence[Change]) -> None:
        if operation == "commit" and owes(changes):
            raise asyncio.CancelledError

    rig.tables.before, rig.tables.after = hook, die
    with pytest.raises(asyncio.CancelledError):
        await rig.start()
    rig.tables.before = rig.tables.after = None
    (row,) = rig.tables.rows(Table.DUE)
    assert len(await live(rig)) == 1
    assert (await rig.finish(row.key)).is_done
    assert await live(rig) == []


async def test_the_due_row_of_an_entry_is_written_first(rig: Rig) -> None:
    await rig.model.script("s", [{"text": "Never read.", "think": 1_000}])
    cancel = CancelAt(rig)
    order: list[str] = []

    async def hook(operation: str, table: Table, partition: str | None, changes: Sequence[Change]) -> None:
        await cancel(operation, table, partition, changes)
        if cancel.hits and operation == "commit" and (owes(changes) or table is Table.DUE):
            order.append("entry" if owes(changes) else "due")

    rig.tables.before = hook
    await rig.start()
    assert order == ["due", "entry"]


async def test_a_cancel_while_the_model_thinks_is_done_at_the_next_wake(rig: Rig) -> None:
    await rig.model.script("s", [{"text": "Never read.", "think": 1_000}])
    run_id = await rig.start()
    cancelled = await cancel(rig.app.ports, run_id)
    assert cancelled is not None
    assert (cancelled.status, cancelled.is_done) == (RunStatus.CANCELLED, False)
    assert (await rig.wake(run_id)).wake_in is None
    assert await live(rig) == []


@pytest.mark.parametrize("answer", [200, 400, 409])
async def test_a_response_that_was_completed_all_the_same_adds_its_usage_and_no_status(rig: Rig, answer: int) -> None:
    await rig.model.switches(cancel_completed=answer)
    await rig.model.script("s", [{"text": "Too late.", "think": 1_000}])
    run_id = await rig.start()
    (response,) = await rig.model.responses()
    await cancel(rig.app.ports, run_id)
    await rig.model.finish(response.id)
    run = await rig.finish(run_id)
    assert (run.status, run.result.text) == (RunStatus.CANCELLED, "")
    assert run.counters.usage.total_tokens > 0


async def test_a_response_that_is_gone_leaves_nothing_to_do(rig: Rig) -> None:
    await rig.model.script("s", [{"text": "Never read.", "think": 1_000}])
    run_id = await rig.start()
    await cancel(rig.app.ports, run_id)
    await rig.model.forget((await rig.model.responses())[0].id)
    assert (await rig.wake(run_id)).wake_in is None


async def test_an_entry_that_cannot_be_done_is_given_up_after_a_day(rig: Rig) -> None:
    await rig.model.script("s", [{"text": "Never read.", "think": 200_000}])
    run_id = await rig.start()
    await cancel(rig.app.ports, run_id)
    await rig.model.switches(faults={"cancel": [{"status": 500, "times": -1}]})
    began = rig.clock.now
    run = await rig.finish(run_id)
    assert (run.status, run.outbox.entries) == (RunStatus.CANCELLED, ())
    passed = rig.clock.now - began
    assert CANCEL_PATIENCE <= passed < CANCEL_PATIENCE + timedelta(hours=1)
    assert len(await rig.model.log("cancel")) < 150


async def test_a_failed_run_cancels_what_still_runs(rig: Rig) -> None:
    await rig.model.script("s", [{"text": "Never read.", "think": 1_000}])
    run_id = await rig.start(deadline_seconds=10.0)
    run = await rig.finish(run_id)
    assert (run.status, run.result.error_code) == (RunStatus.FAILED, "deadline_exceeded")
    assert await live(rig) == []


async def test_a_lost_answer_of_the_store_is_no_lost_race(rig: Rig) -> None:
    """The token was written, its answer was lost: the response stays the run's own."""
    await rig.model.script("s", [{"text": "Fine.", "think": 5}])
    lost: list[str] = []

    async def lose(operation: str, table: Table, partition: str | None, changes: Sequence[Change]) -> None:
        if operation == "commit" and not lost and names_a_response(changes):
            lost.append(operation)
            raise StoreUnavailable("answer lost")

    rig.tables.after = lose
    run = await rig.run_to_end()
    assert lost
    assert run.status is RunStatus.COMPLETED
    assert len(await rig.model.creates()) == 1
    assert not await rig.model.log("cancel")


async def test_a_response_that_the_row_may_name_is_not_cancelled_unread(rig: Rig) -> None:
    """The token was written, its answer was lost, and then the row cannot be read as long as the claim holds."""
    await rig.model.script("s", [{"text": "Fine.", "think": 5}])
    writes = 0

    async def lose(operation: str, table: Table, partition: str | None, changes: Sequence[Change]) -> None:
        nonlocal writes
        if operation == "commit" and names_a_response(changes):
            writes += 1
            raise StoreUnavailable("answer lost")

    async def away(operation: str, table: Table, partition: str | None, changes: Sequence[Change]) -> None:
        nonlocal writes
        if operation == "commit" and names_a_response(changes):
            writes += writes == 1
        elif writes == 2:
            rig.clock.move(rig.app.settings.create_claim / 2)
            raise StoreUnavailable("away")

    rig.tables.after, rig.tables.before = lose, away
    run_id = await rig.start()
    rig.tables.after = rig.tables.before = None
    assert writes == 2
    assert not await rig.model.log("cancel")
    run = await rig.follow(run_id)
    assert (run.status, len(await rig.model.creates())) == (RunStatus.COMPLETED, 1)


async def test_twenty_wakes_of_a_cancelled_run_empty_its_outbox(rigs: NewRig) -> None:
    rig = await rigs()
    await rig.model.script("s", [{"text": "Never read.", "think": 1_000}])
    run_id = await rig.start()
    await cancel(rig.app.ports, run_id)
    await asyncio.gather(*(rig.wake(run_id) for _ in range(20)))
    await eventually(lambda: _done(rig, run_id))
    run = await rig.run(run_id)
    assert (run.status, run.outbox.entries) == (RunStatus.CANCELLED, ())
    assert await live(rig) == []


async def _done(rig: Rig, run_id: str) -> bool:
    return (await rig.wake(run_id)).wake_in is None
