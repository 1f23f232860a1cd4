"""Delivering a callback that a run owes: claim, send, record.

The claim counts the attempt and opens its line in the log, so that no two wakes send it side by side, and a crash
after the send is seen: when the claim has run out it is sent again, under the same id.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta

from shared.runs.callbacks.callback import (
    Delivery,
    DeliveryState,
    NoPlace,
    Place,
    Sent,
    Verdict,
    body_of,
    judge,
    put_off,
    settled,
    swapped,
    webhook_id,
)
from shared.runs.run import CallbackState, Debt, Run
from shared.runs.schedule import CALLBACK_WAITS
from shared.runs.services import RACES, Services, log
from shared.runs.store.runs import DeliveryChange, Stored
from shared.runs.store.tables import Conflict
from shared.runs.transitions import with_debts

CLAIM = timedelta(seconds=60)
"""Longer than a sender takes."""

KEPT = 50
"""Lines of the log that a run keeps: the newest."""


class Attempts:
    """Makes attempts to tell of something, whatever it is: the part that deliveries of runs and batches share."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def claim(self, debt: Debt) -> Debt | None:
        """The debt as a wake claims it, to be written before it sends; None: the last try was cut off."""
        if debt.tries > len(CALLBACK_WAITS):
            return None
        return replace(debt, tries=debt.tries + 1, due=self._services.clock() + CLAIM)

    def reserve(self, url: str | None, owner: str) -> Place | NoPlace:
        """Room for an attempt, to be had before the claim is written; where there is none it is put off."""
        sender = self._services.sender
        return _Nowhere() if sender is None or url is None else sender.reserve(url, owner)

    async def make(self, url: str | None, event_id: str, body: str, place: Place) -> Sent:
        """One attempt under a claim that is written. One that crashes has failed like any other."""
        sender = self._services.sender
        if sender is None or url is None:
            return Sent(fault="callbacks_disabled")
        try:
            return await sender.send(url, event_id, body, place)
        except Exception:
            log.exception("%s could not be sent", event_id)
            return Sent(fault="internal_error")

    def judge(self, claim: Debt, sent: Sent) -> Verdict:
        """What follows from it."""
        age = (self._services.clock() - claim.since).total_seconds()
        return judge(sent, tries=claim.tries, age=age, luck=self._services.luck())


class _Nowhere:
    """Room for an attempt that reaches nobody: the app sends no callbacks any more."""

    def give_back(self) -> None:
        """Nothing was taken."""


class Deliveries:
    """Pays callbacks."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._attempts = Attempts(services)

    async def pay(self, stored: Stored[Run], debt: Debt) -> Stored[Run]:
        """One attempt, and what follows from it. Raises ``Conflict`` when another wake makes it."""
        claim = self._attempts.claim(debt)
        if claim is None:
            after = _settled(stored.value, debt, Verdict(CallbackState.GIVEN_UP), self._services)
            return (await self._services.save(stored, after)).run
        place = self._attempts.reserve(stored.value.callback_url, stored.value.owner)
        if isinstance(place, NoPlace):
            return await self._put_off(stored, debt, place.wait)
        try:
            claimed, line = await self._claim(stored, debt, claim)
            sent = await self._send(claimed.value, claim, place)
        finally:
            place.give_back()
        return await self._record(claimed, claim, line, sent)

    async def _put_off(self, stored: Stored[Run], debt: Debt, wait: float) -> Stored[Run]:
        """Too many callbacks are being sent: later, so that this wake is over and another run can have its turn."""
        run, now = stored.value, self._services.clock()
        after = with_debts(run, put_off(run.debts, debt, now, wait), now)
        return (await self._services.save(stored, after)).run

    async def _claim(self, stored: Stored[Run], debt: Debt, claim: Debt) -> tuple[Stored[Run], Stored[Delivery]]:
        run, now = stored.value, self._services.clock()
        line = Delivery(
            session_id=run.session_id,
            number=run.number,
            index=run.deliveries,
            event=debt.subject,
            attempt=claim.tries,
            sent_at=now,
        )
        oldest = None
        if run.deliveries >= KEPT:
            oldest = await self._services.store.delivery(run, run.deliveries - KEPT)
        after = replace(with_debts(run, swapped(run.debts, debt, claim), now), deliveries=run.deliveries + 1)
        change = DeliveryChange(before=None, after=line, oldest=oldest)
        saved = await self._services.save(stored, after, delivery=change, midway=True)
        assert saved.delivery is not None
        return saved.run, saved.delivery

    async def _send(self, run: Run, claim: Debt, place: Place) -> Sent:
        at = run.completed_at or claim.since
        url = f"{self._services.settings.base_url}/api/runs/{run.id}"
        event_id, body = webhook_id(run.id, claim.subject), body_of(run, claim.subject, at, url)
        return await self._attempts.make(run.callback_url, event_id, body, place)

    async def _record(self, claimed: Stored[Run], claim: Debt, line: Stored[Delivery], sent: Sent) -> Stored[Run]:
        """Write what became of the attempt. Others may have changed the run meanwhile, or have deleted it."""
        services = self._services
        verdict = self._attempts.judge(claim, sent)
        current: Stored[Run] | None = claimed
        for _ in range(RACES):
            if current is None or current.value.deleted_at is not None:
                break
            after = _settled(current.value, claim, verdict, services)
            change = DeliveryChange(before=line, after=_told(line.value, claim, after, sent))
            try:
                saved = (await services.save(current, after, delivery=change)).run
            except Conflict:
                current = await services.store.load(claimed.value.id)
                continue
            say(f"run {claimed.value.id}", claim, sent, verdict, run_id=claimed.value.id)
            return saved
        raise Conflict(claimed.value.id, "the run was deleted while its callback was sent")


def _settled(run: Run, claim: Debt, verdict: Verdict, services: Services) -> Run:
    """The run after an attempt under this claim; as it is when its callback was asked for anew, or is of the past."""
    if claim not in run.debts:
        return run
    now = services.clock()
    after = with_debts(run, settled(run.debts, claim, verdict, now), now)
    return after if verdict.state is None else replace(after, callback_state=verdict.state)


def _told(line: Delivery, claim: Debt, after: Run, sent: Sent) -> Delivery:
    """The line of the log as the attempt ended."""
    return replace(
        line,
        state=DeliveryState.DELIVERED if sent.ok else DeliveryState.FAILED,
        http_status=sent.status,
        fault=sent.fault,
        seconds=round(sent.seconds, 3),
        next_try_at=next((debt.due for debt in after.debts if debt.same(claim)), None),
    )


def say(who: str, claim: Debt, sent: Sent, verdict: Verdict, **extra: str) -> None:
    """One line in the app's log; not the address, which may hold a secret of the caller's."""
    what = "is tried again" if verdict.state is None else verdict.state.value
    log.log(
        logging.INFO if verdict.state in (None, CallbackState.DELIVERED) else logging.WARNING,
        "%s: callback %s, attempt %d: %s, %s",
        who,
        claim.subject,
        claim.tries,
        sent.fault or sent.status,
        what,
        extra=extra,
    )
