"""The agents this app serves, one file each. The first is the one that answers when a caller names none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from shared.agentkit.agent import Agent
from shared.agentkit.provider import Provider
from shared.agentkit.schedules import OwnSchedule, schedules_of
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


def own_schedules(served: Mapping[str, Agent]) -> Sequence[tuple[str, OwnSchedule]]:
    """What stands beside each of these agents, with its name. Raises ``ValueError`` when one has two of a name."""
    found: list[tuple[str, OwnSchedule]] = []
    for factory, name in zip(AGENTS, served, strict=False):
        own = schedules_of(factory)
        if len({each.name for each in own}) < len(own):
            raise ValueError(f"two schedules of {name} have one name")
        found += [(name, each) for each in own]
    return found
