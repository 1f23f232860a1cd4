"""A run that goes on from calls which the run before it left to its caller: to make, or to approve."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from shared.agentkit.agent import Item
from shared.agentkit.items import INPUT_ONLY
from shared.agentkit.tools import error_output
from shared.errors import AlreadyAnswered, NoSuchToolCall, ToolOutputsMissing
from shared.runs.actions.tools import output_of
from shared.runs.commands.branching import BranchPoint
from shared.runs.commands.submission import Submission
from shared.runs.model.calls import CallState, ToolCall
from shared.runs.model.facts import Approve
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import Run
from shared.runs.model.session import Session
from shared.runs.ports import Ports
from shared.runs.rules.approvals import approval_id
from shared.runs.rules.tools import answered_call
from shared.runs.store.runs import READS, Stored

NAMED = 10
"""Calls that an error names."""

LOST = error_output(
    "outcome_unknown", "The call was approved. It may or may not have taken effect; it is not repeated."
)
"""What the model is told of an approved call whose run failed before its result was known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuation:
    """What a run takes over from the run whose calls it answers."""

    outputs: str = ""
    """What our own tools gave in that turn, as JSON items; empty for nothing."""

    calls: tuple[ToolCall, ...] = ()
    """The calls that were to be approved, with the answers: they are run first of all."""

    given: tuple[Item, ...] = ()
    """What approved calls gave in a run that did not complete: the conversation has it from this run on."""

    waits: bool = False
    """Whether the conversation waits for what the run brings."""


async def continuation(
    ports: Ports, wanted: Submission, session: Stored[Session] | None, point: BranchPoint | None
) -> Continuation | None:
    """What the run takes over; nothing where the conversation waits for nothing. None: look again.

    Raises ``ToolOutputsMissing`` where the input has nothing for a call that waits, ``NoSuchToolCall`` for an output or
    an answer of no call, ``AlreadyAnswered`` where an approval was used before, ``StoreUnavailable``.
    """
    run = await _run_with_open_calls(ports, session, point)
    calls = [] if run is None else [stored.value for stored in await ports.runs.calls(run, run.turn.number)]
    to_make = [call.call_id for call in calls if call.state is CallState.HANDED_OVER and not call.awaits_approval]
    check_outputs(wanted.items, to_make)
    to_approve = [call for call in calls if call.awaits_approval]
    used_in = session.value.answered_in if session is not None and point is None else None
    if to_approve and point is not None:
        raise AlreadyAnswered(
            "The approvals of that response were answered, and are good for one time. Go on from a later response, or "
            "begin a branch from an earlier one."
        )
    if used_in is not None and wanted.approvals:
        raise AlreadyAnswered("These approvals were answered by the response after it. Go on with a message instead.")
    approved = () if used_in is not None else await _answered(ports, wanted, run, to_approve)
    if run is None:
        return Continuation()
    try:
        outputs = await _outputs(ports, run) if any(call.state is CallState.FINISHED for call in calls) else []
        given: list[Item] = []
        if used_in is not None and session is not None:
            given = await _outputs_in(ports, session.value.session_id, used_in, to_approve)
    except LookupError:  # something of it is being deleted
        return None
    owed = json.dumps(outputs, ensure_ascii=False) if outputs else ""
    return Continuation(outputs=owed, calls=approved, given=tuple(given), waits=True)


def check_outputs(items: Sequence[Item], open_calls: Sequence[str]) -> None:
    """Raises ``ToolOutputsMissing`` or ``NoSuchToolCall`` unless each call has one output, and each output its call.

    ``open_calls`` are the ids of those that the conversation waits for; other calls are among the items themselves.
    """
    waiting = list(open_calls)
    for item in items:
        if item.get("type") == "function_call":
            waiting.append(item["call_id"])
        elif item.get("type") == "function_call_output":
            if item["call_id"] not in waiting:
                raise NoSuchToolCall(
                    f"No call with the call_id {item['call_id']!r} waits for this output. Send the call before it, or "
                    "go on from the response that ended with it.",
                    param="input",
                )
            waiting.remove(item["call_id"])
    if waiting:
        raise ToolOutputsMissing(
            f"There is no output for the call_id {_listed(waiting)}. Send one `function_call_output` for each call, as "
            "items of the input, or begin a new conversation.",
            param="input",
        )


async def _answered(
    ports: Ports, wanted: Submission, run: Run | None, to_approve: Sequence[ToolCall]
) -> tuple[ToolCall, ...]:
    """The calls with the caller's answers, as the first turn of a new run has them."""
    names = [approval_id(call) for call in to_approve]
    _check_answers(wanted.approvals, names)
    now = ports.clock()
    found = []
    for index, (name, call) in enumerate(zip(names, to_approve, strict=True)):
        assert run is not None
        arguments = await ports.runs.load_text(run, call.arguments)
        fresh = replace(call, turn=1, index=index, arguments=arguments, state=CallState.WAITING, owner="")
        found.append(answered_call(fresh, wanted.approvals[name], wanted.owner, now))
    return tuple(found)


def _check_answers(answers: Mapping[str, Approve], names: Sequence[str]) -> None:
    if unknown := [name for name in answers if name not in names]:
        raise NoSuchToolCall(
            f"Nothing waits for the approval {_listed(unknown)}. Go on with `previous_response_id` from the response "
            "that asked for it.",
            param="input",
        )
    if missing := [name for name in names if name not in answers]:
        raise ToolOutputsMissing(
            f"There is no answer to the approval request {_listed(missing)}. Send one `mcp_approval_response` "
            "for each as an item of the input, or begin a new conversation.",
            param="input",
        )


async def _outputs(ports: Ports, run: Run) -> list[Item]:
    # Appended last, when the calls had been settled.
    return [item for item in await ports.runs.last_items(run) if item.get("type") in INPUT_ONLY]


async def _outputs_in(ports: Ports, session_id: str, number: int, asked: Sequence[ToolCall]) -> list[Item]:
    """What the approved calls gave in the run that had taken the answers, and then did not complete."""
    found = await ports.runs.runs_of(session_id, [number])
    rows = [stored.value for stored in await ports.runs.calls(found[0], 1)] if found else []
    known = {row.index: row for row in rows if row.state is CallState.FINISHED}
    outputs: list[Item] = []
    for index, call in enumerate(asked):
        row = known.get(index) or replace(call, state=CallState.FINISHED, result=LOST)
        outputs.append(await output_of(ports, found[0] if index in known else None, row))
    return outputs


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
