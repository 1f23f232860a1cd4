"""Agents of the stories, beside the workshop."""

from __future__ import annotations

import asyncio

from shared.agentkit.agent import Agent, RunInfo
from shared.agentkit.provider import Provider
from shared.agentkit.responses import ResponsesAgent
from shared.agentkit.tools import ToolContext, tool
from shared.settings import Settings
from tests.parts import workshop


@tool
async def tell(context: ToolContext, label: str) -> str:
    """Report progress, and take longer than a lease stays without renewal."""
    context.report_progress(f"{label}: half", 0.5)
    await asyncio.sleep(0.1)
    return f"told {label}"


def build_teller(settings: Settings, provider: Provider) -> Agent:
    """The agent *teller*, whose tool reports progress."""
    return ResponsesAgent(
        name="teller",
        description="Tells how far it is.",
        instructions="Tell.",
        model=settings.openai_model,
        provider=provider,
        tools=[tell],
    )


def _raise(_run: RunInfo) -> str:
    raise ZeroDivisionError


def build_broken(settings: Settings, provider: Provider) -> Agent:
    """The agent *broken*, whose instructions cannot be made."""
    return ResponsesAgent(
        name="broken", description="Fails.", instructions=_raise, model=settings.openai_model, provider=provider
    )


FACTORIES = (workshop.build_chat, build_teller, build_broken)
