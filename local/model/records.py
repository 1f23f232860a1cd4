"""What the control API reports of an account: shared by the API and its client."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, kw_only=True)
class LoggedRequest:
    """One API request. `time` and `answered_at` are epoch seconds."""

    time: float
    method: str
    path: str
    operation: str
    status: int | None = None
    """The status answered; `None` while there is none, and for ever if the connection was dropped."""
    answered_at: float | None = None
    response_id: str | None = None
    accepted: bool = False
    """A create (or chat completion) that made a response, even if its answer was a fault."""
    body: dict[str, Any] | None = None
    """For creates and chat completions."""
    metadata: dict[str, str] = field(default_factory=dict)
    script: str | None = None
    turn: int | None = None
    attempt: int | None = None
    fault: dict[str, Any] | None = None
    """The fault that hit, as it was scripted (only what differs from the default)."""
    query: dict[str, str] = field(default_factory=dict)
    events: int | None = None
    """For a stream: how many events were sent so far."""
    closed: str | None = None
    """For a stream that is over: `ended` with the response, `cut` by a fault, or the client has `left`."""


@dataclass(slots=True, kw_only=True)
class KnownResponse:
    """One response or chat completion of an account. `created_at` is in epoch seconds."""

    id: str
    status: str
    script: str
    turn: int
    attempt: int
    created_at: float
    background: bool
    cancelled: bool
    """A cancel was accepted, whatever came of it."""
    deleted: bool
    forgotten: bool
    metadata: dict[str, str] = field(default_factory=dict)
    previous_response_id: str | None = None
