"""`python -m tests.mutants`: a mutant for each small change of the core, against its tests; one JSON line at the end.

`dev.py prove --mutants` starts it and reads the line.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import Any

import pytest

from local import ROOT
from tests.mutants.changes import Mutant, mutants_of
from tests.mutants.forks import Trial

RULES = "shared/runs/rules"

TESTS = (
    "test_transitions.py",
    "test_run_decisions.py",
    "test_batch_decisions.py",
    "test_callback_decisions.py",
    "test_journal_lines.py",
    "test_schedule.py",
    "test_single_fields.py",
    "test_starting.py",
    "test_waiting.py",
    "test_run.py",
    "test_batch.py",
    "test_commit.py",
    "test_actions.py",
    "test_batch_wakes.py",
    "test_extras.py",
    "test_occurrences.py",
)
"""Of tests/unit/runs: those with tests that need no process of the app, which alone are asked.

A rule is to be held by what reads like a table.
"""


def tried(files: list[str], only: str, jobs: int) -> dict[str, Any]:
    """Try every mutant of these files whose name has ``only`` in it."""
    began = time.monotonic()
    mutants = [each for file in files for each in _of_file(file) if only in each.name]
    trial = Trial(mutants, jobs)
    arguments = ["-q", "-p", "no:cacheprovider", "--no-summary", *(f"tests/unit/runs/{file}" for file in TESTS)]
    with_errors = pytest.main(arguments, plugins=[trial])
    unwell = trial.unwell or ("" if with_errors == pytest.ExitCode.OK or trial.tests else f"pytest: {with_errors!r}")
    return {
        "files": len({each.file for each in mutants}),
        "mutants": len(mutants),
        "tests": trial.tests,
        "seconds": round(time.monotonic() - began, 1),
        "unwell": unwell,
        "survivors": [f"{each.file}: {each.name}" for each in trial.survivors],
    }


def _of_file(file: str) -> list[Mutant]:
    return mutants_of(file, (ROOT / file).read_text("utf-8"))


def main() -> int:
    """Run it; 1 when the tests themselves are not well. Which survivors there may be is not decided here."""
    command = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    command.add_argument("files", nargs="*", help=f"default: those of {RULES}")
    command.add_argument("--only", default="", help="mutants with this in their name")
    command.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutants that are tried side by side")
    options = command.parse_args()
    every = sorted(str(path.relative_to(ROOT)) for path in (ROOT / RULES).glob("*.py"))
    result = tried(options.files or every, options.only, options.jobs)
    print(json.dumps(result))
    return 1 if result["unwell"] else 0


if __name__ == "__main__":
    sys.exit(main())
