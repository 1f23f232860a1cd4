"""Retry a batch: a new one of the items of an ended batch that did not come to what was wanted.

An ended batch and its items never change, so a retry that is repeated under its key finds the same items. They are
copied, for either batch may be deleted without the other.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

from shared.errors import BatchNotEnded, BatchNotFound, NothingToRetry
from shared.runs.batches.submit import WRITTEN_TOGETHER, BatchOptions, BatchSubmitted, batch_of_key, begin_batch
from shared.runs.commands.submission import Submission
from shared.runs.concurrency import side_by_side
from shared.runs.model.batch import Batch, BatchItem, ItemStatus, item_status
from shared.runs.model.run import PartRef
from shared.runs.ports import Ports

RESULTS_TOGETHER = 100
"""Results that are in memory at once while the items are chosen: each may hold a long error."""

READ_AT_ONCE = 8
"""Items that are read side by side; of those with long inputs, as many as the process has room for."""


async def retry_batch(
    ports: Ports, batch_id: str, owner: str, statuses: frozenset[ItemStatus], key: str | None
) -> BatchSubmitted:
    """A new batch of the items of that batch that ended with one of these statuses, with the same options.

    Items that were wrong when they were submitted are left out: they never became a request. The caller starts the
    driver afterwards. Raises ``BatchNotFound``, ``BatchNotEnded``, ``NothingToRetry``, and what ``submit_batch`` does.
    """
    wanted = ",".join(sorted(status.value for status in statuses))
    payload = hashlib.sha256(json.dumps(["retry", batch_id, wanted]).encode()).hexdigest()
    options = BatchOptions(
        defaults=Submission(owner=owner, items=()), payload=payload, idempotency_key=key, retry_of=batch_id
    )
    # First: a repeated request has its answer even when the batch that it was about was deleted since.
    if (again := await batch_of_key(ports, options)) is not None:
        return again
    before = await _ended(ports, batch_id, owner)
    indices = await _chosen(ports, before, statuses)
    # A deletion takes the results away: without this look some of the items could pass for others.
    await _ended(ports, batch_id, owner)
    if not indices:
        raise NothingToRetry(
            f"No item that could run again has ended as {wanted.replace(',', ' or ')}. "
            "`GET` the batch's items; one that was wrong at submit is to be sent corrected, in a new batch."
        )
    request = before.request
    defaults = replace(options.defaults, agent=request.agent, model=request.model, metadata=request.metadata)
    options = replace(options, defaults=defaults, concurrency=request.concurrency, callback_url=request.callback_url)

    async def put(new: str) -> tuple[int, ...]:
        await _copy(ports, before, indices, new)
        return ()

    return await begin_batch(ports, options, len(indices), put)


async def _ended(ports: Ports, batch_id: str, owner: str) -> Batch:
    stored = await ports.batches.load(batch_id)
    # One error for all: nobody learns which ids other owners have.
    if stored is None or stored.value.request.owner != owner or stored.value.is_deleted:
        raise BatchNotFound
    if not stored.value.status.terminal:
        raise BatchNotEnded(status_of_batch=stored.value.status.value)
    return stored.value


async def _chosen(ports: Ports, batch: Batch, statuses: frozenset[ItemStatus]) -> list[int]:
    """The numbers of the items to run again."""
    request, found = batch.request, list[int]()
    for first in range(0, request.total, RESULTS_TOGETHER):
        until = min(first + RESULTS_TOGETHER, request.total)
        results = await ports.batches.results(batch.id, first, until)
        found += [
            index
            for index in range(first, until)
            if index not in request.refused and item_status(batch, index, results.get(index)) in statuses
        ]
    return found


async def _copy(ports: Ports, before: Batch, indices: Sequence[int], new: str) -> None:
    """Write these items into the new batch, some at a time: all may be too many."""
    for start in range(0, len(indices), WRITTEN_TOGETHER):
        places = enumerate(indices[start : start + WRITTEN_TOGETHER], start=start)
        copied = await side_by_side(
            places, lambda place: _copied(ports, before, place[1], new, place[0]), at_once=READ_AT_ONCE
        )
        await ports.batches.put_items(new, copied)


async def _copied(ports: Ports, before: Batch, index: int, new: str, place: int) -> BatchItem:
    """The item as it is in the new batch. Raises ``BatchNotFound`` when the old one is deleted meanwhile."""
    try:
        item = await ports.batches.item(before.id, index)
        if item is None:
            raise LookupError(f"{before.id} has no item {index}")
        # A long input is held several times over while it is written, and the process has little memory.
        async with ports.long_inputs if isinstance(item.asked, PartRef) else contextlib.nullcontext():
            asked = await ports.batches.load_text(before.id, index, item.asked)
            kept = await ports.batches.store_text(new, place, asked)
    except LookupError:
        # Its rows go while it is still there, as a tombstone.
        stored = await ports.batches.load(before.id)
        if stored is None or stored.value.is_deleted:
            raise BatchNotFound from None
        raise
    # As it was, unchecked: what this version refuses, an item that is about to run is refused for, alone.
    return replace(item, index=place, asked=kept, retry_of_index=index)
