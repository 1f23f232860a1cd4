"""Which files `azd deploy` takes.

azd (1.23.13 and later) zips a service's folder without what `.funcignore` denies, as the library
denormal/go-gitignore reads it (`createDeployableZip` in Azure/azure-dev, cli/azd/pkg/project/project_utils.go). It is
git's syntax, but not git to the letter: a pattern without a slash inside may cross slashes when it begins with one, and
a line with `**` beside other characters is dropped. This is that reading, as far as patterns without blanks go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

NEVER_FOLDERS = frozenset({".azure"})
NEVER_FILES = frozenset({".funcignore", "local.settings.json"})
"""What azd leaves out whatever `.funcignore` says, in every folder."""
MAX_LINKS = 40


@dataclass(frozen=True, slots=True)
class _Pattern:
    """One line."""

    keeps: bool
    anchored: bool
    folders_only: bool
    parts: tuple[str, ...]

    def matches(self, path: str, is_folder: bool) -> bool:
        if self.folders_only and not is_folder:
            return False
        if "**" in self.parts:
            return _deep(tuple(path.split("/")), self.parts)
        if len(self.parts) > 1:
            return _glob("/".join(self.parts), path, crosses=False)
        return _glob(self.parts[0], path if self.anchored else path.rpartition("/")[2], crosses=True)


class AzdIgnore:
    """The patterns of one `.funcignore`."""

    def __init__(self, text: str) -> None:
        lines = (line.rstrip() for line in text.removeprefix("\ufeff").splitlines())
        found = (_parse(line) for line in lines if line and not line.startswith("#"))
        self._patterns = [pattern for pattern in found if pattern is not None]

    def denies(self, path: str) -> bool:
        """Whether a file stays behind, be it for a folder above it; `path` is below the app's folder, with slashes."""
        folders = path.split("/")[:-1]
        above = ["/".join(folders[: count + 1]) for count in range(len(folders))]
        return any(self.denies_entry(folder, is_folder=True) for folder in above) or self.denies_entry(path)

    def denies_entry(self, path: str, *, is_folder: bool = False) -> bool:
        """Whether one file or folder is left out by itself: the last line that fits counts."""
        for pattern in reversed(self._patterns):
            if pattern.matches(path, is_folder):
                return not pattern.keeps
        return False


def azd_files(app: Path) -> Iterator[str]:
    """The files that are zipped from this folder, as paths below it with slashes, in order; links are followed."""
    return _below(app, "", AzdIgnore((app / ".funcignore").read_text("utf-8")), 0)


def _below(folder: Path, prefix: str, ignore: AzdIgnore, links: int) -> Iterator[str]:
    for entry in sorted(folder.iterdir()) if links <= MAX_LINKS else ():
        path, is_folder = prefix + entry.name, entry.is_dir()
        if entry.name in (NEVER_FOLDERS if is_folder else NEVER_FILES):
            continue
        if ignore.denies_entry(path, is_folder=is_folder):
            continue
        if is_folder:
            yield from _below(entry, f"{path}/", ignore, links + entry.is_symlink())
        else:
            yield path


def _parse(line: str) -> _Pattern | None:
    """A line's pattern; None for a line that the library drops.

    Raises:
        ValueError: the line has a blank inside, which is not modelled here.
    """
    if re.search(r"\s", line):
        raise ValueError(f"a pattern with a blank: {line!r}")
    keeps, line = line.startswith("!"), line.removeprefix("!")
    anchored, folders_only = line.startswith("/"), line.endswith("/")
    parts = tuple(line.removeprefix("/").removesuffix("/").split("/"))
    if any("**" in part and part != "**" for part in parts):
        return None
    return _Pattern(keeps, anchored, folders_only, parts)


def _deep(path: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    """Whether the path's names fit; `**` stands for any number of names, none as well."""
    if not parts:
        return not path
    if parts[0] == "**":
        return _deep(path, parts[1:]) or (bool(path) and _deep(path[1:], parts))
    return bool(path) and _glob(parts[0], path[0], crosses=False) and _deep(path[1:], parts[1:])


def _glob(pattern: str, text: str, *, crosses: bool) -> bool:
    """Whether the whole text fits an fnmatch pattern; `crosses`: wildcards match slashes too."""
    return _compiled(pattern, crosses).fullmatch(text) is not None


@cache
def _compiled(pattern: str, crosses: bool) -> re.Pattern[str]:
    any_one = "." if crosses else "[^/]"
    tokens = re.findall(r"\\.|\[[!^]?[^]]+\]|.", pattern, re.DOTALL)
    return re.compile("".join(_expression(token, any_one) for token in tokens), re.DOTALL)


def _expression(token: str, any_one: str) -> str:
    if token == "*":
        return f"{any_one}*"
    if token == "?":
        return any_one
    if token.startswith("[") and len(token) > 1:
        inner = token[1:-1].replace("\\", "\\\\").replace("[", "\\[")
        return f"(?:(?={any_one})[{'^' + inner[1:] if inner[0] in '!^' else inner}])"
    return re.escape(token.removeprefix("\\") or token)
