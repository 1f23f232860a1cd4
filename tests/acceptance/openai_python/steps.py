"""What the programs here share: each does the steps of one stack, and prints a line of JSON for each.

A program runs in the environment of its stack, with nothing of the app: `PROGRAM URL KEY PREFIX TOOLS_AGENT …`.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from typing import Any

URL, KEY, PREFIX, TOOLS_AGENT, *MORE = sys.argv[1:]
AGENT = "bench"
PIRATE = "Be a pirate."
QUESTION = "Where does it sleep?"


def script(step: str) -> str:
    """The text that lets the model play what belongs to a step."""
    return f"[script:{PREFIX}-{step}]"


def lookup(word: str) -> str:
    """Look a word up."""
    return f"{word}: asleep"


PARAMETERS = {
    "type": "object",
    "properties": {"word": {"type": "string"}},
    "required": ["word"],
    "additionalProperties": False,
}


def play(package: str, *steps: Callable[[], Any], ask: Callable[[str], Any], read_stream: Callable[[str], Any]) -> None:
    """Do the steps, in order, then those that all clients share; each gives what its user sees.

    A step is named as its function, without `chat_`. ``ask(step)`` asks what a step's script answers, ``read_stream``
    the same as a stream. A program whose user must look into an answer has a shared step of its own instead.
    """
    print(json.dumps({"version": version(package)}), flush=True)
    named = {step.__name__.removeprefix("chat_"): step for step in steps}
    for name, call in (("failed", ask), ("failed_stream", read_stream), ("tools_first", read_stream), ("lost", ask)):
        named.setdefault(name, partial(call, name))
    asyncio.run(_play(named))


async def _play(steps: Mapping[str, Callable[[], Any]]) -> None:
    for name, step in steps.items():
        said: dict[str, Any] = {"step": name}
        try:
            if inspect.iscoroutinefunction(step):
                said["said"] = await asyncio.wait_for(step(), 60)
            else:
                said["said"] = await asyncio.wait_for(asyncio.to_thread(step), 60)
        except Exception as error:
            said["raised"] = type(error).__name__
            said["trace"] = "".join(traceback.format_exception(error))[-3_000:]
        print(json.dumps(said), flush=True)
