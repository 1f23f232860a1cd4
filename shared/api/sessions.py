"""``/api/sessions``: a conversation with its runs and messages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from azurefunctions.extensions.http.fastapi import Response

from shared.agentkit.agent import Item
from shared.api.callers import owner_of
from shared.api.conditions import not_modified
from shared.api.pages import MOST_BYTES, cursor_of, limit_of, query_of
from shared.api.rendering import json_response, time_on_the_wire
from shared.drivers.driver import Driver
from shared.errors import SessionNotFound
from shared.runs.commands.delete import delete_session
from shared.runs.model.ids import run_id
from shared.runs.model.run import Run, Session
from shared.runs.store.runs import READS
from shared.wiring import App

LOOKED_AT = 400
"""Numbers of runs that are looked at for one page: those of deleted ones bring nothing."""

_CURSOR = re.compile(r"[1-9][0-9]{0,7}", re.ASCII)
_Shown = tuple[Run, list[Mapping[str, Any]]]
"""A run and its messages."""


async def show(request: Any, app: App) -> Any:
    """``GET /api/sessions/{id}``: the session with a page of its runs, newest first, and what was said in these."""
    query = query_of(request, "limit", "cursor")
    limit, cursor = limit_of(query), cursor_of(query, _CURSOR)
    session = await _own_session(request, app)
    last = session.next_number - 1
    page, following = await _page(app, session, last if cursor is None else min(int(cursor), last), limit)
    body = {
        "id": session.session_id,
        "object": "session",
        "agent": session.agent,
        "active_run": None if session.active_run is None else run_id(session.session_id, session.active_run),
        "created_at": time_on_the_wire(session.created_at),
        "last_activity": time_on_the_wire(session.last_activity),
        "runs": [_run(run, app) for run, _ in page],
        "messages": [message for _, messages in reversed(page) for message in messages],
    }
    return not_modified(request, json_response(body if following < 1 else {**body, "next_cursor": str(following)}))


async def _page(app: App, session: Session, newest: int, limit: int) -> tuple[list[_Shown], int]:
    """Runs from number ``newest`` down, with their messages; the number that the next page begins with, or 0.

    A page has at most ``limit`` runs, and ``MOST_BYTES`` but for its first. It may be short where runs were deleted.
    """
    page: list[_Shown] = []
    held = 0
    for first in range(newest, max(newest - LOOKED_AT, 0), -READS):
        for run in await app.ports.runs.runs_of(session.session_id, range(first, max(first - READS, 0), -1)):
            if len(page) == limit:
                return page, run.request.number
            messages = await _said(app, run)
            if messages is None:
                continue
            held += sum(_size(message) for message in messages)
            if page and held > MOST_BYTES:
                return page, run.request.number
            page.append((run, messages))
    return page, newest - LOOKED_AT


async def _said(app: App, run: Run) -> list[Mapping[str, Any]] | None:
    """The messages of a run; None: it is deleted while we read it. Its other items may be many, and are not kept."""
    try:
        appended = app.ports.runs.each_appended(run)
        return [message async for items in appended for message in _messages(run, items)]
    except LookupError:
        again = await app.ports.runs.load(run.id)
        if again is None or again.value.is_deleted:
            return None
        raise


def _size(message: Mapping[str, Any]) -> int:
    content = message["content"]
    return len((content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)).encode())


async def delete(request: Any, app: App, driver: Driver) -> Any:
    """``DELETE /api/sessions/{id}``: 204. All of it goes, here and at the provider; an active run is cancelled.

    Nobody sees the session any more; of many runs the first go at once, the others in its own wakes. Called again it
    does the next piece of that, and answers 404.
    """
    session = await _own_session(request, app, deleted=True)
    for each in await delete_session(app.ports, session.session_id):
        await driver.woken(each)
    if session.deleted_at is not None:
        raise SessionNotFound
    return Response(status_code=204)


async def _own_session(request: Any, app: App, *, deleted: bool = False) -> Session:
    owner = owner_of(request, app.settings)
    stored = await app.ports.runs.load_session(request.path_params["session_id"])
    if stored is None or stored.value.owner != owner or (stored.value.deleted_at is not None and not deleted):
        raise SessionNotFound
    return stored.value


def _run(run: Run, app: App) -> Mapping[str, Any]:
    return {
        "id": run.id,
        "url": f"{app.settings.base_url}/api/runs/{run.id}",
        "status": run.status.value,
        "created_at": time_on_the_wire(run.request.created_at),
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
