"""What asks for a run token."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from starlette.requests import Request

from shared.api.bodies import invalid
from shared.api.http import time_on_the_wire
from shared.api.native.token_shapes import RunToken
from shared.api.reading import Share, read_json
from shared.api.run_tokens import DEFAULT_SECONDS, MOST_SECONDS, Right, sign, subject_of
from shared.runs.model.batch import Batch
from shared.runs.model.run import Run
from shared.settings import Settings

MAX_BYTES = 65_536
"""Of a body that asks for a token: far more than one can have, and little enough to need no counting."""

Label = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")]


class BatchTokenBody(BaseModel):
    """A token for one batch. Of a batch there is nothing else to be shared than how it stands."""

    model_config = ConfigDict(extra="forbid", strict=True)

    rights: list[Literal["read"]] = Field(min_length=1, max_length=1)
    """What it allows: to see how the batch stands."""

    seconds: int = Field(DEFAULT_SECONDS, ge=1, le=MOST_SECONDS)
    """How long it holds."""

    label: Label | None = None
    """A name for whoever gets it."""


class TokenBody(BaseModel):
    """A token for one run: what it allows, for how long, and a name for whoever gets it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    rights: list[Literal["read", "answer", "cancel"]] = Field(min_length=1, max_length=3)
    """What it allows: to see and watch the run, to answer its questions, to cancel it."""

    seconds: int = Field(DEFAULT_SECONDS, ge=1, le=MOST_SECONDS)
    """How long it holds."""

    label: Label | None = None
    """A name for whoever gets it: the run tells who answered or cancelled by it."""


EXAMPLE_RUN_TOKENS = {
    "for a page that shows the run": {"rights": ["read"], "seconds": 900},
    "for who is to decide": {"rights": ["read", "answer"], "seconds": 86400, "label": "Ann, by mail"},
}
EXAMPLE_BATCH_TOKENS = {"for a page that shows the batch": {"rights": ["read"], "seconds": 900}}


B = TypeVar("B", TokenBody, BatchTokenBody)


async def read_token_body(request: Request, settings: Settings, kind: type[B]) -> B:
    """What a token is asked for. Raises the errors that say what to change."""
    with Share(settings) as share:
        given = await read_json(request, MAX_BYTES, share)
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise invalid(error) from None


def token_for(settings: Settings, of: Run | Batch, asked: TokenBody | BatchTokenBody, now: datetime) -> RunToken:
    """A token for this run or batch. Raises ``TokensDisabled``."""
    rights = frozenset(Right(right) for right in asked.rights)
    signed = sign(settings, subject_of(of), rights, asked.seconds, asked.label, now)
    return {"token": signed.text, "expires_at": time_on_the_wire(signed.expires_at)}
