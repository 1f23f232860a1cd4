"""Delete a batch: a tombstone at once; its runs, then its rows in later wakes; at last the tombstone itself."""

from __future__ import annotations

from dataclasses import replace

from shared.runs.batches.batch import Batch, entomb, session_of
from shared.runs.deletion import Deletion, Drivers, tombstone_kept
from shared.runs.services import RACES, Services
from shared.runs.store.runs import Stored
from shared.runs.store.tables import Conflict

RUNS_A_WAKE = 32
ROWS_A_WAKE = 500


class BatchDeletion:
    """The use case *delete a batch*. The caller signals its driver, which does the rest."""

    def __init__(self, services: Services, deletion: Deletion) -> None:
        self._services = services
        self._deletion = deletion
        self._kept = tombstone_kept(services.settings)

    async def delete(self, batch_id: str, *, runs: bool = True) -> bool:
        """Make a tombstone of the batch; an active one is cancelled in the same write. False when there is none.

        Without ``runs`` its runs stay: their sessions may be in use, and expire by themselves.
        """
        for _ in range(RACES):
            stored = await self._services.batches.load(batch_id)
            if stored is None or stored.value.deleted_at is not None:
                return stored is not None
            now = self._services.clock()
            await self._services.watch.announce(batch_id, now)
            try:
                await self._services.batches.save(stored, entomb(stored.value, now, runs=runs))
            except Conflict:
                continue
            return True
        raise Conflict(batch_id, "too many races")

    async def purge(self, stored: Stored[Batch], drivers: Drivers) -> Batch | None:
        """One wake of a tombstone whose runs have all ended; None when its own row is gone. Raises ``Conflict``."""
        batch, services, now = stored.value, self._services, self._services.clock()
        begun = batch.total if batch.cancelled_from is None else batch.cancelled_from
        if batch.purged < begun:
            until = min(begun, batch.purged + RUNS_A_WAKE)
            for index in range(batch.purged, until):
                for run_id in await self._deletion.delete_session(session_of(batch.id, index)):
                    await drivers.woken(run_id)
            return (await services.batches.save(stored, replace(batch, purged=until, wake_at=now))).value
        if not batch.emptied:
            await services.index.unlist(services.index.place_of_batch(batch))
            rows = await services.batches.rows(batch.id, limit=ROWS_A_WAKE)
            if rows:
                await services.batches.remove_rows(batch.id, rows)
                return (await services.batches.save(stored, replace(batch, wake_at=now))).value
            kept = batch.deleted_at + self._kept if batch.deleted_at is not None else now
            return (await services.batches.save(stored, replace(batch, emptied=True, wake_at=kept))).value
        if now < batch.wake_at:
            return batch
        await services.batches.remove(stored)
        return None
