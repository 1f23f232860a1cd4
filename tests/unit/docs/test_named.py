"""What the pages name is there: files, anchors, settings, tests, commands with their options, calls of the app."""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema_rs
import pytest

import dev
from local import ROOT
from shared.settings import Settings
from tests.parts.contract import contract
from tests.unit.docs.pages import PAGES, Found, anchors, commands, matches, spans

FOLDERS = "shared|local|tests|bench|infra|docs|web|clients|examples"
EXAMPLES = {"shared/agents/prompt.md"}
"""Files that somebody might make."""

TEST = r"`(test_\w+\.py::test_\w+)`"


def test_every_link_leads_to_a_file_and_a_heading_that_are_there() -> None:
    lost = []
    for link in (found for page in PAGES for found in matches(page, r"\]\(([^)\s]+)\)")):
        path, _, anchor = link.text.partition("#")
        if urlsplit(link.text).scheme:
            continue
        target = (link.page.parent / path).resolve() if path else link.page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(f"{link}: {link.text}")
    assert not lost, "\n".join(lost)


def test_every_page_in_docs_is_in_the_list_that_the_site_is_made_of() -> None:
    listed = {link.text for link in matches(ROOT / "docs/README.md", r"^- \[[^\]]+\]\(([^)#]+)\)")}
    pages = {page.name for page in PAGES if page.parent == ROOT / "docs"} - {"README.md"}
    assert len(pages) > 15
    assert pages <= listed, f"docs/README.md has no line for {pages - listed}"


def test_every_file_that_is_named_is_there() -> None:
    lost = [
        f"{found}: {found.text}"
        for found in spans()
        if re.fullmatch(rf"(?:{FOLDERS})/[\w./-]+\.(?:py|md|json|js|css|bicep|toml|txt|svg|in)", found.text)
        and found.text not in EXAMPLES
        and not (ROOT / found.text).exists()
    ]
    assert not lost, "\n".join(lost)


def test_every_test_that_is_named_is_there() -> None:
    defined = {
        f"{file.name}::{name}"
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^\s*(?:async )?def (test_\w+)\(", file.read_text("utf-8"), re.MULTILINE)
    }
    named = [found for page in PAGES for found in matches(page, TEST)]
    assert len(named) > 70
    lost = [f"{found}: {found.text}" for found in named if found.text not in defined]
    assert not lost, "\n".join(lost)


@cache
def known_settings() -> frozenset[str]:
    """Settings of the app, and variables of the templates, the clients, the examples and the tests."""
    elsewhere = "".join(
        file.read_text("utf-8")
        for folder in ("infra", "local", "clients", "examples", "tests")
        for file in (ROOT / folder).rglob("*")
        if file.suffix in (".py", ".js", ".mjs", ".json", ".bicep") and "docs" not in file.parts
    )
    aliases = {str(field.alias) for field in Settings.model_fields.values()}
    return frozenset(aliases | set(re.findall(r"\bDORMOUSE_[A-Z0-9_]+\b", elsewhere)))


def test_every_setting_that_is_named_is_there() -> None:
    named = [found for page in PAGES for found in matches(page, r"\b(DORMOUSE_[A-Z0-9_]*[A-Z0-9])\b")]
    named += [
        Found(command.page, command.line, name)
        for command in commands()
        for name in re.findall(r"\bDORMOUSE_[A-Z0-9_]*[A-Z0-9]\b", command.text)
    ]
    assert len(named) > 100
    lost = [f"{found}: {found.text}" for found in named if found.text not in known_settings()]
    assert not lost, "\n".join(lost)


def words_behind(program: str) -> Iterator[tuple[Found, list[str]]]:
    """The words behind each mention of a program, up to the end of its command."""
    for command in commands():
        for match in re.finditer(rf"(?:^|[\s(])(?:{program})(?=\s|$)([^|&;)>`]*)", command.text):
            try:
                yield command, shlex.split(match[1], comments=True)
            except ValueError:  # a quotation that goes on elsewhere
                yield command, match[1].split()


def options_of(parser: argparse.ArgumentParser) -> Mapping[str, set[str]]:
    """The options of each command of a command line."""
    (action,) = (each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    return {name: set(each._option_string_actions) for name, each in action.choices.items()}


def test_every_command_of_dev_py_that_is_named_is_there_with_its_options() -> None:
    known = options_of(dev.parser())
    programs = {"simulate": "bench/scale", "backup": "local/backup", "restore": "local/backup"}
    for command, folder in programs.items():
        source = (ROOT / folder / "__main__.py").read_text("utf-8")
        known = {**known, command: known[command] | set(re.findall(r'"(--[\w-]+)"', source))}
    known = {**known, "test": known["test"] | {"--durations", "--pdb", "-k", "-s", "-m"}}
    named = [(found, words) for found, words in words_behind(r"(?:python3 )?dev\.py") if words]
    assert len(named) > 50
    for found, (command, *rest) in named:
        if command == "--help":
            continue
        assert command in known, f"{found}: there is no dev.py {command}"
        for word in rest:
            option = word.partition("=")[0]
            assert not option.startswith("-") or option in known[command], f"{found}: dev.py {command} has no {option}"


def sources_of(program: str) -> str:
    """The code of a module that is run (`local.openapi`), or of a file."""
    if program.endswith(".py"):
        files = [ROOT / program]
    else:
        spec = importlib.util.find_spec(program)
        assert spec is not None, program
        assert spec.origin is not None, program
        origin = Path(spec.origin)
        files = sorted(origin.parent.rglob("*.py")) if origin.name == "__init__.py" else [origin]
    return "".join(file.read_text("utf-8") for file in files)


def test_every_program_that_is_named_is_there_with_its_options() -> None:
    named = [(found, words) for found, words in words_behind(r"(?:\.venv/bin/)?python3?") if words]
    checked = 0
    for found, words in named:
        program, *rest = words[1:] if words[0] == "-m" else words
        ours = re.match(r"(?:local|tests|bench|examples|dormouse_client)\b", program)
        if ours is None or (words[0] != "-m" and not program.endswith(".py")):
            continue
        source = sources_of(program)
        for word in rest:
            if word.startswith("--"):
                assert f'"{word.partition("=")[0]}"' in source, f"{found}: {program} has no {word}"
        checked += 1
    assert checked > 10


PATHS = {path: re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))) for path in contract().document["paths"]}
OTHERS = r"/api/v1/openai/.*|/api/v1|/ui.*|/"
"""Addresses of the app that are not in the contract: those that Azure's clients make, the page."""


def operation_of(method: str, path: str) -> Any:
    """The operation of the contract, or None."""
    for template, pattern in PATHS.items():
        if pattern.fullmatch(path):
            found = contract().document["paths"][template].get(method.lower())
            if found is not None:
                return found
    return None


def test_every_call_that_is_named_is_in_the_contract() -> None:
    lost, checked = [], 0
    for found in spans():
        call = re.fullmatch(r"(GET|HEAD|POST|PUT|PATCH|DELETE) (/[^\s`?]*)\S*", found.text)
        if call is None or "…" in call[2] or re.fullmatch(OTHERS, call[2]):
            continue
        checked += 1
        # What OpenAI's clients call is said without the base address that they are given.
        if not any(operation_of(call[1], base + call[2].removesuffix("[")) for base in ("", "/api/v1")):
            lost.append(f"{found}: {found.text}")
    assert checked > 40
    assert not lost, "\n".join(lost)


def curls() -> Iterator[tuple[Found, str, str, str | None]]:
    """Each request of the app that is to be typed: method, path, and the body where it is JSON in the command."""
    for command in commands():
        url = re.search(
            r"(?:https?://(?:localhost:7071|<app>\.azurewebsites\.net)|\)\"?)(/api/[^\s'\"?]*)", command.text
        )
        if command.text.startswith("curl ") and url is not None:
            data = re.search(r"(?:-d|--data) '([^']*)'", command.text)
            given = re.search(r"-X ([A-Z]+)", command.text)
            method = given[1] if given else "POST" if re.search(r" (?:-d|--data\S*) ", command.text) else "GET"
            yield command, method, url[1], data[1] if data else None


@pytest.mark.parametrize(
    ("command", "method", "path", "body"), [pytest.param(*each, id=str(each[0])) for each in curls()]
)
def test_every_request_to_type_is_one_that_the_contract_takes(
    command: Found, method: str, path: str, body: str | None
) -> None:
    operation = operation_of(method, path)
    assert operation is not None, f"{method} {path}"
    if body is not None:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        whole = {**schema, "components": contract().document["components"]}
        jsonschema_rs.Draft202012Validator(whole).validate(json.loads(body))
