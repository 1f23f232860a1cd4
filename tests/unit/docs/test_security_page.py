"""docs/security.md: each sentence in a table has a test. That the test is there, test_named.py asks of every page."""

from __future__ import annotations

import re

from local import ROOT
from shared.settings import Settings
from tests.unit.docs.pages import text_of

PAGE = text_of(ROOT / "docs/security.md")
ROWS = [line for line in PAGE.splitlines() if re.match(r"\| (?!what is so|who has it)", line)]


def test_every_sentence_names_a_test() -> None:
    assert len(ROWS) > 40
    for row in ROWS:
        sentence, tests = (cell.strip() for cell in row.strip("|").split("|"))
        assert sentence
        assert re.fullmatch(r"`test_\w+\.py::test_\w+`(, `test_\w+\.py::test_\w+`)*", tests), sentence


def test_every_secret_among_the_settings_is_spoken_of() -> None:
    secrets = {
        str(field.alias)
        for field in Settings.model_fields.values()
        if re.search(r"_(SECRET|KEY|KEYS)$", str(field.alias))
    }
    assert len(secrets) > 4
    assert not {name for name in secrets if f"`{name}`" not in PAGE}
