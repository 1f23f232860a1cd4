"""A run as its callers see it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from shared.agentkit.agent import ContinuationToken
from shared.api.native.run_shapes import etag_of_run, run_on_the_wire
from shared.api.native.runs import _retry_after
from shared.runs.model.calls import Approval, CallState, ToolCall
from shared.runs.model.facts import Fact, LeaseRenewed, WakeCrashed
from shared.runs.model.phases import Ended, Lease, Pending, RunningTools, RunStatus, Scheduled, WaitingForAnswers
from shared.runs.model.run import PartRef, Run, Text
from shared.runs.queries.runs import FullRun
from shared.runs.rules.agenda import gap_to_next_try
from shared.runs.rules.change import Before, Change
from shared.runs.rules.decide import decide
from shared.settings import Settings
from tests.unit.runs.records import NOW, a_run, at


def written(run: Run) -> Run:
    """The run with what every write says of the next try."""
    return replace(run, schedule=replace(run.schedule, retry_after=gap_to_next_try(run, NOW)))


def after(run: Run, fact: Fact) -> Run:
    decision = decide(Before(run=run), fact, NOW, Settings())
    assert isinstance(decision, Change)
    return decision.run


def crash(*, after: int) -> WakeCrashed:
    return WakeCrashed(seen=after, error="ValueError", jitter=0.0)


PARKED = a_run(phase=WaitingForAnswers(answer_by=NOW + timedelta(days=7), seconds_left=None), deadline_at=None)
LATER = a_run(
    start_at=at(9_000),
    phase=Scheduled(not_before=at(9_000), deadline_seconds=60.0),
    deadline_at=None,
    retry_after=9_000.0,
)
LEASED = a_run(phase=RunningTools(lease=Lease(owner="o", until=at(1))))


@pytest.mark.parametrize(
    ("run", "gap"),
    [
        (written(a_run(phase=Pending(token=ContinuationToken(response_id="resp_1"), next_look=at(7)))), 7.0),
        (written(PARKED), 30.0),
        (LATER, 3_600.0),
        (after(LEASED, LeaseRenewed(owner="o")), 5.0),
        (after(a_run(phase=RunningTools()), crash(after=0)), 2.0),
        (after(replace(PARKED, schedule=replace(PARKED.schedule, crashes=8)), crash(after=8)), 30.0),
    ],
    ids=["polled", "parked", "for later", "tools run", "tools are to run", "parked, after a wake that crashed"],
)
def test_the_gap_in_the_body_is_the_one_in_the_header(run: Run, gap: float) -> None:
    assert run_on_the_wire(FullRun(run=run), url="")["retry_after"] == gap
    assert _retry_after(run, NOW) == gap


def test_the_etag_changes_with_whatever_a_caller_sees_and_with_nothing_else() -> None:
    call = ToolCall(
        session_id="a" * 32,
        number=1,
        turn=1,
        index=0,
        call_id="c",
        name="send",
        arguments="{}",
        state=CallState.WAITING,
        approval=Approval.PENDING,
    )
    run = a_run(phase=Ended(status=RunStatus.COMPLETED, completed_at=NOW), deadline_at=None)
    digest = "d" * 32
    texts: list[Text] = ["", "a", digest, PartRef(digest, 1, "a"), PartRef("e" * 32, 1, "a")]
    runs: list[tuple[Run, tuple[ToolCall, ...]]]
    runs = [(replace(run, result=replace(run.result, text=text)), ()) for text in texts]
    runs += [(replace(run, result=replace(run.result, output=PartRef(each, 1, ""))), ()) for each in (digest, "e" * 32)]
    runs += [(replace(run, counters=replace(run.counters, wakes=9)), ()), (run, (call,))]
    runs += [(run, (replace(call, arguments=text),)) for text in texts[2:]]
    assert len({etag_of_run(one, calls, url="u") for one, calls in runs}) == len(runs)
    again = replace(run, result=replace(run.result, text=PartRef(digest, 1, "a")))
    assert etag_of_run(again, (), url="u") == etag_of_run(*runs[3], url="u")
    assert etag_of_run(again, (), url="u", model="m") != etag_of_run(again, (), url="u", model="n")


@pytest.mark.parametrize(("seconds", "elapsed"), [(2.5, 2.5), (-0.2, 0.0)], ids=["later", "by a clock that is behind"])
def test_no_run_takes_less_than_no_time(seconds: float, elapsed: float) -> None:
    run = a_run(phase=Ended(status=RunStatus.CANCELLED, completed_at=at(seconds)))
    run = replace(run, request=replace(run.request, created_at=NOW))
    assert run_on_the_wire(FullRun(run=run), url="")["elapsed_seconds"] == elapsed
