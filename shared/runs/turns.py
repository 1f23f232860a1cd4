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
from shared.agentkit.agent import Agent, AgentResponse, AgentSession, Item, RunInfo, RunOptions, Send
from shared.agentkit.within import within
from shared.runs import conversation, schedule
from shared.runs.debts import LOST, Debts
from shared.runs.lease import Lease
from shared.runs.reading import Reading, created_for, names_another
from shared.runs.run import Run, RunStatus
from shared.runs.services import RACES, SLACK_SECONDS, Services, log
from shared.runs.store.runs import Stored
from shared.runs.store.tables import Conflict, StoreUnavailable
from shared.runs.transitions import finish, wake_later

PREVIOUS_MISSING_RETRIES = 3
ACCESS_GAP = 30.0
AGENT_TRIES = 6
"""Tries to build a request that the agent's own code fails: in about a minute a deploy may mend it."""
MISSING_SPAN = timedelta(seconds=60)
"""How long a response must be unknown to its provider, at least, before it counts as lost."""

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
        self._services.interruptions.add(now, run.id, requests=1)
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
        after = replace(
            _unclaimed(after), nonce=run.nonce, unknown_outcomes=outcomes, not_before=after.wake_at, agent_errors=0
        )
        return (await self._services.save(stored, after, midway=True)).run

    async def create(self, stored: Stored[Run], agent: Agent) -> Stored[Run]:
        """Build the request, claim the turn, create its response in the background, store its token (or its result).

        The agent's own code runs before the claim: what fails there has surely sent nothing.
        """
        run = stored.value
        if run.turn > run.limits.turns:
            return await self._services.fail(
                stored, "turn_limit", f"The run has used its {run.limits.turns} turns. Allow more with `limits.turns`."
            )
        try:
            messages = await conversation.messages(self._services.store, run, agent)
        except conversation.ConversationTooLong:
            return await self._services.fail(
                stored,
                "conversation_too_long",
                "The conversation is too long to be sent to the model anew. Begin another session.",
            )
        seconds = self._settings.create_timeout if agent.background else self._settings.tool_timeout
        claim = self._claim(run, background=agent.background)
        try:
            send = self._prepare(claim, agent, messages, seconds)
        except faults.ProviderFault as fault:
            return await self._not_created(stored, fault)
        claimed = (await self._services.save(stored, claim, midway=True)).run
        run = claimed.value
        needed = timedelta(seconds=seconds if agent.background else 0.0)  # a lease is renewed while the call runs
        if self._services.clock() + needed > run.claimed_until:  # type: ignore[operator]
            late = faults.NotAccepted("Too little of the claim was left to send the request.", code="not_sent")
            return await self._not_created(claimed, late)
        if not agent.background:
            return await self._answer_within_the_call(claimed, agent, send)
        try:
            response = await self._send(run, send, seconds)
        except faults.PerhapsAccepted as fault:
            log.warning("run %s: create of unknown outcome: %s", run.id, fault.message, extra={"run_id": run.id})
            after = replace(run, provider_status=fault.code)
            return (await self._services.save(claimed, after, midway=True)).run
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

    async def _answer_within_the_call(self, claimed: Stored[Run], agent: Agent, send: Send) -> Stored[Run]:
        """An agent without background mode: the claim is a lease, renewed while the call runs.

        Nothing goes on at the provider without the call, so a call of unknown outcome needs no grace.
        """
        lease = Lease(self._services, claimed)
        write: Write
        try:
            response = await lease.hold(self._send(claimed.value, send, self._settings.tool_timeout))
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
        return (await self._services.save(stored, after, midway=True)).run

    async def poll(self, stored: Stored[Run], agent: Agent) -> Stored[Run]:
        """Ask the provider once how the response stands."""
        run = stored.value
        try:
            response = await self._ask(run, agent)
        except faults.ResponseMissing as fault:
            return await self._missing(stored, fault)
        except faults.ProviderFault as fault:
            return await self._no_news(stored, fault)
        if names_another(run, response, self._settings.app_in_metadata):
            # The id leads to somebody else's response: ours cannot be had there, and that one is not ours to cancel.
            log.error("run %s: %s is another's response", run.id, response.response_id, extra={"run_id": run.id})
            known = tuple(each for each in run.response_ids if each != response.response_id)
            other = faults.ResponseMissing("Its id names another response now.", code="another_response")
            return await self._missing(stored, other, known=known)
        return await self._reading.read(stored, agent, response)

    async def _ask(self, run: Run, agent: Agent) -> AgentResponse:
        timeout = self._settings.poll_timeout
        options = RunOptions(timeout=timeout, continuation_token=run.token, model=run.model)
        session = AgentSession(session_id=run.session_id)
        try:
            return await within(timeout + SLACK_SECONDS, agent.run(None, session=session, options=options))
        except TimeoutError as error:
            raise faults.NoNews("No answer in time.", code="poll_timeout") from error

    async def _missing(
        self, stored: Stored[Run], fault: faults.ProviderFault, *, known: tuple[str, ...] | None = None
    ) -> Stored[Run]:
        """The provider does not know the response: several times in a row, over a minute at least, it is lost.

        It may run on all the same, so it is cancelled; unless ``known``, the ids without it, says that it is not ours.
        """
        run, now = stored.value, self._services.clock()
        if now < (run.accepted_at or run.created_at) + timedelta(seconds=self._settings.poll_grace):
            return await self._no_news(stored, fault)
        run = replace(run, missing=run.missing + 1, missing_since=run.missing_since or now)
        looks, since = self._settings.poll_missing, run.missing_since or now
        if run.missing < looks or now < since + MISSING_SPAN:
            gap = MISSING_SPAN.total_seconds() / max(1, looks - 1)
            return await self._no_news(stored, fault, seen=run, least=gap)
        if known is not None:
            run = replace(run, token=None, response_ids=known)
        after = finish(
            run,
            now,
            RunStatus.FAILED,
            code=LOST,
            message=f"The provider no longer knows the response: {fault.for_callers}",
            cancel_at_provider=True,
        )
        return await self._services.end(stored, after)

    def _claim(self, run: Run, *, background: bool) -> Run:
        """The run under a fresh right to create. Without background mode a lease holds it, which is renewed."""
        settings, now = self._settings, self._services.clock()
        seconds, grace = (settings.create_claim, settings.create_grace) if background else (settings.tool_lease, 0.0)
        until = now + timedelta(seconds=seconds)
        return replace(
            wake_later(run, now, seconds + grace),
            attempt=run.attempt + 1,
            nonce=secrets.token_hex(8),
            claimed_until=until,
            unknown_at=until + timedelta(seconds=grace),
            lease_owner="" if background else secrets.token_hex(8),
            lease_until=None if background else until,
            not_before=None,
            agent_unknown_since=None,
            wakes=run.wakes + 1,
        )

    def _prepare(self, run: Run, agent: Agent, messages: list[Item], timeout: float) -> Send:
        """The request of the run's current attempt. Raises ``RequestNotBuilt`` for whatever the agent raises."""
        previous = run.previous_response_id if conversation.is_chained(run, agent) else None
        about = RunInfo(
            run_id=run.id, session_id=run.session_id, owner=run.owner, turn=run.turn, metadata=dict(run.metadata)
        )
        options = RunOptions(
            timeout=timeout,
            background=agent.background,
            stream=run.stream and agent.streams,
            metadata=created_for(run, self._settings.app_in_metadata),
            model=run.model,
            run=about,
        )
        session = AgentSession(session_id=run.session_id, previous_response_id=previous)
        try:
            return agent.prepare(messages, session=session, options=options)
        except faults.ProviderFault:
            raise
        except Exception as error:
            raise faults.RequestNotBuilt(type(error).__name__, code="agent_error") from error

    async def _send(self, run: Run, send: Send, timeout: float) -> AgentResponse:
        try:
            response = await within(timeout + SLACK_SECONDS, send())
        except TimeoutError as error:
            raise faults.PerhapsAccepted("No answer in time.", code="create_timeout") from error
        except faults.NoNews as fault:
            raise faults.PerhapsAccepted(fault.message, code=fault.code) from fault
        if names_another(run, response, self._settings.app_in_metadata):
            # What became of our request is not in it: ours may run under an id that we do not know.
            raise faults.PerhapsAccepted("The answer is another request's.", code="another_response")
        return response

    async def _not_created(self, stored: Stored[Run], fault: faults.ProviderFault) -> Stored[Run]:
        """Surely nothing was started: release the claim, and wait, replay or fail."""
        run, now = stored.value, self._services.clock()
        released = replace(_unclaimed(run), provider_status=fault.code, denied_since=None, agent_errors=0)
        gap = 0.0
        match fault:
            case faults.RequestNotBuilt():
                return await self._not_built(stored, fault)
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
        return (await self._services.save(stored, released, midway=True)).run

    async def _not_built(self, stored: Stored[Run], fault: faults.RequestNotBuilt) -> Stored[Run]:
        """The agent's own code failed, and surely nothing was sent: try again a few times, then say so."""
        run, now = stored.value, self._services.clock()
        errors = run.agent_errors + 1
        log.error(
            "run %s: the agent %s cannot build its request",
            run.id,
            run.agent,
            exc_info=fault.__cause__ or fault,
            extra={"run_id": run.id},
        )
        if errors >= AGENT_TRIES:
            return await self._services.fail(
                stored,
                "agent_error",
                f"The agent {run.agent} failed {errors} times to build its request to the model ({fault.message}); "
                "nothing was sent. The app's log says where. Mend the agent, then submit again.",
            )
        # Under no claim an attempt before may be waiting for the provider's word, which its nonce lets in.
        nonce = run.nonce if run.claimed_until is None else ""
        after = wake_later(_unclaimed(run), now, self._services.backoff(errors))
        after = replace(
            after,
            nonce=nonce,
            agent_errors=errors,
            not_before=after.wake_at,
            provider_status=fault.code,
            wakes=run.wakes + (run.claimed_until is None),
        )
        return (await self._services.save(stored, after, midway=True)).run

    async def _no_news(
        self, stored: Stored[Run], fault: faults.ProviderFault, *, seen: Run | None = None, least: float = 0.0
    ) -> Stored[Run]:
        run, now = seen or stored.value, self._services.clock()
        after = replace(
            run, no_news=run.no_news + 1, wakes=run.wakes + 1, provider_status=fault.code, agent_unknown_since=None
        )
        gap = max(self._services.gap_after(fault, after.no_news), least)
        return (await self._services.save(stored, wake_later(after, now, gap), midway=True)).run

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
