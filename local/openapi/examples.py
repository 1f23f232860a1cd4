"""Examples of answers: what the app has answered to the sample agents' runs, with the ids and times of a quiet day.

``tests/acceptance/test_examples.py`` records them, and finds out when the app no longer answers so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_suffix(".json")

ANSWERS: Mapping[str, Mapping[str, Any]] = json.loads(FILE.read_text("utf-8"))
"""By the name of the trigger's function and the status; then by a few words on each. A stream is a text."""
