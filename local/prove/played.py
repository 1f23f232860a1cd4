"""Parts of `dev.py prove` that programs under tests/ show: `histories`, `planted`, `load` and `soak`.

Each program prints one JSON object on its last line, and what is under way on stderr.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from collections import Counter
from collections.abc import Mapping
from typing import Any

from local import ROOT
from local.prove.figures import Shown, listed, number
from local.stack.setup import ensure_azurite, ensure_venv, print_now

HISTORIES = 200_000
RUNS = 1_000
"""Of each driver."""
SOAK_MINUTES = 20.0
"""What is played unless another number is asked for; a figure of less is not recorded."""

SHOWN = 5
"""Violations that are printed."""

KINDS = {"fact": "facts", "command": "commands", "fault": "faults", "phase": "phases", "end": "ends"}
SOAKED = {"rss_mb": "MB of memory", "handles": "handles", "submit_ms": "ms a submit", "status_ms": "ms a status call"}

# Any: what another program prints as JSON.
Result = Mapping[str, Any]


def prove_histories(options: argparse.Namespace) -> Shown:
    """Random histories of the core, over all cores."""
    asked = options.histories or HISTORIES
    return histories_shown(*run_program(options, "tests.histories", "--histories", str(asked)), asked)


def histories_shown(code: int, result: Result, asked: int) -> Shown:
    """How many were played, and of how many kinds was what happened in them."""
    played = int(result.get("histories", 0))
    kinds = Counter(name.partition(" ")[0] for name in result.get("seen", ()))
    of_kinds = ", ".join(f"{kinds[kind]} kinds of {name}" for kind, name in KINDS.items() if kinds[kind])
    wrong = _violations(result)
    wrong += [f"seen too seldom: {each}" for each in result.get("uncovered", ())]
    if played < asked:
        wrong.append(f"only {number(played)} histories of {number(asked)}")
    figure = f"{number(played)} histories in {number(result.get('seconds', 0))} s, with {of_kinds or 'nothing'}"
    return _shown(code, figure, wrong, is_full=played >= HISTORIES)


def prove_planted(options: argparse.Namespace) -> Shown:
    """Histories with a defect planted in each: it must be found."""
    return planted_shown(*run_program(options, "tests.histories", "--planted"))


def planted_shown(code: int, result: Result) -> Shown:
    """How many defects were planted, and how late the last was found."""
    planted: Mapping[str, Any] = result.get("planted", {})
    seeds = [each["seed"] for each in planted.values() if each["seed"] is not None]
    rules = {each["rule"] for each in planted.values()}
    wrong = [f"not found: {name}" for name, each in planted.items() if each["seed"] is None]
    wrong += [f"no defect is planted against {rule}" for rule in result.get("rules_without_defect", ())]
    if not planted:
        wrong.append("nothing was planted")
    latest = f", the last of them in history {max(seeds)}" if seeds else ""
    found = f"{len(seeds)} of {len(planted)} planted defects found{latest}; they break {len(rules)} rules"
    return _shown(code, found, wrong)


def prove_load(options: argparse.Namespace) -> Shown:
    """Many runs on hosts that are killed, under each driver."""
    asked = options.load or RUNS
    return load_shown(*run_program(options, "tests.load", "--runs", str(asked)), asked)


def load_shown(code: int, result: Result, asked: int) -> Shown:
    """How many runs there were, under which driver, how they ended, and what was done to them."""
    drivers = result.get("drivers") or [result]
    fewest = min(int(each.get("runs", 0)) for each in drivers)
    wrong = _violations(result)
    if fewest < asked:
        wrong.append(f"only {number(fewest)} runs of {number(asked)}")
    figure = "; ".join(map(_of_driver, drivers))
    return _shown(code, figure, wrong, is_full=fewest >= RUNS)


def _of_driver(played: Result) -> str:
    runs = f"{number(played.get('runs', 0))} runs in {number(played.get('seconds', 0))} s"
    if played.get("driver"):
        runs = f"{played['driver']}: {runs}"
    done = {"kills": "kills of a host", "throttled": "requests throttled", "connections_lost": "connections lost"}
    hits = [f"{number(played[name])} {text}" for name, text in done.items() if name in played]
    ends = [listed(played["by_status"])] if played.get("by_status") else []
    return ", ".join([runs, *hits, *ends])


def prove_soak(options: argparse.Namespace) -> Shown:
    """A host under a constant load for so many minutes."""
    asked = options.soak or SOAK_MINUTES
    return soak_shown(*run_program(options, "tests.load", "--soak", f"{asked:g}"), asked)


def soak_shown(code: int, result: Result, asked: float) -> Shown:
    """How long it went, with how much, and what its process and its answers took: in the second and last quarter."""
    minutes = float(result.get("minutes", 0))
    did = [f"{number(result[name])} {name}" for name in ("runs", "looks", "streams") if name in result]
    took = [
        f"{text} {result[name]['second_quarter']:g} then {result[name]['last_quarter']:g}"
        for name, text in SOAKED.items()
        if name in result
    ]
    wrong = _violations(result)
    if minutes < asked:
        wrong.append(f"only {minutes:g} minutes of {asked:g}")
    return _shown(code, ", ".join([f"{minutes:g} minutes", *did, *took]), wrong, is_full=minutes >= SOAK_MINUTES)


def _violations(result: Result) -> list[str]:
    found = [str(each) for each in result.get("violations", ())]
    return found[:SHOWN] + ([f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else [])


def _shown(code: int, figure: str, wrong: list[str], *, is_full: bool = True) -> Shown:
    if code and not wrong:
        wrong = [f"it ended with {code}"]
    return Shown(figure=figure, wrong=tuple(wrong), is_full=is_full)


def run_program(options: argparse.Namespace, module: str, *arguments: str) -> tuple[int, Result]:
    """Run a program; its exit code, and what it printed last."""
    command = [str(ensure_venv(options.venv)), "-m", module, *arguments]
    env = {**os.environ, "DORMOUSE_TEST_AZURITE": ensure_azurite(options.venv).to_variable()}
    print_now(f"- {' '.join(command[1:])}")
    done = subprocess.run(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True, check=False)
    return done.returncode, last_object(done.stdout)


def last_object(printed: str) -> Result:
    """The JSON object on the last line that has one; without any an empty one."""
    for line in reversed(printed.splitlines()):
        if line.startswith("{"):
            found: Result = json.loads(line)
            return found
    return {}
