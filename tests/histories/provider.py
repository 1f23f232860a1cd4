"""A model provider in memory: what runs ask it for is written in their input, as a plan."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from local.model.records import KnownResponse, LoggedRequest
from shared.agentkit import faults
from shared.agentkit.agent import (
    AgentResponse,
    AgentSession,
    AgentUpdate,
    ContinuationToken,
    FunctionCall,
    Item,
    ResponseStatus,
    RunOptions,
    Send,
    Usage,
)
from shared.agentkit.tools import Tool

if TYPE_CHECKING:
    from tests.histories.world import Process


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTurn:
    """What the model does in one turn."""

    think: float = 1.0
    """Seconds."""

    calls: tuple[tuple[str, str], ...] = ()
    """Tools that it asks for, with their arguments; none: it is done."""

    status: str = "completed"
    """How the response ends."""

    error_code: str | None = None
    """Of one that fails."""

    fails: int = 0
    """How many responses of this turn fail before, with a code that passes."""

    text: str = "Fine."


@dataclass(eq=False, slots=True, kw_only=True)
class Made:
    """One response at the provider."""

    id: str
    plan: tuple[PlannedTurn, ...]
    turn: PlannedTurn
    index: int
    metadata: Mapping[str, str]
    created: float
    background: bool
    previous: str | None
    cancelled_at: float | None = None
    deleted: bool = False
    must_fail: bool = False

    def status_at(self, now: float) -> str:
        """How it stands."""
        if self.cancelled_at is not None and self.cancelled_at < self.created + self.turn.think:
            return "cancelled"
        if now < self.created + self.turn.think and self.background:
            return "in_progress"
        return "failed" if self.must_fail else self.turn.status

    def call_ids(self) -> list[str]:
        """Of the calls that it asks for, once it has completed."""
        return [f"call_{self.id}_{index}" for index in range(len(self.turn.calls))]


def to_text(plan: Sequence[PlannedTurn], words: str) -> str:
    """The input of a run that is to go so; ``words`` are private."""
    turns = [{name: getattr(turn, name) for name in PlannedTurn.__dataclass_fields__} for turn in plan]
    return json.dumps({"plan": turns, "words": words})


def plan_in(items: Sequence[Item]) -> tuple[PlannedTurn, ...] | None:
    """The plan in the last message of a user, if there is one."""
    for item in reversed(items):
        if item.get("role") == "user":
            turns = json.loads(item["content"])["plan"]
            return tuple(PlannedTurn(**{**turn, "calls": tuple(map(tuple, turn["calls"]))}) for turn in turns)
    return None


@dataclass(slots=True, kw_only=True)
class Model:
    """The provider's state: what it was sent, and what it has made."""

    made: dict[str, Made] = field(default_factory=dict)
    requests: list[LoggedRequest] = field(default_factory=list)

    def create(self, messages: Sequence[Item], previous: str | None, options: RunOptions, now: float) -> Made:
        """Take a request. Raises the faults of a create."""
        plan = plan_in(messages)
        before = None
        if previous is not None:
            before = self.made.get(previous)
            if before is None or before.deleted:
                raise faults.PreviousResponseMissing("gone", code="previous_response_not_found")
            if before.status_at(now) != "completed":
                raise faults.Refused(f"{previous} is {before.status_at(now)}", code="cannot_be_continued")
            if plan is None:
                plan = before.plan
        self._check_outputs(messages, before, is_new=plan_in(messages) is not None)
        assert plan is not None, "a request without a plan"
        said = dict(options.metadata)
        index = min(int(said["turn"]) - 1, len(plan) - 1)
        earlier = sum((each.metadata["run"], each.index) == (said["run"], index) for each in self.made.values())
        made = Made(
            id=f"resp_{len(self.made) + 1}",
            plan=plan,
            turn=plan[index],
            index=index,
            metadata=said,
            created=now,
            background=options.background,
            previous=previous,
            must_fail=earlier < plan[index].fails,
        )
        self.made[made.id] = made
        return made

    def _check_outputs(self, messages: Sequence[Item], before: Made | None, *, is_new: bool) -> None:
        """A chained request has exactly the outputs that the response before it asked for, a replay all of them."""
        outputs = [item["call_id"] for item in messages if item.get("type") == "function_call_output"]
        if before is not None:
            asked = [] if is_new and not before.turn.calls else before.call_ids()
        else:
            asked = [item["call_id"] for item in messages if item.get("type") == "function_call"]
        if sorted(outputs) != sorted(asked):
            raise faults.Refused(f"outputs of {outputs}, and not of {asked}", code="outputs_missing")

    def records(self, now: float) -> list[KnownResponse]:
        """All responses, as the scripted model's control API reports them."""
        return [
            KnownResponse(
                id=made.id,
                status=made.status_at(now),
                script="",
                turn=made.index,
                attempt=0,
                created_at=made.created,
                background=made.background,
                cancelled=made.cancelled_at is not None,
                deleted=made.deleted,
                forgotten=False,
                metadata=dict(made.metadata),
                previous_response_id=made.previous,
            )
            for made in self.made.values()
        ]


def response_of(made: Made, now: float) -> AgentResponse:
    """What an agent reads in a response."""
    status = made.status_at(now)
    if status == "in_progress":
        token = ContinuationToken(response_id=made.id)
        return _response(made, ResponseStatus.PENDING, status, continuation_token=token)
    if status != "completed":
        code = ("server_error" if made.must_fail else made.turn.error_code) if status == "failed" else None
        return _response(made, ResponseStatus(status), status, error_code=code, usage=Usage(total_tokens=1))
    calls = tuple(
        FunctionCall(call_id=call_id, name=name, arguments=arguments)
        for call_id, (name, arguments) in zip(made.call_ids(), made.turn.calls, strict=True)
    )
    items: list[Item] = [
        {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments}
        for call in calls
    ]
    if not calls:
        content = [{"type": "output_text", "text": made.turn.text}]
        items.append({"type": "message", "role": "assistant", "content": content})
    text, usage = "" if calls else made.turn.text, Usage(total_tokens=10)
    return _response(made, ResponseStatus.COMPLETED, status, calls=calls, items=tuple(items), text=text, usage=usage)


def _response(made: Made, status: ResponseStatus, word: str, **more: Any) -> AgentResponse:
    # A response within the call is not kept: nobody can ask for it again.
    response_id = made.id if made.background else None
    return AgentResponse(
        status=status, provider_status=word, response_id=response_id, metadata=dict(made.metadata), **more
    )


class ModelAgent:
    """An agent over the provider in memory, in one process. It is an ``Agent``."""

    description = "Does what the plan in its input says."
    streams = False
    model = None
    models: frozenset[str] = frozenset()
    caller_options: frozenset[str] = frozenset()
    caller_instructions = "input"
    output = None
    asks_approval = True

    def __init__(self, process: Process, name: str, tools: Mapping[str, Tool], *, background: bool = True) -> None:
        self.name, self.tools = name, tools
        self.background = self.chains = background
        self._process = process

    def prepare(self, messages: Sequence[Item], *, session: AgentSession, options: RunOptions) -> Send:
        """Nothing is sent before the result is called."""
        self._process.may_raise("prepare")

        async def send() -> AgentResponse:
            return await self._process.create(messages, session.previous_response_id, options)

        return send

    async def run(
        self, messages: Sequence[Item] | None, *, session: AgentSession, options: RunOptions
    ) -> AgentResponse:
        """A look: creates are prepared."""
        assert messages is None
        assert options.continuation_token is not None
        return await self._process.look(options.continuation_token.response_id)

    def follow(self, response_id: str, *, after: int, timeout: float) -> AsyncGenerator[AgentUpdate, None]:
        """It cannot be followed."""
        raise faults.NotStreamed("no stream", code="not_streamed")

    async def cancel(self, response_id: str, *, timeout: float) -> AgentResponse | None:
        """Stop it."""
        return await self._process.cancel_response(response_id)

    async def delete(self, response_id: str, *, timeout: float) -> None:
        """Delete the copy."""
        await self._process.delete_response(response_id)

    async def check(self, *, timeout: float) -> None:
        """All is well."""
