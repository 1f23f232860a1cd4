"""``/api/v1/models``: the agents, as models."""

from __future__ import annotations

from typing import Literal, TypedDict

from starlette.requests import Request
from starlette.responses import Response

from shared.agentkit.agent import Agent
from shared.api.http import json_response
from shared.api.openai.http import owner_of_key
from shared.errors import ModelNotFound
from shared.wiring import App


class ModelObject(TypedDict):
    """An agent as a model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    description: str


async def show_all(request: Request, app: App) -> Response:
    """``GET /api/v1/models``: all agents."""
    owner_of_key(request, app.settings)
    data = [model_object(agent) for agent in app.ports.agents.values()]
    response: Response = json_response({"object": "list", "data": data})
    return response


async def show(request: Request, app: App) -> Response:
    """``GET /api/v1/models/{name}``: one agent."""
    owner_of_key(request, app.settings)
    agent = app.ports.agents.get(request.path_params["model"])
    if agent is None:
        raise ModelNotFound(param="model")
    response: Response = json_response(model_object(agent))
    return response


def model_object(agent: Agent) -> ModelObject:
    """The agent as a model. ``created`` is 0: an agent is code, and has no such time."""
    return {
        "id": agent.name,
        "object": "model",
        "created": 0,
        "owned_by": "dormouse",
        "description": agent.description,
    }
