"""The figure of each part of `dev.py prove`, and the section of docs/reliability.md that keeps them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from local import ROOT

BEGIN, END = "<!-- begin: written by `dev.py prove --record` -->", "<!-- end of the figures -->"
_HEAD = "| part | command | figure | shown at |"
_CELLS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a part of `dev.py prove` has shown."""

    figure: str
    """How much, in one line without ``|``."""

    wrong: tuple[str, ...] = ()
    """What does not hold, or is missing, a sentence each. None: the part has passed."""

    is_full: bool = True
    """Whether it was as much as the page is to tell of. A figure of less is printed and never recorded."""


def number(value: float) -> str:
    """A number as the page writes it: ``200,000``."""
    return f"{value:,.0f}"


def listed(counts: Mapping[str, int]) -> str:
    """Counts, the largest first: ``busy 12, late 3``."""
    return ", ".join(
        f"{name} {number(counts[name])}" for name in sorted(counts, key=lambda each: (-counts[each], each))
    )


def recorded(page: str) -> dict[str, str]:
    """The rows of the page, by part."""
    lines = page.partition(BEGIN)[2].partition(END)[0].splitlines()
    rows = [line for line in lines if line.startswith("| ") and line != _HEAD]
    return {row.strip("| ").split(" | ")[0]: row for row in rows}


def written(page: str, part: str, figure: str, shown_at: str, order: Iterable[str]) -> str:
    """The page with this figure; those of other parts stay as they are, with their own commit and date.

    ``order`` has every part that there is: a row of no part goes. Raises ``ValueError`` when the page has no place for
    figures, or the figure does not fit into one cell.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page needs the lines {BEGIN} and {END}")
    cells = (part, f"`python3 dev.py prove --{part}`", figure, shown_at)
    row = f"| {' | '.join(cells)} |"
    if "\n" in row or row.count("|") != _CELLS + 1:
        raise ValueError(f"no figure: {figure!r}")
    rows = {**recorded(page), part: row}
    lines = [_HEAD, "|---" * _CELLS + "|", *(rows[each] for each in order if each in rows)]
    return "\n".join([before + begin, "", *lines, "", end]) + after


def commit_and_date(now: datetime | None = None, *, besides: str = "docs/reliability.md") -> str:
    """Where a figure was made: the commit's short hash, whether anything besides the page differs from it, the day."""
    day = (now or datetime.now(UTC)).date().isoformat()
    commit = _git("rev-parse", "--short", "HEAD")
    changed = _git("status", "--porcelain", "--", ".", f":(exclude){besides}")
    return f"`{commit or 'no commit'}`{' with changes' if changed else ''}, {day}"


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
