"""Samples of a program's process, taken each millisecond of its own processor time."""

from __future__ import annotations

import os
import signal
from collections import Counter
from types import FrameType
from typing import TypeAlias

SAMPLED = {"BENCH_SAMPLED": "1"}
"""Given to a program, it samples itself."""

PERIOD = 0.001
NOBODY = "rest"

# The first that a frame's file has, from the innermost frame outwards. A transport serves whoever called it.
WHOSE = (
    ("/azure/", "tables"),
    ("/openai/", "openai"),
    ("/pydantic", "pydantic"),
    ("/starlette/", "starlette"),
    ("/shared/", "ours"),
)

Shares: TypeAlias = dict[str, float]


class Sampler:
    """Whose code runs."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()
        if SAMPLED.items() <= os.environ.items():
            signal.signal(signal.SIGPROF, self._sample)
            signal.setitimer(signal.ITIMER_PROF, PERIOD, PERIOD)

    def forget(self) -> None:
        """Begin anew."""
        self._seen.clear()

    def shares(self) -> Shares:
        """Of all samples, the largest first."""
        return {who: count / self._seen.total() for who, count in self._seen.most_common()}

    def _sample(self, number: int, frame: FrameType | None) -> None:
        self._seen[_whose(frame)] += 1


def _whose(frame: FrameType | None) -> str:
    while frame is not None:
        for part, who in WHOSE:
            if part in frame.f_code.co_filename:
                return who
        frame = frame.f_back
    return NOBODY
