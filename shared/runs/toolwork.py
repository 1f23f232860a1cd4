"""One round of tools: under a lease that fences, with a ledger that no wake repeats.

The takeover is one transaction: the lease in the run row, and the new owner and the counted start in every ledger
row that is to run. Whoever held it before gets 412 from then on, wherever it is.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from shared.agentkit.agent import Agent, Item
from shared.agentkit.tools import error_output
from shared.agentkit.within import within
from shared.runs.approvals import waiting
from shared.runs.lease import Lease, leased
from shared.runs.ledger import LedgerLine
from shared.runs.run import Approval, CallKind, CallState, Run, ToolCall
from shared.runs.services import RACES, Services
from shared.runs.store.runs import CallChange, Stored
from shared.runs.store.tables import Conflict
from shared.runs.transitions import next_turn, park, wake_later

RUNNABLE = frozenset({CallState.OPEN, CallState.STARTED})
OUTPUTS_A_TURN = 4
"""How many outputs of the longest kind a turn may have together."""


class ToolWork:
    """Runs the tools that a turn asked for. Methods raise ``Conflict`` when they lost a race."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._settings = services.settings
        self._at_work = 0
        """Tool calls that run in this process, of whatever runs."""

    def held(self, run: Run) -> bool:
        """Whether somebody's lease is running."""
        return run.lease_until is not None and self._services.clock() < run.lease_until

    async def work(self, stored: Stored[Run], agent: Agent) -> Stored[Run]:
        """Take the lease, run what is not finished, side by side; then go on: next turn, or wait for answers."""
        calls = await self._ledger(stored.value)
        if not any(call.value.state in RUNNABLE for call in calls):
            return await self._settle(stored, calls)
        lease, started = await self._take_over(stored, calls, agent)
        interrupted = sum(call.value.state is CallState.STARTED for call in calls)
        self._services.interruptions.add(self._services.clock(), lease.run.id, tools=interrupted)
        if started:
            await lease.hold(self._run_all([LedgerLine(self._services, lease, call) for call in started], agent))
        for _ in range(RACES):
            try:
                return await self._settle(lease.stored, await self._ledger(lease.run))
            except Conflict:
                if not await lease.reread():
                    raise
        raise Conflict(lease.run.id, "too many races")

    async def _ledger(self, run: Run) -> list[Stored[ToolCall]]:
        calls = await self._services.store.calls(run, run.turn)
        if len(calls) != run.turn_calls:
            raise LookupError(f"{run.id} turn {run.turn}: {len(calls)} of {run.turn_calls} calls in the ledger")
        return calls

    async def _take_over(
        self, stored: Stored[Run], calls: Sequence[Stored[ToolCall]], agent: Agent
    ) -> tuple[Lease, list[Stored[ToolCall]]]:
        """The lease, and the calls that are to run under it."""
        run, now = stored.value, self._services.clock()
        owner = secrets.token_hex(8)
        changes = [
            CallChange(before=call, after=self._taken(call.value, run, agent, owner))
            for call in calls
            if call.value.state in RUNNABLE
        ]
        after = replace(
            leased(run, now, self._settings.tool_lease),
            lease_owner=owner,
            beside_others=False,
            agent_unknown_since=None,
            wakes=run.wakes + 1,
        )
        saved = await self._services.save(stored, after, calls=changes, midway=True)
        started = [call for call in saved.calls if call.value.state is CallState.STARTED]
        return Lease(self._services, saved.run, beside_others=lambda: self._at_work > 1), started

    def _taken(self, call: ToolCall, run: Run, agent: Agent, owner: str) -> ToolCall:
        """The call as its new owner takes it: counted as started, finished without a start, or waiting for a person.

        Whether a tool needs approval is what this build says of it: another version may have read the response.
        """
        now = self._services.clock()
        call = replace(call, owner=owner)
        if call.state is CallState.STARTED and run.beside_others:
            call = replace(call, interruptions=call.interruptions + 1)
        tool = agent.tools.get(call.name)
        verdict = None
        if tool is None:
            verdict = error_output("unknown_tool", f"There is no tool {call.name} here.")
        elif call.state is CallState.STARTED and (tool.at_most_once or self._is_used_up(call)):
            verdict = error_output(
                "outcome_unknown",
                "The call was started and interrupted. It may or may not have taken effect; it is not repeated.",
            )
        if verdict is not None:
            return replace(call, state=CallState.FINISHED, result=verdict, finished_at=now)
        if tool is not None and tool.requires_approval and call.approval is Approval.NONE:
            return waiting(call, tool)
        return replace(call, state=CallState.STARTED, starts=call.starts + 1, started_at=now)

    def _is_used_up(self, call: ToolCall) -> bool:
        """Whether an interrupted call was started as often as may be.

        A tool that kills its process mostly does so at once, or while nothing else runs: such starts count in full.
        Of the others there may be more, but not without end.
        """
        suspected = call.starts - call.interruptions
        return suspected + 1 >= self._settings.tool_starts or call.starts + 1 >= self._settings.tool_starts_most

    async def _run_all(self, lines: Sequence[LedgerLine], agent: Agent) -> None:
        """Run the calls side by side, every one to its end; then raise what went wrong with any."""
        results = await asyncio.gather(*(self._run_one(line, agent) for line in lines), return_exceptions=True)
        errors = [result for result in results if isinstance(result, BaseException)]
        for error in sorted(errors, key=lambda each: isinstance(each, Conflict)):
            raise error

    async def _run_one(self, line: LedgerLine, agent: Agent) -> None:
        call = line.call
        tool = agent.tools[call.name]
        timeout = min(tool.timeout or self._settings.tool_timeout, self._settings.tool_timeout_most)
        arguments = await self._services.store.read(line.run, call.arguments)
        await line.begin()
        self._at_work += 1
        try:
            work = tool.invoke(arguments, line.context(), self._services.threads)
            output = await _in_time(timeout, work, line.stop)
        finally:
            self._at_work -= 1
        if output is None:
            output = error_output("tool_timeout", f"The tool did not finish within {timeout:g} seconds.")
        else:
            line.check_result()
        await line.finish(shortened(output, self._settings.tool_output_bytes))

    async def _settle(self, stored: Stored[Run], calls: Sequence[Stored[ToolCall]]) -> Stored[Run]:
        """What the ledger, read after the run, says is next: more tools, answers, or the next turn."""
        run, now = stored.value, self._services.clock()
        states = {call.value.state for call in calls}
        if states & RUNNABLE:  # approved while the others ran
            after = replace(wake_later(run, now, 0.0), lease_owner="", lease_until=None, updated_at=now)
            return (await self._services.save(stored, after)).run
        if CallState.WAITING in states:
            after = replace(park(run, now, now + self._settings.answer_time), wakes=run.wakes + 1)
            return (await self._services.save(stored, after)).run
        outputs = await self._outputs(run, calls)
        item = await self._services.store.keep(run, json.dumps(outputs, ensure_ascii=False))
        return (await self._services.save(stored, next_turn(wake_later(run, now, 0.0), now), items=[item])).run

    async def _outputs(self, run: Run, calls: Sequence[Stored[ToolCall]]) -> list[Item]:
        """What the model is told of all calls of the turn: together they have a most, too."""
        outputs: list[Item] = []
        most = left = OUTPUTS_A_TURN * self._settings.tool_output_bytes
        for call in calls:
            item = await self._output(run, call.value)
            if "output" in item:
                item["output"] = shortened(item["output"], left, f"the tools of one turn may return {most} together")
                left = max(left - len(item["output"].encode("utf-8", "replace")), 0)
            outputs.append(item)
        return outputs

    async def _output(self, run: Run, call: ToolCall) -> Item:
        """What the model is told of a call that is finished."""
        if call.kind is CallKind.MCP:
            answer: Item = {
                "type": "mcp_approval_response",
                "approval_request_id": call.call_id,
                "approve": call.approval is Approval.APPROVED,
            }
            return {**answer, "reason": call.reason} if call.reason else answer
        result = await self._services.store.read(run, call.result)
        return {"type": "function_call_output", "call_id": call.call_id, "output": result}


def shortened(output: str, most: int, allowed: str | None = None) -> str:
    """The output, or its beginning with a note that tells the model what is missing. ``most`` in bytes of UTF-8.

    ``allowed``: who may return how much, where that is not one call its most.
    """
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
