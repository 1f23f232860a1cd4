"""LangChain's ChatOpenAI: `use_langchain.py … responses|chat`."""

from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from steps import AGENT, KEY, MORE, PIRATE, QUESTION, TOOLS_AGENT, URL, lookup, play, script


def llm(model=AGENT, **more):
    return ChatOpenAI(model=model, base_url=URL, api_key=KEY, use_responses_api="chat" not in MORE, **more)


async def ask(step, *before, **more):
    return (await llm(**more).ainvoke([*before, HumanMessage(script(step))])).text


async def text():
    return await ask("text")


async def stream():
    return "".join([chunk.text async for chunk in llm().astream(script("stream"))])


async def helper(step="helper"):
    whole = None
    async for chunk in llm().astream(script(step)):
        whole = chunk if whole is None else whole + chunk
    return whole.text


async def turns():
    asked = HumanMessage(script("turns"))
    first = await llm().ainvoke([asked])
    second = await llm().ainvoke([asked, first, HumanMessage(script("turns2"))])
    return [first.text, second.text]


async def system():
    return await ask("system", SystemMessage(PIRATE))


async def options():
    return await ask("options", temperature=0.2, top_p=0.9, max_tokens=900, store=False)


async def tools():
    model = llm(TOOLS_AGENT).bind_tools([tool(lookup)])
    messages = [HumanMessage(f"{script('tools')} {QUESTION}")]
    messages.append(await model.ainvoke(messages))
    calls = messages[-1].tool_calls
    messages += [ToolMessage(lookup(**call["args"]), tool_call_id=call["id"]) for call in calls]
    return (await model.ainvoke(messages)).text


play("langchain-openai", text, stream, helper, turns, system, options, tools, ask=ask, read_stream=helper)
