"""The files of a backup: for each table its rows, one JSON object a line, and `backup.json`, which is written last.

A line has the partition (`p`), the key (`k`) and the values (`v`) of a row. Bytes are an object with `base64` alone.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shared.runs.store.tables import Row, Table, Value

SUMMARY = "backup.json"
FORMAT = 1


class NoBackup(Exception):
    """The folder holds no whole backup that this version can read."""


class NotEmpty(Exception):
    """There is something where a backup, or its rows, are to be written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What `backup.json` says."""

    begun_at: str
    ended_at: str
    schema: int
    """Version of the row format of the app that made it."""

    rows: Mapping[str, int]
    """How many of each table."""

    format: int = FORMAT


def begin(folder: Path) -> None:
    """Make the folder, if it is not there. Raises ``NotEmpty``."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise NotEmpty(f"{folder} is not empty")


@contextlib.contextmanager
def writing(folder: Path, table: Table) -> Iterator[Callable[[Row], None]]:
    """Write the file of a table anew: what is given takes its rows."""
    with gzip.open(_file(folder, table), "wt", encoding="utf-8") as file:

        def add(row: Row) -> None:
            values = {name: _plain(value) for name, value in row.values.items()}
            file.write(json.dumps({"p": row.partition, "k": row.key, "v": values}, ensure_ascii=False) + "\n")

        yield add


def read(folder: Path, table: Table) -> Iterator[Row]:
    """The rows of a table."""
    with gzip.open(_file(folder, table), "rt", encoding="utf-8") as file:
        for line in file:
            found = json.loads(line)
            values = {name: _value(value) for name, value in found["v"].items()}
            yield Row(partition=found["p"], key=found["k"], etag="", values=values)


def end(folder: Path, summary: Summary) -> None:
    """Make it whole."""
    (folder / SUMMARY).write_text(json.dumps(asdict(summary), indent=2) + "\n", "utf-8")


def summary_of(folder: Path) -> Summary:
    """What the backup says of itself. Raises ``NoBackup``."""
    try:
        found = Summary(**json.loads((folder / SUMMARY).read_text("utf-8")))
    except FileNotFoundError as error:
        raise NoBackup(f"{folder} holds no backup that came to its end: there is no {SUMMARY}") from error
    except (TypeError, ValueError) as error:
        raise NoBackup(f"{folder / SUMMARY} is none of a backup") from error
    if found.format != FORMAT:
        raise NoBackup(f"the backup has format {found.format}, and this version reads {FORMAT}")
    return found


def _file(folder: Path, table: Table) -> Path:
    return folder / f"{table}.jsonl.gz"


def _plain(value: Value) -> Any:
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _value(value: Any) -> Value:
    plain: Value = base64.b64decode(value["base64"]) if isinstance(value, dict) else value
    return plain
