"""The bodies of ``/api/schedules``."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

from shared.api.bodies import MessageBody, MetadataKey, MetadataValue, TextOr, idempotency_key, input_items, invalid
from shared.api.native.run_bodies import MAX_OF_A_CALLBACK_URL, ONE_LINE, LimitsBody
from shared.api.reading import Share, read_json
from shared.runs.commands.submission import Submission
from shared.runs.model.schedules import Missed
from shared.runs.rules.preview import TITLE_LENGTH
from shared.runs.schedules.change import Timing
from shared.settings import Settings

MAX_FOR_A_CHANGE = 10_000
MAX_OF_A_CRON = 200


class ScheduleBody(BaseModel):
    """The body of ``POST /api/schedules``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    cron: str = Field(min_length=1, max_length=MAX_OF_A_CRON)
    """When: minute, hour, day of the month, month, day of the week; with six fields the second in front, as in Azure
    Functions. One second only, so that it is once a minute at most.
    """

    time_zone: str | None = Field(None, min_length=1, max_length=64)
    """Whose local times these are, such as `Europe/Berlin` (IANA); UTC when left out. One that the change to summer
    time skips counts as the first minute after it, one that comes twice counts once.
    """

    missed: Literal["skip", "once"] = "skip"
    """What becomes of times that nobody was there for, more than ten minutes late: `skip`, nothing, or `once`, one run
    for all of them.
    """

    paused: bool = False
    """Whether it begins nothing until it is changed; no time that passes meanwhile counts as missed."""

    input: TextOr[MessageBody]
    """What the agent is to answer each time: a text, or messages with text, images and files."""

    agent: str | None = Field(None, min_length=1, max_length=64)
    """The agent's name (`GET /api/agents`); the app's default when left out."""

    model: str | None = Field(None, min_length=1, max_length=128)
    """One of the `models` of the agent; its own when left out."""

    title: str | None = Field(None, min_length=1, max_length=TITLE_LENGTH, pattern=ONE_LINE)
    """One line for lists; the first line of the input when left out."""

    stream: bool = False
    """Whether the text of each run can be watched while it is written."""

    metadata: dict[MetadataKey, MetadataValue] = Field(default_factory=dict, max_length=16)
    """Up to 16 notes of your own, which are kept with each run."""

    deadline_seconds: float | None = Field(None, ge=1, allow_inf_nan=False)
    """Seconds after which a run fails if it has not ended; the app's default when left out."""

    limits: LimitsBody = Field(default_factory=LimitsBody)
    """What each run may use up."""

    callback_url: str | None = Field(None, min_length=1, max_length=MAX_OF_A_CALLBACK_URL)
    """An address of yours that gets a callback when a run ends, and when a person has to decide."""


class ScheduleChangeBody(BaseModel):
    """The body of ``PATCH /api/schedules/{id}``: what is left out stays as it is."""

    model_config = ConfigDict(extra="forbid", strict=True)

    cron: str | None = Field(None, min_length=1, max_length=MAX_OF_A_CRON)
    """When, from now on."""

    time_zone: str | None = Field(None, min_length=1, max_length=64)
    """Whose local times these are."""

    missed: Literal["skip", "once"] | None = None
    """What becomes of times that nobody was there for."""

    paused: bool | None = None
    """Whether it begins nothing."""


EXAMPLE_SCHEDULES = {
    "each Monday at six": {
        "cron": "0 0 6 * * 1",
        "time_zone": "Europe/Berlin",
        "input": "The payroll system",
        "agent": "compliance",
        "missed": "once",
    }
}
EXAMPLE_CHANGES = {"a pause": {"paused": True}, "another time": {"cron": "30 7 * * 1-5"}}


async def read_schedule(request: Request, owner: str, settings: Settings) -> tuple[Submission, Timing]:
    """What ``POST /api/schedules`` asks for. Raises the errors that say what to change."""
    key = idempotency_key(request.headers.getlist("idempotency-key"))
    with Share(settings) as share:
        given = await read_json(request, settings.json_most, share)
    try:
        body = ScheduleBody.model_validate(given)
    except ValidationError as error:
        raise invalid(error) from None
    wanted = Submission(
        owner=owner,
        items=input_items(body.input, settings),
        model=body.model,
        agent=body.agent,
        title=body.title,
        stream=body.stream,
        metadata=body.metadata,
        deadline_seconds=body.deadline_seconds,
        turns=body.limits.turns,
        tool_calls=body.limits.tool_calls,
        total_tokens=body.limits.total_tokens,
        callback_url=body.callback_url,
        idempotency_key=key,
    )
    return wanted, Timing(cron=body.cron, time_zone=body.time_zone, missed=Missed(body.missed), paused=body.paused)


async def read_change(request: Request, settings: Settings) -> Timing:
    """What ``PATCH /api/schedules/{id}`` asks for. Raises the errors that say what to change."""
    with Share(settings) as share:
        given = await read_json(request, MAX_FOR_A_CHANGE, share)
    try:
        body = ScheduleChangeBody.model_validate(given)
    except ValidationError as error:
        raise invalid(error) from None
    missed = None if body.missed is None else Missed(body.missed)
    return Timing(cron=body.cron, time_zone=body.time_zone, missed=missed, paused=body.paused)
