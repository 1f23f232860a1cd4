#!/usr/bin/env python3
"""What a cold start costs: importing the packaged app and indexing its functions, in fresh processes.

    .venv/bin/python bench/cold_start.py [--rounds 15]

Builds the package for the running Python (of a virtual environment with uv) with bytecode and without, and measures
both in turns, so that whatever else the machine does falls on both. The interpreter is the one of the environment's
base, without its packages: only what is in the package can be imported. Files come from the page cache; a first read
is not in here.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from local.packaging.package import PACKAGES, build_package, report  # noqa: E402

INDEX = """
import importlib, json, os, sys, time
sys.path[:0] = [os.getcwd(), os.path.join(os.getcwd(), *sys.argv[1].split("/"))]
wall, cpu = time.perf_counter(), time.process_time()
import function_app
names = [one.get_function_name() for one in function_app.app.get_functions()]
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
early = [name for name in ("openai", "azure.identity", "azure.data.tables") if name in sys.modules]
modules = len(sys.modules)
later = {}
for name in ("azure.data.tables.aio", "azure.identity.aio", "openai") if sys.argv[2] != "only" else ():
    begun = time.process_time()
    module = importlib.import_module(name)
    getattr(module, "AsyncOpenAI", None)
    later[name] = time.process_time() - begun
found = {"wall": wall, "cpu": cpu, "functions": names, "modules": modules, "early": early, "later": later}
print(json.dumps(found))
"""


def index(folder: Path, *, mode: str, options: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Import and index the app of a package in a fresh process that knows nothing but the package.

    `mode` is `all`, or `only` (nothing is imported after the indexing).
    """
    python = getattr(sys, "_base_executable", sys.executable)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "DORMOUSE_"))}
    command = [python, "-S", "-s", "-B", *options, "-c", INDEX, PACKAGES.as_posix(), mode]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=True)


def measure(variants: dict[str, tuple[Path, str]], rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Every variant once a round, after one round that does not count."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, (folder, mode) in variants.items():
            answer = json.loads(index(folder, mode=mode).stdout)
            if number:
                found[name].append(answer)
    return found


def import_costs(folder: Path) -> dict[str, float]:
    """Milliseconds of each package's own modules, as `-X importtime` tells; slower than without it."""
    costs: dict[str, float] = {}
    for line in index(folder, mode="only", options=["-X", "importtime"]).stderr.splitlines():
        own, _, module = line.removeprefix("import time:").partition("|")
        name = module.rpartition("|")[2].strip()
        if own.strip().isdigit():
            top = ".".join(name.split(".")[: 2 if name.startswith(("azure.", "azurefunctions.")) else 1])
            top = "the standard library" if top in sys.stdlib_module_names or top.startswith("_") else top
            costs[top] = costs.get(top, 0.0) + int(own) / 1_000
    return costs


def main() -> None:
    """Build, measure, print."""
    parser = argparse.ArgumentParser(description="What a cold start of the packaged app costs.")
    parser.add_argument("--rounds", type=int, default=15, help="how often each variant starts (default: 15)")
    rounds = parser.parse_args().rounds
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    with tempfile.TemporaryDirectory() as scratch:
        python = Path(sys.executable)
        with_bytecode = build_package(python, Path(scratch) / "compiled", version=version)
        without = build_package(python, Path(scratch) / "plain", version=version, bytecode=False)
        print(f"Python {version}, {rounds} starts each, medians (least to most)")
        for built in (with_bytecode, without):
            print(report(built).partition("Deploy it")[0].replace(scratch, "…").strip())
        variants = {"unchecked-hash bytecode": (with_bytecode.folder, "all"), "no bytecode": (without.folder, "all")}
        found = measure(variants, rounds)
        base = statistics.median(one["cpu"] for one in next(iter(found.values())))
        for name, starts in found.items():
            cpu, wall = (sorted(1_000 * one[kind] for one in starts) for kind in ("cpu", "wall"))
            print(
                f"{name:34} CPU {statistics.median(cpu):6.0f} ms ({cpu[0]:.0f} to {cpu[-1]:.0f})"
                f"  wall {statistics.median(wall):6.0f} ms ({wall[0]:.0f} to {wall[-1]:.0f})"
                f"  CPU x {statistics.median(cpu) / 1_000 / base:.2f}"
            )
        print("CPU of the imports that wait for their first use, ms:")
        for name, starts in found.items():
            later = {part: statistics.median(one["later"][part] for one in starts) for part in starts[0]["later"]}
            print(f"{name:34} " + ", ".join(f"{part} {1_000 * cost:.0f}" for part, cost in later.items()))
        one = found["no bytecode"][0]
        print(
            f"{len(one['functions'])} functions, {one['modules']} modules; clients among them: {one['early'] or 'none'}"
        )
        costs = sorted(import_costs(with_bytecode.folder).items(), key=lambda item: -item[1])
        print("own import time, ms: " + ", ".join(f"{name} {cost:.0f}" for name, cost in costs[:14]))


if __name__ == "__main__":
    main()
