"""A batch as rows of a table read: what may follow what, without any store."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shared.runs.batches.batch import (
    Active,
    Batch,
    BatchStatus,
    ItemStatus,
    Result,
    cancel,
    close,
    entomb,
    is_batch_id,
    item_status,
    pace,
    refused_at,
    room,
    run_of,
    session_of,
    settle,
    submission_of,
    take,
)
from shared.runs.run import CallbackState, Next, RunStatus, parse_run_id
from tests.unit.runs.records import NOW, a_run, at

ID = "batch_" + "0123456789abcdef" * 2


def a_batch(**changes: Any) -> Batch:
    """A batch of ten as submit makes it, with these changes."""
    batch = Batch(
        id=ID,
        owner="app",
        submission="s",
        created_at=NOW,
        updated_at=NOW,
        wake_at=NOW,
        progress_at=NOW,
        total=10,
        concurrency=4,
        window=4,
    )
    return replace(batch, **changes)


def active(*indices: int) -> tuple[Active, ...]:
    return tuple(Active(index, NOW) for index in indices)


def result(index: int, status: RunStatus = RunStatus.COMPLETED) -> Result:
    return Result(index=index, status=status, ended_at=NOW)


def waiting(refused: float, gap: float, **changes: Any) -> Any:
    """A run that the provider refused ``refused`` seconds after NOW, for now."""
    fields: dict[str, Any] = {"not_accepted": 1, "next": Next.CREATE, **changes}
    return a_run(not_before=at(refused + gap), wake_at=at(refused + gap), retry_after=gap, **fields)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [(ID, True), (ID.upper(), False), (ID + "0", False), (ID + "\n", False), ("run_" + "0" * 32 + "_1", False)],
)
def test_what_is_the_id_of_a_batch(text: str, is_one: bool) -> None:
    assert is_batch_id(text) is is_one


def test_ids_of_items_are_derived_and_no_two_are_alike() -> None:
    other = "batch_" + "f" * 32
    runs = {run_of(batch, index) for batch in (ID, other) for index in range(1_000)}
    assert len(runs) == 2_000
    assert run_of(ID, 7) == run_of(ID, 7)
    assert parse_run_id(run_of(ID, 7)) == (session_of(ID, 7), 1)
    assert submission_of(ID, 7) not in (submission_of(ID, 8), submission_of(other, 7), session_of(ID, 7))


def test_items_have_their_turn_in_order_and_refused_ones_are_passed_over() -> None:
    batch, first = take(a_batch(refused=(0, 2, 3), failed=3), 2, at(1))
    assert [each.index for each in first] == [1, 4]
    assert (batch.status, batch.cursor, batch.pending, batch.progress_at) == (BatchStatus.IN_PROGRESS, 5, 5, at(1))
    batch, second = take(batch, 100, at(2))
    assert [each.index for each in second] == [5, 6, 7, 8, 9]
    assert (batch.pending, len(batch.active)) == (0, 7)
    assert take(batch, 1, at(3)) == (batch, ())


def test_nothing_taken_changes_nothing() -> None:
    assert take(a_batch(), 0, at(5)) == (a_batch(), ())


def test_ended_items_are_counted_by_their_word() -> None:
    batch = a_batch(cursor=5, active=active(0, 1, 2, 3, 4))
    words = [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.INCOMPLETE, RunStatus.CANCELLED]
    after = settle(batch, [result(index, word) for index, word in enumerate(words)], at(9))
    assert (after.completed, after.failed, after.incomplete, after.cancelled) == (1, 1, 1, 1)
    assert after.active == active(4)
    assert (after.pending, after.progress_at, after.status) == (5, at(9), batch.status)


@pytest.mark.parametrize(
    ("before", "after"),
    [(BatchStatus.IN_PROGRESS, BatchStatus.COMPLETED), (BatchStatus.CANCELLING, BatchStatus.CANCELLED)],
)
def test_the_last_result_ends_the_batch(before: BatchStatus, after: BatchStatus) -> None:
    batch = settle(a_batch(total=1, cursor=1, active=active(0), status=before), [result(0)], at(3))
    assert (batch.status, batch.completed_at, batch.done) == (after, at(3), True)
    assert close(batch, at(4)) == batch


def test_a_batch_with_pending_or_active_items_goes_on() -> None:
    for batch in (a_batch(), a_batch(cursor=10, active=active(9), completed=9)):
        assert close(batch, at(3)) == batch
        assert not batch.done


def test_cancel_counts_what_never_begins_and_waits_for_what_is_active() -> None:
    batch = cancel(a_batch(cursor=4, completed=2, active=active(2, 3), refused=(9,), failed=1), at(3))
    assert (batch.status, batch.cancelled, batch.pending) == (BatchStatus.CANCELLING, 5, 0)
    assert take(batch, 9, at(4)) == (batch, ())
    assert cancel(batch, at(5)) == batch
    ended = settle(batch, [result(2, RunStatus.CANCELLED), result(3)], at(6))
    assert (ended.status, ended.cancelled, ended.completed) == (BatchStatus.CANCELLED, 6, 3)
    assert cancel(ended, at(7)) == ended


def test_cancel_of_a_batch_with_nothing_active_ends_it() -> None:
    batch = cancel(a_batch(), at(3))
    assert (batch.status, batch.cancelled, batch.completed_at) == (BatchStatus.CANCELLED, 10, at(3))


@pytest.mark.parametrize(
    ("index", "ended", "status"),
    [
        (0, result(0, RunStatus.INCOMPLETE), ItemStatus.INCOMPLETE),
        (1, None, ItemStatus.FAILED),
        (2, None, ItemStatus.ACTIVE),
        (2, result(2), ItemStatus.COMPLETED),
        (3, None, ItemStatus.CANCELLED),
        (9, None, ItemStatus.FAILED),
    ],
)
def test_where_an_item_of_a_cancelled_batch_stands(index: int, ended: Result | None, status: ItemStatus) -> None:
    batch = cancel(a_batch(cursor=3, incomplete=1, active=active(2), refused=(1, 9), failed=2), at(3))
    assert item_status(batch, index, ended) is status


def test_an_item_whose_turn_has_not_come_is_pending() -> None:
    assert item_status(a_batch(), 5, None) is ItemStatus.PENDING


@pytest.mark.parametrize(
    ("changes", "free"),
    [
        ({}, 4),
        ({"active": active(0, 1, 2)}, 1),
        ({"active": active(0, 1, 2, 3)}, 0),
        ({"window": 1}, 1),
        ({"window": 2, "active": active(0, 1, 2, 3)}, 0),
        ({"held": True}, 0),
        ({"not_before": at(20)}, 0),
        ({"not_before": at(10)}, 4),
    ],
)
def test_how_many_may_have_their_turn(changes: dict[str, Any], free: int) -> None:
    assert room(a_batch(**changes), at(10)) == free


@pytest.mark.parametrize(
    ("run", "moment"),
    [
        (waiting(5, 30), at(5)),
        (waiting(5, 30, not_accepted=0, denied_since=NOW), at(5)),
        (waiting(5, 30, not_accepted=0, provider_status="failed: rate_limit_exceeded"), at(5)),
        (waiting(5, 30, not_accepted=0, provider_status="failed: server_error"), None),
        (waiting(5, 3_600, unknown_outcomes=2), None),
        (waiting(5, 30, next=Next.POLL), None),
        (a_run(not_accepted=1), None),
    ],
)
def test_when_the_provider_refused_a_run_for_now(run: Any, moment: Any) -> None:
    assert refused_at(run) == moment


def test_a_refusal_holds_the_batch_back_until_the_provider_takes_something_again() -> None:
    batch = pace(a_batch(), [a_run(accepted_at=at(1)), waiting(2, 10)], 0)
    assert (batch.held, batch.window) == (True, 2)
    batch = pace(batch, [waiting(12, 20)], 3)
    assert (batch.held, batch.window) == (True, 2), "halved once, and not opened while it holds"
    batch = pace(batch, [a_run(accepted_at=at(32)), waiting(30, 40)], 0)
    assert (batch.held, batch.window) == (False, 2)
    batch = pace(batch, [waiting(30, 40)], 1)
    assert (batch.held, batch.window) == (False, 3), "it remembers what was accepted, when that run is gone"
    assert pace(batch, [], 9).window == 4


def test_the_window_never_closes() -> None:
    assert pace(a_batch(window=1), [waiting(2, 10)], 0).window == 1


def test_a_run_that_gives_up_holds_nothing_back() -> None:
    held = pace(a_batch(), [waiting(2, 10)], 0)
    assert pace(held, [a_run(status=RunStatus.FAILED, next=Next.NONE)], 1).held is False


@pytest.mark.parametrize("status", [BatchStatus.IN_PROGRESS, BatchStatus.CANCELLING])
def test_the_write_that_ends_a_batch_owes_its_callback_once(status: BatchStatus) -> None:
    batch = a_batch(total=1, cursor=1, active=active(0), status=status, callback_url="https://x.example/")
    after = settle(batch, [result(0)], at(3))
    (debt,) = after.debts
    assert (debt.subject, debt.due, debt.tries) == (after.status.value, at(3), 0)
    assert (after.done, after.wake_at) == (False, at(3))
    assert close(after, at(4)) == cancel(after, at(4)) == after
    assert settle(replace(batch, callback_url=None), [result(0)], at(3)).debts == ()


def test_a_tombstone_owes_no_callback_and_names_no_receiver() -> None:
    batch = a_batch(callback_url="https://x.example/", callback_state=CallbackState.GIVEN_UP, callback_fault="timeout")
    for before in (batch, cancel(batch, at(1)), replace(batch, active=active(0), cursor=1)):
        gone = entomb(before, at(3), runs=True)
        assert (gone.debts, gone.callback_url, gone.callback_state, gone.callback_fault) == ((), None, None, None)
        assert gone.wake_at == at(3)
        assert settle(gone, [result(0)] if gone.active else [], at(4)).debts == ()


def test_a_tombstone_has_no_content_and_is_not_done() -> None:
    batch = a_batch(metadata={"a": "b"}, agent="x", model="m", cursor=2, active=active(0, 1))
    gone = entomb(batch, at(3), runs=True)
    assert (gone.metadata, gone.agent, gone.model, gone.deleted_at) == ({}, None, None, at(3))
    assert (gone.status, gone.done, gone.purged) == (BatchStatus.CANCELLING, False, 0)
    assert entomb(batch, at(3), runs=False).purged == 10
