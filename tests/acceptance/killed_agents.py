"""Agents of the stories in which hosts are killed, beside the workshop."""

from __future__ import annotations

from collections.abc import Sequence

from shared.agentkit.agent import Agent, AgentResponse, AgentSession, Item, RunOptions
from shared.agentkit.provider import Provider
from shared.agentkit.responses import ResponsesAgent
from shared.settings import Settings
from tests.parts import workshop
from tests.unit.runs.points import agents


class Faulty(ResponsesAgent):
    """Its own code fails when it looks at a response."""

    async def run(
        self, messages: Sequence[Item] | None, *, session: AgentSession, options: RunOptions
    ) -> AgentResponse:
        """As the agent protocol says. Raises ``ZeroDivisionError`` at each look."""
        if options.continuation_token is not None:
            raise ZeroDivisionError
        return await super().run(messages, session=session, options=options)


def build_faulty(settings: Settings, provider: Provider) -> Agent:
    """The agent *faulty*, whose runs are begun and never looked at."""
    return Faulty(
        name="faulty", description="Fails.", instructions="Fail.", model=settings.openai_model, provider=provider
    )


BUILDERS = (agents.build_teller, agents.build_broken, build_faulty)
BY_NAME = {"bench": workshop.build_bench}
"""Those that a host may be without, by name."""
