"""Submit a batch: its items, then its own row. Every step is create-or-same, as for a run.

The steps: key row, due row, items (their parts first), the row of the owner's list, the batch. Only the last one makes
it a batch: a crash before it leaves rows that no one reads, and that the sweep removes after an hour.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from shared.errors import BatchDeleted, DormouseError
from shared.runs.commands.checks import check_callback, check_new_session
from shared.runs.commands.keys import known_key, new_key
from shared.runs.commands.leftovers import is_unchanged
from shared.runs.commands.operate import check_intake
from shared.runs.commands.submission import AssignedIds, Submission
from shared.runs.concurrency import Races
from shared.runs.listing import is_shown, shown
from shared.runs.model.batch import (
    Active,
    Batch,
    BatchItem,
    BatchRequest,
    BatchSchedule,
    Pace,
    fingerprint_of,
    session_of,
)
from shared.runs.model.ids import batch_id
from shared.runs.ports import Ports
from shared.runs.rules.batch import end_if_done
from shared.runs.store.due import DueRow
from shared.runs.store.index import KeyRecord
from shared.runs.store.runs import Stored
from shared.runs.store.tables import Conflict

ITEM_FIELDS = ("items", "agent", "model", "deadline_seconds", "turns", "tool_calls", "total_tokens")
"""What of an item's submission its row holds, besides the metadata; the rest is the batch's."""

WRITTEN_TOGETHER = 25
"""Items that are in memory at once while a batch is submitted."""

MAX_SAID = 1_000
"""Characters of an error that are kept with an item."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedItem:
    """One input of a batch: a checked request for a run, or what is wrong with it."""

    id: str | None
    asked: Submission | DormouseError


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """What a request for a batch says besides its items."""

    defaults: Submission
    """What items ask for that say nothing else: without input, to be checked once for all."""

    payload: str
    """A digest of all that was asked for."""

    concurrency: int | None = None
    """None: the app's own."""

    callback_url: str | None = None
    idempotency_key: str | None = None

    retry_of: str | None = None
    """The batch whose items are run again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSubmission(BatchOptions):
    """A request for a batch."""

    items: Sequence[AskedItem]
    """May make each item only when it is asked for."""


PutItems = Callable[[str], Awaitable[tuple[int, ...]]]
"""Writes the items into the batch of this id, always the same ones; gives the numbers of the bad ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSubmitted:
    """A batch as submit leaves it."""

    batch: Batch

    due: DueRow | None
    """Its due row as this call wrote it, for the driver to date. None: it was announced by who committed the batch."""


async def submit_batch(ports: Ports, wanted: BatchSubmission) -> BatchSubmitted:
    """Write the batch. A bad item is written as one that has failed. The caller starts the driver afterwards.

    Raises ``IntakePaused``, ``IdempotencyKeyReused``, ``BatchDeleted``, what is wrong with the batch's own agent,
    model, limits and address for its callback, and ``StoreUnavailable`` at any point.
    """

    async def put(batch: str) -> tuple[int, ...]:
        return await _put_items(ports, batch, wanted.items)

    return await begin_batch(ports, wanted, len(wanted.items), put)


async def begin_batch(ports: Ports, wanted: BatchOptions, total: int, put: PutItems) -> BatchSubmitted:
    """Write the batch, wherever its items come from; ``total`` is how many these are. Raises as ``submit_batch``."""
    races = Races("a batch")
    while (submitted := await _try(ports, wanted, total, put)) is None:
        races.lost()
    return submitted


async def batch_of_key(ports: Ports, wanted: BatchOptions) -> BatchSubmitted | None:
    """The batch that the request's key started, as it stands; None: there is none yet.

    Raises ``IdempotencyKeyReused``, ``BatchDeleted``.
    """
    if wanted.idempotency_key is None:
        return None
    record = await known_key(ports, wanted.defaults.owner, wanted.idempotency_key, wanted.payload)
    there = None if record is None else await ports.batches.load(batch_id(record.session_id))
    return None if there is None else _again(there)


async def _try(ports: Ports, wanted: BatchOptions, total: int, put: PutItems) -> BatchSubmitted | None:
    """One try. None when a request with the same key was faster: look again."""
    record, key = None, wanted.idempotency_key
    if key is not None:
        record = await known_key(ports, wanted.defaults.owner, key, wanted.payload)
    # Before the checks: what this version would refuse today was accepted then.
    if record is not None and (there := await ports.batches.load(batch_id(record.session_id))) is not None:
        return _again(there)
    await check_intake(ports)
    check_new_session(
        ports, wanted.defaults
    )  # what is wrong with all items refuses the batch, instead of failing each of them
    check_callback(ports, wanted.callback_url)
    if record is None and key is not None:
        fresh = new_key(ports, wanted.defaults.owner, key, wanted.payload, secrets.token_hex(16))
        record = await ports.index.claim_key(fresh)
        if record is None:
            return None
    batch = _new_batch(ports, wanted, total, record)
    listed = ports.index.list_row_of(batch)
    due = await ports.due.announce(batch.id, ports.clock(), listed=listed)
    # The items before the batch: a thousand fit in no transaction, and whoever can read the batch must find them all.
    refused = await put(batch.id)
    request, progress = replace(batch.request, refused=refused), replace(batch.progress, failed=len(refused))
    # One whose items are all bad is over at once, and its callback is due: no wake would find anything to end.
    batch = end_if_done(replace(batch, request=request, progress=progress), batch.updated_at)
    listing = await ports.index.list_hidden(batch)
    due = await ports.due.keep_announced(due, ports.clock())
    try:
        stored = await ports.batches.create(batch)
    except Conflict:  # a call with the same key was faster, and has written the same items
        found = await ports.batches.load(batch.id)
        if found is None:
            return None
        # This call has hidden the row that the other may have shown.
        return _again(await shown(ports, replace(found, listing=listing)))
    stored = await shown(ports, replace(stored, listing=listing))
    if is_shown(batch.status, stored.listing):
        due = replace(due, listed_status=batch.status.value)
    return BatchSubmitted(batch=batch, due=due)


def _again(stored: Stored[Batch]) -> BatchSubmitted:
    """The batch that the key started, as it stands."""
    if stored.value.is_deleted:
        raise BatchDeleted
    return BatchSubmitted(batch=stored.value, due=None)


def _new_batch(ports: Ports, wanted: BatchOptions, total: int, record: KeyRecord | None) -> Batch:
    """The batch as it begins, before its items were looked at."""
    now, most, asked = ports.clock(), ports.settings.batch_concurrency, wanted.defaults
    # More than the app allows is not refused: how wide a batch runs changes when it ends, and nothing of its results.
    concurrency = min(wanted.concurrency or most, most)
    request = BatchRequest(
        id=batch_id(secrets.token_hex(16) if record is None else record.session_id),
        owner=asked.owner,
        fingerprint=secrets.token_hex(16) if record is None else record.digest,
        created_at=now if record is None else record.created_at,
        total=total,
        concurrency=concurrency,
        agent=asked.agent,
        model=asked.model,
        metadata=dict(asked.metadata),
        callback_url=wanted.callback_url,
        retry_of=wanted.retry_of,
    )
    return Batch(
        request=request,
        schedule=BatchSchedule(wake_at=now, progress_at=now, retry_after=ports.settings.poll_first),
        pace=Pace(window=concurrency),
        updated_at=now,
    )


async def _put_items(ports: Ports, batch: str, items: Sequence[AskedItem]) -> tuple[int, ...]:
    """Write the items; the numbers of the bad ones. Some at a time: all may be too many."""
    refused: list[int] = []
    for start in range(0, len(items), WRITTEN_TOGETHER):
        written: list[BatchItem] = []
        for index in range(start, min(start + WRITTEN_TOGETHER, len(items))):
            item = _item(ports, index, items[index])
            refused += [index] if item.error_code is not None else []
            asked = await ports.batches.store_text(batch, item.index, str(item.asked))
            written.append(replace(item, asked=asked))
            await asyncio.sleep(0)  # each is parsed and checked for some milliseconds: let other requests go on between
        await ports.batches.put_items(batch, written)
    return tuple(refused)


def _item(ports: Ports, index: int, given: AskedItem) -> BatchItem:
    asked = given.asked
    if isinstance(asked, Submission):
        try:
            check_new_session(ports, asked)
            return BatchItem(index=index, id=given.id, asked=_to_json(asked))
        except DormouseError as error:
            asked = error
    return BatchItem(index=index, id=given.id, error_code=asked.code, error_message=asked.message[:MAX_SAID])


def submission(
    batch: Batch, active: Active, asked: str, *, is_first: bool = False, cancelled: bool = False
) -> Submission:
    """The request for the run of an item that is started, with the ids that the batch has for it."""
    # Without a callback: the batch has one for all. Without a key: the ids are derived, and so the same each time.
    given = json.loads(asked)
    return Submission(
        owner=batch.request.owner,
        items=tuple(given.pop("items")),
        assigned=AssignedIds(
            batch_id=batch.id,
            session_id=session_of(batch.id, active.index),
            fingerprint=fingerprint_of(batch.id, active.index),
            since=active.since,
            is_first=is_first,
            cancelled=cancelled,
        ),
        **given,
    )


def _to_json(asked: Submission) -> str:
    """What an item asks for, as its row holds it."""
    kept = {name: getattr(asked, name) for name in ITEM_FIELDS}
    return json.dumps({**kept, "metadata": dict(asked.metadata)}, ensure_ascii=False)


async def remove_leftovers_of_batch(ports: Ports, due: DueRow) -> bool:
    """Remove the items and the list's row of a batch that was never written. False when it may yet be written.

    As for a run: under the ETags read before the due row was seen unchanged. The due row is left to the caller.
    """
    rows = await ports.batches.rows(due.run_id)
    listed = await ports.index.listed(due.listed)
    if not await is_unchanged(ports, due) or not await ports.batches.remove_rows(due.run_id, rows):
        return False
    if listed is not None:
        await ports.index.remove(listed)
    return True
