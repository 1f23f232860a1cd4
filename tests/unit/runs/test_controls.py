"""The intake paused and the app drained, by one process and obeyed by another, a few seconds later."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from shared.drivers.retention import retain
from shared.drivers.sweep import poll
from shared.errors import IntakePaused
from shared.runs.batches.submit import submit_batch
from shared.runs.commands import operate
from shared.runs.model.batch import BatchStatus
from shared.runs.model.phases import RunningTools, RunStatus
from shared.runs.queries.watched import at_work
from shared.runs.store.controls import RETRY_AFTER_SECONDS, Drain, Intake
from shared.runs.store.tables import Change, Conflict, Kind, StoreUnavailable, Table
from tests.parts.waiting import eventually
from tests.unit.runs import batches
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.crashes import Driver
from tests.unit.runs.test_retention import NotedDriver
from tests.unit.runs.test_sweep import RecordingHub, sweep
from tests.unit.runs.test_tools import Bench, at_tools

KEY = "o" * 32
"""The operator's."""

OBEYED = 5.0
"""Seconds after which every process obeys."""

PAUSED = Intake(paused=True, reason="Back at noon.", retry_after=120)
TELL = [{"text": "Fine."}]


@pytest.fixture(params=["durable", "timer"])
async def pair(rigs: NewRig, request: pytest.FixtureRequest) -> tuple[Rig, Rig]:
    """Two processes on one store, under each driver in turn."""
    one = await rigs(driver=request.param, operator_key=KEY)
    await one.model.script("s", TELL)
    return one, await rigs(driver=request.param, operator_key=KEY)


async def drain(rig: Rig, *, draining: bool = True) -> None:
    await operate.set_drain(rig.app.ports, draining=draining)


async def refused(act: Callable[[], Awaitable[Any]]) -> IntakePaused:
    """What a submit is refused with."""
    with pytest.raises(IntakePaused) as caught:
        await act()
    return caught.value


async def asked(rig: Rig) -> Counter[str]:
    """What the provider was asked, by kind."""
    return Counter(entry.operation for entry in await rig.model.log())


# --- the intake -----------------------------------------------------------------------------------------


async def test_a_paused_intake_takes_nothing_new_and_what_is_here_goes_on(pair: tuple[Rig, Rig]) -> None:
    one, other = pair
    before = await other.start("[script:s]", idempotency_key="before")
    await operate.set_intake(one.app.ports, PAUSED)
    one.clock.move(OBEYED)
    for rig in pair:
        error = await refused(lambda rig=rig: rig.start(idempotency_key="new"))  # type: ignore[misc]
        assert (error.code, error.status, error.headers) == ("intake_paused", 503, {"Retry-After": "120"})
        assert "(Back at noon.)" in error.message
        assert await rig.start("[script:s]", idempotency_key="before") == before, "a known key has its run"
    assert (await other.follow(before)).status is RunStatus.COMPLETED
    assert await other.start("[script:s]", idempotency_key="before") == before
    session = before.split("_")[1]
    await refused(lambda: other.start(session_id=session))
    await operate.set_intake(other.app.ports, Intake())
    one.clock.move(OBEYED)
    assert (await one.run_to_end("[script:s]", idempotency_key="new")).status is RunStatus.COMPLETED


async def test_a_refused_submit_leaves_nothing(pair: tuple[Rig, Rig]) -> None:
    one, _ = pair
    await operate.set_intake(one.app.ports, PAUSED)
    before = {table: one.tables.rows(table) for table in Table}
    await refused(lambda: one.start(idempotency_key="k"))
    await refused(lambda: batches.submit(one, "[script:s]", key="k"))
    assert {table: one.tables.rows(table) for table in Table} == before


async def test_a_batch_that_was_taken_goes_on_while_the_intake_is_paused(pair: tuple[Rig, Rig]) -> None:
    one, other = pair
    wanted = batches.asked("[script:s]", "[script:s]", "[script:s]", concurrency=1, key="k")
    host = Driver(other)
    submitted = await submit_batch(other.app.ports, wanted)
    await host.start_batch(submitted)
    await operate.set_intake(one.app.ports, PAUSED)
    await host.pass_time(600)
    found = await batches.load(other, submitted.batch.id)
    assert (found.status, found.progress.completed) == (BatchStatus.COMPLETED, 3)
    assert (await submit_batch(other.app.ports, wanted)).batch.id == found.id, "a known key has its batch"
    await refused(lambda: batches.submit(other, "[script:s]"))


async def test_a_process_obeys_within_seconds_and_one_that_starts_at_once(rigs: NewRig) -> None:
    one, other = await rigs(operator_key=KEY), await rigs(operator_key=KEY)
    await one.model.script("s", TELL)
    await other.start()  # it has just read that nothing is paused
    await operate.set_intake(one.app.ports, Intake(paused=True))
    await refused(one.start)
    await other.start()
    one.clock.move(3)
    assert (await refused(other.start)).headers == {"Retry-After": str(RETRY_AFTER_SECONDS)}
    await refused((await rigs(operator_key=KEY)).start)


async def test_of_two_operators_at_once_one_is_told_to_look_again(pair: tuple[Rig, Rig]) -> None:
    one, other = pair
    told = await asyncio.gather(
        operate.set_intake(one.app.ports, PAUSED),
        operate.set_intake(other.app.ports, Intake(paused=True, reason="Mine.")),
        return_exceptions=True,
    )
    assert {type(each) for each in told} == {Intake, Conflict}
    one.clock.move(OBEYED)
    assert len({(await refused(rig.start)).message for rig in pair}) == 1
    await operate.set_intake(other.app.ports, Intake())
    one.clock.move(OBEYED)
    for rig in pair:
        assert await rig.start()


async def test_a_request_that_was_held_up_undoes_nothing_that_was_said_since(pair: tuple[Rig, Rig]) -> None:
    one, other = pair
    await drain(one, draining=True)

    async def meanwhile(operation: str, _t: Table, partition: str | None, _c: Sequence[Change]) -> None:
        if operation == "commit" and partition == "controls":
            one.tables.before = None
            await drain(other, draining=False)
            await drain(other, draining=True)

    one.tables.before = meanwhile
    with pytest.raises(Conflict):
        await drain(one, draining=False)
    assert (await one.app.ports.controls.read_drain()).draining


async def test_the_same_again_changes_nothing_but_refuses_what_was_held_up(rigs: NewRig) -> None:
    rig = await rigs(operator_key=KEY)
    await operate.set_intake(rig.app.ports, PAUSED)
    await drain(rig)
    values, began = [row.values for row in rig.tables.rows(Table.INDEX)], rig.clock.now
    held_up = await rig.app.ports.controls.read_drain()
    rig.clock.move(60)
    assert (await operate.set_intake(rig.app.ports, PAUSED)).since == began
    assert (await operate.set_drain(rig.app.ports, draining=True)).since == began
    assert [row.values for row in rig.tables.rows(Table.INDEX)] == values
    with pytest.raises(Conflict):
        await rig.app.ports.controls.set_drain(replace(held_up, draining=False), rig.clock.now)


async def test_a_drain_that_is_still_on_its_way_does_not_begin_after_its_end(pair: tuple[Rig, Rig]) -> None:
    """As random histories had it: the end found nothing to end, and then the beginning arrived."""
    one, other = pair

    async def meanwhile(operation: str, _t: Table, partition: str | None, _c: Sequence[Change]) -> None:
        if operation == "commit" and partition == "controls":
            one.tables.before = None
            await drain(other, draining=False)

    one.tables.before = meanwhile
    with pytest.raises(Conflict):
        await drain(one, draining=True)
    assert not (await one.app.ports.controls.read_drain()).draining


# --- the drain ------------------------------------------------------------------------------------------


async def test_while_the_app_drains_nothing_begins_and_then_all_goes_on_by_itself(pair: tuple[Rig, Rig]) -> None:
    one, other = pair
    host = Driver(other)
    submitted = await other.submit()
    await host.start_run(submitted)
    batch = await submit_batch(other.app.ports, batches.asked("[script:s]", "[script:s]", concurrency=1))
    await host.start_batch(batch)
    await drain(one)
    before, rows = await asked(one), len(one.tables.rows(Table.RUNS))
    await host.pass_time(600)
    assert (await asked(one), len(one.tables.rows(Table.RUNS))) == (before, rows)
    assert await sweep(other) == {}
    assert not await retain(other.app.ports, other.driver(NotedDriver(other)))
    await refused(other.start)
    await refused(lambda: batches.submit(other, "[script:s]"))
    await drain(one, draining=False)
    await host.pass_time(60)
    assert (await other.run(submitted.run.id)).status is RunStatus.COMPLETED
    await host.pass_time(120)
    assert (await batches.load(other, batch.batch.id)).progress.completed == 2


async def test_tools_at_work_end_and_nothing_follows_until_the_end_of_the_drain(rigs: NewRig) -> None:
    bench = Bench()
    rig = await rigs(factories=[bench.factory()], operator_key=KEY)
    run_id = await at_tools(rig, ("wait", {"label": "a"}))
    working = asyncio.create_task(rig.run_activity(run_id))
    await eventually(lambda: bench.starts)
    await drain(rig)
    rig.clock.move(40)
    found = await at_work(rig.app.ports)
    assert (found.runs, found.is_drained, found.is_complete) == ([run_id], False, True)
    bench.released.set()
    assert (await working).wake_in == 0
    assert (await at_work(rig.app.ports)).is_drained
    before = await asked(rig)
    assert (await rig.run_activity(run_id)).wake_in == 30
    assert (await rig.run(run_id)).turn.number == 2
    assert await asked(rig) == before
    await drain(rig, draining=False)
    assert (await rig.follow(run_id)).status is RunStatus.COMPLETED
    assert len(bench.starts) == 1, "no tool ran twice"


async def test_a_claim_is_at_work_until_it_has_run_out(rigs: NewRig) -> None:
    rig = await rigs(operator_key=KEY)
    await rig.model.script("s", [{"faults": {"create": [{"hang": 60.0}]}, "text": "Fine."}])
    submitting = asyncio.create_task(rig.submit())
    await eventually(lambda: rig.tables.rows(Table.RUNS))
    await drain(rig)
    assert len((await at_work(rig.app.ports)).runs) == 1
    rig.clock.move(rig.app.settings.create_claim + 1)
    assert (await at_work(rig.app.ports)).is_drained
    submitting.cancel()
    await asyncio.gather(submitting, return_exceptions=True)


async def test_it_is_drained_only_once_every_process_can_have_heard_of_it(rigs: NewRig) -> None:
    rig = await rigs(operator_key=KEY)
    assert not (await at_work(rig.app.ports)).is_drained, "it does not drain"
    await drain(rig)
    assert not (await at_work(rig.app.ports)).is_drained
    rig.clock.move(30)
    assert (await at_work(rig.app.ports)).is_drained


async def test_a_key_that_is_sent_again_creates_nothing_while_the_app_drains(rigs: NewRig) -> None:
    rig, other = await rigs(operator_key=KEY), await rigs(operator_key=KEY)
    await rig.model.script("s", TELL)
    # As a new worker, which leaves the create to a wake.
    cold = replace(rig.app, ports=replace(rig.app.ports, can_create=lambda: False))
    run_id = await replace(rig, app=cold).start("[script:s]", idempotency_key="k")
    await drain(other)
    rig.clock.move(OBEYED)
    assert await rig.start("[script:s]", idempotency_key="k") == run_id
    assert await asked(rig) == Counter()
    await drain(other, draining=False)
    rig.clock.move(OBEYED)
    assert await rig.start("[script:s]", idempotency_key="k") == run_id
    assert await asked(rig) == Counter({"create": 1})


async def test_a_key_whose_run_was_never_written_is_a_new_run(rigs: NewRig) -> None:
    rig = await rigs(operator_key=KEY)

    async def away(operation: str, table: Table, _p: str | None, _c: Sequence[Change]) -> None:
        if operation == "commit" and table is Table.RUNS:
            raise StoreUnavailable("away")

    rig.tables.before = away
    with pytest.raises(StoreUnavailable):
        await rig.start("[script:s]", idempotency_key="k")
    rig.tables.before = None
    await operate.set_intake(rig.app.ports, PAUSED)
    await refused(lambda: rig.start("[script:s]", idempotency_key="k"))


async def test_what_a_sweep_or_a_piece_has_not_begun_when_the_drain_does_stays_due(rigs: NewRig) -> None:
    rig = await rigs(driver="timer", operator_key=KEY)
    await rig.model.script("s", [{"text": "Fine.", "think": 30}])
    runs = [(await rig.submit()).run.id for _ in range(3)]
    for run_id in runs:
        row = await rig.app.ports.due.get(run_id)
        assert row is not None
        await rig.app.ports.due.set_due(row, rig.clock.now, rig.clock.now)
    real = rig.app.ports.due.due

    async def due_and_then_drained(now: datetime, limit: int) -> Any:
        found = await real(now, limit)
        await drain(rig)
        return found

    rig.app.ports.due.due = due_and_then_drained  # type: ignore[method-assign]
    before = await asked(rig)
    assert await sweep(rig) == {"draining": 3}
    first, *_ = due = await real(rig.clock.now, 10)
    assert len(due) == 3
    await rig.app.ports.due.set_all([first.handed_out("polls-1", rig.clock.now, rig.clock.now)])
    piece = {"handed_to": "polls-1", "partition": first.partition, "first": first.run_id, "last": first.run_id}
    assert await poll(rig.app.ports, rig.driver(RecordingHub()), piece) == {"draining": 1}
    assert await asked(rig) == before


async def test_what_a_drain_has_held_up_is_not_overdue_when_it_ends(rigs: NewRig) -> None:
    rig = await rigs(operator_key=KEY)
    await rig.model.script("s", TELL)
    run_id = await rig.start()
    await drain(rig)
    rig.clock.move(3_600)
    await drain(rig, draining=False)
    assert await sweep(rig) == {"in_time": 1}
    rig.clock.move(rig.app.settings.overdue + 1)
    assert await sweep(rig) == {"overdue": 1}, "its orchestration is lost"
    row = await rig.app.ports.due.get(run_id)
    assert row is not None
    assert row.overdue_sweeps == 1


# --- what a process reads -------------------------------------------------------------------------------


class Reads:
    """Counts how often the rows of the operator are read; while ``away`` they cannot be."""

    def __init__(self, rig: Rig) -> None:
        self.count, self.away = 0, False
        rig.tables.before = self._before

    async def _before(self, operation: str, table: Table, partition: str | None, _c: Sequence[Change]) -> None:
        if table is Table.INDEX and partition == "controls" and operation == "get":
            self.count += 1
            if self.away:
                raise StoreUnavailable("away")


async def test_an_app_without_an_operator_reads_nothing(rigs: NewRig) -> None:
    other = await rigs(operator_key=KEY)
    await drain(other)
    rig = await rigs()
    await rig.model.script("s", TELL)
    reads = Reads(rig)
    run_id = await rig.start()
    await rig.run_activity(run_id)
    await sweep(rig)
    await retain(rig.app.ports, rig.driver(NotedDriver(rig)))
    assert reads.count == 0
    assert (await rig.follow(run_id)).status is RunStatus.COMPLETED, "a drain ends with the operator's key"


async def test_a_process_reads_each_row_once_in_three_seconds_whoever_asks(rigs: NewRig) -> None:
    rig = await rigs(operator_key=KEY)
    await rig.model.script("s", TELL)
    reads = Reads(rig)
    runs = await asyncio.gather(*(rig.start() for _ in range(5)))
    assert reads.count == 2
    for run_id in runs:
        await rig.run_activity(run_id)
    assert reads.count == 2
    rig.clock.move(3)
    await asyncio.gather(*(rig.run_activity(run_id) for run_id in runs))
    assert reads.count == 3, "a wake asks for the drain alone"


async def test_while_the_rows_cannot_be_read_the_last_known_counts(rigs: NewRig) -> None:
    rig = await rigs(operator_key=KEY)
    await rig.model.script("s", TELL)
    run_id = await rig.start()
    reads = Reads(rig)
    reads.away = True
    rig.clock.move(60)
    assert (await rig.run_activity(run_id)).status is RunStatus.COMPLETED
    assert await rig.start()
    reads.away = False
    await drain(rig)
    reads.away = True
    rig.clock.move(60)
    assert (await rig.run_activity(run_id)).wake_in == 30
    await refused(rig.start)
    fresh = await rigs(operator_key=KEY)
    for act in (fresh.start, lambda: fresh.run_activity(run_id), lambda: sweep(fresh)):
        with pytest.raises(StoreUnavailable):  # nobody knows whether it may begin anything
            await act()


async def test_what_a_process_writes_while_it_reads_is_what_it_knows(rigs: NewRig) -> None:
    rig = await rigs(operator_key=KEY)
    controls = rig.app.ports.controls

    async def written_meanwhile(operation: str, _t: Table, partition: str | None, _c: Sequence[Change]) -> None:
        if operation == "get" and partition == "controls":
            rig.tables.after = None
            await controls.set_drain(Drain(draining=True), rig.clock.now)

    rig.tables.after = written_meanwhile
    assert await controls.is_draining(rig.clock.now)
    assert await controls.is_draining(rig.clock.now)


@pytest.mark.parametrize(
    "spoilt",
    [
        None,
        {},
        {"paused": "yes", "draining": 1, "since": "noon"},
        {"paused": False, "draining": False, "since": -1.5},
        {"paused": False, "draining": False, "since": 1e300},
        {"paused": False, "draining": False, "since": float("nan")},
    ],
)
async def test_a_row_that_is_gone_or_spoilt_stops_nothing(rigs: NewRig, spoilt: dict[str, Any] | None) -> None:
    rig = await rigs(operator_key=KEY)
    await rig.model.script("s", TELL)
    await operate.set_intake(rig.app.ports, PAUSED)
    await drain(rig)
    for row in rig.tables.rows(Table.INDEX, "controls"):
        change = Change(kind=Kind.DELETE, key=row.key, etag=row.etag)
        await rig.tables.commit(Table.INDEX, "controls", [change])
        if spoilt is not None:
            await rig.tables.commit(Table.INDEX, "controls", [Change(kind=Kind.INSERT, key=row.key, values=spoilt)])
    rig.clock.move(OBEYED)
    await operate.set_intake(rig.app.ports, Intake())
    run_id = await rig.start()
    rig.clock.move(2 * rig.app.settings.overdue)
    assert await sweep(rig) == {"overdue": 1}
    assert (await rig.follow(run_id)).status is RunStatus.COMPLETED
    assert not (await at_work(rig.app.ports)).drain.draining


async def test_the_end_of_a_drain_that_is_still_to_come_puts_off_nothing(rigs: NewRig) -> None:
    rig = await rigs(operator_key=KEY)
    await rig.model.script("s", TELL)
    await rig.start()
    values = {"draining": False, "since": rig.clock.seconds() + 1e6}
    await rig.tables.commit(Table.INDEX, "controls", [Change(kind=Kind.INSERT, key="drain", values=values)])
    rig.clock.move(2 * rig.app.settings.overdue)
    assert await sweep(rig) == {"overdue": 1}, "somebody's clock is wrong, or the row is spoilt"


async def test_a_reason_is_sealed_with_the_other_texts(rigs: NewRig) -> None:
    rig = await rigs(operator_key=KEY, encryption_key="local:MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE=")
    await operate.set_intake(rig.app.ports, PAUSED)
    (row,) = rig.tables.rows(Table.INDEX, "controls")
    assert isinstance(row.values["reason"], bytes)
    rig.clock.move(OBEYED)
    assert "(Back at noon.)" in (await refused(rig.start)).message


async def test_a_wake_that_began_before_the_drain_does_no_more_than_what_it_is_at(rigs: NewRig) -> None:
    rig = await rigs(operator_key=KEY)
    call = {"name": "work", "arguments": {"label": "a"}}
    await rig.model.script("s", [{"think": 0, "calls": [call]}, {"text": "Fine."}])
    run_id = await rig.start()
    real = rig.app.ports.controls.is_draining
    asks = 0

    async def from_the_second_on(now: datetime) -> bool:
        nonlocal asks
        asks += 1
        return asks > 1 or await real(now)

    rig.app.ports.controls.is_draining = from_the_second_on  # type: ignore[method-assign]
    rig.clock.move(5)
    assert (await rig.run_activity(run_id)).wake_in == 0
    assert isinstance((await rig.run(run_id)).phase, RunningTools), "it has looked, and begun no tool"
