"""Lists of runs as callers see them: what the list's own rows hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, NotRequired

from typing_extensions import TypedDict

from shared.api.http import time_on_the_wire
from shared.api.native.fields import RunError
from shared.api.native.run_shapes import RunSummary, usage_on_the_wire

if TYPE_CHECKING:
    from shared.runs.model.listed import ListedRun


class RunList(TypedDict):
    """A page of the caller's runs, newest first."""

    data: list[RunSummary]
    """The runs, without what is long or changes often."""

    next_cursor: NotRequired[str]
    """Only there when there is a next page."""


def summary_on_the_wire(listed: ListedRun, *, url: str, model: str | None = None) -> RunSummary:
    """A run as a list shows it. ``model``: the agent's own, for a run that asked for no other."""
    held = listed.summary
    reason = held.incomplete_reason
    error: RunError | None = None
    if held.error_code is not None:
        error = {"code": held.error_code, "message": held.error_message}
    return {
        "id": listed.id,
        "object": "run",
        "url": url,
        "status": listed.status,
        "title": held.title,
        "input_preview": held.preview,
        "agent": listed.agent,
        "model": held.model or model,
        "stream": held.stream,
        "session_id": listed.session_id,
        "batch_id": held.batch_id,
        "error": error,
        "incomplete_details": None if reason is None else {"reason": reason},
        "usage": usage_on_the_wire(held.usage),
        "metadata": dict(held.metadata),
        "created_at": time_on_the_wire(held.created_at),
        "start_at": time_on_the_wire(held.start_at),
        "completed_at": time_on_the_wire(held.completed_at),
        "elapsed_seconds": held.elapsed_seconds,
    }
