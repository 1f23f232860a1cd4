"""What bodies of requests have in common: the shape of an input, the idempotency key, the problems found."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar

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

from shared.agentkit.agent import Item
from shared.errors import InputTooLarge, InvalidIdempotencyKey, InvalidRequest
from shared.settings import Settings

MAX_SHOWN = 20
MAX_BUILT = 500
"""Problems of one request that its answer names, and that are looked at for it."""

_KEY = re.compile(r'"([\x20-\x21\x23-\x7e]{1,255})"|([\x21\x23-\x7e][\x20-\x21\x23-\x7e]{0,254})', re.ASCII)

_TWO_KEYS = (
    "This looks like two `Idempotency-Key` headers, which hosts join with a comma and a blank. Send one; "
    "a key of 1 to 255 visible ASCII characters that has both goes in double quotes."
)

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


MAX_ADDRESS = 8_192
"""Characters of an address."""


def web_address(value: str) -> str:
    """The address. Raises ``ValueError`` for one that no provider could fetch."""
    # One of each: a second repetition makes what does not fit cost the square of its length.
    if re.fullmatch(r"https?://[^\s/?#]\S*", value) is None:
        raise ValueError("must be an address that begins with https:// or http://")
    return value


WebAddress = Annotated[str, StringConstraints(max_length=MAX_ADDRESS), AfterValidator(web_address)]

T = TypeVar("T")
_Text = Annotated[str, Field(min_length=1), Tag("as_text")]
# `fail_fast`: each element that does not fit would be an error object of its own.
_List = Annotated[list[T], Field(min_length=1, max_length=100, fail_fast=True), Tag("as_list")]
# By type: pydantic would report what is wrong under both alternatives of a plain union.
TextOr = Annotated[_Text | _List[T], Discriminator(lambda value: "as_list" if isinstance(value, list) else "as_text")]


class TextPart(BaseModel):
    """Text in a message."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["input_text"]
    """What this part is."""

    text: str = Field(min_length=1)
    """The text."""


class ImagePart(BaseModel):
    """An image in a message, by its URL."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["input_image"]
    """What this part is."""

    image_url: WebAddress
    """Where the provider fetches the image."""

    detail: Literal["low", "high", "auto"] = "auto"
    """How closely the model looks at it."""


class FilePart(BaseModel):
    """A file in a message, by its URL."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["input_file"]
    """What this part is."""

    file_url: WebAddress
    """Where the provider fetches the file."""


Part = Annotated[TextPart | ImagePart | FilePart, Field(discriminator="type")]


class MessageBody(BaseModel):
    """A message of the caller, in the shape of the Responses API."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["message"] = "message"
    """What this item is."""

    role: Literal["user"] = "user"
    """Whose message it is: the caller's."""

    content: TextOr[Part]
    """A text, or parts: text, images, files."""


def input_items(given: str | list[MessageBody], settings: Settings) -> tuple[Item, ...]:
    """The input as conversation items. Raises ``InputTooLarge``."""
    if isinstance(given, str):
        items: tuple[Item, ...] = ({"type": "message", "role": "user", "content": given},)
        size = len(given.encode())
    else:
        items = tuple(message.model_dump() for message in given)
        # As it is stored and sent: JSON without escapes.
        size = sum(len(json.dumps(item, ensure_ascii=False).encode()) for item in items)
    if size > settings.max_input_bytes:
        raise InputTooLarge(
            f"The input may be at most {settings.max_input_bytes} bytes of UTF-8 here. Send less, or a URL to it."
        )
    return items


def idempotency_key(headers: Sequence[str]) -> str | None:
    """The key, quoted or bare (IETF draft *Idempotency-Key*); None without one."""
    if not headers:
        return None
    match = _KEY.fullmatch(headers[0].strip(" \t"))
    quoted = match is not None and match[1] is not None
    # The Functions host joins two headers of one name with a comma and a blank.
    if len(headers) > 1 or (", " in headers[0] and not quoted):
        raise InvalidIdempotencyKey(_TWO_KEYS)
    if match is None:
        raise InvalidIdempotencyKey
    return match[1] or match[2]


def problems_of(error: ValidationError) -> list[tuple[list[str], str]]:
    """Where in the body something is wrong, and what: the first twenty problems, or none of far too many."""
    if error.error_count() > MAX_BUILT:  # pydantic builds all of them or none
        return [([], f"does not fit in {error.error_count()} places; `GET /api/openapi.json` says what does")]
    return [
        (
            # Cut: a name in the body may be as long as the body.
            [str(part)[:80] for part in each["loc"] if part not in _TAGS],
            _what_is_wrong(each["type"], each["loc"]) or each["msg"].removeprefix("Value error, "),
        )
        # Without the input, which may be megabytes and may be secret.
        for each in error.errors(include_url=False, include_input=False, include_context=False)[:MAX_SHOWN]
    ]


def _what_is_wrong(kind: str, place: Sequence[str | int]) -> str | None:
    if kind == "string_type" and place[-1] == "as_text":
        return "must be text or a list"
    return _WORDS.get(kind)


def invalid(error: ValidationError) -> InvalidRequest:
    """The error for a body that does not fit: each field, and what is wrong with it."""
    problems = [{"field": ".".join(path) or "body", "problem": problem} for path, problem in problems_of(error)]
    sentence = "; ".join(f"`{each['field']}`: {each['problem']}" for each in problems[:5])
    return InvalidRequest(f"The request does not fit the contract: {sentence}.", errors=problems)
