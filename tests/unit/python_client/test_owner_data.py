"""An owner's data on the command line: files that a cut leaves whole, and an erasure that nobody starts by mistake."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from dormouse_client import _owner_data
from tests.unit.python_client.test_command_line import OPERATOR, Program, Screen, json_of, program

__all__ = ["program"]

ONE, TWO, BATCH = "a" * 32, "b" * 32, f"batch_{'c' * 32}"
ANN = ("--owner", "user:ann/ü#?")


def piece(kind: str, within: str | None = ONE, **fields: Any) -> dict[str, Any]:
    return {"kind": kind, "within": within, "id": within, **fields}


PAGES: list[dict[str, Any]] = [
    {"data": [piece("session"), piece("run", text="ä" * 10)], "next_cursor": "1"},
    {"data": [piece("items", text="one")], "next_cursor": "2"},
    {"data": [], "next_cursor": "3"},
    {"data": [piece("items", text="two"), piece("session", TWO), piece("unreadable", TWO)], "next_cursor": "4"},
    {"data": [piece("batch", BATCH), piece("batch_item", BATCH)], "next_cursor": "5"},
    {
        "data": [piece("repeated_request", None), piece("being_deleted", "d" * 32)],
        "elsewhere": [{"where": "logs", "what": "x"}],
    },
]
FILES = {
    f"sessions/{ONE}.ndjson": ["session", "run", "items", "items"],
    f"sessions/{TWO}.ndjson": ["session"],
    f"batches/{BATCH}.ndjson": ["batch", "batch_item"],
    "others.ndjson": ["repeated_request"],
}


def written(folder: Path) -> dict[str, list[str]]:
    return {
        file.relative_to(folder).as_posix(): [json.loads(line)["kind"] for line in file.read_bytes().splitlines()]
        for file in folder.glob("**/*.ndjson")
    }


def manifest_of(folder: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text("utf-8"))
    return manifest


def test_an_export_is_a_file_for_each_session_and_batch_and_a_manifest(program: Program, tmp_path: Path) -> None:
    program.answers = [json_of(page) for page in PAGES]
    folder = tmp_path / "new" / "ann"
    assert program("ops", "export", *ANN, str(folder), environ=OPERATOR) == 1, "something could not be read"
    assert [json.loads(each.content) for each in program.requests] == [
        {"owner": ANN[1]} | ({"cursor": str(at)} if at else {}) for at in range(6)
    ]
    assert {each.url.path for each in program.requests} == {"/api/ops/export"}
    assert written(folder) == FILES
    found = manifest_of(folder)
    assert {each["file"]: each["bytes"] for each in found["files"]} == {
        name: (folder / name).stat().st_size for name in FILES
    }
    assert found["counts"]["items"] == 2
    assert [each["id"] for each in found["unreadable"]] == [TWO]
    assert [each["id"] for each in found["being_deleted"]] == ["d" * 32]
    assert (found["owner"], found["app"], found["elsewhere"][0]["where"]) == (ANN[1], "http://app", "logs")
    assert folder.stat().st_mode & 0o077 == 0, "nobody else on this machine is to read it"
    assert not (folder / "progress.json").exists()
    assert "1 could not be read." in program.error.getvalue()


@pytest.mark.parametrize("at", range(1, 6))
@pytest.mark.parametrize("cut", ["before the files", "between the files and the progress"])
def test_an_export_that_is_cut_off_goes_on_and_doubles_nothing(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, cut: str
) -> None:
    program.answers = [*(json_of(page) for page in PAGES[:at]), KeyboardInterrupt]
    if cut != "before the files":
        write, pages = _owner_data.Folder._write, iter(range(1, 9))

        def cut_off(self: Any, name: str, what: Any) -> None:
            if next(pages) == at + 1:
                raise KeyboardInterrupt
            write(self, name, what)

        program.answers = [json_of(page) for page in PAGES[: at + 1]]
        monkeypatch.setattr(_owner_data.Folder, "_write", cut_off)
    assert program("ops", "export", str(tmp_path), *ANN, environ=OPERATOR) == 130
    monkeypatch.undo()
    again = Program()
    again.answers = [json_of(page) for page in PAGES[at:]]
    monkeypatch.setattr(program, "handle", again.handle)
    monkeypatch.setattr(program, "requests", again.requests)
    real = httpx2.Client
    monkeypatch.setattr(
        "dormouse_client._sync_client.httpx2.Client", lambda: real(transport=httpx2.MockTransport(again.handle))
    )
    assert program("ops", "export", str(tmp_path), *ANN, environ=OPERATOR) == 1
    assert json.loads(again.requests[0].content)["cursor"] == str(at)
    assert written(tmp_path) == FILES
    assert manifest_of(tmp_path)["counts"] == {
        "session": 2,
        "run": 1,
        "items": 2,
        "unreadable": 1,
        "batch": 1,
        "batch_item": 1,
        "repeated_request": 1,
        "being_deleted": 1,
    }
    assert [each["id"] for each in manifest_of(tmp_path)["unreadable"]] == [TWO]


def test_a_folder_that_is_something_else_is_left_alone(program: Program, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    assert program("ops", "export", str(tmp_path), *ANN, environ=OPERATOR) == 2
    assert "has other files in it" in program.error.getvalue()
    begun = tmp_path / "begun"
    program.answers = [json_of(PAGES[0]), KeyboardInterrupt]
    program("ops", "export", str(begun), *ANN, environ=OPERATOR)
    assert program("ops", "export", str(begun), "--owner", "user:bob", environ=OPERATOR) == 2
    assert "user:ann/ü#? from http://app that was cut off" in program.error.getvalue()
    program.answers = [json_of(page) for page in PAGES[1:]]
    program("ops", "export", str(begun), *ANN, environ=OPERATOR)
    count = len(program.requests)
    assert program("ops", "export", str(begun), *ANN, environ=OPERATOR) == 2
    assert "complete" in program.error.getvalue()
    assert len(program.requests) == count


@pytest.mark.parametrize("within", ["../x", "a" * 31, f"batch_{'c' * 32}/x", "/etc"])
def test_no_answer_chooses_where_files_go(program: Program, tmp_path: Path, within: str) -> None:
    program.answers = [json_of({"data": [piece("session", within)]})]
    assert program("ops", "export", str(tmp_path / "d"), *ANN, environ=OPERATOR) == 3
    assert written(tmp_path) == {}


COUNTS = {"sessions": 1, "runs": 2, "batches": 0, "keys": 1}
NOTHING = dict.fromkeys(COUNTS, 0)
LEFT, NONE = {"tombstones": 3, "provider_copies": 1}, {"tombstones": 0, "provider_copies": 0}


def test_an_erasure_adds_up_what_each_call_has_done(program: Program) -> None:
    pages = [
        {"erased": COUNTS, "remaining": NONE, "failed": [], "next_cursor": "n"},
        {"erased": COUNTS, "remaining": LEFT, "failed": [], "elsewhere": [{"where": "logs", "what": "x"}]},
    ]
    program.answers = [json_of(page) for page in pages]
    assert program("ops", "erase", *ANN, "--yes", environ=OPERATOR) == 0
    assert [json.loads(each.content).get("cursor") for each in program.requests] == [None, "n"]
    shown = json.loads(program.out.getvalue())
    assert shown["erased"] == {"sessions": 2, "runs": 4, "batches": 0, "keys": 2}
    assert (shown["owner"], shown["remaining"], shown["elsewhere"][0]["where"]) == (ANN[1], LEFT, "logs")
    assert "Erased. The same again says what is left." in program.error.getvalue()


def test_an_erasure_says_when_nothing_is_left_and_fails_where_something_could_not_be_erased(program: Program) -> None:
    program.answers = [json_of({"erased": NOTHING, "remaining": NONE, "failed": [], "elsewhere": []})]
    assert program("ops", "erase", *ANN, "--yes", environ=OPERATOR) == 0
    assert program.error.getvalue() == "Nothing is left.\n"
    failed = [{"id": ONE, "reason": "row_unreadable"}]
    program.answers = [json_of({"erased": NOTHING, "remaining": NONE, "failed": failed, "elsewhere": []})]
    assert program("ops", "erase", *ANN, "--yes", environ=OPERATOR) == 1
    assert "1 could not be erased." in program.error.getvalue()


@pytest.mark.parametrize(("typed", "code"), [("user:ann/ü#?\n", 0), ("yes\n", 2), ("", 2)])
def test_whoever_erases_types_the_owner(
    program: Program, monkeypatch: pytest.MonkeyPatch, typed: str, code: int
) -> None:
    terminal = Screen(tty=True)
    terminal.write(typed)
    terminal.seek(0)
    monkeypatch.setattr("sys.stdin", terminal)
    program.answers = [json_of({"erased": NOTHING, "remaining": NONE, "failed": [], "elsewhere": []})]
    assert program("ops", "erase", *ANN, environ=OPERATOR) == code
    assert len(program.requests) == (1 if code == 0 else 0)
    assert "cannot be undone" in program.error.getvalue()


def test_without_a_terminal_nothing_is_erased_unless_it_is_said(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("user:ann/ü#?\n"))
    assert program("ops", "erase", *ANN, environ=OPERATOR) == 2
    assert "say --yes" in program.error.getvalue()
    assert program.requests == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["export", "d"], "takes --owner"),
        (["erase", "--yes"], "takes --owner"),
        (["export", "--owner", "user:ann"], "takes the folder"),
        (["erase", "d", "--owner", "user:ann"], "takes nothing but"),
        (["export", "d", "--owner", "user:ann", "--yes"], "--yes with `erase`"),
        (["drain", "--owner", "user:ann"], "--owner goes with"),
        (["drain", "--yes"], "--yes with"),
    ],
)
def test_a_call_about_an_owner_that_means_nothing_is_not_made(
    program: Program, arguments: list[str], said: str
) -> None:
    assert program("ops", *arguments, environ=OPERATOR) == 2
    assert said in program.error.getvalue()
    assert program.requests == []


@pytest.mark.parametrize("arguments", [["ops", "drain", "on", "off"], ["get", "x", "y"], ["ops", "drain", "--what"]])
def test_an_argument_too_many_is_refused(program: Program, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as wrong:
        program(*arguments, environ=OPERATOR)
    assert wrong.value.code == 2
