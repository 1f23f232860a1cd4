"""The page of what is stored names every field of every row."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from local import ROOT
from shared.runs.model import batch, run
from shared.runs.store.sealed import FIELDS
from shared.runs.store.tables import Table

PAGE = (ROOT / "docs" / "privacy.md").read_text("utf-8")
RELEASED = ROOT / "tests" / "unit" / "runs" / "released"
PARTS = (
    *(run.Request, run.Turn, run.Chain, run.Schedule, run.Counters, run.Result, run.Extras),
    *(batch.BatchRequest, batch.BatchSchedule, batch.Pace, batch.Progress, batch.LastCallback),
)
"""What is one property of a row, as JSON."""


def section(table: str) -> str:
    """What the page says of a table."""
    found = re.search(rf"^## Table `{table}`.*?(?=^## )", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, table
    return found[0]


def fields(text: str) -> set[str]:
    """The names in it that stand as code; pieces of a long value are a range."""
    names = set(re.findall(r"`([a-z][a-z_0-9]*)`", text))
    return names | {f"b{number:02}" for number in range(12)} if {"b00", "b11"} <= names else names


def stored() -> Iterator[tuple[str, str]]:
    """Each property of each row that the stories of the release have stored, with its table."""
    for file in sorted(RELEASED.glob("rows_*/*.json")):
        rows: list[dict[str, Any]] = json.loads(Path(file).read_text("utf-8"))["rows"]
        for row in rows:
            for name in row["values"]:
                yield row["table"], re.sub(r"_(part|[2-4])$", "", name)


def test_every_property_of_every_table_is_named() -> None:
    found = set(stored())
    assert len(found) > 80
    assert {(table, name) for table, name in found if name not in fields(section(table)) | {"schema"}} == set()


def test_every_field_of_the_parts_is_named() -> None:
    named = fields(PAGE)
    assert {field.name for part in PARTS for field in dataclasses.fields(part)} - named == set()


def test_what_is_said_to_be_encrypted_is_what_the_app_encrypts() -> None:
    for table in (Table.RUNS, Table.INDEX, Table.BATCHES):
        rows = re.findall(r"^\| (.*) \| (yes|no) \|$", section(table.value), re.MULTILINE)
        said = {name for text, word in rows if word == "yes" for name in fields(text.split(" | ")[-2])}
        sealed = {name for names in FIELDS[table].values() for name in names}
        assert said == sealed, table
