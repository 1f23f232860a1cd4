"""Tool calls: what a turn asked for, a row each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared.runs.model.ids import run_id
from shared.runs.model.run import SCHEMA, Text


class CallState(StrEnum):
    """Where one tool call stands."""

    WAITING = "waiting"
    """A person is asked about it."""

    OPEN = "open"
    """It may be started."""

    STARTED = "started"
    """It runs, under the lease of ``owner``; once that is another's, it was interrupted."""

    FINISHED = "finished"
    """Its result is in the row."""

    HANDED_OVER = "handed_over"
    """It is the caller's, with which the run ends: to make, where the function is theirs, or else to approve."""

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to do about it here."""
        return self in (CallState.FINISHED, CallState.HANDED_OVER)

    @property
    def runnable(self) -> bool:
        """Whether whoever takes the lease runs it."""
        return self in (CallState.OPEN, CallState.STARTED)


class CallKind(StrEnum):
    """Who makes the call: we do, or the provider does once it is approved (an MCP server's tool)."""

    FUNCTION = "function"
    MCP = "mcp"


class Approval(StrEnum):
    """What a person said of a call; ``none`` where nobody was asked."""

    NONE = "none"
    PENDING = "pending"
    APPROVED = "approved"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """One call. Its row is written under its own ETag while it runs, and with the run's otherwise."""

    session_id: str
    """The session of its run."""

    number: int
    """The number of its run."""

    turn: int
    """The turn that asked for it."""

    index: int
    """Counts the calls of the turn, from 0."""

    # Not part of the row's key, since a provider may repeat it: turn and index are.
    call_id: str
    """The provider's; it may use one again."""

    name: str
    """The tool's name, as the model wrote it."""

    arguments: Text
    """JSON text as the model wrote it."""

    kind: CallKind = CallKind.FUNCTION
    """Who makes the call."""

    state: CallState = CallState.OPEN
    """Where it stands."""

    approval: Approval = Approval.NONE
    """What a person said of it."""

    why: str = ""
    """What a person is told who is to approve it."""

    reason: str = ""
    """What that person said; the model hears it."""

    answered_by: str = ""
    """Who that was: an owner, or the label of a run token."""

    answered_at: datetime | None = None
    """When that person answered."""

    progress: str = ""
    """The tool's last word on how far it is."""

    progress_fraction: float | None = None
    """From 0 to 1, where the tool says so."""

    progress_at: datetime | None = None
    """When the tool reported that."""

    # Only a count in the row survives a tool that kills its process at each start.
    starts: int = 0
    """How often it was started; never reset."""

    interruptions: int = 0
    """How many of these starts ended with a process that most likely something else ended."""

    # The owner is a fence: a takeover changes the row's ETag, so a late write of the former owner fails.
    owner: str = ""
    """The lease under which it may be written: who lost that gets 412."""

    result: Text = ""
    """What the model is told. Set once, when it is finished."""

    started_at: datetime | None = None
    """When it was last started."""

    finished_at: datetime | None = None
    """When its result was known."""

    schema: int = SCHEMA
    """Version of its row's format."""

    @property
    def awaits_approval(self) -> bool:
        """Whether it was handed over to be approved."""
        return self.state is CallState.HANDED_OVER and self.approval is Approval.PENDING

    @property
    def run(self) -> str:
        """The id of its run."""
        return run_id(self.session_id, self.number)

    @property
    def idempotency_key(self) -> str:
        """The same for every start of this call."""
        # Not the provider's call id, which it may use again within one run.
        return f"{self.run}:{self.turn}:{self.index}"
