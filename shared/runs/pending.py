"""Runs whose response is pending, as this process has left them: the next look at one need not read its row first.

The rows stay the truth. A look comes to a write under the ETag of the run's row, so that what is out of date here is
refused there, and then read anew. And a run is given back only with the due row that was written after it: whoever
changes a run from outside announces that in the due row first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from shared.runs.model.phases import Pending
from shared.runs.model.run import Extras, Run
from shared.runs.store.runs import Stored

if TYPE_CHECKING:
    from shared.runs.store.due import DueRow

MOST = 2_000
"""Runs that are kept: the least recently kept one makes room."""

LONGEST = 4_000
"""Characters of a run's long values together, beyond which it is not kept: its row is read again."""


class PendingRuns:
    """What this process need not read again. Losing it costs a read each, and nothing else."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[str, Stored[Run]]] = {}

    def keep(self, row: DueRow, stored: Stored[Run]) -> None:
        """Keep a run whose due row is this one, if it is pending, and small."""
        run = stored.value
        if not isinstance(run.phase, Pending) or not _is_small(run):
            return
        # Without its row in the list: that one is not compared with anything before it is believed.
        self._kept[run.id] = row.etag, replace(stored, listing=None)
        if len(self._kept) > MOST:
            del self._kept[next(iter(self._kept))]

    def take(self, row: DueRow) -> Stored[Run] | None:
        """The run of this due row, once; None when it is not kept, or when the row has changed since."""
        etag, stored = self._kept.pop(row.run_id, ("", None))
        return stored if etag == row.etag else None


def _is_small(run: Run) -> bool:
    request = run.request
    texts = (request.instructions, request.tools, request.outputs)
    return run.extras == Extras() and sum(len(text) for text in texts if isinstance(text, str)) <= LONGEST
