"""`dev.py test`: the tests, in tiers, on the same parts that `run` starts."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from local import ROOT
from local.dev.signals import on_signals
from local.dev.versions import ensure_versions
from local.stack.setup import ensure_azurite, ensure_third_party_server, ensure_venv, print_now


def named(arguments: Sequence[str]) -> list[Path]:
    """The files and folders with tests that are among pytest's arguments."""
    paths = [ROOT / each.partition("::")[0] for each in arguments if not each.startswith("-")]
    return [path for path in paths if path.is_relative_to(ROOT / "tests") and path.exists()]


def tier_arguments(options: argparse.Namespace) -> list[str]:
    """pytest's arguments for a tier of tests; `tests/README.md` explains them."""
    paths = named(options.rest)
    # A file is named by who wants to see all of it.
    marks = [] if options.all or any(path.is_file() for path in paths) else ["-m", "not slow"]
    if paths:
        return marks  # and no other processes: what they print, and a debugger, would be out of reach
    # Acceptance tests mostly wait for processes, so that more of them than there are cores run at once.
    cores = os.cpu_count() or 1
    workers = ["-n", str(cores + 2 if options.quick else 2 * cores), "--dist", "worksteal"]
    return [*workers, *marks, *(["tests/unit", "tests/contract"] if options.quick else [])]


def test(options: argparse.Namespace) -> int:
    """Run the tests on the same parts that `run` starts."""
    python = ensure_venv(options.venv)
    if options.versions:
        python = ensure_versions(options.versions, python)
    env = dict(os.environ)
    command = [str(python), "-m", "pytest"]
    if options.against:
        env["DORMOUSE_TEST_AGAINST"] = options.against
        if options.key:
            env["DORMOUSE_TEST_KEY"] = options.key
        command += ["-m", "http_only", "tests/acceptance"]
    else:
        env["DORMOUSE_TEST_AZURITE"] = ensure_azurite(options.venv).to_variable()
        if options.all:
            env["DORMOUSE_TEST_THIRD_PARTY_SERVER"] = str(ensure_third_party_server(options.venv))
        command += tier_arguments(options)
    what = " ".join(command[3:] + options.rest) or "everything"
    print_now(f"- pytest on Python {sys.version.split()[0]}: {what}")
    process = subprocess.Popen([*command, *options.rest], cwd=ROOT, env=env)
    # pytest gets a terminal's Ctrl-C by itself. It must end what it started, so SIGTERM reaches it as Ctrl-C.
    on_signals(lambda number, _: None if number == signal.SIGINT else process.send_signal(signal.SIGINT))
    return process.wait()
