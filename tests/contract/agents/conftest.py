"""Servers that speak the Responses API, each playing the same parts: the scripted model, and one that is not ours."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from local.model import ScriptedModel
from local.model.control import ModelControl
from local.stack import free_port
from local.stack.child import Child, http_status
from shared.agentkit.agent import Agent, AgentResponse, AgentSession, ResponseStatus, RunOptions
from shared.agentkit.provider import Provider, ProviderConfig
from shared.agentkit.responses import ResponsesAgent
from shared.agentkit.tools import tool

PARTS = {
    "say": [{"text": "Hello there."}],
    "ask": [{"calls": [{"name": "add", "arguments": {"a": 2, "b": 3}}]}, {"text": "It is ", "echo": True}],
    "fail": [{"status": "failed", "error": {"code": "invalid_prompt", "message": "Not this one."}}],
    "cut": [{"status": "incomplete", "text": "Hello", "incomplete_reason": "max_output_tokens"}],
    "think": [{"stuck": True}],
}
"""What `[script:<part>]` makes either server do."""

THIRD_PARTY_SERVER = "DORMOUSE_TEST_THIRD_PARTY_SERVER"
"""Names the Python that has `azure-ai-agentserver-responses`; `dev.py test --all` makes it and sets this."""


@tool
async def add(a: int, b: int) -> str:
    """Add two numbers."""
    return str(a + b)


class Independent(Child):
    """`azure-ai-agentserver-responses` with a handler that plays the parts."""

    name = "agentserver"

    def __init__(self, log: Path, state: Path) -> None:
        self.port = free_port()
        script = Path(__file__).with_name("agentserver.py")
        super().__init__([os.environ[THIRD_PARTY_SERVER], str(script), str(self.port)], cwd=state, log=log)
        self.env["AGENTSERVER_STATE_ROOT"] = str(state)

    def is_ready(self) -> bool:
        return http_status(self.port, "/readiness") is not None


@asynccontextmanager
async def scripted() -> AsyncIterator[str]:
    """The base URL of a scripted model that knows the parts."""
    async with ScriptedModel() as server:
        control = ModelControl(server.root, "key")
        for name, turns in PARTS.items():
            await control.script(name, turns)
        yield server.url


@pytest.fixture(scope="session")
def independent_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a server that somebody else wrote."""
    if THIRD_PARTY_SERVER not in os.environ:
        pytest.skip("`dev.py test --all` makes this server")
    folder = tmp_path_factory.mktemp("agentserver")
    with Independent(folder / "agentserver.log", folder) as child:
        yield f"http://127.0.0.1:{child.port}"


@pytest.fixture(
    params=[
        "scripted",
        pytest.param("independent", marks=pytest.mark.slow),
    ]
)
async def agent(request: pytest.FixtureRequest) -> AsyncIterator[Agent]:
    """An agent with the tool `add`, at each server in turn."""
    async with AsyncExitStack() as stack:
        if request.param == "scripted":
            url = await stack.enter_async_context(scripted())
        else:
            url = request.getfixturevalue("independent_url")
        provider = Provider(ProviderConfig(credential="key", base_url=url))
        stack.push_async_callback(provider.close)
        yield ResponsesAgent(
            name="tester", description="Tests.", instructions="Do it.", model="gpt-5", provider=provider, tools=[add]
        )


Ask = Callable[..., Awaitable[AgentResponse]]


@pytest.fixture
def ask(agent: Agent) -> Ask:
    """Create a response from items (or words), in the background; ``previous`` is the one to go on from."""

    async def create(said: str | list[dict[str, object]], previous: str | None = None) -> AgentResponse:
        items = [{"type": "message", "role": "user", "content": said}] if isinstance(said, str) else said
        session = AgentSession(session_id="s", previous_response_id=previous)
        return await agent.run(items, session=session, options=RunOptions(timeout=10, metadata={"run": "r"}))

    return create


@pytest.fixture
def ended(agent: Agent) -> Ask:
    """Ask how a response stands until it has ended."""

    async def poll(response: AgentResponse) -> AgentResponse:
        async with asyncio.timeout(10):
            while response.status is ResponseStatus.PENDING:
                options = RunOptions(timeout=10, continuation_token=response.continuation_token)
                response = await agent.run(None, session=AgentSession(session_id="s"), options=options)
        return response

    return poll
