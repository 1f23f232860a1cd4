"""An agent whose tools log each start and end to a file: a test can read it when their process is gone."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, Field

from shared.agentkit.agent import Agent, RunInfo
from shared.agentkit.chat import ChatAgent
from shared.agentkit.provider import Provider
from shared.agentkit.responses import ResponsesAgent
from shared.agentkit.tools import Tool, ToolContext, tool
from shared.settings import Settings

LOG_VARIABLE = "WORKSHOP_LOG"

VERSION_VARIABLE = "WORKSHOP_VERSION"
"""Which version of the agent *workshop* a host serves: the present one, or one that treated ``send`` in another way.

``without_send`` had no such tool yet, in ``free_send`` it needed no approval, in ``curt`` the reason was shorter.
"""


@dataclass(frozen=True, slots=True)
class Trace:
    """One line of the trace: a tool that started or ended."""

    what: str
    tool: str
    label: str
    run_id: str
    call_id: str
    key: str
    start: int
    pid: int


def traces(log: Path, label: str | None = None, what: str | None = None) -> list[Trace]:
    """The trace so far, or only the lines of a label or of a kind (``start``, ``end``)."""
    lines = log.read_text().splitlines() if log.exists() else []
    found = [Trace(**json.loads(line)) for line in lines]
    return [each for each in found if label in (None, each.label) and what in (None, each.what)]


def _trace(what: str, name: str, label: str, context: ToolContext) -> None:
    line = Trace(
        what, name, label, context.run_id, context.call_id, context.idempotency_key, context.start, os.getpid()
    )
    data = json.dumps({name: getattr(line, name) for name in line.__slots__}) + "\n"
    with Path(os.environ[LOG_VARIABLE]).open("a") as log:
        log.write(data)
        log.flush()


@tool
async def work(context: ToolContext, label: str, seconds: float = 0.0) -> str:
    """Work for some seconds."""
    _trace("start", "work", label, context)
    await asyncio.sleep(seconds)
    _trace("end", "work", label, context)
    return f"worked on {label}"


@tool
def work_in_a_thread(context: ToolContext, label: str, seconds: float = 0.0) -> str:
    """Work for some seconds, without giving way."""
    _trace("start", "work_in_a_thread", label, context)
    time.sleep(seconds)
    _trace("end", "work_in_a_thread", label, context)
    return f"worked on {label} in a thread"


@tool(at_most_once=True)
async def pay(context: ToolContext, label: str, seconds: float = 0.0) -> str:
    """Pay: never twice."""
    _trace("start", "pay", label, context)
    await asyncio.sleep(seconds)
    _trace("end", "pay", label, context)
    return f"paid for {label}"


@tool
async def crash(context: ToolContext, label: str) -> str:
    """Kill the process, every time."""
    _trace("start", "crash", label, context)
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


@tool
async def stumble(context: ToolContext, label: str) -> str:
    """Raise."""
    _trace("start", "stumble", label, context)
    raise RuntimeError(f"stumbled over {label}")


@tool
async def write_much(context: ToolContext, label: str, times: int) -> str:
    """Return a long text: ``label`` so many times."""
    _trace("start", "write_much", label, context)
    return label * times


@tool(requires_approval="It leaves the house.")
async def send(context: ToolContext, label: str) -> str:
    """Send something, once a person has approved."""
    _trace("start", "send", label, context)
    return f"sent {label}"


@tool(requires_approval=True, at_most_once=True)
async def wire(context: ToolContext, label: str, seconds: float = 0.0) -> str:
    """Wire money, once a person has approved, and never twice."""
    _trace("start", "wire", label, context)
    await asyncio.sleep(seconds)
    return f"wired {label}"


@tool
async def hold(context: ToolContext, label: str) -> str:
    """Report progress, and wait to be released."""
    _trace("start", "hold", label, context)
    for step in range(3):
        context.report_progress(f"{label}: step {step}", step / 4)
        while not _released(label, step):  # noqa: ASYNC110 - a file is what the test and this process share
            await asyncio.sleep(0.02)
    context.report_progress(f"{label}: done", 1)
    return f"held {label}"


@tool
def hold_in_a_thread(context: ToolContext, label: str) -> str:
    """Report progress from a thread, and wait to be released."""
    _trace("start", "hold_in_a_thread", label, context)
    context.report_progress(f"{label}: in a thread")
    while not _released(label, 0):
        time.sleep(0.02)
    _trace("end", "hold_in_a_thread", label, context)
    return f"held {label} in a thread"


@tool(timeout=0.3)
async def nap(context: ToolContext, label: str) -> str:
    """Sleep longer than is allowed."""
    _trace("start", "nap", label, context)
    await asyncio.sleep(60)
    return "never"


def release(log: Path, label: str, step: int = 0) -> None:
    """Let the ``hold`` of that label go on from that step."""
    log.with_name(f"{label}-{step}.released").touch()


def _released(label: str, step: int) -> bool:
    return Path(os.environ[LOG_VARIABLE]).with_name(f"{label}-{step}.released").exists()


TOOLS: Iterable[Tool] = (
    work,
    work_in_a_thread,
    pay,
    crash,
    stumble,
    write_much,
    send,
    wire,
    hold,
    hold_in_a_thread,
    nap,
)


class Verdict(BaseModel):
    """What the judge answers."""

    guilty: bool
    months: int = Field(ge=0)


def build(settings: Settings, provider: Provider) -> Agent:
    """The agent *workshop*."""
    return ResponsesAgent(
        name="workshop",
        description="Does what the script says.",
        instructions="Do what the script says.",
        model=settings.openai_model,
        provider=provider,
        tools=_tools_of(os.environ.get(VERSION_VARIABLE)),
    )


def _tools_of(version: str | None) -> list[Tool]:
    tools = [*TOOLS]
    if version == "without_send":
        tools.remove(send)
    if version == "free_send":
        tools[tools.index(send)] = replace(send, requires_approval=False)
    if version == "curt":
        tools[tools.index(send)] = replace(send, requires_approval="Sends.")
    return tools


def build_bench(settings: Settings, provider: Provider) -> Agent:
    """The agent *bench*: the workshop without the tools that a person must approve."""
    return ResponsesAgent(
        name="bench",
        description="Does what the script says, and asks nobody.",
        instructions="Do what the script says.",
        model=settings.openai_model,
        provider=provider,
        tools=[each for each in TOOLS if not each.requires_approval],
    )


def build_judge(settings: Settings, provider: Provider) -> Agent:
    """The agent *judge*: its result is an object. It may search the web, and use an MCP server's tools."""
    return ResponsesAgent(
        name="judge",
        description="Answers with a verdict.",
        instructions="Do what the script says.",
        model=settings.openai_model,
        provider=provider,
        tools=TOOLS,
        hosted_tools=[
            {"type": "web_search"},
            {"type": "mcp", "server_label": "archive", "server_url": "https://archive.example/mcp"},
        ],
        output_type=Verdict,
        models=["gpt-5-nano"],
    )


def build_chat(settings: Settings, provider: Provider) -> Agent:
    """The agent *phone*: the workshop over Chat Completions."""
    return ChatAgent(
        name="phone",
        description="Does what the script says, over Chat Completions.",
        instructions="Do what the script says.",
        model=settings.openai_model,
        provider=provider,
        tools=TOOLS,
    )


def build_open(settings: Settings, provider: Provider) -> Agent:
    """The agent *open-workshop*: the workshop, whose callers may bring functions beside its tools."""
    return ResponsesAgent(
        name="open-workshop",
        description="Does what the script says, with functions of its callers too.",
        instructions="Do what the script says.",
        model=settings.openai_model,
        provider=provider,
        tools=TOOLS,
        caller_options=("parallel_tool_calls",),
        caller_tools="allow",
    )


def build_open_chat(settings: Settings, provider: Provider) -> Agent:
    """The agent *open-phone*: the same over Chat Completions."""
    return ChatAgent(
        name="open-phone",
        description="Does what the script says, with functions of its callers too, over Chat Completions.",
        instructions="Do what the script says.",
        model=settings.openai_model,
        provider=provider,
        tools=TOOLS,
        caller_options=("parallel_tool_calls",),
        caller_tools="allow",
    )


RESPONSE_OPTIONS = {
    "reasoning": {"effort": "high", "summary": "auto"},
    "text": {"verbosity": "low"},
    "max_output_tokens": 1_234,
    "service_tier": "flex",
    "prompt_cache_key": "studio",
    "background_completion_window": "4h",
    "of_tomorrow": {"unknown": [1, None, True]},
}
CHAT_OPTIONS = {
    "reasoning_effort": "low",
    "verbosity": "high",
    "max_completion_tokens": 1_234,
    "service_tier": "priority",
    "prompt_cache_key": "studio",
    "of_tomorrow": {"unknown": [1, None, True]},
}
"""What the agents of the studio pass through."""

STUDIO_MODELS = ("gpt-5-mini", "gpt-5-nano")


def studio_instructions(run: RunInfo) -> str:
    """The instructions of the studio's agents: they depend on everything that they may know of the run."""
    return f"{run.run_id} {run.session_id} {run.owner} turn {run.turn} for {run.metadata.get('audience', 'nobody')}"


def build_studio(settings: Settings, provider: Provider) -> Agent:
    """The agent *studio*: with options, models and instructions of its own."""
    return ResponsesAgent(
        name="studio",
        description="Shows what an agent may set.",
        instructions=studio_instructions,
        model="gpt-5",
        models=STUDIO_MODELS,
        provider=provider,
        tools=[work],
        options=RESPONSE_OPTIONS,
        caller_options=("temperature", "max_output_tokens", "reasoning", "verbosity"),
    )


def build_chat_studio(settings: Settings, provider: Provider) -> Agent:
    """The agent *phone-studio*: the studio over Chat Completions."""
    return ChatAgent(
        name="phone-studio",
        description="Shows what an agent may set, over Chat Completions.",
        instructions=studio_instructions,
        model="gpt-5",
        models=STUDIO_MODELS,
        provider=provider,
        tools=[work],
        options=CHAT_OPTIONS,
        caller_options=("temperature", "max_output_tokens", "reasoning", "seed", "stop"),
        caller_instructions="input",
    )


BUILDERS = (
    build,
    build_bench,
    build_judge,
    build_chat,
    build_open,
    build_open_chat,
    build_studio,
    build_chat_studio,
)
"""The agents of the tests, beside the app's own."""
