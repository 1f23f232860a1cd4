"""The life of a run across wakes. ``advance`` is the only code that moves one."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from shared.agentkit.agent import Agent
from shared.runs import schedule
from shared.runs.debts import Debts
from shared.runs.run import Next, Run, RunStatus
from shared.runs.services import RACES, Outcome, Services, log
from shared.runs.store.rows import RowTooNew
from shared.runs.store.runs import Stored
from shared.runs.store.tables import Conflict, StoreUnavailable
from shared.runs.toolwork import ToolWork
from shared.runs.transitions import finish, postponed, wake_later, with_debts
from shared.runs.turns import Turns

AGENT_PATIENCE = timedelta(minutes=10)
AGENT_GAP = 30.0
MAX_CRASHES = 10


class Lifecycle:
    """Moves runs. Any number of callers, at any time, in any process, are safe."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._debts = Debts(services)
        self._turns = Turns(services, self._debts)
        self._tools = ToolWork(services)

    async def advance(self, run_id: str, *, only: frozenset[Next] | None = None) -> Outcome:
        """One wake: restore, do at most one blocking thing, persist.

        ``only`` limits what may be done; anything else is left with ``wake_in`` 0. ``wake_in`` is None only when the
        run is terminal and owes nothing, or absent. Raises ``StoreUnavailable``; the rows then say what to do next.
        """
        try:
            return await self._advance(run_id, only)
        except Conflict:
            return await self._as_it_stands(run_id)
        except (StoreUnavailable, RowTooNew):
            raise
        except Exception as error:  # a row of another run, or of the ledger, that cannot be read is one too
            log.exception("run %s: a wake crashed", run_id, extra={"run_id": run_id})
            return await self._count_crash(run_id, error)
        finally:
            self._services.interruptions.report(self._services.clock())

    async def cancel(self, run_id: str) -> Run | None:
        """End the run as cancelled; idempotent. None when there is none. Its tools and its response are stopped.

        A run that ended otherwise stays as it is. The caller signals the driver afterwards.
        """
        for _ in range(RACES):
            stored = await self._services.store.load(run_id)
            if stored is None:
                return None
            run, now = stored.value, self._services.clock()
            if run.next is Next.NONE:
                return run
            if run.terminal:
                return run
            await self._services.watch.announce(run_id, now)
            try:
                after = finish(run, now, RunStatus.CANCELLED, cancel_at_provider=True)
                return (await self._services.end(stored, after)).value
            except Conflict:
                continue
        raise Conflict(run_id, "too many races")

    async def _advance(self, run_id: str, only: frozenset[Next] | None) -> Outcome:
        stored = await self._services.store.load(run_id)
        if stored is None:
            return Outcome(None, None)
        stored = await self._end_overdue(stored)
        run = stored.value
        agent = self._services.agents.get(run.agent)
        debt = self._debts.due(run)
        if debt is not None:
            if only is not None and Next.OWED not in only:
                return Outcome(run.status, 0.0)
            paid = await self._debts.pay(stored, debt, agent)
            return Outcome(None, None) if paid is None else self._services.outcome(paid.value)
        if run.terminal or run.next in (Next.NONE, Next.OWED, Next.ANSWERS):
            return self._services.outcome(run)
        if only is not None and run.next not in only:
            return Outcome(run.status, 0.0)
        if agent is None:
            return self._services.outcome((await self._unknown_agent(stored)).value)
        return self._services.outcome((await self._step(stored, agent)).value)

    async def _step(self, stored: Stored[Run], agent: Agent) -> Stored[Run]:
        """Do what is next, if it can be done now."""
        match stored.value.next:
            case Next.CREATE:
                counted = await self._turns.count_unknown(stored)
                stored = stored if counted is None else counted
                if not stored.value.terminal and self._turns.may_create(stored.value):
                    return await self._turns.create(stored, agent)
            case Next.POLL:
                return await self._turns.poll(stored, agent)
            case Next.TOOLS if not self._tools.held(stored.value):
                return await self._tools.work(stored, agent)
        return stored

    async def _end_overdue(self, stored: Stored[Run]) -> Stored[Run]:
        run, now = stored.value, self._services.clock()
        if not run.terminal and run.answer_by is not None and now >= run.answer_by:
            return await self._services.fail(
                stored,
                "answer_timeout",
                "Nobody answered what the run asked approval for. Submit again when somebody can.",
            )
        if run.terminal or run.deadline_at is None or now < run.deadline_at:
            return stored
        seconds = (run.deadline_at - run.created_at).total_seconds()
        return await self._services.fail(
            stored,
            "deadline_exceeded",
            f"The run was not done within {seconds:g} seconds; the model's last word was {run.provider_status}. "
            "Allow more with `deadline_seconds`.",
        )

    async def _unknown_agent(self, stored: Stored[Run]) -> Stored[Run]:
        run, now = stored.value, self._services.clock()
        since = run.agent_unknown_since or now
        if now - since >= AGENT_PATIENCE:
            return await self._services.fail(
                stored, "agent_unknown", f"This version of the app has no agent {run.agent}. Deploy one that has it."
            )
        after = replace(wake_later(run, now, AGENT_GAP), agent_unknown_since=since, wakes=run.wakes + 1)
        return (await self._services.save(stored, after, midway=True)).run

    async def _as_it_stands(self, run_id: str) -> Outcome:
        stored = await self._services.store.load(run_id)
        return Outcome(None, None) if stored is None else self._services.outcome(stored.value)

    async def _count_crash(self, run_id: str, error: Exception) -> Outcome:
        """An exception that nobody expected is counted in the row and backed off; ten in a row end the run."""
        for _ in range(RACES):
            stored = await self._services.store.load(run_id)
            if stored is None:
                return Outcome(None, None)
            run, now = stored.value, self._services.clock()
            if run.terminal and not run.debts:
                return self._services.outcome(run)
            crashes = run.crashes + 1
            try:
                if crashes >= MAX_CRASHES and not run.terminal:
                    failed = await self._services.fail(
                        stored,
                        "internal_error",
                        f"{crashes} wakes in a row failed, the last with {type(error).__name__}.",
                    )
                    return self._services.outcome(failed.value)
                gap = schedule.backoff(crashes, first=2.0, most=300.0, luck=self._services.luck())
                after = replace(wake_later(run, now, gap), crashes=crashes, wakes=run.wakes + 1)
                if run.next is Next.ANSWERS:  # nothing to do before that, so no reason to look
                    after = replace(after, wake_at=max(after.wake_at, run.wake_at))
                after = with_debts(after, postponed(run.debts, now, gap), now)
                return self._services.outcome((await self._services.save(stored, after)).run.value)
            except Conflict:
                continue
        return await self._as_it_stands(run_id)
