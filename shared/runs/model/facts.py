"""The facts of a run: what happened. Each names its subject, so that one that comes too late changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from shared.agentkit.agent import AgentResponse, Usage
from shared.agentkit.faults import ProviderFault
from shared.agentkit.tools import Tool
from shared.runs.model.outbox import CallbackState, EntryKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The subject of what becomes of a create."""

    turn: int
    """The turn's number."""
    number: int
    """Counts the attempts of the turn, from 1."""
    # Nobody can make a response beforehand that passes for this attempt's.
    nonce: str
    """Random: the provider keeps it with the response, which proves whose it is."""


# --- creating a response -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A wake takes the right to make the turn's next attempt. Never decided again after a lost race."""

    attempt: Attempt
    """The next attempt of the turn."""
    # Longer than the request may take: a claim must not run out under a request that is still being sent.
    seconds: float
    """How long the claim holds, ..."""

    grace: float
    """... and how much later the attempt counts as one of unknown outcome."""

    owner: str = ""
    """Random, where the claim is a lease that is renewed while the call runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotBuilt:
    """There was no request to send: the agent's own code failed, or it refused. Nothing was claimed."""

    turn: int
    """The turn's number."""
    attempt: int
    """The attempts made before."""

    fault: ProviderFault
    """What went wrong."""
    jitter: float
    """In [0, 1), to spread the wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotCreated:
    """The attempt surely started nothing. The fault says why."""

    attempt: Attempt
    """The one that started nothing."""
    fault: ProviderFault
    """The provider's error, or that of the connection to it."""
    jitter: float
    """In [0, 1), to spread the wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeUnknown:
    """The request was sent, and its outcome is unknown."""

    attempt: Attempt
    """The one that may have started something."""
    code: str
    """What went wrong, for people."""
    within_call: bool
    """Whether the answer was to come within the call: then nothing goes on without it, and nothing is waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRanOut:
    """Claim and grace are over and nothing was heard of the attempt. Decided by time."""

    attempt: Attempt
    """The one whose claim it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the agent made of a response: all that the rules need besides."""

    response: AgentResponse
    """As the provider gave it."""
    tools: Mapping[str, Tool]
    """The agent's: which calls need approval."""

    output: str = ""
    """The text parsed, as JSON, for agents that promise a form."""

    output_error: str | None = None
    """What does not fit of it: ``<form>: <error>``."""

    output_form: str = ""
    """The form's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseCreated:
    """The provider accepted the attempt: the create's answer says so, or a webhook that adopts it.

    The one fact that is never refused while the run does not know the response: its cancel goes into the outbox.
    """

    attempt: Attempt
    """The one that it names, or whose request it answers."""
    answer: Answer
    """How it stands."""
    jitter: float
    """In [0, 1), to spread the wait."""
    cancellable: bool = True
    """Whether it goes on without us, so that one that is not wanted has to be cancelled."""


# --- looking how a response stands -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """The provider said how the response stands."""

    response_id: str
    """The one that was asked about."""
    answer: Answer
    """How it stands."""
    jitter: float
    """In [0, 1), to spread the wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoNews:
    """The provider did not say."""

    response_id: str
    """The one that was asked about."""
    fault: ProviderFault
    """What went wrong."""
    jitter: float
    """In [0, 1), to spread the wait."""

    missing: bool = False
    """It said that there is no such response."""

    is_another: bool = False
    """Under that id it has the response of another run or app, which is not ours to cancel."""


# --- tools -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTaken:
    """A wake takes the right to run the turn's tools. Never decided again after a lost race."""

    turn: int
    """The turn's number."""
    owner: str
    """Random: who takes it."""
    # Approval belongs to the tool at the moment it runs, whichever build read the response.
    tools: Mapping[str, Tool]
    """Those of this build, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRenewed:
    """The holder is still at it: of the tools' lease, or of a claim that is one."""

    owner: str
    """Random: the holder."""
    beside_others: bool | None = None
    """Whether it runs other tool calls too; None: not known, or of no importance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolsSettled:
    """No call runs any more under this lease."""

    turn: int
    """The turn's number."""
    owner: str
    """Empty where nothing had to be run."""

    # Read before the decision, which does no I/O: long results are kept in part rows.
    outputs: str | None
    """The calls' outputs for the model, as JSON items, where nothing is left to do about any call; else None."""
    outputs_of: int = 0
    """How many finished calls these are the outputs of: while they were read, somebody may have declined another."""

    text: str = ""
    """What the model said beside calls of the caller's functions, with which the run ends."""
    annotations: str = ""
    """The marks on that text, as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approve:
    """One person's answer about one call; the model is given the reason."""

    approve: bool
    """Yes or no."""
    reason: str = ""
    """Why; may be empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """People said yes or no to calls, each named by its approval id or its call id. All or none are taken."""

    answers: Mapping[str, Approve]
    """By approval id, or by call id."""

    by: str = ""
    """Who says so: an owner, or the label of a run token."""


# --- the run as a whole ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The time of a run that was submitted for later has come, and it is one of its owner's active runs now."""

    slot: int | None
    """Its place among them; None where there is no limit."""
    # A place that no run holds is another's after a while.
    taken_at: datetime
    """Not after that was taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotStarted:
    """Its time has come, and its owner has as many active runs as there may be."""

    refusals: int
    """Those that the wake saw: two that saw the same are one."""
    jitter: float
    """In [0, 1), to spread the wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequested:
    """The caller cancels it."""

    by: str = ""
    """Who: an owner, or the label of a run token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlinePassed:
    """The run's own deadline, or while it is parked the one for answers. Decided by time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentUnknown:
    """This build does not know the run's agent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WakeCrashed:
    """A wake raised an unexpected exception."""

    seen: int
    """The count of crashes that the wake saw: two that saw the same are one."""

    error: str
    """The exception's class: its text may hold a secret."""
    jitter: float
    """In [0, 1), to spread the wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """Whoever may has the run deleted: it becomes a tombstone."""

    keep: float
    """Seconds until its own row goes."""


# --- the outbox --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryName:
    """The subject of what becomes of an entry."""

    kind: EntryKind
    """Its kind, ..."""
    subject: str
    """... its subject ..."""
    since: datetime
    """... and when it came up: one that was asked for anew is another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackClaimed:
    """A wake takes the right to make the next attempt at a callback. Never decided again after a lost race."""

    entry: EntryName
    """The callback."""
    tries: int
    """Those made before."""

    seconds: float
    """How long no other wake makes one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxTried:
    """A try that did not do it, or found no room: later."""

    entry: EntryName
    """The one that was tried."""
    seconds: float
    """Until the next try."""

    counts: bool = True
    """Whether it was a try at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxDone:
    """An entry is done, or given up."""

    entry: EntryName
    """The one that is done."""
    # Tokens that a cancelled response had used are billed, so they count.
    usage: Usage | None = None
    """What the provider counted of a response that was cancelled."""

    callback_state: CallbackState | None = None
    """What became of a callback; None for any other kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponsesDeleted:
    """Some of a deleted run's responses were tried: some are gone at the provider, and some are not."""

    entry: EntryName
    """The one that stands for them."""
    gone: tuple[str, ...]
    """They are deleted."""
    failed: tuple[str, ...]
    """They go behind the others."""

    seconds: float = 0.0
    """Until the next try, where none is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackRequested:
    """The caller wants the callback of the run's end again."""


Fact = (
    Started
    | NotStarted
    | Claimed
    | NotBuilt
    | NotCreated
    | OutcomeUnknown
    | ClaimRanOut
    | ResponseCreated
    | Looked
    | NoNews
    | LeaseTaken
    | LeaseRenewed
    | ToolsSettled
    | Answered
    | CancelRequested
    | DeadlinePassed
    | AgentUnknown
    | WakeCrashed
    | Deleted
    | CallbackClaimed
    | OutboxTried
    | OutboxDone
    | ResponsesDeleted
    | CallbackRequested
)

# Decided again on a newer row, both sides of the race would act on the same right.
Right = Claimed | LeaseTaken | CallbackClaimed
"""Taking a right: who lost the race for it has lost it, and it is never decided again."""
