"""One wake of a batch over tables alone: what it does when its row goes, when it crashes, and when submits fail."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from shared import errors
from shared.runs.actions.outbox import name_of
from shared.runs.actions.outcome import Outcome
from shared.runs.batches import advance as wakes
from shared.runs.batches.advance import advance_batch, batch_outcome
from shared.runs.batches.cancel import cancel_batch
from shared.runs.batches.commit import commit_batch
from shared.runs.batches.delete import RUNS_A_WAKE, delete_batch
from shared.runs.commands.submission import AssignedIds, Submission, Submitted
from shared.runs.concurrency import MAX_RACES, LostRace, TooManyRaces
from shared.runs.model.batch import (
    Batch,
    BatchItem,
    BatchStatus,
    Deleted,
    Ended,
    Running,
    run_of,
    session_of,
)
from shared.runs.model.batch_facts import (
    BatchCallbackClaimed,
    BatchCancelRequested,
    BatchDeleted,
    BatchFact,
    RunsLookedAt,
)
from shared.runs.model.outbox import EntryKind
from shared.runs.model.phases import Ended as RunEnded
from shared.runs.model.phases import RunningTools, RunStatus
from shared.runs.model.run import Run
from shared.runs.ports import Ports
from shared.runs.rules.ending import MAX_CRASHES
from shared.runs.store.runs import Stored
from shared.runs.store.tables import Change, Kind, StoreUnavailable, Table, Value
from shared.runs.store.unreadable import RowTooNew
from tests.parts.memory import MemoryTables
from tests.unit.runs.conftest import Clock
from tests.unit.runs.records import NOW, a_run, an_entry, at, put
from tests.unit.runs.test_batch import ID, a_batch, active
from tests.unit.runs.test_transitions import pending

NOTHING = Outcome(None, None)
OVER = Ended(status=BatchStatus.COMPLETED, completed_at=NOW)


class Woken:
    """Whoever drives runs: notes whom it is to wake."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.woken: list[str] = []

    async def start_run(self, submitted: Submitted) -> None:
        self.started.append(submitted.run.id)

    async def wake(self, run_id: str) -> None:
        self.woken.append(run_id)


@pytest.fixture
def signals() -> Woken:
    return Woken()


async def written(ports: Ports, batch: Batch) -> Batch:
    """The batch, with its items."""
    items = [BatchItem(index=index, id=f"i-{index}", asked="{}") for index in range(batch.request.total)]
    await ports.batches.put_items(batch.id, items)
    return (await ports.batches.create(batch)).value


async def load(ports: Ports) -> Batch:
    stored = await ports.batches.load(ID)
    assert stored is not None
    return stored.value


async def remove(ports: Ports) -> None:
    stored = await ports.batches.load(ID)
    assert stored is not None
    await ports.batches.remove(stored)


async def run_of_item(ports: Ports, index: int, **changes: Any) -> Run:
    return (await put(ports, a_run(session_id=session_of(ID, index), **changes))).value


def begun(*indices: int, **changes: Any) -> Batch:
    """A batch of which these items are active, and none is left to start."""
    given: dict[str, Any] = {"total": 4, "cursor": 4, "active": active(*indices), "completed": 4 - len(indices)}
    return a_batch(**{"phase": Running(begun=True), **given, **changes})


def crashing(
    monkeypatch: pytest.MonkeyPatch, error: Exception, before: Callable[[], Awaitable[None]] | None = None
) -> None:
    async def go_on(*_: Any) -> Any:
        if before is not None:
            await before()
        raise error

    monkeypatch.setattr(wakes, "_go_on", go_on)


# --- the row ------------------------------------------------------------------------------------------


async def test_a_wake_of_a_batch_that_is_not_there_has_nothing_to_do(
    ports: Ports, signals: Woken, caplog: pytest.LogCaptureFixture
) -> None:
    assert await advance_batch(ports, ID, signals) == NOTHING
    assert caplog.records == [], "it is no crash"
    assert await cancel_batch(ports, ID) is None
    assert await delete_batch(ports, ID) is False


@pytest.mark.parametrize(
    ("changes", "status", "wake_in", "may_be_early"),
    [
        ({"wake_at": at(7)}, BatchStatus.QUEUED, 7.0, True),
        ({"wake_at": at(-7)}, BatchStatus.QUEUED, 0.0, True),
        ({"phase": OVER, "wake_at": at(7)}, BatchStatus.COMPLETED, None, False),
        ({"phase": OVER, "wake_at": at(7), "entries": (an_entry(),)}, BatchStatus.COMPLETED, 7.0, False),
    ],
)
def test_when_a_batch_is_woken_next(
    ports: Ports, changes: dict[str, Any], status: BatchStatus, wake_in: float | None, may_be_early: bool
) -> None:
    outcome = batch_outcome(ports, Stored(a_batch(**changes), ""))
    assert (outcome.status, outcome.wake_in, outcome.may_be_early) == (status, wake_in, may_be_early)


async def test_a_wake_that_lost_a_race_says_what_the_row_says(
    ports: Ports, signals: Woken, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written(ports, a_batch(wake_at=at(7)))
    crashing(monkeypatch, LostRace(ID))
    assert await advance_batch(ports, ID, signals) == Outcome(BatchStatus.QUEUED, 7.0)
    assert (await load(ports)).schedule.crashes == 0
    crashing(monkeypatch, LostRace(ID), before=lambda: remove(ports))
    assert await advance_batch(ports, ID, signals) == NOTHING


@pytest.mark.parametrize("error", [StoreUnavailable("gone"), RowTooNew("new")], ids=lambda error: type(error).__name__)
async def test_what_another_process_or_a_later_wake_can_do_is_no_crash(
    ports: Ports, signals: Woken, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    await written(ports, a_batch())
    crashing(monkeypatch, error)
    with pytest.raises(type(error)):
        await advance_batch(ports, ID, signals)
    assert (await load(ports)).schedule.crashes == 0


async def test_a_wake_that_crashes_after_its_batch_is_gone_has_nothing_to_do(
    ports: Ports, signals: Woken, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written(ports, a_batch())
    crashing(monkeypatch, ZeroDivisionError(), before=lambda: remove(ports))
    assert await advance_batch(ports, ID, signals) == NOTHING


async def test_a_crash_that_cannot_be_counted_since_the_batch_goes_just_then_is_none(
    ports: Ports, tables: MemoryTables, signals: Woken, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written(ports, a_batch())
    crashing(monkeypatch, ZeroDivisionError())

    async def before(operation: str, *_: object) -> None:
        if operation == "commit":
            await remove(ports)

    tables.before = before
    assert await advance_batch(ports, ID, signals) == NOTHING


async def test_a_crash_is_counted_and_the_next_wake_comes_later(
    ports: Ports, signals: Woken, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written(ports, a_batch())
    crashing(monkeypatch, ZeroDivisionError())
    assert await advance_batch(ports, ID, signals) == Outcome(BatchStatus.QUEUED, 2.0)
    assert await advance_batch(ports, ID, signals) == Outcome(BatchStatus.QUEUED, 4.0)
    assert (await load(ports)).schedule.crashes == 2


@pytest.mark.parametrize("crashes", [0, MAX_CRASHES - 2])
async def test_a_crash_that_does_not_end_the_batch_stops_none_of_its_runs(
    ports: Ports, signals: Woken, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, crashes: int
) -> None:
    batch = begun(0)
    await written(ports, replace(batch, schedule=replace(batch.schedule, crashes=crashes)))
    run = await run_of_item(ports, 0, phase=pending("resp_1"))
    crashing(monkeypatch, ZeroDivisionError())
    await advance_batch(ports, ID, signals)
    there = await ports.runs.load(run.id)
    assert there is not None
    assert (there.value.status, signals.woken) == (RunStatus.IN_PROGRESS, [])
    assert "a wake crashed" in caplog.text


async def test_a_run_that_cannot_be_stopped_does_not_keep_its_batch_from_the_end(
    ports: Ports, signals: Woken, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    batch = begun(0)
    await written(ports, replace(batch, schedule=replace(batch.schedule, crashes=MAX_CRASHES - 1)))

    async def cancel(*_: object) -> None:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(wakes, "cancel", cancel)
    crashing(monkeypatch, ZeroDivisionError())
    assert await advance_batch(ports, ID, signals) == Outcome(BatchStatus.COMPLETED, None)
    assert "the run of item 0 could not be stopped" in caplog.text


async def test_an_ended_batch_waits_for_the_time_of_its_callback(ports: Ports, signals: Woken) -> None:
    callback = an_entry("completed", due=7, kind=EntryKind.CALLBACK)
    batch = begun(phase=OVER, entries=(callback,), callback_url="https://x.example", wake_at=at(7))
    await written(ports, batch)
    assert await advance_batch(ports, ID, signals) == Outcome(BatchStatus.COMPLETED, 7.0)
    assert await load(ports) == batch


async def test_runs_of_a_batch_that_is_given_up_are_stopped_and_woken_to_be(
    ports: Ports, signals: Woken, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = begun(0, 1, 2, 3)
    await written(ports, replace(batch, schedule=replace(batch.schedule, crashes=MAX_CRASHES - 1)))
    await run_of_item(ports, 0, phase=pending("resp_1"))
    await run_of_item(ports, 1, phase=RunEnded(status=RunStatus.COMPLETED, completed_at=at(3)))
    await run_of_item(ports, 2, phase=RunningTools())  # nothing of it runs elsewhere
    crashing(monkeypatch, ZeroDivisionError())
    assert await advance_batch(ports, ID, signals) == Outcome(BatchStatus.COMPLETED, None)
    results = await ports.batches.results(ID, 0, 4)
    statuses = [results[index].status for index in range(4)]
    assert statuses == [RunStatus.FAILED, RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.FAILED]
    assert (results[1].ended_at, results[1].ran) == (at(3), True)
    assert results[0].error_message == "10 wakes of the batch failed in a row, the last with ZeroDivisionError."
    assert signals.woken == [run_of(ID, 0)], "the one whose response is still to be cancelled"
    stopped = await ports.runs.load(run_of(ID, 2))
    assert stopped is not None
    assert stopped.value.status is RunStatus.CANCELLED


# --- submits ------------------------------------------------------------------------------------------


def submits(monkeypatch: pytest.MonkeyPatch, *fates: Exception | None) -> list[AssignedIds]:
    """Let the submit of each item come to this. What it was asked for, so far."""
    asked: list[AssignedIds] = []

    async def submit(ports: Ports, wanted: Submission) -> Submitted:
        assert wanted.assigned is not None
        asked.append(wanted.assigned)
        index = [session_of(ID, index) for index in range(9)].index(wanted.assigned.session_id)
        fate = fates[index]
        if fate is not None:
            raise fate
        run = await run_of_item(ports, index, phase=pending(f"resp_{index}"), accepted_at=at(0))
        return Submitted(run=run, due=None)

    monkeypatch.setattr(wakes, "submit", submit)
    return asked


def refusal(seconds: str | None, error: type[errors.DormouseError] = errors.TooManyActiveRuns) -> Exception:
    return error(headers={} if seconds is None else {"Retry-After": seconds})


async def items_of(ports: Ports, batch: Batch, asked: str = '{"items": []}') -> None:
    """Write the batch with items that ask for this."""
    items = [BatchItem(index=index, asked=asked) for index in range(batch.request.total)]
    await ports.batches.put_items(batch.id, items)
    await ports.batches.create(batch)


@pytest.mark.parametrize(
    ("fates", "wait"),
    [
        ((refusal("7"), refusal("30"), refusal(None)), 30),
        ((refusal(None), StoreUnavailable("gone"), None), 2),
        ((refusal("7"), StoreUnavailable("gone"), None), 7),
        ((refusal("soon"), None, None), 2),
        ((refusal("0"), None, None), 0),
        ((refusal("9", errors.StorageUnavailable), None, None), 9),
        ((LostRace("x"), None, None), 2),
        ((RowTooNew("x"), None, None), 2),
        ((refusal(None, errors.DormouseError), None, None), 2),
        ((ZeroDivisionError(), None, None), 2),
        ((None, None, None), None),
    ],
)
async def test_a_batch_waits_as_long_as_the_longest_of_its_submits_asks(
    ports: Ports,
    signals: Woken,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fates: tuple[Exception | None, ...],
    wait: float | None,
) -> None:
    submits(monkeypatch, *fates)
    await items_of(ports, a_batch(total=3))
    await advance_batch(ports, ID, signals)
    batch = await load(ports)
    assert batch.pace.not_before == (None if wait is None else at(wait))
    assert batch.pace.crashes == sum(isinstance(each, ZeroDivisionError) for each in fates)
    assert batch.progress.active == active(0, 1, 2)
    assert signals.started == [run_of(ID, index) for index, fate in enumerate(fates) if fate is None]
    said = sum(" waits: " in each.message or "could not be submitted" in each.message for each in caplog.records)
    assert said == sum(not isinstance(fate, errors.DormouseError | None) for fate in fates), "what no caller is told"


async def test_what_waits_is_submitted_when_its_time_has_come(
    ports: Ports, clock: Clock, signals: Woken, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = submits(monkeypatch, refusal("7"), None)
    await items_of(ports, a_batch(total=2))
    await advance_batch(ports, ID, signals)
    asked.clear()
    for seconds, again in ((6.9, False), (0.1, True)):
        clock.move(seconds)
        await advance_batch(ports, ID, signals)
        assert [each.session_id for each in asked] == ([session_of(ID, 0)] if again else [])
    assert not any(each.cancelled for each in asked)


@pytest.mark.parametrize(
    ("fate", "status", "code"),
    [
        (errors.RunDeleted(), RunStatus.CANCELLED, "run_deleted"),
        (errors.InvalidRequest("no"), RunStatus.FAILED, "invalid_request"),
        (errors.SessionBusy(), RunStatus.FAILED, "session_busy"),
    ],
)
async def test_an_item_whose_submit_is_refused_for_good_ends_alone(
    ports: Ports, signals: Woken, monkeypatch: pytest.MonkeyPatch, fate: Exception, status: RunStatus, code: str
) -> None:
    submits(monkeypatch, fate, None)
    await items_of(ports, a_batch(total=2))
    await advance_batch(ports, ID, signals)
    batch = await load(ports)
    assert (batch.progress.active, batch.progress.ended, batch.pace.not_before) == (active(1), 1, None)
    (result,) = (await ports.batches.results(ID, 0, 9)).values()
    assert (result.status, result.error_code, result.ran, result.ended_at) == (status, code, False, NOW)


@pytest.mark.parametrize("crashes", [0, MAX_CRASHES - 2, MAX_CRASHES - 1])
async def test_an_item_whose_submit_always_crashes_fails_at_last(
    ports: Ports, signals: Woken, monkeypatch: pytest.MonkeyPatch, crashes: int
) -> None:
    submits(monkeypatch, ZeroDivisionError())
    batch = a_batch(total=1)
    await items_of(ports, replace(batch, pace=replace(batch.pace, crashes=crashes)))
    await advance_batch(ports, ID, signals)
    batch, last = await load(ports), crashes == MAX_CRASHES - 1
    assert batch.status is (BatchStatus.COMPLETED if last else BatchStatus.IN_PROGRESS)
    assert batch.pace.crashes == (0 if last else crashes + 1)
    results = await ports.batches.results(ID, 0, 1)
    assert [each.error_message for each in results.values()] == (
        ["Its run could not be started 10 times in a row, the last time: ZeroDivisionError."] if last else []
    )


async def test_an_item_that_is_not_there_is_tried_again_and_not_skipped(
    ports: Ports, signals: Woken, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = submits(monkeypatch, None)
    await ports.batches.create(a_batch(total=1))
    await advance_batch(ports, ID, signals)
    assert (asked, (await load(ports)).pace.crashes) == ([], 1)


# --- looks --------------------------------------------------------------------------------------------


async def spoil(tables: MemoryTables, index: int, **values: Value) -> None:
    """Make a run's row one that this version does not read."""
    row = await tables.get(Table.RUNS, session_of(ID, index), "run:00000001")
    assert row is not None
    await tables.commit(Table.RUNS, row.partition, [Change(kind=Kind.MERGE, key=row.key, values=values, etag=row.etag)])


async def test_a_look_takes_what_has_ended_and_leaves_what_it_cannot_judge(
    ports: Ports, tables: MemoryTables, signals: Woken
) -> None:
    await items_of(ports, begun(0, 1, 2, 3))
    await run_of_item(ports, 0, phase=pending())
    await run_of_item(ports, 1, phase=RunEnded(status=RunStatus.INCOMPLETE, completed_at=at(3)), error_code="c")
    for index, values in ((2, {"schema": 999}), (3, {"phase": "["})):
        await run_of_item(ports, index, phase=pending())
        await spoil(tables, index, **values)
    await advance_batch(ports, ID, signals)
    assert (await load(ports)).progress.active == active(0, 2), "one that is too new is left to its own version"
    results = await ports.batches.results(ID, 0, 4)
    assert {index: (each.status, each.error_code, each.ran) for index, each in results.items()} == {
        1: (RunStatus.INCOMPLETE, "c", True),
        3: (RunStatus.FAILED, "internal_error", False),
    }
    assert results[1].ended_at == at(3)


async def test_a_wake_that_another_was_faster_than_submits_nothing(
    ports: Ports, tables: MemoryTables, signals: Woken, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = submits(monkeypatch, None, None)
    await items_of(ports, begun(0, 1))
    await run_of_item(ports, 1, phase=RunEnded(status=RunStatus.COMPLETED, completed_at=NOW))

    async def before(operation: str, table: Table, *_: object) -> None:
        if operation == "commit" and table is Table.BATCHES:
            tables.before = None
            await advance_batch(ports, ID, signals)

    tables.before = before
    assert (await advance_batch(ports, ID, signals)).status is BatchStatus.IN_PROGRESS
    assert [each.session_id for each in asked] == [session_of(ID, 0)]


# --- cancel and delete --------------------------------------------------------------------------------


@pytest.mark.parametrize("deleted", [False, True])
async def test_a_cancelled_batch_stops_what_is_active(
    ports: Ports, tables: MemoryTables, signals: Woken, monkeypatch: pytest.MonkeyPatch, deleted: bool
) -> None:
    asked = submits(monkeypatch, None, None, None, errors.InvalidRequest("no"), refusal("9"))
    await items_of(ports, a_batch(total=7, concurrency=6, cursor=6, active=active(0, 1, 2, 3, 4, 5)))
    await cancel_batch(ports, ID)
    if deleted:
        await delete_batch(ports, ID)
    await run_of_item(ports, 0, phase=pending("resp_0"))
    await run_of_item(ports, 1, phase=RunEnded(status=RunStatus.COMPLETED, completed_at=at(3)))
    await run_of_item(ports, 5, phase=pending("resp_5"))
    await spoil(tables, 5, phase="[")
    await advance_batch(ports, ID, signals)
    assert [each.cancelled for each in asked] == [True] * 3, "so that whoever submits it just now creates nothing"
    results = await ports.batches.results(ID, 0, 9)
    assert {index: each.status for index, each in results.items()} == {
        0: RunStatus.CANCELLED,
        1: RunStatus.COMPLETED,
        2: RunStatus.CANCELLED,
        3: RunStatus.CANCELLED,
        5: RunStatus.FAILED,
    }
    assert (await load(ports)).progress.active == active(4)
    assert signals.woken == [run_of(ID, 0), run_of(ID, 2)], "their responses are still to be cancelled"


@pytest.mark.parametrize(("total", "cancelled_from"), [(RUNS_A_WAKE + 3, None), (RUNS_A_WAKE + 9, RUNS_A_WAKE + 3)])
async def test_a_tombstone_deletes_its_runs_then_its_rows_and_itself_last(
    ports: Ports, clock: Clock, signals: Woken, total: int, cancelled_from: int | None
) -> None:
    begun = RUNS_A_WAKE + 3
    batch = a_batch(total=total, cursor=total, completed=begun, cancelled=total - begun, phase=OVER)
    batch = replace(batch, progress=replace(batch.progress, cancelled_from=cancelled_from))
    await items_of(ports, batch)
    await ports.index.list_hidden(batch)
    for index in (0, RUNS_A_WAKE - 1, RUNS_A_WAKE, begun - 1):
        await run_of_item(ports, index, phase=RunEnded(status=RunStatus.COMPLETED, completed_at=NOW))
    assert await delete_batch(ports, ID) is True
    for purged, woken in ((RUNS_A_WAKE, [0, RUNS_A_WAKE - 1]), (begun, [RUNS_A_WAKE, begun - 1])):
        signals.woken.clear()
        assert await advance_batch(ports, ID, signals) == Outcome(BatchStatus.COMPLETED, 0.0)
        assert (await load(ports)).phase == Deleted(status=BatchStatus.COMPLETED, deleted_at=NOW, purged=purged)
        assert signals.woken == [run_of(ID, index) for index in woken]
    assert await advance_batch(ports, ID, signals) == Outcome(BatchStatus.COMPLETED, 0.0)
    assert (await ports.batches.rows(ID), await ports.index.batches("app", None, 9)) == ([], ([], None))
    two_days = 48 * 3_600.0
    assert await advance_batch(ports, ID, signals) == Outcome(BatchStatus.COMPLETED, two_days)
    clock.move(two_days - 1)
    assert await advance_batch(ports, ID, signals) == Outcome(BatchStatus.COMPLETED, 1.0)
    clock.move(1)
    assert await advance_batch(ports, ID, signals) == NOTHING
    assert await ports.batches.load(ID) is None


async def test_a_batch_whose_runs_stay_deletes_its_rows_alone(ports: Ports, signals: Woken) -> None:
    await items_of(ports, begun(phase=OVER))
    await run_of_item(ports, 0, phase=RunEnded(status=RunStatus.COMPLETED, completed_at=NOW))
    assert await delete_batch(ports, ID, runs=False) is True
    await advance_batch(ports, ID, signals)
    assert (signals.woken, await ports.batches.rows(ID)) == ([], [])


# --- commits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fact", "announced"), [(BatchCancelRequested(), True), (BatchDeleted(runs=True), True), ("look", False)]
)
async def test_what_a_caller_changes_is_announced_to_the_sweep_first(
    ports: Ports, fact: BatchFact | str, announced: bool
) -> None:
    stored = await ports.batches.create(a_batch())
    if isinstance(fact, str):
        fact = RunsLookedAt(active=(), ended=(), runs=(), missing=0, jitter=0.0)
    await commit_batch(ports, stored, fact)
    due = await ports.due.get(ID)
    assert (due is not None) is announced


async def test_a_batch_is_announced_again_by_whoever_stood_still_over_its_write(
    ports: Ports, clock: Clock, tables: MemoryTables
) -> None:
    stored = await ports.batches.create(a_batch())

    async def before(operation: str, table: Table, *_: object) -> None:
        if operation == "commit" and table is Table.BATCHES:
            tables.before = None
            clock.move(120)
            row = await ports.due.get(ID)
            assert row is not None
            assert await ports.due.remove(row, clock())

    tables.before = before
    await commit_batch(ports, stored, BatchDeleted(runs=True))
    assert await ports.due.get(ID) is not None


async def test_a_lost_race_is_decided_again_but_for_the_right_to_call_back(ports: Ports) -> None:
    stale = await ports.batches.create(a_batch(callback_url="https://x.example"))
    await ports.batches.save(stale, replace(stale.value, progress=replace(stale.value.progress, completed=1)))
    committed = await commit_batch(ports, stale, BatchCancelRequested())
    assert (committed.refused, committed.batch.value.progress.cancelled) == (None, 9)
    (entry,) = committed.batch.value.outbox.entries
    claim = BatchCallbackClaimed(entry=name_of(entry), tries=0, seconds=60)
    await commit_batch(ports, committed.batch, claim)
    with pytest.raises(LostRace):
        await commit_batch(ports, committed.batch, claim)
    current = await ports.batches.load(ID)
    assert current is not None
    await ports.batches.remove(current)
    with pytest.raises(LostRace):
        await commit_batch(ports, current, BatchDeleted(runs=True))


async def test_what_is_refused_leaves_the_batch_as_it_was_read(ports: Ports) -> None:
    batch = await written(ports, begun(phase=OVER))
    assert await cancel_batch(ports, ID) == batch
    assert await ports.due.get(ID) is None


async def test_who_is_never_fast_enough_gives_up(ports: Ports, tables: MemoryTables) -> None:
    stored = await ports.batches.create(a_batch())
    races = 0

    async def before(operation: str, table: Table, *_: object) -> None:
        nonlocal races
        if operation == "commit" and table is Table.BATCHES:
            races += 1
            assert races <= MAX_RACES
            current = await ports.batches.load(ID)
            assert current is not None
            await ports.batches.save(current, replace(current.value, updated_at=at(races)))

    tables.before = before
    with pytest.raises(TooManyRaces):
        await commit_batch(ports, stored, BatchCancelRequested())
    assert races == MAX_RACES


@pytest.mark.parametrize(("fact", "said"), [(BatchCancelRequested(), 1), (BatchDeleted(runs=True), 1), ("look", 0)])
async def test_each_new_status_is_logged(
    ports: Ports, caplog: pytest.LogCaptureFixture, fact: BatchFact | str, said: int
) -> None:
    await ports.index.list_hidden(a_batch())
    stored = await ports.batches.create(a_batch())
    caplog.set_level("INFO", "dormouse")
    if isinstance(fact, str):
        stored = await ports.batches.save(stored, a_batch(window=0))
        fact = RunsLookedAt(active=(), ended=(), runs=(), missing=0, jitter=0.0)
    await commit_batch(ports, stored, fact)
    assert [each.getMessage() for each in caplog.records] == [f"{ID} is cancelled"] * said
