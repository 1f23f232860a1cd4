"""``/api/agents``: what is here."""

from __future__ import annotations

from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typing_extensions import TypedDict

from shared.agentkit.agent import Agent as ServedAgent
from shared.api.callers import owner_of
from shared.api.operations import Answer, operation
from shared.wiring import App


class ToolOfAgent(TypedDict):
    """A tool that an agent may call."""

    name: str
    """The tool's name."""

    description: str
    """What it does, as the model reads it."""

    requires_approval: bool
    """Whether a person is asked before a call of it, always or at times."""


class Agent(TypedDict):
    """An agent that this app serves."""

    name: str
    """What a request calls it."""

    object: Literal["agent"]
    """What this is: always `agent`."""

    description: str
    """What it is for."""

    tools: list[ToolOfAgent]
    """The tools of this app that it may call."""

    background: bool
    """Whether the model thinks while nothing runs here."""

    models: list[str]
    """What a caller may choose as `model`."""

    output: dict[str, Any] | None
    """The JSON schema of a run's `output`."""

    default: bool
    """Whether it answers when a run names no agent."""


class AgentList(TypedDict):
    """The agents of this app."""

    data: list[Agent]
    """The agents; the default one first."""


@operation(tag="about", answers={200: Answer(text="The agents.", shape=AgentList)}, acts_for="anybody")
async def list_agents(request: Request, app: App) -> Response:
    """List the agents.

    What may be named as `agent`, with each one's tools and models.
    """
    # For its check alone: agents are the same for all, but not for callers without a sign-in.
    owner_of(request, app.settings, needs_user=False)
    agents = app.ports.agents.values()
    # The first that the app lists is the default one.
    body: AgentList = {"data": [_on_the_wire(agent, default=index == 0) for index, agent in enumerate(agents)]}
    return JSONResponse(body, headers={"Cache-Control": "no-cache"})


def _on_the_wire(agent: ServedAgent, *, default: bool) -> Agent:
    return {
        "name": agent.name,
        "object": "agent",
        "description": agent.description,
        "tools": [
            {
                "name": tool.name,
                "description": tool.description,
                "requires_approval": bool(tool.requires_approval),
            }
            for tool in agent.tools.values()
        ],
        "background": agent.background,
        "models": sorted(agent.models),
        "output": None if agent.output is None else dict(agent.output.schema),
        "default": default,
    }
