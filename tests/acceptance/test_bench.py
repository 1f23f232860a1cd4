"""The comparisons of `dev.py bench` work, with every peer. Their figures are nobody's business here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from local import ROOT
from local.dev.benching import NEWEST_PYTHON

pytestmark = pytest.mark.skipif(sys.version_info[:2] > NEWEST_PYTHON, reason="a peer does not take this Python")


@pytest.mark.own_command
def test_every_comparison_runs_and_is_written_down(tmp_path: Path) -> None:
    out = tmp_path / "RESULTS.md"
    command = [sys.executable, "dev.py", "bench", "--quick", "--venv", sys.prefix, "--out", str(out)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    written = out.read_text("utf-8")
    assert "## 4. Storage transactions" in written
    for peer in (
        "raw aiohttp",
        "openai and tables as they come",
        "Agent Framework with tables",
        "Durable timer loop",
        "Dormouse",
    ):
        assert f"| {peer} |" in written, peer


def test_a_program_that_fails_fails_the_command(tmp_path: Path) -> None:
    out = tmp_path / "RESULTS.md"
    command = [sys.executable, "dev.py", "bench", "99", "--venv", sys.prefix, "--out", str(out)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 2, ran.stdout + ran.stderr
    assert "there is no row 99" in ran.stderr
