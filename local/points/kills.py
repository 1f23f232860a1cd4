"""The points at which no host of the whole stack is killed, and why."""

from __future__ import annotations

from collections.abc import Mapping

_LOST_LAST = (
    "Only where a request that loses the number of a run announced itself after the one that has it, and its process "
    "died before it took its row back: callers of a whole stack cannot have that order come about."
)

NOT_KILLED_AT: Mapping[str, Mapping[str, str]] = {
    "sweep / set_or_remove_due / index.unlist": {"durable": _LOST_LAST},
    "wake / wake / index.unlist": {"timer": _LOST_LAST},
}
"""By point and driver: the reason. Everywhere else hosts are killed (`tests/acceptance/killed_points.py`)."""
