"""What the store says of itself when it is asked whether it is well."""

from __future__ import annotations

from dataclasses import dataclass

from shared.runs.ports import Ports


@dataclass(frozen=True, slots=True, kw_only=True)
class DueCounts:
    """How many due rows there are, each counted up to one page: a check costs the same however many there are."""

    watched: int
    quarantined: int


async def due_counts(ports: Ports) -> DueCounts:
    """Count them now. Raises ``StoreUnavailable``."""
    watched, quarantined = await ports.due.count()
    return DueCounts(watched=watched, quarantined=quarantined)
