"""Which tier ran how many tests, and the parts of the local stack that tests share."""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from local.stack import Azurite, ScriptedModel

OWN_COMMAND = "DORMOUSE_PROVE_POINTS"
"""The variable that `dev.py prove` sets for the tests that it runs."""

TIERS = ("unit", "contract", "acceptance", "browser")


@dataclass
class Tier:
    """What became of the tests in one folder under `tests/`."""

    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def add(self, report: pytest.TestReport) -> None:
        """Count a phase of a test: its call, or the setup or teardown that went wrong."""
        self.seconds += report.duration
        if report.when == "call" or report.skipped:
            self.outcomes[report.outcome] += 1
        elif report.failed:
            self.outcomes["error"] += 1

    def line(self, name: str) -> str:
        """One line of the summary."""
        counts = ", ".join(f"{self.outcomes[outcome]} {outcome}" for outcome in ("passed", "failed", "skipped"))
        errors = f", {self.outcomes['error']} errors" if self.outcomes["error"] else ""
        return f"{name:<12} {counts}{errors} in {self.seconds:.1f} s"


_tiers: dict[str, Tier] = {}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what has a command of its own, unless that runs it, or it is asked for by its mark."""
    if os.environ.get(OWN_COMMAND) or "own_command" in (config.getoption("-m") or ""):
        return
    left_out = [item for item in items if item.get_closest_marker("own_command")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("own_command")]


def pytest_collection_finish() -> None:
    """Let the garbage collector look seldom, and not at what was imported: by default it takes a tenth of the CPU."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)


def tier_of(nodeid: str) -> str:
    """The folder under `tests/` that a test is in."""
    folders = nodeid.partition("::")[0].split("/")
    return folders[1] if len(folders) > 2 and folders[0] == "tests" else "other"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count every report in its tier."""
    _tiers.setdefault(tier_of(report.nodeid), Tier()).add(report)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests each tier ran, also when it ran none."""
    terminalreporter.section("tiers")
    for name in dict.fromkeys((*TIERS, *_tiers)):
        terminalreporter.write_line(_tiers.get(name, Tier()).line(name))


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """One Azurite for the whole session, with data of its own; started by the first test that asks."""
    folder: Path = tmp_path_factory.mktemp("azurite")
    with Azurite(folder / "data", log=folder / "azurite.log") as part:
        yield part


@pytest.fixture(scope="session")
def model_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScriptedModel]:
    """One scripted model for the whole session."""
    with ScriptedModel(think=0.3, log=tmp_path_factory.mktemp("model") / "model.log") as part:
        yield part
