"""The app's own agent over Chat Completions against the scripted model, which checks messages as OpenAI does."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from pydantic import BaseModel

from local.model import ScriptedModel
from local.model.control import ModelControl
from shared.agentkit import faults
from shared.agentkit.agent import AgentResponse, AgentSession, Item, ResponseStatus, RunOptions
from shared.agentkit.chat import ChatAgent
from shared.agentkit.provider import Provider, ProviderConfig
from shared.agentkit.tools import tool

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Weather(BaseModel):
    degrees: int


@tool
async def look_up(city: str, days: int = 1) -> str:
    """Look the weather up."""
    return f"{city}: {days}"


@pytest_asyncio.fixture(loop_scope="session")
async def agent(model: ScriptedModel, account: str) -> AsyncIterator[ChatAgent]:
    provider = Provider(ProviderConfig(credential=account, base_url=model.url))
    yield ChatAgent(
        name="weather",
        description="Tells the weather.",
        instructions="Be brief.",
        model="gpt-scripted",
        provider=provider,
        tools=[look_up],
        output_type=Weather,
    )
    await provider.close()


async def run(agent: ChatAgent, items: list[Item]) -> AgentResponse:
    return await agent.run(items, session=AgentSession(session_id="s"), options=RunOptions(timeout=5, background=False))


def user(text: str) -> Item:
    return {"type": "message", "role": "user", "content": text}


async def test_tools_and_a_correction_go_through_every_turn(agent: ChatAgent, control: ModelControl) -> None:
    await control.switches(strict_parameters=True)
    calls: Any = [{"name": "look_up", "arguments": {"city": city, "days": None}} for city in ("Rome", "Oslo")]
    turns: list[Any] = [
        {"text": "Let me see.", "calls": calls},
        {"text": "Hot!", "continues": True},
        {"text": '{"degrees": 30}'},
    ]
    await control.script("s", turns)
    items = [user("[script:s] Rome and Oslo?")]
    asked = await run(agent, items)
    assert [json.loads(each.arguments)["city"] for each in asked.calls] == ["Rome", "Oslo"]
    items += asked.items
    items += [{"type": "function_call_output", "call_id": each.call_id, "output": "warm"} for each in asked.calls]
    wrong = await run(agent, items)
    last = await run(agent, [*items, *wrong.items, user("Your answer is not JSON.")])
    assert (last.status, last.text) == (ResponseStatus.COMPLETED, '{"degrees": 30}')
    assert last.usage.total_tokens > 0
    log = await control.log("chat")
    assert [entry.turn for entry in log] == [0, 1, 2]
    body: Any = log[0].body
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert body["tools"][0]["function"]["strict"] is True
    assert body["response_format"]["json_schema"]["name"] == "Weather"


@pytest.mark.parametrize(
    ("turn", "fault"),
    [
        ({"status": "failed"}, faults.PerhapsAccepted),
        ({"faults": {"create": [{"status": 429}]}}, faults.NotAccepted),
        ({"faults": {"create": [{"drop": True}]}}, faults.PerhapsAccepted),
        ({"faults": {"create": [{"status": 401}]}}, faults.AccessDenied),
        ({"faults": {"create": [{"html": True}]}}, faults.PerhapsAccepted),
    ],
)
async def test_what_goes_wrong_is_told_as_a_fault(
    agent: ChatAgent, control: ModelControl, turn: dict[str, Any], fault: type[faults.ProviderFault]
) -> None:
    await control.script("s", [{"text": "Fine.", **turn}])
    with pytest.raises(fault):
        await run(agent, [user("[script:s]")])


async def test_new_items_alone_are_refused_because_nothing_is_kept(agent: ChatAgent) -> None:
    with pytest.raises(faults.Refused, match="preceeding"):
        await run(agent, [{"type": "function_call_output", "call_id": "call_1", "output": "x"}])
