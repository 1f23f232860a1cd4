"""Submit a batch: its items, then its own row. Every step is create-or-same, as for a run.

The steps: key row, due row, items (their parts first), the row of the owner's list, the batch. The last one is what
makes it a batch: a crash before it leaves rows that no one reads, and that the sweep clears away after an hour.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from shared.errors import BatchDeleted, DormouseError
from shared.runs.commands.checks import check, check_callback
from shared.runs.commands.keys import known_key
from shared.runs.commands.submission import AssignedIds, Submission
from shared.runs.concurrency import Races
from shared.runs.model.batch import (
    Active,
    Batch,
    BatchItem,
    BatchRequest,
    BatchSchedule,
    Pace,
    batch_id,
    fingerprint_of,
    session_of,
)
from shared.runs.ports import Ports
from shared.runs.rules.batch import closed
from shared.runs.store.due import DueRow
from shared.runs.store.index import KeyRecord, key_digest
from shared.runs.store.runs import Stored
from shared.runs.store.tables import Conflict

KEPT = ("items", "agent", "model", "deadline_seconds", "turns", "tool_calls", "total_tokens")
"""What of an item's submission its row holds, besides the metadata; the rest is the batch's."""

WRITTEN_TOGETHER = 25
"""Items that are in memory at once while a batch is submitted."""

MOST_SAID = 1_000
"""Characters of an error that are kept with an item."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedItem:
    """One input of a batch: a checked request for a run, or what is wrong with it."""

    id: str | None
    asked: Submission | DormouseError


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSubmission:
    """A request for a batch."""

    items: Sequence[AskedItem]
    """May make each item only when it is asked for."""

    defaults: Submission
    """What items ask for that say nothing else: without input, to be checked once for all."""

    payload: str
    """A digest of all that was asked for."""

    concurrency: int | None = None
    """None: the app's own."""

    callback_url: str | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSubmitted:
    """A batch as submit leaves it."""

    batch: Batch

    due: DueRow | None
    """Its due row as this call wrote it, for the driver to date. None: it was announced by who committed the batch."""


async def submit_batch(ports: Ports, wanted: BatchSubmission) -> BatchSubmitted:
    """Write the batch. A bad item is written as one that has failed. The caller starts the driver afterwards.

    Raises ``IdempotencyKeyReused``, ``BatchDeleted``, what is wrong with the batch's own agent, model, limits and
    address for its callback, and ``StoreUnavailable`` at any point.
    """
    races = Races("a batch")
    while (submitted := await _try(ports, wanted)) is None:
        races.lost()
    return submitted


async def _try(ports: Ports, wanted: BatchSubmission) -> BatchSubmitted | None:
    """None when a request with the same key was faster: look again."""
    record, key = None, wanted.idempotency_key
    if key is not None:
        record = await known_key(ports, wanted.defaults.owner, key, wanted.payload)
    if record is not None and (there := await ports.batches.load(batch_id(record.session_id))) is not None:
        return _again(there)
    check(ports, wanted.defaults)
    check_callback(ports, wanted.callback_url)
    if record is None and key is not None:
        record = await ports.index.claim_key(_new_key(ports, wanted, key))
        if record is None:
            return None
    batch = _new_batch(ports, wanted, record)
    listed = ports.index.place_of_batch(batch)
    due = await ports.due.announce(batch.id, ports.clock(), listed=listed)
    refused = await _put_items(ports, batch.id, wanted.items)
    request, progress = replace(batch.request, refused=refused), replace(batch.progress, failed=len(refused))
    batch = closed(replace(batch, request=request, progress=progress), batch.updated_at)
    await ports.index.list_batch(batch)
    due = await ports.due.keep_announced(due, ports.clock())
    try:
        await ports.batches.create(batch)
    except Conflict:
        found = await ports.batches.load(batch.id)
        return None if found is None else _again(found)
    return BatchSubmitted(batch=batch, due=due)


def _again(stored: Stored[Batch]) -> BatchSubmitted:
    """The batch that the key started, as it stands."""
    if stored.value.is_deleted:
        raise BatchDeleted
    return BatchSubmitted(batch=stored.value, due=None)


def _new_key(ports: Ports, wanted: BatchSubmission, key: str) -> KeyRecord:
    return KeyRecord(
        digest=key_digest(wanted.defaults.owner, key),
        payload=wanted.payload,
        session_id=secrets.token_hex(16),
        number=0,
        created_at=ports.clock(),
    )


def _new_batch(ports: Ports, wanted: BatchSubmission, record: KeyRecord | None) -> Batch:
    """The batch as it begins, before its items were looked at."""
    now, most, asked = ports.clock(), ports.settings.batch_concurrency, wanted.defaults
    concurrency = min(wanted.concurrency or most, most)
    request = BatchRequest(
        id=batch_id(secrets.token_hex(16) if record is None else record.session_id),
        owner=asked.owner,
        fingerprint=secrets.token_hex(16) if record is None else record.digest,
        created_at=now if record is None else record.created_at,
        total=len(wanted.items),
        concurrency=concurrency,
        agent=asked.agent,
        model=asked.model,
        metadata=dict(asked.metadata),
        callback_url=wanted.callback_url,
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
            asked = await ports.batches.keep(batch, item.index, str(item.asked))
            written.append(replace(item, asked=asked))
            await asyncio.sleep(0)
        await ports.batches.put_items(batch, written)
    return tuple(refused)


def _item(ports: Ports, index: int, given: AskedItem) -> BatchItem:
    asked = given.asked
    if isinstance(asked, Submission):
        try:
            check(ports, asked)
            return BatchItem(index=index, id=given.id, asked=_to_json(asked))
        except DormouseError as error:
            asked = error
    return BatchItem(index=index, id=given.id, error_code=asked.code, error_message=asked.message[:MOST_SAID])


def submission(batch: Batch, active: Active, asked: str, *, cancelled: bool = False) -> Submission:
    """The request for the run of an item that is started, with the ids that the batch has for it."""
    given = json.loads(asked)
    return Submission(
        owner=batch.request.owner,
        items=tuple(given.pop("items")),
        assigned=AssignedIds(
            batch_id=batch.id,
            session_id=session_of(batch.id, active.index),
            fingerprint=fingerprint_of(batch.id, active.index),
            since=active.since,
            cancelled=cancelled,
        ),
        **given,
    )


def _to_json(asked: Submission) -> str:
    """What an item asks for, as its row holds it."""
    kept = {name: getattr(asked, name) for name in KEPT}
    return json.dumps({**kept, "metadata": dict(asked.metadata)}, ensure_ascii=False)


async def clear_batch_away(ports: Ports, due: DueRow) -> bool:
    """Remove what a submit that never committed left behind, but for its due row; False when it may yet commit.

    As for a run: all goes under ETags read before the due row was seen unchanged.
    """
    rows = await ports.batches.rows(due.run_id)
    place = await ports.index.listed(due.listed)
    current = await ports.due.get(due.run_id)
    if current is None or current.etag != due.etag or not await ports.batches.remove_rows(due.run_id, rows):
        return False
    if place is not None:
        await ports.index.remove(place)
    return True
