"""Runs: their ids, and what may follow what."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.agentkit.agent import ContinuationToken
from shared.runs.run import (
    Debt,
    Limits,
    Next,
    Run,
    RunStatus,
    ToolCall,
    finish,
    is_session_id,
    parse_run_id,
    run_id,
    wake_later,
    with_debt,
    with_debts,
    without_debt,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SESSION = "0123456789abcdef" * 2
TERMINAL = [RunStatus.COMPLETED, RunStatus.INCOMPLETE, RunStatus.FAILED, RunStatus.CANCELLED]


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def a_run(**changes: Any) -> Run:
    run = Run(
        session_id=SESSION,
        number=1,
        agent="novelist",
        owner="app",
        submission="s",
        created_at=NOW,
        updated_at=NOW,
        deadline_at=at(3_600),
        wake_at=NOW,
        limits=Limits(turns=20, tool_calls=100),
    )
    return replace(run, **changes)


def a_debt(response_id: str = "resp_1", due: float = 0.0) -> Debt:
    return Debt(response_id=response_id, due=at(due), since=NOW)


# --- ids ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 9, 10, 99_999_999])
def test_a_run_id_carries_session_and_number(number: int) -> None:
    assert parse_run_id(run_id(SESSION, number)) == (SESSION, number)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "run_",
        SESSION,
        f"run_{SESSION}",
        f"run_{SESSION}_",
        f"run_{SESSION}_0",
        f"run_{SESSION}_01",
        f"run_{SESSION}_-1",
        f"run_{SESSION}_+1",
        f"run_{SESSION}_1.0",
        f"run_{SESSION}_1_1",
        f"run_{SESSION}_100000000",
        f"run_{SESSION}_1\n",
        f"run_{SESSION}_1\x00",
        f" run_{SESSION}_1",
        f"run_{SESSION}_1/cancel",
        f"run_{SESSION}_١",
        f"run_{SESSION}_１",
        f"RUN_{SESSION}_1",
        f"run_{SESSION.upper()}_1",
        f"run_{SESSION[:-1]}_1",
        f"run_{SESSION}0_1",
        f"run_{SESSION[:-1]}g_1",
        f"run_{SESSION[:-1]}é_1",
        f"run_{SESSION[:-1]}'_1",
        "run_../../../../../../../../etc/pa_1",
    ],
)
def test_what_is_no_run_id(text: str) -> None:
    assert parse_run_id(text) is None


@given(st.text())
def test_no_text_breaks_the_parsing(text: str) -> None:
    parsed = parse_run_id(text)
    assert parsed is None or run_id(*parsed) == text


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        (SESSION, True),
        ("0" * 32, True),
        ("", False),
        (SESSION.upper(), False),
        (SESSION[:-1], False),
        (SESSION + "0", False),
        (SESSION + "\n", False),
        (SESSION[:-1] + "٣", False),
        (f"run_{SESSION}_1", False),
    ],
)
def test_session_ids(text: str, valid: bool) -> None:
    assert is_session_id(text) is valid


def test_a_call_has_the_same_idempotency_key_however_often_it_starts() -> None:
    call = ToolCall(session_id=SESSION, number=7, turn=2, index=3, call_id="c", name="pay", arguments="{}")
    assert call.idempotency_key == replace(call, starts=2, owner="another").idempotency_key == f"run_{SESSION}_7:2:3"


# --- statuses -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", RunStatus)
def test_which_statuses_are_terminal(status: RunStatus) -> None:
    assert status.terminal is (status in TERMINAL)
    assert a_run(status=status).terminal is status.terminal


@pytest.mark.parametrize("status", TERMINAL)
@pytest.mark.parametrize("before", [Next.CREATE, Next.POLL, Next.TOOLS, Next.ANSWERS])
def test_a_run_that_ends_owing_nothing_has_nothing_next(status: RunStatus, before: Next) -> None:
    run = a_run(
        next=before,
        token=ContinuationToken(response_id="resp_1"),
        claimed_until=at(60),
        not_before=at(5),
        nonce="n",
        lease_owner="o",
        lease_until=at(60),
        retry_after=5.0,
    )
    ended = finish(run, at(10), status, code="c", message="m")
    assert (ended.status, ended.next, ended.wake_in(at(10))) == (status, Next.NONE, None)
    assert (ended.error_code, ended.error_message) == ("c", "m")
    assert ended.completed_at == ended.updated_at == ended.wake_at == at(10)
    assert (ended.token, ended.claimed_until, ended.not_before, ended.lease_until) == (None, None, None, None)
    assert (ended.nonce, ended.lease_owner, ended.retry_after) == ("", "", 0.0)


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
    assert [debt.response_id for debt in ended.debts] == owed
    assert ended.next is (Next.OWED if owed else Next.NONE)


def test_a_run_that_owes_wakes_when_its_first_debt_is_due() -> None:
    run = a_run(debts=(a_debt("resp_1", 300), a_debt("resp_2", 50)))
    ended = finish(run, at(10), RunStatus.COMPLETED)
    assert (ended.wake_at, ended.wake_in(at(10))) == (at(50), 40.0)


def test_a_long_message_is_cut() -> None:
    assert len(finish(a_run(), NOW, RunStatus.FAILED, code="c", message="m" * 9_000).error_message or "") == 4_000


# --- debts --------------------------------------------------------------------------------------------


def test_a_debt_is_taken_on_once() -> None:
    debts = with_debt((), "resp_1", NOW)
    assert debts == (Debt(response_id="resp_1", due=NOW, since=NOW),)
    assert with_debt(debts, "resp_1", at(99)) == debts
    assert [debt.response_id for debt in with_debt(debts, "resp_2", at(99))] == ["resp_1", "resp_2"]


@pytest.mark.parametrize("status", TERMINAL)
def test_a_paid_debt_leaves_an_ended_run_with_the_next_one_or_nothing(status: RunStatus) -> None:
    run = finish(a_run(debts=(a_debt("resp_1"), a_debt("resp_2", 70))), NOW, status)
    one = without_debt(run, "resp_1", at(5))
    assert (one.status, one.next, one.wake_at) == (status, Next.OWED, at(70))
    none = without_debt(one, "resp_2", at(80))
    assert (none.status, none.next, none.debts, none.wake_in(at(80))) == (status, Next.NONE, (), None)


def test_paying_what_is_not_owed_changes_nothing() -> None:
    run = finish(a_run(debts=(a_debt("resp_1", 70),)), NOW, RunStatus.CANCELLED)
    assert without_debt(run, "resp_9", at(5)) == run


@pytest.mark.parametrize("following", [Next.CREATE, Next.POLL, Next.TOOLS, Next.ANSWERS])
def test_debts_of_a_run_that_goes_on_leave_its_way_alone(following: Next) -> None:
    run = a_run(next=following, wake_at=at(7))
    owing = with_debts(run, (a_debt(),), NOW)
    assert owing == replace(run, debts=(a_debt(),))
    assert without_debt(owing, "resp_1", NOW) == run


@given(
    status=st.sampled_from(TERMINAL),
    dues=st.lists(st.integers(min_value=-500, max_value=500), max_size=4),
    paid=st.integers(min_value=0, max_value=5),
)
def test_an_ended_run_has_something_next_exactly_while_it_owes(status: RunStatus, dues: list[int], paid: int) -> None:
    debts = tuple(a_debt(f"resp_{index}", due) for index, due in enumerate(dues))
    run = without_debt(finish(a_run(debts=debts), NOW, status), f"resp_{paid}", NOW)
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


@pytest.mark.parametrize(
    ("changes", "ready"),
    [
        ({"next": Next.CREATE}, None),
        ({"next": Next.CREATE, "claimed_until": at(60)}, 90),
        ({"next": Next.CREATE, "claimed_until": at(60), "not_before": at(5)}, 90),
        ({"next": Next.CREATE, "not_before": at(5)}, 5),
        ({"next": Next.CREATE, "not_before": at(9_999)}, 3_600),
        ({"next": Next.CREATE, "claimed_until": at(3_590)}, 3_600),
        ({"next": Next.CREATE, "not_before": at(9_999), "deadline_at": None}, 9_999),
        ({"next": Next.TOOLS}, None),
        ({"next": Next.TOOLS, "lease_until": at(60)}, 60),
        ({"next": Next.TOOLS, "lease_until": at(9_999)}, 3_600),
        ({"next": Next.POLL, "claimed_until": at(60), "lease_until": at(60), "not_before": at(5)}, None),
        ({"next": Next.ANSWERS, "lease_until": at(60)}, None),
        ({"next": Next.OWED, "lease_until": at(60)}, None),
        ({"next": Next.NONE, "lease_until": at(60)}, None),
    ],
)
def test_when_what_is_next_can_be_done(changes: dict[str, Any], ready: float | None) -> None:
    expected = None if ready is None else at(ready)
    assert a_run(**changes).ready_at(timedelta(seconds=30)) == expected


@pytest.mark.parametrize(("following", "wake", "seconds"), [(Next.POLL, 5, 5.0), (Next.POLL, -5, 0.0)])
def test_a_wake_that_is_overdue_is_due_now(following: Next, wake: float, seconds: float) -> None:
    assert a_run(next=following, wake_at=at(wake)).wake_in(NOW) == seconds
