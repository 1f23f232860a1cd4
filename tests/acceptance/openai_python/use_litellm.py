"""LiteLLM: `use_litellm.py … responses|chat`."""

import json
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # its list of prices is not downloaded

import litellm
from steps import AGENT, KEY, MORE, PARAMETERS, PIRATE, QUESTION, TOOLS_AGENT, URL, lookup, play, script

TOOL = {"name": "lookup", "description": "Look a word up.", "parameters": PARAMETERS, "strict": True}
WHERE = {"api_base": URL, "api_key": KEY}
OPTIONS = {"temperature": 0.2, "top_p": 0.9, "user": "u"}


async def text(step="text", **more):
    response = await litellm.aresponses(model=f"openai/{AGENT}", input=script(step), **WHERE, **more)
    return response.output_text


async def stream(step="stream"):
    events = await litellm.aresponses(model=f"openai/{AGENT}", input=script(step), stream=True, **WHERE)
    return "".join([event.delta async for event in events if event.type == "response.output_text.delta"])


async def turns():
    first = await litellm.aresponses(model=f"openai/{AGENT}", input=script("turns"), **WHERE)
    return [first.output_text, await text("turns2", previous_response_id=first.id)]


async def system():
    return await text("system", instructions=PIRATE)


async def options():
    return await text("options", max_output_tokens=900, store=False, **OPTIONS)


async def tools():
    given = {"model": f"openai/{TOOLS_AGENT}", "tools": [{"type": "function", **TOOL}], **WHERE}
    first = await litellm.aresponses(input=f"{script('tools')} {QUESTION}", **given)
    outputs = [
        {"type": "function_call_output", "call_id": call.call_id, "output": lookup(**json.loads(call.arguments))}
        for call in first.output
        if call.type == "function_call"
    ]
    return (await litellm.aresponses(input=outputs, previous_response_id=first.id, **given)).output_text


async def failed():
    response = await litellm.aresponses(model=f"openai/{AGENT}", input=script("failed"), **WHERE)
    error = response.error
    return f"status `{response.status}`, `error.code` `{error['code'] if isinstance(error, dict) else error.code}`"


async def lost_key():
    """Repeats are its user's to ask for, and so is the key."""
    return await text("lost_key", num_retries=2, extra_headers={"Idempotency-Key": script("lost_key")})


def ask(step, *before, **more):
    messages = [*before, {"role": "user", "content": script(step)}]
    return litellm.acompletion(**{"model": f"openai/{AGENT}", "messages": messages, **WHERE, **more})


async def chat_text(step="text", *before, **more):
    return (await ask(step, *before, **more)).choices[0].message.content


async def chat_stream():
    chunks = await ask("stream", stream=True)
    return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])


async def chat_helper(step="helper"):
    chunks = [chunk async for chunk in await ask(step, stream=True)]
    return litellm.stream_chunk_builder(chunks).choices[0].message.content


async def chat_turns():
    first = await chat_text("turns")
    asked = {"role": "user", "content": script("turns")}
    return [first, await chat_text("turns2", asked, {"role": "assistant", "content": first})]


async def chat_system():
    return await chat_text("system", {"role": "system", "content": PIRATE})


async def chat_options():
    return await chat_text("options", max_tokens=900, seed=1, stop=["END"], n=1, **OPTIONS)


async def chat_tools():
    messages = [{"role": "user", "content": f"{script('tools')} {QUESTION}"}]
    given = {"model": f"openai/{TOOLS_AGENT}", "tools": [{"type": "function", "function": TOOL}], **WHERE}
    first = (await litellm.acompletion(messages=messages, **given)).choices[0].message
    messages.append(first.model_dump(exclude_none=True))
    for call in first.tool_calls:
        output = lookup(**json.loads(call.function.arguments))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": output})
    return (await litellm.acompletion(messages=messages, **given)).choices[0].message.content


if "chat" in MORE:
    steps = (chat_text, chat_stream, chat_helper, chat_turns, chat_system, chat_options, chat_tools)
    play("litellm", *steps, ask=chat_text, read_stream=chat_helper)
else:
    steps = (text, stream, turns, system, options, tools, failed, lost_key)
    play("litellm", *steps, ask=text, read_stream=stream)
