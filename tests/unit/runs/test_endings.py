"""How a response ends, and what the run then is: status, code, message, text, usage. Cancel before, during, after."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from shared.agentkit.agent import AgentResponse, ResponseStatus, Usage
from shared.runs.commands.cancel import cancel
from shared.runs.commit import commit
from shared.runs.model.calls import CallState
from shared.runs.model.facts import Answer, Looked
from shared.runs.model.ids import run_id as id_of
from shared.runs.model.phases import Creating, RunningTools, RunStatus
from shared.runs.store.tables import Table
from tests.parts.waiting import eventually
from tests.unit.runs.conftest import HeldCreate, NewRig, Rig

USAGE = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15, "cached_tokens": 4, "reasoning_tokens": 3}
CALL = {"name": "work", "arguments": {"label": "a", "seconds": 0}}


@pytest.mark.parametrize(
    ("turn", "status", "code", "message", "text"),
    [
        pytest.param(
            {"status": "failed", "error": {"code": "invalid_prompt", "message": "Not this one."}},
            RunStatus.FAILED,
            "invalid_prompt",
            "Not this one.",
            "",
            id="failed",
        ),
        pytest.param({"text": "Fine.", "usage": USAGE}, RunStatus.COMPLETED, None, None, "Fine.", id="completed"),
        pytest.param({}, RunStatus.COMPLETED, None, None, "", id="completed with nothing"),
        pytest.param({"text": ""}, RunStatus.COMPLETED, None, None, "", id="completed with an empty text"),
        pytest.param({"reasoning": "Hm."}, RunStatus.COMPLETED, None, None, "", id="completed with thoughts alone"),
        pytest.param({"refusal": "Rather not."}, RunStatus.COMPLETED, None, None, "Rather not.", id="refused"),
        pytest.param(
            {"text": "Once upon", "status": "incomplete", "incomplete_reason": "max_output_tokens"},
            RunStatus.INCOMPLETE,
            None,
            None,
            "Once upon",
            id="incomplete",
        ),
        pytest.param(
            {"status": "incomplete", "incomplete_reason": "content_filter", "calls": [CALL]},
            RunStatus.INCOMPLETE,
            None,
            None,
            "",
            id="incomplete in the midst of a call",
        ),
        pytest.param(
            {"status": "cancelled"},
            RunStatus.CANCELLED,
            "cancelled_at_provider",
            "The response was cancelled at the provider, not by this app.",
            "",
            id="cancelled there",
        ),
    ],
)  # fmt: skip
async def test_a_run_ends_as_its_response_does(
    rig: Rig, turn: dict[str, Any], status: RunStatus, code: str | None, message: str | None, text: str
) -> None:
    await rig.model.script("s", [turn])
    run = await rig.run_to_end()
    assert (run.status, run.result.error_code, run.result.error_message) == (status, code, message)
    assert await rig.text(run.id) == text
    assert run.result.incomplete_reason == (turn.get("incomplete_reason") if status is RunStatus.INCOMPLETE else None)
    assert (run.is_done, run.token, run.completed_at) == (True, None, rig.clock.now)
    assert run.chain.provider_status == status.value
    assert (await rig.wake(run.id)).wake_in is None
    session = await rig.session(run.id)
    assert session.active_run is None
    assert session.response_id == (run.chain.response_ids[-1] if status is RunStatus.COMPLETED else None)
    assert await rig.calls(run.id) == []
    if "usage" in turn:
        assert {name: getattr(run.counters.usage, name) for name in USAGE} == USAGE


@pytest.mark.parametrize(("status", "level"), [("failed", logging.WARNING), ("completed", logging.INFO)])
async def test_a_run_that_failed_is_logged_as_a_warning_which_the_alert_on_failures_counts(
    rig: Rig, caplog: pytest.LogCaptureFixture, status: str, level: int
) -> None:
    caplog.set_level(logging.INFO, "dormouse")
    error = {"code": "invalid_prompt", "message": "Not this one."}
    await rig.model.script("s", [{"status": status, "error": error if status == "failed" else None}])
    run = await rig.run_to_end()
    assert [record.levelno for record in caplog.records if record.getMessage() == f"run {run.id} is {status}"] == [
        level
    ]


@pytest.mark.parametrize("code", ["server_error", "rate_limit_exceeded"])
async def test_a_transient_failure_is_restarted(rig: Rig, code: str) -> None:
    failing = {"status": "failed", "error": {"code": code, "message": "Try again."}}
    await rig.model.script("s", [{"attempts": [failing, failing, {"text": "Fine."}]}])
    run_id = await rig.start()
    run = await rig.follow(run_id, lambda run: run.turn.restarts)
    assert isinstance(run.phase, Creating)
    assert (run.status, run.token, run.schedule.retry_after) == (RunStatus.IN_PROGRESS, None, 2.0)
    run = await rig.follow(run_id)
    assert (run.status, run.turn.restarts, run.turn.unknown_outcomes) == (RunStatus.COMPLETED, 2, 0)
    assert await rig.text(run_id) == "Fine."
    first, second, third = await rig.model.creates(run=run_id)
    assert [second.time - first.time, third.time - second.time] == [1.5 + 2, 1.5 + 4]
    assert run.chain.response_ids == (first.response_id, second.response_id, third.response_id)
    assert [each.metadata["attempt"] for each in (first, second, third)] == ["1", "2", "3"]


async def test_a_failure_that_stays_is_the_run_s(rig: Rig) -> None:
    await rig.model.script("s", [{"status": "failed", "error": {"code": "server_error", "message": "Broken."}}])
    run = await rig.run_to_end()
    assert (run.status, run.result.error_code, run.result.error_message) == (
        RunStatus.FAILED,
        "server_error",
        "Broken.",
    )
    assert len(await rig.model.log("create")) == 4


@pytest.mark.parametrize(("used", "code"), [(14, None), (15, "token_limit")])
async def test_a_failure_that_used_up_the_tokens_is_not_restarted(rig: Rig, used: int, code: str | None) -> None:
    await rig.model.script("s", [{"think": 1_000}])
    run_id = await rig.start(total_tokens=15)
    stored = await rig.app.ports.runs.load(run_id)
    assert stored is not None
    failed = AgentResponse(  # the scripted model counts no tokens of what failed; some servers do
        status=ResponseStatus.FAILED,
        provider_status="failed",
        response_id=stored.value.chain.response_ids[0],
        error_code="server_error",
        usage=Usage(total_tokens=used),
    )
    answer = Answer(response=failed, tools=rig.app.ports.agents["workshop"].tools)
    await commit(rig.app.ports, stored, Looked(response_id=failed.response_id or "", answer=answer, jitter=0.0))
    run = await rig.run(run_id)
    assert (run.terminal, run.result.error_code, run.counters.usage.total_tokens) == (code is not None, code, used)
    assert (run.token, run.outbox.entries) == (None, ())


async def test_usage_is_that_of_all_turns(rig: Rig) -> None:
    await rig.model.script("s", [{"calls": [CALL], "usage": USAGE}, {"text": "Done.", "usage": USAGE}])
    run = await rig.run_to_end()
    assert run.status is RunStatus.COMPLETED
    assert {name: getattr(run.counters.usage, name) for name in USAGE} == {
        name: 2 * count for name, count in USAGE.items()
    }


async def test_a_long_text_comes_back_whole(rig: Rig) -> None:
    await rig.model.script("s", [{"repeat_text": {"text": "naïve 🐭 ", "times": 40_000}}])
    run = await rig.run_to_end()
    assert run.status is RunStatus.COMPLETED
    assert await rig.text(run.id) == "naïve 🐭 " * 40_000


async def test_every_create_is_in_the_background_stored_and_carries_all_it_needs(rig: Rig) -> None:
    await rig.model.script("s", [{"calls": [CALL]}, {"text": "Done."}])
    run = await rig.run_to_end()
    first, second = [entry.body or {} for entry in await rig.model.log("create")]
    for turn, body in ((1, first), (2, second)):
        assert body["background"] is True
        assert body["store"] is True
        assert body["instructions"] == "Do what the script says."
        assert "work" in {tool["name"] for tool in body["tools"]}
        assert body["metadata"].items() >= {"app": "unit", "run": run.id, "turn": str(turn), "attempt": "1"}.items()
        assert "stream" not in body
    assert "previous_response_id" not in first
    assert second["previous_response_id"] == run.chain.response_ids[0]
    (output,) = second["input"]
    assert (output["type"], output["output"]) == ("function_call_output", "worked on a")


# Cancel


async def cancelled(rig: Rig, run_id: str) -> None:
    """Cancel twice, let the outbox be worked through: the run is cancelled, and its responses are."""
    first = await cancel(rig.app.ports, run_id)
    again = await cancel(rig.app.ports, run_id)
    assert first is not None
    assert again is not None
    assert (first.status, again.status) == (RunStatus.CANCELLED, RunStatus.CANCELLED)
    assert first.completed_at == again.completed_at == rig.clock.now
    run = await rig.finish(run_id)
    assert (run.status, run.is_done, run.result.error_code) == (RunStatus.CANCELLED, True, None)
    assert run.outbox.entries == ()
    assert (await rig.session(run_id)).active_run is None
    assert {known.status for known in await rig.model.responses()} <= {"cancelled"}


async def test_a_run_is_cancelled_before_it_started(rig: Rig) -> None:
    await rig.model.switches(unavailable=60)
    run_id = await rig.start("Hello.")
    assert (await rig.run(run_id)).status is RunStatus.QUEUED
    await cancelled(rig, run_id)
    await rig.model.switches(unavailable=None)
    rig.clock.move(3_600)
    assert (await rig.wake(run_id)).wake_in is None
    assert await rig.model.creates() == []


async def test_a_run_is_cancelled_while_the_model_thinks(rig: Rig) -> None:
    await rig.model.script("s", [{"stuck": True}])
    run_id = await rig.start()
    await cancelled(rig, run_id)
    assert [known.cancelled for known in await rig.model.responses()] == [True]


async def test_a_run_is_cancelled_while_its_create_is_under_way(rigs: NewRig) -> None:
    rig, other = await rigs(), await rigs()
    await rig.model.script("s", [{"stuck": True}])
    held = HeldCreate(rig)
    submitting = asyncio.create_task(rig.submit())
    await held.answered.wait()
    (row,) = [row for row in rig.tables.rows(Table.RUNS) if row.key.startswith("run:")]
    run_id = id_of(row.partition, int(row.key.removeprefix("run:")))
    run = await cancel(other.app.ports, run_id)
    assert run is not None
    assert run.status is RunStatus.CANCELLED
    held.released.set()
    assert (await submitting).run.status is RunStatus.CANCELLED
    run = await rig.finish(run_id)
    assert (run.status, run.is_done) == (RunStatus.CANCELLED, True)
    (known,) = await rig.model.responses()
    assert known.status == "cancelled"
    assert run.chain.response_ids == (known.id,)


async def test_a_run_is_cancelled_while_a_tool_runs(rigs: NewRig) -> None:
    rig, other = await rigs(tool_lease=1.0, tool_renewal=0.05), await rigs()
    await rig.model.script("s", [{"calls": [{"name": "work", "arguments": {"label": "a", "seconds": 60}}]}])
    run_id = await rig.start()
    run = await rig.follow(run_id, lambda run: isinstance(run.phase, RunningTools))
    working = asyncio.create_task(rig.wake(run_id))

    async def started() -> bool:
        return [call.state for call in await rig.calls(run_id)] == [CallState.STARTED]

    await eventually(started)
    run = await cancel(other.app.ports, run_id)  # type: ignore[assignment]
    assert run.status is RunStatus.CANCELLED
    outcome = await working  # long before the tool's own 60 s
    assert (outcome.status, outcome.wake_in) == (RunStatus.CANCELLED, None)
    assert [call.state for call in await rig.calls(run_id)] == [CallState.STARTED]
    assert len(await rig.model.log("create")) == 1
    again = await cancel(other.app.ports, run_id)
    assert again == await rig.run(run_id)


@pytest.mark.parametrize(
    "turn",
    [
        {"text": "Fine."},
        {"status": "incomplete", "text": "Fi"},
        {"status": "failed", "error": {"code": "invalid_prompt"}},
        {"status": "cancelled"},
    ],
)
async def test_a_run_that_is_over_stays_as_it_is_when_it_is_cancelled(rig: Rig, turn: dict[str, Any]) -> None:
    await rig.model.script("s", [turn])
    run = await rig.run_to_end()
    for _ in range(2):
        assert await cancel(rig.app.ports, run.id) == run
    assert await rig.run(run.id) == run
    assert await rig.model.log("cancel") == []


async def test_a_run_that_is_not_there_cannot_be_cancelled(rig: Rig) -> None:
    assert await cancel(rig.app.ports, f"run_{'0' * 32}_1") is None


@pytest.mark.parametrize("answer", [200, 400, 409])
async def test_a_response_that_completed_unseen_adds_its_usage_to_the_cancelled_run(rig: Rig, answer: int) -> None:
    await rig.model.switches(cancel_completed=answer)
    await rig.model.script("s", [{"text": "Too late.", "usage": USAGE}])
    run_id = await rig.start()
    rig.clock.move(60)
    await cancel(rig.app.ports, run_id)
    run = await rig.finish(run_id)
    assert (run.status, run.is_done, run.counters.usage.total_tokens) == (RunStatus.CANCELLED, True, 15)
    assert await rig.text(run_id) == ""


async def test_a_response_that_completes_though_it_was_cancelled_changes_nothing(rig: Rig) -> None:
    await rig.model.script("s", [{"text": "Too late.", "think": 100, "late_completed": 60}])
    run_id = await rig.start()
    await cancel(rig.app.ports, run_id)
    await rig.wake(run_id)
    before = await rig.run(run_id)
    rig.clock.move(3_600)
    assert [known.status for known in await rig.model.responses()] == ["completed"]
    assert (await rig.wake(run_id)).wake_in is None
    assert await rig.run(run_id) == before
    assert before.status is RunStatus.CANCELLED


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500},
        {"status": 429, "headers": {"Retry-After": "1"}},
        {"status": 401},
        {"html": True},
        {"hang": 30.0},
        {"drop": True},
        {"status": 400},
        {"status": 409},
    ],
)
async def test_a_cancel_that_does_not_get_through_is_repeated_while_the_status_stands(
    rigs: NewRig, fault: dict[str, Any]
) -> None:
    rig = await rigs(**({"poll_timeout": 0.3} if "hang" in fault else {}))
    await rig.model.script("s", [{"stuck": True, "faults": {"cancel": [{**fault, "times": 3}]}}])
    run_id = await rig.start()
    await cancel(rig.app.ports, run_id)
    await rig.wake(run_id)
    run = await rig.run(run_id)
    assert (run.status, run.is_done) == (RunStatus.CANCELLED, False)
    run = await rig.finish(run_id)
    assert (run.status, run.is_done) == (RunStatus.CANCELLED, True)
    assert await rig.gaps("cancel") == [5.0, 10.0, 20.0]
    assert [known.status for known in await rig.model.responses()] == ["cancelled"]


@pytest.mark.slow
async def test_a_cancel_that_never_gets_through_is_given_up_after_a_day(rig: Rig) -> None:
    await rig.model.script("s", [{"stuck": True, "on_cancel": 400}])
    run_id = await rig.start()
    await cancel(rig.app.ports, run_id)
    run = await rig.finish(run_id)
    assert (run.status, run.is_done) == (RunStatus.CANCELLED, True)
    assert 86_400 <= (rig.clock.now - run.completed_at).total_seconds() < 90_000  # type: ignore[operator]
    assert len(await rig.model.log("cancel")) < 120


async def test_a_response_that_the_provider_forgot_owes_nothing(rig: Rig) -> None:
    await rig.model.script("s", [{"stuck": True, "id_gone": 10}])
    run_id = await rig.start()
    rig.clock.move(11)
    await cancel(rig.app.ports, run_id)
    await rig.wake(run_id)
    assert (await rig.run(run_id)).is_done
