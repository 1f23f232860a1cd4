"""Where a viewer stands in the stream of a response, as the one number that OpenAI's clients hand back. Pure.

The number holds all of it, so that nothing has to be stored for viewers. It grows along the stream, and has gaps. It
fits into 31 bits, because OpenAI's .NET client reads it as an ``int``:

- Turns up to ``LIVE_TURNS`` have ``SLOTS`` slots each: one for each beginning of the turn's text (``ATTEMPTS``
  attempts, each with up to ``RESETS - 1`` new starts by the provider), one for a text that is sent at the end of its
  turn, and one for the events that end the message. What is beyond these bounds is sent at the end of its turn, as one
  delta.
- Later turns are never sent word by word. Each has ``LATE_STEPS`` numbers, for the few events of its whole message.
- Within a slot the number counts the characters that were sent: each up to ``2 * EXACT``, then in steps that double
  each time the text does (1,024 characters in a text of 10 million). Deltas end on these steps, so that a number says
  exactly where the text goes on.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

MAX_NUMBER = 2**31 - 1
"""The largest number that all of OpenAI's clients can read."""

EXACT = 1 << 14
"""Half of the number of characters that are counted one by one."""

LONGEST = EXACT << 10
"""How many characters of a text are sent while it is written; what is longer is sent at the end of its turn."""

CREATED, QUEUED, IN_PROGRESS = 0, 1, 2
"""The numbers of the events that a stream begins with; the second is of a run that was queued then."""

RESTARTED, ITEM_ADDED, PART_ADDED = 0, 1, 2
"""Steps of a slot: the message begins anew; its item sent; its first part sent. ``PART_ADDED + code``: so much of the
part's text sent."""

TEXT_DONE, FIRST_PART_DONE, SECOND_ADDED, REFUSAL_SENT, REFUSAL_DONE, LAST_PART_DONE, ITEM_DONE, ERROR = range(8)
"""Steps of the slot ``DONE``. A refusal that follows a text is sent here, as the message's second part."""

CALLS = ERROR + 1
"""The step of the first event of the calls of a caller's functions, ``EVENTS_A_CALL`` each."""

CALL_ADDED, CALL_ARGUMENTS, CALL_ARGUMENTS_DONE, CALL_DONE = range(4)
EVENTS_A_CALL = 4
MAX_CALLS = 90

END = CALLS + EVENTS_A_CALL * MAX_CALLS
"""The step of the last event of all."""


def code_of(characters: int) -> int:
    """So many characters as a number of steps, rounded down to a step."""
    characters = min(characters, LONGEST)
    doublings = max(0, characters.bit_length() - EXACT.bit_length())
    return EXACT * doublings + (characters >> doublings)


def characters_of(code: int) -> int:
    """How many characters a number of steps stands for."""
    if code >= CODE_OF_WHOLE_TEXT:
        return sys.maxsize
    doublings = max(0, code // EXACT - 1)
    return (code - EXACT * doublings) << doublings


def code_of_whole(characters: int) -> int:
    """The same for a text that is complete: rounded up, so that the number stands for all of it."""
    code = code_of(characters)
    return code if characters_of(code) >= characters else code + 1


CODE_OF_WHOLE_TEXT = code_of(LONGEST) + 1
"""The code for more than ``LONGEST`` characters: all that there are."""

STEPS = PART_ADDED + CODE_OF_WHOLE_TEXT + 1
ATTEMPTS, RESETS = 22, 4
WHOLE = ATTEMPTS * RESETS
"""The slot of a text that is sent when its turn is over, from its beginning."""

DONE = WHOLE + 1
"""The slot of the events that end a message."""

SLOTS = DONE + 1
TURN = SLOTS * STEPS
LIVE_TURNS = 127
LATE = (LIVE_TURNS + 1) * TURN
"""The number of the first event of the turn after ``LIVE_TURNS``."""

LATE_STEPS = 512


@dataclass(frozen=True, slots=True)
class StreamPosition:
    """The event after which a viewer stands."""

    turn: int
    """0: before the first."""

    slot: int = 0
    step: int = 0

    @classmethod
    def from_number(cls, number: int) -> StreamPosition:
        """The position that a ``sequence_number`` holds."""
        # Any number at all: what a client sends need not be one of ours.
        number = min(number, MAX_NUMBER)
        if number < LATE:
            turn, rest = divmod(number, TURN)
            return cls(turn, *divmod(rest, STEPS))
        turn, step = divmod(number - LATE, LATE_STEPS)
        turn += LIVE_TURNS + 1
        if step > PART_ADDED + 1:
            return cls(turn, DONE, min(step - PART_ADDED - 2, END))
        return cls(turn, WHOLE, step if step <= PART_ADDED else PART_ADDED + CODE_OF_WHOLE_TEXT)

    @property
    def number(self) -> int:
        """The position as a ``sequence_number``."""
        if self.turn <= LIVE_TURNS:
            return self.turn * TURN + self.slot * STEPS + self.step
        step = self.step + PART_ADDED + 2 if self.slot == DONE else min(self.step, PART_ADDED + 1)
        return min(LATE + (self.turn - LIVE_TURNS - 1) * LATE_STEPS + step, MAX_NUMBER)

    @property
    def code(self) -> int:
        """How much of the text of its slot was sent, in steps."""
        return 0 if self.slot == DONE else max(0, self.step - PART_ADDED)


def slot_of(turn: int, attempt: int, reset: int) -> int | None:
    """The slot of one beginning of a turn's text; None where there is none: it is sent when its turn is over."""
    if turn > LIVE_TURNS or not 0 < attempt <= ATTEMPTS or reset >= RESETS:
        return None
    return (attempt - 1) * RESETS + reset


def attempt_of_slot(slot: int) -> int | None:
    """The attempt whose text has that slot; None for the slots of a turn that is over."""
    return slot // RESETS + 1 if slot < WHOLE else None
