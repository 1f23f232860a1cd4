"""Runs: their ids, and when what is next can be done."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.runs.run import Next, RunStatus, ToolCall, is_session_id, parse_run_id, run_id
from tests.unit.runs.records import NOW, SESSION, TERMINAL, a_run, at

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


# --- time -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "ready"),
    [
        ({"next": Next.CREATE}, None),
        ({"next": Next.CREATE, "claimed_until": at(60), "unknown_at": at(90)}, 90),
        ({"next": Next.CREATE, "claimed_until": at(60), "unknown_at": at(90), "not_before": at(5)}, 90),
        ({"next": Next.CREATE, "not_before": at(5)}, 5),
        ({"next": Next.CREATE, "not_before": at(9_999)}, 3_600),
        ({"next": Next.CREATE, "claimed_until": at(3_590), "unknown_at": at(3_620)}, 3_600),
        ({"next": Next.CREATE, "not_before": at(9_999), "deadline_at": None}, 9_999),
        ({"next": Next.TOOLS}, None),
        ({"next": Next.TOOLS, "lease_until": at(60)}, 60),
        ({"next": Next.TOOLS, "lease_until": at(9_999)}, 3_600),
        ({"next": Next.POLL, "unknown_at": at(60), "lease_until": at(60), "not_before": at(5)}, None),
        ({"next": Next.ANSWERS, "lease_until": at(60)}, None),
        ({"next": Next.OWED, "lease_until": at(60)}, None),
        ({"next": Next.NONE, "lease_until": at(60)}, None),
    ],
)
def test_when_what_is_next_can_be_done(changes: dict[str, Any], ready: float | None) -> None:
    expected = None if ready is None else at(ready)
    assert a_run(**changes).ready_at() == expected


@pytest.mark.parametrize(("following", "wake", "seconds"), [(Next.POLL, 5, 5.0), (Next.POLL, -5, 0.0)])
def test_a_wake_that_is_overdue_is_due_now(following: Next, wake: float, seconds: float) -> None:
    assert a_run(next=following, wake_at=at(wake)).wake_in(NOW) == seconds
