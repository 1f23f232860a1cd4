"""``/api/sessions``: a conversation with its runs and messages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, NotRequired

from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from shared import errors
from shared.api.callers import owner_of
from shared.api.http import json_response, not_modified, time_on_the_wire
from shared.api.native.fields import RunId, SessionId, Time, Url
from shared.api.native.runs import run_url
from shared.api.operations import IF_NONE_MATCH, UNCHANGED, Answer, cursor_parameter, limit_parameter, operation
from shared.api.pages import cursor_of, limit_of, query_of
from shared.drivers.driver import Driver
from shared.errors import SessionNotFound
from shared.runs.commands import delete
from shared.runs.model.ids import run_id
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import RunHead
from shared.runs.model.session import Session as SessionRecord
from shared.runs.queries.sessions import RunWithMessages, runs_of_session, session_of_owner
from shared.wiring import App

TAG = "sessions"

_CURSOR = re.compile(r"[1-9][0-9]{0,7}", re.ASCII)


class RunOfSession(TypedDict):
    """A run of a session."""

    id: RunId
    """The run's id."""

    url: Url
    """The run's own address."""

    status: RunStatus
    """The last four are final and never change."""

    created_at: Time
    """When it was submitted."""

    completed_at: Time | None
    """When it ended; null before."""


class Message(TypedDict):
    """What was said in a run: text, or the parts that the caller sent."""

    run_id: RunId
    """The run in which it was said."""

    role: str
    """Who said it: `user` or `assistant`."""

    content: str | list[dict[str, Any]] | None
    """A text, or the parts that the caller sent; null when there is nothing to show."""


class Session(TypedDict):
    """One conversation with one agent."""

    id: SessionId
    """The session's id."""

    object: Literal["session"]
    """What this is: always `session`."""

    agent: str
    """The agent that it is with."""

    active_run: RunId | None
    """The run that is active; null when none is, and the next may be submitted."""

    created_at: Time
    """When its first run was submitted."""

    last_activity: Time
    """When a run of it last began or ended."""

    runs: list[RunOfSession]
    """A page of them, newest first."""

    messages: list[Message]
    """Of the runs of this page, in the order in which they were said."""

    next_cursor: NotRequired[str]
    """Only there when there are older runs."""


@operation(
    tag=TAG,
    parameters=(limit_parameter(), cursor_parameter(_CURSOR.pattern), IF_NONE_MATCH),
    answers={200: Answer(text="The session.", shape=Session, headers=("ETag",)), 304: UNCHANGED},
    problems=(errors.InvalidRequest, SessionNotFound),
)
async def get_session(request: Request, app: App) -> Response:
    """Read a session.

    With a page of its runs, newest first, and what was said in these. A page ends early where its texts are long, and
    may hold fewer runs than `limit` and still have a next one.
    """
    query = query_of(request, "limit", "cursor")
    limit, cursor = limit_of(query), cursor_of(query, _CURSOR)
    session = await _own_session(request, app)
    # The cursor is a number within this session, so one that is made up shows nothing of others.
    page = await runs_of_session(app.ports, session, None if cursor is None else int(cursor), limit)
    body = _on_the_wire(app, session, page.runs)
    if page.following > 0:
        body["next_cursor"] = str(page.following)
    return not_modified(request, json_response(body))


@operation(tag=TAG, answers={204: Answer(text="It is gone.")}, problems=(SessionNotFound,))
async def delete_session(request: Request, app: App, driver: Driver) -> Response:
    """Delete a session.

    With all its runs, here and at the provider; an active one is cancelled. Nobody sees any of it from then on; the
    rows of many runs go one after the other.
    """
    session = await _own_session(request, app, or_deleted=True)
    # Repeated while rows are left, it deletes the next of them. The answer is 404 all the same.
    for each in await delete.delete_session(app.ports, session.session_id):
        await driver.wake(each)
    if session.deleted_at is not None:
        raise SessionNotFound
    return Response(status_code=204)


async def _own_session(request: Request, app: App, *, or_deleted: bool = False) -> SessionRecord:
    owner = owner_of(request, app.settings)
    return await session_of_owner(app.ports, request.path_params["session_id"], owner, or_deleted=or_deleted)


def _on_the_wire(app: App, session: SessionRecord, page: Sequence[RunWithMessages]) -> Session:
    return {
        "id": session.session_id,
        "object": "session",
        "agent": session.agent,
        "active_run": None if session.active_run is None else run_id(session.session_id, session.active_run),
        "created_at": time_on_the_wire(session.created_at),
        "last_activity": time_on_the_wire(session.last_activity),
        "runs": [_run(each.run, app) for each in page],
        "messages": [
            {"run_id": each.run.id, "role": message.role, "content": message.content}
            # The page is newest first, and a conversation is read from its beginning.
            for each in reversed(page)
            for message in each.messages
        ],
    }


def _run(run: RunHead, app: App) -> RunOfSession:
    return {
        "id": run.id,
        "url": run_url(app, run.id),
        "status": run.status,
        "created_at": time_on_the_wire(run.request.created_at),
        "completed_at": time_on_the_wire(run.completed_at),
    }
