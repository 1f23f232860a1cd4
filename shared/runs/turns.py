"""A turn: one response of the model. Created under a claim, asked about, read.

At most one attempt of a turn is adopted. What became of a create decides what follows; see ``agentkit.faults``.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

from shared.agentkit import faults
from shared.agentkit.agent import Agent, AgentResponse, AgentSession, Item, ResponseStatus, RunOptions
from shared.runs import conversation, schedule
from shared.runs.debts import Debts
from shared.runs.run import CallState, Next, Run, RunStatus, ToolCall, finish, wake_later
from shared.runs.services import Services, log
from shared.runs.store.runs import CallChange, Stored
from shared.runs.store.tables import Conflict, StoreUnavailable

TRANSIENT_CODES = frozenset({"server_error", "rate_limit_exceeded"})
MAX_CALLS_A_TURN = 90
PREVIOUS_MISSING_RETRIES = 3
BACKOFF_FIRST = 2.0
BACKOFF_MOST = 120.0
ACCESS_GAP = 30.0


class Turns:
    """Creates and follows the responses of a run. Methods raise ``Conflict`` when they lost a race."""

    def __init__(self, services: Services, debts: Debts) -> None:
        self._services = services
        self._settings = services.settings
        self._debts = debts

    def may_create(self, run: Run) -> bool:
        """Whether the row lets a create be tried now: no claim open, no backoff running."""
        now = self._services.clock()
        return run.claimed_until is None and (run.not_before is None or now >= run.not_before)

    async def count_unknown(self, stored: Stored[Run]) -> Stored[Run] | None:
        """A claim that ran out without a word is an attempt of unknown outcome. None while it may still speak."""
        run, now = stored.value, self._services.clock()
        if run.claimed_until is None or now < run.claimed_until + self._grace:
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
        after = replace(after, claimed_until=None, nonce="", unknown_outcomes=outcomes, not_before=after.wake_at)
        return (await self._services.save(stored, after)).run

    async def create(self, stored: Stored[Run], agent: Agent) -> Stored[Run]:
        """Claim the turn, create its response in the background, store its token (or its result)."""
        run = stored.value
        if run.turn > run.limits.turns:
            return await self._services.fail(
                stored, "turn_limit", f"The run has used its {run.limits.turns} turns. Allow more with `limits.turns`."
            )
        messages = await conversation.messages(self._services.store, run)
        claimed = await self._claim(stored)
        run = claimed.value
        if self._services.clock() + timedelta(seconds=self._settings.create_timeout) > run.claimed_until:  # type: ignore[operator]
            late = faults.NotAccepted("Too little of the claim was left to send the request.", code="not_sent")
            return await self._not_created(claimed, late)
        try:
            response = await self._send(run, agent, messages)
        except faults.PerhapsAccepted as fault:
            log.warning("run %s: create of unknown outcome: %s", run.id, fault.message, extra={"run_id": run.id})
            return (await self._services.save(claimed, replace(run, provider_status=fault.code))).run
        except faults.ProviderFault as fault:
            return await self._not_created(claimed, fault)
        try:
            return await self._until_written(claimed, lambda: self.read(claimed, agent, response))
        except Conflict:
            await self._debts.disown(claimed.value, response, agent)
            raise

    async def poll(self, stored: Stored[Run], agent: Agent) -> Stored[Run]:
        """Ask the provider once how the response stands."""
        run = stored.value
        timeout = self._settings.poll_timeout
        try:
            async with asyncio.timeout(timeout + 1.0):
                response = await agent.run(
                    None,
                    session=AgentSession(session_id=run.session_id),
                    options=RunOptions(timeout=timeout, continuation_token=run.token),
                )
        except faults.ResponseMissing as fault:
            accepted = run.accepted_at or run.created_at
            if self._services.clock() >= accepted + timedelta(seconds=self._settings.poll_grace):
                lost = replace(stored.value, token=None)
                after = finish(
                    lost,
                    self._services.clock(),
                    RunStatus.FAILED,
                    code="response_lost",
                    message=f"The provider no longer knows the response: {fault.message}",
                )
                return await self._services.end(stored, after)
            return await self._no_news(stored, fault)
        except faults.ProviderFault as fault:
            return await self._no_news(stored, fault)
        except TimeoutError:
            return await self._no_news(stored, faults.NoNews("No answer in time.", code="poll_timeout"))
        return await self.read(stored, agent, response)

    async def read(self, stored: Stored[Run], agent: Agent, response: AgentResponse) -> Stored[Run]:
        """Take in what the response says, in one transaction."""
        run, now = stored.value, self._services.clock()
        known = run.response_ids
        if response.response_id is not None and response.response_id not in known:
            known = (*known, response.response_id)
        run = replace(
            run,
            status=RunStatus.IN_PROGRESS,
            response_ids=known,
            provider_status=response.provider_status,
            wakes=run.wakes + (run.next is Next.POLL),
            accepted_at=now if run.token is None else run.accepted_at,
            claimed_until=None,
            not_before=None,
            not_accepted=0,
            no_news=0,
            agent_unknown_since=None,
            denied_since=None,
            previous_missing=0,
            updated_at=now if run.provider_status != response.provider_status else run.updated_at,
        )
        match response.status:
            case ResponseStatus.PENDING:
                return await self._pending(stored, run, response)
            case ResponseStatus.COMPLETED if response.calls:
                return await self._tools_asked(stored, run, response)
            case ResponseStatus.FAILED if response.error_code in TRANSIENT_CODES and (
                run.restarts < self._settings.create_restarts
            ):
                return await self._restart(stored, run, response)
        return await self._final(stored, run, response)

    async def _claim(self, stored: Stored[Run]) -> Stored[Run]:
        run, now = stored.value, self._services.clock()
        until = now + timedelta(seconds=self._settings.create_claim)
        after = wake_later(run, now, (until + self._grace - now).total_seconds())
        after = replace(
            after,
            attempt=run.attempt + 1,
            nonce=secrets.token_hex(8),
            claimed_until=until,
            not_before=None,
            agent_unknown_since=None,
            wakes=run.wakes + 1,
        )
        return (await self._services.save(stored, after, midway=True)).run

    async def _send(self, run: Run, agent: Agent, messages: list[Item]) -> AgentResponse:
        timeout = self._settings.create_timeout
        session = AgentSession(
            session_id=run.session_id, previous_response_id=None if run.replay else run.previous_response_id
        )
        metadata = {
            "app": self._settings.app_name or self._settings.table_prefix,
            "run": run.id,
            "turn": str(run.turn),
            "attempt": str(run.attempt),
            "nonce": run.nonce,
        }
        try:
            async with asyncio.timeout(timeout + 1.0):
                return await agent.run(
                    messages,
                    session=session,
                    options=RunOptions(timeout=timeout, background=True, metadata=metadata),
                )
        except TimeoutError as error:
            raise faults.PerhapsAccepted("No answer in time.", code="create_timeout") from error
        except faults.NoNews as fault:
            raise faults.PerhapsAccepted(fault.message, code=fault.code) from fault

    async def _not_created(self, stored: Stored[Run], fault: faults.ProviderFault) -> Stored[Run]:
        """Surely nothing was started: release the claim, and wait, replay or fail."""
        run, now = stored.value, self._services.clock()
        released = replace(run, claimed_until=None, nonce="", provider_status=fault.code, denied_since=None)
        gap = 0.0
        match fault:
            case faults.NotAccepted():
                released = replace(released, not_accepted=run.not_accepted + 1)
                gap = max(self._backoff(released.not_accepted), fault.retry_after or 0.0)
            case faults.AccessDenied():
                since = run.denied_since or now
                if now - since >= timedelta(seconds=self._settings.access_patience):
                    return await self._services.fail(
                        stored, "access_denied", f"The provider refuses this app's credentials: {fault.message}"
                    )
                released = replace(released, denied_since=since)
                gap = max(ACCESS_GAP, fault.retry_after or 0.0)
            case faults.PreviousResponseMissing() if run.previous_missing < PREVIOUS_MISSING_RETRIES:
                released = replace(released, previous_missing=run.previous_missing + 1)
                gap = self._backoff(released.previous_missing)
            case faults.PreviousResponseMissing() | faults.ToolOutputsRefused() if not run.replay:
                log.info("run %s: replays from full input: %s", run.id, fault.message, extra={"run_id": run.id})
                released = replace(released, replay=True)
            case _:
                return await self._services.fail(stored, fault.code, fault.message)
        released = wake_later(released, now, gap)
        released = replace(released, not_before=released.wake_at if gap else None)
        return (await self._services.save(stored, released)).run

    async def _no_news(self, stored: Stored[Run], fault: faults.ProviderFault) -> Stored[Run]:
        run, now = stored.value, self._services.clock()
        after = replace(run, no_news=run.no_news + 1, wakes=run.wakes + 1, provider_status=fault.code)
        gap = max(self._backoff(after.no_news), fault.retry_after or 0.0)
        return (await self._services.save(stored, wake_later(after, now, gap))).run

    async def _pending(self, stored: Stored[Run], run: Run, response: AgentResponse) -> Stored[Run]:
        now = self._services.clock()
        age = (now - (run.accepted_at or now)).total_seconds()
        gap = schedule.poll_gap(
            age, first=self._settings.poll_first, most=self._settings.poll_max, luck=self._services.luck()
        )
        after = replace(run, token=response.continuation_token, next=Next.POLL)
        return (await self._services.save(stored, wake_later(after, now, gap))).run

    async def _tools_asked(self, stored: Stored[Run], run: Run, response: AgentResponse) -> Stored[Run]:
        """The calls go into the ledger in the transaction that sets ``tools``: they are never fetched again."""
        now = self._services.clock()
        run = replace(run, usage=run.usage + response.usage, token=None)
        refused = _limit(run, len(response.calls))
        if refused is not None:
            after = finish(run, now, RunStatus.FAILED, code=refused[0], message=refused[1])
            return await self._services.end(stored, after)
        room = min(24_000, 400_000 // len(response.calls))  # the transaction stays far below its 3 MiB
        ledger = [
            CallChange(
                before=None,
                after=ToolCall(
                    session_id=run.session_id,
                    number=run.number,
                    turn=run.turn,
                    index=index,
                    call_id=call.call_id,
                    name=call.name,
                    arguments=await self._services.store.keep(run, call.arguments, inline=room),
                    state=CallState.OPEN,
                ),
            )
            for index, call in enumerate(response.calls)
        ]
        after = replace(
            run,
            next=Next.TOOLS,
            previous_response_id=response.response_id,
            turn_calls=len(ledger),
            tool_calls=run.tool_calls + len(ledger),
            updated_at=now,
        )
        item = await self._services.store.keep(run, json.dumps(response.items, ensure_ascii=False))
        return (await self._services.save(stored, wake_later(after, now, 0.0), calls=ledger, items=[item])).run

    async def _restart(self, stored: Stored[Run], run: Run, response: AgentResponse) -> Stored[Run]:
        now = self._services.clock()
        gap = self._backoff(run.restarts + 1)
        after = wake_later(run, now, gap)
        after = replace(
            after,
            next=Next.CREATE,
            token=None,
            restarts=run.restarts + 1,
            not_before=after.wake_at,
            usage=run.usage + response.usage,
            provider_status=f"failed: {response.error_code}",
        )
        return (await self._services.save(stored, after)).run

    async def _final(self, stored: Stored[Run], run: Run, response: AgentResponse) -> Stored[Run]:
        now = self._services.clock()
        store = self._services.store
        status = RunStatus(response.status.value)
        code = message = None
        if status is RunStatus.FAILED:
            code = response.error_code or "provider_failed"
            message = response.error_message or "The provider failed the response and gave no reason."
        elif status is RunStatus.CANCELLED:
            code, message = "cancelled_at_provider", "The response was cancelled at the provider, not by this app."
        after = finish(run, now, status, code=code, message=message)
        after = replace(
            after,
            usage=run.usage + response.usage,
            text=await store.keep(run, response.text),
            incomplete_reason=response.incomplete_reason if status is RunStatus.INCOMPLETE else None,
            previous_response_id=response.response_id or run.previous_response_id,
        )
        items = [await store.keep(run, json.dumps(response.items, ensure_ascii=False))] if response.items else []
        return await self._services.end(stored, after, items=items)

    async def _until_written(self, claimed: Stored[Run], write: Callable[[], Awaitable[Stored[Run]]]) -> Stored[Run]:
        """Write what only this process knows, through an outage of the store, as long as the claim holds."""
        tries = 0
        while True:
            try:
                return await write()
            except StoreUnavailable:
                tries += 1
                gap = schedule.backoff(tries, first=0.5, most=8.0, luck=0.0)
                until = claimed.value.claimed_until
                if until is None or self._services.clock() + timedelta(seconds=gap) >= until:
                    raise
                await asyncio.sleep(gap)

    def _backoff(self, failures: int) -> float:
        return schedule.backoff(failures, first=BACKOFF_FIRST, most=BACKOFF_MOST, luck=self._services.luck())

    @property
    def _grace(self) -> timedelta:
        return timedelta(seconds=self._settings.create_grace)


def _limit(run: Run, calls: int) -> tuple[str, str] | None:
    """The limit that ``calls`` more tool calls would break: code and sentence."""
    if calls > MAX_CALLS_A_TURN:
        return "tool_call_limit", f"The model asked for {calls} tools in one turn; at most {MAX_CALLS_A_TURN} are run."
    if run.tool_calls + calls > run.limits.tool_calls:
        return (
            "tool_call_limit",
            f"The run may call {run.limits.tool_calls} tools and would need {run.tool_calls + calls}. "
            "Allow more with `limits.tool_calls`.",
        )
    tokens = run.limits.total_tokens
    if tokens is not None and run.usage.total_tokens >= tokens:
        return "token_limit", f"The run has used {run.usage.total_tokens} of {tokens} tokens and is not done."
    return None
