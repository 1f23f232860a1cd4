"""Submit: what may happen between any two of its steps, with the first create claimed as the run is written."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from shared.agentkit.provider import Provider
from shared.agentkit.responses import ResponsesAgent
from shared.errors import BatchDeleted, RunDeleted, SessionBusy
from shared.runs.batches.delete import delete_batch
from shared.runs.commands.delete import delete_run
from shared.runs.commands.submission import Submitted
from shared.runs.model.phases import Creating, RunStatus
from shared.runs.store.tables import Change, Kind, Row, Table
from shared.settings import Settings
from tests.unit.runs.batches import submit as submit_batch
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.crashes import Driver, Killed, RunBefore
from tests.unit.runs.test_submission import LONG, Gate, committed, listed, next_in_session, rows_of, runs_of


def held_slots(rig: Rig) -> list[tuple[Any, Any]]:
    """The slots that are taken: the run and the number of each."""
    rows: list[Row] = [row for row in rig.tables.rows(Table.INDEX) if row.partition.startswith("active:")]
    return sorted((row.values["run"], int(row.key)) for row in rows)


def slots_of_active_runs(rig: Rig) -> list[tuple[Any, Any]]:
    return sorted((run.id, run.request.slot) for run in runs_of(rig) if not run.terminal)


async def both(rig: Rig, request: Callable[[], Awaitable[Submitted]], first: int, second: int) -> tuple[list[Any], int]:
    """Two requests: one stops before its ``first``-th operation, the other before its ``second``-th; then they go on.

    Returns their answers, and how many operations the second had made.
    """
    gates: dict[asyncio.Task[Any] | None, Gate] = {}

    async def held(_o: str, _t: Table, _p: str | None, _c: Sequence[Change]) -> None:
        if (gate := gates.get(asyncio.current_task())) is not None:
            await gate.enter()

    rig.tables.before = held
    tasks: list[asyncio.Task[Any]] = []
    for at in (first, second):
        tasks.append(asyncio.ensure_future(request()))
        gates[tasks[-1]] = Gate(at)
        reached = asyncio.create_task(gates[tasks[-1]].reached.wait())
        await asyncio.wait([tasks[-1], reached], return_when=asyncio.FIRST_COMPLETED)
        reached.cancel()
    over = tasks[1].done()
    answers = []
    for task in tasks:
        gates[task].opened.set()
        answers.append((await asyncio.gather(task, return_exceptions=True))[0])
    rig.tables.before = None
    return answers, over


@pytest.mark.parametrize("first", range(2, 8))
@pytest.mark.slow
async def test_one_key_twice_at_once_in_a_session_holds_one_slot(rigs: NewRig, first: int) -> None:
    rig = await rigs(max_active_runs=3)
    await rig.model.script("s", [{"text": "done"}])
    for step in range(1, 100):
        session = await next_in_session(rig)
        before = committed(rig)

        async def request(session: str = session, step: int = step) -> Submitted:
            return await rig.submit(session_id=session, idempotency_key=f"k-{step}")

        answers, over = await both(rig, request, first, step)
        (run,) = {answer.run.id for answer in answers}
        assert committed(rig) - before == {run}
        assert held_slots(rig) == slots_of_active_runs(rig), step
        await rig.finish(run)
        assert held_slots(rig) == []
        if over:
            break
    assert step > 1


@pytest.mark.slow
@pytest.mark.parametrize("keyed", [True, False])
async def test_a_session_whose_earlier_run_is_deleted_meanwhile_takes_its_next_run(rigs: NewRig, keyed: bool) -> None:
    rig = await rigs(max_active_runs=3)
    await rig.model.script("s", [{"text": "done"}])
    for step in range(1, 100):
        earlier = await rig.run_to_end()
        key = f"k-{step}" if keyed else None

        async def delete(earlier: str = earlier.id) -> None:
            with contextlib.suppress(SessionBusy):  # the next run is there already
                await delete_run(rig.app.ports, earlier)

        with RunBefore(rig, step, delete) as meanwhile:
            run = (await rig.submit(session_id=earlier.request.session_id, idempotency_key=key)).run
        assert run.request.number == 2
        assert held_slots(rig) == slots_of_active_runs(rig)
        assert (await rig.finish(run.id)).status is RunStatus.COMPLETED
        places = [row.key for row in rows_of(rig, "list") if run.id in row.key]
        assert (len(places), run.id in listed(rig)) == (1, True)
        deleted = meanwhile.happened and (await rig.run(earlier.id)).is_deleted
        body = (await rig.model.creates(run=run.id))[0].body or {}
        assert not deleted or "previous_response_id" not in body
        if not meanwhile.happened:
            break
    assert step > 5


@pytest.mark.parametrize("first", range(2, 14))
@pytest.mark.slow
async def test_one_key_twice_at_once_while_an_earlier_run_is_deleted_is_one_run(rigs: NewRig, first: int) -> None:
    rig = await rigs(max_active_runs=3)
    await rig.model.script("s", [{"text": "done"}])
    for step in range(1, 100):
        earlier = await rig.run_to_end()
        before = committed(rig)
        count = 0

        async def request(earlier: Any = earlier, step: int = step) -> Submitted:
            nonlocal count
            count += 1
            if count == 2:
                with contextlib.suppress(SessionBusy):  # the other was faster
                    await delete_run(rig.app.ports, earlier.id)
            return await rig.submit(session_id=earlier.request.session_id, idempotency_key=f"k-{step}")

        answers, over = await both(rig, request, first, step)
        (run,) = {answer.run.id for answer in answers}
        assert committed(rig) - before == {run}
        assert held_slots(rig) == slots_of_active_runs(rig)
        assert run in listed(rig)
        again = await request()
        assert again.run.id == run
        await rig.finish(run)
        if over:
            break
    assert step > 1


def slow_at(rig: Rig, row: str, seconds: float) -> None:
    """Let the first write of a row of this kind take so long."""

    async def slow(operation: str, table: Table, _p: str | None, changes: Sequence[Change]) -> None:
        if any(change.key.startswith(row) for change in changes):
            rig.tables.before = None
            rig.clock.move(seconds)

    rig.tables.before = slow


async def test_long_inputs_that_take_their_time_leave_the_first_create_its_whole_claim(rig: Rig) -> None:
    await rig.model.script("s", [{"text": "done"}])
    slow_at(rig, "part:", 100.0)
    run = (await rig.submit(LONG)).run
    assert (run.status, run.turn.attempt) == (RunStatus.IN_PROGRESS, 1)


async def test_a_deadline_that_passes_before_the_first_create_ends_the_run_and_sends_nothing(rig: Rig) -> None:
    slow_at(rig, "part:", 1.0)
    run = (await rig.submit(LONG, deadline_seconds=1.0)).run
    assert (run.status, run.result.error_code) == (RunStatus.FAILED, "deadline_exceeded")
    assert await rig.model.creates() == []


@pytest.mark.parametrize("seconds", [31.0, 61.0, 100.0])
async def test_a_write_so_slow_that_its_claim_is_used_up_sends_nothing_and_counts_nothing(
    rig: Rig, seconds: float
) -> None:
    await rig.model.script("s", [{"text": "done"}])
    slow_at(rig, "run:", seconds)
    run = (await rig.submit()).run
    assert (run.status, await rig.model.creates()) == (RunStatus.QUEUED, [])
    assert isinstance(run.phase, Creating)
    assert run.phase.claim is None
    run = await rig.finish(run.id)
    assert (run.status, run.turn.unknown_outcomes) == (RunStatus.COMPLETED, 0)
    assert len(await rig.model.creates()) == 1


async def test_an_agent_that_changes_the_items_it_is_given_changes_none_of_the_rows(rigs: NewRig) -> None:
    class Careless(ResponsesAgent):
        def prepare(self, messages: Any, **more: Any) -> Any:
            sent = super().prepare(messages, **more)
            messages[0]["content"] = "changed"
            messages.clear()
            return sent

    def careless(settings: Settings, provider: Provider) -> Any:
        return Careless(name="careless", description="", model="gpt-5", instructions="", provider=provider)

    rig = await rigs([careless])
    await rig.model.script("s", [{"text": "done"}])
    run = await rig.run_to_end(agent="careless")
    assert run.status is RunStatus.COMPLETED
    assert (await rig.items(run.id))[0]["content"] == "[script:s]"


async def test_a_process_that_dies_with_its_claim_written_delays_the_run_by_the_claim_alone(rig: Rig) -> None:
    await rig.model.script("s", [{"text": "done"}])

    async def dies(operation: str, _t: Table, _p: str | None, changes: Sequence[Change]) -> None:
        if any(change.key.startswith("run:") for change in changes):
            raise Killed

    rig.tables.after = dies
    with pytest.raises(Killed):
        await rig.submit(idempotency_key="k")
    rig.tables.after = None
    again = await rig.submit(idempotency_key="k")
    await Driver(rig).start_run(again)
    assert await rig.model.creates() == []
    began = rig.clock.now
    run = await rig.follow(again.run.id, lambda run: run.terminal)
    assert (run.status, run.turn.unknown_outcomes) == (RunStatus.COMPLETED, 1)
    assert (rig.clock.now - began).total_seconds() < 100
    assert len(await rig.model.creates()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("begun", [False, True], ids=["new_session", "next_run"])
async def test_a_submit_whose_run_was_begun_and_deleted_meanwhile_is_told_so_and_leaves_nothing(
    rigs: NewRig, begun: bool
) -> None:
    rig = await rigs(max_active_runs=3)
    await rig.model.script("s", [{"text": "done"}])
    host = Driver(rig)
    for step in range(1, 100):
        fields: dict[str, Any] = {"idempotency_key": f"k-{step}"}
        if begun:
            fields["session_id"] = await next_in_session(rig)
        before = committed(rig)
        was_first = False

        async def begin_and_delete(fields: dict[str, Any] = fields, before: set[str] = before) -> None:
            nonlocal was_first
            was_first = committed(rig) == before
            run_id = await rig.start(LONG, **fields)
            await delete_run(rig.app.ports, run_id)
            for _ in range(2):
                await rig.wake(run_id)

        with RunBefore(rig, step, begin_and_delete) as meanwhile:
            try:
                await rig.submit(LONG, **fields)
            except RunDeleted:
                assert was_first
            else:
                assert not was_first
        (run_id,) = committed(rig) - before
        await delete_run(rig.app.ports, run_id)
        if not meanwhile.happened:
            break
    assert step > 8
    rig.clock.move(49 * 3_600.0)
    await host.pass_time(2 * 3_600.0)
    assert rows_of(rig, "part") == rows_of(rig, "due") == []
    assert len(rows_of(rig, "list")) == len(listed(rig)) == len(committed(rig))


async def test_a_session_with_a_run_of_a_format_that_nobody_reads_answers_all_the_same(rigs: NewRig) -> None:
    rig = await rigs(chain="replay")
    await rig.model.script("s", [{"text": "done"}])
    session = await next_in_session(rig)
    (row,) = rows_of(rig, "run")
    old = Change(kind=Kind.MERGE, key=row.key, values={"schema": 0}, etag=row.etag)
    await rig.tables.commit(Table.RUNS, session, [old])
    assert (await rig.submit(session_id=session)).run.status is RunStatus.QUEUED


def rows_of_batches(rig: Rig) -> list[Row]:
    return [row for row in rig.tables.rows(Table.BATCHES) if row.key == "batch"]


@pytest.mark.slow
async def test_a_batch_that_was_begun_and_deleted_meanwhile_is_told_so_and_leaves_nothing(rig: Rig) -> None:
    await rig.model.script("s", [{"text": "done"}])
    host = Driver(rig)
    for step in range(1, 100):
        before = len(rows_of_batches(rig))
        was_first = False

        async def begin_and_delete(step: int = step, before: int = before) -> None:
            nonlocal was_first
            was_first = len(rows_of_batches(rig)) == before
            batch_id = (await submit_batch(rig, LONG, key=f"k-{step}")).batch.id
            await delete_batch(rig.app.ports, batch_id)
            for _ in range(3):
                await rig.run_activity(batch_id, host)

        with RunBefore(rig, step, begin_and_delete) as meanwhile:
            try:
                await submit_batch(rig, LONG, key=f"k-{step}")
            except BatchDeleted:
                assert was_first
            else:
                assert not was_first
        if not meanwhile.happened:
            break
    assert step > 6
    last = (await submit_batch(rig, LONG, key=f"k-{step}")).batch.id
    assert await delete_batch(rig.app.ports, last)
    await host.pass_time(600.0)
    rig.clock.move(49 * 3_600.0)
    await host.pass_time(2 * 3_600.0)
    assert rig.tables.rows(Table.BATCHES) == rows_of(rig, "due") == []
    assert [row for row in rig.tables.rows(Table.INDEX) if row.partition.startswith("batches:")] == []
