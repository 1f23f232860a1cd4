"""The agents this app serves, one file each. The first is the one that answers when a caller names none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from shared.agentkit.agent import Agent
from shared.agentkit.provider import Provider
from shared.agents import analyst, assistant, compliance, novelist
from shared.settings import Settings

AgentFactory = Callable[[Settings, Provider], Agent]

AGENTS: list[AgentFactory] = [novelist.build, compliance.build, analyst.build, assistant.build]
"""Add yours here: a function that makes the agent from the settings and the provider."""


def build(
    settings: Settings, provider: Provider, factories: Sequence[AgentFactory] | None = None
) -> Mapping[str, Agent]:
    """All agents by name. Raises ``ValueError`` when two share a name."""
    found: dict[str, Agent] = {}
    for factory in AGENTS if factories is None else factories:
        agent = factory(settings, provider)
        if agent.name in found:
            raise ValueError(f"two agents are called {agent.name}")
        found[agent.name] = agent
    return MappingProxyType(found)
