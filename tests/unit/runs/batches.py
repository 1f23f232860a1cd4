"""Batches in one process: how a test submits one, and what the rows and the provider say of it."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

from shared import errors
from shared.runs.batches.submit import AskedItem, BatchSubmission, BatchSubmitted, submit_batch
from shared.runs.commands.submission import Submission
from shared.runs.model.batch import Batch, item_status, run_of
from tests.unit.runs.conftest import Rig


def one(text: str, **fields: Any) -> Submission:
    """The request for an item at the workshop (or at ``agent``)."""
    items = ({"type": "message", "role": "user", "content": text},) if text else ()
    return Submission(items=items, **{"owner": "test", "agent": "workshop", **fields})


def asked(
    *texts: str, key: str | None = None, concurrency: int | None = None, callback_url: str | None = None
) -> BatchSubmission:
    """A request for a batch with an item for each text."""
    return BatchSubmission(
        callback_url=callback_url,
        items=[AskedItem(id=f"i-{n}", asked=one(text)) for n, text in enumerate(texts)],
        defaults=one(""),
        payload=hashlib.sha256(repr(texts).encode()).hexdigest(),
        concurrency=concurrency,
        idempotency_key=key,
    )


async def submit(rig: Rig, *texts: str, **fields: Any) -> BatchSubmitted:
    """Submit a batch."""
    return await submit_batch(rig.app.ports, asked(*texts, **fields))


async def ended(rig: Rig, callback_url: str | None, **fields: Any) -> Batch:
    """A batch that is over at once, its one item being bad, and whose callback (if any) is still to be sent."""
    bad = [AskedItem(id="bad", asked=errors.InvalidJson("no"))]
    defaults = one("", metadata={"job": "night"})
    wanted = BatchSubmission(items=bad, defaults=defaults, payload="p", callback_url=callback_url, **fields)
    return (await submit_batch(rig.app.ports, wanted)).batch


async def load(rig: Rig, batch_id: str) -> Batch:
    """The batch as its row has it."""
    stored = await rig.app.ports.batches.load(batch_id)
    assert stored is not None, batch_id
    return stored.value


async def item_statuses(rig: Rig, batch_id: str) -> dict[str, int]:
    """How many items have which status, item by item."""
    batch = await load(rig, batch_id)
    heads = await rig.app.ports.batches.heads(batch_id, 0)
    results = await rig.app.ports.batches.results(batch_id, 0, batch.request.total)
    return dict(Counter(item_status(batch, head.index, results.get(head.index)).value for head in heads))


async def creates(rig: Rig, batch_id: str) -> list[int]:
    """How many responses the provider has made for each item."""
    made = Counter(entry.metadata["run"] for entry in await rig.model.creates())
    return [made[run_of(batch_id, index)] for index in range((await load(rig, batch_id)).request.total)]
