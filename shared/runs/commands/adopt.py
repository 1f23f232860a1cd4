"""Adopt a response that the provider tells us of: one that we may know, want, or not want."""

from __future__ import annotations

import asyncio
import re

from shared.agentkit import faults
from shared.agentkit.agent import Agent, AgentResponse, AgentSession, ContinuationToken, ResponseStatus, RunOptions
from shared.agentkit.responses import read_alike
from shared.agentkit.within import within
from shared.runs.actions import outbox
from shared.runs.actions.create import answer_of
from shared.runs.actions.look import take_in
from shared.runs.commit import commit
from shared.runs.concurrency import LostRace, TooManyRaces
from shared.runs.execution import execution
from shared.runs.model.facts import Attempt, ResponseCreated
from shared.runs.model.run import Run
from shared.runs.ports import Ports, log
from shared.runs.rules.agenda import ActionKind, early_look, next_action
from shared.runs.rules.creating import phase_awaiting
from shared.runs.store.runs import Stored

LOOK_SECONDS = 4.0
LOOKS_SECONDS = 8.0
"""One request, and all of them: a webhook is to be answered within ten seconds, and agents may differ in provider."""

_COUNT = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)


async def adopt(ports: Ports, response_id: str) -> str | None:
    """The id of the run that is to be woken for this response; None when it is none of ours, or over.

    What its run waits for is taken in as it was read here. An attempt of unknown outcome is adopted while it is the
    current one of its run; any other response of ours that no row names is cancelled. Raises the provider's faults
    when it cannot be asked; ``TooManyRaces``, ``StoreUnavailable``.
    """
    with execution(ports.clock):
        return await _adopt(ports, response_id)


async def _adopt(ports: Ports, response_id: str) -> str | None:
    # Asked for: the webhook names nothing but the id, and what it says of the end is a hint, not a result.
    found = await _found(ports, response_id)
    if found is None:
        return None
    agent, response = found
    attempt = _attempt_of(response)
    # Several apps may share an account, and its webhooks go to all of them.
    if response.metadata.get("app") != ports.settings.app_in_metadata:
        return None
    stored = await ports.runs.load(response.metadata.get("run", ""))
    if stored is None:
        return None
    run = stored.value
    own = ports.agents.get(run.request.agent)
    if response_id in run.chain.response_ids:  # webhooks come more than once
        if run.is_done:
            return None
        if own is not None and read_alike(own, agent):
            await _take_in_known(ports, stored, own, response)
        return run.id
    own = own or agent
    if own.background and not read_alike(own, agent) and phase_awaiting(run, attempt) is not None:
        response = await _look(own, response_id)  # middleware of its own may read it otherwise
        if _attempt_of(response) != attempt:  # its provider has another one under this id
            return None
    fact = ResponseCreated(attempt=attempt, answer=answer_of(own, response), jitter=ports.random())
    try:
        adopted = await commit(ports, stored, fact, outside=True)
        if adopted.refused is None:
            log.info("run %s: response %s taken in", run.id, response_id)
            # Nobody waits for one that is not wanted, and it costs money as long as it runs.
            await outbox.cancel_at_once(ports, adopted.run, response_id, agent)
    except TooManyRaces:  # the provider sends it again
        raise
    except LostRace:  # the row is gone: nobody is to be woken
        return None
    return run.id


async def _take_in_known(ports: Ports, stored: Stored[Run], agent: Agent, response: AgentResponse) -> None:
    """Take in a response that the run may wait for, where the next thing for a wake to do is to read it.

    Anything else is left to the wake that follows. Raises ``TooManyRaces``, ``StoreUnavailable``.
    """
    run, now = stored.value, ports.clock()
    action = next_action(run, now) or early_look(run, now)
    if action is None or action.kind is not ActionKind.LOOK or run.token is None:
        return
    # One that goes on is no news: its wake looks again.
    if run.token.response_id != response.response_id or response.status is ResponseStatus.PENDING:
        return
    try:
        await take_in(ports, stored, agent, response, outside=True)
    except TooManyRaces:  # the provider sends it again
        raise
    except LostRace:  # the row is gone, which its wake finds, too
        return


def _attempt_of(response: AgentResponse) -> Attempt:
    """The attempt that it names; one that is nobody's where it does not say so in full, and as we do.

    A webhook may bring any response of the account.
    """
    said = response.metadata
    turn, number = said.get("turn", ""), said.get("attempt", "")
    if _COUNT.fullmatch(turn) is None or _COUNT.fullmatch(number) is None:
        return Attempt(turn=0, number=0, nonce="")
    return Attempt(turn=int(turn), number=int(number), nonce=said.get("nonce", ""))


async def _found(ports: Ports, response_id: str) -> tuple[Agent, AgentResponse] | None:
    """The response, from the first agent whose provider knows it. Raises the fault of one that did not say."""
    unclear: faults.ProviderFault | None = None
    try:
        async with asyncio.timeout(LOOKS_SECONDS):
            for agent in ports.agents.values():
                if not agent.background:  # its responses end within their call
                    continue
                try:
                    return agent, await _look(agent, response_id)
                except faults.ResponseMissing:
                    continue
                except faults.ProviderFault as fault:  # another agent's provider may know it all the same
                    unclear = fault
    except TimeoutError as error:
        raise faults.NoNews("No answer in time.", code="poll_timeout") from error
    if unclear is not None:
        raise unclear
    return None


async def _look(agent: Agent, response_id: str) -> AgentResponse:
    # No session: a look sends none, and whose response it is will be known only from the answer.
    options = RunOptions(timeout=LOOK_SECONDS, continuation_token=ContinuationToken(response_id=response_id))
    try:
        return await within(LOOK_SECONDS + 1.0, agent.run(None, session=AgentSession(session_id=""), options=options))
    except TimeoutError as error:
        raise faults.NoNews("No answer in time.", code="poll_timeout") from error
