"""Delete and retention: nothing is left, here or at the provider, whatever crashes; and a living session lives on."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from shared.api.callers import owner_of
from shared.api.native.runs import own_run
from shared.drivers import retention
from shared.drivers.retention import retain
from shared.errors import RunDeleted, RunNotFound, SessionBusy, SessionNotFound
from shared.runs.commands.cancel import cancel
from shared.runs.commands.delete import delete_run, delete_session, expire
from shared.runs.commit import commit
from shared.runs.model.facts import WakeCrashed
from shared.runs.model.ids import due_row_of
from shared.runs.model.ids import run_id as id_of
from shared.runs.model.outbox import EntryKind
from shared.runs.model.phases import Ended, Pending, RunningTools, RunStatus, WaitingForAnswers
from shared.runs.model.run import Run
from shared.runs.model.session import Session
from shared.runs.ports import Ports, log
from shared.runs.store.runs import TOGETHER, SessionChange
from shared.runs.store.tables import Change, Kind, Row, StoreUnavailable, Table
from tests.unit.api.conftest import request
from tests.unit.runs.conftest import HeldCreate, NewRig, Rig
from tests.unit.runs.crashes import Driver, FailAt, Killed, RunBefore, interruptions

HOUR = 3_600.0
DAY = 86_400.0
TURNS: list[dict[str, Any]] = [
    {"calls": [{"name": "write_much", "arguments": {"label": "much", "times": 30_000}}]},
    {"text": "Fine.", "echo": True},
]


class PurgingDriver(Driver):
    """The host, as retention needs it too."""

    async def purge_before(self, _moment: object) -> int:
        """No histories here."""
        return 0


def rows(rig: Rig, run_id: str | None = None) -> list[Row]:
    """The rows of runs: all, or those of one run but its own."""
    found = rig.tables.rows(Table.RUNS)
    if run_id is None:
        return found
    _, session_id, number = run_id.split("_")
    return [row for row in found if row.partition == session_id and f":{int(number):08}:" in row.key]


def run_rows(rig: Rig) -> list[Row]:
    """The runs' own rows."""
    return [row for row in rows(rig) if row.key.startswith("run:")]


def run_of(row: Row) -> str:
    """The run whose own row it is."""
    return id_of(row.partition, int(row.key.removeprefix("run:")))


def listed(rig: Rig) -> list[Row]:
    return [row for row in rig.tables.rows(Table.INDEX) if row.partition.startswith("owner:")]


def deleted_at(run: Run) -> datetime | None:
    """When it became a tombstone."""
    return run.phase.deleted_at if isinstance(run.phase, Ended) else None


def numbered(run: Run, number: int) -> Run:
    """The same as another run of its session."""
    return replace(run, request=replace(run.request, number=number))


def names_a_response(changes: Sequence[Change]) -> bool:
    """Whether a run is written as one whose response is pending."""
    return any('"Pending"' in str(change.values.get("phase")) for change in changes)


async def copies(rig: Rig) -> list[str]:
    """The responses that the provider still has."""
    return [each.id for each in await rig.model.responses() if not each.deleted]


async def an_ended_run(rig: Rig, **fields: Any) -> str:
    await rig.model.script("s", TURNS)
    run = await rig.run_to_end(**fields)
    assert run.status is RunStatus.COMPLETED
    return run.id


async def an_active_run(rig: Rig, **fields: Any) -> str:
    """Its first turn is over, its second runs at the provider."""
    await rig.model.script("s", [TURNS[0], {"stuck": True}])
    run_id = await rig.start(**fields)
    await rig.follow(run_id, lambda run: run.turn.number == 2 and isinstance(run.phase, Pending))
    return run_id


async def a_parked_run(rig: Rig, **fields: Any) -> str:
    await rig.model.script("s", [{"calls": [{"name": "send", "arguments": {"label": "a"}}]}])
    run_id = await rig.start(**fields)
    await rig.follow(run_id, lambda run: isinstance(run.phase, WaitingForAnswers))
    return run_id


NewRun = Callable[..., Awaitable[str]]
kinds = pytest.mark.parametrize("new_run", [an_ended_run, an_active_run, a_parked_run])


async def pay(rig: Rig, run_id: str) -> None:
    """Wake it until only the tombstone is left."""
    run = await rig.follow(run_id, lambda run: [entry.kind for entry in run.outbox] == [EntryKind.REMOVAL])
    assert run.is_deleted


async def nothing_left(rig: Rig, run_id: str) -> None:
    """Of the run's own; its tombstone aside."""
    assert rows(rig, run_id) == []
    assert listed(rig) == []
    assert await copies(rig) == []


# --- a run --------------------------------------------------------------------------------------------


@kinds
async def test_a_deleted_run_leaves_a_tombstone_and_that_goes_after_two_days(rig: Rig, new_run: NewRun) -> None:
    run_id = await new_run(rig)
    before = await rig.run(run_id)
    assert await delete_run(rig.app.ports, run_id)
    tomb = await rig.run(run_id)
    assert tomb.status is (before.status if before.terminal else RunStatus.CANCELLED)
    assert (tomb.result.text, tomb.result.output, tomb.request.metadata, tomb.token) == ("", "", {}, None)
    session = await rig.session(run_id)
    assert (session.active_run, session.response_id) == (None, None)
    assert await rig.app.ports.due.get(run_id) is not None
    await pay(rig, run_id)
    await nothing_left(rig, run_id)
    deleted = {each.id: each for each in await rig.model.responses()}
    assert set(deleted) == set(before.chain.response_ids)
    assert await delete_run(rig.app.ports, run_id), "once more is fine"
    gap = (await rig.wake(run_id)).wake_in
    assert gap is not None
    assert DAY < gap <= 2 * DAY
    rig.clock.move(gap)
    assert (await rig.wake(run_id)).wake_in is None
    assert await rig.app.ports.runs.load(run_id) is None
    assert not await delete_run(rig.app.ports, run_id)


@kinds
@pytest.mark.parametrize("driver", ["durable", "timer"])
async def test_the_host_finishes_a_deletion_without_being_asked_again(
    rigs: NewRig, new_run: NewRun, driver: str
) -> None:
    rig = await rigs(driver=driver)
    host = Driver(rig)
    run_id = await new_run(rig)
    await delete_run(rig.app.ports, run_id)
    await host.pass_time(600)
    await nothing_left(rig, run_id)
    rig.clock.move(2 * DAY)
    await host.pass_time(2 * HOUR)
    assert [row.key for row in rows(rig)] == ["session"]
    assert rig.tables.rows(Table.DUE) == []


@pytest.mark.slow
@kinds
@interruptions
async def test_a_deletion_that_is_interrupted_anywhere_is_finished_all_the_same(
    rig: Rig, new_run: NewRun, error: BaseException, applied: bool
) -> None:
    """By being asked for again, or, where the run is a tombstone already, without."""
    at, sprung = 0, True
    found: Counter[bool] = Counter()
    while sprung:
        at += 1
        run_id = await new_run(rig)
        trap = FailAt(rig, at=at, applied=applied, error=error)
        try:
            with trap:
                await delete_run(rig.app.ports, run_id)
        except (Killed, StoreUnavailable):
            pass
        sprung = trap.sprung
        tomb = (await rig.run(run_id)).is_deleted
        found[tomb] += 1
        if tomb:
            assert await rig.app.ports.due.get(run_id) is not None, "the sweep would see to it"
        else:
            assert (await rig.run(run_id)).result.text == "" or rows(rig, run_id), "or nothing has happened"
            assert await delete_run(rig.app.ports, run_id)
        await pay(rig, run_id)
        await nothing_left(rig, run_id)
    assert found[True] >= 1
    assert found[False] >= 3


@interruptions
@pytest.mark.slow
async def test_what_a_tombstone_owes_is_paid_whatever_interrupts_the_wakes(
    rigs: NewRig, error: BaseException, applied: bool
) -> None:
    rig = await rigs()
    at, sprung = 0, True
    while sprung:
        at += 1
        run_id = await an_active_run(rig)
        await delete_run(rig.app.ports, run_id)
        with FailAt(rig, at=at, applied=applied, error=error) as trap:
            try:
                await pay(rig, run_id)
            except (Killed, StoreUnavailable):
                log.debug("died at %d", at)
        sprung = trap.sprung
        await pay(rig, run_id)
        await nothing_left(rig, run_id)
        gap = (await rig.wake(run_id)).wake_in
        assert gap is not None
        rig.clock.move(gap)
        with FailAt(rig, at=at, applied=applied, error=error):
            try:
                await rig.wake(run_id)
            except (Killed, StoreUnavailable):
                log.debug("died at %d", at)
        assert (await rig.wake(run_id)).wake_in is None
        assert await rig.app.ports.runs.load(run_id) is None
    assert at > 10


async def test_a_run_cannot_be_deleted_while_another_of_its_session_is_active(rig: Rig) -> None:
    first = await an_ended_run(rig)
    session_id = (await rig.run(first)).request.session_id
    second = await an_active_run(rig, session_id=session_id)
    with pytest.raises(SessionBusy):
        await delete_run(rig.app.ports, first)
    before = await rig.run(first)
    assert not before.is_deleted
    assert await delete_run(rig.app.ports, second)
    assert await delete_run(rig.app.ports, first)
    for run_id in (first, second):
        await pay(rig, run_id)
        assert rows(rig, run_id) == []
    await nothing_left(rig, first)


async def test_a_submit_and_a_delete_at_once_never_end_with_an_active_run_on_a_deleted_answer(rig: Rig) -> None:
    first = await an_ended_run(rig)
    session_id = (await rig.run(first)).request.session_id
    with FailAt(rig, at=None, applied=False, error=Killed()) as counter:
        await delete_run(rig.app.ports, first)
    for at in range(1, counter.count + 1):
        first = await an_ended_run(rig)
        session_id = (await rig.run(first)).request.session_id
        await rig.model.script("next", [{"text": "Well."}])
        with RunBefore(rig, at, lambda: rig.start("[script:next]", session_id=session_id)) as race:  # noqa: B023
            try:
                await delete_run(rig.app.ports, first)
            except SessionBusy:
                assert not (await rig.run(first)).is_deleted
        assert race.happened
        second = await rig.follow(f"run_{session_id}_2")
        assert second.status is RunStatus.COMPLETED
        deleted = (await rig.run(first)).is_deleted
        body = (await rig.model.creates(run=second.id))[0].body or {}
        assert not deleted or "previous_response_id" not in body


async def test_the_next_run_is_rebuilt_from_the_items_that_remain(rig: Rig) -> None:
    await rig.model.script("one", [{"text": "First answer."}])
    await rig.model.script("two", [{"text": "Second answer."}])
    one = await rig.run_to_end("One? [script:one]")
    two = await rig.run_to_end("Two? [script:two]", session_id=one.request.session_id)
    three = await rig.run_to_end("Three? [script:two]", session_id=one.request.session_id)
    await delete_run(rig.app.ports, two.id)
    await pay(rig, two.id)
    four = await rig.run_to_end("Four? [script:one]", session_id=one.request.session_id)
    assert four.status is RunStatus.COMPLETED
    (create,) = await rig.model.creates(run=four.id)
    body = create.body or {}
    assert "previous_response_id" not in body
    said = [item["content"] if item["role"] == "user" else item["content"][0]["text"] for item in body["input"]]
    assert said == [
        "One? [script:one]",
        "First answer.",
        "Three? [script:two]",
        "Second answer.",
        "Four? [script:one]",
    ]
    assert await copies(rig) == [each.chain.response_ids[0] for each in (one, three, four)]
    five = await rig.run_to_end("Five? [script:one]", session_id=one.request.session_id)
    (create,) = await rig.model.creates(run=five.id)
    assert (create.body or {})["previous_response_id"] == four.chain.response_ids[-1], "and chains again"


async def test_a_key_sent_again_for_a_deleted_run_is_told_so(rig: Rig) -> None:
    run_id = await an_ended_run(rig, idempotency_key="k")
    await delete_run(rig.app.ports, run_id)
    for _ in range(2):
        with pytest.raises(RunDeleted):
            await rig.submit(idempotency_key="k")
        await pay(rig, run_id)
    rig.clock.move(23 * HOUR)
    with pytest.raises(RunDeleted):
        await rig.submit(idempotency_key="k")
    rig.clock.move(2 * HOUR)
    assert (await rig.submit(idempotency_key="k")).run.id != run_id


async def test_a_tombstone_outlives_every_replay_of_its_key(rigs: NewRig) -> None:
    rig = await rigs(idempotency_key_lifetime=10 * DAY)
    run_id = await an_ended_run(rig, idempotency_key="k")
    await delete_run(rig.app.ports, run_id)
    rig.clock.move(9 * DAY)
    await pay(rig, run_id)
    with pytest.raises(RunDeleted):
        await rig.submit(idempotency_key="k")


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 401}, {"drop": True}, {"html": True}])
async def test_a_copy_that_cannot_be_deleted_is_tried_until_it_is(rig: Rig, fault: dict[str, Any]) -> None:
    run_id = await an_ended_run(rig)
    await rig.model.switches(faults={"delete": [{**fault, "times": 20}]})
    await delete_run(rig.app.ports, run_id)
    rig.clock.move(3 * DAY)
    await rig.wake(run_id)
    assert (await rig.run(run_id)).is_deleted, "the tombstone goes last"
    assert len(await copies(rig)) > 0
    await rig.follow(run_id, lambda run: [entry.kind for entry in run.outbox] == [EntryKind.REMOVAL])
    await nothing_left(rig, run_id)


@pytest.mark.slow
async def test_a_run_of_any_number_of_responses_can_be_deleted(rig: Rig) -> None:
    run_id = await an_ended_run(rig)
    stored = await rig.app.ports.runs.load(run_id)
    assert stored is not None
    more = tuple(f"resp_{number:048}" for number in range(700))
    chain = replace(stored.value.chain, response_ids=(*stored.value.chain.response_ids, *more))
    await rig.app.ports.runs.save(stored, replace(stored.value, chain=chain))
    assert await delete_run(rig.app.ports, run_id)
    await pay(rig, run_id)
    await nothing_left(rig, run_id)
    assert len({entry.response_id for entry in await rig.model.log("delete")}) == 702
    assert (await rig.run(run_id)).chain.response_ids == ()


@pytest.mark.slow
async def test_a_copy_that_cannot_be_deleted_keeps_no_other(rig: Rig) -> None:
    await rig.model.script("s", [*TURNS[:1] * 19, TURNS[1]])
    run = await rig.run_to_end()
    assert len(run.chain.response_ids) == 20
    await delete_run(rig.app.ports, run.id)
    await rig.model.switches(faults={"delete": [{"status": 500, "times": 2}]})
    await rig.wake(run.id)
    left = (await rig.run(run.id)).chain.response_ids
    assert len(left) == 6
    assert sorted(left) == sorted(await copies(rig))
    await pay(rig, run.id)
    await nothing_left(rig, run.id)


@pytest.mark.slow
async def test_copies_that_none_of_a_wake_could_delete_go_behind_the_others(rig: Rig) -> None:
    await rig.model.script("s", [*TURNS[:1] * 19, TURNS[1]])
    before = (await rig.run_to_end()).chain.response_ids
    (run_id,) = [run_of(row) for row in run_rows(rig)]
    await delete_run(rig.app.ports, run_id)
    await rig.model.switches(faults={"delete": [{"status": 500, "times": 16}]})
    await rig.wake(run_id)
    assert (await rig.run(run_id)).chain.response_ids == (*before[16:], *before[:16])
    await rig.follow(run_id, lambda run: EntryKind.DELETE not in {entry.kind for entry in run.outbox})
    assert await rig.gaps("delete") == [0.0] * 15 + [5.0] + [0.0] * 19
    await pay(rig, run_id)
    await nothing_left(rig, run_id)


async def test_every_response_is_cancelled_before_any_is_deleted(rig: Rig) -> None:
    run_id = await an_active_run(rig)
    await rig.model.switches(faults={"cancel": [{"status": 500, "times": 3}]})
    await delete_run(rig.app.ports, run_id)
    await pay(rig, run_id)
    asked = [entry.operation for entry in await rig.model.log() if entry.operation in ("cancel", "delete")]
    assert asked == ["cancel"] * 4 + ["delete"] * 2
    await nothing_left(rig, run_id)


async def test_a_cancel_that_is_given_up_lets_the_copies_be_deleted(rig: Rig) -> None:
    run_id = await an_active_run(rig)
    await rig.model.switches(faults={"cancel": [{"status": 500, "times": -1}]})
    await delete_run(rig.app.ports, run_id)
    await pay(rig, run_id)
    await nothing_left(rig, run_id)


async def test_metadata_of_any_characters_fits_its_row(rig: Rig) -> None:
    given = {f"{number:02}".ljust(64, "\x01"): "\x01" * 512 for number in range(16)}
    run = await rig.run(await rig.start(metadata=given))
    assert run.request.metadata == given


async def test_a_copy_that_is_gone_already_counts_as_deleted(rig: Rig) -> None:
    run_id = await an_active_run(rig)
    for response_id in (await rig.run(run_id)).chain.response_ids:
        await rig.model.forget(response_id)
    await delete_run(rig.app.ports, run_id)
    await pay(rig, run_id)
    assert rows(rig, run_id) == []


async def test_a_create_in_flight_while_its_run_is_deleted_leaves_nothing_at_the_provider(rigs: NewRig) -> None:
    rig, other = await rigs(), await rigs()
    await rig.model.script("s", [{"stuck": True}])
    held = HeldCreate(rig)
    submitting = asyncio.create_task(rig.submit())
    await held.answered.wait()
    (row,) = run_rows(rig)
    run_id = run_of(row)
    assert await delete_run(other.app.ports, run_id)
    held.released.set()
    assert (await submitting).run.status is RunStatus.CANCELLED
    await pay(rig, run_id)
    (known,) = await rig.model.responses()
    assert known.deleted
    await nothing_left(rig, run_id)


async def test_a_run_deleted_anywhere_around_its_create_leaves_nothing_at_the_provider(rig: Rig) -> None:
    """Also where it was only cancelled first, and deleted while the unwanted response is being cancelled."""
    await rig.model.script("s", [{"stuck": True}])
    at, happened = 0, True
    while happened:
        at += 1

        async def other() -> None:
            for row in run_rows(rig):
                run_id = run_of(row)
                if not (await rig.run(run_id)).is_deleted:
                    await cancel(rig.app.ports, run_id)
                    await delete_run(rig.app.ports, run_id)

        with RunBefore(rig, at, other) as race:
            run_id = await rig.start()
        happened = race.happened
        if not (await rig.run(run_id)).is_deleted:  # before there was a run, or never
            await delete_run(rig.app.ports, run_id)
        await pay(rig, run_id)
        await nothing_left(rig, run_id)
    assert at > 4


async def test_a_delete_while_an_unwanted_response_is_cancelled_is_still_owed(rig: Rig) -> None:
    await rig.model.script("s", [{"stuck": True}])
    cancels = 0

    async def hook(operation: str, table: Table, partition: str | None, changes: Any) -> None:
        nonlocal cancels
        if operation != "commit" or table is not Table.RUNS:
            return
        if names_a_response(changes):
            await cancel(rig.app.ports, f"run_{partition}_1")
        elif not cancels and any(each.kind is Kind.MERGE and each.values.get("outbox") == "{}" for each in changes):
            cancels += 1  # the response is cancelled; before the row says so, the run is deleted
            await delete_run(rig.app.ports, f"run_{partition}_1")

    rig.tables.before = hook
    run_id = await rig.start()
    rig.tables.before = None
    assert cancels == 1
    await pay(rig, run_id)
    await nothing_left(rig, run_id)


async def test_a_tool_that_outlives_its_run_leaves_no_part(rigs: NewRig) -> None:
    rig = await rigs(tool_renewal=30.0)
    await rig.model.script("s", TURNS)
    run_id = await rig.start()
    await rig.follow(run_id, lambda run: isinstance(run.phase, RunningTools))
    stopped = False

    async def hook(operation: str, table: Table, partition: str | None, changes: Any) -> None:
        nonlocal stopped
        if not stopped and any(change.key.startswith("part:") for change in changes):
            stopped = True
            await delete_run(rig.app.ports, run_id)
            await pay(rig, run_id)  # rows and all, before the parts of the tool's result are written

    rig.tables.before = hook
    await rig.wake(run_id)
    rig.tables.before = None
    assert stopped
    assert rows(rig, run_id) != []
    rig.clock.move(2 * DAY)
    assert (await rig.wake(run_id)).wake_in is None
    assert rows(rig, run_id) == []


async def test_a_tombstone_whose_wake_crashed_is_not_looked_at_for_two_days(rig: Rig) -> None:
    run_id = await an_ended_run(rig)
    await delete_run(rig.app.ports, run_id)
    await pay(rig, run_id)
    stored = await rig.app.ports.runs.load(run_id)
    assert stored is not None
    crashed = WakeCrashed(seen=0, error="ZeroDivisionError", jitter=0.0)
    assert (await commit(rig.app.ports, stored, crashed)).refused is None
    rig.clock.move(HOUR)
    assert (await rig.wake(run_id)).wake_in > DAY  # type: ignore[operator]


# --- a session ----------------------------------------------------------------------------------------


async def a_session(rig: Rig, last: NewRun = an_active_run) -> str:
    """A session of three runs, and the last as wanted."""
    first = await an_ended_run(rig, idempotency_key=f"k{rig.clock.seconds()}")
    session_id = (await rig.run(first)).request.session_id
    await rig.model.script("bad", [{"status": "failed", "error": {"code": "invalid_prompt"}}])
    await rig.run_to_end("[script:bad]", session_id=session_id)
    await last(rig, session_id=session_id)
    return session_id


async def all_gone(rig: Rig, session_id: str) -> None:
    """Everything but tombstones, at once; those too, once retention has run."""
    for number in (1, 2, 3):
        await pay(rig, f"run_{session_id}_{number}")
        await nothing_left(rig, f"run_{session_id}_{number}") if number == 3 else None
    assert {row.key for row in rows(rig)} == {"session", "run:00000001", "run:00000002", "run:00000003"}


async def forget(rig: Rig) -> None:
    """Empty tables, for the next round."""
    host = PurgingDriver(rig)
    rig.clock.move(2 * DAY)
    await retained(rig, host)
    await host.pass_time(300)
    await retained(rig, host)
    await host.pass_time(900)
    assert rows(rig) == []
    assert rig.tables.rows(Table.DUE) == []
    assert rig.tables.rows(Table.INDEX) == [], "keys too"


@pytest.mark.parametrize("last", [an_ended_run, an_active_run, a_parked_run])
async def test_a_deleted_session_is_gone_at_once_and_all_of_it_in_the_end(rig: Rig, last: NewRun) -> None:
    session_id = await a_session(rig, last)
    ids = await delete_session(rig.app.ports, session_id)
    assert ids == [f"run_{session_id}_{number}" for number in (1, 2, 3)]
    with pytest.raises(SessionNotFound):
        await rig.start(session_id=session_id)
    for run_id in ids:
        assert deleted_at(await rig.run(run_id)) == rig.clock.now
    if last is not an_ended_run:
        assert (await rig.run(ids[2])).status is RunStatus.CANCELLED
    await all_gone(rig, session_id)
    await forget(rig)


@pytest.mark.parametrize(
    ("again", "error", "applied"),
    [
        pytest.param(True, StoreUnavailable("gone"), False, id="outage before the write, asked again"),
        pytest.param(True, StoreUnavailable("gone"), True, id="outage after the write, asked again"),
        pytest.param(False, StoreUnavailable("gone"), True, id="outage after the write, left to the host"),
        pytest.param(False, Killed(), False, id="crash, left to the host"),
    ],
)
@pytest.mark.slow
async def test_a_session_s_deletion_that_is_interrupted_anywhere_is_finished(
    rig: Rig, again: bool, error: BaseException, applied: bool
) -> None:
    session_id = await a_session(rig)
    with FailAt(rig, at=None, applied=False, error=Killed()) as counter:
        await delete_session(rig.app.ports, session_id)
    await all_gone(rig, session_id)
    await forget(rig)
    for at in range(1, counter.count + 1):
        session_id = await a_session(rig)
        with FailAt(rig, at=at, applied=applied, error=error) as trap:
            try:
                await delete_session(rig.app.ports, session_id)
            except (Killed, StoreUnavailable):
                log.debug("died at %d", at)
        assert trap.sprung
        stored = await rig.app.ports.runs.load_session(session_id)
        assert stored is not None
        third = await rig.run(f"run_{session_id}_3")
        assert (stored.value.deleted_at is None) is not third.is_deleted, "in the same write"
        if again or stored.value.deleted_at is None:
            await delete_session(rig.app.ports, session_id)
        else:
            await PurgingDriver(rig).pass_time(300)
        await all_gone(rig, session_id)
        await forget(rig)


async def test_whoever_stood_still_over_the_deletion_of_a_session_announces_it_again(rig: Rig) -> None:
    run = await rig.run_to_end()
    session_id, due = run.request.session_id, rig.app.ports.due

    async def before(operation: str, table: Table, *_: object) -> None:
        if (operation, table) == ("commit", Table.RUNS):
            rig.tables.before = None
            rig.clock.move(120)
            for subject in (run.id, due_row_of(session_id)):
                row = await due.get(subject)
                assert row is not None
                assert await due.remove(row, rig.clock.now), "a sweep found everything as it was"

    rig.tables.before = before
    await delete_session(rig.app.ports, session_id)
    assert await due.get(run.id) is not None
    assert await due.get(due_row_of(session_id)) is not None


async def test_a_key_of_a_deleted_session_is_told_so(rig: Rig) -> None:
    session_id = (await rig.run(await an_ended_run(rig, idempotency_key="k"))).request.session_id
    await delete_session(rig.app.ports, session_id)
    with pytest.raises(RunDeleted):
        await rig.submit(idempotency_key="k")


async def test_a_session_that_is_not_there_is_no_work(rig: Rig) -> None:
    assert await delete_session(rig.app.ports, "0" * 32) == []


@pytest.mark.slow
async def test_a_submit_that_races_with_the_end_of_its_session_leaves_no_run_alive(rig: Rig) -> None:
    await rig.model.script("next", [{"stuck": True}])
    at, happened = 0, True
    while happened:
        at += 1
        session_id = (await rig.run(await an_ended_run(rig))).request.session_id
        with RunBefore(rig, at, lambda: delete_session(rig.app.ports, session_id)) as race:  # noqa: B023
            try:
                await rig.start("[script:next]", session_id=session_id)
            except SessionNotFound:
                assert race.happened
        happened = race.happened
        await delete_session(rig.app.ports, session_id)
        await pay(rig, f"run_{session_id}_1")
        if await rig.app.ports.runs.load(f"run_{session_id}_2") is not None:
            await pay(rig, f"run_{session_id}_2")
        assert await copies(rig) == [], at
    assert at > 5


async def test_a_keyed_submit_that_races_with_the_end_of_its_session_is_told_the_same(rig: Rig) -> None:
    await rig.model.script("next", [{"stuck": True}])
    at, happened = 0, True
    told: Counter[str] = Counter()
    while happened:
        at += 1
        key = f"k{at}"
        session_id = (await rig.run(await an_ended_run(rig))).request.session_id
        with RunBefore(rig, at, lambda: delete_session(rig.app.ports, session_id)) as race:  # noqa: B023
            try:
                await rig.start("[script:next]", session_id=session_id, idempotency_key=key)
            except (SessionNotFound, RunDeleted) as error:
                told[error.code] += 1
        happened = race.happened
        await delete_session(rig.app.ports, session_id)
    assert told["session_not_found"] >= 5


async def test_a_deleted_session_is_never_half_there(rig: Rig) -> None:
    """Whatever a caller asks for while it is deleted: all runs are there until the session is gone, and then none."""
    owner = owner_of(request(), rig.app.settings)
    session_id = (await rig.run(await an_ended_run(rig, owner=owner))).request.session_id
    store = rig.app.ports.runs
    first = await rig.run(id_of(session_id, 1))
    for number in range(2, TOGETHER + 4):
        session = await store.load_session(session_id)
        assert session is not None
        after = replace(session.value, next_number=number + 1)
        await store.create(numbered(first, number), SessionChange(before=session, after=after), "[]")
    await an_active_run(rig, session_id=session_id, owner=owner)
    ids = [id_of(session_id, number) for number in (1, 2, TOGETHER, TOGETHER + 1, TOGETHER + 3, TOGETHER + 4)]
    seen: set[tuple[bool, bool]] = set()

    async def look(*_: Any) -> None:
        session = await store.load_session(session_id)
        assert session is not None
        for each in ids:
            try:
                await own_run(request(path={"run_id": each}), rig.app)
                seen.add((session.value.deleted_at is not None, True))
            except RunNotFound:
                seen.add((session.value.deleted_at is not None, False))

    rig.tables.before = rig.tables.after = look
    await delete_session(rig.app.ports, session_id)
    await delete_session(rig.app.ports, session_id)
    rig.tables.before = rig.tables.after = None
    assert seen == {(False, True), (True, False)}


@pytest.mark.parametrize(("number", "reads"), [(1, 1), (TOGETHER, 1), (TOGETHER + 1, 2)])
async def test_a_run_is_read_alone_unless_its_session_is_very_long(rig: Rig, number: int, reads: int) -> None:
    owner = owner_of(request(), rig.app.settings)
    first = await rig.run(await an_ended_run(rig, owner=owner))
    session = await rig.app.ports.runs.load_session(first.request.session_id)
    if number > 1:
        assert session is not None
        change = SessionChange(before=session, after=replace(session.value, next_number=number + 1))
        await rig.app.ports.runs.create(numbered(first, number), change, "[]")
    with FailAt(rig, at=None, applied=False, error=Killed()) as counter:
        await own_run(request(path={"run_id": id_of(first.request.session_id, number)}), rig.app)
    assert counter.count == reads


# --- retention ----------------------------------------------------------------------------------------


async def retained(rig: Rig, host: Driver | None = None) -> Counter[str]:
    return await retain(rig.app.ports, rig.driver(host or PurgingDriver(rig)))


async def test_a_session_that_nobody_has_used_for_thirty_days_goes(rig: Rig) -> None:
    old = await an_ended_run(rig)
    rig.clock.move(29 * DAY)
    young = await an_ended_run(rig)
    await retained(rig)
    assert [(await rig.run(each)).is_deleted for each in (old, young)] == [False, False]
    rig.clock.move(1.5 * DAY)
    host = PurgingDriver(rig)
    assert (await retained(rig, host))["runs"] == 1
    assert (await rig.run(old)).is_deleted
    assert not (await rig.run(young)).is_deleted
    await host.pass_time(600)
    await pay(rig, old)
    assert rows(rig, old) == []
    kept = await rig.run(young)
    assert await copies(rig) == list(kept.chain.response_ids)
    await rig.model.script("s", TURNS)
    assert (await rig.run_to_end(session_id=kept.request.session_id)).status is RunStatus.COMPLETED, (
        "the other one lives on"
    )


@pytest.mark.parametrize("new_run", [an_active_run, a_parked_run])
async def test_a_session_with_an_active_run_is_never_idle(rigs: NewRig, new_run: NewRun) -> None:
    rig = await rigs(retention=DAY)
    run_id = await new_run(rig)
    rig.clock.move(3 * DAY)
    counts = await retained(rig)
    assert (counts["runs"], (await rig.run(run_id)).is_deleted) == (0, False)


async def test_a_session_that_is_used_again_while_retention_looks_at_it_stays(rig: Rig) -> None:
    run_id = await an_ended_run(rig)
    session_id = (await rig.run(run_id)).request.session_id
    rig.clock.move(31 * DAY)
    await rig.model.script("next", [{"stuck": True}])
    # The reading of the sessions is the first operation.
    with RunBefore(rig, 2, lambda: rig.start("[script:next]", session_id=session_id)) as race:
        await retained(rig)
    assert race.happened
    second = await rig.run(f"run_{session_id}_2")
    assert (second.terminal, second.is_deleted, (await rig.run(run_id)).is_deleted) == (False, False, False)


async def test_keys_go_after_a_day(rig: Rig) -> None:
    await an_ended_run(rig, idempotency_key="old")
    rig.clock.move(23 * HOUR)
    await an_ended_run(rig, idempotency_key="young")
    rig.clock.move(1.5 * HOUR)
    assert (await retained(rig))["keys"] == 1
    assert len([row for row in rig.tables.rows(Table.INDEX) if row.partition.startswith("key:")]) == 1


@interruptions
@pytest.mark.slow
async def test_retention_that_is_interrupted_is_finished_by_the_next(
    rigs: NewRig, error: BaseException, applied: bool
) -> None:
    rig = await rigs(retention=DAY)
    session_id = await a_session(rig, an_ended_run)
    rig.clock.move(2 * DAY)
    at, sprung = 0, True
    while sprung:
        at += 1
        with FailAt(rig, at=at, applied=applied, error=error) as trap:
            try:
                await retained(rig)
            except (Killed, StoreUnavailable):
                log.debug("died at %d", at)
        sprung = trap.sprung
        begun = await rig.app.ports.runs.load_session(session_id)
        if not sprung or at % 4 == 0 or begun is None or begun.value.deleted_at is not None:
            await retained(rig)
            await all_gone(rig, session_id)
            await forget(rig)
            session_id = await a_session(rig, an_ended_run)
            rig.clock.move(2 * DAY)
    assert at > 10


async def test_one_session_that_cannot_be_read_stops_no_other(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [await an_ended_run(rig) for _ in range(2)]
    rig.clock.move(31 * DAY)
    broken = (await rig.run(ids[0])).request.session_id

    async def stumble(ports: Ports, session: Session, idle: timedelta) -> list[str]:
        if session.session_id == broken:
            raise ZeroDivisionError
        return await expire(ports, session, idle)

    monkeypatch.setattr(retention, "expire", stumble)
    counts = await retained(rig)
    assert (counts["failed"], counts["runs"]) == (1, 1)
    assert (await rig.run(ids[1])).is_deleted


async def test_a_task_hub_that_cannot_purge_its_histories_keeps_no_session(rig: Rig) -> None:
    class Stuck(PurgingDriver):
        async def purge_before(self, _moment: object) -> int:
            raise ConnectionError("too much history")

    run_id = await an_ended_run(rig)
    rig.clock.move(31 * DAY)
    with pytest.raises(ConnectionError):
        await retained(rig, Stuck(rig))
    assert (await rig.run(run_id)).is_deleted
