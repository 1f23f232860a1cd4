"""``/api/v1/models``: the agents, as models."""

from __future__ import annotations

from typing import Literal, TypedDict

from starlette.requests import Request
from starlette.responses import Response

from shared.agentkit.agent import Agent
from shared.api.http import json_response
from shared.api.openai.http import owner_of_key
from shared.api.openai.schemas import MODEL, MODELS
from shared.api.operations import Answer, openai_operation
from shared.errors import ModelNotFound
from shared.wiring import App


class ModelObject(TypedDict):
    """An agent as a model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    description: str


@openai_operation(
    answers={200: Answer(text="All of them, as models.", shape=MODELS, headers=("ETag",))},
    acts_for="anybody",
)
async def list_models(request: Request, app: App) -> Response:
    """List the agents.

    Each is a model: what a client names as `model`.
    """
    # For its check alone: all keys see the same agents.
    owner_of_key(request, app.settings, needs_user=False)
    data = [model_object(agent) for agent in app.ports.agents.values()]
    return json_response({"object": "list", "data": data})


@openai_operation(
    answers={200: Answer(text="The agent, as a model.", shape=MODEL, headers=("ETag",))},
    problems=(ModelNotFound,),
    acts_for="anybody",
)
async def get_model(request: Request, app: App) -> Response:
    """See one agent.

    As a model: what a client names as `model`.
    """
    owner_of_key(request, app.settings, needs_user=False)
    agent = app.ports.agents.get(request.path_params["model"])
    if agent is None:
        raise ModelNotFound(param="model")
    return json_response(model_object(agent))


def model_object(agent: Agent) -> ModelObject:
    """The agent as a model."""
    return {
        "id": agent.name,
        "object": "model",
        # Required by OpenAI's clients; an agent is code, and has no such time.
        "created": 0,
        "owned_by": "dormouse",
        "description": agent.description,
    }
