"""What every measured program does: read a line that says what to do and how often, do it, say what CPU it took.

A line in is `{"do": "wake", "count": 20}`; a line out is `{"cpu": seconds, "result": …}`, or `{"error": traceback}`,
after which the program ends. The CPU is that of the whole process, all threads.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.programs.sampling import Sampler

PENDING_SECONDS = 1e6
"""How long the model thinks about what is to stay pending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a program is told about the stack."""

    storage: str
    """Connection string, with the counting proxy as the address of its tables."""

    model: str
    """Base URL of the scripted model, with `/v1`."""

    account: str
    """Key of the model: an account of its own."""

    prefix: str
    """Of the names of its tables."""


def given() -> Given:
    """From the environment."""
    return Given(
        storage=os.environ["BENCH_STORAGE"],
        model=os.environ["BENCH_MODEL"],
        account=os.environ["BENCH_ACCOUNT"],
        prefix=os.environ["BENCH_PREFIX"],
    )


def resident() -> float:
    """Megabytes of memory that the process holds, once what nobody refers to is gone."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def serve(program: object) -> None:
    """Do what the lines say, until they end."""
    sampler = Sampler()
    while line := await asyncio.to_thread(sys.stdin.readline):
        asked = json.loads(line)
        try:
            begun = time.process_time()
            result: Any = await _done(program, sampler, asked["do"], asked["count"])
            answer = {"cpu": time.process_time() - begun, "result": result}
        except Exception:
            print(json.dumps({"error": traceback.format_exc()}), flush=True)
            return
        print(json.dumps(answer), flush=True)


async def _done(program: object, sampler: Sampler, what: str, count: int) -> Any:
    match what:
        case "forget_shares":
            return sampler.forget()
        case "shares":
            return sampler.shares()
    return await getattr(program, what)(count)
