"""A run and its session: what they hold, part by part. ``store.rows`` writes each part as one property of the row."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from shared.agentkit.agent import ContinuationToken, Usage
from shared.runs.model.ids import run_id
from shared.runs.model.outbox import CallbackState, Outbox
from shared.runs.model.phases import Creating, Ended, Pending, Phase, RunStatus, WaitingForAnswers

SCHEMA = 3
"""Version of the row format. 3 is the first with parts and phases; rows of an earlier one are told, and left alone."""


@dataclass(frozen=True, slots=True)
class PartRef:
    """A long value that lies in part rows: its digest and the number of rows."""

    digest: str
    count: int


Text = str | PartRef
"""A value as a row holds it: itself, or where it lies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a run may use up, over all its wakes."""

    turns: int
    tool_calls: int

    total_tokens: int | None = None
    """None: no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Who asked what of which agent. Set by submit and never changed, but emptied when the run is deleted."""

    session_id: str
    number: int
    """Counts the runs of the session, from 1."""

    agent: str
    owner: str

    fingerprint: str
    """Tells this request from any other for the same number: the hash of its key, or a random nonce without one."""

    created_at: datetime
    limits: Limits

    model: str | None = None
    """None: the agent's own."""

    stream: bool = False
    """Whether responses are created so that they can be followed while they are made."""

    metadata: dict[str, str] = field(default_factory=dict)

    slot: int | None = None
    """The place in the owner's limit of active runs; None where there is no limit."""

    batch_id: str | None = None
    callback_url: str | None = None

    follows: int | None = None
    """The run's number that an OpenAI client went on from; told it again."""

    background: bool = True
    """Whether an OpenAI client asked not to wait; told it again, and nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One response of the model inside the run. Kept through all phases until the next turn begins."""

    number: int = 1

    attempt: int = 0
    """Tries at creating its response that were claimed. The next is one more."""

    accepted_at: datetime | None = None
    """When the provider last took an attempt: the looks go by the age of that, a batch's pace by the time."""

    unknown_outcomes: int = 0
    """Attempts that may have started something of which nothing was heard."""

    restarts: int = 0
    """Responses that the provider failed with a transient code, and that were created anew."""

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

    response_ids: tuple[str, ...] = ()
    """All responses that are known to have been created for the run, orphans too, until they are deleted."""

    items: int = 0
    """Conversation items appended so far; item 0 is the input."""

    provider_status: str | None = None
    """The provider's last word, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """What bounds the run in time, besides its phase."""

    deadline_at: datetime | None
    """When the run fails; None while it is parked."""

    resume_at: datetime | None = None
    """Nothing but what time itself decides is done before. Set when a wake crashed or its agent is not known."""

    crashes: int = 0
    """Wakes in a row that ended with an exception that nobody expected. Reset by whatever got somewhere."""

    agent_unknown_since: datetime | None = None
    """Since when the versions that looked have not known its agent."""

    retry_after: float = 0.0
    """Seconds from the last change to the next look or try, as it was then; 0 while there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What the run has used, over all its wakes."""

    wakes: int = 0
    tool_calls: int = 0
    usage: Usage = field(default_factory=Usage)

    corrections: int = 0
    """Turns in which the model was told that its text does not fit the agent's output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of it. Set by what ends the run; emptied when it is deleted."""

    text: Text = ""
    """The text of the run's last turn."""

    output: Text = ""
    """The text parsed, as JSON, for agents that promise a form."""

    error_code: str | None = None
    error_message: str | None = None
    incomplete_reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One request to an agent, from submit to a terminal status. All times are aware UTC."""

    request: Request
    schedule: Schedule
    updated_at: datetime
    """When something last changed that a caller sees."""

    turn: Turn = field(default_factory=Turn)
    phase: Phase = field(default_factory=Creating)
    chain: Chain = field(default_factory=Chain)
    counters: Counters = field(default_factory=Counters)
    result: Result = field(default_factory=Result)
    outbox: Outbox = field(default_factory=Outbox)

    @property
    def id(self) -> str:
        """``run_<session>_<n>``."""
        return run_id(self.request.session_id, self.request.number)

    @property
    def status(self) -> RunStatus:
        """What a caller is told: it follows from the phase."""
        match self.phase:
            case Ended(status=status):
                return status
            case WaitingForAnswers():
                return RunStatus.REQUIRES_ACTION
            case Creating() if self.turn.number == 1 and not self.turn.restarts:
                return RunStatus.QUEUED
        return RunStatus.IN_PROGRESS

    @property
    def terminal(self) -> bool:
        """Whether its status can no longer change."""
        return isinstance(self.phase, Ended)

    @property
    def is_deleted(self) -> bool:
        """Whether it is a tombstone."""
        return isinstance(self.phase, Ended) and self.phase.deleted_at is not None

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do for it, here or elsewhere."""
        return self.terminal and not self.outbox.entries

    @property
    def completed_at(self) -> datetime | None:
        """When it ended, if it has."""
        return self.phase.completed_at if isinstance(self.phase, Ended) else None

    @property
    def token(self) -> ContinuationToken | None:
        """Where it stands at the provider, while the model thinks."""
        return self.phase.token if isinstance(self.phase, Pending) else None

    @property
    def replays(self) -> bool:
        """Whether the current turn is created from full input, not chained to the last response."""
        return self.chain.replay or self.turn.replay

    @property
    def callback_state(self) -> CallbackState | None:
        """What became of the last callback."""
        return self.outbox.callback_state

    def without_content(self) -> Run:
        """The run with nothing of what was said or asked for in it."""
        return replace(
            self,
            request=replace(self.request, metadata={}, model=None, callback_url=None),
            result=Result(error_code=self.result.error_code),
            chain=replace(self.chain, provider_status=None),
            outbox=replace(self.outbox, callback_state=None),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One conversation with one agent. It moves forward only when a run completes."""

    session_id: str
    agent: str
    owner: str
    created_at: datetime
    last_activity: datetime

    response_id: str | None = None
    """The last good point at the provider. None with completed runs behind it (one was deleted): the next run is
    rebuilt from the items."""

    replay: bool = False
    """Whether chaining did not work there."""

    active_run: int | None = None
    """The number of the run that is not terminal, if any: one at a time."""

    next_number: int = 1
    deleted_at: datetime | None = None

    purged: int = 0
    """Of a deleted session: the runs up to this number are deleted too."""

    emptied: bool = False
    """Of a deleted session: whether all of them are."""

    schema: int = SCHEMA
