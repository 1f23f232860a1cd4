"""``/api/schedules``: requests that become runs again and again."""

from __future__ import annotations

import re
from typing import Annotated, Literal, NotRequired

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from shared import errors
from shared.api.callers import owner_of
from shared.api.http import json_response, not_modified, time_on_the_wire
from shared.api.native.fields import Count, RunError, RunId, Time, Url
from shared.api.native.runs import run_url
from shared.api.native.schedule_bodies import (
    EXAMPLE_CHANGES,
    EXAMPLE_SCHEDULES,
    ScheduleBody,
    ScheduleChangeBody,
    read_change,
    read_schedule,
)
from shared.api.operations import (
    IDEMPOTENCY_KEY,
    IF_NONE_MATCH,
    UNCHANGED,
    Answer,
    cursor_parameter,
    limit_parameter,
    operation,
)
from shared.api.pages import cursor_of, limit_of, query_of
from shared.drivers.driver import Driver
from shared.errors import ScheduleNotFound
from shared.runs.model.schedules import RunSchedule
from shared.runs.queries.schedules import schedule_of_owner, schedules_of_owner
from shared.runs.rules.preview import preview_of, title_of
from shared.runs.schedules import change
from shared.runs.schedules.request import submission_of
from shared.wiring import App

TAG = "schedules"

ScheduleId = Annotated[str, Field(pattern=r"^schedule_[0-9a-f]{32}$")]
_CURSOR = re.compile(r"schedule_[0-9a-f]{32}", re.ASCII)


class LastOccurrence(TypedDict):
    """What became of the time that came last."""

    at: Time
    """The time that the schedule names."""

    run_id: RunId | None
    """The run that it became; null when it was refused."""

    url: Url | None
    """That run's own address."""

    error: RunError | None
    """Why it was refused, the last time that it was tried; null when it was not."""


class Schedule(TypedDict):
    """A request that becomes a run again and again."""

    id: ScheduleId
    """The schedule's id."""

    object: Literal["schedule"]
    """What this is: always `schedule`."""

    url: Url
    """The schedule's own address."""

    name: str | None
    """Of an agent's own schedule: its name; null for one that was made by a call."""

    agent: str
    """The name of the agent that answers."""

    title: str
    """The caller's, else the first line of the input. One line."""

    input_preview: str
    """The first 200 characters of the input's text."""

    metadata: dict[str, str]
    """What its caller noted on it; its runs have it too."""

    cron: str
    """When: five fields, or six with the second in front."""

    time_zone: str
    """Whose local times these are."""

    missed: Literal["skip", "once"]
    """What becomes of times that nobody was there for."""

    paused: bool
    """Whether it begins nothing."""

    next_at: Time | None
    """The time that comes next, or whose run was refused and is tried again; null while it is paused."""

    tries: Count
    """How often that was refused so far."""

    last: LastOccurrence | None
    """What became of the time that came last; null before the first."""

    created_at: Time
    """When it was made."""

    updated_at: Time
    """When it was last changed by a call."""


class ScheduleList(TypedDict):
    """A page of the caller's schedules, in no order that means anything."""

    data: list[Schedule]
    """The schedules."""

    next_cursor: NotRequired[str]
    """Only there when there is a next page."""


A_SCHEDULE = Answer(text="The schedule as it stands.", shape=Schedule, headers=("ETag",))


@operation(
    tag=TAG,
    parameters=(IDEMPOTENCY_KEY,),
    body=ScheduleBody,
    examples=EXAMPLE_SCHEDULES,
    answers={
        201: Answer(text="The schedule is made, or the key has made it.", shape=Schedule, headers=("Location", "ETag"))
    },
    problems=(
        errors.UnknownAgent,
        errors.ModelNotAllowed,
        errors.CallbacksDisabled,
        errors.InvalidIdempotencyKey,
        errors.IdempotencyKeyReused,
        errors.TooManySchedules,
    ),
)
async def create_schedule(request: Request, app: App, driver: Driver) -> Response:
    """Have a request run again and again.

    Each time that `cron` names becomes an ordinary run, once, whatever happens to the app meanwhile. Where a run is
    refused (a limit, an agent that is not there) it is tried again until the next time comes.
    """
    wanted, timing = await read_schedule(request, owner_of(request, app.settings), app.settings)
    made = await change.create_schedule(app.ports, wanted, timing)
    await driver.wake(made.id)
    return json_response(schedule_on_the_wire(app, made), status=201, headers={"Location": _url(app, made)})


@operation(
    tag=TAG,
    parameters=(limit_parameter(), cursor_parameter(_CURSOR.pattern), IF_NONE_MATCH),
    answers={200: Answer(text="A page.", shape=ScheduleList, headers=("ETag",)), 304: UNCHANGED},
    problems=(errors.InvalidRequest,),
)
async def list_schedules(request: Request, app: App) -> Response:
    """List your schedules.

    Those that stand beside an agent and are yours, too. A page may hold fewer than `limit` and still have a next one.
    """
    query = query_of(request, "limit", "cursor")
    owner, cursor = owner_of(request, app.settings), cursor_of(query, _CURSOR)
    found, following = await schedules_of_owner(app.ports, owner, cursor, limit_of(query))
    body: ScheduleList = {"data": [schedule_on_the_wire(app, each) for each in found]}
    if following is not None:
        body["next_cursor"] = following
    return not_modified(request, json_response(body))


@operation(
    tag=TAG,
    parameters=(IF_NONE_MATCH,),
    answers={200: A_SCHEDULE, 304: UNCHANGED},
    problems=(ScheduleNotFound,),
)
async def get_schedule(request: Request, app: App) -> Response:
    """See how a schedule stands.

    With what comes next, and what became of the time that came last.
    """
    found = await schedule_of_owner(app.ports, owner_of(request, app.settings), request.path_params["schedule_id"])
    return not_modified(request, json_response(schedule_on_the_wire(app, found)))


@operation(
    tag=TAG,
    body=ScheduleChangeBody,
    examples=EXAMPLE_CHANGES,
    answers={200: A_SCHEDULE},
    problems=(ScheduleNotFound,),
)
async def change_schedule(request: Request, app: App, driver: Driver) -> Response:
    """Change when a schedule runs, pause it or let it go on.

    From now on: a time that is past is not made up for. To have it ask for something else, make another one.
    """
    owner, schedule_id = owner_of(request, app.settings), request.path_params["schedule_id"]
    await schedule_of_owner(app.ports, owner, schedule_id)
    # The body is read after the check: that of a stranger is not even waited for.
    timing = await read_change(request, app.settings)
    changed = await change.change_schedule(app.ports, owner, schedule_id, timing)
    await driver.wake(changed.id)
    return json_response(schedule_on_the_wire(app, changed))


@operation(tag=TAG, answers={204: Answer(text="It is gone.")}, problems=(ScheduleNotFound,))
async def delete_schedule(request: Request, app: App) -> Response:
    """Delete a schedule.

    No further run begins. Those that it has begun stay.
    """
    await change.delete_schedule(app.ports, owner_of(request, app.settings), request.path_params["schedule_id"])
    return Response(status_code=204)


def _url(app: App, one: RunSchedule) -> str:
    return f"{app.settings.base_url}/api/schedules/{one.id}"


def schedule_on_the_wire(app: App, one: RunSchedule) -> Schedule:
    """A schedule as callers see it."""
    asked = submission_of(one)
    preview = preview_of(asked.items)
    return {
        "id": one.id,
        "object": "schedule",
        "url": _url(app, one),
        "name": one.name or None,
        "agent": one.agent,
        "title": asked.title or title_of(preview),
        "input_preview": preview,
        "metadata": dict(asked.metadata),
        "cron": one.cron,
        "time_zone": one.time_zone,
        "missed": one.missed.value,
        "paused": one.paused,
        "next_at": time_on_the_wire(one.next_at),
        "tries": one.tries,
        "last": _last(app, one),
        "created_at": time_on_the_wire(one.created_at),
        "updated_at": time_on_the_wire(one.updated_at),
    }


def _last(app: App, one: RunSchedule) -> LastOccurrence | None:
    if one.last_at is None:
        return None
    return {
        "at": time_on_the_wire(one.last_at),
        "run_id": one.last_run or None,
        "url": run_url(app, one.last_run) if one.last_run else None,
        "error": {"code": one.last_error, "message": one.last_message} if one.last_error else None,
    }
