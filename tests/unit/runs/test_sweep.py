"""The sweep: what it does with each due row, and what does not stop it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from shared.drivers import sweep as sweeping
from shared.runs.actions.outcome import outcome
from shared.runs.model.calls import CallState
from shared.runs.model.ids import parse_run_id
from shared.runs.model.phases import Pending, RunningTools, RunStatus
from shared.runs.model.run import SCHEMA
from shared.runs.rules.agenda import next_time
from shared.runs.store.tables import Change, Kind, StoreUnavailable, Table
from tests.unit.runs.conftest import HeldCreate, NewRig, Rig

ABSENT = f"run_{'a' * 32}_1"
CONFUSED = {"phase": '{"is":"Confused"}'}


class RecordingHub:
    """Notes what it is asked for, or has no orchestrations to give."""

    def __init__(self, *, away: bool = False) -> None:
        self.asked: list[tuple[str, str]] = []
        self.away = away

    async def _note(self, what: str, run_id: str) -> None:
        self.asked.append((what, run_id))
        if self.away:
            raise ConnectionError("no task hub")

    async def start_if_absent(self, run_id: str) -> bool:
        await self._note("start", run_id)
        return True

    async def wake(self, run_id: str) -> None:
        await self._note("wake", run_id)

    async def start_step(self, run_id: str) -> bool:
        await self._note("step", run_id)
        return True


async def sweep(rig: Rig, hub: RecordingHub | None = None) -> dict[str, int]:
    """One sweep: how many rows ended how."""
    return dict(await sweeping.sweep(rig.app.ports, rig.driver(hub or RecordingHub())))


async def break_row(rig: Rig, run_id: str, key: str = "run:00000001", **values: Any) -> dict[str, Any]:
    """Write something unreadable into the row of a run, or into another one of its session; what was there."""
    parsed = parse_run_id(run_id)
    assert parsed is not None
    session_id = parsed[0]
    row = await rig.tables.get(Table.RUNS, session_id, key)
    assert row is not None
    change = Change(kind=Kind.MERGE, key=row.key, values=values, etag=row.etag)
    await rig.tables.commit(Table.RUNS, session_id, [change])
    return {name: row.values[name] for name in values}


async def due_by_row(rig: Rig, run_id: str) -> datetime:
    """When the run's own row says that there is something to do."""
    soonest = next_time(await rig.run(run_id))
    assert soonest is not None
    return soonest.due


@pytest.fixture(params=["durable", "timer"])
async def either(rigs: NewRig, request: pytest.FixtureRequest) -> Rig:
    """A process under each driver in turn."""
    rig = await rigs(driver=request.param)
    await rig.model.script("s", [{"text": "Fine.", "think": 30}])
    return rig


async def test_a_due_row_without_a_run_is_kept_for_an_hour(either: Rig) -> None:
    await either.app.ports.due.put(ABSENT, either.clock.now, either.clock.now)
    for gap in (0, 61):  # its submit may be about to commit
        either.clock.move(gap)
        assert await sweep(either) == {"absent": 1}
    either.clock.move(3_530)
    assert await sweep(either) == {}
    assert await either.app.ports.due.get(ABSENT) is not None
    either.clock.move(11)
    assert await sweep(either) == {"done": 1}
    assert await either.app.ports.due.get(ABSENT) is None


@pytest.mark.parametrize("damage", [CONFUSED, {"schema": "x"}, {"request": "{"}, {"outbox": '{"entries":[1]}'}])
async def test_a_row_that_cannot_be_read_is_put_aside_and_stops_nobody(either: Rig, damage: dict[str, Any]) -> None:
    broken, sound = await either.start(), await either.start()
    await break_row(either, broken, **damage)
    either.clock.move(200)
    item_statuses = await sweep(either)
    assert item_statuses.pop("quarantined") == 1
    assert sum(item_statuses.values()) == 1
    assert (await either.app.ports.due.count())[1] == 1
    either.clock.move(200)
    assert "quarantined" not in await sweep(either)
    assert (await either.follow(sound)).status is RunStatus.COMPLETED


async def test_a_row_put_aside_is_looked_at_again_each_hour(either: Rig) -> None:
    """Another version, or a person, may have made it readable."""
    run_id = await either.start()
    sound = await break_row(either, run_id, **CONFUSED)
    for _ in range(2):
        either.clock.move(3_600)
        assert (await sweep(either)).get("quarantined") == 1
    await break_row(either, run_id, **sound)
    either.clock.move(3_600)
    await sweep(either)
    assert (await either.app.ports.due.count())[1] == 0
    assert (await either.follow(run_id)).status is RunStatus.COMPLETED


@pytest.mark.parametrize(("damage", "fate"), [(CONFUSED, "quarantined"), ({"schema": 99}, "too_new")])
async def test_a_row_that_can_be_neither_read_nor_put_aside_stops_nobody(
    either: Rig, damage: dict[str, Any], fate: str
) -> None:
    broken, sound = await either.start(), await either.start()
    await break_row(either, broken, **damage)
    either.clock.move(200)

    async def away(operation: str, table: Table, partition: str | None, changes: Sequence[Change]) -> None:
        if operation == "commit" and table is Table.DUE and changes[0].key == broken:
            raise StoreUnavailable("away")

    either.tables.before = away
    item_statuses = await sweep(either)
    assert (item_statuses.pop("failed"), sum(item_statuses.values())) == (1, 1)
    either.tables.before = None
    assert (await sweep(either))[fate] == 1
    assert (await either.follow(sound)).status is RunStatus.COMPLETED


@pytest.mark.parametrize("beside", ["earlier run", "calls"])
async def test_what_cannot_be_read_beside_the_run_s_own_row_fails_the_run(rigs: NewRig, beside: str) -> None:
    rig = await rigs(chain="replay")
    await rig.model.script("s", [{"calls": [{"name": "work", "arguments": {"label": "a"}}]}, {"text": "Fine."}])
    run_id = await rig.start()
    if beside == "calls":
        await rig.follow(run_id, lambda run: isinstance(run.phase, RunningTools))
        await break_row(rig, run_id, "tool:00000001:0001:0000", state="confused")
    else:
        first = await rig.follow(run_id)
        await break_row(rig, run_id, **CONFUSED)
        run_id = await rig.start(session_id=first.request.session_id)
    run = await rig.finish(run_id)
    assert (run.status, run.result.error_code, run.is_done) == (RunStatus.FAILED, "internal_error", True)
    assert (await rig.app.ports.due.count())[1] == 0, "its own row is in order"
    assert (await rig.session(run_id)).active_run is None


@pytest.mark.parametrize("driver", ["durable", "timer"])
async def test_a_submit_beside_a_row_of_a_newer_version_leaves_its_run_to_that_version(
    rigs: NewRig, driver: str
) -> None:
    rig = await rigs(chain="replay", driver=driver)
    await rig.model.script("s", [{"text": "Fine."}])
    first = await rig.run_to_end()
    await break_row(rig, first.id, schema=99)
    run_id = await rig.start(session_id=first.request.session_id)
    assert (await rig.run(run_id)).status is RunStatus.QUEUED
    assert (await rig.run_activity(run_id)).wake_in == 600
    await break_row(rig, first.id, schema=SCHEMA)
    assert (await rig.follow(run_id)).status is RunStatus.COMPLETED


async def test_a_row_of_a_newer_version_is_left_alone_and_goes_on_when_that_version_is_here(either: Rig) -> None:
    run_id = await either.start()
    await break_row(either, run_id, schema=99)
    either.clock.move(200)
    assert (await sweep(either)).get("too_new") == 1
    assert await sweep(either) == {}
    assert (await either.run_activity(run_id)).wake_in == 600
    assert (await either.app.ports.due.count())[1] == 0
    await break_row(either, run_id, schema=SCHEMA)
    assert (await either.follow(run_id)).status is RunStatus.COMPLETED


async def test_a_hand_off_that_finds_a_step_under_way_is_looked_at_again_soon(rigs: NewRig) -> None:
    rig = await rigs(driver="timer")
    await rig.model.script("s", [{"calls": [{"name": "work", "arguments": {"label": "a"}}]}, {"text": "Fine."}])
    run_id = await rig.start()
    await rig.follow(run_id, lambda run: isinstance(run.phase, RunningTools))
    row = await rig.app.ports.due.get(run_id)
    assert row is not None
    await rig.app.ports.due.set_due(row, rig.clock.now, rig.clock.now)

    class BusyHub(RecordingHub):
        async def start_step(self, run_id: str) -> bool:
            await super().start_step(run_id)
            return False

    assert await sweep(rig, BusyHub()) == {"handed_off": 1}
    row = await rig.app.ports.due.get(run_id)
    assert row is not None
    assert row.due == await due_by_row(rig, run_id), "not the minute of the hand-off: nobody else would date it"


async def test_a_step_whose_due_row_was_handed_over_meanwhile_dates_it_all_the_same(rigs: NewRig) -> None:
    rig = await rigs(driver="timer")
    await rig.model.script("s", [{"text": "Fine."}])
    run_id = await rig.start()

    async def hand_over(operation: str, table: Table, partition: str | None, changes: Sequence[Change]) -> None:
        if table is Table.RUNS and operation == "commit":
            rig.tables.after = None
            row = await rig.app.ports.due.get(run_id)
            assert row is not None
            assert await rig.app.ports.due.set_due(row, rig.clock.now + timedelta(seconds=60), rig.clock.now)

    rig.tables.after = hand_over
    assert (await rig.run_activity(run_id)).wake_in is not None
    row = await rig.app.ports.due.get(run_id)
    assert row is not None
    assert row.due == await due_by_row(rig, run_id)


async def test_a_wake_puts_an_unreadable_row_aside_too(either: Rig) -> None:
    run_id = await either.start()
    await break_row(either, run_id, **CONFUSED)
    assert (await either.run_activity(run_id)).wake_in is None
    assert await either.app.ports.due.count() == (1, 1)


async def test_a_finished_run_is_no_longer_watched(either: Rig) -> None:
    run_id = await either.start()
    await either.finish(run_id)
    either.clock.move(200)
    assert await sweep(either) == {"done": 1}
    assert await either.app.ports.due.count() == (0, 0)


async def test_under_durable_a_run_in_time_is_left_alone(rigs: NewRig) -> None:
    rig = await rigs(driver="durable")
    await rig.model.script("s", [{"text": "Fine.", "think": 1_000}])
    run_id = await rig.start()
    await rig.follow(run_id, lambda run: (rig.clock.now - run.request.created_at).total_seconds() > 70)
    hub = RecordingHub()
    assert await sweep(rig, hub) == {"in_time": 1}
    assert hub.asked == []
    row = await rig.app.ports.due.get(run_id)
    assert row is not None
    assert (row.due - await due_by_row(rig, run_id)).total_seconds() == rig.app.settings.overdue


async def test_under_durable_an_overdue_run_is_signalled_then_stepped_then_polled(rigs: NewRig) -> None:
    rig = await rigs(driver="durable")
    await rig.model.script("s", [{"text": "Fine."}])
    run_id = await rig.start()
    rig.clock.move(200)
    hub = RecordingHub()
    assert await sweep(rig, hub) == {"overdue": 1}
    assert hub.asked == [("start", run_id), ("wake", run_id)]
    rig.clock.move(60)
    hub = RecordingHub()
    assert await sweep(rig, hub) == {"stepped": 1}
    assert hub.asked == [("start", run_id), ("wake", run_id), ("step", run_id)]
    rig.clock.move(60)
    assert await sweep(rig, RecordingHub(away=True)) == {"stepped": 1}
    assert (await rig.run(run_id)).status is RunStatus.COMPLETED


async def test_a_host_that_takes_no_orchestration_is_not_waited_for_a_second_time(rigs: NewRig) -> None:
    rig = await rigs(driver="durable")
    await rig.model.script("s", [{"text": "Fine."}])
    run_id = await rig.start()
    rig.clock.move(200)
    assert await sweep(rig, RecordingHub(away=True)) == {"stepped": 1}
    assert (await rig.run(run_id)).status is RunStatus.COMPLETED


async def test_under_timer_a_deadline_ends_a_run_whose_first_create_hangs(rigs: NewRig) -> None:
    rig = await rigs(driver="timer")
    await rig.model.script("s", [{"text": "Too late.", "think": 1_000}])
    held = HeldCreate(rig)
    submitting = asyncio.create_task(rig.submit(deadline_seconds=10))
    await held.answered.wait()
    rig.clock.move(10)
    assert sum((await sweep(rig)).values()) == 1
    held.released.set()
    run = (await submitting).run
    assert (run.status, run.result.error_code) == (RunStatus.FAILED, "deadline_exceeded")
    assert [known.status for known in await rig.model.responses()] == ["cancelled"]


async def test_under_timer_a_deadline_is_looked_for_while_a_step_hangs(rigs: NewRig) -> None:
    rig = await rigs(driver="timer")
    await rig.model.script("s", [{"calls": [{"name": "work", "arguments": {"label": "a"}}]}, {"echo": True}])
    run_id = await rig.start(deadline_seconds=30)
    await rig.follow(run_id, lambda run: isinstance(run.phase, RunningTools))
    rig.clock.move(5)
    assert await sweep(rig) == {}
    rig.clock.move(20)
    row = await rig.app.ports.due.get(run_id)
    assert row is not None
    await rig.app.ports.due.set_due(row, rig.clock.now, rig.clock.now)
    assert await sweep(rig) == {"handed_off": 1}
    row = await rig.app.ports.due.get(run_id)
    assert row is not None
    assert row.due == (await rig.run(run_id)).schedule.deadline_at


@pytest.mark.parametrize(("driver", "more"), [("durable", 1.0), ("timer", 0.0)])
async def test_a_wake_that_must_not_be_early_is_a_second_later_where_timers_may_be(
    rigs: NewRig, driver: str, more: float
) -> None:
    """Durable cuts a wait to whole seconds. A look may come early; a claim's end, a backoff or a deadline may not."""
    rig = await rigs(driver=driver)
    await rig.model.script("s", [{"text": "Fine.", "faults": {"create": [{"status": 429}]}}])
    run_id = await rig.start()
    waiting = outcome(await rig.run(run_id), rig.clock.now)
    assert not waiting.may_be_early
    assert (await rig.run_activity(run_id)).wake_in == waiting.wake_in + more  # type: ignore[operator]
    await rig.follow(run_id, lambda run: isinstance(run.phase, Pending))
    looking = outcome(await rig.run(run_id), rig.clock.now)
    assert looking.may_be_early
    assert looking.wake_in == rig.app.settings.poll_first


async def test_a_step_carries_on_while_there_is_something_to_do_at_once(either: Rig) -> None:
    """The look that brings calls, the tools and the next create are one execution."""
    await either.model.script("s", [{"calls": [{"name": "work", "arguments": {"label": "a"}}]}, {"echo": True}])
    run_id = await either.start()
    await either.run_activity(run_id)
    either.clock.move(60)
    after = await either.run_activity(run_id)
    assert [call.state for call in await either.calls(run_id)] == [CallState.FINISHED]
    assert isinstance((await either.run(run_id)).phase, Pending)
    assert after.wake_in == either.app.settings.poll_first


async def test_without_a_task_hub_the_sweep_polls_but_never_runs_tools(rigs: NewRig) -> None:
    rig = await rigs(driver="durable")
    await rig.model.script("s", [{"calls": [{"name": "work", "arguments": {"label": "a"}}]}, {"echo": True}])
    run_id = await rig.start()
    for _ in range(6):
        rig.clock.move(200)
        await sweep(rig, RecordingHub(away=True))
    assert isinstance((await rig.run(run_id)).phase, RunningTools)
    assert [call.starts for call in await rig.calls(run_id)] == [0]
    assert (await rig.follow(run_id)).status is RunStatus.COMPLETED


async def test_under_timer_the_sweep_polls_and_hands_over_the_rest(rigs: NewRig) -> None:
    rig = await rigs(driver="timer")
    await rig.model.script("s", [{"calls": [{"name": "work", "arguments": {"label": "a"}}]}, {"echo": True}])
    run_id = await rig.start()
    rig.clock.move(61)
    hub = RecordingHub()
    assert await sweep(rig, hub) == {"handed_off": 1}
    assert hub.asked == [("step", run_id)]
    assert [call.starts for call in await rig.calls(run_id)] == [0]
    assert await sweep(rig) == {}
    rig.clock.move(61)
    assert await sweep(rig, RecordingHub(away=True)) == {"failed": 1}  # and it is tried again a minute later
    rig.clock.move(61)
    assert await sweep(rig) == {"handed_off": 1}


async def test_under_timer_a_step_that_was_handed_over_twice_dates_the_next_poll(rigs: NewRig) -> None:
    """While tools run for minutes the sweep keeps handing the run over; the poll after them must not wait for that."""
    rig = await rigs(driver="timer")
    ask = {"calls": [{"name": "work", "arguments": {"label": "a"}}]}
    script: list[dict[str, Any]] = [ask, {"text": "Fine.", "think": 30}]
    await rig.model.script("s", script)
    run_id = await rig.start()
    await rig.follow(run_id, lambda run: isinstance(run.phase, RunningTools))
    swept: list[dict[str, int]] = []

    async def sweep_meanwhile(operation: str, table: Table, partition: str | None, changes: Any) -> None:
        if (
            operation == "commit"
            and any('"lease":' in str(change.values.get("phase")) for change in changes)
            and not swept
        ):
            rig.clock.move(61)
            swept.append(await sweep(rig))

    rig.tables.before = sweep_meanwhile
    await rig.run_activity(run_id)
    assert swept == [{"handed_off": 1}]
    run, row = await rig.run(run_id), await rig.app.ports.due.get(run_id)
    assert isinstance(run.phase, Pending)
    assert row is not None
    assert row.due == await due_by_row(rig, run_id)


async def test_a_sweep_that_takes_too_long_ends_by_itself(rigs: NewRig) -> None:
    rig = await rigs(driver="timer", sweep_limit=0.2, poll_timeout=20.0)
    await rig.model.script("s", [{"text": "Fine.", "faults": {"retrieve": [{"hang": 30}]}}])
    run_id = await rig.start()
    rig.clock.move(61)
    assert (await sweep(rig))["cut_off"] == 1
    assert (await rig.follow(run_id)).status is RunStatus.COMPLETED
