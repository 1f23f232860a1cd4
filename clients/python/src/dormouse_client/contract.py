"""The bodies of the contract. Written by `python -m local.openapi` from the code of the app; not by hand.

An app that is older or newer than this client may leave fields out or have more: nothing is checked when they arrive.
"""

from __future__ import annotations

import sys
from typing import Any, Literal, TypeAlias, TypedDict

if sys.version_info >= (3, 11):
    from typing import NotRequired
else:
    from typing_extensions import NotRequired

VERSION = "1.0.0"
"""The app's version that this is the contract of, and the client's own."""


class AddedAnnotation(TypedDict):
    """A citation, or another mark on the text, as it comes."""

    annotation: Annotation
    """The one that is added."""

    continuation_token: str
    """The event's id."""


class Agent(TypedDict):
    """An agent that this app serves."""

    name: str
    """What a request calls it."""

    object: Literal["agent"]
    """What this is: always `agent`."""

    description: str
    """What it is for."""

    tools: list[ToolOfAgent]
    """The tools of this app that it may call."""

    background: bool
    """Whether the model thinks while nothing runs here."""

    models: list[str]
    """What a caller may choose as `model`."""

    output: dict[str, Any] | None
    """The JSON schema of a run's `output`."""

    default: bool
    """Whether it answers when a run names no agent."""


class AgentList(TypedDict):
    """The agents of this app."""

    data: list[Agent]
    """The agents; the default one first."""


class Annotation(TypedDict):
    """A citation, or another mark that the provider has put on the text. What does not apply is null."""

    type: str
    """The provider's word: `url_citation`, `file_citation`, `container_file_citation`; more may come."""

    url: str | None
    """The address that is cited."""

    title: str | None
    """The title of what is there."""

    file_id: str | None
    """The provider's id of the file that is cited."""

    filename: str | None
    """That file's name."""

    container_id: str | None
    """The provider's id of the container that the file is in."""

    start_index: int | None
    """Where in the text it begins, counted in Unicode characters, as the provider does; null where that is unknown."""

    end_index: int | None
    """The first character after it; of a mark at one point the same as `start_index`."""


class AnswerBody(TypedDict):
    """One person's word on one call."""

    approve: bool
    """Whether the call may be made."""

    reason: NotRequired[str]
    """Why, for the model, which reads the reason of a refusal."""


class AnswersBody(TypedDict):
    """The body of `POST /api/runs/{id}/answers`."""

    answers: dict[str, AnswerBody]
    """By the `id` of each call in `required_action`."""


class Batch(TypedDict):
    """Many inputs, each of which becomes a run."""

    id: str
    """The batch's id."""

    object: Literal["batch"]
    """What this is: always `batch`."""

    url: str
    """The batch's own address."""

    items_url: str
    """Where its items are read, in pages."""

    status: BatchStatus
    """`completed` and `cancelled` are final and never change."""

    counts: BatchCounts
    """How many items stand where."""

    agent: str | None
    """The agent of items that name none; null for the app's default."""

    model: str | None
    """The model of items that name none; null for the agent's own."""

    concurrency: int
    """How many items are active at once at most."""

    metadata: dict[str, str]
    """What its caller noted on it at submit; its runs have it too."""

    callback_url: str | None
    """Where its end is reported; null when nowhere."""

    callback_status: Literal["pending", "delivered", "given_up", "disabled"] | None
    """What became of the callback of its end; null before there is one."""

    callback_attempts: int
    """How many there were, redeliveries included."""

    callback_last: LastDelivery | None
    """The last one; a batch keeps no log of the others."""

    created_at: str
    """When it was submitted."""

    updated_at: str
    """When it last changed."""

    completed_at: str | None
    """When its last item ended; null before."""

    retry_after: float | None
    """Seconds between its last look and its next; null at the end."""

    retry_of: str | None
    """The batch whose items it runs again; null when its items are new. That batch may be deleted since."""


class BatchBody(TypedDict):
    """Many inputs. An item that does not fit fails alone; the others run."""

    agent: NotRequired[str | None]
    """The agent's name (`GET /api/agents`); the app's default when nobody says another."""

    model: NotRequired[str | None]
    """One of the `models` of the agent; its own when left out."""

    metadata: NotRequired[dict[str, str]]
    """Up to 16 notes of your own, which are kept with the run; those of the batch and of an item are put together."""

    deadline_seconds: NotRequired[float | None]
    """Seconds after which a run fails if it has not ended; the app's default when left out."""

    limits: NotRequired[LimitsBody]
    """What each run may use up."""

    concurrency: NotRequired[int | None]
    """How many items may be active at once; as many as the app allows when left out."""

    callback_url: NotRequired[str | None]
    """An address of yours that gets a callback when the batch ends."""

    token: NotRequired[BatchTokenBody | None]
    """A run token for the batch, which the answer then holds."""

    items: list[ItemBody]
    """The inputs, in the order in which they are begun."""


class BatchCounts(TypedDict):
    """How many items of a batch stand where."""

    total: int
    """All of them."""

    pending: int
    """Not begun yet."""

    active: int
    """At work, or waiting for a person."""

    completed: int
    """Ended with a result."""

    incomplete: int
    """Cut short, with part of a text."""

    failed: int
    """Failed, or refused because the item does not fit."""

    cancelled: int
    """Cancelled, here or at the provider."""


class BatchItem(TypedDict):
    """One input of a batch, and what became of it."""

    id: str | None
    """The caller's own."""

    object: Literal["batch.item"]
    """What this is: always `batch.item`."""

    index: int
    """Its place in the batch; the first is 0."""

    status: ItemStatus
    """Where it stands. An ended one has the word of its run."""

    run_id: str | None
    """The id of its run; null before it is begun, when it was refused, and when the run was deleted."""

    run_url: str | None
    """The address of its run; null without one."""

    run_status: RunStatus | None
    """The status of its run; null without one."""

    text: str
    """The text of its run; empty until there is one."""

    output: Any
    """The result as an object, for agents that promise one; else null."""

    error: RunError | None
    """Why it failed; null unless its status is `failed`."""

    incomplete_details: IncompleteDetails | None
    """Why it was cut short; null unless its status is `incomplete`."""

    completed_at: str | None
    """When it ended; null before."""

    retry_of_index: int | None
    """Its `index` in the batch that is retried; null where it is new."""


class BatchItemList(TypedDict):
    """A page of a batch's items, in order."""

    data: list[BatchItem]
    """The items."""

    next_cursor: NotRequired[str]
    """Only there when there is a next page."""


class BatchList(TypedDict):
    """A page of the caller's batches, newest first."""

    data: list[BatchSummary]
    """The batches, without what changes often."""

    next_cursor: NotRequired[str]
    """Only there when there is a next page."""


class BatchSummary(TypedDict):
    """A batch in a list, as of its last change of status. What changes more often is at its own address."""

    id: str
    """The batch's id."""

    object: Literal["batch"]
    """What this is: always `batch`."""

    url: str
    """The batch's own address."""

    items_url: str
    """Where its items are read, in pages."""

    status: BatchStatus
    """`completed` and `cancelled` are final and never change."""

    total: int
    """How many items it has."""

    counts: BatchCounts | None
    """How many items ended how; null until all have, for until then it changes with each: the batch itself has it."""

    agent: str | None
    """The agent of items that name none; null for the app's default."""

    model: str | None
    """The model of items that name none; null for the agent's own."""

    concurrency: int
    """How many items are active at once at most."""

    metadata: dict[str, str]
    """What its caller noted on it at submit; its runs have it too."""

    retry_of: str | None
    """The batch whose items it runs again; null when its items are new. That batch may be deleted since."""

    created_at: str
    """When it was submitted."""

    completed_at: str | None
    """When its last item ended; null before."""

    elapsed_seconds: float | None
    """From submit to the end; null before."""


class BatchTokenBody(TypedDict):
    """A token for one batch. Of a batch there is nothing else to be shared than how it stands."""

    rights: list[Literal["read"]]
    """What it allows: to see how the batch stands."""

    seconds: NotRequired[int]
    """How long it holds. Default: `3600`."""

    label: NotRequired[str | None]
    """A name for whoever gets it."""


class CallError(TypedDict):
    """What went wrong with a call, as the model reads it."""

    code: str
    """A stable word for programs."""

    message: str
    """A sentence."""


class Checks(TypedDict):
    """What was tried."""

    storage: StorageCheck
    """Table Storage."""

    provider: ProviderCheck
    """The model provider."""

    settings: SettingsCheck
    """The app's settings."""


class DeepHealth(TypedDict):
    """Whether the app is well: storage, provider and settings, each tried now."""

    status: Literal["ok", "unwell"]
    """`unwell` when storage or provider is."""

    driver: Literal["durable", "timer"]
    """What wakes the runs."""

    checks: Checks
    """What was tried, and what came of it."""


class Deliveries(TypedDict):
    """The log of a run's callbacks."""

    callback_url: str | None
    """Where the run's end and its questions are reported; null when nowhere."""

    callback_status: Literal["pending", "delivered", "given_up", "disabled"] | None
    """What became of the last callback; null while none is due or was sent."""

    next_attempt_at: str | None
    """When the next attempt is due; null when none is."""

    data: list[Delivery]
    """The latest attempts, newest first."""


class Delivery(TypedDict):
    """One attempt to tell the caller's address."""

    webhook_id: str
    """The message's id, the same in all attempts at it (the header `webhook-id`)."""

    type: str
    """What is reported, such as `run.completed`."""

    attempt: int
    """Its number among the attempts at this message; the first is 1."""

    state: Literal["sending", "delivered", "failed"]
    """`sending`: under way, or cut off by a crash."""

    sent_at: str
    """When it was sent."""

    http_status: int | None
    """What the receiver answered; null when no answer came."""

    error: str | None
    """A word for why there is no HTTP status."""

    seconds: float | None
    """How long the answer took; null without one."""

    next_attempt_at: str | None
    """When it was to be tried again; null when it was not."""


class Drain(TypedDict):
    """Whether the app begins anything, and what is still at work."""

    draining: bool
    """Whether an operator wants nothing to begin."""

    since: str | None
    """When this was last changed; null when it never was."""

    drained: bool
    """Whether nothing is at work any more: some seconds after the last claim or lease, when every instance obeys."""

    at_work: int
    """How many runs have a claim or a lease that has not run out: a request that starts a response, or tools."""

    runs: list[str]
    """These runs, up to 100."""

    looked_at: int
    """How many were looked at for that, 1,000 at most."""

    complete: bool
    """Whether these were all there are; `drained` is never true otherwise."""


class DrainBody(TypedDict):
    """Whether the app begins anything."""

    draining: bool
    """True: what is under way ends, and nothing else begins. False: all goes on."""


class Elsewhere(TypedDict):
    """A place that has, or may have, something of an owner."""

    where: str
    """A word for it: `tombstones`, `provider`, `task_hub`, `callbacks`, `logs`, `backups`. More may come."""

    what: str
    """What is there, for how long, and what to do about it."""


class EraseFailure(TypedDict):
    """A session, run, batch or schedule that could not be erased."""

    id: str
    """Its id."""

    reason: str
    """`encryption_key_unavailable`; `row_unreadable`; `agents_own`, of a schedule that stands in the code; or `busy`:
    erase again.
    """


class ErasedCounts(TypedDict):
    """What was erased now, by this call."""

    sessions: int
    """Conversations."""

    runs: int
    """Runs of these."""

    batches: int
    """Batches."""

    schedules: int
    """Schedules."""

    keys: int
    """What was kept of `Idempotency-Key`s, and of requests that a client repeats by itself."""


class Erasure(TypedDict):
    """What was erased of an owner, and what remains."""

    erased: ErasedCounts
    """What was erased now."""

    remaining: RemainingCounts
    """What is still there."""

    failed: list[EraseFailure]
    """What could not be erased."""

    next_cursor: NotRequired[str]
    """The `cursor` of the next call; not there once all is done."""

    elsewhere: NotRequired[list[Elsewhere]]
    """At the end: where else something of the owner remains."""


class Export(TypedDict):
    """A page of what is stored of an owner."""

    data: list[Exported]
    """The pieces, those of one session or batch one after the other. There may be none, and a next page."""

    next_cursor: NotRequired[str]
    """The `cursor` of the next page; not there on the last."""

    elsewhere: NotRequired[list[Elsewhere]]
    """On the last page: where else something of the owner is."""


class Exported(TypedDict):
    """One piece of what is stored of an owner. `kind` says which of the other fields are there."""

    kind: Literal["session", "run", "tool_call", "text", "items", "batch", "batch_item", "schedule", "repeated_request", "active_place", "being_deleted", "unreadable"]
    """What it is. Take other words too: more may come."""

    within: str | None
    """The session or batch that it belongs to; null where it belongs to none."""

    id: str | None
    """Of the session, run, batch or schedule; of all that belongs to a run, the run's. Null where there is none."""

    session: NotRequired[OwnedSession]
    """`session`."""

    run: NotRequired[Run]
    """`run`: as `GET /api/runs/{id}` shows it."""

    options: NotRequired[Any]
    """`run`: options of the model that its caller set; null without any."""

    timeline: NotRequired[list[TimelineEntry]]
    """`run`: what happened."""

    deliveries: NotRequired[list[Delivery]]
    """`run`: the latest attempts at its callbacks, newest first."""

    provider_responses: NotRequired[list[str]]
    """`run`: ids of the responses that the model provider has of it."""

    request_key: NotRequired[RequestKey | None]
    """`run`: what is kept of its `Idempotency-Key`; null without one, and after its time."""

    tool_call: NotRequired[WholeToolCall]
    """`tool_call`: with all of its arguments and its result."""

    why: NotRequired[str | None]
    """`tool_call`: what a person was told who was to approve it; null where nobody was."""

    name: NotRequired[str]
    """`text`: which of the run's, `instructions`, `tools` (functions of its caller), `outputs` (of tools, which it goes
    on from) or `history` (what was said before it, where it begins a branch).
    """

    index: NotRequired[int]
    """`text`, `items`: its place among several."""

    text: NotRequired[str]
    """`text`: in full. All but `instructions` are JSON."""

    items: NotRequired[list[dict[str, Any]]]
    """`items`: what was appended to the conversation at one time, in the shape of the Responses API; the first are the
    input. Where that is much it is in several pieces with the same `index`, in their order.
    """

    batch: NotRequired[Batch]
    """`batch`: as `GET /api/batches/{id}` shows it."""

    item: NotRequired[BatchItem]
    """`batch_item`: as `GET /api/batches/{id}/items` shows it."""

    schedule: NotRequired[Schedule]
    """`schedule`: as `GET /api/schedules/{id}` shows it."""

    asked: NotRequired[Any]
    """`batch_item`, `schedule`: what it asks for; null for an item that was refused."""

    created_at: NotRequired[str]
    """`repeated_request` (of an OpenAI client that repeats by itself), `active_place` (in the limit of active runs)."""

    deleted_at: NotRequired[str]
    """`being_deleted`: since when. Nobody reads it any more, and the app is removing it."""

    reason: NotRequired[str]
    """`unreadable`: why. `encryption_key_unavailable`, `row_unreadable` or `parts_missing`."""


class FieldProblem(TypedDict):
    """What is wrong with one field."""

    field: str
    """Where in the body, with dots."""

    problem: str
    """What is wrong there."""


class FilePart(TypedDict):
    """A file in a message, by its URL."""

    type: Literal["input_file"]
    """What this part is."""

    file_url: str
    """Where the provider fetches the file."""


class Health(TypedDict):
    """Whether the app is alive."""

    status: Literal["ok"]
    """Always `ok`: another answer has another status code."""


class HostedCall(TypedDict):
    """What one of the provider's own tools (web search, code interpreter, an MCP server's, …) did."""

    id: str
    """The provider's. Together with `turn` it names this call."""

    type: str
    """The provider's word: `web_search_call`, `code_interpreter_call`, `mcp_call`; more may come."""

    status: str
    """The provider's word: `in_progress`, `completed`, `failed`; more may come."""

    summary: str
    """What it was about, in at most 200 characters: the query, the first line of the code, the tool and its input."""

    error: str | None
    """Why it failed."""

    turn: int
    """The turn that it belongs to; the first is 1."""


class ImagePart(TypedDict):
    """An image in a message, by its URL."""

    type: Literal["input_image"]
    """What this part is."""

    image_url: str
    """Where the provider fetches the image."""

    detail: NotRequired[Literal["low", "high", "auto"]]
    """How closely the model looks at it. Default: `"auto"`."""


class IncompleteDetails(TypedDict):
    """Why a run was cut short."""

    reason: str
    """The provider's word for it, such as `max_output_tokens` or `content_filter`."""


class InputMessage(TypedDict):
    """A message as it was sent to the model."""

    role: str
    """Who says it: `user`."""

    content: str | list[dict[str, Any]] | None
    """Text, or the parts that the caller sent."""


class Intake(TypedDict):
    """Whether new runs and batches are taken."""

    paused: bool
    """Whether an operator has paused it."""

    reason: str | None
    """Why, as callers read it; null when nothing was said."""

    retry_after_seconds: int
    """After how many seconds callers are to try again."""

    since: str | None
    """When this was last changed; null when it never was."""

    draining: bool
    """Whether the app drains: then nothing is taken either."""


class IntakeBody(TypedDict):
    """Whether new runs and batches are taken."""

    paused: bool
    """True: every new run and batch is 503 `intake_paused`. False: they are taken again."""

    reason: NotRequired[str | None]
    """Why, on one line: callers read it."""

    retry_after_seconds: NotRequired[int]
    """After how many seconds callers are to try again. Default: `60`."""


class ItemBody(TypedDict):
    """One of the `items`; `id` is the caller's own."""

    agent: NotRequired[str | None]
    """The agent's name (`GET /api/agents`); the app's default when nobody says another."""

    model: NotRequired[str | None]
    """One of the `models` of the agent; its own when left out."""

    metadata: NotRequired[dict[str, str]]
    """Up to 16 notes of your own, which are kept with the run; those of the batch and of an item are put together."""

    deadline_seconds: NotRequired[float | None]
    """Seconds after which a run fails if it has not ended; the app's default when left out."""

    limits: NotRequired[LimitsBody]
    """What each run may use up."""

    id: NotRequired[str | None]
    """A name of your own for it, which its result has too."""

    input: str | list[MessageBody]
    """What the agent is to answer: a text, or messages with text, images and files."""


class LastDelivery(TypedDict):
    """What the last attempt to tell of a batch met. Neither a status nor an error: it is under way, or was cut off."""

    sent_at: str
    """When it was sent."""

    http_status: int | None
    """What the receiver answered; null when no answer came."""

    error: str | None
    """A word for why there is no HTTP status."""

    next_attempt_at: str | None
    """When it is tried again; null when it is not."""


class LastOccurrence(TypedDict):
    """What became of the time that came last."""

    at: str
    """The time that the schedule names."""

    run_id: str | None
    """The run that it became; null when it was refused."""

    url: str | None
    """That run's own address."""

    error: RunError | None
    """Why it was refused, the last time that it was tried; null when it was not."""


class LimitsBody(TypedDict):
    """What the run may use up. Each at most the app's own limit."""

    turns: NotRequired[int | None]
    """Model responses, at most."""

    tool_calls: NotRequired[int | None]
    """Calls of tools, at most."""

    total_tokens: NotRequired[int | None]
    """Tokens of input and output together: once they are used, no further turn begins, and the run fails."""


class Message(TypedDict):
    """What was said in a run: text, or the parts that the caller sent."""

    run_id: str
    """The run in which it was said."""

    role: str
    """Who said it: `user` or `assistant`."""

    content: str | list[dict[str, Any]] | None
    """A text, or the parts that the caller sent; null when there is nothing to show."""


class MessageBody(TypedDict):
    """A message of the caller, in the shape of the Responses API."""

    type: NotRequired[Literal["message"]]
    """What this item is. Default: `"message"`."""

    role: NotRequired[Literal["user"]]
    """Whose message it is: the caller's. Default: `"user"`."""

    content: str | list[TextPart | ImagePart | FilePart]
    """A text, or parts: text, images, files."""


class Misconfigured(TypedDict):
    """A setting is malformed, the agents cannot be built, or old rows are in the tables; the sentence says which."""

    status: Literal["misconfigured"]
    """Always `misconfigured`."""

    detail: str
    """Which setting, and what is wrong with it."""


class MovedHostedCall(TypedDict):
    """A call of one of the provider's own tools that has begun or ended, as it now is."""

    hosted_call: HostedCall
    """The call: one of the same `id` and `turn` takes the place of the one before."""

    continuation_token: str
    """The event's id."""


class OpenAIError(TypedDict):
    """An error as OpenAI's clients know it."""

    error: OpenAIProblem
    """What went wrong."""


class OpenAIProblem(TypedDict):
    """What went wrong, and what to do next."""

    message: str
    """A sentence for people that says what to do."""

    type: Literal["invalid_request_error", "rate_limit_error", "server_error"]
    """The kind of error, as OpenAI has it."""

    code: str
    """A stable word for programs."""

    param: str | None
    """The parameter that is wrong; null when none is, or several are."""


class OwnedSession(TypedDict):
    """A conversation; its runs are entries of their own."""

    id: str
    """The session's id."""

    agent: str
    """The agent that it is with."""

    active_run: str | None
    """The run that is active; null when none is."""

    created_at: str
    """When its first run was submitted."""

    last_activity: str
    """When a run of it last began or ended."""


class OwnerBody(TypedDict):
    """Whose data, and where to go on."""

    owner: str
    """`user:…`, `principal:…`, `key:…`, or `function` for all callers with a function key."""

    cursor: NotRequired[str | None]
    """`next_cursor` of the answer before; without it from the beginning."""


class Piece(TypedDict):
    """More text of a run that is watched: it goes to the end of what was shown."""

    text: str
    """The text so far (`snapshot`), or what comes after it (`delta`)."""

    continuation_token: str
    """The event's id."""


class Position(TypedDict):
    """Where a watch stands."""

    continuation_token: str
    """The event's id."""


class Problem(TypedDict):
    """An error (RFC 9457). Some have fields of their own besides, such as `active_run` or `limit`."""

    type: str
    """The code as a URN."""

    title: str
    """The code in words."""

    status: int
    """The HTTP status."""

    code: str
    """A stable word for programs."""

    detail: str
    """A sentence for people that says what to do."""

    errors: NotRequired[list[FieldProblem]]
    """Which fields of the request do not fit."""


class Progress(TypedDict):
    """What a tool last said about its progress."""

    call_id: str
    """The provider's id of the call that reports."""

    name: str
    """The tool's name."""

    message: str
    """What the tool says, in its own words."""

    fraction: float | None
    """How much is done, from 0 to 1; null when the tool does not say."""

    at: str
    """When the tool said so."""


class ProviderCheck(TypedDict):
    """Whether the model provider answers."""

    status: Literal["ok", "unwell"]
    """`unwell` when it does not answer in time, or refuses."""

    detail: NotRequired[str]
    """What is wrong; not there when nothing is."""


class Question(TypedDict):
    """A call that waits for a person."""

    id: str
    """What an answer names: this call of this turn, with these arguments."""

    call_id: str
    """The provider's own id of the call, which it may use again."""

    name: str
    """The tool's name."""

    arguments: str
    """The JSON text that the model wrote."""

    reason: str | None
    """Why approval is asked."""


class Reasoning(TypedDict):
    """What the model says of its reasoning in one turn: the provider's summaries."""

    turn: int
    """The turn that it belongs to; the first is 1."""

    text: str
    """The summaries; an empty line ends each paragraph."""


class RemainingCounts(TypedDict):
    """What is still there, as far as this call has counted. Only the last calls count: add up all answers."""

    tombstones: int
    """Rows of deleted sessions, runs and batches without any text, which the app removes after 48 hours."""

    provider_copies: int
    """Responses that the model provider may still have: the app deletes them, and tries that for 30 days."""


class RequestKey(TypedDict):
    """What is kept of an `Idempotency-Key`, for 24 hours."""

    sha256: str
    """Of key and owner."""

    request_sha256: str
    """Of the request."""

    created_at: str
    """When it was first sent."""


class RequiredAction(TypedDict):
    """What a person must decide before the run goes on."""

    type: Literal["approve"]
    """What is to be decided: whether calls may be made."""

    calls: list[Question]
    """The calls that wait for an answer."""


class Run(TypedDict):
    """One request to an agent, from submit to a final status."""

    id: str
    """The run's id: its session's, and its number in that session."""

    object: Literal["run"]
    """What this is: always `run`."""

    url: str
    """The run's own address."""

    status: RunStatus
    """The last four are final and never change."""

    title: str
    """The caller's, else the first line of the input. One line."""

    input_preview: str
    """The first 200 characters of the input's text; the whole is at `/input`."""

    agent: str
    """The name of the agent that answers."""

    model: str | None
    """The model that was asked for, else the agent's own; null where that is not known."""

    stream: bool
    """Whether its text can be watched while it is made."""

    session_id: str
    """The conversation that it belongs to."""

    batch_id: str | None
    """The batch that it is an item of; null for a run of its own."""

    error: RunError | None
    """Why it failed; null unless its status is `failed`."""

    incomplete_details: IncompleteDetails | None
    """Why it was cut short; null unless its status is `incomplete`."""

    usage: Usage
    """Tokens of all its turns so far; in a list, up to the last change of status."""

    metadata: dict[str, str]
    """What its caller noted on it at submit."""

    created_at: str
    """When it was submitted."""

    start_at: str | None
    """When it was to start, as its submit asked; null when at once."""

    completed_at: str | None
    """When it ended; null before."""

    elapsed_seconds: float | None
    """From submit to the end, of a run with `start_at` from its start; null before."""

    provider_status: str | None
    """The provider's last status or error code, for people; null before there is one."""

    turn: int
    """The turn that it is in, or ended in; the first is 1."""

    wakes: int
    """How often the app was at work for it."""

    active_seconds: float
    """How long the app was at work for it: from the start of each execution to its last write. While the model thinks
    nothing runs, so this is far less than the time that has passed.
    """

    callback_url: str | None
    """Where its end and its questions are reported; null when nowhere."""

    callback_status: Literal["pending", "delivered", "given_up", "disabled"] | None
    """What became of the last callback; null while none is due or was sent."""

    updated_at: str
    """When something last changed that a caller sees."""

    deadline_at: str | None
    """When it fails unless it has ended; null before it starts, and while it waits for a person, when this time stands
    still.
    """

    answer_by: str | None
    """Until when a person can answer; null unless it waits for one."""

    waiting_for: str
    """What it waits for: `start` (it was submitted for later), `provider`, `tools`, `person`, `retry` (something that
    passes went wrong) or `nothing`. Take other words too: more may come.
    """

    waiting_text: str
    """The same, in a sentence for people."""

    wake_at: str | None
    """When the app looks or tries next by itself; null while tools run, while a person is to answer, and at the end."""

    retry_after: float | None
    """Seconds between its last look and its next; null at the end. While tools run or a person is to answer: 5 or 30 at
    most, as the header `Retry-After`, because the next change is not up to the schedule; before its start 3600.
    """

    text: str
    """The text of the last turn; empty until there is one."""

    output: Any
    """The result as an object, for agents that promise one."""

    required_action: RequiredAction | None
    """What a person has to decide; null when nothing."""

    tool_calls: list[ToolCall]
    """The calls of the run's tools, in the order in which they were asked for."""

    progress: Progress | None
    """The latest word of any of its tools; null when there is none."""

    annotations: list[Annotation]
    """Citations and other marks on `text`: the first 500. Empty until the run has ended."""

    hosted_calls: list[HostedCall]
    """What the provider's own tools did in the turns that are over: the latest 100 calls."""

    reasoning: list[Reasoning]
    """Summaries of the model's reasoning in the turns that are over, where the agent asks its provider for them."""


class RunBody(TypedDict):
    """The body of `POST /api/runs`."""

    input: str | list[MessageBody]
    """What the agent is to answer: a text, or messages with text, images and files."""

    model: NotRequired[str | None]
    """One of the `models` of the agent; its own when left out."""

    agent: NotRequired[str | None]
    """The agent's name (`GET /api/agents`); the session's, or else the app's default, when left out."""

    session_id: NotRequired[str | None]
    """The session that the run goes on with; a new one when left out."""

    title: NotRequired[str | None]
    """One line for lists; the first line of the input when left out."""

    stream: NotRequired[bool]
    """Whether its text can be watched while it is written. Default: `false`."""

    metadata: NotRequired[dict[str, str]]
    """Up to 16 notes of your own, which are kept with the run."""

    deadline_seconds: NotRequired[float | None]
    """Seconds after which it fails if it has not ended, those in which a person is asked not counted; the app's default
    when left out. More than the app allows is refused.
    """

    start_at: NotRequired[str | None]
    """When it is to start: RFC 3339 with an offset or `Z`, at most 366 days ahead. At once when left out, or past.
    Until then it is `queued`, none of your active runs, and its deadline does not run. Not together with
    `session_id`.
    """

    limits: NotRequired[LimitsBody]
    """What it may use up."""

    callback_url: NotRequired[str | None]
    """An address of yours that gets a callback when the run ends, and when a person has to decide."""

    token: NotRequired[TokenBody | None]
    """A run token for the run, which the answer then holds."""


class RunError(TypedDict):
    """Why a run failed."""

    code: str
    """A stable word for programs."""

    message: str | None
    """A sentence for people."""


class RunInput(TypedDict):
    """The whole input of a run."""

    run_id: str
    """The run."""

    input: list[InputMessage]
    """As it was given; a text is one message."""


class RunList(TypedDict):
    """A page of the caller's runs, newest first."""

    data: list[RunSummary]
    """The runs, without what is long or changes often."""

    next_cursor: NotRequired[str]
    """Only there when there is a next page."""


class RunOfSession(TypedDict):
    """A run of a session."""

    id: str
    """The run's id."""

    url: str
    """The run's own address."""

    status: RunStatus
    """The last four are final and never change."""

    created_at: str
    """When it was submitted."""

    completed_at: str | None
    """When it ended; null before."""


class RunSummary(TypedDict):
    """A run in a list, as of its last change of status. What changes more often is at its own address."""

    id: str
    """The run's id: its session's, and its number in that session."""

    object: Literal["run"]
    """What this is: always `run`."""

    url: str
    """The run's own address."""

    status: RunStatus
    """The last four are final and never change."""

    title: str
    """The caller's, else the first line of the input. One line."""

    input_preview: str
    """The first 200 characters of the input's text; the whole is at `/input`."""

    agent: str
    """The name of the agent that answers."""

    model: str | None
    """The model that was asked for, else the agent's own; null where that is not known."""

    stream: bool
    """Whether its text can be watched while it is made."""

    session_id: str
    """The conversation that it belongs to."""

    batch_id: str | None
    """The batch that it is an item of; null for a run of its own."""

    error: RunError | None
    """Why it failed; null unless its status is `failed`."""

    incomplete_details: IncompleteDetails | None
    """Why it was cut short; null unless its status is `incomplete`."""

    usage: Usage
    """Tokens of all its turns so far; in a list, up to the last change of status."""

    metadata: dict[str, str]
    """What its caller noted on it at submit."""

    created_at: str
    """When it was submitted."""

    start_at: str | None
    """When it was to start, as its submit asked; null when at once."""

    completed_at: str | None
    """When it ended; null before."""

    elapsed_seconds: float | None
    """From submit to the end, of a run with `start_at` from its start; null before."""


class RunToken(TypedDict):
    """A run token, which is shown this once."""

    token: str
    """Goes to `/api/shared/…` as `Authorization: Bearer …`."""

    expires_at: str
    """Until when it holds."""


class Schedule(TypedDict):
    """A request that becomes a run again and again."""

    id: str
    """The schedule's id."""

    object: Literal["schedule"]
    """What this is: always `schedule`."""

    url: str
    """The schedule's own address."""

    name: str | None
    """Of an agent's own schedule: its name; null for one that was made by a call."""

    agent: str
    """The name of the agent that answers."""

    title: str
    """The caller's, else the first line of the input. One line."""

    input_preview: str
    """The first 200 characters of the input's text."""

    metadata: dict[str, str]
    """What its caller noted on it; its runs have it too."""

    cron: str
    """When: five fields, or six with the second in front."""

    time_zone: str
    """Whose local times these are."""

    missed: Literal["skip", "once"]
    """What becomes of times that nobody was there for."""

    paused: bool
    """Whether it begins nothing."""

    next_at: str | None
    """The time that comes next, or whose run was refused and is tried again; null while it is paused."""

    tries: int
    """How often that was refused so far."""

    last: LastOccurrence | None
    """What became of the time that came last; null before the first."""

    created_at: str
    """When it was made."""

    updated_at: str
    """When it was last changed by a call."""


class ScheduleBody(TypedDict):
    """The body of `POST /api/schedules`."""

    cron: str
    """When: minute, hour, day of the month, month, day of the week; with six fields the second in front, as in Azure
    Functions. One second only, so that it is once a minute at most.
    """

    time_zone: NotRequired[str | None]
    """Whose local times these are, such as `Europe/Berlin` (IANA); UTC when left out. One that the change to summer
    time skips counts as the first minute after it, one that comes twice counts once.
    """

    missed: NotRequired[Literal["skip", "once"]]
    """What becomes of times that nobody was there for, more than ten minutes late: `skip`, nothing, or `once`, one run
    for all of them. Default: `"skip"`.
    """

    paused: NotRequired[bool]
    """Whether it begins nothing until it is changed; no time that passes meanwhile counts as missed. Default: `false`.
    """

    input: str | list[MessageBody]
    """What the agent is to answer each time: a text, or messages with text, images and files."""

    agent: NotRequired[str | None]
    """The agent's name (`GET /api/agents`); the app's default when left out."""

    model: NotRequired[str | None]
    """One of the `models` of the agent; its own when left out."""

    title: NotRequired[str | None]
    """One line for lists; the first line of the input when left out."""

    stream: NotRequired[bool]
    """Whether the text of each run can be watched while it is written. Default: `false`."""

    metadata: NotRequired[dict[str, str]]
    """Up to 16 notes of your own, which are kept with each run."""

    deadline_seconds: NotRequired[float | None]
    """Seconds after which a run fails if it has not ended; the app's default when left out."""

    limits: NotRequired[LimitsBody]
    """What each run may use up."""

    callback_url: NotRequired[str | None]
    """An address of yours that gets a callback when a run ends, and when a person has to decide."""


class ScheduleChangeBody(TypedDict):
    """The body of `PATCH /api/schedules/{id}`: what is left out stays as it is."""

    cron: NotRequired[str | None]
    """When, from now on."""

    time_zone: NotRequired[str | None]
    """Whose local times these are."""

    missed: NotRequired[Literal["skip", "once"] | None]
    """What becomes of times that nobody was there for."""

    paused: NotRequired[bool | None]
    """Whether it begins nothing."""


class ScheduleList(TypedDict):
    """A page of the caller's schedules, in no order that means anything."""

    data: list[Schedule]
    """The schedules."""

    next_cursor: NotRequired[str]
    """Only there when there is a next page."""


class Session(TypedDict):
    """One conversation with one agent."""

    id: str
    """The session's id."""

    object: Literal["session"]
    """What this is: always `session`."""

    agent: str
    """The agent that it is with."""

    active_run: str | None
    """The run that is active; null when none is, and the next may be submitted."""

    created_at: str
    """When its first run was submitted."""

    last_activity: str
    """When a run of it last began or ended."""

    runs: list[RunOfSession]
    """A page of them, newest first."""

    messages: list[Message]
    """Of the runs of this page, in the order in which they were said."""

    next_cursor: NotRequired[str]
    """Only there when there are older runs."""


class SettingsCheck(TypedDict):
    """Whether all settings are known."""

    status: Literal["ok", "warning"]
    """`warning` when some are unknown, which makes nothing unwell."""

    unknown: list[str]
    """Names that begin with `DORMOUSE_` and mean nothing to this version."""


class StorageCheck(TypedDict):
    """Whether storage answers."""

    status: Literal["ok", "unwell"]
    """`unwell` when it does not answer in time."""

    detail: NotRequired[str]
    """What is wrong; not there when nothing is."""

    watched: NotRequired[int]
    """Due rows: runs, batches and deletions still to come back to; up to 1,000."""

    quarantined: NotRequired[int]
    """Rows that this version cannot read; counted up to 1,000."""


class SubmittedBatch(TypedDict):
    """A batch as the answer to its submit has it."""

    id: str
    """The batch's id."""

    object: Literal["batch"]
    """What this is: always `batch`."""

    url: str
    """The batch's own address."""

    items_url: str
    """Where its items are read, in pages."""

    status: BatchStatus
    """`completed` and `cancelled` are final and never change."""

    counts: BatchCounts
    """How many items stand where."""

    agent: str | None
    """The agent of items that name none; null for the app's default."""

    model: str | None
    """The model of items that name none; null for the agent's own."""

    concurrency: int
    """How many items are active at once at most."""

    metadata: dict[str, str]
    """What its caller noted on it at submit; its runs have it too."""

    callback_url: str | None
    """Where its end is reported; null when nowhere."""

    callback_status: Literal["pending", "delivered", "given_up", "disabled"] | None
    """What became of the callback of its end; null before there is one."""

    callback_attempts: int
    """How many there were, redeliveries included."""

    callback_last: LastDelivery | None
    """The last one; a batch keeps no log of the others."""

    created_at: str
    """When it was submitted."""

    updated_at: str
    """When it last changed."""

    completed_at: str | None
    """When its last item ended; null before."""

    retry_after: float | None
    """Seconds between its last look and its next; null at the end."""

    retry_of: str | None
    """The batch whose items it runs again; null when its items are new. That batch may be deleted since."""

    token: NotRequired[RunToken]
    """Only there when it was asked for, and in no other answer."""


class SubmittedRun(TypedDict):
    """A run as the answer to its submit has it."""

    id: str
    """The run's id: its session's, and its number in that session."""

    object: Literal["run"]
    """What this is: always `run`."""

    url: str
    """The run's own address."""

    status: RunStatus
    """The last four are final and never change."""

    title: str
    """The caller's, else the first line of the input. One line."""

    input_preview: str
    """The first 200 characters of the input's text; the whole is at `/input`."""

    agent: str
    """The name of the agent that answers."""

    model: str | None
    """The model that was asked for, else the agent's own; null where that is not known."""

    stream: bool
    """Whether its text can be watched while it is made."""

    session_id: str
    """The conversation that it belongs to."""

    batch_id: str | None
    """The batch that it is an item of; null for a run of its own."""

    error: RunError | None
    """Why it failed; null unless its status is `failed`."""

    incomplete_details: IncompleteDetails | None
    """Why it was cut short; null unless its status is `incomplete`."""

    usage: Usage
    """Tokens of all its turns so far; in a list, up to the last change of status."""

    metadata: dict[str, str]
    """What its caller noted on it at submit."""

    created_at: str
    """When it was submitted."""

    start_at: str | None
    """When it was to start, as its submit asked; null when at once."""

    completed_at: str | None
    """When it ended; null before."""

    elapsed_seconds: float | None
    """From submit to the end, of a run with `start_at` from its start; null before."""

    provider_status: str | None
    """The provider's last status or error code, for people; null before there is one."""

    turn: int
    """The turn that it is in, or ended in; the first is 1."""

    wakes: int
    """How often the app was at work for it."""

    active_seconds: float
    """How long the app was at work for it: from the start of each execution to its last write. While the model thinks
    nothing runs, so this is far less than the time that has passed.
    """

    callback_url: str | None
    """Where its end and its questions are reported; null when nowhere."""

    callback_status: Literal["pending", "delivered", "given_up", "disabled"] | None
    """What became of the last callback; null while none is due or was sent."""

    updated_at: str
    """When something last changed that a caller sees."""

    deadline_at: str | None
    """When it fails unless it has ended; null before it starts, and while it waits for a person, when this time stands
    still.
    """

    answer_by: str | None
    """Until when a person can answer; null unless it waits for one."""

    waiting_for: str
    """What it waits for: `start` (it was submitted for later), `provider`, `tools`, `person`, `retry` (something that
    passes went wrong) or `nothing`. Take other words too: more may come.
    """

    waiting_text: str
    """The same, in a sentence for people."""

    wake_at: str | None
    """When the app looks or tries next by itself; null while tools run, while a person is to answer, and at the end."""

    retry_after: float | None
    """Seconds between its last look and its next; null at the end. While tools run or a person is to answer: 5 or 30 at
    most, as the header `Retry-After`, because the next change is not up to the schedule; before its start 3600.
    """

    text: str
    """The text of the last turn; empty until there is one."""

    output: Any
    """The result as an object, for agents that promise one."""

    required_action: RequiredAction | None
    """What a person has to decide; null when nothing."""

    tool_calls: list[ToolCall]
    """The calls of the run's tools, in the order in which they were asked for."""

    progress: Progress | None
    """The latest word of any of its tools; null when there is none."""

    annotations: list[Annotation]
    """Citations and other marks on `text`: the first 500. Empty until the run has ended."""

    hosted_calls: list[HostedCall]
    """What the provider's own tools did in the turns that are over: the latest 100 calls."""

    reasoning: list[Reasoning]
    """Summaries of the model's reasoning in the turns that are over, where the agent asks its provider for them."""

    token: NotRequired[RunToken]
    """Only there when it was asked for, and in no other answer."""


class TextPart(TypedDict):
    """Text in a message."""

    type: Literal["input_text"]
    """What this part is."""

    text: str
    """The text."""


class Timeline(TypedDict):
    """What happened to a run, in order."""

    run_id: str
    """The run."""

    wakes: int
    """How often the app was at work for it."""

    active_seconds: float
    """How long the app was at work for it, all together."""

    data: list[TimelineEntry]
    """What happened, oldest first."""


class TimelineEntry(TypedDict):
    """What happened at one time, or several alike that followed each other."""

    at: str
    """When; of several the first."""

    until: str | None
    """When the last of several was, or the work was over; null for a single moment."""

    kind: str
    """What it is: `created`, `started` (of a run for later), `sent`, `turn_started`, `looked`, `no_answer`,
    `turn_ended`, `retry`, `tools`, `tool` (one call, from start to result), `parked`, `answered`, `waiting`,
    `crashed`, `ended`, `callback`, or `omitted` (entries left out where there were too many). Take other words too:
    more may come.
    """

    turn: int | None
    """The turn's number; null where it is about the whole run."""

    count: int
    """How many it stands for."""

    wakes: int
    """How many of the run's wakes it stands for. Those of all entries add up to the run's."""

    milliseconds: int
    """How long the app was at work for it."""

    code: str | None
    """A word for why, or for what became of it."""

    by: str | None
    """Who answered or cancelled: a principal, a user or the label of a run token."""

    tool: str | None
    """The tool's name, for `tool`."""


class TokenBody(TypedDict):
    """A token for one run: what it allows, for how long, and a name for whoever gets it."""

    rights: list[Literal["read", "answer", "cancel"]]
    """What it allows: to see and watch the run, to answer its questions, to cancel it."""

    seconds: NotRequired[int]
    """How long it holds. Default: `3600`."""

    label: NotRequired[str | None]
    """A name for whoever gets it: the run tells who answered or cancelled by it."""


class ToolCall(TypedDict):
    """One tool call of the run."""

    id: str
    """Turn and place in the turn: unlike `call_id` it names one call of the run alone."""

    url: str
    """The call with all of its arguments and its result."""

    call_id: str
    """The provider's own id, which it may use again."""

    name: str
    """The tool."""

    turn: int
    """The turn that asked for it; the first is 1."""

    state: CallState | Literal["cancelled"]
    """`cancelled` where its run ended before it was finished; `handed_over` where its caller, who brought the function,
    makes the call.
    """

    arguments: str
    """The JSON text that the model wrote: its first 500 characters."""

    result: str | None
    """What the model was given: its first 500 characters; null until the call is finished, and for the provider's own
    tools.
    """

    truncated: bool
    """Whether arguments or result are longer than shown here."""

    error: CallError | None
    """Why there is no other result; null unless the call failed, was refused, or ran too long."""

    starts: int
    """How often it was started: more than once after an interruption."""

    started_at: str | None
    """When it was last started."""

    finished_at: str | None
    """When its result was kept; null before."""

    approval: Literal["pending", "approved", "refused"] | None
    """What a person said of it; null where nobody was asked."""

    answer_reason: str | None
    """Why that person approved or refused."""

    answered_by: str | None
    """Who that was: a principal, a user or the label of a run token."""

    answered_at: str | None
    """When that person answered; null where nobody has."""

    progress: Progress | None
    """The last word of this call; null when its tool reports none."""


class ToolOfAgent(TypedDict):
    """A tool that an agent may call."""

    name: str
    """The tool's name."""

    description: str
    """What it does, as the model reads it."""

    requires_approval: bool
    """Whether a person is asked before a call of it, always or at times."""


class Usage(TypedDict):
    """Tokens, as the provider counted them."""

    input_tokens: int
    """Tokens that the model read, in all turns."""

    output_tokens: int
    """Tokens that it wrote, its reasoning included."""

    total_tokens: int
    """Both together."""

    cached_tokens: int
    """Those of the input that the provider had in its cache."""

    reasoning_tokens: int
    """Those of the output that were reasoning."""


class Wake(TypedDict):
    """The app was at work for the run, and what it says of the next time. Nothing else has changed."""

    wakes: int
    """How often it was, by now."""

    active_seconds: float
    """How long, all together."""

    wake_at: str | None
    """When it looks or tries next by itself."""

    waiting_for: str
    """What it waits for, in a word, as in the run."""

    waiting_text: str
    """The same, in a sentence for people."""


class WatchedList(TypedDict):
    """A page of them."""

    data: list[WatchedRow]
    """The page."""

    next_cursor: NotRequired[str]
    """The `cursor` of the next page; not there on the last."""

    watched: int
    """How many runs, batches, schedules and deletions somebody must still come back to; counted up to 1,000."""


class WatchedRow(TypedDict):
    """Something that somebody must still come back to."""

    id: str
    """The id of the run, batch or schedule; of a deletion `session_` and the id of the session."""

    kind: Literal["run", "batch", "schedule", "deletion"]
    """What it is. A deletion is that of a session."""

    status: str | None
    """Its status; null for a deletion and a schedule, and where it cannot be read or is not there."""

    agent: str | None
    """Its agent; null where that is not known."""

    readable: bool
    """Whether this version can read it, and has the key to do so."""

    wake_at: str | None
    """When it is to be woken by its own row; null when never, or when that cannot be read."""

    due_at: str | None
    """When the sweep looks at it; null when it has no due row, so that no sweep ever does."""

    overdue_sweeps: int
    """How many sweeps in a row have found it overdue."""

    quarantined: str | None
    """Why it was put aside; null when it was not."""


class WholeText(TypedDict):
    """The text of a run that is watched, and what goes with it in this turn: it takes the place of what was shown."""

    text: str
    """The text so far (`snapshot`), or what comes after it (`delta`)."""

    continuation_token: str
    """The event's id."""

    annotations: list[Annotation]
    """Citations and other marks on the text."""

    hosted_calls: list[HostedCall]
    """What the provider's own tools did."""

    reasoning: str
    """The summary of the model's reasoning in this turn."""


class WholeToolCall(TypedDict):
    """A tool call with all that the run shows only the beginning of."""

    id: str
    """Turn and place in the turn: unlike `call_id` it names one call of the run alone."""

    url: str
    """The call with all of its arguments and its result."""

    call_id: str
    """The provider's own id, which it may use again."""

    name: str
    """The tool."""

    turn: int
    """The turn that asked for it; the first is 1."""

    state: CallState | Literal["cancelled"]
    """`cancelled` where its run ended before it was finished; `handed_over` where its caller, who brought the function,
    makes the call.
    """

    arguments: str
    """The JSON text that the model wrote: its first 500 characters."""

    result: str | None
    """What the model was given: its first 500 characters; null until the call is finished, and for the provider's own
    tools.
    """

    truncated: bool
    """Whether arguments or result are longer than shown here."""

    error: CallError | None
    """Why there is no other result; null unless the call failed, was refused, or ran too long."""

    starts: int
    """How often it was started: more than once after an interruption."""

    started_at: str | None
    """When it was last started."""

    finished_at: str | None
    """When its result was kept; null before."""

    approval: Literal["pending", "approved", "refused"] | None
    """What a person said of it; null where nobody was asked."""

    answer_reason: str | None
    """Why that person approved or refused."""

    answered_by: str | None
    """Who that was: a principal, a user or the label of a run token."""

    answered_at: str | None
    """When that person answered; null where nobody has."""

    progress: Progress | None
    """The last word of this call; null when its tool reports none."""

    whole_arguments: str
    """All of the JSON text that the model wrote."""

    whole_result: str | None
    """All that the model was given; null until the call is finished."""


BatchStatus: TypeAlias = Literal["queued", "in_progress", "cancelling", "completed", "cancelled"]
"""A batch's status, as callers see it. `completed` and `cancelled` never change."""

CallState: TypeAlias = Literal["waiting", "open", "started", "finished", "handed_over"]
"""Where one tool call stands."""

ItemStatus: TypeAlias = Literal["pending", "active", "completed", "incomplete", "failed", "cancelled"]
"""Where an item stands. An ended one has the word of its run."""

RunStatus: TypeAlias = Literal["queued", "in_progress", "requires_action", "completed", "incomplete", "failed", "cancelled"]
"""A run's status, as callers see it. The last four are terminal and never change."""
