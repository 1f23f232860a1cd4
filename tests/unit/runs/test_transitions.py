"""What may follow what in the life of a run."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.agentkit.agent import ContinuationToken, Usage
from shared.runs.run import Next, Owed, Run, RunStatus
from shared.runs.transitions import (
    entomb,
    finish,
    next_turn,
    park,
    payable,
    unpark,
    wake_later,
    with_debt,
    with_debts,
    without_debt,
    without_responses,
)
from tests.unit.runs.records import NOW, TERMINAL, a_debt, a_run, at

# --- endings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", TERMINAL)
@pytest.mark.parametrize("before", [Next.CREATE, Next.POLL, Next.TOOLS, Next.ANSWERS])
def test_a_run_that_ends_owing_nothing_has_nothing_next(status: RunStatus, before: Next) -> None:
    run = a_run(
        next=before,
        token=ContinuationToken(response_id="resp_1"),
        claimed_until=at(60),
        unknown_at=at(90),
        not_before=at(5),
        nonce="n",
        lease_owner="o",
        lease_until=at(60),
        answer_by=at(70),
        retry_after=5.0,
    )
    ended = finish(run, at(10), status, code="c", message="m")
    assert (ended.status, ended.next, ended.wake_in(at(10))) == (status, Next.NONE, None)
    assert (ended.error_code, ended.error_message) == ("c", "m")
    assert ended.completed_at == ended.updated_at == ended.wake_at == at(10)
    assert (ended.token, ended.claimed_until, ended.not_before, ended.lease_until) == (None, None, None, None)
    assert (ended.nonce, ended.lease_owner, ended.retry_after) == ("", "", 0.0)
    assert (ended.unknown_at, ended.answer_by) == (None, None)


@pytest.mark.parametrize(
    ("token", "cancel", "debts", "owed"),
    [
        (None, True, (), []),
        ("resp_1", False, (), []),
        ("resp_1", True, (), ["resp_1"]),
        ("resp_1", True, ("resp_1",), ["resp_1"]),
        ("resp_2", True, ("resp_1",), ["resp_1", "resp_2"]),
        ("resp_2", False, ("resp_1",), ["resp_1"]),
    ],
)
def test_what_a_run_owes_when_it_ends(token: str | None, cancel: bool, debts: tuple[str, ...], owed: list[str]) -> None:
    run = a_run(
        next=Next.POLL,
        token=None if token is None else ContinuationToken(response_id=token),
        debts=tuple(a_debt(each) for each in debts),
    )
    ended = finish(run, NOW, RunStatus.CANCELLED, cancel_at_provider=cancel)
    assert [debt.subject for debt in ended.debts] == owed
    assert ended.next is (Next.OWED if owed else Next.NONE)


def test_a_run_that_owes_wakes_when_its_first_debt_is_due() -> None:
    run = a_run(debts=(a_debt("resp_1", 300), a_debt("resp_2", 50)))
    ended = finish(run, at(10), RunStatus.COMPLETED)
    assert (ended.wake_at, ended.wake_in(at(10))) == (at(50), 40.0)


def test_a_long_message_is_cut() -> None:
    assert len(finish(a_run(), NOW, RunStatus.FAILED, code="c", message="m" * 9_000).error_message or "") == 4_000


# --- debts --------------------------------------------------------------------------------------------


def test_a_debt_is_taken_on_once() -> None:
    debts = with_debt((), a_debt("resp_1"))
    assert debts == (a_debt("resp_1"),)
    assert with_debt(debts, a_debt("resp_1", 99)) == debts
    assert [debt.subject for debt in with_debt(debts, a_debt("resp_2", 99))] == ["resp_1", "resp_2"]
    both = with_debt(debts, a_debt("resp_1", 99, Owed.DELETE))
    assert [debt.kind for debt in both] == [Owed.CANCEL, Owed.DELETE], "another thing, of the same response"


@pytest.mark.parametrize("status", TERMINAL)
def test_a_paid_debt_leaves_an_ended_run_with_the_next_one_or_nothing(status: RunStatus) -> None:
    run = finish(a_run(debts=(a_debt("resp_1"), a_debt("resp_2", 70))), NOW, status)
    one = without_debt(run, a_debt("resp_1"), at(5))
    assert (one.status, one.next, one.wake_at) == (status, Next.OWED, at(70))
    none = without_debt(one, a_debt("resp_2"), at(80))
    assert (none.status, none.next, none.debts, none.wake_in(at(80))) == (status, Next.NONE, (), None)


def test_paying_what_is_not_owed_changes_nothing() -> None:
    run = finish(a_run(debts=(a_debt("resp_1", 70),)), NOW, RunStatus.CANCELLED)
    assert without_debt(run, a_debt("resp_9"), at(5)) == run
    assert without_debt(run, a_debt("resp_1", kind=Owed.DELETE), at(5)) == run


@pytest.mark.parametrize("following", [Next.CREATE, Next.POLL, Next.TOOLS, Next.ANSWERS])
def test_debts_of_a_run_that_goes_on_leave_its_way_alone(following: Next) -> None:
    run = a_run(next=following, wake_at=at(7))
    owing = with_debts(run, (a_debt(),), NOW)
    assert owing == replace(run, debts=(a_debt(),))
    assert without_debt(owing, a_debt("resp_1"), NOW) == run


@given(
    status=st.sampled_from(TERMINAL),
    dues=st.lists(st.integers(min_value=-500, max_value=500), max_size=4),
    paid=st.integers(min_value=0, max_value=5),
)
def test_an_ended_run_has_something_next_exactly_while_it_owes(status: RunStatus, dues: list[int], paid: int) -> None:
    debts = tuple(a_debt(f"resp_{index}", due) for index, due in enumerate(dues))
    run = without_debt(finish(a_run(debts=debts), NOW, status), a_debt(f"resp_{paid}"), NOW)
    assert run.status is status
    assert run.next is (Next.OWED if run.debts else Next.NONE)
    assert (run.wake_in(NOW) is None) is (not run.debts)


# --- time ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("deadline", "seconds", "wake"),
    [(3_600, 5, 5), (3_600, 3_600, 3_600), (3_600, 9_999, 3_600), (-10, 5, 0), (None, 9_999, 9_999), (3_600, 0, 0)],
)
def test_a_wake_is_never_later_than_the_deadline(deadline: float | None, seconds: float, wake: float) -> None:
    run = a_run(deadline_at=None if deadline is None else at(deadline))
    later = wake_later(run, NOW, seconds)
    assert (later.wake_at, later.retry_after) == (at(wake), float(wake))
    assert replace(later, wake_at=run.wake_at, retry_after=run.retry_after) == run


def test_what_an_ended_run_owes_has_no_deadline() -> None:
    assert wake_later(a_run(status=RunStatus.FAILED, next=Next.OWED), NOW, 9_999).wake_at == at(9_999)


# --- parking ------------------------------------------------------------------------------------------


def parked(**changes: Any) -> Run:
    at_work = {"next": Next.TOOLS, "status": RunStatus.IN_PROGRESS, "lease_owner": "o", "lease_until": at(160)}
    return park(a_run(**{**at_work, **changes}), at(100), at(9_000))


def test_a_parked_run_waits_for_answers_and_nothing_else() -> None:
    run = parked()
    assert (run.status, run.next, run.answer_by, run.wake_at) == (
        RunStatus.REQUIRES_ACTION,
        Next.ANSWERS,
        at(9_000),
        at(9_000),
    )
    assert (run.token, run.lease_owner, run.lease_until, run.retry_after) == (None, "", None, 0.0)
    assert (run.deadline_at, run.deadline_left) == (None, 3_500.0)


@pytest.mark.parametrize(("deadline", "left"), [(3_600, 3_500.0), (100, 0.0), (50, 0.0), (None, None)])
def test_the_deadline_stands_still_while_parked_and_runs_on_from_there(
    deadline: float | None, left: float | None
) -> None:
    run = parked(deadline_at=None if deadline is None else at(deadline))
    assert (run.deadline_at, run.deadline_left) == (None, left)
    resumed = unpark(run, at(5_000))
    assert resumed.deadline_at == (None if left is None else at(5_000 + left))
    assert (resumed.status, resumed.next, resumed.wake_at) == (RunStatus.IN_PROGRESS, Next.TOOLS, at(5_000))
    assert (resumed.deadline_left, resumed.answer_by) == (None, None)


# --- turns --------------------------------------------------------------------------------------------


def test_the_counts_of_a_turn_begin_anew_with_it_and_those_of_the_run_go_on() -> None:
    of_the_run: dict[str, Any] = {"tool_calls": 7, "usage": Usage(total_tokens=9), "items": 5, "corrections": 1}
    of_the_turn: dict[str, Any] = {
        "attempt": 3,
        "unknown_outcomes": 2,
        "restarts": 1,
        "turn_calls": 4,
        "accepted_at": at(1),
        "lease_owner": "o",
        "lease_until": at(60),
        "token": ContinuationToken(response_id="resp_1"),
    }
    run = a_run(next=Next.TOOLS, turn=2, replay_turn=2, **of_the_run, **of_the_turn)
    assert run.replays
    after = next_turn(run, at(10))
    fresh = a_run(next=Next.CREATE, turn=3, replay_turn=2, updated_at=at(10), **of_the_run)
    assert after == fresh
    assert not after.replays, "one turn was replayed, not the run"


# --- tombstones ---------------------------------------------------------------------------------------


def test_a_tombstone_holds_no_content_and_owes_all_that_is_left() -> None:
    run = finish(
        a_run(
            token=ContinuationToken(response_id="resp_2"),
            next=Next.POLL,
            text="secret",
            output="{}",
            metadata={"a": "b"},
            response_ids=("resp_1", "resp_2"),
        ),
        NOW,
        RunStatus.CANCELLED,
        cancel_at_provider=True,
    )
    tomb = entomb(run, NOW, timedelta(hours=48))
    assert (tomb.status, tomb.submission, tomb.deleted_at) == (RunStatus.CANCELLED, run.submission, NOW)
    assert (tomb.text, tomb.output, tomb.metadata, tomb.error_message) == ("", "", {}, None)
    assert [(debt.kind, debt.subject) for debt in tomb.debts] == [
        (Owed.CANCEL, "resp_2"),
        (Owed.DELETE, ""),
        (Owed.ROWS, ""),
        (Owed.TOMBSTONE, ""),
    ]
    assert tomb.response_ids == ("resp_1", "resp_2"), "each until it is deleted"
    assert (tomb.next, tomb.wake_at) == (Next.OWED, NOW)
    assert entomb(tomb, at(5), timedelta(hours=48)).debts == tomb.debts, "once"


def test_the_tombstone_itself_goes_last_of_all() -> None:
    tomb = entomb(finish(a_run(), NOW, RunStatus.COMPLETED), NOW, timedelta(hours=48))
    late = replace(tomb.debts[0], due=at(500_000))
    waiting = with_debts(tomb, (late, *tomb.debts[1:]), NOW)
    assert waiting.wake_at == at(500_000), "not before the rows are gone"
    alone = without_debt(waiting, late, at(500_000))
    assert alone.wake_at == NOW + timedelta(hours=48)


def test_one_entry_stands_for_all_responses_until_the_last_is_deleted() -> None:
    tomb = entomb(finish(a_run(response_ids=("a", "b", "c")), NOW, RunStatus.COMPLETED), NOW, timedelta(hours=48))
    some = without_responses(tomb, {"a", "c"}, at(1))
    assert (some.response_ids, some.debts) == (("b",), tomb.debts)
    none = without_responses(some, {"b"}, at(2))
    assert (none.response_ids, [debt.kind for debt in none.debts]) == ((), [Owed.ROWS, Owed.TOMBSTONE])


def test_nothing_is_deleted_at_the_provider_before_every_cancel_whatever_the_times() -> None:
    cancel, delete, rows = a_debt("a", due=500), a_debt("", kind=Owed.DELETE), a_debt("", kind=Owed.ROWS)
    assert payable((delete, cancel, rows)) == (cancel, rows)
    assert payable((delete, rows)) == (delete, rows)
    waiting = with_debts(finish(a_run(), NOW, RunStatus.CANCELLED), (delete, cancel), NOW)
    assert waiting.wake_at == at(500)
    assert without_debt(waiting, cancel, at(500)).wake_at == NOW
