"""What tests count while they run, for the figures of `dev.py prove`: how much they tried, and what they put in."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

COUNTS = "DORMOUSE_PROVE_COUNTS"
"""The variable that names the folder into which the tests write what they counted."""


def count(of: str, counts: Mapping[str, int]) -> None:
    """Write down counts under a name, if `dev.py prove` has asked for them. What has one name is added up."""
    if folder := os.environ.get(COUNTS):
        with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".json", delete=False) as file:
            json.dump({"of": of, "counts": dict(counts)}, file)


def read_counts(folder: str) -> dict[str, Counter[str]]:
    """All that was written down, by name."""
    found: dict[str, Counter[str]] = {}
    for file in sorted(Path(folder).glob("*.json")):
        noted = json.loads(file.read_text("utf-8"))
        found.setdefault(noted["of"], Counter()).update(noted["counts"])
    return found
