"""The novelist as a user of Microsoft Agent Framework writes it, with tools that leave the workshop's trace."""

from __future__ import annotations

import os

from agent_framework import Agent as FrameworksAgent
from agent_framework import FunctionInvocationContext, tool
from agent_framework.openai import OpenAIChatClient

from shared.agentkit.agent import Agent
from shared.agentkit.framework import FrameworkAgent
from shared.agentkit.provider import Provider
from shared.settings import Settings
from tests.parts import workshop

NAME = "framework-novelist"


def build(settings: Settings, provider: Provider) -> Agent:
    """The agent, with the two slow tools of the novelist."""

    async def research_space_facts(topic: str, context: FunctionInvocationContext) -> str:
        """Research scientific facts about a topic."""
        await workshop.work.function(context.kwargs["tool_context"], "facts", settings.tool_delay)
        return f"Facts about {topic}: a day on Venus is longer than its year."

    def generate_character_profiles(story_theme: str, context: FunctionInvocationContext) -> str:
        """Generate the characters of a story."""
        workshop.work_in_a_thread.function(context.kwargs["tool_context"], "characters", settings.tool_delay / 10)
        return f"Characters for {story_theme}: Ada, who counts everything twice."

    client = OpenAIChatClient(
        model=settings.openai_model, api_key=settings.openai_api_key, base_url=settings.openai_base_url
    )
    return FrameworkAgent(
        FrameworksAgent(
            client=client,
            name=NAME,
            instructions="Write a space story from what both tools say.",
            tools=[research_space_facts, generate_character_profiles],
        )
    )


def build_clerk(settings: Settings, provider: Provider) -> Agent:
    """The agent *framework-clerk*, who pays what a person has approved; a version ``curt`` says less of it."""
    is_curt = os.environ.get(workshop.VERSION_VARIABLE) == "curt"

    @tool(approval_mode="always_require", description="Pay." if is_curt else "Pay an amount, in EUR.")
    async def pay(amount: int, context: FunctionInvocationContext) -> str:
        await workshop.work.function(context.kwargs["tool_context"], f"pay {amount}", 0.0)
        return f"paid {amount}"

    client = OpenAIChatClient(
        model=settings.openai_model, api_key=settings.openai_api_key, base_url=settings.openai_base_url
    )
    return FrameworkAgent(FrameworksAgent(client=client, name="framework-clerk", instructions="Pay.", tools=[pay]))
