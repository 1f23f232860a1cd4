"""Schedules: each occurrence is one run, whoever else is at it, and whoever dies on the way."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from local.backup.copying import back_up, restore
from shared import errors
from shared.agentkit.schedules import OwnSchedule, schedule, schedules_of
from shared.api.native import ops
from shared.drivers.sweep import sweep
from shared.runs.commands.cancel import cancel
from shared.runs.commands.delete import delete_run
from shared.runs.commands.operate import set_intake
from shared.runs.commands.submission import Submission
from shared.runs.model.ids import is_schedule_id
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import Run
from shared.runs.model.schedules import Missed, RunSchedule, run_of_occurrence
from shared.runs.schedules import change
from shared.runs.schedules.change import Timing, change_schedule, create_schedule, delete_schedule
from shared.runs.schedules.own import own_id
from shared.runs.store.controls import Intake
from shared.runs.store.rows import decode
from shared.runs.store.tables import Table
from tests.unit.api.conftest import content, request
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.crashes import Act, Driver, RunBefore, interrupt_each, interruptions

HOURLY = Timing(cron="0 * * * *")
ASKED = ({"type": "message", "role": "user", "content": "[script:s] each hour"},)


def wanted(**fields: Any) -> Submission:
    return Submission(**{"owner": "test", "agent": "workshop", "items": ASKED, **fields})


async def make(rig: Rig, timing: Timing = HOURLY, **fields: Any) -> RunSchedule:
    return await create_schedule(rig.app.ports, wanted(**fields), timing)


async def stored(rig: Rig, schedule_id: str, owner: str = "test") -> RunSchedule:
    found = await rig.app.ports.schedules.load(owner, schedule_id)
    assert found is not None
    return found.value


def runs(rig: Rig) -> dict[str, Run]:
    found = [decode(Run, row.values) for row in rig.tables.rows(Table.RUNS) if row.key.startswith("run:")]
    return {run.id: run for run in found}


def hour(rig: Rig, hours: int = 1) -> datetime:
    """The first full hours from now on."""
    return rig.clock.now.replace(minute=0, second=0) + timedelta(hours=hours)


@pytest.fixture(params=["durable", "timer"])
async def either(rigs: NewRig, request: pytest.FixtureRequest) -> Rig:
    """A process under each driver in turn."""
    rig = await rigs(driver=request.param)
    await rig.model.script("s", [{"text": "Done."}])
    return rig


async def test_each_time_becomes_one_ordinary_run(either: Rig) -> None:
    made = await make(either, metadata={"k": "v"}, title="Hourly", deadline_seconds=600.0)
    assert is_schedule_id(made.id)
    assert made.next_at == hour(either)
    times = [hour(either, each) for each in (1, 2, 3)]
    await Driver(either).pass_time(3 * 3_600 + 300)
    found = runs(either)
    assert set(found) == {run_of_occurrence(made.id, at) for at in times}
    assert {run.status for run in found.values()} == {RunStatus.COMPLETED}
    assert {(run.request.title, run.request.metadata["k"], run.request.owner) for run in found.values()} == {
        ("Hourly", "v", "test")
    }
    now = await stored(either, made.id)
    assert (now.last_at, now.last_run, now.next_at) == (times[2], run_of_occurrence(made.id, times[2]), hour(either))


async def test_a_key_makes_one_schedule(rig: Rig) -> None:
    first = await make(rig, idempotency_key="k")
    assert (await make(rig, idempotency_key="k")) == first
    with pytest.raises(errors.IdempotencyKeyReused):
        await make(rig, Timing(cron="1 * * * *"), idempotency_key="k")
    assert (await make(rig)).id != first.id


async def test_an_owner_has_so_many_and_no_more(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change, "MOST_OF_AN_OWNER", 2)
    for key in ("a", "b"):
        await make(rig, idempotency_key=key)
    with pytest.raises(errors.TooManySchedules):
        await make(rig)
    await make(rig, idempotency_key="b")
    assert (await make(rig, owner="ann")).owner == "ann"


async def test_an_agent_s_own_that_cannot_be_made_stops_no_sweep(either: Rig) -> None:
    rig = with_own(either, replace(OWN, owner="x" * 40_000))
    run_id = await rig.start()
    host = Driver(rig)
    await host.pass_time(600)
    assert (await rig.run(run_id)).status is RunStatus.COMPLETED


@pytest.mark.parametrize(
    ("timing", "fields", "error", "said"),
    [
        (Timing(cron="every hour"), {}, errors.InvalidRequest, "`cron`"),
        (Timing(cron="0 * * * *", time_zone="Mars"), {}, errors.InvalidRequest, "`time_zone`"),
        (HOURLY, {"agent": "nobody"}, errors.UnknownAgent, "nobody"),
        (HOURLY, {"turns": 10_000}, errors.InvalidRequest, "turns"),
        (HOURLY, {"callback_url": "https://example.com"}, errors.CallbacksDisabled, ""),
        (HOURLY, {"items": ({"type": "message", "role": "user", "content": "x" * 50_000},)}, errors.InputTooLarge, ""),
    ],
)
async def test_what_could_never_run_is_refused(
    rig: Rig, timing: Timing, fields: dict[str, Any], error: type[errors.DormouseError], said: str
) -> None:
    with pytest.raises(error, match=said or r"."):
        await make(rig, timing, **fields)
    assert rig.tables.rows(Table.INDEX) == []


async def test_two_wakes_at_once_begin_one_run(rig: Rig) -> None:
    await rig.model.script("s", [{"text": "Done."}])
    for step in range(1, 80):
        made = await make(rig)
        rig.clock.move((hour(rig) - rig.clock.now).total_seconds())

        async def other(schedule_id: str = made.id) -> None:
            rig.tables.before = None
            await rig.run_activity(schedule_id, Driver(rig))

        before, at = set(runs(rig)), rig.clock.now
        with RunBefore(rig, step, other) as race:
            await rig.run_activity(made.id, Driver(rig))
        assert set(runs(rig)) - before == {run_of_occurrence(made.id, at)}
        assert (await stored(rig, made.id)).next_at == at + timedelta(hours=1)
        await delete_schedule(rig.app.ports, "test", made.id)
        if not race.happened:
            break
    else:
        raise AssertionError("the wake never came to its end")
    assert step > 8


@interruptions
@pytest.mark.parametrize("driver", ["durable", pytest.param("timer", marks=pytest.mark.slow)])
async def test_whatever_interrupts_a_wake_its_occurrence_is_one_run(
    rigs: NewRig, driver: str, error: BaseException, applied: bool
) -> None:
    rig = await rigs(driver=driver)
    await rig.model.script("s", [{"text": "Done."}])
    now: dict[str, Any] = {}

    async def prepare(rig: Rig, host: Driver, key: str) -> Act:
        made = await make(rig, idempotency_key=key)
        rig.clock.move((hour(rig) - rig.clock.now).total_seconds())
        now["run"] = run_of_occurrence(made.id, rig.clock.now)
        return lambda: rig.run_activity(made.id, host)

    async def check() -> None:
        assert list(runs(rig)) == [now["run"]]
        assert runs(rig)[now["run"]].status is RunStatus.COMPLETED

    assert await interrupt_each(rig, prepare, check, error=error, applied=applied, seconds=1_500) > 8


async def test_what_is_refused_is_tried_again_and_told(rigs: NewRig) -> None:
    rig = await rigs(max_active_runs=1)
    await rig.model.script("s", [{"text": "Done."}])
    await rig.model.script("stuck", [{"stuck": True}])
    host = Driver(rig)
    made, at = await make(rig), hour(rig)
    other = await rig.submit("[script:stuck]", deadline_seconds=86_400)
    await host.start_run(other)
    await host.pass_time(3_600 + 900)
    refused = await stored(rig, made.id)
    assert (refused.next_at, refused.last_at, refused.last_error) == (at, at, "too_many_active_runs")
    assert refused.tries > 3
    await cancel(rig.app.ports, other.run.id)
    await host.pass_time(600)
    done = await stored(rig, made.id)
    assert (done.last_error, done.tries, done.last_run) == ("", 0, run_of_occurrence(made.id, at))


async def test_while_the_intake_is_paused_its_time_waits(rigs: NewRig) -> None:
    rig = await rigs(operator_key="o" * 32)
    await rig.model.script("s", [{"text": "Done."}])
    made, host = await make(rig), Driver(rig)
    await set_intake(rig.app.ports, Intake(paused=True))
    await host.pass_time(3_600 + 300)
    assert runs(rig) == {}
    assert (await stored(rig, made.id)).last_error == "intake_paused"
    await set_intake(rig.app.ports, Intake(paused=False))
    await host.pass_time(900)
    assert len(runs(rig)) == 1


@pytest.mark.parametrize(("missed", "count"), [(Missed.SKIP, 0), (Missed.ONCE, 1)])
async def test_after_an_outage_over_several_times(either: Rig, missed: Missed, count: int) -> None:
    made = await make(either, replace(HOURLY, missed=missed))
    either.clock.move(5 * 3_600 + 1_800)
    await Driver(either).pass_time(600)
    assert len(runs(either)) == count
    assert (await stored(either, made.id)).next_at == hour(either)


@pytest.mark.parametrize("how", ["pause", "delete"])
async def test_one_that_is_paused_or_deleted_begins_nothing(either: Rig, how: str) -> None:
    made = await make(either)
    if how == "delete":
        await delete_schedule(either.app.ports, "test", made.id)
        with pytest.raises(errors.ScheduleNotFound):
            await delete_schedule(either.app.ports, "test", made.id)
    else:
        await change_schedule(either.app.ports, "test", made.id, Timing(paused=True))
    await Driver(either).pass_time(3 * 3_600)
    assert runs(either) == {}
    assert either.tables.rows(Table.DUE) == []
    if how == "pause":
        again = await change_schedule(either.app.ports, "test", made.id, Timing(paused=False))
        assert again.next_at == hour(either), "no time that has passed counts"
        await Driver(either).pass_time(3_600 + 300)
        assert len(runs(either)) == 1


async def test_a_change_while_an_occurrence_is_due_counts_from_then_on(either: Rig) -> None:
    made = await make(either)
    either.clock.move((hour(either) - either.clock.now).total_seconds() + 1)
    changed = await change_schedule(either.app.ports, "test", made.id, Timing(cron="30 * * * *"))
    assert changed.next_at is not None
    await Driver(either).pass_time(2_400)
    assert set(runs(either)) == {run_of_occurrence(made.id, changed.next_at)}


async def test_another_owner_s_is_not_there(rig: Rig) -> None:
    made = await make(rig)
    for call in (change_schedule(rig.app.ports, "eve", made.id, Timing(paused=True)),):
        with pytest.raises(errors.ScheduleNotFound):
            await call
    with pytest.raises(errors.ScheduleNotFound):
        await delete_schedule(rig.app.ports, "eve", made.id)


async def test_a_run_that_is_deleted_is_not_begun_again(rig: Rig) -> None:
    await rig.model.script("s", [{"text": "Done."}])
    made = await make(rig)
    rig.clock.move((hour(rig) - rig.clock.now).total_seconds())
    before = await stored(rig, made.id)
    await rig.run_activity(made.id, Driver(rig))
    (run_id,) = runs(rig)
    await delete_run(rig.app.ports, run_id)
    there = await rig.app.ports.schedules.load("test", made.id)
    assert there is not None
    await rig.app.ports.schedules.save(there, replace(before, last_run=""))  # as if the wake had died before it said so
    await rig.run_activity(made.id, Driver(rig))
    assert (await stored(rig, made.id)).last_run == run_id


async def test_after_a_restore_it_goes_on_though_no_due_row_was_copied(either: Rig, tmp_path: Path) -> None:
    await make(either)
    tables = either.tables
    for table, partition in list(tables._rows):
        if table is Table.DUE:
            del tables._rows[table, partition]
    await back_up(tables, tmp_path / "kept", either.clock)
    tables._rows.clear()
    await restore(tables, tmp_path / "kept", either.clock)
    await Driver(either).pass_time(3_600 + 300)
    assert len(runs(either)) == 1


async def test_what_it_asks_for_is_encrypted(rigs: NewRig) -> None:
    rig = await rigs(encryption_key=f"local:{base64.b64encode(b'1' * 32).decode()}")
    await rig.model.script("s", [{"text": "Done."}])
    await make(rig, title="A secret title")
    (row,) = [row for row in rig.tables.rows(Table.INDEX) if row.partition.startswith("schedules:")]
    assert isinstance(row.values["request"], bytes)
    await Driver(rig).pass_time(3_600 + 300)
    page = await rig.app.ports.index.runs("test", None, 10, statuses=(), agent=None)
    assert [(each.summary.title, each.status) for each in page[0]] == [("A secret title", RunStatus.COMPLETED)]


# --- an agent's own -----------------------------------------------------------------------------------

OWN = OwnSchedule(cron="0 6 * * 1", input="[script:s]", owner="ops", time_zone="Europe/Berlin", missed="once")


def with_own(rig: Rig, *own: OwnSchedule) -> Rig:
    ports = replace(rig.app.ports, own_schedules=[("workshop", each) for each in own], own_due={})
    return replace(rig, app=replace(rig.app, ports=ports))


def test_it_stands_beside_the_agent() -> None:
    @schedule("0 6 * * 1", input="a", owner="ops")
    @schedule("0 7 * * *", input="b", owner="ops", name="daily")
    def build() -> None: ...

    assert [each.name for each in schedules_of(build)] == ["daily", "default"]


async def test_it_is_there_without_a_call_and_follows_the_code(either: Rig) -> None:
    rig = with_own(either, OWN)
    await sweep(rig.app.ports, rig.driver(Driver(rig)))
    made = await stored(rig, own_id("workshop", OWN), "ops")
    assert (made.name, made.agent, made.cron, made.missed) == ("default", "workshop", OWN.cron, Missed.ONCE)
    await change_schedule(rig.app.ports, "ops", made.id, Timing(paused=True))
    later = with_own(either, replace(OWN, cron="0 8 * * 1"))
    await sweep(later.app.ports, later.driver(Driver(later)))
    now = await stored(rig, made.id, "ops")
    assert (now.cron, now.paused, now.next_at) == ("0 8 * * 1", True, None)


async def test_of_another_owner_it_is_another_one(either: Rig) -> None:
    rig = with_own(either, OWN)
    await sweep(rig.app.ports, rig.driver(Driver(rig)))
    theirs = replace(OWN, owner="others")
    later = with_own(either, theirs)
    await Driver(later).pass_time(8 * 86_400, tick=600.0)
    assert {each.request.owner for each in runs(rig).values()} == {"others"}
    assert (await stored(rig, own_id("workshop", OWN), "ops")).last_at is None
    assert (await stored(rig, own_id("workshop", theirs), "others")).last_run


async def test_without_a_version_that_has_it_nothing_begins(either: Rig) -> None:
    rig = with_own(either, OWN)
    await sweep(rig.app.ports, rig.driver(Driver(rig)))
    gone = with_own(either)
    await Driver(gone).pass_time(8 * 86_400, tick=600.0)
    assert runs(rig) == {}
    await Driver(with_own(either, OWN)).pass_time(8 * 86_400, tick=300.0)
    assert len(runs(rig)) >= 1


async def test_operators_see_one_that_no_sweep_has_come_to_and_the_page_behind_it(rigs: NewRig) -> None:
    rig = await rigs(operator_key="o" * 32)
    made = [await make(rig) for _ in range(2)]
    rig.clock.move(2 * 3_600)
    found: list[Any] = []
    query = "limit=1"
    while query:
        asked = request(headers={"x-dormouse-operator-key": "o" * 32}, query=query)
        page = content(await ops.list_overdue(asked, rig.app))
        found += page["data"]
        query = f"limit=1&cursor={page['next_cursor']}" if "next_cursor" in page else ""
    assert {each["id"] for each in found} == {each.id for each in made}
    assert {(each["kind"], each["agent"], each["status"], each["readable"]) for each in found} == {
        ("schedule", "workshop", None, True)
    }
    assert {datetime.fromisoformat(each["wake_at"]) for each in found} == {hour(rig, -1)}
