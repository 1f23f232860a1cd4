"""The time in a due row: when the sweep is to look at its run, batch or deleted session, and not before."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from shared.drivers.next_wake import next_wake_of
from shared.runs.listing import ensure_listed, is_shown
from shared.runs.model.ids import is_schedule_id, session_of_due_row
from shared.runs.model.listed import ListStatus
from shared.runs.ports import Ports
from shared.runs.store.due import AHEAD, DueRow
from shared.runs.store.index import Listing
from shared.settings import Settings

MAX_ATTEMPTS = 5


def is_driven_by_due_row(settings: Settings, subject: str) -> bool:
    """Whether the sweep alone drives it, by its due row: everything under `timer`, schedules and deleted sessions
    always.
    """
    return settings.driver == "timer" or has_no_orchestration(subject)


def has_no_orchestration(subject: str) -> bool:
    """Whether it is one of those that nothing but steps are ever started for."""
    return is_schedule_id(subject) or session_of_due_row(subject) is not None


async def set_due_in(ports: Ports, row: DueRow, gap: timedelta) -> bool:
    """Make the row due in ``gap`` from now, a minute or so; False when another has changed it since it was read."""
    now = ports.clock()
    return await ports.due.set_due(row, now + gap, now)


async def set_due_at(
    ports: Ports, row: DueRow, due: datetime, to_list: ListStatus | None, listing: Listing | None = None
) -> bool:
    """Make the row due, once the list shows ``to_list``; False when another has changed it since it was read.

    Raises ``StoreUnavailable``, and then the row is as it was.
    """
    row = await _with_list(ports, row, to_list, listing)
    now = ports.clock()
    return await ports.due.set_due(row, _not_past_list(row, due, to_list, now), now)


async def due_at(
    ports: Ports, row: DueRow, due: datetime, to_list: ListStatus | None, listing: Listing | None = None
) -> DueRow:
    """The row as ``set_due_at`` would write it, for whoever writes several together. Raises as that does."""
    row = await _with_list(ports, row, to_list, listing)
    now = ports.clock()
    return row.dated(_not_past_list(row, due, to_list, now), now)


async def remove_due(
    ports: Ports, row: DueRow, to_list: ListStatus | None = None, listing: Listing | None = None
) -> bool:
    """Remove the row of what is over, once the list shows ``to_list``, as ``set_due_at`` does."""
    row = await _with_list(ports, row, to_list, listing)
    now = ports.clock()
    if not _is_right(row, to_list):
        return await ports.due.set_due(row, now + AHEAD, now)
    return await ports.due.remove(row, ports.clock())


async def _with_list(ports: Ports, row: DueRow, to_list: ListStatus | None, listing: Listing | None) -> DueRow:
    """The due row with what the list shows, which is made right if it is not. It is kept there: one look is enough."""
    if _is_right(row, to_list):
        return row
    if to_list is not None and not is_shown(to_list, listing):
        listing = await ensure_listed(ports, row.run_id, to_list, row.listed)
    return replace(row, listed_status="" if listing is None or listing.status is None else listing.status.value)


def _not_past_list(row: DueRow, due: datetime, to_list: ListStatus | None, now: datetime) -> datetime:
    """That date; soon, while the list does not show what it should."""
    return due if _is_right(row, to_list) else min(due, now + AHEAD)


def _is_right(row: DueRow, to_list: ListStatus | None) -> bool:
    return to_list is None or row.listed_status == to_list.value


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
        if row.due == wake_at and _is_right(row, found.to_list):
            return
        if await set_due_at(ports, row, wake_at, found.to_list):
            return
