"""What is checked of a request before anything is written."""

from __future__ import annotations

from datetime import timedelta

from shared.errors import (
    AgentMismatch,
    CallbacksDisabled,
    InvalidRequest,
    ModelNotAllowed,
    SessionBusy,
    StartAtInSession,
    UnknownAgent,
)
from shared.runs.commands.submission import Submission
from shared.runs.model.ids import run_id
from shared.runs.model.session import Session
from shared.runs.ports import Ports
from shared.runs.store.runs import Stored

FURTHEST = timedelta(days=366)
"""How far ahead a run may be submitted."""


def check_new_session(ports: Ports, wanted: Submission) -> None:
    """Raise what ``submit`` would say against a request that begins a session, before it reads or writes anything."""
    check_model(ports, wanted, agent_of(ports, wanted, None))
    check_limits(ports, wanted)


def agent_of(ports: Ports, wanted: Submission, session: Stored[Session] | None) -> str:
    """The agent that answers. Raises ``AgentMismatch``, ``UnknownAgent``."""
    if session is not None:
        # A provider's conversation goes on from the last response, which another agent's model may not even have.
        if wanted.agent not in (None, session.value.agent):
            raise AgentMismatch(f"This session belongs to the agent {session.value.agent}, not {wanted.agent}.")
        return session.value.agent
    if wanted.agent is None:
        return next(iter(ports.agents))
    if wanted.agent not in ports.agents:
        raise UnknownAgent(f"There is no agent {wanted.agent!r} here; there are: {', '.join(ports.agents)}.")
    return wanted.agent


def check_model(ports: Ports, wanted: Submission, name: str) -> None:
    """Raise ``ModelNotAllowed`` for a model that the agent does not list."""
    # A session's agent may be unknown to this build. Without a wish for a model its run may wait for another build.
    agent = ports.agents.get(name)
    if wanted.model is None or (agent is not None and wanted.model in agent.models):
        return
    allowed = ", ".join(sorted(agent.models)) if agent is not None else ""
    raise ModelNotAllowed(
        f"The agent {name} may be asked for these models: {allowed}."
        if allowed
        else f"The agent {name} has its own model. Leave `model` out."
    )


def check_limits(ports: Ports, wanted: Submission) -> None:
    """Raise ``InvalidRequest`` for more than the app's limits, or a deadline beyond the longest."""
    settings = ports.settings
    most = {
        "deadline_seconds": (wanted.deadline_seconds, settings.deadline_most),
        "limits.turns": (wanted.turns, settings.max_turns),
        "limits.tool_calls": (wanted.tool_calls, settings.max_tool_calls),
        "limits.total_tokens": (wanted.total_tokens, settings.max_total_tokens),
    }
    for name, (asked, allowed) in most.items():
        if asked is not None and allowed is not None and asked > allowed:
            raise InvalidRequest(
                f"`{name}` may be at most {allowed:.15g} here.",
                errors=[{"field": name, "problem": f"may be at most {allowed:.15g}"}],
            )


def check_start(ports: Ports, wanted: Submission) -> None:
    """Raise ``StartAtInSession``, or ``InvalidRequest`` for a time that is too far ahead. One that is past is fine."""
    if wanted.start_at is None:
        return
    # A conversation is in the order of its runs' numbers, and others would be had before its time.
    if wanted.session_id is not None:
        raise StartAtInSession
    if wanted.start_at > ports.clock() + FURTHEST:
        problem = f"may be at most {FURTHEST.days} days ahead"
        raise InvalidRequest(f"`start_at` {problem}.", errors=[{"field": "start_at", "problem": problem}])


def check_callback(ports: Ports, url: str | None) -> None:
    """Raise why nothing could be sent to this address, as far as that is known now."""
    if url is None:
        return
    if ports.sender is None:
        raise CallbacksDisabled
    # A name is resolved only when something is sent: what it points to now says nothing of then.
    problem = ports.sender.problem(url)
    if problem is not None:
        raise InvalidRequest(f"`callback_url` {problem}.", errors=[{"field": "callback_url", "problem": problem}])


def busy(session: Session) -> SessionBusy:
    """The error for a session whose active run comes first."""
    active = None if session.active_run is None else run_id(session.session_id, session.active_run)
    return SessionBusy(session_id=session.session_id, active_run=active)
