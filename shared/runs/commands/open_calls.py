"""A run that goes on from calls of its caller's functions: the caller brings their outputs, and our own are here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from shared.agentkit.agent import Item
from shared.agentkit.items import INPUT_ONLY
from shared.errors import NoSuchToolCall, ToolOutputsMissing
from shared.runs.commands.branching import BranchPoint
from shared.runs.commands.submission import Submission
from shared.runs.model.calls import CallState
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import Run
from shared.runs.model.session import Session
from shared.runs.ports import Ports
from shared.runs.store.runs import READS, Stored

NAMED = 10
"""Calls that an error names."""


async def outputs_to_go_on(
    ports: Ports, wanted: Submission, session: Stored[Session] | None, point: BranchPoint | None
) -> str | None:
    """What our own tools gave in the turn that the run goes on from, as JSON items; empty where there is nothing.

    None: that turn is being deleted, so look again. Raises ``ToolOutputsMissing`` where the input has no output for a
    call that waits for one, ``NoSuchToolCall`` for an output of no call, ``StoreUnavailable``.
    """
    run = await _run_with_open_calls(ports, session, point)
    calls = [] if run is None else [stored.value for stored in await ports.runs.calls(run, run.turn.number)]
    check_outputs(wanted.items, [call.call_id for call in calls if call.state is CallState.HANDED_OVER])
    if run is None or all(call.state is CallState.HANDED_OVER for call in calls):
        return ""
    try:
        # Appended last, when the calls had been settled.
        last = await ports.runs.last_items(run)
    except LookupError:
        return None
    return json.dumps([item for item in last if item.get("type") in INPUT_ONLY], ensure_ascii=False)


def check_outputs(items: Sequence[Item], open_calls: Sequence[str]) -> None:
    """Raises ``ToolOutputsMissing`` or ``NoSuchToolCall`` unless each call has one output, and each output its call.

    ``open_calls`` are the ids of those that the conversation waits for; other calls are among the items themselves.
    """
    waiting = list(open_calls)
    for place, item in enumerate(items):
        if item.get("type") == "function_call":
            waiting.append(item["call_id"])
        elif item.get("type") == "function_call_output":
            if item["call_id"] not in waiting:
                raise NoSuchToolCall(
                    f"No call with the call_id {item['call_id']!r} waits for this output. Send the call before it, or "
                    "go on from the response that ended with it.",
                    param=f"input[{place}]",
                )
            waiting.remove(item["call_id"])
    if waiting:
        raise ToolOutputsMissing(
            f"There is no output for the call_id {_listed(waiting)}. Send one `function_call_output` for each call, as "
            "items of the input, or begin a new conversation.",
            param="input",
        )


async def _run_with_open_calls(ports: Ports, session: Stored[Session] | None, point: BranchPoint | None) -> Run | None:
    """The run whose calls wait, where the conversation goes on from such a one."""
    if point is not None:
        run = await _last_good(ports, point)
        return run if run is not None and run.result.open_calls else None
    if session is None or session.value.open_calls is None:
        return None
    found = await ports.runs.runs_of(session.value.session_id, [session.value.open_calls])
    return found[0] if found else None


async def _last_good(ports: Ports, point: BranchPoint) -> Run | None:
    """The last completed run of what the branch shares."""
    for end in range(point.previous, 0, -READS):
        numbers = range(max(1, end - READS + 1), end + 1)
        completed = [
            run
            for run in await ports.runs.runs_of(point.session.session_id, numbers)
            if run.status is RunStatus.COMPLETED
        ]
        if completed:
            return completed[-1]
    return None


def _listed(names: Iterable[str]) -> str:
    shown = [repr(name[:64]) for name in names]
    return ", ".join(shown[:NAMED]) + (" and others" if len(shown) > NAMED else "")
