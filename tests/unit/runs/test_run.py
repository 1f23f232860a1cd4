"""Runs: their ids, and when what is next can be done."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.agentkit.agent import ContinuationToken
from shared.runs.actions.outcome import Outcome, outcome
from shared.runs.model.calls import ToolCall
from shared.runs.model.ids import is_session_id, parse_run_id, run_id
from shared.runs.model.outbox import Outbox
from shared.runs.model.phases import (
    Claim,
    Creating,
    Ended,
    Lease,
    Pending,
    Phase,
    RunningTools,
    RunStatus,
    WaitingForAnswers,
)
from shared.runs.model.run import PartRef, Turn
from shared.runs.rules.agenda import ActionKind, agenda, next_action, next_time
from tests.parts.cases import cases
from tests.unit.runs.records import NOW, SESSION, TERMINAL, a_run, an_entry, at

CLAIM = Claim(until=at(60), unknown_at=at(90))
PENDING = Pending(token=ContinuationToken(response_id="resp_1"), next_look=at(7))
WAITING = WaitingForAnswers(answer_by=at(9_000), seconds_left=5.0)
ENDED = Ended(status=RunStatus.FAILED, completed_at=NOW)

# --- ids ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 9, 10, 99_999_999])
def test_a_run_id_carries_session_and_number(number: int) -> None:
    assert parse_run_id(run_id(SESSION, number)) == (SESSION, number)


@cases(
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


def test_the_last_four_statuses_are_terminal_and_those_of_an_ended_run() -> None:
    assert [status for status in RunStatus if status.terminal] == TERMINAL


@pytest.mark.parametrize("status", TERMINAL)
def test_an_ended_run_is_terminal(status: RunStatus) -> None:
    run = a_run(phase=Ended(status=status, completed_at=at(5)))
    assert (run.status, run.terminal, run.is_done, run.completed_at) == (status, True, True, at(5))
    assert not replace(run, outbox=Outbox(entries=(an_entry(),))).is_done


@pytest.mark.parametrize(
    ("phase", "turn", "status"),
    [
        (Creating(), Turn(), RunStatus.QUEUED),
        (Creating(nonce="n", claim=CLAIM), Turn(attempt=1), RunStatus.QUEUED),
        (Creating(), Turn(restarts=1), RunStatus.IN_PROGRESS),
        (Creating(), Turn(number=2), RunStatus.IN_PROGRESS),
        (PENDING, Turn(attempt=1), RunStatus.IN_PROGRESS),
        (RunningTools(), Turn(attempt=1), RunStatus.IN_PROGRESS),
        (WaitingForAnswers(answer_by=at(70), seconds_left=5.0), Turn(attempt=1), RunStatus.REQUIRES_ACTION),
    ],
)
def test_the_status_of_a_run_that_goes_on_follows_from_its_phase(phase: Phase, turn: Turn, status: RunStatus) -> None:
    run = a_run(phase=phase, turn=turn)
    assert (run.status, run.terminal, run.is_done, run.completed_at) == (status, False, False, None)
    assert run.status.terminal is run.terminal


# --- time -------------------------------------------------------------------------------------------


@cases(
    ("changes", "kind", "due"),
    [
        ({"phase": Creating()}, ActionKind.CREATE, 0),
        ({"phase": Creating(claim=CLAIM)}, ActionKind.CLAIM_RAN_OUT, 90),
        ({"phase": Creating(claim=CLAIM, not_before=at(5))}, ActionKind.CLAIM_RAN_OUT, 90),
        ({"phase": Creating(not_before=at(5))}, ActionKind.CREATE, 5),
        ({"phase": Creating(not_before=at(9_999))}, ActionKind.TIME_IS_UP, 3_600),
        (
            {"phase": Creating(claim=Claim(until=at(3_590), unknown_at=at(3_620)))},
            ActionKind.TIME_IS_UP,
            3_600,
        ),
        ({"phase": Creating(not_before=at(9_999)), "deadline_at": None}, ActionKind.CREATE, 9_999),
        ({"phase": RunningTools()}, ActionKind.TOOLS, 0),
        ({"phase": RunningTools(lease=Lease(owner="o", until=at(60)))}, ActionKind.TOOLS, 60),
        ({"phase": RunningTools(lease=Lease(owner="o", until=at(9_999)))}, ActionKind.TIME_IS_UP, 3_600),
        ({"phase": PENDING}, ActionKind.LOOK, 7),
        ({"phase": replace(PENDING, next_look=at(9_999))}, ActionKind.TIME_IS_UP, 3_600),
        ({"phase": WAITING, "deadline_at": None}, ActionKind.TIME_IS_UP, 9_000),
        ({"phase": ENDED, "entries": (an_entry(due=60),)}, ActionKind.OUTBOX, 60),
        ({"phase": ENDED, "entries": (an_entry(due=9_999),)}, ActionKind.OUTBOX, 9_999),
        ({"phase": ENDED}, None, None),
        ({"phase": PENDING, "resume_at": at(30)}, ActionKind.LOOK, 30),
        ({"phase": PENDING, "resume_at": at(9_999)}, ActionKind.TIME_IS_UP, 3_600),
        ({"phase": Creating(claim=CLAIM), "resume_at": at(99)}, ActionKind.CLAIM_RAN_OUT, 90),
        ({"phase": PENDING, "entries": (an_entry(due=3),), "resume_at": at(5)}, ActionKind.OUTBOX, 5),
        ({"phase": PENDING, "entries": (an_entry(due=3),)}, ActionKind.OUTBOX, 3),
        ({"phase": WAITING, "deadline_at": None, "entries": (an_entry(due=3),)}, ActionKind.OUTBOX, 3),
    ],
)
def test_what_is_next_and_when_it_can_be_done(
    changes: dict[str, Any], kind: ActionKind | None, due: float | None
) -> None:
    run = a_run(**changes)
    soonest = next_time(run)
    if kind is None or due is None:
        assert soonest is None
        assert next_action(run, at(99_999)) is None
        return
    assert soonest is not None
    assert (soonest.kind, soonest.due) == (kind, at(due))
    assert next_action(run, at(due) - timedelta(microseconds=1)) is None
    assert next_action(run, at(due)) == soonest
    assert outcome(run, NOW) == Outcome(run.status, float(due))


@pytest.mark.parametrize(("look", "seconds"), [(5, 5.0), (-5, 0.0)])
def test_a_wake_that_is_overdue_is_due_now(look: float, seconds: float) -> None:
    assert outcome(a_run(phase=replace(PENDING, next_look=at(look))), NOW).wake_in == seconds


@pytest.mark.parametrize(
    ("now", "kinds"),
    [
        (10, ["outbox", "look"]),
        (3_600, ["time_is_up", "outbox", "look"]),
    ],
)
def test_time_comes_before_the_outbox_and_that_before_the_phase_s_own(now: float, kinds: list[str]) -> None:
    run = a_run(phase=PENDING, entries=(an_entry(due=8),))
    assert [action.kind for action in agenda(run) if action.due <= at(now)] == kinds
    first = next_action(run, at(now))
    assert first is not None
    assert first.kind == kinds[0]


def test_a_run_without_content_keeps_nothing_that_its_caller_added() -> None:
    run = a_run()
    added = {"options": '{"temperature": 1}', "instructions": "A secret.", "metadata": {"a": "b"}, "title": "A title"}
    full = replace(run, request=replace(run.request, **added))  # type: ignore[arg-type]
    left = full.without_content().request
    assert {name: getattr(left, name) or None for name in added} == dict.fromkeys(added)
    copied = replace(run, request=replace(run.request, history=(PartRef(digest="d", count=1),)))
    assert copied.without_content().request.history == ()
