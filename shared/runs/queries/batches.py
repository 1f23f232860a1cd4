"""Batches as their owner reads them: one, a page of a list, and a page of one's items with what became of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shared.errors import BatchNotFound
from shared.runs.concurrency import side_by_side
from shared.runs.model.batch import Batch, BatchItem, ItemResult, ItemStatus, item_status, run_of
from shared.runs.model.listed import ListedBatch
from shared.runs.model.run import Run
from shared.runs.ports import Ports
from shared.runs.queries.runs import MAX_BYTES, is_gone
from shared.runs.store.runs import READS


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPage:
    """A page of an owner's batches, newest first."""

    batches: Sequence[ListedBatch]

    cursor: str | None
    """Where the next page begins; None: this is the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FullItem:
    """An item of a batch with what became of it."""

    item: BatchItem
    """Without what it asks for."""

    status: ItemStatus

    result: ItemResult | None
    """None until it has ended."""

    run: Run | None = None
    """None before it has one, and after that was deleted."""

    text: str = ""
    output: str = ""
    """The run's text, and its structured output as JSON, in full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemPage:
    """A page of a batch's items, in order."""

    items: Sequence[FullItem]

    following: int | None
    """The index of the item that the next page begins with; None: this is the last."""


async def batch_of_owner(ports: Ports, batch_id: str, owner: str) -> Batch:
    """The batch. Raises ``BatchNotFound`` for one that is not there, deleted, or another owner's."""
    return await batch_if(ports, batch_id, lambda batch: batch.request.owner == owner)


async def batch_if(ports: Ports, batch_id: str, may_be_seen: Callable[[Batch], bool]) -> Batch:
    """The batch. Raises ``BatchNotFound`` for one that is not there, deleted, or not to be seen by whoever asks."""
    stored = await ports.batches.load(batch_id)
    # One error for all three: nobody learns which ids other owners have.
    if stored is None or stored.value.is_deleted or not may_be_seen(stored.value):
        raise BatchNotFound
    return stored.value


async def batches_of_owner(ports: Ports, owner: str, cursor: str | None, limit: int) -> BatchPage:
    """The page after the cursor. It may hold fewer than ``limit``, or none, and still have a next one.

    From the list's own rows: no batch is read. Raises ``ValueError`` for a cursor that is none.
    """
    batches, following = await ports.index.batches(owner, cursor, limit)
    return BatchPage(batches=batches, cursor=following)


async def items_of_batch(
    ports: Ports, batch: Batch, first: int, limit: int, statuses: frozenset[ItemStatus]
) -> ItemPage:
    """The items from index ``first`` on, those of these statuses (none: of any).

    A page has at most ``limit`` items, and ``MAX_BYTES`` of texts but for its first.
    """
    # A status comes from two rows, so a filter must read all. Else one more tells if there is a next page.
    heads = await ports.batches.heads(batch.id, first, limit=None if statuses else limit + 1)
    results = await ports.batches.results(batch.id, first, heads[-1].index + 1) if heads else {}
    found = [
        FullItem(item=head, status=status, result=results.get(head.index))
        for head in heads
        if (status := item_status(batch, head.index, results.get(head.index))) in statuses or not statuses
    ]
    items = await _as_many_as_fit(ports, batch, found[:limit])
    return ItemPage(items=items, following=found[len(items)].item.index if len(items) < len(found) else None)


async def _as_many_as_fit(ports: Ports, batch: Batch, found: Sequence[FullItem]) -> list[FullItem]:
    """The first of these items with their texts, some read side by side."""
    fitting: list[FullItem] = []
    held = 0
    for start in range(0, len(found), READS):
        some = found[start : start + READS]
        runs = await side_by_side(some, lambda each: _run(ports, batch, each), at_once=READS)
        for each, run in zip(some, runs, strict=True):
            text, output = await _texts(ports, run)
            held += len(text.encode()) + len(output.encode())
            # Never without the first: a page that may be empty could leave the caller at the same place for ever.
            if fitting and held > MAX_BYTES:
                return fitting
            fitting.append(
                FullItem(item=each.item, status=each.status, result=each.result, run=run, text=text, output=output)
            )
    return fitting


async def _run(ports: Ports, batch: Batch, each: FullItem) -> Run | None:
    """The run of an item that has one, and still has."""
    if each.item.error_code is not None or (each.result is not None and not each.result.ran):
        return None
    # Not started yet: nothing to read, and a batch may have a thousand of these.
    if each.result is None and each.status is not ItemStatus.ACTIVE:
        return None
    stored = await ports.runs.load(run_of(batch.id, each.item.index))
    return None if stored is None or stored.value.is_deleted else stored.value


async def _texts(ports: Ports, run: Run | None) -> tuple[str, str]:
    """The run's text and output; nothing of one that is deleted while we read it."""
    if run is None:
        return "", ""
    try:
        return await ports.runs.load_text(run, run.result.text), await ports.runs.load_text(run, run.result.output)
    except LookupError:
        # The parts of a deleted run are removed while its row is still there, as a tombstone.
        if await is_gone(ports, run.id):
            return "", ""
        raise
