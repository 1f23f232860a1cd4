"""Look: ask the provider once how the response stands."""

from __future__ import annotations

from shared.agentkit import faults
from shared.agentkit.agent import Agent, AgentResponse
from shared.runs.actions import provider
from shared.runs.actions.create import answer_of, attempt_of
from shared.runs.commit import commit
from shared.runs.model.facts import Looked, NoNews
from shared.runs.model.phases import Pending
from shared.runs.model.run import Run
from shared.runs.ports import Ports, log
from shared.runs.store.runs import Stored
from shared.runs.traces import provider_request


async def look(ports: Ports, stored: Stored[Run], agent: Agent) -> Stored[Run]:
    """One question, and what was said to it. Raises ``LostRace``, ``StoreUnavailable``."""
    run, phase, settings = stored.value, stored.value.phase, ports.settings
    if not isinstance(phase, Pending):
        return stored
    try:
        with provider_request(ports, "retrieve response", run.id):
            response = await provider.ask(
                run, agent, phase.token, seconds=settings.poll_timeout, slack=provider.SLACK_SECONDS
            )
    # Only a 404 speaks of the response; any other fault says nothing of it, so the token is kept.
    except faults.ProviderFault as fault:
        missing = isinstance(fault, faults.ResponseMissing)
        response_id, jitter = phase.token.response_id, ports.random()
        no_news = NoNews(response_id=response_id, fault=fault, jitter=jitter, missing=missing)
        return (await commit(ports, stored, no_news)).run
    return await take_in(ports, stored, agent, response)


async def take_in(
    ports: Ports, stored: Stored[Run], agent: Agent, response: AgentResponse, *, outside: bool = False
) -> Stored[Run]:
    """Commit what was read of the response that the run waits for. ``outside``: no wake has read it.

    Raises ``LostRace``, ``StoreUnavailable``.
    """
    run, phase, settings, jitter = stored.value, stored.value.phase, ports.settings, ports.random()
    if not isinstance(phase, Pending):
        return stored
    response_id = phase.token.response_id
    if provider.names_another(response, provider.metadata_of(settings.app_in_metadata, run, attempt_of(run))):
        # The id leads to a response of another run or app: ours is not there, and that one is not ours to cancel.
        log.error("run %s: %s is another's response", run.id, response_id)
        other = faults.ResponseMissing("Its id names another response now.", code="another_response")
        fact = NoNews(response_id=response_id, fault=other, jitter=jitter, missing=True, is_another=True)
        return (await commit(ports, stored, fact, outside=outside)).run
    looked = Looked(response_id=response_id, answer=answer_of(agent, response), jitter=jitter)
    return (await commit(ports, stored, looked, outside=outside)).run
