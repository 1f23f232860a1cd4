"""Answers that the app has given: by the sample agents and the scripted model, on the schedule of the tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_KEPT: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))

BEGUN = _KEPT["begun"]
COMPLETED = _KEPT["completed"]
PARKED = _KEPT["parked"]
PAGE_OF_RUNS = _KEPT["page_of_runs"]
SESSION = _KEPT["session"]
AGENTS = _KEPT["agents"]
WELL = _KEPT["well"]
UNWELL = _KEPT["unwell"]
