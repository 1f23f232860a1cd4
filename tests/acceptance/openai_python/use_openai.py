"""OpenAI's own client: `use_openai.py … responses|chat`."""

import json

from openai import AsyncOpenAI
from steps import AGENT, KEY, MORE, PARAMETERS, PIRATE, QUESTION, TOOLS_AGENT, URL, lookup, play, script

client = AsyncOpenAI(base_url=URL, api_key=KEY)
responses, completions = client.responses, client.chat.completions
TOOL = {"name": "lookup", "description": "Look a word up.", "parameters": PARAMETERS}
OPTIONS = {"temperature": 0.2, "top_p": 0.9, "user": "u", "store": False, "parallel_tool_calls": True}


async def text(step="text", **more):
    return (await responses.create(model=AGENT, input=script(step), **more)).output_text


async def stream():
    events = await responses.create(model=AGENT, input=script("stream"), stream=True)
    return "".join([event.delta async for event in events if event.type == "response.output_text.delta"])


async def helper(step="helper"):
    async with responses.stream(model=AGENT, input=script(step)) as events:
        deltas = [event.delta async for event in events if event.type == "response.output_text.delta"]
        final = await events.get_final_response()
    assert final.output_text == "".join(deltas)
    return final.output_text


async def turns():
    first = await responses.create(model=AGENT, input=script("turns"))
    second = await responses.create(model=AGENT, input=script("turns2"), previous_response_id=first.id)
    return [first.output_text, second.output_text]


async def tools():
    given = {"model": TOOLS_AGENT, "tools": [{"type": "function", "strict": True, **TOOL}]}
    first = await responses.create(input=f"{script('tools')} {QUESTION}", **given)
    outputs = [
        {
            "type": "function_call_output",
            "call_id": call.call_id,
            "output": lookup(**json.loads(call.arguments)),
        }
        for call in first.output
        if call.type == "function_call"
    ]
    return (await responses.create(input=outputs, previous_response_id=first.id, **given)).output_text


async def failed():
    response = await responses.create(model=AGENT, input=script("failed"))
    return f"status `{response.status}`, `error.code` `{response.error.code}`"


def ask(step, *before, **more):
    messages = [*before, {"role": "user", "content": script(step)}]
    return completions.create(**{"model": AGENT, "messages": messages, **more})


async def chat_text(step="text", *before, **more):
    return (await ask(step, *before, **more)).choices[0].message.content


async def chat_stream():
    chunks = await ask("stream", stream=True)
    return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])


async def chat_helper(step="helper"):
    async with completions.stream(model=AGENT, messages=[{"role": "user", "content": script(step)}]) as events:
        async for _ in events:
            pass
        return (await events.get_final_completion()).choices[0].message.content


async def chat_turns():
    first = await chat_text("turns")
    asked = {"role": "user", "content": script("turns")}
    return [first, await chat_text("turns2", asked, {"role": "assistant", "content": first})]


async def chat_tools():
    messages = [{"role": "user", "content": f"{script('tools')} {QUESTION}"}]
    given = {"model": TOOLS_AGENT, "tools": [{"type": "function", "function": {"strict": True, **TOOL}}]}
    first = (await completions.create(messages=messages, **given)).choices[0].message
    messages.append(first.model_dump(exclude_none=True))
    for call in first.tool_calls:
        output = lookup(**json.loads(call.function.arguments))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": output})
    return (await completions.create(messages=messages, **given)).choices[0].message.content


async def system():
    return await text("system", instructions=PIRATE)


async def options():
    return await text("options", max_output_tokens=900, reasoning={"effort": "low"}, truncation="auto", **OPTIONS)


async def chat_system():
    return await chat_text("system", {"role": "system", "content": PIRATE})


async def chat_options():
    return await chat_text("options", max_tokens=900, seed=1, stop=["END"], logit_bias={}, n=1, **OPTIONS)


if "chat" in MORE:
    steps = (chat_text, chat_stream, chat_helper, chat_turns, chat_system, chat_options, chat_tools)
    play("openai", *steps, ask=chat_text, read_stream=chat_helper)
else:
    steps = (text, stream, helper, turns, system, options, tools, failed)
    play("openai", *steps, ask=text, read_stream=helper)
