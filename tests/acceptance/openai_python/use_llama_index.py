"""LlamaIndex's OpenAIResponses."""

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai import OpenAIResponses
from steps import AGENT, KEY, PIRATE, QUESTION, TOOLS_AGENT, URL, lookup, play, script


def llm(model=AGENT, **more):
    return OpenAIResponses(model=model, api_base=URL, api_key=KEY, context_window=100_000, **more)


async def ask(step, *before, **more):
    return (await llm(**more).achat([*before, ChatMessage(role="user", content=script(step))])).message.content


async def text():
    return await ask("text")


async def stream():
    chunks = await llm().astream_complete(script("stream"))
    return "".join([chunk.delta or "" async for chunk in chunks])


async def helper(step="helper"):
    last = None
    async for chunk in await llm().astream_chat([ChatMessage(role="user", content=script(step))]):
        last = chunk
    return last.message.content


async def turns():
    asked = ChatMessage(role="user", content=script("turns"))
    first = (await llm().achat([asked])).message
    return [first.content, await ask("turns2", asked, first)]


async def system():
    return await ask("system", ChatMessage(role="system", content=PIRATE))


async def options():
    return await ask("options", temperature=0.2, top_p=0.9, max_output_tokens=900, store=False, user="u")


async def tools():
    agent = FunctionAgent(tools=[FunctionTool.from_defaults(lookup)], llm=llm(TOOLS_AGENT))
    return (await agent.run(f"{script('tools')} {QUESTION}")).response.content


play("llama-index-llms-openai", text, stream, helper, turns, system, options, tools, ask=ask, read_stream=helper)
