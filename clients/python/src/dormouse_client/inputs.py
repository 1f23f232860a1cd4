"""The inputs of a batch, from a list or a file."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias, cast

from dormouse_client.contract import ItemBody
from dormouse_client.errors import InvalidArgument

Inputs: TypeAlias = "str | os.PathLike[str] | Iterable[str | ItemBody]"
"""The path of a file, or inputs: texts, or items with an `id`, an `agent`, `metadata` and so on of their own."""

_LINES = (".jsonl", ".ndjson")
_OWN = frozenset({"id", "input", "agent", "model"})


def read_items(inputs: Inputs) -> list[ItemBody]:
    """The items. Raises ``InvalidArgument``, with the line that does not fit."""
    if isinstance(inputs, (str, os.PathLike)):
        items = list(_of_file(Path(inputs)))
    elif isinstance(inputs, Mapping):
        raise InvalidArgument("`inputs` is a list of texts or items, or the path of a file; not one item.")
    else:
        items = [_item(each, f"input {number}") for number, each in enumerate(inputs)]
    if not items:
        raise InvalidArgument("There is no input: the list or the file is empty.")
    return items


def _of_file(path: Path) -> Iterator[ItemBody]:
    kind = path.suffix.lower()
    if kind not in (*_LINES, ".txt", ".csv"):
        raise InvalidArgument(
            f"{str(path)!r} is no .jsonl, .txt or .csv file. For one input there is `submit`; several are a list."
        )
    try:
        # Spreadsheets put a mark before the first character.
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidArgument(f"{path} is not UTF-8. Save it as UTF-8.") from None
    except OSError as error:
        raise InvalidArgument(f"{path} cannot be read: {error.strerror}.") from None
    if kind == ".csv":
        yield from list(_of_csv(text, path))
        return
    # Not splitlines(): a text may hold other characters that it takes for the end of a line.
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        if not line.strip():
            continue
        if kind == ".txt":
            yield {"input": line}
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise InvalidArgument(f"{path}, line {number}: not JSON ({error}).") from None
        yield _item(value, f"{path}, line {number}:")


def _of_csv(text: str, path: Path) -> Iterator[ItemBody]:
    """A column `input`; `id`, `agent` and `model` where they are there; every other column is metadata."""
    head = text.partition("\n")[0]
    separator = max(",;\t", key=head.count)
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    before = csv.field_size_limit(max(len(text), 1))  # an input may be longer than what csv takes by default
    try:
        columns = [column.strip() for column in rows.fieldnames or ()]
        if "input" not in columns:
            raise InvalidArgument(f"{path}: the first line names the columns, and one of them must be `input`.")
        if len(set(columns)) < len(columns):
            raise InvalidArgument(f"{path}: two columns have the same name.")
        rows.fieldnames = columns
        for row in rows:
            if None in row or None in row.values():
                raise InvalidArgument(f"{path}, line {rows.line_num}: not as many fields as columns.")
            if not any(row.values()):
                continue
            item: dict[str, Any] = {name: row[name] for name in columns if name in _OWN and row[name]}
            metadata = {name: row[name] for name in columns if name not in _OWN and row[name]}
            yield cast(ItemBody, {"input": "", **item, **({"metadata": metadata} if metadata else {})})
    except csv.Error as error:
        raise InvalidArgument(f"{path}, line {rows.line_num}: not CSV ({error}).") from None
    finally:
        csv.field_size_limit(before)


def _item(value: object, where: str) -> ItemBody:
    if isinstance(value, str):
        return {"input": value}
    if isinstance(value, Mapping) and "input" in value:
        return cast(ItemBody, dict(value))
    raise InvalidArgument(f"{where} is neither a text nor an item with an `input`.")
