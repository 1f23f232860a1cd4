"""Parts of `dev.py prove` that tests show: `inputs` and `faults`. The tests count, and here it is put into a line."""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence

from local import ROOT
from local.prove.counts import COUNTS, read_counts
from local.prove.figures import Shown, listed, number
from local.stack.setup import ensure_azurite, ensure_venv

HOSTILE, CALLERS, GENERATED = "hostile requests", "callers", "generated requests"
PROVIDER = "scripted faults of the provider"
RATES = (0.05, 0.1)
"""Of 1: the shares of all requests that fail."""

INPUTS = ("test_hostile_inputs.py", "test_callers.py", "test_schemathesis.py")
FAULTS = ("test_bad_weather.py", "test_provider_faults.py")

Counts = Mapping[str, Counter[str]]


def weather_at(rate: float) -> str:
    """The name under which what was counted at this rate is kept."""
    return f"weather at {rate:.0%}"


def prove_inputs(options: argparse.Namespace) -> Shown:
    """What somebody sends who means harm, each caller at each operation, and requests made from the contract."""
    code, counts = _counted(options, INPUTS)
    return shown(inputs_figure(counts), code, counts, (HOSTILE, CALLERS, GENERATED))


def prove_faults(options: argparse.Namespace) -> Shown:
    """Storage and provider that fail at a rate, and each kind of fault of a provider."""
    code, counts = _counted(options, FAULTS)
    return shown(faults_figure(counts), code, counts, (*map(weather_at, RATES), PROVIDER))


def shown(figure: str, code: int, counts: Counts, wanted: Sequence[str]) -> Shown:
    """The figure, and what is wrong: a test that failed, or one that counted nothing."""
    wrong = [f"nothing was counted of: {name}" for name in wanted if not sum(counts.get(name, Counter()).values())]
    if code:
        wrong.append(f"pytest ended with {code}")
    return Shown(figure=figure, wrong=tuple(wrong))


def inputs_figure(counts: Counts) -> str:
    """How much was tried."""
    hostile, callers, generated = (counts.get(name, Counter[str]()) for name in (HOSTILE, CALLERS, GENERATED))
    return (
        f"{number(hostile['requests'])} hostile requests to {hostile['operations']} operations; "
        f"{callers['callers']} kinds of callers at {callers['operations']} operations, "
        f"{number(callers['requests'])} requests; {number(generated['requests'])} requests made from the contract"
    )


def faults_figure(counts: Counts) -> str:
    """How many faults were put in, by kind."""
    parts = []
    for rate in RATES:
        at = Counter(counts.get(weather_at(rate), Counter()))
        runs, requests = at.pop("runs", 0), at.pop("requests", 0)
        failed = f"{number(sum(at.values()))} of {number(requests)} requests ({listed(at)})"
        parts.append(f"at {rate:.0%} {runs} runs: {failed}")
    of_provider = Counter(counts.get(PROVIDER, Counter()))
    requests = of_provider.pop("requests", 0)
    parts.append(
        f"{number(sum(of_provider.values()))} scripted faults of the provider in {number(requests)} requests "
        f"({listed(of_provider)})"
    )
    return "; ".join(parts)


def _counted(options: argparse.Namespace, files: Sequence[str]) -> tuple[int, Counts]:
    with tempfile.TemporaryDirectory() as folder:
        code = run_tests(options, {COUNTS: folder}, *(f"tests/acceptance/{file}" for file in files))
        return code, read_counts(folder)


def run_tests(options: argparse.Namespace, variables: Mapping[str, str], *files: str) -> int:
    """Run these tests over all cores; the exit code of pytest."""
    python = ensure_venv(options.venv)
    workers = ["-n", str(os.cpu_count() or 1), "--dist", "worksteal"]
    command = [str(python), "-m", "pytest", *workers, *files]
    env = {**os.environ, "DORMOUSE_TEST_AZURITE": ensure_azurite(options.venv).to_variable(), **variables}
    return subprocess.run(command, cwd=ROOT, env=env, check=False).returncode
