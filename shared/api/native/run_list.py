"""Lists of runs as callers see them: what the list's own rows hold."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from shared.api.http import time_on_the_wire
from shared.api.native.fields import BatchId, IncompleteDetails, RunError, RunId, SessionId, Time, Url
from shared.api.native.run_shapes import Usage, usage_on_the_wire
from shared.runs.model.listed import ListedRun
from shared.runs.model.phases import RunStatus


class RunSummary(TypedDict):
    """A run in a list, as of its last change of status. What changes more often is at its own address."""

    id: RunId
    """The run's id: its session's, and its number in that session."""

    object: Literal["run"]
    """What this is: always `run`."""

    url: Url
    """The run's own address."""

    status: RunStatus
    """The last four are final and never change."""

    title: str
    """The caller's, else the first line of the input. One line."""

    input_preview: str
    """The first 200 characters of the input's text."""

    agent: str
    """The name of the agent that answers."""

    model: str | None
    """The model that was asked for, else the agent's own; null where that is not known."""

    stream: bool
    """Whether its text can be watched while it is made."""

    session_id: SessionId
    """The conversation that it belongs to."""

    batch_id: BatchId | None
    """The batch that it is an item of; null for a run of its own."""

    error: RunError | None
    """Why it failed; null unless its status is `failed`."""

    incomplete_details: IncompleteDetails | None
    """Why it was cut short; null unless its status is `incomplete`."""

    usage: Usage
    """Up to the last change of status: while the run goes on, its own `usage` has more."""

    metadata: dict[str, str]
    """What its caller noted on it at submit."""

    created_at: Time
    """When it was submitted."""

    completed_at: Time | None
    """When it ended; null before."""

    elapsed_seconds: Annotated[float, Field(ge=0)] | None
    """From submit to the end; null before."""


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
        "completed_at": time_on_the_wire(held.completed_at),
        "elapsed_seconds": held.elapsed_seconds,
    }
