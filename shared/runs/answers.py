"""Answers: what people say to the calls that a run asks approval for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from shared.agentkit.tools import error_output
from shared.errors import AlreadyAnswered, RunEnded
from shared.runs.approvals import approval_id, named
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
        """Take the answers, by approval id or call id, all or none; the run, or None when there is none.

        The same answer again is fine. Raises ``AlreadyAnswered`` for a different one, ``NotWaiting`` for a call that
        nobody is asked about, ``AmbiguousCallId`` for a call id that names several, ``RunEnded``.
        """
        services = self._services
        for _ in range(RACES):
            stored = await services.store.load(run_id)
            if stored is None or stored.value.deleted_at is not None:
                return None
            run, now = stored.value, services.clock()
            ledger = await services.store.calls(run)
            changes = _changes(run, ledger, answers, now)
            if not changes:
                return run
            watch = await services.watch.announce(run_id, now)
            changes = [await self._fitting(run, change) for change in changes]
            await services.watch.keep_announced(watch, services.clock())
            left = sum(call.value.state is CallState.WAITING for call in ledger) - len(changes)
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
    run: Run, ledger: list[Stored[ToolCall]], answers: Mapping[str, Answer], now: datetime
) -> list[CallChange]:
    """What the answers change, a call at most once. Raises the errors of ``Answers.answer``."""
    stored = {approval_id(each.value): each for each in ledger}
    calls = {name: each.value for name, each in stored.items()}
    changes: dict[str, CallChange] = {}
    for name, answer in answers.items():
        call = named(calls, name)
        if call.state is CallState.WAITING:
            if run.terminal:
                raise RunEnded(status_of_run=run.status.value)
            key = approval_id(call)
            calls[key] = _answered(call, answer, now)  # for the answer that names it in the other way
            changes[key] = CallChange(before=stored[key], after=calls[key])
        elif (call.approval is Approval.APPROVED) is not answer.approve:
            raise AlreadyAnswered(f"The call {name!r} was {call.approval.value} already.", call_id=name)
    return [*changes.values()]


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
