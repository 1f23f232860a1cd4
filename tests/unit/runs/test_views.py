"""Event ids: written, read, and refused when they are none."""

from __future__ import annotations

import pytest

from shared.runs.views import EventId


@pytest.mark.parametrize("event_id", [EventId(1, 1, 0), EventId(20, 5, 4_000), EventId(999_999, 1, 9_999_999_999)])
def test_an_event_id_is_read_as_it_was_written(event_id: EventId) -> None:
    assert EventId.parse(str(event_id)) == event_id


@pytest.mark.parametrize(
    "text",
    ["", "end", "1.1", "1.1.1.1", "0.1.1", "1.0.1", "1.1.-1", "1.1.01", "01.1.1", "1.1.1 ", " 1.1.1", "1.1.1\n",
     "a.b.c", "1.1.٣", "1.1.99999999999", "1234567.1.1", "1.1.1e3", "resp_1.1.1"],
)  # fmt: skip
def test_what_is_no_event_id_is_not_read(text: str) -> None:
    assert EventId.parse(text) is None


def test_ids_of_one_attempt_differ_only_in_their_sequence() -> None:
    here = EventId(2, 1, 7)
    assert here.same_attempt(EventId(2, 1, 0))
    assert not here.same_attempt(EventId(2, 2, 7))
    assert not here.same_attempt(EventId(1, 1, 7))
