"""Runs for later: queued until their time, none of the active ones until then, and begun once whatever happens."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from shared import errors
from shared.drivers.retention import retain
from shared.drivers.sweep import sweep
from shared.runs.actions.admission import ABSENT_FOR
from shared.runs.commands.cancel import cancel
from shared.runs.commands.checks import FURTHEST
from shared.runs.commands.delete import delete_run, delete_session
from shared.runs.model.phases import RunStatus, Scheduled
from shared.runs.queries.runs import RunFilter, runs_of_owner
from shared.runs.store.tables import Change, Table
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.crashes import Act, Driver, FailAt, Killed, RunBefore, interrupt_each, interruptions
from tests.unit.runs.points.world import Hub
from tests.unit.runs.records import at
from tests.unit.runs.test_admission import active, slots

HOUR = 3_600.0
DONE = [{"text": "Done."}]
LATER = Scheduled(not_before=at(HOUR), deadline_seconds=60.0)


def in_an_hour(rig: Rig) -> datetime:
    return rig.clock.now + timedelta(seconds=HOUR)


@pytest.fixture(params=["durable", "timer"])
async def either(rigs: NewRig, request: pytest.FixtureRequest) -> Rig:
    """A process under each driver in turn."""
    rig = await rigs(driver=request.param)
    await rig.model.script("s", DONE)
    return rig


# --- submit -------------------------------------------------------------------------------------------


async def test_until_its_time_it_is_queued_and_nothing_runs(either: Rig) -> None:
    host, start_at = Driver(either), in_an_hour(either)
    submitted = await either.submit(start_at=start_at, deadline_seconds=60.0)
    await host.start_run(submitted)
    assert host._wakes == {}, "no orchestration waits for it"
    await host.pass_time(HOUR - 60)
    run = await either.run(submitted.run.id)
    assert (run.status, run.schedule.deadline_at, run.counters.wakes) == (RunStatus.QUEUED, None, 0)
    assert (run.phase, host._wakes) == (Scheduled(not_before=start_at, deadline_seconds=60.0), {})
    assert await either.model.creates() == []
    page = await runs_of_owner(either.app.ports, "test", None, 10, RunFilter())
    assert [(each.status, each.summary.start_at) for each in page.runs] == [(RunStatus.QUEUED, start_at)]


async def test_at_its_time_it_starts_within_two_sweeps_and_not_before(either: Rig) -> None:
    host, start_at = Driver(either), in_an_hour(either)
    submitted = await either.submit(start_at=start_at)
    await host.start_run(submitted)
    await host.pass_time(HOUR + 300)
    run = await either.run(submitted.run.id)
    assert run.status is RunStatus.COMPLETED
    assert run.schedule.begun_at is not None
    assert timedelta(0) <= run.schedule.begun_at - start_at <= timedelta(seconds=60)
    assert len(await either.model.creates()) == 1
    assert await either.app.ports.due.get(run.id) is None


async def test_nobody_takes_it_for_overdue(rigs: NewRig) -> None:
    rig = await rigs(driver="durable")
    await rig.model.script("s", DONE)
    host = Driver(rig)
    await host.start_run(await rig.submit(start_at=in_an_hour(rig)))
    ends: set[str] = set()
    for _ in range(int(HOUR / 60) + 1):
        rig.clock.move(60)
        ends |= set(await sweep(rig.app.ports, rig.driver(host)))
    assert ends == {"in_time", "started"}


async def test_after_an_outage_over_its_time_it_starts_all_the_same(either: Rig) -> None:
    host = Driver(either)
    submitted = await either.submit(start_at=in_an_hour(either))
    await host.start_run(submitted)
    either.clock.move(2 * 86_400)
    await Driver(either).pass_time(300)
    assert (await either.run(submitted.run.id)).status is RunStatus.COMPLETED


async def test_a_time_that_is_past_means_at_once(rig: Rig) -> None:
    await rig.model.script("s", DONE)
    run = (await rig.submit(start_at=rig.clock.now)).run
    assert (run.status, run.schedule.begun_at, run.request.start_at) == (RunStatus.IN_PROGRESS, None, rig.clock.now)
    assert (await rig.finish(run.id)).status is RunStatus.COMPLETED


async def test_a_key_gives_the_same_run_before_and_after_its_time(either: Rig) -> None:
    wanted = {"start_at": in_an_hour(either), "idempotency_key": "k"}
    host = Driver(either)
    first = await either.submit(**wanted)
    await host.start_run(first)
    again = await either.submit(**wanted)
    await host.start_run(again)
    assert (again.run.id, again.run.phase, host._wakes) == (first.run.id, first.run.phase, {})
    with pytest.raises(errors.IdempotencyKeyReused):
        await either.submit(**{**wanted, "start_at": in_an_hour(either) + timedelta(seconds=1)})
    await host.pass_time(HOUR + 300)
    late = await either.submit(**wanted)
    assert (late.run.id, late.run.status) == (first.run.id, RunStatus.COMPLETED)


async def test_too_far_ahead_is_refused(rig: Rig) -> None:
    await rig.submit(start_at=rig.clock.now + FURTHEST)
    with pytest.raises(errors.InvalidRequest) as caught:
        await rig.submit(start_at=rig.clock.now + FURTHEST + timedelta(seconds=1))
    assert caught.value.details["errors"] == [{"field": "start_at", "problem": "may be at most 366 days ahead"}]


async def test_it_begins_a_session_of_its_own_which_waits_for_it(rig: Rig) -> None:
    await rig.model.script("s", DONE)
    session = (await rig.run_to_end()).request.session_id
    with pytest.raises(errors.StartAtInSession):
        await rig.submit(session_id=session, start_at=in_an_hour(rig))
    later = (await rig.submit(start_at=in_an_hour(rig))).run
    with pytest.raises(errors.SessionBusy):
        await rig.submit(session_id=later.request.session_id)
    await rig.finish(later.id)
    following = await rig.run_to_end(session_id=later.request.session_id)
    assert (following.request.number, following.status) == (2, RunStatus.COMPLETED)


# --- what becomes of it before its time ---------------------------------------------------------------


@pytest.mark.parametrize("how", ["cancel", "delete_run", "delete_session"])
async def test_it_can_be_stopped_before_its_time(either: Rig, how: str) -> None:
    host = Driver(either)
    run = (await either.submit(start_at=in_an_hour(either))).run
    if how == "cancel":
        await cancel(either.app.ports, run.id)
    elif how == "delete_run":
        await delete_run(either.app.ports, run.id)
    else:
        await delete_session(either.app.ports, run.request.session_id)
    await either.driver(host).wake(run.id)
    await host.pass_time(HOUR + 300)
    stopped = await either.run(run.id)
    assert (stopped.status, stopped.is_deleted) == (RunStatus.CANCELLED, how != "cancel")
    assert await either.model.creates() == []
    assert (await either.app.ports.due.get(run.id) is None) is (how == "cancel")


async def test_retention_leaves_it_alone(rig: Rig) -> None:
    await rig.model.script("s", DONE)
    run = (await rig.submit(start_at=rig.clock.now + timedelta(days=300))).run
    rig.clock.move(299 * 86_400)
    await retain(rig.app.ports, rig.driver(Hub(rig.clock.seconds)))
    assert (await rig.run(run.id)).phase == run.phase
    assert (await rig.finish(run.id)).status is RunStatus.COMPLETED


# --- the limit of active runs -------------------------------------------------------------------------


async def limited(rigs: NewRig, driver: str = "durable") -> Rig:
    rig = await rigs(driver=driver, max_active_runs=1)
    await rig.model.script("s", DONE)
    await rig.model.script("stuck", [{"stuck": True}])
    return rig


@pytest.mark.parametrize("driver", ["durable", "timer"])
async def test_it_takes_a_slot_when_it_starts_and_waits_for_one(rigs: NewRig, driver: str) -> None:
    rig = await limited(rigs, driver)
    host = Driver(rig)
    later = await rig.submit(start_at=in_an_hour(rig))
    await host.start_run(later)
    assert slots(rig) == []
    other = await rig.submit("[script:stuck]")
    await host.start_run(other)
    await host.pass_time(HOUR + 600)
    run = await rig.run(later.run.id)
    assert (run.status, run.request.slot) == (RunStatus.QUEUED, None)
    assert isinstance(run.phase, Scheduled)
    assert run.phase.refusals > 2
    await cancel(rig.app.ports, other.run.id)
    await host.pass_time(300)
    assert (await rig.run(later.run.id)).status is RunStatus.COMPLETED
    assert slots(rig) == []


async def test_two_wakes_at_once_start_it_once(rigs: NewRig) -> None:
    rig = await rigs(max_active_runs=3)
    await rig.model.script("s", DONE)
    for step in range(1, 60):
        run_id = (await rig.submit(start_at=in_an_hour(rig))).run.id
        rig.clock.move(HOUR)

        async def other(run_id: str = run_id) -> None:
            rig.tables.before = None
            await rig.wake(run_id)

        before = len(await rig.model.creates())
        with RunBefore(rig, step, other) as race:
            await rig.wake(run_id)
        run = await rig.run(run_id)
        assert [slot.values["run"] for slot in slots(rig)] == [run_id]
        assert slots(rig)[0].key == f"{run.request.slot:06}"
        await rig.finish(run_id)
        assert slots(rig) == []
        assert len(await rig.model.creates()) == before + 1
        if not race.happened:
            break
    else:
        raise AssertionError("the wake never came to its end")
    assert step > 4


async def test_a_wake_that_stood_still_starts_nothing_on_a_slot_that_is_anothers(rigs: NewRig) -> None:
    rig = await limited(rigs)
    run_id = (await rig.submit(start_at=in_an_hour(rig))).run.id
    rig.clock.move(HOUR)
    taken: list[str] = []

    async def frozen(_o: str, table: Table, partition: str | None, changes: Sequence[Change]) -> None:
        if table is Table.INDEX and str(partition).startswith("active:") and changes and not taken:
            taken.append("here")
            rig.clock.move(ABSENT_FOR.total_seconds() + 1)
            taken.append((await rig.submit("[script:stuck]")).run.id)

    rig.tables.after = frozen
    await rig.wake(run_id)
    rig.tables.after = None
    assert isinstance((await rig.run(run_id)).phase, Scheduled)
    assert [slot.values["run"] for slot in slots(rig)] == taken[1:]


@interruptions
@pytest.mark.parametrize("driver", ["durable", pytest.param("timer", marks=pytest.mark.slow)])
async def test_whatever_interrupts_its_start_it_starts_once(
    rigs: NewRig, driver: str, error: BaseException, applied: bool
) -> None:
    rig = await limited(rigs, driver)
    created = 0

    async def prepare(rig: Rig, host: Driver, key: str) -> Act:
        submitted = await rig.submit(start_at=in_an_hour(rig), idempotency_key=key)
        await host.start_run(submitted)
        rig.clock.move(HOUR)
        return lambda: rig.run_activity(submitted.run.id, host)

    async def check() -> None:
        nonlocal created
        (row,) = [row for row in rig.tables.rows(Table.RUNS) if row.key.startswith("run:")]
        run = await rig.run(f"run_{row.partition}_1")
        assert run.status is RunStatus.COMPLETED
        assert (active(rig), slots(rig)) == ([], [])
        responses = [each for each in await rig.model.responses() if each.metadata["run"] == run.id]
        # A claim whose write was not answered is waited out: its attempt is counted, and was never sent.
        assert 1 <= len(responses) <= run.turn.attempt <= 2

    assert await interrupt_each(rig, prepare, check, error=error, applied=applied, seconds=1_200) > 5


@pytest.mark.parametrize("applied", [False, True])
async def test_a_submit_for_later_that_is_cut_off_is_finished_by_its_key(rig: Rig, applied: bool) -> None:
    await rig.model.script("s", DONE)
    for step in range(1, 60):
        wanted = {"start_at": in_an_hour(rig), "idempotency_key": f"key-{step}"}
        with FailAt(rig, at=step, applied=applied, error=Killed()) as trap, contextlib.suppress(Killed):
            await rig.submit(**wanted)
        again = (await rig.submit(**wanted)).run
        assert isinstance(again.phase, Scheduled)
        assert active(rig) == [again.id]
        page = await runs_of_owner(rig.app.ports, "test", None, 1, RunFilter())
        assert [each.id for each in page.runs] == [again.id]
        assert (await rig.finish(again.id)).status is RunStatus.COMPLETED
        if not trap.sprung:
            break
    else:
        raise AssertionError("submit never came to its end")
    assert step > 5


async def test_a_key_whose_first_try_was_lost_before_it_wrote_the_run_starts_at_once_after_its_time(rig: Rig) -> None:
    await rig.model.script("s", DONE)
    wanted = {"start_at": in_an_hour(rig), "idempotency_key": "k"}
    with FailAt(rig, at=4, applied=False, error=Killed()) as trap, contextlib.suppress(Killed):
        await rig.submit(**wanted)
    assert trap.sprung
    assert active(rig) == []
    rig.clock.move(2 * HOUR)
    again = (await rig.submit(**wanted)).run
    assert again.status is RunStatus.IN_PROGRESS
    assert replace(again.request, slot=None).start_at == wanted["start_at"]
