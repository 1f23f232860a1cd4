"""The same agent as a ``ResponsesAgent``, as an Agent Framework ``Agent`` behind the adapter, as a ``ChatAgent``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from agent_framework import Agent as TheirAgent
from agent_framework import FunctionTool
from agent_framework import tool as their_tool
from agent_framework.openai import OpenAIChatClient

from local.model import ScriptedModel
from local.model.control import ModelControl
from shared.agentkit.agent import AgentResponse, AgentSession, ContinuationToken, Item, ResponseStatus, RunOptions
from shared.agentkit.chat import ChatAgent
from shared.agentkit.framework import FrameworkAgent
from shared.agentkit.provider import Provider, ProviderConfig
from shared.agentkit.responses import ResponsesAgent
from shared.agentkit.tools import ToolContext, tool

RAN: list[str] = []
"""The tools that ran, whoever ran them."""


async def research_space_facts(topic: str) -> str:
    """Facts about a topic."""
    RAN.append("research_space_facts")
    return f"facts about {topic}"


def generate_character_profiles(story_type: str, count: int = 2) -> str:
    """Characters for a story."""
    RAN.append("generate_character_profiles")
    return f"{count} characters for {story_type}"


TOOLS = (research_space_facts, generate_character_profiles)


class Harness:
    """One agent with an account of its own, called as a run calls it."""

    def __init__(self, agent: ResponsesAgent | ChatAgent) -> None:
        self.agent = agent
        self.session = AgentSession(session_id="s1")
        self.options = RunOptions(timeout=5.0, metadata={"run": "r1", "turn": "1"})
        self.executor = ThreadPoolExecutor(2)

    async def create(self, said: str | Sequence[Item], *, previous: str | None = None, **more: Any) -> AgentResponse:
        """Send a message, or items."""
        items: Sequence[Item] = [{"role": "user", "content": said}] if isinstance(said, str) else said
        session = replace(self.session, previous_response_id=previous)
        return await self.agent.run(items, session=session, options=replace(self.options, **more))

    async def poll(self, token: ContinuationToken | None) -> AgentResponse:
        """Ask once."""
        assert token is not None
        options = RunOptions(timeout=5.0, continuation_token=token)
        return await self.agent.run(None, session=self.session, options=options)

    async def finish(self, response: AgentResponse) -> AgentResponse:
        """Ask until there is no token any more."""
        for _ in range(200):
            if response.continuation_token is None:
                return response
            response = await self.poll(response.continuation_token)
            await asyncio.sleep(0.01)
        raise AssertionError("it does not end")

    async def answer(self, said: str | Sequence[Item], **more: Any) -> AgentResponse:
        """Create, then ask until the end."""
        created = await self.create(said, **more)
        assert created.status is ResponseStatus.PENDING
        assert created.text == ""
        return await self.finish(created)

    async def outputs(self, response: AgentResponse) -> list[Item]:
        """Run the tools that were asked for, as a run would."""
        return [
            {
                "type": "function_call_output",
                "call_id": call.call_id,
                "output": await self.agent.tools[call.name].invoke(
                    call.arguments, context(call.call_id), self.executor
                ),
            }
            for call in response.calls
        ]


def context(call_id: str = "call_1") -> ToolContext:
    return ToolContext(run_id="r1", session_id="s1", owner="o1", call_id=call_id, idempotency_key="r1:1:0", start=1)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel(port=0, think=0.05) as running:
        yield running


@pytest.fixture
def account() -> str:
    RAN.clear()
    return f"key-{uuid4().hex}"


@pytest.fixture
def control(model: ScriptedModel, account: str) -> ModelControl:
    return ModelControl(model.url, account)


MakeTheirs = Callable[..., TheirAgent]


@pytest.fixture
def theirs(model: ScriptedModel, account: str) -> MakeTheirs:
    """An Agent Framework agent as its users write it; the client's own retries are on."""

    def make(**more: Any) -> TheirAgent:
        client = OpenAIChatClient(model="gpt-scripted", api_key=account, base_url=more.pop("url", model.url))
        assert client.client.max_retries > 0
        return TheirAgent(client=client, **{"name": "novelist", "instructions": "Write stories.", **more})

    return make


def their_tools() -> list[FunctionTool]:
    return [their_tool(function) for function in TOOLS]


@pytest_asyncio.fixture(params=["responses", "framework"], loop_scope="session")
async def either(
    request: pytest.FixtureRequest, model: ScriptedModel, account: str, theirs: MakeTheirs
) -> AsyncIterator[Harness]:
    """The same agent in our own words, and in the framework's."""
    if request.param == "framework":
        yield Harness(FrameworkAgent(theirs(tools=their_tools()), models=["gpt-5-mini"]))
        return
    async with provided(ResponsesAgent, model, account) as desk:
        yield desk


@pytest_asyncio.fixture(params=["responses", "framework", "chat"], loop_scope="session")
async def any_agent(
    request: pytest.FixtureRequest, model: ScriptedModel, account: str, theirs: MakeTheirs
) -> AsyncIterator[Harness]:
    """The same agent over each API that there is, and in the framework's words."""
    if request.param == "framework":
        yield Harness(FrameworkAgent(theirs(tools=their_tools()), models=["gpt-5-mini"]))
        return
    async with provided({"responses": ResponsesAgent, "chat": ChatAgent}[request.param], model, account) as desk:
        yield desk


@asynccontextmanager
async def provided(
    kind: type[ResponsesAgent] | type[ChatAgent], model: ScriptedModel, account: str
) -> AsyncIterator[Harness]:
    """An agent of ours, with a connection of its own."""
    provider = Provider(ProviderConfig(credential=account, base_url=model.url))
    yield Harness(
        kind(
            name="novelist",
            description="",
            instructions="Write stories.",
            model="gpt-scripted",
            provider=provider,
            tools=[tool(function) for function in TOOLS],
            models=["gpt-5-mini"],
        )
    )
    await provider.close()
