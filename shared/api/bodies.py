"""Request bodies: read within bounds, parsed strictly, refused with what to change."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationError,
)
from starlette.requests import ClientDisconnect

from shared.agentkit.agent import Item
from shared.errors import InputTooLarge, InvalidIdempotencyKey, InvalidJson, InvalidRequest, UnsupportedMediaType
from shared.runs.answers import Answer
from shared.runs.submission import Submission
from shared.settings import Settings

BESIDES_THE_INPUT = 65_536
"""Room for everything in a body that is not the input, in bytes."""

MOST_FOR_ANSWERS = 900_000

MOST_OF_A_CALLBACK_URL = 2_000

_KEY = re.compile(r'"([\x20-\x21\x23-\x7e]{1,255})"|([\x21\x23-\x7e][\x20-\x21\x23-\x7e]{0,254})', re.ASCII)

_PLAIN = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"

_TAGS = frozenset({"as_text", "as_list", "input_text", "input_image", "input_file"})
"""Names that the parser gives to alternatives; a caller has never written them."""

_WORDS = {
    "extra_forbidden": "is not a field of this request; leave it out",
    "missing": "is required",
    "string_pattern_mismatch": "holds control characters; leave them out",
    "string_too_short": "must not be empty",
    "string_unicode": "holds half of a surrogate pair, which is not text",
    "too_short": "must not be empty",
}
"""For callers: what pydantic says of itself. No field of ours has to be longer than one."""

MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=_PLAIN)]
MetadataValue = Annotated[str, StringConstraints(max_length=512, pattern=_PLAIN)]


class LimitsBody(BaseModel):
    """What the run may use up. Each at most the app's own limit."""

    model_config = ConfigDict(extra="forbid", strict=True)

    turns: int | None = Field(None, ge=1)
    tool_calls: int | None = Field(None, ge=1)
    total_tokens: int | None = Field(None, ge=1)


def _web_address(value: str) -> str:
    # One of each: a second repetition makes what does not fit cost the square of its length.
    if re.fullmatch(r"https?://[^\s/?#]\S*", value) is None:
        raise ValueError("must be an address that begins with https:// or http://")
    return value


WebAddress = Annotated[str, StringConstraints(max_length=8_192), AfterValidator(_web_address)]

T = TypeVar("T")
_Text = Annotated[str, Field(min_length=1), Tag("as_text")]
_List = Annotated[list[T], Field(min_length=1, max_length=100), Tag("as_list")]
TextOr = Annotated[_Text | _List[T], Discriminator(lambda value: "as_list" if isinstance(value, list) else "as_text")]


class TextPart(BaseModel):
    """Text in a message."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["input_text"]
    text: str = Field(min_length=1)


class ImagePart(BaseModel):
    """An image in a message, by its URL."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["input_image"]
    image_url: WebAddress
    detail: Literal["low", "high", "auto"] = "auto"


class FilePart(BaseModel):
    """A file in a message, by its URL."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["input_file"]
    file_url: WebAddress


Part = Annotated[TextPart | ImagePart | FilePart, Field(discriminator="type")]


class MessageBody(BaseModel):
    """A message of the caller, in the shape of the Responses API."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["message"] = "message"
    role: Literal["user"] = "user"
    content: TextOr[Part]


class RunBody(BaseModel):
    """The body of ``POST /api/runs``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    input: TextOr[MessageBody]
    model: str | None = Field(None, min_length=1, max_length=128)
    agent: str | None = Field(None, min_length=1, max_length=64)
    session_id: str | None = Field(None, min_length=1, max_length=64)
    stream: bool = False
    metadata: dict[MetadataKey, MetadataValue] = Field(default_factory=dict, max_length=16)
    deadline_seconds: float | None = Field(None, ge=1, allow_inf_nan=False)
    limits: LimitsBody = Field(default_factory=LimitsBody)
    callback_url: str | None = Field(None, min_length=1, max_length=MOST_OF_A_CALLBACK_URL)


CallId = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class AnswerBody(BaseModel):
    """One person's word on one call."""

    model_config = ConfigDict(extra="forbid", strict=True)

    approve: bool
    reason: str = Field("", max_length=4_000)


class AnswersBody(BaseModel):
    """The body of ``POST /api/runs/{id}/answers``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    answers: dict[CallId, AnswerBody] = Field(min_length=1, max_length=90)


async def read_answers(request: Any) -> dict[str, Answer]:
    """The answers by approval id or call id. Raises the errors that say what to change."""
    try:
        body = AnswersBody.model_validate(await read_json(request, MOST_FOR_ANSWERS))
    except ValidationError as error:
        raise invalid(error) from None
    return {name: Answer(approve=each.approve, reason=each.reason) for name, each in body.answers.items()}


async def read_bytes(request: Any, most: int) -> bytes:
    """The body, which may have at most ``most`` bytes."""
    raw = bytearray()
    try:
        async for chunk in request.stream():
            raw += chunk
            if len(raw) > most:
                raise InputTooLarge(f"The body may have at most {most} bytes here. Send less, or a URL to it.")
    except ClientDisconnect:  # only the log hears of it
        raise InvalidRequest("The body ended before all of it was there. Send the request again.") from None
    return bytes(raw)


async def read_json(request: Any, most: int) -> dict[str, Any]:
    """The body as a JSON object of at most ``most`` bytes."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise UnsupportedMediaType
    raw = await read_bytes(request, most)
    try:
        body = json.loads(raw.decode("utf-8-sig"), parse_constant=no_constant)
    except RecursionError:
        raise InvalidJson("The body is nested too deeply. Send the object that the README describes.") from None
    except ValueError as error:
        raise InvalidJson(
            f"The body is not JSON in UTF-8: {error}. Send an object with `Content-Type: application/json`."
        ) from None
    if not isinstance(body, dict):
        raise InvalidJson
    return body


def no_constant(name: str) -> None:
    """For ``parse_constant``: NaN and the infinities are refused."""
    raise ValueError(f"{name} is no JSON")


async def read_submission(request: Any, owner: str, settings: Settings) -> Submission:
    """What ``POST /api/runs`` asks for. Raises the errors that say what to change."""
    key = idempotency_key(request.headers.getlist("idempotency-key"))
    # JSON can spend six bytes on one of UTF-8; the input itself is measured below.
    given = await read_json(request, 6 * settings.max_input_bytes + BESIDES_THE_INPUT)
    try:
        body = RunBody.model_validate(given)
    except ValidationError as error:
        raise invalid(error) from None
    return Submission(
        owner=owner,
        items=input_items(body.input, settings),
        model=body.model,
        agent=body.agent,
        session_id=body.session_id,
        stream=body.stream,
        metadata=body.metadata,
        deadline_seconds=body.deadline_seconds,
        turns=body.limits.turns,
        tool_calls=body.limits.tool_calls,
        total_tokens=body.limits.total_tokens,
        idempotency_key=key,
        callback_url=body.callback_url,
    )


def input_items(given: str | list[MessageBody], settings: Settings) -> tuple[Item, ...]:
    """The input as conversation items. Raises ``InputTooLarge``."""
    if len(_text_of(given).encode()) > settings.max_input_bytes:
        raise InputTooLarge(
            f"The input may be at most {settings.max_input_bytes} bytes of UTF-8 here. Send less, or a URL to it."
        )
    return _items(given)


def _items(given: str | list[MessageBody]) -> tuple[Item, ...]:
    """The input as conversation items."""
    if isinstance(given, str):
        return ({"type": "message", "role": "user", "content": given},)
    return tuple(message.model_dump() for message in given)


def _text_of(given: str | list[MessageBody]) -> str:
    """What of the input is measured: text and addresses."""
    if isinstance(given, str):
        return given
    return "".join(json.dumps(message.model_dump(), ensure_ascii=False) for message in given)


def idempotency_key(headers: Sequence[str]) -> str | None:
    """The key, quoted or bare (IETF draft *Idempotency-Key*); None without one."""
    if not headers:
        return None
    match = _KEY.fullmatch(headers[0].strip(" \t"))
    if match is None or len(headers) > 1:
        raise InvalidIdempotencyKey
    return match[1] or match[2]


def problems_of(error: ValidationError) -> list[tuple[list[str], str]]:
    """Where in the body something is wrong, and what."""
    return [
        (
            [str(part)[:80] for part in each["loc"] if part not in _TAGS],
            _what_is_wrong(each["type"], each["loc"]) or each["msg"].removeprefix("Value error, "),
        )
        for each in error.errors(include_url=False, include_input=False, include_context=False)
    ]


def _what_is_wrong(kind: str, place: Sequence[str | int]) -> str | None:
    if kind == "string_type" and place[-1] == "as_text":
        return "must be text or a list"
    return _WORDS.get(kind)


def invalid(error: ValidationError) -> InvalidRequest:
    """What a caller is told of a body that does not fit: each field, and what is wrong with it."""
    problems = [{"field": ".".join(path), "problem": problem} for path, problem in problems_of(error)]
    sentence = "; ".join(f"`{each['field']}`: {each['problem']}" for each in problems[:5])
    return InvalidRequest(f"The request does not fit the contract: {sentence}.", errors=problems[:20])
