"""What viewers are shown, decided from rows and updates alone; and event ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from shared.agentkit.agent import AgentResponse, AgentUpdate, ContinuationToken, ResponseStatus, UpdateKind
from shared.runs.model.calls import CallState, ToolCall
from shared.runs.model.phases import Creating, Ended, Pending, RunningTools, RunStatus, WaitingForAnswers
from shared.runs.model.run import Turn
from shared.runs.watching.views import ClientText, EventId, RunRows, changes_between, response_of
from tests.parts.cases import cases
from tests.unit.runs.records import SESSION, a_run, at


@pytest.mark.parametrize("event_id", [EventId(1, 1, 0), EventId(20, 5, 4_000), EventId(999_999, 1, 9_999_999_999)])
def test_an_event_id_is_read_as_it_was_written(event_id: EventId) -> None:
    assert EventId.parse(str(event_id)) == event_id


@cases(
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


# What happened between two looks


def a_call(**changes: Any) -> ToolCall:
    given = {"turn": 1, "index": 0, "call_id": "c", "name": "work", "arguments": "{}", **changes}
    return ToolCall(session_id=SESSION, number=1, **given)


def an_end(status: RunStatus) -> Ended:
    return Ended(status=status, completed_at=at(3))


def told(before: Sequence[ToolCall], after: Sequence[ToolCall], **changes: Any) -> list[str]:
    given = {"phase": THINKING, **changes}
    found = changes_between(RunRows(a_run(phase=THINKING), tuple(before)), RunRows(a_run(**given), tuple(after)))
    return [type(event).__name__ for event in found]


THINKING = Pending(token=ContinuationToken(response_id="resp_1"), next_look=at(2))
PARKED = WaitingForAnswers(answer_by=at(600), seconds_left=None)
OPEN = a_call()
STARTED = a_call(state=CallState.STARTED, starts=1)
AGAIN = a_call(state=CallState.STARTED, starts=2)
SAID = replace(STARTED, progress="half", progress_at=at(1))
SAID_MORE = replace(STARTED, progress="half", progress_at=at(2))
FINISHED = a_call(state=CallState.FINISHED, starts=1)
REFUSED = a_call(state=CallState.FINISHED)


@cases(
    ("before", "after", "expected"),
    [
        ([], [OPEN], []),
        ([], [STARTED], ["ToolStarted"]),
        ([], [FINISHED], ["ToolStarted", "ToolFinished"]),
        ([OPEN], [STARTED], ["ToolStarted"]),
        ([STARTED], [STARTED], []),
        ([STARTED], [AGAIN], ["ToolStarted"]),
        ([STARTED], [SAID], ["ToolProgress"]),
        ([SAID], [SAID], []),
        ([SAID], [SAID_MORE], ["ToolProgress"]),
        ([STARTED], [FINISHED], ["ToolFinished"]),
        ([FINISHED], [FINISHED], []),
        ([OPEN], [REFUSED], ["ToolFinished"]),
        ([FINISHED], [FINISHED, replace(STARTED, turn=2)], ["ToolStarted"]),
        ([], [a_call(state=CallState.WAITING)], ["StatusChanged"]),
    ],
)
def test_what_becomes_of_tool_calls_is_told_once(
    before: list[ToolCall], after: list[ToolCall], expected: list[str]
) -> None:
    assert told(before, after) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"wakes": 7, "phase": replace(THINKING, next_look=at(9)), "updated_at": at(9)}, ["Woken"]),
        ({"turn": Turn(number=2)}, ["StatusChanged"]),
        ({"provider_status": "queued"}, ["StatusChanged"]),
        ({"phase": PARKED}, ["StatusChanged"]),
        ({"phase": an_end(RunStatus.COMPLETED)}, []),
        ({"phase": an_end(RunStatus.CANCELLED), "provider_status": "x"}, []),
    ],
)
def test_a_change_of_status_is_told_and_a_mere_wake_as_such_and_an_end_later(
    changes: dict[str, Any], expected: list[str]
) -> None:
    assert told([], [], **changes) == expected


@pytest.mark.parametrize(
    ("changes", "response_id"),
    [
        ({"phase": Creating(), "last_response_id": "resp_0"}, None),
        ({"phase": THINKING}, "resp_1"),
        ({"phase": RunningTools(), "last_response_id": "resp_1"}, "resp_1"),
        ({"phase": PARKED, "last_response_id": "resp_1"}, "resp_1"),
        ({"phase": an_end(RunStatus.COMPLETED), "last_response_id": "resp_1"}, None),
    ],
)
def test_the_response_that_a_viewer_follows_is_the_row_s(changes: dict[str, Any], response_id: str | None) -> None:
    assert response_of(a_run(attempt=1, **changes)) == response_id


# Whether a client's text is the run's


def shown(position: EventId, *updates: AgentUpdate, whole: bool = True) -> ClientText:
    client = ClientText(position, whole=whole)
    for update in updates:
        client.apply(update)
    return client


def text(sequence: int, said: str) -> AgentUpdate:
    return AgentUpdate(kind=UpdateKind.TEXT, sequence=sequence, text=said)


def ended(said: str, status: ResponseStatus = ResponseStatus.COMPLETED) -> AgentUpdate:
    response = AgentResponse(status=status, provider_status=status.value, text=said)
    return AgentUpdate(kind=UpdateKind.ENDED, sequence=99, response=response)


RESET = AgentUpdate(kind=UpdateKind.RESET, sequence=6)
HERE = EventId(1, 1, 0)
LATER = EventId(1, 1, 4)


@pytest.mark.parametrize(
    ("client", "surely"),
    [
        pytest.param(shown(HERE, text(4, "a"), text(5, "b"), ended("ab")), True, id="all of it"),
        pytest.param(shown(HERE, text(4, "a"), text(5, "b")), True, id="all of it, though no end"),
        pytest.param(shown(HERE, text(4, "a")), False, id="too little"),
        pytest.param(shown(HERE, text(4, "x"), RESET, text(7, "ab")), True, id="all of it after a reset"),
        pytest.param(shown(LATER, text(5, "b"), ended("ab"), whole=False), True, id="the known rest"),
        pytest.param(shown(LATER, text(5, "b"), whole=False), False, id="perhaps a rest to come"),
        pytest.param(shown(LATER, text(5, "b"), ended("abc"), whole=False), False, id="another text"),
        pytest.param(shown(LATER, text(5, "b"), ended("ab", ResponseStatus.FAILED), whole=False), False, id="failed"),
        pytest.param(shown(LATER, RESET, text(7, "ab"), whole=False), True, id="begun anew since"),
        pytest.param(shown(EventId(2, 1, 0), text(4, "ab")), False, id="another turn"),
    ],
)
def test_a_snapshot_is_spared_only_where_the_text_is_surely_there(client: ClientText, surely: bool) -> None:
    assert client.has_text(a_run(attempt=1), "ab") is surely


def test_a_stale_text_is_never_sure() -> None:
    client = shown(HERE, text(4, "ab"))
    client.stale = True
    assert not client.has_text(a_run(attempt=1), "ab")
