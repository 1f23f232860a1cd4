"""Which files are published, by each of the three ways: `func azure … publish`, `azd up` and `dev.py package`."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pathspec
import pytest

from local import ROOT
from local.packaging import package
from local.packaging.azdignore import AzdIgnore, azd_files
from local.packaging.funcignore import FuncIgnore, published_files
from tests.parts.cases import cases

Way = Callable[[Path], Iterable[str]]

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

SECRETS = [
    ".aws/credentials",
    ".azure/dev/.env",
    ".env",
    ".env.local",
    ".git-credentials",
    ".git/config",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".ssh/id_ed25519",
    ".vscode/settings.json",
    "appsettings.json",
    "certs/app.pfx",
    "dump.sql",
    "host.key",
    "id_rsa",
    "key.pem",
    "local.settings.json",
    "local.settings.json.bak",
    "local.settings.prod.json",
    "notes.txt",
    "requirements-secret.txt",
    "secrets.json",
    "shared/.aws/credentials",
    "shared/.env",
    "shared/.npmrc",
    "shared/agents/.env",
    "shared/agents/local.settings.json",
    "shared/agents/notes.txt",
    "shared/agents/secrets.json",
    "shared/api/openapi.secret.json",
    "shared/id_rsa",
    "shared/key.pem",
    "shared/runs/dump.json",
    "shared/runs/store/rows.csv",
    "shared/runs/x.pfx",
    "clients/js/.env",
    "clients/js/.npmrc",
    "clients/js/key.pem",
    "web/.env",
    "web/notes.txt",
    "web/key.pem",
    "web/vendor/.npmrc",
    "web/views/rows.json",
    "\u043a\u043b\u044e\u0447.txt",
]
"""What nobody names in advance, and nobody wants to have sent."""

CLUTTER = [
    ".ci/run",
    ".coverage",
    ".dormouse/data/x",
    ".DS_Store",
    ".github/workflows/ci.yml",
    ".hypothesis/examples/1",
    ".mypy_cache/3.11/x.json",
    ".venv/bin/python",
    ".venv/lib/site-packages/azure/functions.py",
    "__azurite_db_table__.json",
    "__pycache__/function_app.cpython-311.pyc",
    "azure.yaml",
    "bench/cold_start.py",
    "clients/js/node_modules/esbuild/x.js",
    "clients/js/package.json",
    "clients/js/src/client.js",
    "clients/js/types/index.d.ts",
    "clients/python/src/dormouse_client/contract.py",
    "dev.py",
    "docs/package.md",
    "examples/page/page.js",
    "examples/your_server.py",
    "infra/main.bicep",
    "LICENSE",
    "local/host/host.py",
    "local/packaging/shared/x.py",
    "node_modules/a/b.js",
    "pyproject.toml",
    "README.md",
    "requirements-dev.txt",
    "requirements.in",
    "shared/.DS_Store",
    "shared/__pycache__/x.cpython-311.pyc",
    "shared/api/__pycache__/y.pyc",
    "shared/README.md",
    "tests/unit/shared/test_x.py",
]

APP = [
    "function_app.py",
    "host.json",
    "requirements.txt",
    "shared/settings.py",
    "shared/agents/compliance.txt",
    "shared/runs/store/azure.py",
    "shared/local/tests.py",
    "shared/api/openapi.json",
    "web/app.js",
    "web/icon.svg",
    "web/index.html",
    "web/styles.css",
    "web/vendor/LICENSES.txt",
    "web/vendor/preact.js",
    "web/views/deep/run.js",
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


def zipped_by_dev_py(app: Path) -> list[str]:
    """What the zip of `dev.py package` holds, without the packages."""
    built = package.build_package(Path(sys.executable), app.parent / "out", app=app, bytecode=False)
    with zipfile.ZipFile(built.archive) as pack:
        return pack.namelist()


WAYS: dict[str, Way] = {"func": published_files, "azd": azd_files, "dev.py package": zipped_by_dev_py}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like a developer's: the app, what lies around, and secrets everywhere."""
    monkeypatch.setattr(package, "install", lambda *_: None)  # the packages are not what is looked at
    app = tmp_path / "app"
    for path in (*APP, *CLUTTER, *SECRETS):
        (app / path).parent.mkdir(parents=True, exist_ok=True)
        (app / path).write_text("", "utf-8")
    shutil.copyfile(ROOT / ".funcignore", app / ".funcignore")
    return app


@pytest.mark.parametrize("way", WAYS)
def test_a_package_holds_the_app_and_nothing_of_what_lies_around_it(way: str, tree: Path) -> None:
    assert sorted(WAYS[way](tree)) == sorted(APP)


@pytest.mark.parametrize("way", WAYS)
def test_secrets_deep_below_the_app_stay_behind_too(way: str, tree: Path) -> None:
    for path in SECRETS:
        folder = tree / "shared" / "nested" / "deep"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("", "utf-8")
    assert sorted(WAYS[way](tree)) == sorted(APP)


@cases("path", [*CLUTTER, *SECRETS])
def test_what_is_not_the_app_stays_behind_as_editors_read_the_file(path: str) -> None:
    assert pathspec.GitIgnoreSpec.from_lines(our_patterns().splitlines()).match_file(path)


@pytest.mark.parametrize("path", APP)
def test_what_is_the_app_is_let_in_as_editors_read_the_file(path: str) -> None:
    assert not pathspec.GitIgnoreSpec.from_lines(our_patterns().splitlines()).match_file(path)


@pytest.mark.parametrize("way", ["func", "azd"])
def test_every_file_of_the_app_that_git_knows_is_published(way: str) -> None:
    command = ["git", "ls-files", "-z", "--", "shared", "web", "function_app.py", "host.json", "requirements.txt"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    assert set(listed.stdout.decode().split("\0")) - {"", "web/package.json"} <= set(WAYS[way](ROOT))


def test_a_copy_beside_a_file_of_the_app_goes_along_with_core_tools_alone(tree: Path) -> None:
    for copy in ("host.json.bak", "shared/settings.py.orig"):
        (tree / copy).write_text("", "utf-8")
    assert set(published_files(tree)) - set(APP) == {"host.json.bak", "shared/settings.py.orig"}
    assert sorted(azd_files(tree)) == sorted(zipped_by_dev_py(tree)) == sorted(APP)


def test_core_tools_never_take_certain_files_whatever_the_patterns_say(tmp_path: Path) -> None:
    for path in (".funcignore", "host.json", "local.settings.json", ".git/config", ".vscode/x.json", "a/.gitignore"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("", "utf-8")
    assert list(published_files(tmp_path)) == ["host.json"]


# Each answer is that of the library azd uses (denormal/go-gitignore), asked with the same file and path.
AZD_ANSWERS = [
    ("tests", "shared/tests/x.py", True),
    ("/tests", "shared/tests/x.py", False),
    ("tests/", "tests", False),
    ("tests/", "tests/.hidden", True),
    ("a/*.py", "a/x.py", True),
    ("a/*.py", "b/a/x.py", False),
    ("a/**/*.py", "a/x.py", True),
    ("a/**/*.py", "a/b/c/x.py", True),
    ("**/x", "x", True),
    ("a/**", "a", True),
    ("a/**.py", "a/b.py", False),
    ("/x*", "xa/b", True),
    ("*\n!x", "x", False),
    ("!x\n*", "x", True),
    ("*\n!a/x", "a/x", True),
    ("*\n!a\n!a/x", "a/x", False),
    ("[ab].txt", "b.txt", True),
    ("[!ab].txt", "b.txt", False),
    ("\\!x", "!x", True),
    ("# x", "x", False),
]


@cases(("patterns", "path", "denied"), AZD_ANSWERS)
def test_azd_reads_a_line_as_its_library_does(patterns: str, path: str, denied: bool) -> None:
    assert AzdIgnore(patterns).denies(path) is denied


def test_azd_never_takes_its_own_environments_nor_local_settings(tmp_path: Path) -> None:
    for path in (".azure/dev/.env", "a/.azure/x", "a/local.settings.json", ".funcignore", "host.json"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("", "utf-8")
    assert list(azd_files(tmp_path)) == ["host.json"]
