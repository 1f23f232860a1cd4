"""An agent whose own code fails: nothing was sent, so nothing may have been billed, and the run says so."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from shared.agentkit.agent import Agent, RunInfo
from shared.agentkit.chat import ChatAgent
from shared.agentkit.provided import ProvidedAgent
from shared.agentkit.provider import Provider
from shared.agentkit.responses import ResponsesAgent
from shared.runs.actions import create, look
from shared.runs.actions.outcome import outcome
from shared.runs.commands.adopt import adopt
from shared.runs.model.phases import Creating, RunStatus
from shared.runs.model.run import Run
from shared.settings import Settings
from tests.unit.runs.conftest import NewRig, Rig

SECRET = "sk-of-the-agent"


class Code:
    """The instructions of an agent that a deploy may mend."""

    def __init__(self) -> None:
        self.answer: Callable[[], Any] = self.fail

    def fail(self) -> Any:
        raise KeyError(SECRET)

    def __call__(self, run: RunInfo) -> Any:
        return self.answer()


def clumsy(kind: type[ProvidedAgent], code: Code, **more: Any) -> Callable[[Settings, Provider], Agent]:
    """What makes an agent with these instructions."""

    def build(settings: Settings, provider: Provider) -> Any:
        fields = {"name": "clumsy", "description": "", "model": "gpt-5", "instructions": code, "provider": provider}
        return kind(**{**fields, **more})

    return build


def agent_errors(run: Run) -> int:
    """Tries in a row of which the agent's code could not build the request."""
    return run.phase.agent_errors if isinstance(run.phase, Creating) else 0


KINDS = pytest.mark.parametrize("kind", [ResponsesAgent, ChatAgent])


@KINDS
async def test_instructions_that_raise_end_the_run_as_agent_error_in_about_a_minute(
    rigs: NewRig, kind: type[ProvidedAgent]
) -> None:
    rig = await rigs([clumsy(kind, Code())])
    run_id = await rig.start(agent="clumsy")
    run = await rig.run(run_id)
    assert (run.status, type(run.phase)) == (RunStatus.QUEUED, Creating)
    claims: list[object] = []

    def ended(run: Run) -> bool:
        claims.append(run.phase.claim if isinstance(run.phase, Creating) else None)
        return False

    run = await rig.follow(run_id, ended)
    assert (run.status, run.result.error_code) == (RunStatus.FAILED, "agent_error")
    assert "clumsy" in (run.result.error_message or "")
    assert "KeyError" in (run.result.error_message or "")
    assert SECRET not in (run.result.error_message or ""), "what the exception says is for the log"
    assert (run.completed_at - run.request.created_at).total_seconds() == 62  # type: ignore[operator]
    assert (run.turn.attempt, run.turn.unknown_outcomes, set(claims)) == (0, 0, {None})
    assert await rig.model.log("create") + await rig.model.log("chat") == []
    assert (await rig.session(run_id)).active_run is None


@KINDS
async def test_a_deploy_that_mends_the_agent_in_time_saves_the_run(rigs: NewRig, kind: type[ProvidedAgent]) -> None:
    code = Code()
    rig = await rigs([clumsy(kind, code)])
    await rig.model.script("s", [{"text": "Fine.", "think": 0}])
    run_id = await rig.start(agent="clumsy")
    assert agent_errors(await rig.run(run_id)) == (1 if kind is ResponsesAgent else 0)
    await rig.follow(run_id, lambda run: agent_errors(run) == 3)
    code.answer = lambda: "Be careful."
    run = await rig.follow(run_id)
    assert (run.status, await rig.text(run_id), agent_errors(run)) == (RunStatus.COMPLETED, "Fine.", 0)


@KINDS
@pytest.mark.parametrize("answer", [None, b"bytes", "half a pair: \ud83d"])
async def test_instructions_that_are_no_text_are_the_agent_s_fault(
    rigs: NewRig, kind: type[ProvidedAgent], answer: object
) -> None:
    code = Code()
    code.answer = lambda: answer
    rig = await rigs([clumsy(kind, code)])
    run = await rig.run_to_end(agent="clumsy")
    assert (run.status, run.result.error_code) == (RunStatus.FAILED, "agent_error")
    assert await rig.model.log("create") + await rig.model.log("chat") == []


@KINDS
@pytest.mark.parametrize("option", [object(), float("nan")])
async def test_options_that_cannot_be_sent_are_the_agent_s_fault(
    rigs: NewRig, kind: type[ProvidedAgent], option: object
) -> None:
    rig = await rigs([clumsy(kind, Code(), instructions="Be careful.", options={"of_tomorrow": option})])
    run = await rig.run_to_end(agent="clumsy")
    assert (run.status, run.result.error_code) == (RunStatus.FAILED, "agent_error")
    assert "start_uncertain" not in str(run)


async def test_an_agent_that_fails_in_a_later_turn_ends_the_run_and_keeps_what_was_done(rigs: NewRig) -> None:
    code = Code()
    code.answer = lambda: "Be careful."
    rig = await rigs([clumsy(ResponsesAgent, code)])
    await rig.model.script("s", [{"calls": [{"name": "none"}]}, {"text": "Never."}])
    run_id = await rig.start("[script:s]", agent="clumsy")
    await rig.follow(run_id, lambda run: run.turn.number == 2)
    code.answer = code.fail
    run = await rig.finish(run_id)
    assert (run.status, run.result.error_code, run.turn.number) == (RunStatus.FAILED, "agent_error", 2)
    assert len(await rig.items(run_id)) == 3


async def test_an_attempt_of_unknown_outcome_can_be_adopted_while_the_agent_fails(rigs: NewRig) -> None:
    code = Code()
    code.answer = lambda: "Be careful."
    rig = await rigs([clumsy(ResponsesAgent, code)])
    lost = {"create": [{"drop": True, "after_accept": True}]}
    await rig.model.script("s", [{"text": "Found.", "faults": lost}])
    run_id = await rig.start("[script:s]", agent="clumsy")
    code.answer = code.fail
    await rig.follow(run_id, lambda run: agent_errors(run) == 1)
    (response,) = await rig.model.responses()
    assert await adopt(rig.app.ports, response.id) == run_id
    assert await rig.text(run_id) == "Found."


# The count of crashes


def crash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer of the provider crashes the wake that reads it."""

    def broken(*_: object) -> None:
        raise ArithmeticError("a bug of ours")

    for module in (create, look):
        monkeypatch.setattr(module, "answer_of", broken)


async def test_ten_crashes_in_a_row_end_the_run(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.model.script("s", [{"text": "Fine."}])
    run_id = await rig.start()
    crash(monkeypatch)
    run = await rig.follow(run_id)
    assert (run.status, run.result.error_code) == (RunStatus.FAILED, "internal_error")
    assert "ArithmeticError" in (run.result.error_message or "")
    assert len(await rig.model.log("retrieve")) == 10
    assert run.schedule.crashes == 0, "what its outbox has to do is not put off by them"


@pytest.mark.parametrize("between", [{"status": 500}, {"html": True}])
async def test_looks_without_news_make_a_row_of_crashes_begin_anew(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, between: dict[str, Any]
) -> None:
    faults = [{**between, "skip": 1} for _ in range(50)]
    await rig.model.script("s", [{"text": "Fine.", "faults": {"retrieve": faults}}])
    run_id = await rig.start()
    crash(monkeypatch)
    counts = []
    for _ in range(15):
        run = await rig.run(run_id)
        rig.clock.move(outcome(run, rig.clock.now).wake_in or 0.0)
        await rig.wake(run_id)
        counts.append((await rig.run(run_id)).schedule.crashes)
    assert (run.status, counts) == (RunStatus.IN_PROGRESS, [1, 0] * 7 + [1])
    monkeypatch.undo()
    assert (await rig.finish(run_id)).status is RunStatus.COMPLETED


async def test_a_claim_that_ran_out_makes_a_row_of_crashes_begin_anew(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.model.script("s", [{"text": "Fine."}])
    crash(monkeypatch)
    run_id = await rig.start()
    assert (await rig.run(run_id)).schedule.crashes == 1
    run = await rig.follow(run_id, lambda run: run.turn.unknown_outcomes == 2)
    assert run.schedule.crashes == 0


async def test_a_version_that_does_not_know_the_agent_makes_a_row_of_crashes_begin_anew(
    rigs: NewRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, stranger = await rigs(), await rigs()
    object.__setattr__(stranger.app.ports, "agents", {})
    await rig.model.script("s", [{"text": "Fine."}])
    run_id = await rig.start()
    crash(monkeypatch)
    counts = []
    for _ in range(3):
        for each in (rig, stranger):
            rig.clock.move(outcome(await rig.run(run_id), rig.clock.now).wake_in or 0.0)
            await each.wake(run_id)
            counts.append((await rig.run(run_id)).schedule.crashes)
    run = await rig.run(run_id)
    assert run.schedule.agent_unknown_since is not None
    assert run.schedule.resume_at == rig.clock.now + timedelta(seconds=30)
    assert counts == [1, 0] * 3
