"""`python -m tests.load`: many runs on hosts that are killed, or a soak; what came of it as one JSON line.

`dev.py prove` starts it and reads the line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import Any

from tests.load import soak, thousand
from tests.load.world import say

DRIVERS = ("durable", "timer")
RUNS, MINUTES = 1_000, 20.0


def load(drivers: list[str], runs: int, seed: int) -> dict[str, Any]:
    """So many runs under each driver, one driver after the other."""
    played = []
    for driver in drivers:
        say(f"{runs} runs under {driver}")
        played.append(asyncio.run(thousand.play(driver, runs, seed=seed)))
    violations = [f"{each['driver']}: {found}" for each in played for found in each["violations"]]
    violations += [f"{each['driver']}: only {each['runs']} runs of {runs}" for each in played if each["runs"] < runs]
    return {
        "runs": sum(each["runs"] for each in played),
        "seconds": round(sum(each["seconds"] for each in played), 1),
        "kills": sum(each["kills"] for each in played),
        "throttled": sum(each["throttled"] for each in played),
        "violations": violations,
        "drivers": played,
    }


def main() -> int:
    """Run it; 1 when something is not well."""
    command = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    command.add_argument("--runs", type=int, default=RUNS, help="under each driver")
    command.add_argument("--driver", choices=DRIVERS, help="only this one (default: both; a soak: durable)")
    command.add_argument("--seed", type=int, default=1, help="of the mix, and of the connections that are lost")
    command.add_argument("--soak", type=float, nargs="?", const=MINUTES, metavar="MINUTES", help="soak so long instead")
    options = command.parse_args()
    if options.soak is not None:
        result = asyncio.run(soak.soak(options.driver or DRIVERS[0], options.soak))
    else:
        result = load([options.driver] if options.driver else [*DRIVERS], options.runs, options.seed)
    print(json.dumps(result))
    return 1 if result["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
