"""The row of a run or a batch in its owner's list, kept as its own row is.

It is written after each change of status, best effort. Whoever dates a due row, or removes it, sees to it first that
the list is right (``ensure_listed``), so that a crash between the two rows is found and repaired.

A status that is not final is written under the ETag that the list's row had *before* the own row was written: a
process that was frozen in between cannot show it over a later one. A final one is written over whatever is there.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TypeVar

from shared.runs.model.batch import Batch
from shared.runs.model.ids import is_batch_id
from shared.runs.model.listed import ListStatus, summary_of
from shared.runs.model.phases import Creating, RunStatus
from shared.runs.model.run import Run
from shared.runs.ports import Ports, log
from shared.runs.store.index import UNLISTED, Listing
from shared.runs.store.runs import Stored
from shared.runs.store.tables import Conflict, StoreUnavailable

Subject = TypeVar("Subject", Run, Batch)
"""What is listed."""

RACES = 5

PATIENCE_SECONDS = 2.0
"""How long the list may keep the own row waiting to be written."""


def is_shown(status: ListStatus, listing: Listing | None) -> bool:
    """Whether a list's row is known to show this status."""
    return listing is not None and listing.status is status


async def before_change(ports: Ports, stored: Stored[Subject], after: Subject) -> Listing | None:
    """The list's row as it is before the own row is written; None where nothing will be written under its ETag."""
    is_needed = after.status is not stored.value.status and not after.status.terminal
    if stored.listing is not None or not is_needed:
        return stored.listing
    with contextlib.suppress(StoreUnavailable, TimeoutError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await ports.index.listing(ports.index.list_row_of(stored.value))
    return None


def may_list_first(stored: Stored[Subject], after: Subject, listing: Listing | None) -> bool:
    """Whether the list's row may be inserted beside the write of the own row, by ``list_first``.

    Where a claimed create has begun a run. If only the list's row gets through, it shows as begun what is about to be:
    nobody shows less while the claim is open, since whoever holds it may still write, and afterwards a repair does.
    """
    return listing == UNLISTED and _is_claimed(stored.value) and after.status is RunStatus.IN_PROGRESS


def _is_claimed(one: Run | Batch) -> bool:
    return isinstance(one, Run) and isinstance(one.phase, Creating) and one.phase.claim is not None


async def list_first(ports: Ports, after: Subject) -> Listing | None:
    """Put into the list what is being written; None when it is not there by this."""
    with contextlib.suppress(Conflict, StoreUnavailable):
        return await ports.index.show(after, UNLISTED)
    return None


async def unlist_deleted(ports: Ports, run: Run) -> None:
    """Take back what ``list_first`` may have put into the list of a run that was deleted before its own row changed."""
    stored = await ports.runs.load(run.id)
    if stored is None or stored.value.is_deleted:
        await ports.index.unlist(ports.index.list_row_of(run))


async def after_change(ports: Ports, before: Subject, after: Subject, listing: Listing | None) -> Listing | None:
    """Have the list show what has changed in a run or batch, whose row is written; the list's row as it then is.

    ``listing``: from ``before_change``. What fails is left to whoever looks at the due row next.
    """
    try:
        if after.is_deleted:
            if not before.is_deleted:
                await ports.index.hide(after)
            return None
        if after.status.terminal:
            # A late cancel's tokens are counted after the end.
            if summary_of(before) == summary_of(after):
                return listing
            return await (ports.index.show(after, UNLISTED) if listing == UNLISTED else ports.index.show_ended(after))
        if after.status is before.status or listing is None:
            return listing
        return await ports.index.show(after, listing)
    except Conflict:
        log.info("%s: another call has written its list's row", after.id)
    except StoreUnavailable as error:
        log.warning("%s: its list's row is not written: %s", after.id, error)
        return None
    return await repaired(ports, after)


async def shown(ports: Ports, stored: Stored[Subject]) -> Stored[Subject]:
    """Have the list show what was submitted (again), best effort."""
    one, listing = stored.value, stored.listing
    if one.is_deleted or is_shown(one.status, listing):
        return stored
    try:
        if listing == UNLISTED:
            return replace(stored, listing=await ports.index.show(one, listing))
        # What the list shows may be newer than what is known of the row here: both are read again.
        return replace(stored, listing=await ensure_listed(ports, one.id, one.status, ports.index.list_row_of(one)))
    except Conflict:
        return replace(stored, listing=await repaired(ports, one))
    except StoreUnavailable as error:
        log.warning("%s: its list's row is not written: %s", one.id, error)
        return replace(stored, listing=None)


async def repaired(ports: Ports, one: Run | Batch) -> Listing | None:
    """Have the list show it as its row now is, best effort."""
    with contextlib.suppress(StoreUnavailable):
        return await ensure_listed(ports, one.id, None, ports.index.list_row_of(one))
    return None


async def ensure_listed(ports: Ports, subject: str, status: ListStatus | None, place: str = "") -> Listing | None:
    """The list's row of a run or batch, once it shows the status; None where that has no row, or changes too often.

    ``status``: its own, if that was read before. ``place``: where its row is, if that is known. Raises
    ``StoreUnavailable``.
    """
    for _ in range(RACES):
        if not place:
            stored = await _load(ports, subject)
            if stored is None:
                return None
            place = ports.index.list_row_of(stored.value)
        # In this order: if the own row is written after it was read here, so is the list's, and its ETag moves.
        listing = await ports.index.listing(place)
        if status is not None and is_shown(status, listing):
            return listing
        stored = await _load(ports, subject)
        if stored is not None and (own := ports.index.list_row_of(stored.value)) != place:
            place = own  # the other is that of a request that announced itself for the same number and lost it
            continue
        if stored is None or stored.value.is_deleted:
            return None
        status = stored.value.status
        # Written beside the own row, which may not be there yet: see ``may_list_first``.
        is_early = _is_claimed(stored.value) and is_shown(RunStatus.IN_PROGRESS, listing)
        if is_shown(status, listing) or is_early:
            return listing
        with contextlib.suppress(Conflict):
            return await ports.index.show(stored.value, listing)
    return None


async def _load(ports: Ports, subject: str) -> Stored[Run] | Stored[Batch] | None:
    return await (ports.batches.load(subject) if is_batch_id(subject) else ports.runs.load(subject))
