"""Lists of batches as callers see them: what the list's own rows hold."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from shared.api.http import time_on_the_wire
from shared.api.native.batch_shapes import BatchCounts
from shared.api.native.fields import BatchId, Count, Time, Url
from shared.runs.model.batch import BatchStatus
from shared.runs.model.listed import ListedBatch


class BatchSummary(TypedDict):
    """A batch in a list, as of its last change of status. What changes more often is at its own address."""

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

    total: Count
    """How many items it has."""

    counts: BatchCounts | None
    """How many items ended how; null until all have, for until then it changes with each: the batch itself has it."""

    agent: str | None
    """The agent of items that name none; null for the app's default."""

    model: str | None
    """The model of items that name none; null for the agent's own."""

    concurrency: Count
    """How many items are active at once at most."""

    metadata: dict[str, str]
    """What its caller noted on it at submit; its runs have it too."""

    retry_of: BatchId | None
    """The batch whose items it runs again; null when its items are new. That batch may be deleted since."""

    created_at: Time
    """When it was submitted."""

    completed_at: Time | None
    """When its last item ended; null before."""

    elapsed_seconds: Annotated[float, Field(ge=0)] | None
    """From submit to the end; null before."""


class BatchList(TypedDict):
    """A page of the caller's batches, newest first."""

    data: list[BatchSummary]
    """The batches, without what changes often."""

    next_cursor: NotRequired[str]
    """Only there when there is a next page."""


def batch_summary_on_the_wire(listed: ListedBatch, *, url: str) -> BatchSummary:
    """A batch as a list shows it."""
    held = listed.summary
    counts: BatchCounts = {
        "total": held.total,
        "pending": 0,
        "active": 0,
        "completed": held.completed,
        "incomplete": held.incomplete,
        "failed": held.failed,
        "cancelled": held.cancelled,
    }
    return {
        "id": listed.id,
        "object": "batch",
        "url": url,
        "items_url": f"{url}/items",
        "status": listed.status,
        "total": held.total,
        "counts": counts if listed.status.terminal else None,
        "agent": held.agent,
        "model": held.model,
        "concurrency": held.concurrency,
        "metadata": dict(held.metadata),
        "retry_of": held.retry_of,
        "created_at": time_on_the_wire(held.created_at),
        "completed_at": time_on_the_wire(held.completed_at),
        "elapsed_seconds": held.elapsed_seconds,
    }
