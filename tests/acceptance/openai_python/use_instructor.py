"""Instructor, which makes objects of answers; here each object holds the answer's text."""

import instructor
from openai import AsyncOpenAI
from pydantic import BaseModel
from steps import AGENT, KEY, PIRATE, QUESTION, TOOLS_AGENT, URL, play, script


class Said(BaseModel):
    """What was said."""

    said: str


def client(mode=instructor.Mode.MD_JSON):
    return instructor.from_openai(AsyncOpenAI(base_url=URL, api_key=KEY), mode=mode)


def asked(step, *before):
    return [*before, {"role": "user", "content": script(step)}]


async def ask(step, *before, **more):
    made = await client().create(model=AGENT, response_model=Said, messages=asked(step, *before), max_retries=1, **more)
    return made.said


async def text():
    return await ask("text")


async def helper(step="helper"):
    last = None
    async for part in client().create_partial(model=AGENT, response_model=Said, messages=asked(step), max_retries=1):
        last = part
    return last.said


async def turns():
    first = await ask("turns")
    before = [*asked("turns"), {"role": "assistant", "content": first}]
    return [first, await ask("turns2", *before)]


async def system():
    return await ask("system", {"role": "system", "content": PIRATE})


async def options():
    return await ask("options", temperature=0.2, top_p=0.9, max_tokens=900, seed=1, store=False)


async def tools():
    """Its default: the object's schema as a tool that the model must call."""
    mode = instructor.Mode.TOOLS
    messages = [{"role": "user", "content": f"{script('tools')} {QUESTION}"}]
    made = await client(mode).create(model=TOOLS_AGENT, response_model=Said, messages=messages, max_retries=1)
    return made.said


play("instructor", text, helper, turns, system, options, tools, ask=ask, read_stream=helper)
