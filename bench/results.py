"""RESULTS.md."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version

from bench.figures import Line, table

HEAD = """\
# What it costs, beside what you would pick instead

Written by `python3 dev.py bench`. Do not edit it: run that again.

**How to read it.** Everything in it was measured in one run, on one machine, with the peers in turns with the app, so
that whatever else the machine does falls on all. Read the ratios: absolute times are this machine's. A figure is the
median of the rounds, with the least and the most in parentheses; a ratio is that of the ratios of the rounds. Where
only one figure stands it was counted or computed, and does not change. *Must reach* is the aim that the project has set
itself, and *reached* whether the median is there.

Each peer is the real package, as its users install it. Storage is the emulator, the model a script: what both take is
in nobody's figure.
"""

UNDONE = """\

## Not worth its complexity

What was tried and not kept, with what it would save. Each was measured beside the app as it was then.

- **A thin client of our own for Table Storage** on aiohttp: a wake in 1.5 ms and a submit in 2.4 ms of processor
  time, where they took 3.4 and 13 (3.2 and 6.5 since). It takes signing, tokens and the mapping of errors of our own.
  Row 10 shows how far it could go: over tables in memory, which cost next to nothing, a batch item takes 3.9 ms where
  it takes 13.7, and a status with 90 calls 2.5 ms where it takes 6.2. What is above the aims is the SDK's.
- **As many looks as the Durable loop** (row 9), 14 in the five minutes where the schedule has 23: under `durable` a
  run is 57 executions then, and not 93, and 1.36 times as dear as the loop, not 2.2 times; but an end is seen half of a
  gap of 21 s late. A wake is four executions, the loop's three: the fourth begins a new history, without which the
  replays of a long run grow. Who wants half the price of the loop has it under `timer`.
- **Pages of 1,000 rows** in place of 250: turn 201 by replay (row 10) is 11 transactions, not 12. A page is decoded in
  one go, for which the event loop stands still four times as long.
- **Gaps between looks that grow a little slower** (1.7 times the 0.47th power of the age): 7.59 s of lag in the
  mean and 13.96 % of the job, where it is 7.68 s and 13.9 %. A run with tools takes 27 activities then, and not 26
  (row 3).
- **Dataclasses with methods in common** in place of generated ones: 2 % of the time to a new worker's first status,
  for a decorator in some 190 places.
- **Settings without pydantic**: at most 17 % of that time, and only if tools and agents did without it, too.
- **The garbage collector with a higher threshold** while a new worker imports: 4 to 10 %, where having it off saves
  11 %.
- **A web extension that waits with uvicorn** until it serves: 3 to 4 %, which a real worker needs before its first
  answer.
"""

QUICK = "**This is a run with `--quick`: its sizes are too small for figures.**"

PACKAGES = (
    "openai",
    "azure-data-tables",
    "aiohttp",
    "agent-framework-core",
    "agent-framework-azurefunctions",
    "azure-functions-durable",
)


def written(sections: Iterable[tuple[str, str, Sequence[Line]]], *, load: float, quick: bool) -> str:
    """The whole file. A section is a title, how it was measured, and what was found."""
    lines = [HEAD, machine(load), *(["", QUICK] if quick else [])]
    for title, how, found in sections:
        lines += ["", f"## {title}", "", how, "", *table(found)]
    return "\n".join(lines) + "\n" + UNDONE


def machine(load: float) -> str:
    """When, where and with which packages. ``load`` is that of the machine before."""
    cores = f"{os.cpu_count()} cores, load {load:.1f} before and {os.getloadavg()[0]:.1f} after"
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {cores}; {packages}."
