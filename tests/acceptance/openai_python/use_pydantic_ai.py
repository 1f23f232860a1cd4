"""Pydantic AI: `use_pydantic_ai.py … responses|chat`."""

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider
from steps import AGENT, KEY, MORE, PIRATE, QUESTION, TOOLS_AGENT, URL, lookup, play, script

Model = OpenAIChatModel if "chat" in MORE else OpenAIResponsesModel


def agent(model=AGENT, **more):
    return Agent(Model(model, provider=OpenAIProvider(base_url=URL, api_key=KEY)), **more)


async def ask(step, text="", **more):
    return (await agent(**more).run(f"{script(step)} {text}")).output


async def text():
    return await ask("text")


async def stream():
    async with agent().run_stream(script("stream")) as result:
        return "".join([delta async for delta in result.stream_text(delta=True)])


async def helper(step="helper"):
    async with agent().run_stream(script(step)) as result:
        return await result.get_output()


async def turns():
    first = await agent().run(script("turns"))
    second = await agent().run(script("turns2"), message_history=first.all_messages())
    return [first.output, second.output]


async def system():
    return await ask("system", instructions=PIRATE)


async def options():
    return await ask("options", model_settings={"temperature": 0.2, "top_p": 0.9, "max_tokens": 900, "seed": 1})


async def tools():
    return await ask("tools", QUESTION, model=TOOLS_AGENT, tools=[lookup])


play("pydantic-ai-slim", text, stream, helper, turns, system, options, tools, ask=ask, read_stream=helper)
