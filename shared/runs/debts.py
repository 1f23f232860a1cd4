"""What a run owes the provider: responses that nobody wants any more are cancelled there."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

from shared.agentkit import faults
from shared.agentkit.agent import Agent, AgentResponse, ResponseStatus
from shared.runs import schedule
from shared.runs.run import Debt, Run, with_debt, with_debts, without_debt
from shared.runs.services import Services, log
from shared.runs.store.runs import Stored
from shared.runs.store.tables import Conflict, StoreUnavailable

GIVEN_UP_AFTER = timedelta(days=1)
WATCH_AHEAD = timedelta(seconds=60)
RACES = 20


class Debts:
    """Pays debts, and takes on the one that a lost race leaves."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def due(self, run: Run) -> Debt | None:
        """The debt whose time has come, if any."""
        now = self._services.clock()
        return next((debt for debt in run.debts if debt.due <= now), None)

    async def pay(self, stored: Stored[Run], debt: Debt, agent: Agent | None) -> Stored[Run]:
        """Cancel one response at the provider, or date the debt later. Raises ``Conflict``."""
        run = stored.value
        try:
            response = await self._cancel(debt.response_id, agent)
        except faults.ProviderFault as fault:
            return await self._postpone(stored, debt, fault)
        after = without_debt(run, debt.response_id, self._services.clock())
        if response is not None and response.status is not ResponseStatus.PENDING:
            after = replace(after, usage=run.usage + response.usage)
        return (await self._services.save(stored, after)).run

    async def disown(self, run: Run, response: AgentResponse, agent: Agent) -> None:
        """The create's race is lost: unless the row has this very response, owe its cancel, then cancel it.

        The watch row goes first, so that a crash in between is found.
        """
        response_id = response.response_id
        if response_id is None or response.status is not ResponseStatus.PENDING:
            return
        owed = await self._owe(run, response_id)
        if owed is None:
            return
        log.info("run %s: response %s is not wanted", run.id, response_id, extra={"run_id": run.id})
        try:
            await self._cancel(response_id, agent)
        except faults.ProviderFault:
            return  # the debt stands
        for _ in range(RACES):
            current = await self._services.store.load(run.id)
            if current is None:
                return
            after = without_debt(current.value, response_id, self._services.clock())
            if after.debts == current.value.debts:
                return
            try:
                await self._services.save(current, after)
            except Conflict:
                continue
            return

    async def _owe(self, run: Run, response_id: str) -> bool | None:
        """Whether the debt could be written; None when the row names the response as its own."""
        services = self._services
        for attempt in range(RACES):
            now = services.clock()
            try:
                current = await services.store.load(run.id)
                if current is None:
                    return False
                if response_id in current.value.response_ids and not _owes(current.value, response_id):
                    return None
                await services.watch.put(run.id, now + WATCH_AHEAD, now)
                after = with_debts(current.value, with_debt(current.value.debts, response_id, now), now)
                after = replace(after, response_ids=(*after.response_ids, response_id))
                await services.save(current, after)
            except Conflict:
                continue
            except StoreUnavailable:
                await asyncio.sleep(schedule.backoff(attempt + 1, first=0.1, most=2.0, luck=0.0))
                continue
            return True
        return False

    async def _cancel(self, response_id: str, agent: Agent | None) -> AgentResponse | None:
        if agent is None:
            raise faults.NoNews("This version does not know the agent.", code="agent_unknown")
        timeout = self._services.settings.poll_timeout
        try:
            async with asyncio.timeout(2 * timeout + 1.0):
                return await agent.cancel(response_id, timeout=timeout)
        except TimeoutError as error:
            raise faults.NoNews("No answer in time.", code="cancel_timeout") from error

    async def _postpone(self, stored: Stored[Run], debt: Debt, fault: faults.ProviderFault) -> Stored[Run]:
        run, now = stored.value, self._services.clock()
        if now - debt.since >= GIVEN_UP_AFTER:
            log.error(
                "run %s: gave up cancelling %s: %s", run.id, debt.response_id, fault.message, extra={"run_id": run.id}
            )
            return (await self._services.save(stored, without_debt(run, debt.response_id, now))).run
        gap = schedule.backoff(debt.tries + 1, first=5.0, most=900.0, luck=self._services.luck())
        later = replace(debt, tries=debt.tries + 1, due=now + timedelta(seconds=max(gap, fault.retry_after or 0.0)))
        debts = tuple(later if each.response_id == debt.response_id else each for each in run.debts)
        return (await self._services.save(stored, with_debts(run, debts, now))).run


def _owes(run: Run, response_id: str) -> bool:
    return any(debt.response_id == response_id for debt in run.debts)
