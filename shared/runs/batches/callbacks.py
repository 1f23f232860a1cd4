"""The callback of a batch's end: claim, send, record, as for runs; the batch's row keeps the last attempt only."""

from __future__ import annotations

from dataclasses import replace

from shared.errors import BatchNotEnded
from shared.runs.batches.batch import Batch, counts, tell, with_debts
from shared.runs.callbacks.callback import NoPlace, Place, Sent, Verdict, message, put_off, settled, swapped, webhook_id
from shared.runs.callbacks.delivery import Attempts, say
from shared.runs.callbacks.redelivery import check
from shared.runs.run import CallbackState, Debt
from shared.runs.services import RACES, Services
from shared.runs.store.runs import Stored
from shared.runs.store.tables import Conflict


class BatchCallbacks:
    """Tells of batches that are over."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._attempts = Attempts(services)

    async def pay(self, stored: Stored[Batch]) -> Stored[Batch]:
        """One attempt, if it is due, and what follows from it. Raises ``Conflict`` when another wake makes it."""
        batch, now = stored.value, self._services.clock()
        debt = next((debt for debt in batch.debts if debt.due <= now), None)
        if debt is None:
            return stored
        claim = self._attempts.claim(debt)
        if claim is None:
            after = self._settled(batch, debt, Verdict(CallbackState.GIVEN_UP))
            return await self._services.batches.save(stored, after)
        place = self._attempts.reserve(batch.callback_url, batch.owner)
        if isinstance(place, NoPlace):
            after = with_debts(batch, put_off(batch.debts, debt, now, place.wait), now)
            return await self._services.batches.save(stored, after)
        try:
            claimed, sent = await self._send(stored, debt, claim, place)
        finally:
            place.give_back()
        return await self._record(claimed, claim, sent)

    async def _send(self, stored: Stored[Batch], debt: Debt, claim: Debt, place: Place) -> tuple[Stored[Batch], Sent]:
        """Claim, then send."""
        batch, now = stored.value, self._services.clock()
        begun = replace(
            with_debts(batch, swapped(batch.debts, debt, claim), now),
            callback_attempts=batch.callback_attempts + 1,
            callback_at=now,
            callback_http_status=None,
            callback_fault=None,
        )
        claimed = await self._services.batches.save(stored, begun)
        url = f"{self._services.settings.base_url}/api/batches/{batch.id}"
        event_id, body = webhook_id(batch.id, claim.subject), body_of(begun, url)
        return claimed, await self._attempts.make(batch.callback_url, event_id, body, place)

    async def deliver_again(self, batch_id: str) -> Batch | None:
        """Owe the callback of the batch's end anew, whatever became of it before; None: no such batch.

        The caller signals the driver afterwards. Raises ``CallbacksDisabled``, ``NoCallback``, ``BatchNotEnded``.
        """
        services = self._services
        for _ in range(RACES):
            stored = await services.batches.load(batch_id)
            if stored is None or stored.value.deleted_at is not None:
                return None
            batch, now = stored.value, services.clock()
            unended = None if batch.status.over else BatchNotEnded(status_of_batch=batch.status.value)
            check(services, batch.callback_url, unended)
            await services.watch.announce(batch_id, now)
            try:
                return (await services.batches.save(stored, tell(batch, now))).value
            except Conflict:
                continue
        raise Conflict(batch_id, "too many races")

    async def _record(self, claimed: Stored[Batch], claim: Debt, sent: Sent) -> Stored[Batch]:
        """Write what became of the attempt. Others may have changed the batch meanwhile, or have deleted it."""
        verdict = self._attempts.judge(claim, sent)
        number = claimed.value.callback_attempts
        current: Stored[Batch] | None = claimed
        for _ in range(RACES):
            if current is None or current.value.deleted_at is not None:
                break
            after = self._settled(current.value, claim, verdict)
            if after.callback_attempts == number:  # it is still the last
                after = replace(after, callback_http_status=sent.status, callback_fault=sent.fault)
            try:
                saved = await self._services.batches.save(current, after)
            except Conflict:
                current = await self._services.batches.load(claimed.value.id)
                continue
            say(claimed.value.id, claim, sent, verdict)
            return saved
        raise Conflict(claimed.value.id, "the batch was deleted while its callback was sent")

    def _settled(self, batch: Batch, claim: Debt, verdict: Verdict) -> Batch:
        """The batch after an attempt under this claim; as it is when its callback was asked for anew meanwhile."""
        if claim not in batch.debts:
            return batch
        now = self._services.clock()
        after = with_debts(batch, settled(batch.debts, claim, verdict, now), now)
        return after if verdict.state is None else replace(after, callback_state=verdict.state)


def body_of(batch: Batch, url: str) -> str:
    """What is sent: that the batch is over, how many items ended how, and where to read more. Never text of it."""
    data = {
        "id": batch.id,
        "object": "batch",
        "status": batch.status.value,
        "url": url,
        "counts": counts(batch),
        "metadata": batch.metadata,
    }
    return message(f"batch.{batch.status.value}", batch.completed_at or batch.updated_at, data)
