"""What is said of a run, and what follows from how it was taken: without I/O."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from shared.agentkit.agent import ContinuationToken
from shared.runs.model.callbacks import Sent
from shared.runs.model.calls import Approval, CallState, ToolCall
from shared.runs.model.facts import Answered, Approve, CallbackRequested, Deleted, Fact, ToolsSettled
from shared.runs.model.outbox import CallbackState, Entry, EntryKind
from shared.runs.model.phases import Ended, Pending, RunningTools, RunStatus, WaitingForAnswers
from shared.runs.model.run import Run
from shared.runs.rules.agenda import next_time
from shared.runs.rules.callbacks import NextStep, after_attempt, body_of, callback_status, type_of, webhook_id
from shared.runs.rules.change import Before, Change, end_run, event_of
from shared.runs.rules.decide import decide
from shared.runs.rules.preview import title_of
from shared.runs.rules.schedule import CALLBACK_WAITS, DAY
from shared.runs.rules.tools import park
from shared.settings import Settings
from tests.parts.cases import cases
from tests.unit.runs.records import NOW, SESSION, TERMINAL, a_run, an_entry, at

URL = "https://receiver.example/hook"
LAST = len(CALLBACK_WAITS) + 1
SETTINGS = Settings(openai_api_key="k", app_name="unit")
CALL = ToolCall(
    session_id=SESSION,
    number=1,
    turn=3,
    index=0,
    call_id="call_1",
    name="send",
    arguments="{}",
    state=CallState.WAITING,
    approval=Approval.PENDING,
)


def after(run: Run, fact: Fact, *calls: ToolCall) -> Run:
    """The run after this fact, which it must take."""
    decision = decide(Before(run=run, calls=calls), fact, NOW, SETTINGS)
    assert isinstance(decision, Change), decision
    return decision.run


def owed(run: Run) -> list[str]:
    return [entry.subject for entry in run.outbox.of(EntryKind.CALLBACK)]


@cases(
    ("sent", "tries", "age", "verdict"),
    [
        (Sent(status=200), 1, 0, NextStep(CallbackState.DELIVERED)),
        (Sent(status=204), LAST, DAY, NextStep(CallbackState.DELIVERED)),
        (Sent(status=299), 1, 0, NextStep(CallbackState.DELIVERED)),
        (Sent(status=410), 1, 0, NextStep(CallbackState.DISABLED)),
        (Sent(status=100), 1, 0, NextStep(None, 5)),
        (Sent(status=301), 1, 0, NextStep(None, 5)),
        (Sent(status=304), 2, 5, NextStep(None, 30)),
        (Sent(status=400), 1, 0, NextStep(None, 5)),
        (Sent(status=404), 1, 0, NextStep(None, 5)),
        (Sent(status=500), LAST - 1, 0, NextStep(None, 28_800)),
        (Sent(status=500), LAST, 0, NextStep(CallbackState.GIVEN_UP)),
        (Sent(status=503, retry_after=90.0), 1, 0, NextStep(None, 90)),
        (Sent(fault="timeout"), 1, 0, NextStep(None, 5)),
        (Sent(fault="address_refused"), 1, 0, NextStep(None, 5)),
        (Sent(fault="timeout"), 1, DAY, NextStep(CallbackState.GIVEN_UP)),
    ],
)
def test_what_follows_from_an_attempt(sent: Sent, tries: int, age: float, verdict: NextStep) -> None:
    assert after_attempt(sent, tries=tries, age=age, jitter=0.0) == verdict


@pytest.mark.parametrize("status", TERMINAL)
def test_a_run_that_ends_owes_its_end_alone(status: RunStatus) -> None:
    pause = Entry(kind=EntryKind.CALLBACK, subject="requires_action_1", due=at(5), since=NOW, tries=1)
    run = a_run(callback_url=URL, entries=(an_entry(due=3), pause))
    ended = end_run(run, at(9), status)
    assert owed(ended) == [status.value]
    assert an_entry(due=3) in ended.outbox.entries
    soonest = next_time(ended)
    assert soonest is not None
    assert (soonest.due, soonest.entry) == (at(3), an_entry(due=3))
    assert owed(end_run(a_run(), NOW, status)) == []


def test_a_receiver_that_wants_no_more_is_owed_no_more() -> None:
    run = a_run(callback_url=URL, callback_state=CallbackState.DISABLED)
    ended = end_run(run, NOW, RunStatus.COMPLETED)
    assert ended.outbox.entries == ()
    assert park(run, NOW, SETTINGS).outbox.entries == ()
    assert owed(after(ended, CallbackRequested())) == ["completed"]


def test_each_pause_is_an_event_of_its_own_until_it_is_over() -> None:
    turn = replace(a_run().turn, number=3, calls=1)
    run = a_run(callback_url=URL, turn=turn, phase=RunningTools(), entries=(an_entry(),))
    parked = after(run, ToolsSettled(turn=3, owner="", outputs=None), CALL)
    assert parked.status is RunStatus.REQUIRES_ACTION
    assert owed(parked) == ["requires_action_3"]
    unparked = after(parked, Answered(answers={"call_1": Approve(approve=True)}), CALL)
    assert unparked.outbox.entries == (an_entry(),)
    assert owed(end_run(parked, NOW, RunStatus.FAILED)) == ["failed"]


def test_a_tombstone_owes_no_callback_and_names_no_receiver() -> None:
    ended = end_run(a_run(callback_url=URL), NOW, RunStatus.COMPLETED)
    assert owed(ended) == ["completed"]
    gone = after(ended, Deleted(keep=99))
    assert owed(gone) == []
    assert (gone.request.callback_url, gone.outbox.callback_state) == (None, None)


@pytest.mark.parametrize(
    ("run", "event", "kind"),
    [
        (a_run(phase=Ended(status=RunStatus.COMPLETED, completed_at=NOW)), "completed", "run.completed"),
        (a_run(phase=Ended(status=RunStatus.CANCELLED, completed_at=NOW)), "cancelled", "run.cancelled"),
        (
            a_run(phase=WaitingForAnswers(answer_by=at(99), seconds_left=None), turn=replace(a_run().turn, number=12)),
            "requires_action_12",
            "run.requires_action",
        ),
    ],
)
def test_how_an_event_is_called(run: Run, event: str, kind: str) -> None:
    assert event_of(run) == event
    assert type_of(event) == kind
    assert "." not in webhook_id("run_0_1", event)  # it parts what is signed


def test_the_body_tells_that_something_happened_and_not_what() -> None:
    phase = Ended(status=RunStatus.FAILED, completed_at=NOW)
    run = a_run(phase=phase, text="secret", error_message="secret", error_code="secret", callback_url=URL)
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
        (a_run(callback_url=URL, entries=(an_entry(),)), None),
        (end_run(a_run(callback_url=URL), NOW, RunStatus.COMPLETED), "pending"),
        (a_run(callback_url=URL, callback_state=CallbackState.DELIVERED), "delivered"),
        (a_run(callback_url=URL, callback_state=CallbackState.GIVEN_UP), "given_up"),
    ],
)
def test_where_callbacks_stand_in_a_word(run: Run, status: str | None) -> None:
    assert callback_status(run.outbox) == status


LOOKS = Pending(token=ContinuationToken(response_id="resp_0"), next_look=at(100))
FAILED = Ended(status=RunStatus.FAILED, completed_at=NOW)


@pytest.mark.parametrize(
    ("changes", "due"),
    [
        ({}, 100),
        ({"entries": (an_entry(due=50),)}, 50),
        ({"entries": (an_entry(due=50), an_entry("resp_2", due=20))}, 20),
        ({"entries": (an_entry(due=200),)}, 100),
        ({"entries": (an_entry(due=50),), "crashes": 1}, 50),
        ({"entries": (an_entry(due=50),), "crashes": 1, "resume_at": at(60)}, 60),
        ({"entries": (an_entry(due=50),), "phase": FAILED}, 50),
        ({"entries": (an_entry(due=50), an_entry("", due=20, kind=EntryKind.DELETE)), "phase": FAILED}, 50),
        ({"entries": (an_entry(due=50), an_entry("", due=20, kind=EntryKind.REMOVAL)), "phase": FAILED}, 50),
    ],
)
def test_when_a_run_is_to_be_looked_at(changes: dict[str, object], due: float) -> None:
    soonest = next_time(a_run(**{"phase": LOOKS, **changes}))
    assert soonest is not None
    assert soonest.due == at(due)


def test_the_body_says_what_it_is_about_in_the_letters_of_its_words() -> None:
    body = body_of(a_run(metadata={"name": "Zoë"}), "completed", NOW, "https://a.b/c")
    assert json.loads(body)["data"]["object"] == "run"
    assert "Zoë" in body


def test_the_end_of_an_attempt_waits_for_nothing() -> None:
    assert NextStep(CallbackState.DELIVERED).wait == 0.0


def test_a_title_has_200_characters_at_most() -> None:
    assert [len(title_of("a" * length)) for length in (199, 200, 201)] == [199, 200, 200]
