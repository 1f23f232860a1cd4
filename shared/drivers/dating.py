"""Dating due rows, so that a sweep looks when there is something to do and not before."""

from __future__ import annotations

from datetime import timedelta

from shared.drivers.standing import standing_of
from shared.runs.model.ids import session_of_due_row
from shared.runs.ports import Ports
from shared.runs.store.due import DueRow
from shared.settings import Settings

MOST_RACES = 5


def is_driven_by_date(settings: Settings, subject: str) -> bool:
    """Whether its due row alone drives it: everything under `timer`, deleted sessions always."""
    return settings.driver == "timer" or session_of_due_row(subject) is not None


async def date_ahead(ports: Ports, row: DueRow, gap: timedelta) -> bool:
    """Date the row from now; False when somebody else has dated it meanwhile."""
    now = ports.clock()
    return await ports.due.set_due(row, now + gap, now)


async def date_by_row(ports: Ports, subject: str) -> None:
    """Date the row by what it is about, read after it, whoever else has dated it."""
    for _ in range(MOST_RACES):
        row = await ports.due.get(subject)
        found = await standing_of(ports, subject)
        if row is None or found is None:
            return
        wake_at = ports.clock() if found.wake_at is None else found.wake_at
        if row.due == wake_at or await ports.due.set_due(row, wake_at, ports.clock()):
            return
