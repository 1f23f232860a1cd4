"""Which files `func azure functionapp publish` takes.

Core Tools read `.funcignore` with a parser of their own (`GitIgnoreParser.cs`, `FileSystemHelpers.cs` in
Azure/azure-functions-core-tools), which is not git's: a pattern is held against the beginning of the path below the
app's folder and has to end at a word's end there, so `__pycache__/` spares `shared/__pycache__`, and `.venv*/` spares
`.venv`. This is that parser, so that a package holds what theirs would.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from local.packaging.azdignore import AzdIgnore

NEVER_FOLDERS = frozenset({".git", ".vscode"})
NEVER_FILES = frozenset({".funcignore", ".gitignore", "local.settings.json", "project.lock.json"})
"""What Core Tools leave out whatever `.funcignore` says, in every folder and in any case of letters."""


class FuncIgnore:
    """The patterns of one `.funcignore`."""

    def __init__(self, text: str) -> None:
        lines = [line.strip() for line in text.split("\n")]
        patterns = [line for line in lines if line and not line.startswith("#")]
        self._denied = _any_of(line for line in patterns if not line.startswith("!"))
        self._kept = _any_of(line[1:] for line in patterns if line.startswith("!"))

    def denies(self, path: str) -> bool:
        """Whether a file stays behind; `path` is below the app's folder, with slashes."""
        return bool(self._denied.match(path)) and not self._kept.match(path)


def published_files(app: Path) -> Iterator[str]:
    """The files that are published from this folder, as paths below it with slashes, in order."""
    ignore = FuncIgnore((app / ".funcignore").read_text("utf-8-sig"))
    for folder, folders, files in os.walk(app):
        folders[:] = sorted(name for name in folders if name.lower() not in NEVER_FOLDERS)
        for name in sorted(files):
            path = (Path(folder) / name).relative_to(app).as_posix()
            if name.lower() not in NEVER_FILES and not ignore.denies(path):
                yield path


def packaged_files(app: Path) -> Iterator[str]:
    """The files that `dev.py package` takes: those that Core Tools and azd would both publish, in order.

    To Core Tools a copy beside a file (`host.json.bak`) begins like it, and would go along with it.
    """
    azd = AzdIgnore((app / ".funcignore").read_text("utf-8-sig"))
    return (path for path in published_files(app) if not azd.denies(path))


def _any_of(patterns: Iterable[str]) -> re.Pattern[str]:
    parts = [f"({_expression(pattern.removeprefix('/'))})" for pattern in patterns]
    return re.compile(rf"(?:{'|'.join(parts)})\b" if parts else r"(?!)", re.ASCII)


def _expression(pattern: str) -> str:
    escaped = re.sub(r"[-\[\]/{}()+?.\\^$|]", r"\\\g<0>", pattern)
    return escaped.replace("**", "(.+)").replace("*", "([^/]+)")
