"""Large things, in sizes that take a minute: `bench/large.py` has them as large as the product promises."""

from __future__ import annotations

import subprocess
import sys

from local import ROOT


def test_every_large_thing_is_whole() -> None:
    command = [sys.executable, "bench/large.py", "--quick"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "not whole" not in ran.stdout
    for said in (" calls, ", "13 runs", "20 items", "deltas", "streams of the provider", "beside 1,000 runs"):
        assert said in ran.stdout, said


def test_a_thing_that_is_not_there_is_named() -> None:
    command = [sys.executable, "bench/large.py", "elephants"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 2, ran.stdout + ran.stderr
    assert "there is no elephants" in ran.stderr
