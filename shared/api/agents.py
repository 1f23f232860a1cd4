"""``/api/agents``: what is here."""

from __future__ import annotations

from typing import Any

from azurefunctions.extensions.http.fastapi import JSONResponse

from shared.api.callers import owner_of
from shared.wiring import App


async def show_all(request: Any, app: App) -> Any:
    """``GET /api/agents``: name, description and tools of each; the first answers when a run names none."""
    owner_of(request, app.settings)
    data = [
        {
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
            "output": None if agent.output is None else agent.output.schema,
            "default": index == 0,
        }
        for index, agent in enumerate(app.ports.agents.values())
    ]
    return JSONResponse({"data": data}, headers={"Cache-Control": "no-cache"})
