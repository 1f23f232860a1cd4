"""Spans to export."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from shared.telemetry.spans import Span, child_of, root_of

RUN = "run_0af7651916cd43dd8448eb211c80319c_1"
BEGUN = datetime(2026, 3, 1, 12, tzinfo=UTC)


def a_span(name: str = "wake", **fields: Any) -> Span:
    """A child of the root of ``RUN``, a second and a half long."""
    root = root_of(RUN)
    given = {"name": name, "place": child_of(root), "parent": root, "start": BEGUN}
    return Span(**{**given, "end": BEGUN + timedelta(milliseconds=1_500), **fields})
