"""OpenAI's Agents SDK: `use_agents.py … responses|chat`."""

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    SQLiteSession,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from steps import AGENT, KEY, MORE, PIRATE, QUESTION, TOOLS_AGENT, URL, lookup, play, script

set_tracing_disabled(True)
client = AsyncOpenAI(base_url=URL, api_key=KEY)
Model = OpenAIChatCompletionsModel if "chat" in MORE else OpenAIResponsesModel


def agent(model=AGENT, **more):
    return Agent(name="front", model=Model(model, openai_client=client), **more)


async def run(step, text="", **more):
    return (await Runner.run(agent(**more), f"{script(step)} {text}")).final_output


async def text():
    return await run("text")


async def stream(step="stream"):
    result = Runner.run_streamed(agent(), script(step))
    heard = [
        event.data.delta
        async for event in result.stream_events()
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
    ]
    return "".join(heard)


async def helper(step="helper"):
    result = Runner.run_streamed(agent(), script(step))
    async for _ in result.stream_events():
        pass
    return result.final_output


async def turns():
    session = SQLiteSession("a-conversation")
    results = [await Runner.run(agent(), script(step), session=session) for step in ("turns", "turns2")]
    return [result.final_output for result in results]


async def system():
    return await run("system", instructions=PIRATE)


async def options():
    settings = ModelSettings(temperature=0.2, top_p=0.9, max_tokens=900, store=False, truncation="auto")
    return await run("options", model_settings=settings)


async def tools():
    return await run("tools", QUESTION, model=TOOLS_AGENT, tools=[function_tool(lookup)])


play("openai-agents", text, stream, helper, turns, system, options, tools, ask=run, read_stream=helper)
