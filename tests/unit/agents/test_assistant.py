"""The sample agents together; and the one whose callers bring everything."""

from __future__ import annotations

from typing import Any

from shared import agents
from shared.agentkit.agent import AgentSession, RunOptions
from shared.agentkit.caller import INTRODUCTION, OF_CHAT_ALONE, OPTIONS
from shared.agentkit.provider import Provider, ProviderConfig
from shared.agents import assistant
from shared.settings import Settings

THEIRS = {"type": "function", "name": "look_up", "parameters": None, "strict": True}


def body_of(options: RunOptions) -> dict[str, Any]:
    agent = assistant.build(Settings(), Provider(ProviderConfig(credential="x")))
    message = {"type": "message", "role": "user", "content": "Go."}
    send: Any = agent.prepare([message], session=AgentSession(session_id="s"), options=options)
    return dict(send.args[0])


def test_the_samples_and_only_the_last_of_them_takes_functions_of_its_callers() -> None:
    found = agents.build(Settings(), Provider(ProviderConfig(credential="x")))
    assert list(found) == ["novelist", "compliance", "analyst", "assistant"]
    assert [name for name, agent in found.items() if agent.caller_tools == "allow"] == ["assistant"]
    assert (found["assistant"].caller_instructions, dict(found["assistant"].tools)) == ("append", {})


def test_all_that_a_caller_brings_to_the_assistant_is_sent() -> None:
    body = body_of(
        RunOptions(
            timeout=1,
            instructions="Write stories.",
            tools=[THEIRS],
            tool_choice="required",
            caller_options={"max_output_tokens": 90, "parallel_tool_calls": False, "verbosity": "low"},
        )
    )
    assert body["instructions"].startswith(f"{assistant.INSTRUCTIONS}\n\n{INTRODUCTION}")
    assert "\nWrite stories.\n" in body["instructions"]
    assert (body["tools"], body["tool_choice"], body["parallel_tool_calls"]) == ([THEIRS], "required", False)
    assert (body["max_output_tokens"], body["text"]) == (90, {"verbosity": "low"})


def test_without_anything_of_the_callers_it_just_answers() -> None:
    body = body_of(RunOptions(timeout=1))
    assert body["instructions"] == assistant.INSTRUCTIONS
    assert not {"tools", "tool_choice", "parallel_tool_calls", "temperature"} & body.keys()


def test_what_costs_the_app_more_or_models_refuse_is_not_for_its_callers_to_set() -> None:
    refused = OPTIONS.keys() - OF_CHAT_ALONE - set(assistant.CALLER_OPTIONS)
    assert refused == {"max_tool_calls", "service_tier", "temperature", "top_p"}
