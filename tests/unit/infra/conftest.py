"""A copy of what the checks read, to make mistakes in."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from local import ROOT

FILES = (
    ".funcignore",
    "azure.yaml",
    "function_app.py",
    "host.json",
    "local.settings.sample.json",
    "requirements.txt",
    "local/packaging/package.py",
)
FOLDERS = (".github", "infra", "shared")


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's files, in a folder of their own."""
    folder = tmp_path_factory.mktemp("project")
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def contents(copied: Path) -> dict[Path, bytes]:
    """What is in each of them."""
    return {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}


@pytest.fixture
def project(copied: Path, contents: dict[Path, bytes]) -> Iterator[Path]:
    """The project's files, as they are; what a test changes, adds or removes is put right after it."""
    yield copied
    for path in copied.rglob("*"):
        if path.is_file() and path not in contents:
            path.unlink()
    for path, content in contents.items():
        if not path.is_file() or path.read_bytes() != content:
            path.write_bytes(content)
