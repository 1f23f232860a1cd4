"""Create: have the turn's response made, under a claim that is recorded before the request is sent."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from shared.agentkit import faults
from shared.agentkit.agent import Agent, AgentResponse, AgentSession, Item, RunInfo, RunOptions, Send
from shared.agentkit.output import InvalidOutput
from shared.agentkit.within import within
from shared.runs.actions import conversation, outbox, provider
from shared.runs.actions.lease import Lease
from shared.runs.commit import commit, commit_through
from shared.runs.concurrency import LostRace
from shared.runs.model.callers_tools import CallersTools
from shared.runs.model.facts import Answer, Attempt, Claimed, NotBuilt, NotCreated, OutcomeUnknown, ResponseCreated
from shared.runs.model.phases import Claim, Creating
from shared.runs.model.run import Run
from shared.runs.ports import Ports, log
from shared.runs.store.runs import Stored
from shared.runs.traces import provider_request


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be sent for an attempt, once that is claimed."""

    attempt: Attempt
    """Its number and nonce, which the request carries."""

    send: Send
    """Sends it, once: the SDK's own retries would start a second response."""

    messages: Sequence[Item]
    """What the agent was given to send."""


async def create(ports: Ports, stored: Stored[Run], agent: Agent) -> Stored[Run]:
    """Build the request, claim the turn's next attempt, send it, and commit what became of it.

    The agent's own code runs before the claim: what fails there has surely sent nothing.
    """
    try:
        request = await build(ports, stored.value, agent, last=stored.appended)
    except faults.ProviderFault as fault:
        return await not_built(ports, stored, fault)
    claimed = await commit(ports, stored, claim_for(ports, request, agent))
    return claimed.run if claimed.refused is not None else await send(ports, claimed.run, request, agent)


async def build(
    ports: Ports, run: Run, agent: Agent, *, given: list[Item] | None = None, last: str | None = None
) -> Request:
    """The request of the turn's next attempt.

    ``given``: the run's input, while it is not written yet. ``last``: what was appended last, where that is known.

    Raises ``ProviderFault``: ``RequestNotBuilt`` for whatever the agent raises; ``StoreUnavailable``.
    """
    attempt = Attempt(turn=run.turn.number, number=run.turn.attempt + 1, nonce=secrets.token_hex(8))
    try:
        messages = await conversation.messages(ports, run, agent, given=given, last=last)
    except conversation.ConversationTooLong as error:
        text = "The conversation is too long to be sent to the model anew. Begin another session."
        raise faults.Refused(text, code="conversation_too_long") from error
    # The nonce is random, so that nobody can make a response that passes for this attempt's.
    options = replace(
        _options(ports, run, attempt, agent),
        # Each turn: the provider does not carry instructions over from one response to the next.
        instructions=await ports.runs.load_text(run, run.request.instructions),
    )
    options = with_tools(options, CallersTools.from_json(await ports.runs.load_text(run, run.request.tools)))
    previous = run.chain.last_response_id if conversation.is_chained(run, agent) else None
    session = AgentSession(session_id=run.request.session_id, previous_response_id=previous)
    return Request(attempt=attempt, send=_built(agent, messages, session, options), messages=messages)


def with_tools(options: RunOptions, tools: CallersTools) -> RunOptions:
    """The options with what the caller brings; the choice of a tool is that of the first turn."""
    # In a later turn it would make the model call it again and again.
    is_first = options.run is None or options.run.turn == 1
    callers = options.caller_options
    if tools.parallel is not None:
        callers = {"parallel_tool_calls": tools.parallel, **callers}
    choice = tools.choice if is_first else None
    return replace(options, tools=tools.definitions, tool_choice=choice, caller_options=callers)


def claim_for(ports: Ports, request: Request, agent: Agent) -> Claimed:
    """The claim of the request's attempt: a lease, where the answer comes within the call."""
    settings = ports.settings
    if agent.background:
        # The grace lets a webhook of a slow create arrive before the turn is created a second time.
        return Claimed(attempt=request.attempt, seconds=settings.create_claim, grace=settings.create_grace)
    return Claimed(attempt=request.attempt, seconds=settings.tool_lease, grace=0.0, owner=secrets.token_hex(8))


async def send(ports: Ports, claimed: Stored[Run], request: Request, agent: Agent) -> Stored[Run]:
    """Send a request whose attempt is claimed, and commit what became of it."""
    attempt, claim = request.attempt, _claim(claimed.value)
    # A lease is renewed while the call runs; a claim must outlast the whole request.
    needed = timedelta(seconds=ports.settings.create_timeout if agent.background else 0.0)
    # A frozen process may come here after its claim ran out, when another has sent its own request.
    if claim is None or ports.clock() + needed > claim.until:
        late = faults.NotAccepted("Too little of the claim was left to send the request.", code="not_sent")
        fact = NotCreated(attempt=attempt, fault=late, jitter=ports.random())
        return (await commit(ports, claimed, fact)).run
    if not agent.background:
        return await _answered_within_the_call(ports, claimed, request, agent, claim.owner)
    return await _sent(ports, claimed, request, agent, claim.until)


async def _sent(ports: Ports, claimed: Stored[Run], request: Request, agent: Agent, end: datetime) -> Stored[Run]:
    run, attempt = claimed.value, request.attempt
    try:
        response = await _answer_to(ports, run, request, ports.settings.create_timeout)
    except faults.PerhapsAccepted as fault:
        log.warning("run %s: create of unknown outcome: %s", run.id, fault.for_log)
        unknown = OutcomeUnknown(attempt=attempt, code=fault.code, within_call=False)
        return (await commit(ports, claimed, unknown)).run
    except faults.ProviderFault as fault:
        log.warning("run %s: not created: %s", run.id, fault.for_log)
        fact = NotCreated(attempt=attempt, fault=fault, jitter=ports.random())
        return (await commit_through(ports, claimed, fact, lambda: end)).run
    created = ResponseCreated(attempt=attempt, answer=answer_of(agent, response), jitter=ports.random())
    try:
        committed = (await commit_through(ports, claimed, created, lambda: end)).run
    # No row can name the response any more, so this process alone can stop it.
    except LostRace:  # the row is gone
        await _cancel_and_delete(ports, response, agent)
        raise
    return await outbox.cancel_at_once(ports, committed, response.response_id, agent)


async def _answered_within_the_call(
    ports: Ports, claimed: Stored[Run], request: Request, agent: Agent, owner: str
) -> Stored[Run]:
    """An agent without background mode: the claim is a lease, renewed while the call runs.

    Nothing runs on at the provider without the call, so a call of unknown outcome needs no grace.
    """
    lease, attempt = Lease(ports, claimed, owner), request.attempt
    fact: NotCreated | OutcomeUnknown | ResponseCreated
    try:
        response = await lease.hold(_answer_to(ports, claimed.value, request, ports.settings.tool_timeout))
        answer = answer_of(agent, response)
        fact = ResponseCreated(attempt=attempt, answer=answer, jitter=ports.random(), cancellable=False)
    except faults.PerhapsAccepted as fault:
        log.warning("run %s: call of unknown outcome: %s", lease.run.id, fault.for_log)
        fact = OutcomeUnknown(attempt=attempt, code=fault.code, within_call=True)
    except faults.ProviderFault as fault:
        log.warning("run %s: not created: %s", lease.run.id, fault.for_log)
        fact = NotCreated(attempt=attempt, fault=fault, jitter=ports.random())
    return (await commit_through(ports, lease.stored, fact, lease.ends)).run


def _options(ports: Ports, run: Run, attempt: Attempt, agent: Agent) -> RunOptions:
    request, settings = run.request, ports.settings
    about = RunInfo(
        run_id=run.id,
        session_id=request.session_id,
        owner=request.owner,
        turn=run.turn.number,
        metadata=dict(request.metadata),
    )
    return RunOptions(
        timeout=settings.create_timeout if agent.background else settings.tool_timeout,
        background=agent.background,
        stream=request.stream and agent.streams,
        metadata=provider.metadata_of(settings.app_in_metadata, run, attempt),
        model=request.model,
        run=about,
        caller_options=json.loads(request.options) if request.options else {},
    )


def _built(agent: Agent, messages: list[Item], session: AgentSession, options: RunOptions) -> Send:
    try:
        return agent.prepare(messages, session=session, options=options)
    except faults.ProviderFault:
        raise
    except Exception as error:
        # The type alone: the text of an agent's exception may hold secrets, and callers read this.
        raise faults.RequestNotBuilt(type(error).__name__, code="agent_error") from error


async def not_built(ports: Ports, stored: Stored[Run], fault: faults.ProviderFault) -> Stored[Run]:
    """Commit that there was no request to send."""
    run = stored.value
    if isinstance(fault, faults.RequestNotBuilt):
        log.error(
            "run %s: the agent %s cannot build its request",
            run.id,
            run.request.agent,
            exc_info=fault.__cause__ or fault,
        )
    else:
        log.warning("run %s: not created: %s", run.id, fault.for_log)
    turn = run.turn
    fact = NotBuilt(turn=turn.number, attempt=turn.attempt, fault=fault, jitter=ports.random())
    return (await commit(ports, stored, fact)).run


async def _answer_to(ports: Ports, run: Run, request: Request, seconds: float) -> AgentResponse:
    try:
        with provider_request(ports, "create response", run.id, request.messages):
            response = await within(seconds + provider.SLACK_SECONDS, request.send())
    except TimeoutError as error:
        raise faults.PerhapsAccepted("No answer in time.", code="create_timeout") from error
    # After a POST, silence says nothing: the provider may have started the job.
    except faults.NoNews as fault:
        raise faults.PerhapsAccepted(fault.message, code=fault.code) from fault
    if provider.names_another(response, provider.metadata_of(ports.settings.app_in_metadata, run, request.attempt)):
        # What became of our request is not in it: ours may run under an id that we do not know.
        raise faults.PerhapsAccepted("The answer is another request's.", code="another_response")
    return response


async def _cancel_and_delete(ports: Ports, response: AgentResponse, agent: Agent) -> None:
    """Cancel and delete, best effort, a response that no row can name any more."""
    if response.response_id is not None:
        # Nothing is left to write a second try into.
        with contextlib.suppress(faults.ProviderFault):
            await provider.cancel(ports, response.response_id, agent)
            await provider.delete(ports, response.response_id, agent)


def answer_of(agent: Agent, response: AgentResponse) -> Answer:
    """The response, with what the agent makes of its text."""
    if agent.output is None:
        return Answer(response=response, tools=agent.tools)
    try:
        output = agent.output.parse(response.text)
    except InvalidOutput as error:
        form = agent.output.name
        return Answer(response=response, tools=agent.tools, output_error=str(error), output_form=form)
    return Answer(response=response, tools=agent.tools, output=output)


def attempt_of(run: Run) -> Attempt:
    """The attempt whose outcome the run waits for, or that it has adopted."""
    nonce = getattr(run.phase, "nonce", "")
    return Attempt(turn=run.turn.number, number=run.turn.attempt, nonce=nonce)


def _claim(run: Run) -> Claim | None:
    return run.phase.claim if isinstance(run.phase, Creating) else None
