"""What each fact is told as in the journal, and which of them share a line: as tables."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shared.agentkit import faults
from shared.agentkit.agent import AgentResponse, ContinuationToken, FunctionCall, ResponseStatus
from shared.runs.model import facts
from shared.runs.model.calls import CallState
from shared.runs.model.facts import Attempt, Fact
from shared.runs.model.journal import Journal, Line, LineKind
from shared.runs.model.outbox import CallbackState, EntryKind
from shared.runs.model.phases import (
    Claim,
    Creating,
    Ended,
    Lease,
    Phase,
    RunningTools,
    RunStatus,
    WaitingForAnswers,
)
from shared.runs.model.run import Run
from shared.runs.rules.change import Before, Change
from shared.runs.rules.decide import decide
from shared.runs.rules.journal import begun, milliseconds, noted
from shared.settings import Settings
from tests.parts.cases import cases
from tests.unit.runs.records import NOW, a_run, an_entry, at
from tests.unit.runs.test_transitions import a_call, after, asked, name_of, pending

ATTEMPT = Attempt(turn=1, number=1, nonce="n")
CLAIMED = Creating(nonce="n", claim=Claim(until=at(60), unknown_at=at(90)))
AT_WORK = RunningTools(lease=Lease(owner="o", until=at(160)))
PARKED = WaitingForAnswers(answer_by=at(70), seconds_left=5.0)
OVER = Ended(status=RunStatus.COMPLETED, completed_at=NOW)
CALLBACK = an_entry("completed", kind=EntryKind.CALLBACK)
DELETE = an_entry("", kind=EntryKind.DELETE)
CLAIM = facts.Claimed(attempt=replace(ATTEMPT, number=2), seconds=60, grace=30)
YES = facts.Answered(answers={"c": facts.Approve(approve=True)}, by="ann")


def a_response(status: ResponseStatus, **fields: Any) -> facts.Answer:
    token = ContinuationToken(response_id="resp_1") if status is ResponseStatus.PENDING else None
    given = {"status": status, "provider_status": status.value, "response_id": "resp_1", "continuation_token": token}
    return facts.Answer(response=AgentResponse(**{**given, **fields}), tools={})


def created(status: ResponseStatus = ResponseStatus.PENDING, attempt: Attempt = ATTEMPT, **fields: Any) -> Fact:
    return facts.ResponseCreated(attempt=attempt, answer=a_response(status, **fields), jitter=0.0)


def looked(status: ResponseStatus, **fields: Any) -> Fact:
    return facts.Looked(response_id="resp_1", answer=a_response(status, **fields), jitter=0.0)


def not_created(code: str = "c") -> Fact:
    return facts.NotCreated(attempt=ATTEMPT, fault=faults.NotAccepted("x", code=code), jitter=0.0)


TOLD: list[tuple[Phase, Fact, list[tuple[str, str]]]] = [
    (Creating(), CLAIM, [("sent", "")]),
    (
        Creating(),
        facts.NotBuilt(turn=1, attempt=1, fault=faults.RequestNotBuilt("x", code="c"), jitter=0.0),
        [("retry", "c")],
    ),
    (CLAIMED, not_created(), [("retry", "c")]),
    (
        CLAIMED,
        facts.NotCreated(attempt=ATTEMPT, fault=faults.Refused("x", code="c"), jitter=0.0),
        [("retry", "c"), ("ended", "c")],
    ),
    (CLAIMED, facts.OutcomeUnknown(attempt=ATTEMPT, code="c", within_call=False), [("retry", "c")]),
    (CLAIMED, facts.ClaimRanOut(attempt=ATTEMPT), [("retry", "outcome_unknown")]),
    (CLAIMED, created(), [("turn_started", "")]),
    (CLAIMED, created(attempt=replace(ATTEMPT, nonce="m")), []),  # nobody waits for it
    (pending("resp_0"), created(), []),
    (
        CLAIMED,
        created(ResponseStatus.FAILED, error_code="server_error"),
        [("retry", "failed: server_error")],
    ),
    (CLAIMED, created(ResponseStatus.COMPLETED), [("turn_ended", "completed"), ("ended", "completed")]),
    (pending(), looked(ResponseStatus.PENDING), [("looked", "")]),
    (
        pending(),
        looked(ResponseStatus.COMPLETED, calls=(FunctionCall(call_id="c", name="pay", arguments="{}"),)),
        [("turn_ended", "tool_calls")],
    ),
    (
        pending(),
        looked(ResponseStatus.FAILED, error_code="invalid_prompt"),
        [("turn_ended", "failed"), ("ended", "invalid_prompt")],
    ),
    (
        pending(),
        facts.NoNews(response_id="resp_1", fault=faults.NoNews("x", code="c"), jitter=0.0),
        [("no_answer", "c")],
    ),
    (RunningTools(), facts.LeaseTaken(turn=1, owner="p", tools={}), [("tools", "")]),
    (AT_WORK, facts.LeaseRenewed(owner="o"), []),
    (AT_WORK, facts.ToolsSettled(turn=1, owner="o", outputs=None), [("tools", ""), ("parked", "")]),
    (PARKED, YES, [("answered", "")]),
    (pending(), facts.AgentUnknown(), [("waiting", "agent_unknown")]),
    (pending(), facts.WakeCrashed(seen=0, error="E", jitter=0.0), [("crashed", "E")]),
    (pending(), facts.CancelRequested(by="ann"), [("ended", "cancelled")]),
    (pending(), facts.DeadlinePassed(), [("ended", "deadline_exceeded")]),
    (OVER, facts.OutboxTried(entry=name_of(CALLBACK), seconds=9), [("callback", "retry")]),
    (OVER, facts.OutboxTried(entry=name_of(CALLBACK), seconds=9, counts=False), []),
    (OVER, facts.OutboxTried(entry=name_of(DELETE), seconds=9), []),
    (
        OVER,
        facts.OutboxDone(entry=name_of(CALLBACK), callback_state=CallbackState.DELIVERED),
        [("callback", "delivered")],
    ),
    (OVER, facts.OutboxDone(entry=name_of(CALLBACK)), [("callback", "")]),
    (OVER, facts.OutboxDone(entry=name_of(DELETE)), []),
    (OVER, facts.CallbackClaimed(entry=name_of(CALLBACK), tries=0, seconds=60), []),
    (OVER, facts.ResponsesDeleted(entry=name_of(DELETE), gone=("resp_0",), failed=()), []),
]


@cases(("phase", "fact", "lines"), TOLD)
def test_each_fact_is_told_in_its_own_words(phase: Phase, fact: Fact, lines: list[tuple[str, str]]) -> None:
    run = a_run(
        phase=phase, attempt=1, deadline_at=at(100), entries=(CALLBACK, DELETE), response_ids=("resp_0", "resp_x")
    )
    call = asked() if isinstance(fact, facts.ToolsSettled | facts.Answered) else a_call()
    settled = 99 if isinstance(fact, facts.Claimed | facts.LeaseTaken) else 200
    told = after(run, fact, at(settled), call).journal.lines
    assert [(line.kind.value, line.code) for line in told] == lines
    assert [line.at for line in told] == [milliseconds(at(settled))] * len(lines)
    named = isinstance(fact, facts.Answered | facts.CancelRequested)
    assert [line.by for line in told] == ["ann" if named else ""] * len(lines)
    of_its_own = [(line.kind, line.turn) for line in told[1:]]
    assert of_its_own in ([], [(LineKind.ENDED, 0)], [(LineKind.PARKED, 1)])


def told(run: Run, *steps: tuple[Fact, float]) -> list[tuple[str, int, float | None, int, int, int]]:
    """What is told after these facts at their times: word, count, last, wakes and milliseconds at work, turn."""
    for fact, seconds in steps:
        decision = decide(Before(run=run, calls=(a_call(),), took_ms=7), fact, at(seconds), Settings.model_validate({}))
        assert isinstance(decision, Change), decision
        run = decision.run
    return [
        (
            f"{line.kind.value} {line.code}".strip(),
            line.count,
            None if line.last is None else line.last / 1_000 - NOW.timestamp(),
            line.wakes,
            line.ms,
            line.turn,
        )
        for line in run.journal.lines
    ]


def claim(number: int) -> Fact:
    return replace(CLAIM, attempt=Attempt(turn=1, number=number, nonce="n"))


def failed(number: int, code: str) -> Fact:
    fault = faults.NotAccepted("x", code=code)
    return facts.NotCreated(attempt=Attempt(turn=1, number=number, nonce="n"), fault=fault, jitter=0.0)


def test_what_became_of_a_request_takes_the_place_of_that_it_was_sent() -> None:
    run = a_run(phase=Creating())
    assert told(run, (claim(1), 1)) == [("sent", 1, None, 1, 7, 1)]
    first = ((claim(1), 1), (failed(1, "a"), 2))
    assert told(run, *first) == [("retry a", 1, 2, 1, 14, 1)]
    assert told(run, *first, (claim(2), 10), (failed(2, "a"), 11)) == [("retry a", 2, 11, 2, 28, 1)]
    other = told(run, *first, (claim(2), 10), (failed(2, "b"), 11))
    assert other == [("retry a", 1, 2, 1, 14, 1), ("retry b", 1, 11, 1, 14, 1)]
    assert told(run, (claim(1), 1), (created(), 2)) == [("turn_started", 1, 2, 1, 14, 1)]
    ended, _ = told(run, (claim(1), 1), (created(ResponseStatus.COMPLETED), 2))
    assert ended == ("turn_ended completed", 1, 2, 1, 14, 1)
    assert told(run, (claim(1), 1), (facts.CancelRequested(), 3)) == [
        ("sent", 1, None, 1, 7, 1),
        ("ended cancelled", 1, None, 0, 7, 1),
    ]


def test_the_tools_of_a_turn_are_one_line_and_two_turns_are_two() -> None:
    lease = facts.LeaseTaken(turn=1, owner="p", tools={})
    run = a_run(phase=RunningTools())
    assert told(run, (lease, 1)) == [("tools", 1, None, 1, 7, 1)]
    run = after(run, lease, at(1), a_call())
    settled = decide(
        Before(run=run, calls=(a_call(state=CallState.FINISHED),), took_ms=7),
        facts.ToolsSettled(turn=1, owner="p", outputs="[]", outputs_of=1),
        at(5),
        Settings.model_validate({}),
    )
    assert isinstance(settled, Change)
    (line,) = settled.run.journal.lines
    assert (line.kind, line.count, line.last, line.wakes, line.ms) == (LineKind.TOOLS, 1, milliseconds(at(5)), 1, 7)
    again = replace(settled.run, phase=RunningTools())
    lines = told(again, (replace(lease, turn=2), 9))
    assert [(word, turn) for word, *_, turn in lines] == [("tools", 1), ("tools", 2)]


def test_what_often_follows_itself_is_one_line() -> None:
    """Though not with another of the same code, and never what people did."""
    fault = facts.NoNews(response_id="resp_1", fault=faults.NoNews("x", code="agent_unknown"), jitter=0.0)
    unknown = facts.AgentUnknown()
    assert told(a_run(phase=pending()), (fault, 1), (fault, 2), (unknown, 3), (unknown, 4), (fault, 5)) == [
        ("no_answer agent_unknown", 2, 2, 2, 14, 1),
        ("waiting agent_unknown", 2, 4, 2, 14, 1),
        ("no_answer agent_unknown", 1, None, 1, 7, 1),
    ]
    tried = facts.OutboxTried(entry=name_of(CALLBACK), seconds=9)
    assert told(a_run(phase=OVER, entries=(CALLBACK,)), (tried, 1), (tried, 2)) == [("callback retry", 2, 2, 0, 14, 1)]


def test_each_answer_has_its_line_and_a_parked_run_is_parked_once() -> None:
    run = a_run(phase=PARKED)
    for index, by in enumerate(["ann", "bob"]):
        calls = [asked(index=each, call_id=f"c{each}") for each in range(index, 3)]
        fact = facts.Answered(answers={f"c{index}": facts.Approve(approve=False)}, by=by)
        run = after(run, fact, at(index), *calls)
    assert [(line.kind.value, line.by, line.count) for line in run.journal.lines] == [
        ("answered", "ann", 1),
        ("answered", "bob", 1),
    ]


def test_a_turn_that_is_to_be_corrected_has_ended() -> None:
    answer = replace(a_response(ResponseStatus.COMPLETED), output_error="It is no JSON.", output_form="Report")
    fact = facts.Looked(response_id="resp_1", answer=answer, jitter=0.0)
    (line,) = after(a_run(phase=pending()), fact, at(1)).journal.lines
    assert (line.kind, line.code) == (LineKind.TURN_ENDED, "completed")


def test_answers_and_crashes_of_another_kind_stay_apart() -> None:
    crashes = [(facts.WakeCrashed(seen=seen, error=error, jitter=0.0), float(seen)) for seen, error in enumerate("EEF")]
    assert told(a_run(phase=pending()), *crashes) == [("crashed E", 2, 1, 2, 14, 1), ("crashed F", 1, None, 1, 7, 1)]
    looks = [(looked(ResponseStatus.PENDING), 1.0), (looked(ResponseStatus.PENDING), 2.0)]
    assert told(a_run(phase=pending()), *looks) == [("looked", 2, 2, 2, 14, 1)]


@pytest.mark.parametrize(("length", "kept"), [(99, 99), (100, 100), (101, 100)])
def test_a_long_word_is_cut(length: int, kept: int) -> None:
    run = after(a_run(phase=pending()), facts.CancelRequested(by="a" * length), NOW)
    assert [len(line.by) for line in run.journal.lines] == [kept]
    run = after(a_run(phase=pending()), facts.WakeCrashed(seen=0, error="E" * length, jitter=0.0), NOW)
    assert [len(line.code) for line in run.journal.lines] == [kept]


def noted_crashes(*codes: str) -> Run:
    """A run of which this is noted and nothing else, a second after each other."""
    run = a_run(phase=pending())
    for number, code in enumerate(codes):
        later = replace(run, counters=replace(run.counters, wakes=number + 1))
        journal = noted(run, later, facts.WakeCrashed(seen=0, error=code, jitter=0.0), at(number), 7)
        run = replace(later, journal=journal)
    return run


def test_lines_that_have_no_room_become_one_after_the_first_ten() -> None:
    codes = [f"E{number:03}" for number in range(100)]
    lines = noted_crashes(*codes).journal.lines
    # Each takes 130 bytes and its words, and all of them 8,000: 10 and 45 of 141, and one of 137.
    assert [line.code for line in lines] == [*codes[:10], "", *codes[55:]]
    omitted = lines[10]
    assert (omitted.kind, omitted.turn, omitted.by) == (LineKind.OMITTED, 0, "")
    assert (omitted.count, omitted.wakes, omitted.ms) == (45, 45, 315)
    assert (omitted.at, omitted.last) == (milliseconds(at(10)), milliseconds(at(54)))


@cases(("lengths", "count"), [
    ([23] * 50, 50),  # 50 times 160 bytes
    ([23] * 49 + [24], 49),
    ([23] * 51, 50),
    ([3] * 57 + [100] * 5, 53),
])  # fmt: skip
def test_all_lines_take_8_kilobytes_at_most(lengths: list[int], count: int) -> None:
    codes = [f"{number:03}".ljust(length, "E") for number, length in enumerate(lengths)]
    lines = noted_crashes(*codes).journal.lines
    assert len(lines) == count
    assert sum(130 + len(line.kind) + len(line.code) for line in lines) <= 8_000
    assert any(line.kind is LineKind.OMITTED for line in lines) is (count < len(lengths))


def test_words_take_as_many_bytes_as_they_have_in_utf_8() -> None:
    lines = noted_crashes(*(f"{number:03}" + "é" * 50 for number in range(40))).journal.lines
    assert len(lines) == 33  # of 240 bytes each, and one of 137


def test_twelve_lines_are_kept_however_long_they_are() -> None:
    """Another version may write longer words: a journal without room must not fail its run's wakes."""
    lines = tuple(Line(at=number, kind=LineKind.CRASHED, code=f"{number} " + "x" * 900) for number in range(12))
    run = replace(a_run(phase=pending()), journal=Journal(lines=lines))
    kept = noted(run, run, facts.WakeCrashed(seen=0, error="E", jitter=0.0), NOW, 7).lines
    assert [line.kind for line in kept] == [*[LineKind.CRASHED] * 10, LineKind.OMITTED, LineKind.CRASHED]
    assert [line.code[:2] for line in kept[:2]] == ["0 ", "1 "]


def test_of_whom_a_line_was_is_left_out_with_it() -> None:
    run = a_run(phase=pending())
    for number in range(60):
        fact = facts.Answered(answers={}, by=f"{number}@example.org")
        run = replace(run, journal=noted(run, run, fact, at(number), 7))
    kinds = [line.kind for line in run.journal.lines if not line.by]
    assert kinds == [LineKind.OMITTED]


def test_a_word_that_is_no_text_is_noted_all_the_same() -> None:
    assert [line.code for line in noted_crashes("\ud800").journal.lines] == ["\ud800"]


def test_the_journal_of_a_new_run_says_when_it_was_created() -> None:
    (line,) = begun(NOW).lines
    assert (line.kind, line.at, milliseconds(NOW)) == (LineKind.CREATED, milliseconds(NOW), 1_772_366_400_000)
