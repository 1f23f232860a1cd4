"""What a command does when it is to end."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType


def on_signals(action: Callable[[int, FrameType | None], object] | signal.Handlers) -> None:
    """Do this on Ctrl-C, SIGTERM and the end of the terminal (a shell may have turned the first off)."""
    # By name: Windows has no SIGHUP, and only Windows has SIGBREAK.
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
        if number := getattr(signal, name, None):
            signal.signal(number, action)


def interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
