"""How long the app is at work for a run: from the start of an execution to each of its writes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from datetime import datetime


class Stopwatch:
    """Runs from the start of an execution, and again from each write."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._since = clock()

    def read(self) -> int:
        """Milliseconds since the start, or since the last write."""
        return max(0, round((self._clock() - self._since).total_seconds() * 1_000))

    def restart(self) -> None:
        """The time so far is written."""
        self._since = self._clock()


# Of the context and not a parameter: a wake's work is spread over many functions, and renewals write beside it.
_running: ContextVar[Stopwatch | None] = ContextVar("execution", default=None)


@contextlib.contextmanager
def execution(clock: Callable[[], datetime]) -> Iterator[None]:
    """What is written in this block counts as work; within another such block it is part of that."""
    if _running.get() is not None:
        yield
        return
    token = _running.set(Stopwatch(clock))
    try:
        yield
    finally:
        _running.reset(token)


def time_at_work() -> int:
    """Milliseconds of the running execution that are not written yet; 0 where none is, as for a viewer."""
    running = _running.get()
    return 0 if running is None else running.read()


def time_is_written() -> None:
    """All time so far is in the run's row."""
    running = _running.get()
    if running is not None:
        running.restart()
