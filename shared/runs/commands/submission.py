"""A request for a run, and what submit makes of it."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from shared.agentkit.agent import Item
from shared.runs.model.callers_tools import CallersTools
from shared.runs.model.facts import Approve
from shared.runs.model.run import Run
from shared.runs.store.due import DueRow


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignedIds:
    """The ids that a batch has for the run of an item, or a schedule for that of an occurrence, as a key's record has
    them.
    """

    batch_id: str | None = None
    session_id: str
    fingerprint: str
    since: datetime

    is_first: bool = False
    """Whether this is the first try: most likely the run is not there yet, and is not looked for."""

    cancelled: bool = False
    """The run is written as cancelled, so that whoever is submitting it just now finds it and creates no response."""


@dataclass(frozen=True, kw_only=True)  # without slots, which would leave no place for what is computed once
class Submission:
    """A request for a run, checked as far as it can be without the store."""

    owner: str
    items: tuple[Item, ...]

    agent: str | None = None
    """None: the session's, or the default one."""

    session_id: str | None = None
    """None: a new one."""

    previous: int | None = None
    """The number of the session's run that this one is to follow: none that completed may lie between."""

    model: str | None = None

    stream: bool = False
    """Asks for responses that can be followed while they are made."""

    background: bool = True
    """False: the caller waits for the end; it changes nothing but what the run says of itself."""

    metadata: Mapping[str, str] = field(default_factory=dict)

    title: str | None = None
    """None: the first line of the input."""

    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the request that the caller sets, of those that the agent allows."""

    instructions: str = ""
    """The caller's, to follow the agent's own in each turn."""

    tools: CallersTools = field(default_factory=CallersTools)
    """The functions that the caller brings, and calls."""

    approvals: Mapping[str, Approve] = field(default_factory=dict)
    """Answers about calls that the run before it has left to its caller to approve, by approval id."""

    hands_over: bool = False
    """The run ends with what it asks its caller to approve, in place of waiting for the answers."""

    deadline_seconds: float | None = None
    """This and the limits: None for the app's own. It begins with the run, which may be later."""

    start_at: datetime | None = None
    """None, or a time that is past: at once. Only for a session's first run."""

    turns: int | None = None
    tool_calls: int | None = None
    total_tokens: int | None = None

    idempotency_key: str | None = None
    """Bare, without quotes."""

    callback_url: str | None = None
    assigned: AssignedIds | None = None

    @functools.cached_property
    def payload(self) -> str:
        """A digest of what is asked for: the same key must come with the same."""
        # The owner is part of the key's own digest. A run's assigned ids come with no key.
        asked: list[object] = [self.items, self.agent, self.session_id, dict(self.metadata), self.deadline_seconds]
        asked += [self.turns, self.tool_calls, self.total_tokens, self.model, self.callback_url, self.previous]
        asked += [self.stream, self.title]
        # Only where there are any: a key from before a deploy must still fit its request.
        asked += [dict(self.options), self.instructions] if self.options or self.instructions else []
        asked += [self.tools.to_json()] if self.tools.definitions else []
        answers = {name: [each.approve, each.reason] for name, each in self.approvals.items()}
        asked += [answers] if answers else []
        asked += [{"start_at": self.start_at.isoformat()}] if self.start_at is not None else []
        # A caller's JSON may hold half a surrogate pair, which UTF-8 alone refuses.
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A run as submit leaves it."""

    run: Run

    due: DueRow | None
    """Its due row as this call wrote it, for the driver to date. None: the run was there, and so is its due row."""
