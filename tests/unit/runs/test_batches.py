"""Batches: one run and one create an item, whatever crashes, races or is throttled on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from shared import errors
from shared.drivers.retention import retain
from shared.runs.batches import advance as batches_advance
from shared.runs.batches.advance import advance_batch
from shared.runs.batches.cancel import cancel_batch
from shared.runs.batches.delete import delete_batch
from shared.runs.batches.submit import AskedItem, BatchSubmission, submit_batch
from shared.runs.commands.submission import Submission, Submitted
from shared.runs.commands.submit import submit as submit_run
from shared.runs.model.batch import BatchStatus, run_of
from shared.runs.model.phases import RunStatus
from shared.runs.model.session import Session
from shared.runs.ports import Ports
from shared.runs.store.tables import Change, Kind, Table
from tests.unit.runs.batches import creates, item_statuses, load, one, submit
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.crashes import Driver, FailAt, Killed, RunBefore, interruptions

HOUR = 3_600.0
LONG = "[script:s] " + "é" * 60_000
S = "[script:s]"


@pytest.fixture(params=["durable", "timer"])
async def either(rigs: NewRig, request: pytest.FixtureRequest) -> Rig:
    """A process under each driver in turn."""
    rig = await rigs(driver=request.param)
    await rig.model.script("s", [{"text": "done"}])
    return rig


@pytest.fixture
async def scripted(rig: Rig) -> Rig:
    await rig.model.script("s", [{"text": "done"}])
    return rig


async def finished(rig: Rig, batch_id: str, host: Driver | None = None, *, within: float = HOUR) -> None:
    """Let the time pass until the batch is over."""
    host = host or Driver(rig)
    for _ in range(int(within // 30)):
        if (await load(rig, batch_id)).status.terminal:
            return
        await host.pass_time(30)
    raise AssertionError(await load(rig, batch_id))


def rows_left(rig: Rig, batch_id: str) -> list[str]:
    """The keys of the batch's rows, in every table."""
    kept = [row.key for row in rig.tables.rows(Table.BATCHES) if row.partition == batch_id]
    kept += [row.key for row in rig.tables.rows(Table.DUE) if row.key == batch_id]
    return kept + [row.key for row in rig.tables.rows(Table.INDEX) if batch_id in row.key]


# --- the way it goes ----------------------------------------------------------------------------------


async def test_every_item_is_one_run_and_no_more_are_active_than_allowed(either: Rig) -> None:
    host = Driver(either)
    most = 0

    async def count(operation: str, table: Table, partition: str | None, changes: Sequence[Change]) -> None:
        nonlocal most
        sessions = [row for row in either.tables.rows(Table.RUNS) if row.key == "session"]
        most = max(most, sum(1 for row in sessions if row.values["active_run"] != ""))

    either.tables.after = count
    submitted = await submit(either, *[S] * 7, concurrency=3)
    await host.start_batch(submitted)
    await finished(either, submitted.batch.id, host)
    batch = await load(either, submitted.batch.id)
    assert (batch.status, batch.progress.completed, batch.pending) == (BatchStatus.COMPLETED, 7, 0)
    assert batch.progress.active == ()
    assert await item_statuses(either, batch.id) == {"completed": 7}
    assert await creates(either, batch.id) == [1] * 7
    assert most == 3
    await host.pass_time(300)
    assert either.tables.rows(Table.DUE) == []


async def test_a_bad_item_fails_alone_and_at_once(scripted: Rig) -> None:
    wanted = BatchSubmission(
        items=[
            AskedItem(id="a", asked=one(S)),
            AskedItem(id="b", asked=one(S, agent="nobody")),
            AskedItem(id="c", asked=errors.InputTooLarge()),
            AskedItem(id="d", asked=one(S, turns=1_000)),
        ],
        defaults=one(""),
        payload="p",
    )
    submitted = await submit_batch(scripted.app.ports, wanted)
    assert (submitted.batch.progress.failed, submitted.batch.pending) == (3, 1)
    await finished(scripted, submitted.batch.id)
    assert await item_statuses(scripted, submitted.batch.id) == {"completed": 1, "failed": 3}
    heads = await scripted.app.ports.batches.heads(submitted.batch.id, 0)
    codes = [head.error_code for head in heads]
    assert codes == [None, "unknown_agent", "input_too_large", "invalid_request"]
    assert await creates(scripted, submitted.batch.id) == [1, 0, 0, 0]


async def test_a_batch_of_bad_items_is_over_at_once(scripted: Rig) -> None:
    bad = [AskedItem(id=None, asked=errors.InvalidJson("no"))] * 2
    wanted = BatchSubmission(items=bad, defaults=one(""), payload="p", idempotency_key="k")
    submitted = await submit_batch(scripted.app.ports, wanted)
    assert (submitted.batch.status, submitted.batch.progress.failed) == (BatchStatus.COMPLETED, 2)
    again = await submit_batch(scripted.app.ports, wanted)
    assert (again.batch, again.due) == (submitted.batch, None)
    host = Driver(scripted)
    await host.start_batch(submitted)
    await host.pass_time(300)
    assert scripted.tables.rows(Table.DUE) == []


async def test_an_agent_that_no_version_knows_refuses_the_whole_batch(scripted: Rig) -> None:
    wanted = BatchSubmission(items=[AskedItem(id=None, asked=one(S))], defaults=one("", agent="nobody"), payload="p")
    with pytest.raises(errors.UnknownAgent):
        await submit_batch(scripted.app.ports, wanted)
    assert scripted.tables.rows(Table.BATCHES) == []
    assert scripted.tables.rows(Table.DUE) == []


async def test_a_run_that_fails_or_is_cut_short_counts_as_such(scripted: Rig) -> None:
    await scripted.model.script("bad", [{"status": "failed", "error": {"code": "invalid_prompt", "message": "No."}}])
    await scripted.model.script("cut", [{"status": "incomplete", "text": "Half"}])
    submitted = await submit(scripted, S, "[script:bad]", "[script:cut]")
    await finished(scripted, submitted.batch.id)
    batch = await load(scripted, submitted.batch.id)
    assert batch.status is BatchStatus.COMPLETED
    assert (batch.progress.completed, batch.progress.failed, batch.progress.incomplete) == (1, 1, 1)
    results = await scripted.app.ports.batches.results(batch.id, 0, 3)
    assert (results[1].error_code, results[1].error_message) == ("invalid_prompt", "No.")


# --- crashes ------------------------------------------------------------------------------------------


@interruptions
@pytest.mark.slow
async def test_a_key_sent_again_after_any_interruption_is_one_batch(
    scripted: Rig, error: BaseException, applied: bool
) -> None:
    rig = scripted
    for step in range(1, 100):
        key = f"key-{step}"
        before = {row.partition for row in rig.tables.rows(Table.BATCHES)}
        with FailAt(rig, at=step, applied=applied, error=error) as trap:
            try:
                first = await submit(rig, LONG, S, key=key)
            except type(error):
                first = None
        again = await submit(rig, LONG, S, key=key)
        assert first is None or first.batch.id == again.batch.id
        assert {row.partition for row in rig.tables.rows(Table.BATCHES)} - before == {again.batch.id}
        await finished(rig, again.batch.id)
        assert await item_statuses(rig, again.batch.id) == {"completed": 2}
        assert await creates(rig, again.batch.id) == [1, 1]
        assert (await submit(rig, LONG, S, key=key)).batch == await load(rig, again.batch.id)
        if not trap.sprung:
            break
    else:
        raise AssertionError("submit never came to its end")
    assert step > 6
    with pytest.raises(errors.IdempotencyKeyReused):
        await submit(rig, S, key=key)


async def test_a_submit_that_crashed_and_is_not_repeated_ends_by_itself(either: Rig) -> None:
    rig = either
    ended = {"whole": 0, "nothing": 0}
    for step in range(1, 100):
        host = Driver(rig)
        before = {row.partition for row in rig.tables.rows(Table.BATCHES)}
        with FailAt(rig, at=step, applied=False, error=Killed()) as trap:
            try:
                await host.start_batch(await submit(rig, LONG, S, key=f"key-{step}"))
            except Killed:
                host = Driver(rig)  # its orchestrations died with it
        begun = {row.partition for row in rig.tables.rows(Table.BATCHES)} - before
        born = [each for each in begun if await rig.app.ports.batches.load(each) is not None]
        await host.pass_time(75 * 60)
        for batch_id in begun:
            if batch_id in born:
                assert await item_statuses(rig, batch_id) == {"completed": 2}
                assert await creates(rig, batch_id) == [1, 1]
            else:
                assert rows_left(rig, batch_id) == []
        ended["whole" if born else "nothing"] += 1
        assert rig.tables.rows(Table.DUE) == []
        if not trap.sprung:
            break
    else:
        raise AssertionError("submit never came to its end")
    assert min(ended.values()) > 0, ended


async def run_to_end(rig: Rig, host: Driver) -> str:
    """A batch from submit to its end, two items at a time."""
    submitted = await submit(rig, LONG, S, S, key="k", concurrency=2)
    await host.start_batch(submitted)
    await finished(rig, submitted.batch.id, host)
    return submitted.batch.id


class Fatal(FailAt):
    """A trap that counts the responses of which the dead process could not write down that they were made."""

    in_doubt = 0

    def __enter__(self) -> Fatal:
        super().__enter__()
        return self

    async def _before(self, o: str, t: Table, p: str | None, c: Sequence[Change]) -> None:
        try:
            await super()._before(o, t, p, c)
        except Killed:
            self.in_doubt += t is Table.RUNS and any(self._adopts(p, change) for change in c)
            raise

    def _adopts(self, partition: str | None, change: Change) -> bool:
        """Whether the write is the first to know of a response: the phase has a token, and it had none before."""
        rows = [row for row in self._rig.tables.rows(Table.RUNS) if (row.partition, row.key) == (partition, change.key)]
        known = [row.values["phase"] for row in rows]
        return '"token"' in str(change.values.get("phase")) and '"token"' not in str(known)

    async def burial(self) -> None:
        """Let what ran side by side with what died come to its end, too."""
        others = [task for task in asyncio.all_tasks() if "side_by_side" in repr(task.get_coro())]
        if others:
            await asyncio.wait(others)


@pytest.mark.slow
@pytest.mark.parametrize("applied", [False, True], ids=["before", "after"])
async def test_a_crash_after_any_write_makes_no_second_run_and_no_second_create(either: Rig, applied: bool) -> None:
    await deaths_of_a_story(either, range(1, 1_000), applied=applied)


@pytest.mark.slow
async def test_a_crash_after_some_writes_makes_no_second_run_and_no_second_create(scripted: Rig) -> None:
    await deaths_of_a_story(scripted, (*range(5, 50, 4), 1_000), applied=True)


async def deaths_of_a_story(rig: Rig, steps: Sequence[int], *, applied: bool) -> None:
    for step in steps:
        await rig.model.reset()
        await rig.model.script("s", [{"text": "done"}])
        rig.tables._rows.clear()
        with Fatal(rig, at=step, applied=applied, error=Killed()) as trap:
            try:
                batch_id = await run_to_end(rig, Driver(rig))
            except Killed:
                await trap.burial()
        if trap.sprung:
            batch_id = await run_to_end(rig, Driver(rig))  # the key again, and orchestrations anew
        batch = await load(rig, batch_id)
        assert (batch.status, batch.progress.completed, batch.progress.active) == (BatchStatus.COMPLETED, 3, ())
        assert await item_statuses(rig, batch_id) == {"completed": 3}
        runs = {row.partition for row in rig.tables.rows(Table.RUNS)}
        assert len(runs) == 3, "a second run"
        made = await creates(rig, batch_id)
        assert sum(made) == 3 + trap.in_doubt, (step, made)
        await Driver(rig).pass_time(300)
        assert rig.tables.rows(Table.DUE) == []
        if not trap.sprung:
            return
    raise AssertionError("the story never came to its end")


async def test_two_wakes_at_once_are_one(scripted: Rig) -> None:
    submitted = await submit(scripted, *[S] * 4)
    host = Driver(scripted)
    signals = scripted.driver(host)
    await asyncio.gather(*(advance_batch(scripted.app.ports, submitted.batch.id, signals) for _ in range(5)))
    await finished(scripted, submitted.batch.id, host)
    assert await creates(scripted, submitted.batch.id) == [1] * 4
    assert await item_statuses(scripted, submitted.batch.id) == {"completed": 4}


# --- later, not now -----------------------------------------------------------------------------------


async def test_a_provider_that_throttles_holds_the_whole_batch_back(scripted: Rig) -> None:
    rig = scripted
    fault = {"status": 429, "headers": {"retry-after": "100"}, "json_error": {"code": "rate_limit_exceeded"}}
    await rig.model.switches(faults={"create": [{**fault, "skip": 2, "times": 4}]})
    submitted = await submit(rig, *[S] * 12, concurrency=4)
    host = Driver(rig)
    await host.start_batch(submitted)
    await host.pass_time(8, tick=1.0)
    batch = await load(rig, submitted.batch.id)
    assert (batch.pace.held, batch.pace.window) == (True, 2)
    refused = len(await rig.model.log("create"))
    await host.pass_time(60, tick=5.0)
    assert len(await rig.model.log("create")) == refused, (
        "nothing new is tried while the provider wants to be left alone"
    )
    assert (await load(rig, submitted.batch.id)).pending > 0
    await finished(rig, submitted.batch.id, host)
    batch = await load(rig, submitted.batch.id)
    assert (batch.progress.completed, batch.pace.held, batch.pace.window) == (12, False, 4)
    assert await creates(rig, batch.id) == [1] * 12


async def test_a_limit_of_our_own_means_later(scripted: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    class TooMany(errors.DormouseError):
        status = 429

    rig = scripted
    refusals = begun = 0

    async def limited(ports: Ports, wanted: Submission) -> Submitted:
        nonlocal refusals, begun
        ended = [row for row in rig.tables.rows(Table.RUNS) if row.key == "session" and row.values["active_run"] == ""]
        if begun - len(ended) >= 2:
            refusals += 1
            raise TooMany(headers={"Retry-After": "40"})
        begun += 1
        return await submit_run(ports, wanted)

    monkeypatch.setattr(batches_advance, "submit", limited)
    submitted = await submit(rig, *[S] * 6, concurrency=4)
    host = Driver(rig)
    await host.start_batch(submitted)
    await host.pass_time(30, tick=2.0)
    asked_so_far = refusals
    assert asked_so_far > 0
    await host.pass_time(6, tick=2.0)
    assert refusals == asked_so_far, "it waits as long as it was told to"
    await finished(rig, submitted.batch.id, host)
    assert await item_statuses(rig, submitted.batch.id) == {"completed": 6}
    assert await creates(rig, submitted.batch.id) == [1] * 6


async def test_an_item_that_cannot_be_started_for_a_reason_nobody_expected_fails_alone_at_last(
    scripted: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(ports: Ports, wanted: Submission) -> Submitted:
        if "boom" in str(wanted.items):
            raise ZeroDivisionError
        return await submit_run(ports, wanted)

    monkeypatch.setattr(batches_advance, "submit", broken)
    submitted = await submit(scripted, S, "[script:s] boom", S, concurrency=1)
    await finished(scripted, submitted.batch.id, within=3 * HOUR)
    assert await item_statuses(scripted, submitted.batch.id) == {"completed": 2, "failed": 1}
    (result,) = (await scripted.app.ports.batches.results(submitted.batch.id, 1, 2)).values()
    assert (result.error_code, result.ran) == ("internal_error", False)


# --- the end ------------------------------------------------------------------------------------------


async def test_cancel_ends_what_waits_and_stops_what_is_active(either: Rig) -> None:
    rig = either
    await rig.model.script("slow", [{"text": "late", "think": 10_000}])
    submitted = await submit(rig, S, *["[script:slow]"] * 5, concurrency=2)
    host = Driver(rig)
    await host.start_batch(submitted)
    await host.pass_time(120)
    cancelling = await cancel_batch(rig.app.ports, submitted.batch.id)
    assert cancelling is not None
    assert (cancelling.status, cancelling.pending, cancelling.progress.cancelled) == (BatchStatus.CANCELLING, 0, 3)
    await rig.driver(host).wake(submitted.batch.id)
    await finished(rig, submitted.batch.id, host)
    assert await item_statuses(rig, submitted.batch.id) == {"completed": 1, "cancelled": 5}
    batch = await cancel_batch(rig.app.ports, submitted.batch.id)
    assert batch is not None
    assert (batch.status, batch.progress.completed, batch.progress.cancelled) == (BatchStatus.CANCELLED, 1, 5)
    await host.pass_time(300)
    slow = [response for response in await rig.model.responses() if response.script == "slow"]
    assert [response.status for response in slow] == ["cancelled", "cancelled"]
    assert rig.tables.rows(Table.DUE) == []


async def test_cancel_before_the_first_wake_runs_nothing(scripted: Rig) -> None:
    submitted = await submit(scripted, S, S)
    batch = await cancel_batch(scripted.app.ports, submitted.batch.id)
    assert batch is not None
    assert (batch.status, batch.progress.cancelled) == (BatchStatus.CANCELLED, 2)
    await Driver(scripted).pass_time(300)
    assert await scripted.model.log() == []


@pytest.mark.slow
async def test_a_cancel_at_any_moment_of_a_wake_leaves_no_run_behind(scripted: Rig) -> None:
    rig = scripted
    await rig.model.script("slow", [{"text": "late", "think": 10_000}])
    for at in range(1, 200):
        submitted = await submit(rig, "[script:slow]", "[script:slow]", "[script:slow]", concurrency=2)
        host = Driver(rig)

        async def cancelled(batch_id: str = submitted.batch.id) -> None:
            await cancel_batch(rig.app.ports, batch_id)

        with RunBefore(rig, at, cancelled) as meanwhile:
            await rig.run_activity(submitted.batch.id, host)
        if not meanwhile.happened:
            break
        await finished(rig, submitted.batch.id, host)
        assert await item_statuses(rig, submitted.batch.id) == {"cancelled": 3}
        await host.pass_time(120)
        for index in range(3):
            stored = await rig.app.ports.runs.load(run_of(submitted.batch.id, index))
            assert stored is None or stored.value.status is RunStatus.CANCELLED
        made = [each for each in await rig.model.responses() if each.script == "slow"]
        assert {each.status for each in made} <= {"cancelled"}, at
    assert at > 10


@pytest.mark.slow
async def test_a_deletion_at_any_moment_of_a_wake_leaves_no_run_behind(scripted: Rig) -> None:
    rig = scripted
    await rig.model.script("slow", [{"text": "late", "think": 10_000}])
    for at in range(1, 200):
        submitted = await submit(rig, "[script:slow]", "[script:slow]", "[script:slow]", concurrency=2)
        host = Driver(rig)

        async def deleted(batch_id: str = submitted.batch.id) -> None:
            assert await delete_batch(rig.app.ports, batch_id)
            await rig.run_activity(batch_id, Driver(rig))

        with RunBefore(rig, at, deleted) as meanwhile:
            await rig.run_activity(submitted.batch.id, host)
        if not meanwhile.happened:
            break
        await host.pass_time(900)
        for index in range(3):
            stored = await rig.app.ports.runs.load(run_of(submitted.batch.id, index))
            assert stored is None or stored.value.is_deleted, at
        assert rows_left(rig, submitted.batch.id) == ["batch", submitted.batch.id]
        made = [each for each in await rig.model.responses() if each.script == "slow"]
        assert all(each.deleted for each in made), at
    assert at > 10


async def test_a_deleted_batch_goes_with_its_runs_and_leaves_a_mark_for_its_key(either: Rig) -> None:
    rig = either
    host = Driver(rig)
    submitted = await submit(rig, LONG, S, "[script:s] third", key="k", concurrency=2)
    await host.start_batch(submitted)
    await host.pass_time(60)
    assert await delete_batch(rig.app.ports, submitted.batch.id)
    await rig.driver(host).wake(submitted.batch.id)
    await host.pass_time(600)
    assert rows_left(rig, submitted.batch.id) == ["batch", submitted.batch.id]
    with pytest.raises(errors.BatchDeleted):
        await submit(rig, LONG, S, "[script:s] third", key="k", concurrency=2)
    sessions = [row for row in rig.tables.rows(Table.RUNS) if row.key == "session"]
    assert sessions != []
    assert all(row.values["deleted_at"] for row in sessions)
    assert all(response.deleted for response in await rig.model.responses())
    rig.clock.move(48 * HOUR)
    await host.pass_time(300)
    assert rows_left(rig, submitted.batch.id) == []


async def test_an_old_batch_expires_but_not_a_session_in_use(scripted: Rig) -> None:
    rig = scripted

    class NoHistories(Driver):
        async def purge_before(self, moment: Any) -> int:
            return 0

    host = NoHistories(rig)
    submitted = await submit(rig, S)
    await host.start_batch(submitted)
    await finished(rig, submitted.batch.id, host)
    rig.clock.move(20 * 24 * HOUR)
    run = await rig.run(run_of(submitted.batch.id, 0))
    await rig.follow(await rig.start(S, session_id=run.request.session_id))
    rig.clock.move(11 * 24 * HOUR)
    done = await retain(rig.app.ports, rig.driver(host))
    assert done["batches"] == 1
    await host.pass_time(600)
    assert rows_left(rig, submitted.batch.id) == ["batch", submitted.batch.id]
    session: Session = await rig.session(run.id)
    assert session.deleted_at is None
    assert not (await rig.run(run.id)).is_deleted


async def test_a_lost_orchestration_costs_minutes_not_the_batch(either: Rig) -> None:
    submitted = await submit(either, S, S, S, concurrency=1)
    await Driver(either).start_batch(submitted)
    await finished(either, submitted.batch.id, Driver(either))  # a hub that knows of nothing
    assert await creates(either, submitted.batch.id) == [1] * 3


class NoHub(Driver):
    """A host whose task hub is gone for good."""

    async def start_if_absent(self, run: str, *, wait: float = 0.0) -> bool:
        raise ConnectionError("no task hub")

    async def wake(self, run: str) -> None:
        raise ConnectionError("no task hub")

    async def start_step(self, run: str) -> bool:
        raise ConnectionError("no task hub")


async def test_the_loss_of_the_whole_task_hub_costs_minutes_not_the_batch(rigs: NewRig) -> None:
    rig = await rigs(driver="durable")
    await rig.model.script("s", [{"text": "done"}])
    host = NoHub(rig)
    submitted = await submit(rig, S, S, S, concurrency=2)
    await host.start_batch(submitted)
    await finished(rig, submitted.batch.id, host, within=3 * HOUR)
    assert await item_statuses(rig, submitted.batch.id) == {"completed": 3}
    assert await creates(rig, submitted.batch.id) == [1] * 3


async def test_a_batch_that_cannot_be_read_is_put_aside(either: Rig) -> None:
    submitted = await submit(either, S)
    (row,) = [row for row in either.tables.rows(Table.BATCHES) if row.key == "batch"]
    await either.tables.commit(
        Table.BATCHES, row.partition, [Change(kind=Kind.MERGE, key="batch", values={"progress": "["}, etag=row.etag)]
    )
    await Driver(either).pass_time(300)
    assert await either.app.ports.due.count() == (1, 1)
    assert submitted.batch.id == row.partition
