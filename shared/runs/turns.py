"""A turn: one response of the model. Created under a claim, and asked about.

At most one attempt of a turn is adopted. What became of a create decides what follows; see ``agentkit.faults``.
"""

from __future__ import annotations

import asyncio
import functools
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

from shared.agentkit import faults
from shared.agentkit.agent import Agent, AgentResponse, AgentSession, Item, RunInfo, RunOptions
from shared.agentkit.within import within
from shared.runs import conversation, schedule
from shared.runs.debts import Debts
from shared.runs.lease import Lease
from shared.runs.reading import Reading
from shared.runs.run import Run, RunStatus
from shared.runs.services import RACES, SLACK_SECONDS, Services, log
from shared.runs.store.runs import Stored
from shared.runs.store.tables import Conflict, StoreUnavailable
from shared.runs.transitions import finish, wake_later

PREVIOUS_MISSING_RETRIES = 3
ACCESS_GAP = 30.0


Write = Callable[[Stored[Run]], Awaitable[Stored[Run]]]
"""Writes what became of a create over the row as it was read. Raises ``Conflict``."""


class Turns:
    """Creates and follows the responses of a run. Methods raise ``Conflict`` when they lost a race."""

    def __init__(self, services: Services, debts: Debts) -> None:
        self._services = services
        self._settings = services.settings
        self._debts = debts
        self._reading = Reading(services)

    def may_create(self, run: Run) -> bool:
        """Whether the row lets a create be tried now: no claim open, no backoff running."""
        now = self._services.clock()
        return run.claimed_until is None and (run.not_before is None or now >= run.not_before)

    async def count_unknown(self, stored: Stored[Run]) -> Stored[Run] | None:
        """A claim that ran out without a word is an attempt of unknown outcome. None while it may still speak."""
        run, now = stored.value, self._services.clock()
        if run.unknown_at is None or now < run.unknown_at:
            return None
        outcomes = run.unknown_outcomes + 1
        if outcomes >= self._settings.create_attempts:
            return await self._services.fail(
                stored,
                "start_uncertain",
                f"{outcomes} requests to the model had no known outcome; the last word was {run.provider_status}. "
                "They may have run and been billed. Submit again when the provider is well.",
            )
        wait = schedule.unknown_outcome_wait(outcomes)
        after = wake_later(run, now, wait)
        # The nonce stays: until the next attempt begins, the provider's webhook may still tell of this one.
        after = replace(_unclaimed(after), nonce=run.nonce, unknown_outcomes=outcomes, not_before=after.wake_at)
        return (await self._services.save(stored, after)).run

    async def create(self, stored: Stored[Run], agent: Agent) -> Stored[Run]:
        """Claim the turn, create its response in the background, store its token (or its result)."""
        run = stored.value
        if run.turn > run.limits.turns:
            return await self._services.fail(
                stored, "turn_limit", f"The run has used its {run.limits.turns} turns. Allow more with `limits.turns`."
            )
        messages = await conversation.messages(self._services.store, run, agent)
        if not agent.background:
            return await self._answer_within_the_call(stored, agent, messages)
        claimed = await self._claim(stored, self._settings.create_claim, grace=self._settings.create_grace)
        run = claimed.value
        if self._services.clock() + timedelta(seconds=self._settings.create_timeout) > run.claimed_until:  # type: ignore[operator]
            late = faults.NotAccepted("Too little of the claim was left to send the request.", code="not_sent")
            return await self._not_created(claimed, late)
        try:
            response = await self._send(run, agent, messages, self._settings.create_timeout)
        except faults.PerhapsAccepted as fault:
            log.warning("run %s: create of unknown outcome: %s", run.id, fault.message, extra={"run_id": run.id})
            return (await self._services.save(claimed, replace(run, provider_status=fault.code))).run
        except faults.ProviderFault as fault:
            return await self._under_claim(claimed, functools.partial(self._not_created, fault=fault))
        try:
            return await self._under_claim(claimed, lambda stored: self._reading.read(stored, agent, response))
        except Conflict:
            await self._debts.disown(run, response, agent)
            raise

    async def _under_claim(self, claimed: Stored[Run], write: Write) -> Stored[Run]:
        """Write what became of a create. Raises ``Conflict`` when its claim is another's, or over."""
        for _ in range(RACES):
            try:
                return await self._until_written(claimed, write)
            except Conflict:
                again = await self._still_claimed(claimed.value)
                if again is None:
                    break
                claimed = again
        raise Conflict(claimed.value.id, "its create lost the race")

    async def _still_claimed(self, run: Run) -> Stored[Run] | None:
        """The row, if the claim in it is still this one: only debts were written, of an attempt before."""
        try:
            again = await self._services.store.load(run.id)
        except StoreUnavailable:
            return None
        mine = again is not None and again.value.claimed_until is not None and again.value.nonce == run.nonce
        return again if mine else None

    async def _answer_within_the_call(self, stored: Stored[Run], agent: Agent, messages: list[Item]) -> Stored[Run]:
        """An agent without background mode: the claim is a lease, renewed while the call runs.

        Nothing goes on at the provider without the call, so a call of unknown outcome needs no grace.
        """
        claimed = await self._claim(stored, self._settings.tool_lease, grace=0.0, owner=secrets.token_hex(8))
        lease = Lease(self._services, claimed)
        write: Write
        try:
            response = await lease.hold(self._send(claimed.value, agent, messages, self._settings.tool_timeout))
            write = functools.partial(self._reading.read, agent=agent, response=response)
        except faults.PerhapsAccepted as fault:
            log.warning("run %s: call of unknown outcome: %s", lease.run.id, fault.message)
            write = functools.partial(self._unknown_outcome, fault=fault)
        except faults.ProviderFault as fault:
            write = functools.partial(self._not_created, fault=fault)
        for _ in range(RACES):
            try:
                return await self._until_written(lease.stored, write)
            except Conflict:  # a write of ours of which we have not heard, or one that leaves us the lease
                if not await lease.reread():
                    raise
        raise Conflict(lease.run.id, "too many races")

    async def _unknown_outcome(self, stored: Stored[Run], fault: faults.ProviderFault) -> Stored[Run]:
        """A call within which the answer was to come is over without one: there is nothing to wait for."""
        now = self._services.clock()
        after = replace(
            stored.value, provider_status=fault.code, lease_owner="", lease_until=None, unknown_at=now, wake_at=now
        )
        return (await self._services.save(stored, after)).run

    async def poll(self, stored: Stored[Run], agent: Agent) -> Stored[Run]:
        """Ask the provider once how the response stands."""
        run = stored.value
        timeout = self._settings.poll_timeout
        try:
            asked = agent.run(
                None,
                session=AgentSession(session_id=run.session_id),
                options=RunOptions(timeout=timeout, continuation_token=run.token, model=run.model),
            )
            response = await within(timeout + SLACK_SECONDS, asked)
        except faults.ResponseMissing as fault:
            accepted = run.accepted_at or run.created_at
            if self._services.clock() >= accepted + timedelta(seconds=self._settings.poll_grace):
                lost = replace(stored.value, token=None)
                after = finish(
                    lost,
                    self._services.clock(),
                    RunStatus.FAILED,
                    code="response_lost",
                    message=f"The provider no longer knows the response: {fault.for_callers}",
                )
                return await self._services.end(stored, after)
            return await self._no_news(stored, fault)
        except faults.ProviderFault as fault:
            return await self._no_news(stored, fault)
        except TimeoutError:
            return await self._no_news(stored, faults.NoNews("No answer in time.", code="poll_timeout"))
        return await self._reading.read(stored, agent, response)

    async def _claim(self, stored: Stored[Run], seconds: float, *, grace: float, owner: str = "") -> Stored[Run]:
        """The right to create, for so many seconds; ``owner`` holds it under a lease that it renews."""
        run, now = stored.value, self._services.clock()
        until = now + timedelta(seconds=seconds)
        after = wake_later(run, now, seconds + grace)
        after = replace(
            after,
            attempt=run.attempt + 1,
            nonce=secrets.token_hex(8),
            claimed_until=until,
            unknown_at=until + timedelta(seconds=grace),
            lease_owner=owner,
            lease_until=until if owner else None,
            not_before=None,
            agent_unknown_since=None,
            wakes=run.wakes + 1,
        )
        return (await self._services.save(stored, after, midway=True)).run

    async def _send(self, run: Run, agent: Agent, messages: list[Item], timeout: float) -> AgentResponse:
        previous = run.previous_response_id if conversation.is_chained(run, agent) else None
        session = AgentSession(session_id=run.session_id, previous_response_id=previous)
        about = RunInfo(
            run_id=run.id, session_id=run.session_id, owner=run.owner, turn=run.turn, metadata=dict(run.metadata)
        )
        metadata = {
            "app": self._settings.app_in_metadata,
            "run": run.id,
            "turn": str(run.turn),
            "attempt": str(run.attempt),
            "nonce": run.nonce,
        }
        options = RunOptions(
            timeout=timeout,
            background=agent.background,
            stream=run.stream and agent.streams,
            metadata=metadata,
            model=run.model,
            run=about,
        )
        try:
            return await within(timeout + SLACK_SECONDS, agent.run(messages, session=session, options=options))
        except TimeoutError as error:
            raise faults.PerhapsAccepted("No answer in time.", code="create_timeout") from error
        except faults.NoNews as fault:
            raise faults.PerhapsAccepted(fault.message, code=fault.code) from fault

    async def _not_created(self, stored: Stored[Run], fault: faults.ProviderFault) -> Stored[Run]:
        """Surely nothing was started: release the claim, and wait, replay or fail."""
        run, now = stored.value, self._services.clock()
        released = replace(_unclaimed(run), provider_status=fault.code, denied_since=None)
        gap = 0.0
        match fault:
            case faults.NotAccepted():
                released = replace(released, not_accepted=run.not_accepted + 1)
                gap = self._services.gap_after(fault, released.not_accepted)
            case faults.AccessDenied():
                since = run.denied_since or now
                if now - since >= timedelta(seconds=self._settings.access_patience):
                    return await self._services.fail(stored, "access_denied", fault.for_callers)
                log.warning("run %s: access denied: %s", run.id, fault.message, extra={"run_id": run.id})
                released = replace(released, denied_since=since)
                gap = max(ACCESS_GAP, self._services.asked_gap(fault))
            case faults.PreviousResponseMissing() if run.previous_missing < PREVIOUS_MISSING_RETRIES:
                released = replace(released, previous_missing=run.previous_missing + 1)
                gap = self._services.backoff(released.previous_missing)
            case faults.PreviousResponseMissing() if self._may_replay(run):
                log.info("run %s: replays this turn: %s", run.id, fault.message, extra={"run_id": run.id})
                released = replace(released, replay_turn=run.turn)
            case faults.ToolOutputsRefused() if self._may_replay(run):
                log.info("run %s: replays from full input: %s", run.id, fault.message, extra={"run_id": run.id})
                released = replace(released, replay=True)
            case _:
                log.warning("run %s: refused: %s", run.id, fault.message, extra={"run_id": run.id})
                return await self._services.fail(stored, fault.code, fault.for_callers)
        released = wake_later(released, now, gap)
        released = replace(released, not_before=released.wake_at if gap else None)
        return (await self._services.save(stored, released)).run

    async def _no_news(self, stored: Stored[Run], fault: faults.ProviderFault) -> Stored[Run]:
        run, now = stored.value, self._services.clock()
        after = replace(
            run, no_news=run.no_news + 1, wakes=run.wakes + 1, provider_status=fault.code, agent_unknown_since=None
        )
        gap = self._services.gap_after(fault, after.no_news)
        return (await self._services.save(stored, wake_later(after, now, gap))).run

    def _may_replay(self, run: Run) -> bool:
        return not run.replays and self._settings.chain != "chain"

    async def _until_written(self, claimed: Stored[Run], write: Write) -> Stored[Run]:
        """Write what only this process knows, through an outage of the store, as long as the claim holds."""
        tries = 0
        while True:
            try:
                return await write(claimed)
            except StoreUnavailable:
                tries += 1
                gap = schedule.backoff(tries, first=0.5, most=8.0, luck=0.0)
                until = claimed.value.claimed_until
                if until is None or self._services.clock() + timedelta(seconds=gap) >= until:
                    raise
                await asyncio.sleep(gap)


def _unclaimed(run: Run) -> Run:
    """The run with nobody about to create: no claim, and no lease that was one."""
    return replace(run, claimed_until=None, unknown_at=None, nonce="", lease_owner="", lease_until=None)
