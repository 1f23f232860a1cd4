"""Delete a batch: a tombstone at once; its runs, then its rows in later wakes; at last the tombstone itself."""

from __future__ import annotations

from shared.runs.batches.commit import commit_batch
from shared.runs.commands.delete import Wake, delete_session, tombstone_kept
from shared.runs.concurrency import LostRace
from shared.runs.model.batch import Batch, Deleted, session_of
from shared.runs.model.batch_facts import BatchDeleted, RowsPurged, RunsPurged
from shared.runs.ports import Ports
from shared.runs.store.runs import Stored
from shared.runs.store.tables import Conflict

RUNS_A_WAKE = 32
ROWS_A_WAKE = 500


async def delete_batch(ports: Ports, batch_id: str, *, runs: bool = True) -> bool:
    """Make a tombstone of the batch; an active one is cancelled in the same write. False when there is none.

    Without ``runs`` its runs stay: their sessions may be in use, and expire by themselves. The caller signals the
    driver, which does the rest.
    """
    stored = await ports.batches.load(batch_id)
    if stored is None:
        return False
    await commit_batch(ports, stored, BatchDeleted(runs=runs))
    return True


async def purge(ports: Ports, stored: Stored[Batch], phase: Deleted, wake: Wake) -> Stored[Batch] | None:
    """One wake of a tombstone; None when its own row is gone. Raises ``LostRace``."""
    batch, now = stored.value, ports.clock()
    # An item from there on was never started, so that it has no session to delete.
    begun = batch.progress.cancelled_from
    begun = batch.request.total if begun is None else begun
    if phase.purged < begun:
        until = min(begun, phase.purged + RUNS_A_WAKE)
        for index in range(phase.purged, until):
            for run_id in await delete_session(ports, session_of(batch.id, index)):
                await wake(run_id)  # each deletes its own copies at the provider, and has its due row for that
        return (await commit_batch(ports, stored, RunsPurged(until=until))).batch
    # The tombstone outlives the key: sent again it gets the answer that the batch is deleted, and begins no second one.
    keep = tombstone_kept(ports.settings).total_seconds()
    if not phase.emptied:
        # From the list first: what is listed should be there to be read.
        await ports.index.unlist(ports.index.list_row_of(batch))
        rows = await ports.batches.rows(batch.id, limit=ROWS_A_WAKE)
        if rows:
            await ports.batches.remove_rows(batch.id, rows)
        return (await commit_batch(ports, stored, RowsPurged(emptied=not rows, keep=keep))).batch
    if now < batch.schedule.wake_at:
        return stored
    try:
        await ports.batches.remove(stored)
    except Conflict as error:
        raise LostRace(batch.id) from error
    return None
