"""What is told of a batch: its end, exactly one callback, at least once, and nothing after its deletion."""

from __future__ import annotations

import asyncio
import contextlib
import itertools

import pytest

from shared import errors
from shared.outbound.places import Places
from shared.runs.batches.batch import Batch, BatchStatus
from shared.runs.callbacks.callback import NoPlace, Place, Sent, status_of
from shared.runs.callbacks.delivery import CLAIM
from shared.runs.run import CallbackState
from shared.runs.schedule import CALLBACK_WAITS, DAY
from shared.runs.services import Outcome
from shared.runs.store.tables import Table
from tests.parts.receiver import SECRET, Receiver
from tests.unit.runs.batches import ended, load, submit
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.crashes import Death, Driver, Meanwhile, Trap

S = "[script:s]"
MOST_WAKES = 100


async def wake(rig: Rig, batch_id: str) -> Outcome:
    """One wake, now."""
    return await rig.app.batch_work.advance(batch_id, Driver(rig))


async def finish(rig: Rig, batch_id: str) -> Batch:
    """Wake it, being over, whenever it asks for it, moving the clock, until nothing is left to do."""
    for _ in range(MOST_WAKES):
        batch = await load(rig, batch_id)
        gap = rig.app.batch_work.outcome(batch).wake_in
        if gap is None:
            return batch
        rig.clock.move(gap)
        await wake(rig, batch_id)
    raise AssertionError(f"not within {MOST_WAKES} wakes: {batch}")


@pytest.fixture(params=["durable", "timer"])
async def either(rigs: NewRig, request: pytest.FixtureRequest) -> Rig:
    """A process under each driver in turn that sends callbacks."""
    rig = await rigs(
        driver=request.param,
        callback_secret=SECRET,
        callback_allow="127.0.0.1",
        public_base_url="https://app.example",
    )
    await rig.model.script("s", [{"text": "A secret."}])
    await rig.model.script("slow", [{"text": "late", "think": 10_000}])
    return rig


# The two ends


async def test_a_completed_batch_is_told_exactly_once(either: Rig, receiver: Receiver) -> None:
    host = Driver(either)
    submitted = await submit(either, S, S, S, concurrency=2, callback_url=receiver.url)
    await host.batch_started(submitted)
    await host.pass_time(600)
    batch = await load(either, submitted.batch.id)
    assert (batch.status, batch.done, batch.callback_state) == (BatchStatus.COMPLETED, True, CallbackState.DELIVERED)
    (got,) = receiver.received
    assert got.is_signed()
    assert got.webhook_id == f"msg_{batch.id}_completed"
    assert batch.completed_at is not None
    counts = {"total": 3, "pending": 0, "active": 0, "completed": 3, "incomplete": 0, "failed": 0, "cancelled": 0}
    assert got.body == {
        "type": "batch.completed",
        "timestamp": batch.completed_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "data": {
            "id": batch.id,
            "object": "batch",
            "status": "completed",
            "url": f"https://app.example/api/batches/{batch.id}",
            "counts": counts,
            "metadata": {},
        },
    }
    assert either.tables.rows(Table.WATCH) == []


async def test_a_cancelled_batch_is_told_exactly_once(either: Rig, receiver: Receiver) -> None:
    host = Driver(either)
    submitted = await submit(either, *["[script:slow]"] * 3, concurrency=2, callback_url=receiver.url)
    await host.batch_started(submitted)
    await host.pass_time(60)
    await either.app.batch_work.cancel(submitted.batch.id)
    await either.app.signals.woken(submitted.batch.id, host)  # type: ignore[arg-type]
    await host.pass_time(300)
    await either.app.batch_work.cancel(submitted.batch.id)
    await host.pass_time(300)
    assert receiver.types() == ["batch.cancelled"]
    assert (await load(either, submitted.batch.id)).done
    assert either.tables.rows(Table.WATCH) == []


async def test_a_batch_that_is_over_within_its_submit_is_told(either: Rig, receiver: Receiver) -> None:
    batch = await ended(either, receiver.url, idempotency_key="k")
    assert (batch.status, batch.done, status_of(batch)) == (BatchStatus.COMPLETED, False, "pending")
    again = await ended(either, receiver.url, idempotency_key="k")
    assert again.id == batch.id
    await Driver(either).pass_time(300)  # a host that knows of nothing: the sweep finds it
    (got,) = receiver.received
    assert (got.body["data"]["counts"]["failed"], got.body["data"]["metadata"]) == (1, {"job": "night"})
    assert either.tables.rows(Table.WATCH) == []


async def test_one_that_waits_to_be_tried_again_outlives_its_host(either: Rig, receiver: Receiver) -> None:
    receiver.answers = [503, 503, (503, {"Retry-After": "1000"})]
    batch = await ended(either, receiver.url)
    for _ in range(8):
        await Driver(either).pass_time(300)
    assert len(receiver.received) == 4
    assert {each.webhook_id for each in receiver.received} == {f"msg_{batch.id}_completed"}
    assert len({each.raw for each in receiver.received}) == 1
    assert (await load(either, batch.id)).done
    assert either.tables.rows(Table.WATCH) == []


async def test_without_an_address_nothing_is_owed(either: Rig) -> None:
    host = Driver(either)
    submitted = await submit(either, S)
    await host.batch_started(submitted)
    await host.pass_time(300)
    batch = await load(either, submitted.batch.id)
    assert (batch.done, batch.debts, batch.callback_attempts, status_of(batch)) == (True, (), 0, None)


# How it is taken


async def test_what_failed_is_tried_again_on_the_schedule_of_runs(telling: Rig, receiver: Receiver) -> None:
    receiver.answers = [500, 302, 404]
    batch = await finish(telling, (await ended(telling, receiver.url)).id)
    stamps = [int(each.headers["webhook-timestamp"]) for each in receiver.received]
    assert [after - before for before, after in itertools.pairwise(stamps)] == list(CALLBACK_WAITS[:3])
    assert (batch.callback_attempts, batch.callback_http_status, batch.callback_fault) == (4, 204, None)
    assert batch.callback_at == telling.clock.now


async def test_after_a_day_it_is_given_up(telling: Rig, receiver: Receiver) -> None:
    receiver.then = 500
    batch = await finish(telling, (await ended(telling, receiver.url)).id)
    assert (batch.done, batch.callback_state) == (True, CallbackState.GIVEN_UP)
    assert len(receiver.received) == batch.callback_attempts == len(CALLBACK_WAITS) + 1
    assert batch.completed_at is not None
    assert 0.85 * DAY <= (telling.clock.now - batch.completed_at).total_seconds() <= DAY


async def test_a_receiver_that_is_gone_hears_no_more(telling: Rig, receiver: Receiver) -> None:
    receiver.then = 410
    batch = await finish(telling, (await ended(telling, receiver.url)).id)
    assert (status_of(batch), batch.callback_http_status, len(receiver.received)) == ("disabled", 410, 1)


async def test_an_address_that_may_not_be_called_is_a_failed_attempt_that_says_so(
    telling: Rig, rigs: NewRig, receiver: Receiver
) -> None:
    batch_id = (await ended(telling, receiver.url)).id
    await wake(await rigs(callback_secret=SECRET), batch_id)  # deployed anew, without the exception
    batch = await load(telling, batch_id)
    assert (batch.callback_http_status, batch.callback_fault) == (None, "address_refused")
    telling.clock.move(CALLBACK_WAITS[0])
    await wake(await rigs(), batch_id)
    assert (await load(telling, batch_id)).callback_fault == "callbacks_disabled"
    assert receiver.received == []


# Races and crashes


async def test_a_crash_between_send_and_record_sends_again_under_the_same_id(telling: Rig, receiver: Receiver) -> None:
    batch_id = (await ended(telling, receiver.url)).id
    with Trap(telling, at=3, applied=False, error=Death()), pytest.raises(Death):  # load, claim, then the record
        await wake(telling, batch_id)
    batch = await load(telling, batch_id)
    assert (status_of(batch), batch.wake_at) == ("pending", telling.clock.now + CLAIM)
    assert (batch.callback_at, batch.callback_http_status) == (telling.clock.now, None)
    assert (await wake(telling, batch_id)).wake_in == CLAIM.total_seconds()
    assert len(receiver.received) == 1
    batch = await finish(telling, batch_id)
    assert [each.webhook_id for each in receiver.received] == [f"msg_{batch_id}_completed"] * 2
    assert (batch.callback_attempts, batch.callback_state) == (2, CallbackState.DELIVERED)


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("at", range(1, 5))
async def test_wherever_a_wake_dies_the_callback_arrives(
    telling: Rig, receiver: Receiver, at: int, applied: bool
) -> None:
    batch_id = (await ended(telling, receiver.url)).id
    with Trap(telling, at=at, applied=applied, error=Death()), contextlib.suppress(Death):
        await wake(telling, batch_id)
    batch = await finish(telling, batch_id)
    assert 1 <= len(receiver.received) <= 2
    assert {each.webhook_id for each in receiver.received} == {f"msg_{batch_id}_completed"}
    assert batch.callback_state is CallbackState.DELIVERED


async def test_an_attempt_that_always_crashes_is_given_up_after_a_day(either: Rig, receiver: Receiver) -> None:
    class Crashing:
        def problem(self, url: str) -> str | None:
            return None

        def reserve(self, url: str, owner: str) -> Place | NoPlace:
            return Places(1).take(owner, url)

        async def send(self, url: str, webhook_id: str, body: str, place: Place) -> Sent:
            raise RuntimeError("a bug")

    object.__setattr__(either.app.services, "sender", Crashing())
    batch_id = (await ended(either, receiver.url)).id
    gaps = [(await wake(either, batch_id)).wake_in]
    while gaps[-1] is not None:
        either.clock.move(gaps[-1])
        gaps.append((await wake(either, batch_id)).wake_in)
    assert gaps == [*CALLBACK_WAITS, None], "on the schedule of any attempt that failed"
    batch = await load(either, batch_id)
    assert (batch.callback_state, batch.callback_attempts) == (CallbackState.GIVEN_UP, len(CALLBACK_WAITS) + 1)
    assert batch.callback_fault == "internal_error"


async def test_twenty_wakes_at_once_send_one(telling: Rig, receiver: Receiver) -> None:
    batch_id = (await ended(telling, receiver.url)).id
    await asyncio.gather(*(wake(telling, batch_id) for _ in range(20)))
    assert len(receiver.received) == 1
    assert (await load(telling, batch_id)).done


# Redelivery


@pytest.mark.parametrize("before", [204, 410, 500])
async def test_the_end_is_delivered_again_whatever_became_of_it(either: Rig, receiver: Receiver, before: int) -> None:
    receiver.then = before
    batch_id = (await ended(either, receiver.url)).id
    await finish(either, batch_id)
    host = Driver(either)
    await host.pass_time(300)
    assert either.tables.rows(Table.WATCH) == []
    sent = len(receiver.received)
    receiver.then = 200
    batch = await either.app.batch_callbacks.deliver_again(batch_id)
    assert batch is not None
    assert (batch.done, status_of(batch), batch.wake_at) == (False, "pending", either.clock.now)
    await host.pass_time(300)  # no signal came through
    batch = await load(either, batch_id)
    assert (batch.done, batch.callback_state, len(receiver.received)) == (True, CallbackState.DELIVERED, sent + 1)
    assert len({(each.webhook_id, each.raw) for each in receiver.received}) == 1
    assert either.tables.rows(Table.WATCH) == []


async def test_one_that_is_asked_for_during_an_attempt_is_sent_after_it(telling: Rig, receiver: Receiver) -> None:
    batch_id = (await ended(telling, receiver.url)).id

    async def ask() -> None:
        await telling.app.batch_callbacks.deliver_again(batch_id)

    with Meanwhile(telling, at=3, other=ask):
        assert (await wake(telling, batch_id)).wake_in == 0
    assert (await load(telling, batch_id)).callback_http_status == 204
    batch = await finish(telling, batch_id)
    assert (len(receiver.received), batch.callback_attempts) == (2, 2)


async def test_what_cannot_be_delivered_again_says_why(telling: Rig, rigs: NewRig, receiver: Receiver) -> None:
    again = telling.app.batch_callbacks.deliver_again
    active = (await submit(telling, S, callback_url=receiver.url)).batch.id
    with pytest.raises(errors.BatchNotEnded):
        await again(active)
    with pytest.raises(errors.NoCallback):
        await again((await submit(telling, S)).batch.id)
    await telling.app.batch_work.cancel(active)
    with pytest.raises(errors.CallbacksDisabled):
        await (await rigs()).app.batch_callbacks.deliver_again(active)
    assert await again(f"batch_{'0' * 32}") is None


# Deletion


async def test_a_deleted_batch_tells_nobody(either: Rig, receiver: Receiver) -> None:
    receiver.then = 500
    host = Driver(either)
    over = (await ended(either, receiver.url)).id
    await wake(either, over)
    active = await submit(either, *["[script:slow]"] * 3, concurrency=2, callback_url=receiver.url)
    await host.batch_started(active)
    await host.pass_time(60)
    heard = len(receiver.received)
    for batch_id in (over, active.batch.id):
        await either.app.batch_deletion.delete(batch_id)
        assert await either.app.batch_callbacks.deliver_again(batch_id) is None
    await host.pass_time(900)
    assert len(receiver.received) == heard
    assert receiver.url not in str([row.values for row in either.tables.rows(Table.BATCHES)])
    either.clock.move(49 * 3_600)
    await host.pass_time(300)
    assert either.tables.rows(Table.BATCHES) == []


async def test_one_deleted_in_the_midst_of_an_attempt_stays_deleted(telling: Rig, receiver: Receiver) -> None:
    batch_id = (await ended(telling, receiver.url)).id

    async def delete() -> None:
        await telling.app.batch_deletion.delete(batch_id)

    with Meanwhile(telling, at=3, other=delete) as meanwhile:
        await wake(telling, batch_id)
    assert meanwhile.happened
    batch = await load(telling, batch_id)
    assert (batch.deleted_at, batch.debts, batch.callback_url) == (telling.clock.now, (), None)


# Submitting


async def test_without_a_secret_an_address_is_refused(rig: Rig, receiver: Receiver) -> None:
    with pytest.raises(errors.CallbacksDisabled):
        await submit(rig, S, callback_url=receiver.url)
    assert rig.tables.rows(Table.BATCHES) == []


async def test_an_address_that_may_not_be_called_is_refused_at_once(telling: Rig) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        await submit(telling, S, callback_url="https://10.0.0.1/")
    assert caught.value.details["errors"][0]["field"] == "callback_url"
    assert telling.tables.rows(Table.BATCHES) == []
