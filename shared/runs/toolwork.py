"""One round of tools: under a lease that fences, with a ledger that no wake repeats.

The takeover is one transaction: the lease in the run row, and the new owner and the counted start in every
unfinished ledger row. Whoever held it before gets 412 from then on, wherever it is.
"""

from __future__ import annotations

import asyncio
import json
import math
import secrets
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from shared.agentkit.agent import Agent
from shared.agentkit.tools import ToolContext, error_output
from shared.runs import schedule
from shared.runs.run import CallState, Next, Run, ToolCall, wake_later
from shared.runs.services import Services, log
from shared.runs.store.runs import CallChange, Stored
from shared.runs.store.tables import Conflict, StoreUnavailable

RACES = 20
STOP_SECONDS = 5.0
"""How long a tool that was told to stop may take; one that does not stop is left behind."""


class ToolWork:
    """Runs the tools that a turn asked for. Methods raise ``Conflict`` when they lost a race."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._settings = services.settings

    def held(self, run: Run) -> bool:
        """Whether somebody's lease is running."""
        return run.lease_until is not None and self._services.clock() < run.lease_until

    async def work(self, stored: Stored[Run], agent: Agent) -> Stored[Run]:
        """Take the lease, run what is not finished, side by side; when all is, set the next turn up."""
        lease, calls = await self._take_over(stored, agent)
        open_calls = [call for call in calls if call.value.state is not CallState.FINISHED]
        finished = await self._run_all(lease, open_calls, agent)
        if finished is None:
            log.warning("run %s: lost the tool lease", lease.run.id, extra={"run_id": lease.run.id})
            raise Conflict(lease.run.id, "the lease was lost")
        by_index = {call.index: call for call in [each.value for each in calls] + finished}
        return await self._close(lease, [by_index[index] for index in sorted(by_index)])

    async def _take_over(self, stored: Stored[Run], agent: Agent) -> tuple[Lease, list[Stored[ToolCall]]]:
        run, now = stored.value, self._services.clock()
        owner = secrets.token_hex(8)
        calls = await self._services.store.calls(run, run.turn)
        if len(calls) != run.turn_calls:
            raise LookupError(f"{run.id} turn {run.turn}: {len(calls)} of {run.turn_calls} calls in the ledger")
        changes = [
            CallChange(before=call, after=self._started(call.value, agent, owner))
            for call in calls
            if call.value.state is not CallState.FINISHED
        ]
        after = replace(_leased(run, now, self._settings.tool_lease), lease_owner=owner, wakes=run.wakes + 1)
        saved = await self._services.save(stored, after, calls=changes, midway=True)
        changed = {call.value.index: call for call in saved.calls}
        return Lease(self._services, saved.run), [changed.get(call.value.index, call) for call in calls]

    def _started(self, call: ToolCall, agent: Agent, owner: str) -> ToolCall:
        """The ledger row as its new owner takes it: counted as started, or finished without a start."""
        now = self._services.clock()
        call = replace(call, owner=owner)
        tool = agent.tools.get(call.name)
        verdict = None
        if tool is None:
            verdict = error_output("unknown_tool", f"There is no tool {call.name} here.")
        elif call.state is CallState.STARTED and (tool.at_most_once or call.starts + 1 >= self._settings.tool_starts):
            verdict = error_output(
                "outcome_unknown",
                "The call was started and interrupted. It may or may not have taken effect; it is not repeated.",
            )
        if verdict is not None:
            return replace(call, state=CallState.FINISHED, result=verdict, finished_at=now)
        return replace(call, state=CallState.STARTED, starts=call.starts + 1, started_at=now)

    async def _run_all(self, lease: Lease, calls: Sequence[Stored[ToolCall]], agent: Agent) -> list[ToolCall] | None:
        """The finished ledger rows; None when the lease was lost, or the run ended, meanwhile."""
        if not calls:
            return []
        work = [asyncio.ensure_future(self._run_one(lease, call, agent)) for call in calls]
        renewal = asyncio.ensure_future(lease.renew())
        everything = asyncio.gather(*work, return_exceptions=True)
        try:
            both: list[asyncio.Future[Any]] = [everything, renewal]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not everything.done():
                return None
            results = everything.result()
            for error in results:
                if isinstance(error, BaseException) and not isinstance(error, Conflict):
                    raise error
            if any(isinstance(result, BaseException) for result in results):
                return None
            return [result for result in results if isinstance(result, ToolCall)]
        finally:
            everything.cancel()
            await lease.stop(renewal)
            await asyncio.gather(everything, return_exceptions=True)

    async def _run_one(self, lease: Lease, stored: Stored[ToolCall], agent: Agent) -> ToolCall:
        call, run = stored.value, lease.run
        tool = agent.tools[call.name]
        timeout = min(tool.timeout or self._settings.tool_timeout, self._settings.tool_timeout_most)
        context = ToolContext(
            run_id=run.id,
            session_id=run.session_id,
            owner=run.owner,
            call_id=call.call_id,
            idempotency_key=call.idempotency_key,
            start=call.starts,
        )
        arguments = await self._services.store.read(run, call.arguments)
        output = await _within(timeout, tool.invoke(arguments, context, self._services.threads))
        if output is None:
            output = error_output("tool_timeout", f"The tool did not finish within {timeout:g} seconds.")
        return await self._record(stored, lease, output)

    async def _record(self, stored: Stored[ToolCall], lease: Lease, output: str) -> ToolCall:
        """Write the result, through an outage of the store, as long as the lease is ours."""
        tries = 0
        while True:
            try:
                result = await self._services.store.keep(lease.run, output)
                now = self._services.clock()
                after = replace(stored.value, state=CallState.FINISHED, result=result, finished_at=now)
                return (await self._services.store.save_call(stored, after)).value
            except StoreUnavailable:
                tries += 1
                if lease.expired():
                    raise
                await asyncio.sleep(schedule.backoff(tries, first=0.2, most=5.0, luck=0.0))
            except Conflict:
                if not tries:
                    raise
                # After an outage the refusal may be of our own write's repetition.
                for call in await self._services.store.calls(lease.run, stored.value.turn):
                    ours = call.value.owner == stored.value.owner and call.value.state is CallState.FINISHED
                    if call.value.index == stored.value.index and ours:
                        return call.value
                raise

    async def _close(self, lease: Lease, calls: Sequence[ToolCall]) -> Stored[Run]:
        """All outputs go into the items, and the next turn is to be created."""
        store = self._services.store
        outputs = [
            {
                "type": "function_call_output",
                "call_id": call.call_id,
                "output": await store.read(lease.run, call.result),
            }
            for call in calls
        ]
        item = await store.keep(lease.run, json.dumps(outputs, ensure_ascii=False))
        for _ in range(RACES):
            now = self._services.clock()
            after = replace(
                wake_later(lease.run, now, 0.0),
                next=Next.CREATE,
                turn=lease.run.turn + 1,
                attempt=0,
                unknown_outcomes=0,
                restarts=0,
                turn_calls=0,
                accepted_at=None,
                lease_owner="",
                lease_until=None,
                updated_at=now,
            )
            try:
                return (await self._services.save(lease.stored, after, items=[item])).run
            except Conflict:
                if not await lease.reread():
                    raise
        raise Conflict(lease.run.id, "too many races")


class Lease:
    """A run held for tool work: renewed while it lasts, lost when another owner stands in the row."""

    def __init__(self, services: Services, stored: Stored[Run]) -> None:
        self._services = services
        self._owner = stored.value.lease_owner
        self._writing = asyncio.Lock()
        self.stored = stored

    @property
    def run(self) -> Run:
        """The run as it was last written or read."""
        return self.stored.value

    def expired(self) -> bool:
        """Whether it has run out, so that another may have it."""
        return self.run.lease_until is None or self._services.clock() >= self.run.lease_until

    async def renew(self) -> None:
        """Renew until it is lost, or the run's deadline has passed; returns then."""
        while True:
            await asyncio.sleep(max(0.0, min(self._services.settings.tool_renewal, self._left())))
            if self._left() <= 0:
                return
            async with self._writing:
                try:
                    if not await self._renew_once():
                        return
                except StoreUnavailable:
                    continue  # until it runs out; then a takeover shows in the row

    async def stop(self, renewal: asyncio.Future[None]) -> None:
        """End the renewal between two writes, so that the ETag in hand is the row's."""
        async with self._writing:
            renewal.cancel()
        await asyncio.gather(renewal, return_exceptions=True)

    async def reread(self) -> bool:
        """Take the row as it is now; False when it is no longer held by this owner, or has ended."""
        current = await self._services.store.load(self.run.id)
        if current is None or current.value.terminal or current.value.lease_owner != self._owner:
            return False
        self.stored = current
        return True

    def _left(self) -> float:
        """Seconds to the run's deadline."""
        deadline = self.run.deadline_at
        return math.inf if deadline is None else (deadline - self._services.clock()).total_seconds()

    async def _renew_once(self) -> bool:
        for _ in range(RACES):
            after = _leased(self.run, self._services.clock(), self._services.settings.tool_lease)
            try:
                self.stored = (await self._services.save(self.stored, after, midway=True)).run
            except Conflict:
                if not await self.reread():
                    return False
                continue
            return True
        return False


async def _within(seconds: float, work: Coroutine[Any, Any, str]) -> str | None:
    """What ``work`` returns within that time, else None. Stopped when the time is over, or who waits is cancelled."""
    task = asyncio.create_task(work)
    try:
        in_time, _ = await asyncio.wait([task], timeout=seconds)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=STOP_SECONDS)
    return task.result() if in_time else None


def _leased(run: Run, now: datetime, seconds: float) -> Run:
    """The run with its lease (re)newed; its next wake is where that runs out, or at its deadline."""
    return replace(wake_later(run, now, seconds), lease_until=now + timedelta(seconds=seconds), retry_after=0.0)
