"""The inputs of a batch: from lists and files, and where something does not fit, which line it is."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from dormouse_client.errors import InvalidArgument
from dormouse_client.inputs import read_items


def file(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_list_has_texts_and_items() -> None:
    item = {"id": "b", "input": "two", "metadata": {"a": "1"}}
    assert read_items(["one", item]) == [{"input": "one"}, item]  # type: ignore[list-item]
    assert read_items(str(number) for number in range(2)) == [{"input": "0"}, {"input": "1"}]


def test_lines_of_json_are_items_or_texts(tmp_path: Path) -> None:
    # U+2028 ends a line for Python, and not for JSON Lines.
    lines = '\ufeff{"id": "a", "input": "one\u2028more"}\r\n\n"two"\n'
    assert read_items(file(tmp_path, "x.jsonl", lines)) == [{"id": "a", "input": "one\u2028more"}, {"input": "two"}]
    assert read_items(str(file(tmp_path, "x.NDJSON", '"one"'))) == [{"input": "one"}]


def test_a_text_file_has_an_input_a_line(tmp_path: Path) -> None:
    assert read_items(file(tmp_path, "x.txt", "one\n\n  two \n")) == [{"input": "one"}, {"input": "  two "}]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_has_a_column_for_the_input_and_what_is_not_known_is_metadata(tmp_path: Path, separator: str) -> None:
    rows = [
        ["id", " input", "shelf", "agent"],
        ["a", '"one, ""two""\nthree"', "7", ""],
        ["", f'"x{separator}y"', "", "n"],
    ]
    text = "\ufeff" + "\r\n".join(separator.join(row) for row in rows) + "\r\n"
    assert read_items(file(tmp_path, "x.csv", text)) == [
        {"id": "a", "input": 'one, "two"\nthree', "metadata": {"shelf": "7"}},
        {"input": f"x{separator}y", "agent": "n"},
    ]


def test_an_input_of_a_table_may_be_long(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    long = "a" * 1_000_000
    assert read_items(file(tmp_path, "x.csv", f"input\n{long}\n")) == [{"input": long}]
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("x.jsonl", '"one"\n{"input": }', "line 2"),
        ("x.jsonl", '"one"\n\n7', "line 3"),
        ("x.jsonl", '{"text": "one"}', "line 1"),
        ("x.jsonl", "", "no input"),
        ("x.txt", "\n\n", "no input"),
        ("x.csv", "", "must be `input`"),
        ("x.csv", "id,text\n1,2\n", "must be `input`"),
        ("x.csv", "input,id,id\n1,2,3\n", "same name"),
        ("x.csv", "input,id\none,1\ntwo\n", "line 3"),
        ("x.csv", "input,id\none,1,2\n", "line 2"),
        ("x.csv", 'input\n"one\n', "not CSV"),
        ("x.csv", "input\n", "no input"),
        ("x.txt", b"\xe4\n", "UTF-8"),
        ("x.pdf", "one", "no .jsonl"),
        ("x", "one", "no .jsonl"),
    ],
)
def test_a_file_that_does_not_fit_is_told_with_its_line(tmp_path: Path, name: str, text: Any, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        read_items(file(tmp_path, name, text))


@pytest.mark.parametrize(
    "given", ["no/such/file.txt", "A story, please.", [], [7], [{"text": "x"}], {"input": "x"}, [None]]
)
def test_what_is_no_input_is_told(given: Any) -> None:
    with pytest.raises(InvalidArgument):
        read_items(given)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "x.txt").mkdir()
    with pytest.raises(InvalidArgument, match="cannot be read"):
        read_items(tmp_path / "x.txt")
