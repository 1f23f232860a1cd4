"""A batch as rows of a table read: what may follow what, without any store."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import datetime
from typing import Any

import pytest

from shared.agentkit.agent import ContinuationToken
from shared.runs.model.batch import (
    Active,
    Batch,
    BatchPhase,
    BatchRequest,
    BatchSchedule,
    BatchStatus,
    Cancelling,
    Deleted,
    Ended,
    ItemResult,
    ItemStatus,
    LastCallback,
    Pace,
    Running,
    fingerprint_of,
    item_status,
    run_of,
    session_of,
)
from shared.runs.model.batch_facts import BatchCancelRequested, BatchDeleted, BatchFact, RunsLookedAt, RunsStopped
from shared.runs.model.ids import is_batch_id, parse_run_id
from shared.runs.model.outbox import CallbackState, Outbox
from shared.runs.model.phases import Creating, Pending, RunStatus
from shared.runs.model.phases import Ended as RunEnded
from shared.runs.rules.batch import BatchChange, decide_batch, end_if_done, last_refused, with_pace, with_results
from shared.runs.rules.batch import _room as room
from shared.runs.rules.batch import _start_items as start_items
from shared.settings import Settings
from tests.unit.runs.records import NOW, a_run, at

ID = "batch_" + "0123456789abcdef" * 2
SETTINGS = Settings(openai_api_key="k", app_name="unit")
URL = "https://x.example/"


def a_batch(**changes: Any) -> Batch:
    """A batch of ten as submit makes it, with these changes: of its own fields, or of a part's."""
    batch = Batch(
        request=BatchRequest(id=ID, owner="app", fingerprint="s", created_at=NOW, total=10, concurrency=4),
        schedule=BatchSchedule(wake_at=NOW, progress_at=NOW),
        pace=Pace(window=4),
        updated_at=NOW,
    )
    own = {each.name for each in fields(batch)}
    for name, value in changes.items():
        if name in own:
            batch = replace(batch, **{name: value})
            continue
        parts = ("request", "progress", "outbox", "pace", "schedule")
        part = next(each for each in parts if name in {one.name for one in fields(getattr(batch, each))})
        batch = replace(batch, **{part: replace(getattr(batch, part), **{name: value})})
    return batch


def after(batch: Batch, fact: BatchFact, now: datetime) -> Batch:
    """The batch after this fact; as it was where the fact is refused."""
    decision = decide_batch(batch, fact, now, SETTINGS)
    return decision.batch if isinstance(decision, BatchChange) else batch


def cancel(batch: Batch, now: datetime) -> Batch:
    return after(batch, BatchCancelRequested(), now)


def entomb(batch: Batch, now: datetime, *, runs: bool) -> Batch:
    return after(batch, BatchDeleted(runs=runs), now)


def active(*indices: int) -> tuple[Active, ...]:
    return tuple(Active(index=index, since=NOW) for index in indices)


def result(index: int, status: RunStatus = RunStatus.COMPLETED) -> ItemResult:
    return ItemResult(index=index, status=status, ended_at=NOW)


def waiting(
    refused: float, gap: float, *, unknown_outcomes: int = 0, provider_status: str | None = None, **tries: Any
) -> Any:
    """A run that the provider refused ``refused`` seconds after NOW, for now."""
    phase = Creating(not_before=at(refused + gap), **{"not_accepted": 1, **tries})
    return a_run(phase=phase, retry_after=gap, unknown_outcomes=unknown_outcomes, provider_status=provider_status)


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
    assert fingerprint_of(ID, 7) not in (fingerprint_of(ID, 8), fingerprint_of(other, 7), session_of(ID, 7))


def test_items_have_their_turn_in_order_and_refused_ones_are_passed_over() -> None:
    batch, first = start_items(a_batch(refused=(0, 2, 3), failed=3), 2, at(1))
    assert [each.index for each in first] == [1, 4]
    assert (batch.status, batch.progress.cursor, batch.pending) == (BatchStatus.IN_PROGRESS, 5, 5)
    assert batch.schedule.progress_at == at(1)
    batch, second = start_items(batch, 100, at(2))
    assert [each.index for each in second] == [5, 6, 7, 8, 9]
    assert (batch.pending, len(batch.progress.active)) == (0, 7)
    assert start_items(batch, 1, at(3)) == (batch, ())


def test_nothing_taken_changes_nothing() -> None:
    assert start_items(a_batch(), 0, at(5)) == (a_batch(), ())


def test_ended_items_are_counted_by_their_word() -> None:
    batch = a_batch(cursor=5, active=active(0, 1, 2, 3, 4))
    words = [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.INCOMPLETE, RunStatus.CANCELLED]
    ended = with_results(batch, [result(index, word) for index, word in enumerate(words)], at(9))
    counted = ended.progress
    assert (counted.completed, counted.failed, counted.incomplete, counted.cancelled) == (1, 1, 1, 1)
    assert counted.active == active(4)
    assert (ended.pending, ended.schedule.progress_at, ended.status) == (5, at(9), batch.status)
    assert ended.updated_at == at(9)


@pytest.mark.parametrize(
    ("before", "after"),
    [(Running(begun=True), BatchStatus.COMPLETED), (Cancelling(), BatchStatus.CANCELLED)],
)
def test_the_last_result_ends_the_batch(before: BatchPhase, after: BatchStatus) -> None:
    batch = with_results(a_batch(total=1, cursor=1, active=active(0), phase=before), [result(0)], at(3))
    assert batch.phase == Ended(status=after, completed_at=at(3))
    assert (batch.status, batch.over_at, batch.is_done) == (after, at(3), True)
    assert end_if_done(batch, at(4)) == batch
    assert end_if_done(a_batch(total=1, cursor=1, completed=1), at(3)).updated_at == at(3)


def test_a_batch_with_pending_or_active_items_goes_on() -> None:
    for batch in (a_batch(), a_batch(cursor=10, active=active(9), completed=9)):
        assert end_if_done(batch, at(3)) == batch
        assert not batch.is_done


def test_cancel_counts_what_never_begins_and_waits_for_what_is_active() -> None:
    batch = cancel(a_batch(cursor=4, completed=2, active=active(2, 3), refused=(9,), failed=1), at(3))
    assert (batch.status, batch.progress.cancelled, batch.pending) == (BatchStatus.CANCELLING, 5, 0)
    assert (batch.schedule.wake_at, batch.updated_at) == (at(3), at(3))
    assert start_items(batch, 9, at(4)) == (batch, ())
    assert cancel(batch, at(5)) == batch
    ended = with_results(batch, [result(2, RunStatus.CANCELLED), result(3)], at(6))
    assert (ended.status, ended.progress.cancelled, ended.progress.completed) == (BatchStatus.CANCELLED, 6, 3)
    assert cancel(ended, at(7)) == ended


def test_cancel_of_a_batch_with_nothing_active_ends_it() -> None:
    batch = cancel(a_batch(), at(3))
    assert batch.phase == Ended(status=BatchStatus.CANCELLED, completed_at=at(3))
    assert (batch.progress.cancelled, batch.over_at) == (10, at(3))


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
def test_where_an_item_of_a_cancelled_batch_stands(index: int, ended: ItemResult | None, status: ItemStatus) -> None:
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


@pytest.mark.parametrize("phase", [Cancelling(), Ended(status=BatchStatus.COMPLETED, completed_at=NOW)])
def test_only_a_batch_that_goes_on_has_room(phase: BatchPhase) -> None:
    assert room(a_batch(phase=phase), at(10)) == 0


def test_a_look_gives_as_many_turns_as_there_is_room_for() -> None:
    batch = a_batch(cursor=3, active=active(0, 1, 2), window=3)
    look = RunsLookedAt(active=batch.progress.active, ended=(result(1),), runs=(), missing=0, jitter=0.0)
    decision = decide_batch(batch, look, at(5), SETTINGS)
    assert isinstance(decision, BatchChange)
    assert [each.index for each in decision.started] == [3, 4], "one that has ended, and the window is one wider"
    assert [each.index for each in decision.batch.progress.active] == [0, 2, 3, 4]
    assert decision.results == (result(1),)
    faster = replace(look, active=active(0, 1))
    assert after(batch, faster, at(5)) == batch, "another wake was faster"


@pytest.mark.parametrize(
    ("run", "moment"),
    [
        (waiting(5, 30), at(5)),
        (waiting(5, 30, not_accepted=0, denied_since=NOW), at(5)),
        (waiting(5, 30, not_accepted=0, provider_status="failed: rate_limit_exceeded"), at(5)),
        (waiting(5, 30, not_accepted=0, provider_status="failed: server_error"), None),
        (waiting(5, 3_600, unknown_outcomes=2), None),
        (a_run(phase=Pending(token=ContinuationToken(response_id="resp_1"), next_look=at(35)), retry_after=30.0), None),
        (waiting(5, 0.5), at(5)),
        (waiting(5, 0), NOW),  # no wait to count from: when the row was written
        (a_run(phase=Creating(not_accepted=1)), None),
    ],
)
def test_when_the_provider_refused_a_run_for_now(run: Any, moment: Any) -> None:
    assert last_refused(run) == moment


def test_a_refusal_holds_the_batch_back_until_the_provider_takes_something_again() -> None:
    batch = with_pace(a_batch(), [a_run(accepted_at=at(1)), waiting(2, 10)], 0)
    assert (batch.pace.held, batch.pace.window) == (True, 2)
    batch = with_pace(batch, [waiting(12, 20)], 3)
    assert (batch.pace.held, batch.pace.window) == (True, 2), "halved once, and not opened while it holds"
    batch = with_pace(batch, [a_run(accepted_at=at(32)), waiting(30, 40)], 0)
    assert (batch.pace.held, batch.pace.window) == (False, 2)
    batch = with_pace(batch, [waiting(30, 40)], 1)
    held = (batch.pace.held, batch.pace.window)
    assert held == (False, 3), "it remembers what was accepted, when that run is gone"
    assert with_pace(batch, [], 9).pace.window == 4


def test_of_many_runs_the_latest_answer_counts_in_whatever_order_they_are_read() -> None:
    accepted = [a_run(accepted_at=at(seconds)) for seconds in (3, 7)]
    for runs in (accepted, accepted[::-1]):
        pace = with_pace(a_batch(), [*runs, waiting(5, 10)], 0).pace
        assert (pace.held, pace.accepted_at) == (False, at(7))
    refused = [waiting(seconds, 10) for seconds in (2, 5)]
    for runs in (refused, refused[::-1]):
        assert with_pace(a_batch(), [*runs, a_run(accepted_at=at(3))], 0).pace.held


def test_the_window_never_closes() -> None:
    assert with_pace(a_batch(window=1), [waiting(2, 10)], 0).pace.window == 1


def test_a_run_that_gives_up_holds_nothing_back() -> None:
    held = with_pace(a_batch(), [waiting(2, 10)], 0)
    assert held.pace.held
    ended = a_run(phase=RunEnded(status=RunStatus.FAILED, completed_at=at(5)))
    assert with_pace(held, [ended], 1).pace.held is False


@pytest.mark.parametrize("phase", [Running(begun=True), Cancelling()])
def test_the_write_that_ends_a_batch_owes_its_callback_once(phase: BatchPhase) -> None:
    batch = a_batch(total=1, cursor=1, active=active(0), phase=phase, callback_url=URL)
    ended = with_results(batch, [result(0)], at(3))
    (entry,) = ended.outbox.entries
    assert (entry.subject, entry.due, entry.tries) == (ended.status.value, at(3), 0)
    assert (ended.is_done, ended.schedule.wake_at) == (False, at(3))
    assert end_if_done(ended, at(4)) == cancel(ended, at(4)) == ended
    without = replace(batch, request=replace(batch.request, callback_url=None))
    assert with_results(without, [result(0)], at(3)).outbox.entries == ()


def test_a_tombstone_owes_no_callback_and_names_no_receiver() -> None:
    batch = a_batch(
        callback_url=URL,
        callback_state=CallbackState.GIVEN_UP,
        last_callback=LastCallback(fault="timeout", http_status=500),
    )
    begun = replace(batch, progress=replace(batch.progress, active=active(0), cursor=1))
    for before in (batch, cancel(batch, at(1)), begun):
        gone = entomb(before, at(3), runs=True)
        assert (gone.outbox, gone.request.callback_url, gone.last_callback) == (Outbox(), None, LastCallback())
        assert gone.schedule.wake_at == at(3)
        ended = tuple(result(each.index) for each in gone.progress.active)
        stopped = after(gone, RunsStopped(ended=ended, jitter=0.0), at(4))
        assert (stopped.outbox.entries, stopped.progress.active) == ((), ())


def test_a_tombstone_has_no_content_and_is_not_done() -> None:
    batch = a_batch(metadata={"a": "b"}, agent="x", model="m", cursor=2, active=active(0, 1))
    gone = entomb(batch, at(3), runs=True)
    assert (gone.request.metadata, gone.request.agent, gone.request.model) == ({}, None, None)
    assert gone.phase == Deleted(status=BatchStatus.CANCELLING, deleted_at=at(3), purged=0)
    assert (gone.is_done, gone.is_deleted, gone.over_at) == (False, True, None)
    over = with_results(a_batch(total=1, cursor=1, active=active(0)), [result(0)], at(1))
    assert entomb(over, at(3), runs=True).over_at is None
    kept = entomb(batch, at(3), runs=False)
    assert isinstance(kept.phase, Deleted)
    assert kept.phase.purged == 10


def test_a_tombstone_is_stopped_before_its_runs_go() -> None:
    gone = entomb(a_batch(cursor=2, active=active(0, 1)), at(3), runs=True)
    gone = after(gone, RunsStopped(ended=(result(0),), jitter=0.0), at(4))
    assert (gone.status, gone.schedule.wake_at > at(4)) == (BatchStatus.CANCELLING, True)
    gone = after(gone, RunsStopped(ended=(result(1, RunStatus.CANCELLED),), jitter=0.0), at(5))
    assert gone.phase == Deleted(status=BatchStatus.CANCELLED, deleted_at=at(3))
    assert (gone.schedule.wake_at, gone.over_at, gone.outbox.entries) == (at(5), None, ())
