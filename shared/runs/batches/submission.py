"""Submit a batch: its items, then its own row. Every step is create-or-same, as for a run.

The steps: key row, watch row, items (their parts first), the row of the owner's list, the batch. The last one is what
makes it a batch: a crash before it leaves rows that no one reads, and that the sweep clears away after an hour.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from shared.errors import BatchDeleted, DormouseError
from shared.runs.batches.batch import Active, Batch, BatchItem, batch_id, close, session_of, submission_of
from shared.runs.keys import known_key
from shared.runs.services import RACES, Services
from shared.runs.store.index import KeyRecord, key_digest
from shared.runs.store.runs import Stored
from shared.runs.store.tables import Conflict
from shared.runs.store.watch import Watch
from shared.runs.submission import Allotted, Submission, Submissions

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
    """A request for a batch. ``payload`` is a digest of all that was asked for; ``concurrency`` None: the app's.

    ``items`` may make each item only when it is asked for. ``defaults`` is what items ask for that say nothing else:
    without input, to be checked once for all.
    """

    items: Sequence[AskedItem]
    defaults: Submission
    payload: str
    concurrency: int | None = None
    callback_url: str | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSubmitted:
    """A batch as submit leaves it, and its watch row as this call wrote it; None: the batch was over already."""

    batch: Batch
    watch: Watch | None


class BatchSubmissions:
    """The use case *submit a batch*. The caller starts the driver afterwards."""

    def __init__(self, services: Services, submissions: Submissions) -> None:
        self._services = services
        self._submissions = submissions

    async def submit(self, wanted: BatchSubmission) -> BatchSubmitted:
        """Write the batch. A bad item is written as one that has failed.

        Raises ``IdempotencyKeyReused``, ``BatchDeleted``, what is wrong with the batch's own agent, model, limits and
        address for its callback, and ``StoreUnavailable`` at any point.
        """
        for _ in range(RACES):
            submitted = await self._try(wanted)
            if submitted is not None:
                return submitted
        raise Conflict(None, "too many races")

    async def _try(self, wanted: BatchSubmission) -> BatchSubmitted | None:
        """None when a request with the same key was faster: look again."""
        record, key = None, wanted.idempotency_key
        if key is not None:
            record = await known_key(self._services, wanted.defaults.owner, key, wanted.payload)
        if record is not None:
            again = await self._services.batches.load(batch_id(record.session_id))
            if again is not None:
                return await self._again(again)
        self._submissions.check(wanted.defaults)
        self._submissions.check_callback(wanted.callback_url)
        if record is None and key is not None:
            record = await self._services.index.claim_key(self._new_key(wanted, key))
            if record is None:
                return None
        batch = self._new_batch(wanted, record)
        services, now = self._services, self._services.clock()
        watch = await services.watch.announce(batch.id, now, listed=services.index.place_of_batch(batch))
        refused = await self._put_items(batch.id, wanted.items)
        batch = close(replace(batch, refused=refused, failed=len(refused)), batch.updated_at)
        await services.index.list_batch(batch)
        watch = await services.watch.keep_announced(watch, services.clock())
        try:
            await services.batches.create(batch)
        except Conflict:
            there = await services.batches.load(batch.id)
            return None if there is None else await self._again(there)
        return BatchSubmitted(batch=batch, watch=watch)

    async def _again(self, stored: Stored[Batch]) -> BatchSubmitted:
        """The batch that the key started, as it stands."""
        if stored.value.deleted_at is not None:
            raise BatchDeleted
        if stored.value.done:
            return BatchSubmitted(batch=stored.value, watch=None)
        return BatchSubmitted(batch=stored.value, watch=None)  # announced by who committed it

    def _new_key(self, wanted: BatchSubmission, key: str) -> KeyRecord:
        return KeyRecord(
            digest=key_digest(wanted.defaults.owner, key),
            payload=wanted.payload,
            session_id=secrets.token_hex(16),
            number=0,
            created_at=self._services.clock(),
        )

    def _new_batch(self, wanted: BatchSubmission, record: KeyRecord | None) -> Batch:
        """The batch as it begins, before its items were looked at."""
        now = self._services.clock()
        most = self._services.settings.batch_concurrency
        concurrency = min(wanted.concurrency or most, most)
        return Batch(
            id=batch_id(secrets.token_hex(16) if record is None else record.session_id),
            owner=wanted.defaults.owner,
            submission=secrets.token_hex(16) if record is None else record.digest,
            created_at=now if record is None else record.created_at,
            updated_at=now,
            wake_at=now,
            progress_at=now,
            total=len(wanted.items),
            concurrency=concurrency,
            window=concurrency,
            agent=wanted.defaults.agent,
            model=wanted.defaults.model,
            metadata=dict(wanted.defaults.metadata),
            callback_url=wanted.callback_url,
            retry_after=self._services.settings.poll_first,
        )

    async def _put_items(self, batch: str, items: Sequence[AskedItem]) -> tuple[int, ...]:
        """Write the items; the numbers of the bad ones. Some at a time: all may be too many."""
        refused: list[int] = []
        for start in range(0, len(items), WRITTEN_TOGETHER):
            written: list[BatchItem] = []
            for index in range(start, min(start + WRITTEN_TOGETHER, len(items))):
                item = self._item(index, items[index])
                refused += [index] if item.error_code is not None else []
                written.append(await self._kept(batch, item))
                await asyncio.sleep(0)
            await self._services.batches.put_items(batch, written)
        return tuple(refused)

    def _item(self, index: int, given: AskedItem) -> BatchItem:
        asked = given.asked
        if isinstance(asked, Submission):
            try:
                self._submissions.check(asked)
                return BatchItem(index=index, id=given.id, asked=_to_json(asked))
            except DormouseError as error:
                asked = error
        return BatchItem(index=index, id=given.id, error_code=asked.code, error_message=asked.message[:MOST_SAID])

    async def _kept(self, batch: str, item: BatchItem) -> BatchItem:
        return replace(item, asked=await self._services.batches.keep(batch, item.index, str(item.asked)))


def submission(batch: Batch, turn: Active, asked: str, *, cancelled: bool = False) -> Submission:
    """The request for the run of an item whose turn it is, with the ids that the batch has for it."""
    given = json.loads(asked)
    return Submission(
        owner=batch.owner,
        items=tuple(given.pop("items")),
        allotted=Allotted(
            batch_id=batch.id,
            session_id=session_of(batch.id, turn.index),
            submission=submission_of(batch.id, turn.index),
            since=turn.since,
            cancelled=cancelled,
        ),
        **given,
    )


def _to_json(asked: Submission) -> str:
    """What an item asks for, as its row holds it."""
    kept = {name: getattr(asked, name) for name in KEPT}
    return json.dumps({**kept, "metadata": dict(asked.metadata)}, ensure_ascii=False)


async def clear_away(services: Services, watch: Watch) -> bool:
    """Remove what a submit that never committed left behind, but for its watch row; False when it may yet commit.

    As for a run: all goes under ETags read before the watch row was seen unchanged.
    """
    rows = await services.batches.rows(watch.run_id)
    place = await services.index.listed(watch.listed)
    current = await services.watch.get(watch.run_id)
    if current is None or current.etag != watch.etag or not await services.batches.remove_rows(watch.run_id, rows):
        return False
    if place is not None:
        await services.index.remove(place)
    return True
