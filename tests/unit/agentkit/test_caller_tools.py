"""A caller's own functions: where they stand in an agent's requests, and in which notation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from shared.agentkit.agent import AgentSession, RunOptions
from shared.agentkit.caller import choice_to_chat, choice_to_framework, tool_to_chat
from shared.agentkit.chat import ChatAgent
from shared.agentkit.provider import Provider, ProviderConfig
from shared.agentkit.responses import ResponsesAgent
from shared.agentkit.tools import tool
from tests.parts.cases import cases

SESSION = AgentSession(session_id="s")
MESSAGE = {"type": "message", "role": "user", "content": "Go."}
SCHEMA = {"type": "object", "properties": {"topic": {"type": "string"}}}
THEIRS = {"type": "function", "name": "look_up", "description": "Look it up.", "parameters": SCHEMA, "strict": False}
BARE = {"type": "function", "name": "ping", "description": None, "parameters": None, "strict": None}


@tool
async def work(label: str) -> str:
    """Work."""
    return label


def an_agent(kind: type[Any] = ResponsesAgent, **more: Any) -> Any:
    provider = Provider(ProviderConfig(credential="x"))
    return kind(name="a", description="", instructions="Own.", model="m", provider=provider, **more)


def body_of(agent: Any, **options: Any) -> dict[str, Any]:
    send: Any = agent.prepare([MESSAGE], session=SESSION, options=RunOptions(timeout=1, **options))
    return dict(send.args[0])


def named(body: Mapping[str, Any]) -> list[str]:
    return [each.get("name") or each.get("function", {}).get("name") or each["type"] for each in body["tools"]]


@pytest.mark.parametrize("kind", [ResponsesAgent, ChatAgent])
def test_the_agents_own_tools_come_first_and_then_the_callers(kind: type[Any]) -> None:
    agent = an_agent(kind, tools=[work], hosted_tools=[{"type": "web_search"}])
    assert named(body_of(agent, tools=[THEIRS, BARE])) == ["work", "web_search", "look_up", "ping"]
    assert named(body_of(agent)) == ["work", "web_search"]


@pytest.mark.parametrize("kind", [ResponsesAgent, ChatAgent])
def test_of_two_functions_of_one_name_the_agents_own_is_sent(kind: type[Any]) -> None:
    """As after a deploy that gave the agent a tool which its callers had brought."""
    agent = an_agent(kind, tools=[work])
    assert body_of(agent, tools=[{**THEIRS, "name": "work"}]) == body_of(agent)
    alone = body_of(agent, tools=[{**THEIRS, "name": "work"}, BARE], tool_choice="required")
    assert (named(alone), alone["tool_choice"]) == (["work", "ping"], "required")


def test_over_the_responses_api_they_are_sent_as_they_came() -> None:
    body = body_of(an_agent(), tools=[THEIRS, BARE], tool_choice={"type": "function", "name": "ping"})
    assert body["tools"] == [THEIRS, BARE]
    assert body["tool_choice"] == {"type": "function", "name": "ping"}
    assert body["parallel_tool_calls"] is True
    one = body_of(an_agent(), tools=[THEIRS], caller_options={"parallel_tool_calls": False})
    assert one["parallel_tool_calls"] is False


def test_over_chat_completions_they_are_sent_in_its_notation() -> None:
    body = body_of(an_agent(ChatAgent), tools=[THEIRS, BARE], tool_choice={"type": "function", "name": "ping"})
    about = {"name": "look_up", "description": "Look it up.", "parameters": SCHEMA, "strict": False}
    assert body["tools"] == [
        {"type": "function", "function": about},
        {"type": "function", "function": {"name": "ping"}},
    ]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "ping"}}


@pytest.mark.parametrize("kind", [ResponsesAgent, ChatAgent])
def test_nothing_is_sent_of_a_choice_that_nobody_made_or_that_chooses_from_nothing(kind: type[Any]) -> None:
    assert "tool_choice" not in body_of(an_agent(kind), tools=[THEIRS])
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & body_of(an_agent(kind), tool_choice="none").keys()
    own = an_agent(kind, tools=[work], options={"tool_choice": "required"})
    assert body_of(own)["tool_choice"] == "required"
    assert body_of(own, tools=[THEIRS], tool_choice="none")["tool_choice"] == "none"


@cases(
    "choice, chat, framework",
    [
        ("none", "none", "none"),
        ("required", "required", "required"),
        (
            {"type": "function", "name": "f"},
            {"type": "function", "function": {"name": "f"}},
            {"mode": "required", "required_function_name": "f"},
        ),
    ],
)
def test_each_api_has_a_notation_of_its_own_for_a_choice(choice: Any, chat: Any, framework: Any) -> None:
    assert (choice_to_chat(choice), choice_to_framework(choice)) == (chat, framework)


def test_over_chat_completions_nothing_is_said_of_parallel_calls_where_there_are_none() -> None:
    agent = an_agent(ChatAgent, caller_options=["parallel_tool_calls"])
    given = {"parallel_tool_calls": False}
    assert "parallel_tool_calls" not in body_of(agent, caller_options=given)
    assert body_of(agent, caller_options=given, tools=[THEIRS])["parallel_tool_calls"] is False


def test_the_callers_definitions_are_left_as_they_are() -> None:
    given = dict(THEIRS)
    assert tool_to_chat(given)["function"]["parameters"] == SCHEMA
    assert given == THEIRS


def test_whether_callers_may_bring_functions_is_checked_when_the_agent_is_made() -> None:
    assert an_agent().caller_tools == "refuse"
    assert an_agent(ChatAgent, caller_tools="allow").caller_tools == "allow"
    with pytest.raises(ValueError, match="caller_tools of the agent a cannot be 'yes'"):
        an_agent(caller_tools="yes")
