"""Request bodies: read within bounds, parsed strictly, refused with what to change."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from shared.errors import InputTooLarge, InvalidIdempotencyKey, InvalidJson, InvalidRequest, UnsupportedMediaType
from shared.runs.submission import Submission
from shared.settings import Settings

BESIDES_THE_INPUT = 65_536
"""Room for everything in a body that is not the input, in bytes."""

_KEY = re.compile(r'"([\x20-\x21\x23-\x7e]{1,255})"|([\x21\x23-\x7e][\x20-\x21\x23-\x7e]{0,254})', re.ASCII)

_PLAIN = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"

_WORDS = {
    "extra_forbidden": "is not a field of this request; leave it out",
    "missing": "is required",
    "string_pattern_mismatch": "holds control characters; leave them out",
    "string_unicode": "holds half of a surrogate pair, which is not text",
}

MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=_PLAIN)]
MetadataValue = Annotated[str, StringConstraints(max_length=512, pattern=_PLAIN)]


class LimitsBody(BaseModel):
    """What the run may use up. Each at most the app's own limit."""

    model_config = ConfigDict(extra="forbid", strict=True)

    turns: int | None = Field(None, ge=1)
    tool_calls: int | None = Field(None, ge=1)
    total_tokens: int | None = Field(None, ge=1)


class RunBody(BaseModel):
    """The body of ``POST /api/runs``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    input: str = Field(min_length=1)
    agent: str | None = Field(None, min_length=1, max_length=64)
    session_id: str | None = Field(None, min_length=1, max_length=64)
    metadata: dict[MetadataKey, MetadataValue] = Field(default_factory=dict, max_length=16)
    deadline_seconds: float | None = Field(None, ge=1, allow_inf_nan=False)
    limits: LimitsBody = Field(default_factory=LimitsBody)


async def read_json(request: Any, most: int) -> dict[str, Any]:
    """The body as a JSON object of at most ``most`` bytes."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise UnsupportedMediaType
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > most:
            raise InputTooLarge(f"The body may have at most {most} bytes here. Send less, or a URL to it.")
    try:
        body = json.loads(raw.decode("utf-8-sig"), parse_constant=_no_constant)
    except RecursionError:
        raise InvalidJson("The body is nested too deeply. Send the object that the README describes.") from None
    except ValueError as error:
        raise InvalidJson(
            f"The body is not JSON in UTF-8: {error}. Send an object with `Content-Type: application/json`."
        ) from None
    if not isinstance(body, dict):
        raise InvalidJson
    return body


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


async def read_submission(request: Any, owner: str, settings: Settings) -> Submission:
    """What ``POST /api/runs`` asks for. Raises the errors that say what to change."""
    key = idempotency_key(request.headers.getlist("idempotency-key"))
    # JSON can spend six bytes on one of UTF-8; the input itself is measured below.
    given = await read_json(request, 6 * settings.max_input_bytes + BESIDES_THE_INPUT)
    try:
        body = RunBody.model_validate(given)
    except ValidationError as error:
        raise _invalid(error) from None
    if len(body.input.encode()) > settings.max_input_bytes:
        raise InputTooLarge(
            f"The input may be at most {settings.max_input_bytes} bytes of UTF-8 here. Send less, or a URL to it."
        )
    return Submission(
        owner=owner,
        items=({"type": "message", "role": "user", "content": body.input},),
        agent=body.agent,
        session_id=body.session_id,
        metadata=body.metadata,
        deadline_seconds=body.deadline_seconds,
        turns=body.limits.turns,
        tool_calls=body.limits.tool_calls,
        total_tokens=body.limits.total_tokens,
        idempotency_key=key,
    )


def idempotency_key(headers: Sequence[str]) -> str | None:
    """The key, quoted or bare (IETF draft *Idempotency-Key*); None without one."""
    if not headers:
        return None
    match = _KEY.fullmatch(headers[0].strip(" \t"))
    if match is None or len(headers) > 1:
        raise InvalidIdempotencyKey
    return match[1] or match[2]


def _invalid(error: ValidationError) -> InvalidRequest:
    problems = [
        {
            "field": ".".join(str(part)[:80] for part in each["loc"]),
            "problem": _WORDS.get(each["type"]) or each["msg"].removeprefix("Value error, "),
        }
        for each in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    sentence = "; ".join(f"`{each['field']}`: {each['problem']}" for each in problems[:5])
    return InvalidRequest(f"The request does not fit the contract: {sentence}.", errors=problems[:20])
