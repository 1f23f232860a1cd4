"""What is said of a run, and what follows from how it was taken: without I/O."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from shared.runs.callbacks.callback import Sent, Verdict, body_of, event_of, judge, status_of, type_of, webhook_id
from shared.runs.run import CallbackState, Debt, Owed, RunStatus
from shared.runs.schedule import CALLBACK_WAITS, DAY
from shared.runs.transitions import entomb, finish, park, tell_again, unpark
from tests.unit.runs.records import NOW, TERMINAL, a_debt, a_run, at

URL = "https://receiver.example/hook"
LAST = len(CALLBACK_WAITS) + 1


def owed(debts: tuple[Debt, ...]) -> list[str]:
    return [debt.subject for debt in debts if debt.kind is Owed.CALLBACK]


@pytest.mark.parametrize(
    ("sent", "tries", "age", "verdict"),
    [
        (Sent(status=200), 1, 0, Verdict(CallbackState.DELIVERED)),
        (Sent(status=204), LAST, DAY, Verdict(CallbackState.DELIVERED)),
        (Sent(status=299), 1, 0, Verdict(CallbackState.DELIVERED)),
        (Sent(status=410), 1, 0, Verdict(CallbackState.DISABLED)),
        (Sent(status=100), 1, 0, Verdict(None, 5)),
        (Sent(status=301), 1, 0, Verdict(None, 5)),
        (Sent(status=304), 2, 5, Verdict(None, 30)),
        (Sent(status=400), 1, 0, Verdict(None, 5)),
        (Sent(status=404), 1, 0, Verdict(None, 5)),
        (Sent(status=500), LAST - 1, 0, Verdict(None, 28_800)),
        (Sent(status=500), LAST, 0, Verdict(CallbackState.GIVEN_UP)),
        (Sent(status=503, retry_after=90.0), 1, 0, Verdict(None, 90)),
        (Sent(fault="timeout"), 1, 0, Verdict(None, 5)),
        (Sent(fault="address_refused"), 1, 0, Verdict(None, 5)),
        (Sent(fault="timeout"), 1, DAY, Verdict(CallbackState.GIVEN_UP)),
    ],
)
def test_what_follows_from_an_attempt(sent: Sent, tries: int, age: float, verdict: Verdict) -> None:
    assert judge(sent, tries=tries, age=age, luck=0.0) == verdict


@pytest.mark.parametrize("status", TERMINAL)
def test_a_run_that_ends_owes_its_end_alone(status: RunStatus) -> None:
    pause = Debt(kind=Owed.CALLBACK, subject="requires_action_1", due=at(5), since=NOW, tries=1)
    run = a_run(callback_url=URL, debts=(a_debt(), pause))
    ended = finish(run, at(9), status)
    assert owed(ended.debts) == [status.value]
    assert a_debt() in ended.debts
    assert ended.wake_at == a_debt().due
    assert owed(finish(a_run(), NOW, status).debts) == []


def test_a_receiver_that_wants_no_more_is_owed_no_more() -> None:
    run = a_run(callback_url=URL, callback_state=CallbackState.DISABLED)
    assert finish(run, NOW, RunStatus.COMPLETED).debts == ()
    assert park(run, NOW, at(99)).debts == ()
    assert owed(tell_again(finish(run, NOW, RunStatus.COMPLETED), NOW).debts) == ["completed"]


def test_each_pause_is_an_event_of_its_own_until_it_is_over() -> None:
    parked = park(a_run(callback_url=URL, turn=3, debts=(a_debt(),)), NOW, at(99))
    assert owed(parked.debts) == ["requires_action_3"]
    assert unpark(parked, NOW).debts == (a_debt(),)
    assert owed(finish(parked, NOW, RunStatus.FAILED).debts) == ["failed"]


def test_a_tombstone_owes_no_callback_and_names_no_receiver() -> None:
    ended = finish(a_run(callback_url=URL), NOW, RunStatus.COMPLETED)
    gone = entomb(ended, NOW, at(99) - NOW)
    assert owed(gone.debts) == []
    assert (gone.callback_url, gone.callback_state) == (None, None)


@pytest.mark.parametrize(
    ("run", "event", "kind"),
    [
        (a_run(status=RunStatus.COMPLETED), "completed", "run.completed"),
        (a_run(status=RunStatus.CANCELLED), "cancelled", "run.cancelled"),
        (a_run(status=RunStatus.REQUIRES_ACTION, turn=12), "requires_action_12", "run.requires_action"),
    ],
)
def test_how_an_event_is_called(run: object, event: str, kind: str) -> None:
    assert event_of(run) == event  # type: ignore[arg-type]
    assert type_of(event) == kind
    assert "." not in webhook_id("run_0_1", event)  # it parts what is signed


def test_the_body_tells_that_something_happened_and_not_what() -> None:
    run = a_run(status=RunStatus.FAILED, text="secret", error_message="secret", error_code="secret", callback_url=URL)
    text = body_of(run, "failed", datetime(2026, 3, 1, 12, 0, 0, 123_456, UTC), "https://app.example/api/runs/x")
    body = json.loads(text)
    assert (body["type"], body["timestamp"]) == ("run.failed", "2026-03-01T12:00:00.123Z")
    assert body["data"].keys() == {"id", "object", "status", "url", "session_id", "metadata"}
    assert "secret" not in text
    assert "receiver" not in text


@pytest.mark.parametrize(
    ("run", "status"),
    [
        (a_run(), None),
        (a_run(callback_url=URL), None),
        (a_run(callback_url=URL, debts=(a_debt(),)), None),
        (finish(a_run(callback_url=URL), NOW, RunStatus.COMPLETED), "pending"),
        (a_run(callback_url=URL, callback_state=CallbackState.DELIVERED), "delivered"),
        (a_run(callback_url=URL, callback_state=CallbackState.GIVEN_UP), "given_up"),
    ],
)
def test_where_callbacks_stand_in_a_word(run: object, status: str | None) -> None:
    assert status_of(run) == status  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "due"),
    [
        ({}, 100),
        ({"debts": (a_debt(due=50),)}, 50),
        ({"debts": (a_debt(due=50), a_debt("resp_2", due=20))}, 20),
        ({"debts": (a_debt(due=200),)}, 100),
        ({"debts": (a_debt(due=50),), "crashes": 1}, 50),
        ({"debts": (a_debt(due=50),), "status": RunStatus.FAILED}, 100),
    ],
)
def test_when_a_run_is_to_be_looked_at(changes: dict[str, object], due: float) -> None:
    assert a_run(wake_at=at(100), **changes).due_at == at(due)
