"""A run: what it holds, part by part. ``store.rows`` writes each part as one property of the row."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from shared.agentkit.agent import ContinuationToken, Usage
from shared.agentkit.extras import HostedCall
from shared.runs.model.ids import run_id
from shared.runs.model.journal import Journal
from shared.runs.model.outbox import Outbox
from shared.runs.model.phases import Creating, Ended, Pending, Phase, RunStatus, Scheduled, WaitingForAnswers

# Code that meets a higher version leaves the row alone: during a deploy old and new builds share the rows.
SCHEMA = 3
"""Version of the row format. 3 is the first with parts and phases; rows of an earlier version are left alone."""


@dataclass(frozen=True, slots=True)
class PartRef:
    """A long value that is kept in part rows: its digest and the number of rows."""

    digest: str
    """SHA-256 of the value, in hex; part of the part rows' keys."""
    count: int
    """How many part rows hold it."""
    # In the row itself: a run shows the beginning of each of its calls without a read more.
    beginning: str = ""
    """Its first characters."""


# A string property of Table Storage holds 32,768 UTF-16 units at most.
Text = str | PartRef
"""A value as a row holds it: itself, or a reference to its part rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a run may use up, over all its wakes."""

    turns: int
    """Turns, at most."""
    tool_calls: int
    """Tool calls of all turns together, at most."""

    total_tokens: int | None = None
    """None: no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Who asked what of which agent. Set by submit and never changed, but emptied when the run is deleted."""

    session_id: str
    """32 hex digits."""
    number: int
    """Counts the runs of the session, from 1."""

    agent: str
    """The agent's name."""
    owner: str
    """Who may read it."""

    # Without a key each submit is its own: two alike must not become one run.
    fingerprint: str
    """Tells this request from any other for the same number: the hash of its key, or a random nonce without one."""

    created_at: datetime
    """When it was submitted."""
    limits: Limits
    """What the run may use up."""

    model: str | None = None
    """None: the agent's own."""

    stream: bool = False
    """Whether responses are created so that they can be followed while they are made."""

    metadata: dict[str, str] = field(default_factory=dict)
    """The caller's own words, given back as they are."""

    title: str = ""
    """One line for lists: the caller's, else the first of the preview."""

    preview: str = ""
    """The beginning of the input's text."""

    # Kept here so that whoever ends the run can give it back, in any process.
    slot: int | None = None
    """The place in the owner's limit of active runs; None where there is no limit."""

    batch_id: str | None = None
    """The batch that it is an item of, if any."""
    callback_url: str | None = None
    """Where its end, and each pause for answers, is reported; None: nowhere."""

    follows: int | None = None
    """The number of the run that an OpenAI client continued from. Only shown to that client again."""

    branch_of: str | None = None
    """The session of the run that it follows, where this run begins a branch of that; None: they have the same."""

    # Copies: whatever becomes of the session that it left, the branch stays whole.
    history: tuple[PartRef, ...] = ()
    """What was said before the branch began, each a JSON list of items. Of a branch's first run alone."""

    options: str = ""
    """Options of the request that the caller set, of those that the agent allows, as JSON; empty without any."""

    instructions: Text = ""
    """The caller's, to follow the agent's own in each turn of this run; empty without any."""

    tools: Text = ""
    """The caller's functions, as JSON (``model.callers_tools``); empty without any."""

    # Here too: which calls are the caller's to make is decided without a read.
    tool_names: tuple[str, ...] = ()
    """The names of these functions."""

    outputs: Text = ""
    """What our own tools gave in the turn that this run goes on from, as a JSON list of items: they are sent with the
    caller's outputs. Empty where there are none."""

    # For OpenAI's clients: a response of theirs cannot wait for a person, but a next one can bring the answers.
    hands_over: bool = False
    """Whether it ends with what it asks its caller to approve, in place of waiting for the answers."""

    resumes: bool = False
    """Whether its first turn has no response, but the calls that an earlier run had asked its caller to approve."""

    background: bool = True
    """Whether an OpenAI client asked not to wait. Only shown to that client again."""
    start_at: datetime | None = None
    """When its caller wants it to start; None: at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One response of the model inside the run. Kept through all phases until the next turn begins."""

    number: int = 1
    """Counts the turns of the run, from 1."""

    attempt: int = 0
    """Tries at creating its response that were claimed. The next is one more."""

    accepted_at: datetime | None = None
    """When the provider last took an attempt: the looks go by the age of that, a batch's pace by the time."""

    unknown_outcomes: int = 0
    """Attempts that may have started a response of which nothing was heard. Set by ``ClaimRanOut``."""

    restarts: int = 0
    """Responses that the provider failed with a transient code, each created again."""

    calls: int = 0
    """Tool calls that its response asked for."""

    replay: bool = False
    """Whether this turn alone is created from full input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """How the conversation stands at the provider."""

    last_response_id: str | None = None
    """What the next turn continues from. Moved by each response that is done."""

    replay: bool = False
    """Whether every turn is created from full input, for chaining does not work here."""

    # Orphans too: a deleted run must leave nothing that its caller sent at the provider.
    response_ids: tuple[str, ...] = ()
    """All responses that are known to have been created for the run, orphans too, until they are deleted."""

    items: int = 0
    """Conversation items appended so far; item 0 is the input."""

    # So that a page of a session knows what fits before it reads it.
    item_bytes: int = 0
    """Bytes of all of them together, as UTF-8, also of those that are kept in parts."""

    provider_status: str | None = None
    """The last status or error code from the provider, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """What bounds the run in time, besides its phase."""

    deadline_at: datetime | None
    """When the run fails; None before it starts, and while it is parked."""
    begun_at: datetime | None = None
    """When a run that was submitted for later started; None before that, and for any other."""

    resume_at: datetime | None = None
    """Only deadlines and lost claims are handled before. Set by a crash or an unknown agent, cleared by progress."""

    crashes: int = 0
    """Wakes in a row that ended with an unexpected exception. Reset by every fact that is progress."""

    # During a deploy a build without the agent may wake the run before the one that has it.
    agent_unknown_since: datetime | None = None
    """When a build first did not know its agent. Cleared by whatever a build that knows it does."""

    retry_after: float = 0.0
    """Seconds from the last change to the next look or try, as it was then; 0 while there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What the run has used, over all its wakes."""

    wakes: int = 0
    """Wakes that did something."""
    tool_calls: int = 0
    """Calls that the model asked for."""
    usage: Usage = field(default_factory=Usage)
    """Tokens, as the provider counted them; late cancels add theirs."""

    active_ms: int = 0
    """Milliseconds that the app was at work: from the start of each execution to its last write."""

    corrections: int = 0
    """Turns whose text did not fit the agent's output format and was sent back to the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of it. Set by what ends the run; emptied when it is deleted."""

    text: Text = ""
    """The text of the run's last turn."""

    output: Text = ""
    """The text parsed, as JSON, for agents that promise a form."""

    error_code: str | None = None
    """Why the run failed, for programs; None unless it failed."""
    error_message: str | None = None
    """The same, for people."""
    incomplete_reason: str | None = None
    """Why the provider stopped early; None unless the run is incomplete."""

    annotations: Text = ""
    """Citations and other marks on the text, as JSON; empty without any."""

    open_calls: int = 0
    """Calls that it ended with, for its caller to make or to approve: a next run has the outputs and the answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnReasoning:
    """What the model said of its reasoning in one turn."""

    turn: int
    """The turn's number."""
    text: str
    """The provider's summaries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """What the provider gave besides text and calls, of the turns that are over. Emptied when the run is deleted."""

    hosted_calls: tuple[HostedCall, ...] = ()
    """What its own tools did: the latest, up to a bound."""

    reasoning: tuple[TurnReasoning, ...] = ()
    """Summaries of the model's reasoning, where the agent asks for them: the latest turns, up to a bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHead:
    """The parts of a run that a session's page needs, and what follows from them."""

    request: Request
    """Who asked what. Never changes."""
    turn: Turn
    """The current turn; a new value when the next begins."""
    phase: Phase
    """Where it stands; the status follows from it."""
    chain: Chain
    """How the conversation stands at the provider."""

    @property
    def number(self) -> int:
        """Its number in the session."""
        return self.request.number

    @property
    def id(self) -> str:
        """``run_<session>_<n>``."""
        return run_id(self.request.session_id, self.request.number)

    @property
    def status(self) -> RunStatus:
        """What a caller sees; it follows from the phase."""
        return status_of(self.phase, self.turn)

    @property
    def is_deleted(self) -> bool:
        """Whether it is a tombstone."""
        return isinstance(self.phase, Ended) and self.phase.deleted_at is not None

    @property
    def completed_at(self) -> datetime | None:
        """When it ended, if it has."""
        return self.phase.completed_at if isinstance(self.phase, Ended) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(RunHead):
    """One request to an agent, from submit to a terminal status. All times are aware UTC."""

    schedule: Schedule
    """What bounds it in time, besides its phase."""
    updated_at: datetime
    """When something last changed that a caller sees."""

    turn: Turn = field(default_factory=Turn)
    phase: Phase = field(default_factory=Creating)
    chain: Chain = field(default_factory=Chain)
    counters: Counters = field(default_factory=Counters)
    """What it has used."""
    result: Result = field(default_factory=Result)
    """What became of it. Set when it ends."""
    outbox: Outbox = field(default_factory=Outbox)
    """What is still to be done elsewhere."""
    journal: Journal = field(default_factory=Journal)
    """What happened, for people; emptied when it is deleted."""
    extras: Extras = field(default_factory=Extras)
    """What the provider gave besides text and calls."""

    @property
    def terminal(self) -> bool:
        """Whether its status can no longer change."""
        return isinstance(self.phase, Ended)

    @property
    def may_have_calls(self) -> bool:
        """Whether tools were called in it: asked for by its own turns, or by the run whose approvals it answers."""
        return self.counters.tool_calls > 0 or self.request.resumes

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do for it, here or elsewhere."""
        return self.terminal and not self.outbox.entries

    @property
    def token(self) -> ContinuationToken | None:
        """Where it stands at the provider, while the model thinks."""
        return self.phase.token if isinstance(self.phase, Pending) else None

    @property
    def replays(self) -> bool:
        """Whether the current turn is created from full input, not chained to the last response."""
        return self.chain.replay or self.turn.replay

    def without_content(self) -> Run:
        """The run without anything that the caller or the model wrote."""
        return replace(
            self,
            # Owner and fingerprint stay: a repeated submit with the same key must still be recognised.
            request=replace(
                self.request,
                metadata={},
                title="",
                preview="",
                model=None,
                callback_url=None,
                options="",
                instructions="",
                tools="",
                tool_names=(),
                outputs="",
                history=(),
            ),
            result=Result(error_code=self.result.error_code),
            chain=replace(self.chain, provider_status=None),
            outbox=replace(self.outbox, callback_state=None),
            journal=Journal(),
            extras=Extras(),
        )


def status_of(phase: Phase, turn: Turn) -> RunStatus:
    """What a caller sees of a run in this phase of this turn."""
    match phase:
        case Ended(status=status):
            return status
        case WaitingForAnswers():
            return RunStatus.REQUIRES_ACTION
        # A restart was in progress before: a caller must not see a run go back to queued.
        case Scheduled() | Creating() if turn.number == 1 and not turn.restarts:
            return RunStatus.QUEUED
    return RunStatus.IN_PROGRESS
