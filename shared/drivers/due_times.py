"""The time in a due row: when the sweep is to look at its run, batch or deleted session, and not before."""

from __future__ import annotations

from datetime import timedelta

from shared.drivers.next_wake import next_wake_of
from shared.runs.model.ids import session_of_due_row
from shared.runs.ports import Ports
from shared.runs.store.due import DueRow
from shared.settings import Settings

MAX_ATTEMPTS = 5


def is_driven_by_due_row(settings: Settings, subject: str) -> bool:
    """Whether the sweep alone drives it, by its due row: everything under `timer`, deleted sessions always."""
    return settings.driver == "timer" or session_of_due_row(subject) is not None


async def set_due_in(ports: Ports, row: DueRow, gap: timedelta) -> bool:
    """Make the row due in ``gap`` from now; False when another has changed it since it was read."""
    now = ports.clock()
    return await ports.due.set_due(row, now + gap, now)


async def set_due_from_state(ports: Ports, subject: str) -> None:
    """Make the row due when the stored run (batch, session) says, whoever else has changed the row."""
    for _ in range(MAX_ATTEMPTS):
        # The row first: if another process sets it while the state is read, the write below is refused, and both are
        # read again.
        row = await ports.due.get(subject)
        found = await next_wake_of(ports, subject)
        if row is None or found is None:
            return
        wake_at = ports.clock() if found.wake_at is None else found.wake_at
        if row.due == wake_at or await ports.due.set_due(row, wake_at, ports.clock()):
            return
