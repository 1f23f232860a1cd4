"""What becomes of a run for later, decision by decision."""

from __future__ import annotations

import pytest

from shared.runs.actions.admission import ABSENT_FOR, is_stale
from shared.runs.model import facts
from shared.runs.model.facts import Fact
from shared.runs.model.journal import LineKind
from shared.runs.model.phases import Creating, RunStatus, Scheduled
from shared.runs.model.run import Run
from shared.runs.rules.agenda import Action, ActionKind, agenda, early_look, gap_to_next_try, look_or_try
from shared.runs.rules.change import Refused
from shared.runs.rules.ending import MAX_CRASHES
from shared.runs.rules.starting import COMMIT_WITHIN
from shared.runs.rules.waiting import WaitingFor, waiting_of
from shared.runs.store.slots import Slot
from tests.unit.runs.records import NOW, a_run, an_entry, at
from tests.unit.runs.test_transitions import after, change, refused

HOUR = 3_600.0
LATER = Scheduled(not_before=at(HOUR), deadline_seconds=60.0)
STARTED = facts.Started(slot=3, taken_at=at(HOUR))


def a_later_run(**changes: object) -> Run:
    return a_run(**{"start_at": at(HOUR), "phase": LATER, "deadline_at": None, **changes})


def test_its_deadline_begins_with_it() -> None:
    run = after(a_later_run(), facts.Started(slot=3, taken_at=at(HOUR)), at(HOUR + 7))
    assert (run.phase, run.request.slot, run.schedule.begun_at) == (Creating(), 3, at(HOUR + 7))
    assert run.schedule.deadline_at == at(HOUR + 67)
    late = after(run, facts.DeadlinePassed(), at(HOUR + 67))
    assert "within 60 seconds" in str(late.result.error_message)


@pytest.mark.parametrize(
    ("slot", "taken_at", "now", "code"),
    [
        (None, HOUR - 1, HOUR - 1, "too_early"),
        (3, HOUR, HOUR + COMMIT_WITHIN.total_seconds() + 1, "slot_lost"),
        (None, HOUR, HOUR + COMMIT_WITHIN.total_seconds() + 1, None),
    ],
)
def test_it_starts_in_its_time_and_with_a_slot_that_is_still_its_own(
    slot: int | None, taken_at: float, now: float, code: str | None
) -> None:
    fact = facts.Started(slot=slot, taken_at=at(taken_at))
    if code is None:
        assert after(a_later_run(), fact, at(now)).phase == Creating()
    else:
        assert refused(a_later_run(), fact, at(now)).code == code


def test_without_a_place_it_is_tried_again_after_waits_that_grow() -> None:
    run, now, gaps = a_later_run(), HOUR, []
    for refusals in range(8):
        fact = facts.NotStarted(refusals=refusals, jitter=0.0)
        run = after(run, fact, at(now))
        assert refused(run, fact, at(now)) == Refused(), "one refusal, told twice"
        assert isinstance(run.phase, Scheduled)
        gaps.append((run.phase.not_before - at(now)).total_seconds())
        now += gaps[-1]
    assert gaps == [2, 4, 8, 16, 32, 64, 120, 120]
    assert run.counters.wakes == 8


def test_what_it_waits_for_is_said() -> None:
    assert waiting_of(a_later_run()).word is WaitingFor.START
    assert WaitingFor.START == "start"
    assert waiting_of(a_later_run()).sentence == "It starts at 2026-03-01 13:00:00 UTC."
    full = change(a_later_run(), facts.NotStarted(refusals=0, jitter=0.0), at(HOUR)).run
    assert waiting_of(full).word is WaitingFor.START
    assert "Next try in 2 s" in waiting_of(full).sentence
    crashed = change(a_later_run(), facts.WakeCrashed(seen=0, error="E", jitter=0.0), at(HOUR)).run
    assert (waiting_of(crashed).word, waiting_of(crashed).next_try) == (WaitingFor.RETRY, at(HOUR + 2))


@pytest.mark.parametrize(
    ("run", "seconds", "over"),
    [
        (a_later_run(fingerprint="s"), ABSENT_FOR.total_seconds(), False),
        (a_later_run(fingerprint="s"), ABSENT_FOR.total_seconds() + 1, True),
        (a_later_run(fingerprint="another"), 0, True),
        (a_later_run(fingerprint="s", phase=Creating(), slot=3), 1e6, False),
        (a_later_run(fingerprint="s", phase=Creating(), slot=4), 0, True),
    ],
)
def test_a_slot_that_was_taken_to_start_it_is_kept_while_that_may_be_written(
    run: Run, seconds: float, over: bool
) -> None:
    slot = Slot(number=3, run_id=run.id, fingerprint="s", taken_at=NOW)
    assert is_stale(slot, run, at(seconds)) is over


def test_it_has_one_thing_to_do_at_its_time() -> None:
    start = Action(kind=ActionKind.START, due=at(HOUR))
    assert agenda(a_later_run()) == (start,)
    assert (start.kind.value, start.blocks, start.may_be_early) == ("start", True, False)
    assert not Action(kind=ActionKind.TIME_IS_UP, due=at(HOUR)).blocks
    assert look_or_try(a_later_run()) == at(HOUR)
    assert gap_to_next_try(a_later_run(), at(10)) == HOUR - 10
    assert early_look(a_later_run(), at(HOUR)) is None
    assert agenda(a_later_run(resume_at=at(HOUR + 5))) == (Action(kind=ActionKind.START, due=at(HOUR + 5)),)
    held = a_later_run(entries=(an_entry(due=7.0),))
    assert [each.kind for each in agenda(held)] == [ActionKind.OUTBOX, ActionKind.START]


def test_a_start_is_a_wake_of_its_time() -> None:
    run = after(a_later_run(wakes=4), STARTED, at(HOUR + 7))
    assert (run.counters.wakes, run.updated_at) == (5, at(HOUR + 7))
    assert (run.request.start_at, run.request.created_at) == (at(HOUR), NOW)
    assert refused(run, STARTED, at(HOUR + 8)).code != "slot_lost"
    put_off = after(a_later_run(wakes=4), facts.NotStarted(refusals=0, jitter=0.5), at(HOUR))
    assert put_off.counters.wakes == 5
    assert isinstance(put_off.phase, Scheduled)
    assert at(HOUR + 2) < put_off.phase.not_before < at(HOUR + 4)
    assert put_off.phase.deadline_seconds == 60.0


def test_a_slot_is_good_for_two_minutes() -> None:
    assert COMMIT_WITHIN.total_seconds() == 120
    assert after(a_later_run(), STARTED, at(HOUR) + COMMIT_WITHIN).phase == Creating()


def test_it_is_stopped_and_deleted_before_its_time() -> None:
    cancelled = after(a_later_run(), facts.CancelRequested(), at(5))
    assert (cancelled.status, cancelled.completed_at) == (RunStatus.CANCELLED, at(5))
    deleted = after(a_later_run(), facts.Deleted(keep=60.0), at(5))
    assert deleted.is_deleted
    assert deleted.status is RunStatus.CANCELLED


def test_wakes_of_it_that_crash_are_counted_and_end_it() -> None:
    run = a_later_run()
    for seen in range(MAX_CRASHES):
        assert isinstance(run.phase, Scheduled)
        run = after(run, facts.WakeCrashed(seen=seen, error="E", jitter=0.0), at(HOUR + seen))
    assert (run.status, run.result.error_code) == (RunStatus.FAILED, "internal_error")


@pytest.mark.parametrize(
    ("fact", "kind", "code"),
    [
        (STARTED, LineKind.STARTED, ""),
        (facts.NotStarted(refusals=0, jitter=0.0), LineKind.WAITING, "too_many_active_runs"),
    ],
)
def test_the_timeline_has_a_line_of_it(fact: Fact, kind: LineKind, code: str) -> None:
    line = after(a_later_run(), fact, at(HOUR + 1)).journal.lines[-1]
    assert (line.kind, line.code) == (kind, code)


def test_the_deadline_that_passed_is_that_of_its_own_time() -> None:
    run = after(a_later_run(), STARTED, at(HOUR))
    late = after(run, facts.DeadlinePassed(), at(HOUR + 60))
    assert "not done within 60 seconds" in str(late.result.error_message)
