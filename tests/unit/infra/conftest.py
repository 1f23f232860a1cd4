"""A copy of what the checks read, to make mistakes in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
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


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project's files, in a folder of their own."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path
