"""Schedules as their owner reads them."""

from __future__ import annotations

from collections.abc import Sequence

from shared.errors import ScheduleNotFound
from shared.runs.model.schedules import RunSchedule
from shared.runs.ports import Ports


async def schedule_of_owner(ports: Ports, owner: str, schedule_id: str) -> RunSchedule:
    """The schedule. Raises ``ScheduleNotFound`` for one that is not there, or another owner's."""
    stored = await ports.schedules.load(owner, schedule_id)
    if stored is None:
        raise ScheduleNotFound
    return stored.value


async def schedules_of_owner(
    ports: Ports, owner: str, cursor: str | None, limit: int
) -> tuple[Sequence[RunSchedule], str | None]:
    """A page of an owner's schedules after the cursor, and the cursor of the next page."""
    return await ports.schedules.of_owner(owner, cursor, limit)
