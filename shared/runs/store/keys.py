"""The keys of the rows in a session's partition of the `runs` table."""

from __future__ import annotations

from typing import TypedDict

from shared.runs.model.calls import ToolCall
from shared.runs.model.deliveries import Delivery
from shared.runs.model.run import Run


def run_key(run: Run) -> str:
    """Of a run's own row."""
    return f"run:{run.request.number:08}"


def item_key(number: int, index: int) -> str:
    """Of items that were appended together."""
    return f"item:{number:08}:{index:06}"


def call_key(call: ToolCall) -> str:
    """Of a tool call's row."""
    return f"tool:{call.number:08}:{call.turn:04}:{call.index:04}"


def delivery_key(delivery: Delivery) -> str:
    """Of a row of the delivery log."""
    return f"delivery:{delivery.number:08}:{delivery.index:06}"


class Bounds(TypedDict):
    """Of a query: the first key, and one behind the last."""

    first: str
    before: str


def of_run(kind: str, number: int, more: str = "") -> Bounds:
    """The bounds of a query for a run's rows of a kind."""
    prefix = f"{kind}:{number:08}:{more}"  # `~` sorts after all that follows in a key
    return {"first": prefix, "before": prefix + "~"}
