"""Where a viewer stands, as one number: it grows, fits into 31 bits, and is read back."""

from __future__ import annotations

import itertools

import pytest

from shared.api.openai.positions import (
    ATTEMPTS,
    CODE_OF_WHOLE_TEXT,
    DONE,
    END,
    EXACT,
    ITEM_ADDED,
    ITEM_DONE,
    LATE,
    LIVE_TURNS,
    LONGEST,
    MAX_NUMBER,
    PART_ADDED,
    RESETS,
    RESTARTED,
    TEXT_DONE,
    WHOLE,
    StreamPosition,
    attempt_of_slot,
    characters_of,
    code_of,
    code_of_whole,
    slot_of,
)

LENGTHS = [*range(3 * EXACT), *range(3 * EXACT, LONGEST, 4_999), LONGEST - 1, LONGEST]
STEPS_OF_SLOT = (RESTARTED, ITEM_ADDED, PART_ADDED, PART_ADDED + 1, PART_ADDED + 2, PART_ADDED + CODE_OF_WHOLE_TEXT)


def test_a_length_is_a_number_of_steps_that_double_with_the_text() -> None:
    codes = [code_of(length) for length in LENGTHS]
    assert codes == sorted(codes)
    for length, code in zip(LENGTHS, codes, strict=True):
        streamed = characters_of(code)
        assert streamed <= length
        assert length - streamed <= length // EXACT
        assert code_of(streamed) == code_of_whole(streamed) == code, "sent up to a step, a position says exactly where"
        whole = code_of_whole(length)
        assert characters_of(whole) >= length
        assert whole - code <= 1
    assert all(characters_of(code_of(length)) == length for length in range(2 * EXACT + 1))


@pytest.mark.parametrize("length", [LONGEST + 1, 10**9])
def test_a_text_above_the_bound_is_told_to_the_bound_and_then_all_of_it(length: int) -> None:
    assert characters_of(code_of(length)) == LONGEST
    assert code_of_whole(length) == CODE_OF_WHOLE_TEXT
    assert characters_of(CODE_OF_WHOLE_TEXT) > length


def test_a_text_of_ten_million_characters_waits_for_some_hundreds_at_most() -> None:
    assert LONGEST > 10_000_000
    assert 10_000_000 - characters_of(code_of(10_000_000)) < 1_024


def test_numbers_grow_along_the_stream_and_are_read_back() -> None:
    positions = [StreamPosition(0, 0, 0), StreamPosition(0, 0, 1)]
    for turn in (1, 2, LIVE_TURNS - 1, LIVE_TURNS):
        for slot in (*range(ATTEMPTS * RESETS), WHOLE):
            positions += [StreamPosition(turn, slot, step) for step in STEPS_OF_SLOT]
        positions += [StreamPosition(turn, DONE, step) for step in range(TEXT_DONE, END + 1)]
    for turn in (LIVE_TURNS + 1, LIVE_TURNS + 2, 100_000):
        late = (RESTARTED, ITEM_ADDED, PART_ADDED, PART_ADDED + CODE_OF_WHOLE_TEXT)
        positions += [StreamPosition(turn, WHOLE, step) for step in late]
        positions += [StreamPosition(turn, DONE, step) for step in range(TEXT_DONE, END + 1)]
    numbers = [position.number for position in positions]
    assert all(before < after for before, after in itertools.pairwise(numbers))
    assert [StreamPosition.from_number(number) for number in numbers] == positions
    assert numbers[-1] < MAX_NUMBER == 2**31 - 1


def test_every_number_is_some_position() -> None:
    for number in (*range(0, MAX_NUMBER, 1_234_577), LATE - 1, LATE, MAX_NUMBER - 1, MAX_NUMBER, 10**30):
        position = StreamPosition.from_number(number)
        assert 0 <= position.number <= MAX_NUMBER
        assert position.code >= 0


def test_no_turn_attempt_or_new_start_is_too_many() -> None:
    assert slot_of(1, 1, 0) == 0
    assert slot_of(LIVE_TURNS, ATTEMPTS, RESETS - 1) == WHOLE - 1
    assert slot_of(LIVE_TURNS + 1, 1, 0) is slot_of(1, ATTEMPTS + 1, 0) is slot_of(1, 1, RESETS) is None
    assert StreamPosition(10**9, DONE, ITEM_DONE).number == MAX_NUMBER
    for attempt, reset in itertools.product(range(1, ATTEMPTS + 1), range(RESETS)):
        slot = slot_of(5, attempt, reset)
        assert slot is not None
        assert attempt_of_slot(slot) == attempt
    assert attempt_of_slot(WHOLE) is attempt_of_slot(DONE) is None
