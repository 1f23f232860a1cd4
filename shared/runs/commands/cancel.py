"""Cancel a run."""

from __future__ import annotations

from shared.runs.commit import commit
from shared.runs.model.facts import CancelRequested
from shared.runs.model.run import Run
from shared.runs.ports import Ports


async def cancel(ports: Ports, run_id: str, *, by: str = "") -> Run | None:
    """End the run as cancelled; idempotent. None when there is none. Its tools and its response are stopped.

    ``by``: who wants that, as the run's journal then tells.

    A run that ended otherwise stays as it is. Raises ``LostRace``, ``StoreUnavailable``.
    """
    stored = await ports.runs.load(run_id)
    # Only the rows are written here. The provider is asked by a wake, from the outbox: a caller need not wait for it.
    return None if stored is None else (await commit(ports, stored, CancelRequested(by=by))).run.value
