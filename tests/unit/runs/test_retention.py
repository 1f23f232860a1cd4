"""Retention in the large: it goes on where it was cut off, and looks at nothing that only waits."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from shared.drivers import retention
from shared.drivers.retention import retain
from shared.runs.commands.delete import delete_session, expire
from shared.runs.model.ids import due_row_of, run_id
from shared.runs.model.phases import Ended, RunStatus
from shared.runs.model.session import Session
from shared.runs.ports import Ports
from shared.runs.store.runs import TOGETHER, SessionChange
from shared.runs.store.tables import Change, Table
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.crashes import Driver

DAY = 86_400.0


class NotedDriver(Driver):
    """A host that counts how often it is signalled, and has no histories."""

    def __init__(self, rig: Rig) -> None:
        super().__init__(rig)
        self.signals: Counter[str] = Counter()

    async def wake(self, run: str) -> None:
        self.signals[run] += 1
        await super().wake(run)

    async def start_step(self, run: str) -> bool:
        self.signals[run] += 1
        return await super().start_step(run)

    async def purge_before(self, _moment: object) -> int:
        return 0


async def retained(rig: Rig, host: Driver | None = None) -> Counter[str]:
    return await retain(rig.app.ports, rig.driver(host or NotedDriver(rig)))


async def a_session(rig: Rig, runs: int = 1) -> str:
    """A session of so many completed runs, none of which the provider knows."""
    await rig.model.script("s", [{"text": "Fine."}])
    first = await rig.run_to_end()
    store = rig.app.ports.runs
    for number in range(2, runs + 1):
        session = await store.load_session(first.request.session_id)
        assert session is not None
        after = replace(session.value, next_number=number + 1)
        numbered = replace(first, request=replace(first.request, number=number))
        await store.create(numbered, SessionChange(before=session, after=after), "[]")
    return first.request.session_id


async def sessions(rig: Rig) -> list[Session]:
    rows = [row.partition for row in rig.tables.rows(Table.RUNS) if row.key == "session"]
    found = [await rig.app.ports.runs.load_session(each) for each in rows]
    return [each.value for each in found if each is not None]


async def test_what_only_waits_for_its_removal_is_not_looked_at(rigs: NewRig) -> None:
    rig = await rigs(retention=DAY)
    session_id = await a_session(rig, 5)
    rig.clock.move(2 * DAY)
    host = NotedDriver(rig)
    assert (await retained(rig, host))["runs"] == 5
    await host.pass_time(600)
    host.signals.clear()
    touched: list[tuple[str, str | None]] = []

    async def note(operation: str, _t: Table, partition: str | None, _c: Sequence[Change]) -> None:
        if partition in (session_id, session_id[-1]):
            touched.append((operation, partition))

    rig.tables.before = note
    for _ in range(40):
        rig.clock.move(3_600)
        await retained(rig, host)
    assert (touched, host.signals) == ([], Counter())
    rig.tables.before = None
    rig.clock.move(9 * 3_600)
    await host.pass_time(4_500)
    assert rig.tables.rows(Table.RUNS) == []
    assert rig.tables.rows(Table.DUE) == []


async def test_a_pass_that_is_cut_off_is_gone_on_with_where_it_was(
    rigs: NewRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where all that it has looked at is there to be looked at again, as what fails is."""
    monkeypatch.setattr(retention, "PAGE", 2)
    rig = await rigs(retention=DAY, sweep_limit=0.5, sweep_concurrency=1)
    every = sorted([await a_session(rig) for _ in range(9)])
    rig.clock.move(2 * DAY)
    looked: list[str] = []
    hangs = True

    async def slow(_: Ports, session: Session, _idle: timedelta) -> list[str]:
        if hangs and len(looked) == 4:
            await asyncio.sleep(3_600)
        looked.append(session.session_id)
        return []

    monkeypatch.setattr(retention, "expire", slow)
    assert (await retained(rig))["cut_off"] == 1
    assert looked == every[:4]
    hangs = False
    assert (await retained(rig))["cut_off"] == 0
    assert looked == every
    await retained(rig)
    assert looked == every * 2, "and then from the beginning"


async def test_many_sessions_are_handled_at_once_but_not_all(rigs: NewRig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = await rigs(retention=DAY, sweep_concurrency=4)
    for _ in range(12):
        await a_session(rig)
    rig.clock.move(2 * DAY)
    now = most = 0

    async def counted(ports: Ports, session: Session, idle: timedelta) -> list[str]:
        nonlocal now, most
        now += 1
        most = max(most, now)
        try:
            return await expire(ports, session, idle)
        finally:
            now -= 1

    monkeypatch.setattr(retention, "expire", counted)
    assert (await retained(rig))["sessions"] == 12
    assert most == 4


async def test_keys_that_cannot_all_go_in_time_keep_no_session(rigs: NewRig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = await rigs(retention=DAY, sweep_limit=0.5)
    session_id = await a_session(rig)
    await rig.start(idempotency_key="k")
    rig.clock.move(2 * DAY)

    async def for_ever(_row: object) -> None:
        await asyncio.sleep(3_600)

    monkeypatch.setattr(rig.app.ports.index, "remove", for_ever)
    assert (await retained(rig))["cut_off"] == 1
    assert [each.session_id for each in await sessions(rig) if each.deleted_at is not None] == [session_id]


async def test_two_retentions_at_once_do_no_harm_and_log_no_error(
    rigs: NewRig, caplog: pytest.LogCaptureFixture
) -> None:
    rig, other = await rigs(retention=DAY), await rigs(retention=DAY)
    for _ in range(5):
        await a_session(rig, 3)
    rig.clock.move(2 * DAY)
    host = NotedDriver(rig)
    counts = await asyncio.gather(*(retained(each, host) for each in (rig, other, rig, other)))
    assert sum(each["failed"] for each in counts) == 0
    await host.pass_time(600)
    rig.clock.move(2 * DAY)
    await asyncio.gather(host.pass_time(4_500), *(retained(each, host) for each in (rig, other)))
    assert rig.tables.rows(Table.RUNS) == []
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_who_lost_all_races_for_a_session_logs_no_error(
    rigs: NewRig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rig = await rigs(retention=DAY)
    session_id = await a_session(rig)
    rig.clock.move(2 * DAY)

    async def used_again(operation: str, table: Table, _p: str | None, changes: Sequence[Change]) -> None:
        if operation == "commit" and table is Table.RUNS and len(changes) > 1:
            stored = await rig.app.ports.runs.load_session(session_id)
            assert stored is not None
            touched = replace(stored.value, last_activity=stored.value.last_activity + timedelta(seconds=1))
            await rig.app.ports.runs.save_session(SessionChange(before=stored, after=touched))

    rig.tables.before = used_again
    assert (await retained(rig))["raced"] == 1
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.slow
@pytest.mark.parametrize("driver", ["durable", "timer"])
async def test_a_session_of_very_many_runs_is_deleted_in_pieces_within_minutes(rigs: NewRig, driver: str) -> None:
    rig = await rigs(driver=driver)
    runs = 2 * TOGETHER + 20
    session_id = await a_session(rig, runs)
    host = NotedDriver(rig)
    ids = await delete_session(rig.app.ports, session_id)
    assert ids == [*(run_id(session_id, number) for number in range(1, TOGETHER + 1)), due_row_of(session_id)]
    for each in ids:
        await rig.driver(host).wake(each)
    await host.pass_time(120)
    deleted = [await rig.run(run_id(session_id, number)) for number in range(1, runs + 1)]
    assert all(run.is_deleted for run in deleted)
    await host.pass_time(300)
    keys = {row.key for row in rig.tables.rows(Table.RUNS)}
    assert keys == {"session", *(f"run:{number:08}" for number in range(1, runs + 1))}, "tombstones, and no more"
    rig.clock.move(2 * DAY)
    await host.pass_time(4_500)
    assert rig.tables.rows(Table.RUNS) == []
    assert rig.tables.rows(Table.DUE) == []


async def test_an_active_run_far_behind_is_cancelled_with_its_session(rig: Rig) -> None:
    session_id = await a_session(rig, TOGETHER + 5)
    await rig.model.script("s", [{"stuck": True}])
    active = await rig.start(session_id=session_id)
    await delete_session(rig.app.ports, session_id)
    run = await rig.run(active)
    assert run.phase == Ended(status=RunStatus.CANCELLED, completed_at=rig.clock.now, deleted_at=rig.clock.now)
    assert not run.is_done


async def test_a_deleted_session_without_a_due_row_is_found_and_finished(rig: Rig) -> None:
    session_id = await a_session(rig, TOGETHER + 5)
    await delete_session(rig.app.ports, session_id)
    watch = rig.app.ports.due
    due = await watch.get(due_row_of(session_id))
    assert due is not None
    assert await watch.remove(due, rig.clock.move(60))
    rig.clock.move(2 * 3_600)
    host = NotedDriver(rig)
    await retained(rig, host)
    await host.pass_time(300)
    (session,) = await sessions(rig)
    assert session.emptied
    rig.clock.move(2 * DAY)
    await host.pass_time(4_500)
    assert rig.tables.rows(Table.RUNS) == []


async def test_a_session_row_outlives_the_runs_whose_copies_cannot_be_deleted(rig: Rig) -> None:
    session_id = await a_session(rig)
    await rig.model.switches(faults={"delete": [{"status": 500, "times": -1}]})
    host = NotedDriver(rig)
    for each in await delete_session(rig.app.ports, session_id):
        await rig.driver(host).wake(each)
    for _ in range(4):
        rig.clock.move(DAY)
        await host.pass_time(600)
    assert [each.session_id for each in await sessions(rig)] == [session_id]
    await rig.model.switches(faults={})
    rig.clock.move(3_600)
    await host.pass_time(7_200)
    assert rig.tables.rows(Table.RUNS) == []


async def test_a_session_that_was_announced_and_not_deleted_lives_on(rig: Rig) -> None:
    session_id = await a_session(rig)
    await rig.app.ports.due.announce(due_row_of(session_id), rig.clock.now)
    host = NotedDriver(rig)
    await host.pass_time(300)
    assert await rig.app.ports.due.get(due_row_of(session_id)) is None
    assert [each.deleted_at for each in await sessions(rig)] == [None]
