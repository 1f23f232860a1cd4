"""What a health check reads from the store."""

from __future__ import annotations

from dataclasses import dataclass

from shared.runs.ports import Ports


@dataclass(frozen=True, slots=True, kw_only=True)
class DueCounts:
    """How many due rows there are, each counted up to one page: a check costs the same however many there are."""

    watched: int
    quarantined: int


async def check_format(ports: Ports) -> None:
    """Read the first row, once a process. Raises ``RowTooOld``, ``StoreUnavailable``."""
    await ports.runs.check_format()


async def due_counts(ports: Ports) -> DueCounts:
    """Count them now. Raises ``RowTooOld`` where the rows are of an earlier format, ``StoreUnavailable``."""
    await check_format(ports)
    watched, quarantined = await ports.due.count()
    return DueCounts(watched=watched, quarantined=quarantined)
