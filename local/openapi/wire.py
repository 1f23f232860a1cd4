"""Answers as pydantic models: the shapes that callers may rely on. Tests hold the app's real answers against them.

A field that is here is always there, unless it has a default.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.runs.model.batch import BatchStatus, ItemStatus
from shared.runs.model.calls import Approval, CallState
from shared.runs.model.phases import RunStatus

RUN_ID = r"^run_[0-9a-f]{32}_[1-9][0-9]{0,7}$"

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"}, description="RFC 3339, in UTC.")]
Url = Annotated[str, Field(json_schema_extra={"format": "uri"})]
RunId = Annotated[str, Field(pattern=RUN_ID)]
BatchId = Annotated[str, Field(pattern=r"^batch_[0-9a-f]{32}$")]
SessionId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Count = Annotated[int, Field(ge=0)]


class Wire(BaseModel):
    """What all answers have in common: no field but those that are listed."""

    model_config = ConfigDict(extra="forbid")


class RunError(Wire):
    """Why a run failed."""

    code: str = Field(description="A stable word for programs.")
    message: str | None = Field(description="A sentence for people.")


class IncompleteDetails(Wire):
    """Why a run was cut short."""

    reason: str


class Progress(Wire):
    """The last word of a tool on how far it is."""

    call_id: str
    name: str
    message: str
    fraction: Annotated[float, Field(ge=0, le=1)] | None
    at: Time


class ToolCall(Wire):
    """One tool call of the run."""

    call_id: str
    name: str
    turn: Count
    state: CallState
    starts: Count
    started_at: Time | None
    finished_at: Time | None
    approval: Literal[Approval.PENDING, Approval.APPROVED, Approval.REFUSED] | None
    progress: Progress | None


class Question(Wire):
    """A call that waits for a person."""

    id: str = Field(description="What an answer names: this call of this turn, with these arguments.")
    call_id: str = Field(description="The provider's own id of the call, which it may use again.")
    name: str
    arguments: str = Field(description="The JSON text that the model wrote.")
    reason: str | None = Field(description="Why approval is asked.")


class RequiredAction(Wire):
    """What a person must decide before the run goes on."""

    type: Literal["approve"]
    calls: list[Question] = Field(min_length=1)


class Usage(Wire):
    """Tokens, as the provider counted them."""

    input_tokens: Count
    output_tokens: Count
    total_tokens: Count
    cached_tokens: Count
    reasoning_tokens: Count


class RunSummary(Wire):
    """A run in a list: without what is long, or lies elsewhere."""

    id: RunId
    object: Literal["run"]
    url: Url
    status: RunStatus = Field(description="The last four are final and never change.")
    agent: str
    session_id: SessionId
    batch_id: BatchId | None
    error: RunError | None
    incomplete_details: IncompleteDetails | None
    provider_status: str | None
    usage: Usage
    turn: Count
    wakes: Count
    metadata: dict[str, str]
    callback_url: str | None
    callback_status: Literal["pending", "delivered", "given_up", "disabled"] | None = Field(
        description="What became of the last callback; null while none is owed or was sent."
    )
    created_at: Time
    updated_at: Time
    completed_at: Time | None
    wake_at: Time | None = Field(description="When the run is looked at next; null once it has ended.")
    retry_after: float | None = Field(
        description="Seconds between its last look and its next; null at the end. While tools run or a person is to "
        "answer: 5 or 30 at most, as the header `Retry-After`, because the next change is not up to the schedule."
    )


class Run(RunSummary):
    """One request to an agent, from submit to a final status."""

    text: str = Field(description="The text of the last turn; empty until there is one.")
    output: Any = Field(description="The result as an object, for agents that promise one.")
    required_action: RequiredAction | None
    tool_calls: list[ToolCall]
    progress: Progress | None


class RunList(Wire):
    """A page of the caller's runs, newest first."""

    data: list[RunSummary]
    next_cursor: str = Field("", description="Only there when there is a next page.")


class Piece(Wire):
    """Text of a run that is watched: a snapshot takes the place of what was shown, a delta goes to its end."""

    text: str
    continuation_token: str = Field(description="The event's id.")


class Position(Wire):
    """Where a watch stands."""

    continuation_token: str


class Delivery(Wire):
    """One attempt to tell the caller's address."""

    webhook_id: str
    type: str
    attempt: Annotated[int, Field(ge=1)]
    state: Literal["sending", "delivered", "failed"]
    sent_at: Time
    http_status: int | None
    error: str | None = Field(description="A word for why there is no HTTP status.")
    seconds: float | None
    next_attempt_at: Time | None


class Deliveries(Wire):
    """The log of a run's callbacks."""

    callback_url: str | None
    callback_status: Literal["pending", "delivered", "given_up", "disabled"] | None
    next_attempt_at: Time | None
    data: list[Delivery] = Field(description="The latest attempts, newest first.")


class LastDelivery(Wire):
    """What the last attempt to tell of a batch met. Neither a status nor an error: it is under way, or was cut off."""

    sent_at: Time
    http_status: int | None
    error: str | None = Field(description="A word for why there is no HTTP status.")
    next_attempt_at: Time | None


class BatchCounts(Wire):
    """How many items of a batch stand where."""

    total: Count
    pending: Count
    active: Count
    completed: Count
    incomplete: Count
    failed: Count
    cancelled: Count


class Batch(Wire):
    """Many inputs, each of which becomes a run."""

    id: BatchId
    object: Literal["batch"]
    url: Url
    items_url: Url
    status: BatchStatus = Field(description="`completed` and `cancelled` are final and never change.")
    counts: BatchCounts
    agent: str | None
    model: str | None
    concurrency: Count = Field(description="How many items are active at once at most.")
    metadata: dict[str, str]
    callback_url: str | None
    callback_status: Literal["pending", "delivered", "given_up", "disabled"] | None = Field(
        description="What became of the callback of its end; null before there is one."
    )
    callback_attempts: Count = Field(description="How many there were, redeliveries included.")
    callback_last: LastDelivery | None = Field(description="The last one; a batch keeps no log of the others.")
    created_at: Time
    updated_at: Time
    completed_at: Time | None
    retry_after: float | None = Field(description="Seconds between its last look and its next; null at the end.")


class BatchList(Wire):
    """A page of the caller's batches, newest first."""

    data: list[Batch]
    next_cursor: str = Field("", description="Only there when there is a next page.")


class BatchItem(Wire):
    """One input of a batch, and what became of it."""

    id: str | None = Field(description="The caller's own.")
    object: Literal["batch.item"]
    index: Count
    status: ItemStatus
    run_id: RunId | None
    run_url: Url | None
    run_status: RunStatus | None
    text: str
    output: Any
    error: RunError | None
    incomplete_details: IncompleteDetails | None
    completed_at: Time | None


class BatchItemList(Wire):
    """A page of a batch's items, in order."""

    data: list[BatchItem]
    next_cursor: str = Field("", description="Only there when there is a next page.")


class RunOfSession(Wire):
    """A run of a session."""

    id: RunId
    url: Url
    status: RunStatus
    created_at: Time
    completed_at: Time | None


class Message(Wire):
    """What was said in a run: text, or the parts that the caller sent."""

    run_id: RunId
    role: str
    content: str | list[dict[str, Any]] | None


class Session(Wire):
    """One conversation with one agent."""

    id: SessionId
    object: Literal["session"]
    agent: str
    active_run: RunId | None
    created_at: Time
    last_activity: Time
    runs: list[RunOfSession] = Field(description="A page of them, newest first.")
    messages: list[Message] = Field(description="Of the runs of this page, in the order in which they were said.")
    next_cursor: str = Field("", description="Only there when there are older runs.")


class ToolOfAgent(Wire):
    """A tool that an agent may call."""

    name: str
    description: str
    requires_approval: bool


class Agent(Wire):
    """An agent that this app serves."""

    name: str
    object: Literal["agent"]
    description: str
    tools: list[ToolOfAgent]
    background: bool = Field(description="Whether the model thinks while nothing runs here.")
    models: list[str] = Field(description="What a caller may choose as `model`.")
    output: dict[str, Any] | None = Field(description="The JSON schema of a run's `output`.")
    default: bool = Field(description="Whether it answers when a run names no agent.")


class AgentList(Wire):
    """The agents of this app."""

    data: list[Agent]


class Health(Wire):
    """Whether the app is alive."""

    status: Literal["ok"]


class Misconfigured(Wire):
    """A setting is malformed, or the agents cannot be built; the sentence says which."""

    status: Literal["misconfigured"]
    detail: str


class StorageCheck(Wire):
    """Whether storage answers."""

    status: Literal["ok", "unwell"]
    detail: str = ""
    watched: int = Field(0, description="Due rows: runs, batches and deletions still to come back to; up to 1,000.")
    quarantined: int = Field(0, description="Rows that this version cannot read; counted up to 1,000.")


class ProviderCheck(Wire):
    """Whether the model provider answers."""

    status: Literal["ok", "unwell"]
    detail: str = ""


class SettingsCheck(Wire):
    """Whether all settings are known."""

    status: Literal["ok", "warning"]
    unknown: list[str]


class Checks(Wire):
    """What was tried."""

    storage: StorageCheck
    provider: ProviderCheck
    settings: SettingsCheck


class DeepHealth(Wire):
    """Whether the app is well: storage, provider and settings, each tried now."""

    status: Literal["ok", "unwell"]
    driver: Literal["durable", "timer"]
    checks: Checks


class OpenAIProblem(BaseModel):
    """What went wrong, and what to do next."""

    message: str
    type: Literal["invalid_request_error", "rate_limit_error", "server_error"]
    code: str = Field(description="A stable word for programs.")
    param: str | None


class OpenAIError(Wire):
    """An error as OpenAI's clients know it."""

    error: OpenAIProblem


class FieldProblem(Wire):
    """What is wrong with one field."""

    field: str
    problem: str


class Problem(BaseModel):
    """An error (RFC 9457). Some have fields of their own besides, such as `active_run` or `limit`."""

    type: str = Field(pattern="^urn:dormouse:[a-z_]+$")
    title: str
    status: int = Field(ge=400, le=599)
    code: str = Field(description="A stable word for programs.")
    detail: str = Field(description="A sentence for people that says what to do.")
    errors: list[FieldProblem] = Field([], description="Which fields of the request do not fit.")
