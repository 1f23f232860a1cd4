"""Adoption: a response that the provider tells us of, which we may know, want, or not want.

An attempt of unknown outcome is adopted while it is the current one of its run; any other response of ours that no
row names is cancelled.
"""

from __future__ import annotations

import asyncio

from shared.agentkit import faults
from shared.agentkit.agent import Agent, AgentResponse, AgentSession, ContinuationToken, RunOptions
from shared.agentkit.within import within
from shared.runs.debts import Debts
from shared.runs.reading import Reading, created_for
from shared.runs.run import Next, Run
from shared.runs.services import RACES, Services, log
from shared.runs.store.tables import Conflict

LOOK_SECONDS = 4.0
LOOKS_SECONDS = 8.0
"""One request, and all of them: a webhook is to be answered within ten seconds, and agents may differ in provider."""


class Adoption:
    """The use case of a webhook. The caller signals the driver of the run that is returned."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._reading = Reading(services)
        self._debts = Debts(services)

    async def look_at(self, response_id: str) -> str | None:
        """The id of the run that is to be woken for this response; None when it is none of ours, or over.

        Raises the provider's faults when it cannot be asked.
        """
        found = await self._retrieve(response_id)
        if found is None:
            return None
        agent, response = found
        app = self._services.settings.app_in_metadata
        if response.metadata.get("app") != app:
            return None
        run_id = response.metadata.get("run", "")
        for _ in range(RACES):
            stored = await self._services.store.load(run_id)
            if stored is None:
                return None
            run = stored.value
            if response_id in run.response_ids:
                return None if run.next is Next.NONE else run_id
            if not is_current_attempt(run, response, app):
                await self._debts.disown(run, response, agent)
                return run_id
            own = self._services.agents.get(run.agent, agent)
            if own is not agent and own.background:  # middleware of its own may read it otherwise
                response = await _look(own, response_id)
                if not is_current_attempt(run, response, app):  # its provider has another one under this id
                    return None
            now = self._services.clock()
            await self._services.watch.announce(run_id, now)
            try:
                await self._reading.read(stored, own, response)
            except Conflict:
                continue
            log.info("run %s: response %s adopted", run_id, response_id, extra={"run_id": run_id})
            return run_id
        raise Conflict(run_id, "too many races")

    async def _retrieve(self, response_id: str) -> tuple[Agent, AgentResponse] | None:
        """The response, from the first agent whose provider knows it. Raises the fault of one that did not say."""
        unclear: faults.ProviderFault | None = None
        try:
            async with asyncio.timeout(LOOKS_SECONDS):
                for agent in self._services.agents.values():
                    if not agent.background:
                        continue
                    try:
                        return agent, await _look(agent, response_id)
                    except faults.ResponseMissing:
                        continue
                    except faults.ProviderFault as fault:
                        unclear = fault
        except TimeoutError as error:
            raise faults.NoNews("No answer in time.", code="poll_timeout") from error
        if unclear is not None:
            raise unclear
        return None


async def _look(agent: Agent, response_id: str) -> AgentResponse:
    options = RunOptions(timeout=LOOK_SECONDS, continuation_token=ContinuationToken(response_id=response_id))
    try:
        return await within(LOOK_SECONDS + 1.0, agent.run(None, session=AgentSession(session_id=""), options=options))
    except TimeoutError as error:
        raise faults.NoNews("No answer in time.", code="poll_timeout") from error


def is_current_attempt(run: Run, response: AgentResponse, app: str) -> bool:
    """Whether the response is of the attempt whose outcome the run is, or has given up, waiting to hear of.

    It must say so in full: a webhook may bring any response of the account.
    """
    ours = created_for(run, app)
    waits = run.next is Next.CREATE and run.nonce != ""
    return waits and all(response.metadata.get(name) == value for name, value in ours.items())
