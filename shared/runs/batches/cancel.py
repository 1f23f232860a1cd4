"""Cancel a batch."""

from __future__ import annotations

from shared.runs.batches.commit import commit_batch
from shared.runs.model.batch import Batch
from shared.runs.model.batch_facts import BatchCancelRequested
from shared.runs.ports import Ports


async def cancel_batch(ports: Ports, batch_id: str) -> Batch | None:
    """End what is pending, and have what is active stopped; idempotent. None when there is none.

    The caller signals the driver afterwards. Raises ``LostRace``, ``StoreUnavailable``.
    """
    stored = await ports.batches.load(batch_id)
    # The runs that are active are stopped by the next wake: there may be many, and a caller need not wait for them.
    return None if stored is None else (await commit_batch(ports, stored, BatchCancelRequested())).batch.value
