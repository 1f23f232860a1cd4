"""`dev.py simulate`: the arithmetic of `bench/scale`, with the settings and rules of the app."""

from __future__ import annotations

import argparse
import subprocess

from local import ROOT
from local.stack.setup import ensure_venv


def simulate(options: argparse.Namespace) -> int:
    """Compute and print; returns the exit code. `options.rest` is what `bench.scale` takes."""
    command = [str(ensure_venv(options.venv)), "-m", "bench.scale", *options.rest]
    return subprocess.run(command, cwd=ROOT, check=False).returncode
