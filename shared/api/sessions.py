"""``/api/sessions``: a conversation with its runs and messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from azurefunctions.extensions.http.fastapi import Response

from shared.agentkit.agent import Item
from shared.api.callers import owner_of
from shared.api.conditions import not_modified
from shared.api.rendering import json_response, time_on_the_wire
from shared.drivers.durable import Hub
from shared.errors import SessionNotFound
from shared.runs.concurrency import side_by_side
from shared.runs.run import Run, Session, run_id
from shared.runs.store.runs import READS
from shared.wiring import App


async def show(request: Any, app: App) -> Any:
    """``GET /api/sessions/{id}``: the session, its runs oldest first, and what was said in each."""
    session = await _own_session(request, app)
    runs = await app.services.store.runs_of(session)
    said = await side_by_side(runs, app.services.store.items, at_once=READS)
    body = {
        "id": session.session_id,
        "object": "session",
        "agent": session.agent,
        "active_run": None if session.active_run is None else run_id(session.session_id, session.active_run),
        "created_at": time_on_the_wire(session.created_at),
        "last_activity": time_on_the_wire(session.last_activity),
        "runs": [_run(run, app) for run in runs],
        "messages": [message for run, items in zip(runs, said, strict=True) for message in _messages(run, items)],
    }
    return not_modified(request, json_response(body))


async def delete(request: Any, app: App, hub: Hub) -> Any:
    """``DELETE /api/sessions/{id}``: 204. All of it goes, here and at the provider; an active run is cancelled.

    Called again it finishes what a crash may have left, and answers 404.
    """
    session = await _own_session(request, app, deleted=True)
    for each in await app.deletion.delete_session(session.session_id):
        await app.signals.woken(each, hub)
    if session.deleted_at is not None:
        raise SessionNotFound
    return Response(status_code=204)


async def _own_session(request: Any, app: App, *, deleted: bool = False) -> Session:
    owner = owner_of(request, app.settings)
    stored = await app.services.store.load_session(request.path_params["session_id"])
    if stored is None or stored.value.owner != owner or (stored.value.deleted_at is not None and not deleted):
        raise SessionNotFound
    return stored.value


def _run(run: Run, app: App) -> Mapping[str, Any]:
    return {
        "id": run.id,
        "url": f"{app.settings.base_url}/api/runs/{run.id}",
        "status": run.status.value,
        "created_at": time_on_the_wire(run.created_at),
        "completed_at": time_on_the_wire(run.completed_at),
    }


def _messages(run: Run, items: Iterable[Item]) -> list[Mapping[str, Any]]:
    """The messages of a run: what the user said, and what the agent answered, as the model was and is told it."""
    return [
        {"run_id": run.id, "role": item["role"], "content": _content(item.get("content"))}
        for item in items
        if item.get("type", "message") == "message" and "role" in item
    ]


def _content(content: Any) -> Any:
    """Text as text; anything else as the parts that it is."""
    if isinstance(content, list) and all(part.get("type") in ("input_text", "output_text") for part in content):
        return "".join(part["text"] for part in content)
    return content
