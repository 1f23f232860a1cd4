"""`dev.py prove`: the parts, each of which prints a figure and fails when something does not hold."""

from __future__ import annotations

import argparse
import subprocess

from local import ROOT
from local.prove.points import prove_points
from local.stack.setup import ensure_venv, print_now

HISTORIES = 200_000
"""Random histories that are played unless another number is asked for."""


def prove(options: argparse.Namespace) -> int:
    """The parts that are asked for; without any the points and the histories. 1 when any of them fails."""
    points = options.points or options.seen is not None
    asked = points or options.planted or options.histories is not None
    failed = 0
    if points or not asked:
        failed |= prove_points(options)
    if options.planted:
        failed |= _play(options, "--planted")
    if options.histories is not None or not asked:
        failed |= _play(options, "--histories", str(options.histories or HISTORIES))
    return failed


def _play(options: argparse.Namespace, *arguments: str) -> int:
    """Play random histories of the core over all cores, or some with a defect planted in each."""
    command = [str(ensure_venv(options.venv)), "-m", "tests.histories", *arguments]
    print_now(f"- {' '.join(command[1:])}")
    return subprocess.run(command, cwd=ROOT, check=False).returncode
