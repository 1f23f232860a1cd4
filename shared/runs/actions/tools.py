"""Tools: one round of a turn's calls, side by side, under a lease that fences."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from shared.agentkit.agent import Agent, Item, text_of
from shared.agentkit.extras import annotations_of, annotations_to_json
from shared.agentkit.tools import error_output
from shared.agentkit.within import within
from shared.runs.actions.call_row import CallRow
from shared.runs.actions.lease import Lease
from shared.runs.commit import Committed, calls_of_turn, commit
from shared.runs.concurrency import LostRace
from shared.runs.metrics import measure_call
from shared.runs.model.calls import Approval, CallKind, CallState, ToolCall
from shared.runs.model.facts import LeaseTaken, ToolsSettled
from shared.runs.model.run import Run
from shared.runs.ports import Ports
from shared.runs.rules.change import Refused
from shared.runs.store.runs import Stored
from shared.runs.traces import name_failure, of_call, tell_call

OUTPUTS_A_TURN = 4
"""How many outputs of the longest kind a turn may have together."""


async def run_tools(ports: Ports, stored: Stored[Run], agent: Agent) -> Stored[Run]:
    """Take the lease, run what is not finished and needs no answer, then go on: the next turn, or a person's answers.

    Raises ``LostRace``, ``StoreUnavailable``.
    """
    run = stored.value
    calls = list(stored.asked) or await calls_of_turn(ports, run)
    if not any(call.value.state.runnable for call in calls):
        return await _settle(ports, stored, "", calls)
    owner = secrets.token_hex(8)
    taken = await commit(ports, stored, LeaseTaken(turn=run.turn.number, owner=owner, tools=agent.tools), calls=calls)
    if taken.refused is not None:
        return taken.run
    # Started and not finished when the lease was free: its process is gone.
    interrupted = sum(call.value.state is CallState.STARTED for call in calls)
    ports.interruptions.add(ports.clock(), run.id, tools=interrupted)
    lease = Lease(ports, taken.run, owner, beside_others=lambda: ports.tools_at_work.count > 1)
    rows = [CallRow(ports, lease, call) for call in taken.calls if call.value.state is CallState.STARTED]
    if rows:
        await lease.hold(_run_all(ports, rows, agent))
    ours = (*calls, *taken.calls, *(row.stored for row in rows))  # of each call the latest comes last
    calls = list({call.value.index: call for call in ours}.values())
    # Nothing changes a settled call any more; one that waits for a person may have been answered meanwhile.
    if not all(call.value.state.is_settled for call in calls):
        calls = await calls_of_turn(ports, lease.run)
    return await _settle(ports, lease.stored, owner, calls)


async def _run_all(ports: Ports, rows: Sequence[CallRow], agent: Agent) -> None:
    """Run the calls side by side, every one to its end; then raise what went wrong with any."""
    results = await asyncio.gather(*(_run_one(ports, row, agent) for row in rows), return_exceptions=True)
    errors = [result for result in results if isinstance(result, BaseException)]
    # A crash is worth counting even where another call has lost the race.
    for error in sorted(errors, key=lambda each: isinstance(each, LostRace)):
        raise error


async def _run_one(ports: Ports, row: CallRow, agent: Agent) -> None:
    settings, tool = ports.settings, agent.tools[row.call.name]
    timeout = min(tool.timeout or settings.tool_timeout, settings.tool_timeout_most)
    arguments = await ports.runs.load_text(row.run, row.call.arguments)
    # After the arguments were read, which an outage may have drawn out beyond the lease.
    await row.begin()
    name = f"execute_tool {row.call.name}"
    with ports.tools_at_work, ports.telemetry.span(name, row.run.id, of_call(row.run, row.call)) as span:
        output = await _in_time(timeout, tool.invoke(arguments, row.context(), ports.threads), row.stop)
        if output is None:
            output = error_output("tool_timeout", f"The tool did not finish within {timeout:g} seconds.")
        else:
            row.check_result()
        tell_call(ports, span, arguments, output)
        name_failure(span, output)
        measure_call(ports, span, row.call)
    await row.finish(shortened(output, settings.tool_output_bytes))


async def _settle(ports: Ports, stored: Stored[Run], owner: str, calls: Sequence[Stored[ToolCall]]) -> Stored[Run]:
    """No call runs any more under this lease: what the turn's calls, read after or written with the run, say is next.

    Raises ``LostRace``, ``StoreUnavailable``.
    """
    settled = await _settle_once(ports, stored, owner, calls)
    while settled.refused == Refused("settled_since"):  # a question was answered meanwhile: there is one more output
        settled = await _settle_once(ports, settled.run, owner, await calls_of_turn(ports, settled.run.value))
    return settled.run


async def _settle_once(ports: Ports, stored: Stored[Run], owner: str, rows: Sequence[Stored[ToolCall]]) -> Committed:
    turn = stored.value.turn.number
    calls = [row.value for row in rows]
    fact = ToolsSettled(turn=turn, owner=owner, outputs=None)
    # What waits for a person is as good as settled, where the run ends with it.
    left = (CallState.WAITING,) if stored.value.request.hands_over else ()
    if all(call.state.is_settled or call.state in left for call in calls):
        own = [call for call in calls if call.state is CallState.FINISHED]
        outputs = json.dumps(await _outputs(ports, stored.value, own), ensure_ascii=False)
        fact = replace(fact, outputs=outputs, outputs_of=len(own))
        if len(own) < len(calls):  # the run is about to end: what was said beside the calls is its text
            said = await ports.runs.last_items(stored.value)
            fact = replace(fact, text=text_of(said), annotations=annotations_to_json(annotations_of(said)))
    return await commit(ports, stored, fact, calls=rows)


async def _outputs(ports: Ports, run: Run, calls: Sequence[ToolCall]) -> list[Item]:
    """The outputs of all calls of the turn, which have a limit together, too."""
    outputs: list[Item] = []
    most = left = OUTPUTS_A_TURN * ports.settings.tool_output_bytes
    for call in calls:
        item = await output_of(ports, run, call)
        # Else ninety long results would make a request that no model takes.
        if "output" in item:
            item["output"] = shortened(item["output"], left, f"the tools of one turn may return {most} together")
            left = max(left - len(item["output"].encode("utf-8", "replace")), 0)
        outputs.append(item)
    return outputs


async def output_of(ports: Ports, run: Run | None, call: ToolCall) -> Item:
    """The output of a finished call, as the model gets it. ``run``: whose parts hold what is long of it."""
    if call.kind is CallKind.MCP:
        answer: Item = {
            "type": "mcp_approval_response",
            "approval_request_id": call.call_id,
            "approve": call.approval is Approval.APPROVED,
        }
        return {**answer, "reason": call.reason} if call.reason else answer
    result = call.result if isinstance(call.result, str) else None
    if result is None:
        assert run is not None
        result = await ports.runs.load_text(run, call.result)
    return {"type": "function_call_output", "call_id": call.call_id, "output": result}


def shortened(output: str, most: int, allowed: str | None = None) -> str:
    """The output, or its beginning with a note that tells the model what is missing. ``most`` in bytes of UTF-8.

    ``allowed``: who may return how much, where that is not one call its most.
    """
    # A character has four bytes at most: most outputs need no encoding to be measured.
    if 4 * len(output) <= most:
        return output
    data = output.encode("utf-8", "replace")
    if len(data) <= most:
        return output
    return (
        data[:most].decode("utf-8", "ignore") + f"\n\n[Cut off by the app: the output had {len(data)} bytes, and "
        f"{allowed or f'one call may return {most}'} at most. Ask for less at once.]"
    )


async def _in_time(seconds: float, work: Coroutine[Any, Any, str], stop: Callable[[], None]) -> str | None:
    """What ``work`` returns within that time, else None. Stopped when the time is over, or who waits is cancelled."""
    try:
        return await within(seconds, work, stop=stop)
    except TimeoutError:
        return None
