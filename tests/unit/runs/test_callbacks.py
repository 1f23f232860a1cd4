"""What a caller is told: at every end of a run exactly one callback, at least once, and nothing after its deletion."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from shared.api.callers import EVERYBODY
from shared.api.native import deliveries
from shared.errors import CallbacksDisabled, IdempotencyKeyReused, InvalidRequest, NoCallback, RunNotEnded
from shared.outbound.shares import Shares
from shared.runs.actions.outbox import CLAIM_SECONDS, LOG_KEEPS
from shared.runs.commands.answer import answer
from shared.runs.commands.cancel import cancel
from shared.runs.commands.delete import delete_run, delete_session
from shared.runs.commands.redeliver import redeliver
from shared.runs.model.callbacks import NoShare, Sent, Share
from shared.runs.model.deliveries import Delivery
from shared.runs.model.facts import Approve
from shared.runs.model.outbox import CallbackState, EntryKind
from shared.runs.model.phases import RunStatus, WaitingForAnswers
from shared.runs.model.run import Run
from shared.runs.rules.agenda import next_time
from shared.runs.rules.callbacks import callback_status
from shared.runs.rules.schedule import CALLBACK_WAITS, DAY
from tests.parts.receiver import SECRET, Receiver
from tests.unit.api.conftest import content, request
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.crashes import Driver, FailAt, Killed, RunBefore

STORY: list[dict[str, Any]] = [{"text": "A story that nobody else may read."}]
WORK = {"name": "work", "arguments": {"label": "a"}}
FAILS = {"status": "failed", "error": {"code": "invalid_prompt", "message": "No."}}
ASKS: list[dict[str, Any]] = [{"calls": [{"name": "send", "arguments": {"label": "a"}}]}, {"text": "Sent."}]


async def log_of(rig: Rig, run_id: str) -> list[Delivery]:
    return [each.value for each in await rig.app.ports.runs.deliveries(await rig.run(run_id))]


async def overdue(rig: Rig, run_id: str) -> None:
    rig.clock.move(90_000)


async def cancelled(rig: Rig, run_id: str) -> None:
    await cancel(rig.app.ports, run_id)


def due_at(run: Run) -> datetime:
    """When the run is to be looked at next."""
    soonest = next_time(run)
    assert soonest is not None
    return soonest.due


async def nothing(rig: Rig, run_id: str) -> None:
    pass


@pytest.mark.parametrize(
    ("turns", "then", "status", "code"),
    [
        pytest.param(STORY, nothing, "completed", None, id="completed"),
        pytest.param([{"text": "A st", "status": "incomplete"}], nothing, "incomplete", None, id="incomplete"),
        pytest.param([FAILS], nothing, "failed", "invalid_prompt", id="failed"),
        pytest.param([{"status": "cancelled"}], nothing, "cancelled", "cancelled_at_provider", id="cancelled there"),
        pytest.param([{"stuck": True}], cancelled, "cancelled", None, id="cancelled"),
        pytest.param([{"stuck": True}], overdue, "failed", "deadline_exceeded", id="deadline"),
        pytest.param([{"faults": {"create": [{"status": 400}]}}], nothing, "failed", None, id="refused"),
        pytest.param([{"calls": [WORK] * 91}], nothing, "failed", "tool_call_limit", id="limit"),
    ],
)  # fmt: skip
async def test_every_end_of_a_run_is_told_exactly_once(
    sending: Rig,
    receiver: Receiver,
    turns: list[dict[str, Any]],
    then: Callable[[Rig, str], Awaitable[None]],
    status: str,
    code: str | None,
) -> None:
    await sending.model.script("s", turns)
    run_id = await sending.start(callback_url=receiver.url, metadata={"order": "7"})
    await then(sending, run_id)
    run = await sending.finish(run_id)
    assert run.status.value == status
    assert code in (None, run.result.error_code)
    (got,) = receiver.received
    assert got.is_signed()
    assert got.webhook_id == f"msg_{run_id}_{status}"
    assert run.completed_at is not None
    assert got.body == {
        "type": f"run.{status}",
        "timestamp": run.completed_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "data": {
            "id": run_id,
            "object": "run",
            "status": status,
            "url": f"https://app.example/api/runs/{run_id}",
            "session_id": run.request.session_id,
            "metadata": {"order": "7"},
        },
    }
    assert (run.is_done, run.outbox.entries, run.outbox.callback_state) == (True, (), CallbackState.DELIVERED)
    for _ in range(3):
        assert (await sending.wake(run_id)).wake_in is None
    assert len(receiver.received) == 1


async def test_a_run_without_an_address_owes_nobody(sending: Rig) -> None:
    await sending.model.script("s", STORY)
    run = await sending.run_to_end()
    assert (run.is_done, run.outbox.entries, run.outbox.deliveries, callback_status(run.outbox)) == (True, (), 0, None)


async def test_the_callback_is_owed_from_the_transaction_that_ends_the_run(sending: Rig, receiver: Receiver) -> None:
    await sending.model.script("s", STORY)
    run = await sending.run_to_end(callback_url=receiver.url)
    assert [entry.kind for entry in run.outbox] == [EntryKind.CALLBACK]
    assert (run.status, run.is_done, callback_status(run.outbox)) == (RunStatus.COMPLETED, False, "pending")
    assert receiver.received == []


# Approvals


async def test_a_pause_for_an_answer_is_told_and_then_the_end(sending: Rig, receiver: Receiver) -> None:
    await sending.model.script("s", ASKS)
    run_id = await sending.start(callback_url=receiver.url)
    await sending.follow(run_id, lambda _: receiver.received)
    run = await sending.run(run_id)
    (got,) = receiver.received
    assert (got.body["type"], got.body["data"]["status"]) == ("run.requires_action", "requires_action")
    assert (got.webhook_id, got.is_signed()) == (f"msg_{run_id}_requires_action_1", True)
    assert (run.status, run.outbox.entries) == (RunStatus.REQUIRES_ACTION, ())
    assert isinstance(run.phase, WaitingForAnswers)
    assert (await sending.wake(run_id)).wake_in == pytest.approx(sending.app.settings.answer_seconds, abs=60)
    (call,) = await sending.calls(run_id)
    await answer(sending.app.ports, run_id, {call.call_id: Approve(approve=True)})
    await sending.finish(run_id)
    assert receiver.types() == ["run.requires_action", "run.completed"]


async def test_nobody_is_told_of_a_pause_that_is_over(sending: Rig, receiver: Receiver) -> None:
    receiver.answers = [500]
    await sending.model.script("s", ASKS)
    run_id = await sending.start(callback_url=receiver.url)
    run = await sending.follow(run_id, lambda _: receiver.received)
    assert [entry.kind for entry in (await sending.run(run_id)).outbox] == [EntryKind.CALLBACK]
    (call,) = await sending.calls(run_id)
    await answer(sending.app.ports, run_id, {call.call_id: Approve(approve=False)})
    run = await sending.finish(run_id)
    assert (run.status, receiver.types()) == (RunStatus.COMPLETED, ["run.requires_action", "run.completed"])


async def test_a_pause_that_nobody_answers_ends_with_a_callback(sending: Rig, receiver: Receiver) -> None:
    await sending.model.script("s", ASKS)
    run = await sending.finish(await sending.start(callback_url=receiver.url))
    assert (run.result.error_code, receiver.types()) == ("answer_timeout", ["run.requires_action", "run.failed"])


async def test_a_parked_run_tries_again_long_before_its_answer_is_due(sending: Rig, receiver: Receiver) -> None:
    receiver.answers = [500, 500]
    await sending.model.script("s", ASKS)
    run_id = await sending.start(callback_url=receiver.url)
    began = sending.clock.now
    run = await sending.follow(run_id, lambda _: len(receiver.received) == 3)
    assert sending.clock.now - began < timedelta(minutes=5)
    assert run.status is RunStatus.REQUIRES_ACTION
    assert len({each.webhook_id for each in receiver.received}) == 1


@pytest.mark.parametrize("driver", ["durable", "timer"])
async def test_a_crash_puts_off_the_callback_of_a_parked_run_and_no_more(
    rigs: NewRig, receiver: Receiver, driver: str
) -> None:
    rig = await rigs(callback_secret=SECRET, callback_allow="127.0.0.1", driver=driver)
    await rig.model.script("s", ASKS)
    run_id = await rig.start(callback_url=receiver.url)
    parked = await rig.follow(run_id, lambda run: run.status is RunStatus.REQUIRES_ACTION)
    rig.tables.fail_next(RuntimeError("a bug"), operation="commit")
    assert (await rig.wake(run_id)).wake_in == 2.0, "backed off, not left alone until the answer is due"
    run = await rig.run(run_id)
    assert isinstance(parked.phase, WaitingForAnswers)
    assert (run.schedule.crashes, run.phase) == (1, parked.phase)
    assert due_at(run) == rig.clock.now + timedelta(seconds=2)
    assert receiver.received == []
    rig.clock.move(2.0)
    await rig.wake(run_id)
    assert receiver.types() == ["run.requires_action"]
    run = await rig.run(run_id)
    assert (run.schedule.crashes, run.outbox.entries, due_at(run)) == (0, (), parked.phase.answer_by)


async def test_a_parked_run_is_due_when_its_callback_is(sending: Rig, receiver: Receiver) -> None:
    receiver.then = 500
    await sending.model.script("s", ASKS)
    run_id = await sending.start(callback_url=receiver.url)
    await sending.follow(run_id, lambda _: receiver.received)
    run = await sending.run(run_id)
    assert isinstance(run.phase, WaitingForAnswers)
    assert due_at(run) == sending.clock.now + timedelta(seconds=CALLBACK_WAITS[0]) < run.phase.answer_by


@pytest.mark.parametrize("driver", ["durable", "timer"])
async def test_a_lost_orchestration_is_missed_though_the_run_is_parked(
    rigs: NewRig, receiver: Receiver, driver: str
) -> None:
    rig = await rigs(callback_secret=SECRET, callback_allow="127.0.0.1", driver=driver)
    receiver.answers = [500, 500]
    await rig.model.script("s", ASKS)
    host = Driver(rig)
    submitted = await rig.submit(callback_url=receiver.url)
    await host.start_run(submitted)
    while not receiver.received:
        await host.pass_time(30)
    assert (await rig.run(submitted.run.id)).status is RunStatus.REQUIRES_ACTION
    await Driver(rig).pass_time(900)  # of the orchestration it knows nothing
    assert len(receiver.received) == 3
    assert callback_status((await rig.run(submitted.run.id)).outbox) == "delivered"


# Trying again


async def test_a_fault_is_tried_again_under_the_same_id_as_the_schedule_says(sending: Rig, receiver: Receiver) -> None:
    receiver.answers = [500, 302, 404]
    await sending.model.script("s", STORY)
    run_id = await sending.start(callback_url=receiver.url)
    run = await sending.finish(run_id)
    assert {each.webhook_id for each in receiver.received} == {f"msg_{run_id}_completed"}
    assert len({each.raw for each in receiver.received}) == 1
    assert all(each.is_signed() for each in receiver.received)
    stamps = [int(each.headers["webhook-timestamp"]) for each in receiver.received]
    assert [after - before for before, after in itertools.pairwise(stamps)] == list(CALLBACK_WAITS[:3])
    lines = await log_of(sending, run_id)
    assert [(each.attempt, each.http_status, each.state) for each in lines] == [
        (1, 500, "failed"),
        (2, 302, "failed"),
        (3, 404, "failed"),
        (4, 204, "delivered"),
    ]
    assert [each.next_try_at for each in lines] == [*(each.sent_at for each in lines[1:]), None]
    assert run.outbox.callback_state is CallbackState.DELIVERED


async def test_what_the_receiver_asks_for_is_waited_for(sending: Rig, receiver: Receiver) -> None:
    receiver.answers = [(503, {"Retry-After": "1000"}), (429, {"Retry-After": "1"})]
    await sending.model.script("s", STORY)
    run_id = await sending.start(callback_url=receiver.url)
    await sending.finish(run_id)
    stamps = [int(each.headers["webhook-timestamp"]) for each in receiver.received]
    assert [after - before for before, after in itertools.pairwise(stamps)] == [1_000, CALLBACK_WAITS[1]]


async def test_after_a_day_it_is_given_up(sending: Rig, receiver: Receiver) -> None:
    receiver.then = 500
    await sending.model.script("s", STORY)
    run_id = await sending.start(callback_url=receiver.url)
    run = await sending.finish(run_id)
    assert (run.status, run.is_done, run.outbox.callback_state) == (RunStatus.COMPLETED, True, CallbackState.GIVEN_UP)
    assert len(receiver.received) == len(CALLBACK_WAITS) + 1
    assert run.completed_at is not None
    passed = (sending.clock.now - run.completed_at).total_seconds()
    assert 0.85 * DAY <= passed <= DAY
    assert (await log_of(sending, run_id))[-1].next_try_at is None


async def test_a_receiver_that_is_gone_hears_no_more(sending: Rig, receiver: Receiver) -> None:
    receiver.then = 410
    await sending.model.script("s", ASKS)
    run_id = await sending.start(callback_url=receiver.url)
    await sending.follow(run_id, lambda _: receiver.received)
    run = await sending.run(run_id)
    assert (run.outbox.entries, run.outbox.callback_state) == ((), CallbackState.DISABLED)
    await cancel(sending.app.ports, run_id)
    run = await sending.finish(run_id)
    assert (run.status, run.is_done, callback_status(run.outbox)) == (RunStatus.CANCELLED, True, "disabled")
    assert len(receiver.received) == 1


async def test_an_address_that_may_not_be_called_is_a_failed_attempt_that_says_so(
    rigs: NewRig, receiver: Receiver
) -> None:
    await (first := await rigs(callback_secret=SECRET, callback_allow="127.0.0.1")).model.script("s", STORY)
    run_id = await first.start(callback_url=receiver.url)
    later = await rigs(callback_secret=SECRET)  # deployed anew, without the exception
    await later.follow(run_id)
    await later.wake(run_id)
    (line,) = await log_of(later, run_id)
    assert (line.state, line.fault, line.http_status, receiver.received) == ("failed", "address_refused", None, [])
    without = await rigs()
    await without.follow(run_id, lambda run: run.outbox.deliveries == 2)
    assert (await log_of(without, run_id))[-1].fault == "callbacks_disabled"


# Races and crashes


async def test_a_crash_between_send_and_record_sends_again_under_the_same_id(sending: Rig, receiver: Receiver) -> None:
    await sending.model.script("s", STORY)
    run_id = (await sending.run_to_end(callback_url=receiver.url)).id

    with (
        FailAt(sending, at=3, applied=False, error=Killed()),
        pytest.raises(Killed),
    ):  # load, claim, then the record
        await sending.wake(run_id)
    assert len(receiver.received) == 1
    run = await sending.run(run_id)
    assert (callback_status(run.outbox), due_at(run)) == (
        "pending",
        sending.clock.now + timedelta(seconds=CLAIM_SECONDS),
    )
    assert (await sending.wake(run_id)).wake_in == CLAIM_SECONDS
    assert len(receiver.received) == 1
    run = await sending.finish(run_id)
    assert [each.webhook_id for each in receiver.received] == [f"msg_{run_id}_completed"] * 2
    assert [(each.attempt, each.state) for each in await log_of(sending, run_id)] == [
        (1, "sending"),
        (2, "delivered"),
    ]
    assert (run.is_done, run.outbox.callback_state) == (True, CallbackState.DELIVERED)


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("at", range(1, 5))
async def test_wherever_a_wake_dies_the_callback_arrives(
    sending: Rig, receiver: Receiver, at: int, applied: bool
) -> None:
    await sending.model.script("s", STORY)
    run_id = (await sending.run_to_end(callback_url=receiver.url)).id
    with FailAt(sending, at=at, applied=applied, error=Killed()), contextlib.suppress(Killed):
        await sending.wake(run_id)
    run = await sending.finish(run_id)
    assert 1 <= len(receiver.received) <= 2
    assert {each.webhook_id for each in receiver.received} == {f"msg_{run_id}_completed"}
    assert (run.is_done, run.outbox.callback_state) == (True, CallbackState.DELIVERED)


async def test_an_attempt_that_always_crashes_is_given_up_after_a_day(sending: Rig, receiver: Receiver) -> None:
    class Crashing:
        def problem(self, url: str) -> str | None:
            return None

        def reserve(self, url: str, owner: str) -> Share | NoShare:
            return Shares(1).take(owner, url)

        async def send(self, url: str, webhook_id: str, body: str, share: Share) -> Sent:
            raise RuntimeError("a bug")

    object.__setattr__(sending.app.ports, "sender", Crashing())
    await sending.model.script("s", STORY)
    run_id = await sending.start(callback_url=receiver.url)
    run = await sending.finish(run_id)
    assert (run.status, run.is_done, run.outbox.callback_state) == (RunStatus.COMPLETED, True, CallbackState.GIVEN_UP)
    assert (run.outbox.deliveries, run.schedule.crashes) == (len(CALLBACK_WAITS) + 1, 0)
    tries = await log_of(sending, run_id)
    gaps = [(after.sent_at - before.sent_at).total_seconds() for before, after in itertools.pairwise(tries)]
    assert gaps == [*CALLBACK_WAITS], "on the schedule of any attempt that failed"
    assert {(each.state, each.fault) for each in tries} == {("failed", "internal_error")}


async def test_twenty_wakes_at_once_send_one(sending: Rig, receiver: Receiver) -> None:
    await sending.model.script("s", STORY)
    run_id = (await sending.run_to_end(callback_url=receiver.url)).id
    await asyncio.gather(*(sending.wake(run_id) for _ in range(20)))
    assert len(receiver.received) == 1
    assert (await sending.run(run_id)).is_done


async def test_a_run_that_goes_on_while_its_pause_is_told_of_loses_nothing(sending: Rig, receiver: Receiver) -> None:
    await sending.model.script("s", ASKS)
    run_id = await sending.start(callback_url=receiver.url)
    await sending.follow(run_id, lambda run: run.status is RunStatus.REQUIRES_ACTION)

    async def approve() -> None:
        (call,) = await sending.calls(run_id)
        await answer(sending.app.ports, run_id, {call.call_id: Approve(approve=True)})

    with RunBefore(sending, at=3, other=approve) as meanwhile:  # right before the record
        await sending.wake(run_id)
    assert meanwhile.happened
    assert [each.state for each in await log_of(sending, run_id)] == ["delivered"]
    run = await sending.finish(run_id)
    assert (run.status, receiver.types()) == (RunStatus.COMPLETED, ["run.requires_action", "run.completed"])


async def test_the_log_keeps_the_newest(sending: Rig, receiver: Receiver) -> None:
    await sending.model.script("s", STORY)
    run_id = await sending.start(callback_url=receiver.url)
    await sending.finish(run_id)
    for _ in range(LOG_KEEPS + 3):
        await redeliver(sending.app.ports, run_id)
        await sending.wake(run_id)
    assert len(receiver.received) == LOG_KEEPS + 4
    lines = await log_of(sending, run_id)
    assert [each.index for each in lines] == list(range(4, LOG_KEEPS + 4))


# Redelivery


@pytest.mark.parametrize("before", [204, 410, 500])
async def test_the_end_is_delivered_again_whatever_became_of_it(sending: Rig, receiver: Receiver, before: int) -> None:
    receiver.then = before
    await sending.model.script("s", STORY)
    run_id = await sending.start(callback_url=receiver.url)
    await sending.finish(run_id)
    due = await sending.app.ports.due.get(run_id)
    assert due is not None
    await sending.app.ports.due.remove(due, sending.clock.now)
    sent = len(receiver.received)
    receiver.then = 200
    run = await redeliver(sending.app.ports, run_id)
    assert run is not None
    assert (run.is_done, callback_status(run.outbox), due_at(run)) == (False, "pending", sending.clock.now)
    assert await sending.app.ports.due.get(run_id) is not None
    run = await sending.finish(run_id)
    assert (run.is_done, run.outbox.callback_state, len(receiver.received)) == (True, CallbackState.DELIVERED, sent + 1)
    assert len({each.webhook_id for each in receiver.received}) == 1


async def test_the_answer_to_who_asks_for_a_redelivery_is_of_before_it(sending: Rig, receiver: Receiver) -> None:
    """However soon the driver acts: no attempt stands beside the word that one is still to come."""

    class SwiftHub:
        """A hub whose orchestrations are over at once."""

        async def wake(self, run_id: str) -> None:
            await sending.finish(run_id)

    receiver.answers = [410]
    await sending.model.script("s", STORY)
    run_id = await sending.start(callback_url=receiver.url, owner=EVERYBODY)
    await sending.finish(run_id)
    asked = request(path={"run_id": run_id})
    told = content(await deliveries.deliver_again(asked, sending.app, sending.driver(SwiftHub())))
    assert (told["callback_status"], [line["http_status"] for line in told["data"]]) == ("pending", [410])
    assert [line.http_status for line in await log_of(sending, run_id)] == [410, 204]


async def test_a_redelivery_begins_the_schedule_anew(sending: Rig, receiver: Receiver) -> None:
    receiver.then = 500
    await sending.model.script("s", STORY)
    run_id = await sending.start(callback_url=receiver.url)
    await sending.finish(run_id)
    given_up = len(receiver.received)
    await redeliver(sending.app.ports, run_id)
    await sending.finish(run_id)
    assert len(receiver.received) == 2 * given_up


async def test_a_redelivery_does_not_wait_for_the_next_try(sending: Rig, receiver: Receiver) -> None:
    receiver.answers = [500, 500]
    await sending.model.script("s", STORY)
    run_id = (await sending.run_to_end(callback_url=receiver.url)).id
    await sending.wake(run_id)
    await redeliver(sending.app.ports, run_id)
    await sending.wake(run_id)
    assert len(receiver.received) == 2
    assert (await sending.wake(run_id)).wake_in == CALLBACK_WAITS[0]


async def test_one_that_is_asked_for_during_an_attempt_is_sent_after_it(sending: Rig, receiver: Receiver) -> None:
    await sending.model.script("s", STORY)
    run_id = (await sending.run_to_end(callback_url=receiver.url)).id

    async def ask() -> None:
        sending.clock.move(1)
        await redeliver(sending.app.ports, run_id)

    with RunBefore(sending, at=3, other=ask):
        assert (await sending.wake(run_id)).wake_in == 0
    await sending.finish(run_id)
    assert len(receiver.received) == 2
    first, second = await log_of(sending, run_id)
    assert [each.state for each in (first, second)] == ["delivered", "delivered"]
    assert first.next_try_at == second.sent_at


async def test_what_cannot_be_delivered_again_says_why(sending: Rig, rigs: NewRig, receiver: Receiver) -> None:
    await sending.model.script("s", [{"stuck": True}])
    active = await sending.start(callback_url=receiver.url)
    with pytest.raises(RunNotEnded):
        await redeliver(sending.app.ports, active)
    await cancel(sending.app.ports, active)
    without = await sending.start()
    await cancel(sending.app.ports, without)
    with pytest.raises(NoCallback):
        await redeliver(sending.app.ports, without)
    with pytest.raises(CallbacksDisabled):
        await redeliver((await rigs()).app.ports, active)
    assert await redeliver(sending.app.ports, f"run_{'0' * 32}_1") is None


async def test_what_is_deleted_just_then_is_not_there_to_be_delivered_again(sending: Rig, receiver: Receiver) -> None:
    await sending.model.script("s", STORY)
    run_id = await sending.start(callback_url=receiver.url)
    await sending.finish(run_id)

    async def delete() -> None:
        await delete_run(sending.app.ports, run_id)

    with RunBefore(sending, at=2, other=delete) as meanwhile:  # right after the run was read
        assert await redeliver(sending.app.ports, run_id) is None
    assert meanwhile.happened


# Deletion


async def test_a_deleted_run_tells_nobody_and_keeps_no_log(sending: Rig, receiver: Receiver) -> None:
    receiver.then = 500
    await sending.model.script("s", STORY)
    run_id = (await sending.run_to_end(callback_url=receiver.url)).id
    await sending.wake(run_id)
    assert len(await log_of(sending, run_id)) == 1
    await delete_run(sending.app.ports, run_id)
    run = await sending.run(run_id)
    assert (run.request.callback_url, run.outbox.callback_state) == (None, None)
    assert EntryKind.CALLBACK not in {entry.kind for entry in run.outbox}
    sending.clock.move(60)
    while await sending.wake(run_id) and (await sending.run(run_id)).outbox.entries[0].kind is not EntryKind.REMOVAL:
        pass
    assert await log_of(sending, run_id) == []
    assert await redeliver(sending.app.ports, run_id) is None
    sending.clock.move(200_000)
    await sending.wake(run_id)
    assert await sending.app.ports.runs.load(run_id) is None
    assert len(receiver.received) == 1


async def test_an_active_run_that_is_deleted_tells_nobody(sending: Rig, receiver: Receiver) -> None:
    await sending.model.script("s", [{"stuck": True}])
    run_id = await sending.start(callback_url=receiver.url)
    await delete_run(sending.app.ports, run_id)
    await sending.follow(run_id, lambda run: [entry.kind for entry in run.outbox] == [EntryKind.REMOVAL])
    assert receiver.received == []


async def test_a_run_deleted_in_the_midst_of_an_attempt_leaves_no_row(sending: Rig, receiver: Receiver) -> None:
    await sending.model.script("s", STORY)
    run_id = (await sending.run_to_end(callback_url=receiver.url)).id

    async def delete() -> None:
        await delete_run(sending.app.ports, run_id)
        await sending.follow(run_id, lambda run: [entry.kind for entry in run.outbox] == [EntryKind.REMOVAL])

    with RunBefore(sending, at=3, other=delete):
        await sending.wake(run_id)
    assert await log_of(sending, run_id) == []
    assert (await sending.run(run_id)).is_deleted


async def test_a_deleted_session_tells_nobody(sending: Rig, receiver: Receiver) -> None:
    receiver.then = 500
    await sending.model.script("s", STORY)
    run = await sending.run_to_end(callback_url=receiver.url)
    await delete_session(sending.app.ports, run.request.session_id)
    await sending.follow(run.id, lambda run: [entry.kind for entry in run.outbox] == [EntryKind.REMOVAL])
    assert receiver.received == []


# Submitting


async def test_without_a_secret_an_address_is_refused(rig: Rig, receiver: Receiver) -> None:
    await rig.model.script("s", STORY)
    with pytest.raises(CallbacksDisabled, match="DORMOUSE_CALLBACK_SECRET"):
        await rig.start(callback_url=receiver.url)
    assert await rig.model.log("create") == []


@pytest.mark.parametrize("url", ["https://10.0.0.1/", "http://example.com/", "https://example.com:8443/", "x"])
async def test_an_address_that_may_not_be_called_is_refused_at_once(sending: Rig, url: str) -> None:
    await sending.model.script("s", STORY)
    with pytest.raises(InvalidRequest, match="callback_url") as caught:
        await sending.start(callback_url=url)
    assert caught.value.details["errors"][0]["field"] == "callback_url"
    assert await sending.model.log("create") == []


async def test_the_address_is_part_of_what_a_key_stands_for(sending: Rig, receiver: Receiver) -> None:
    await sending.model.script("s", STORY)
    first = await sending.submit(idempotency_key="k", callback_url=receiver.url)
    again = await sending.submit(idempotency_key="k", callback_url=receiver.url)
    assert first.run.id == again.run.id
    for other in (None, f"{receiver.url}2"):
        with pytest.raises(IdempotencyKeyReused):
            await sending.submit(idempotency_key="k", callback_url=other)


async def test_a_run_that_ends_within_its_submit_is_told(sending: Rig, receiver: Receiver) -> None:
    await sending.model.script("s", [{"faults": {"create": [{"status": 400}]}}])
    submitted = await sending.submit(callback_url=receiver.url)
    assert (submitted.run.status, submitted.run.is_done) == (RunStatus.FAILED, False)
    assert submitted.due is not None
    await sending.wake(submitted.run.id)
    assert receiver.types() == ["run.failed"]
