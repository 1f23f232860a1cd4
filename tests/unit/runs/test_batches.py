"""Batches: one run and one create an item, whatever crashes, races or is throttled on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from shared import errors
from shared.runs.batches.batch import BatchStatus, run_of
from shared.runs.batches.submission import AskedItem, BatchSubmission
from shared.runs.run import RunStatus, Session
from shared.runs.store.tables import Change, Kind, Table
from shared.runs.submission import Submission, Submissions, Submitted
from tests.unit.runs.batches import creates, fates, load, one, submit
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.crashes import Death, Driver, Meanwhile, Trap, interruptions

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
        if (await load(rig, batch_id)).status.over:
            return
        await host.pass_time(30)
    raise AssertionError(await load(rig, batch_id))


def rows_left(rig: Rig, batch_id: str) -> list[str]:
    """The keys of the batch's rows, in every table."""
    kept = [row.key for row in rig.tables.rows(Table.BATCHES) if row.partition == batch_id]
    kept += [row.key for row in rig.tables.rows(Table.WATCH) if row.key == batch_id]
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
    await host.batch_started(submitted)
    await finished(either, submitted.batch.id, host)
    batch = await load(either, submitted.batch.id)
    assert (batch.status, batch.completed, batch.pending, batch.active) == (BatchStatus.COMPLETED, 7, 0, ())
    assert await fates(either, batch.id) == {"completed": 7}
    assert await creates(either, batch.id) == [1] * 7
    assert most == 3
    await host.pass_time(300)
    assert either.tables.rows(Table.WATCH) == []


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
    submitted = await scripted.app.batch_submissions.submit(wanted)
    assert (submitted.batch.failed, submitted.batch.pending) == (3, 1)
    await finished(scripted, submitted.batch.id)
    assert await fates(scripted, submitted.batch.id) == {"completed": 1, "failed": 3}
    heads = await scripted.app.services.batches.heads(submitted.batch.id, 0)
    codes = [head.error_code for head in heads]
    assert codes == [None, "unknown_agent", "input_too_large", "invalid_request"]
    assert await creates(scripted, submitted.batch.id) == [1, 0, 0, 0]


async def test_a_batch_of_bad_items_is_over_at_once(scripted: Rig) -> None:
    bad = [AskedItem(id=None, asked=errors.InvalidJson("no"))] * 2
    wanted = BatchSubmission(items=bad, defaults=one(""), payload="p", idempotency_key="k")
    submitted = await scripted.app.batch_submissions.submit(wanted)
    assert (submitted.batch.status, submitted.batch.failed) == (BatchStatus.COMPLETED, 2)
    again = await scripted.app.batch_submissions.submit(wanted)
    assert (again.batch, again.watch) == (submitted.batch, None)
    host = Driver(scripted)
    await host.batch_started(submitted)
    await host.pass_time(300)
    assert scripted.tables.rows(Table.WATCH) == []


async def test_an_agent_that_no_version_knows_refuses_the_whole_batch(scripted: Rig) -> None:
    wanted = BatchSubmission(items=[AskedItem(id=None, asked=one(S))], defaults=one("", agent="nobody"), payload="p")
    with pytest.raises(errors.UnknownAgent):
        await scripted.app.batch_submissions.submit(wanted)
    assert scripted.tables.rows(Table.BATCHES) == []
    assert scripted.tables.rows(Table.WATCH) == []


async def test_a_run_that_fails_or_is_cut_short_counts_as_such(scripted: Rig) -> None:
    await scripted.model.script("bad", [{"status": "failed", "error": {"code": "invalid_prompt", "message": "No."}}])
    await scripted.model.script("cut", [{"status": "incomplete", "text": "Half"}])
    submitted = await submit(scripted, S, "[script:bad]", "[script:cut]")
    await finished(scripted, submitted.batch.id)
    batch = await load(scripted, submitted.batch.id)
    assert (batch.status, batch.completed, batch.failed, batch.incomplete) == (BatchStatus.COMPLETED, 1, 1, 1)
    results = await scripted.app.services.batches.results(batch.id, 0, 3)
    assert (results[1].error_code, results[1].error_message) == ("invalid_prompt", "No.")


# --- crashes ------------------------------------------------------------------------------------------


@interruptions
async def test_a_key_sent_again_after_any_interruption_is_one_batch(
    scripted: Rig, error: BaseException, applied: bool
) -> None:
    rig = scripted
    for step in range(1, 100):
        key = f"key-{step}"
        before = {row.partition for row in rig.tables.rows(Table.BATCHES)}
        with Trap(rig, at=step, applied=applied, error=error) as trap:
            try:
                first = await submit(rig, LONG, S, key=key)
            except type(error):
                first = None
        again = await submit(rig, LONG, S, key=key)
        assert first is None or first.batch.id == again.batch.id
        assert {row.partition for row in rig.tables.rows(Table.BATCHES)} - before == {again.batch.id}
        await finished(rig, again.batch.id)
        assert await fates(rig, again.batch.id) == {"completed": 2}
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
        with Trap(rig, at=step, applied=False, error=Death()) as trap:
            try:
                await host.batch_started(await submit(rig, LONG, S, key=f"key-{step}"))
            except Death:
                host = Driver(rig)  # its orchestrations died with it
        begun = {row.partition for row in rig.tables.rows(Table.BATCHES)} - before
        born = [each for each in begun if await rig.app.services.batches.load(each) is not None]
        await host.pass_time(75 * 60)
        for batch_id in begun:
            if batch_id in born:
                assert await fates(rig, batch_id) == {"completed": 2}
                assert await creates(rig, batch_id) == [1, 1]
            else:
                assert rows_left(rig, batch_id) == []
        ended["whole" if born else "nothing"] += 1
        assert rig.tables.rows(Table.WATCH) == []
        if not trap.sprung:
            break
    else:
        raise AssertionError("submit never came to its end")
    assert min(ended.values()) > 0, ended


async def story(rig: Rig, host: Driver) -> str:
    """A batch from submit to its end, two items at a time."""
    submitted = await submit(rig, LONG, S, S, key="k", concurrency=2)
    await host.batch_started(submitted)
    await finished(rig, submitted.batch.id, host)
    return submitted.batch.id


class Fatal(Trap):
    """A trap that counts the responses of which the dead process could not write down that they were made."""

    in_doubt = 0

    async def _before(self, o: str, t: Table, p: str | None, c: Sequence[Change]) -> None:
        try:
            await super()._before(o, t, p, c)
        except Death:
            self.in_doubt += t is Table.RUNS and any(bool(change.values.get("token")) for change in c)
            raise

    async def burial(self) -> None:
        """Let what ran side by side with what died come to its end, too."""
        others = [task for task in asyncio.all_tasks() if "_side_by_side" in repr(task.get_coro())]
        if others:
            await asyncio.wait(others)


@pytest.mark.slow
@pytest.mark.parametrize("applied", [False, True], ids=["before", "after"])
async def test_a_crash_after_any_write_makes_no_second_run_and_no_second_create(either: Rig, applied: bool) -> None:
    await deaths_of_a_story(either, range(1, 1_000), applied=applied)


async def test_a_crash_after_some_writes_makes_no_second_run_and_no_second_create(scripted: Rig) -> None:
    await deaths_of_a_story(scripted, (*range(5, 50, 4), 1_000), applied=True)


async def deaths_of_a_story(rig: Rig, steps: Sequence[int], *, applied: bool) -> None:
    for step in steps:
        await rig.model.reset()
        await rig.model.script("s", [{"text": "done"}])
        rig.tables._rows.clear()
        with Fatal(rig, at=step, applied=applied, error=Death()) as trap:
            try:
                batch_id = await story(rig, Driver(rig))
            except Death:
                await trap.burial()
        if trap.sprung:
            batch_id = await story(rig, Driver(rig))  # the key again, and orchestrations anew
        batch = await load(rig, batch_id)
        assert (batch.status, batch.completed, batch.active) == (BatchStatus.COMPLETED, 3, ())
        assert await fates(rig, batch_id) == {"completed": 3}
        runs = {row.partition for row in rig.tables.rows(Table.RUNS)}
        assert len(runs) == 3, "a second run"
        made = await creates(rig, batch_id)
        assert sum(made) == 3 + trap.in_doubt, (step, made)
        await Driver(rig).pass_time(300)
        assert rig.tables.rows(Table.WATCH) == []
        if not trap.sprung:
            return
    raise AssertionError("the story never came to its end")


async def test_two_wakes_at_once_are_one(scripted: Rig) -> None:
    submitted = await submit(scripted, *[S] * 4)
    host = Driver(scripted)
    wake = scripted.app.batch_wakes.advance
    await asyncio.gather(*(wake(submitted.batch.id, host) for _ in range(5)))  # type: ignore[arg-type]
    await finished(scripted, submitted.batch.id, host)
    assert await creates(scripted, submitted.batch.id) == [1] * 4
    assert await fates(scripted, submitted.batch.id) == {"completed": 4}


# --- later, not now -----------------------------------------------------------------------------------


async def test_a_provider_that_throttles_holds_the_whole_batch_back(scripted: Rig) -> None:
    rig = scripted
    fault = {"status": 429, "headers": {"retry-after": "100"}, "json_error": {"code": "rate_limit_exceeded"}}
    await rig.model.switches(faults={"create": [{**fault, "skip": 2, "times": 4}]})
    submitted = await submit(rig, *[S] * 12, concurrency=4)
    host = Driver(rig)
    await host.batch_started(submitted)
    await host.pass_time(8, tick=1.0)
    batch = await load(rig, submitted.batch.id)
    assert (batch.held, batch.window) == (True, 2)
    refused = len(await rig.model.log("create"))
    await host.pass_time(60, tick=5.0)
    assert len(await rig.model.log("create")) == refused, (
        "nothing new is tried while the provider wants to be left alone"
    )
    assert (await load(rig, submitted.batch.id)).pending > 0
    await finished(rig, submitted.batch.id, host)
    batch = await load(rig, submitted.batch.id)
    assert (batch.completed, batch.held, batch.window) == (12, False, 4)
    assert await creates(rig, batch.id) == [1] * 12


async def test_a_limit_of_our_own_means_later(scripted: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    class TooMany(errors.DormouseError):
        status = 429

    rig, real = scripted, Submissions.submit
    refusals = begun = 0

    async def limited(self: Submissions, wanted: Submission) -> Submitted:
        nonlocal refusals, begun
        ended = [row for row in rig.tables.rows(Table.RUNS) if row.key == "session" and row.values["active_run"] == ""]
        if begun - len(ended) >= 2:
            refusals += 1
            raise TooMany(headers={"Retry-After": "40"})
        begun += 1
        return await real(self, wanted)

    monkeypatch.setattr(Submissions, "submit", limited)
    submitted = await submit(rig, *[S] * 6, concurrency=4)
    host = Driver(rig)
    await host.batch_started(submitted)
    await host.pass_time(30, tick=2.0)
    asked_so_far = refusals
    assert asked_so_far > 0
    await host.pass_time(6, tick=2.0)
    assert refusals == asked_so_far, "it waits as long as it was told to"
    await finished(rig, submitted.batch.id, host)
    assert await fates(rig, submitted.batch.id) == {"completed": 6}
    assert await creates(rig, submitted.batch.id) == [1] * 6


async def test_an_item_that_cannot_be_started_for_a_reason_nobody_expected_fails_alone_at_last(
    scripted: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Submissions.submit

    async def broken(self: Submissions, wanted: Submission) -> Submitted:
        if "boom" in str(wanted.items):
            raise ZeroDivisionError
        return await real(self, wanted)

    monkeypatch.setattr(Submissions, "submit", broken)
    submitted = await submit(scripted, S, "[script:s] boom", S, concurrency=1)
    await finished(scripted, submitted.batch.id, within=3 * HOUR)
    assert await fates(scripted, submitted.batch.id) == {"completed": 2, "failed": 1}
    (result,) = (await scripted.app.services.batches.results(submitted.batch.id, 1, 2)).values()
    assert (result.error_code, result.ran) == ("internal_error", False)


# --- the end ------------------------------------------------------------------------------------------


async def test_cancel_ends_what_waits_and_stops_what_is_active(either: Rig) -> None:
    rig = either
    await rig.model.script("slow", [{"text": "late", "think": 10_000}])
    submitted = await submit(rig, S, *["[script:slow]"] * 5, concurrency=2)
    host = Driver(rig)
    await host.batch_started(submitted)
    await host.pass_time(120)
    work = rig.app.batch_work
    cancelling = await work.cancel(submitted.batch.id)
    assert cancelling is not None
    assert (cancelling.status, cancelling.pending, cancelling.cancelled) == (BatchStatus.CANCELLING, 0, 3)
    await rig.app.signals.woken(submitted.batch.id, host)  # type: ignore[arg-type]
    await finished(rig, submitted.batch.id, host)
    assert await fates(rig, submitted.batch.id) == {"completed": 1, "cancelled": 5}
    batch = await work.cancel(submitted.batch.id)
    assert batch is not None
    assert (batch.status, batch.completed, batch.cancelled) == (BatchStatus.CANCELLED, 1, 5)
    await host.pass_time(300)
    slow = [response for response in await rig.model.responses() if response.script == "slow"]
    assert [response.status for response in slow] == ["cancelled", "cancelled"]
    assert rig.tables.rows(Table.WATCH) == []


async def test_cancel_before_the_first_wake_runs_nothing(scripted: Rig) -> None:
    submitted = await submit(scripted, S, S)
    batch = await scripted.app.batch_work.cancel(submitted.batch.id)
    assert batch is not None
    assert (batch.status, batch.cancelled) == (BatchStatus.CANCELLED, 2)
    await Driver(scripted).pass_time(300)
    assert await scripted.model.log() == []


async def test_a_cancel_at_any_moment_of_a_wake_leaves_no_run_behind(scripted: Rig) -> None:
    rig = scripted
    await rig.model.script("slow", [{"text": "late", "think": 10_000}])
    for at in range(1, 200):
        submitted = await submit(rig, "[script:slow]", "[script:slow]", "[script:slow]", concurrency=2)
        host = Driver(rig)

        async def cancelled(batch_id: str = submitted.batch.id) -> None:
            await rig.app.batch_work.cancel(batch_id)

        with Meanwhile(rig, at, cancelled) as meanwhile:
            await rig.app.batch_wakes.advance(submitted.batch.id, host)  # type: ignore[arg-type]
        if not meanwhile.happened:
            break
        await finished(rig, submitted.batch.id, host)
        assert await fates(rig, submitted.batch.id) == {"cancelled": 3}
        await host.pass_time(120)
        for index in range(3):
            stored = await rig.app.services.store.load(run_of(submitted.batch.id, index))
            assert stored is None or stored.value.status is RunStatus.CANCELLED
        made = [each for each in await rig.model.responses() if each.script == "slow"]
        assert {each.status for each in made} <= {"cancelled"}, at
    assert at > 10


async def test_a_deleted_batch_goes_with_its_runs_and_leaves_a_mark_for_its_key(either: Rig) -> None:
    rig = either
    host = Driver(rig)
    submitted = await submit(rig, LONG, S, "[script:s] third", key="k", concurrency=2)
    await host.batch_started(submitted)
    await host.pass_time(60)
    assert await rig.app.batch_deletion.delete(submitted.batch.id)
    await rig.app.signals.woken(submitted.batch.id, host)  # type: ignore[arg-type]
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
    await host.batch_started(submitted)
    await finished(rig, submitted.batch.id, host)
    rig.clock.move(20 * 24 * HOUR)
    run = await rig.run(run_of(submitted.batch.id, 0))
    await rig.follow(await rig.start(S, session_id=run.session_id))
    rig.clock.move(11 * 24 * HOUR)
    done = await rig.app.retention.run(host)  # type: ignore[arg-type]
    assert done["batches"] == 1
    await host.pass_time(600)
    assert rows_left(rig, submitted.batch.id) == ["batch", submitted.batch.id]
    session: Session = await rig.session(run.id)
    assert session.deleted_at is None
    assert (await rig.run(run.id)).deleted_at is None


async def test_a_lost_orchestration_costs_minutes_not_the_batch(either: Rig) -> None:
    submitted = await submit(either, S, S, S, concurrency=1)
    await Driver(either).batch_started(submitted)
    await finished(either, submitted.batch.id, Driver(either))  # a hub that knows of nothing
    assert await creates(either, submitted.batch.id) == [1] * 3


class NoHub(Driver):
    """A host whose task hub is gone for good."""

    async def ensure(self, run: str) -> None:
        raise ConnectionError("no task hub")

    wake = step = ensure


async def test_the_loss_of_the_whole_task_hub_costs_minutes_not_the_batch(rigs: NewRig) -> None:
    rig = await rigs(driver="durable")
    await rig.model.script("s", [{"text": "done"}])
    host = NoHub(rig)
    submitted = await submit(rig, S, S, S, concurrency=2)
    await host.batch_started(submitted)
    await finished(rig, submitted.batch.id, host, within=3 * HOUR)
    assert await fates(rig, submitted.batch.id) == {"completed": 3}
    assert await creates(rig, submitted.batch.id) == [1] * 3


async def test_a_batch_that_cannot_be_read_is_put_aside(either: Rig) -> None:
    submitted = await submit(either, S)
    (row,) = [row for row in either.tables.rows(Table.BATCHES) if row.key == "batch"]
    await either.tables.commit(
        Table.BATCHES, row.partition, [Change(kind=Kind.MERGE, key="batch", values={"active": "["}, etag=row.etag)]
    )
    await Driver(either).pass_time(300)
    assert await either.app.services.watch.count() == (1, 1)
    assert submitted.batch.id == row.partition
