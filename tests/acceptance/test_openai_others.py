"""Other people's clients against `/api/v1`: OpenAI's for JavaScript, and Agent Framework's own."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from local import ROOT
from local.stack import NodeTools, find_node
from local.stack.node import version_of
from local.stack.setup import ensure_packages
from tests.acceptance.conftest import CLIENT_KEYS, Target
from tests.acceptance.test_openai_streams import THREE_TURNS, WORDS

SOURCE = Path(__file__).parent / "openai_npm"
HOME = ROOT / ".dormouse" / "openai-npm"
OLDEST_NODE = (22, 0)  # what the package asks for
ALL_WORDS = "Let me look." + WORDS


@pytest.fixture
def driver() -> str:
    """None of this is the driver's."""
    return "durable"


@pytest.fixture
async def model(target: Target) -> None:
    """What the model plays."""
    await target.model.script("three", THREE_TURNS)
    await target.model.script("short", [{"think": 0, "text": "Short."}])
    await target.model.script("slow", [{"think": 60, "text": "Slow."}])
    await target.model.script("tools-first", THREE_TURNS[1:])
    await target.model.script("refusal", [THREE_TURNS[1], {"think": 0.2, "refusal": "No."}])
    await target.model.script("failed", [{"think": 0.2, "status": "failed", "error": {"code": "invalid_prompt"}}])
    await target.model.script("held", [*THREE_TURNS[:2], {**THREE_TURNS[2], "stuck": True}])


@pytest.fixture
def node() -> NodeTools:
    """A Node.js that is new enough for the package, with the package installed beside the script."""
    venv = Path(sys.prefix)
    tools = find_node(venv)
    if version_of(tools.version) < OLDEST_NODE:
        tools = find_node(venv, path="")
    ensure_packages("OpenAI's client", SOURCE, HOME, HOME / "node_modules" / "openai" / "index.mjs", tools)
    shutil.copyfile(SOURCE / "client.mjs", HOME / "client.mjs")
    return tools


@pytest.mark.usefixtures("model")
async def test_openais_client_for_javascript_runs_as_it_is(target: Target, node: NodeTools) -> None:
    process = await asyncio.create_subprocess_exec(
        node.node,
        HOME / "client.mjs",
        f"{target.api.url}/api/v1",
        CLIENT_KEYS["ada"],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(120):
        printed, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    seen = json.loads(printed)
    assert seen.pop("accepted") in ("queued", "in_progress")
    assert seen.pop("connections") > 2
    assert {"novelist", "bench"} <= set(seen.pop("models"))
    assert seen == {
        "polled": ["completed", ALL_WORDS],
        "next": ["completed", "Short."],
        "streamed": ALL_WORDS,
        "helper": ["completed", ALL_WORDS, True],
        "replayed": ALL_WORDS,
        "toolsFirst": [1, WORDS],
        "refusal": ["No."],
        "failed": ["APIError", "invalid_prompt"],
        "cancelled": "cancelled",
        "deleted": ["NotFoundError", "response_not_found"],
        "items": ["[script:three]"],
        "chat": "Short.",
        "refused": ["BadRequestError", "unsupported_parameter", "tools"],
        "stranger": ["AuthenticationError", "invalid_api_key"],
    }


@pytest.fixture
def agent(target: Target) -> Any:
    """An agent of Agent Framework whose model is an agent of ours."""
    framework = pytest.importorskip("agent_framework")
    clients = pytest.importorskip("agent_framework.openai")
    client = clients.OpenAIChatClient(model="bench", api_key=CLIENT_KEYS["ada"], base_url=f"{target.api.url}/api/v1")
    return framework.Agent(client=client, name="front")


def said(updates: list[Any]) -> str:
    """The text of updates as a client shows it while it comes; a message that is done repeats its words."""
    contents = (content for update in updates for content in update.contents)
    return "".join(each.text for each in contents if each.type == "text" and each.merge_mode != "replace")


def in_words(text: str) -> list[str]:
    """Without regard to the space that the framework sets between two messages."""
    return text.replace(".", ". ").split()


@pytest.mark.usefixtures("model")
async def test_agent_framework_polls_a_background_response(agent: Any) -> None:
    session = agent.create_session()
    response = await agent.run("[script:three]", session=session, options={"background": True})
    polls = 0
    while response.continuation_token is not None:
        await asyncio.sleep(0.1)
        response = await agent.run(session=session, options={"continuation_token": response.continuation_token})
        polls += 1
    assert in_words(response.text) == in_words(ALL_WORDS)
    assert polls > 0
    assert response.usage_details["total_token_count"] > 0
    following = await agent.run("[script:short]", session=session)
    assert following.text == "Short."


@pytest.mark.usefixtures("model")
async def test_agent_framework_resumes_an_interrupted_stream(agent: Any) -> None:
    session = agent.create_session()
    token, before = None, list[Any]()
    async with agent.run("[script:three]", session=session, stream=True, options={"background": True}) as stream:
        async for update in stream:
            token = update.continuation_token or token
            before.append(update)
            if said(before):
                break
    assert token is not None
    stream = agent.run(session=session, stream=True, options={"continuation_token": token})
    after = [update async for update in stream]
    assert said(after) == ALL_WORDS, "its token names the response alone: it is sent from the start"
    assert ALL_WORDS.startswith(said(before))
    assert in_words((await stream.get_final_response()).text) == in_words(WORDS), "it keeps a stream's last message"


@pytest.mark.usefixtures("model")
async def test_agent_framework_streams_a_whole_answer(target: Target, agent: Any) -> None:
    """The last turn waits half-way until some of it was sent."""
    stream, updates, held = agent.run("[script:held]", stream=True), list[Any](), True
    async for update in stream:
        updates.append(update)
        if held and len(said(updates)) > len("Let me look.") + 20:
            held = False
            last = [each.id for each in await target.model.responses() if (each.script, each.turn) == ("held", 2)]
            await target.model.finish(last[-1])
    assert said(updates) == ALL_WORDS
    assert sum(bool(said([update])) for update in updates) > 2
    assert in_words((await stream.get_final_response()).text) == in_words(WORDS), "it keeps a stream's last message"
