"""Answers: what people say to the calls that a run asks approval for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from shared.agentkit.tools import error_output
from shared.errors import AlreadyAnswered, NotWaiting, RunEnded
from shared.runs.run import Approval, CallKind, CallState, Next, Run, ToolCall
from shared.runs.services import RACES, Services
from shared.runs.store.runs import CallChange, Stored
from shared.runs.store.tables import Conflict
from shared.runs.transitions import unpark

INLINE_RESULT = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One person's word on one call; the model hears the reason."""

    approve: bool
    reason: str = ""


class Answers:
    """The use case *answer*. The caller signals the driver afterwards."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def answer(self, run_id: str, answers: Mapping[str, Answer]) -> Run | None:
        """Take the answers, all or none; the run, or None when there is none.

        The same answer again is fine. Raises ``AlreadyAnswered`` for a different one, ``NotWaiting`` for a call that
        nobody is asked about, ``RunEnded``.
        """
        services = self._services
        for _ in range(RACES):
            stored = await services.store.load(run_id)
            if stored is None or stored.value.deleted_at is not None:
                return None
            run, now = stored.value, services.clock()
            ledger = await services.store.calls(run)
            changes = self._changes(run, ledger, answers, now)
            if not changes:
                return run
            watch = await services.watch.announce(run_id, now)
            changes = [await self._fitting(run, change) for change in changes]
            await services.watch.keep_announced(watch, services.clock())
            left = {call.value.call_id for call in ledger if call.value.state is CallState.WAITING} - answers.keys()
            resumes = run.next is Next.ANSWERS and not left
            after = unpark(run, now) if resumes else replace(run, updated_at=now)
            try:
                return (await services.save(stored, after, calls=changes)).run.value
            except Conflict:
                continue
        raise Conflict(run_id, "too many races")

    async def _fitting(self, run: Run, change: CallChange) -> CallChange:
        """The change with a long refusal in parts: ninety of them are one transaction."""
        result = change.after.result
        if not isinstance(result, str):
            return change
        kept = await self._services.store.keep(run, result, inline=INLINE_RESULT)
        return replace(change, after=replace(change.after, result=kept))

    def _changes(
        self, run: Run, ledger: list[Stored[ToolCall]], answers: Mapping[str, Answer], now: datetime
    ) -> list[CallChange]:
        asked = {
            call.value.call_id: call
            for call in ledger
            if call.value.turn == run.turn and call.value.approval is not Approval.NONE
        }
        changes = []
        for call_id, answer in answers.items():
            call = asked.get(call_id)
            if call is None:
                earlier = next((each for each in ledger if each.value.call_id == call_id), None)
                if earlier is None or earlier.value.approval is Approval.NONE:
                    raise NotWaiting(f"The run asks nothing about the call {call_id!r}.", call_id=call_id)
                call = earlier
            if call.value.state is CallState.WAITING:
                if run.terminal:
                    raise RunEnded(status_of_run=run.status.value)
                changes.append(CallChange(before=call, after=_answered(call.value, answer, now)))
            elif (call.value.approval is Approval.APPROVED) is not answer.approve:
                raise AlreadyAnswered(f"The call {call_id!r} was {call.value.approval.value} already.", call_id=call_id)
        return changes


def _answered(call: ToolCall, answer: Answer, now: datetime) -> ToolCall:
    """An approved call then counts as needing no approval; a refused one is finished, the reason is its output."""
    call = replace(
        call,
        approval=Approval.APPROVED if answer.approve else Approval.REFUSED,
        reason=answer.reason,
    )
    if call.kind is CallKind.MCP:  # the provider makes the call, or hears that it may not
        return replace(call, state=CallState.FINISHED, finished_at=now)
    if answer.approve:
        return replace(call, state=CallState.OPEN)
    refusal = error_output("refused", answer.reason or "A person refused this call.")
    return replace(call, state=CallState.FINISHED, result=refusal, finished_at=now)
