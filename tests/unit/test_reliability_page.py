"""docs/reliability.md: every state has a test."""

from __future__ import annotations

import re

from local.prove import points

PAGE = points.PAGE.read_text("utf-8").partition(points.BEGIN)[0]
NAMED = re.compile(r"`(test_\w+\.py)::(test_\w+)`")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| state")]


def test_every_state_names_who_looks_and_a_test() -> None:
    assert len(ROWS) > 40
    for row in ROWS:
        state, who, tests = (cell.strip() for cell in row.strip("|").split("|"))
        assert state
        assert who
        assert NAMED.search(tests), state
