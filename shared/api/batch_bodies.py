"""The body of a batch, as JSON or JSON Lines: read within bounds, refused whole only when it is no batch at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from shared.api.bodies import (
    MOST_OF_A_CALLBACK_URL,
    LimitsBody,
    MessageBody,
    MetadataKey,
    MetadataValue,
    TextOr,
    idempotency_key,
    input_items,
    invalid,
    no_constant,
    read_bytes,
    read_json,
)
from shared.errors import DormouseError, InvalidJson, InvalidRequest, UnsupportedMediaType
from shared.runs.batches.batch import MOST_ITEMS
from shared.runs.batches.submission import AskedItem, BatchSubmission
from shared.runs.submission import Submission
from shared.settings import Settings

LINES = frozenset({"application/jsonl", "application/x-ndjson", "application/x-jsonlines", "application/jsonlines"})
MOST_METADATA = 16

_OF_THE_LINES = ("agent", "model", "deadline_seconds", "concurrency", "callback_url")
_PLATFORM = frozenset({"code", "clientId"})

ItemId = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]*$")]


class AskedBody(BaseModel):
    """What an item asks for besides its input; for a whole batch: what items ask for that say nothing else."""

    model_config = ConfigDict(extra="forbid", strict=True)

    agent: str | None = Field(None, min_length=1, max_length=64)
    model: str | None = Field(None, min_length=1, max_length=128)
    metadata: dict[MetadataKey, MetadataValue] = Field(default_factory=dict, max_length=MOST_METADATA)
    deadline_seconds: float | None = Field(None, ge=1, allow_inf_nan=False)
    limits: LimitsBody = Field(default_factory=LimitsBody)


class OptionsBody(AskedBody):
    """The body of ``POST /api/batches`` without its ``items``."""

    concurrency: int | None = Field(None, ge=1)
    callback_url: str | None = Field(None, min_length=1, max_length=MOST_OF_A_CALLBACK_URL)


class ItemBody(AskedBody):
    """One of the ``items``; ``id`` is the caller's own."""

    id: ItemId | None = None
    input: TextOr[MessageBody]


@dataclass(frozen=True, slots=True)
class _BadLine:
    """A line that is no JSON."""

    raw: bytes
    problem: str


async def read_batch(request: Any, owner: str, settings: Settings) -> BatchSubmission:
    """What ``POST /api/batches`` asks for. Raises what is wrong with the whole; a bad item is in its place."""
    key = idempotency_key(request.headers.getlist("idempotency-key"))
    options, items = await _read(request, settings)
    _check_whole(items)
    most = settings.batch_concurrency
    if options.concurrency is not None and options.concurrency > most:
        raise InvalidRequest(
            f"`concurrency` may be at most {most} here.",
            errors=[{"field": "concurrency", "problem": f"may be at most {most}"}],
        )
    defaults = Submission(owner=owner, items=(), **_asked(options))
    return BatchSubmission(
        items=[_item(each, defaults, settings) for each in items],
        defaults=defaults,
        payload=_payload(options, items),
        concurrency=options.concurrency,
        callback_url=options.callback_url,
        idempotency_key=key,
    )


async def _read(request: Any, settings: Settings) -> tuple[OptionsBody, list[Any]]:
    """The batch's own options and its items, by the kind of the body."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind in LINES:
        given, items = _line_options(request), _lines(await read_bytes(request, settings.batch_max_bytes))
    else:
        try:
            given = await read_json(request, settings.batch_max_bytes)
        except UnsupportedMediaType:
            raise UnsupportedMediaType(
                "Send a batch as `Content-Type: application/json`, or one item a line as `application/jsonl`."
            ) from None
        if misplaced := [name for name in _OF_THE_LINES if name in request.query_params]:
            raise InvalidRequest(
                f"`{misplaced[0]}` goes into the body, beside `items`. In the query it is for JSON Lines.",
                param=misplaced[0],
            )
        items = given.pop("items", None)
        if not isinstance(items, list):
            raise InvalidRequest(
                "A batch has `items`, a list of objects with `input`.",
                errors=[{"field": "items", "problem": "is required, as a list"}],
            )
    try:
        return OptionsBody.model_validate(given), items
    except ValidationError as error:
        raise invalid(error) from None


def _line_options(request: Any) -> dict[str, Any]:
    """The options beside JSON Lines: query parameters. What is no number is left to be refused as it is."""
    given: dict[str, Any] = {}
    for name, text in request.query_params.items():
        if name in _PLATFORM:
            continue
        if name not in _OF_THE_LINES:
            raise InvalidRequest(
                f"`{name[:80]}` is not a parameter here; {', '.join(_OF_THE_LINES)} are. "
                "The rest goes with each item, or send the batch as JSON.",
                param=name[:80],
            )
        given[name] = text
        if name in ("deadline_seconds", "concurrency"):
            try:
                given[name] = int(text) if text.isdecimal() else float(text)
            except ValueError:
                continue
    return given


def _lines(raw: bytes) -> list[Any]:
    """The value of each line that is not blank; one that is no JSON is in its place."""
    items: list[Any] = []
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            items.append(json.loads(line.decode(), parse_constant=no_constant))
        except RecursionError:
            items.append(_BadLine(line, f"Line {number} is nested too deeply."))
        except ValueError as error:
            items.append(_BadLine(line, f"Line {number} is not JSON in UTF-8: {error}."))
    return items


def _check_whole(items: Sequence[Any]) -> None:
    """Raise what makes it no batch at all."""
    if not 1 <= len(items) <= MOST_ITEMS:
        raise InvalidRequest(f"A batch has 1 to {MOST_ITEMS} items; this one has {len(items)}.")
    if not any(isinstance(each, dict) for each in items):
        bad = items[0]
        raise InvalidJson(
            f"No item is a JSON object. {bad.problem if isinstance(bad, _BadLine) else ''}".strip()
            + ' Send objects such as {"input": "…"}.'
        )
    first: dict[str, int] = {}
    for index, each in enumerate(items):
        name = each.get("id") if isinstance(each, dict) else None
        if isinstance(name, str) and first.setdefault(name, index) != index:
            raise InvalidRequest(
                f"The items {first[name]} and {index} (counted from 0) have the same `id`, {name[:128]!r}. "
                "Give each its own, or none."
            )


def _item(given: Any, defaults: Submission, settings: Settings) -> AskedItem:
    """One item, checked by itself: what is wrong with it is no other's fault."""
    if isinstance(given, _BadLine):
        return AskedItem(id=None, asked=InvalidJson(f"{given.problem} The other lines are not affected."))
    if not isinstance(given, dict):
        return AskedItem(id=None, asked=InvalidRequest('An item is an object such as {"input": "…"}.'))
    try:
        body = ItemBody.model_validate(given)
    except ValidationError as error:
        return AskedItem(id=_id_of(given), asked=invalid(error))
    try:
        return AskedItem(id=body.id, asked=_submission(body, defaults, settings))
    except DormouseError as error:
        return AskedItem(id=body.id, asked=error)


def _submission(body: ItemBody, defaults: Submission, settings: Settings) -> Submission:
    own = _asked(body)
    asked = {name: getattr(defaults, name) if value is None else value for name, value in own.items()}
    asked["metadata"] = {**defaults.metadata, **body.metadata}
    if len(asked["metadata"]) > MOST_METADATA:
        raise InvalidRequest(f"The batch's `metadata` and the item's may have {MOST_METADATA} pairs together.")
    return Submission(owner=defaults.owner, items=input_items(body.input, settings), **asked)


def _asked(body: AskedBody) -> dict[str, Any]:
    """The fields as a submission names them."""
    return {
        "agent": body.agent,
        "model": body.model,
        "metadata": body.metadata,
        "deadline_seconds": body.deadline_seconds,
        "turns": body.limits.turns,
        "tool_calls": body.limits.tool_calls,
        "total_tokens": body.limits.total_tokens,
    }


def _id_of(given: dict[str, Any]) -> str | None:
    """The id of an item that is bad otherwise, if at least that is one."""
    try:
        return ItemBody.model_validate({"id": given.get("id"), "input": "-"}).id
    except ValidationError:
        return None


def _payload(options: OptionsBody, items: Sequence[Any]) -> str:
    """A digest of what is asked for: the same key must come with the same, in whichever form."""
    given = [each.raw.hex() if isinstance(each, _BadLine) else each for each in items]
    # Without an address the digest is what it was before there were any.
    unsaid = {"callback_url"} if options.callback_url is None else None
    asked = ["batch", options.model_dump(exclude=unsaid), given]
    try:
        text = json.dumps(asked, sort_keys=True)
    except RecursionError:  # a line could just be read, and lies two levels deeper here
        raise InvalidJson('An item is nested too deeply. Send objects such as {"input": "…"}.') from None
    return hashlib.sha256(text.encode()).hexdigest()
