"""What a run waits for, in a word and a sentence, and when the app looks next."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shared.agentkit.agent import ContinuationToken
from shared.runs.model.calls import CallState, ToolCall
from shared.runs.model.outbox import EntryKind
from shared.runs.model.phases import Claim, Creating, Ended, Lease, Pending, RunningTools, RunStatus, WaitingForAnswers
from shared.runs.model.run import Run
from shared.runs.rules.waiting import next_look_or_try, waiting_of
from tests.unit.runs.records import NOW, SESSION, a_run, an_entry, at

TOKEN = ContinuationToken(response_id="resp_1")
CLAIM = Claim(until=at(30), unknown_at=at(60))


def a_call(name: str, state: CallState = CallState.STARTED, index: int = 0, turn: int = 1) -> ToolCall:
    return ToolCall(
        session_id=SESSION,
        number=1,
        turn=turn,
        index=index,
        call_id=f"c{index}",
        name=name,
        arguments="{}",
        state=state,
    )


@pytest.mark.parametrize(
    ("changes", "word", "sentence", "next_try"),
    [
        ({"phase": Creating()}, "provider", "The request to the model is about to be sent.", 0),
        (
            {"phase": Creating(claim=CLAIM, nonce="n")},
            "provider",
            "The request is at the provider, and its answer is not known yet.",
            60,
        ),
        (
            {"phase": Creating(not_before=at(9)), "provider_status": "rate_limit_exceeded", "retry_after": 9.0},
            "retry",
            "The last try did not succeed (rate_limit_exceeded). Next try in 9 s.",
            9,
        ),
        (
            {"phase": Creating(), "resume_at": at(4), "crashes": 2, "retry_after": 4.0},
            "retry",
            "The last wake failed. Next try in 4 s.",
            4,
        ),
        (
            {"phase": Creating(), "resume_at": at(30), "agent_unknown_since": NOW, "retry_after": 30.0},
            "retry",
            "This version of the app does not know the agent novelist. Next try in 30 s.",
            30,
        ),
        (
            {"phase": Pending(token=TOKEN, next_look=at(12)), "retry_after": 12.4},
            "provider",
            "The model is thinking. Next look in 12 s.",
            12,
        ),
        (
            {"phase": Pending(token=TOKEN, next_look=at(5), no_news=2), "retry_after": 5.0},
            "provider",
            "The provider did not answer the last look. Next look in 5 s.",
            5,
        ),
        (
            {"phase": Pending(token=TOKEN, next_look=at(5)), "resume_at": at(8), "crashes": 1, "retry_after": 8.0},
            "retry",
            "The last wake failed. Next try in 8 s.",
            8,
        ),
        (
            {
                "phase": Pending(token=TOKEN, next_look=at(5), no_news=1),
                "resume_at": at(30),
                "agent_unknown_since": NOW,
                "retry_after": 30.0,
            },
            "retry",
            "This version of the app does not know the agent novelist. Next try in 30 s.",
            30,
        ),
        ({"phase": RunningTools()}, "tools", "The run's tools are running.", None),
        ({"phase": RunningTools(lease=Lease(owner="o", until=at(60)))}, "tools", "The run's tools are running.", None),
        (
            {"phase": RunningTools(lease=Lease(owner="o", until=at(60))), "resume_at": at(8)},
            "tools",
            "The run's tools are running.",
            None,
        ),
        (
            {"phase": Creating(not_before=at(9)), "retry_after": 9.0},
            "retry",
            "The last try did not succeed. Next try in 9 s.",
            9,
        ),
        (
            {"phase": RunningTools(), "resume_at": at(8), "crashes": 1, "retry_after": 8.0},
            "retry",
            "The last wake failed. Next try in 8 s.",
            8,
        ),
        (
            {"phase": WaitingForAnswers(answer_by=at(600_000), seconds_left=3.0), "deadline_at": None},
            "person",
            "Waiting for somebody to approve a tool call.",
            None,
        ),
    ],
)
def test_each_phase_has_its_word_its_sentence_and_its_time(
    changes: dict[str, Any], word: str, sentence: str, next_try: float | None
) -> None:
    found = waiting_of(a_run(**changes))
    assert (found.word, found.sentence) == (word, sentence)
    assert found.next_try == (None if next_try is None else at(next_try))


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (RunStatus.COMPLETED, "The run is completed."),
        (RunStatus.INCOMPLETE, "The run is incomplete: the model was stopped early."),
        (RunStatus.FAILED, "The run is over: it failed."),
        (RunStatus.CANCELLED, "The run is cancelled."),
    ],
)
def test_a_run_that_has_ended_waits_for_nothing_whatever_its_outbox_has(status: RunStatus, sentence: str) -> None:
    callback = an_entry(status.value, kind=EntryKind.CALLBACK)
    found = waiting_of(a_run(phase=Ended(status=status, completed_at=NOW), entries=(callback,)))
    assert (found.word, found.sentence, found.next_try) == ("nothing", sentence, None)


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["work"], "work is running."),
        (["work", "work"], "work is running."),
        (["work", "send"], "work and send are running."),
        (["a", "b", "c"], "a, b and c are running."),
        (["a", "b", "c", "d", "e"], "a, b, c and 2 more are running."),
    ],
)
def test_the_tools_that_run_are_named(names: list[str], sentence: str) -> None:
    run = a_run(phase=RunningTools(lease=Lease(owner="o", until=at(60))))
    calls = [a_call(name, index=index) for index, name in enumerate(names)]
    calls += [a_call("finished", CallState.FINISHED, 90), a_call("earlier", CallState.OPEN, turn=7)]
    assert waiting_of(run, calls).sentence == sentence


def test_who_approves_is_told_what_not_what_runs_beside_it() -> None:
    run = a_run(phase=WaitingForAnswers(answer_by=at(600_000), seconds_left=3.0))
    calls = [a_call("send", CallState.WAITING), a_call("work", CallState.FINISHED, 1)]
    assert waiting_of(run, calls).sentence == "Waiting for somebody to approve send."


def test_the_sentence_holds_no_clock() -> None:
    """A caller's ETag must not change while nothing does."""

    def said(run: Run) -> str:
        return waiting_of(run).sentence

    run = a_run(phase=Pending(token=TOKEN, next_look=at(12)), retry_after=12.0)
    assert said(run) == said(replace(run, updated_at=at(8)))


def test_a_deadline_or_a_callback_is_no_look() -> None:
    run = a_run(phase=Pending(token=TOKEN, next_look=at(120)), deadline_at=at(10))
    assert next_look_or_try(run) == at(120)
