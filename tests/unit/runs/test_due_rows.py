"""Commands under `timer`: each has the run looked at soon, and none, however often it is sent, has it wait longer."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from shared.errors import DormouseError
from shared.runs.batches.cancel import cancel_batch
from shared.runs.batches.submit import BatchSubmission, submit_batch
from shared.runs.commands import delete as deletion
from shared.runs.commands.adopt import adopt
from shared.runs.commands.answer import answer
from shared.runs.commands.cancel import cancel
from shared.runs.commands.redeliver import redeliver
from shared.runs.model.facts import Approve
from shared.runs.model.ids import due_row_of
from shared.runs.model.outbox import EntryKind
from shared.runs.model.phases import Pending, WaitingForAnswers
from shared.runs.model.run import Run
from shared.runs.store.tables import Change, StoreUnavailable, Table
from tests.parts.receiver import SECRET, Receiver
from tests.unit.runs.batches import asked
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.test_answers import NO, YES, parked
from tests.unit.runs.test_sweep import RecordingHub, due_by_row, sweep

Command = Callable[[Rig, str], Awaitable[Any]]
DEADLINE = 600.0
THINKS = [
    {"calls": [{"name": "send", "arguments": {"label": "a"}}]},
    {"text": "Fine.", "think": 10_000},
]


async def same_answer(rig: Rig, run_id: str) -> Any:
    return await answer(rig.app.ports, run_id, {call.call_id: YES for call in await rig.calls(run_id)})


async def other_answer(rig: Rig, run_id: str) -> Any:
    return await answer(rig.app.ports, run_id, {call.call_id: NO for call in await rig.calls(run_id)})


async def same_submit(rig: Rig, run_id: str) -> Any:
    return await rig.submit(idempotency_key="k", callback_url=(await rig.run(run_id)).request.callback_url)


async def cancelled(rig: Rig, run_id: str) -> Any:
    return await cancel(rig.app.ports, run_id)


async def delete(rig: Rig, run_id: str) -> Any:
    return await deletion.delete_run(rig.app.ports, run_id)


async def delete_session(rig: Rig, run_id: str) -> Any:
    return await deletion.delete_session(rig.app.ports, (await rig.run(run_id)).request.session_id)


async def deliver_again(rig: Rig, run_id: str) -> Any:
    return await redeliver(rig.app.ports, run_id)


async def webhook(rig: Rig, run_id: str) -> Any:
    run = await rig.run(run_id)
    return [await adopt(rig.app.ports, each) for each in run.chain.response_ids]


COMMANDS: list[Command] = [
    same_answer,
    other_answer,
    same_submit,
    cancelled,
    delete,
    delete_session,
    deliver_again,
    webhook,
]


class StepHub(RecordingHub):
    """Runs each step that is handed over, at once."""

    def __init__(self, rig: Rig) -> None:
        super().__init__()
        self._rig = rig

    async def start_step(self, run_id: str) -> bool:
        await self._rig.run_activity(run_id)
        return True


async def due_of(rig: Rig, subject: str) -> datetime:
    row = await rig.app.ports.due.get(subject)
    assert row is not None, subject
    return row.due


@pytest.fixture
async def timer(rigs: NewRig) -> Rig:
    return await rigs(driver="timer", deadline=DEADLINE, callback_secret=SECRET, callback_allow="127.0.0.1")


async def pending(rig: Rig, **fields: Any) -> str:
    """A run whose question was answered, and whose next turn thinks for long."""
    await rig.model.script("s", THINKS)
    run_id = await rig.start(idempotency_key="k", **fields)
    await rig.follow(run_id, lambda run: isinstance(run.phase, WaitingForAnswers))
    await same_answer(rig, run_id)
    await rig.follow(run_id, lambda run: isinstance(run.phase, Pending) and run.turn.number == 2)
    await rig.run_activity(run_id)
    return run_id


@pytest.mark.parametrize("command", [same_answer, other_answer, same_submit, webhook])
async def test_a_command_that_changes_nothing_writes_nothing(timer: Rig, command: Command) -> None:
    run_id = await pending(timer)
    before = await timer.app.ports.due.get(run_id), await timer.app.ports.runs.load(run_id)
    with contextlib.suppress(DormouseError):
        await command(timer, run_id)
    assert (await timer.app.ports.due.get(run_id), await timer.app.ports.runs.load(run_id)) == before


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["parked", "pending", "cancelled", "delivering"])
@pytest.mark.parametrize("command", COMMANDS)
async def test_no_command_in_any_phase_dates_a_run_later(
    timer: Rig, receiver: Receiver, command: Command, phase: str
) -> None:
    receiver.then = 500
    if phase == "parked":
        run_id, _ = await parked(timer, "send", idempotency_key="k", callback_url=receiver.url)
    else:
        run_id = await pending(timer, callback_url=receiver.url)
    if phase in ("cancelled", "delivering"):
        await cancel(timer.app.ports, run_id)
    if phase == "delivering":
        await timer.wake(run_id)
    for _ in range(5):
        timer.clock.move(7)
        before = await due_of(timer, run_id)
        with contextlib.suppress(DormouseError):
            await command(timer, run_id)
        assert await due_of(timer, run_id) <= before


@pytest.mark.slow
@pytest.mark.parametrize("command", [same_answer, other_answer, same_submit, deliver_again, webhook])
async def test_a_run_is_polled_and_meets_its_deadline_however_often_a_command_comes(
    timer: Rig, command: Command
) -> None:
    """Nobody hears of the signals: the sweep alone drives it."""
    run_id = await pending(timer)
    began = timer.clock.now
    hub = StepHub(timer)
    for _ in range(130):
        timer.clock.move(5)
        with contextlib.suppress(DormouseError):
            await command(timer, run_id)
        await sweep(timer, hub)
        run = await timer.run(run_id)
        if run.terminal:
            break
    assert run.result.error_code == "deadline_exceeded"
    assert run.completed_at is not None
    assert run.completed_at - began <= timedelta(seconds=DEADLINE + 5)
    gaps = [gap for gap in await timer.gaps("retrieve") if gap > 60]
    assert gaps == [], "and it was looked at all the while"


async def test_commands_that_fail_half_way_again_and_again_do_not_starve_a_run(timer: Rig) -> None:
    """Each announces, and the store is away when it would commit."""
    run_id = await pending(timer)

    async def away(operation: str, table: Table, partition: str | None, changes: Any) -> None:
        if table is Table.RUNS and operation == "commit":
            raise StoreUnavailable("away")

    for _ in range(130):
        timer.clock.move(5)
        timer.tables.before = away
        with contextlib.suppress(StoreUnavailable):
            await cancel(timer.app.ports, run_id)
        timer.tables.before = None
        await sweep(timer, StepHub(timer))
    run = await timer.run(run_id)
    assert run.result.error_code == "deadline_exceeded"


async def test_a_wake_that_saw_the_run_before_an_answer_does_not_date_it_past_that(timer: Rig) -> None:
    """The sweep reads the due row after the announcement, and the run row before the commit."""
    run_id, (a,) = await parked(timer, "send")
    timer.clock.move(120)
    swept: list[dict[str, int]] = []

    async def sweep_first(operation: str, table: Table, partition: str | None, changes: list[Change]) -> None:
        if table is Table.RUNS and operation == "commit" and not swept:
            timer.tables.before = None
            row = await timer.app.ports.due.get(run_id)
            assert row is not None
            await timer.app.ports.due.set_due(row, timer.clock.now, timer.clock.now)
            swept.append(await sweep(timer))

    timer.tables.before = sweep_first  # type: ignore[assignment]
    await answer(timer.app.ports, run_id, {a: YES})
    assert swept == [{"polled": 1}]
    assert await due_of(timer, run_id) <= timer.clock.now + timedelta(seconds=60)
    timer.clock.move(60)
    assert await sweep(timer) == {"handed_off": 1}


async def test_a_due_row_outlives_a_wake_that_saw_nothing_left_to_do_before_a_redelivery(
    timer: Rig, receiver: Receiver
) -> None:
    await timer.model.script("s", [{"text": "Fine."}])
    run_id = await timer.start(callback_url=receiver.url)
    await timer.finish(run_id)

    async def wake_first(operation: str, table: Table, partition: str | None, changes: list[Change]) -> None:
        if table is Table.RUNS and operation == "commit":
            timer.tables.before = None
            assert (await timer.run_activity(run_id)).wake_in is None

    timer.clock.move(120)
    timer.tables.before = wake_first  # type: ignore[assignment]
    run = await redeliver(timer.app.ports, run_id)
    assert run is not None
    assert run.terminal
    assert [entry.kind for entry in run.outbox] == [EntryKind.CALLBACK]
    assert await due_of(timer, run_id) <= timer.clock.now + timedelta(seconds=60)


async def test_an_answer_whose_long_refusals_took_their_time_is_announced_again(timer: Rig) -> None:
    run_id, (a,) = await parked(timer, "send")
    timer.clock.move(120)
    store = timer.app.ports.runs
    keep = store.store_text

    async def slow(run: Run, text: str, **more: Any) -> Any:
        timer.clock.move(45)
        return await keep(run, text, **more)

    store.store_text = slow  # type: ignore[method-assign]
    await answer(timer.app.ports, run_id, {a: Approve(approve=False, reason="x" * 2_000)})
    row = await timer.app.ports.due.get(run_id)
    assert row is not None
    assert row.announced_at == timer.clock.now


async def test_a_session_whose_many_due_rows_took_their_time_is_announced_again(timer: Rig) -> None:
    run = await timer.run_to_end("[script:s]")
    session_id = run.request.session_id
    seen: list[datetime] = []

    async def slow(_o: str, table: Table, _p: str | None, changes: Sequence[Change]) -> None:
        if table is Table.DUE and not seen and any(change.key == run.id for change in changes):
            seen.append(timer.clock.move(45))

    timer.tables.after = slow
    await deletion.delete_session(timer.app.ports, session_id)
    assert seen
    for subject in (run.id, due_row_of(session_id)):
        row = await timer.app.ports.due.get(subject)
        assert row is not None
        assert row.announced_at == timer.clock.now


async def test_cancelling_a_batch_again_and_submitting_it_again_date_it_no_later(timer: Rig) -> None:
    await timer.model.script("s", [{"text": "Fine.", "think": 10_000}])
    wanted: BatchSubmission = asked("[script:s]", "[script:s]", key="b")
    batch = (await submit_batch(timer.app.ports, wanted)).batch
    for number in range(8):
        timer.clock.move(7)
        before = await due_of(timer, batch.id)
        await submit_batch(timer.app.ports, wanted)
        assert await due_of(timer, batch.id) <= before
        if number >= 3:
            await cancel_batch(timer.app.ports, batch.id)
            assert await due_of(timer, batch.id) <= before
    row = await timer.app.ports.due.get(batch.id)
    await cancel_batch(timer.app.ports, batch.id)
    assert await timer.app.ports.due.get(batch.id) == row


async def test_after_a_replayed_submit_under_timer_the_next_poll_is_dated(timer: Rig) -> None:
    """The first call ended before it could say so: its due row is a minute ahead."""
    await timer.model.script("s", [{"text": "Fine.", "think": 30}])
    first = await timer.submit(idempotency_key="k")
    again = await timer.submit(idempotency_key="k")
    assert again.run.id == first.run.id
    await timer.driver(RecordingHub()).start_run(again)
    assert await due_of(timer, first.run.id) == await due_by_row(timer, first.run.id)
