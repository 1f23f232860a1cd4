"""Random runs as streams: attempts, new starts, refusals and endings of every kind, read whole and cut anywhere."""

from __future__ import annotations

import random

import pytest

from shared.runs.model.phases import RunStatus
from shared.runs.queries.conversation import TurnText
from tests.parts.strict_reader import StrictReader
from tests.unit.api.openai.test_events import NEW, Attempt, Refused, Shape, attempt, text, whole

WORDS = ([], ["a"], ["a", "b"], ["ab", "c", "d"], ["ab", "x"], ["a\ud83d", "\ude00"])
ENDINGS = [RunStatus.COMPLETED] * 4 + [RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.INCOMPLETE]


def words_of(chance: random.Random) -> list[str | Refused]:
    """What one attempt says."""
    words: list[str | Refused] = [*chance.choice(WORDS)]
    if words and chance.random() < 0.3:
        begun = chance.randint(0, len(words))
        words = [*words[:begun], NEW, *words]
    if chance.random() < 0.1:
        words = [each if isinstance(each, Refused) or each == NEW else Refused(each) for each in words]
    return words


def stored(turn: int, words: list[str | Refused], chance: random.Random) -> TurnText:
    """What the rows have of it: now and then not what was sent."""
    last = words[len(words) - words[::-1].index(NEW) :] if NEW in words else words
    said = "".join(each for each in last if not isinstance(each, Refused)).replace("\ud83d\ude00", "😀")
    refusal = "".join(each.text for each in last if isinstance(each, Refused)).replace("\ud83d\ude00", "😀")
    if chance.random() < 0.2:
        said = chance.choice(["else", said + "more"])
    return text(turn, said, refusal)


def a_shape(chance: random.Random) -> Shape:
    """A run."""
    attempts: list[Attempt] = []
    turns: list[TurnText] = []
    status = chance.choice(ENDINGS)
    count = chance.randint(1, 4)
    for turn in range(1, count + 1):
        tries = chance.randint(1, 3)
        for number in range(1, tries + 1):
            words = words_of(chance)
            attempts.append(attempt(turn, number, *words))
        cut_off = turn == count and status in (RunStatus.FAILED, RunStatus.CANCELLED) and chance.random() < 0.7
        kept = stored(turn, words, chance)
        if cut_off or not kept.full_text:
            continue
        turns.append(kept)
        if chance.random() < 0.2:
            attempts[-1] = [*attempts[-1], whole(kept.full_text, turn, tries)]
    return Shape(attempts, turns, status)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_a_random_run_is_told_right_to_whoever_reads_it(part: int) -> None:
    for seed in range(part * 60, part * 60 + 60):
        chance = random.Random(seed)
        shape = a_shape(chance)
        reader = StrictReader()
        for _, event in shape.streamed(shape.writer()):
            reader.hear(event)
        assert reader.texts == shape.texts(), seed
        for _ in range(4):
            cut_anywhere(shape, chance)


def cut_anywhere(shape: Shape, chance: random.Random) -> None:
    """A client that is cut again and again, and comes back at once or later."""
    # While it is away words may become void: it learns that when the message is done.
    reader, at = StrictReader(exact=False), 0
    while reader.response is None:
        streamed = [event for _, event in shape.streamed(shape.writer(None if reader.last < 0 else reader.last), at)]
        assert streamed
        # The first event in any case: a client that has none cannot come back.
        for event in streamed[: max(reader.last < 0, chance.choice((chance.randint(0, len(streamed)), len(streamed))))]:
            reader.hear(event)
        at = chance.choice((at, chance.randint(at, sum(map(len, shape.attempts)) + 1)))
    assert reader.texts == shape.texts()
