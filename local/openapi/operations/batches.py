"""Batches."""

from __future__ import annotations

from pydantic import Field

from local.openapi import wire
from local.openapi.headers import IDEMPOTENCY_KEY, IF_NONE_MATCH
from local.openapi.operation import Answer, Body, Operation, Parameter
from local.openapi.operations.runs import UNCHANGED
from shared import errors
from shared.api.batch_bodies import ItemBody, OptionsBody
from shared.api.pages import DEFAULT_LIMIT, MOST
from shared.runs.model.batch import MOST_ITEMS, ItemStatus

TAG = "batches"
LIMIT = Parameter(
    name="limit",
    place="query",
    text="How many a page has at most.",
    schema={"type": "integer", "minimum": 1, "maximum": MOST, "default": DEFAULT_LIMIT},
)


def cursor(pattern: str) -> Parameter:
    """The parameter that a page's `next_cursor` goes into."""
    return Parameter(
        name="cursor",
        place="query",
        text="`next_cursor` of the page before.",
        schema={"type": "string", "pattern": pattern},
    )


class BatchBody(OptionsBody):
    """Many inputs. An item that does not fit fails alone; the others run."""

    items: list[ItemBody] = Field(min_length=1, max_length=MOST_ITEMS)


A_BATCH = Answer(
    text="The batch as it stands.",
    model=wire.Batch,
    headers=("ETag",),
    sometimes=("Retry-After",),
)

OPERATIONS = (
    Operation(
        function="create_batch",
        tag=TAG,
        summary="Start a batch",
        text="Up to 1,000 inputs, each of which becomes a run. What the batch says of `agent`, `model`, `metadata`, "
        "`deadline_seconds` and `limits` goes for items that say nothing else. An item that is wrong fails alone. The "
        "body may be JSON Lines too (`application/jsonl`), one item a line, with those options in the query.",
        parameters=(
            IDEMPOTENCY_KEY,
            *(
                Parameter(name=name, place="query", text="With JSON Lines: see the body.", schema={"type": kind})
                for name, kind in (
                    ("agent", "string"),
                    ("model", "string"),
                    ("deadline_seconds", "number"),
                    ("concurrency", "integer"),
                    ("callback_url", "string"),
                )
            ),
        ),
        body=Body(
            model=BatchBody,
            examples={
                "two stories": {
                    "agent": "novelist",
                    "items": [{"id": "a", "input": "A dormouse in space."}, {"id": "b", "input": "One on the moon."}],
                }
            },
        ),
        answers={
            202: Answer(
                text="The batch is on its way.",
                model=wire.Batch,
                headers=("Location", "Operation-Location", "Retry-After", "ETag"),
            ),
            200: Answer(
                text="The batch is over already: every item was wrong, or the key is that of an ended one.",
                model=wire.Batch,
                headers=("Location", "Operation-Location", "ETag"),
            ),
        },
        problems=(
            errors.UnknownAgent,
            errors.ModelNotAllowed,
            errors.CallbacksDisabled,
            errors.InvalidIdempotencyKey,
            errors.IdempotencyKeyReused,
            errors.BatchDeleted,
        ),
    ),
    Operation(
        function="list_batches",
        tag=TAG,
        summary="List your batches",
        text="Newest first. A page may hold fewer than `limit`, or none, and still have a next one.",
        parameters=(LIMIT, cursor("^[0-9]{14}:batch_[0-9a-f]{32}:[0-9a-f]{1,16}$"), IF_NONE_MATCH),
        answers={200: Answer(text="A page.", model=wire.BatchList, headers=("ETag",)), 304: UNCHANGED},
        problems=(errors.InvalidRequest,),
    ),
    Operation(
        function="get_batch",
        tag=TAG,
        summary="See how a batch stands",
        parameters=(IF_NONE_MATCH,),
        answers={200: A_BATCH, 304: UNCHANGED},
        problems=(errors.BatchNotFound,),
    ),
    Operation(
        function="get_batch_items",
        tag=TAG,
        summary="See what became of a batch's items",
        text="In order. A page ends early where its texts are long.",
        parameters=(
            LIMIT,
            cursor("^[0-9]{6}$"),
            Parameter(
                name="status",
                place="query",
                text="Only items with one of these.",
                schema={"type": "array", "items": {"enum": [status.value for status in ItemStatus]}},
                lists=True,
            ),
            IF_NONE_MATCH,
        ),
        answers={200: Answer(text="A page.", model=wire.BatchItemList, headers=("ETag",)), 304: UNCHANGED},
        problems=(errors.InvalidRequest, errors.BatchNotFound),
    ),
    Operation(
        function="cancel_batch",
        tag=TAG,
        summary="Cancel a batch",
        text="What has not begun never does; what is active is cancelled, here and at the provider. May be repeated.",
        answers={200: A_BATCH},
        problems=(errors.BatchNotFound,),
    ),
    Operation(
        function="deliver_batch_again",
        tag=TAG,
        summary="Deliver the callback of a batch's end again",
        text="Under the same `webhook-id`, also after the receiver wanted no more, or when it was given up.",
        answers={202: Answer(text="It is on its way.", model=wire.Batch, headers=("ETag",))},
        problems=(errors.BatchNotFound, errors.CallbacksDisabled, errors.NoCallback, errors.BatchNotEnded),
    ),
    Operation(
        function="delete_batch",
        tag=TAG,
        summary="Delete a batch",
        text="With its runs, here and at the provider; an active one is cancelled.",
        answers={204: Answer(text="It is gone.")},
        problems=(errors.BatchNotFound,),
    ),
)
