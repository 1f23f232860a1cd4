"""docs/reliability.md: every state has a test that is there."""

from __future__ import annotations

import re

from local import ROOT
from local.prove import points
from tests.parts.cases import cases

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


@cases(("file", "name"), sorted(set(NAMED.findall(PAGE))))
def test_every_named_test_is_there(file: str, name: str) -> None:
    found = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob(file)]
    assert any(re.search(rf"^(async )?def {name}\(", text, re.MULTILINE) for text in found)
