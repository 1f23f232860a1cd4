"""Where a viewer stands in a response's stream, as the one number that OpenAI's clients hand back.

``sequence_number`` holds the whole place, so that nothing is stored for viewers: the turn, the attempt, the
provider's own sequence in it, and how far the turn's message has been told. It grows, stays below 2^53 (what
JavaScript counts to), and has gaps. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared.runs.watching.views import EventId

ATTEMPTS, SEQUENCES, STEPS = 1 << 8, 1 << 18, 1 << 20
MOST = (1 << 53) - 1

CREATED, IN_PROGRESS = 0, 1
"""The numbers of the two events that every stream begins with."""

CLOSING = ATTEMPTS - 1
"""In place of an attempt: the turn's words are complete. After its message comes, with sequence 1, the run's end."""

NOT_BEGUN, ADDED, OPENED, TOLD = 0, 1, 2, 3
"""Steps: the turn has no message yet; it is added; so is its content; so many characters of it less three are told."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """After which event a viewer stands. Turn 0 is before the first."""

    turn: int
    attempt: int = 0
    sequence: int = 0
    step: int = NOT_BEGUN

    @classmethod
    def after(cls, number: int) -> Place:
        """The place that a number holds."""
        number, step = divmod(min(number, MOST), STEPS)
        number, sequence = divmod(number, SEQUENCES)
        turn, attempt = divmod(number, ATTEMPTS)
        return cls(turn, attempt, sequence, step)

    @classmethod
    def of(cls, event_id: EventId) -> Place:
        """The place of an event of the run's own stream."""
        return cls(event_id.turn, min(event_id.attempt, CLOSING - 1), event_id.sequence)

    def same_attempt(self, other: Place) -> bool:
        """Whether both are of one response."""
        return (self.turn, self.attempt) == (other.turn, other.attempt)

    @property
    def number(self) -> int:
        """The place as a number. What is beyond all measure stops growing."""
        number = self.turn * ATTEMPTS + self.attempt
        number = number * SEQUENCES + min(self.sequence, SEQUENCES - 1)
        return min(number * STEPS + min(self.step, STEPS - 1), MOST)

    @property
    def told(self) -> int | None:
        """How many characters of the turn's message were told; None where that is not known."""
        return max(0, self.step - TOLD) if self.step < STEPS - 1 else None

    @property
    def event_id(self) -> EventId | None:
        """Where the run's own stream goes on from here; None: from the start of the current attempt.

        Within an event that becomes several, it goes on before that one: what was told of it is passed over.
        """
        if self.turn == 0 or not 0 < self.attempt < CLOSING - 1 or self.sequence == SEQUENCES - 1:
            return None
        within = self.step in (ADDED, OPENED)
        return EventId(self.turn, self.attempt, max(0, self.sequence - within))
