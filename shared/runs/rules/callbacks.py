"""What a callback tells of a run or a batch, and what follows from the receiver's answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from shared.runs.model.callbacks import GONE, Sent
from shared.runs.model.outbox import CallbackState, EntryKind, Outbox
from shared.runs.model.run import Run
from shared.runs.rules import schedule


@dataclass(frozen=True, slots=True)
class NextStep:
    """What follows from an attempt."""

    state: CallbackState | None
    """The end of it; None: there is another attempt."""

    wait: float = 0.0
    """Seconds until then."""


def after_attempt(sent: Sent, *, tries: int, age: float, jitter: float) -> NextStep:
    """What follows from the ``tries``-th attempt, at an event ``age`` seconds ago."""
    if sent.ok:
        return NextStep(CallbackState.DELIVERED)
    # Standard Webhooks: 410 asks the sender to stop for good.
    if sent.status == GONE:
        return NextStep(CallbackState.DISABLED)
    wait = schedule.callback_wait(tries, age=age, retry_after=sent.retry_after, jitter=jitter)
    return NextStep(CallbackState.GIVEN_UP) if wait is None else NextStep(None, wait)


def type_of(event: str) -> str:
    """The event's type, as receivers know it: ``run.completed``."""
    # Each pause is an event of its own, with its turn for a suffix; receivers know one type for all.
    return "run." + re.sub(r"_[0-9]+$", "", event)


def webhook_id(subject_id: str, event: str) -> str:
    """The same for every attempt to tell of this event."""
    # Standard Webhooks: receivers drop doubles by this id.
    return f"msg_{subject_id}_{event}"


def body_of(run: Run, event: str, at: datetime, url: str) -> str:
    """What is sent: that something happened at ``at``, and where to read what. Never text of the run."""
    # No text: whoever holds the address need not have the right to read the run.
    data = {
        "id": run.id,
        "object": "run",
        "status": run.status.value,
        "url": url,
        "session_id": run.request.session_id,
        "metadata": run.request.metadata,
    }
    return message(type_of(event), at, data)


def message(kind: str, at: datetime, data: Mapping[str, object]) -> str:
    """The body of an event of this type: the same for every attempt."""
    stamp = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"type": kind, "timestamp": stamp, "data": data}, ensure_ascii=False)


def callback_status(outbox: Outbox) -> Literal["pending"] | CallbackState | None:
    """The status of the callbacks for callers: ``pending``, or what became of the last one."""
    if outbox.of(EntryKind.CALLBACK):
        return "pending"
    return outbox.callback_state


def callback_due(outbox: Outbox) -> datetime | None:
    """When a callback is next due; None when there is none to make."""
    return next((entry.due for entry in outbox.of(EntryKind.CALLBACK)), None)
