"""``/api/batches``: submit, status, items, list, cancel, deliver again, delete."""

from __future__ import annotations

import math
import re
from enum import StrEnum

from starlette.requests import Request
from starlette.responses import Response

from shared import errors
from shared.api.bodies import idempotency_key
from shared.api.callers import owner_of
from shared.api.http import json_response, not_modified
from shared.api.native.batch_bodies import EXAMPLE_BATCHES, BatchBody, read_batch
from shared.api.native.batch_list import BatchList, batch_summary_on_the_wire
from shared.api.native.batch_shapes import (
    Batch,
    BatchItemList,
    SubmittedBatch,
    batch_on_the_wire,
    item_on_the_wire,
)
from shared.api.native.runs import run_url
from shared.api.native.token_bodies import token_for
from shared.api.native.token_shapes import RunToken
from shared.api.operations import (
    IDEMPOTENCY_KEY,
    IF_NONE_MATCH,
    UNCHANGED,
    Answer,
    Parameter,
    cursor_parameter,
    limit_parameter,
    operation,
    statuses_parameter,
)
from shared.api.pages import BATCH_CURSOR, cursor_of, limit_of, not_a_cursor, query_of, statuses_of
from shared.api.reading import Share
from shared.api.run_tokens import Access
from shared.drivers.driver import Driver
from shared.errors import BatchNotFound
from shared.runs.batches import cancel, delete
from shared.runs.batches.callbacks import redeliver_batch
from shared.runs.batches.retry import retry_batch as retry
from shared.runs.batches.submit import submit_batch
from shared.runs.model.batch import Batch as BatchRecord
from shared.runs.model.batch import ItemStatus
from shared.runs.model.listed import ListedBatch
from shared.runs.queries.batches import batch_if, batch_of_owner, batches_of_owner, items_of_batch
from shared.wiring import App

TAG = "batches"
A_BATCH = Answer(text="The batch as it stands.", shape=Batch, headers=("ETag",), sometimes=("Retry-After",))

_ITEM_CURSOR = re.compile(r"[0-9]{6}", re.ASCII)


class Retried(StrEnum):
    """How an item may have ended that is run again."""

    FAILED = ItemStatus.FAILED.value
    INCOMPLETE = ItemStatus.INCOMPLETE.value
    CANCELLED = ItemStatus.CANCELLED.value


@operation(
    tag=TAG,
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
    body=BatchBody,
    examples=EXAMPLE_BATCHES,
    answers={
        202: Answer(
            text="The batch is on its way.",
            shape=SubmittedBatch,
            headers=("Location", "Operation-Location", "Retry-After", "ETag"),
        ),
        200: Answer(
            text="The batch is over already: every item was wrong, or the key is that of an ended one.",
            shape=SubmittedBatch,
            headers=("Location", "Operation-Location", "ETag"),
        ),
    },
    problems=(
        errors.UnknownAgent,
        errors.ModelNotAllowed,
        errors.CallbacksDisabled,
        errors.TokensDisabled,
        errors.InvalidIdempotencyKey,
        errors.IdempotencyKeyReused,
        errors.BatchDeleted,
        errors.IntakePaused,
    ),
)
async def create_batch(request: Request, app: App, driver: Driver) -> Response:
    """Start a batch.

    Up to 1,000 inputs, each of which becomes a run. What the batch says of `agent`, `model`, `metadata`,
    `deadline_seconds` and `limits` goes for items that say nothing else. An item that is wrong fails alone. The body
    may be JSON Lines too (`application/jsonl`), one item a line, with those options in the query. With `token` the
    answer holds a token for the batch, as `POST /api/batches/{batch_id}/tokens` gives it; it is in this answer alone.
    """
    # Held until all is written: the items are parsed from the body one by one.
    with Share(app.settings) as share:
        wanted, asked = await read_batch(request, owner_of(request, app.settings), app.settings, share)
        submitted = await submit_batch(app.ports, wanted)
    # If this fails the answer is the same: the due row is written, and the sweep finds it.
    await driver.start_batch(submitted)
    batch = submitted.batch
    token = None if asked is None else token_for(app.settings, batch, asked, app.ports.clock())
    return _answer(app, batch, status=200 if batch.status.terminal else 202, located=True, token=token)


@operation(tag=TAG, parameters=(IF_NONE_MATCH,), answers={200: A_BATCH, 304: UNCHANGED}, problems=(BatchNotFound,))
async def get_batch(request: Request, app: App, access: Access | None = None) -> Response:
    """See how a batch stands.

    Its counts and its status; what became of each item is in its items.
    """
    return not_modified(request, _answer(app, await own_batch(request, app, access)))


@operation(
    tag=TAG,
    parameters=(limit_parameter(), cursor_parameter(BATCH_CURSOR.pattern), IF_NONE_MATCH),
    answers={200: Answer(text="A page.", shape=BatchList, headers=("ETag",)), 304: UNCHANGED},
    problems=(errors.InvalidRequest,),
)
async def list_batches(request: Request, app: App) -> Response:
    """List your batches.

    Newest first, each as of its last change of status. A page may hold fewer than `limit`, or none, and still have a
    next one.
    """
    query = query_of(request, "limit", "cursor")
    cursor, owner = cursor_of(query, BATCH_CURSOR), owner_of(request, app.settings)
    try:
        page = await batches_of_owner(app.ports, owner, cursor, limit_of(query))
    except ValueError as error:
        raise not_a_cursor() from error
    body: BatchList = {"data": [batch_summary_on_the_wire(each, url=_url(app, each)) for each in page.batches]}
    if page.cursor is not None:
        body["next_cursor"] = page.cursor
    return not_modified(request, json_response(body))


@operation(
    tag=TAG,
    parameters=(
        limit_parameter(),
        cursor_parameter(_ITEM_CURSOR.pattern),
        statuses_parameter("Only items with one of these.", ItemStatus),
        IF_NONE_MATCH,
    ),
    answers={200: Answer(text="A page.", shape=BatchItemList, headers=("ETag",)), 304: UNCHANGED},
    problems=(errors.InvalidRequest, BatchNotFound),
)
async def get_batch_items(request: Request, app: App) -> Response:
    """See what became of a batch's items.

    In order. A page ends early where its texts are long.
    """
    query = query_of(request, "limit", "cursor", "status")
    limit, first = limit_of(query), int(cursor_of(query, _ITEM_CURSOR) or "0")
    statuses = statuses_of(query, ItemStatus)
    batch = await own_batch(request, app)
    page = await items_of_batch(app.ports, batch, first, limit, statuses)
    body: BatchItemList = {
        "data": [
            item_on_the_wire(batch, each, run_url=None if each.run is None else run_url(app, each.run.id))
            for each in page.items
        ]
    }
    if page.following is not None:
        body["next_cursor"] = f"{page.following:06}"
    return not_modified(request, json_response(body))


@operation(tag=TAG, answers={200: A_BATCH}, problems=(BatchNotFound,))
async def cancel_batch(request: Request, app: App, driver: Driver) -> Response:
    """Cancel a batch.

    What has not begun never does; what is active is cancelled, here and at the provider. May be repeated.
    """
    batch = await cancel.cancel_batch(app.ports, (await own_batch(request, app)).id)
    if batch is None or batch.is_deleted:
        raise BatchNotFound
    # Also when it was cancelled before: that wake may have been lost.
    if not batch.is_done:
        await driver.wake(batch.id)
    return _answer(app, batch)


@operation(
    tag=TAG,
    parameters=(
        IDEMPOTENCY_KEY,
        statuses_parameter("Which items are run again: those that ended so. Without it those that failed.", Retried),
    ),
    answers={
        202: Answer(
            text="The new batch is on its way.",
            shape=Batch,
            headers=("Location", "Operation-Location", "Retry-After", "ETag"),
        ),
        200: Answer(
            text="The key is that of a retry whose batch is over already.",
            shape=Batch,
            headers=("Location", "Operation-Location", "ETag"),
        ),
    },
    problems=(
        BatchNotFound,
        errors.BatchNotEnded,
        errors.NothingToRetry,
        errors.InvalidRequest,
        errors.UnknownAgent,
        errors.ModelNotAllowed,
        errors.CallbacksDisabled,
        errors.InvalidIdempotencyKey,
        errors.IdempotencyKeyReused,
        errors.BatchDeleted,
        errors.IntakePaused,
    ),
)
async def retry_batch(request: Request, app: App, driver: Driver) -> Response:
    """Run the failed items of a batch again.

    In a new batch with the options of the old one, which must have ended and stays as it is: `retry_of` of the new one
    is its id. Each item keeps its own `id`, and has its place in the old batch as `retry_of_index`. Items that were
    wrong when they were submitted are left out, for they never became a request.
    """
    statuses = statuses_of(query_of(request, "status"), Retried) or {Retried.FAILED}
    submitted = await retry(
        app.ports,
        request.path_params["batch_id"],
        owner_of(request, app.settings),
        frozenset(ItemStatus(each.value) for each in statuses),
        idempotency_key(request.headers.getlist("idempotency-key")),
    )
    # As when it is submitted: if this fails the answer is the same.
    await driver.start_batch(submitted)
    batch = submitted.batch
    return _answer(app, batch, status=200 if batch.status.terminal else 202, located=True)


@operation(
    tag=TAG,
    answers={202: Answer(text="It is on its way.", shape=Batch, headers=("ETag",))},
    problems=(BatchNotFound, errors.CallbacksDisabled, errors.NoCallback, errors.BatchNotEnded),
)
async def deliver_batch_again(request: Request, app: App, driver: Driver) -> Response:
    """Deliver the callback of a batch's end again.

    Under the same `webhook-id`, also after the receiver wanted no more, or when it was given up.
    """
    batch = await redeliver_batch(app.ports, (await own_batch(request, app)).id)
    if batch is None:
        raise BatchNotFound
    await driver.wake(batch.id)
    return _answer(app, batch, status=202)


@operation(tag=TAG, answers={204: Answer(text="It is gone.")}, problems=(BatchNotFound,))
async def delete_batch(request: Request, app: App, driver: Driver) -> Response:
    """Delete a batch.

    With its runs, here and at the provider; an active one is cancelled.
    """
    batch = await own_batch(request, app)
    if await delete.delete_batch(app.ports, batch.id):
        await driver.wake(batch.id)
    return Response(status_code=204)


async def own_batch(request: Request, app: App, access: Access | None = None) -> BatchRecord:
    """The batch that the address names, if it is the caller's, or the one that ``access`` opens.

    Raises ``BatchNotFound``, ``Unauthenticated``.
    """
    batch_id = request.path_params["batch_id"]
    if access is not None:
        return await batch_if(app.ports, batch_id, access.is_for)
    return await batch_of_owner(app.ports, batch_id, owner_of(request, app.settings))


def _answer(
    app: App, batch: BatchRecord, *, status: int = 200, located: bool = False, token: RunToken | None = None
) -> Response:
    url = _url(app, batch)
    headers: dict[str, str] = {}
    if located:
        headers |= {"Location": url, "Operation-Location": url}
    if not batch.status.terminal:
        # In the header alone: a clock in the body would change the ETag with each request.
        seconds = (batch.schedule.wake_at - app.ports.clock()).total_seconds()
        headers["Retry-After"] = str(max(1, math.ceil(seconds)))
    once = None if token is None else {"token": token}
    return json_response(batch_on_the_wire(batch, url=url), status=status, headers=headers, once=once)


def _url(app: App, batch: BatchRecord | ListedBatch) -> str:
    return f"{app.settings.base_url}/api/batches/{batch.id}"
