"""What the use cases work with, and the two writes that all of them share: save, and end."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from shared.agentkit import faults
from shared.agentkit.agent import Agent
from shared.runs import schedule
from shared.runs.callbacks.callback import Sender
from shared.runs.interruptions import Interruptions
from shared.runs.run import Next, Run, RunStatus, Text
from shared.runs.store.batches import BatchStore
from shared.runs.store.index import IndexStore
from shared.runs.store.runs import CallChange, DeliveryChange, RunStore, Saved, SessionChange, Stored
from shared.runs.store.slots import SlotStore
from shared.runs.store.tables import StoreUnavailable
from shared.runs.store.watch import WatchStore
from shared.runs.transitions import finish
from shared.settings import Settings

BACKOFF_FIRST = 2.0
BACKOFF_MOST = 120.0

SLACK_SECONDS = 3.0
"""What an agent may take beyond a request's timeout: to wait for a place, and for what is not the provider's."""

RACES = 20
"""How often a write that lost its race reads the row again before it gives up."""

log = logging.getLogger("dormouse")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a wake left behind.

    ``wake_in`` in seconds; None: the run (or batch) is over and owes nothing. ``may_be_early``: a wake that comes a
    moment before that does its work all the same, as a look at the provider does.
    """

    status: StrEnum | None
    wake_in: float | None
    may_be_early: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The ports and settings of the use cases. ``luck`` gives numbers in [0, 1); ``threads`` runs sync tools.

    ``sender`` is None where the app has no secret to sign callbacks with.
    """

    store: RunStore
    watch: WatchStore
    index: IndexStore
    slots: SlotStore
    batches: BatchStore
    agents: Mapping[str, Agent]
    settings: Settings
    clock: Callable[[], datetime]
    luck: Callable[[], float]
    threads: Executor
    sender: Sender | None = None
    interruptions: Interruptions = field(default_factory=Interruptions)

    def outcome(self, run: Run) -> Outcome:
        """What the row says: when the next wake is due, and not before it could do anything.

        What an active run owes does not wait for its next step: a parked one's may be days away.
        """
        now = self.clock()
        gap = run.wake_in(now)
        if gap is None:
            return Outcome(run.status, None)
        ready = run.ready_at()
        gap = gap if ready is None else max(gap, (ready - now).total_seconds())
        if run.debts and not run.terminal:
            gap = min(gap, max(0.0, min((debt.due - now).total_seconds() for debt in run.debts)))
        only_looks = run.next is Next.POLL and run.deadline_at != run.due_at == run.wake_at
        return Outcome(run.status, gap, may_be_early=only_looks)

    def backoff(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row: of a create, a poll, a response."""
        return schedule.backoff(failures, first=BACKOFF_FIRST, most=BACKOFF_MOST, luck=self.luck())

    def gap_after(self, fault: faults.ProviderFault, failures: int) -> float:
        """Seconds to wait after this fault, the so manieth in a row: backed off, and as the provider asks."""
        if fault.code == faults.NOT_SENT and fault.retry_after is None:
            return schedule.crowded_wait(failures, luck=self.luck())
        return max(self.backoff(failures), self.asked_gap(fault))

    def asked_gap(self, fault: faults.ProviderFault) -> float:
        """What the provider asks for, as far as it is honoured; spread, so that not all come back at once."""
        return schedule.asked_wait(fault.retry_after or 0.0, most=self.settings.retry_after_most, luck=self.luck())

    async def save(
        self,
        before: Stored[Run],
        after: Run,
        *,
        calls: Sequence[CallChange] = (),
        items: Sequence[Text] = (),
        session: SessionChange | None = None,
        delivery: DeliveryChange | None = None,
        midway: bool = False,
    ) -> Saved:
        """Write the run under its ETag; a wake that got somewhere ends a row of crashes. Raises ``Conflict``.

        ``midway``: more of the same wake is to come (a claim, a lease), or it got nowhere (no news, a try that failed):
        the count of crashes stays.
        """
        if not midway and after.crashes == before.value.crashes:
            after = replace(after, crashes=0)
        saved = await self.store.save(before, after, session=session, calls=calls, items=items, delivery=delivery)
        if after.status is not before.value.status:
            # A warning when it failed, so that an alert sees it whatever a function's log level is.
            level = logging.WARNING if after.status is RunStatus.FAILED else logging.INFO
            extra = {"run_id": after.id, "error_code": after.error_code}
            log.log(level, "run %s is %s", after.id, after.status, extra=extra)
        if after.terminal and not before.value.terminal:
            await self.give_slot_back(after)
        return saved

    async def give_slot_back(self, run: Run) -> None:
        """Let another run of the owner have the slot of this one, which is over or was never committed with it.

        Where it fails, the slot is found when it is needed.
        """
        if run.slot is not None:
            with contextlib.suppress(StoreUnavailable):
                await self.slots.give_back(run.owner, run.slot, run.id, run.submission)

    async def end(self, before: Stored[Run], after: Run, *, items: Sequence[Text] = ()) -> Stored[Run]:
        """Write a run's terminal status and let its session go, in one transaction. Raises ``Conflict``.

        Only a completed run moves its session forward: to the response that it ended with.
        """
        session = await self.store.load_session(after.session_id)
        change = None
        if session is not None and session.value.active_run == after.number:
            released = replace(session.value, active_run=None, last_activity=after.updated_at)
            if after.status is RunStatus.COMPLETED:
                learnt = after.replay and self.settings.chain == "auto"
                released = replace(released, response_id=after.previous_response_id, replay=learnt)
            change = SessionChange(before=session, after=released)
        return (await self.save(before, after, session=change, items=items)).run

    async def fail(self, before: Stored[Run], code: str, message: str) -> Stored[Run]:
        """End the run as failed; what is pending at the provider is owed a cancel."""
        after = finish(
            before.value, self.clock(), RunStatus.FAILED, code=code, message=message, cancel_at_provider=True
        )
        return await self.end(before, after)
