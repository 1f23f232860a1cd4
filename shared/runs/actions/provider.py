"""Questions to the provider that are not creates, each within its time; and what it keeps with a response of ours."""

from __future__ import annotations

from collections.abc import Mapping

from shared.agentkit import faults
from shared.agentkit.agent import Agent, AgentResponse, AgentSession, ContinuationToken, RunOptions
from shared.agentkit.within import within
from shared.runs.model.facts import Attempt
from shared.runs.model.run import Run
from shared.runs.ports import Ports

SLACK_SECONDS = 3.0
"""What an agent may take beyond a request's timeout: to wait for a place, and for what is not the provider's."""


def metadata_of(app: str, run: Run, attempt: Attempt) -> dict[str, str]:
    """What the provider keeps with the response of an attempt."""
    return {
        "app": app,
        "run": run.id,
        "turn": str(attempt.turn),
        "attempt": str(attempt.number),
        "nonce": attempt.nonce,
    }


def names_another(response: AgentResponse, ours: Mapping[str, str]) -> bool:
    """Whether the response says that it was created for something else.

    One that says nothing of it may be the attempt's: not every server gives `metadata` back.
    """
    # Ids of a shared project can name the responses of another app; those are not ours to read or stop.
    return any(response.metadata.get(name, value) != value for name, value in ours.items() if value)


async def ask(run: Run, agent: Agent, token: ContinuationToken, *, seconds: float, slack: float) -> AgentResponse:
    """How a response stands. Raises the faults of a question."""
    options = RunOptions(timeout=seconds, continuation_token=token, model=run.request.model)
    session = AgentSession(session_id=run.request.session_id)
    try:
        return await within(seconds + slack, agent.run(None, session=session, options=options))
    except TimeoutError as error:
        raise faults.NoNews("No answer in time.", code="poll_timeout") from error


async def cancel(ports: Ports, response_id: str, agent: Agent | None) -> AgentResponse | None:
    """Cancel a response; how it then stands, None where the provider does not know it. Raises ``ProviderFault``."""
    seconds = ports.settings.poll_timeout
    # Twice: a completed response may answer 400 or 409 to a cancel and is then read.
    try:
        return await within(2 * seconds + SLACK_SECONDS, _known(agent).cancel(response_id, timeout=seconds))
    except TimeoutError as error:
        raise faults.NoNews("No answer in time.", code="cancel_timeout") from error


async def delete(ports: Ports, response_id: str, agent: Agent | None) -> None:
    """Delete a response; one that is not there counts. Raises ``ProviderFault``."""
    seconds = ports.settings.poll_timeout
    try:
        await within(seconds + SLACK_SECONDS, _known(agent).delete(response_id, timeout=seconds))
    except TimeoutError as error:
        raise faults.NoNews("No answer in time.", code="delete_timeout") from error


def _known(agent: Agent | None) -> Agent:
    if agent is None:
        # Kept in the outbox: during a deploy the next try may run in a build that knows the agent.
        raise faults.NoNews("This version of the app does not know the agent.", code="agent_unknown")
    return agent
