"""What is told of a batch: its end, exactly one callback, at least once, and nothing after its deletion."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
from datetime import timedelta

import pytest

from shared import errors
from shared.outbound.shares import Shares
from shared.runs.actions.outbox import CLAIM_SECONDS
from shared.runs.actions.outcome import Outcome
from shared.runs.batches.advance import advance_batch, batch_outcome
from shared.runs.batches.callbacks import redeliver_batch
from shared.runs.batches.cancel import cancel_batch
from shared.runs.batches.delete import delete_batch
from shared.runs.model.batch import Batch, BatchStatus, Deleted, LastCallback
from shared.runs.model.callbacks import NoShare, Sent, Share
from shared.runs.model.outbox import CallbackState
from shared.runs.rules.callbacks import callback_status
from shared.runs.rules.schedule import CALLBACK_WAITS, DAY
from shared.runs.store.runs import Stored
from shared.runs.store.tables import Table
from tests.parts.receiver import SECRET, Receiver
from tests.unit.runs.batches import ended, load, submit
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.crashes import Driver, FailAt, Killed, RunBefore

S = "[script:s]"
MAX_WAKES = 100


async def wake(rig: Rig, batch_id: str) -> Outcome:
    """One wake, now."""
    return await advance_batch(rig.app.ports, batch_id, rig.driver(Driver(rig)))


async def finish(rig: Rig, batch_id: str) -> Batch:
    """Wake it, being over, whenever it asks for it, moving the clock, until nothing is left to do."""
    for _ in range(MAX_WAKES):
        batch = await load(rig, batch_id)
        gap = batch_outcome(rig.app.ports, Stored(batch, "")).wake_in
        if gap is None:
            return batch
        rig.clock.move(gap)
        await wake(rig, batch_id)
    raise AssertionError(f"not within {MAX_WAKES} wakes: {batch}")


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
    await host.start_batch(submitted)
    await host.pass_time(600)
    batch = await load(either, submitted.batch.id)
    assert (batch.status, batch.is_done, batch.outbox.callback_state) == (
        BatchStatus.COMPLETED,
        True,
        CallbackState.DELIVERED,
    )
    (got,) = receiver.received
    assert got.is_signed()
    assert got.webhook_id == f"msg_{batch.id}_completed"
    assert batch.over_at is not None
    counts = {"total": 3, "pending": 0, "active": 0, "completed": 3, "incomplete": 0, "failed": 0, "cancelled": 0}
    assert got.body == {
        "type": "batch.completed",
        "timestamp": batch.over_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "data": {
            "id": batch.id,
            "object": "batch",
            "status": "completed",
            "url": f"https://app.example/api/batches/{batch.id}",
            "counts": counts,
            "metadata": {},
        },
    }
    assert either.tables.rows(Table.DUE) == []


async def test_a_cancelled_batch_is_told_exactly_once(either: Rig, receiver: Receiver) -> None:
    host = Driver(either)
    submitted = await submit(either, *["[script:slow]"] * 3, concurrency=2, callback_url=receiver.url)
    await host.start_batch(submitted)
    await host.pass_time(60)
    await cancel_batch(either.app.ports, submitted.batch.id)
    await either.driver(host).wake(submitted.batch.id)
    await host.pass_time(300)
    await cancel_batch(either.app.ports, submitted.batch.id)
    await host.pass_time(300)
    assert receiver.types() == ["batch.cancelled"]
    assert (await load(either, submitted.batch.id)).is_done
    assert either.tables.rows(Table.DUE) == []


async def test_a_batch_that_is_over_within_its_submit_is_told(either: Rig, receiver: Receiver) -> None:
    batch = await ended(either, receiver.url, idempotency_key="k")
    assert (batch.status, batch.is_done, callback_status(batch.outbox)) == (BatchStatus.COMPLETED, False, "pending")
    again = await ended(either, receiver.url, idempotency_key="k")
    assert again.id == batch.id
    await Driver(either).pass_time(300)  # a host that knows of nothing: the sweep finds it
    (got,) = receiver.received
    assert (got.body["data"]["counts"]["failed"], got.body["data"]["metadata"]) == (1, {"job": "night"})
    assert either.tables.rows(Table.DUE) == []


async def test_one_that_waits_to_be_tried_again_outlives_its_host(either: Rig, receiver: Receiver) -> None:
    receiver.answers = [503, 503, (503, {"Retry-After": "1000"})]
    batch = await ended(either, receiver.url)
    for _ in range(8):
        await Driver(either).pass_time(300)
    assert len(receiver.received) == 4
    assert {each.webhook_id for each in receiver.received} == {f"msg_{batch.id}_completed"}
    assert len({each.raw for each in receiver.received}) == 1
    assert (await load(either, batch.id)).is_done
    assert either.tables.rows(Table.DUE) == []


async def test_without_an_address_nothing_is_owed(either: Rig) -> None:
    host = Driver(either)
    submitted = await submit(either, S)
    await host.start_batch(submitted)
    await host.pass_time(300)
    batch = await load(either, submitted.batch.id)
    assert (batch.is_done, batch.outbox.entries, batch.outbox.deliveries, callback_status(batch.outbox)) == (
        True,
        (),
        0,
        None,
    )


# How it is taken


async def test_what_failed_is_tried_again_on_the_schedule_of_runs(sending: Rig, receiver: Receiver) -> None:
    receiver.answers = [500, 302, 404]
    batch = await finish(sending, (await ended(sending, receiver.url)).id)
    stamps = [int(each.headers["webhook-timestamp"]) for each in receiver.received]
    assert [after - before for before, after in itertools.pairwise(stamps)] == list(CALLBACK_WAITS[:3])
    assert (batch.outbox.deliveries, batch.last_callback) == (
        4,
        LastCallback(at=sending.clock.now, http_status=204),
    )


async def test_after_a_day_it_is_given_up(sending: Rig, receiver: Receiver) -> None:
    receiver.then = 500
    batch = await finish(sending, (await ended(sending, receiver.url)).id)
    assert (batch.is_done, batch.outbox.callback_state) == (True, CallbackState.GIVEN_UP)
    assert len(receiver.received) == batch.outbox.deliveries == len(CALLBACK_WAITS) + 1
    assert batch.over_at is not None
    assert 0.85 * DAY <= (sending.clock.now - batch.over_at).total_seconds() <= DAY


async def test_a_receiver_that_is_gone_hears_no_more(sending: Rig, receiver: Receiver) -> None:
    receiver.then = 410
    batch = await finish(sending, (await ended(sending, receiver.url)).id)
    assert (callback_status(batch.outbox), batch.last_callback.http_status, len(receiver.received)) == (
        "disabled",
        410,
        1,
    )


async def test_an_address_that_may_not_be_called_is_a_failed_attempt_that_says_so(
    sending: Rig, rigs: NewRig, receiver: Receiver
) -> None:
    batch_id = (await ended(sending, receiver.url)).id
    await wake(await rigs(callback_secret=SECRET), batch_id)  # deployed anew, without the exception
    batch = await load(sending, batch_id)
    assert (batch.last_callback.http_status, batch.last_callback.fault) == (None, "address_refused")
    sending.clock.move(CALLBACK_WAITS[0])
    await wake(await rigs(), batch_id)
    assert (await load(sending, batch_id)).last_callback.fault == "callbacks_disabled"
    assert receiver.received == []


# Races and crashes


async def test_a_crash_between_send_and_record_sends_again_under_the_same_id(sending: Rig, receiver: Receiver) -> None:
    batch_id = (await ended(sending, receiver.url)).id
    with (
        FailAt(sending, at=3, applied=False, error=Killed()),
        pytest.raises(Killed),
    ):  # load, claim, then the record
        await wake(sending, batch_id)
    batch = await load(sending, batch_id)
    assert (callback_status(batch.outbox), batch.schedule.wake_at) == (
        "pending",
        sending.clock.now + timedelta(seconds=CLAIM_SECONDS),
    )
    assert (batch.last_callback.at, batch.last_callback.http_status) == (sending.clock.now, None)
    assert (await wake(sending, batch_id)).wake_in == CLAIM_SECONDS
    assert len(receiver.received) == 1
    batch = await finish(sending, batch_id)
    assert [each.webhook_id for each in receiver.received] == [f"msg_{batch_id}_completed"] * 2
    assert (batch.outbox.deliveries, batch.outbox.callback_state) == (2, CallbackState.DELIVERED)


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("at", range(1, 5))
async def test_wherever_a_wake_dies_the_callback_arrives(
    sending: Rig, receiver: Receiver, at: int, applied: bool
) -> None:
    batch_id = (await ended(sending, receiver.url)).id
    with FailAt(sending, at=at, applied=applied, error=Killed()), contextlib.suppress(Killed):
        await wake(sending, batch_id)
    batch = await finish(sending, batch_id)
    assert 1 <= len(receiver.received) <= 2
    assert {each.webhook_id for each in receiver.received} == {f"msg_{batch_id}_completed"}
    assert batch.outbox.callback_state is CallbackState.DELIVERED


async def test_an_attempt_that_always_crashes_is_given_up_after_a_day(either: Rig, receiver: Receiver) -> None:
    class Crashing:
        def problem(self, url: str) -> str | None:
            return None

        def reserve(self, url: str, owner: str) -> Share | NoShare:
            return Shares(1).take(owner, url)

        async def send(self, url: str, webhook_id: str, body: str, share: Share) -> Sent:
            raise RuntimeError("a bug")

    object.__setattr__(either.app.ports, "sender", Crashing())
    batch_id = (await ended(either, receiver.url)).id
    gaps = [(await wake(either, batch_id)).wake_in]
    while gaps[-1] is not None:
        either.clock.move(gaps[-1])
        gaps.append((await wake(either, batch_id)).wake_in)
    assert gaps == [*CALLBACK_WAITS, None], "on the schedule of any attempt that failed"
    batch = await load(either, batch_id)
    assert (batch.outbox.callback_state, batch.outbox.deliveries) == (CallbackState.GIVEN_UP, len(CALLBACK_WAITS) + 1)
    assert batch.last_callback.fault == "internal_error"


async def test_twenty_wakes_at_once_send_one(sending: Rig, receiver: Receiver) -> None:
    batch_id = (await ended(sending, receiver.url)).id
    await asyncio.gather(*(wake(sending, batch_id) for _ in range(20)))
    assert len(receiver.received) == 1
    assert (await load(sending, batch_id)).is_done


# Redelivery


@pytest.mark.parametrize("before", [204, 410, 500])
async def test_the_end_is_delivered_again_whatever_became_of_it(either: Rig, receiver: Receiver, before: int) -> None:
    receiver.then = before
    batch_id = (await ended(either, receiver.url)).id
    await finish(either, batch_id)
    host = Driver(either)
    await host.pass_time(300)
    assert either.tables.rows(Table.DUE) == []
    sent = len(receiver.received)
    receiver.then = 200
    batch = await redeliver_batch(either.app.ports, batch_id)
    assert batch is not None
    assert (batch.is_done, callback_status(batch.outbox), batch.schedule.wake_at) == (
        False,
        "pending",
        either.clock.now,
    )
    await host.pass_time(300)  # no signal came through
    batch = await load(either, batch_id)
    assert (batch.is_done, batch.outbox.callback_state, len(receiver.received)) == (
        True,
        CallbackState.DELIVERED,
        sent + 1,
    )
    assert len({(each.webhook_id, each.raw) for each in receiver.received}) == 1
    assert either.tables.rows(Table.DUE) == []


async def test_one_that_is_asked_for_during_an_attempt_is_sent_after_it(sending: Rig, receiver: Receiver) -> None:
    batch_id = (await ended(sending, receiver.url)).id

    async def ask() -> None:
        sending.clock.move(1)
        await redeliver_batch(sending.app.ports, batch_id)

    with RunBefore(sending, at=3, other=ask):
        assert (await wake(sending, batch_id)).wake_in == 0
    assert (await load(sending, batch_id)).last_callback.http_status == 204
    batch = await finish(sending, batch_id)
    assert (len(receiver.received), batch.outbox.deliveries) == (2, 2)


async def test_what_cannot_be_delivered_again_says_why(sending: Rig, rigs: NewRig, receiver: Receiver) -> None:
    again = functools.partial(redeliver_batch, sending.app.ports)
    active = (await submit(sending, S, callback_url=receiver.url)).batch.id
    with pytest.raises(errors.BatchNotEnded):
        await again(active)
    with pytest.raises(errors.NoCallback):
        await again((await submit(sending, S)).batch.id)
    await cancel_batch(sending.app.ports, active)
    with pytest.raises(errors.CallbacksDisabled):
        await redeliver_batch((await rigs()).app.ports, active)
    assert await again(f"batch_{'0' * 32}") is None


async def test_what_is_deleted_just_then_is_not_there_to_be_delivered_again(sending: Rig, receiver: Receiver) -> None:
    batch_id = (await ended(sending, receiver.url)).id

    async def delete() -> None:
        await delete_batch(sending.app.ports, batch_id)

    with RunBefore(sending, at=2, other=delete) as meanwhile:  # right after the batch was read
        assert await redeliver_batch(sending.app.ports, batch_id) is None
    assert meanwhile.happened


# Deletion


async def test_a_deleted_batch_tells_nobody(either: Rig, receiver: Receiver) -> None:
    receiver.then = 500
    host = Driver(either)
    over = (await ended(either, receiver.url)).id
    await wake(either, over)
    active = await submit(either, *["[script:slow]"] * 3, concurrency=2, callback_url=receiver.url)
    await host.start_batch(active)
    await host.pass_time(60)
    heard = len(receiver.received)
    for batch_id in (over, active.batch.id):
        await delete_batch(either.app.ports, batch_id)
        assert await redeliver_batch(either.app.ports, batch_id) is None
    await host.pass_time(900)
    assert len(receiver.received) == heard
    assert receiver.url not in str([row.values for row in either.tables.rows(Table.BATCHES)])
    either.clock.move(49 * 3_600)
    await host.pass_time(300)
    assert either.tables.rows(Table.BATCHES) == []


async def test_one_deleted_in_the_midst_of_an_attempt_stays_deleted(sending: Rig, receiver: Receiver) -> None:
    batch_id = (await ended(sending, receiver.url)).id

    async def delete() -> None:
        await delete_batch(sending.app.ports, batch_id)

    with RunBefore(sending, at=3, other=delete) as meanwhile:
        await wake(sending, batch_id)
    assert meanwhile.happened
    batch = await load(sending, batch_id)
    assert isinstance(batch.phase, Deleted)
    assert batch.phase.deleted_at == sending.clock.now
    assert (batch.outbox.entries, batch.request.callback_url) == ((), None)


# Submitting


async def test_without_a_secret_an_address_is_refused(rig: Rig, receiver: Receiver) -> None:
    with pytest.raises(errors.CallbacksDisabled):
        await submit(rig, S, callback_url=receiver.url)
    assert rig.tables.rows(Table.BATCHES) == []


async def test_an_address_that_may_not_be_called_is_refused_at_once(sending: Rig) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        await submit(sending, S, callback_url="https://10.0.0.1/")
    assert caught.value.details["errors"][0]["field"] == "callback_url"
    assert sending.tables.rows(Table.BATCHES) == []
