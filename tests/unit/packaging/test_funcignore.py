"""Which files are published: the reading of Core Tools, and that git's reading is the same for our file."""

from __future__ import annotations

from pathlib import Path

import pathspec
import pytest

from local.packaging.funcignore import FuncIgnore, published_files
from local.stack.child import ROOT

# The file and the answers of Core Tools' own tests (GitIgnoreParserTests.cs).
THEIRS = FuncIgnore(
    """# This is a comment in a .gitignore file!
node_modules
*.log

nonexistent
!/nonexistent/foo

/baz
foo/*.wat
/test1
test2
othernonexistent/**/what
!/othernonexistent/**/what/foo

*.swp
"""
)

CLUTTER = [
    ".ci/test.sh",
    ".azure/config.json",
    ".azure/.env",
    ".coverage",
    ".coverage.host",
    ".dormouse/data/x",
    ".dormouse/.stamp",
    ".DS_Store",
    ".editorconfig",
    ".env",
    ".env.local",
    ".gitattributes",
    ".github/workflows/ci.yml",
    ".hypothesis/examples/1",
    ".idea/x.xml",
    ".mypy_cache/3.11/x.json",
    ".mypy_cache/.gitignore",
    ".pytest_cache/v/x",
    ".ruff_cache/0.17/x",
    ".venv/bin/python",
    ".venv/.stamp",
    ".venv312/bin/python",
    "__azurite_db_table__.json",
    "__blobstorage__/1",
    "__pycache__/function_app.cpython-311.pyc",
    "__queuestorage__/1",
    "AzuriteConfig",
    "bench/cold_start.py",
    "docs/package.md",
    "htmlcov/index.html",
    "infra/main.bicep",
    "infra/README.md",
    "local/host/host.py",
    "local/package.json",
    "local/.hidden",
    "node_modules/a/b.js",
    "tests/unit/test_x.py",
    "tests/.hidden",
    "venv/bin/python",
    "README.md",
    "CHANGES.md",
    "shared/README.md",
    "web/notes/x.md",
    "azure.yaml",
    "dev.py",
    "local.settings.sample.json",
    "local.settings.prod.json",
    "pyproject.toml",
    "requirements.in",
    "requirements-dev.in",
    "requirements-dev.txt",
    "shared/__pycache__/x.cpython-311.pyc",
    "shared/api/__pycache__/y.pyc",
    "shared/.DS_Store",
]

APP = [
    "function_app.py",
    "host.json",
    "requirements.txt",
    "LICENSE",
    "shared/settings.py",
    "shared/runs/store/azure.py",
    "shared/local/tests.py",
    "shared/api/openapi.json",
    "web/index.html",
    "web/tests.js",
    "web/docs/page.css",
]


@pytest.mark.parametrize(
    "path",
    ["test.swp", "node_modules/what.js", "foo/bar.wat", "othernonexistent/blah/what", "nonexistent/bar", "test2"],
)
def test_what_core_tools_deny_is_denied(path: str) -> None:
    assert THEIRS.denies(path)


@pytest.mark.parametrize(
    "path", ["test/index.js", "wat/test/index.js", "test1File.wat", "nonexistent/foo", "nonexistent/foo/wat"]
)
def test_what_core_tools_accept_is_accepted(path: str) -> None:
    assert not THEIRS.denies(path)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("__pycache__/", "shared/__pycache__/x.pyc"),
        (".venv*/", ".venv/bin/python"),
        ("tests/", "tests/.hidden"),
        ("*.md", "shared/README.md"),
    ],
)
def test_patterns_that_git_would_follow_and_core_tools_do_not(pattern: str, path: str) -> None:
    assert not FuncIgnore(pattern).denies(path)
    assert pathspec.GitIgnoreSpec.from_lines([pattern]).match_file(path)


def test_an_empty_file_denies_nothing() -> None:
    assert not FuncIgnore("# nothing\n\n").denies("tests/x.py")


def our_patterns() -> str:
    return (ROOT / ".funcignore").read_text("utf-8")


@pytest.mark.parametrize("path", CLUTTER)
def test_what_belongs_to_development_stays_behind_in_both_readings(path: str) -> None:
    assert FuncIgnore(our_patterns()).denies(path)
    assert pathspec.GitIgnoreSpec.from_lines(our_patterns().splitlines()).match_file(path)


@pytest.mark.parametrize("path", APP)
def test_what_belongs_to_the_app_is_published_in_both_readings(path: str) -> None:
    assert not FuncIgnore(our_patterns()).denies(path)
    assert not pathspec.GitIgnoreSpec.from_lines(our_patterns().splitlines()).match_file(path)


def test_both_readings_publish_the_same_files_of_this_checkout() -> None:
    git = pathspec.GitIgnoreSpec.from_lines(our_patterns().splitlines())
    ours = list(published_files(ROOT))
    assert [path for path in ours if git.match_file(path)] == []
    everything = {
        path.relative_to(ROOT).as_posix() for folder in ("shared", "web") for path in (ROOT / folder).rglob("*")
    }
    python_files = {path for path in everything if path.endswith((".py", ".html", ".js", ".css", ".json"))}
    assert python_files <= set(ours)


def test_only_the_app_is_published_from_this_checkout() -> None:
    at_the_top = {path.partition("/")[0] for path in published_files(ROOT)}
    assert at_the_top <= {"function_app.py", "host.json", "requirements.txt", "LICENSE", "shared", "web"}
    assert {"function_app.py", "host.json", "requirements.txt", "shared"} <= at_the_top


def test_core_tools_never_take_certain_files_whatever_the_patterns_say(tmp_path: Path) -> None:
    for path in (".funcignore", "host.json", "local.settings.json", ".git/config", ".vscode/x.json", "a/.gitignore"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("", "utf-8")
    assert list(published_files(tmp_path)) == ["host.json"]
