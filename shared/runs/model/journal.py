"""The journal of a run: what happened to it, in order, shortened for people."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class LineKind(StrEnum):
    """What a line tells. Later versions may know more."""

    CREATED = "created"
    """The run was submitted."""

    STARTED = "started"
    """A run that was submitted for later started."""

    SENT = "sent"
    """The request for the turn's response was sent, and no answer to it is known yet."""

    TURN_STARTED = "turn_started"
    """The provider has accepted the turn's response."""

    LOOKED = "looked"
    """The response was asked about, and is not done."""

    NO_ANSWER = "no_answer"
    """The response was asked about, and the provider did not say; ``code`` is why."""

    TURN_ENDED = "turn_ended"
    """The response is done."""

    RETRY = "retry"
    """Something went wrong that passes: the turn's response is created again; ``code`` is why."""

    TOOLS = "tools"
    """Tools ran. Each call's own times are in its row."""

    PARKED = "parked"
    """The run began to wait for a person."""

    ANSWERED = "answered"
    """``by`` answered what was asked."""

    WAITING = "waiting"
    """It waits for what ``code`` says: a version of the app that knows the agent, fewer active runs."""

    CRASHED = "crashed"
    """A wake failed; ``code`` is the exception's class."""

    ENDED = "ended"
    """The run ended; ``code`` is its status, or the code of its error."""

    CALLBACK = "callback"
    """A callback was tried; ``code`` is what became of it."""

    OMITTED = "omitted"
    """Lines that stood here before they were too many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line: a fact, or several alike that followed each other."""

    # A number: as text each time would take three times the room, of which all lines together have 8 KB.
    at: int
    """When, in milliseconds since 1970; of several the first."""

    kind: LineKind
    """What it tells."""

    last: int | None = None
    """When the last of several was, or the work was over; None for a single moment."""

    count: int = 1
    """How many facts it stands for."""

    wakes: int = 0
    """How many of the run's wakes it stands for. All lines together have those of the run."""

    ms: int = 0
    """Milliseconds that the app was at work for it, in these wakes."""

    turn: int = 0
    """The turn's number; 0 where it is about the whole run."""

    code: str = ""
    """A machine's word for why, or what became of it."""

    by: str = ""
    """Who: an owner, or the label of a run token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """The lines, oldest first. Too many are thinned in the middle, never at the end."""

    lines: tuple[Line, ...] = ()
    """At most 8 KB of them."""
