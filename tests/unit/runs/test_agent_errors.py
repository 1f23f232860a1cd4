"""An agent whose own code fails: nothing was sent, so nothing may have been billed, and the run says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shared.agentkit.agent import Agent, RunInfo
from shared.agentkit.chat import ChatAgent
from shared.agentkit.provided import ProvidedAgent
from shared.agentkit.provider import Provider
from shared.agentkit.responses import ResponsesAgent
from shared.runs.run import Next, RunStatus
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


KINDS = pytest.mark.parametrize("kind", [ResponsesAgent, ChatAgent])


@KINDS
async def test_instructions_that_raise_end_the_run_as_agent_error_in_about_a_minute(
    rigs: NewRig, kind: type[ProvidedAgent]
) -> None:
    rig = await rigs([clumsy(kind, Code())])
    run_id = await rig.start(agent="clumsy")
    run = await rig.run(run_id)
    assert (run.status, run.next) == (RunStatus.QUEUED, Next.CREATE)
    run = await rig.finish(run_id)
    assert (run.status, run.error_code) == (RunStatus.FAILED, "agent_error")
    assert "clumsy" in (run.error_message or "")
    assert "KeyError" in (run.error_message or "")
    assert SECRET not in (run.error_message or ""), "what the exception says is for the log"
    assert (run.completed_at - run.created_at).total_seconds() == 62  # type: ignore[operator]
    assert (run.attempt, run.unknown_outcomes, run.claimed_until) == (0, 0, None)
    assert await rig.model.log("create") + await rig.model.log("chat") == []
    assert (await rig.session(run_id)).active_run is None


@KINDS
async def test_a_deploy_that_mends_the_agent_in_time_saves_the_run(rigs: NewRig, kind: type[ProvidedAgent]) -> None:
    code = Code()
    rig = await rigs([clumsy(kind, code)])
    await rig.model.script("s", [{"text": "Fine.", "think": 0}])
    run_id = await rig.start(agent="clumsy")
    assert (await rig.run(run_id)).agent_errors == (1 if kind is ResponsesAgent else 0)
    await rig.follow(run_id, lambda run: run.agent_errors == 3)
    code.answer = lambda: "Be careful."
    run = await rig.follow(run_id)
    assert (run.status, await rig.text(run_id), run.agent_errors) == (RunStatus.COMPLETED, "Fine.", 0)


@KINDS
@pytest.mark.parametrize("answer", [None, b"bytes", "half a pair: \ud83d"])
async def test_instructions_that_are_no_text_are_the_agent_s_fault(
    rigs: NewRig, kind: type[ProvidedAgent], answer: object
) -> None:
    code = Code()
    code.answer = lambda: answer
    rig = await rigs([clumsy(kind, code)])
    run = await rig.story(agent="clumsy")
    assert (run.status, run.error_code) == (RunStatus.FAILED, "agent_error")
    assert await rig.model.log("create") + await rig.model.log("chat") == []


@KINDS
@pytest.mark.parametrize("option", [object(), float("nan")])
async def test_options_that_cannot_be_sent_are_the_agent_s_fault(
    rigs: NewRig, kind: type[ProvidedAgent], option: object
) -> None:
    rig = await rigs([clumsy(kind, Code(), instructions="Be careful.", options={"of_tomorrow": option})])
    run = await rig.story(agent="clumsy")
    assert (run.status, run.error_code) == (RunStatus.FAILED, "agent_error")
    assert "start_uncertain" not in str(run)


async def test_an_agent_that_fails_in_a_later_turn_ends_the_run_and_keeps_what_was_done(rigs: NewRig) -> None:
    code = Code()
    code.answer = lambda: "Be careful."
    rig = await rigs([clumsy(ResponsesAgent, code)])
    await rig.model.script("s", [{"calls": [{"name": "none"}]}, {"text": "Never."}])
    run_id = await rig.start("[script:s]", agent="clumsy")
    await rig.follow(run_id, lambda run: run.turn == 2)
    code.answer = code.fail
    run = await rig.finish(run_id)
    assert (run.status, run.error_code, run.turn) == (RunStatus.FAILED, "agent_error", 2)
    assert len(await rig.items(run_id)) == 3


async def test_an_attempt_of_unknown_outcome_can_be_adopted_while_the_agent_fails(rigs: NewRig) -> None:
    code = Code()
    code.answer = lambda: "Be careful."
    rig = await rigs([clumsy(ResponsesAgent, code)])
    lost = {"create": [{"drop": True, "after_accept": True}]}
    await rig.model.script("s", [{"text": "Found.", "faults": lost}])
    run_id = await rig.start("[script:s]", agent="clumsy")
    code.answer = code.fail
    await rig.follow(run_id, lambda run: run.agent_errors == 1)
    (response,) = await rig.model.responses()
    assert await rig.app.adoption.look_at(response.id) == run_id
    assert await rig.text(run_id) == "Found."


# The count of crashes


async def crash(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer of the provider crashes the wake that reads it."""

    async def broken(*_: object) -> None:
        raise ArithmeticError("a bug of ours")

    monkeypatch.setattr(rig.app.lifecycle._turns._reading, "read", broken)


@pytest.mark.parametrize("between", [{"status": 500}, {"html": True}])
async def test_polls_without_news_do_not_make_a_row_of_crashes_begin_anew(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, between: dict[str, Any]
) -> None:
    faults = [{**between, "skip": 1} for _ in range(50)]
    await rig.model.script("s", [{"text": "Fine.", "faults": {"retrieve": faults}}])
    run_id = await rig.start()
    await crash(rig, monkeypatch)
    run = await rig.finish(run_id)
    assert (run.status, run.error_code) == (RunStatus.FAILED, "internal_error")
    assert "ArithmeticError" in (run.error_message or "")
    assert len(await rig.model.log("retrieve")) < 30, "ten crashes, and what lay between them"


async def test_a_claim_that_ran_out_does_not_make_a_row_of_crashes_begin_anew(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.model.script("s", [{"text": "Fine."}])
    await crash(rig, monkeypatch)
    run_id = await rig.start()
    assert (await rig.run(run_id)).crashes == 1
    run = await rig.follow(run_id, lambda run: run.unknown_outcomes == 2)
    assert run.crashes == 2


async def test_a_version_that_does_not_know_the_agent_does_not_make_a_row_of_crashes_begin_anew(
    rigs: NewRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, stranger = await rigs(), await rigs()
    object.__setattr__(stranger.app.services, "agents", {})
    await rig.model.script("s", [{"text": "Fine."}])
    run_id = await rig.start()
    await crash(rig, monkeypatch)
    for _ in range(3):
        rig.clock.move((await rig.run(run_id)).wake_in(rig.clock.now) or 0.0)
        await rig.wake(run_id)
        await stranger.wake(run_id)
    assert (await rig.run(run_id)).crashes == 3
