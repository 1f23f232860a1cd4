"""The callback of a batch's end: claim, send, record, as for runs; the batch's row keeps the last attempt only."""

from __future__ import annotations

from dataclasses import replace

from shared.runs.actions.outbox import CLAIM_SECONDS, log_attempt, make_attempt, name_of, reserve
from shared.runs.batches.commit import commit_batch
from shared.runs.commands.redeliver import check_sender
from shared.runs.model.batch import Batch, counts
from shared.runs.model.batch_facts import BatchCallbackClaimed, BatchCallbackRequested, BatchCallbackTried
from shared.runs.model.callbacks import NoShare
from shared.runs.model.outbox import CallbackState, Entry
from shared.runs.ports import Ports
from shared.runs.rules.batch import decide_batch
from shared.runs.rules.callbacks import after_attempt, message, webhook_id
from shared.runs.rules.change import Refused
from shared.runs.rules.schedule import CALLBACK_WAITS
from shared.runs.store.runs import Stored


async def call_back(ports: Ports, stored: Stored[Batch]) -> Stored[Batch]:
    """One attempt, if it is due, and what follows from it. Raises ``LostRace`` when another wake makes it."""
    now = ports.clock()
    entry = next((entry for entry in stored.value.outbox if entry.due <= now), None)
    if entry is None:
        return stored
    name, request = name_of(entry), stored.value.request
    if entry.tries > len(CALLBACK_WAITS):  # the last one was cut off
        given_up = BatchCallbackTried(entry=name, state=CallbackState.GIVEN_UP)
        return (await commit_batch(ports, stored, given_up)).batch
    # Room first, then the claim: a claim that waits for room would run out, and count as an attempt.
    share = reserve(ports, request.callback_url, request.owner)
    if isinstance(share, NoShare):
        return (await commit_batch(ports, stored, BatchCallbackTried(entry=name, seconds=share.wait))).batch
    try:
        claim = BatchCallbackClaimed(entry=name, tries=entry.tries, seconds=CLAIM_SECONDS)
        claimed = await commit_batch(ports, stored, claim)
        if claimed.refused is not None:
            return claimed.batch
        url = f"{ports.settings.base_url}/api/batches/{request.id}"
        event_id, body = webhook_id(request.id, entry.subject), body_of(stored.value, entry, url)
        sent = await make_attempt(ports, request.callback_url, event_id, body, share)
    finally:
        share.release()
    tried = replace(entry, tries=entry.tries + 1)
    age = (ports.clock() - entry.since).total_seconds()
    next_step = after_attempt(sent, tries=tried.tries, age=age, jitter=ports.random())
    fact = BatchCallbackTried(
        entry=name,
        sent=sent,
        attempt=claimed.batch.value.outbox.deliveries,
        state=next_step.state,
        seconds=next_step.wait,
    )
    recorded = await commit_batch(ports, claimed.batch, fact)
    log_attempt(request.id, tried, sent, next_step)
    return recorded.batch


async def redeliver_batch(ports: Ports, batch_id: str) -> Batch | None:
    """The batch, which is to tell of its end anew, whatever became of that before; None: no such batch.

    The caller signals the driver afterwards. Raises ``NoCallback``, ``BatchNotEnded``, ``CallbacksDisabled``;
    ``LostRace``, ``StoreUnavailable``.
    """
    stored = await ports.batches.load(batch_id)
    if stored is None or stored.value.is_deleted:
        return None
    fact = BatchCallbackRequested()
    first = decide_batch(stored.value, fact, ports.clock(), ports.settings)
    if isinstance(first, Refused) and first.error is not None:
        raise first.error
    # The app is looked at after the batch, so that what is wrong with the call is reported first.
    check_sender(ports)
    batch = (await commit_batch(ports, stored, fact)).batch.value
    return None if batch.is_deleted else batch


def body_of(batch: Batch, entry: Entry, url: str) -> str:
    """What is sent: that the batch is over, how many items ended how, and where to read more. Never text of it."""
    data = {
        "id": batch.id,
        "object": "batch",
        "status": batch.status.value,
        "url": url,
        "counts": counts(batch),
        "metadata": batch.request.metadata,
    }
    return message(f"batch.{entry.subject}", batch.over_at or entry.since, data)
