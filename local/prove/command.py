"""`dev.py prove`: the parts, each of which prints a figure and fails when something does not hold."""

from __future__ import annotations

import argparse
import subprocess

from local import ROOT
from local.stack.setup import ensure_venv, print_now


def prove(options: argparse.Namespace) -> int:
    """Play random histories of the core over all cores; with ``--planted`` with a defect planted in each."""
    command = [str(ensure_venv(options.venv)), "-m", "tests.histories"]
    command += ["--planted"] if options.planted else ["--histories", str(options.histories)]
    print_now(f"- {' '.join(command[1:])}")
    return subprocess.run(command, cwd=ROOT, check=False).returncode
