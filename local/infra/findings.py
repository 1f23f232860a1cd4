"""What a check finds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """A mistake: where (`file` is relative to the project, `line` counts from 1) and what."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


def line_of(path: Path, part: str) -> int:
    """The first line of a file that holds `part`; 1 when none does."""
    lines = path.read_text("utf-8").splitlines()
    return next((number for number, line in enumerate(lines, 1) if part in line), 1)
