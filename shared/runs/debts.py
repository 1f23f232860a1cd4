"""What a run still owes: cancels and deletes at the provider, callbacks, and a deleted run's rows here.

Each has a backoff of its own; paying one is the only thing its wake does.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

from shared.agentkit import faults
from shared.agentkit.agent import Agent, AgentResponse, ResponseStatus
from shared.agentkit.within import within
from shared.runs import schedule
from shared.runs.callbacks.delivery import Deliveries
from shared.runs.concurrency import side_by_side
from shared.runs.run import Debt, Owed, Run
from shared.runs.services import RACES, SLACK_SECONDS, Services, log
from shared.runs.store.runs import Stored
from shared.runs.store.tables import Conflict, StoreUnavailable
from shared.runs.transitions import payable, with_debt, with_debts, without_debt, without_responses

GIVEN_UP_AFTER = timedelta(days=1)
LOST = "response_lost"
LOST_TRIES = 8
"""Cancels of a response that its provider does not know, in about twenty minutes: it may know it again."""
PROVIDER_KEEPS = timedelta(days=30)
"""How long a provider keeps a response by itself: after that there is nothing left to delete."""
DELETES_A_WAKE = 16
DELETES_AT_ONCE = 8
"""Responses of one run that a wake deletes at the provider, and how many of them side by side."""


class Debts:
    """Pays debts, and takes on the one that a lost race leaves."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._deliveries = Deliveries(services)

    def due(self, run: Run) -> Debt | None:
        """The debt whose time has come, if any."""
        now = self._services.clock()
        return next((debt for debt in payable(run.debts) if debt.due <= now), None)

    async def pay(self, stored: Stored[Run], debt: Debt, agent: Agent | None) -> Stored[Run] | None:
        """Pay one, or date it later; None when that was the run's own row. Raises ``Conflict``."""
        run, services = stored.value, self._services
        if debt.kind is Owed.CALLBACK:
            return await self._deliveries.pay(stored, debt)
        if debt.kind is Owed.DELETE:
            return await self._delete_some(stored, debt, agent)
        response = None
        try:
            match debt.kind:
                case Owed.CANCEL:
                    response = await self._cancel(debt.subject, agent)
                    if response is None and run.error_code == LOST and debt.tries < LOST_TRIES:
                        raise faults.ResponseMissing("The provider still does not know the response.", code=LOST)
                case Owed.ROWS:
                    await services.index.unlist(services.index.place_of(run))
                    await services.store.delete_rows(run)
                case Owed.TOMBSTONE:
                    await services.store.delete_rows(run)  # parts that a late wake has written since
                    await services.store.delete_run(stored)
                    return None
        except faults.ProviderFault as fault:
            return await self._postpone(stored, debt, fault)
        after = without_debt(run, debt, services.clock())
        if response is not None and response.status is not ResponseStatus.PENDING:
            after = replace(after, usage=run.usage + response.usage)
        return (await services.save(stored, after)).run

    async def disown(self, run: Run, response: AgentResponse, agent: Agent) -> None:
        """The create's race is lost: unless the row has this very response, owe its cancel, then cancel it.

        The watch row goes first, so that a crash in between is found. A deleted run owes the delete as well.
        """
        response_id = response.response_id
        if response_id is None or not agent.background:
            return
        current = await self._owe(run, response_id)
        if current is None:
            return
        log.info("run %s: response %s is not wanted", run.id, response_id, extra={"run_id": run.id})
        try:
            await self._cancel(response_id, agent)
            deleted = current.value.deleted_at is not None
            if deleted:
                await self._delete(response_id, agent)
        except faults.ProviderFault:
            return  # the debt stands
        for _ in range(RACES):
            found = await self._services.store.load(run.id)
            if found is None:
                return
            now = self._services.clock()
            after = without_debt(found.value, _cancel_of(response_id, now), now)
            if deleted:  # of a run that was deleted meanwhile it is still to be deleted
                after = without_responses(after, {response_id}, now)
            if after.debts == found.value.debts and after.response_ids == found.value.response_ids:
                return
            try:
                await self._services.save(found, after, midway=True)
            except Conflict:
                continue
            return

    async def _owe(self, run: Run, response_id: str) -> Stored[Run] | None:
        """The row with the debt written; None when it names the response as its own, or may do so.

        Without an ETag: the row is gone, or would not take the debt.
        """
        services, unwanted = self._services, False
        for attempt in range(RACES):
            now = services.clock()
            try:
                current = await services.store.load(run.id)
                if current is None:
                    return Stored(replace(run, deleted_at=now), "")
                owed = any(debt.same(_cancel_of(response_id, now)) for debt in current.value.debts)
                unwanted = owed or response_id not in current.value.response_ids
                if not unwanted:
                    return None
                await services.watch.announce(run.id, now)
                debts = with_debt(current.value.debts, _cancel_of(response_id, now))
                if current.value.deleted_at is not None:
                    debts = with_debt(debts, Debt(kind=Owed.DELETE, due=now, since=now))
                after = with_debts(current.value, debts, now)
                after = replace(after, response_ids=tuple(dict.fromkeys((*after.response_ids, response_id))))
                return (await services.save(current, after, midway=True)).run
            except Conflict:
                continue
            except StoreUnavailable:
                await asyncio.sleep(schedule.backoff(attempt + 1, first=0.1, most=2.0, luck=0.0))
        if not unwanted:  # a write of ours of which we have not heard may have named it
            log.error("run %s: response %s is left: its row cannot be read", run.id, response_id)
            return None
        return Stored(run, "")

    async def _cancel(self, response_id: str, agent: Agent | None) -> AgentResponse | None:
        timeout = self._services.settings.poll_timeout
        try:
            return await within(2 * timeout + SLACK_SECONDS, _known(agent).cancel(response_id, timeout=timeout))
        except TimeoutError as error:
            raise faults.NoNews("No answer in time.", code="cancel_timeout") from error

    async def _delete_some(self, stored: Stored[Run], debt: Debt, agent: Agent | None) -> Stored[Run]:
        """Delete some of the run's responses; one that is gone is forgotten, one that fails goes behind the others."""
        run = stored.value
        asked = run.response_ids[:DELETES_A_WAKE]
        answers = await side_by_side(asked, lambda each: self._fault_of_delete(each, agent), at_once=DELETES_AT_ONCE)
        failed = {each: fault for each, fault in zip(asked, answers, strict=True) if fault is not None}
        now = self._services.clock()
        left = replace(run, response_ids=(*run.response_ids[len(asked) :], *failed))
        if failed and len(failed) == len(asked):
            fault = max(failed.values(), key=lambda each: each.retry_after or 0.0)
            return await self._postpone(stored, debt, fault, left)
        fresh = replace(debt, tries=0, due=now)
        left = replace(left, debts=tuple(fresh if each.same(debt) else each for each in left.debts))
        return (await self._services.save(stored, without_responses(left, (), now))).run

    async def _fault_of_delete(self, response_id: str, agent: Agent | None) -> faults.ProviderFault | None:
        """Delete one response at the provider: what went wrong, or None."""
        try:
            await self._delete(response_id, agent)
        except faults.ProviderFault as fault:
            return fault
        return None

    async def _delete(self, response_id: str, agent: Agent | None) -> None:
        timeout = self._services.settings.poll_timeout
        try:
            await within(timeout + SLACK_SECONDS, _known(agent).delete(response_id, timeout=timeout))
        except TimeoutError as error:
            raise faults.NoNews("No answer in time.", code="delete_timeout") from error

    async def _postpone(
        self, stored: Stored[Run], debt: Debt, fault: faults.ProviderFault, after: Run | None = None
    ) -> Stored[Run]:
        """Date it later, with a backoff of its own, in the run as it is to be saved."""
        run, now = after or stored.value, self._services.clock()
        patience = {Owed.CANCEL: GIVEN_UP_AFTER, Owed.DELETE: PROVIDER_KEEPS}.get(debt.kind)
        if patience is not None and now - debt.since >= patience:
            log.error(
                "run %s: gave up the %s of %s: %s",
                run.id,
                debt.kind,
                debt.subject or ", ".join(run.response_ids),
                fault.message,
                extra={"run_id": run.id},
            )
            return (await self._services.save(stored, without_debt(run, debt, now))).run
        # Whatever the provider asks for: a response that is not wanted costs money as long as it runs.
        gap = schedule.backoff(debt.tries + 1, first=5.0, most=900.0, luck=self._services.luck())
        later = replace(debt, tries=debt.tries + 1, due=now + timedelta(seconds=gap))
        debts = tuple(later if each.same(debt) else each for each in run.debts)
        return (await self._services.save(stored, with_debts(run, debts, now), midway=True)).run


def _cancel_of(response_id: str, now: datetime) -> Debt:
    return Debt(kind=Owed.CANCEL, subject=response_id, due=now, since=now)


def _known(agent: Agent | None) -> Agent:
    if agent is None:
        raise faults.NoNews("This version does not know the agent.", code="agent_unknown")
    return agent
