"""What each fact of a batch comes to: looks, submits, stops, the purge, crashes and callbacks, as tables."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shared.runs.model.batch import (
    Active,
    Batch,
    BatchPhase,
    BatchStatus,
    Cancelling,
    Deleted,
    Ended,
    LastCallback,
    Running,
)
from shared.runs.model.batch_facts import (
    BatchCallbackClaimed,
    BatchCallbackRequested,
    BatchCallbackTried,
    BatchFact,
    BatchWakeCrashed,
    RowsPurged,
    RunsLookedAt,
    RunsPurged,
    RunsStopped,
    RunsSubmitted,
)
from shared.runs.model.callbacks import Sent
from shared.runs.model.facts import EntryName
from shared.runs.model.outbox import CallbackState, Entry, EntryKind
from shared.runs.model.phases import RunStatus
from shared.runs.rules.batch import BATCH_TABLE, BatchChange, BatchRule, decide_batch
from shared.runs.rules.change import Refused
from shared.runs.rules.ending import MAX_CRASHES
from tests.unit.runs.records import NOW, a_run, at
from tests.unit.runs.test_batch import SETTINGS, URL, a_batch, active, cancel, entomb, result, waiting

OVER = Ended(status=BatchStatus.COMPLETED, completed_at=NOW)
TOMB = Deleted(status=BatchStatus.COMPLETED, deleted_at=NOW)
CALLBACK = Entry(kind=EntryKind.CALLBACK, subject="completed", due=at(5), since=NOW, tries=2)
NAME = EntryName(kind=EntryKind.CALLBACK, subject="completed", since=NOW)
OTHERS = [replace(NAME, subject="cancelled"), replace(NAME, since=at(1))]


def change(batch: Batch, fact: BatchFact, seconds: float = 10) -> BatchChange:
    """What the fact comes to; it is not refused."""
    decision = decide_batch(batch, fact, at(seconds), SETTINGS)
    assert isinstance(decision, BatchChange), decision
    return decision


def refused(batch: Batch, fact: BatchFact, seconds: float = 10) -> Refused:
    decision = decide_batch(batch, fact, at(seconds), SETTINGS)
    assert isinstance(decision, Refused), decision
    return decision


def ended_with_callback(**changes: Any) -> Batch:
    """A batch that is over and still has to report that."""
    return a_batch(
        **{"phase": OVER, "completed": 10, "cursor": 10, "callback_url": URL, "entries": (CALLBACK,), **changes}
    )


def look(batch: Batch, **fields: Any) -> RunsLookedAt:
    return RunsLookedAt(
        **{"active": batch.progress.active, "ended": (), "runs": (), "missing": 0, "jitter": 0.0, **fields}
    )


def submitted(**fields: Any) -> RunsSubmitted:
    given: dict[str, Any] = {"failed": (), "runs": (), "waits": False, "wait_seconds": None, "crashed": False}
    return RunsSubmitted(**{**given, "jitter": 0.0, **fields})


# --- looks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "missing", "crashes"),
    [
        ({}, 0, 3),  # items are started
        ({"window": 1}, 0, 0),  # no room for another
        ({"window": 1}, 1, 3),
        ({"window": 1, "not_before": at(11)}, 1, 0),  # it waits, so that nothing is to be done now
        ({"window": 1, "not_before": at(10)}, 1, 3),
        ({"not_before": at(10)}, 0, 3),
    ],
)
def test_a_look_that_leaves_nothing_to_do_ends_a_row_of_crashes(
    changes: dict[str, Any], missing: int, crashes: int
) -> None:
    batch = a_batch(cursor=1, active=active(0), crashes=0, wakes=6, **changes)
    batch = replace(batch, schedule=replace(batch.schedule, crashes=3))
    after = change(batch, look(batch, missing=missing)).batch.schedule
    assert (after.crashes, after.wakes) == (crashes, 7)


def test_a_look_at_other_items_than_the_row_has_is_refused() -> None:
    batch = a_batch(cursor=2, active=active(0, 1))
    assert refused(batch, replace(look(batch), active=active(0))) == Refused()


@pytest.mark.parametrize(
    ("changes", "seconds", "gap"),
    [
        ({"active": active(0), "progress_at": at(9)}, 10, 1.66),
        ({"active": active(0), "progress_at": NOW}, 100, 14.932),
        ({"active": active(0), "progress_at": NOW}, 100_000, 30.0),  # the longest that it is left alone
        ({"not_before": at(70), "progress_at": at(9)}, 10, 60.0),
        ({"not_before": at(11), "progress_at": at(9)}, 10, 1.66),
        ({"active": active(0), "not_before": at(70), "progress_at": at(9)}, 10, 1.66),
    ],
)
def test_when_a_batch_in_which_nothing_moves_is_looked_at_next(
    changes: dict[str, Any], seconds: float, gap: float
) -> None:
    batch = a_batch(cursor=1, window=1, **changes)
    after = change(batch, look(batch), seconds).batch.schedule
    assert ((after.wake_at - at(seconds)).total_seconds(), after.retry_after) == pytest.approx((gap, gap), abs=0.001)


def test_a_look_that_starts_an_item_says_when() -> None:
    after = change(a_batch(window=1), look(a_batch(window=1))).batch
    assert (after.phase, after.updated_at, after.progress.active) == (
        Running(begun=True),
        at(10),
        (Active(index=0, since=at(10)),),
    )


def test_a_look_that_finds_the_last_item_ended_ends_the_batch() -> None:
    batch = a_batch(total=1, cursor=1, active=active(0), phase=Running(begun=True))
    assert change(batch, look(batch, ended=(result(0),))).batch.status is BatchStatus.COMPLETED


def test_gaps_are_kept_in_milliseconds() -> None:
    batch = a_batch(cursor=1, window=1, active=active(0), progress_at=NOW)
    assert change(batch, look(batch, jitter=0.7)).batch.schedule.retry_after == 4.839
    after = change(crashed(0), replace(crash(0), jitter=0.123456)).batch
    assert after.schedule.retry_after == 2.025


# --- submits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refusals", "wait_seconds", "wait"),
    [(0, None, 2.0), (1, None, 4.0), (2, None, 8.0), (2, 45.0, 45.0), (0, 0.0, 0.0)],
)
def test_submits_that_have_to_wait_are_tried_ever_later(refusals: int, wait_seconds: float | None, wait: float) -> None:
    batch = a_batch(cursor=1, active=active(0), refusals=refusals)
    pace = change(batch, submitted(waits=True, wait_seconds=wait_seconds)).batch.pace
    assert (pace.refusals, pace.not_before, pace.crashes) == (refusals + 1, at(10 + wait), 0)


def test_submits_that_went_well_end_the_wait() -> None:
    batch = a_batch(cursor=1, active=active(0), refusals=3, not_before=at(5))
    batch = replace(batch, pace=replace(batch.pace, crashes=2), schedule=replace(batch.schedule, crashes=4))
    after = change(batch, submitted(runs=(a_run(accepted_at=at(8)),))).batch
    assert (after.pace.refusals, after.pace.not_before, after.pace.crashes) == (0, None, 0)
    assert (after.pace.accepted_at, after.pace.window, after.schedule.crashes) == (at(8), 4, 0)


def test_submits_that_crash_are_counted_apart_from_crashed_wakes() -> None:
    batch = a_batch(cursor=1, active=active(0))
    batch = replace(batch, pace=replace(batch.pace, crashes=2), schedule=replace(batch.schedule, crashes=4))
    after = change(batch, submitted(waits=True, crashed=True)).batch
    assert (after.pace.crashes, after.schedule.crashes) == (3, 0)


def test_a_submit_fails_only_items_that_are_active_still() -> None:
    batch = a_batch(cursor=3, active=active(1, 2), window=2, failed=1)
    failed = (result(0, RunStatus.FAILED), result(1, RunStatus.FAILED))
    decided = change(batch, submitted(failed=failed))
    assert decided.results == failed[1:]
    assert (decided.batch.progress.active, decided.batch.progress.failed) == (active(2), 2)
    assert decided.batch.pace.window == 2, "an item that never ran says nothing of the provider"


def test_submits_that_change_nothing_write_nothing() -> None:
    batch = a_batch(cursor=1, active=active(0), accepted_at=at(8))
    assert refused(batch, submitted()) == Refused()
    assert refused(batch, submitted(failed=(result(7),))) == Refused()


def test_a_submit_is_recorded_while_its_batch_is_cancelled() -> None:
    batch = cancel(a_batch(cursor=2, active=active(0, 1)), at(1))
    after = change(batch, submitted(failed=(result(0, RunStatus.FAILED),))).batch
    assert (after.status, after.progress.active) == (BatchStatus.CANCELLING, active(1))


# --- stops and the purge ------------------------------------------------------------------------------


def test_a_stop_counts_as_a_wake_that_went_well_and_ends_each_item_once() -> None:
    batch = cancel(a_batch(cursor=2, active=active(0, 1), wakes=6), at(1))
    batch = replace(batch, schedule=replace(batch.schedule, crashes=3))
    ended = (result(0, RunStatus.CANCELLED), result(7, RunStatus.CANCELLED))
    decided = change(batch, RunsStopped(ended=ended, jitter=0.0))
    assert decided.results == ended[:1]
    assert decided.batch.progress.active == active(1)
    assert (decided.batch.schedule.wakes, decided.batch.schedule.crashes) == (7, 0)
    assert decided.batch.schedule.wake_at == at(11.5)


def test_the_last_item_that_is_stopped_ends_a_cancelled_batch() -> None:
    batch = a_batch(total=1, cursor=1, active=active(0), phase=Cancelling())
    after = change(batch, RunsStopped(ended=(result(0, RunStatus.CANCELLED),), jitter=0.0)).batch
    assert (after.phase, after.updated_at) == (Ended(status=BatchStatus.CANCELLED, completed_at=at(10)), at(10))


def test_a_batch_deleted_while_it_is_cancelled_keeps_what_was_never_started() -> None:
    batch = entomb(cancel(a_batch(cursor=3, active=active(1, 2), completed=1), at(1)), at(2), runs=True)
    assert batch.is_deleted
    assert (batch.progress.cancelled_from, batch.progress.cancelled, batch.pending) == (3, 7, 0)


@pytest.mark.parametrize("runs", [True, False])
def test_the_tombstone_of_an_ended_batch_keeps_its_counts_and_how_it_ended(runs: bool) -> None:
    batch = entomb(ended_with_callback(over_at=at(1)), at(9), runs=runs)
    assert batch.phase == Deleted(status=BatchStatus.COMPLETED, deleted_at=at(9), purged=0 if runs else 10)
    assert (batch.progress.completed, batch.progress.cancelled_from) == (10, None)
    assert (batch.updated_at, batch.schedule.wake_at) == (at(9), at(9))


@pytest.mark.parametrize(("purged", "until", "after"), [(0, 5, 5), (5, 3, 5), (5, 5, 5)])
def test_the_purge_of_runs_never_goes_back(purged: int, until: int, after: int) -> None:
    batch = change(a_batch(phase=replace(TOMB, purged=purged)), RunsPurged(until=until)).batch
    assert batch.phase == replace(TOMB, purged=after)
    assert batch.schedule.wake_at == at(10)


@pytest.mark.parametrize(("emptied", "wake_at"), [(False, at(10)), (True, at(999))])
def test_the_row_of_a_batch_goes_some_time_after_its_other_rows(emptied: bool, wake_at: object) -> None:
    batch = change(a_batch(phase=TOMB), RowsPurged(emptied=emptied, keep=999)).batch
    assert batch.phase == replace(TOMB, emptied=emptied)
    assert batch.schedule.wake_at == wake_at


@pytest.mark.parametrize(
    ("phase", "status"), [(Running(), BatchStatus.COMPLETED), (Cancelling(), BatchStatus.CANCELLED)]
)
def test_a_batch_that_ends_waits_for_nothing(phase: BatchPhase, status: BatchStatus) -> None:
    batch = a_batch(total=1, cursor=1, active=active(0), phase=phase, retry_after=7.0)
    after = change(batch, submitted(failed=(result(0, RunStatus.FAILED),))).batch
    assert (after.status, after.schedule.retry_after, after.schedule.wake_at) == (status, 0.0, at(10))


def test_a_tombstone_whose_last_run_was_stopped_waits_for_nothing() -> None:
    batch = entomb(a_batch(total=1, cursor=1, active=active(0), retry_after=7.0), at(2), runs=True)
    after = change(batch, RunsStopped(ended=(result(0, RunStatus.CANCELLED),), jitter=0.0)).batch
    assert (after.status, after.schedule.retry_after, after.schedule.wake_at) == (BatchStatus.CANCELLED, 0.0, at(10))


# --- crashes ------------------------------------------------------------------------------------------


def crash(seen: int, *ended: int) -> BatchWakeCrashed:
    failed = tuple(result(index, RunStatus.FAILED) for index in ended)
    return BatchWakeCrashed(seen=seen, error="KeyError", ended=failed, jitter=0.0)


def crashed(crashes: int, **changes: Any) -> Batch:
    batch = a_batch(wakes=20, **changes)
    return replace(batch, schedule=replace(batch.schedule, crashes=crashes))


@pytest.mark.parametrize(
    "phase", [Running(), Running(begun=True), Cancelling(), replace(TOMB, status=BatchStatus.CANCELLING), TOMB]
)
def test_a_crash_is_backed_off_and_counted_once(phase: BatchPhase) -> None:
    batch, gaps = crashed(0, phase=phase, cursor=2, active=active(0, 1)), []
    for seen in range(MAX_CRASHES - 1):
        decided = change(batch, crash(seen, 0))
        assert (decided.results, decided.batch.phase, decided.batch.progress) == ((), phase, batch.progress)
        batch = decided.batch
        assert (batch.schedule.crashes, batch.schedule.wakes) == (seen + 1, 21 + seen)
        assert batch.schedule.wake_at == at(10 + batch.schedule.retry_after)
        gaps.append(batch.schedule.retry_after)
        assert refused(batch, crash(seen)) == Refused()
    assert gaps == [2, 4, 8, 16, 32, 64, 128, 256, 300]


@pytest.mark.parametrize(
    ("phase", "status"), [(Running(begun=True), BatchStatus.COMPLETED), (Cancelling(), BatchStatus.CANCELLED)]
)
def test_the_tenth_crash_in_a_row_fails_what_of_the_batch_has_not_ended(phase: BatchPhase, status: BatchStatus) -> None:
    batch = crashed(MAX_CRASHES - 1, phase=phase, cursor=4, active=active(2, 3), completed=1, failed=1)
    decided = change(batch, crash(MAX_CRASHES - 1, 1, 2, 3))
    assert [each.index for each in decided.results] == [2, 3], "one had ended already"
    progress = decided.batch.progress
    assert (decided.batch.phase, decided.batch.pending) == (Ended(status=status, completed_at=at(10)), 0)
    assert (progress.failed, progress.completed, progress.active, progress.cursor) == (9, 1, (), 10)
    assert progress.failed_from == 4
    assert decided.batch.updated_at == at(10)
    assert progress.failed_because == "10 wakes of the batch failed in a row, the last with KeyError."


@pytest.mark.parametrize("phase", [OVER, TOMB])
def test_what_an_ended_batch_still_has_to_do_is_not_given_up_for_crashes(phase: BatchPhase) -> None:
    batch = crashed(25, phase=phase, cursor=10, completed=10, callback_url=URL, entries=(CALLBACK,))
    after = change(batch, crash(25)).batch
    assert (after.phase, after.outbox, after.progress) == (batch.phase, batch.outbox, batch.progress)
    assert (after.schedule.crashes, after.schedule.retry_after) == (26, 300)


def test_a_batch_with_nothing_left_to_do_counts_no_crash() -> None:
    assert refused(crashed(0, phase=OVER, cursor=10, completed=10), crash(0)) == Refused()


# --- callbacks ----------------------------------------------------------------------------------------


def test_an_attempt_at_a_callback_is_counted_before_it_is_made() -> None:
    batch = ended_with_callback(deliveries=4, last_callback=LastCallback(at=NOW, http_status=500))
    after = change(batch, BatchCallbackClaimed(entry=NAME, tries=2, seconds=60), 5).batch
    assert after.outbox.entries == (replace(CALLBACK, tries=3, due=at(65)),)
    assert (after.outbox.deliveries, after.schedule.wake_at) == (5, at(65))
    assert after.last_callback == LastCallback(at=at(5)), "nothing is known of it yet"


@pytest.mark.parametrize(
    ("entry", "tries", "seconds"), [(NAME, 1, 10), (NAME, 3, 10), (NAME, 2, 4.9), *((each, 2, 10) for each in OTHERS)]
)
def test_an_attempt_that_another_wake_makes_is_refused(entry: EntryName, tries: int, seconds: float) -> None:
    claim = BatchCallbackClaimed(entry=entry, tries=tries, seconds=60)
    assert refused(ended_with_callback(), claim, seconds).code == "claimed"


@pytest.mark.parametrize(
    ("tried", "entries", "state"),
    [
        ({"state": CallbackState.DELIVERED, "seconds": 9.0}, (), CallbackState.DELIVERED),
        ({"seconds": 9.0}, (replace(CALLBACK, due=at(19)),), None),
        *(({"entry": each, "state": CallbackState.DELIVERED}, (CALLBACK,), None) for each in OTHERS),
        *(({"entry": each, "seconds": 9.0}, (CALLBACK,), None) for each in OTHERS),
    ],
)
def test_what_becomes_of_a_callback_after_an_attempt(
    tried: dict[str, Any], entries: tuple[Entry, ...], state: CallbackState | None
) -> None:
    after = change(ended_with_callback(), BatchCallbackTried(**{"entry": NAME, **tried})).batch
    assert (after.outbox.entries, after.outbox.callback_state) == (entries, state)
    assert after.schedule.wake_at == (entries[0].due if entries else at(10))


@pytest.mark.parametrize(
    ("sent", "attempt", "last"),
    [
        (Sent(status=503), 4, LastCallback(at=NOW, http_status=503)),
        (Sent(fault="timeout"), 4, LastCallback(at=NOW, fault="timeout")),
        (Sent(status=503), 3, LastCallback(at=NOW)),  # another was begun since
        (None, 4, LastCallback(at=NOW)),
    ],
)
def test_only_the_outcome_of_the_last_attempt_is_kept(sent: Sent | None, attempt: int, last: LastCallback) -> None:
    batch = ended_with_callback(deliveries=4, last_callback=LastCallback(at=NOW))
    after = change(batch, BatchCallbackTried(entry=NAME, sent=sent, attempt=attempt, seconds=9.0)).batch
    assert after.last_callback == last


@pytest.mark.parametrize(
    ("batch", "code"),
    [
        (ended_with_callback(callback_url=None), "no_callback"),
        (a_batch(callback_url=None), "no_callback"),
        (a_batch(callback_url=URL), "batch_not_ended"),
        (a_batch(callback_url=URL, phase=Cancelling()), "batch_not_ended"),
    ],
)
def test_why_a_callback_cannot_be_sent_again(batch: Batch, code: str) -> None:
    decision = refused(batch, BatchCallbackRequested())
    assert decision.code == code
    assert decision.error is not None
    assert decision.error.code == code
    if code == "batch_not_ended":
        assert decision.error.details == {"status_of_batch": batch.status.value}


def test_a_callback_that_is_asked_for_again_begins_anew() -> None:
    batch = ended_with_callback(entries=(), callback_state=CallbackState.DISABLED, deliveries=4)
    for before in (batch, ended_with_callback(deliveries=4)):
        after = change(before, BatchCallbackRequested()).batch
        assert after.outbox.entries == (replace(CALLBACK, tries=0, due=at(10), since=at(10)),)
        assert (after.outbox.callback_state, after.outbox.deliveries, after.schedule.wake_at) == (None, 4, at(10))


# --- the table ----------------------------------------------------------------------------------------

FACTS: list[BatchFact] = [
    look(a_batch()),
    submitted(),
    RunsStopped(ended=(), jitter=0.0),
    RunsPurged(until=1),
    RowsPurged(emptied=True, keep=1),
    BatchCallbackClaimed(entry=NAME, tries=2, seconds=60),
    BatchCallbackTried(entry=NAME),
    BatchCallbackRequested(),
]


@pytest.mark.parametrize("phase", [Running(), Cancelling(), OVER, TOMB], ids=lambda phase: type(phase).__name__)
@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: type(fact).__name__)
def test_what_does_not_belong_to_a_phase_is_refused_there(fact: BatchFact, phase: BatchPhase) -> None:
    if type(phase) not in BATCH_TABLE[type(fact)].leads:
        assert refused(a_batch(phase=phase), fact) == Refused()


@pytest.mark.parametrize(
    ("fact", "phases"),
    [
        (RunsLookedAt, [Running]),
        (RunsSubmitted, [Running, Cancelling]),
        (RunsStopped, [Cancelling, Deleted]),
        (RunsPurged, [Deleted]),
        (RowsPurged, [Deleted]),
        (BatchWakeCrashed, [Running, Cancelling, Ended, Deleted]),
        (BatchCallbackClaimed, [Ended]),
        (BatchCallbackTried, [Ended]),
        (BatchCallbackRequested, [Running, Cancelling, Ended]),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_where_each_fact_belongs(fact: type[BatchFact], phases: list[type[BatchPhase]]) -> None:
    assert list(BATCH_TABLE[fact].leads) == phases


def test_a_rule_that_leads_elsewhere_than_the_table_says_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = BatchRule(lambda *_: BatchChange(batch=a_batch()), {Deleted: (Deleted,)})
    monkeypatch.setitem(BATCH_TABLE, RunsPurged, wrong)
    with pytest.raises(AssertionError, match="RunsPurged led to"):
        decide_batch(a_batch(phase=TOMB), RunsPurged(until=1), NOW, SETTINGS)


# --- the pace -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("accepted", "refusal", "held"), [(None, 5, True), (4, 5, True), (5, 5, False), (6, 5, False)])
def test_the_latest_answer_of_the_provider_decides(accepted: float | None, refusal: float, held: bool) -> None:
    batch = a_batch(cursor=1, active=active(0), accepted_at=None if accepted is None else at(accepted))
    after = change(batch, look(batch, runs=(waiting(refusal, 30),))).batch
    assert after.pace.held is held
