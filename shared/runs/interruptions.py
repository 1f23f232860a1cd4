"""What a crash or a restart interrupted: counted where it is taken up again, and logged together, not once a run."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import datetime, timedelta

GATHERED_FOR = timedelta(seconds=30)
"""A restart is noticed run by run, as their leases end; so many seconds of it make one line."""

_log = logging.getLogger("dormouse")


class Interruptions:
    """The interruptions that this process has noticed and not logged yet."""

    def __init__(self) -> None:
        self._since: datetime | None = None
        self._counts: Counter[str] = Counter()
        self._runs: set[str] = set()

    def add(self, now: datetime, run_id: str, *, tools: int = 0, requests: int = 0) -> None:
        """Count tool calls whose process is gone, or requests to the model that nobody heard the outcome of."""
        # Nothing is logged for a wake that took up nothing.
        if tools or requests:
            self._since = self._since or now
            self._runs.add(run_id)
            self._counts.update(tools=tools, requests=requests)

    def report(self, now: datetime) -> None:
        """Log what was counted, once some time has passed since the first of it."""
        if self._since is None or now < self._since + GATHERED_FOR:
            return
        _log.warning(
            "interrupted work was taken up again: %d tool calls, %d requests to the model, of %d runs; "
            "if they are many, a worker was ended or restarted (docs/operations.md)",
            self._counts["tools"],
            self._counts["requests"],
            len(self._runs),
        )
        self._since = None
        self._counts.clear()
        self._runs.clear()
