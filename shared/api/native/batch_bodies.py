"""The body of a batch, as JSON or JSON Lines: read within bounds, refused whole only when it is no batch at all."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Any, overload

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from starlette.requests import Request

from shared.api.bodies import MessageBody, MetadataKey, MetadataValue, TextOr, idempotency_key, input_items, invalid
from shared.api.native.batch_items import BadItem, Items, of_lines, of_object
from shared.api.native.run_bodies import MAX_OF_A_CALLBACK_URL, LimitsBody
from shared.api.native.token_bodies import BatchTokenBody
from shared.api.reading import Share, check_type, check_widths, read_bytes
from shared.api.run_tokens import check_enabled
from shared.errors import DormouseError, InvalidJson, InvalidRequest, UnsupportedMediaType
from shared.runs.batches.submit import AskedItem, BatchSubmission
from shared.runs.commands.submission import Submission
from shared.runs.model.batch import MAX_ITEMS
from shared.settings import Settings

# JSON Lines has no registered type: all of these are in use.
LINES = frozenset({"application/jsonl", "application/x-ndjson", "application/x-jsonlines", "application/jsonlines"})
MAX_METADATA = 16

_OF_THE_LINES = ("agent", "model", "deadline_seconds", "concurrency", "callback_url")
# A function key may come in the query; the host leaves it there.
_PLATFORM = frozenset({"code", "clientId"})

ItemId = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]*$")]


class AskedBody(BaseModel):
    """What an item asks for besides its input; for a whole batch: what items ask for that say nothing else."""

    model_config = ConfigDict(extra="forbid", strict=True)

    agent: str | None = Field(None, min_length=1, max_length=64)
    """The agent's name (`GET /api/agents`); the app's default when nobody says another."""

    model: str | None = Field(None, min_length=1, max_length=128)
    """One of the `models` of the agent; its own when left out."""

    metadata: dict[MetadataKey, MetadataValue] = Field(default_factory=dict, max_length=MAX_METADATA)
    """Up to 16 notes of your own, which are kept with the run; those of the batch and of an item are put together."""

    deadline_seconds: float | None = Field(None, ge=1, allow_inf_nan=False)
    """Seconds after which a run fails if it has not ended; the app's default when left out."""

    limits: LimitsBody = Field(default_factory=LimitsBody)
    """What each run may use up."""


class OptionsBody(AskedBody):
    """The body of ``POST /api/batches`` without its ``items``."""

    concurrency: int | None = Field(None, ge=1)
    """How many items may be active at once; as many as the app allows when left out."""

    callback_url: str | None = Field(None, min_length=1, max_length=MAX_OF_A_CALLBACK_URL)
    """An address of yours that gets a callback when the batch ends."""

    token: BatchTokenBody | None = None
    """A run token for the batch, which the answer then holds."""


class ItemBody(AskedBody):
    """One of the ``items``; ``id`` is the caller's own."""

    id: ItemId | None = None
    """A name of your own for it, which its result has too."""

    input: TextOr[MessageBody]
    """What the agent is to answer: a text, or messages with text, images and files."""


class BatchBody(OptionsBody):
    """Many inputs. An item that does not fit fails alone; the others run."""

    # For the contract alone: a body is never validated as a whole, so that a bad item fails alone.
    items: list[ItemBody] = Field(min_length=1, max_length=MAX_ITEMS)
    """The inputs, in the order in which they are begun."""


EXAMPLE_BATCHES = {
    "two stories": {
        "agent": "novelist",
        "items": [{"id": "a", "input": "A dormouse in space."}, {"id": "b", "input": "One on the moon."}],
    }
}


async def read_batch(
    request: Request, owner: str, settings: Settings, share: Share
) -> tuple[BatchSubmission, BatchTokenBody | None]:
    """What ``POST /api/batches`` asks for, and the token that its answer is to hold.

    Raises what is wrong with the whole; a bad item is in its place.

    The items stay the bytes that they came as, and each is made of them when it is asked for: all at once they would
    take many times as much memory. So the share is held until the batch is submitted.
    """
    key = idempotency_key(request.headers.getlist("idempotency-key"))
    options, items = await _read(request, settings, share)
    if options.token is not None:
        check_enabled(settings)
    payload = await _payload(options, items)
    most = settings.batch_concurrency
    if options.concurrency is not None and options.concurrency > most:
        raise InvalidRequest(
            f"`concurrency` may be at most {most} here.",
            errors=[{"field": "concurrency", "problem": f"may be at most {most}"}],
        )
    defaults = Submission(owner=owner, items=(), **_asked(options))
    wanted = BatchSubmission(
        items=_Asked(items, defaults, settings),
        defaults=defaults,
        payload=payload,
        concurrency=options.concurrency,
        callback_url=options.callback_url,
        idempotency_key=key,
    )
    return wanted, options.token


async def _read(request: Request, settings: Settings, share: Share) -> tuple[OptionsBody, Items]:
    """The batch's own options and its items, by the kind of the body."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind in LINES:
        given = _line_options(request)
        items = await of_lines(await read_bytes(request, settings.batch_max_bytes, share), settings.json_most)
    else:
        given, items = await _read_object(request, settings, share)
    try:
        return OptionsBody.model_validate(given), items
    except ValidationError as error:
        raise invalid(error) from None


async def _read_object(request: Request, settings: Settings, share: Share) -> tuple[dict[str, Any], Items]:
    """The options and the items of a batch that is one JSON object."""
    try:
        check_type(request)
    except UnsupportedMediaType:
        raise UnsupportedMediaType(
            "Send a batch as `Content-Type: application/json`, or one item a line as `application/jsonl`."
        ) from None
    raw = await read_bytes(request, settings.batch_max_bytes, share)
    given, items = await of_object(raw, settings.json_most)
    # Not ignored: that an option had no effect would be noticed only after the batch.
    if misplaced := [name for name in _OF_THE_LINES if name in request.query_params]:
        raise InvalidRequest(
            f"`{misplaced[0]}` goes into the body, beside `items`. In the query it is for JSON Lines.",
            param=misplaced[0],
        )
    if items is None:
        raise InvalidRequest(
            "A batch has `items`, a list of objects with `input`.",
            errors=[{"field": "items", "problem": "is required, as a list"}],
        )
    return given, items


def _line_options(request: Request) -> dict[str, Any]:
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


class _Asked(Sequence[AskedItem]):
    """The items of a batch, each checked by itself when it is asked for."""

    def __init__(self, items: Items, defaults: Submission, settings: Settings) -> None:
        self._items = items
        self._defaults = defaults
        self._settings = settings

    def __len__(self) -> int:
        return len(self._items.spans)

    @overload
    def __getitem__(self, index: int) -> AskedItem: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[AskedItem]: ...

    def __getitem__(self, index: int | slice) -> AskedItem | Sequence[AskedItem]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        # Not kept: a thousand parsed items take many times the memory of the body.
        return _item(self._items.value(index), self._defaults, self._settings)


def _item(given: Any, defaults: Submission, settings: Settings) -> AskedItem:
    """One item, checked by itself: what is wrong with it does not affect the others."""
    if isinstance(given, BadItem):
        return AskedItem(id=None, asked=given.error)
    if not isinstance(given, dict):
        return AskedItem(id=None, asked=InvalidRequest('An item is an object such as {"input": "…"}.'))
    try:
        check_widths(given)
        body = ItemBody.model_validate(given)
    except InvalidRequest as error:
        return AskedItem(id=_id_of(given), asked=error)
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
    if len(asked["metadata"]) > MAX_METADATA:
        raise InvalidRequest(f"The batch's `metadata` and the item's may have {MAX_METADATA} pairs together.")
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
        # With a stand-in for the input, so that only the id can be wrong.
        return ItemBody.model_validate({"id": given.get("id"), "input": "-"}).id
    except ValidationError:
        return None


async def _payload(options: OptionsBody, items: Items) -> str:
    """A digest of what is asked for: the same key must come with the same, in whichever form.

    On the way it raises what makes it no batch at all: no item, no object among them, an id that two of them have.
    """
    # Without an address the digest is what it was before there were any. A token is nothing that the batch is to do.
    unsaid = {"token", "callback_url"} if options.callback_url is None else {"token"}
    asked = json.dumps(["batch", options.model_dump(exclude=unsaid)], sort_keys=True)
    # In pieces of what one JSON array would be: all items at once would take too much memory.
    digest = hashlib.sha256(f"{asked[:-1]}, [".encode())
    first: dict[str, int] = {}
    objects = False
    for index in range(len(items.spans)):
        value = items.value(index)
        if isinstance(value, dict):
            objects = True
            _check_id(value.get("id"), index, first)
        given = await items.digest(index) if isinstance(value, BadItem) else value
        # The order of an object's fields is not part of what is asked for.
        text = json.dumps(given, sort_keys=True)
        digest.update(f"{', ' if index else ''}{text}".encode())
        await asyncio.sleep(0)
    _check_whole(items, objects=objects)
    digest.update(b"]]")
    return digest.hexdigest()


def _check_whole(items: Items, *, objects: bool) -> None:
    if not items.spans:
        raise InvalidRequest(f"A batch has 1 to {MAX_ITEMS} items; this one has 0.")
    if not objects:
        bad = items.value(0)
        raise InvalidJson(
            f"No item is a JSON object. {bad.problem if isinstance(bad, BadItem) else ''}".strip()
            + ' Send objects such as {"input": "…"}.'
        )


def _check_id(name: Any, index: int, first: dict[str, int]) -> None:
    # Callers find their results by this id, so two of one make the batch useless to them.
    if isinstance(name, str) and first.setdefault(name, index) != index:
        raise InvalidRequest(
            f"The items {first[name]} and {index} (counted from 0) have the same `id`, {name[:128]!r}. "
            "Give each its own, or none."
        )
