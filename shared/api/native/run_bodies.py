"""The bodies of ``/api/runs``: read within bounds, parsed strictly, refused with what to change."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from starlette.requests import Request

from shared.api.bodies import MessageBody, MetadataKey, MetadataValue, TextOr, idempotency_key, input_items, invalid
from shared.api.native.token_bodies import TokenBody
from shared.api.reading import Share, read_json
from shared.api.run_tokens import check_enabled
from shared.runs.commands.submission import Submission
from shared.runs.model.facts import Approve
from shared.runs.rules.preview import TITLE_LENGTH
from shared.settings import Settings

# Ninety reasons of 4,000 characters, which take two bytes or three each in many languages.
MAX_FOR_ANSWERS = 900_000
MAX_OF_A_CALLBACK_URL = 2_000
ONE_LINE = r"^[^\r\n]*$"


# Python reads more than that: dates alone, weeks, times without an offset.
_MOMENT = re.compile(r"[0-9]{4}(-[0-9]{2}){2}[Tt ]([0-9]{2}:){2}[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})")


def check_moment(value: str) -> str:
    """The text. Raises ``ValueError`` for one that is no time of RFC 3339."""
    try:
        moment_of(value)
    except (ValueError, OverflowError):
        raise ValueError("must be a time with an offset, such as 2026-12-01T06:00:00Z (RFC 3339)") from None
    return value


def moment_of(text: str) -> datetime:
    """A time of RFC 3339, in UTC. Raises ``ValueError`` or ``OverflowError`` for what is none."""
    if _MOMENT.fullmatch(text) is None:
        raise ValueError("no time of RFC 3339")
    return datetime.fromisoformat(text.upper()).astimezone(UTC)


Moment = Annotated[
    str,
    StringConstraints(max_length=64),
    AfterValidator(check_moment),
    Field(json_schema_extra={"format": "date-time"}),
]
"""RFC 3339, with an offset or `Z`."""


class LimitsBody(BaseModel):
    """What the run may use up. Each at most the app's own limit."""

    # Strict here as in every body: else `"5"` or `"no"` is converted, and a mistake of the caller goes unnoticed.
    model_config = ConfigDict(extra="forbid", strict=True)

    turns: int | None = Field(None, ge=1)
    """Model responses, at most."""

    tool_calls: int | None = Field(None, ge=1)
    """Calls of tools, at most."""

    total_tokens: int | None = Field(None, ge=1)
    """Tokens of input and output together: once they are used, no further turn begins, and the run fails."""


class RunBody(BaseModel):
    """The body of ``POST /api/runs``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    input: TextOr[MessageBody]
    """What the agent is to answer: a text, or messages with text, images and files."""

    model: str | None = Field(None, min_length=1, max_length=128)
    """One of the `models` of the agent; its own when left out."""

    agent: str | None = Field(None, min_length=1, max_length=64)
    """The agent's name (`GET /api/agents`); the session's, or else the app's default, when left out."""

    session_id: str | None = Field(None, min_length=1, max_length=64)
    """The session that the run goes on with; a new one when left out."""

    title: str | None = Field(None, min_length=1, max_length=TITLE_LENGTH, pattern=ONE_LINE)
    """One line for lists; the first line of the input when left out."""

    stream: bool = False
    """Whether its text can be watched while it is written."""

    metadata: dict[MetadataKey, MetadataValue] = Field(default_factory=dict, max_length=16)
    """Up to 16 notes of your own, which are kept with the run."""

    deadline_seconds: float | None = Field(None, ge=1, allow_inf_nan=False)
    """Seconds after which it fails if it has not ended, those in which a person is asked not counted; the app's default
    when left out. More than the app allows is refused.
    """

    start_at: Moment | None = None
    """When it is to start: RFC 3339 with an offset or `Z`, at most 366 days ahead. At once when left out, or past.
    Until then it is `queued`, none of your active runs, and its deadline does not run. Not together with `session_id`.
    """

    limits: LimitsBody = Field(default_factory=LimitsBody)
    """What it may use up."""

    callback_url: str | None = Field(None, min_length=1, max_length=MAX_OF_A_CALLBACK_URL)
    """An address of yours that gets a callback when the run ends, and when a person has to decide."""

    token: TokenBody | None = None
    """A run token for the run, which the answer then holds."""


CallId = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class AnswerBody(BaseModel):
    """One person's word on one call."""

    model_config = ConfigDict(extra="forbid", strict=True)

    approve: bool
    """Whether the call may be made."""

    reason: str = Field("", max_length=4_000)
    """Why, for the model, which reads the reason of a refusal."""


class AnswersBody(BaseModel):
    """The body of ``POST /api/runs/{id}/answers``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    # As many as a turn may have calls.
    answers: dict[CallId, AnswerBody] = Field(min_length=1, max_length=90)
    """By the `id` of each call in `required_action`."""


EXAMPLE_RUNS = {
    "a story": {"input": "Write a short story about a dormouse in space."},
    "a report, with limits": {
        "input": "The payroll system",
        "agent": "compliance",
        "metadata": {"case": "2026-117"},
        "deadline_seconds": 3600,
        "limits": {"turns": 10, "total_tokens": 200000},
    },
    "a report, later": {"input": "The payroll system", "agent": "compliance", "start_at": "2026-12-01T06:00:00+01:00"},
    "an image": {
        "input": [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "What is on this picture?"},
                    {"type": "input_image", "image_url": "https://example.com/dormouse.png"},
                ],
            }
        ]
    },
}
EXAMPLE_ANSWERS = {
    "a refusal": {"answers": {"apr_5d41c8": {"approve": False, "reason": "Not before the audit."}}},
    "two approvals": {"answers": {"apr_5d41c8": {"approve": True}, "apr_77aa03": {"approve": True}}},
}


async def read_answers(request: Request, settings: Settings) -> dict[str, Approve]:
    """The answers by approval id or call id. Raises the errors that say what to change."""
    with Share(settings) as share:
        given = await read_json(request, MAX_FOR_ANSWERS, share)
    try:
        body = AnswersBody.model_validate(given)
    except ValidationError as error:
        raise invalid(error) from None
    return {name: Approve(approve=each.approve, reason=each.reason) for name, each in body.answers.items()}


async def read_submission(request: Request, owner: str, settings: Settings) -> tuple[Submission, TokenBody | None]:
    """What ``POST /api/runs`` asks for, and the token that its answer is to hold.

    Raises the errors that say what to change.
    """
    key = idempotency_key(request.headers.getlist("idempotency-key"))
    with Share(settings) as share:
        given = await read_json(request, settings.json_most, share)
    # Parsing, validating and converting a long body take milliseconds each: other requests have their turn between.
    await asyncio.sleep(0)
    try:
        body = RunBody.model_validate(given)
    except ValidationError as error:
        raise invalid(error) from None
    if body.token is not None:
        check_enabled(settings)
    await asyncio.sleep(0)
    wanted = Submission(
        owner=owner,
        items=input_items(body.input, settings),
        model=body.model,
        agent=body.agent,
        session_id=body.session_id,
        title=body.title,
        stream=body.stream,
        metadata=body.metadata,
        deadline_seconds=body.deadline_seconds,
        start_at=None if body.start_at is None else moment_of(body.start_at),
        turns=body.limits.turns,
        tool_calls=body.limits.tool_calls,
        total_tokens=body.limits.total_tokens,
        idempotency_key=key,
        callback_url=body.callback_url,
    )
    # Beside it: no part of what is asked of the run, so that the same key may come with it or without.
    return wanted, body.token
