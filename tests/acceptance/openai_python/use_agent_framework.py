"""Microsoft Agent Framework: `use_agent_framework.py … responses|chat`."""

from agent_framework import Agent
from agent_framework.openai import OpenAIChatClient, OpenAIChatCompletionClient
from steps import AGENT, KEY, MORE, PIRATE, QUESTION, TOOLS_AGENT, URL, lookup, play, script

Client = OpenAIChatCompletionClient if "chat" in MORE else OpenAIChatClient


def agent(model=AGENT, **more):
    return Agent(client=Client(model=model, api_key=KEY, base_url=URL), name="front", **more)


async def ask(step, text="", options=None, **more):
    return (await agent(**more).run(f"{script(step)} {text}", options=options)).text


async def text():
    return await ask("text")


async def stream():
    heard = []
    async for update in agent().run(script("stream"), stream=True):
        heard += [each.text for each in update.contents if each.type == "text" and each.merge_mode != "replace"]
    return "".join(heard)


async def helper(step="helper"):
    updates = agent().run(script(step), stream=True)
    async for _ in updates:
        pass
    return (await updates.get_final_response()).text


async def turns():
    front = agent()
    session = front.create_session()
    return [(await front.run(script(step), session=session)).text for step in ("turns", "turns2")]


async def system():
    return await ask("system", instructions=PIRATE)


async def options():
    return await ask("options", options={"temperature": 0.2, "top_p": 0.9, "max_tokens": 900, "store": False})


async def tools():
    return await ask("tools", QUESTION, model=TOOLS_AGENT, tools=[lookup])


play("agent-framework-core", text, stream, helper, turns, system, options, tools, ask=ask, read_stream=helper)
