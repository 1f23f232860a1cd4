"""Commands that are programs of their own, with the settings and rules of the app: `simulate`, `backup`, `restore`."""

from __future__ import annotations

import argparse
import subprocess

from local import ROOT
from local.stack.setup import ensure_venv


def simulate(options: argparse.Namespace) -> int:
    """How far a deployment goes; returns the exit code. `options.rest` is what `bench.scale` takes."""
    return _run(options, "bench.scale")


def backup(options: argparse.Namespace) -> int:
    """Copy all rows; returns the exit code. `options.rest` is what `local.backup` takes."""
    return _run(options, "local.backup", "backup")


def restore(options: argparse.Namespace) -> int:
    """Write them back; returns the exit code."""
    return _run(options, "local.backup", "restore")


def _run(options: argparse.Namespace, module: str, *first: str) -> int:
    command = [str(ensure_venv(options.venv)), "-m", module, *first, *options.rest]
    return subprocess.run(command, cwd=ROOT, check=False).returncode
