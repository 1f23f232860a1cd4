"""What one owner's very many runs do to another's lists, submits and sweeps."""

from __future__ import annotations

import statistics
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.measured_hosts import Line, World
from bench.programs.dormouse import IN_MEMORY
from bench.stack import QUICK, Bench, Measured, Program

FEW = 20
"""Sleeping runs of the other owner."""

ROUNDS = 7
WORK = {"list_page": ("another owner's list", 5), "submit": ("another owner's submit", 5), "sweep": ("a sweep", 1)}
"""What is measured, in words, and how often it is done in a round."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What one piece of work took in one round."""

    seconds: float
    cpu: float
    transactions: float


async def _do(program: Program, what: str, count: int) -> Taken:
    begun = time.monotonic()
    measured: Measured = await program.do(what, count)
    seconds = time.monotonic() - begun
    return Taken(seconds / count, measured.cpu / count, len(measured.transactions) / count)


def _ratio(beside: list[float], alone: list[float]) -> str:
    each = [more / less for more, less in zip(beside, alone, strict=True)]
    return f"{statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})"


async def crowd(world: World, count: int, *, in_memory: bool) -> list[Line]:
    """Two apps in turns: in one of them another owner has so many runs. Raises ``AssertionError``.

    ``in_memory``: each app keeps its tables itself, and no transactions are counted.
    """
    env = {"DORMOUSE_DRIVER": "timer"} | ({IN_MEMORY: "1"} if in_memory else {})
    bench = Bench(
        python=Path(sys.executable),
        sizes=QUICK,
        azurite=world.azurite,
        proxy=world.proxy,
        model=world.model,
        scratch=world.folder,
    )
    lines = []
    async with AsyncExitStack() as stack:
        alone = await stack.enter_async_context(bench.program("crowded", **env))
        beside = await stack.enter_async_context(bench.program("crowded", **env))
        for program in (alone, beside):
            await program.do("prepare", FEW)
        begun = time.monotonic()
        rows = (await beside.do("crowd", count)).result
        written = f"{rows:,} rows, a tenth of the runs asleep"
        lines.append(Line(f"{count:,} runs of one owner, written", time.monotonic() - begun, found=written))
        found = (await beside.do("crowd_size", count + 1)).result
        assert found == count, found
        for what, (name, often) in WORK.items():
            rounds: dict[str, list[Taken]] = {"alone": [], "beside": []}
            for program in (alone, beside):
                await program.do(what, often)  # connections, and what is imported late
            for number in range(ROUNDS):
                pair = (("alone", alone), ("beside", beside))
                for key, program in pair[:: 1 if number % 2 else -1]:
                    rounds[key].append(await _do(program, what, often))
            lines += _lines(name, rounds["alone"], rounds["beside"], f"beside {count:,} runs")
    return lines


def _lines(name: str, alone: list[Taken], beside: list[Taken], where: str) -> list[Line]:
    made = []
    for words, taken in ((f"{name}, nobody else there", alone), (f"{name} {where}", beside)):
        seconds, cpu = (
            statistics.median(each) for each in zip(*((one.seconds, one.cpu) for one in taken), strict=True)
        )
        asked = statistics.median(one.transactions for one in taken)
        made.append(Line(words, seconds, cpu, transactions=round(asked)))
    time_ratio = _ratio([one.seconds for one in beside], [one.seconds for one in alone])
    cpu_ratio = _ratio([one.cpu for one in beside], [one.cpu for one in alone])
    made[1].found = f"time × {time_ratio}, processor × {cpu_ratio}"
    return made
