"""What the bench has counted, for those who compute with it: bench/counted.json."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from local import ROOT

COUNTED = ROOT / "bench" / "counted.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Of one core of the machine that measured, where it is time."""

    wake_transactions: float
    """Of the rows, by a wake that finds nothing new (row 4)."""
    swept_transactions: float
    """The same for one of many in a sweep (row 4)."""
    run_transactions: float
    """Of the rows, by a run's submit and end together (row 3)."""
    wake_executions: float
    """Activities and episodes of orchestrators by wake under `durable` (row 3)."""
    wake_seconds: float
    """Processor time of a wake under `durable` with host and model in the process: more than it takes (row 3)."""
    looks_a_second: float
    """Runs that a sweep looks at in a second of a core (row 10)."""


def read(path: Path = COUNTED) -> Counted:
    """What was counted last. Raises ``OSError``, ``ValueError``, ``KeyError``."""
    figures = json.loads(path.read_text("utf-8"))["figures"]
    return Counted(**{field.name: float(figures[field.name]) for field in fields(Counted)})


def keep(counted: Mapping[str, float], path: Path = COUNTED) -> None:
    """Write these, and leave the others as they were; `made` says when and where the last were."""
    if not counted:
        return
    before = json.loads(path.read_text("utf-8"))["figures"] if path.exists() else {}
    figures = before | {name: float(f"{value:.4g}") for name, value in counted.items()}
    made = f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {os.cpu_count()} cores"
    path.write_text(json.dumps({"made": made, "figures": dict(sorted(figures.items()))}, indent=2) + "\n", "utf-8")
