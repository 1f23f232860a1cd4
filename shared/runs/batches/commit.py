"""Decide and write, for batches: the only way a batch's row changes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from shared.runs.concurrency import LostRace, Races
from shared.runs.listing import after_change, before_change
from shared.runs.model import batch_facts as facts
from shared.runs.model.batch import Active, Batch
from shared.runs.model.batch_facts import BatchFact
from shared.runs.ports import Ports, log
from shared.runs.rules.batch import decide_batch
from shared.runs.rules.change import Refused
from shared.runs.store.runs import Stored
from shared.runs.store.tables import Conflict
from shared.runs.traces import batch_committed

FROM_OUTSIDE = (facts.BatchCancelRequested, facts.BatchDeleted, facts.BatchCallbackRequested)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommittedBatch:
    """What a fact came to."""

    batch: Stored[Batch]
    """As it was written; where the fact was refused, as it was read."""

    started: tuple[Active, ...] = ()
    """The items that were started."""

    refused: Refused | None = None


async def commit_batch(ports: Ports, stored: Stored[Batch], fact: BatchFact) -> CommittedBatch:
    """Decide the fact on the batch and write what it comes to, as for runs.

    Raises ``LostRace`` for a right that another has taken and for a batch that is gone, ``StoreUnavailable``.
    """
    races, due = Races(stored.value.id), None
    while True:
        now = ports.clock()
        decision = decide_batch(stored.value, fact, now, ports.settings)
        if isinstance(decision, Refused):
            return CommittedBatch(batch=stored, refused=decision)
        # As for a run: should the caller die before it signals the driver, the sweep looks.
        if isinstance(fact, FROM_OUTSIDE):
            due = await ports.due.announce(stored.value.id, now)
        listing = await before_change(ports, stored, decision.batch)
        try:
            saved = await ports.batches.save(stored, decision.batch, decision.results)
        except Conflict as error:
            again = await ports.batches.load(stored.value.id)
            # A claim is never decided again: the other wake sends, and the receiver should get it once.
            if again is None or isinstance(fact, facts.BatchCallbackClaimed):
                raise LostRace(stored.value.id) from error
            # As for a run: the list's row as it was before a write is good for a later one, too.
            stored = replace(again, listing=stored.listing)
            races.lost()
            continue
        if due is not None:  # this process may have stood still over its write, and the row is gone since
            await ports.due.keep_announced(due, ports.clock())
        if saved.value.status is not stored.value.status:
            log.info("%s is %s", saved.value.id, saved.value.status)
            batch_committed(ports, saved.value)
        saved = replace(saved, listing=await after_change(ports, stored.value, saved.value, listing))
        return CommittedBatch(batch=saved, started=decision.started)
