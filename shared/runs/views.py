"""What a viewer of a run is shown, in order, and where a viewer stands. Pure: no I/O, no clock.

A client keeps one text: a ``Snapshot`` replaces it, a ``Delta`` is appended. When ``End`` comes it is the run's
``text``, byte for byte. A viewer comes back with the last event id it saw and goes on exactly after it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from shared.runs.run import Run, ToolCall


@dataclass(frozen=True, slots=True, order=True)
class EventId:
    """Where a viewer stands in a run's stream: ``<turn>.<attempt>.<provider sequence>``.

    It names no response: which one an id is about is always read from the row, so that a forged id reaches nothing.
    """

    turn: int
    attempt: int
    sequence: int

    def __str__(self) -> str:
        return f"{self.turn}.{self.attempt}.{self.sequence}"

    @classmethod
    def parse(cls, text: str) -> EventId | None:
        """The id in its written form; None when it is none."""
        match = _EVENT_ID.fullmatch(text)
        return cls(int(match[1]), int(match[2]), int(match[3])) if match else None

    def same_attempt(self, other: EventId) -> bool:
        """Whether both are of one response."""
        return (self.turn, self.attempt) == (other.turn, other.attempt)


_EVENT_ID = re.compile(r"([1-9][0-9]{0,5})\.([1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,9})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The whole run as it is: always the first event of a watch, whatever was seen before."""

    run: Run
    calls: tuple[ToolCall, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusChanged:
    """The run's status, turn, provider's word or open questions are others now."""

    run: Run
    calls: tuple[ToolCall, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The text from here on, in place of what was shown.

    Empty, with sequence 0, at the start of each turn and attempt; empty at a reset by the provider; and the whole
    text before ``End`` wherever the deltas alone have not given it.
    """

    event_id: EventId
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """More text, never empty. Refusals count as text, as they do in the run's ``text``."""

    event_id: EventId
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolStarted:
    """A tool call began, or began again after an interruption (``call.starts``)."""

    call: ToolCall


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFinished:
    """A tool call has its result, or its refusal."""

    call: ToolCall


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolProgress:
    """A tool says how far it is (``call.progress``, ``call.progress_fraction``)."""

    call: ToolCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale:
    """The provider can replay no more of this turn: the text shown stays, and a ``Snapshot`` makes it good later."""

    event_id: EventId


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The run is terminal: nothing follows. ``text`` is what the client's text is now."""

    run: Run
    calls: tuple[ToolCall, ...]
    text: str


ViewEvent = State | StatusChanged | Snapshot | Delta | ToolStarted | ToolFinished | ToolProgress | Stale | End
