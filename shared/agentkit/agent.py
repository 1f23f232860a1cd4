"""What an agent is: its protocol, and the values that go in and out.

The shapes follow Microsoft Agent Framework's background responses: ``agent.run(messages, session=…, options=…)``
answers at once, either finally (token None) or with a continuation token; the same call with that token asks again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from shared.agentkit.caller import CallerInstructions, CallerTools
from shared.agentkit.extras import Annotation, HostedCall
from shared.agentkit.output import OutputFormat
from shared.agentkit.tools import Tool

# ``Any``: providers add fields at any time, and a replay has to send them back.
Item = dict[str, Any]
"""One conversation item in the shape of the Responses API (``message``, ``function_call``, …)."""


def text_of(items: Iterable[Item]) -> str:
    """The text of the message items; a refusal is text too."""
    # A refusal too: the response is complete, and its reader must see why there is no answer.
    parts = [
        part.get("text") if part.get("type") == "output_text" else part.get("refusal")
        for item in items
        if item.get("type") == "message"
        for part in item.get("content") or ()
        if isinstance(part, dict) and part.get("type") in ("output_text", "refusal")
    ]
    return "".join(part for part in parts if isinstance(part, str))


@dataclass(frozen=True, slots=True, kw_only=True)
class ContinuationToken:
    """Where a run stands at the provider. Stored in our rows and never shown to a caller."""

    response_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSession:
    """What the agent needs of a conversation to go on with it.

    ``previous_response_id``: the provider's response to continue from; None sends the items alone.
    """

    session_id: str
    previous_response_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """What an agent may know of the run that it answers: for instructions that are a function of it.

    ``metadata`` comes from the caller: a value may choose among texts of the agent's own, but never become part
    of the instructions, which the model obeys.
    """

    run_id: str
    session_id: str
    owner: str
    turn: int
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How one call of the agent is to be made.

    ``timeout`` in seconds bounds the one request; ``metadata`` (at most 16 pairs) is kept by the provider.
    ``model`` None is the agent's own. ``run`` is there whenever messages are sent for one. ``stream`` makes a response
    in the background one that can be followed while it is made; an agent that does not stream ignores it.
    ``caller_options`` are set by the caller, of those that the agent allows; ``instructions`` are the caller's, to
    follow the agent's own. ``tools`` are the caller's functions, in the notation of the Responses API, for the model to
    call beside the agent's; ``tool_choice``, in the same notation, says which it must call (None: as it likes).
    """

    timeout: float
    continuation_token: ContinuationToken | None = None
    background: bool = True
    stream: bool = False
    # 16 pairs of 64 and 512 characters are what the Responses API takes.
    metadata: Mapping[str, str] = field(default_factory=dict)
    model: str | None = None
    run: RunInfo | None = None
    caller_options: Mapping[str, Any] = field(default_factory=dict)
    instructions: str = ""
    tools: Sequence[Item] = ()
    tool_choice: str | Mapping[str, Any] | None = None

    @property
    def owner(self) -> str:
        """Whose request it is; empty where it is nobody's in particular."""
        return "" if self.run is None else self.run.owner


class ResponseStatus(StrEnum):
    """The status of a response. One of the provider's that we do not know counts as pending."""

    PENDING = "pending"
    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionCall:
    """A tool that the model asks for. ``arguments`` is the JSON text as the model wrote it."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRequest:
    """A call that the provider would make itself (an MCP server's tool) and wants approved first."""

    request_id: str
    server: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens, as the provider counted them."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            total_tokens=self.total_tokens + other.total_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentResponse:
    """What a response is now.

    ``continuation_token`` is None when nothing is pending: done, failed, or something asked for (``calls``,
    ``approvals``). ``metadata`` is what its create gave it.
    ``ended_at`` is when it ended by the provider's clock, where it says so.
    ``provider_status`` is the status as the provider names it. ``items`` are its output items, in order.
    """

    status: ResponseStatus
    provider_status: str
    response_id: str | None = None
    continuation_token: ContinuationToken | None = None
    text: str = ""
    items: tuple[Item, ...] = ()
    calls: tuple[FunctionCall, ...] = ()
    approvals: tuple[ApprovalRequest, ...] = ()
    usage: Usage = field(default_factory=Usage)
    error_code: str | None = None
    error_message: str | None = None
    incomplete_reason: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    ended_at: datetime | None = None


# Built and sent in two steps, so that what fails in the agent's own code has surely sent nothing.
Send = Callable[[], Coroutine[Any, Any, AgentResponse]]
"""Sends a request that is built, once. Raises the faults of a create (``agentkit.faults``)."""


class UpdateKind(StrEnum):
    """What an update is: more text; a new start, with all before it void; the end of the response. Or something beside
    the text: a mark on it, a hosted tool's call as it now is, more of a summary of the model's reasoning.
    """

    TEXT = "text"
    RESET = "reset"
    ENDED = "ended"
    ANNOTATION = "annotation"
    HOSTED_CALL = "hosted_call"
    REASONING = "reasoning"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentUpdate:
    """One piece of a response while it is made.

    ``sequence`` is the provider's number of it: to follow the response after that number begins with the next.
    ``text`` is that of the answer, or of the summary; ``refusal`` tells that the answer refuses. ``part`` tells the
    parts of an answer apart: the indices of an ``annotation`` count from the start of its part. ``response`` is there
    at the end, as a poll would have it.
    """

    kind: UpdateKind
    sequence: int
    text: str = ""
    refusal: bool = False
    part: tuple[int, int] | None = None
    annotation: Annotation | None = None
    hosted_call: HostedCall | None = None
    response: AgentResponse | None = None


class Agent(Protocol):
    """Anything that answers messages, at once or with a token. Faults are those of ``agentkit.faults``."""

    @property
    def name(self) -> str:
        """The name callers use; also what a stored run refers to."""
        ...

    @property
    def description(self) -> str:
        """One sentence for people."""
        ...

    @property
    def background(self) -> bool:
        """Whether a create answers at once with a token. Without it the agent answers within the call."""
        ...

    @property
    def streams(self) -> bool:
        """Whether a response that was created with ``stream`` can be followed while it is made."""
        ...

    @property
    def chains(self) -> bool:
        """Whether the provider keeps the conversation, so that new items alone are sent."""
        ...

    @property
    def model(self) -> str | None:
        """The agent's own model, as callers see it; None where it is not known here."""
        ...

    @property
    def models(self) -> frozenset[str]:
        """The models that a caller may ask for instead of the agent's own."""
        ...

    @property
    def caller_options(self) -> frozenset[str]:
        """The options of a request that a caller may set, by the names of ``agentkit.caller``."""
        ...

    @property
    def caller_instructions(self) -> CallerInstructions:
        """What becomes of a caller's instructions, and of their system and developer messages."""
        ...

    @property
    def caller_tools(self) -> CallerTools:
        """What becomes of a caller's own functions."""
        ...

    @property
    def output(self) -> OutputFormat | None:
        """What the final text must be, for an agent with structured output."""
        ...

    @property
    def tools(self) -> Mapping[str, Tool]:
        """The tools that run here, by name."""
        ...

    @property
    def asks_approval(self) -> bool:
        """Whether a run may come to wait for a person: a tool, here or of an MCP server, needs approval."""
        ...

    def prepare(self, messages: Sequence[Item], *, session: AgentSession, options: RunOptions) -> Send:
        """Build the request that creates a response from ``messages``. Nothing is sent before the result is called.

        Whatever it raises is the agent's own fault, but for ``Refused``: messages that this agent cannot send.
        """
        ...

    async def run(
        self, messages: Sequence[Item] | None, *, session: AgentSession, options: RunOptions
    ) -> AgentResponse:
        """Create a response from ``messages`` (prepare and send), or, with a token in the options, ask about one."""
        ...

    # Not ``async def``: calling an async generator function gives the generator, not a coroutine.
    def follow(self, response_id: str, *, after: int, timeout: float) -> AsyncGenerator[AgentUpdate, None]:
        """The updates after that sequence number (0: all of them), each as it is made; ``aclose`` closes the stream.

        ``timeout`` in seconds bounds the opening, not the following. It may end before the response does: follow
        again from the last number. Raises ``NotStreamed`` when that cannot help, ``NoNews``, ``ResponseMissing``.
        """
        ...

    async def cancel(self, response_id: str, *, timeout: float) -> AgentResponse | None:
        """Ask the provider to stop; the response as it then is, or None when it is not known there."""
        ...

    async def delete(self, response_id: str, *, timeout: float) -> None:
        """Delete the provider's copy of a response; one that is not there is fine."""
        ...

    async def check(self, *, timeout: float) -> None:
        """Raise a ``ProviderFault`` when the provider cannot be reached with these credentials."""
        ...
