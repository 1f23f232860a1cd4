"""A batch as callers see it, and its items."""

from __future__ import annotations

import json
from typing import Any, Literal, NotRequired, cast

from typing_extensions import TypedDict

from shared.api.http import time_on_the_wire
from shared.api.native.fields import BatchId, CallbackStatus, Count, IncompleteDetails, RunError, RunId, Time, Url
from shared.api.native.token_shapes import RunToken
from shared.runs.model.batch import Batch as BatchRecord
from shared.runs.model.batch import BatchStatus, ItemStatus, counts
from shared.runs.model.phases import RunStatus
from shared.runs.queries.batches import FullItem
from shared.runs.rules.callbacks import callback_due, callback_status


class LastDelivery(TypedDict):
    """What the last attempt to tell of a batch met. Neither a status nor an error: it is under way, or was cut off."""

    sent_at: Time
    """When it was sent."""

    http_status: int | None
    """What the receiver answered; null when no answer came."""

    error: str | None
    """A word for why there is no HTTP status."""

    next_attempt_at: Time | None
    """When it is tried again; null when it is not."""


class BatchCounts(TypedDict):
    """How many items of a batch stand where."""

    total: Count
    """All of them."""

    pending: Count
    """Not begun yet."""

    active: Count
    """At work, or waiting for a person."""

    completed: Count
    """Ended with a result."""

    incomplete: Count
    """Cut short, with part of a text."""

    failed: Count
    """Failed, or refused because the item does not fit."""

    cancelled: Count
    """Cancelled, here or at the provider."""


class Batch(TypedDict):
    """Many inputs, each of which becomes a run."""

    id: BatchId
    """The batch's id."""

    object: Literal["batch"]
    """What this is: always `batch`."""

    url: Url
    """The batch's own address."""

    items_url: Url
    """Where its items are read, in pages."""

    status: BatchStatus
    """`completed` and `cancelled` are final and never change."""

    counts: BatchCounts
    """How many items stand where."""

    agent: str | None
    """The agent of items that name none; null for the app's default."""

    model: str | None
    """The model of items that name none; null for the agent's own."""

    concurrency: Count
    """How many items are active at once at most."""

    metadata: dict[str, str]
    """What its caller noted on it at submit; its runs have it too."""

    callback_url: str | None
    """Where its end is reported; null when nowhere."""

    callback_status: CallbackStatus | None
    """What became of the callback of its end; null before there is one."""

    callback_attempts: Count
    """How many there were, redeliveries included."""

    callback_last: LastDelivery | None
    """The last one; a batch keeps no log of the others."""

    created_at: Time
    """When it was submitted."""

    updated_at: Time
    """When it last changed."""

    completed_at: Time | None
    """When its last item ended; null before."""

    retry_after: float | None
    """Seconds between its last look and its next; null at the end."""

    retry_of: BatchId | None
    """The batch whose items it runs again; null when its items are new. That batch may be deleted since."""


class SubmittedBatch(Batch):
    """A batch as the answer to its submit has it."""

    token: NotRequired[RunToken]
    """Only there when it was asked for, and in no other answer."""


class BatchItem(TypedDict):
    """One input of a batch, and what became of it."""

    id: str | None
    """The caller's own."""

    object: Literal["batch.item"]
    """What this is: always `batch.item`."""

    index: Count
    """Its place in the batch; the first is 0."""

    status: ItemStatus
    """Where it stands. An ended one has the word of its run."""

    run_id: RunId | None
    """The id of its run; null before it is begun, when it was refused, and when the run was deleted."""

    run_url: Url | None
    """The address of its run; null without one."""

    run_status: RunStatus | None
    """The status of its run; null without one."""

    text: str
    """The text of its run; empty until there is one."""

    output: Any
    """The result as an object, for agents that promise one; else null."""

    error: RunError | None
    """Why it failed; null unless its status is `failed`."""

    incomplete_details: IncompleteDetails | None
    """Why it was cut short; null unless its status is `incomplete`."""

    completed_at: Time | None
    """When it ended; null before."""

    retry_of_index: Count | None
    """Its `index` in the batch that is retried; null where it is new."""


class BatchItemList(TypedDict):
    """A page of a batch's items, in order."""

    data: list[BatchItem]
    """The items."""

    next_cursor: NotRequired[str]
    """Only there when there is a next page."""


def batch_on_the_wire(batch: BatchRecord, *, url: str) -> Batch:
    """A batch as callers see it."""
    return {
        "id": batch.id,
        "object": "batch",
        "url": url,
        "items_url": f"{url}/items",
        "status": batch.status,
        "counts": cast("BatchCounts", counts(batch)),
        "agent": batch.request.agent,
        "model": batch.request.model,
        "concurrency": batch.request.concurrency,
        "metadata": dict(batch.request.metadata),
        "callback_url": batch.request.callback_url,
        "callback_status": callback_status(batch.outbox),
        "callback_attempts": batch.outbox.deliveries,
        "callback_last": _last_delivery(batch),
        "created_at": time_on_the_wire(batch.request.created_at),
        "updated_at": time_on_the_wire(batch.updated_at),
        "completed_at": time_on_the_wire(batch.over_at),
        "retry_after": None if batch.status.terminal else batch.schedule.retry_after,
        "retry_of": batch.request.retry_of,
    }


def item_on_the_wire(batch: BatchRecord, full: FullItem, *, run_url: str | None) -> BatchItem:
    """An item as callers see it; ``run_url`` is the address of its run, if it has one."""
    run, result = full.run, full.result
    incomplete = run.result.incomplete_reason if run is not None else None
    return {
        "id": full.item.id,
        "object": "batch.item",
        "index": full.item.index,
        "status": full.status,
        "run_id": None if run is None else run.id,
        "run_url": run_url,
        "run_status": None if run is None else run.status,
        "text": full.text,
        "output": json.loads(full.output) if full.output else None,
        "error": _error(batch, full),
        "incomplete_details": None if incomplete is None else {"reason": incomplete},
        "completed_at": None if result is None else time_on_the_wire(result.ended_at),
        "retry_of_index": full.item.retry_of_index,
    }


def _last_delivery(batch: BatchRecord) -> LastDelivery | None:
    last = batch.last_callback
    if last.at is None:
        return None
    return {
        "sent_at": time_on_the_wire(last.at),
        "http_status": last.http_status,
        "error": last.fault,
        "next_attempt_at": time_on_the_wire(callback_due(batch.outbox)),
    }


def _error(batch: BatchRecord, full: FullItem) -> RunError | None:
    # An item that was refused has its error in its own row, one that failed later in its result.
    item, result = full.item, full.result
    code = item.error_code if result is None else result.error_code
    message = item.error_message if result is None else result.error_message
    if (
        full.status is ItemStatus.FAILED and code is None and result is None
    ):  # the batch was stopped by an error before this item was started
        code, message = "internal_error", batch.progress.failed_because
    return None if code is None else {"code": code, "message": message}
