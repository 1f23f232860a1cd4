"""Times between two moments."""

from __future__ import annotations

from datetime import datetime


def seconds_between(begun: datetime, ended: datetime | None) -> float | None:
    """Seconds from one to the other; None without an end."""
    # The clocks of instances differ: whoever ended it may be behind whoever began it.
    return None if ended is None else max(0.0, round((ended - begun).total_seconds(), 3))
