"""What only an Agent Framework agent brings: its own tools, options, context providers, middleware, and its faults."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest
from agent_framework import Agent as TheirAgent
from agent_framework import (
    AgentContext,
    AgentResponse,
    ContextProvider,
    FunctionInvocationContext,
    MCPStreamableHTTPTool,
    Message,
    MiddlewareTermination,
    agent_middleware,
    chat_middleware,
    function_middleware,
)
from agent_framework import tool as their_tool
from agent_framework.openai import OpenAIChatClient, OpenAIChatCompletionClient
from openai import AsyncOpenAI
from pydantic import BaseModel

from local.model.control import ModelControl
from shared.agentkit import faults
from shared.agentkit.agent import Agent, ResponseStatus
from shared.agentkit.caller import INTRODUCTION
from shared.agentkit.framework import FrameworkAgent
from shared.agentkit.tools import ToolContext
from tests.contract.framework.conftest import RAN, Harness, MakeTheirs, context, their_tools

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def body_of(control: ModelControl, index: int = 0) -> dict[str, Any]:
    body = (await control.log("create"))[index].body
    assert body is not None
    return body


async def test_the_agent_is_left_as_it_was(theirs: MakeTheirs, control: ModelControl) -> None:
    agent = theirs(tools=their_tools(), description="Writes.")
    client: Any = agent.client
    retries, openai = client.client.max_retries, client.client
    adapted: Agent = FrameworkAgent(agent)
    await Harness(adapted).answer("Two moons.")  # type: ignore[arg-type]
    assert (client.client, client.client.max_retries) == (openai, retries)
    assert client.function_invocation_configuration["enabled"]
    assert agent.client is client
    assert (adapted.name, adapted.description) == ("novelist", "Writes.")
    assert (adapted.background, adapted.chains, adapted.output) == (True, True, None)
    assert RAN == []
    await agent.run("Two suns.")  # and its own loop still runs its tools
    assert len(RAN) == 2


async def test_tools_are_the_framework_s_own(theirs: MakeTheirs, control: ModelControl) -> None:
    heard: list[ToolContext] = []

    @their_tool(approval_mode="always_require", additional_properties={"timeout": 30, "at_most_once": True})
    async def file_report(title: str, ctx: FunctionInvocationContext) -> dict[str, str]:
        """File it."""
        heard.append(ctx.kwargs["tool_context"])
        return {"filed": title}

    desk = Harness(FrameworkAgent(theirs(tools=[file_report, {"type": "web_search"}])))
    only = desk.agent.tools["file_report"]
    assert (only.requires_approval, only.timeout, only.at_most_once) == (True, 30, True)
    assert only.description == "File it."
    assert list(only.schema["properties"]) == ["title"]
    output = await only.invoke('{"title": "Q3"}', context(), desk.executor)
    assert json.loads(output) == {"filed": "Q3"}
    assert [each.idempotency_key for each in heard] == ["r1:1:0"]
    await control.script("s", [{"text": "Done."}])
    await desk.answer("[script:s]")
    sent = (await body_of(control))["tools"]
    assert [each["type"] for each in sent] == ["function", "web_search"]
    assert sent[0]["parameters"] == only.schema


@pytest.mark.parametrize(
    "arguments",
    [
        '{"amount": 1}, "arguments": {"amount": 1000000}',
        '{"amount": 1}, "context": {"owner": "somebody else"}',
        '{"amount": 1, "amount": 1000000}',
        '{"amount": 1}{"amount": 1000000}',
        "[1000000]",
    ],
)
async def test_arguments_that_are_not_one_object_never_reach_the_tool(theirs: MakeTheirs, arguments: str) -> None:
    """What a person approved is what runs."""
    paid: list[int] = []

    @their_tool(approval_mode="always_require")
    async def pay(amount: int) -> str:
        """Pay."""
        paid.append(amount)
        return f"paid {amount}"

    desk = Harness(FrameworkAgent(theirs(tools=[pay])))
    output = json.loads(await desk.agent.tools["pay"].invoke(arguments, context(), desk.executor))
    assert (output["error"]["code"], paid) == ("invalid_arguments", [])
    assert await desk.agent.tools["pay"].invoke('{"amount": 2}', context(), desk.executor) == "paid 2"


async def test_a_sync_tool_runs_off_the_loop_and_an_async_one_on_it(theirs: MakeTheirs) -> None:
    where: list[int] = []

    def slow() -> str:
        """Sync."""
        where.append(threading.get_ident())
        return "slow"

    async def quick() -> None:
        """Async."""
        where.append(threading.get_ident())

    desk = Harness(FrameworkAgent(theirs(tools=[slow, quick])))
    assert [await tool.invoke("", context(), desk.executor) for tool in desk.agent.tools.values()] == ["slow", ""]
    assert where[0] != threading.get_ident()
    assert where[1] == threading.get_ident()


async def test_a_raising_tool_is_an_output_and_a_cancelled_one_is_not(theirs: MakeTheirs) -> None:
    async def broken() -> str:
        """Raise."""
        raise RuntimeError("no luck")

    async def endless() -> str:
        """Wait."""
        await asyncio.sleep(60)
        return "never"

    desk = Harness(FrameworkAgent(theirs(tools=[broken, endless])))
    output = await desk.agent.tools["broken"].invoke("", context(), desk.executor)
    assert json.loads(output)["error"]["message"] == "RuntimeError: no luck"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await desk.agent.tools["endless"].invoke("", context(), desk.executor)


async def test_options_of_the_agent_go_into_every_create(theirs: MakeTheirs, control: ModelControl) -> None:
    options = {"reasoning": {"effort": "low"}, "max_tokens": 500, "metadata": {"team": "x"}, "verbosity": "low"}
    await Harness(FrameworkAgent(theirs(default_options=options))).answer("Hello.")
    body = await body_of(control)
    assert (body["reasoning"], body["max_output_tokens"]) == ({"effort": "low"}, 500)
    assert body["text"] == {"verbosity": "low"}
    assert body["metadata"] == {"team": "x", "run": "r1", "turn": "1"}


async def test_what_a_caller_adds_goes_over_the_options_and_behind_the_instructions(
    theirs: MakeTheirs, control: ModelControl
) -> None:
    options = {"reasoning": {"effort": "high", "summary": "auto"}, "max_tokens": 500}
    allowed = ("reasoning", "max_output_tokens", "verbosity", "temperature")
    desk = Harness(FrameworkAgent(theirs(default_options=options), caller_options=allowed))
    given = {"reasoning": {"effort": "low"}, "max_output_tokens": 9, "verbosity": "low", "temperature": 0.5}
    await desk.answer("Hello.", caller_options=given, instructions="Be a pirate.")
    body = await body_of(control)
    assert body["reasoning"] == {"effort": "low", "summary": "auto"}
    assert (body["max_output_tokens"], body["text"], body["temperature"]) == (9, {"verbosity": "low"}, 0.5)
    own = theirs().default_options["instructions"]
    said = str(body.get("instructions") or body["input"][0])
    assert own in said
    assert said.index(own) < said.index(INTRODUCTION[:40]) < said.index("Be a pirate.")
    await desk.answer("And now?")
    assert "pirate" not in str(await body_of(control, 1))


async def test_a_required_tool_is_required_once(theirs: MakeTheirs, control: ModelControl) -> None:
    desk = Harness(FrameworkAgent(theirs(tools=their_tools(), default_options={"tool_choice": "required"})))
    asked = await desk.answer("Two moons.")
    await desk.answer(await desk.outputs(asked), previous=asked.response_id)
    assert [(await body_of(control, n))["tool_choice"] for n in (0, 1)] == ["required", "auto"]


class Report(BaseModel):
    """A report."""

    title: str


async def test_a_response_format_is_the_run_s_output(theirs: MakeTheirs, control: ModelControl) -> None:
    desk = Harness(FrameworkAgent(theirs(tools=their_tools(), default_options={"response_format": Report})))
    assert desk.agent.output is not None
    await control.script("s", [{"text": '{"title": "Q3"}'}, {"text": "no JSON"}])
    response = await desk.answer("[script:s]")
    assert desk.agent.output.parse(response.text) == '{"title":"Q3"}'
    sent = (await body_of(control))["text"]["format"]
    assert (sent["type"], sent["name"], sent["strict"]) == ("json_schema", "Report", True)


class Memory(ContextProvider):
    """Adds what it remembers, and notes what it hears."""

    def __init__(self) -> None:
        super().__init__("memory")
        self.heard: list[str] = []
        self.sessions: list[str] = []

    async def before_run(self, *, agent: Any, session: Any, context: Any, state: Any) -> None:
        self.sessions.append(session.session_id)
        context.extend_messages(self, [Message("user", ["Remember the whale."])])
        context.extend_instructions(self, ["Be kind."])

    async def after_run(self, *, agent: Any, session: Any, context: Any, state: Any) -> None:
        if context.response is not None and context.response.text:
            self.heard.append(context.response.text)


async def test_context_providers_add_to_the_request_and_hear_the_answer(
    theirs: MakeTheirs, control: ModelControl
) -> None:
    memory = Memory()
    desk = Harness(FrameworkAgent(theirs(context_providers=[memory])))
    await control.script("s", [{"text": "Done.", "think": 0.3}])
    response = await desk.answer([{"role": "user", "content": "[script:s]"}], background=True)
    body = await body_of(control)
    assert [item.get("content") for item in body["input"]] == [
        [{"type": "input_text", "text": "Remember the whale."}],
        "[script:s]",
    ]
    assert body["instructions"] == "Write stories.\nBe kind."
    assert (response.text, memory.heard) == ("Done.", ["Done."])
    assert memory.sessions == ["s1", "s1"]  # not with every poll


@pytest.mark.parametrize("status", ["completed", "incomplete"])
async def test_what_middleware_makes_of_words_is_what_is_sent_and_told(
    theirs: MakeTheirs, control: ModelControl, status: str
) -> None:
    @chat_middleware
    async def redact(context: Any, call_next: Any) -> None:
        for message in context.messages:
            for part in message.contents:
                part.text = (part.text or "").replace("secret", "***")
        await call_next()
        for message in context.result.messages:
            for part in message.contents:
                if part.type == "text":
                    part.text = part.text.replace("secret", "***")

    desk = Harness(FrameworkAgent(theirs(middleware=[redact])))
    ending = {"text": "A secret.", "hosted": [{"type": "web_search_call"}]}
    await control.script("s", [{**ending, "status": status}])
    response = await desk.answer("[script:s] secret")
    assert response.status == status
    assert (await body_of(control))["input"][0]["content"] == "[script:s] ***"
    assert response.text == "A ***."
    assert "secret" not in json.dumps(response.items)
    assert [item["type"] for item in response.items] == ["web_search_call", "message"]


@pytest.mark.parametrize("words", ["I may not.", ""])
async def test_middleware_may_answer_in_the_model_s_place_but_not_with_nothing(
    theirs: MakeTheirs, control: ModelControl, words: str
) -> None:
    @agent_middleware
    async def guard(context: AgentContext, call_next: Any) -> None:
        context.result = AgentResponse(messages=[Message("assistant", [words])])
        raise MiddlewareTermination(result=context.result)

    desk = Harness(FrameworkAgent(theirs(middleware=[guard])))
    if words:
        response = await desk.create("Hello.")
        assert (response.status, response.text, response.response_id) == (ResponseStatus.COMPLETED, words, None)
    else:
        with pytest.raises(faults.Refused):
            await desk.create("Hello.")
    assert await control.log() == []


class Stumbling(ContextProvider):
    """Fails before the request, or on what is answered."""

    def __init__(self, when: str) -> None:
        super().__init__("stumbling")
        self.when = when

    async def before_run(self, **_: Any) -> None:
        if self.when == "before":
            raise ValueError("sk-of-the-agent")

    async def after_run(self, **_: Any) -> None:
        if self.when == "after":
            raise ValueError("sk-of-the-agent")


async def test_a_context_provider_that_fails_before_the_request_has_sent_nothing(
    theirs: MakeTheirs, control: ModelControl
) -> None:
    with pytest.raises(faults.RequestNotBuilt) as caught:
        await Harness(FrameworkAgent(theirs(context_providers=[Stumbling("before")]))).create("Hello.")
    assert (caught.value.code, caught.value.message) == ("agent_error", "ValueError")
    assert await control.log("create") == []


async def test_one_that_fails_after_the_request_leaves_the_outcome_open(
    theirs: MakeTheirs, control: ModelControl
) -> None:
    with pytest.raises(faults.PerhapsAccepted):
        await Harness(FrameworkAgent(theirs(context_providers=[Stumbling("after")]))).create("Hello.")
    assert len(await control.log("create")) == 1


async def test_without_a_connection_nothing_was_started(theirs: MakeTheirs, account: str) -> None:
    for url in ("http://127.0.0.1:9/v1", "http://nowhere.invalid/v1"):
        with pytest.raises(faults.NotAccepted):
            await Harness(FrameworkAgent(theirs(url=url))).create("Hello.")


async def test_a_credential_that_fails_is_no_uncertain_create(model: Any, control: ModelControl) -> None:
    from azure.core.exceptions import ClientAuthenticationError

    async def token() -> str:
        raise ClientAuthenticationError("no managed identity here")

    client = OpenAIChatClient(model="gpt-scripted", async_client=AsyncOpenAI(api_key=token, base_url=model.url))
    with pytest.raises(faults.AccessDenied):
        await Harness(FrameworkAgent(TheirAgent(client=client, name="a"))).create("Hello.")
    assert await control.log() == []


async def test_a_credential_that_fails_later_is_no_news(model: Any, account: str) -> None:
    from azure.core.exceptions import ClientAuthenticationError

    keys = [account]

    async def token() -> str:
        if not keys:
            raise ClientAuthenticationError("no managed identity any more")
        return keys.pop()

    client = OpenAIChatClient(model="gpt-scripted", async_client=AsyncOpenAI(api_key=token, base_url=model.url))
    desk = Harness(FrameworkAgent(TheirAgent(client=client, name="a")))
    created = await desk.create("Hello.")
    with pytest.raises(faults.NoNews):
        await desk.poll(created.continuation_token)


async def test_what_the_framework_itself_refuses_is_refused(theirs: MakeTheirs) -> None:
    with pytest.raises(faults.Refused):
        await Harness(FrameworkAgent(theirs())).create([])


async def test_an_agent_that_could_not_keep_the_promises_is_turned_away(theirs: MakeTheirs) -> None:
    @function_middleware
    async def watch(context: FunctionInvocationContext, call_next: Any) -> None:
        await call_next()

    def declared(topic: str) -> str:
        """Only declared."""
        return topic

    only_declared = their_tool(declared)
    only_declared.func = None
    completions = OpenAIChatCompletionClient(model="m", api_key="k", base_url="http://127.0.0.1:9/v1")
    for agent in (
        TheirAgent(client=completions, name="chat"),
        theirs(middleware=[watch]),
        theirs(tools=[MCPStreamableHTTPTool(name="mcp", url="http://127.0.0.1:9/mcp")]),
        theirs(tools=[only_declared]),
        theirs(default_options={"conversation_id": "conv_1"}),
        theirs(name=None),
    ):
        with pytest.raises(TypeError):
            FrameworkAgent(agent)


@pytest.mark.parametrize("background", [True, False])
async def test_the_framework_runs_no_tool_even_when_it_is_shown_the_calls(
    theirs: MakeTheirs, control: ModelControl, background: bool
) -> None:
    memory = Memory()
    desk = Harness(FrameworkAgent(theirs(tools=their_tools(), context_providers=[memory])))
    call = {"name": "research_space_facts", "arguments": {"topic": "moons"}}
    await control.script("s", [{"text": "Let me see.", "calls": [call, call]}, {"text": "Done."}])
    asked = await desk.finish(await desk.create("[script:s]", background=background))
    assert (asked.text, memory.heard, len(asked.calls)) == ("Let me see.", ["Let me see."], 2)
    assert RAN == []
    assert len(await control.log("create")) == 1
