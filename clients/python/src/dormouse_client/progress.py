"""A line that shows how far a batch is: on a terminal and in a notebook, without any package."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

from dormouse_client._arguments import is_final
from dormouse_client.contract import Batch

WIDTH = 24


class ProgressBar:
    """Shows a batch each time that it is called with one; give it as ``on_progress``.

    On a terminal and in a notebook one line changes in place; anywhere else each change is a line of its own.
    """

    def __init__(self, out: TextIO | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = sys.stderr if out is None else out
        self._clock = clock
        self._began = clock()
        self.in_place = is_shown(self._out)
        self._shown = ""

    def __call__(self, batch: Batch) -> None:
        line = line_of(batch, self._clock() - self._began)
        ended = is_final(batch)
        if self.in_place:
            # Blanks over what was longer before.
            self._out.write("\r" + line.ljust(len(self._shown)) + ("\n" if ended else ""))
        else:
            self._out.write(line + "\n")
        self._out.flush()
        self._shown = line


def line_of(batch: Batch, seconds: float) -> str:
    """The line for a batch as it stands, after so many seconds."""
    counts = batch["counts"]
    total = max(1, counts["total"])
    done = counts["completed"] + counts["incomplete"] + counts["failed"] + counts["cancelled"]
    filled = WIDTH * done // total
    bad = ", ".join(f"{counts[name]} {name}" for name in ("incomplete", "failed", "cancelled") if counts[name])
    bar = "#" * filled + "." * (WIDTH - filled)
    return f"{batch['id']} [{bar}] {done}/{counts['total']}{f', {bad}' if bad else ''}, {seconds:.0f} s"


def is_shown(out: TextIO) -> bool:
    """Whether somebody sees this output as it is written: a terminal, or a notebook, whose output is no terminal."""
    shell = sys.modules.get("IPython")
    return bool(out.isatty() or (shell is not None and "ipykernel" in sys.modules and shell.get_ipython()))


def shown(on_progress: Callable[[Batch], object] | None, progress: bool | None) -> Callable[[Batch], object] | None:
    """What is to be called with each news of a batch: the line, if it is wanted or somebody sees it, and the other."""
    bar = ProgressBar()
    if not (bar.in_place if progress is None else progress):
        return on_progress

    def both(batch: Batch) -> object:
        bar(batch)
        return None if on_progress is None else on_progress(batch)

    return both
