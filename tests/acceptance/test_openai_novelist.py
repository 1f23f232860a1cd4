"""SpaceNovelWriter, Agent Framework's sample of long runs: its instructions and functions are the caller's own.

Written as its users write it, unmodified, with an agent of this app as its model. That it polls and resumes when the
process around it is another one is what the sample is about.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.acceptance.conftest import CLIENT_KEYS, Target
from tests.acceptance.test_openai_requests import script, sent

INSTRUCTIONS = (
    "You are a space novel writer. Always research relevant facts and generate character profiles for the main "
    "characters before writing novels. Just write the novel based on the request."
)
CALLS = {
    "calls": [
        {"name": "research_space_facts", "arguments": {"topic": "otters"}},
        {"name": "generate_character_profiles", "arguments": {}},
    ]
}
NOVEL = "Ada and Bob found an otter that circled a star. " * 4


@pytest.fixture
def driver() -> str:
    """None of this is the driver's."""
    return "durable"


@dataclass
class Writer:
    """The agent, and what its functions were asked."""

    target: Target
    asked: list[str] = field(default_factory=list)

    def agent(self) -> Any:
        """It as a process makes it that starts."""
        framework = pytest.importorskip("agent_framework")
        clients = pytest.importorskip("agent_framework.openai")

        async def research_space_facts(topic: str) -> str:
            """Researches relevant space facts and scientific information for writing a science fiction novel."""
            self.asked.append(topic)
            await asyncio.sleep(0)
            return f"Facts of {topic}."

        def generate_character_profiles() -> list[str]:
            """Generates character profiles for the main astronaut characters in the novel."""
            self.asked.append("profiles")
            return ["Ada", "Bob"]

        return framework.Agent(
            client=clients.OpenAIChatClient(
                model="assistant", api_key=CLIENT_KEYS["ada"], base_url=f"{self.target.api.url}/api/v1"
            ),
            name="SpaceNovelWriter",
            instructions=INSTRUCTIONS,
            tools=[research_space_facts, generate_character_profiles],
        )

    def restored(self, saved: str) -> tuple[Any, Any, Any]:
        """Agent, session and continuation token of another process, from what the first has written down."""
        framework = pytest.importorskip("agent_framework")
        state = json.loads(saved)
        return self.agent(), framework.AgentSession.from_dict(state["session"]), state["token"]


@pytest.fixture
def writer(target: Target) -> Writer:
    """It, on the app."""
    return Writer(target)


def save(session: Any, token: Any) -> str:
    """What has to outlive the process."""
    return json.dumps({"session": session.to_dict(), "token": token})


async def check_what_the_model_read(target: Target, text: str) -> None:
    """The second create has what both functions gave, and both have the instructions and the functions."""
    log = await target.model.log("create")
    bodies = [each.body for each in log if each.body and each.script and f"[script:{each.script}]" == text]
    assert len(bodies) == 2
    for body in bodies:
        assert INSTRUCTIONS in body["instructions"]
        assert [tool["name"] for tool in body["tools"]] == ["research_space_facts", "generate_character_profiles"]
    outputs = [item["output"] for item in bodies[1]["input"] if item.get("type") == "function_call_output"]
    assert outputs == ["Facts of otters.", '["Ada", "Bob"]']


async def test_it_writes_a_novel_in_one_call(target: Target, writer: Writer) -> None:
    text = await script(target, {"think": 0.2, **CALLS}, {"think": 0.2, "text": NOVEL, "continues": True}, SEQUEL)
    agent = writer.agent()
    session = agent.create_session()
    response = await agent.run(text, session=session)
    assert response.text.strip() == NOVEL.strip()
    assert sorted(writer.asked) == ["otters", "profiles"]
    assert (await agent.run("And now the sequel.", session=session)).text == SEQUEL["text"]
    assert len(await sent(target, text)) == 1, "the conversation is not sent again"


SEQUEL = {"think": 0, "text": "A sequel."}


async def test_it_is_polled_with_a_token_that_another_process_restores(target: Target, writer: Writer) -> None:
    text = await script(target, {"think": 0.6, **CALLS}, {"think": 0.6, "text": NOVEL})
    agent = writer.agent()
    session = agent.create_session()
    response = await agent.run(text, session=session, options={"background": True})
    polls = 0
    while response.continuation_token is not None:
        saved = save(session, response.continuation_token)
        await asyncio.sleep(0.1)
        agent, session, token = writer.restored(saved)
        # Both as the sample has them: a response that is created by a poll is polled as well.
        options = {"background": True, "continuation_token": token}
        response = await agent.run(session=session, options=options)
        polls += 1
    assert response.text.strip() == NOVEL.strip()
    assert sorted(writer.asked) == ["otters", "profiles"], "each was called once, whoever polled"
    assert polls > 2
    await check_what_the_model_read(target, text)


@pytest.mark.parametrize("shown", [0, 30], ids=["before-the-calls", "in-the-text"])
async def test_its_stream_is_taken_up_by_another_process(target: Target, writer: Writer, shown: int) -> None:
    text = await script(target, {"think": 0.4, **CALLS}, {"think": 1.0, "text": NOVEL})
    agent = writer.agent()
    session = agent.create_session()
    options = {"background": True}
    saved, before = "", list[Any]()
    async with agent.run(text, session=session, stream=True, options=options) as stream:
        async for update in stream:
            before.append(update)
            if update.continuation_token is not None:
                saved = save(session, update.continuation_token)
            if saved and len(said(before)) >= shown:
                break
    agent, session, token = writer.restored(saved)
    stream = agent.run(session=session, stream=True, options={**options, "continuation_token": token})
    after = [update async for update in stream]
    assert said(after) == NOVEL, "its token names the response alone: it is sent from the start"
    assert NOVEL.startswith(said(before))
    assert sorted(writer.asked) == ["otters", "profiles"]
    await check_what_the_model_read(target, text)


def said(updates: list[Any]) -> str:
    """The text of updates as a client shows it while it comes; a message that is done repeats its words."""
    contents = (content for update in updates for content in update.contents)
    return "".join(each.text for each in contents if each.type == "text" and each.merge_mode != "replace")
