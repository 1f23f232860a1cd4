"""Structured output: an object that fits, one corrective turn for text that does not, and what a failure keeps."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.agentkit.agent import Agent
from shared.agentkit.chat import ChatAgent
from shared.agentkit.provider import Provider
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import PartRef, Run
from shared.settings import Settings
from tests.parts import workshop
from tests.unit.runs.conftest import NewRig, Rig

GOOD = '{"guilty": true, "months": 3}'
BAD = '{"guilty": "perhaps", "months": -1}'
WORK = {"name": "work", "arguments": {"label": "a"}}


def build_chat_judge(settings: Settings, provider: Provider) -> Agent:
    """The judge over Chat Completions."""
    return ChatAgent(
        name="chat-judge",
        description="Answers with a verdict.",
        instructions="Do what the script says.",
        model=settings.openai_model,
        provider=provider,
        tools=workshop.TOOLS,
        output_type=workshop.Verdict,
    )


async def script(rig: Rig, name: str, turns: list[dict[str, Any]]) -> None:
    """A script whose turns take no time of the (standing) clock: a chat completion is answered when it is done."""
    await rig.model.script(name, [{"think": 0, **turn} for turn in turns])


@pytest.fixture(params=["judge", "chat-judge"])
async def either(rigs: NewRig, request: pytest.FixtureRequest) -> tuple[Rig, str]:
    return await rigs([workshop.build_judge, build_chat_judge]), request.param


@pytest.fixture
async def judge(rigs: NewRig) -> Rig:
    return await rigs([workshop.build_judge])


async def output(rig: Rig, run: Run) -> Any:
    kept = await rig.app.ports.runs.load_text(run, run.result.output)
    return json.loads(kept) if kept else None


async def test_text_that_fits_is_an_object_beside_the_text(either: tuple[Rig, str]) -> None:
    rig, agent = either
    await script(rig, "s", [{"calls": [WORK]}, {"text": GOOD}])
    run = await rig.run_to_end(agent=agent)
    assert (run.status, run.counters.corrections, run.turn.number) == (RunStatus.COMPLETED, 0, 2)
    assert (await rig.text(run.id), await output(rig, run)) == (GOOD, {"guilty": True, "months": 3})


@pytest.mark.parametrize("bad", [BAD, " ", "Guilty!", "[]", GOOD + " or so"])
async def test_text_that_does_not_fit_is_corrected_once(either: tuple[Rig, str], bad: str) -> None:
    rig, agent = either
    await script(rig, "s", [{"text": bad, "continues": True}, {"text": GOOD}])
    run = await rig.run_to_end(agent=agent)
    assert (run.status, run.counters.corrections, run.turn.number) == (RunStatus.COMPLETED, 1, 2), (
        run.result.error_message
    )
    assert await output(rig, run) == {"guilty": True, "months": 3}
    entry = (await rig.model.log("chat" if agent == "chat-judge" else "create"))[-1]
    assert entry.body is not None
    said = (entry.body.get("messages") or entry.body["input"])[-1]
    assert said["role"] == "user"
    assert "does not fit the required format" in said["content"]
    if bad == BAD:
        assert "guilty: " in said["content"]
        assert "months: " in said["content"]


async def test_the_correction_is_chained_and_its_usage_counts(judge: Rig) -> None:
    usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    turns = [{"text": BAD, "continues": True, "usage": usage}, {"text": GOOD, "usage": usage}]
    await script(judge, "s", turns)
    run = await judge.run_to_end(agent="judge")
    assert run.counters.usage.total_tokens == 30
    second = (await judge.model.log("create"))[-1].body or {}
    assert second["previous_response_id"] == run.chain.response_ids[0]
    assert len(second["input"]) == 1
    assert (await judge.session(run.id)).response_id == run.chain.response_ids[1]


async def test_text_that_does_not_fit_twice_fails_the_run_and_is_kept(either: tuple[Rig, str]) -> None:
    rig, agent = either
    await script(rig, "good", [{"text": GOOD}])
    first = await rig.run_to_end("[script:good]", agent=agent)
    await script(rig, "s", [{"text": "No.", "continues": True}, {"text": BAD}])
    run = await rig.run_to_end(session_id=first.request.session_id)
    assert (run.status, run.result.error_code, run.counters.corrections) == (RunStatus.FAILED, "invalid_output", 1)
    assert "Verdict, twice: " in (run.result.error_message or "")
    assert (await rig.text(run.id), await output(rig, run)) == (BAD, None)
    session = await rig.session(run.id)
    assert (session.active_run, session.response_id) == (None, first.chain.last_response_id), "not advanced"
    third = await rig.run_to_end("[script:good]", session_id=first.request.session_id)
    entry = (await rig.model.log("chat" if agent == "chat-judge" else "create"))[-1]
    assert third.status is RunStatus.COMPLETED
    assert "No." not in json.dumps(entry.body)


async def test_a_long_text_that_does_not_fit_is_kept_whole(judge: Rig) -> None:
    turn = {"repeat_text": {"text": "naïve 🐭 ", "times": 5_000}}
    await script(judge, "s", [{**turn, "continues": True}, turn])
    run = await judge.run_to_end(agent="judge")
    assert (run.result.error_code, isinstance(run.result.text, PartRef)) == ("invalid_output", True)
    assert await judge.text(run.id) == "naïve 🐭 " * 5_000


@pytest.mark.parametrize("limits", [{"turns": 1}, {"total_tokens": 15}])
async def test_a_run_that_may_take_no_other_turn_fails_with_its_text(judge: Rig, limits: dict[str, int]) -> None:
    usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    await script(judge, "s", [{"text": BAD, "continues": True, "usage": usage}, {"text": GOOD}])
    run = await judge.run_to_end(agent="judge", **limits)
    assert (run.status, run.result.error_code, run.counters.corrections) == (RunStatus.FAILED, "invalid_output", 0)
    assert "twice" not in (run.result.error_message or "")
    assert await judge.text(run.id) == BAD
    assert len(await judge.model.log("create")) == 1


async def test_text_that_was_cut_short_is_incomplete_and_not_corrected(judge: Rig) -> None:
    await script(judge, "s", [{"text": '{"guilty": tr', "status": "incomplete"}])
    run = await judge.run_to_end(agent="judge")
    assert (run.status, run.result.error_code, run.turn.number) == (RunStatus.INCOMPLETE, None, 1)
    assert (await judge.text(run.id), await output(judge, run)) == ('{"guilty": tr', None)


async def test_tools_after_a_correction_are_run_and_the_count_stays(judge: Rig) -> None:
    await script(judge, "s", [{"text": BAD, "continues": True}, {"calls": [WORK]}, {"text": BAD}])
    run = await judge.run_to_end(agent="judge")
    assert (run.status, run.result.error_code, run.turn.number, run.counters.tool_calls) == (
        RunStatus.FAILED,
        "invalid_output",
        3,
        1,
    )
