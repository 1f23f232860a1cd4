"""Lists come from rows of their own: what these show, what a page costs, and that no crash leaves them wrong."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from shared.agentkit.faults import PerhapsAccepted
from shared.api.native.runs import list_runs
from shared.drivers.sweep import sweep
from shared.errors import InvalidRequest
from shared.runs.commands.answer import answer
from shared.runs.commands.cancel import cancel
from shared.runs.commands.delete import delete_run, delete_session
from shared.runs.listing import after_change
from shared.runs.model.facts import Approve
from shared.runs.model.listed import ListedRun
from shared.runs.model.phases import RunStatus
from shared.runs.queries.runs import RunFilter, runs_of_owner
from shared.runs.store.tables import Change, Kind, StoreUnavailable, Table
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.crashes import Act, Driver, FailAt, Killed, Prepare, RunBefore, interrupt_each, interruptions
from tests.unit.runs.test_answers import ask as script_asking
from tests.unit.runs.test_answers import parked, waiting
from tests.unit.runs.test_session_pages import asked
from tests.unit.runs.test_submission import listed as listed_rightly
from tests.unit.runs.test_submission import rows_of

YES = Approve(approve=True)
STUCK = {"stuck": True}
BUSY = {"faults": {"create": [{"status": 429, "times": -1}]}}
BROKEN = {"status": "failed", "error": {"code": "invalid_prompt", "message": "Not this one."}}
SHORT = {"text": "Once", "status": "incomplete", "incomplete_reason": "max_output_tokens"}


async def in_list(rig: Rig, *statuses: RunStatus, agent: str | None = None, owner: str = "test") -> list[ListedRun]:
    """All of the list, page by page."""
    found: list[ListedRun] = []
    cursor: str | None = None
    while True:
        wanted = RunFilter(statuses=frozenset(statuses), agent=agent)
        page = await runs_of_owner(rig.app.ports, owner, cursor, 3, wanted)
        found += page.runs
        if (cursor := page.cursor) is None:
            return found


async def shown(rig: Rig, run_id: str) -> RunStatus | None:
    """The run's status in the list; None where that does not have it."""
    return next((run.status for run in await in_list(rig) if run.id == run_id), None)


async def assert_right(rig: Rig) -> None:
    """The list shows each run as its own row says, but for deleted ones, and nothing else."""
    runs = [await rig.run(f"run_{row.partition}_{int(row.key[4:])}") for row in rows_of(rig, "run")]
    assert {run.id: run.status for run in await in_list(rig)} == {r.id: r.status for r in runs if not r.is_deleted}


# --- what it shows ------------------------------------------------------------------------------------


async def test_a_list_follows_each_change_of_status(rig: Rig) -> None:
    run_id, _ = await parked(rig, "send", metadata={"ticket": "7"}, stream=True)
    (one,) = await in_list(rig)
    run = await rig.run(run_id)
    assert (one.id, one.status, one.agent) == (run_id, RunStatus.REQUIRES_ACTION, "workshop")
    assert one.session_id == run.request.session_id
    held = one.summary
    assert (held.metadata, held.stream, held.created_at) == ({"ticket": "7"}, True, run.request.created_at)
    assert (held.completed_at, held.elapsed_seconds, held.error_code) == (None, None, None)
    await answer(rig.app.ports, run_id, dict.fromkeys(await waiting(rig, run_id), YES))
    assert await shown(rig, run_id) is RunStatus.IN_PROGRESS
    run = await rig.follow(run_id)
    (one,) = await in_list(rig)
    held = one.summary
    assert (one.status, held.completed_at) == (RunStatus.COMPLETED, run.completed_at)
    assert run.completed_at is not None
    assert held.elapsed_seconds == round((run.completed_at - run.request.created_at).total_seconds(), 3) > 0
    assert held.usage == run.counters.usage
    assert held.usage.total_tokens > 0
    await delete_run(rig.app.ports, run_id)
    assert await in_list(rig) == [], "at once, not when its rows go"


@pytest.mark.parametrize(("turn", "status"), [(BUSY, RunStatus.QUEUED), (STUCK, RunStatus.IN_PROGRESS)])
async def test_a_run_is_in_the_list_once_its_submit_is_answered(
    rig: Rig, turn: dict[str, Any], status: RunStatus
) -> None:
    await rig.model.script("s", [turn])
    run_id = await rig.start()
    assert await shown(rig, run_id) is status


async def test_a_run_that_was_deleted_while_its_create_took_long_is_not_listed_by_its_submit(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the submit cannot see what became of the run."""
    sent, released = asyncio.Event(), asyncio.Event()

    async def send(*_: object, **__: object) -> dict[str, Any]:
        sent.set()
        await released.wait()
        raise PerhapsAccepted("cut off", code="http_500")

    monkeypatch.setattr(rig.provider, "send", send)
    submit = asyncio.create_task(rig.submit())
    await sent.wait()
    (row,) = rows_of(rig, "run")
    run_id = f"run_{row.partition}_1"
    await delete_run(rig.app.ports, run_id)

    async def away(operation: str, table: Table, *_: object) -> None:
        if (operation, table) == ("get", Table.RUNS):
            rig.tables.before = None
            raise StoreUnavailable("away")

    rig.tables.before = away
    released.set()
    await submit
    assert rig.tables.before is None
    assert await shown(rig, run_id) is None


async def test_an_ended_run_is_listed_with_what_it_came_to(rig: Rig) -> None:
    await rig.model.script("f", [BROKEN])
    await rig.model.script("i", [SHORT])
    failed, short = await rig.run_to_end("[script:f]"), await rig.run_to_end("[script:i]")
    second, first = await in_list(rig)
    assert (first.id, first.summary.error_code) == (failed.id, failed.result.error_code)
    assert first.summary.error_message == failed.result.error_message != ""
    assert (second.id, second.status, second.summary.incomplete_reason) == (
        short.id,
        RunStatus.INCOMPLETE,
        "max_output_tokens",
    )


async def test_tokens_that_are_counted_after_a_cancel_reach_the_list(rig: Rig) -> None:
    await rig.model.script("s", [{"text": "Never seen.", "think": 30, "faults": {}}])
    run_id = await rig.start()
    await cancel(rig.app.ports, run_id)
    await rig.finish(run_id)
    (one,) = await in_list(rig)
    assert one.summary.usage == (await rig.run(run_id)).counters.usage


async def test_a_filter_is_the_service_s_and_knows_hidden_rows_from_others(rig: Rig) -> None:
    await rig.model.script("s", [STUCK])
    await rig.model.script("d", [{"text": "Done."}])
    running: list[str] = []
    for _ in range(4):
        running += [await rig.start()]
        rig.clock.move(0.01)
    done = [(await rig.run_to_end("[script:d]")).id for _ in range(4)]
    other = await rig.start("A story.", agent="novelist")
    unseen = await rig.run(other)
    unseen = replace(unseen, request=replace(unseen.request, fingerprint="f" * 32))
    await rig.app.ports.index.list_hidden(unseen)
    assert len(rows_of(rig, "list")) == 10
    assert [run.id for run in await in_list(rig)] == [other, *reversed(done), *reversed(running)]
    assert [run.id for run in await in_list(rig, RunStatus.COMPLETED)] == [*reversed(done)]
    both = await in_list(rig, RunStatus.COMPLETED, RunStatus.IN_PROGRESS, agent="workshop")
    assert [run.id for run in both] == [*reversed(done), *reversed(running)]
    assert await in_list(rig, RunStatus.CANCELLED) == await in_list(rig, agent="nobody") == []
    assert await in_list(rig, owner="another") == []


@pytest.mark.parametrize(
    "cursor", ["~", "~A", "~bm90IGpzb24", "~WzFd", "~" + "A" * 1_201, "1:run_x:y", "~a/b", "~a%0Ab"]
)
async def test_a_cursor_that_no_page_gave_out_is_refused(rig: Rig, cursor: str) -> None:
    with pytest.raises(InvalidRequest, match="`cursor` is none of ours"):
        await list_runs(asked("-", f"cursor={cursor}"), rig.app)


async def test_a_row_that_cannot_be_read_hides_no_other(rig: Rig) -> None:
    await rig.model.script("s", [STUCK])
    damaged, sound = await rig.start(), await rig.start()
    (row,) = [row for row in rows_of(rig, "list") if damaged in row.key]
    for values in ({**row.values, "summary": "{"}, {"status": "queued", "agent": "x"}, {**row.values, "schema": 99}):
        change = Change(kind=Kind.OVERWRITE, key=row.key, values=values)
        await rig.tables.commit(Table.INDEX, row.partition, [change])
        assert [run.id for run in await in_list(rig)] == [sound]
    await cancel(rig.app.ports, damaged)
    assert await shown(rig, damaged) is RunStatus.CANCELLED, "mended by the next change"


# --- crashes ------------------------------------------------------------------------------------------


async def _queued(rig: Rig, host: Driver, key: str) -> Act:
    await rig.model.script("s", [BUSY])

    async def act() -> None:
        await host.start_run(await rig.submit(idempotency_key=key))

    return act


async def _in_progress(rig: Rig, host: Driver, key: str) -> Act:
    await rig.model.script("s", [STUCK])

    async def act() -> None:
        await host.start_run(await rig.submit(idempotency_key=key))

    return act


async def _requires_action(rig: Rig, host: Driver, key: str) -> Act:
    await rig.model.script("s", script_asking("send"))
    run_id = await _begun(rig, host, key)
    await rig.wake(run_id)  # the tools come with the next one
    return lambda: rig.run_activity(run_id, host)


async def _in_progress_again(rig: Rig, host: Driver, key: str) -> Act:
    run_id, (asked,) = await parked(rig, "send", idempotency_key=key)
    await rig.model.script("s", [script_asking("send")[0], STUCK])

    async def act() -> None:
        await answer(rig.app.ports, run_id, {asked: YES})
        await rig.driver(host).wake(run_id)

    return act


def _ending(turn: dict[str, Any]) -> Prepare:
    async def prepare(rig: Rig, host: Driver, key: str) -> Act:
        await rig.model.script("s", [turn])
        run_id = await _begun(rig, host, key)
        return lambda: rig.run_activity(run_id, host)

    return prepare


async def _cancelled(rig: Rig, host: Driver, key: str) -> Act:
    await rig.model.script("s", [STUCK])
    run_id = await _begun(rig, host, key)

    async def act() -> None:
        await cancel(rig.app.ports, run_id)
        await rig.driver(host).wake(run_id)

    return act


async def _deleted(rig: Rig, host: Driver, key: str) -> Act:
    await rig.model.script("s", [STUCK])
    run_id = await _begun(rig, host, key)

    async def act() -> None:
        await delete_run(rig.app.ports, run_id)
        await rig.driver(host).wake(run_id)

    return act


async def _begun(rig: Rig, host: Driver, key: str) -> str:
    submitted = await rig.submit(idempotency_key=key)
    await host.start_run(submitted)
    rig.clock.move(2)
    return submitted.run.id


PREPARED = {
    RunStatus.QUEUED: _queued,
    RunStatus.IN_PROGRESS: _in_progress,
    RunStatus.REQUIRES_ACTION: _requires_action,
    "in_progress again": _in_progress_again,
    RunStatus.COMPLETED: _ending({"text": "Done."}),
    RunStatus.INCOMPLETE: _ending(SHORT),
    RunStatus.FAILED: _ending(BROKEN),
    RunStatus.CANCELLED: _cancelled,
    "deleted": _deleted,
}
"""By the status that a run comes to: what comes before, and the act that is interrupted."""


@pytest.mark.slow
@interruptions
@pytest.mark.parametrize("driver", ["durable", "timer"])
@pytest.mark.parametrize("status", PREPARED)
async def test_whatever_interrupts_a_change_of_status_the_list_comes_to_show_it(
    rigs: NewRig, status: str, driver: str, error: BaseException, applied: bool
) -> None:
    rig = await rigs(driver=driver)
    came_to: set[str] = set()

    async def check() -> None:
        await assert_right(rig)
        came_to.update("deleted" if run.is_deleted else run.status.value for run in await runs_of(rig))

    at = await interrupt_each(rig, PREPARED[status], check, error=error, applied=applied, seconds=420)  # type: ignore[index]
    assert at > 4
    assert status.removesuffix(" again") in came_to


async def runs_of(rig: Rig) -> list[Any]:
    return [await rig.run(f"run_{row.partition}_{int(row.key[4:])}") for row in rows_of(rig, "run")]


@pytest.mark.slow
@interruptions
@pytest.mark.parametrize("driver", ["durable", "timer"])
async def test_a_repair_that_is_interrupted_is_made_by_the_next_sweep(
    rigs: NewRig, driver: str, error: BaseException, applied: bool
) -> None:
    rig = await rigs(driver=driver)
    await rig.model.script("s", [{"text": "Done."}])

    async def left_behind(rig: Rig, host: Driver, key: str) -> Act:
        run_id = await _begun(rig, host, key)
        # The process dies right before it writes the list's row.
        with FailAt(rig, at=4 if driver == "durable" else 5, applied=False, error=Killed()), pytest.raises(Killed):
            await rig.run_activity(run_id, host)
        assert (await rig.run(run_id)).status is RunStatus.COMPLETED
        assert await shown(rig, run_id) is RunStatus.IN_PROGRESS
        rig.clock.move(190)
        return lambda: sweep(rig.app.ports, rig.driver(host))

    async def check() -> None:
        await assert_right(rig)
        assert rows_of(rig, "due") == []

    at = await interrupt_each(rig, left_behind, check, error=error, applied=applied, seconds=300)
    assert at > 4


async def test_a_due_row_stays_until_the_list_is_right(rigs: NewRig) -> None:
    rig = await rigs(driver="timer")
    await rig.model.script("s", [{"text": "Done."}])
    host = Driver(rig)
    run_id = await _begun(rig, host, "k")

    async def no_list(operation: str, table: Table, *_: object) -> None:
        if table is Table.INDEX:
            raise StoreUnavailable("away")

    rig.tables.before = no_list
    with pytest.raises(StoreUnavailable):
        await rig.run_activity(run_id, host)
    await host.pass_time(600)
    assert (await rig.run(run_id)).status is RunStatus.COMPLETED
    assert len(rows_of(rig, "due")) == 1
    rig.tables.before = None
    assert await shown(rig, run_id) is RunStatus.IN_PROGRESS
    await host.pass_time(120)
    assert await shown(rig, run_id) is RunStatus.COMPLETED
    assert rows_of(rig, "due") == []


# --- races --------------------------------------------------------------------------------------------


async def test_a_process_that_was_frozen_before_it_listed_a_status_shows_no_earlier_one(rig: Rig) -> None:
    """At each operation of the wake that parks a run, it is answered and goes on."""
    for at in range(1, 20):
        await rig.model.script("s", [script_asking("send")[0], STUCK])
        run_id = await rig.start()
        rig.clock.move(2)
        await rig.follow(run_id, lambda run: run.turn.calls)

        async def go_on(run_id: str = run_id) -> None:
            asked = dict.fromkeys(await waiting(rig, run_id), YES)
            await answer(rig.app.ports, run_id, asked)
            rig.clock.move(1)
            await rig.wake(run_id)

        with RunBefore(rig, at, go_on) as race:
            await rig.wake(run_id)
        await assert_right(rig)
        if not race.happened:
            break
    assert at > 4


@pytest.mark.parametrize("then", ["cancel", "delete"])
async def test_no_late_write_shows_a_run_as_it_was_before_its_end(rig: Rig, then: str) -> None:
    for at in range(1, 20):
        run_id, asked = await parked(rig, "send")

        async def end(run_id: str = run_id) -> None:
            if then == "cancel":
                await cancel(rig.app.ports, run_id)
            else:
                await delete_run(rig.app.ports, run_id)
                await rig.wake(run_id)

        with RunBefore(rig, at, end) as race, contextlib.suppress(Exception):
            await answer(rig.app.ports, run_id, dict.fromkeys(asked, YES))
        await assert_right(rig)
        if not race.happened:
            break
    assert at > 4


async def test_a_submit_that_was_frozen_shows_no_status_of_before_the_end(rig: Rig) -> None:
    """At each operation of a submit the run comes to its end, if it is there, and its due row goes."""
    ended = 0
    for at in range(1, 40):
        await rig.model.script("s", [{"text": "Done."}])
        known = {row.partition for row in rows_of(rig, "run")}

        async def end(known: set[str] = known) -> None:
            nonlocal ended
            for session_id in {row.partition for row in rows_of(rig, "run")} - known:
                rig.clock.move(120)
                await rig.finish(f"run_{session_id}_1")
                ended += 1

        with RunBefore(rig, at, end) as race:
            submitted = await rig.submit()
        await rig.finish(submitted.run.id)
        await assert_right(rig)
        if not race.happened:
            break
    assert ended > 1


async def test_a_deleted_run_that_is_listed_late_is_gone_with_its_rows(rig: Rig) -> None:
    await rig.model.script("s", [STUCK])
    run_id = await rig.start()
    before = await rig.run(run_id)
    await cancel(rig.app.ports, run_id)
    ended = await rig.run(run_id)
    await delete_run(rig.app.ports, run_id)
    await after_change(rig.app.ports, before, ended, None)  # the cancelling process was frozen until now
    assert await shown(rig, run_id) is RunStatus.CANCELLED, "for a moment"
    for _ in range(3):
        await rig.wake(run_id)
    assert rows_of(rig, "list") == []
    await after_change(rig.app.ports, before, ended, None)
    assert rows_of(rig, "list") == [], "there is no row to be written over"


async def test_a_run_that_is_deleted_while_its_response_is_created_is_in_no_list(rig: Rig) -> None:
    await rig.model.script("s", [STUCK])
    deleted: list[str] = []

    async def delete_now(operation: str, table: Table, _p: str | None, changes: Sequence[Change]) -> None:
        if operation == "commit" and table is Table.RUNS and changes[0].kind is Kind.MERGE:
            rig.tables.before = None
            (row,) = rows_of(rig, "run")
            deleted.append(f"run_{row.partition}_1")
            await delete_run(rig.app.ports, deleted[0])
            for _ in range(3):
                await rig.wake(deleted[0])

    rig.tables.before = delete_now
    await rig.submit()
    assert (await rig.run(deleted[0])).is_deleted
    assert rows_of(rig, "list") == []


async def test_requests_with_one_key_side_by_side_leave_one_shown_row(rig: Rig) -> None:
    await rig.model.script("s", [STUCK])
    for at in range(1, 30):
        key = f"key-{at}"
        with RunBefore(rig, at, lambda: rig.start(idempotency_key=key)) as race:  # noqa: B023
            await rig.start(idempotency_key=key)
        await assert_right(rig)
        assert len(rows_of(rig, "list")) == len(listed_rightly(rig)) == at
        if not race.happened:
            break
    assert at > 6
    await asyncio.gather(*(rig.start(idempotency_key="many") for _ in range(8)))
    await assert_right(rig)


async def test_a_deleted_session_leaves_the_list_whole(rig: Rig) -> None:
    await rig.model.script("s", [{"text": "Done."}])
    first = await rig.run_to_end()
    session_id = first.request.session_id
    for _ in range(3):
        await rig.run_to_end(session_id=session_id)
    await rig.start(session_id=session_id)
    other = await rig.start()
    await delete_session(rig.app.ports, session_id)
    assert [run.id for run in await in_list(rig)] == [other]


async def test_an_answer_that_dies_before_the_list_is_found_though_the_status_is_one_that_was_listed(rig: Rig) -> None:
    await rig.model.script("s", [script_asking("send")[0], STUCK])
    host = Driver(rig)
    submitted = await rig.submit()
    await host.start_run(submitted)
    run_id = submitted.run.id
    rig.clock.move(61)
    await sweep(rig.app.ports, rig.driver(host))  # from now on the due row says that `in_progress` is listed
    await rig.follow(run_id, lambda run: run.status is RunStatus.REQUIRES_ACTION)
    asked = dict.fromkeys(await waiting(rig, run_id), YES)
    with FailAt(rig, at=7, applied=False, error=Killed()), pytest.raises(Killed):
        await answer(rig.app.ports, run_id, asked)
    assert (await rig.run(run_id)).status is RunStatus.IN_PROGRESS
    assert await shown(rig, run_id) is RunStatus.REQUIRES_ACTION
    await host.pass_time(120)
    assert await shown(rig, run_id) is RunStatus.IN_PROGRESS


@pytest.mark.parametrize("driver", ["durable", "timer"])
async def test_a_due_row_that_leads_to_the_place_of_a_lost_request_goes_at_the_end(rigs: NewRig, driver: str) -> None:
    """Another request announces itself for the number that the run has, loses it, and dies."""
    rig = await rigs(driver=driver)
    await rig.model.script("s", [{"text": "Done."}])
    host = Driver(rig)
    winner = await rig.submit()
    await host.start_run(winner)
    lost = replace(winner.run, request=replace(winner.run.request, fingerprint="f" * 32))
    place = rig.app.ports.index.list_row_of(lost)
    await rig.app.ports.due.announce(winner.run.id, rig.clock.now, listed=place)
    await host.pass_time(420)
    await assert_right(rig)
    assert len(rows_of(rig, "list")) == 1
    assert rows_of(rig, "due") == []
