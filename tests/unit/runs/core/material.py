"""What the facts of the core's test are made of: tools, responses, what goes wrong at a provider."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from shared.agentkit import faults
from shared.agentkit.agent import (
    AgentResponse,
    ApprovalRequest,
    ContinuationToken,
    FunctionCall,
    ResponseStatus,
    Usage,
)
from shared.agentkit.tools import Tool
from shared.runs.model import facts
from shared.runs.model.phases import Creating, Scheduled
from shared.runs.model.run import Limits, Request, Run, Schedule
from shared.runs.rules.journal import begun

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _nothing() -> None: ...


TOOLS = {
    "free": Tool(name="free", description="", function=_nothing),
    "guarded": Tool(name="guarded", description="", function=_nothing, requires_approval=True),
    "once": Tool(name="once", description="", function=_nothing, at_most_once=True),
}
STRICTER = {**TOOLS, "free": replace(TOOLS["free"], requires_approval=True)}
"""The tools of another build, which asks before it runs what the build that read the response did not ask about."""

CREATE_FAULTS = st.sampled_from(
    [
        faults.NotAccepted("no", code="http_429", retry_after=3.0),
        faults.NotAccepted("no place", code=faults.NOT_SENT),
        faults.AccessDenied("denied", code="http_403"),
        faults.PreviousResponseMissing("gone", code="previous_response_not_found"),
        faults.ToolOutputsRefused("no", code="refused"),
        faults.Refused("bad", code="http_400"),
    ]
)
JITTER = st.sampled_from([0.0, 0.5])
SELDOM = st.sampled_from([*[False] * 4, True, *[False] * 3])
"""What ends a run is tried in one of eight steps: else few runs would get far."""

CREATED = st.sampled_from(["pending", "pending", "pending", "tools", "completed", "failed"])
LOOKED = st.sampled_from(["pending", "tools", "tools", "tools", "completed", "failed", "cut", "server"])


PICK = st.integers(0, 7)
"""Which of those that there are: 0 is the latest."""

STEPS = st.lists(st.tuples(CREATED, LOOKED, st.booleans()), max_size=12)
"""How what is expected goes, step by step."""


def answer(response_id: str, status: str, count: int) -> facts.Answer:
    """What is made of a response; ``count``: how many tools it asks for, where it asks for any."""
    kind = {"tools": "completed", "server": "failed", "cut": "incomplete"}.get(status, status)
    names = ["once", "guarded", "guarded", "free", "gone"][:count]
    response = AgentResponse(
        status=ResponseStatus(kind),
        provider_status=kind,
        response_id=response_id,
        continuation_token=ContinuationToken(response_id=response_id) if status == "pending" else None,
        text="Fine." if status == "completed" else "",
        items=({"type": "message"},),
        calls=tuple(FunctionCall(call_id=f"c{i}", name=name, arguments="{}") for i, name in enumerate(names))
        if status == "tools"
        else (),
        approvals=(ApprovalRequest(request_id="m", server="s", name="t", arguments="{}"),)
        if status == "tools" and count == 4
        else (),
        usage=Usage(total_tokens=10) if status != "pending" else Usage(),
        error_code={"server": "server_error", "failed": "invalid_prompt"}.get(status),
    )
    return facts.Answer(response=response, tools=TOOLS)


def new_run(*, callback: bool, deadline: int, turns: int, tokens: int, later: bool) -> Run:
    """A run as it begins, at ``START``; ``later``: submitted for an hour later."""
    start_at = START + timedelta(hours=1) if later else None
    return Run(
        request=Request(
            session_id="0" * 32,
            number=1,
            agent="a",
            owner="o",
            fingerprint="f",
            created_at=START,
            limits=Limits(turns=turns, tool_calls=6, total_tokens=tokens),
            callback_url="https://x.example" if callback else None,
            start_at=start_at,
        ),
        phase=Creating() if start_at is None else Scheduled(not_before=start_at, deadline_seconds=deadline),
        schedule=Schedule(deadline_at=START + timedelta(seconds=deadline) if start_at is None else None),
        updated_at=START,
        journal=begun(START),
    )
