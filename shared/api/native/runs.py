"""``/api/runs``: status and list, and how a run is answered with. What changes runs is in ``run_changes``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from shared import errors
from shared.api.callers import owner_of
from shared.api.http import is_known, json_response, not_modified, wait_of_query
from shared.api.native.run_list import RunList, summary_on_the_wire
from shared.api.native.run_shapes import SOONER, Run, etag_of_run, has_parts, run_on_the_wire
from shared.api.native.token_shapes import RunToken
from shared.api.operations import (
    IF_NONE_MATCH,
    UNCHANGED,
    WAIT,
    Answer,
    Parameter,
    cursor_parameter,
    limit_parameter,
    operation,
    statuses_parameter,
)
from shared.api.pages import RUN_CURSOR, not_a_cursor, read_page
from shared.errors import RunNotFound, TooManyViewers
from shared.runs.model.calls import ToolCall
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import Run as RunRecord
from shared.runs.queries.runs import calls_of, in_full, run_if, run_of_owner, runs_of_owner
from shared.runs.rules.waiting import next_look_or_try
from shared.wiring import App

if TYPE_CHECKING:
    from shared.api.run_tokens import Access
    from shared.runs.watching.views import RunRows

TAG = "runs"

A_RUN = Answer(
    text="The run as it stands, also when it failed.", shape=Run, headers=("ETag",), sometimes=("Retry-After",)
)


@operation(
    tag=TAG,
    parameters=(WAIT, IF_NONE_MATCH),
    answers={200: A_RUN, 304: UNCHANGED},
    problems=(errors.InvalidRequest, RunNotFound, TooManyViewers),
)
async def get_run(request: Request, app: App, access: Access | None = None) -> Response:
    """See how a run stands.

    200 also for a run that failed: the call did not. `Retry-After` says when it is worth asking again; with `wait` the
    answer comes as soon as something has changed.
    """
    seconds = wait_of_query(request)
    run = await own_run(request, app, access)
    if not seconds or run.terminal:
        return await response_of(app, run, await calls_of(app.ports, run), asked=request)
    before: object = None
    if "if-none-match" in request.headers:
        calls = await calls_of(app.ports, run)
        response = await response_of(app, run, calls, asked=request)
        if response.status_code == 200:
            return response
        before = _visible_state(run, calls)

    def is_other(now: RunRows | None) -> bool:
        nonlocal before
        seen = None if now is None else _visible_state(now.run, now.calls)
        before = before or seen  # without `If-None-Match`: the next change
        return seen is None or seen != before

    # Counted like a stream: a waiting request occupies the instance just as long.
    with app.watching.limit.acquire(viewer_of(run, access)):
        now = await app.watching.until(run.id, seconds, is_other)
    if now is None:
        raise RunNotFound
    return await response_of(app, now.run, now.calls, asked=request)


@operation(
    tag=TAG,
    parameters=(
        statuses_parameter("Only runs with one of these.", RunStatus),
        Parameter(name="agent", place="query", text="Only runs of this agent.", schema={"type": "string"}),
        limit_parameter("How many runs a page has at most."),
        cursor_parameter(RUN_CURSOR.pattern),
        IF_NONE_MATCH,
    ),
    answers={200: Answer(text="A page.", shape=RunList, headers=("ETag",)), 304: UNCHANGED},
    problems=(errors.InvalidRequest,),
)
async def list_runs(request: Request, app: App) -> Response:
    """List your runs.

    Newest first, each as of its last change of status. A page may hold fewer runs than `limit`, or none, and still
    have a next one.
    """
    asked = read_page(request)
    owner = owner_of(request, app.settings)
    try:
        page = await runs_of_owner(app.ports, owner, asked.cursor, asked.limit, asked.wanted)
    except ValueError as error:
        raise not_a_cursor() from error
    body: RunList = {
        "data": [
            summary_on_the_wire(run, url=run_url(app, run.id), model=own_model(app, run.agent)) for run in page.runs
        ]
    }
    if page.cursor is not None:
        body["next_cursor"] = page.cursor
    return not_modified(request, json_response(body))


async def own_run(request: Request, app: App, access: Access | None = None) -> RunRecord:
    """The run that the address names, if it is the caller's, or the one that ``access`` opens.

    Raises ``RunNotFound``, ``Unauthenticated``.
    """
    run_id = request.path_params["run_id"]
    if access is not None:
        return await run_if(app.ports, run_id, access.is_for)
    return await run_of_owner(app.ports, run_id, owner_of(request, app.settings))


def viewer_of(run: RunRecord, access: Access | None) -> str:
    """Whose streams and waiting requests a call counts among."""
    return run.request.owner if access is None else access.viewer


def caller_of(request: Request, app: App, access: Access | None) -> str:
    """Who calls, for what is written down."""
    return owner_of(request, app.settings) if access is None else access.by


def run_url(app: App, run_id: str) -> str:
    """A run's own address."""
    return f"{app.settings.base_url}/api/runs/{run_id}"


async def body_of(app: App, run: RunRecord, calls: Sequence[ToolCall]) -> Run:
    """A run as callers see it, with its long values read. Raises ``RunNotFound`` if it is deleted meanwhile."""
    full = await in_full(app.ports, run, calls)
    return run_on_the_wire(full, url=run_url(app, run.id), model=own_model(app, run.request.agent))


def own_model(app: App, name: str) -> str | None:
    """The model of an agent that this app has."""
    agent = app.ports.agents.get(name)
    return None if agent is None else agent.model


def _visible_state(run: RunRecord, calls: Sequence[ToolCall]) -> object:
    """What a waiting caller wants to see changed. Not the wakes: each look at the provider would end the wait."""
    shown = [(call.call_id, call.state, call.approval, call.starts, call.progress_at) for call in calls]
    return run.status, run.turn.number, run.is_deleted, shown


async def response_of(
    app: App,
    run: RunRecord,
    calls: Sequence[ToolCall],
    *,
    status: int = 200,
    located: bool = False,
    token: RunToken | None = None,
    asked: Request | None = None,
) -> Response:
    """The run. ``asked``: by this request, which may have the body already: then no long value is read."""
    url = run_url(app, run.id)
    headers: dict[str, str] = {}
    if located:
        headers |= {"Location": url, "Operation-Location": url}
    if not run.terminal:
        # In the header alone: a clock in the body would change the ETag with each request.
        headers["Retry-After"] = str(_retry_after(run, app.ports.clock()))
    etag = None
    # With nothing to read for the body, it is made once: its own digest is its ETag.
    if has_parts(run, calls):
        etag = etag_of_run(run, calls, url=url, model=own_model(app, run.request.agent))
        if asked is not None and is_known(asked, etag):
            return Response(status_code=304, headers={"Cache-Control": "no-cache", "ETag": etag, **headers})
    once = None if token is None else {"token": token}
    response = json_response(await body_of(app, run, calls), status=status, headers=headers, once=once, etag=etag)
    return response if asked is None else not_modified(asked, response)


def _retry_after(run: RunRecord, now: datetime) -> int:
    """Seconds until it is worth asking again: the next wake; sooner where tools or people decide, not the schedule."""
    next_try, sooner = next_look_or_try(run), SOONER.get(type(run.phase))
    # Nothing to wait for by the schedule: whoever runs the tools, or answers, may be done at any time.
    if sooner is not None and next_try is None:
        return sooner
    times = [each for each in (next_try, run.schedule.deadline_at) if each is not None]
    seconds = max(1, math.ceil((min(times) - now).total_seconds())) if times else 1
    return seconds if sooner is None else min(seconds, sooner)
