"""Every comparison in one run: `python3 dev.py bench` starts it, with the interpreter of the peers' environment."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from bench.counted import keep
from bench.figures import Line, table
from bench.results import written
from bench.rows import cold_start, cpu, detection, executions, growth, memory, telemetry, transactions
from bench.stack import FULL, QUICK, Bench, stack
from local import ROOT
from local.stack import StackError

RESULTS = ROOT / "bench" / "RESULTS.md"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the comparison."""

    title: str
    how: str
    measure: Callable[[Bench], Awaitable[list[Line]]]


ROWS = {
    1: Row(detection.TITLE, detection.HOW, detection.polled),
    2: Row(detection.WEBHOOK_TITLE, detection.WEBHOOK_HOW, detection.told),
    3: Row(executions.TITLE, executions.HOW, executions.measure),
    4: Row(transactions.TITLE, transactions.HOW, transactions.measure),
    5: Row(cpu.WAKES_TITLE, cpu.WAKES_HOW, cpu.wakes),
    6: Row(cpu.SUBMITS_TITLE, cpu.SUBMITS_HOW, cpu.submits),
    7: Row(cold_start.TITLE, cold_start.HOW, cold_start.measure),
    8: Row(memory.TITLE, memory.HOW, memory.measure),
    9: Row(executions.COST_TITLE, executions.COST_HOW, executions.costs),
    10: Row(growth.TITLE, growth.HOW, growth.measure),
    11: Row(telemetry.TITLE, telemetry.HOW, telemetry.measure),
}


async def bench(options: argparse.Namespace) -> dict[int, list[Line]]:
    """Measure; each row is printed as soon as it is known."""
    found: dict[int, list[Line]] = {}
    async with stack(Path(sys.executable), QUICK if options.quick else FULL) as running:
        for number in options.rows or sorted(ROWS):
            begun = time.monotonic()
            found[number] = await ROWS[number].measure(running)
            print(f"\n{ROWS[number].title} ({time.monotonic() - begun:.0f} s)", flush=True)
            print("\n".join(table(found[number])), flush=True)
        if not options.quick:
            keep(running.counted)
    return found


def main() -> int:
    """Read the command line, measure, write; returns the exit code."""
    parser = argparse.ArgumentParser(prog="dev.py bench", description="Every comparison with what a user would pick.")
    parser.add_argument("rows", nargs="*", type=int, metavar="ROW", help="numbers; default: all")
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that all of it works, and no figures")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where to write (default: bench/RESULTS.md)")
    options = parser.parse_args()
    if unknown := [row for row in options.rows if row not in ROWS]:
        parser.error(f"there is no row {unknown[0]}: there are {', '.join(map(str, sorted(ROWS)))}")
    load = os.getloadavg()[0]
    try:
        found = asyncio.run(bench(options))
    except StackError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if not options.rows:
        sections = [(ROWS[number].title, ROWS[number].how, lines) for number, lines in found.items()]
        options.out.write_text(written(sections, load=load, quick=options.quick), "utf-8")
        print(f"\nWritten to {options.out}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
