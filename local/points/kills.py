"""The points at which no host of the whole stack is killed, and why."""

from __future__ import annotations

from collections.abc import Mapping

NOT_KILLED_AT: Mapping[str, Mapping[str, str]] = {}
"""By point and driver: the reason. Everywhere else hosts are killed (`tests/acceptance/killed_points.py`)."""
