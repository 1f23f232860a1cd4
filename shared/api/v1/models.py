"""``/api/v1/models``: the agents, as models."""

from __future__ import annotations

from typing import Any

from shared.api.rendering import json_response
from shared.api.v1.keys import owner_of
from shared.api.v1.objects import model_object
from shared.errors import ModelNotFound
from shared.wiring import App


async def show_all(request: Any, app: App) -> Any:
    """``GET /api/v1/models``: all of them."""
    owner_of(request, app.settings)
    data = [model_object(agent.name, agent.description) for agent in app.ports.agents.values()]
    return json_response({"object": "list", "data": data})


async def show(request: Any, app: App) -> Any:
    """``GET /api/v1/models/{name}``: one of them."""
    owner_of(request, app.settings)
    agent = app.ports.agents.get(request.path_params["model"])
    if agent is None:
        raise ModelNotFound(param="model")
    return json_response(model_object(agent.name, agent.description))
