"""Approvals: which call waits for a person, and how an answer names it. Pure: no I/O, no clock."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace

from shared.agentkit.tools import Tool
from shared.errors import AmbiguousCallId, NotWaiting
from shared.runs.model.calls import Approval, CallState, ToolCall
from shared.runs.model.ids import run_id


def awaiting_approval(call: ToolCall, tool: Tool) -> ToolCall:
    """The call of a guarded tool as it waits for a person, with the reason that person is shown."""
    why = tool.requires_approval if isinstance(tool.requires_approval, str) else ""
    return replace(call, state=CallState.WAITING, approval=Approval.PENDING, why=why)


def approval_id(call: ToolCall) -> str:
    """What an answer names: this call of this turn of this run, with these arguments.

    A provider may use its own call ids again; this one belongs to one call alone.
    """
    given = call.arguments
    digest = _digest(given) if isinstance(given, str) else given.digest  # the same, wherever they lie
    # The arguments are part of it: nobody can approve what they have not seen.
    seen = [run_id(call.session_id, call.number), call.turn, call.index, call.call_id, call.name, digest]
    return f"apr_{_digest(json.dumps(seen))}"


def find_call(calls: Mapping[str, ToolCall], name: str) -> ToolCall:
    """The call that an answer names: by its approval id, or by its call id while the run has one call of that id.

    ``calls`` are all of the run, by approval id. Raises ``AmbiguousCallId``, and ``NotWaiting`` for a call that nobody
    is asked about.
    """
    found = [calls[name]] if name in calls else [call for call in calls.values() if call.call_id == name]
    if len(found) > 1:
        raise AmbiguousCallId(
            f"The run has had {len(found)} calls with the call_id {name!r}. Answer with the `id` that "
            "`required_action` shows beside it.",
            call_id=name,
        )
    if not found or found[0].approval is Approval.NONE:
        raise NotWaiting(f"The run asks nothing about the call {name!r}.", call_id=name)
    return found[0]


def _digest(text: str) -> str:
    # Model output may hold halves of surrogate pairs, which plain UTF-8 refuses.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
