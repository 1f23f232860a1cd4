"""`AgentFunctionApp` with its client from nothing: its functions are indexed, then its agent begins one run."""

import asyncio
import os
import sys
import time

begun = time.process_time()

from agent_framework import Agent  # noqa: E402
from agent_framework.openai import OpenAIChatClient  # noqa: E402
from agent_framework_azurefunctions import AgentFunctionApp  # noqa: E402


def make() -> tuple[Agent, AgentFunctionApp]:
    """As its documentation has it."""
    client = OpenAIChatClient(
        model="gpt-5.4-mini", api_key=os.environ["BENCH_ACCOUNT"], base_url=os.environ["BENCH_MODEL"]
    )
    agent = Agent(client, "You write space stories.", name="novelist")
    return agent, AgentFunctionApp(agents=[agent])


async def submit(agent: Agent) -> None:
    """What the first request comes to, once it is in the agent's entity."""
    response = await agent.run("[script:pending]", session=agent.create_session(), options={"background": True})
    assert response.continuation_token is not None


if __name__ == "__main__":
    agent, app = make()
    assert "http-novelist" in [each.get_function_name() for each in app.get_functions()]
    if sys.argv[1] == "submit":
        asyncio.run(submit(agent))
    print(time.process_time() - begun, flush=True)
    os._exit(0)
