"""The novelist: writes a space story from two slow pieces of research, asked for side by side."""

from __future__ import annotations

import asyncio

from shared.agentkit.agent import Agent
from shared.agentkit.provider import Provider
from shared.agentkit.responses import ResponsesAgent
from shared.agentkit.tools import tool
from shared.settings import Settings

INSTRUCTIONS = """\
You are a novelist who writes space stories. Before you write, always call both tools at once: research_space_facts \
for facts on the topic, and generate_character_profiles for the people in it. Then write the story. Use what both \
tools gave you."""


def build(settings: Settings, provider: Provider) -> Agent:
    """The agent over the Responses API; its tools take ``DORMOUSE_SAMPLE_TOOL_SECONDS`` each."""

    @tool
    async def research_space_facts(topic: str) -> str:
        """Research scientific facts about a topic of space travel or astronomy."""
        await asyncio.sleep(settings.tool_delay)
        return (
            f"Space facts on {topic}: sunlight takes 8 minutes and 20 seconds to reach Earth; a day on Venus is longer "
            "than its year; in vacuum, metals that touch can weld cold; Olympus Mons is 22 km high."
        )

    @tool
    async def generate_character_profiles(story_theme: str, count: int = 2) -> str:
        """Generate profiles of the characters for a story of the given theme. At most five."""
        await asyncio.sleep(settings.tool_delay)
        cast = [
            "Captain Ada Okafor, 52, counts everything twice since the Ceres accident",
            "Milo Reyes, 31, botanist, talks to his tomatoes and is answered by the ship",
            "Dr. Ines Falk, 44, geologist, has not told anybody why she left Mars",
            "Tomas Brandt, 27, pilot, never flew without his sister's letter",
            "ORRIN, the ship, 6 years old, has begun to lie out of kindness",
        ]
        return f"Characters for {story_theme}: " + "; ".join(cast[: max(1, min(count, len(cast)))]) + "."

    return ResponsesAgent(
        name="novelist",
        description="Writes a space story from researched facts and character profiles.",
        instructions=INSTRUCTIONS,
        model=settings.model,
        provider=provider,
        tools=[research_space_facts, generate_character_profiles],
    )
