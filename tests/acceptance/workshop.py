"""An agent whose tools leave a trace on disk: every start and every end, whatever becomes of the process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from shared.agentkit.agent import Agent
from shared.agentkit.provider import Provider
from shared.agentkit.responses import ResponsesAgent
from shared.agentkit.tools import Tool, ToolContext, tool
from shared.settings import Settings

LOG_VARIABLE = "WORKSHOP_LOG"


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


TOOLS: Iterable[Tool] = (work, work_in_a_thread, pay, crash, stumble, write_much)


def build(settings: Settings, provider: Provider) -> Agent:
    """The agent *workshop*."""
    return ResponsesAgent(
        name="workshop",
        description="Does what the script says.",
        instructions="Do what the script says.",
        model=settings.openai_model,
        provider=provider,
        tools=TOOLS,
    )
