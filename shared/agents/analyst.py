"""The analyst: the provider's own web search beside a function tool, and instructions that know the run."""

from __future__ import annotations

import hashlib

from shared.agentkit.agent import Agent, RunInfo
from shared.agentkit.provider import Provider
from shared.agentkit.responses import ResponsesAgent
from shared.agentkit.tools import ToolError, tool
from shared.settings import Settings

MAX_DAYS = 30

AUDIENCES = {
    "beginner": "somebody who has never bought a share",
    "expert": "a reader who knows the market",
}
"""The audiences that a caller may choose, each with its instructions."""


def instructions(run: RunInfo) -> str:
    """The instructions: metadata ``audience`` of the run is one of ``AUDIENCES``, anything else an expert.

    The words of a caller are never instructions: they would be obeyed. A choice is looked up here; free text belongs
    into the input, which the model reads as the user's.
    """
    audience = AUDIENCES.get(run.metadata.get("audience", ""), AUDIENCES["expert"])
    return (
        "You are a market analyst. Search the web for recent news, call price_history for the prices, and write an "
        f"analysis of a few paragraphs for {audience}. Name your sources and say what you do not know."
    )


@tool
def price_history(symbol: str, days: int = 5) -> list[float]:
    """Daily closing prices of a symbol, oldest first, for at most 30 days. These are made up, but always the same."""
    if not 1 <= days <= MAX_DAYS:
        raise ToolError(f"days must be 1 to {MAX_DAYS}")
    digest = hashlib.sha256(symbol.upper().encode()).digest()
    return [round(50 + digest[0] + digest[1 + day % 31] / 16, 2) for day in range(days)]


def build(settings: Settings, provider: Provider) -> Agent:
    """The agent over the Responses API."""
    return ResponsesAgent(
        name="analyst",
        description="Analyses a market from the news and from price history.",
        instructions=instructions,
        model=settings.model,
        provider=provider,
        tools=[price_history],
        hosted_tools=[{"type": "web_search"}],
    )
