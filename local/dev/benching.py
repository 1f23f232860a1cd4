"""`dev.py bench`: the comparisons of `bench/`, in an environment with the peers."""

from __future__ import annotations

import argparse
import subprocess
import sys

from local import ROOT
from local.stack.child import StackError
from local.stack.setup import ensure_azurite, ensure_environment, ensure_venv

PEERS = ROOT / ".dormouse" / "bench-peers"
NEWEST_PYTHON = (3, 12)
"""agent-framework-azurefunctions takes azure-functions 1, which Python 3.13 does not."""


def bench(options: argparse.Namespace) -> int:
    """Set up what is missing, and measure; returns the exit code, which is 1 when a peer did not run."""
    if sys.version_info[:2] > NEWEST_PYTHON:
        raise StackError(f"bench wants Python {NEWEST_PYTHON[0]}.{NEWEST_PYTHON[1]} or older: one of the peers does.")
    ensure_venv(options.venv)
    ensure_azurite(options.venv)
    python = ensure_environment("the benches' peers", ROOT / "bench" / "requirements.txt", PEERS / options.venv.name)
    command = [str(python), "-m", "bench", *map(str, options.rows), *(["--quick"] if options.quick else [])]
    if options.out:
        command += ["--out", str(options.out)]
    return subprocess.run(command, cwd=ROOT, check=False).returncode
