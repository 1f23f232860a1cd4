"""Reading a response: what it says becomes the run's next step, in one transaction."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from datetime import datetime

from shared.agentkit.agent import Agent, AgentResponse, ResponseStatus
from shared.agentkit.output import InvalidOutput
from shared.agentkit.redaction import for_callers, plain_code, without_secrets
from shared.runs import schedule
from shared.runs.approvals import waiting
from shared.runs.run import Approval, CallKind, CallState, Next, Run, RunStatus, ToolCall
from shared.runs.services import Services, log
from shared.runs.store.runs import CallChange, Stored
from shared.runs.transitions import finish, next_turn, wake_later

TRANSIENT_CODES = frozenset({"server_error", "rate_limit_exceeded"})
MAX_CALLS_A_TURN = 90


class Reading:
    """Takes in what the provider answered. Methods raise ``Conflict`` when they lost a race."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._settings = services.settings

    async def read(self, stored: Stored[Run], agent: Agent, response: AgentResponse) -> Stored[Run]:
        """Take in what the response says, in one transaction."""
        run, now = stored.value, self._services.clock()
        word = plain_code(response.provider_status, otherwise="unknown")
        known = run.response_ids
        if response.response_id is not None and response.response_id not in known:
            known = (*known, response.response_id)
        run = replace(
            run,
            status=RunStatus.IN_PROGRESS,
            response_ids=known,
            provider_status=word,
            wakes=run.wakes + (run.next is Next.POLL),
            accepted_at=now if run.token is None else run.accepted_at,
            claimed_until=None,
            unknown_at=None,
            lease_owner="",
            lease_until=None,
            not_before=None,
            not_accepted=0,
            agent_errors=0,
            no_news=0,
            missing=0,
            missing_since=None,
            agent_unknown_since=None,
            denied_since=None,
            previous_missing=0,
            updated_at=now if run.provider_status != word else run.updated_at,
        )
        match response.status:
            case ResponseStatus.PENDING:
                return await self._pending(stored, run, response)
            case ResponseStatus.COMPLETED if response.calls or response.approvals:
                return await self._tools_asked(stored, run, agent, response)
            case ResponseStatus.FAILED if response.error_code in TRANSIENT_CODES and (
                run.restarts < self._settings.create_restarts
            ):
                return await self._restart(stored, run, response)
        return await self._final(stored, run, agent, response)

    async def _pending(self, stored: Stored[Run], run: Run, response: AgentResponse) -> Stored[Run]:
        now = self._services.clock()
        age = (now - (run.accepted_at or now)).total_seconds()
        first, most = self._settings.poll_first, self._settings.poll_max
        if self._settings.openai_webhook_secret is not None:
            first, most = max(first, schedule.SPARSE_FIRST), max(most, schedule.SPARSE_MOST)
        gap = schedule.poll_gap(age, first=first, most=most, luck=self._services.luck())
        after = replace(run, token=response.continuation_token, next=Next.POLL)
        return (await self._services.save(stored, wake_later(after, now, gap))).run

    async def _tools_asked(self, stored: Stored[Run], run: Run, agent: Agent, response: AgentResponse) -> Stored[Run]:
        """The calls go into the ledger in the transaction that sets ``tools``: they are never fetched again."""
        now = self._services.clock()
        run = replace(run, usage=run.usage + response.usage, token=None)
        asked = len(response.calls) + len(response.approvals)
        refused = _limit(run, asked)
        if refused is not None:
            after = finish(run, now, RunStatus.FAILED, code=refused[0], message=refused[1])
            return await self._services.end(stored, after)
        room = min(24_000, 400_000 // asked)  # the transaction stays far below its 3 MiB
        ledger = [
            CallChange(
                before=None,
                after=replace(call, arguments=await self._services.store.keep(run, str(call.arguments), inline=room)),
            )
            for call in _ledger(run, agent, response)
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
        run = replace(run, token=None, usage=run.usage + response.usage)
        refused = _limit(run, 0)
        if refused is not None:
            after = finish(run, now, RunStatus.FAILED, code=refused[0], message=refused[1])
            return await self._services.end(stored, after)
        gap = self._services.backoff(run.restarts + 1)
        after = wake_later(run, now, gap)
        after = replace(
            after,
            next=Next.CREATE,
            restarts=run.restarts + 1,
            not_before=after.wake_at,
            provider_status=f"failed: {response.error_code}",
        )
        return (await self._services.save(stored, after)).run

    async def _final(self, stored: Stored[Run], run: Run, agent: Agent, response: AgentResponse) -> Stored[Run]:
        now = self._services.clock()
        store = self._services.store
        status = RunStatus(response.status.value)
        code = message = None
        output = ""
        if status is RunStatus.COMPLETED and agent.output is not None:
            try:
                output = agent.output.parse(response.text)
            except InvalidOutput as error:
                if run.corrections == 0 and _has_another_turn(run, response):
                    return await self._correct(stored, run, response, error)
                status, code = RunStatus.FAILED, "invalid_output"
                again = ", twice" if run.corrections else ""
                message = f"The agent's text is not a {agent.output.name}{again}: {error}"
        elif status is RunStatus.FAILED:
            code = plain_code(response.error_code, otherwise="provider_failed")
            message = for_callers(response.error_message or "The provider failed the response and gave no reason.")
            told = without_secrets(response.error_message or "")
            log.warning("run %s: failed by the provider: %s", run.id, told, extra={"run_id": run.id})
        elif status is RunStatus.CANCELLED:
            code, message = "cancelled_at_provider", "The response was cancelled at the provider, not by this app."
        after = finish(run, now, status, code=code, message=message)
        after = replace(
            after,
            usage=run.usage + response.usage,
            text=await store.keep(run, response.text),
            output=await store.keep(run, output),
            incomplete_reason=_reason(response) if status is RunStatus.INCOMPLETE else None,
            previous_response_id=response.response_id or run.previous_response_id,
        )
        items = [await store.keep(run, json.dumps(response.items, ensure_ascii=False))] if response.items else []
        return await self._services.end(stored, after, items=items)

    async def _correct(
        self, stored: Stored[Run], run: Run, response: AgentResponse, error: InvalidOutput
    ) -> Stored[Run]:
        """One more turn for text that does not fit: the model is told what is wrong with it."""
        now, store = self._services.clock(), self._services.store
        told = f"Your answer does not fit the required format: {error}. Answer again, with the corrected JSON alone."
        items = [
            await store.keep(run, json.dumps(response.items, ensure_ascii=False)),
            await store.keep(run, json.dumps([{"type": "message", "role": "user", "content": told}])),
        ]
        after = replace(
            next_turn(wake_later(run, now, 0.0), now),
            previous_response_id=response.response_id,
            corrections=run.corrections + 1,
            usage=run.usage + response.usage,
        )
        return (await self._services.save(stored, after, items=items)).run


def created_for(run: Run, app: str) -> dict[str, str]:
    """What the provider keeps with the response of the run's current attempt."""
    return {"app": app, "run": run.id, "turn": str(run.turn), "attempt": str(run.attempt), "nonce": run.nonce}


def names_another(run: Run, response: AgentResponse, app: str) -> bool:
    """Whether the response says that it was created for something else than the run's current attempt.

    One that says nothing of it may be the attempt's: not every server gives `metadata` back.
    """
    return any(response.metadata.get(name, ours) != ours for name, ours in created_for(run, app).items() if ours)


def _reason(response: AgentResponse) -> str | None:
    reason = response.incomplete_reason
    return None if reason is None else plain_code(reason, otherwise="unknown")


def _ledger(run: Run, agent: Agent, response: AgentResponse) -> list[ToolCall]:
    """The ledger of a turn that asks for something: our tools, then what the provider wants approved."""
    line = functools.partial(ToolCall, session_id=run.session_id, number=run.number, turn=run.turn)
    lines: list[ToolCall] = []
    for call in response.calls:
        tool = agent.tools.get(call.name)
        made = line(index=len(lines), call_id=call.call_id, name=call.name, arguments=call.arguments)
        lines.append(waiting(made, tool) if tool is not None and tool.requires_approval else made)
    for request in response.approvals:
        lines.append(
            line(
                index=len(lines),
                call_id=request.request_id,
                name=request.name,
                arguments=request.arguments,
                kind=CallKind.MCP,
                state=CallState.WAITING,
                approval=Approval.PENDING,
                why=f"A tool of the MCP server {request.server}." if request.server else "",
            )
        )
    return _answerable(lines, run.updated_at)


def _answerable(lines: list[ToolCall], now: datetime) -> list[ToolCall]:
    """The ledger with one question for each request of the provider's own: it hears an answer by the request's id.

    A request that shares its id with one before it is not asked about, and refused.
    """
    seen: set[str] = set()
    found = []
    for line in lines:
        if line.kind is CallKind.MCP:
            if line.call_id in seen:
                line = replace(line, state=CallState.FINISHED, approval=Approval.NONE, finished_at=now)
            seen.add(line.call_id)
        found.append(line)
    return found


def _has_another_turn(run: Run, response: AgentResponse) -> bool:
    """Whether the run's limits allow one turn more."""
    tokens = run.limits.total_tokens
    used = (run.usage + response.usage).total_tokens
    return run.turn < run.limits.turns and (tokens is None or used < tokens)


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
